//! `PUBSUB`: who listens, over all servers. For the channels of the proxy's own clients a server sees one subscriber per
//! worker; NUMSUB counts the clients instead.

use std::collections::BTreeSet;
use std::sync::Arc;

use redstart_common::resp::encode::{self, Proto};
use redstart_common::resp::{Reader, RespWrite, Value};
use tokio::sync::oneshot;

use crate::backend::{error_text, probe};
use crate::client::ClientId;
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::control::{Directory, Message};
use crate::local::later;
use crate::pubsub::{Kind, Topic};
use crate::texts;
use crate::topology::PoolId;
use crate::topology::pool::SharedPool;
use crate::worker::Core;

/// Answers `PUBSUB …`.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (pool, now_us) = (client.pool, request.now_us);
    let shared = Arc::clone(&core.pools[pool].shared);
    let directory = Arc::clone(&core.directory);
    let words: Vec<Vec<u8>> = request.args.iter().map(<[u8]>::to_vec).collect();
    match request.row.name {
        "pubsub|channels" | "pubsub|shardchannels" => {
            later(core, id, now_us, async move { merged(ask_all(&shared, &words).await, channels) })
        }
        "pubsub|numpat" => {
            later(
                core,
                id,
                now_us,
                async move { merged(ask_all(&shared, &words).await, patterns) },
            );
        }
        "pubsub|numsub" | "pubsub|shardnumsub" => {
            let is_shard = request.row.name == "pubsub|shardnumsub";
            let kind = if is_shard { Kind::Shard } else { Kind::Channel };
            let topics = words.iter().skip(2).map(|name| Topic::new(kind, name)).collect();
            later(core, id, now_us, async move {
                counts(&shared, &directory, pool, &words, topics).await
            });
        }
        "pubsub|help" => core.down.clients.reply(id, now_us, |out| {
            out.array_len(2);
            out.simple("PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
            out.simple("CHANNELS, NUMPAT, NUMSUB, SHARDCHANNELS, SHARDNUMSUB.");
        }),
        _ => refuse(core, id, now_us, |out| texts::not_shared(out, request.row)),
    }
}

/// Asks the primary of every live shard, in RESP2; or the first error.
async fn ask_all(shared: &Arc<SharedPool>, words: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let topology = shared.topology.load_full();
    let mut question = Vec::new();
    encode::request(&mut question, words.iter().map(Vec::as_slice));
    let question: Arc<[u8]> = question.into();
    let mut asking = tokio::task::JoinSet::new();
    for shard in &topology.live {
        let endpoint =
            Arc::clone(&topology.primary(&topology.shards[usize::from(*shard)]).endpoint);
        let (shared, question) = (Arc::clone(shared), Arc::clone(&question));
        asking.spawn_local(async move {
            let limit = probe::connect_timeout(&shared.settings);
            let asking = async {
                let mut link =
                    probe::open_beside(&shared.settings, &endpoint, Proto::Resp2).await?;
                link.send_raw(&question).await?;
                link.receive_raw().await
            };
            tokio::time::timeout(limit, asking)
                .await
                .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        });
    }
    let mut replies = Vec::new();
    while let Some(Ok(reply)) = asking.join_next().await {
        match reply {
            Ok(reply) if reply.starts_with(b"-") => return Err(reply),
            Ok(reply) => replies.push(reply),
            Err(error) => {
                let mut text = Vec::new();
                text.error(format!("ERR {}", error_text(&error)));
                return Err(text);
            }
        }
    }
    Ok(replies)
}

fn merged(
    replies: Result<Vec<Vec<u8>>, Vec<u8>>,
    merge: impl FnOnce(&[Vec<u8>]) -> Vec<u8>,
) -> Vec<u8> {
    replies.map_or_else(|error| error, |replies| merge(&replies))
}

/// Every channel once.
fn channels(replies: &[Vec<u8>]) -> Vec<u8> {
    let mut names = BTreeSet::new();
    for reply in replies {
        let mut reader = Reader::new(reply);
        if let Some(Value::Array(count)) = reader.read() {
            names.extend((0..count).filter_map(|_| reader.read()?.bytes()));
        }
    }
    let mut out = Vec::new();
    out.array_len(names.len());
    names.into_iter().for_each(|name| out.bulk(name));
    out
}

/// Servers tell numbers of patterns, not which: those of the proxy are at every server, so the most that any has is nearest.
fn patterns(replies: &[Vec<u8>]) -> Vec<u8> {
    let numbers = replies.iter().filter_map(|reply| Reader::new(reply).read()?.integer());
    let mut out = Vec::new();
    out.integer(numbers.max().unwrap_or(0));
    out
}

/// Subscribers of channels: those that servers count, with the proxy's clients in place of its own subscriptions.
async fn counts(
    shared: &Arc<SharedPool>,
    directory: &Directory,
    pool: PoolId,
    words: &[Vec<u8>],
    topics: Vec<Topic>,
) -> Vec<u8> {
    let replies = match ask_all(shared, words).await {
        Ok(replies) => replies,
        Err(error) => return error,
    };
    let mut sums = vec![0_i64; topics.len()];
    for reply in &replies {
        let mut reader = Reader::new(reply);
        reader.read();
        for sum in &mut sums {
            reader.read();
            *sum += reader.read().and_then(|value| value.integer()).unwrap_or(0);
        }
    }
    for worker in &directory.workers {
        let (send, receive) = oneshot::channel();
        if worker.send(Message::Listeners(pool, topics.clone(), send)).is_ok() {
            let counts = receive.await.unwrap_or_default();
            for (sum, (clients, homes)) in sums.iter_mut().zip(counts) {
                *sum += clients as i64 - homes as i64;
            }
        }
    }
    let mut out = Vec::new();
    out.array_len(2 * topics.len());
    for (topic, sum) in topics.iter().zip(sums) {
        out.bulk(&topic.name);
        out.integer(sum.max(0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_is_told_once() {
        let replies =
            [&b"*2\r\n$1\r\nb\r\n$1\r\na\r\n"[..], b"*0\r\n", b"*2\r\n$1\r\na\r\n$1\r\nc\r\n"];
        let replies: Vec<Vec<u8>> = replies.iter().map(|reply| reply.to_vec()).collect();
        assert_eq!(channels(&replies), b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
        assert_eq!(patterns(&[b":2\r\n".to_vec(), b":5\r\n".to_vec()]), b":5\r\n");
        assert_eq!(patterns(&[]), b":0\r\n");
    }
}
