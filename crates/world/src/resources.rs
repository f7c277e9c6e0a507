//! What handles of guests stand for.

use std::sync::Arc;

use asterism_component::Val;

use crate::{Stop, filesystem, http, io};

/// Most resources that a guest may hold at once; a language runtime holds some dozens.
const RESOURCES_MAX: usize = 10_000;

/// Something of the world that a guest has a handle to.
#[derive(Debug)]
pub(crate) enum Resource {
    /// An input stream: it has ended.
    Input,
    /// An input stream: a file, or what came over HTTP.
    File(filesystem::Reading),
    /// An output stream.
    Output(io::Sink),
    /// What can be waited for: nothing, or this time of the monotonic clock, in nanoseconds.
    Pollable(Option<u64>),
    /// A network that refuses.
    Network,
    /// A file or a directory, by its path.
    Descriptor(String),
    /// A directory being listed.
    Listing(filesystem::Listing),
    /// HTTP headers or trailers.
    Fields(http::Fields),
    /// The answer to a request, by the number of its way out, as something to wait for.
    Awaiting(u32),
    /// An HTTP request that is being made.
    Request(Box<http::Request>),
    /// Time limits of an HTTP request.
    RequestOptions(http::Timeouts),
    /// The body of such a request.
    Body(http::Body),
    /// What will come of a request, by the number of its way out.
    FutureResponse(u32),
    /// What came of it.
    IncomingResponse(Box<http::outside::Incoming>),
    /// Its body, until its stream is taken.
    IncomingBody(Option<Arc<[u8]>>),
    /// The trailers behind it, of which there are none; has that been told?
    FutureTrailers(bool),
}

/// The resources of one guest, by their numbers. A number is used again only when its resource is gone.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    slots: Vec<Option<Resource>>,
    free: Vec<u32>,
}

impl Resources {
    /// Keeps a resource; gives the guest's handle to it.
    pub(crate) fn own(&mut self, resource: Resource) -> Result<Val, Stop> {
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = Some(resource);
            return Ok(Val::Own(number));
        }
        if self.slots.len() >= RESOURCES_MAX {
            return Err(
                format!("the guest holds {RESOURCES_MAX} resources, which is the most").into(),
            );
        }
        self.slots.push(Some(resource));
        Ok(Val::Own(self.slots.len() as u32 - 1))
    }

    /// What a borrowed handle stands for.
    pub(crate) fn get(&mut self, handle: &Val) -> Result<&mut Resource, Stop> {
        match handle {
            Val::Borrow(number) => self.slot(*number)?.as_mut().ok_or_else(gone),
            _ => Err(gone()),
        }
    }

    /// Takes back what an owned handle stands for.
    pub(crate) fn take(&mut self, handle: &Val) -> Result<Resource, Stop> {
        let Val::Own(number) = handle else {
            return Err(gone());
        };
        let resource = self.slot(*number)?.take().ok_or_else(gone)?;
        self.free.push(*number);
        Ok(resource)
    }

    pub(crate) fn drop(&mut self, number: u32) -> Option<Resource> {
        // Hosts drop what guests own; should there be nothing, nothing is to be done.
        self.take(&Val::Own(number)).ok()
    }

    fn slot(&mut self, number: u32) -> Result<&mut Option<Resource>, Stop> {
        self.slots.get_mut(number as usize).ok_or_else(gone)
    }
}

fn gone() -> Stop {
    "a handle stands for nothing".into()
}

/// A handle that stands for something of another kind: the component declares other types than WASI.
pub(crate) fn other_kind<T>() -> Result<T, Stop> {
    Err("a handle stands for something of another kind".into())
}
