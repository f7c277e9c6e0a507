//! wasi:io: input that is a file or has ended, output that becomes log lines, waiting that makes the clock advance.

use asterism_component::Val;
use asterism_protocol::LogLevel;

use crate::{
    Interface, Stop, Versions, World, done, err,
    logging::Logs,
    ok, other_types,
    resources::{Resource, other_kind},
};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: "wasi:io/error",
        versions: Versions::Wasi02,
        functions: &[("[method]error.to-debug-string", to_debug_string)],
    },
    Interface {
        name: "wasi:io/poll",
        versions: Versions::Wasi02,
        functions: &[
            ("[method]pollable.ready", ready),
            ("[method]pollable.block", block),
            ("poll", poll),
        ],
    },
    Interface {
        name: "wasi:io/streams",
        versions: Versions::Wasi02,
        functions: &[
            ("[method]input-stream.read", read),
            ("[method]input-stream.blocking-read", read),
            ("[method]input-stream.skip", skip),
            ("[method]input-stream.blocking-skip", skip),
            ("[method]input-stream.subscribe", subscribe),
            ("[method]output-stream.check-write", check_write),
            ("[method]output-stream.write", write),
            (
                "[method]output-stream.blocking-write-and-flush",
                blocking_write_and_flush,
            ),
            ("[method]output-stream.flush", flush),
            ("[method]output-stream.blocking-flush", flush),
            ("[method]output-stream.subscribe", subscribe),
            ("[method]output-stream.write-zeroes", write_zeroes),
            (
                "[method]output-stream.blocking-write-zeroes-and-flush",
                blocking_write_zeroes_and_flush,
            ),
            ("[method]output-stream.splice", splice),
            ("[method]output-stream.blocking-splice", splice),
        ],
    },
];

/// Bytes that an output stream takes at once.
const WRITE_BYTES_MAX: usize = 64 << 10;

/// Bytes that WASI lets a write take that flushes, too.
const WRITE_AND_FLUSH_BYTES_MAX: usize = 4096;

/// Longest line of output; a longer one is broken.
const LINE_BYTES_MAX: usize = 4096;

/// Where the bytes of an output stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sink {
    Stdout,
    Stderr,
    /// Into the body of a request that nobody sends.
    Nowhere,
    /// Into the body of one that is sent, by the number of its way out.
    Body(u32),
}

/// Output of a guest, line by line.
#[derive(Debug)]
pub(crate) struct Output {
    level: LogLevel,
    context: &'static str,
    line: Vec<u8>,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self {
            level: LogLevel::Info,
            context: "stdout",
            line: Vec::new(),
        }
    }

    /// Runtimes say there why they give up.
    pub(crate) fn stderr() -> Self {
        Self {
            level: LogLevel::Error,
            context: "stderr",
            line: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8], logs: &mut Logs) {
        for byte in bytes {
            if *byte == b'\n' {
                self.log(logs);
                continue;
            }
            // No break within a character: up to three more bytes continue one.
            let continues = byte & 0xc0 == 0x80;
            if self.line.len() >= LINE_BYTES_MAX + if continues { 3 } else { 0 } {
                self.log(logs);
            }
            self.line.push(*byte);
        }
    }

    fn log(&mut self, logs: &mut Logs) {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        logs.add(self.level, self.context, &String::from_utf8_lossy(line));
    }

    /// The line that no newline ended.
    pub(crate) fn end(&mut self, logs: &mut Logs) {
        if !self.line.is_empty() {
            self.log(logs);
        }
    }
}

impl World {
    fn print(&mut self, sink: Sink, bytes: &[u8]) {
        match sink {
            Sink::Stdout => self.stdout.write(bytes, &mut self.logs),
            Sink::Stderr => self.stderr.write(bytes, &mut self.logs),
            Sink::Nowhere => {}
            Sink::Body(exchange) => {
                if let Some(outside) = &mut self.outside {
                    outside.write(exchange, bytes);
                }
            }
        }
    }

    fn output(&mut self, handle: &Val) -> Result<Sink, Stop> {
        match self.resources.get(handle)? {
            Resource::Output(sink) => Ok(*sink),
            _ => other_kind(),
        }
    }

    /// The next bytes of an input stream, at most so many; `None` where it has ended. What is read costs fuel.
    fn input(&mut self, handle: &Val, len: u64) -> Result<Option<Vec<u8>>, Stop> {
        let next = match self.resources.get(handle)? {
            Resource::Input => None,
            Resource::File(reading) => reading.next(len).map(<[u8]>::to_vec),
            _ => return other_kind(),
        };
        self.owe(next.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(next)
    }

    /// When a pollable is ready: now, or at an instant. What never is, is at the end of time: whoever waits for that is out
    /// of fuel.
    fn deadline(&mut self, handle: &Val) -> Result<Option<u64>, Stop> {
        let now = self.clock.now();
        match self.resources.get(handle)? {
            Resource::Pollable(deadline) => Ok(deadline.filter(|instant| *instant > now)),
            Resource::Awaiting(exchange) => {
                let outside = self.outside.as_ref();
                let is_answered = outside.is_none_or(|outside| outside.is_answered(*exchange));
                Ok((!is_answered).then_some(u64::MAX))
            }
            _ => other_kind(),
        }
    }
}

/// The stream has ended.
fn closed() -> Vec<Val> {
    err(Val::Variant(1, None))
}

/// Nothing makes an error, so no guest has a handle to one.
fn to_debug_string(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    other_kind()
}

fn ready(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [pollable] = args else {
        return other_types();
    };
    Ok(vec![Val::Bool(world.deadline(pollable)?.is_none())])
}

fn block(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [pollable] = args else {
        return other_types();
    };
    if let Some(instant) = world.deadline(pollable)? {
        world.wait_until(instant);
    }
    Ok(Vec::new())
}

/// Which are ready; if none is, those that are after the shortest wait.
fn poll(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::List(pollables)] = args else {
        return other_types();
    };
    let deadlines = pollables.iter().map(|pollable| world.deadline(pollable));
    let deadlines = deadlines.collect::<Result<Vec<_>, _>>()?;
    // Nothing comes before an instant.
    let first = deadlines
        .iter()
        .min()
        .ok_or("it waits for nothing at all")?;
    if let Some(instant) = first {
        world.wait_until(*instant);
    }
    let ready = (0..).zip(&deadlines).filter(|(_, at)| *at == first);
    let ready = ready.map(|(index, _)| Val::U32(index)).collect();
    Ok(vec![Val::List(ready)])
}

fn read(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [stream, Val::U64(len)] = args else {
        return other_types();
    };
    Ok(match world.input(stream, *len)? {
        Some(bytes) => vec![ok(Val::Bytes(bytes))],
        None => closed(),
    })
}

fn skip(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [stream, Val::U64(len)] = args else {
        return other_types();
    };
    Ok(match world.input(stream, *len)? {
        Some(bytes) => vec![ok(Val::U64(bytes.len() as u64))],
        None => closed(),
    })
}

fn subscribe(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [stream] = args else {
        return other_types();
    };
    match world.resources.get(stream)? {
        Resource::Input | Resource::File(_) | Resource::Output(_) => {}
        _ => return other_kind(),
    }
    Ok(vec![world.resources.own(Resource::Pollable(None))?])
}

fn check_write(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [stream] = args else {
        return other_types();
    };
    world.output(stream)?;
    Ok(vec![ok(Val::U64(WRITE_BYTES_MAX as u64))])
}

fn write(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    write_up_to(world, args, WRITE_BYTES_MAX)
}

fn blocking_write_and_flush(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    write_up_to(world, args, WRITE_AND_FLUSH_BYTES_MAX)
}

fn write_up_to(world: &mut World, args: &[Val], most: usize) -> Result<Vec<Val>, Stop> {
    let [stream, Val::Bytes(bytes)] = args else {
        return other_types();
    };
    let sink = world.output(stream)?;
    if bytes.len() > most {
        return Err(format!("{} bytes at once, {most} are the most", bytes.len()).into());
    }
    world.print(sink, bytes);
    Ok(done())
}

fn flush(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [stream] = args else {
        return other_types();
    };
    world.output(stream)?;
    Ok(done())
}

fn write_zeroes(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    zeroes_up_to(world, args, WRITE_BYTES_MAX)
}

fn blocking_write_zeroes_and_flush(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    zeroes_up_to(world, args, WRITE_AND_FLUSH_BYTES_MAX)
}

fn zeroes_up_to(world: &mut World, args: &[Val], most: usize) -> Result<Vec<Val>, Stop> {
    let [stream, Val::U64(len)] = args else {
        return other_types();
    };
    let sink = world.output(stream)?;
    let len = usize::try_from(*len).ok().filter(|len| *len <= most);
    let len = len.ok_or_else(|| format!("more than {most} bytes at once"))?;
    world.print(sink, &vec![0; len]);
    Ok(done())
}

fn splice(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [output, input, Val::U64(len)] = args else {
        return other_types();
    };
    let sink = world.output(output)?;
    let len = (*len).min(WRITE_BYTES_MAX as u64);
    let Some(bytes) = world.input(input, len)? else {
        return Ok(closed());
    };
    world.print(sink, &bytes);
    Ok(vec![ok(Val::U64(bytes.len() as u64))])
}
