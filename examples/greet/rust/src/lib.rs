//! Functions over strings and JSON in a plain core module, by the convention of `docs/src/core-modules.md`: no wit-bindgen, no
//! dependency at all.

use std::alloc::Layout;

/// What the functions are, in WIT. Without it, only functions over numbers are seen.
const FUNCTIONS: &[u8] =
    b"export greet: func(name: string) -> string;\nexport area: func(rect: string) -> string;\n";

#[used]
#[unsafe(link_section = "asterism_functions")]
static DECLARATION: [u8; FUNCTIONS.len()] = match FUNCTIONS.first_chunk() {
    Some(bytes) => *bytes,
    None => unreachable!(),
};

/// A string, as a result: the address of these two.
#[repr(C)]
pub struct Text {
    address: *const u8,
    length: usize,
}

impl Text {
    /// Each task has an instance of its own, so nothing is ever freed.
    fn of(text: String) -> *const Self {
        let text = text.leak();
        let (address, length) = (text.as_ptr(), text.len());
        Box::leak(Box::new(Self { address, length }))
    }
}

/// Memory for arguments.
#[unsafe(no_mangle)]
pub extern "C" fn alloc(size: usize) -> *mut u8 {
    match Layout::from_size_align(size.max(1), 1) {
        // SAFETY: the size is not zero.
        Ok(layout) => unsafe { std::alloc::alloc(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

/// # Safety
/// `address` and `length` are a string that the host put into memory from [`alloc`].
unsafe fn argument<'a>(address: *const u8, length: usize) -> &'a str {
    // SAFETY: as above; the host passes UTF-8.
    unsafe { str::from_utf8_unchecked(std::slice::from_raw_parts(address, length)) }
}

/// `greet: func(name: string) -> string`
///
/// # Safety
/// Only the host calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn greet(address: *const u8, length: usize) -> *const Text {
    // SAFETY: the host called.
    let name = unsafe { argument(address, length) };
    Text::of(format!("Hello, {name}!"))
}

/// `area: func(rect: string) -> string`: an object travels as its JSON, `{"width":2,"height":3}` gives `{"area":6}`.
///
/// # Safety
/// Only the host calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn area(address: *const u8, length: usize) -> *const Text {
    // SAFETY: the host called.
    let json = unsafe { argument(address, length) };
    let number = |key: &str| -> f64 {
        let after = json
            .split_once(&format!("\"{key}\":"))
            .map_or("", |(_, after)| after);
        let end = after.find([',', '}']).unwrap_or(after.len());
        after[..end].trim().parse().unwrap_or(f64::NAN)
    };
    Text::of(format!(
        "{{\"area\":{}}}",
        number("width") * number("height")
    ))
}
