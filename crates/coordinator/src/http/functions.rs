//! Functions as paths: `/add?a=1&b=2` calls one, `/add/schema` describes it, `/add/workflow` is the call as a workflow; and so
//! does `/math/add`, that of a component.

use std::sync::Arc;

use asterism_component::{Found, Function, args_by_name, args_by_text, canonical_args};
use asterism_protocol::{Value, limits::DOCUMENT_BYTES_MAX, value_of_json};
use axum::{
    Json,
    body::Body,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderName, Method, Uri},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value as Json_, json};

use super::{
    Shared, body_of,
    extract::{Asked, Client, Named, Nothing},
    prepare::{Written, prepared_of},
    query::{options_of, pairs_of},
    run::{self, RunQuery},
    wants_page,
};
use crate::{app::App, error::ApiError};

/// Pages of the panel that a function's name cannot take away from a browser.
const PAGES: [&str; 2] = ["donate", "here"];

/// Parameters of a query that are about the call, where the function has none of that name.
const OPTIONS: [&str; 9] = [
    "timeout",
    "wait",
    "name",
    "submitter",
    "nonce",
    "verify",
    "priority",
    "deadline",
    "force",
];

/// `[[name, JSON Schema], …]`, the function that a task would get where several have the name.
pub(super) fn schemas(app: &App) -> Json<Vec<(String, Json_)>> {
    let found = app.library.shelf().functions();
    Json(
        found
            .iter()
            .map(|found| (found.function().name.clone(), found.function().schema()))
            .collect(),
    )
}

/// Every function with its component, its WIT text and its schemas.
pub(super) async fn list(State(app): Shared, _: Asked<Nothing>, headers: HeaderMap) -> Response {
    if let Some(page) = app.panel.index(&headers).filter(|_| wants_page(&headers)) {
        return page;
    }
    let found = app.library.shelf().functions();
    let functions: Vec<Json_> = found.iter().map(described).collect();
    Json(functions).into_response()
}

/// A function as a path names it: `add`, or `math/add` with its component, in one part or two.
#[derive(Deserialize)]
#[serde(from = "Vec<String>")]
pub(super) struct FunctionName(String);

impl From<Vec<String>> for FunctionName {
    fn from(parts: Vec<String>) -> Self {
        Self(parts.join("/"))
    }
}

fn described(found: &Found) -> Json_ {
    let function = found.function();
    json!({
        "name": function.name,
        "component": found.component(),
        "signature": function.signature(),
        "schema": function.schema(),
        "result": function.result_schema(),
    })
}

fn find(app: &App, name: &str) -> Result<Found, ApiError> {
    app.library.shelf().function(name).map_err(|reason| {
        ApiError::not_found(reason)
            .hint("/functions lists what can be called, /api the other paths")
            .command("`asterism fn list` lists what can be called")
    })
}

/// The JSON Schema of a function's arguments.
pub(super) async fn schema(
    State(app): Shared,
    Named(FunctionName(name)): Named<FunctionName>,
) -> Result<Response, ApiError> {
    Ok(Json(find(&app, &name)?.function().schema()).into_response())
}

/// A call by GET: arguments in the query. It makes work, so a page elsewhere cannot have a browser do it in passing.
pub(super) async fn call_by_query(
    State(app): Shared,
    Named(FunctionName(name)): Named<FunctionName>,
    RawQuery(query): RawQuery,
    uri: Uri,
    client: Client,
) -> Result<Response, ApiError> {
    let headers = &client.headers;
    // Files and pages of the panel stand at the same place.
    if let Some(file) = app.panel.file(uri.path(), headers) {
        return Ok(file);
    }
    let page = || app.panel.index(headers).filter(|_| wants_page(headers));
    if PAGES.contains(&name.as_str())
        && let Some(page) = page()
    {
        return Ok(page);
    }
    let found = match find(&app, &name) {
        Ok(found) => found,
        Err(error) => return page().ok_or(error),
    };
    if !app.origins.may_act(headers) || is_elsewhere(headers) {
        return Err(ApiError::foreign_origin());
    }
    let (args, options) = of_query(&found, query.as_deref().unwrap_or_default())?;
    run::submit(&app, call(&found, args)?, options, &client).await
}

/// Did a page of another site make the browser ask? Browsers say so themselves.
fn is_elsewhere(headers: &HeaderMap) -> bool {
    let site = headers.get(HeaderName::from_static("sec-fetch-site"));
    site.is_some_and(|site| site != "same-origin" && site != "none")
}

/// A call by POST: arguments by name, or a list of them in order.
pub(super) async fn call_by_body(
    State(app): Shared,
    Named(FunctionName(name)): Named<FunctionName>,
    RawQuery(query): RawQuery,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let found = find(&app, &name)?;
    let options = only_options(query.as_deref().unwrap_or_default())?;
    let args = of_body(&app, &found, &client, body).await?;
    run::submit(&app, call(&found, args)?, options, &client).await
}

/// The call as a full workflow with its CIDs, not run.
pub(super) async fn workflow(
    State(app): Shared,
    Named(FunctionName(name)): Named<FunctionName>,
    method: Method,
    RawQuery(query): RawQuery,
    client: Client,
    body: Body,
) -> Result<Response, ApiError> {
    let found = find(&app, &name)?;
    let query = query.unwrap_or_default();
    let (args, options) = if method == Method::POST {
        (
            of_body(&app, &found, &client, body).await?,
            only_options(&query)?,
        )
    } else {
        of_query(&found, &query)?
    };
    let written = call(&found, args)?;
    run::prepared_answer(&app, move |app| prepared_of(app, &written, options.nonce)).await
}

/// A workflow of one task.
fn call(found: &Found, args: Vec<Value>) -> Result<Written, ApiError> {
    let function = found.function();
    canonical_args(function, &args).map_err(|error| {
        // Whoever names arguments is told names.
        let (place, inside) = error.path.strip_prefix("args[").and_then(|path| path.split_once(']')).unwrap_or_default();
        let param = place.parse().ok().and_then(|place: usize| function.params.get(place));
        let path = param.map_or_else(|| error.path.clone(), |(name, _)| format!("{name}{inside}"));
        ApiError::invalid(format!("{path}: {}", error.reason))
            .hint(format!("`{}`", function.signature()))
            .details(json!({ "path": path, "function": function.name, "component": found.component(), "reason": error.reason }))
    })?;
    let text = |text: String| Value::String(text);
    let map = |entries: Vec<(&str, Value)>| {
        let entries = entries.into_iter();
        Value::Map(
            entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    };
    let input = map(vec![
        ("func", text(function.name.clone())),
        ("args", Value::List(args)),
    ]);
    let rsc = text(format!("ipfs://{}", found.component()));
    let task = map(vec![("run", map(vec![("rsc", rsc), ("input", input)]))]);
    Ok(Written::of_value(map(vec![(
        "tasks",
        Value::List(vec![task]),
    )])))
}

fn refused(function: &Function) -> impl Fn(asterism_component::ValueError) -> ApiError {
    let signature = function.signature();
    move |error| {
        ApiError::invalid(error.to_string())
            .hint(format!("`{signature}`"))
            .details(json!({ "path": error.path, "reason": error.reason }))
    }
}

/// Arguments by name, and what the query says of the call itself.
fn of_query(found: &Found, query: &str) -> Result<(Vec<Value>, RunQuery), ApiError> {
    let function = found.function();
    let (options, given): (Vec<_>, Vec<_>) = pairs_of(query)?.into_iter().partition(|(name, _)| {
        OPTIONS.contains(&name.as_str()) && function.params.iter().all(|(param, _)| param != name)
    });
    let args = args_by_text(function, &given).map_err(refused(function))?;
    Ok((args, options_of(&options)?))
}

fn only_options(query: &str) -> Result<RunQuery, ApiError> {
    options_of(&pairs_of(query)?)
}

async fn of_body(
    app: &Arc<App>,
    found: &Found,
    client: &Client,
    body: Body,
) -> Result<Vec<Value>, ApiError> {
    let function = found.function();
    let body = body_of(app, client, body, DOCUMENT_BYTES_MAX).await?;
    if body.trim_ascii().is_empty() {
        return args_by_name(function, &Default::default()).map_err(refused(function));
    }
    let usage = || {
        format!(
            "`{}`: the body is {{\"name\": value}} or [value, …]",
            function.signature()
        )
    };
    match value_of_json(&body) {
        Ok(Value::Map(args)) => args_by_name(function, &args).map_err(refused(function)),
        Ok(Value::List(args)) => Ok(args),
        Ok(_) => Err(
            ApiError::invalid("arguments are an object by name, or a list in order").hint(usage()),
        ),
        Err(error) => Err(ApiError::invalid(error.to_string()).hint(usage())),
    }
}
