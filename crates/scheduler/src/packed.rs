//! The tasks of a run, kept smaller still: of each there is what is not as in the first task of its kind.
//!
//! Tasks that are alike but for their arguments have the same component, function and limits, at the same places of their
//! encoding, and the digests of what they await are those of nodes. What is left is a sixth of it; the bytes are put together
//! again when a task is leased or looked at.

use std::sync::Arc;

use asterism_protocol::{Prepared, Task, Workflow, decode};

use crate::{
    digests::Digest,
    tasks::{Names, Tasks},
};

/// What stands before the digest in a link to content: the tag of links, 37 bytes of which the first is 0, CIDv1, dag-cbor,
/// sha3-256, 32 bytes.
const CONTENT: [u8; 9] = [0xd8, 0x2a, 0x58, 0x25, 0, 1, 0x71, 0x16, 0x20];

/// The tasks of a workflow, and their names.
#[derive(Debug, PartialEq)]
pub(crate) struct Packed {
    /// The first task of each kind.
    firsts: Pieces,
    /// Of each task: its kind; how many bytes it has in common with the first of that from the beginning on, and how many
    /// up to the end; how many of the digests between are left out; of each of these, how far it is behind the one before, and
    /// of which node it is; what is left of the bytes between.
    rests: Pieces,
    names: Arc<Names>,
    /// Bytes of the longest task.
    longest: usize,
}

/// Byte strings, one behind the other.
#[derive(Debug, Default, PartialEq)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// What a task consists of.
struct Parts<'a> {
    before: &'a [u8],
    cuts: u32,
    /// Two numbers for each.
    numbers: &'a [u8],
    own: &'a [u8],
    behind: &'a [u8],
}

impl Packed {
    /// Packs tasks. `kinds` says of each of them what kind it is of, numbered as they come; `awaited` of which nodes it has
    /// promises, in their order there; `digests` how each node's instruction is called.
    pub(crate) fn new<A: Iterator<Item = u32>>(
        tasks: &Tasks,
        kinds: &[u32],
        awaited: impl Fn(u32) -> A,
        digests: &[Digest],
    ) -> Self {
        let (mut firsts, mut rests) = (Pieces::default(), Pieces::default());
        rests.ends.reserve_exact(kinds.len());
        let (mut cuts, mut own) = (Vec::new(), Vec::new());
        let mut longest = 0;
        for (index, kind) in (0..).zip(kinds) {
            let task = tasks.encoded(index);
            longest = longest.max(task.len());
            if *kind as usize == firsts.ends.len() {
                firsts.bytes.extend_from_slice(task);
                firsts.end();
            }
            let first = firsts.get(*kind);
            let before = alike(first.iter().zip(task));
            let (first, task) = (&first[before..], &task[before..]);
            let behind = alike(first.iter().rev().zip(task.iter().rev()));
            let mut left = &task[..task.len() - behind];
            cuts.clear();
            own.clear();
            for node in awaited(index) {
                let Some(at) = first_digest(left)
                    .filter(|at| left[*at..].starts_with(&digests[node as usize]))
                else {
                    break;
                };
                cuts.extend([at as u32, node]);
                own.extend_from_slice(&left[..at]);
                left = &left[at + size_of::<Digest>()..];
            }
            let head = [*kind, before as u32, behind as u32, cuts.len() as u32 / 2];
            for number in head.iter().chain(&cuts) {
                write_number(&mut rests.bytes, *number);
            }
            rests.bytes.extend_from_slice(&own);
            rests.bytes.extend_from_slice(left);
            rests.end();
        }
        firsts.bytes.shrink_to_fit();
        firsts.ends.shrink_to_fit();
        rests.bytes.shrink_to_fit();
        Self {
            firsts,
            rests,
            names: tasks.names(),
            longest,
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.rests.ends.len() as u32
    }

    /// A task's name; empty for none.
    pub(crate) fn name(&self, index: u32) -> &str {
        self.names.get(index)
    }

    /// The canonical bytes of a task. `digest` tells how a node's instruction is called.
    pub(crate) fn encoded<'a>(&self, index: u32, digest: impl Fn(u32) -> &'a Digest) -> Vec<u8> {
        let Parts {
            before,
            cuts,
            mut numbers,
            mut own,
            behind,
        } = self.parts(index);
        let length = before.len() + cuts as usize * size_of::<Digest>() + own.len() + behind.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(before);
        for _ in 0..cuts {
            let (gap, rest) = own.split_at(read_number(&mut numbers) as usize);
            bytes.extend_from_slice(gap);
            bytes.extend_from_slice(digest(read_number(&mut numbers)));
            own = rest;
        }
        bytes.extend_from_slice(own);
        bytes.extend_from_slice(behind);
        bytes
    }

    /// How many bytes the longest task has.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// A task, decoded.
    pub(crate) fn get<'a>(&self, index: u32, digest: impl Fn(u32) -> &'a Digest) -> Task {
        let bytes = self.encoded(index, digest);
        decode("task", &bytes, bytes.len()).expect("it was encoded from a task")
    }

    /// All of it as it was submitted.
    pub(crate) fn prepared<'a>(&self, digest: impl Fn(u32) -> &'a Digest) -> Prepared {
        let indices = 0..self.len();
        Prepared {
            workflow: Workflow {
                tasks: indices
                    .clone()
                    .map(|index| self.get(index, &digest))
                    .collect(),
            },
            names: indices.map(|index| self.name(index).to_owned()).collect(),
        }
    }

    fn parts(&self, index: u32) -> Parts<'_> {
        let mut numbers = self.rests.get(index);
        let [kind, before, behind, cuts] = [(); 4].map(|()| read_number(&mut numbers));
        let mut own = numbers;
        for _ in 0..2 * cuts {
            read_number(&mut own);
        }
        let first = self.firsts.get(kind);
        Parts {
            before: &first[..before as usize],
            cuts,
            numbers,
            own,
            behind: &first[first.len() - behind as usize..],
        }
    }
}

impl Pieces {
    fn get(&self, index: u32) -> &[u8] {
        let begin = match index.checked_sub(1) {
            Some(before) => self.ends[before as usize],
            None => 0,
        };
        &self.bytes[begin as usize..self.ends[index as usize] as usize]
    }

    /// What was written last is a piece.
    fn end(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }
}

/// Where the digest of the first link to content begins.
fn first_digest(bytes: &[u8]) -> Option<usize> {
    let mut places = bytes.windows(CONTENT.len());
    Some(places.position(|place| place == CONTENT)? + CONTENT.len())
}

/// How many pairs are equal, from the first on.
fn alike<'a>(pairs: impl Iterator<Item = (&'a u8, &'a u8)>) -> usize {
    pairs.take_while(|(one, other)| one == other).count()
}

/// Seven bits in a byte, the lowest first; each byte but the last has its highest bit set.
fn write_number(to: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

fn read_number(from: &mut &[u8]) -> u32 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, rest)) = from.split_first() {
        *from = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
        shift += 7;
    }
    number
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Await, Effects, Files, Input, Instruction, Meta, Nonce, Promise, Value, blob_cid,
    };

    use super::*;
    use crate::Planned;

    /// Tasks of three kinds in turn; each but the first few awaits one before it.
    fn prepared(count: usize) -> Prepared {
        let mut tasks: Vec<Task> = Vec::new();
        for index in 0..count {
            let kind = index % 3;
            let mut args = vec![Value::Integer(index as i128)];
            if let Some(before) = index.checked_sub(4) {
                let instruction = tasks[before].run.cid();
                let branch = Await::Ok;
                args.push(
                    Promise {
                        branch,
                        instruction,
                    }
                    .to_value(),
                );
            }
            let run = Instruction {
                rsc: format!("ipfs://{}", blob_cid(&[kind as u8])),
                op: "wasm/run".into(),
                input: Input {
                    func: "f".repeat(kind + 1),
                    args,
                    files: Files::new(),
                    effects: Effects::new(),
                },
                nnc: Nonce::Empty,
            };
            tasks.push(Task {
                run,
                cause: None,
                meta: Meta::default(),
                prf: Vec::new(),
            });
        }
        let names = (0..count).map(|index| format!("t{index}")).collect();
        let workflow = Workflow { tasks };
        Prepared { workflow, names }
    }

    #[test]
    fn packed_tasks_are_those_that_were_submitted_in_less_room() {
        let prepared = prepared(1_000);
        let plan = Planned::read(&prepared).unwrap();
        let (tasks, packed) = (&plan.tasks, &plan.packed);
        let digest = |node: u32| &plan.digests[node as usize];
        assert_eq!(packed.len(), 1_000);
        let mut whole = 0;
        for index in 0..packed.len() {
            let bytes = tasks.encoded(index);
            assert_eq!(packed.encoded(index, digest), bytes, "{index}");
            assert!(bytes.len() <= packed.longest());
            assert_eq!(packed.name(index), format!("t{index}"));
            whole += bytes.len();
        }
        assert_eq!(packed.prepared(digest), prepared);
        let small = packed.firsts.bytes.len() + packed.rests.bytes.len();
        assert!(small * 5 < whole, "{small} of {whole} bytes");
    }

    #[test]
    fn a_task_that_is_part_of_the_first_is_not_counted_twice() {
        // In `aa`, what is before and what is behind could be the same byte.
        let prepared = |args: &[&str]| {
            let mut prepared = prepared(args.len());
            for (task, arg) in prepared.workflow.tasks.iter_mut().zip(args) {
                task.run.input.func = "f".into();
                task.run.rsc = format!("ipfs://{}", blob_cid(b"c"));
                task.run.input.args = vec![Value::String((*arg).to_owned())];
            }
            prepared
        };
        for args in [["aa", "a", "aaa"], ["", "abab", "ab"], ["a", "a", "b"]] {
            let prepared = prepared(&args);
            let plan = Planned::read(&prepared).unwrap();
            let digest = |node: u32| &plan.digests[node as usize];
            assert_eq!(plan.packed.prepared(digest), prepared, "{args:?}");
        }
    }

    #[test]
    fn numbers_are_read_as_they_were_written() {
        let numbers = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u32::MAX];
        let mut bytes = Vec::new();
        numbers
            .iter()
            .for_each(|number| write_number(&mut bytes, *number));
        let mut left = bytes.as_slice();
        assert_eq!(numbers.map(|_| read_number(&mut left)), numbers);
        assert!(left.is_empty());
    }
}
