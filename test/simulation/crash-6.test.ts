import { crashShard } from './shard.ts'

crashShard([116, 117, 118])
