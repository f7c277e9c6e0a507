//! Core values: what passes between host and guest without memory.

/// The type of a core value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are WebAssembly's")]
pub enum FlatType {
    I32,
    I64,
    F32,
    F64,
}

/// A core value.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are WebAssembly's")]
pub enum Flat {
    I32(u32),
    I64(u64),
    F32(f32),
    F64(f64),
}

impl FlatType {
    /// The type that carries values of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::I32, Self::F32) | (Self::F32, Self::I32) => Self::I32,
            _ => Self::I64,
        }
    }

    /// Zero of this type.
    #[must_use]
    pub fn zero(self) -> Flat {
        Flat::of_bits(self, 0)
    }
}

impl Flat {
    /// The value with these bits; the upper half of wider ones carries nothing.
    #[must_use]
    pub fn of_bits(ty: FlatType, bits: u64) -> Self {
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

    /// Its bits, zero-extended.
    #[must_use]
    pub fn bits(self) -> u64 {
        match self {
            Self::I32(value) => u64::from(value),
            Self::I64(value) => value,
            Self::F32(value) => u64::from(value.to_bits()),
            Self::F64(value) => value.to_bits(),
        }
    }

    /// The value in a slot of another type: into the slot of a variant, which is as wide as the widest of its cases, or
    /// out of it.
    #[must_use]
    pub fn cast(self, slot: FlatType) -> Self {
        Self::of_bits(slot, self.bits())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_carry_every_case_in_their_widest_slot() {
        assert_eq!(FlatType::I32.join(FlatType::F32), FlatType::I32);
        assert_eq!(FlatType::F32.join(FlatType::F64), FlatType::I64);
        assert_eq!(FlatType::F64.join(FlatType::F64), FlatType::F64);
        for (value, ty) in [
            (Flat::I32(7), FlatType::I32),
            (Flat::F32(1.5), FlatType::F32),
        ] {
            for slot in [FlatType::I32, FlatType::I64] {
                assert_eq!(value.cast(slot).cast(ty), value);
            }
        }
        assert_eq!(
            Flat::F64(-0.5).cast(FlatType::I64).cast(FlatType::F64),
            Flat::F64(-0.5)
        );
    }
}
