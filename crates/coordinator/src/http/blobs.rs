//! Blobs by CID. A CID's bytes never change, so caches may keep them for ever.

use std::{
    io::{Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use asterism_protocol::{Cid, limits::BLOB_BYTES_MAX};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt as _, stream};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Shared, cid_of,
    extract::{Client, Named},
    length_of,
};
use crate::{
    app::App,
    error::ApiError,
    limits::{BLOB_CHUNK_BYTES, SMALL_BODY_BYTES, UPLOAD_WAIT_MAX},
    media,
    peer::Network,
    places::Place,
    quota,
    store::{BlobError, BlobReader, Stored},
};

/// Chunks between a socket and the disk.
const CHUNKS_AHEAD: usize = 4;

/// Bytes of a body that is refused which are read for the sake of whoever sends them.
const LET_BY_BYTES: u64 = 16 << 20;

/// As above, where it is no fault of theirs: an executor that does not hear that it may come again later takes it for one of its own.
const LET_BY_BYTES_UNAVAILABLE: u64 = BLOB_BYTES_MAX;

const FOR_EVER: &str = "public, max-age=31536000, immutable";

fn blob_cid_of(text: &str) -> Result<Cid, ApiError> {
    let cid = cid_of(text)?;
    if cid.is_blob() {
        return Ok(cid);
    }
    Err(ApiError::invalid(format!("{cid} does not name a blob"))
        .hint("receipts are at /receipts, workflows at /workflows")
        .command("`asterism receipt get` prints receipts, `asterism workflow get` runs"))
}

fn absent(cid: Cid) -> ApiError {
    ApiError::not_found(format!("blob {cid} is not here"))
        .hint(format!("PUT its bytes to /blobs/{cid}"))
        .command("`asterism blob put FILE` adds one")
}

pub(super) async fn head(
    State(app): Shared,
    Named(cid): Named<String>,
) -> Result<Response, ApiError> {
    let cid = blob_cid_of(&cid)?;
    let size = app
        .blocking(move |app| Ok(app.blobs.size(cid)?))
        .await?
        .ok_or_else(|| absent(cid))?;
    let headers = [
        (header::CONTENT_LENGTH, HeaderValue::from(size)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        (header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER)),
        (header::ETAG, etag(cid)),
    ];
    Ok(headers.into_response())
}

fn etag(cid: Cid) -> HeaderValue {
    HeaderValue::try_from(format!("\"{cid}\"")).expect("a CID is letters and digits")
}

pub(super) async fn get(
    State(app): Shared,
    Named(cid): Named<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cid = blob_cid_of(&cid)?;
    let tags = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|tags| tags.to_str().ok());
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        .map(str::to_owned);
    let mut response =
        if tags.is_some_and(|tags| tags.contains(&cid.to_string()) || tags.trim() == "*") {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            send(&app, cid, range).await?
        };
    if response.status() != StatusCode::RANGE_NOT_SATISFIABLE {
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static(FOR_EVER));
    }
    response.headers_mut().insert(header::ETAG, etag(cid));
    Ok(response)
}

/// A blob as a body with the type that its first bytes tell; all of it, or the range that was asked for.
pub(super) async fn send(
    app: &Arc<App>,
    cid: Cid,
    range: Option<String>,
) -> Result<Response, ApiError> {
    let opened = app
        .blocking(move |app| {
            let Some(mut reader) = app.blobs.open(cid)? else {
                return Ok(None);
            };
            let mut head = [0; 512];
            let mut filled = 0;
            while filled < head.len() {
                match reader
                    .read(&mut head[filled..])
                    .map_err(|error| BlobError::of_reading(cid, error))?
                {
                    0 => break,
                    read => filled += read,
                }
            }
            Ok(Some((reader, media::media_type_of(&head[..filled]))))
        })
        .await?;
    let (reader, media_type) = opened.ok_or_else(|| absent(cid))?;
    let size = reader.size();
    let (status, from, length) = match range.as_deref().map(|range| range_of(range, size)) {
        None | Some(Wanted::All) => (StatusCode::OK, 0, size),
        Some(Wanted::Part { from, length }) => (StatusCode::PARTIAL_CONTENT, from, length),
        Some(Wanted::Beyond) => {
            let error = ApiError::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range",
                format!("the blob has {size} bytes"),
            );
            return Ok(
                ([(header::CONTENT_RANGE, format!("bytes */{size}"))], error).into_response(),
            );
        }
    };
    app.metrics.blob_bytes_out.inc_by(length);
    let body = Body::from_stream(read_behind(reader, from, length));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", from + length - 1);
        headers.insert(
            header::CONTENT_RANGE,
            HeaderValue::try_from(range).expect("digits are a header"),
        );
    }
    Ok(response)
}

/// Reads on a thread for blocking work, a few chunks ahead of the socket.
fn read_behind(
    mut reader: Box<dyn BlobReader>,
    from: u64,
    length: u64,
) -> impl Stream<Item = std::io::Result<Bytes>> {
    let (chunks, received) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut left = length;
        let mut result = reader.seek(SeekFrom::Start(from)).map(drop);
        while left > 0 && result.is_ok() {
            let mut chunk = vec![
                0;
                usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(BLOB_CHUNK_BYTES)
            ];
            result = reader.read_exact(&mut chunk);
            left -= chunk.len() as u64;
            // A closed channel belongs to a client that went away.
            if result.is_ok() && chunks.blocking_send(Ok(Bytes::from(chunk))).is_err() {
                return;
            }
        }
        if let Err(error) = result {
            // The client sees the connection break before the length that was announced.
            let _ = chunks.blocking_send(Err(error));
        }
    });
    stream::unfold(received, |mut received| async {
        Some((received.recv().await?, received))
    })
}

enum Wanted {
    All,
    Part { from: u64, length: u64 },
    Beyond,
}

/// One range of bytes. Several, or another unit, mean all, as RFC 9110 allows.
fn range_of(text: &str, size: u64) -> Wanted {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let (from, to) = match (first, last) {
        ("", "") => return Wanted::All,
        ("", suffix) => match number(suffix) {
            Some(0) => return Wanted::Beyond,
            Some(suffix) => (size.saturating_sub(suffix), u64::MAX),
            None => return Wanted::All,
        },
        (first, last) => match (
            number(first),
            if last.is_empty() {
                Some(u64::MAX)
            } else {
                number(last)
            },
        ) {
            (Some(from), Some(to)) if from <= to => (from, to),
            _ => return Wanted::All,
        },
    };
    if from >= size {
        return Wanted::Beyond;
    }
    Wanted::Part {
        from,
        length: to.min(size - 1) - from + 1,
    }
}

pub(super) async fn put(
    State(app): Shared,
    Named(cid): Named<String>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let cid = blob_cid_of(&cid)?;
    store(&app, Some(cid), &client, body).await
}

pub(super) async fn post(
    State(app): Shared,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    store(&app, None, &client, body).await
}

/// Reads what is left of a body, for the sake of whoever sends it: who is sending hears nothing before it has sent.
async fn let_by<E>(mut rest: impl Stream<Item = Result<Bytes, E>> + Unpin, at_most: u64) {
    let mut bytes = 0;
    while bytes <= at_most
        && let Some(Ok(chunk)) = rest.next().await
    {
        bytes += chunk.len() as u64;
    }
}

/// A place among the large uploads that are written, after a moment where there is none now.
async fn place_of(
    app: &App,
    network: Network,
    length: Option<u64>,
) -> Result<Option<Place>, ApiError> {
    if length.is_some_and(|bytes| bytes <= SMALL_BODY_BYTES as u64) {
        return Ok(None);
    }
    let place = app.room.uploads.take_within(network, UPLOAD_WAIT_MAX).await;
    // Not 429, of which an executor would have to think that it is to blame.
    place.map(Some).map_err(|busy| {
        ApiError::unavailable(busy.message()).hint("try again when some of them have arrived")
    })
}

/// Writes on a thread for blocking work while the body arrives.
async fn store(
    app: &Arc<App>,
    expected: Option<Cid>,
    client: &Client,
    body: Body,
) -> Result<Response, ApiError> {
    let mut brought = app.counts.brings(client.network);
    let length = length_of(&client.headers);
    let is_here = match expected {
        Some(cid) => match app.blocking(move |app| Ok(app.blobs.size(cid)?)).await {
            Ok(size) => size.is_some(),
            Err(error) => {
                if error.is_unavailable() {
                    let_by(body.into_data_stream(), LET_BY_BYTES_UNAVAILABLE).await;
                }
                return Err(error);
            }
        },
        None => false,
    };
    let announced = length.filter(|_| !is_here);
    if let Err(refused) = brought.add(announced.unwrap_or_default()) {
        // A client that is sending hears nothing before it has sent: what is not far too much is let by.
        if announced.is_some_and(|bytes| bytes <= LET_BY_BYTES) {
            let_by(body.into_data_stream(), LET_BY_BYTES).await;
        }
        return Err(refused);
    }
    let place = match place_of(app, client.network, length).await {
        Ok(place) => place,
        Err(error) => {
            let_by(body.into_data_stream(), LET_BY_BYTES_UNAVAILABLE).await;
            return Err(error);
        }
    };
    let (chunks, mut received) = mpsc::channel::<Result<Bytes, axum::Error>>(CHUNKS_AHEAD);
    let writing = app.blocking(move |app| {
        // Given back once the writer is gone.
        let _place = place;
        let mut writer = app.blobs.begin()?;
        let mut whole = false;
        while let Some(chunk) = received.blocking_recv() {
            match chunk {
                // An empty chunk says that the body ended, and did not just break off.
                Ok(chunk) if chunk.is_empty() => whole = true,
                Ok(chunk) => {
                    if announced.is_none() && !is_here {
                        brought.add(chunk.len() as u64)?;
                    }
                    app.metrics.blob_bytes_in.inc_by(chunk.len() as u64);
                    writer.write(&chunk)?;
                }
                Err(error) => {
                    return Err(quota::broken(&error));
                }
            }
        }
        if !whole {
            return Err(ApiError::invalid("the body broke off"));
        }
        let stored = writer.finish(expected)?;
        if stored.is_new {
            brought.keep();
        }
        Ok(stored)
    });
    let sending = async move {
        // It is asked once more below, where it may have ended.
        let mut body = body.into_data_stream().fuse();
        while let Some(chunk) = body.next().await {
            if matches!(&chunk, Ok(chunk) if chunk.is_empty()) {
                continue;
            }
            let broken = chunk.is_err();
            // The writer gave up: its error is the answer.
            if chunks.send(chunk).await.is_err() || broken {
                return body;
            }
        }
        // As above.
        let _ = chunks.send(Ok(Bytes::new())).await;
        body
    };
    let (stored, rest) = tokio::join!(writing, sending);
    if stored.as_ref().is_err_and(ApiError::is_unavailable) {
        let_by(rest, LET_BY_BYTES_UNAVAILABLE).await;
    }
    let Stored { cid, is_new } = stored?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = [(header::LOCATION, format!("/blobs/{cid}"))];
    Ok((status, location, Json(json!({ "cid": cid }))).into_response())
}
