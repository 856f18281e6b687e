import { crashShard } from './shard.ts'

crashShard([110, 111, 112])
