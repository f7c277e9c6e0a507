//! Something that speaks like S3, of the test's own: moto's server, from the folder that `cargo xtask test` installs it
//! into, on a port of its own. It keeps everything in memory, and ends with the test, however that ends.

use std::{
    io::Write as _,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{
    PATIENCE,
    certificate::{self, python},
    free_port,
    guard::Guard,
};

/// A server, without buckets.
pub(crate) struct S3 {
    port: u16,
    /// The authority that its certificate rests on, where connections are encrypted.
    authority: Option<PathBuf>,
    _guard: Guard,
}

impl S3 {
    /// Starts one.
    pub(crate) fn start() -> Self {
        Self::start_with(&[], None)
    }

    /// One whose connections are encrypted; the authority of its certificate is `authority.pem` in `folder`.
    pub(crate) fn start_encrypted(folder: &Path) -> Self {
        certificate::make(folder);
        let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (at("certificate.pem"), at("key.pem"));
        let authority = Some(folder.join("authority.pem"));
        Self::start_with(&["-c", &certificate, "-k", &key], authority)
    }

    fn start_with(args: &[&str], authority: Option<PathBuf>) -> Self {
        let port = free_port();
        let guard = Guard::start(
            Command::new("sh")
                .args(["-c", GUARD, "guard"])
                .arg(python())
                .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
                .arg(port.to_string())
                .args(args)
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        let server = Self {
            port,
            authority,
            _guard: guard,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "moto does not start");
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// `127.0.0.1` and its port.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a bucket.
    pub(crate) fn make_bucket(&self, name: &str) {
        assert_eq!(self.ask("PUT", name, b"").0, 200);
    }

    /// Puts bytes under a key, behind everybody's back.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        assert_eq!(self.ask("PUT", path, bytes).0, 200);
    }

    /// The bytes under a key.
    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.ask("GET", path, b"");
        assert_eq!(status, 200);
        body
    }

    /// Says something as somebody else would.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let scheme = self.authority.as_ref().map_or("http", |_| "https");
        let mut asking = Command::new(python())
            .args(["-c", ASK, method])
            .arg(format!("{scheme}://{}/{path}", self.address()))
            .args(&self.authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        asking.stdin.take().unwrap().write_all(body).unwrap();
        let answer = asking.wait_with_output().unwrap().stdout;
        let (status, body) = answer.split_at(4);
        let status = std::str::from_utf8(status).unwrap().trim();
        (status.parse().unwrap(), body.to_vec())
    }
}

/// Ends the server when its standard input does, which also happens when the test is killed.
const GUARD: &str = r#"
    trap '' INT TERM
    "$@" </dev/null &
    cat >/dev/null
    kill -KILL $!
"#;

/// Any key will do for it.
const ASK: &str = r#"
import ssl, sys, urllib.error, urllib.request

method, url, *authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority[0]) if authority else None
key = "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"
request = urllib.request.Request(url, sys.stdin.buffer.read(), {"Authorization": key}, method=method)
try:
    answer = urllib.request.urlopen(request, context=context)
except urllib.error.HTTPError as error:
    answer = error
sys.stdout.buffer.write(b"%3d\n" % answer.status + answer.read())
"#;
