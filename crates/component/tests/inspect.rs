//! Components are described, or refused for everything that stands in the way.

use asterism_component::{check, inspect, outline};

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text of the test is right")
}

fn reasons(text: &str) -> Vec<String> {
    check(&wat(text), &|_, _| false).map_or_else(|refusal| refusal.reasons, |_| Vec::new())
}

/// A component whose functions trap; `types` and `exports` are its own.
fn component(inside: &str) -> String {
    format!(
        "(component
            (core module $m
                (memory (export \"memory\") 1)
                (func (export \"run\") (result i32) unreachable)
                (func (export \"take\") (param i32) unreachable)
                (func (export \"take-list\") (param i32 i32) unreachable)
                (func (export \"take-three\") (param i32 i32 i32) unreachable)
                (func (export \"take-nothing\") unreachable)
                (func (export \"called-back\") (param i32 i32 i32) (result i32) unreachable)
                (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) unreachable))
            (core instance $i (instantiate $m))
            (alias core export $i \"memory\" (core memory $memory))
            (alias core export $i \"realloc\" (core func $realloc))
            {inside})"
    )
}

const TWO_INTERFACES: &str = "
    (func $run (result u32) (canon lift (core func $i \"run\")))
    (instance $a (export \"echo-bytes\" (func $run)) (export \"both\" (func $run)))
    (instance $b (export \"both\" (func $run)))
    (export \"ns:pkg/a@1.2.3\" (instance $a))
    (export \"ns:pkg/b\" (instance $b))
    (export \"run\" (func $run))";

#[test]
fn functions_are_found_in_every_spelling() {
    let component = inspect(&wat(&component(TWO_INTERFACES))).expect("all of it is supported");
    let name = |name: &str| {
        component
            .function(name)
            .map(|function| function.name.as_str())
    };
    let full = Some("ns:pkg/a@1.2.3#echo-bytes");
    for spelling in [
        "ns:pkg/a@1.2.3#echo-bytes",
        "ns:pkg/a#echo-bytes",
        "ns:pkg/a#echo_bytes",
        "echo-bytes",
        "echo_bytes",
        "echoBytes",
    ] {
        assert_eq!(name(spelling), full, "{spelling}");
    }
    assert_eq!(name("run"), Some("run"));
    assert_eq!(name("both"), None, "two interfaces have it");
    assert_eq!(name("ns:pkg/b#both"), Some("ns:pkg/b#both"));
    for unknown in ["", "ns:pkg/a", "ns:pkg/a@9.9.9#both", "realloc"] {
        assert_eq!(name(unknown), None, "{unknown}");
    }
    assert_eq!(
        component
            .functions
            .last()
            .map(asterism_component::Function::signature)
            .as_deref(),
        Some("run() -> u32")
    );
}

#[test]
fn an_outline_is_what_inspection_sees() {
    let bytes = wat(&component(TWO_INTERFACES));
    assert_eq!(outline(&bytes), inspect(&bytes));
}

#[test]
fn all_that_stands_in_the_way_is_said_at_once() {
    let reasons = reasons(
        "(component
            (import \"wasi:http/outgoing@0.2.0\" (instance $http (export \"get\" (func (result u32)))))
            (import \"raw\" (func))
            (core module $m
                (memory 1)
                (func (export \"run\") (param i32) unreachable))
            (core instance $i (instantiate $m))
            (type $r (resource (rep i32)))
            (export $rx \"thing\" (type $r))
            (func $f (param \"what\" (own $rx)) (canon lift (core func $i \"run\")))
            (export \"consume\" (func $f)))",
    );
    let expected = [
        "`wasi:http/outgoing@0.2.0` (`get`), which is not provided: guests have no network",
        "the functions `raw`, which no host provides",
        "consume, parameter `what`: a resource lives in one instance",
    ];
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
    for expected in expected {
        assert!(
            reasons.iter().any(|reason| reason.contains(expected)),
            "{expected}: {reasons:#?}"
        );
    }
}

/// Types of the asynchronous part of the model, alone and within others.
const ASYNCHRONOUS: &str = "
    (type $numbers (stream u8))
    (type $later (future string))
    (type $streams (list $numbers))
    (type $maybe (option $later))
    (type $parts' (record (field \"id\" u32) (field \"chunks\" $streams)))
    (export $parts \"parts\" (type $parts'))
    (type $event' (variant (case \"none\") (case \"soon\" $maybe)))
    (export $event \"event\" (type $event'))
    (type $either (result $numbers (error $later)))
    (type $pair (tuple u8 $later))
    (type $by-name (map string $numbers))
    (type $three (list $later 3))";

#[test]
fn streams_and_futures_are_refused_by_function_and_path() {
    for (ty, take, path, what) in [
        ("$numbers", "take", "", "streams"),
        ("$later", "take", "", "futures"),
        ("$streams", "take-list", "[]", "streams"),
        ("$parts", "take-three", ".chunks[]", "streams"),
        ("$event", "take-three", ".soon.some", "futures"),
        ("$either", "take-list", ".ok", "streams"),
        ("$pair", "take-list", "[1]", "futures"),
        ("$by-name", "take-list", ".value", "streams"),
        ("$three", "take-three", "[]", "futures"),
    ] {
        let options = "(memory $memory) (realloc $realloc)";
        let of_root = component(&format!(
            "{ASYNCHRONOUS}
             (func (export \"give\") (result {ty}) (canon lift (core func $i \"run\") {options}))
             (func (export \"take\") (param \"v\" {ty}) (canon lift (core func $i \"{take}\") {options}))"
        ));
        let of_an_interface = component(&format!(
            "{ASYNCHRONOUS}
             (func $fine (result u32) (canon lift (core func $i \"run\")))
             (func $give (result {ty}) (canon lift (core func $i \"run\") {options}))
             (func $take (param \"v\" {ty}) (canon lift (core func $i \"{take}\") {options}))
             (instance $face
                (export \"fine\" (func $fine)) (export \"give\" (func $give)) (export \"take\" (func $take)))
             (export \"ns:pkg/face@1.0.0\" (instance $face))"
        ));
        for (text, interface) in [(of_root, ""), (of_an_interface, "ns:pkg/face@1.0.0#")] {
            let reasons = reasons(&text);
            let expected = [
                format!("{interface}give, result{path}: {what} are not supported: "),
                format!("{interface}take, parameter `v`{path}: {what} are not supported: "),
            ];
            assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
            for (reason, expected) in reasons.iter().zip(expected) {
                assert!(reason.starts_with(&expected), "{expected} {reason}");
            }
        }
    }
}

#[test]
fn async_functions_are_refused_by_name() {
    let synchronous = "(canon lift (core func $i \"run\"))";
    let by_callback =
        "(canon lift (core func $i \"run\") async (callback (core func $i \"called-back\")))";
    // Not valid with what hosts have; that is no reason to say less.
    let on_a_stack = "(canon lift (core func $i \"take-nothing\") async)";
    for lift in [synchronous, by_callback, on_a_stack] {
        let text = component(&format!(
            "(func $f async (result u32) {lift})
             (func $fine (result u32) (canon lift (core func $i \"run\")))
             (instance $face (export \"wait\" (func $f)) (export \"fine\" (func $fine)))
             (export \"ns:pkg/face@1.0.0\" (instance $face))
             (export \"wait-too\" (func $f))"
        ));
        let expected = ["ns:pkg/face@1.0.0#wait", "wait-too"]
            .map(|name| format!("`{name}` is an async function: declare it without `async`"));
        assert_eq!(reasons(&text), expected, "{lift}");
    }
    // The types of such a function are named, too.
    let text = component(
        "(type $numbers (stream u8))
         (func (export \"wait\") async (param \"v\" $numbers) (canon lift (core func $i \"take\")))",
    );
    let expected = [
        "`wait` is an async function: declare it without `async`",
        "wait, parameter `v`: streams are not supported: use a `list`",
    ];
    assert_eq!(reasons(&text), expected);
}

#[test]
fn asynchronous_imports_are_refused_under_names_that_are_provided() {
    let text = component(
        "(import \"wasi:logging/logging\" (instance
            (type $lines (stream string))
            (export \"log\" (func async (param \"lines\" $lines)))
            (export \"count\" (func (result u32)))))
         (func (export \"run\") (result u32) (canon lift (core func $i \"run\")))",
    );
    let refusal = check(&wat(&text), &|_, _| true).expect_err("it is of another kind");
    let expected = [
        "it imports `wasi:logging/logging#log` as an async function: import it without `async`",
        "it imports `wasi:logging/logging#log`, parameter `lines`: streams are not supported: use a `list`",
    ];
    assert_eq!(refusal.reasons, expected);
}

#[test]
fn what_is_asynchronous_inside_is_said_without_a_path() {
    let text = component(
        "(type $numbers (stream u8))
         (core func (canon stream.new $numbers))
         (func (export \"run\") (result u32) (canon lift (core func $i \"run\")))",
    );
    assert_eq!(
        reasons(&text),
        ["it uses asynchronous functions, streams or futures: build it with synchronous ones"]
    );
}

/// A component that imports so many interfaces of so many functions each.
fn importing(interfaces: usize, functions: usize) -> String {
    let funcs: String = (0..functions)
        .map(|n| format!("(export \"f{n}\" (func))"))
        .collect();
    let imports: String = (0..interfaces)
        .map(|n| {
            format!("(import \"ns:pkg/face{n}\" (instance {funcs})) (import \"bare{n}\" (func))")
        })
        .collect();
    component(&format!(
        "{imports} (func (export \"run\") (result u32) (canon lift (core func $i \"run\")))"
    ))
}

#[test]
fn every_import_that_is_not_provided_is_listed() {
    let (interfaces, functions) = (100, 20);
    let reasons = reasons(&importing(interfaces, functions));
    assert_eq!(
        reasons.len(),
        interfaces + 1,
        "and the functions of the world"
    );
    let all = reasons.join("\n");
    for interface in 0..interfaces {
        let funcs: Vec<_> = (0..functions).map(|n| format!("`f{n}`")).collect();
        let expected = format!(
            "it imports `ns:pkg/face{interface}` ({}), which is not provided: ",
            funcs.join(", ")
        );
        assert!(all.contains(&expected), "{expected}, {} bytes", all.len());
        assert!(all.contains(&format!("`bare{interface}`")), "{interface}");
    }
    assert!(!all.contains("listed"), "{all}");
}

#[test]
fn too_many_imports_are_counted() {
    for (interfaces, functions, expected) in [
        // Names of functions that are not listed.
        (
            1,
            20_000,
            "more functions that are not provided, too many to be listed",
        ),
        // Interfaces that are not.
        (900, 3, "which are not listed"),
    ] {
        let reasons = reasons(&importing(interfaces, functions));
        let last = reasons.last().expect("it is refused");
        assert!(last.contains(expected), "{last}");
        let bytes: usize = reasons.iter().map(String::len).sum();
        assert!(bytes < 200_000, "{bytes} bytes");
    }
}

#[test]
fn a_core_module_inside_that_was_built_for_wasm_bindgen_is_refused_with_a_remedy() {
    let reasons = reasons(&component(
        "(core module $bound
            (import \"__wbindgen_placeholder__\" \"__wbindgen_throw\" (func (param i32 i32)))
            (import \"__wbindgen_externref_xform__\" \"__wbindgen_externref_table_grow\" (func (param i32) (result i32))))
         (func (export \"run\") (result u32) (canon lift (core func $i \"run\")))",
    ));
    let modules = ["__wbindgen_placeholder__", "__wbindgen_externref_xform__"];
    assert_eq!(reasons.len(), modules.len(), "{reasons:#?}");
    for (reason, module) in reasons.iter().zip(modules) {
        let start = format!("it imports `{module}`: it was built for wasm-bindgen");
        assert!(reason.starts_with(&start), "{reason}");
        assert!(reason.contains("leave out the dependency"), "{reason}");
    }
}

#[test]
fn what_hosts_do_alike_is_refused_by_name_where_they_do_not() {
    let code = |parts: &str| {
        component(&format!(
            "(core module $x {parts}) (func $run (result u32) (canon lift (core func $i \"run\"))) (export \"run\" (func $run))"
        ))
    };
    for (text, expected) in [
        (code("(memory 1 1 shared)"), "threads"),
        (
            code("(func (param i32) (drop (i32.atomic.load (local.get 0))) unreachable)"),
            "threads",
        ),
        (code("(memory i64 1)"), "64-bit memories"),
        (
            code("(func (drop (i32x4.relaxed_trunc_f32x4_s (v128.const i32x4 0 0 0 0))))"),
            "relaxed SIMD",
        ),
        (code("(tag) (func (throw 0))"), "exceptions"),
        (code("(type (struct (field i32)))"), "garbage collection"),
    ] {
        let Ok(bytes) = wat::parse_str(&text) else {
            panic!("{text} is no text")
        };
        let refusal = inspect(&bytes).expect_err(&text);
        assert!(
            refusal.to_string().contains(expected),
            "{expected}: {refusal}"
        );
    }
}

#[test]
fn what_a_builder_exports_for_itself_is_no_function() {
    let text = component(
        "(func $run (result u32) (canon lift (core func $i \"run\")))
         (instance $own (export \"init\" (func $run)))
         (export \"exports\" (instance $own))
         (export \"run\" (func $run))",
    );
    let component = inspect(&wat(&text)).expect("all of it is supported");
    let names: Vec<&str> = component
        .functions
        .iter()
        .map(|function| &*function.name)
        .collect();
    assert_eq!(names, ["run"]);
    assert_eq!(component.function("exports#init"), None);
}

#[test]
fn components_that_hold_each_other_again_and_again_are_refused() {
    let run =
        "(func $run (result u32) (canon lift (core func $i \"run\"))) (export \"run\" (func $run))";
    let twice: String = (1..20)
        .map(|n| {
            let inner = format!("(instance (instantiate $c{}))", n - 1);
            format!(
                "(component $c{n} (alias outer 1 $c{p} (component $c{p})) {inner} {inner})",
                p = n - 1
            )
        })
        .collect();
    let taking = "(component $taking (import \"c\" (component $c)) (instance (instantiate $c)))";
    // Each is there as often as it is instantiated: 7 × 10 are too many.
    let nine = "(core instance (instantiate $m))".repeat(9);
    let memories = format!(
        "(core module $o (memory 1))
         (component $c (core module $m (memory 1)) {nine} (alias outer 1 $o (core module $u)) (core instance (instantiate $u)))
         {}",
        "(instance (instantiate $c))".repeat(7)
    );
    for (parts, expected) in [
        (
            format!("(component $c0) {twice}"),
            "more than 20000 instances",
        ),
        (taking.to_owned(), "takes another one as an argument"),
        (memories, "more than 64 memories"),
        (
            "(core module (table 10000001 funcref))".to_owned(),
            "more than 10000000 elements",
        ),
        (
            "(core module (table 6000000 funcref)) (core module (table 6000000 funcref))"
                .to_owned(),
            "more than 10000000 elements",
        ),
    ] {
        let reasons = reasons(&component(&format!("{parts} {run}")));
        assert!(
            matches!(&reasons[..], [reason] if reason.contains(expected)),
            "{expected}: {reasons:?}"
        );
    }
    let few = "(component $c0) (component $c1 (alias outer 1 $c0 (component $c)) (instance (instantiate $c)))";
    let few = format!("{few} (instance (instantiate $c1)) (core module (memory 1)) {run}");
    inspect(&wat(&component(&few))).expect("it is composed of a few");
    // What is only defined is not there.
    let unused = format!("{} {run}", "(core module (memory 1))".repeat(100));
    inspect(&wat(&component(&unused))).expect("it has the memory of one module");
}

#[test]
fn functions_that_nest_deeper_than_engines_like_are_refused() {
    let nested = |depth: usize| {
        let body = format!("{}{}", "block ".repeat(depth), "end ".repeat(depth));
        component(&format!(
            "(core module $deep (func {body})) (func $run (result u32) (canon lift (core func $i \"run\"))) (export \"run\" (func $run))"
        ))
    };
    assert_eq!(reasons(&nested(4_000)), [""; 0], "no deeper than it may be");
    let reasons = reasons(&nested(6_000));
    assert!(
        matches!(&reasons[..], [reason] if reason.contains("nests more than 5000 blocks")),
        "{reasons:?}"
    );
}

#[test]
fn functions_that_browsers_do_not_compile_are_refused() {
    let with = |function: &str| {
        reasons(&component(&format!(
            "(core module $large (func {function})) (func $run (result u32) (canon lift (core func $i \"run\"))) (export \"run\" (func $run))"
        )))
    };
    let local = |count: usize| format!("(local {})", "i64 ".repeat(count));
    let branches = |count: usize| format!("i32.const 0 br_table {}", "0 ".repeat(count + 1));
    let code = |nops: usize| "nop ".repeat(nops);
    for (most, more, expected) in [
        (local(49_900), local(49_901), "49901 parameters and locals"),
        (branches(65_520), branches(65_521), "65521 entries"),
        // One byte says that there are no locals, one is the end.
        (code(2_999_998), code(2_999_999), "3000001 bytes"),
    ] {
        assert_eq!(with(&most), [""; 0], "as many as there may be");
        let reasons = with(&more);
        assert!(
            matches!(&reasons[..], [reason] if reason.contains(expected) && reason.contains("split it")),
            "{expected}: {reasons:?}"
        );
    }
}

#[test]
fn other_files_are_told_apart() {
    for (bytes, expected) in [
        (&b"(module)"[..], "WebAssembly text"),
        (b"\x89PNG", "not WebAssembly"),
        (b"", "not WebAssembly"),
        (&wat("(module)")[..], "a core module and not a component"),
        (&wat(&component(TWO_INTERFACES))[..200], "cut short"),
        (&wat("(component)")[..], "exports no function"),
    ] {
        let refusal = inspect(bytes).expect_err(expected);
        assert!(
            refusal.to_string().contains(expected),
            "{expected}: {refusal}"
        );
    }
}

#[test]
fn types_that_are_too_deep_or_too_large_are_refused() {
    let deep: String = (1..40)
        .map(|n| format!("(type $t{n} (list $t{}))", n - 1))
        .collect();
    let wide: String = (1..18)
        .map(|n| format!("(type $t{n} (tuple $t{p} $t{p}))", p = n - 1))
        .collect();
    let long = "(type $t1 (list u8 1000)) (type $t2 (list $t1 1000))".to_owned();
    for (types, last, func, expected) in [
        (deep, 39, "take-list", "nested deeper"),
        (long, 2, "take", "parts: make them smaller"),
        (wide, 17, "take", "parts: make them smaller"),
    ] {
        let reasons = reasons(&component(&format!(
            "(type $t0 (list u8)) {types}
             (func $f (param \"x\" $t{last}) (canon lift (core func $i \"{func}\") (memory $memory) (realloc $realloc)))
             (export \"f\" (func $f))"
        )));
        assert!(
            reasons.iter().any(|reason| reason.contains(expected)),
            "{expected}: {reasons:?}"
        );
    }
}

#[cfg(feature = "wrap")]
mod wrapping {
    use asterism_component::{Component, DECLARATION_SECTION, inspect, wrap, wrap_as};

    use super::{component, wat};

    #[track_caller]
    fn signatures(component: &[u8]) -> Vec<String> {
        let Component { functions, .. } = inspect(component).expect("what was wrapped is fit");
        functions
            .iter()
            .map(asterism_component::Function::signature)
            .collect()
    }

    #[test]
    fn components_pass_through() {
        let bytes = wat(&component(super::TWO_INTERFACES));
        assert_eq!(wrap(&bytes), Ok(bytes));
    }

    #[test]
    fn text_becomes_binary() {
        let text = component(super::TWO_INTERFACES);
        assert_eq!(wrap(format!(";; text\n{text}").as_bytes()), Ok(wat(&text)));
        let refusal = wrap(b"(module (func").expect_err("it ends too early");
        assert!(refusal.to_string().contains("not WebAssembly"), "{refusal}");
    }

    #[test]
    fn functions_over_numbers_are_exported_by_their_signature() {
        let text = r#"(module
            (memory (export "memory") 1)
            (global (export "g") i32 (i32.const 0))
            (table (export "__indirect_function_table") 1 funcref)
            (func (export "_factorial") (param $n i64) (result i64) (local.get 0))
            (func (export "addNumbers") (param $a i32) (param $b_2 f32) (param f64) (result f64) (local.get 2))
            (func (export "two") (result i32 i32) (i32.const 1) (i32.const 2))
            (func (export "nothing") (param $same i32) (param i32))
            (func (export "_malloc") (param i32) (result i32) (local.get 0))
            (func (export "__wasm_call_ctors"))
            (func (export "_initialize"))
            (func (export "2fast")))"#;
        let wrapped = wrap(text.as_bytes()).expect("it can be wrapped");
        assert_eq!(
            signatures(&wrapped),
            [
                "factorial(n: s64) -> s64",
                "add-numbers(a: s32, b2: f32, p2: f64) -> f64",
                "nothing(same: s32, p1: s32)",
            ]
        );
        let component = inspect(&wrapped).expect("it is fit");
        for name in ["_factorial", "factorial", "Factorial"] {
            assert_eq!(
                component.function(name).map(|f| f.name.as_str()),
                Some("factorial")
            );
        }
        assert!(component.function("add_numbers").is_some());
    }

    /// A module that gives strings back, with this allocator and these further parts.
    fn strings(allocator: &str, parts: &str) -> String {
        format!(
            r#"(module
                (memory (export "memory") 1)
                (func (export "{allocator}") (param i32) (result i32) (i32.const 1025))
                (func (export "_echo") (param i32 i32) (result i32)
                    (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16))
                (func (export "count") (param i32 i32) (result i32) (local.get 1))
                {parts})"#
        )
    }

    const ECHO: &str =
        "export echo: func(v: string) -> string; export count: func(v: list<u16>) -> u32;";

    #[test]
    fn declared_functions_are_exported_and_no_others() {
        let expected = ["echo(v: string) -> string", "count(v: list<u16>) -> u32"];
        for allocator in ["malloc", "_malloc", "alloc", "allocate"] {
            let wrapped = wrap_as(strings(allocator, "").as_bytes(), ECHO).expect(allocator);
            assert_eq!(signatures(&wrapped), expected, "{allocator}");
        }
        let own = format!("(@custom \"{DECLARATION_SECTION}\" \"{ECHO}\")");
        let wrapped = wrap(strings("malloc", &own).as_bytes()).expect("it declares them itself");
        assert_eq!(signatures(&wrapped), expected);
        let canonical = strings(
            "other",
            "(func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 1024))",
        );
        let wrapped = wrap_as(canonical.as_bytes(), ECHO).expect("it has the allocator of the ABI");
        assert_eq!(signatures(&wrapped), expected);
    }

    #[test]
    fn declarations_that_a_module_does_not_fulfil_say_what_is_missing() {
        let no_memory = "(module (func (export \"f\") (param i32 i32)) (func (export \"malloc\") (param i32) (result i32) unreachable))";
        for (module, declared, expected) in [
            (
                strings("malloc", ""),
                "export shout: func();",
                "`shout` is declared and not exported; it exports _echo, count",
            ),
            (
                strings("malloc", ""),
                "export echo: func(v: string);",
                "expected `[I32, I32] -> []` but found",
            ),
            (
                strings("malloc", ""),
                "export echo: func(v: strin) -> string;",
                "strin",
            ),
            (strings("malloc", ""), "export echo func", "cannot be read"),
            (
                strings("malloc", ""),
                "export things: interface { }",
                "is no function",
            ),
            (strings("nothing", ""), ECHO, "export an allocator"),
            (
                no_memory.to_owned(),
                "export f: func(v: string);",
                "export its memory",
            ),
        ] {
            let refusal = wrap_as(module.as_bytes(), declared).expect_err(expected);
            assert!(
                refusal.to_string().contains(expected),
                "{expected}: {refusal}"
            );
        }
    }

    #[test]
    fn core_modules_that_cannot_be_wrapped_are_refused_with_a_remedy() {
        for (parts, expected) in [
            ("", "carries no world and exports no function"),
            (
                "(func (export \"f\") (result i32 i32) unreachable)",
                "(`f`) are not over single numbers",
            ),
            (
                "(import \"__wbindgen_placeholder__\" \"f\" (func))",
                "leave out the dependency",
            ),
            (
                "(import \"wasi_snapshot_preview1\" \"fd_write\" (func))",
                "wasm32-wasip2",
            ),
            ("(import \"env\" \"f\" (func))", "link the library in"),
            (
                "(import \"host\" \"f\" (func))",
                "`f` from `host`, which no host provides",
            ),
            (
                "(import \"env\" \"f\" (func)) (import \"host\" \"g\" (func))",
                "`g` from `host`, which no host provides",
            ),
        ] {
            let refusal = wrap(&wat(&format!("(module {parts})"))).expect_err(expected);
            assert!(refusal.to_string().contains(expected), "{refusal}");
        }
    }
}
