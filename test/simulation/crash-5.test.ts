import { crashShard } from './shard.ts'

crashShard([113, 114, 115])
