//! Exponential backoff with full jitter, the same for the same seed.

/// Longest wait after the first failure, in milliseconds; each further failure doubles it.
const FIRST_MS: u64 = 250;

/// Longest wait ever, in milliseconds.
const LONGEST_MS: u64 = 30_000;

/// Shortest wait, in milliseconds, so that a coordinator that hangs up at once is not called without pause.
const SHORTEST_MS: u64 = 50;

/// Waits between attempts to connect.
#[derive(Debug)]
pub(super) struct Backoff {
    state: u64,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: seed,
            failures: 0,
        }
    }

    /// The wait after one more failure: uniform up to a bound that doubles, so that a thousand tabs do not come back at once.
    pub(super) fn next_ms(&mut self) -> u64 {
        let bound = FIRST_MS
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        SHORTEST_MS + self.random() % (bound - SHORTEST_MS + 1)
    }

    /// The connection held: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_the_same_for_a_seed() {
        let waits = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..100).map(|_| backoff.next_ms()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
        assert!(waits(7)[0] <= FIRST_MS);
        assert!(
            waits(7)
                .iter()
                .all(|wait| (SHORTEST_MS..=LONGEST_MS).contains(wait))
        );
        assert!(waits(7).iter().any(|wait| *wait > LONGEST_MS / 2));
    }
}
