;; Types that compilers do not offer yet, and strings in UTF-8 and UTF-16. The core module hands back what it was handed, or bytes
;; that are no value.
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
    ;; An address as it came: parameters that went through memory.
    (func (export "same") (param i32) (result i32) (local.get 0))
    ;; Three numbers by value, back through memory.
    (func (export "three") (param i32 i32 i32) (result i32)
      (i32.store16 (i32.const 16) (local.get 0))
      (i32.store16 (i32.const 18) (local.get 1))
      (i32.store16 (i32.const 20) (local.get 2))
      (i32.const 16))
    (func (export "four") (param i32 i32 i32 i32) (result i32)
      (i32.store8 (i32.const 16) (local.get 0))
      (i32.store8 (i32.const 17) (local.get 1))
      (i32.store8 (i32.const 18) (local.get 2))
      (i32.store8 (i32.const 19) (local.get 3))
      (i32.const 16))
    ;; What is no value. At 32: a lone surrogate; at 40: a byte that is no UTF-8; at 48: pairs with a key twice.
    (data (i32.const 32) "\00\d8")
    (data (i32.const 40) "\ff")
    (data (i32.const 48) "\02\00\00\00\0a\00\00\00\01\00\00\00\0b\00\00\00\02\00\00\00\0c\00\00\00")
    (func (export "surrogate") (result i32) (call $pair (i32.const 32) (i32.const 1)))
    (func (export "no-utf8") (result i32) (call $pair (i32.const 40) (i32.const 1)))
    (func (export "odd-address") (result i32) (call $pair (i32.const 41) (i32.const 1)))
    (func (export "outside") (result i32) (call $pair (i32.const 131070) (i32.const 3)))
    (func (export "longest") (result i32) (call $pair (i32.const 32) (i32.const -1)))
    (func (export "twice") (result i32) (call $pair (i32.const 48) (i32.const 3)))
    (func (export "odd-result") (result i32) (i32.const 17))
    (func (export "number") (param i32) (result i32) (local.get 0))
    ;; So many, of whatever they are, from address 0 on.
    (func (export "many") (param i32) (result i32) (call $pair (i32.const 0) (local.get 0)))
    ;; The same within a memory that is large enough.
    (func (export "many-grown") (param i32) (result i32)
      (drop (memory.grow (i32.const 254)))
      (call $pair (i32.const 0) (local.get 0)))
  )
  (core instance $i (instantiate $m))

  ;; Strings in utf8.
  (func (export "echo-utf8") (param "v" string) (result string) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf8))
  (func (export "length-utf8") (param "v" string) (result u32) (canon lift (core func $i "length") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf8))
  (func (export "asked-utf8") (param "v" string) (result u32) (canon lift (core func $i "asked") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf8))

  ;; Strings in utf16.
  (func (export "echo-utf16") (param "v" string) (result string) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf16))
  (func (export "length-utf16") (param "v" string) (result u32) (canon lift (core func $i "length") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf16))
  (func (export "asked-utf16") (param "v" string) (result u32) (canon lift (core func $i "asked") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf16))

  ;; Lists of strings, which point to what points.
  (type $strings (list string))
  (func (export "list-utf8") (param "v" $strings) (result $strings) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf8))
  (func (export "list-utf16") (param "v" $strings) (result $strings) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc")) string-encoding=utf16))

  ;; What is no string, list, character or result.
  (func (export "surrogate") (result string) (canon lift (core func $i "surrogate") (memory (core memory $i "memory")) string-encoding=utf16))
  (func (export "no-utf8") (result string) (canon lift (core func $i "no-utf8") (memory (core memory $i "memory"))))
  (func (export "odd-address") (result string) (canon lift (core func $i "odd-address") (memory (core memory $i "memory")) string-encoding=utf16))
  (func (export "outside-utf8") (result string) (canon lift (core func $i "outside") (memory (core memory $i "memory")) string-encoding=utf8))
  (func (export "longest-utf8") (result string) (canon lift (core func $i "longest") (memory (core memory $i "memory")) string-encoding=utf8))
  (func (export "outside-utf16") (result string) (canon lift (core func $i "outside") (memory (core memory $i "memory")) string-encoding=utf16))
  (func (export "longest-utf16") (result string) (canon lift (core func $i "longest") (memory (core memory $i "memory")) string-encoding=utf16))
  (type $longs (list u64))
  (type $bytes (list u8))
  (type $maybe (option bool))
  (type $maybes (list $maybe))
  (type $hue (enum "red" "green" "blue"))
  (func (export "outside-list") (result $longs) (canon lift (core func $i "outside") (memory (core memory $i "memory"))))
  (func (export "longest-list") (result $longs) (canon lift (core func $i "longest") (memory (core memory $i "memory"))))
  (func (export "outside-bytes") (result $bytes) (canon lift (core func $i "outside") (memory (core memory $i "memory"))))
  (func (export "odd-result") (result string) (canon lift (core func $i "odd-result") (memory (core memory $i "memory"))))
  (func (export "char-of") (param "code" u32) (result char) (canon lift (core func $i "number") ))
  (func (export "bool-of") (param "bits" u32) (result bool) (canon lift (core func $i "number") ))
  (func (export "s8-of") (param "bits" u32) (result s8) (canon lift (core func $i "number") ))
  (func (export "u16-of") (param "bits" u32) (result u16) (canon lift (core func $i "number") ))
  ;; Types with names in them are an interface's, as builders have it.
  (func $enum-of (param "tag" u32) (result $hue) (canon lift (core func $i "number")))
  (component $hues
    (import "hue" (type $its-hue (eq $hue)))
    (import "enum-of" (func $enum-of (param "tag" u32) (result $its-hue)))
    (export $a-hue "hue" (type $its-hue))
    (export "enum-of" (func $enum-of) (func (param "tag" u32) (result $a-hue))))
  (instance $hues (instantiate $hues (with "hue" (type $hue)) (with "enum-of" (func $enum-of))))
  (export "hues" (instance $hues))

  ;; So much that no outcome holds it.
  (func (export "many-bools") (param "n" u32) (result $maybes) (canon lift (core func $i "many") (memory (core memory $i "memory"))))
  (func (export "many-bools-grown") (param "n" u32) (result $maybes) (canon lift (core func $i "many-grown") (memory (core memory $i "memory"))))
  (func (export "many-bytes-grown") (param "n" u32) (result $bytes) (canon lift (core func $i "many-grown") (memory (core memory $i "memory"))))

  ;; Maps and lists of fixed length.
  (type $by-name (map string u32))
  (type $by-number (map u32 u32))
  (type $by-char (map char $strings))
  (type $nested (map string $by-number))
  (type $triple (list u16 3))
  (type $address (list u8 4))
  (type $hash (list u8 32))
  (type $names (list string 9))
  (type $grid (list $triple 6))
  (func (export "echo-by-name") (param "v" $by-name) (result $by-name) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-by-number") (param "v" $by-number) (result $by-number) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-by-char") (param "v" $by-char) (result $by-char) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-nested") (param "v" $nested) (result $nested) (canon lift (core func $i "pair") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "twice") (result $by-number) (canon lift (core func $i "twice") (memory (core memory $i "memory"))))
  (func (export "echo-triple") (param "v" $triple) (result $triple) (canon lift (core func $i "three") (memory (core memory $i "memory"))))
  (func (export "echo-address") (param "v" $address) (result $address) (canon lift (core func $i "four") (memory (core memory $i "memory"))))
  (func (export "echo-hash") (param "v" $hash) (result $hash) (canon lift (core func $i "same") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-names") (param "v" $names) (result $names) (canon lift (core func $i "same") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (func (export "echo-grid") (param "v" $grid) (result $grid) (canon lift (core func $i "same") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
)
