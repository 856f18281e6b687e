import { crashShard } from './shard.ts'

crashShard([122, 123, 124, 151, 152])
