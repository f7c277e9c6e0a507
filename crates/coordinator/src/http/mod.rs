//! The routes, and what holds for all of them.

mod answer;
mod blobs;
mod components;
mod events;
mod executors;
mod explain;
mod extract;
mod functions;
mod once;
mod openapi;
mod prepare;
mod query;
mod receipts;
mod routes;
mod run;
mod status;
mod weight;
mod whole;
mod workflows;

use std::sync::Arc;

use asterism_protocol::Cid;
use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    app::App,
    error::ApiError,
    limits::SMALL_BODY_BYTES,
    peer::{Network, Peer},
    quota,
};

pub(crate) use self::{
    components::{refresh, restore},
    extract::Client,
    once::{Key, Keys},
    prepare::{Forwarded, Ready, collect_blobs as run_blobs},
    run::{Started, Wanted, answer, forgotten, start},
    whole::tasks_from,
};

use self::extract::check_query;

type Shared = State<Arc<App>>;

/// Everything that the coordinator answers.
pub(crate) fn router(app: Arc<App>) -> Router {
    guarded(unguarded(Arc::clone(&app)), app)
}

/// What holds for all that is answered.
pub(crate) fn guarded(router: Router, app: Arc<App>) -> Router {
    router.layer(from_fn_with_state(app, guard))
}

/// Everything that is answered to whoever has passed the guard.
pub(crate) fn unguarded(app: Arc<App>) -> Router {
    routes::router().with_state(app)
}

/// Everything that one of several partitions is asked: also what only other coordinators ask.
pub(crate) fn of_partition(app: Arc<App>) -> Router {
    routes::router()
        .route(SUBMITTED, post(run::submitted))
        .route(PAUSED, post(workflows::paused))
        .route(RESUMED, post(workflows::resumed))
        .with_state(app)
}

/// Where workflows come in that another coordinator has prepared.
pub(crate) const SUBMITTED: &str = "/submitted";

/// Where a partition is told by the coordinator that the operator asked to pause all of them.
pub(crate) const PAUSED: &str = "/paused";

/// Where it is told to resume.
pub(crate) const RESUMED: &str = "/resumed";

async fn method_not_allowed(method: Method) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{method} is not for this path"),
    )
}

/// Content of users is never a page of ours: nothing in it runs.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'";

/// Refuses strangers' pages, and puts headers on everything.
async fn guard(State(app): Shared, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let allowed = app.origins.allowed_by_name(headers).cloned();
    let acts = !matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    ) || headers.contains_key(header::UPGRADE);
    let mut response = if !app.origins.host_is_ours(headers) {
        ApiError::new(
            StatusCode::MISDIRECTED_REQUEST,
            "wrong-host",
            "this coordinator answers to names of the local machine only",
        )
        .hint("start it with --allow-origin https://<name> to answer to another name")
        .into_response()
    } else if acts && !app.origins.may_act(headers) {
        ApiError::foreign_origin().into_response()
    } else if request.method() == Method::OPTIONS && allowed.is_some() {
        StatusCode::NO_CONTENT.into_response()
    } else {
        match admitted(&app, request) {
            Ok(request) => next.run(request).await,
            Err(error) => error.into_response(),
        }
    };

    let headers = response.headers_mut();
    let mut default = |name: HeaderName, value: &'static str| {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    };
    default(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    default(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    default(header::REFERRER_POLICY, "no-referrer");
    default(
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    );
    let resource_policy = if allowed.is_some() {
        "cross-origin"
    } else {
        "same-origin"
    };
    default(
        HeaderName::from_static("cross-origin-resource-policy"),
        resource_policy,
    );
    default(header::CACHE_CONTROL, "no-store");
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("content-type, accept, range, idempotency-key, authorization"),
        );
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "asterism-run, asterism-workflow, asterism-run-token, asterism-replayed, asterism-missing-partitions, location, retry-after, etag, content-range",
            ),
        );
        // A day: what is allowed changes with a restart only, and refusals come from here anyhow.
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("86400"),
        );
    }
    response
}

/// The request, if what it says can be read as it is meant; its body, if it has one, is held for no longer than it may be.
fn admitted(app: &App, request: Request) -> Result<Request, ApiError> {
    check_query(request.uri().query().unwrap_or_default())?;
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    if let Some(encoding) = encoding_of(&parts.headers) {
        return Err(ApiError::encoded(&encoding));
    }
    let network = network_of(&parts.extensions)?;
    let body = app.counts.hold(network, body)?;
    Ok(Request::from_parts(parts, body))
}

/// How a body is packed, if it is: nobody here unpacks it.
fn encoding_of(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut texts = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.find(|text| !text.is_empty() && !text.eq_ignore_ascii_case("identity"))
}

/// The network that a request comes from.
fn network_of(extensions: &Extensions) -> Result<Network, ApiError> {
    peer_of(extensions).map(Peer::network)
}

/// The address that a request comes from.
fn peer_of(extensions: &Extensions) -> Result<Peer, ApiError> {
    let peer = extensions.get::<Peer>().copied();
    peer.ok_or_else(|| ApiError::internal(&"a request comes from nowhere"))
}

/// Does the client prefer a page? Browsers that navigate do.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        range
            .split(';')
            .next()
            .is_some_and(|range| range.trim() == media_type)
    })
}

/// JSON text that is made already.
fn json(text: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, crate::media::JSON)], text.into()).into_response()
}

/// The same types as watchers get, as JSON: CIDs are strings, values have their DAG-JSON form.
fn json_of_view<T: serde::Serialize>(view: &T) -> Result<Response, ApiError> {
    serde_ipld_dagjson::to_vec(view)
        .map(json)
        .map_err(|error| ApiError::internal(&error))
}

/// Tells which partitions a list lacks.
const MISSING: HeaderName = HeaderName::from_static("asterism-missing-partitions");

/// A list of what is at the partitions that can be reached. A list has no place of its own to say which it lacks.
fn partly(mut list: Response, missing: &[u16]) -> Response {
    let missing: Vec<String> = missing.iter().map(u16::to_string).collect();
    if let Ok(missing) = HeaderValue::from_str(&missing.join(", "))
        && !missing.is_empty()
    {
        list.headers_mut().insert(MISSING, missing);
    }
    list
}

fn cid_of(text: &str) -> Result<Cid, ApiError> {
    text.parse()
        .map_err(|error: asterism_protocol::Error| ApiError::invalid(error.to_string()))
}

/// Bytes of the body, where the request says so; HTTP holds it to that.
fn length_of(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// A whole body in memory, within a bound, while not too many others are.
async fn body_of(app: &App, client: &Client, body: Body, max: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body is larger than {max} bytes"),
        )
        .hint("put large bytes into /blobs and link to them")
        .command("`asterism blob put FILE` keeps large bytes, and a workflow may link to them by the CID that it prints")
    };
    bounded_body(app, client, body, max, too_large).await
}

/// [`body_of`], with another error for a body that is too large.
async fn bounded_body(
    app: &App,
    client: &Client,
    body: Body,
    max: usize,
    too_large: impl Fn() -> ApiError,
) -> Result<Bytes, ApiError> {
    let length = length_of(&client.headers);
    if length.is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    let is_small = length.is_some_and(|length| length <= SMALL_BODY_BYTES as u64);
    let _place = if is_small {
        None
    } else {
        Some(app.room.bodies.take(client.network)?)
    };
    axum::body::to_bytes(body, max).await.map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(ToString::to_string)
            .unwrap_or_default();
        if cause.contains("length limit exceeded") {
            too_large()
        } else {
            quota::broken(&error)
        }
    })
}
