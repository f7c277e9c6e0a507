//! An executor that comes back whenever its connection ends, and is sure that nothing is asked for twice.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use asterism_protocol::{
    Cid, Identity, MerkleTree, Remark, Statement, encode,
    message::{ToCoordinator, ToExecutor, decode_frame, hello_bytes},
};
use futures_util::SinkExt as _;
use tokio_tungstenite::tungstenite::Message;

use super::common::{Socket, compute, delivery, frame, hello, socket};

/// Which instructions an executor was told are accepted.
pub(crate) type Accepted = Arc<Mutex<BTreeSet<Cid>>>;

async fn tell(socket: &mut Socket, message: &ToCoordinator) -> Option<()> {
    let frame = Message::Binary(encode(message).into());
    socket.send(frame).await.ok()
}

async fn hear(socket: &mut Socket) -> Option<ToExecutor> {
    decode_frame(&frame(socket).await?).ok()
}

/// Works for a coordinator, over one connection after the other, for ever.
pub(crate) async fn work(url: String, seed: u8, accepted: Accepted) {
    let identity = Identity::from_seed(&[seed; 32]);
    loop {
        // That a connection ends is what is tested here.
        let _ = session(&url, &identity, &accepted).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Works over one connection; ends with it.
async fn session(url: &str, identity: &Identity, accepted: &Accepted) -> Option<()> {
    let mut socket = socket(url, "/ws/executor").await.ok()?;
    let Some(ToExecutor::Challenge { nonce, .. }) = hear(&mut socket).await else {
        return None;
    };
    let proof = identity.sign(&hello_bytes(&nonce));
    tell(&mut socket, &hello(identity, proof, Vec::new())).await?;
    loop {
        let (slots, wait_ms) = (4, 1_000);
        tell(&mut socket, &ToCoordinator::Poll { slots, wait_ms }).await?;
        let leases = loop {
            match hear(&mut socket).await? {
                ToExecutor::Assign { leases } => break leases,
                ToExecutor::Rejected { reason, .. } => panic!("{reason}"),
                _ => {}
            }
        };
        for lease in leases {
            let instruction = lease.task.run.cid();
            assert!(
                !accepted.lock().unwrap().contains(&instruction),
                "what is final is computed again"
            );
            let delivery = delivery(&lease, compute(&lease), Remark::default());
            let statement = Statement {
                outcome: delivery.outcome.cid(),
                conditions: delivery.conditions,
            };
            let tree = MerkleTree::new(&[statement]);
            let signature = identity.sign(&tree.signed_bytes());
            let items = vec![delivery];
            tell(&mut socket, &ToCoordinator::Deliver { items, signature }).await?;
            loop {
                match hear(&mut socket).await? {
                    ToExecutor::Accepted { leases } if leases.contains(&lease.id) => break,
                    ToExecutor::Rejected { reason, .. } => panic!("{reason}"),
                    _ => {}
                }
            }
            accepted.lock().unwrap().insert(instruction);
        }
    }
}
