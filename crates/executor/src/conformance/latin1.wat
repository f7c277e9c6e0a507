;; Strings in Latin-1 where that is enough, else in UTF-16: apart from others, because not all implementations of the Component
;; Model know them. The core module hands back what it was handed, or bytes that are no text.
(component
  (core module $m
    (memory (export "memory") 2 256)
    (global $next (mut i32) (i32.const 1024))
    (global $asked (mut i32) (i32.const 0))
    ;; Takes from the end, grows when nothing is left, moves what was there.
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $address i32)
      (global.set $asked (i32.add (global.get $asked) (i32.const 1)))
      (local.set $address
        (i32.and
          (i32.add (global.get $next) (i32.sub (local.get $align) (i32.const 1)))
          (i32.sub (i32.const 0) (local.get $align))))
      (global.set $next (i32.add (local.get $address) (local.get $size)))
      (block $room (loop $grow
        (br_if $room (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $grow)))
      (memory.copy (local.get $address) (local.get $old)
        (select (local.get $old-size) (local.get $size) (i32.lt_u (local.get $old-size) (local.get $size))))
      (local.get $address))
    ;; Two words that stand for a string, a list or a map.
    (func $pair (export "pair") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    ;; The second of them: the length that the host gave, and how often it asked for memory.
    (func (export "length") (param i32 i32) (result i32) (local.get 1))
    (func (export "asked") (param i32 i32) (result i32) (global.get $asked))
    ;; What is no text. At 32: a lone surrogate; at 40: a byte that is no UTF-8.
    (data (i32.const 32) "\00\d8")
    (data (i32.const 40) "\ff")
    (func (export "surrogate") (result i32) (call $pair (i32.const 32) (i32.const 1)))
    (func (export "surrogate-tagged") (result i32) (call $pair (i32.const 32) (i32.const 0x80000001)))
    (func (export "odd-address") (result i32) (call $pair (i32.const 41) (i32.const 1)))
    (func (export "outside") (result i32) (call $pair (i32.const 131070) (i32.const 3)))
    (func (export "longest") (result i32) (call $pair (i32.const 32) (i32.const -1)))
  )
  (core instance $i (instantiate $m))

  (type $strings (list string))
  (func (export "echo-latin1") (param "v" string) (result string) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=latin1+utf16))
  (func (export "length-latin1") (param "v" string) (result u32) (canon lift (core func $i "length") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=latin1+utf16))
  (func (export "asked-latin1") (param "v" string) (result u32) (canon lift (core func $i "asked") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=latin1+utf16))
  (func (export "list-latin1") (param "v" $strings) (result $strings) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=latin1+utf16))
  (func (export "surrogate-tagged") (result string) (canon lift (core func $i "surrogate-tagged") (memory (core memory $i "memory")) string-encoding=latin1+utf16))
  (func (export "surrogate-as-latin1") (result string) (canon lift (core func $i "surrogate") (memory (core memory $i "memory")) string-encoding=latin1+utf16))
  (func (export "no-utf8-as-latin1") (result string) (canon lift (core func $i "odd-address") (memory (core memory $i "memory")) string-encoding=latin1+utf16))
  (func (export "outside-latin1") (result string) (canon lift (core func $i "outside") (memory (core memory $i "memory")) string-encoding=latin1+utf16))
  (func (export "longest-latin1") (result string) (canon lift (core func $i "longest") (memory (core memory $i "memory")) string-encoding=latin1+utf16))
)
