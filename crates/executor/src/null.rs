//! A host without an engine: the memory twin of the real ones, for the simulator and for tests of sessions.

use std::collections::BTreeMap;

use asterism_protocol::{
    Cid, LogLevel, LogLine, TrapKind, Value, encode,
    message::{Fault, FaultKind},
};

use crate::{Attempt, Ended, Host, HostInfo, Job, Ran, Unfit, conclude};

/// Computes a handful of functions in Rust, whatever the component:
///
/// | function | what it does |
/// |---|---|
/// | `echo(v)` | gives `v` back |
/// | `add(a, b)` | adds integers, or floats |
/// | `concat(list)` | joins byte strings |
/// | `blob(n)` | `n` bytes |
/// | `fail(v)` | its own error `v` |
/// | `trap(kind)` | traps as told |
/// | `work(n)` | consumes `n` fuel and gives `n` back |
/// | `log(text)` | logs a line |
/// | `file(path)` | the bytes of a file |
/// | `fault(text)` | the host breaks |
///
/// Fuel is the number of bytes of the encoded arguments, except for `work`.
#[derive(Debug, Default)]
pub struct NullHost {
    prepared: std::collections::BTreeSet<Cid>,
}

impl NullHost {
    /// What [`HostInfo::name`] says of it.
    pub const NAME: &'static str = "null";

    /// A host that has nothing prepared.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Host for NullHost {
    fn info(&self) -> HostInfo {
        HostInfo {
            name: Self::NAME,
            memory_max: 4 << 30,
        }
    }

    fn holds(&self, component: Cid) -> bool {
        self.prepared.contains(&component)
    }

    fn prepare(&mut self, component: Cid, bytes: &[u8]) -> Result<(), Unfit> {
        if bytes.is_empty() {
            return Err(Unfit {
                reason: "it is empty".into(),
            });
        }
        self.prepared.insert(component);
        Ok(())
    }

    fn run(&mut self, job: &Job) -> Result<Attempt, Fault> {
        let host_fault = |message: String| Fault {
            kind: FaultKind::Host,
            message,
        };
        if !self.holds(job.component) {
            return Err(host_fault(format!("{} was not prepared", job.component)));
        }
        let mut args = Vec::new();
        for arg in &job.args {
            args.push(opened(arg, &job.blobs).map_err(host_fault)?);
        }
        let mut fuel = encode(&args).len() as u64;
        let mut logs = Vec::new();
        let ended = match (job.func.as_str(), args.as_slice()) {
            ("echo", [value]) => Ended::Ok(value.clone()),
            ("add", [Value::Integer(a), Value::Integer(b)]) => integer(a.checked_add(*b)),
            ("add", [Value::Float(a), Value::Float(b)]) => float(a + b),
            ("concat", [Value::List(items)]) => concat(items),
            ("blob", [Value::Integer(n @ 0..=16_777_216)]) => {
                Ended::Ok(Value::Bytes((0..*n).map(|i| i as u8).collect()))
            }
            ("fail", [value]) => Ended::Err(value.clone()),
            ("trap", [Value::String(name)]) => {
                match TrapKind::ALL.into_iter().find(|kind| kind.name() == name) {
                    Some(kind) => trap(kind, "as told"),
                    None => trap(TrapKind::BadArguments, "args[0]: not a kind of trap"),
                }
            }
            ("work", [Value::Integer(n @ 0..)]) => {
                fuel = u64::try_from(*n).unwrap_or(u64::MAX);
                Ended::Ok(Value::Integer(*n))
            }
            ("log", [Value::String(text)]) => {
                logs.push(LogLine {
                    level: LogLevel::Info,
                    context: Self::NAME.into(),
                    message: text.clone(),
                });
                Ended::Ok(Value::Null)
            }
            ("file", [Value::String(path)]) => match job.files.get(path) {
                Some(file) => Ended::Ok(opened(file, &job.blobs).map_err(host_fault)?),
                None => trap(TrapKind::BadArguments, "args[0]: there is no such file"),
            },
            ("fault", [Value::String(text)]) => return Err(host_fault(text.clone())),
            (
                "echo" | "add" | "concat" | "blob" | "fail" | "trap" | "work" | "log" | "file"
                | "fault",
                _,
            ) => trap(TrapKind::BadArguments, "args do not fit the function"),
            _ => trap(TrapKind::UnknownFunction, "there is no such function"),
        };
        let ended = if fuel > job.limits.fuel {
            trap(TrapKind::OutOfFuel, "all fuel consumed")
        } else {
            ended
        };
        Ok(conclude(
            job,
            Ran {
                ended,
                fuel,
                growth_refused: false,
                logs,
                elapsed_us: 1,
            },
        ))
    }
}

/// A link as a direct argument, or a file, means the bytes behind it.
fn opened(arg: &Value, blobs: &BTreeMap<Cid, serde_bytes::ByteBuf>) -> Result<Value, String> {
    let Value::Link(link) = arg else {
        return Ok(arg.clone());
    };
    let bytes = Cid::try_from(*link).ok().and_then(|cid| blobs.get(&cid));
    bytes
        .map(|bytes| Value::Bytes(bytes.to_vec()))
        .ok_or_else(|| format!("blob {link} is not in the job"))
}

fn integer(sum: Option<i128>) -> Ended {
    // The range of integers of the content model.
    let fits = |n: &i128| (-(1 << 64)..1 << 64).contains(n);
    sum.filter(fits).map_or_else(
        || trap(TrapKind::IntegerOverflow, "the sum is too large"),
        |n| Ended::Ok(n.into()),
    )
}

fn float(sum: f64) -> Ended {
    if sum.is_finite() {
        Ended::Ok(Value::Float(sum))
    } else {
        trap(TrapKind::BadConversion, "the sum is not finite")
    }
}

fn concat(items: &[Value]) -> Ended {
    let mut all = Vec::new();
    for item in items {
        let Value::Bytes(bytes) = item else {
            return trap(TrapKind::BadArguments, "args[0]: not all are bytes");
        };
        all.extend_from_slice(bytes);
    }
    Ended::Ok(Value::Bytes(all))
}

fn trap(kind: TrapKind, message: &str) -> Ended {
    Ended::Trap {
        kind,
        message: message.to_owned(),
        backtrace: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use asterism_protocol::{Effects, Files, Limits, Out, blob_cid, content_cid};

    use super::*;

    fn run(func: &str, args: Vec<Value>, fuel: u64) -> Result<Attempt, Fault> {
        let mut host = NullHost::new();
        let component = blob_cid(b"anything");
        host.prepare(component, b"anything")
            .expect("it takes anything that is not empty");
        let limits = Limits {
            fuel,
            ..Limits::default()
        };
        let instruction = content_cid(b"instruction");
        host.run(&Job {
            instruction,
            component,
            func: func.into(),
            args,
            files: Files::new(),
            effects: Effects::new(),
            blobs: BTreeMap::new(),
            limits,
        })
    }

    fn out(func: &str, args: Vec<Value>) -> Out {
        run(func, args, 1_000_000).expect("no fault").outcome.out
    }

    #[test]
    fn it_computes() {
        assert_eq!(
            out("add", vec![Value::Integer(2), Value::Integer(3)]),
            Out::Ok(Value::Integer(5))
        );
        assert_eq!(out("echo", vec![Value::Null]), Out::Ok(Value::Null));
        assert_eq!(
            out("fail", vec![Value::Bool(true)]),
            Out::Error(Value::Bool(true))
        );
    }

    #[test]
    fn long_bytes_become_a_blob() {
        let attempt = run("blob", vec![Value::Integer(20_000)], 1_000).expect("no fault");
        let (cid, bytes) = attempt.blobs.first_key_value().expect("one blob");
        assert_eq!(bytes.len(), 20_000);
        assert_eq!(attempt.outcome.out, Out::Ok(Value::Link(cid.to_link())));
    }

    #[test]
    fn it_runs_out_of_fuel() {
        let attempt = run("work", vec![Value::Integer(100)], 99).expect("no fault");
        assert_eq!(
            attempt.outcome.failure().map(|failure| failure.trap),
            Some(TrapKind::OutOfFuel)
        );
        assert_eq!(attempt.outcome.fuel, Some(99));
    }

    #[test]
    fn every_kind_of_trap_can_be_had() {
        for kind in TrapKind::ALL {
            let attempt =
                run("trap", vec![kind.name().to_owned().into()], 1_000).expect("no fault");
            assert_eq!(
                attempt.outcome.failure().map(|failure| failure.trap),
                Some(kind)
            );
        }
    }
}
