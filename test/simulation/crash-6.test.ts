import { crashShard } from './shard.ts'

crashShard([117, 118, 125])
