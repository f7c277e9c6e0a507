//! One connection to another coordinator for each executor and each watcher, over which it talks with all seats there.
//!
//! Seats are many, and connections are few: an executor has as many as there are other coordinators, however many partitions they have.

use std::{
    collections::BTreeMap, future::poll_fn, net::IpAddr, sync::Arc, task::Poll as Polled,
    time::Duration,
};

use asterism_protocol::{SUBPROTOCOL, limits::FRAME_BYTES_MAX};
use axum::{
    body::Bytes,
    extract::{
        FromRequestParts, Request, WebSocketUpgrade,
        ws::{Message as Frame, WebSocket},
    },
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use data_encoding::HEXLOWER;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use tracing::debug;

use super::{
    COORDINATORS, Front,
    remote::{self, Ends, Who, pair},
};
use crate::{
    error::ApiError,
    limits::{HEARD_WITHIN, PING_EVERY, SEND_MAX, SILENCE_MAX},
    metrics::Counted,
    peer::Peer,
    socket::{self, Heard, STOPS, ends},
    standby::nobody,
    writer::GOING_AWAY,
};

/// The header by which a coordinator tells what an executor has signed.
const NONCE: HeaderName = HeaderName::from_static("asterism-nonce");

/// What begins each frame: what is said, and in which talk.
const HEAD_BYTES: usize = 9;

/// The longest frame.
const BYTES_MAX: usize = HEAD_BYTES + FRAME_BYTES_MAX;

/// One talk with a seat: the number that whoever began it gave it, and in the last two bytes the seat's partition. A seat that
/// is talked with again is so under another number, so nothing is heard of the talk before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Talk(u64);

/// What is said in a talk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// It begins.
    Begin,
    /// A message.
    Say(Bytes),
    /// One of both listens no more.
    End,
}

impl Talk {
    fn new(number: u64, partition: u16) -> Self {
        Self((number << 16) | u64::from(partition))
    }

    fn partition(self) -> u16 {
        (self.0 & u64::from(u16::MAX)) as u16
    }

    /// The frame that carries a word of it.
    pub(super) fn frame(self, word: &Word) -> Bytes {
        let (kind, said): (u8, &[u8]) = match word {
            Word::Begin => (0, b"".as_slice()),
            Word::Say(said) => (1, &said[..]),
            Word::End => (2, b"".as_slice()),
        };
        let (kind, talk) = ([kind], self.0.to_be_bytes());
        [kind.as_slice(), talk.as_slice(), said].concat().into()
    }

    /// What a frame carries, if it is one.
    pub(super) fn read(frame: &Bytes) -> Option<(Self, Word)> {
        let (kind, rest) = frame.split_first()?;
        let talk = Self(u64::from_be_bytes(*rest.first_chunk()?));
        let word = match kind {
            0 => Word::Begin,
            1 => Word::Say(frame.slice(HEAD_BYTES..)),
            2 => Word::End,
            _ => return None,
        };
        Some((talk, word))
    }
}

/// The talks over one line, at one of its ends.
#[derive(Default)]
struct Talks(BTreeMap<Talk, Ends>);

impl Talks {
    /// What is said at this end.
    async fn hear(&mut self) -> (Talk, Word) {
        let (talk, said) = poll_fn(|context| {
            for (talk, ends) in &mut self.0 {
                if let Polled::Ready(said) = ends.hear.poll_recv(context) {
                    return Polled::Ready((*talk, said));
                }
            }
            Polled::Pending
        })
        .await;
        match said {
            Some(said) => (talk, Word::Say(said)),
            None => {
                self.0.remove(&talk);
                (talk, Word::End)
            }
        }
    }

    /// Says here what was said at the other end. A talk whose listener is stuck is over, which is heard of it then: the others over
    /// this line do not wait for it. Whoever began it begins it anew, and repeats what was not heard.
    async fn say(&mut self, talk: Talk, said: Bytes) {
        let Some(ends) = self.0.get_mut(&talk) else {
            return;
        };
        // Who has just gone says so by itself.
        if timeout(HEARD_WITHIN, ends.say.send(said)).await.is_err() {
            // Nobody hears what else is said, and nobody waits for it.
            (ends.say, _) = mpsc::channel(1);
            ends.hear.close();
        }
    }
}

/// Somebody's lines to other coordinators, each made when a seat there is talked with first.
pub(super) struct Lines {
    peer: Peer,
    who: Who,
    /// Begins talks, by where the coordinator is reached.
    open: BTreeMap<String, mpsc::Sender<(Talk, Ends)>>,
    /// Talks until now.
    talks: u64,
}

impl Lines {
    pub(super) fn new(peer: Peer, who: Who) -> Self {
        Self {
            peer,
            who,
            open: BTreeMap::new(),
            talks: 0,
        }
    }

    /// Talks with a seat at another coordinator; why not, in words.
    pub(super) async fn talk(
        &mut self,
        front: &Front,
        coordinator: &str,
        partition: u16,
    ) -> Result<Ends, String> {
        self.talks += 1;
        let talk = Talk::new(self.talks, partition);
        let (ends, mut there) = pair();
        if let Some(line) = self.open.get(coordinator) {
            match line.send((talk, there)).await {
                Ok(()) => return Ok(ends),
                // It has ended.
                Err(mpsc::error::SendError((_, back))) => there = back,
            }
        }
        let socket = connect(front, coordinator, self.peer, self.who).await?;
        let (open, opened) = mpsc::channel(1);
        tokio::spawn(carry(socket, opened, SILENCE_MAX));
        // It has room for one.
        let _ = open.send((talk, there)).await;
        self.open.insert(coordinator.to_owned(), open);
        Ok(ends)
    }

    /// Begins no more talks over a line that seems to be dead. Those that there are go on, as long as they do.
    pub(super) fn forget(&mut self, coordinator: &str) {
        self.open.remove(coordinator);
    }
}

/// What the path of a line ends with.
const EXECUTOR: &str = "executor";
const WATCHER: &str = "watcher";

async fn connect(
    front: &Front,
    coordinator: &str,
    peer: Peer,
    who: Who,
) -> Result<WebSocketStream<TcpStream>, String> {
    let mut headers = HeaderMap::new();
    let protocol = HeaderValue::from_static(SUBPROTOCOL);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let name = match who {
        Who::Executor(nonce) => {
            if let Ok(nonce) = HeaderValue::from_str(&HEXLOWER.encode(&nonce)) {
                headers.insert(NONCE, nonce);
            }
            EXECUTOR
        }
        Who::Watcher => WATCHER,
    };
    let path = format!("{COORDINATORS}/{name}");
    remote::socket(
        front,
        (coordinator, path.as_str()),
        peer,
        BYTES_MAX,
        headers,
    )
    .await
}

/// Carries talks until whoever begins them is gone and the last one is over. A coordinator pings: one that is silent for
/// `silence_max` is gone with its machine, and nobody has said so.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    mut opened: mpsc::Receiver<(Talk, Ends)>,
    silence_max: Duration,
) {
    let (mut sink, mut stream) = socket.split();
    let mut talks = Talks::default();
    let mut last = Instant::now();
    let mut more = true;
    // By when what was said last has to have left. Meanwhile it listens: if both ends waited for the other one to read, both would wait
    // until that.
    let mut leaves: Option<Instant> = None;
    while more || leaves.is_some() || !talks.0.is_empty() {
        let (talk, word) = tokio::select! {
            begun = opened.recv(), if more && leaves.is_none() => match begun {
                Some((talk, ends)) => {
                    talks.0.insert(talk, ends);
                    (talk, Word::Begin)
                }
                None => {
                    more = false;
                    continue;
                }
            },
            said = talks.hear(), if leaves.is_none() => said,
            left = sink.flush(), if leaves.is_some() => match left {
                Ok(()) => {
                    leaves = None;
                    continue;
                }
                Err(error) => {
                    debug!(%error, "a connection to another coordinator broke");
                    return;
                }
            },
            message = stream.next() => {
                last = Instant::now();
                let frame = match message {
                    Some(Ok(Message::Binary(frame))) => frame,
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                };
                match Talk::read(&frame) {
                    Some((talk, Word::Say(said))) => talks.say(talk, said).await,
                    Some((talk, Word::End)) => drop(talks.0.remove(&talk)),
                    // Only this end begins talks.
                    Some((_, Word::Begin)) | None => return,
                }
                continue;
            }
            () = sleep_until(leaves.unwrap_or(last)), if leaves.is_some() => {
                debug!("another coordinator does not read");
                return;
            }
            () = sleep_until(last + silence_max) => {
                debug!("another coordinator is silent");
                return;
            }
        };
        // What was said before has left, so there is room.
        if let Err(error) = sink.feed(Message::Binary(talk.frame(&word))).await {
            debug!(%error, "a connection to another coordinator broke");
            return;
        }
        leaves = Some(Instant::now() + SEND_MAX);
    }
    // The other side ends as well, or notices that nobody is there.
    let _ = timeout(SEND_MAX, sink.close()).await;
}

impl Front {
    /// Another coordinator asks for a line to the seats in here.
    pub(super) async fn line(
        &self,
        peer: IpAddr,
        name: &str,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.only_coordinators(request.headers())?;
        let (mut parts, _) = request.into_parts();
        let who = match name {
            EXECUTOR => {
                let nonce = nonce_of(&parts.headers);
                Who::Executor(nonce.ok_or_else(|| ApiError::invalid("there is no nonce"))?)
            }
            WATCHER => Who::Watcher,
            _ => return Err(ApiError::not_found("there is no such line")),
        };
        let asked = <WebSocketUpgrade as FromRequestParts<()>>::from_request_parts(&mut parts, &());
        let ws = asked.await;
        let ws = socket::upgrade(ws, &parts.uri)?
            .max_message_size(BYTES_MAX)
            .max_frame_size(BYTES_MAX);
        let front = self.general.front();
        let front = front.ok_or_else(|| nobody("the one that does stops"))?;
        Ok(ws.on_upgrade(async move |socket| serve(front, socket, Peer(peer), who).await))
    }
}

/// Has somebody who is at another coordinator talk with the seats in here. Its place it has there.
async fn serve(front: Arc<Front>, socket: WebSocket, peer: Peer, who: Who) {
    let _counted = Counted::new(&front.general.metrics.lines);
    let (mut ears, mut writer) = ends(socket);
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut talks = Talks::default();
    let mut heard = Instant::now();
    loop {
        let quiet = talks.0.is_empty();
        let frame = tokio::select! {
            said = ears.hear() => {
                heard = Instant::now();
                let frame = match said {
                    Heard::Frame(frame) => frame,
                    Heard::Alive => continue,
                    Heard::Closed { .. } | Heard::Gone | Heard::Refused(_) => return,
                };
                match Talk::read(&frame) {
                    Some((talk, Word::Begin)) => {
                        let ends = begin(&front, talk.partition(), peer, who);
                        talks.0.insert(talk, ends);
                    }
                    Some((talk, Word::Say(said))) => talks.say(talk, said).await,
                    Some((talk, Word::End)) => drop(talks.0.remove(&talk)),
                    None => return,
                }
                continue;
            }
            (talk, word) = talks.hear() => talk.frame(&word),
            _ = ping.tick() => {
                if writer.send(Frame::Ping(Bytes::new())).await.is_err() {
                    return;
                }
                continue;
            }
            () = sleep_until(heard + SILENCE_MAX) => return,
            // Each seat has its last words before.
            () = front.closed(), if quiet => return writer.close(GOING_AWAY, STOPS).await,
        };
        if writer.send(Frame::Binary(frame)).await.is_err() {
            return;
        }
    }
}

/// Begins a talk with a seat in here. Where that is not here, nor comes, the talk ends.
fn begin(front: &Arc<Front>, partition: u16, peer: Peer, who: Who) -> Ends {
    let (ends, seat) = pair();
    let front = Arc::clone(front);
    tokio::spawn(async move {
        match front.soon_here(partition).await {
            Ok(local) => remote::serve(Arc::clone(&local.app), seat, peer, who).await,
            Err(error) => debug!(error = error.message(), "a seat is not talked with"),
        }
    });
    ends
}

/// What another coordinator says that an executor has signed.
fn nonce_of(headers: &HeaderMap) -> Option<[u8; 32]> {
    let nonce = HEXLOWER.decode(headers.get(NONCE)?.as_bytes());
    nonce.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::limits::OUTBOX_MAX;

    /// A line that is carried, what begins talks over it, and its other end.
    async fn line(
        silence_max: Duration,
    ) -> (
        mpsc::Sender<(Talk, Ends)>,
        WebSocketStream<tokio::io::DuplexStream>,
        tokio::task::JoinHandle<()>,
    ) {
        let (near, far) = tokio::io::duplex(1 << 10);
        let near = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let (open, opened) = mpsc::channel(1);
        (open, far, tokio::spawn(carry(near, opened, silence_max)))
    }

    async fn heard(far: &mut WebSocketStream<tokio::io::DuplexStream>) -> (Talk, Word) {
        match far.next().await {
            Some(Ok(Message::Binary(frame))) => Talk::read(&frame).expect("a word"),
            other => panic!("{other:?}"),
        }
    }

    async fn say(far: &mut WebSocketStream<tokio::io::DuplexStream>, talk: Talk, word: &Word) {
        let frame = Message::Binary(talk.frame(word));
        far.send(frame).await.unwrap();
    }

    fn word(text: &'static str) -> Word {
        Word::Say(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn talks_over_one_line_are_told_apart() {
        let (open, mut far, carried) = line(SILENCE_MAX).await;
        let talks = [Talk::new(1, 3), Talk::new(2, 7), Talk::new(3, 3)];
        let mut near = Vec::new();
        for talk in talks {
            let (ends, there) = pair();
            open.send((talk, there)).await.unwrap();
            assert_eq!(heard(&mut far).await, (talk, Word::Begin));
            near.push(ends);
        }
        assert_eq!(talks.map(Talk::partition), [3, 7, 3]);
        for (ends, text) in near.iter_mut().zip(["one", "two", "three"]) {
            ends.say.send(Bytes::from(text)).await.unwrap();
        }
        for (talk, text) in talks.into_iter().zip(["one", "two", "three"]) {
            assert_eq!(heard(&mut far).await, (talk, word(text)));
        }
        // Of one that is over nothing is heard in the one that follows it.
        drop(near.remove(0));
        assert_eq!(heard(&mut far).await, (talks[0], Word::End));
        say(&mut far, talks[0], &word("late")).await;
        say(&mut far, talks[2], &word("now")).await;
        say(&mut far, talks[1], &Word::End).await;
        assert_eq!(near[1].hear.recv().await, Some(Bytes::from_static(b"now")));
        assert_eq!(near[0].hear.recv().await, None);
        // Last words are said before the line ends.
        near[1].say.send(Bytes::from_static(b"bye")).await.unwrap();
        drop((near, open));
        assert_eq!(heard(&mut far).await, (talks[2], word("bye")));
        assert_eq!(heard(&mut far).await, (talks[2], Word::End));
        assert!(matches!(
            far.next().await,
            Some(Ok(Message::Close(_))) | None
        ));
        drop(far);
        carried.await.unwrap();
    }

    #[tokio::test]
    async fn both_ends_of_a_line_may_have_much_to_say_at_once() {
        let (open, mut far, carried) = line(SILENCE_MAX).await;
        let (mut near, there) = pair();
        let talk = Talk::new(1, 0);
        open.send((talk, there)).await.unwrap();
        assert_eq!(heard(&mut far).await, (talk, Word::Begin));
        let much = |byte: u8| Bytes::from(vec![byte; 64 << 10]);
        near.say.send(much(1)).await.unwrap();
        // It is on its way, and the other end does not read before it has said what it has to say.
        tokio::task::yield_now().await;
        let said = Word::Say(much(2));
        let said = timeout(SEND_MAX / 3, say(&mut far, talk, &said)).await;
        assert!(said.is_ok(), "it listens while it speaks");
        assert_eq!(near.hear.recv().await, Some(much(2)));
        assert_eq!(heard(&mut far).await, (talk, Word::Say(much(1))));
        drop((near, open, far));
        carried.await.unwrap();
    }

    #[tokio::test]
    async fn a_talk_that_is_not_listened_to_holds_no_other_one_up() {
        let (open, mut far, carried) = line(SILENCE_MAX).await;
        let talks = [Talk::new(1, 0), Talk::new(2, 1)];
        let mut near = Vec::new();
        for talk in talks {
            let (ends, there) = pair();
            open.send((talk, there)).await.unwrap();
            assert_eq!(heard(&mut far).await, (talk, Word::Begin));
            near.push(ends);
        }
        for _ in 0..=OUTBOX_MAX {
            say(&mut far, talks[0], &word("much")).await;
        }
        say(&mut far, talks[1], &word("alive")).await;
        let alive = timeout(SEND_MAX / 2, near[1].hear.recv()).await;
        let alive = alive.expect("nobody waits for the other one");
        assert_eq!(alive.as_deref(), Some(b"alive".as_slice()));
        // That one is over, at both ends, after what it was in time for.
        assert_eq!(heard(&mut far).await, (talks[0], Word::End));
        for _ in 0..OUTBOX_MAX {
            assert!(near[0].hear.recv().await.is_some());
        }
        assert_eq!(near[0].hear.recv().await, None);
        drop((near, open, far));
        carried.await.unwrap();
    }

    #[tokio::test]
    async fn a_coordinator_that_is_silent_is_given_up() {
        let silence_max = Duration::from_millis(400);
        let (open, mut far, carried) = line(silence_max).await;
        let (mut near, there) = pair();
        let talk = Talk::new(1, 0);
        open.send((talk, there)).await.unwrap();
        assert_eq!(heard(&mut far).await, (talk, Word::Begin));
        // Who pings is there, however long nothing else is said.
        for _ in 0..6 {
            tokio::time::sleep(silence_max / 4).await;
            far.send(Message::Ping(Bytes::new())).await.unwrap();
        }
        say(&mut far, talk, &word("word")).await;
        let said = near.hear.recv().await;
        assert_eq!(said.as_deref(), Some(b"word".as_slice()));
        // From now on it is as after a loss of power: the connection stays.
        let ended = timeout(50 * silence_max, near.hear.recv()).await;
        assert_eq!(ended.expect("it is noticed"), None);
        carried.await.unwrap();
    }
}
