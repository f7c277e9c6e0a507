//! wasi:http: requests can be made, and sending one is refused with an error that programs know how to take, unless the
//! task has the effect and the host the means: see [`outside`]. No request ever comes in, so no guest holds an incoming one,
//! and no method of one is reached.

pub(crate) mod outside;

use asterism_component::Val;

use crate::{
    Interface, Stop, Versions, World, done, err,
    io::Sink,
    ok, other_types,
    resources::{Resource, other_kind},
};

pub(crate) const INTERFACES: &[Interface] = &[
    Interface {
        name: OUTGOING,
        versions: Versions::Wasi02,
        functions: &[("handle", handle)],
    },
    Interface {
        name: "wasi:http/types",
        versions: Versions::Wasi02,
        functions: &[
            ("http-error-code", none_comes),
            ("[constructor]fields", fields),
            ("[static]fields.from-list", fields_from_list),
            ("[method]fields.get", fields_get),
            ("[method]fields.has", fields_has),
            ("[method]fields.set", fields_set),
            ("[method]fields.delete", fields_delete),
            ("[method]fields.append", fields_append),
            ("[method]fields.entries", fields_entries),
            ("[method]fields.clone", fields_clone),
            ("[method]incoming-request.method", none_comes),
            ("[method]incoming-request.path-with-query", none_comes),
            ("[method]incoming-request.scheme", none_comes),
            ("[method]incoming-request.authority", none_comes),
            ("[method]incoming-request.headers", none_comes),
            ("[method]incoming-request.consume", none_comes),
            ("[constructor]outgoing-request", request),
            ("[method]outgoing-request.body", request_body),
            ("[method]outgoing-request.method", request_method),
            ("[method]outgoing-request.set-method", request_set_method),
            ("[method]outgoing-request.path-with-query", request_path),
            (
                "[method]outgoing-request.set-path-with-query",
                request_set_path,
            ),
            ("[method]outgoing-request.scheme", request_scheme),
            ("[method]outgoing-request.set-scheme", request_set_scheme),
            ("[method]outgoing-request.authority", request_authority),
            (
                "[method]outgoing-request.set-authority",
                request_set_authority,
            ),
            ("[method]outgoing-request.headers", request_headers),
            ("[constructor]request-options", options),
            ("[method]request-options.connect-timeout", timeout::<0>),
            (
                "[method]request-options.set-connect-timeout",
                set_timeout::<0>,
            ),
            ("[method]request-options.first-byte-timeout", timeout::<1>),
            (
                "[method]request-options.set-first-byte-timeout",
                set_timeout::<1>,
            ),
            (
                "[method]request-options.between-bytes-timeout",
                timeout::<2>,
            ),
            (
                "[method]request-options.set-between-bytes-timeout",
                set_timeout::<2>,
            ),
            ("[method]response-outparam.send-informational", none_comes),
            ("[static]response-outparam.set", none_comes),
            ("[method]incoming-response.status", outside::response_status),
            (
                "[method]incoming-response.headers",
                outside::response_headers,
            ),
            (
                "[method]incoming-response.consume",
                outside::response_consume,
            ),
            ("[method]incoming-body.stream", outside::body_stream),
            ("[static]incoming-body.finish", outside::body_finish),
            (
                "[method]future-trailers.subscribe",
                outside::trailers_subscribe,
            ),
            ("[method]future-trailers.get", outside::trailers_get),
            // Only a handler of requests responds, and tasks are none.
            ("[constructor]outgoing-response", none_comes),
            ("[method]outgoing-response.status-code", none_comes),
            ("[method]outgoing-response.set-status-code", none_comes),
            ("[method]outgoing-response.headers", none_comes),
            ("[method]outgoing-response.body", none_comes),
            ("[method]outgoing-body.write", body_write),
            ("[static]outgoing-body.finish", body_finish),
            (
                "[method]future-incoming-response.subscribe",
                outside::future_subscribe,
            ),
            ("[method]future-incoming-response.get", outside::future_get),
        ],
    },
];

/// What sends requests.
pub(crate) const OUTGOING: &str = "wasi:http/outgoing-handler";

/// `HTTP-request-denied` of `error-code`.
const REQUEST_DENIED: u32 = 15;

/// Cases of `header-error`.
const INVALID_SYNTAX: u32 = 0;
const IMMUTABLE: u32 = 2;

/// The case of `method` that has a name for a payload, and that of `scheme`.
const METHOD_OTHER: u32 = 9;
const SCHEME_OTHER: u32 = 2;

/// Most bytes of all fields of a header, and of every other text of a request: what servers take.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Headers or trailers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields {
    entries: Vec<(String, Vec<u8>)>,
    /// A request's own are only looked at.
    immutable: bool,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Request {
    method: Val,
    path: Option<String>,
    scheme: Option<Val>,
    authority: Option<String>,
    headers: Fields,
    body_taken: bool,
    /// The way out that its body has.
    exchange: Option<u32>,
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Body {
    stream_taken: bool,
    /// The way out that it has; what goes nowhere is kept nowhere.
    pub(crate) exchange: Option<u32>,
}

/// Connect, first byte, between bytes; in nanoseconds.
pub(crate) type Timeouts = [Option<u64>; 3];

impl Fields {
    /// The values of a name, whose case does not matter.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Vec<u8>> {
        let same = |(known, _): &&(String, Vec<u8>)| known.eq_ignore_ascii_case(name);
        self.entries.iter().filter(same).map(|(_, value)| value)
    }

    fn remove(&mut self, name: &str) {
        self.entries
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Stop> {
        let entries = self.entries.iter();
        let bytes: usize = entries.map(|(name, value)| entry_bytes(name, value)).sum();
        if bytes + entry_bytes(name, value) > TEXT_BYTES_MAX {
            return Err(format!("header fields of more than {TEXT_BYTES_MAX} bytes").into());
        }
        self.entries.push((name.to_owned(), value.to_owned()));
        Ok(())
    }
}

/// What a field counts for: empty ones take room, too.
fn entry_bytes(name: &str, value: &[u8]) -> usize {
    const ENTRY_BYTES: usize = 32;
    name.len() + value.len() + ENTRY_BYTES
}

fn is_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(token)
}

fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

fn header_error(case: u32) -> Vec<Val> {
    err(Val::Variant(case, None))
}

/// `result` without payloads.
fn result(is_ok: bool) -> Vec<Val> {
    vec![Val::Result(if is_ok { Ok(None) } else { Err(None) })]
}

fn option(val: Option<Val>) -> Vec<Val> {
    vec![Val::Option(val.map(Box::new))]
}

/// `none`.
fn none() -> Vec<Val> {
    option(None)
}

/// The handle that is the only argument.
fn only_handle(args: &[Val]) -> Result<&Val, Stop> {
    match args {
        [handle] => Ok(handle),
        _ => other_types(),
    }
}

fn none_comes(_: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    other_kind()
}

/// Sends a request, where that may be.
fn handle(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [request, Val::Option(options)] = args else {
        return other_types();
    };
    let Resource::Request(request) = world.resources.take(request)? else {
        return other_kind();
    };
    let mut timeouts = Timeouts::default();
    if let Some(options) = options {
        let Resource::RequestOptions(chosen) = world.resources.take(options)? else {
            return other_kind();
        };
        timeouts = chosen;
    }
    outside::hand_over(world, *request, timeouts)
}

fn the_fields<'a>(world: &'a mut World, handle: &Val) -> Result<&'a mut Fields, Stop> {
    match world.resources.get(handle)? {
        Resource::Fields(fields) => Ok(fields),
        _ => other_kind(),
    }
}

fn fields(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![
        world.resources.own(Resource::Fields(Fields::default()))?,
    ])
}

fn fields_from_list(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [Val::List(entries)] = args else {
        return other_types();
    };
    let mut fields = Fields::default();
    for entry in entries {
        let Val::Tuple(entry) = entry else {
            return other_types();
        };
        let [Val::String(name), Val::Bytes(value)] = &entry[..] else {
            return other_types();
        };
        if !is_name(name) || !is_value(value) {
            return Ok(header_error(INVALID_SYNTAX));
        }
        fields.add(name, value)?;
    }
    Ok(vec![ok(world.resources.own(Resource::Fields(fields))?)])
}

fn fields_get(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields, Val::String(name)] = args else {
        return other_types();
    };
    let values = the_fields(world, fields)?.of(name);
    Ok(vec![Val::List(values.cloned().map(Val::Bytes).collect())])
}

fn fields_has(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields, Val::String(name)] = args else {
        return other_types();
    };
    let has = the_fields(world, fields)?.of(name).next().is_some();
    Ok(vec![Val::Bool(has)])
}

fn fields_set(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields, Val::String(name), Val::List(values)] = args else {
        return other_types();
    };
    change(world, fields, name, |fields| {
        let bytes = |value: &Val| match value {
            Val::Bytes(value) => Ok(value.clone()),
            _ => other_types(),
        };
        let values = values.iter().map(bytes).collect::<Result<Vec<_>, _>>()?;
        if !values.iter().all(|value| is_value(value)) {
            return Ok(header_error(INVALID_SYNTAX));
        }
        fields.remove(name);
        for value in &values {
            fields.add(name, value)?;
        }
        Ok(done())
    })
}

fn fields_delete(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields, Val::String(name)] = args else {
        return other_types();
    };
    change(world, fields, name, |fields| {
        fields.remove(name);
        Ok(done())
    })
}

fn fields_append(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields, Val::String(name), Val::Bytes(value)] = args else {
        return other_types();
    };
    change(world, fields, name, |fields| {
        if !is_value(value) {
            return Ok(header_error(INVALID_SYNTAX));
        }
        fields.add(name, value)?;
        Ok(done())
    })
}

fn change(
    world: &mut World,
    fields: &Val,
    name: &str,
    change: impl FnOnce(&mut Fields) -> Result<Vec<Val>, Stop>,
) -> Result<Vec<Val>, Stop> {
    let fields = the_fields(world, fields)?;
    if fields.immutable {
        return Ok(header_error(IMMUTABLE));
    }
    if !is_name(name) {
        return Ok(header_error(INVALID_SYNTAX));
    }
    change(fields)
}

fn fields_entries(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields] = args else {
        return other_types();
    };
    let entry = |(name, value): &(String, Vec<u8>)| {
        Val::Tuple(vec![Val::String(name.clone()), Val::Bytes(value.clone())])
    };
    let entries = the_fields(world, fields)?.entries.iter().map(entry);
    Ok(vec![Val::List(entries.collect())])
}

fn fields_clone(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [fields] = args else {
        return other_types();
    };
    let copy = Fields {
        entries: the_fields(world, fields)?.entries.clone(),
        immutable: false,
    };
    Ok(vec![world.resources.own(Resource::Fields(copy))?])
}

fn the_request<'a>(world: &'a mut World, handle: &Val) -> Result<&'a mut Request, Stop> {
    match world.resources.get(handle)? {
        Resource::Request(request) => Ok(request),
        _ => other_kind(),
    }
}

/// The request that is the only argument.
fn only_request<'a>(world: &'a mut World, args: &[Val]) -> Result<&'a mut Request, Stop> {
    match args {
        [request] => the_request(world, request),
        _ => other_types(),
    }
}

fn request(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [headers] = args else {
        return other_types();
    };
    let Resource::Fields(headers) = world.resources.take(headers)? else {
        return other_kind();
    };
    let request = Request {
        method: Val::Variant(0, None),
        path: None,
        scheme: None,
        authority: None,
        headers,
        body_taken: false,
        exchange: None,
    };
    let request = Resource::Request(Box::new(request));
    Ok(vec![world.resources.own(request)?])
}

fn request_body(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    if std::mem::replace(&mut only_request(world, args)?.body_taken, true) {
        return Ok(result(false));
    }
    let exchange = match world.outside.as_mut().map(|outside| outside.begin(true)) {
        None => None,
        Some(Ok(exchange)) => Some(exchange),
        Some(Err(_)) => return Ok(result(false)),
    };
    only_request(world, args)?.exchange = exchange;
    let body = Body {
        stream_taken: false,
        exchange,
    };
    Ok(vec![ok(world.resources.own(Resource::Body(body))?)])
}

fn request_method(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(vec![only_request(world, args)?.method.clone()])
}

fn request_set_method(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [request, method] = args else {
        return other_types();
    };
    let request = the_request(world, request)?;
    let fits = match method {
        Val::Variant(METHOD_OTHER, Some(name)) => match &**name {
            Val::String(name) => is_name(name) && name.len() <= TEXT_BYTES_MAX,
            _ => return other_types(),
        },
        Val::Variant(case, None) if *case < METHOD_OTHER => true,
        _ => return other_types(),
    };
    if fits {
        request.method = method.clone();
    }
    Ok(result(fits))
}

fn request_path(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(text(&only_request(world, args)?.path))
}

fn request_set_path(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    set_text(world, args, |request| &mut request.path)
}

fn request_scheme(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(option(only_request(world, args)?.scheme.clone()))
}

fn request_set_scheme(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [request, Val::Option(scheme)] = args else {
        return other_types();
    };
    let request = the_request(world, request)?;
    let fits = match scheme.as_deref() {
        None => true,
        Some(Val::Variant(SCHEME_OTHER, Some(name))) => match &**name {
            Val::String(name) => name.len() <= TEXT_BYTES_MAX,
            _ => return other_types(),
        },
        Some(Val::Variant(case, None)) if *case < SCHEME_OTHER => true,
        Some(_) => return other_types(),
    };
    if fits {
        request.scheme = scheme.as_deref().cloned();
    }
    Ok(result(fits))
}

fn request_authority(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    Ok(text(&only_request(world, args)?.authority))
}

fn request_set_authority(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    set_text(world, args, |request| &mut request.authority)
}

fn text(text: &Option<String>) -> Vec<Val> {
    option(text.clone().map(Val::String))
}

fn set_text(
    world: &mut World,
    args: &[Val],
    place: fn(&mut Request) -> &mut Option<String>,
) -> Result<Vec<Val>, Stop> {
    let [request, Val::Option(text)] = args else {
        return other_types();
    };
    let text = match text.as_deref() {
        None => None,
        Some(Val::String(text)) => Some(text.clone()),
        Some(_) => return other_types(),
    };
    let place = place(the_request(world, request)?);
    let fits = text
        .as_ref()
        .is_none_or(|text| text.len() <= TEXT_BYTES_MAX);
    if fits {
        *place = text;
    }
    Ok(result(fits))
}

fn request_headers(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let headers = Fields {
        immutable: true,
        ..only_request(world, args)?.headers.clone()
    };
    Ok(vec![world.resources.own(Resource::Fields(headers))?])
}

fn options(world: &mut World, _: &[Val]) -> Result<Vec<Val>, Stop> {
    let options = Resource::RequestOptions(Timeouts::default());
    Ok(vec![world.resources.own(options)?])
}

fn timeout<const WHICH: usize>(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [options] = args else {
        return other_types();
    };
    match world.resources.get(options)? {
        Resource::RequestOptions(timeouts) => Ok(option(timeouts[WHICH].map(Val::U64))),
        _ => other_kind(),
    }
}

fn set_timeout<const WHICH: usize>(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [options, Val::Option(duration)] = args else {
        return other_types();
    };
    let duration = match duration.as_deref() {
        None => None,
        Some(Val::U64(duration)) => Some(*duration),
        Some(_) => return other_types(),
    };
    match world.resources.get(options)? {
        Resource::RequestOptions(timeouts) => timeouts[WHICH] = duration,
        _ => return other_kind(),
    }
    Ok(result(true))
}

fn body_write(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [body] = args else {
        return other_types();
    };
    let Resource::Body(body) = world.resources.get(body)? else {
        return other_kind();
    };
    if std::mem::replace(&mut body.stream_taken, true) {
        return Ok(result(false));
    }
    let sink = body.exchange.map_or(Sink::Nowhere, Sink::Body);
    Ok(vec![ok(world.resources.own(Resource::Output(sink))?)])
}

fn body_finish(world: &mut World, args: &[Val]) -> Result<Vec<Val>, Stop> {
    let [body, Val::Option(trailers)] = args else {
        return other_types();
    };
    let Resource::Body(body) = world.resources.take(body)? else {
        return other_kind();
    };
    let mut has_trailers = false;
    if let Some(trailers) = trailers {
        let Resource::Fields(trailers) = world.resources.take(trailers)? else {
            return other_kind();
        };
        has_trailers = !trailers.entries.is_empty();
    }
    Ok(match body.exchange {
        Some(exchange) => outside::finish_outgoing(world, exchange, has_trailers),
        None => done(),
    })
}
