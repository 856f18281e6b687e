;; XOR of memory at the speed of memory, for xor.ts. `node scripts/xor-wasm.mjs` makes xor-wasm.ts of it.
(module
  (memory (export "memory") 2 2)

  ;; Every byte of [target, end) becomes its XOR with the byte at the same place from source on. Goes by 64 bytes: up to 63 more are
  ;; changed when the length is no multiple of them.
  (func (export "xor") (param $target i32) (param $source i32) (param $end i32)
    loop $next
      local.get $target
      local.get $target
      v128.load
      local.get $source
      v128.load
      v128.xor
      v128.store
      local.get $target
      local.get $target
      v128.load offset=16
      local.get $source
      v128.load offset=16
      v128.xor
      v128.store offset=16
      local.get $target
      local.get $target
      v128.load offset=32
      local.get $source
      v128.load offset=32
      v128.xor
      v128.store offset=32
      local.get $target
      local.get $target
      v128.load offset=48
      local.get $source
      v128.load offset=48
      v128.xor
      v128.store offset=48
      local.get $source
      i32.const 64
      i32.add
      local.set $source
      local.get $target
      i32.const 64
      i32.add
      local.tee $target
      local.get $end
      i32.lt_u
      br_if $next
    end))
