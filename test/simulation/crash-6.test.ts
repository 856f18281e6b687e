import { crashShard } from './shard.ts'

crashShard([118, 125, 134, 147, 148])
