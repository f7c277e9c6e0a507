//! The tasks of a workflow, kept small.

use std::{fmt, sync::Arc};

use asterism_protocol::{Cid, EncodedTask, Prepared, Task, Workflow, content_cid, decode, encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_bytes::{ByteBuf, Bytes};

/// A workflow in its canonical encoding, and its tasks' names. As structures, tasks take ten times as much memory.
#[derive(PartialEq, Eq)]
pub struct Tasks {
    cid: Cid,
    /// The workflow's own encoding: a short head, then task after task.
    bytes: Vec<u8>,
    /// Where the first task begins, then where each one ends.
    ends: Vec<u32>,
    names: Arc<Names>,
}

/// Texts, one behind the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Tasks {
    /// Encodes tasks.
    #[must_use]
    pub fn new(prepared: &Prepared) -> Self {
        let tasks = &prepared.workflow.tasks;
        let mut bytes = head(tasks.len() as u32);
        let mut ends = Vec::with_capacity(tasks.len() + 1);
        ends.push(bytes.len() as u32);
        for task in tasks {
            bytes.extend_from_slice(&encode(task));
            ends.push(bytes.len() as u32);
        }
        bytes.shrink_to_fit();
        Self {
            cid: content_cid(&bytes),
            bytes,
            ends,
            names: Names::new(&prepared.names).into(),
        }
    }

    /// The workflow's name by content.
    #[must_use]
    pub fn workflow(&self) -> Cid {
        self.cid
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A task, decoded.
    ///
    /// # Panics
    /// If there is no such task.
    #[must_use]
    pub fn get(&self, index: u32) -> Task {
        let bytes = self.encoded(index);
        decode("task", bytes, bytes.len()).expect("it was encoded from a task")
    }

    /// Each task, decoded when it is asked for: no more than one needs to be there.
    ///
    /// # Panics
    /// What is asked for is no task: it came from [`Tasks::of_bytes`], and nobody looked at it.
    pub fn iter(&self) -> impl Iterator<Item = Task> {
        (0..self.len() as u32).map(|index| self.get(index))
    }

    /// A task's name; empty for none.
    #[must_use]
    pub fn name(&self, index: u32) -> &str {
        self.names.get(index)
    }

    /// All names.
    pub(crate) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names)
    }

    /// Each task's name, in their order.
    pub fn iter_names(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|index| self.name(index))
    }

    /// The workflow's own encoding, which [`Tasks::of_bytes`] reads.
    #[must_use]
    pub fn encoded_workflow(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical bytes of a task.
    pub(crate) fn encoded(&self, index: u32) -> &[u8] {
        let (begin, end) = (self.ends[index as usize], self.ends[index as usize + 1]);
        &self.bytes[begin as usize..end as usize]
    }

    /// Each task's bytes, which tell what it is called.
    pub(crate) fn parts(&self) -> impl Iterator<Item = EncodedTask<'_>> {
        (0..self.len() as u32).map(|index| {
            let first = EncodedTask::first_of(self.encoded(index));
            first.expect("it was encoded from a task").0
        })
    }

    /// What was written; whether its tasks are such is found out where they are decoded.
    pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let Written { names, workflow } = Written::deserialize(deserializer)?;
        Self::of_bytes(workflow.into_vec(), &names)
            .ok_or_else(|| D::Error::custom("the workflow is not written as workflows are"))
    }

    /// What was encoded before; `None` if the bytes do not look like those of a full workflow. Whether its tasks are such is for
    /// [`Planned::of_encoded`](crate::Planned::of_encoded) to say.
    #[must_use]
    pub fn of_bytes(bytes: Vec<u8>, names: &[String]) -> Option<Self> {
        let count = count(&bytes)?;
        let mut rest = bytes.strip_prefix(&*head(count))?;
        // Each task has bytes: no more room is asked for than they justify.
        let mut ends = Vec::with_capacity((count as usize).min(rest.len()) + 1);
        ends.push((bytes.len() - rest.len()) as u32);
        for _ in 0..count {
            (_, rest) = EncodedTask::first_of(rest)?;
            ends.push((bytes.len() - rest.len()) as u32);
        }
        rest.is_empty().then(|| Self {
            cid: content_cid(&bytes),
            names: Names::new(names).into(),
            bytes,
            ends,
        })
    }
}

impl Names {
    fn new(names: &[String]) -> Self {
        if names.iter().all(String::is_empty) {
            return Self::default();
        }
        let mut all = Self::default();
        for name in names {
            all.text.push_str(name);
            all.ends.push(all.text.len() as u32);
        }
        all
    }

    pub(crate) fn get(&self, index: u32) -> &str {
        let Some(end) = self.ends.get(index as usize) else {
            return "";
        };
        let begin = match index.checked_sub(1) {
            Some(before) => self.ends[before as usize],
            None => 0,
        };
        &self.text[begin as usize..*end as usize]
    }
}

/// How many tasks the head of a workflow says there are.
fn count(bytes: &[u8]) -> Option<u32> {
    let (list, behind) = bytes.get(head(0).len() - 1..)?.split_first()?;
    Some(match *list {
        0x80..0x98 => u32::from(*list - 0x80),
        0x98 => u32::from(*behind.first()?),
        0x99 => u32::from(u16::from_be_bytes(*behind.first_chunk()?)),
        0x9a => u32::from_be_bytes(*behind.first_chunk()?),
        _ => return None,
    })
}

/// What stands before the tasks: a map of one entry, its key, and the head of a list.
fn head(tasks: u32) -> Vec<u8> {
    let mut head = encode(&Workflow { tasks: Vec::new() });
    head.pop();
    match tasks {
        0..24 => head.push(0x80 | tasks as u8),
        24..0x100 => head.extend([0x98, tasks as u8]),
        0x100..0x1_0000 => {
            head.push(0x99);
            head.extend((tasks as u16).to_be_bytes());
        }
        0x1_0000.. => {
            head.push(0x9a);
            head.extend(tasks.to_be_bytes());
        }
    }
    head
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("workflow", &self.cid)
            .field("tasks", &self.len())
            .finish()
    }
}

#[derive(Serialize)]
struct Writing<'a> {
    names: Vec<&'a str>,
    workflow: &'a Bytes,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    names: Vec<String>,
    workflow: ByteBuf,
}

impl Serialize for Tasks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let indices = 0..self.len() as u32;
        let writing = Writing {
            names: indices.map(|index| self.name(index)).collect(),
            workflow: Bytes::new(&self.bytes),
        };
        writing.serialize(serializer)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use asterism_protocol::{Effects, Files, Input, Instruction, Meta, Nonce, Value, blob_cid};

    use super::*;

    /// A call of a function, the component being of these bytes.
    pub(crate) fn task(component: &[u8], func: &str, args: Vec<Value>) -> Task {
        Task {
            run: Instruction {
                rsc: format!("ipfs://{}", blob_cid(component)),
                op: "wasm/run".into(),
                input: Input {
                    func: func.into(),
                    args,
                    files: Files::new(),
                    effects: Effects::new(),
                },
                nnc: Nonce::Empty,
            },
            cause: None,
            meta: Meta::default(),
            prf: Vec::new(),
        }
    }

    fn prepared(count: usize) -> Prepared {
        let task = |index: usize| task(b"c", "f", vec![Value::Integer(index as i128)]);
        Prepared {
            workflow: Workflow {
                tasks: (0..count).map(task).collect(),
            },
            names: (0..count).map(|index| format!("t{index}")).collect(),
        }
    }

    #[test]
    fn bytes_are_those_of_the_workflow() {
        for count in [0, 1, 23, 24, 255, 256, 65_535, 65_536] {
            let prepared = prepared(count);
            let tasks = Tasks::new(&prepared);
            assert!(tasks.bytes == encode(&prepared.workflow), "{count} tasks");
            assert_eq!(tasks.workflow(), prepared.workflow.cid());
        }
    }

    struct Read(Tasks);

    impl<'de> Deserialize<'de> for Read {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Tasks::read(deserializer).map(Self)
        }
    }

    #[test]
    fn what_does_not_end_with_its_last_task_is_no_workflow() {
        let bytes = Tasks::new(&prepared(24)).bytes;
        assert!(Tasks::of_bytes(bytes.clone(), &[]).is_some());
        let short = bytes[..bytes.len() - 1].to_vec();
        let long = [&*bytes, b"\x00"].concat();
        let many = [&bytes[..7], b"\x9a\xff\xff\xff\xff", &bytes[9..]].concat();
        // A count in more bytes than it needs.
        let padded = [&bytes[..7], b"\x99\x00\x18", &bytes[9..]].concat();
        for bytes in [short, long, many, padded, Vec::new(), bytes[..7].to_vec()] {
            assert!(Tasks::of_bytes(bytes, &[]).is_none());
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let tasks = Tasks::new(&prepared(300));
        let bytes = encode(&tasks);
        let Read(read) = decode("tasks", &bytes, bytes.len()).unwrap();
        assert!(read == tasks);
        assert_eq!(read.ends, tasks.ends);
        assert!(read.iter().eq(prepared(300).workflow.tasks));
    }
}
