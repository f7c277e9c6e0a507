//! What people and chance do to a world.

use asterism_executor::session::Input as Heard;

use super::{Random, world::World};

/// One thing that happens to a world from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Time goes by, in milliseconds.
    Pass(u64),
    /// Somebody submits the workflow of this number; who got no answer asks again.
    Submit(usize),
    /// Somebody cancels it.
    Cancel(usize),
    /// An executor's page is opened.
    Open(usize),
    /// It is closed without a word.
    Close(usize),
    /// It sleeps for so many milliseconds.
    Freeze(usize, u64),
    /// Its owner stops it, and lets it finish or not.
    Leave(usize, bool),
    /// Its connection breaks; both sides hear of it some time.
    Break(usize),
    /// The coordinator is killed while so many events more had been written, and is started again after milliseconds.
    Kill {
        /// How many events of the commit under way are durable.
        written: usize,
        /// How long it is down.
        down_ms: u64,
    },
    /// A twin is made of the journal and compared.
    Compare,
}

impl Act {
    /// A disaster.
    pub(super) fn disaster(random: &mut Random, executors: usize) -> Self {
        let executor = random.below(executors as u64) as usize;
        match random.below(8) {
            0..=2 => Self::Break(executor),
            3 => Self::Close(executor),
            4 => Self::Freeze(executor, random.below(9_000)),
            5 => Self::Leave(executor, random.chance(500)),
            6 => Self::Compare,
            _ => Self::Kill {
                written: random.below(4) as usize,
                down_ms: random.below(6_000),
            },
        }
    }
}

impl World {
    /// Does something to the world, now. What makes no sense as things stand changes nothing.
    ///
    /// # Panics
    /// If an invariant is broken.
    pub fn act(&mut self, act: &Act) {
        let executor = |executor: &usize| *executor % self.executors.len();
        match act {
            Act::Pass(ms) => self.pass(*ms),
            Act::Submit(wish) => {
                if let Some(wish) = wish.checked_rem(self.wishes.len()) {
                    self.submit(wish);
                }
            }
            Act::Cancel(wish) => {
                if let Some(wish) = wish.checked_rem(self.wishes.len()) {
                    self.cancel(wish);
                }
            }
            Act::Open(number) => self.open(executor(number)),
            Act::Close(number) => self.close(executor(number)),
            Act::Freeze(number, ms) => self.freeze(executor(number), *ms),
            Act::Leave(number, finish) => {
                let finish = *finish;
                self.tell_executor(executor(number), Heard::Leave { finish });
            }
            Act::Break(number) => self.break_line(executor(number)),
            Act::Kill { written, down_ms } => self.kill(*written, *down_ms),
            Act::Compare => self.compare(),
        }
    }
}
