//! A coordinator that stands by: another one holds the journal. What it is asked it passes on, and when the other is gone,
//! the journal is its own.
//!
//! So people, pages and executors may turn to any of them. Between two holders there are some seconds in which each answers
//! that nobody decides now; executors and watchers call again by themselves.

use std::{convert::Infallible, future::Future, net::IpAddr, sync::Arc};

use asterism_protocol::one_line;
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use tokio::{net::TcpListener, sync::watch};
use tracing::{debug, info};

use crate::{
    app::Room,
    authority::{Authority, BEHIND},
    driver::{PARTITION, StartError, acquire},
    error::ApiError,
    limits::ASK_EVERY,
    metrics::Metrics,
    pass::{self, Onward},
    peer::Peer,
    server::{self, Door, End},
    store::{Holder, Journal},
};

/// What came of standing by.
pub(crate) enum Stood {
    /// The journal is ours; so is the listener.
    Ours(TcpListener),
    /// The program ends.
    Stopped,
}

/// Who stands by.
struct Standby {
    /// Ours, which nothing is passed on to.
    address: String,
    /// Where the holder of the journal is.
    holder: watch::Receiver<String>,
    authority: Arc<Authority>,
    /// Turns true when it stands by no more.
    over: watch::Receiver<bool>,
}

/// Stands by until the journal is ours; `ready` is told when requests are passed on. At once, where nobody holds it.
pub(crate) async fn until_ours(
    listener: TcpListener,
    journal: Arc<dyn Journal>,
    holder: Holder,
    authority: Arc<Authority>,
    ready: &mut Option<impl FnOnce()>,
    shutdown: impl Future<Output = ()>,
) -> Result<Stood, StartError> {
    let address = match ask(&journal, &holder).await {
        Ok(None) => return Ok(Stood::Ours(listener)),
        Ok(Some(address)) => address,
        // Whoever served before goes on: a database comes back. Until then nobody is known who decides.
        Err(_) if ready.is_none() => holder.address.clone(),
        Err(error) => return Err(error),
    };
    info!(holder = address, "standing by");
    let (tell, told) = watch::channel(address);
    let over = watch::Sender::new(false);
    let standby = Standby {
        address: holder.address.clone(),
        holder: told,
        authority: Arc::clone(&authority),
        over: over.subscribe(),
    };
    let router = Router::new()
        .fallback(pass_on)
        .with_state(Arc::new(standby));
    let door = Door {
        connections: Room::default().connections,
        metrics: Arc::new(Metrics::new()),
        authority,
        close: watch::Sender::new(false),
    };
    let asking = async {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            match ask(&journal, &holder).await {
                Ok(None) => return,
                Ok(Some(address)) => drop(tell.send_replace(address)),
                // The holder may still reach it. If it does not either, nobody decides until somebody does.
                Err(error) => debug!(%error, "the journal does not answer"),
            }
        }
    };
    let end = async {
        tokio::select! {
            () = asking => End::Change,
            () = shutdown => End::Stop,
        }
    };
    ready.take().into_iter().for_each(|ready| ready());
    let back = server::run(listener, router, door, end).await;
    let _ = over.send_replace(true);
    Ok(match back {
        Some(listener) => {
            info!("taking over");
            Stood::Ours(listener)
        }
        None => Stood::Stopped,
    })
}

/// Asks for the journal; who holds it, if it is not ours now.
async fn ask(journal: &Arc<dyn Journal>, holder: &Holder) -> Result<Option<String>, StartError> {
    let (journal, holder) = (Arc::clone(journal), holder.clone());
    let asked = tokio::task::spawn_blocking(move || acquire(&*journal, PARTITION, &holder)).await;
    match asked.map_err(std::io::Error::other)? {
        Ok(_) => Ok(None),
        Err(StartError::Held(address)) => Ok(Some(address)),
        Err(error) => Err(error),
    }
}

/// Nobody decides now.
pub(crate) fn nobody(why: &str) -> ApiError {
    ApiError::unavailable(format!(
        "no coordinator decides now: {why}. One of them takes over within seconds"
    ))
    .hint("ask again")
}

/// Passes a request on to the holder of the journal.
async fn pass_on(
    State(standby): State<Arc<Standby>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Response, Infallible> {
    let mut over = standby.over.clone();
    let passed = tokio::select! {
        biased;
        _ = over.wait_for(|over| *over) => Err(nobody("the one that did is gone")),
        passed = standby.pass_on(peer, request) => passed,
    };
    let mut response = passed.unwrap_or_else(|error| error.into_response());
    if *over.borrow() {
        // The next one is served by the coordinator that has become of this one.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response)
}

impl Standby {
    async fn pass_on(&self, peer: IpAddr, request: Request) -> Result<Response, ApiError> {
        let holder = self.holder.borrow().clone();
        if holder == self.address || request.headers().contains_key(BEHIND) {
            // One that had this address died, or two believe that the other one holds the journal.
            return Err(nobody("the one that did is gone"));
        }
        let stream = pass::connect(&holder)
            .await
            .map_err(|error| nobody(&error))?;
        let onward = Onward {
            authority: &self.authority,
            peer,
            over: self.over.clone(),
        };
        let passed = onward.pass_on(stream, request).await;
        passed.map_err(|error| {
            debug!(%error, holder, "the holder of the journal does not answer");
            nobody(&format!("{} does not answer", one_line(&holder)))
        })
    }
}

#[cfg(test)]
mod tests;
