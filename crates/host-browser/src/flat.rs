//! Core values, as they pass between Rust and a guest through JavaScript.

use asterism_component::abi::{Flat, FlatType};
use wasm_bindgen::JsValue;

use crate::halt::Halt;

/// As JavaScript passes it to a wasm function.
pub(crate) fn to_js(flat: Flat) -> JsValue {
    match flat {
        Flat::I32(value) => JsValue::from(value.cast_signed()),
        Flat::I64(value) => JsValue::from(value.cast_signed()),
        Flat::F32(value) => JsValue::from(value),
        Flat::F64(value) => JsValue::from(value),
    }
}

/// Reads what a wasm function gave.
pub(crate) fn of_js(ty: FlatType, value: &JsValue) -> Result<Flat, Halt> {
    let number = || {
        value
            .as_f64()
            .ok_or_else(|| Halt::host("a wasm function gave no number"))
    };
    Ok(match ty {
        FlatType::I32 => Flat::I32(u32_of_number(number()?)),
        FlatType::F32 =>
        {
            #[expect(clippy::cast_possible_truncation, reason = "the number was an f32")]
            Flat::F32(number()? as f32)
        }
        FlatType::F64 => Flat::F64(number()?),
        FlatType::I64 => {
            let integer = i64::try_from(value.clone())
                .map_err(|_| Halt::host("a wasm function gave no i64"))?;
            Flat::I64(integer.cast_unsigned())
        }
    })
}

/// JavaScript shows an i32 as a number, negative or not.
pub(crate) fn u32_of_number(number: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is an i32 or a u32"
    )]
    let integer = number as i64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "as above"
    )]
    let low = integer as u32;
    low
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn numbers_of_javascript_are_unsigned_here() {
        assert_eq!(u32_of_number(-1.0), u32::MAX);
        assert_eq!(u32_of_number(4_294_967_295.0), u32::MAX);
        assert_eq!(u32_of_number(65_536.0), 65_536);
    }
}
