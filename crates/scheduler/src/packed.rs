//! The tasks of a run, kept smaller still: of each there is what is not as in the first task of its kind.
//!
//! Tasks that are alike but for their arguments have the same component, function and limits, at the same places of their
//! encoding, and the digests of what they await are those of nodes: if as many are awaited, these too are at the same places.
//! What is left is a fifteenth of it; the bytes are put together again when a task is leased or looked at.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

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
    /// The first task of each kind that awaits as many.
    firsts: Vec<First>,
    /// Of each task: its first; how many bytes it has in common with that from the beginning on, and how many up to the end; how
    /// many digests are left out between these; the node of each digest that is left out, and before it, if it is between, how
    /// far it is behind the one before; what is left of the bytes between.
    rests: Pieces,
    names: Arc<Names>,
    /// Bytes of the longest task.
    longest: usize,
}

/// A task with a byte in place of each digest that is left out.
#[derive(Debug, PartialEq)]
struct First {
    bytes: Box<[u8]>,
    /// Where these are.
    cuts: Box<[u32]>,
}

/// Byte strings, one behind the other.
#[derive(Debug, Default, PartialEq)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// A task that is being packed, with a byte in place of each digest that is left out.
#[derive(Default)]
struct Cut {
    bytes: Vec<u8>,
    /// Where these are, and of which nodes.
    cuts: Vec<u32>,
    nodes: Vec<u32>,
}

impl Packed {
    /// Packs tasks. `kinds` says of each of them what kind it is of; `awaited` of which nodes it has promises, in their order
    /// there; `digests` how each node's instruction is called.
    pub(crate) fn new<A: Iterator<Item = u32>>(
        tasks: &Tasks,
        kinds: &[u32],
        awaited: impl Fn(u32) -> A,
        digests: &[Digest],
    ) -> Self {
        let (mut firsts, mut numbers) = (Vec::<First>::new(), BTreeMap::new());
        let mut rests = Pieces::default();
        rests.ends.reserve_exact(kinds.len());
        let (mut task, mut own) = (Cut::default(), Vec::new());
        let mut longest = 0;
        for (index, kind) in (0..).zip(kinds) {
            let encoded = tasks.encoded(index);
            longest = longest.max(encoded.len());
            let awaited = awaited(index).map(|node| (node, &digests[node as usize]));
            task.read(encoded, awaited);
            let number: u32 = *numbers.entry((*kind, task.cuts.len())).or_insert_with(|| {
                firsts.push(First {
                    bytes: task.bytes.as_slice().into(),
                    cuts: task.cuts.as_slice().into(),
                });
                firsts.len() as u32 - 1
            });
            task.write(number, &firsts[number as usize], &mut rests.bytes, &mut own);
            rests.end();
        }
        firsts.shrink_to_fit();
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
        let mut numbers = self.rests.get(index);
        let [first, before, behind, between] = [(); 4].map(|()| read_number(&mut numbers));
        let first = &self.firsts[first as usize];
        let (before, behind) = (before as usize, first.bytes.len() - behind as usize);
        let at = |place: usize| first.cuts.partition_point(|cut| (*cut as usize) < place);
        let (cuts_before, cuts_behind) = (&first.cuts[..at(before)], &first.cuts[at(behind)..]);
        let outside = cuts_before.len() + cuts_behind.len();
        let mut own = numbers;
        for _ in 0..outside + 2 * between as usize {
            read_number(&mut own);
        }
        let digests = outside + between as usize;
        let length = before + own.len() + first.bytes.len() - behind - outside;
        let length = length + digests * size_of::<Digest>();
        let mut bytes = Vec::with_capacity(length);
        let fill = |bytes: &mut Vec<u8>, part: Range<usize>, cuts: &[u32], numbers: &mut &[u8]| {
            let mut from = part.start;
            for cut in cuts {
                bytes.extend_from_slice(&first.bytes[from..*cut as usize]);
                bytes.extend_from_slice(digest(read_number(numbers)));
                from = *cut as usize + 1;
            }
            bytes.extend_from_slice(&first.bytes[from..part.end]);
        };
        fill(&mut bytes, 0..before, cuts_before, &mut numbers);
        for _ in 0..between {
            let (gap, rest) = own.split_at(read_number(&mut numbers) as usize);
            bytes.extend_from_slice(gap);
            bytes.extend_from_slice(digest(read_number(&mut numbers)));
            own = rest;
        }
        bytes.extend_from_slice(own);
        let end = first.bytes.len();
        fill(&mut bytes, behind..end, cuts_behind, &mut numbers);
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
}

impl Cut {
    /// Takes another task, which has promises of these nodes, in this order.
    fn read<'a>(&mut self, mut task: &[u8], awaited: impl Iterator<Item = (u32, &'a Digest)>) {
        self.bytes.clear();
        self.cuts.clear();
        self.nodes.clear();
        for (node, digest) in awaited {
            let Some(at) = find(digest, task) else {
                break;
            };
            self.bytes.extend_from_slice(&task[..at]);
            self.cuts.push(self.bytes.len() as u32);
            self.nodes.push(node);
            self.bytes.push(0);
            task = &task[at + size_of::<Digest>()..];
        }
        self.bytes.extend_from_slice(task);
    }

    /// How many bytes are those of `first`, which has as many digests left out: from the beginning on, and of the others up to the
    /// end. No byte that is in place of a digest is taken for one that is none.
    fn in_common(&self, first: &First) -> (usize, usize) {
        let cuts = || first.cuts.iter().zip(&self.cuts);
        let apart = cuts().find(|(one, other)| one != other);
        let apart = apart.map_or(usize::MAX, |(one, other)| *one.min(other) as usize);
        let before = alike(first.bytes.iter().zip(&self.bytes)).min(apart);
        let mut from_end = cuts().rev().map(|(one, other)| {
            let (one, other) = (*one as usize, *other as usize);
            (first.bytes.len() - one, self.bytes.len() - other)
        });
        let apart = from_end.find(|(one, other)| one != other);
        let apart = apart.map_or(usize::MAX, |(one, other)| one.min(other) - 1);
        let (one, other) = (&first.bytes[before..], &self.bytes[before..]);
        let behind = alike(one.iter().rev().zip(other.iter().rev())).min(apart);
        (before, behind)
    }

    /// Writes what is not as in `first`, which has this number. `own` is room for bytes.
    fn write(&self, number: u32, first: &First, to: &mut Vec<u8>, own: &mut Vec<u8>) {
        let (before, behind) = self.in_common(first);
        let between = before..self.bytes.len() - behind;
        let is_between = |cut: &u32| between.contains(&(*cut as usize));
        let count = self.cuts.iter().filter(|cut| is_between(cut)).count();
        for number in [number, before as u32, behind as u32, count as u32] {
            write_number(to, number);
        }
        own.clear();
        let mut from = between.start;
        for (cut, node) in self.cuts.iter().zip(&self.nodes) {
            if is_between(cut) {
                let at = *cut as usize;
                write_number(to, (at - from) as u32);
                own.extend_from_slice(&self.bytes[from..at]);
                from = at + 1;
            }
            write_number(to, *node);
        }
        to.extend_from_slice(own);
        to.extend_from_slice(&self.bytes[from..between.end]);
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

/// Where a digest is, in the first link to it.
fn find(digest: &Digest, bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        // Hardly any text has this byte: looking for it alone is fast.
        let link = from + bytes[from..].iter().position(|byte| *byte == CONTENT[0])?;
        let linked = bytes[link..].strip_prefix(&CONTENT);
        if linked.is_some_and(|linked| linked.starts_with(digest)) {
            return Some(link + CONTENT.len());
        }
        from = link + 1;
    }
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
    use asterism_protocol::{Await, Cid, Promise, Value, blob_cid, content_cid};
    use proptest::prelude::*;

    use super::*;
    use crate::{Planned, tasks};

    fn task(kind: usize, args: Vec<Value>) -> Task {
        tasks::tests::task(&[kind as u8], &"f".repeat(kind + 1), args)
    }

    fn awaited(instruction: Cid) -> Value {
        let branch = Await::Ok;
        let promise = Promise {
            branch,
            instruction,
        };
        promise.to_value()
    }

    /// Tasks of three kinds in turn; each but the first few awaits one before it.
    fn prepared(count: usize) -> Prepared {
        let mut tasks: Vec<Task> = Vec::new();
        for index in 0..count {
            let mut args = vec![Value::Integer(index as i128)];
            if let Some(before) = index.checked_sub(4) {
                args.push(awaited(tasks[before].run.cid()));
            }
            tasks.push(task(index % 3, args));
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
        let firsts = packed.firsts.iter().map(|first| first.bytes.len());
        let small = firsts.sum::<usize>() + packed.rests.bytes.len();
        assert!(small * 12 < whole, "{small} of {whole} bytes");
    }

    /// A number, a promise of a task before or of something else, alone or twice, or a link that is none.
    fn arg(before: &[Task], what: u8, number: u8) -> Value {
        let known = before.get(usize::from(number) % before.len().max(1));
        let known = known
            .filter(|_| what.is_multiple_of(2))
            .map(|task| task.run.cid());
        let instruction = known.unwrap_or_else(|| content_cid(&[number]));
        match what {
            0..4 => awaited(instruction),
            4..6 => Value::List(vec![awaited(instruction); 2]),
            6..8 => Value::Link(instruction.to_link()),
            _ => Value::Integer(number.into()),
        }
    }

    proptest! {
        #[test]
        fn whatever_they_await_they_are_those_that_were_submitted(
            all in prop::collection::vec((0_usize..3, prop::collection::vec((0_u8..10, any::<u8>()), 0..4)), 1..40)
        ) {
            let mut tasks: Vec<Task> = Vec::new();
            for (index, (kind, args)) in all.iter().enumerate() {
                let args = args.iter().map(|(what, number)| arg(&tasks, *what, *number));
                let mut task = task(*kind, args.collect());
                if index % 2 == 1 {
                    // Some ask for the same as others, for more fuel.
                    task.meta.0.insert("fuel".into(), Value::Integer(1 << 50));
                }
                tasks.push(task);
            }
            let names = vec![String::new(); tasks.len()];
            let prepared = Prepared { workflow: Workflow { tasks }, names };
            let plan = Planned::read(&prepared).unwrap();
            let digest = |node: u32| &plan.digests[node as usize];
            for index in 0..plan.packed.len() {
                let bytes = plan.packed.encoded(index, digest);
                prop_assert_eq!(&bytes, plan.tasks.encoded(index), "{}", index);
                prop_assert_eq!(bytes.len(), bytes.capacity(), "there is room for it and no more");
            }
            prop_assert_eq!(plan.packed.prepared(digest), prepared);
        }
    }

    #[test]
    fn a_byte_in_place_of_a_digest_is_no_byte_of_the_task() {
        // The link that is none has the digest of zeros, and so a byte as the one in place of a digest.
        let zeros = Value::Link(Cid::of_content_digest([0; 32]).to_link());
        let other = Value::Link(content_cid(b"other").to_link());
        let first = task(0, Vec::new());
        let promise = awaited(first.run.cid());
        let link = |value: &Value| Value::List(vec![value.clone(), promise.clone()]);
        let back = |value: &Value| Value::List(vec![promise.clone(), value.clone()]);
        let args = [link(&zeros), back(&zeros), link(&other), back(&other)];
        for (one, two) in args
            .iter()
            .flat_map(|one| args.iter().map(move |two| (one, two)))
        {
            let tasks = [one, two].map(|arg| task(0, vec![arg.clone()]));
            let tasks = [first.clone()].into_iter().chain(tasks).collect();
            let names = vec![String::new(); 3];
            let workflow = Workflow { tasks };
            let prepared = Prepared { workflow, names };
            let plan = Planned::read(&prepared).unwrap();
            let digest = |node: u32| &plan.digests[node as usize];
            assert_eq!(plan.packed.prepared(digest), prepared);
        }
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
