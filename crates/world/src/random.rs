//! wasi:random: numbers that look random and follow from the task. Whoever knows the task knows them: they are no secret.

use asterism_component::Val;

use crate::{Interface, Stop, Versions, World, other_types};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:random/random",
        versions: Versions::Wasi02,
        functions: &[("get-random-bytes", bytes), ("get-random-u64", number)],
    },
    Interface {
        name: "wasi:random/insecure",
        versions: Versions::Wasi02,
        functions: &[
            ("get-insecure-random-bytes", bytes),
            ("get-insecure-random-u64", number),
        ],
    },
    Interface {
        name: "wasi:random/insecure-seed",
        versions: Versions::Wasi02,
        functions: &[("insecure-seed", seed)],
    },
];

/// Most bytes that one call gives; whoever wants more calls again.
const BYTES_MAX: u64 = 1 << 20;

/// xoshiro256++ (Blackman and Vigna): a dozen lines, equal on every target, and part of every outcome that uses it.
#[derive(Debug)]
pub(crate) struct Random([u64; 4]);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        let mut state = [0; 4];
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks are of eight bytes"));
        }
        // Zero is the one state that it never leaves.
        state[0] |= u64::from(state == [0; 4]);
        Self(state)
    }

    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }
}

/// A unit of fuel for each byte.
fn bytes(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::U64(len)] = args else {
        return other_types();
    };
    if *len > BYTES_MAX {
        return Err(format!("{len} bytes at once, {BYTES_MAX} are the most").into());
    }
    world.owe(*len);
    let len = *len as usize;
    let mut bytes = Vec::with_capacity(len + 7);
    while bytes.len() < len {
        bytes.extend(world.random.next().to_le_bytes());
    }
    bytes.truncate(len);
    Ok(vec![Val::Bytes(bytes)])
}

fn number(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![Val::U64(world.random.next())])
}

fn seed(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    let pair = vec![Val::U64(world.random.next()), Val::U64(world.random.next())];
    Ok(vec![Val::Tuple(pair)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_xoshiro256_plus_plus() {
        let mut seed = [0; 32];
        for (word, byte) in seed.chunks_exact_mut(8).zip(1..) {
            word[0] = byte;
        }
        let mut random = Random::new(seed);
        // Of the reference implementation with the state 1, 2, 3, 4.
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
        ];
        assert_eq!(expected.map(|_| random.next()), expected);
    }

    #[test]
    fn a_seed_of_zeroes_is_no_trap() {
        let mut random = Random::new([0; 32]);
        let first = random.next();
        // The second is the first once more; a state of nothing but zeroes would go on so.
        assert!((0..8).any(|_| random.next() != first));
    }
}
