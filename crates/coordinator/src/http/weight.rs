//! What documents weigh while they are read: many times their size.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    app::App,
    error::ApiError,
    limits::{DOCUMENT_UNIT_BYTES, DOCUMENTS_UNITS, SMALL_BODY_BYTES},
    places::Place,
};

/// A document as it came, and its place among those that are read.
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) weight: Weight,
    /// Its place among those that are larger than documents may be.
    pub(super) place: Option<Place>,
}

impl Document {
    /// Waits until those that are being read leave room for it.
    pub(super) async fn of(app: &App, bytes: Bytes) -> Result<Self, ApiError> {
        let weight = Weight::of(app, bytes.len()).await?;
        Ok(Self {
            bytes,
            weight,
            place: None,
        })
    }
}

/// Room for what is made of a document, until it is dropped.
pub(super) struct Weight(Option<OwnedSemaphorePermit>);

impl Weight {
    /// What nobody has to wait for.
    pub(super) const NONE: Self = Self(None);

    async fn of(app: &App, bytes: usize) -> Result<Self, ApiError> {
        if bytes <= SMALL_BODY_BYTES {
            return Ok(Self::NONE);
        }
        let units = bytes.div_ceil(DOCUMENT_UNIT_BYTES).min(DOCUMENTS_UNITS) as u32;
        let room = Arc::clone(&app.room.documents);
        let place = room.acquire_many_owned(units).await;
        place
            .map(Some)
            .map(Self)
            .map_err(|error| ApiError::internal(&error))
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        let is_large = self.0.as_ref().is_some_and(|place| place.num_permits() > 1);
        if is_large {
            give_back_soon();
        }
    }
}

/// To be called when something large was made and is gone.
pub(super) fn give_back_soon() {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn_blocking(give_back);
    }
}

/// Gives memory that is free back to the system. The allocator of glibc, in a program that uses it, keeps it otherwise: after 200,000 tasks in 19 MB of
/// JSON 1.5 GB, of which 0.2 are in use.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_back() {
    #[expect(
        unsafe_code,
        reason = "a call into libc without memory of ours; it may be made from any thread"
    )]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Other allocators do so by themselves; so does mimalloc, which `asterism` uses.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
