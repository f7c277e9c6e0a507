//! A proxy that does not pass sub-protocols of WebSockets on, as development servers have them.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A proxy before a coordinator; it ends with this value.
pub struct Proxy {
    url: String,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before the coordinator at `url`.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(url: &str) -> Self {
        let backend = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address: SocketAddr = listener.local_addr().expect("it has an address");
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let backend = backend.clone();
                // A connection that breaks is the affair of its two ends.
                tokio::spawn(async move { drop(pass(client, &backend).await) });
            }
        });
        Self {
            url: format!("http://{address}"),
            serving,
        }
    }

    /// Its address: `http://host:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes one request on, and whatever follows it.
async fn pass(mut client: TcpStream, backend: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    let is_upgrade = head.to_ascii_lowercase().contains("\r\nupgrade: websocket");
    let mut passed = String::new();
    for line in head.trim_end().split("\r\n") {
        let name = line.split(':').next().unwrap_or_default();
        let dropped = name.eq_ignore_ascii_case("sec-websocket-protocol")
            || (!is_upgrade && name.eq_ignore_ascii_case("connection"));
        if !dropped {
            passed.push_str(line);
            passed.push_str("\r\n");
        }
    }
    if !is_upgrade {
        // The next request has a head that is to be read, too.
        passed.push_str("connection: close\r\n");
    }
    passed.push_str("\r\n");
    let mut server = TcpStream::connect(backend).await?;
    server.write_all(passed.as_bytes()).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
