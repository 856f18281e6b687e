import { crashShard } from './shard.ts'

crashShard([119, 120, 121])
