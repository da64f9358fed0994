//! The section of INFO that says how many keys there are, as the sum of what the servers say.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::resp::RespWrite;
use redstart_common::resp::encode::Proto;

use super::beside::ask_primaries;
use super::{later_by, proto};
use crate::client::ClientId;
use crate::settings::PoolSettings;
use crate::worker::Core;

/// How long what the servers have said is told again, in microseconds: some libraries ask for INFO on each new connection.
const FRESH_US: u64 = 1_000_000;
/// How long a server may take to answer. One that is down must not hold up who wants to know how the proxy is.
const LIMIT: Duration = Duration::from_millis(250);

/// The section as it was put together last, and when.
#[derive(Debug, Default)]
pub struct Keys(Option<(u64, String)>);

/// What a database holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Held {
    keys: u64,
    expires: u64,
    /// The sum of the time that keys have left, in milliseconds.
    ttl_ms: u128,
}

/// Answers INFO with `text` and this section behind it.
pub fn answer(core: &mut Core, id: ClientId, text: String, now_us: u64) {
    let proto = proto(core, id);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    if let Some((at_us, section)) = &core.pools[pool].keys.0
        && now_us.saturating_sub(*at_us) < FRESH_US
    {
        let text = joined(text, section);
        return core
            .down
            .clients
            .reply(id, now_us, |out| out.verbatim(*b"txt", text.as_bytes(), proto));
    }
    let shared = Arc::clone(&core.pools[pool].shared);
    let asking = async move {
        let words = vec![b"INFO".to_vec(), b"keyspace".to_vec()];
        let replies = ask_primaries(&shared, Proto::Resp2, words, LIMIT).await;
        section(&replies, &shared.settings)
    };
    later_by(core, id, now_us, asking, move |core, section| {
        let mut reply = Vec::new();
        reply.verbatim(*b"txt", joined(text, &section).as_bytes(), proto);
        core.pools[pool].keys.0 = Some((core.clock.now_us(), section));
        reply
    });
}

fn joined(mut text: String, section: &str) -> String {
    if !text.is_empty() {
        text.push_str("\r\n");
    }
    text + section
}

/// The section, from what the servers have answered.
fn section(replies: &[Vec<u8>], settings: &PoolSettings) -> String {
    let mut databases = BTreeMap::<u32, Held>::new();
    for reply in replies {
        for (db, held) in String::from_utf8_lossy(reply).lines().filter_map(line) {
            // A pool of one database calls it the first, whatever number it has at the servers.
            let db = match db.checked_sub(settings.redis_db) {
                Some(db) if db < u32::from(settings.databases) => db,
                _ => continue,
            };
            let all = databases.entry(db).or_default();
            all.keys += held.keys;
            all.expires += held.expires;
            all.ttl_ms += held.ttl_ms;
        }
    }
    let mut text = "# Keyspace\r\n".to_owned();
    for (db, Held { keys, expires, ttl_ms }) in databases {
        let avg_ttl = ttl_ms.checked_div(u128::from(expires)).unwrap_or(0);
        // Writing to a string does not fail.
        let _ = write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={avg_ttl}\r\n");
    }
    text
}

/// Reads `db0:keys=1,expires=0,avg_ttl=0`, and whatever more a server says.
fn line(line: &str) -> Option<(u32, Held)> {
    let (db, fields) = line.strip_prefix("db")?.split_once(':')?;
    let field = |name: &str| {
        let mut fields = fields.split(',').filter_map(|field| field.split_once('='));
        fields.find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
    };
    let (keys, expires) = (field("keys")?, field("expires")?);
    let ttl_ms = u128::from(field("avg_ttl").unwrap_or(0)) * u128::from(expires);
    Some((db.parse().ok()?, Held { keys, expires, ttl_ms }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Listen;

    #[test]
    fn databases_are_the_sum_of_what_servers_hold() {
        let reply = |text: &str| format!("$9\r\n# Keyspace\r\n{text}\r\n").into_bytes();
        let replies = [
            reply("db0:keys=3,expires=2,avg_ttl=100\r\ndb2:keys=1,expires=0,avg_ttl=0"),
            reply("db0:keys=5,expires=2,avg_ttl=300,subexpiry=1"),
            b"-ERR Connection refused\r\n".to_vec(),
            reply("db1:keys=x"),
        ];
        let mut settings = PoolSettings::new("p", Listen::tcp("", 0), Vec::new());
        settings.databases = 16;
        assert_eq!(
            section(&replies, &settings),
            "# Keyspace\r\ndb0:keys=8,expires=4,avg_ttl=200\r\ndb2:keys=1,expires=0,avg_ttl=0\r\n"
        );
        (settings.databases, settings.redis_db) = (1, 2);
        assert_eq!(
            section(&replies, &settings),
            "# Keyspace\r\ndb0:keys=1,expires=0,avg_ttl=0\r\n"
        );
        assert_eq!(section(&[], &settings), "# Keyspace\r\n");
    }
}
