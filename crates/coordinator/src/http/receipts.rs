//! Receipts, by their own CID or by the instruction they answer.

use asterism_protocol::{CONTENT_TYPE, encode, json_of, to_value};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use super::{Shared, accepts, cid_of, json};
use crate::error::ApiError;

/// DAG-JSON, or DAG-CBOR for who accepts that.
pub(super) async fn show(
    State(app): Shared,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let cid = cid_of(&cid)?;
    let receipt = app
        .blocking(move |app| match app.journal.receipt(cid)? {
            Some(receipt) => Ok(Some(receipt)),
            None => Ok(app.journal.receipts_of(&[cid])?.pop()),
        })
        .await?;
    let receipt = receipt.ok_or_else(|| {
        ApiError::not_found(format!(
            "{cid} is neither a receipt nor an instruction that was performed here"
        ))
    })?;
    let name = [(header::ETAG, format!("\"{}\"", receipt.cid()))];
    if accepts(&headers, CONTENT_TYPE) {
        return Ok((
            name,
            [(header::CONTENT_TYPE, CONTENT_TYPE)],
            encode(&receipt),
        )
            .into_response());
    }
    Ok((name, json(json_of(&to_value(&receipt)))).into_response())
}
