//! Where a request is answered: by the seat that it names, here or at another coordinator, or by what is the same for all.

use std::{net::IpAddr, sync::Arc};

use asterism_protocol::{Cid, encode};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::Response,
};
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{COORDINATORS, EXECUTORS, Front, Local, PARTITIONS, Seat, all, answer_of};
use crate::{
    error::ApiError,
    http::{self, Client, Forwarded, Key, Ready, Wanted},
    limits::{ASK_EVERY, FOLLOWED_WITHIN, MOVED_WITHIN},
    pass::{self, Onward},
    standby::nobody,
    upkeep::UPKEEP,
};

impl Front {
    pub(super) async fn answer(
        &self,
        peer: IpAddr,
        request: Request,
    ) -> Result<Response, ApiError> {
        let path = request.uri().path().to_owned();
        let mut parts = path.trim_start_matches('/').splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(PARTITIONS), Some(partition), rest) => {
                let rest = rest.unwrap_or_default();
                self.inside(request, partition, rest).await
            }
            (Some(COORDINATORS), Some("drain"), None) => {
                self.only_coordinators(request.headers())?;
                self.drain_here(request.uri().query().unwrap_or_default())
                    .await
            }
            (Some(COORDINATORS), Some(name), None) => self.line(peer, name, request).await,
            (Some("workflows"), Some(which), _) => match self.partition_named(which) {
                Some(partition) => self.ask(partition, peer, request).await,
                None => Ok(self.general(request).await),
            },
            (Some(first), ..) => {
                if stores(first, request.method()) && self.is_in_upkeep() {
                    return Err(nobody("upkeep holds the journal"));
                }
                let asks = asks_for_components(first, &request);
                if asks && let Err(error) = self.general.blocking(http::refresh).await {
                    // What is known may do; what does not, says so.
                    debug!(error = error.message(), "components are not read again");
                }
                Ok(self.general(request).await)
            }
            (None, ..) => Ok(self.general(request).await),
        }
    }

    /// Is somebody deleting what nobody needs? What is stored meanwhile might be among it.
    fn is_in_upkeep(&self) -> bool {
        let seats = self.seats.borrow();
        let is_held =
            |seat: &Seat| matches!(seat, Seat::There { address, .. } if address == UPKEEP);
        seats.iter().any(is_held)
    }

    async fn general(&self, request: Request) -> Response {
        answer_of(&self.router, request).await
    }

    /// Asks whoever has a partition, here or elsewhere.
    pub(super) async fn ask(
        &self,
        partition: u16,
        peer: IpAddr,
        mut request: Request,
    ) -> Result<Response, ApiError> {
        let until = Instant::now() + FOLLOWED_WITHIN;
        let stream = loop {
            let address = match self.seat(partition).await? {
                Seat::Here(local) => return Ok(local.answer(request).await),
                Seat::There { address, .. } => address,
                Seat::Nobody => continue,
            };
            match pass::connect(&address).await {
                Ok(stream) => break stream,
                // It is gone, and that is not known yet.
                Err(_) if Instant::now() < until => tokio::time::sleep(ASK_EVERY).await,
                Err(why) => return Err(nobody(&why)),
            }
        };
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        *request.uri_mut() = inner_path(partition, path)?;
        let onward = Onward {
            authority: &self.general.authority,
            peer,
            over: self.closing.clone(),
        };
        let passed = onward.pass_on(stream, request).await;
        passed.map_err(|error| nobody(&format!("the one that did does not answer ({error})")))
    }

    /// Only whoever has the same operator's token may ask this.
    pub(super) fn only_coordinators(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match self.general.authority.peer_behind(headers) {
            Some(_) => Ok(()),
            None => Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "coordinators-only",
                "only coordinators on the same journal ask this, which have the same operator's token",
            )
            .hint("start all of them with the same --operator-token-file")),
        }
    }

    /// What another coordinator asks of a partition that it believes to be here.
    async fn inside(
        &self,
        mut request: Request,
        partition: &str,
        rest: &str,
    ) -> Result<Response, ApiError> {
        self.only_coordinators(request.headers())?;
        let partition = partition.parse::<u16>();
        let partition = partition.map_err(|_| ApiError::not_found("there is no such partition"))?;
        if rest == EXECUTORS {
            // What it signed is the other one's challenge: here it could only be sent away, and would not come to anybody.
            return Err(ApiError::not_found(
                "executors of other coordinators come over a line here",
            )
            .hint("have all coordinators on one journal run the same version"));
        }
        let local = self.soon_here(partition).await?;
        let query = request.uri().query();
        if let Some(what) = rest
            .strip_prefix(all::ALL)
            .filter(|_| partition == all::FIRST)
        {
            return self.tell_all(what, query.unwrap_or_default()).await;
        }
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        *request.uri_mut() = uri(&format!("/{rest}{query}"))?;
        Ok(local.answer(request).await)
    }

    /// A partition that another coordinator believes to be here. It may be about to be.
    pub(super) async fn soon_here(&self, partition: u16) -> Result<Arc<Local>, ApiError> {
        if partition >= self.partitions {
            return Err(ApiError::not_found("there is no such partition"));
        }
        let mut seats = self.seats.subscribe();
        let is_here = |seats: &Vec<Seat>| matches!(seats[usize::from(partition)], Seat::Here(_));
        let here = timeout(MOVED_WITHIN, seats.wait_for(is_here)).await.is_ok();
        match self.seat_now(partition) {
            Seat::Here(local) => Ok(local),
            Seat::There { .. } | Seat::Nobody => {
                let words = if here {
                    "was here just before"
                } else {
                    "is not here"
                };
                Err(nobody(&format!("partition {partition} {words}")))
            }
        }
    }

    /// Makes a run where its partition is, and answers as it was asked.
    pub(crate) async fn submit(
        &self,
        ready: Ready,
        key: Option<(Key, Cid)>,
        wanted: Wanted,
        client: &Client,
    ) -> Result<Response, ApiError> {
        let partition = self.partition_of(ready.workflow);
        if let Seat::Here(local) = self.seat(partition).await? {
            let answered = http::answer(&local.app, key, wanted, move |_| Ok(ready), client);
            return Box::pin(answered).await;
        }
        let what = key.map(|(_, what)| what);
        let query = wanted.query(&ready.submission, self.general.clock.now())?;
        let body = self
            .general
            .blocking(move |_| Ok(encode(&Forwarded::of(ready.submission.plan.tasks(), what))))
            .await?;
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri(&format!("{}?{query}", http::SUBMITTED))?;
        *request.headers_mut() = client.headers.clone();
        for name in [
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::TRANSFER_ENCODING,
            header::EXPECT,
        ] {
            request.headers_mut().remove(name);
        }
        request.extensions_mut().insert(client.peer);
        self.ask(partition, client.peer.0, request).await
    }
}

/// Does it bring something that is kept?
fn stores(first: &str, method: &Method) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    ["blobs", "components"].contains(&first) && !reads
}

/// Is it about components, which may have been added through others? Pages are shown also while the journal is away.
fn asks_for_components(first: &str, request: &Request) -> bool {
    const NOT: [&str; 11] = [
        "api",
        "assets",
        "blobs",
        "executors",
        "health",
        "metrics",
        "openapi.json",
        "receipts",
        "pause",
        "resume",
        "ws",
    ];
    // Behind the root there are clients of Homestar, too.
    let is_page = first.is_empty() && !request.headers().contains_key(header::UPGRADE);
    request.method() != Method::OPTIONS && !is_page && !NOT.contains(&first)
}

/// Where another coordinator is asked this of a partition.
fn inner_path(partition: u16, path: &str) -> Result<Uri, ApiError> {
    uri(&format!("/{PARTITIONS}/{partition}{path}"))
}

pub(super) fn uri(text: &str) -> Result<Uri, ApiError> {
    text.parse().map_err(|error| ApiError::internal(&error))
}
