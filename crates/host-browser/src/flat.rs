//! Core values, as they pass between Rust and a guest through JavaScript.

use wasm_bindgen::JsValue;

use crate::halt::Halt;

/// The type of a core value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlatType {
    I32,
    I64,
    F32,
    F64,
}

/// A core value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flat {
    I32(u32),
    I64(u64),
    F32(f32),
    F64(f64),
}

impl FlatType {
    /// The type that carries values of both.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::I32, Self::F32) | (Self::F32, Self::I32) => Self::I32,
            _ => Self::I64,
        }
    }

    pub(crate) fn zero(self) -> Flat {
        match self {
            Self::I32 => Flat::I32(0),
            Self::I64 => Flat::I64(0),
            Self::F32 => Flat::F32(0.0),
            Self::F64 => Flat::F64(0.0),
        }
    }
}

impl Flat {
    /// As JavaScript passes it to a wasm function.
    pub(crate) fn to_js(self) -> JsValue {
        match self {
            Self::I32(value) => JsValue::from(value.cast_signed()),
            Self::I64(value) => JsValue::from(value.cast_signed()),
            Self::F32(value) => JsValue::from(value),
            Self::F64(value) => JsValue::from(value),
        }
    }

    /// Reads what a wasm function gave.
    pub(crate) fn of_js(ty: FlatType, value: &JsValue) -> Result<Self, Halt> {
        let number = || {
            value
                .as_f64()
                .ok_or_else(|| Halt::host("a wasm function gave no number"))
        };
        Ok(match ty {
            FlatType::I32 => Self::I32(u32_of_number(number()?)),
            FlatType::F32 =>
            {
                #[expect(clippy::cast_possible_truncation, reason = "the number was an f32")]
                Self::F32(number()? as f32)
            }
            FlatType::F64 => Self::F64(number()?),
            FlatType::I64 => {
                let integer = i64::try_from(value.clone())
                    .map_err(|_| Halt::host("a wasm function gave no i64"))?;
                Self::I64(integer.cast_unsigned())
            }
        })
    }

    /// The value in the slot of a variant, which is as wide as the widest of its cases.
    pub(crate) fn widen(self, slot: FlatType) -> Self {
        let bits = match self {
            Self::I32(value) => u64::from(value),
            Self::I64(value) => value,
            Self::F32(value) => u64::from(value.to_bits()),
            Self::F64(value) => value.to_bits(),
        };
        Self::of_bits(slot, bits)
    }

    /// The value of a case, out of the slot of its variant.
    pub(crate) fn narrow(self, ty: FlatType) -> Self {
        self.widen(ty)
    }

    fn of_bits(ty: FlatType, bits: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the upper half of a wider slot carries nothing"
        )]
        let low = bits as u32;
        match ty {
            FlatType::I32 => Self::I32(low),
            FlatType::I64 => Self::I64(bits),
            FlatType::F32 => Self::F32(f32::from_bits(low)),
            FlatType::F64 => Self::F64(f64::from_bits(bits)),
        }
    }
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
    use super::*;

    #[test]
    fn variants_carry_every_case_in_their_widest_slot() {
        assert_eq!(FlatType::I32.join(FlatType::F32), FlatType::I32);
        assert_eq!(FlatType::F32.join(FlatType::F64), FlatType::I64);
        assert_eq!(FlatType::F64.join(FlatType::F64), FlatType::F64);
        for value in [Flat::I32(7), Flat::F32(1.5)] {
            for slot in [FlatType::I32, FlatType::I64] {
                let ty = if matches!(value, Flat::I32(_)) {
                    FlatType::I32
                } else {
                    FlatType::F32
                };
                assert_eq!(value.widen(slot).narrow(ty), value);
            }
        }
        assert_eq!(
            Flat::F64(-0.5).widen(FlatType::I64).narrow(FlatType::F64),
            Flat::F64(-0.5)
        );
    }

    #[test]
    fn numbers_of_javascript_are_unsigned_here() {
        assert_eq!(u32_of_number(-1.0), u32::MAX);
        assert_eq!(u32_of_number(4_294_967_295.0), u32::MAX);
        assert_eq!(u32_of_number(65_536.0), 65_536);
    }
}
