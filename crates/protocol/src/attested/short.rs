//! Bytes that are few most often.

use std::{fmt, ops::Deref};

/// How many bytes stand in place: as many as there is room for beside what tells both cases apart.
const FEW: usize = 22;

/// A boxed slice; what is short has no box. A number, a boolean or a word that an outcome came to is.
#[derive(Clone)]
pub(super) enum Short {
    Few { length: u8, bytes: [u8; FEW] },
    Many(Box<[u8]>),
}

impl From<Vec<u8>> for Short {
    fn from(all: Vec<u8>) -> Self {
        let mut bytes = [0; FEW];
        match bytes.get_mut(..all.len()) {
            Some(few) => {
                few.copy_from_slice(&all);
                let length = all.len() as u8;
                Self::Few { length, bytes }
            }
            None => Self::Many(all.into()),
        }
    }
}

impl Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Few { length, bytes } => &bytes[..usize::from(*length)],
            Self::Many(bytes) => bytes,
        }
    }
}

impl PartialEq for Short {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_bytes_are_what_few_are() {
        assert_eq!(size_of::<Short>(), 24, "there is no room between");
        for length in [0, 1, FEW - 1, FEW, FEW + 1, 1_000] {
            let bytes: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
            let short = Short::from(bytes.clone());
            assert_eq!(*short, *bytes);
            assert_eq!(short, short.clone());
            assert_eq!(format!("{short:?}"), format!("{bytes:?}"));
            assert_eq!(matches!(short, Short::Few { .. }), length <= FEW);
        }
    }
}
