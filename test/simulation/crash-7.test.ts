import { crashShard } from './shard.ts'

crashShard([120, 135, 137])
