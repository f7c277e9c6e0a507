//! Components and their functions.

use std::sync::Arc;

use asterism_protocol::{limits::NAME_BYTES_MAX, message::Change};
use axum::{
    Json,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::{Shared, body_of, json_of_view, wants_page};
use crate::{
    app::App,
    error::ApiError,
    limits::{COMPONENT_BYTES_MAX, COMPONENTS_MAX},
    store::{BlobError, ComponentRecord},
};

#[derive(Deserialize)]
pub(super) struct AddQuery {
    #[serde(default)]
    name: String,
}

/// `[[name, JSON Schema], …]`, the function that a task would get where several have the name.
pub(super) fn schemas(app: &App) -> Json<Vec<(String, Json_)>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut schemas = Vec::new();
    for component in app.library.shelf().views().into_iter().rev() {
        for function in component.functions {
            if seen.insert(function.name.clone()) {
                schemas.push((
                    function.name,
                    serde_json::from_str(&function.schema).unwrap_or_default(),
                ));
            }
        }
    }
    Json(schemas)
}

pub(super) async fn functions(State(app): Shared, headers: HeaderMap) -> Response {
    match app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        Some(page) => page,
        None => schemas(&app).into_response(),
    }
}

pub(super) async fn list(State(app): Shared) -> Result<Response, ApiError> {
    json_of_view(&app.library.shelf().views())
}

/// Takes raw WebAssembly; a core module is wrapped into a component first.
pub(super) async fn add(
    State(app): Shared,
    Query(AddQuery { name }): Query<AddQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(ApiError::invalid(format!(
            "a component's name has at most {NAME_BYTES_MAX} bytes"
        )));
    }
    let bytes = body_of(&app, &headers, body, COMPONENT_BYTES_MAX).await?;
    let view = app
        .blocking(move |app| add_component(app, name, &bytes))
        .await?;
    Ok((StatusCode::CREATED, json_of_view(&view)?).into_response())
}

fn add_component(
    app: &App,
    name: String,
    bytes: &[u8],
) -> Result<asterism_protocol::view::ComponentView, ApiError> {
    let refused = |refusal: asterism_component::Refusal| {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "component-refused",
            refusal.to_string(),
        )
        .details(json!({ "reasons": refusal.reasons }))
    };
    let wrapped = asterism_component::wrap(bytes).map_err(refused)?;
    let component =
        asterism_component::check(&wrapped, &asterism_world::provides).map_err(refused)?;
    let cid = app.blobs.put(&wrapped)?;
    let shelf = app.library.shelf();
    if shelf.len() >= COMPONENTS_MAX && !shelf.holds(cid) {
        return Err(ApiError::busy(format!(
            "{COMPONENTS_MAX} components are here, which is the most"
        )));
    }
    let name = if name.is_empty() {
        component
            .functions
            .first()
            .map_or("component", |function| &function.name)
            .to_owned()
    } else {
        name
    };
    let record = ComponentRecord {
        cid,
        name,
        bytes: wrapped.len() as u64,
        added: app.clock.now(),
    };
    app.journal.add_component(&record)?;
    let view = app.library.add(&record, component);
    tracing::info!(%cid, name = view.name, functions = view.functions.len(), "component added");
    app.hub.publish(vec![Change::Component(view.clone())]);
    Ok(view)
}

/// Reads the components that were added before; one that is not understood any more is left out, and said.
pub(crate) fn restore(app: &Arc<App>) -> Result<(), crate::ServeError> {
    for record in app.journal.components()? {
        let bytes = match app.blobs.get(record.cid) {
            // It may work again in a moment: whoever starts us starts us again.
            Err(error @ BlobError::Io { .. }) => return Err(error.into()),
            read => read,
        };
        let read = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
            asterism_component::outline(&bytes.ok_or("its bytes are gone")?)
                .map_err(|refusal| refusal.to_string())
        });
        match read {
            Ok(component) => drop(app.library.add(&record, component)),
            Err(error) => {
                tracing::error!(cid = %record.cid, name = record.name, error, "a component is left out")
            }
        }
    }
    Ok(())
}
