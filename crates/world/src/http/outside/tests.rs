use std::sync::{Arc, Mutex};

use asterism_protocol::content_cid;

use super::*;
use crate::{
    Tree,
    tests::{borrowed, one},
};

const TYPES: &str = "wasi:http/types@0.2.4";
const OUT: &str = "wasi:http/outgoing-handler@0.2.4";
const STREAMS: &str = "wasi:io/streams@0.2.4";
const POLL: &str = "wasi:io/poll@0.2.4";

/// Answers as it is told, and keeps what was asked.
#[derive(Clone, Debug, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<HttpRequest>>>,
    answer: Arc<Mutex<Option<Result<HttpResponse, HttpError>>>>,
}

impl Http for Fake {
    fn send(&mut self, request: &HttpRequest) -> Result<HttpResponse, HttpError> {
        self.asked.lock().unwrap().push(request.clone());
        match &*self.answer.lock().unwrap() {
            // A byte more than may be is as bad as all.
            Some(Ok(answer)) if answer.body.len() > request.body_bytes_max => Ok(HttpResponse {
                body: answer.body[..=request.body_bytes_max].to_vec(),
                ..HttpResponse::default()
            }),
            Some(answer) => answer.clone(),
            None => Ok(HttpResponse::default()),
        }
    }
}

impl Fake {
    fn world(&self) -> World {
        let world = World::new(content_cid(b"an instruction"), Tree::default());
        world.with_http(Box::new(self.clone()))
    }

    fn answers(answer: Result<HttpResponse, HttpError>) -> Self {
        let fake = Self::default();
        *fake.answer.lock().unwrap() = Some(answer);
        fake
    }

    fn asked(&self) -> Vec<HttpRequest> {
        self.asked.lock().unwrap().clone()
    }
}

fn text(text: &str) -> Val {
    Val::String(text.into())
}

fn some(val: Val) -> Val {
    Val::Option(Some(Box::new(val)))
}

fn fine(val: Val) -> Val {
    match val {
        Val::Result(Ok(Some(val))) => *val,
        other => panic!("{other:?} is not fine"),
    }
}

fn error(code: &HttpError) -> Val {
    Val::Result(Err(Some(Box::new(code.val()))))
}

fn method(world: &mut World, name: &str, handle: &Val) -> Val {
    one(world, TYPES, name, &[borrowed(handle)])
}

/// A request of these fields, by this method of the variant.
fn request(world: &mut World, case: u32, fields: &[(&str, &str)]) -> Val {
    let entry = |(name, value): &(&str, &str)| {
        Val::Tuple(vec![text(name), Val::Bytes(value.as_bytes().to_vec())])
    };
    let entries = Val::List(fields.iter().map(entry).collect());
    let fields = fine(one(world, TYPES, "[static]fields.from-list", &[entries]));
    let request = one(world, TYPES, "[constructor]outgoing-request", &[fields]);
    let mut set = |what: &str, val: Val| {
        let name = format!("[method]outgoing-request.set-{what}");
        let done = one(world, TYPES, &name, &[borrowed(&request), val]);
        assert_eq!(done, Val::Result(Ok(None)));
    };
    set("method", Val::Variant(case, None));
    set("scheme", some(Val::Variant(0, None)));
    set("authority", some(text("example.org:8080")));
    set("path-with-query", some(text("/a?b=c")));
    request
}

fn send(world: &mut World, request: Val) -> Val {
    one(world, OUT, "handle", &[request, Val::Option(None)])
}

fn ready(world: &mut World, future: &Val) -> Val {
    let pollable = method(world, "[method]future-incoming-response.subscribe", future);
    one(
        world,
        POLL,
        "[method]pollable.ready",
        &[borrowed(&pollable)],
    )
}

const GET: &str = "[method]future-incoming-response.get";

/// What came of a request: a response, or an error code.
fn answer(world: &mut World, future: &Val) -> Val {
    match method(world, GET, future) {
        Val::Option(Some(val)) => fine(*val),
        other => panic!("{other:?} is no answer"),
    }
}

#[test]
fn a_request_goes_out_and_its_answer_is_read() {
    let fake = Fake::answers(Ok(HttpResponse {
        status: 201,
        headers: vec![("x-kind".into(), b"made".to_vec())],
        body: b"twelve bytes".to_vec(),
    }));
    let mut world = fake.world();
    let fields = [
        ("accept", "text/plain"),
        ("Host", "elsewhere"),
        ("Connection", "x"),
    ];
    let request = request(&mut world, 0, &fields);
    let future = fine(send(&mut world, request));
    let asked = &fake.asked()[0];
    assert_eq!(
        (
            asked.method.as_str(),
            asked.is_secure,
            asked.authority.as_str(),
            asked.path.as_str()
        ),
        ("GET", false, "example.org:8080", "/a?b=c")
    );
    assert_eq!(asked.headers, [("accept".into(), b"text/plain".to_vec())]);
    assert_eq!(ready(&mut world, &future), Val::Bool(true));

    let response = fine(answer(&mut world, &future));
    let again = method(&mut world, GET, &future);
    assert_eq!(again, some(Val::Result(Err(None))), "it is told once");
    let status = method(&mut world, "[method]incoming-response.status", &response);
    assert_eq!(status, Val::U16(201));
    let headers = method(&mut world, "[method]incoming-response.headers", &response);
    let kind = [borrowed(&headers), text("X-Kind")];
    assert_eq!(
        one(&mut world, TYPES, "[method]fields.get", &kind),
        Val::List(vec![Val::Bytes(b"made".to_vec())])
    );
    let immutable = Val::Result(Err(Some(Box::new(Val::Variant(2, None)))));
    assert_eq!(
        one(&mut world, TYPES, "[method]fields.delete", &kind),
        immutable
    );

    let consume = "[method]incoming-response.consume";
    let body = fine(method(&mut world, consume, &response));
    assert_eq!(
        method(&mut world, consume, &response),
        Val::Result(Err(None))
    );
    let stream = fine(method(&mut world, "[method]incoming-body.stream", &body));
    assert_eq!(
        method(&mut world, "[method]incoming-body.stream", &body),
        Val::Result(Err(None))
    );
    assert_eq!(world.take_fuel(), 0, "waiting outside is no waiting here");
    let mut read = |len: u64| {
        let args = [borrowed(&stream), Val::U64(len)];
        one(
            &mut world,
            STREAMS,
            "[method]input-stream.blocking-read",
            &args,
        )
    };
    assert_eq!(fine(read(7)), Val::Bytes(b"twelve ".to_vec()));
    assert_eq!(fine(read(99)), Val::Bytes(b"bytes".to_vec()));
    assert_eq!(
        read(1),
        Val::Result(Err(Some(Box::new(Val::Variant(1, None)))))
    );
    assert_eq!(world.take_fuel(), 12);

    let trailers = one(&mut world, TYPES, "[static]incoming-body.finish", &[body]);
    let pollable = method(&mut world, "[method]future-trailers.subscribe", &trailers);
    let is_ready = one(
        &mut world,
        POLL,
        "[method]pollable.ready",
        &[borrowed(&pollable)],
    );
    assert_eq!(is_ready, Val::Bool(true));
    let told = some(ok(ok(Val::Option(None))));
    let get = "[method]future-trailers.get";
    assert_eq!(method(&mut world, get, &trailers), told);
    assert_eq!(
        method(&mut world, get, &trailers),
        some(Val::Result(Err(None)))
    );
}

/// Takes the body of a request, and its stream.
fn body_of(world: &mut World, request: &Val) -> (Val, Val) {
    let body = fine(method(world, "[method]outgoing-request.body", request));
    let stream = fine(method(world, "[method]outgoing-body.write", &body));
    (body, stream)
}

fn write(world: &mut World, stream: &Val, bytes: &[u8]) {
    for bytes in bytes.chunks(4096) {
        let args = [borrowed(stream), Val::Bytes(bytes.to_vec())];
        let name = "[method]output-stream.blocking-write-and-flush";
        assert_eq!(one(world, STREAMS, name, &args), Val::Result(Ok(None)));
    }
}

fn finish(world: &mut World, body: Val) {
    let args = [body, Val::Option(None)];
    assert_eq!(
        one(world, TYPES, "[static]outgoing-body.finish", &args),
        Val::Result(Ok(None))
    );
}

#[test]
fn a_request_waits_for_all_of_its_body_in_either_order() {
    for handed_over_first in [true, false] {
        let fake = Fake::default();
        let mut world = fake.world();
        let request = request(&mut world, 2, &[("content-length", "5")]);
        let (body, stream) = body_of(&mut world, &request);
        write(&mut world, &stream, b"he");
        let future = if handed_over_first {
            let future = fine(send(&mut world, request));
            write(&mut world, &stream, b"llo");
            assert_eq!(ready(&mut world, &future), Val::Bool(false));
            assert_eq!(method(&mut world, GET, &future), Val::Option(None));
            assert_eq!(fake.asked(), []);
            finish(&mut world, body);
            future
        } else {
            write(&mut world, &stream, b"llo");
            finish(&mut world, body);
            assert_eq!(fake.asked(), []);
            fine(send(&mut world, request))
        };
        assert_eq!(ready(&mut world, &future), Val::Bool(true));
        let asked = fake.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (asked[0].method.as_str(), &asked[0].body[..]),
            ("POST", &b"hello"[..])
        );
        assert_eq!(asked[0].headers, [], "the host says how long it is");
    }
}

#[test]
fn who_waits_for_what_cannot_come_is_out_of_fuel() {
    let fake = Fake::default();
    let mut world = fake.world();
    let request = request(&mut world, 2, &[]);
    let _body = body_of(&mut world, &request);
    let future = fine(send(&mut world, request));
    let name = "[method]future-incoming-response.subscribe";
    let pollable = method(&mut world, name, &future);
    let block = world.call(POLL, "[method]pollable.block", &[borrowed(&pollable)]);
    assert_eq!(block, Ok(vec![]));
    assert!(world.take_fuel() > 10_000_000_000_000_000);
    assert_eq!(fake.asked(), []);
}

#[test]
fn a_body_that_is_not_what_was_meant_is_never_sent() {
    /// Fields, what is done with the body, what it comes to.
    type Spoilt<'a> = (&'a [(&'a str, &'a str)], fn(&mut World, Val), HttpError);
    let spoil: [Spoilt<'_>; 3] = [
        (
            &[("Content-Length", "9")],
            finish,
            HttpError::RequestBodySize(5),
        ),
        (
            &[],
            |world, body| {
                let Val::Own(handle) = body else {
                    panic!("it is a handle")
                };
                world.drop_resource(handle);
            },
            HttpError::Protocol,
        ),
        (
            &[],
            |world, body| {
                let trailer = Val::Tuple(vec![text("a"), Val::Bytes(vec![])]);
                let entries = Val::List(vec![trailer]);
                let fields = fine(one(world, TYPES, "[static]fields.from-list", &[entries]));
                one(
                    world,
                    TYPES,
                    "[static]outgoing-body.finish",
                    &[body, some(fields)],
                );
            },
            HttpError::RequestTrailers,
        ),
    ];
    for (fields, end, expected) in spoil {
        let fake = Fake::default();
        let mut world = fake.world();
        let request = request(&mut world, 2, fields);
        let (body, stream) = body_of(&mut world, &request);
        write(&mut world, &stream, b"hello");
        let future = fine(send(&mut world, request));
        end(&mut world, body);
        assert_eq!(answer(&mut world, &future), error(&expected));
        assert_eq!(fake.asked(), []);
    }
}

#[test]
fn what_goes_and_comes_is_bounded() {
    let fake = Fake::answers(Ok(HttpResponse {
        body: vec![0; BODY_BYTES_MAX],
        ..HttpResponse::default()
    }));
    let mut world = fake.world();
    // One too large to go.
    let post = request(&mut world, 2, &[]);
    let (body, stream) = body_of(&mut world, &post);
    write(&mut world, &stream, &vec![0; BODY_BYTES_MAX + 1]);
    finish(&mut world, body);
    let future = fine(send(&mut world, post));
    let too_large = error(&HttpError::RequestBodySize(BODY_BYTES_MAX as u64 + 1));
    assert_eq!(answer(&mut world, &future), too_large);

    // Answers, until all together are too many bytes. The body above counted up to its bound.
    let mut get = || {
        let get = request(&mut world, 0, &[]);
        let future = fine(send(&mut world, get));
        answer(&mut world, &future)
    };
    let whole = BODIES_BYTES_MAX / BODY_BYTES_MAX - 1;
    for _ in 0..whole {
        fine(get());
    }
    assert_eq!(get(), error(&HttpError::ResponseBodySize));
    for _ in whole + 2..REQUESTS_MAX {
        assert_eq!(get(), error(&HttpError::ResponseBodySize));
    }
    let last = request(&mut world, 0, &[]);
    assert_eq!(send(&mut world, last), error(&HttpError::TooManyRequests));
    let header = HttpResponse {
        headers: vec![("a".into(), vec![b'a'; HEADER_BYTES_MAX])],
        ..HttpResponse::default()
    };
    let mut world = Fake::answers(Ok(header)).world();
    let get = request(&mut world, 0, &[]);
    let future = fine(send(&mut world, get));
    assert_eq!(
        answer(&mut world, &future),
        error(&HttpError::ResponseHeaderSize)
    );
}

#[test]
fn what_cannot_be_a_request_is_refused_at_once() {
    let fake = Fake::default();
    let mut world = fake.world();
    let mut check = |what: &str, val: Val, expected: HttpError| {
        let request = request(&mut world, 0, &[]);
        let name = format!("[method]outgoing-request.set-{what}");
        one(&mut world, TYPES, &name, &[borrowed(&request), val]);
        assert_eq!(send(&mut world, request), error(&expected));
    };
    for authority in [
        "",
        "user@example.org",
        "a b",
        "a/b",
        "a\\b",
        "ä.org",
        "a?b",
        "a#b",
    ] {
        check("authority", some(text(authority)), HttpError::UriInvalid);
    }
    check("authority", Val::Option(None), HttpError::UriInvalid);
    for path in ["a", "/a b", "/a#b", "/ä", "/a\r\nb: c"] {
        check("path-with-query", some(text(path)), HttpError::UriInvalid);
    }
    let ftp = some(Val::Variant(2, Some(Box::new(text("ftp")))));
    check("scheme", ftp, HttpError::Protocol);
    check("method", Val::Variant(5, None), HttpError::Denied);
    let connect = Val::Variant(9, Some(Box::new(text("connect"))));
    check("method", connect, HttpError::Denied);
    assert_eq!(fake.asked(), []);
    // Without a scheme it is the safe one.
    let request = request(&mut world, 0, &[]);
    let args = [borrowed(&request), Val::Option(None)];
    one(
        &mut world,
        TYPES,
        "[method]outgoing-request.set-scheme",
        &args,
    );
    fine(send(&mut world, request));
    assert!(fake.asked()[0].is_secure);
}

#[test]
fn why_there_is_no_answer_is_told() {
    for (code, case) in [
        (HttpError::Dns, 1),
        (HttpError::AddressProhibited, 4),
        (HttpError::ConnectionRefused, 6),
        (HttpError::Tls, 12),
        (HttpError::Certificate, 13),
        (HttpError::Denied, 15),
        (HttpError::Internal("odd".into()), 38),
    ] {
        let fake = Fake::answers(Err(code.clone()));
        let mut world = fake.world();
        let request = request(&mut world, 0, &[]);
        let future = fine(send(&mut world, request));
        let told = answer(&mut world, &future);
        assert_eq!(told, error(&code));
        let Val::Result(Err(Some(told))) = told else {
            panic!("it is an error")
        };
        let Val::Variant(told, _) = *told else {
            panic!("it is a variant")
        };
        assert_eq!(told, case);
    }
}
