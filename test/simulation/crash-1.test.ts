import { crashShard } from './shard.ts'

crashShard([101, 102, 103, 136, 138])
