#[path = "../../../coordinator/tests/common/servers/certificate.rs"]
mod certificate;

use std::{
    io::{Read as _, Write as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use asterism_protocol::content_cid;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// A server that gives one answer again and again, and keeps what it was asked.
struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, asked) = (answer.into(), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"end") {
                    let mut bytes = [0; 1024];
                    match stream.read(&mut bytes).await.unwrap() {
                        0 => break,
                        read => request.extend_from_slice(&bytes[..read]),
                    }
                }
                kept.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&request).into_owned());
                if answer.is_empty() {
                    // It keeps whoever asks waiting.
                    std::future::pending::<()>().await;
                }
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// The same over TLS, with a certificate for `127.0.0.1`. What it keeps begins with the protocol that both agreed on.
struct Secure {
    port: u16,
    authority: CertificateDer<'static>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Secure {
    fn start(answer: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate::make(folder.path());
        let certificate =
            |name: &str| CertificateDer::from_pem_file(folder.path().join(name)).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate("certificate.pem")], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, stream.unwrap());
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut bytes = [0; 1024];
                    match stream.read(&mut bytes) {
                        // Whoever does not trust it goes.
                        Ok(0) | Err(_) => break,
                        Ok(read) => request.extend_from_slice(&bytes[..read]),
                    }
                }
                if request.is_empty() {
                    continue;
                }
                let spoken = stream.conn.alpn_protocol().unwrap_or_default();
                let text = [spoken, b": ", &request].concat();
                kept.lock()
                    .unwrap()
                    .push(String::from_utf8_lossy(&text).into_owned());
                stream.write_all(answer.as_bytes()).unwrap();
                stream.conn.send_close_notify();
                // Whoever has all of it may be gone.
                let _ = stream.flush();
            }
        });
        Self {
            port,
            authority: certificate("authority.pem"),
            asked,
        }
    }
}

const FINE: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Kind: fine\r\nConnection: close\r\n\r\nfine";

fn get(authority: &str) -> HttpRequest {
    HttpRequest {
        method: "GET".into(),
        is_secure: false,
        authority: authority.into(),
        path: "/a?b".into(),
        headers: Vec::new(),
        body: Vec::new(),
        connect: None,
        first_byte: None,
        between_bytes: None,
        body_bytes_max: 1_000,
    }
}

/// Sends on a thread of its own, as guests do.
async fn send(rules: &[&str], requests: Vec<HttpRequest>) -> Vec<Result<HttpResponse, HttpError>> {
    send_until(outgoing(rules), requests, Arc::new(|| false)).await
}

fn outgoing(rules: &[&str]) -> Outgoing {
    let rules: Vec<AllowHttp> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Outgoing::new(&rules)
}

/// Trusts these authorities, and not those of this machine.
fn trusting(rule: &str, authorities: &[&CertificateDer<'static>]) -> Outgoing {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add((*authority).clone()).unwrap();
    }
    let tls = connection::tls(|builder| Ok(builder.with_root_certificates(roots))).unwrap();
    Outgoing {
        tls: Arc::new(Arc::new(tls).into()),
        ..outgoing(&[rule])
    }
}

async fn send_secure(outgoing: Outgoing, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    let secure = HttpRequest {
        is_secure: true,
        ..request
    };
    let answers = send_until(outgoing, vec![secure], Arc::new(|| false));
    answers.await.remove(0)
}

async fn send_until(
    outgoing: Outgoing,
    requests: Vec<HttpRequest>,
    over: Over,
) -> Vec<Result<HttpResponse, HttpError>> {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut http = outgoing.of_task(content_cid(b"an instruction"), over);
        let answers = requests.iter().map(|request| http.send(request));
        let _ = tell.send(answers.collect());
    });
    told.await.unwrap()
}

async fn send_one(rule: &str, request: HttpRequest) -> Result<HttpResponse, HttpError> {
    send(&[rule], vec![request]).await.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_named_is_asked_and_no_other() {
    let server = Server::start(FINE).await;
    let port = server.port;
    let here = format!("127.0.0.1:{port}");
    let answer = send_one(&here, get(&here)).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, b"fine".to_vec()));
    assert!(
        answer
            .headers
            .contains(&("x-kind".into(), b"fine".to_vec()))
    );
    let asked = server.asked().remove(0);
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: {here}\r\n")), "{asked}");

    for (rules, authority, expected) in [
        (vec![], here.clone(), HttpError::Denied),
        (
            vec!["127.0.0.1".to_owned()],
            here.clone(),
            HttpError::Denied,
        ),
        (
            vec![format!("localhost:{port}")],
            here.clone(),
            HttpError::Denied,
        ),
        // All is all that everybody reaches, whatever a name stands for.
        (
            vec![format!("*:{port}")],
            here.clone(),
            HttpError::AddressProhibited,
        ),
        (
            vec![format!("*:{port}")],
            format!("localhost:{port}"),
            HttpError::AddressProhibited,
        ),
        (
            vec![format!("*:{port}")],
            format!("2130706433:{port}"),
            HttpError::AddressProhibited,
        ),
        (
            vec![format!("*:{port}")],
            format!("[::ffff:7f00:1]:{port}"),
            HttpError::AddressProhibited,
        ),
        (
            vec![format!("*:{port}")],
            format!("name.invalid:{port}"),
            HttpError::Dns,
        ),
    ] {
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let answers = send(&rules, vec![get(&authority)]).await;
        assert_eq!(answers, [Err(expected)], "{authority} under {rules:?}");
    }
    assert_eq!(server.asked().len(), 1);
    // A name that the owner wrote, or whose address they did, may be nearby.
    let name = format!("localhost:{port}");
    assert!(send_one(&name, get(&name)).await.is_ok());
    let answers = send(&[&format!("*:{port}"), &here], vec![get(&name)]).await;
    assert!(answers[0].is_ok(), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secure_request_reaches_whom_a_trusted_certificate_is_for() {
    let server = Secure::start(FINE);
    let (port, authority) = (server.port, &server.authority);
    let here = format!("127.0.0.1:{port}");
    let outgoing = trusting(&here, &[authority]);
    let answer = send_secure(outgoing, get(&here)).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, b"fine".to_vec()));
    let asked = server.asked.lock().unwrap().remove(0);
    assert!(
        asked.starts_with("http/1.1: GET /a?b HTTP/1.1\r\n"),
        "{asked}"
    );
    assert!(asked.contains(&format!("host: {here}\r\n")), "{asked}");

    let stranger = Secure::start(FINE).authority;
    let name = format!("localhost:{port}");
    let every = format!("*:{port}");
    let cases: [(&str, &str, &[&CertificateDer<'static>], HttpError); 6] = [
        (&here, &here, &[], HttpError::Certificate),
        (&here, &here, &[&stranger], HttpError::Certificate),
        // It is for the address, and for no name that stands for it.
        (&name, &name, &[authority], HttpError::Certificate),
        ("127.0.0.1", &here, &[authority], HttpError::Denied),
        (&name, &here, &[authority], HttpError::Denied),
        (&every, &here, &[authority], HttpError::AddressProhibited),
    ];
    for (rule, authority, trusted, expected) in cases {
        let answer = send_secure(trusting(rule, trusted), get(authority)).await;
        assert_eq!(answer, Err(expected), "{authority} under {rule}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_with_tls_is_told_as_what_it_is() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let here = listener.local_addr().unwrap().to_string();
    // What is answered to the beginning of a handshake, and then the connection ends.
    let answers: [(&[u8], HttpError); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", HttpError::Tls),
        // An alert: no parameters that both have.
        (&[21, 3, 3, 0, 2, 2, 40], HttpError::Tls),
        (b"", HttpError::ConnectionTerminated),
    ];
    for (said, expected) in answers {
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            assert!(stream.read(&mut hello).await.unwrap() > 0);
            stream.write_all(said).await.unwrap();
        };
        let asked = send_secure(trusting(&here, &[]), get(&here));
        let (answer, ()) = tokio::join!(asked, server);
        assert_eq!(answer, Err(expected), "{said:?}");
    }
    // What was sent and is not read makes a reset of an end.
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
    };
    let asked = send_secure(trusting(&here, &[]), get(&here));
    let (answer, ()) = tokio::join!(asked, server);
    assert_eq!(answer, Err(HttpError::ConnectionTerminated));
    // The handshake is a part of connecting.
    let silent = Server::start("").await;
    let here = format!("127.0.0.1:{}", silent.port);
    let hasty = HttpRequest {
        connect: Some(Duration::from_millis(50)),
        ..get(&here)
    };
    assert_eq!(
        send_secure(trusting(&here, &[]), hasty).await,
        Err(HttpError::ConnectionTimeout)
    );
    let large = Secure::start("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
    let here = format!("127.0.0.1:{}", large.port);
    assert_eq!(
        send_secure(trusting(&here, &[&large.authority]), get(&here)).await,
        Err(HttpError::ResponseBodySize)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_the_answer() {
    let elsewhere = Server::start(FINE).await;
    let moved = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        elsewhere.port
    );
    let server = Server::start(moved).await;
    let rules = [server.port, elsewhere.port].map(|port| format!("127.0.0.1:{port}"));
    let answers = send(&[&rules[0], &rules[1]], vec![get(&rules[0])]).await;
    assert_eq!(answers[0].as_ref().unwrap().status, 302);
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_change_something_carries_the_name_of_its_instruction() {
    let server = Server::start(FINE).await;
    let here = format!("127.0.0.1:{}", server.port);
    let post = || HttpRequest {
        method: "POST".into(),
        body: b"the end".to_vec(),
        ..get(&here)
    };
    let own = HttpRequest {
        headers: vec![("Idempotency-Key".into(), b"mine".to_vec())],
        ..post()
    };
    let answers = send(&[&here], vec![get(&here), post(), post(), own]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let key = |asked: &String| {
        let mut lines = asked.lines();
        lines.find_map(|line| line.strip_prefix("idempotency-key: ").map(str::to_owned))
    };
    let keys: Vec<_> = server.asked().iter().map(key).collect();
    let cid = content_cid(b"an instruction");
    let expected = [
        None,
        Some(format!("\"{cid}\"")),
        Some(format!("\"{cid}.2\"")),
        Some("mine".into()),
    ];
    assert_eq!(keys, expected);
    let asked = server.asked().remove(1);
    assert!(
        asked.contains("content-length: 7\r\n") && asked.ends_with("\r\n\r\nthe end"),
        "{asked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_expected_and_empty_is_said_to_be() {
    let server = Server::start(FINE).await;
    let here = format!("127.0.0.1:{}", server.port);
    let of = |method: &str| HttpRequest {
        method: method.into(),
        ..get(&here)
    };
    let methods = ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS"];
    send(&[&here], methods.map(of).into()).await;
    let said = |asked: &String| asked.contains("content-length: 0\r\n");
    let said: Vec<_> = server.asked().iter().map(said).collect();
    assert_eq!(said, [true, true, true, false, false, false, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_is_told_as_what_it_is() {
    let refused = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    assert_eq!(
        send_one(&refused, get(&refused)).await,
        Err(HttpError::ConnectionRefused)
    );
    assert_eq!(
        send_secure(trusting(&refused, &[]), get(&refused)).await,
        Err(HttpError::ConnectionRefused)
    );
    let answers: [(Vec<u8>, HttpError); 5] = [
        (b"nonsense\r\n\r\n".to_vec(), HttpError::Protocol),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort".to_vec(),
            HttpError::ResponseIncomplete,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n".to_vec(),
            HttpError::ResponseBodySize,
        ),
        (
            [
                b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                &[b'a'; 1_001][..],
            ]
            .concat(),
            HttpError::ResponseBodySize,
        ),
        (
            [
                b"HTTP/1.1 200 OK\r\nA: ",
                &vec![b'a'; HEADER_BYTES_MAX][..],
                b"\r\n\r\n",
            ]
            .concat(),
            HttpError::ResponseHeaderSize,
        ),
    ];
    for (answer, expected) in answers {
        let shown = String::from_utf8_lossy(&answer[..30.min(answer.len())]).into_owned();
        let server = Server::start(answer).await;
        let here = format!("127.0.0.1:{}", server.port);
        assert_eq!(send_one(&here, get(&here)).await, Err(expected), "{shown}");
    }
    let silent = Server::start("").await;
    let here = format!("127.0.0.1:{}", silent.port);
    let hasty = HttpRequest {
        first_byte: Some(Duration::from_millis(50)),
        ..get(&here)
    };
    assert_eq!(
        send_one(&here, hasty).await,
        Err(HttpError::ResponseTimeout)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_to_end_waits_for_nobody() {
    // For an answer, or for the other's part of a handshake.
    for is_secure in [false, true] {
        let silent = Server::start("").await;
        let here = format!("127.0.0.1:{}", silent.port);
        let request = HttpRequest {
            is_secure,
            ..get(&here)
        };
        let over = Arc::new(AtomicBool::new(false));
        let (asked, ends) = (Arc::clone(&over), Arc::clone(&over));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            ends.store(true, Ordering::Relaxed);
        });
        let begun = std::time::Instant::now();
        let over = Arc::new(move || asked.load(Ordering::Relaxed));
        let answers = send_until(trusting(&here, &[]), vec![request], over).await;
        assert!(answers[0].is_err());
        // Sooner than it would give up by itself.
        assert!(begun.elapsed() < CONNECT, "{:?}", begun.elapsed());
    }
}
