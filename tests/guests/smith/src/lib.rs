//! Makes core modules out of numbers: what hosts are compared on.

wit_bindgen::generate!({ world: "smith", path: "wit" });

struct Smith;

export!(Smith);

/// What a module is made of.
const BYTES: usize = 8_192;

impl Guest for Smith {
    fn module(seed: u64, exports: Option<Vec<u8>>) -> Option<Vec<u8>> {
        // SplitMix64.
        let mut state = seed;
        let mut number = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let kind = number();
        let chance = |bit: u32| kind & (1 << bit) != 0;
        let bytes: Vec<u8> = (0..BYTES / 8).flat_map(|_| number().to_le_bytes()).collect();
        let config = wasm_smith::Config {
            export_everything: exports.is_none(),
            // A start function runs before a call, whose fuel alone is compared.
            allow_start_export: exports.is_some() && chance(0),
            exports,
            max_imports: 0,
            min_funcs: 1,
            max_instructions: 200,
            simd_enabled: chance(1),
            relaxed_simd_enabled: false,
            threads_enabled: false,
            shared_everything_threads_enabled: false,
            exceptions_enabled: false,
            gc_enabled: false,
            memory64_enabled: false,
            wide_arithmetic_enabled: false,
            custom_page_sizes_enabled: false,
            // node knows it from version 22.
            extended_const_enabled: false,
            multi_value_enabled: true,
            tail_call_enabled: true,
            bulk_memory_enabled: true,
            reference_types_enabled: chance(2),
            max_memories: 1,
            max_memory32_bytes: 1 << 22,
            max_table_elements: 1_000,
            memory_max_size_required: chance(3),
            table_max_size_required: chance(3),
            // Which NaN an instruction makes is for machines to say.
            canonicalize_nans: true,
            ..wasm_smith::Config::default()
        };
        let mut source = arbitrary::Unstructured::new(&bytes);
        let module = wasm_smith::Module::new(config, &mut source).ok()?;
        Some(module.to_bytes())
    }
}
