//! The one configuration of the engine. What is in it decides fuel, traps and bits: outcomes depend on it.

use wasmtime::Config;

/// Stack of a guest, in bytes: what a browser gives, about. Overflow is a fault and not an outcome, for depths differ.
pub(crate) const STACK_BYTES: usize = 1 << 20;

pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        // For the wall clock: fuel alone does not bound time.
        .epoch_interruption(true)
        // Browsers do not canonicalize NaN; where values cross the boundary we do.
        .cranelift_nan_canonicalization(false)
        .max_wasm_stack(STACK_BYTES)
        .wasm_component_model(true)
        .wasm_component_model_map(true)
        .wasm_component_model_fixed_length_lists(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    // What `asterism_component::features` admits, by which components are validated first. Adapters between components,
    // which Wasmtime makes itself, have several memories on top of it.
    config
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(true)
        .wasm_extended_const(true);
    config
}
