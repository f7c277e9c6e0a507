//! The guest that every host must perform alike: it gives back what it got, or misbehaves in a known way.

use std::hint::black_box;

use wasi::logging::logging::{Level, log};

wit_bindgen::generate!({ world: "conformance", path: "wit", generate_all });

struct Conformance;

export!(Conformance);

/// The byte at `i` of [`Guest::long_bytes`].
fn byte(i: u32) -> u8 {
    (i.wrapping_mul(31) ^ (i >> 8)) as u8
}

#[inline(never)]
fn depth(n: u32) -> u32 {
    if n == 0 { 0 } else { black_box(depth(black_box(n - 1))) + 1 }
}

impl Guest for Conformance {
    fn echo_bool(v: bool) -> bool {
        v
    }
    fn echo_u8(v: u8) -> u8 {
        v
    }
    fn echo_s8(v: i8) -> i8 {
        v
    }
    fn echo_u16(v: u16) -> u16 {
        v
    }
    fn echo_s16(v: i16) -> i16 {
        v
    }
    fn echo_u32(v: u32) -> u32 {
        v
    }
    fn echo_s32(v: i32) -> i32 {
        v
    }
    fn echo_u64(v: u64) -> u64 {
        v
    }
    fn echo_s64(v: i64) -> i64 {
        v
    }
    fn echo_f32(v: f32) -> f32 {
        v
    }
    fn echo_f64(v: f64) -> f64 {
        v
    }
    fn echo_char(v: char) -> char {
        v
    }
    fn echo_string(v: String) -> String {
        v
    }
    fn echo_bytes(v: Vec<u8>) -> Vec<u8> {
        v
    }
    fn echo_strings(v: Vec<String>) -> Vec<String> {
        v
    }
    fn echo_matrix(v: Vec<Vec<u16>>) -> Vec<Vec<u16>> {
        v
    }
    fn echo_point(v: Point) -> Point {
        v
    }
    fn echo_person(v: Person) -> Person {
        v
    }
    fn echo_people(v: Vec<Person>) -> Vec<Person> {
        v
    }
    fn echo_shape(v: Shape) -> Shape {
        v
    }
    fn echo_color(v: Color) -> Color {
        v
    }
    fn echo_perms(v: Perms) -> Perms {
        v
    }
    fn echo_many_flags(v: ManyFlags) -> ManyFlags {
        v
    }
    fn echo_option(v: Option<String>) -> Option<String> {
        v
    }
    fn echo_nested_option(v: Option<Option<u32>>) -> Option<Option<u32>> {
        v
    }
    fn echo_results(v: Vec<Result<u32, String>>) -> Vec<Result<u32, String>> {
        v
    }
    fn echo_tuple(v: (u8, i64, char)) -> (u8, i64, char) {
        v
    }
    fn echo_pairs(v: Vec<(String, u32)>) -> Vec<(String, u32)> {
        v
    }

    fn many_args(
        a: u8,
        b: u16,
        c: u32,
        d: u64,
        e: i8,
        f: i16,
        g: i32,
        h: i64,
        i: f32,
        j: f64,
        k: bool,
        l: char,
        m: String,
        n: Vec<u8>,
        o: Option<u32>,
        p: Color,
        q: u8,
    ) -> String {
        format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l} {m} {n:?} {o:?} {p:?} {q}")
    }

    fn no_result(v: u32) {
        black_box(v);
    }

    fn might_fail(ok: bool) -> Result<String, String> {
        if ok { Ok("fine".into()) } else { Err("bad".into()) }
    }

    fn fail_bare(ok: bool) -> Result<(), ()> {
        if ok { Ok(()) } else { Err(()) }
    }

    fn log_it(n: u32) {
        for i in 0..n {
            log(Level::Debug, "conformance", if i % 2 == 0 { "even" } else { "odd" });
        }
    }

    fn log_levels() {
        let levels = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];
        for level in levels {
            log(level, "", "𝛼 line\nand another");
        }
    }

    fn spin() {
        let mut i = 0_u32;
        loop {
            i = black_box(i.wrapping_add(1));
        }
    }

    fn work(n: u64) -> u64 {
        (0..n).fold(0x9e37_79b9_7f4a_7c15, |hash, i| black_box((hash ^ i).wrapping_mul(0x0100_0000_01b3)))
    }

    fn grow(mb: u32) -> u32 {
        // 16 pages of 64 KiB are 1 MiB.
        (0..mb).take_while(|_| core::arch::wasm32::memory_grow(0, 16) != usize::MAX).count() as u32
    }

    fn nan() -> f64 {
        // A payload that must not show outside.
        f64::from_bits(black_box(0xfff8_0000_dead_beef))
    }

    fn stack(n: u32) -> u32 {
        depth(n)
    }

    fn long_bytes(n: u32) -> Vec<u8> {
        (0..n).map(byte).collect()
    }

    fn long_string(n: u32) -> String {
        "x".repeat(n as usize)
    }

    fn trap_unreachable() {
        core::arch::wasm32::unreachable()
    }

    fn trap_panic() {
        panic!("as a guest does")
    }

    fn trap_div(a: i32, b: i32) -> i32 {
        // Without Rust's own checks, so that the instruction traps and not a panic.
        unsafe { black_box(a).checked_div(black_box(b)).unwrap_unchecked() }
    }

    fn trap_rem(a: i32, b: i32) -> i32 {
        unsafe { black_box(a).checked_rem(black_box(b)).unwrap_unchecked() }
    }

    fn trap_oob(address: u32) -> u8 {
        unsafe { std::ptr::read_volatile(address as *const u8) }
    }

    fn trap_indirect(index: u32) {
        // A function pointer is an index of the table; 0 is null there.
        let function: extern "C" fn(f64, f64, f64) -> f32 = unsafe { std::mem::transmute(black_box(index)) };
        black_box(function(1.0, 2.0, 3.0));
    }
}

impl exports::asterism::conformance::arith::Guest for Conformance {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
}
