import { crashShard } from './shard.ts'

crashShard([107, 108, 126, 141, 142])
