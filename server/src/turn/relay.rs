//! Snapshots on their way to replicas: as they are made, or from a file.

use std::fs::File;
use std::io::Read;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::turn;

use super::link::tell;
use crate::replicating::Relay;
use crate::replication::{Action, ClientId, Event};
use crate::server::Server;

/// Bytes that may wait at a replica's connection before more are given to it.
const WAITING_MAX: usize = 1 << 20;
/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a full connection is left alone.
const REST: Duration = Duration::from_millis(1);

/// Gives bytes to a replica. Answers whether it is there.
fn give(server: &Rc<Server>, id: ClientId, bytes: &[u8]) -> bool {
    let mut engine = server.engine.borrow_mut();
    let is_replica = engine.core.replication.is_replica_client(id);
    let Some(client) = engine.core.clients.by_id(id).filter(|_| is_replica) else { return false };
    client.reply.raw(bytes);
    client.mark();
    true
}

/// Waits until a replica's connection takes more.
async fn drained(server: &Rc<Server>, id: ClientId) {
    loop {
        turn::end();
        let is_full = {
            let mut engine = server.engine.borrow_mut();
            let core = &mut engine.core;
            let now_ms = core.replication_now_ms();
            let is_full = core.replication.is_replica_client(id)
                && core.clients.by_id(id).is_some_and(|it| it.reply.pending() > WAITING_MAX);
            core.replication.snapshot_stuck(id, is_full, now_ms);
            is_full
        };
        if !is_full {
            return;
        }
        tokio::time::sleep(REST).await;
    }
}

/// Sends a snapshot to replicas while it is made.
pub async fn relay(server: Rc<Server>, relay: Relay) {
    let Relay { snapshot, mark, replicas, mut chunks } = relay;
    for id in &replicas {
        give(&server, *id, &[b"$EOF:", &mark[..], b"\r\n"].concat());
    }
    while let Some(chunk) = chunks.recv().await {
        for id in &replicas {
            give(&server, *id, &chunk);
        }
        for id in &replicas {
            drained(&server, *id).await;
        }
    }
    // The thread's own word on it may come a little later than the last bytes.
    let complete = loop {
        let is_running = {
            let core = &mut server.engine.borrow_mut().core;
            if let Some(complete) = core.replicating.take_ended(snapshot) {
                break complete;
            }
            core.replication.running_snapshot().is_some_and(|(id, _)| id == snapshot)
        };
        if !is_running {
            return;
        }
        tokio::time::sleep(REST).await;
    };
    match complete {
        true => {
            for id in &replicas {
                give(&server, *id, &mark);
            }
            tell(&server, Event::SnapshotDone(snapshot));
        }
        false => tell(&server, Event::SnapshotFailed(snapshot)),
    }
    turn::end();
}

/// Sends the snapshot's file to a replica.
pub async fn send_file(server: Rc<Server>, action: Action) {
    let Action::SendFile(id, _) = action else { return };
    let path = server.engine.borrow().core.dump_path();
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (bytes, mut file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let reason = crate::text::system_words(&error);
            log!(Warning, "Can't open/stat DB after BGSAVE: {reason}");
            close(&server, id);
            return;
        }
    };
    if !give(&server, id, format!("${bytes}\r\n").as_bytes()) {
        return;
    }
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let most = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match file.read(&mut chunk[..most]) {
            Ok(count) if count > 0 => {
                left -= count as u64;
                if !give(&server, id, &chunk[..count]) {
                    return;
                }
            }
            outcome => {
                let reason =
                    outcome.map_or_else(|error| error.to_string(), |_| "premature EOF".to_owned());
                log!(Warning, "Read error sending DB to replica: {reason}");
                close(&server, id);
                return;
            }
        }
        drained(&server, id).await;
    }
    tell(&server, Event::FileSent(id));
    turn::end();
}

fn close(server: &Rc<Server>, id: ClientId) {
    let mut engine = server.engine.borrow_mut();
    if let Some(client) = engine.core.clients.by_id(id) {
        client.close_asap();
    }
}
