//! What every host must do alike, as data: calls of nine components, and what must come of them.
//!
//! A host's test builds the components (the guests in `tests/guests/conformance` and `tests/guests/wasip2`, [`INSTRUCTIONS_WAT`],
//! [`VALUES_WAT`], [`LATIN1_WAT`], [`RESOURCES_WAT`], [`VERSIONS_WAT`], [`COMPOSED_WAT`] and [`LENT_WAT`]), reads the
//! recorded fuel with [`Fuel::of_json`], and calls [`check_all`]. The recording is made by a host that is trusted:
//! run with an empty one, and write what comes back.

mod cases;
mod composed;
mod lent;
mod values;
mod world;

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, Effects, Files, Input, Instruction, Limits, LogLevel, Nonce, Out, TrapKind, Value,
    blob_cid, encode, json_of, message::FaultKind, value_of_json,
};
use serde_bytes::ByteBuf;

pub use self::{
    cases::{cases, time_limit},
    composed::composed_cases,
};
use crate::{Attempt, Host, Job, METERING};

/// A component of single instructions, for traps that no compiler emits without a guard.
pub const INSTRUCTIONS_WAT: &str = include_str!("conformance/instructions.wat");

/// A component of strings in UTF-8 and UTF-16, of types that compilers do not offer yet, and of what is no value.
pub const VALUES_WAT: &str = include_str!("conformance/values.wat");

/// A component of strings in Latin-1, or else in UTF-16.
pub const LATIN1_WAT: &str = include_str!("conformance/latin1.wat");

/// A component of handles: of its own resources and of the world's.
pub const RESOURCES_WAT: &str = include_str!("conformance/resources.wat");

/// A component that was built for several versions of WASI 0.2.
pub const VERSIONS_WAT: &str = include_str!("conformance/versions.wat");

/// Components that call each other, with strings in every encoding.
pub const COMPOSED_WAT: &str = include_str!("conformance/composed.wat");

/// Components that lend each other handles.
pub const LENT_WAT: &str = include_str!("conformance/lent.wat");

/// Which component a case calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The guest in `tests/guests/conformance`.
    Guest,
    /// [`INSTRUCTIONS_WAT`].
    Instructions,
    /// [`VALUES_WAT`].
    Values,
    /// [`LATIN1_WAT`].
    Latin1,
    /// [`RESOURCES_WAT`].
    Resources,
    /// [`VERSIONS_WAT`].
    Versions,
    /// [`COMPOSED_WAT`].
    Composed,
    /// [`LENT_WAT`].
    Lent,
    /// The guest in `tests/guests/wasip2`.
    Wasip2,
    /// The guest in `tests/guests/files`.
    Files,
}

/// One call.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// A sentence, unique among the cases.
    pub name: String,
    /// The component.
    pub subject: Subject,
    /// The function.
    pub func: String,
    /// The arguments: a list in DAG-JSON.
    pub args: String,
    /// What the guest finds in its file system.
    pub files: Files,
    /// What the links among arguments and files lead to.
    pub blobs: Vec<Vec<u8>>,
    /// The budget.
    pub limits: Limits,
    /// What must come of it.
    pub expect: Expect,
    /// Must a growth have been refused?
    pub growth_refused: bool,
    /// The lines that the guest must have logged: level, context, message.
    pub logs: Vec<(LogLevel, String, String)>,
}

/// What must come of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// This value, in DAG-JSON.
    Ok(String),
    /// The function's own error, in DAG-JSON.
    Err(String),
    /// This kind of trap, with this in the remark's message.
    Trap(TrapKind, String),
    /// No outcome: a fault of this kind.
    Fault(FaultKind),
    /// A value that the case cannot know, for it follows from the component's CID. Its outcome is recorded.
    Recorded,
}

/// Fuel by case, as recorded; `None` where an outcome carries none. With it, for cases that expect what is recorded,
/// the start of their outcomes' CIDs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fuel(pub BTreeMap<String, Option<u64>>);

impl Fuel {
    /// Reads a recording.
    ///
    /// # Errors
    /// Text that is not an object of numbers and nulls.
    pub fn of_json(text: &str) -> Result<Self, String> {
        let Value::Map(map) = value_of_json(text.as_bytes()).map_err(|error| error.to_string())?
        else {
            return Err("recorded fuel is not an object".into());
        };
        let entry = |(name, value): (String, Value)| match value {
            Value::Null => Ok((name, None)),
            Value::Integer(fuel) => match u64::try_from(fuel) {
                Ok(fuel) => Ok((name, Some(fuel))),
                Err(_) => Err(format!("recorded fuel of `{name}` is out of range")),
            },
            _ => Err(format!(
                "recorded fuel of `{name}` is neither a number nor null"
            )),
        };
        map.into_iter()
            .map(entry)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The recording as text, one case a line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let line = |(name, fuel): (&String, &Option<u64>)| {
            let fuel = fuel.map_or_else(|| "null".to_owned(), |fuel| fuel.to_string());
            format!("  {}: {fuel}", json_of(&Value::String(name.clone())))
        };
        format!(
            "{{\n{}\n}}\n",
            self.0.iter().map(line).collect::<Vec<_>>().join(",\n")
        )
    }
}

/// The bytes of the components.
#[derive(Clone, Copy, Debug)]
pub struct Components<'a> {
    /// [`Subject::Guest`].
    pub guest: &'a [u8],
    /// [`Subject::Instructions`], as binary.
    pub instructions: &'a [u8],
    /// [`Subject::Values`], as binary.
    pub values: &'a [u8],
    /// [`Subject::Latin1`], as binary.
    pub latin1: &'a [u8],
    /// [`Subject::Resources`], as binary.
    pub resources: &'a [u8],
    /// [`Subject::Versions`], as binary.
    pub versions: &'a [u8],
    /// [`Subject::Composed`], as binary.
    pub composed: &'a [u8],
    /// [`Subject::Lent`], as binary.
    pub lent: &'a [u8],
    /// [`Subject::Wasip2`].
    pub wasip2: &'a [u8],
    /// [`Subject::Files`].
    pub files: &'a [u8],
}

impl<'a> Components<'a> {
    /// The component that a case calls.
    #[must_use]
    pub fn of(&self, subject: Subject) -> &'a [u8] {
        match subject {
            Subject::Guest => self.guest,
            Subject::Instructions => self.instructions,
            Subject::Values => self.values,
            Subject::Latin1 => self.latin1,
            Subject::Resources => self.resources,
            Subject::Versions => self.versions,
            Subject::Composed => self.composed,
            Subject::Lent => self.lent,
            Subject::Wasip2 => self.wasip2,
            Subject::Files => self.files,
        }
    }
}

/// Performs these cases (of [`cases()`] or [`composed_cases`]) twice each; gives back the fuel that they consumed.
///
/// # Errors
/// Every case that came out otherwise than it must, or with other fuel than `recorded` where that knows the case.
pub fn check_all(
    host: &mut dyn Host,
    cases: Vec<Case>,
    components: Components<'_>,
    recorded: &Fuel,
) -> Result<Fuel, String> {
    let (mut fuel, mut wrong) = (Fuel::default(), Vec::new());
    for case in cases {
        let bytes = components.of(case.subject);
        let component = (blob_cid(bytes), bytes);
        if let Expect::Fault(_) = case.expect {
            wrong.extend(check_fault(host, component, &case).err());
            continue;
        }
        match check(host, component, &case) {
            Ok(attempt) => {
                let known = recorded.0.get(&case.name);
                if known.is_some_and(|known| *known != attempt.outcome.fuel) {
                    let (is, was) = (attempt.outcome.fuel, known.copied().flatten());
                    wrong.push(format!(
                        "{}: it consumed {is:?} fuel, recorded are {was:?}",
                        case.name
                    ));
                }
                if case.expect == Expect::Recorded {
                    let name = format!("{}: its outcome", case.name);
                    let start = start_of(attempt.outcome.cid());
                    if recorded
                        .0
                        .get(&name)
                        .is_some_and(|known| *known != Some(start))
                    {
                        wrong.push(format!("{name} is another than the one that is recorded"));
                    }
                    fuel.0.insert(name, Some(start));
                }
                fuel.0.insert(case.name, attempt.outcome.fuel);
            }
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() {
        Ok(fuel)
    } else {
        Err(wrong.join("\n"))
    }
}

/// The start of a CID's digest, as a number: enough to tell outcomes apart.
fn start_of(cid: Cid) -> u64 {
    let digest = cid.digest();
    let start = digest.first_chunk().expect("a digest has 32 bytes");
    u64::from_le_bytes(*start)
}

/// Performs one case twice, and compares what came with what must come, and both with each other.
///
/// # Errors
/// The first difference, with the name of the case.
pub fn check(host: &mut dyn Host, component: (Cid, &[u8]), case: &Case) -> Result<Attempt, String> {
    let job = prepared(host, component, case)?;
    let mut run = || {
        host.run(&job)
            .map_err(|fault| case.wrong(&format!("fault {:?}: {}", fault.kind, fault.message)))
    };
    let (attempt, again) = (run()?, run()?);
    case.compare(&job, &attempt)?;
    if attempt.outcome.cid() != again.outcome.cid() || attempt.remark.logs != again.remark.logs {
        return Err(case.wrong(&format!(
            "twice it came out differently: {:?}, {:?}",
            attempt.outcome, again.outcome
        )));
    }
    Ok(attempt)
}

/// Performs a case that must end in a fault.
///
/// # Errors
/// Whatever else came.
pub fn check_fault(
    host: &mut dyn Host,
    component: (Cid, &[u8]),
    case: &Case,
) -> Result<(), String> {
    let job = prepared(host, component, case)?;
    let Expect::Fault(kind) = case.expect else {
        return Err(case.wrong("it expects an outcome, not a fault"));
    };
    match host.run(&job) {
        Err(fault) if fault.kind == kind => Ok(()),
        Err(fault) => Err(case.wrong(&format!(
            "fault {:?} instead of {kind:?}: {}",
            fault.kind, fault.message
        ))),
        Ok(attempt) => Err(case.wrong(&format!(
            "an outcome instead of a fault: {:?}",
            attempt.outcome
        ))),
    }
}

fn prepared(host: &mut dyn Host, component: (Cid, &[u8]), case: &Case) -> Result<Job, String> {
    let (cid, bytes) = component;
    if !host.holds(cid) {
        host.prepare(cid, bytes)
            .map_err(|unfit| case.wrong(&unfit.to_string()))?;
        if !host.holds(cid) {
            return Err(case.wrong("the host does not hold what it prepared"));
        }
    }
    let Ok(Value::List(args)) = value_of_json(case.args.as_bytes()) else {
        return Err(case.wrong("its arguments are not a list in DAG-JSON"));
    };
    let input = Input {
        func: case.func.clone(),
        args,
        files: case.files.clone(),
        effects: Effects::new(),
    };
    let instruction = Instruction {
        rsc: format!("ipfs://{cid}"),
        op: "wasm/run".into(),
        input,
        nnc: Nonce::Empty,
    };
    Ok(Job {
        instruction: instruction.cid(),
        component: cid,
        func: instruction.input.func,
        args: instruction.input.args,
        files: instruction.input.files,
        effects: instruction.input.effects,
        blobs: case
            .blobs
            .iter()
            .map(|bytes| (blob_cid(bytes), ByteBuf::from(bytes.clone())))
            .collect(),
        limits: case.limits,
    })
}

impl Case {
    fn wrong(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }

    fn compare(&self, job: &Job, attempt: &Attempt) -> Result<(), String> {
        let Attempt {
            outcome,
            conditions,
            remark,
            blobs,
        } = attempt;
        let value = |text: &str| {
            value_of_json(text.as_bytes()).map_err(|error| self.wrong(&error.to_string()))
        };
        let said = remark.message.clone().unwrap_or_default();
        let expected = match &self.expect {
            Expect::Ok(text) => Some(Out::Ok(value(text)?)),
            Expect::Err(text) => Some(Out::Error(value(text)?)),
            Expect::Trap(..) | Expect::Recorded => None,
            Expect::Fault(kind) => {
                return Err(self.wrong(&format!("an outcome instead of a fault {kind:?}")));
            }
        };
        if let Some(expected) = expected
            // By their bytes: that is what executors agree on.
            && encode(&outcome.out) != encode(&expected)
        {
            let (is, must) = (
                json_of(&outcome.out.to_value()),
                json_of(&expected.to_value()),
            );
            return Err(self.wrong(&format!("{is} instead of {must} ({said})")));
        }
        if self.expect == Expect::Recorded && matches!(outcome.out, Out::Error(_)) {
            let is = json_of(&outcome.out.to_value());
            return Err(self.wrong(&format!("{is} instead of a value ({said})")));
        }
        if let Expect::Trap(kind, words) = &self.expect {
            let failure = outcome.failure();
            if failure
                .as_ref()
                .is_none_or(|failure| failure.trap != *kind || failure.func != self.func)
            {
                let is = json_of(&outcome.out.to_value());
                return Err(self.wrong(&format!("{is} instead of trap {} ({said})", kind.name())));
            }
            if !said.contains(words) {
                return Err(self.wrong(&format!("the remark `{said}` does not say `{words}`")));
            }
        }
        if outcome.instruction != job.instruction || outcome.metering != METERING {
            return Err(self.wrong("the outcome names another instruction or metering"));
        }
        if outcome.fuel.is_some_and(|fuel| fuel > self.limits.fuel) {
            return Err(self.wrong(&format!(
                "{:?} fuel is more than the limit {}",
                outcome.fuel, self.limits.fuel
            )));
        }
        if (conditions.fuel, conditions.memory) != (self.limits.fuel, self.limits.memory) {
            return Err(self.wrong(&format!(
                "{conditions:?} are not the limits {:?}",
                self.limits
            )));
        }
        if conditions.growth_refused != self.growth_refused {
            return Err(self.wrong(&format!("growth_refused is {}", conditions.growth_refused)));
        }
        let lines = remark
            .logs
            .iter()
            .map(|line| (line.level, line.context.clone(), line.message.clone()));
        let lines: Vec<_> = lines.collect();
        if lines != self.logs {
            return Err(self.wrong(&format!("it logged {lines:?} instead of {:?}", self.logs)));
        }
        for cid in crate::session::links(std::slice::from_ref(outcome.out.value())) {
            let known = self.blobs.iter().any(|bytes| blob_cid(bytes) == cid);
            if !known && blobs.get(&cid).is_none_or(|bytes| blob_cid(bytes) != cid) {
                return Err(self.wrong(&format!("the bytes of {cid} are missing or others")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_case_has_its_own_name_and_texts_that_parse() {
        let mut names = BTreeSet::new();
        for case in cases().into_iter().chain(composed_cases()) {
            assert!(
                names.insert(case.name.clone()),
                "{} is there twice",
                case.name
            );
            let args = value_of_json(case.args.as_bytes());
            assert!(
                matches!(args, Ok(Value::List(_))),
                "{}: {args:?}",
                case.name
            );
            if let Expect::Ok(text) | Expect::Err(text) = &case.expect {
                value_of_json(text.as_bytes())
                    .unwrap_or_else(|error| panic!("{}: {error}", case.name));
            }
        }
        assert!(names.len() > 150);
    }

    #[test]
    fn a_recording_is_read_as_it_was_written() {
        let fuel = Fuel(BTreeMap::from([
            ("a \"b\"".to_owned(), Some(u64::MAX)),
            ("c".to_owned(), None),
        ]));
        assert_eq!(Fuel::of_json(&fuel.to_json()), Ok(fuel));
        assert!(Fuel::of_json("[]").is_err());
        assert!(Fuel::of_json("{\"a\": -1}").is_err());
    }

    #[test]
    fn a_host_that_answers_otherwise_is_found_out() {
        let mut host = crate::NullHost::new();
        let bytes = b"anything";
        let case = Case::new(Subject::Guest, "echo", "[0.5]", Expect::Ok("1.5".into()));
        let found = check(&mut host, (blob_cid(bytes), bytes), &case);
        assert_eq!(
            found.map(|_| ()),
            Err("echo [0.5]: [\"ok\",0.5] instead of [\"ok\",1.5] ()".to_owned())
        );
        let case = Case::new(Subject::Guest, "echo", "[0.5]", Expect::Ok("0.5".into()));
        assert!(check(&mut host, (blob_cid(bytes), bytes), &case).is_ok());
        let components = Components {
            guest: bytes,
            instructions: bytes,
            values: bytes,
            latin1: bytes,
            resources: bytes,
            versions: bytes,
            composed: bytes,
            lent: bytes,
            wasip2: bytes,
            files: bytes,
        };
        for cases in [cases(), composed_cases()] {
            assert!(check_all(&mut host, cases, components, &Fuel::default()).is_err());
        }
    }
}
