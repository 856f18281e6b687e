import { crashShard } from './shard.ts'

crashShard([104, 105, 106, 139, 140])
