import { crashShard } from './shard.ts'

crashShard([120, 135, 137, 149, 150])
