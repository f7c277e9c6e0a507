//! Coordinators that hold a partition and do not answer.

use tokio::{io::AsyncReadExt as _, net::TcpListener, time::timeout};

use super::*;
use crate::store::{Asked, Holder};

/// Somebody at this address holds the first partition, for as long as the test takes.
fn held_at(disk: &Disk, address: &str) {
    let holder = Holder {
        name: "away".to_owned(),
        address: address.to_owned(),
    };
    let asked = disk.journal.acquire(Partition(0), &holder, LONG);
    assert!(matches!(asked, Ok(Asked::Granted(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_partition_is_not_told_the_operator_s_token() {
    let disk = disk();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    held_at(&disk, &format!("http://{}", listener.local_addr().unwrap()));
    let server = serve(&disk).await;
    let client = reqwest::Client::new();
    for path in ["/workflows", "/executors", "/pause"] {
        let url = format!("{}{path}", server.url);
        let asked = match path {
            "/pause" => client.post(url).bearer_auth(TOKEN).send(),
            _ => client.get(url).send(),
        };
        let asking = tokio::spawn(asked);
        let mut head = Vec::new();
        let (mut stream, _) = timeout(LONG, listener.accept()).await.unwrap().unwrap();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains("/partitions/0/"), "{head}");
        assert!(!head.contains(TOKEN), "{head}");
        drop(stream);
        assert_eq!(asking.await.unwrap().unwrap().status(), 503, "{path}");
    }
    server.stop().await;
}
