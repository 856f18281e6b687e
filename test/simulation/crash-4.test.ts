import { crashShard } from './shard.ts'

crashShard([110, 127, 128, 143, 144])
