//! `WAIT` and `WAITAOF`: the writes that a client has had acknowledged are on so many replicas, or disks, of every shard.
//!
//! Each primary is asked on a connection made for it. A server takes such a question to mean all that it had written before
//! it was asked, so that the client's writes are among them whichever connection carried them.

use std::sync::Arc;

use redstart_common::resp::{RespWrite, encode};

use crate::backend::{error_text, probe};
use crate::client::ClientId;
use crate::client::dispatch::Next;
use crate::client::fate::Doing;
use crate::client::private::{At, Wait};
use crate::client::request::Request;
use crate::topology::Endpoint;
use crate::topology::pool::SharedPool;
use crate::worker::Core;

/// Waits; the least that any shard answers is the reply.
pub fn wait(core: &mut Core, id: ClientId, request: Request<'_>) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() {
        return Next::Later;
    }
    let now_us = request.now_us;
    let pool = &core.pools[client.pool];
    // Whoever watches keys asks for their shard.
    let watched = client.watch.as_ref().and_then(|watch| pool.topology.place_of(watch.shard));
    let shards: Vec<u16> = watched.map_or_else(|| pool.topology.live.to_vec(), |one| vec![one]);
    let servers = shards.iter().map(|shard| {
        let shard = &pool.topology.shards[usize::from(*shard)];
        Arc::clone(&pool.topology.primary(shard).endpoint)
    });
    let servers: Vec<Arc<Endpoint>> = servers.collect();
    let shared = Arc::clone(&pool.shared);
    let sequence = client.begin(now_us);
    client.barrier = true;
    let Some(worker) = core.me.upgrade() else { return Next::Taken };
    let mut question = Vec::new();
    encode::request(&mut question, request.args.iter());
    let task = tokio::task::spawn_local(async move {
        let reply = ask(&shared, servers, question).await;
        let core = &mut *worker.core.borrow_mut();
        let now_us = core.clock.now_us();
        core.down.clients.restart_clock(id, now_us);
        core.down.clients.answer_owned(id, sequence, reply, now_us);
        if let Some(client) = core.down.clients.get_mut(id) {
            client.wait.take_if(|wait| wait.sequence == sequence);
        }
    });
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let doing = Doing::Wait { repeatable: true };
    let at = At::Task(task.abort_handle());
    let wait = Wait::new(sequence, doing, at, request.row, Vec::new(), now_us);
    client.wait = Some(Box::new(wait));
    Next::Taken
}

async fn ask(shared: &Arc<SharedPool>, servers: Vec<Arc<Endpoint>>, question: Vec<u8>) -> Vec<u8> {
    let question = Arc::new(question);
    // Whoever drops the set drops the questions, and with them their connections.
    let mut asking = tokio::task::JoinSet::new();
    for server in servers {
        let (shared, question) = (Arc::clone(shared), Arc::clone(&question));
        asking.spawn_local(async move {
            match ask_one(&shared, &server, &question).await {
                Ok(reply) => reply,
                Err(error) => {
                    let mut text = Vec::new();
                    text.error(format!("ERR {}", error_text(&error)));
                    text
                }
            }
        });
    }
    let mut replies = Vec::new();
    while let Some(reply) = asking.join_next().await {
        replies.extend(reply);
    }
    least(&replies).unwrap_or_else(|| b"-ERR Connection refused\r\n".to_vec())
}

async fn ask_one(
    shared: &SharedPool,
    server: &Endpoint,
    question: &[u8],
) -> std::io::Result<Vec<u8>> {
    let mut link = probe::open_for_questions(&shared.settings, server).await?;
    // What was written before this question is what the next one asks about.
    link.ask(&[b"PING"]).await?;
    link.send_raw(question).await?;
    link.receive_raw().await
}

/// The numbers of a reply that is an integer, or an array of integers.
fn numbers(reply: &[u8]) -> Option<Vec<i64>> {
    let text = std::str::from_utf8(reply).ok()?;
    let lines = text.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with('*'));
    lines.map(|line| line.strip_prefix(':')?.parse().ok()).collect()
}

/// The first error, or the least of each number.
fn least(replies: &[Vec<u8>]) -> Option<Vec<u8>> {
    let first = replies.first()?;
    if let Some(error) = replies.iter().find(|reply| reply.starts_with(b"-")) {
        return Some(error.clone());
    }
    let mut least = numbers(first)?;
    for reply in replies {
        for (one, other) in least.iter_mut().zip(numbers(reply)?) {
            *one = other.min(*one);
        }
    }
    let mut out = Vec::new();
    if first.starts_with(b"*") {
        out.array_len(least.len());
    }
    least.iter().for_each(|number| out.integer(*number));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_that_has_least_is_what_counts() {
        let merged = |replies: &[&str]| {
            let replies: Vec<Vec<u8>> =
                replies.iter().map(|text| text.as_bytes().to_vec()).collect();
            least(&replies).map(|reply| String::from_utf8(reply).expect("text"))
        };
        assert_eq!(merged(&[":3\r\n", ":1\r\n", ":2\r\n"]).as_deref(), Some(":1\r\n"));
        let two = merged(&["*2\r\n:1\r\n:5\r\n", "*2\r\n:0\r\n:7\r\n"]);
        assert_eq!(two.as_deref(), Some("*2\r\n:0\r\n:5\r\n"));
        assert_eq!(merged(&[":3\r\n", "-ERR no\r\n"]).as_deref(), Some("-ERR no\r\n"));
        assert_eq!(merged(&["+OK\r\n"]), None);
        assert_eq!(merged(&[]), None);
    }
}
