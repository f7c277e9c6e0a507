//! Passing on what one coordinator is asked to another one, at the level of HTTP: requests with their bodies, and connections that
//! change their protocol.

use std::{net::IpAddr, time::Duration};

use asterism_protocol::one_line;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch, time::timeout};
use tracing::{debug, warn};

use crate::{
    authority::{Authority, BEHIND},
    limits::{PASS_ON_MAX, PING_EVERY},
};

/// Headers that concern one connection and are not passed on (RFC 9110, section 7.6.1).
const OF_ONE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
];

/// Between questions to a machine that does not answer: after eight to ten of them, depending on the system, it is gone.
const ASK_MACHINE_EVERY: Duration = Duration::from_secs(4);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A connection to another coordinator; why there is none, in words for whoever asked.
pub(crate) async fn connect(coordinator: &str) -> Result<TcpStream, String> {
    let shown = one_line(coordinator);
    let Some(authority) = coordinator.strip_prefix("http://") else {
        return Err(format!("the one that does cannot be reached at {shown}"));
    };
    let connected = timeout(PASS_ON_MAX, TcpStream::connect(authority)).await;
    match connected {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            // Answers may take hours, and after a loss of power nobody says that none will come.
            let asking = TcpKeepalive::new()
                .with_time(PING_EVERY)
                .with_interval(ASK_MACHINE_EVERY);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&asking);
            Ok(stream)
        }
        Ok(Err(error)) => {
            debug!(%error, coordinator, "another coordinator does not answer");
            Err(format!("{shown} does not answer"))
        }
        Err(_) => Err(format!("{shown} does not answer")),
    }
}

/// What goes with all that is passed on.
pub(crate) struct Onward<'a> {
    pub(crate) authority: &'a Authority,
    /// For whom it is asked.
    pub(crate) peer: IpAddr,
    /// Turns true when connections that were passed on are to end.
    pub(crate) over: watch::Receiver<bool>,
}

impl Onward<'_> {
    /// Says for whom it is asked, and that whoever asks may say so.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        let Self {
            authority, peer, ..
        } = self;
        let behind = format!("{peer} {}", authority.word_for(*peer));
        if let Ok(behind) = HeaderValue::from_str(&behind) {
            headers.insert(BEHIND, behind);
        }
        // Also for one with another token: who asks through us does not sit at its machine.
        if let Ok(peer) = HeaderValue::from_str(&peer.to_string()) {
            headers.append(FORWARDED_FOR, peer);
        }
    }

    /// Passes a request on to the coordinator at the other end.
    pub(crate) async fn pass_on(
        self,
        stream: TcpStream,
        mut request: Request,
    ) -> Result<Response, hyper::Error> {
        let upgrade = take_upgrade(&mut request);
        let headers = request.headers_mut();
        prepare(headers, upgrade.is_some());
        self.sign(headers);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "a connection to another coordinator ended");
            }
        });
        let mut response = sender.send_request(request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let above = hyper::upgrade::on(&mut response);
            if let Some(below) = upgrade {
                tokio::spawn(tunnel(below, above, self.over));
            }
        } else {
            prepare(response.headers_mut(), false);
        }
        Ok(response.map(Body::new))
    }
}

/// The connection below a request that asks for another protocol.
fn take_upgrade(request: &mut Request) -> Option<OnUpgrade> {
    let wanted = request.headers().contains_key(header::UPGRADE);
    wanted.then(|| hyper::upgrade::on(request))
}

/// Leaves out what concerns one connection only; what changes its protocol concerns both.
fn prepare(headers: &mut HeaderMap, is_upgrade: bool) {
    for name in OF_ONE_CONNECTION {
        if !(is_upgrade && name == header::CONNECTION) {
            headers.remove(name);
        }
    }
    if !is_upgrade {
        headers.remove(header::UPGRADE);
    }
}

/// Passes on what both ends say, until one of them ends, or somebody else decides.
async fn tunnel(below: OnUpgrade, above: OnUpgrade, mut over: watch::Receiver<bool>) {
    let (Ok(below), Ok(above)) = tokio::join!(below, above) else {
        warn!("a connection could not be passed on");
        return;
    };
    let (mut below, mut above) = (TokioIo::new(below), TokioIo::new(above));
    tokio::select! {
        ended = copy_bidirectional(&mut below, &mut above) => {
            if let Err(error) = ended {
                debug!(%error, "a connection that was passed on broke");
            }
        }
        _ = over.wait_for(|over| *over) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_machine_that_is_gone_without_a_word_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let coordinator = format!("http://{}", listener.local_addr().unwrap());
        let stream = connect(&coordinator).await.unwrap();
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
