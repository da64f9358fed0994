//! What the proxy answers itself.

mod beside;
mod client_command;
mod cluster;
mod config;
pub mod figures;
mod hello;
mod info;
mod pubsub;
mod replicas;

use redstart_common::clock;
use redstart_common::command::{Mode, reply};
use redstart_common::resp::encode::Proto;
use redstart_common::resp::{RespWrite, error};

pub use self::config::serves as serves_config;
pub use self::hello::would_speak;
pub use self::replicas::wait;
use crate::client::dispatch::refuse;
use crate::client::request::Request;
use crate::client::{ClientId, Gone, ReplyMode, databases, subscribe, transaction, watch};
use crate::route::lane::Manner;
use crate::route::plan::Local;
use crate::texts;
use crate::worker::Core;

/// The version of Redis whose behaviour is offered.
pub const REDIS_VERSION: &str = "7.0.15";

/// The protocol a client speaks.
fn proto(core: &mut Core, id: ClientId) -> Proto {
    let resp3 = core.down.clients.get_mut(id).is_some_and(|client| client.resp3);
    if resp3 { Proto::Resp3 } else { Proto::Resp2 }
}

/// Answers one of the proxy's own commands.
pub fn answer(core: &mut Core, id: ClientId, request: Request<'_>, local: Local) {
    let Request { args, now_us, .. } = request;
    match local {
        Local::Ping => match args.get(1) {
            None => core.down.clients.reply(id, now_us, |out| out.simple("PONG")),
            Some(text) if args.len() == 2 => {
                core.down.clients.reply(id, now_us, |out| out.bulk(text));
            }
            Some(_) => refuse(core, id, now_us, |out| out.error(error::wrong_arity("ping"))),
        },
        Local::Echo => core.down.clients.reply(id, now_us, |out| out.bulk(args.at(1))),
        Local::Quit => {
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            if let Some(client) = core.down.clients.get_mut(id) {
                client.closing = Some(Gone::Left);
            }
        }
        Local::ReadMode => core.down.clients.reply(id, now_us, |out| out.simple("OK")),
        Local::Time => core.down.clients.reply(id, now_us, |out| {
            let now = clock::unix_us();
            out.array_len(2);
            out.bulk_integer(now / 1_000_000);
            out.bulk_integer(now % 1_000_000);
        }),
        Local::Select => databases::select(core, id, request),
        Local::Auth => hello::auth(core, id, request),
        Local::Hello => hello::hello(core, id, request),
        Local::Reset => reset(core, id, now_us),
        Local::Multi => transaction::begin(core, id, now_us),
        Local::Exec => refuse(core, id, now_us, |out| out.error(error::EXEC_WITHOUT_MULTI)),
        Local::Discard => refuse(core, id, now_us, |out| out.error(error::DISCARD_WITHOUT_MULTI)),
        Local::Unwatch => {
            watch::end(core, id);
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
        }
        // They may have to wait for their client's turn, which is for the dispatcher to know.
        Local::Wait | Local::Monitor => {}
        Local::Command => {
            let proto = proto(core, id);
            let mut answered = true;
            core.down.clients.reply(id, now_us, |out| {
                answered = reply::answer(&Mode::Server, request.row.id, args, proto, out);
                if !answered {
                    texts::not_shared(out, request.row);
                }
            });
        }
        Local::Cluster => cluster::answer(core, id, request),
        // What follows is a primary without modules, to libraries that look for more before they begin.
        Local::Modules => core.down.clients.reply(id, now_us, |out| out.array_len(0)),
        Local::Role => core.down.clients.reply(id, now_us, |out| {
            out.array_len(3);
            out.bulk(b"master");
            out.integer(0);
            out.array_len(0);
        }),
        Local::Beside => beside::answer(core, id, request),
        Local::PubSub => pubsub::answer(core, id, request),
        Local::WhoAmI => core.down.clients.reply(id, now_us, |out| out.bulk(hello::USER)),
        Local::Client => client_command::answer(core, id, request),
        Local::Config => config::answer(core, id, request),
        Local::Info => info::answer(core, id, request),
    }
}

/// Answers a request once something that takes a while is done.
fn later(
    core: &mut Core,
    id: ClientId,
    now_us: u64,
    reply: impl Future<Output = Vec<u8>> + 'static,
) {
    later_by(core, id, now_us, reply, |_, reply| reply);
}

/// As [`later`], where the reply is made of what `work` has found, and the worker takes note of that.
fn later_by<T: 'static>(
    core: &mut Core,
    id: ClientId,
    now_us: u64,
    work: impl Future<Output = T> + 'static,
    reply: impl FnOnce(&mut Core, T) -> Vec<u8> + 'static,
) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let sequence = client.begin(now_us);
    let Some(worker) = core.me.upgrade() else { return };
    tokio::task::spawn_local(async move {
        let found = work.await;
        let core = &mut *worker.core.borrow_mut();
        let now_us = core.clock.now_us();
        let reply = reply(core, found);
        core.down.clients.answer_owned(id, sequence, reply, now_us);
    });
}

fn reset(core: &mut Core, id: ClientId, now_us: u64) {
    watch::end(core, id);
    subscribe::end_all(core, id);
    if let Some(client) = core.down.clients.get_mut(id) {
        client.transaction = None;
        client.reply_mode = ReplyMode::On;
        client.session.name = None;
        client.session.no_evict = false;
        client.session.no_touch = false;
        client.authenticated = core.pools[client.pool].shared.settings.redis_auth.is_none();
        client.set_manner(Manner::default());
    }
    core.down.clients.reply(id, now_us, |out| out.simple("RESET"));
}
