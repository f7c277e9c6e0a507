//! Blobs over HTTP: what comes is checked against its CID piece by piece, what goes is named by it.

use std::{error::Error as _, sync::Arc, time::Duration};

use asterism_executor::TransferError;
use asterism_protocol::{BlobHasher, Cid, limits::BLOB_BYTES_MAX};
use reqwest::{Client, StatusCode};

use crate::Server;

/// Longest time to open a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Longest pause in the middle of a blob.
const PAUSE: Duration = Duration::from_secs(30);

/// Longest time for one blob on its way to the coordinator; nothing is heard until all of it is there.
const UPLOAD: Duration = Duration::from_secs(300);

/// The blobs of a coordinator.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    client: Client,
    server: Server,
}

impl Store {
    pub(crate) fn new(server: Server) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(PAUSE)
            .build()?;
        Ok(Self { client, server })
    }

    /// The bytes of a blob, checked.
    pub(crate) async fn fetch(&self, cid: Cid) -> Result<Vec<u8>, TransferError> {
        let mut response = self
            .client
            .get(self.server.blob(cid))
            .send()
            .await
            .map_err(words)?;
        if response.status() != StatusCode::OK {
            return Err(refused(response.status()));
        }
        let too_large =
            || TransferError::Failed(format!("it is larger than {BLOB_BYTES_MAX} bytes"));
        let announced = response.content_length().unwrap_or(0);
        if announced > BLOB_BYTES_MAX {
            return Err(too_large());
        }
        // What is announced is not trusted with more than a piece of memory.
        let mut bytes = Vec::with_capacity(announced.min(1 << 20) as usize);
        let mut hasher = BlobHasher::default();
        while let Some(chunk) = response.chunk().await.map_err(words)? {
            if (bytes.len() + chunk.len()) as u64 > BLOB_BYTES_MAX {
                return Err(too_large());
            }
            hasher.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        let is = hasher.finish();
        if is != cid {
            let reason = format!("other bytes came, those of {is}");
            return Err(TransferError::Failed(reason));
        }
        Ok(bytes)
    }

    /// Brings a blob.
    pub(crate) async fn upload(&self, cid: Cid, bytes: &Arc<Vec<u8>>) -> Result<(), TransferError> {
        let request = self
            .client
            .put(self.server.blob(cid))
            .timeout(UPLOAD)
            .body(bytes.to_vec());
        let response = request.send().await.map_err(words)?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(refused(response.status()))
        }
    }
}

/// What another answer than the one that was asked for means.
fn refused(status: StatusCode) -> TransferError {
    let reason = format!("the coordinator answered {status}");
    if status == StatusCode::SERVICE_UNAVAILABLE {
        TransferError::Unavailable(reason)
    } else {
        TransferError::Failed(reason)
    }
}

/// An error with its causes: reqwest's own words leave out what went wrong.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn words(error: reqwest::Error) -> TransferError {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    TransferError::Failed(words)
}
