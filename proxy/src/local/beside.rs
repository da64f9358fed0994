//! What is asked of every server on a connection made for it: a script that keeps a server busy holds up the connection that
//! carried it, and with it whoever asked to end it there.

use std::sync::Arc;
use std::time::Duration;

use redstart_common::resp::RespWrite;
use redstart_common::resp::encode::Proto;

use crate::backend::{error_text, probe};
use crate::client::ClientId;
use crate::client::request::Request;
use crate::local::{later, proto};
use crate::topology::ShardId;
use crate::topology::pool::SharedPool;
use crate::worker::Core;

/// Answers SCRIPT KILL, FUNCTION KILL and FUNCTION STATS.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let proto = proto(core, id);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let shared = Arc::clone(&core.pools[client.pool].shared);
    let merge = if request.row.name == "function|stats" { running } else { one_succeeded };
    let words: Vec<Vec<u8>> = request.args.iter().map(<[u8]>::to_vec).collect();
    later(core, id, request.now_us, async move {
        let limit = probe::connect_timeout(&shared.settings);
        let replies = ask_primaries(&shared, proto, words, limit).await;
        let replies: Vec<Vec<u8>> = replies.into_iter().map(|(_, reply)| reply).collect();
        merge(&replies).unwrap_or_else(|| b"-ERR Connection refused\r\n".to_vec())
    });
}

/// Asks the primary of each live shard, all at the same time. One that has not answered within `limit` counts as one that
/// answers with an error.
pub async fn ask_primaries(
    shared: &Arc<SharedPool>,
    proto: Proto,
    words: Vec<Vec<u8>>,
    limit: Duration,
) -> Vec<(ShardId, Vec<u8>)> {
    let topology = shared.topology.load_full();
    let asking = topology.live.iter().map(|shard| {
        let shard = &topology.shards[usize::from(*shard)];
        let (id, endpoint) = (shard.id, Arc::clone(&topology.primary(shard).endpoint));
        let (shared, words) = (Arc::clone(shared), words.clone());
        tokio::task::spawn_local(async move {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let asking = async {
                let mut link = probe::open_beside(&shared.settings, &endpoint, proto).await?;
                link.send(&words).await?;
                link.receive_raw().await
            };
            let reply = tokio::time::timeout(limit, asking).await;
            let reply = reply.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            let reply = reply.unwrap_or_else(|error| {
                let mut text = Vec::new();
                text.error(format!("ERR {}", error_text(&error)));
                text
            });
            (id, reply)
        })
    });
    let asking: Vec<_> = asking.collect();
    let mut replies = Vec::with_capacity(asking.len());
    for reply in asking {
        replies.extend(reply.await);
    }
    replies
}

/// What one of the servers did, if any did; else that a script may not be ended; else the first error.
fn one_succeeded(replies: &[Vec<u8>]) -> Option<Vec<u8>> {
    let good = replies.iter().find(|reply| !reply.starts_with(b"-"));
    let unkillable = || replies.iter().find(|reply| reply.starts_with(b"-UNKILLABLE"));
    good.or_else(unkillable).or(replies.first()).cloned()
}

/// The statistics of a server on which something runs, if there is one.
fn running(replies: &[Vec<u8>]) -> Option<Vec<u8>> {
    const NAME: &[u8] = b"running_script\r\n";
    let runs = |reply: &&Vec<u8>| {
        let at = reply.windows(NAME.len()).position(|window| window == NAME);
        at.is_some_and(|at| matches!(reply.get(at + NAME.len()), Some(b'*' | b'%')))
    };
    let good = || replies.iter().find(|reply| !reply.starts_with(b"-"));
    replies.iter().find(runs).or_else(good).or(replies.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_that_did_it_is_enough() {
        let reply = |texts: &[&str]| {
            let replies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            one_succeeded(&replies).map(|reply| String::from_utf8(reply).expect("text"))
        };
        let (busy, idle) = ("-UNKILLABLE x\r\n", "-NOTBUSY y\r\n");
        assert_eq!(reply(&[idle, "+OK\r\n", busy]).as_deref(), Some("+OK\r\n"));
        assert_eq!(reply(&[idle, busy]).as_deref(), Some(busy));
        assert_eq!(reply(&[idle, idle]).as_deref(), Some(idle));
        assert_eq!(reply(&[]), None);
    }

    #[test]
    fn the_server_on_which_something_runs_is_shown() {
        let idle = b"*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*0\r\n".to_vec();
        let busy = b"*4\r\n$14\r\nrunning_script\r\n*0\r\n$7\r\nengines\r\n*0\r\n".to_vec();
        let error = b"-ERR z\r\n".to_vec();
        assert_eq!(running(&[idle.clone(), busy.clone()]), Some(busy));
        assert_eq!(running(&[error.clone(), idle.clone()]), Some(idle));
        assert_eq!(running(std::slice::from_ref(&error)), Some(error));
    }
}
