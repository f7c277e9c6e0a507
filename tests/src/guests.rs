//! The components that tests run, as `build.rs` made them.

/// `tests/guests/conformance`: what every host must perform alike.
pub const CONFORMANCE: &[u8] = include_bytes!(env!("GUEST_CONFORMANCE"));

/// Single instructions: the executor's `conformance/instructions.wat`.
pub const INSTRUCTIONS: &[u8] = include_bytes!(env!("GUEST_INSTRUCTIONS"));

/// Strings, values of every kind and what is none: the executor's `conformance/values.wat`.
pub const VALUES: &[u8] = include_bytes!(env!("GUEST_VALUES"));

/// Strings in Latin-1, or else in UTF-16: the executor's `conformance/latin1.wat`.
pub const LATIN1: &[u8] = include_bytes!(env!("GUEST_LATIN1"));

/// Handles of resources: the executor's `conformance/resources.wat`.
pub const RESOURCES: &[u8] = include_bytes!(env!("GUEST_RESOURCES"));

/// Several versions of WASI 0.2: the executor's `conformance/versions.wat`.
pub const VERSIONS: &[u8] = include_bytes!(env!("GUEST_VERSIONS"));

/// Components that call each other, with strings in every encoding: the executor's `conformance/composed.wat`.
pub const COMPOSED: &[u8] = include_bytes!(env!("GUEST_COMPOSED"));

/// Components that lend each other handles: the executor's `conformance/lent.wat`.
pub const LENT: &[u8] = include_bytes!(env!("GUEST_LENT"));

/// `tests/guests/wasip2`: what guests can ask of their world.
pub const WASIP2: &[u8] = include_bytes!(env!("GUEST_WASIP2"));

/// `tests/guests/files`: what guests can do with files.
pub const FILES: &[u8] = include_bytes!(env!("GUEST_FILES"));

/// `tests/guests/http`: what guests can do to the world outside.
pub const HTTP: &[u8] = include_bytes!(env!("GUEST_HTTP"));

/// `tests/guests/kernels`: what programs do for a living.
pub const KERNELS: &[u8] = include_bytes!(env!("GUEST_KERNELS"));

/// `tests/guests/relay`: to be composed with others; alone it imports what no host provides.
pub const RELAY: &[u8] = include_bytes!(env!("GUEST_RELAY"));

/// `tests/guests/composer`: composes components.
pub const COMPOSER: &[u8] = include_bytes!(env!("GUEST_COMPOSER"));

/// `tests/guests/smith`: makes core modules.
pub const SMITH: &[u8] = include_bytes!(env!("GUEST_SMITH"));

/// `examples/math`.
pub const MATH: &[u8] = include_bytes!(env!("GUEST_MATH"));

/// `examples/image`.
pub const IMAGE: &[u8] = include_bytes!(env!("GUEST_IMAGE"));

/// `examples/greet/rust`: a plain core module, wrapped.
pub const GREET: &[u8] = include_bytes!(env!("GUEST_GREET"));

/// `examples/greet/greet.c`, wrapped; empty where there was no clang when this was built.
pub const GREET_C: &[u8] = include_bytes!(env!("GUEST_GREET_C"));

/// All that the conformance suite calls.
pub const COMPONENTS: asterism_executor::conformance::Components<'static> =
    asterism_executor::conformance::Components {
        guest: CONFORMANCE,
        instructions: INSTRUCTIONS,
        values: VALUES,
        latin1: LATIN1,
        resources: RESOURCES,
        versions: VERSIONS,
        composed: COMPOSED,
        lent: LENT,
        wasip2: WASIP2,
        files: FILES,
    };
