//! `MIGRATE`: keys go to another server.

use std::time::Duration;

use super::Handlers;
use super::options::{Options, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};
use crate::migrate::transfer::{Item, Job, Target, carry};
use crate::persistence::value;

pub(super) const HANDLERS: Handlers = &[("migrate", migrate)];

/// How long to wait where the client names no positive time.
const TIMEOUT_MS: u64 = 1000;

/// `MIGRATE host port <key | ""> destination-db timeout [COPY] [REPLACE] [AUTH password | AUTH2 username password]
/// [KEYS key [key ...]]`: see [`crate::migrate`] for who waits for what meanwhile. Within a transaction all do.
pub fn migrate(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (mut copy, mut replace, mut auth) = (false, false, None);
    let mut keys = args.tail(3);
    let mut key_count = 1;
    let mut options = Options::new(args, 6);
    while let Some(word) = options.word() {
        if word.eq_ignore_ascii_case(b"COPY") {
            copy = true;
        } else if word.eq_ignore_ascii_case(b"REPLACE") {
            replace = true;
        } else if word.eq_ignore_ascii_case(b"AUTH") {
            let user = auth.take().and_then(|(user, _)| user);
            auth = Some((user, options.need()?.to_vec()));
        } else if word.eq_ignore_ascii_case(b"AUTH2") {
            if options.left() < 2 {
                return Err(crate::engine::SYNTAX);
            }
            auth = Some((Some(options.need()?.to_vec()), options.need()?.to_vec()));
        } else if word.eq_ignore_ascii_case(b"KEYS") {
            if !args.at(3).is_empty() {
                return Err(CommandError::new(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty \
                     string",
                ));
            }
            keys = args.tail(options.position());
            key_count = keys.len();
            break;
        } else {
            return Err(crate::engine::SYNTAX);
        }
    }
    let timeout = integer(args.at(5))?;
    let db = integer(args.at(4))?;
    let own_db = call.client.db;
    let mut items = Vec::new();
    for key in keys.iter().take(key_count) {
        if let Some(entry) = call.keyspace.db(own_db).read(key) {
            let deadline_ms = entry.deadline();
            let payload = value::dump(entry, call.core.settings.saving.rdbcompression);
            items.push(Item { key: key.into(), payload, deadline_ms });
        }
    }
    if items.is_empty() {
        call.client.reply.raw(b"+NOKEY\r\n");
        return Ok(());
    }
    let target = Target { host: args.at(1).to_vec(), port: args.at(2).to_vec() };
    let ms = u64::try_from(timeout).ok().filter(|ms| *ms > 0).unwrap_or(TIMEOUT_MS);
    let link = call.core.migrations.take_link(&target);
    let timeout = Duration::from_millis(ms);
    let asking = call.is_in_cluster();
    let tls = call.core.tls.clone().filter(|_| call.core.settings.tls.cluster);
    let job = Job { asking, target, tls, db, timeout, auth, replace, items, link };
    call.propagate_nothing();
    if call.may_block() && call.core.migrations.has_carrier() {
        call.migrate(job, copy);
        return Ok(());
    }
    let target = job.target.clone();
    let sent: Vec<Box<[u8]>> = job.items.iter().map(|item| item.key.clone()).collect();
    let outcome = carry(job);
    call.core.migrations.keep_link(target, outcome.link);
    if !copy {
        let gone = sent.iter().zip(&outcome.arrived).filter(|(_, arrived)| **arrived);
        call.remove_migrated(own_db, gone.map(|(key, _)| &**key));
    }
    match outcome.error {
        Some(text) => Err(CommandError::made(text)),
        None => {
            call.client.reply.ok();
            Ok(())
        }
    }
}
