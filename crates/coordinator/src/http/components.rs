//! Components and their functions.

use std::sync::Arc;

use asterism_component::{
    COMPONENT_BYTES_MAX, COMPONENT_NAMES, check_component_name, component_name,
};
use asterism_protocol::{blob_cid, message::Change, view::ComponentView};
use axum::{
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared, bounded_body,
    extract::{Asked, Client, Nothing},
    json_of_view,
};
use crate::{
    app::App,
    error::ApiError,
    limits::COMPONENTS_MAX,
    quota::Brought,
    store::{BlobError, ComponentRecord},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddQuery {
    name: Option<String>,
}

pub(super) async fn list(State(app): Shared, _: Asked<Nothing>) -> Result<Response, ApiError> {
    json_of_view(&app.library.shelf().views())
}

/// Takes raw WebAssembly; a core module is wrapped into a component first.
pub(super) async fn add(
    State(app): Shared,
    Asked(AddQuery { name }): Asked<AddQuery>,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    // A form sends a field that nobody filled.
    let name = name.filter(|name| !name.is_empty());
    if let Some(name) = &name {
        check_component_name(name).map_err(|reason| {
            ApiError::invalid(format!("a component cannot have this name: {reason}"))
                .hint(COMPONENT_NAMES)
        })?;
    }
    // No more than what is looked at: a larger one is refused anyway.
    let bytes = bounded_body(&app, &client, body, COMPONENT_BYTES_MAX, too_large).await?;
    let mut brought = app.counts.brings(client.network);
    brought.add(bytes.len() as u64)?;
    let view = app
        .blocking(move |app| add_component(app, name, &bytes, brought))
        .await?;
    Ok((StatusCode::CREATED, json_of_view(&view)?).into_response())
}

fn too_large() -> ApiError {
    let reason =
        format!("the component has more bytes than {COMPONENT_BYTES_MAX}, which are the most");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", reason)
        .hint("strip it (`strip = true`), and hand large data over as a blob")
}

fn add_component(
    app: &App,
    name: Option<String>,
    bytes: &[u8],
    brought: Brought,
) -> Result<ComponentView, ApiError> {
    let refused = |refusal: asterism_component::Refusal| {
        ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "component-refused",
            refusal.to_string(),
        )
        .details(json!({ "reasons": refusal.reasons }))
    };
    let wrapped = asterism_component::wrap(bytes).map_err(refused)?;
    let cid = blob_cid(&wrapped);
    let shelf = app.library.shelf();
    // What is here already was looked at when it came, by the rules of then.
    let component = if shelf.holds(cid) {
        asterism_component::outline(&wrapped)
    } else {
        asterism_component::check(&wrapped, &asterism_world::provides)
    };
    let component = component.map_err(refused)?;
    // Before its bytes are kept: what is refused takes no room.
    if shelf.len() >= COMPONENTS_MAX && !shelf.holds(cid) {
        return Err(ApiError::busy(format!(
            "{COMPONENTS_MAX} components are here, which is the most"
        )));
    }
    app.blobs.put(&wrapped)?;
    // Whoever brings the same bytes again does not take their name away from those who call it by that.
    let known = shelf.name_of(cid);
    let is_new = known.is_none();
    let name = if let Some(known) = known {
        known.to_owned()
    } else {
        name.unwrap_or_else(|| {
            let function = component.functions.first();
            component_name(function.map_or("", |function| function.path().1))
        })
    };
    let record = ComponentRecord {
        cid,
        name,
        bytes: wrapped.len() as u64,
        added: app.clock.now(),
    };
    app.journal.add_component(&record)?;
    if is_new {
        brought.keep();
    }
    let view = app.library.add(&record, component);
    tracing::info!(%cid, name = view.name, functions = view.functions.len(), "component added");
    app.hub.publish(vec![Change::Component(view.clone())]);
    Ok(view)
}

/// Reads the components that were added before; one that is not understood any more is left out, and said.
pub(crate) fn restore(app: &Arc<App>) -> Result<(), crate::ServeError> {
    for record in app.journal.components()? {
        restore_one(app, &record)?;
    }
    Ok(())
}

/// Reads the components that were added through other coordinators meanwhile.
pub(crate) fn refresh(app: &App) -> Result<(), ApiError> {
    if app.journal.partitions() == 1 {
        // Nobody else adds any.
        return Ok(());
    }
    let now = app.journal.components_stamp()?;
    app.library.refresh(now, || {
        let shelf = app.library.shelf();
        let views = shelf.views();
        let records = app.journal.components()?;
        // Those that came again since then are behind the others.
        let mut news = records.as_slice();
        for view in &views {
            if let [record, behind @ ..] = news
                && (record.cid, &record.name) == (view.cid, &view.name)
            {
                news = behind;
            }
        }
        for record in news {
            let known = app.library.make_last(record);
            let view = match known {
                Some(view) => Some(view),
                None => restore_one(app, record)?,
            };
            if let Some(view) = view {
                app.hub.publish(vec![Change::Component(view)]);
            }
        }
        Ok(())
    })
}

/// Reads one; none if it is not understood any more.
fn restore_one(app: &App, record: &ComponentRecord) -> Result<Option<ComponentView>, BlobError> {
    let bytes = match app.blobs.get(record.cid) {
        // It may work again in a moment: whoever starts us starts us again.
        Err(error @ (BlobError::Io { .. } | BlobError::Store { .. })) => return Err(error),
        read => read,
    };
    let read = bytes.map_err(|error| error.to_string()).and_then(|bytes| {
        asterism_component::outline(&bytes.ok_or("its bytes are gone")?)
            .map_err(|refusal| refusal.to_string())
    });
    match read {
        Ok(component) => Ok(Some(app.library.add(record, component))),
        Err(error) => {
            tracing::error!(cid = %record.cid, name = record.name, error, "a component is left out");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        Options,
        disk::{Disk, common::math},
        store::{Journal as _, faults::Faults},
    };

    #[tokio::test]
    async fn a_name_from_before_names_were_looked_at_stays() {
        let (disk, faults) = (Disk::default(), Arc::new(Faults::default()));
        let server = disk.serve(&faults, Options::default()).await.unwrap();
        server.post("/components?name=math", math(), &[201]).await;
        server.stop().await;
        let mut record = disk.journal.components().unwrap().remove(0);
        record.name = "team/math".to_owned();
        disk.journal.add_component(&record).unwrap();

        let server = disk.serve(&faults, Options::default()).await.unwrap();
        let components = server.json("/components").await.unwrap();
        assert_eq!(components[0]["name"], "team/math");
        let call = format!("{}/team%2Fmath%2Fadd", server.url);
        let response = reqwest::get(format!("{call}?a=1")).await.unwrap();
        let said = response.text().await.unwrap();
        assert!(said.contains("b: it is missing"), "it is found: {said}");
        server.stop().await;
    }
}
