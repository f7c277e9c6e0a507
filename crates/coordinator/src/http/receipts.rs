//! Receipts, by their own CID or by the instruction they answer.

use asterism_protocol::{CONTENT_TYPE, encode, json_of, to_value};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use serde_json::json;

use super::{Shared, accepts, cid_of, extract::Named, json};
use crate::error::ApiError;

/// The latest run that has the task which a receipt answers, of all that are kept.
pub(super) async fn task(
    State(app): Shared,
    Named(cid): Named<String>,
) -> Result<Response, ApiError> {
    let cid = cid_of(&cid)?;
    let receipt = app
        .blocking(move |app| Ok(app.journal.receipt(cid)?))
        .await?;
    let instruction = receipt
        .and_then(|receipt| receipt.outcome())
        .map_or(cid, |outcome| outcome.instruction);
    let (found, _) = app
        .driver
        .look(move |scheduler| scheduler.task_of(instruction))
        .await?;
    let (run, task) = found.ok_or_else(|| {
        ApiError::not_found(format!(
            "no run that is kept has a task with the instruction {instruction}"
        ))
        .hint("submit its workflow again: what is known is replayed")
        .command("`--workflow FILE` names the workflow that it is in")
    })?;
    Ok(Json(json!({ "run": run.0, "task": task, "instruction": instruction })).into_response())
}

/// DAG-JSON, or DAG-CBOR for who accepts that.
pub(super) async fn show(
    State(app): Shared,
    Named(cid): Named<String>,
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
