//! The root, `/health` and `/metrics`.

use axum::{
    Json,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{Shared, extract::Client, functions, wants_page};
use crate::rpc;

/// The panel for browsers, the functions for programs; a WebSocket speaks JSON-RPC.
pub(super) async fn root(
    State(app): Shared,
    ws: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    Client { headers, peer, .. }: Client,
) -> Response {
    if let Ok(ws) = ws {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let host = host.unwrap_or_default().to_owned();
        return rpc::upgrade(app, ws, peer, host);
    }
    match app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        Some(page) => page,
        None => functions::schemas(&app).into_response(),
    }
}

/// 200 while work is accepted, 503 with the reason when not.
pub(super) async fn health(State(app): Shared) -> Response {
    let trouble = app.trouble().or_else(|| app.blobs.trouble());
    let status = if trouble.is_some() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let word = if trouble.is_some() { "trouble" } else { "ok" };
    let mut health = json!({
        "status": word,
        "trouble": trouble.unwrap_or_default(),
        "version": env!("CARGO_PKG_VERSION"),
        "executors": app.metrics.executors.get(),
        "leases": app.metrics.leases.get(),
        "paused": app.metrics.paused.get() == 1,
        "components": app.library.shelf().len(),
    });
    if let Some(front) = app.front() {
        health["partitions"] = front.held();
        // Each of its partitions counts those that have turned to it.
        health["executors"] = app.metrics.executor_connections.get().into();
    }
    (status, Json(health)).into_response()
}

/// For Prometheus.
pub(super) async fn metrics(State(app): Shared) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        app.metrics.text(),
    )
        .into_response()
}
