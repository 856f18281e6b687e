import { crashShard } from './shard.ts'

crashShard([114, 115, 130, 145, 146])
