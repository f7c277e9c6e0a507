//! The WebAssembly that every host runs alike.

use wasmparser::WasmFeatures;

/// What is left of WebAssembly 3 when results must agree everywhere, and the Component Model. Both hosts configure
/// themselves by this.
///
/// Not in it: threads and relaxed SIMD (not deterministic), 64-bit and further memories (the memory limit is kept
/// over one memory), garbage collection, typed function references and exceptions (fuel is not defined for them).
#[must_use]
pub fn features() -> WasmFeatures {
    // `context.get` and `context.set`, which runtimes of languages use, belong to the async part of the model;
    // what else is in it is refused by name.
    WasmFeatures::WASM3.difference(refused())
        | WasmFeatures::COMPONENT_MODEL
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_MAP
        | WasmFeatures::CM_FIXED_LENGTH_LISTS
}

fn refused() -> WasmFeatures {
    NAMED
        .iter()
        .fold(WasmFeatures::empty(), |all, (feature, _)| all | *feature)
}

/// Features that components are seen to use and that we refuse, with their names and remedies.
const NAMED: [(WasmFeatures, &str); 15] = [
    (
        WasmFeatures::THREADS,
        "threads (atomics, shared memory): build without `+atomics`",
    ),
    (
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        "shared-everything threads: build without threads",
    ),
    (
        WasmFeatures::RELAXED_SIMD,
        "relaxed SIMD, whose results differ between machines: build without `+relaxed-simd`",
    ),
    (WasmFeatures::MEMORY64, "64-bit memories: build for wasm32"),
    (
        WasmFeatures::MULTI_MEMORY,
        "several memories in one module: build without `+multimemory`",
    ),
    (
        WasmFeatures::EXCEPTIONS,
        "exceptions: build with `panic = \"abort\"`, in C++ with `-fno-exceptions`",
    ),
    (
        WasmFeatures::LEGACY_EXCEPTIONS,
        "exceptions: build with `panic = \"abort\"`, in C++ with `-fno-exceptions`",
    ),
    (
        WasmFeatures::GC,
        "garbage collection (GC): build for linear memory",
    ),
    (
        WasmFeatures::FUNCTION_REFERENCES,
        "typed function references: build without them",
    ),
    (
        WasmFeatures::GC_TYPES,
        "references to host values (`externref`): pass integers",
    ),
    (
        WasmFeatures::STACK_SWITCHING,
        "stack switching: build without it",
    ),
    (
        WasmFeatures::WIDE_ARITHMETIC,
        "wide arithmetic: build without `+wide-arithmetic`",
    ),
    (
        WasmFeatures::CUSTOM_PAGE_SIZES,
        "memory pages of another size: build with pages of 64 KiB",
    ),
    (
        WasmFeatures::CM_ERROR_CONTEXT,
        "`error-context`: use `result` with an error type of your own",
    ),
    (
        WasmFeatures::CM_THREADING,
        "threads of the Component Model: build without them",
    ),
];

/// Which refused features `bytes` need, by name. Slow: it is asked only when validation failed.
pub(crate) fn named(bytes: &[u8]) -> Vec<&'static str> {
    let valid = |features| {
        wasmparser::Validator::new_with_features(features)
            .validate_all(bytes)
            .is_ok()
    };
    let all = WasmFeatures::all();
    if !valid(all) {
        return Vec::new();
    }
    let mut names: Vec<_> = NAMED
        .iter()
        .filter(|(feature, _)| !valid(all.difference(*feature)))
        .map(|(_, name)| *name)
        .collect();
    names.dedup();
    names
}
