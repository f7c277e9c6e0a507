//! Receipts, by their own CID or by the instruction they answer.

use asterism_protocol::{Basis, CONTENT_TYPE, Limits, Policy, Receipt, encode, json_of, to_value};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use serde_json::json;

use super::{Shared, accepts, cid_of, extract::Named, json};
use crate::error::ApiError;

/// What whoever names an instruction asks for: what comes of it, not what comes of too little of something.
const UNLIMITED: Limits = Limits {
    fuel: u64::MAX,
    memory: u64::MAX,
    time_ms: u64::MAX,
};

/// Of the receipts of one instruction, one that answers a request with `limits` as it stands, whoever asks: believed on enough for
/// `policy`, and not resting on inputs that depended on limits. Of several the one under the largest limits, the newest of equals.
pub(super) fn answering(
    receipts: Vec<Receipt>,
    limits: &Limits,
    policy: &Policy,
) -> Option<Receipt> {
    let answers = |receipt: &Receipt| {
        let basis = receipt
            .evidence()
            .map_or(Basis::Unverified, |seen| seen.basis);
        receipt.rests_on().is_empty() && basis.satisfies(policy) && stands(receipt, limits)
    };
    let answering = receipts.into_iter().filter(answers);
    answering.max_by_key(conditions)
}

/// Of the receipts of one instruction, the one to look at: one that answers a request with `limits` as it stands, or one that
/// came about under the largest limits, and rather one whose inputs depended on none. The newest of equals.
fn fitting(receipts: Vec<Receipt>, limits: &Limits) -> Option<Receipt> {
    receipts.into_iter().max_by_key(|receipt| {
        let rests_on_none = receipt.rests_on().is_empty();
        (rests_on_none, stands(receipt, limits), conditions(receipt))
    })
}

/// Does a receipt's outcome answer a request with `limits` as it stands?
fn stands(receipt: &Receipt, limits: &Limits) -> bool {
    let signed = receipt.attestation().zip(receipt.outcome());
    signed.and_then(|(signed, outcome)| signed.conditions.answer(&outcome, limits)) == Some(true)
}

/// The limits of fuel and memory that it came about under.
fn conditions(receipt: &Receipt) -> Option<(u64, u64)> {
    let signed = receipt.attestation()?;
    Some((signed.conditions.fuel, signed.conditions.memory))
}

/// The latest run that has the task which a receipt answers, of all that are kept.
pub(super) async fn task(
    State(app): Shared,
    Named(cid): Named<String>,
) -> Result<Response, ApiError> {
    let cid = cid_of(&cid)?;
    if let Some(front) = app.front()
        && let Some(found) = front.task_of(cid).await?
    {
        return Ok(Json(found).into_response());
    }
    let receipt = app
        .blocking(move |app| Ok(app.journal.receipt(cid)?))
        .await?;
    let instruction = receipt
        .and_then(|receipt| receipt.outcome())
        .map_or(cid, |outcome| outcome.instruction);
    let found = match app.front() {
        Some(_) => None,
        None => {
            let look = app
                .driver
                .look(move |scheduler| scheduler.task_of(instruction));
            look.await?.0
        }
    };
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
            None => Ok(fitting(app.journal.receipts_of(&[cid])?, &UNLIMITED)),
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

#[cfg(test)]
mod tests {
    use asterism_protocol::{
        Attestation, Conditions, Identity, MerklePath, Out, Outcome, Signature, Value, content_cid,
    };

    use super::*;

    /// What came of an instruction under a memory limit.
    fn receipt(memory: u64, growth_refused: bool) -> Receipt {
        let outcome = Outcome {
            instruction: content_cid(b"instruction"),
            out: Out::Ok(Value::Integer(memory.into())),
            fuel: Some(10),
            metering: "wasmtime-48".into(),
        };
        let attestation = Attestation {
            key: Identity::from_seed(&[1; 32]).public_key(),
            conditions: Conditions {
                fuel: 1_000,
                memory,
                growth_refused,
            },
            path: MerklePath::default(),
            signature: Signature::new([0; 64]),
        };
        Receipt::attested(content_cid(b"ran"), "f", &outcome, &attestation)
    }

    #[test]
    fn the_receipt_that_fits_the_limits_is_shown_whichever_is_newer() {
        let [least, little, enough] = [(1, true), (2, true), (3, false)]
            .map(|(memory, growth_refused)| receipt(memory, growth_refused));
        let limits = |memory| Limits {
            memory,
            ..UNLIMITED
        };
        let mut receipts = vec![least.clone(), little.clone(), enough.clone()];
        for _ in 0..receipts.len() {
            receipts.rotate_left(1);
            for (memory, fits) in [(1, &least), (2, &little), (3, &enough), (9, &enough)] {
                let found = fitting(receipts.clone(), &limits(memory));
                assert_eq!(found.as_ref(), Some(fits), "with {memory}");
            }
        }
        let none_answers = vec![little.clone(), least];
        assert_eq!(fitting(none_answers.clone(), &UNLIMITED), Some(little));
        assert_eq!(answering(none_answers, &UNLIMITED, &Policy::Any), None);
    }

    #[test]
    fn what_does_not_answer_everybody_is_no_answer() {
        let plain = receipt(3, false);
        let answer = |receipt: &Receipt, limits, policy: &Policy| {
            answering(vec![receipt.clone()], &limits, policy)
        };
        assert_eq!(answer(&plain, UNLIMITED, &Policy::Any), Some(plain.clone()));
        let less_fuel = Limits {
            fuel: 9,
            ..UNLIMITED
        };
        assert_eq!(answer(&plain, less_fuel, &Policy::Any), None);
        assert_eq!(answer(&plain, UNLIMITED, &Policy::Trusted), None);
        let resting = plain.resting_on(&[content_cid(b"another outcome")]);
        assert_eq!(answer(&resting, UNLIMITED, &Policy::Any), None);
        assert_eq!(fitting(vec![resting.clone()], &UNLIMITED), Some(resting));
    }
}
