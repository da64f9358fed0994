//! From bytes a client sent to what is to become of each request. This is the hot path: find the request, look up its
//! row, hash its key. It decides; [`forward`] sends.

use std::sync::atomic::{AtomicU64, Ordering};

use redstart_common::command::{self, CommandId, Mode};
use redstart_common::log;
use redstart_common::net::buffer;
use redstart_common::resp::{Args, RequestScanner, RespWrite, error};

use super::choose::{Place, anywhere, place, whichever};
use super::request::Request;
use super::{
    ClientId, Gone, absent, apart, databases, fill, forward, observe, private, scan, script, split,
    subscribe, tracking, transaction, watch,
};
use crate::backend::pipeline::Kind;
use crate::local;
use crate::output::LARGE_BYTES;
use crate::route::plan::{Local, Plan, Script, command_named};
use crate::texts;
use crate::worker::Core;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It was sent, answered or refused.
    Taken,
    /// Nothing: it is to be looked at again when all that was asked before it is answered.
    Later,
    /// Nothing: it is held back by a pause.
    Held,
    /// Nothing: it is to be looked at again when it is known who can serve it.
    Away,
}

/// Dispatches every complete request in `bytes`, as far as the client may go on. Says how many bytes are used up.
pub fn batch(core: &mut Core, id: ClientId, bytes: &[u8]) -> usize {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return bytes.len() };
    let pool = client.pool;
    let large_bytes = core.down.clients.large_of(pool);
    let Some(client) = core.down.clients.get_mut(id) else { return bytes.len() };
    client.begin_batch(now_us, large_bytes);
    core.refresh(pool);
    let mut scanner = std::mem::take(&mut core.scanner);
    let Some(client) = core.down.clients.get_mut(id) else { return bytes.len() };
    if client.scanner.is_inside() {
        std::mem::swap(&mut scanner, &mut client.scanner);
    }
    let (mut at, mut requests) = (0, 0);
    while at < bytes.len() {
        let Some(client) = core.down.clients.get_mut(id) else { break };
        if client.must_wait(core.limits.in_flight_max) {
            client.paused = true;
            break;
        }
        let limits =
            if client.authenticated { &core.limits.request } else { &core.limits.unauthenticated };
        let rest = &bytes[at..];
        match scanner.scan(rest, limits) {
            Ok(Some(len)) => {
                let raw = &rest[..len];
                let args = scanner.args(raw);
                if !args.is_empty() {
                    match request(core, id, args, raw, now_us) {
                        Next::Taken => requests += 1,
                        Next::Later => {
                            later(core, id);
                            break;
                        }
                        Next::Held => break,
                        Next::Away => {
                            uncount(core, id);
                            break;
                        }
                    }
                }
                at += len;
            }
            Ok(None) => break,
            Err(error) => {
                client.closing = Some(Gone::Failed);
                core.down.clients.reply(id, now_us, |out| out.error(error.wire()));
                scanner = RequestScanner::default();
                at = bytes.len();
            }
        }
    }
    core.down.clients.note_asked(id, now_us, requests + std::mem::take(&mut core.split.more), at);
    if !scanner.is_inside() {
        core.scanner = scanner;
    } else if let Some(client) = core.down.clients.get_mut(id) {
        client.scanner = scanner;
    }
    at
}

/// As [`batch`], with bytes that were kept: what is not used up is kept again, and one large request is handed on
/// without being copied.
pub fn owned_batch(core: &mut Core, id: ClientId, input: Vec<u8>) {
    let Large::Left(mut input) = large(core, id, input) else { return };
    let used = batch(core, id, &input);
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if used == input.len() {
        buffer::give(input);
    } else {
        input.drain(..used);
        client.input = input;
    }
}

/// What became of an input that may be one large request.
enum Large {
    /// It was sent, or is not complete and was kept, or its client is gone.
    Taken,
    /// Nothing: it takes the usual way.
    Left(Vec<u8>),
}

/// Hands on an input that is exactly one large request for one server, without copying it.
fn large(core: &mut Core, id: ClientId, input: Vec<u8>) -> Large {
    let now_us = core.clock.now_us();
    let Some(client) = core.down.clients.get_mut(id) else { return Large::Taken };
    if input.len() < LARGE_BYTES
        || client.transaction.is_some()
        || client.subscriptions.is_some()
        || core.is_observed
        || !client.authenticated
        || client.must_wait(core.limits.in_flight_max)
    {
        return Large::Left(input);
    }
    let mut scanner = std::mem::take(&mut client.scanner);
    match scanner.scan(&input, &core.limits.request) {
        Ok(None) => {
            client.scanner = scanner;
            client.input = input;
            return Large::Taken;
        }
        Ok(Some(len)) if len == input.len() && input[0] == b'*' => {}
        _ => return Large::Left(input),
    }
    let args = scanner.args(&input);
    let row = args.get(0).and_then(command_named).map(CommandId::spec);
    let Some(row) = row else { return Large::Left(input) };
    let plan = core.pools[client.pool].plans[row.id.index()];
    let Plan::Key(place) = plan else { return Large::Left(input) };
    let (true, Some(key)) = (row.accepts_count(args.len()), args.get(usize::from(place))) else {
        return Large::Left(input);
    };
    client.command = Some(row.id);
    let (pool, large_bytes) = (client.pool, u32::try_from(input.len()).unwrap_or(u32::MAX));
    client.begin_batch(now_us, large_bytes);
    core.down.clients.note_large(pool, input.len());
    core.refresh(pool);
    let pool = &mut core.pools[pool];
    pool.stats.requests += 1;
    pool.stats.commands[row.id.index()] += 1;
    let (shard, len) = (pool.shard_of(key), input.len());
    let kind = Kind::of(row);
    forward::written(core, id, shard, kind, now_us, |output| output.push_owned(input));
    core.down.clients.note_asked(id, now_us, 1, len);
    Large::Taken
}

#[inline]
fn request(core: &mut Core, id: ClientId, args: Args<'_>, raw: &[u8], now_us: u64) -> Next {
    if core.is_observed && observe::request(core, id, args) {
        return Next::Held;
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let pool = &mut core.pools[client.pool];
    pool.stats.requests += 1;
    let Some(command) = command_named(args.at(0)) else {
        client.command = None;
        if is_http(args.at(0)) {
            hang_up(core, id);
        } else {
            refuse(core, id, now_us, |out| out.error(error::unknown_command(args)));
        }
        return Next::Taken;
    };
    let mut row = command.spec();
    if row.is_container()
        && let Some(name) = args.get(1)
    {
        match command::lookup_sub(Mode::Proxy, command, name) {
            Some(sub) => row = sub.spec(),
            None => {
                client.command = None;
                refuse(core, id, now_us, |out| {
                    out.error(error::unknown_subcommand(row.name.as_bytes(), name));
                });
                return Next::Taken;
            }
        }
    }
    pool.stats.commands[row.id.index()] += 1;
    client.command = Some(row.id);
    if !row.accepts_count(args.len()) {
        reject(core, id, now_us, |out| out.error(error::wrong_arity(row.name)));
        return Next::Taken;
    }
    let plan = pool.plans[row.id.index()];
    if client.authenticated
        && client.transaction.is_none()
        && client.subscriptions.is_none()
        && let Plan::Key(place) = plan
        && let Some(key) = args.get(usize::from(place))
    {
        if apart::may_be_heavy(row) && !apart::goes(pool, &mut core.up, client, row, key) {
            return Next::Later;
        }
        let shard = pool.shard_of(key);
        let request = Request { args, raw, row, now_us };
        forward::request(core, id, shard, &request);
        return Next::Taken;
    }
    if client.only_joins() && !matches!(plan, Plan::Subscribe(_)) {
        return Next::Later;
    }
    uncommon(core, id, Request { args, raw, row, now_us }, plan)
}

/// A request is to be looked at again: nothing of its client's is looked at before all it has asked is answered.
#[cold]
fn later(core: &mut Core, id: ClientId) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    client.barrier = true;
    client.paused = true;
    client.looks_again = true;
    uncount(core, id);
}

/// A request will be counted when it is taken.
#[cold]
fn uncount(core: &mut Core, id: ClientId) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let stats = &mut core.pools[client.pool].stats;
    stats.requests -= 1;
    if let Some(command) = client.command {
        stats.commands[command.index()] -= 1;
    }
}

fn uncommon(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Next {
    if !core.down.clients.get_mut(id).is_some_and(|client| client.tracks()) {
        return untracked(core, id, request, plan);
    }
    tracking::before(core, id, request, plan);
    let next = untracked(core, id, request, plan);
    if next == Next::Taken {
        tracking::after(core, id, request.row.name);
    }
    next
}

fn untracked(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let now_us = request.now_us;
    if !client.authenticated && !request.row.flags.contains(command::spec::Flags::NO_AUTH) {
        reject(core, id, now_us, |out| out.error(error::NO_AUTH));
        return Next::Taken;
    }
    if client.is_listening() && !client.resp3 {
        if !subscribe::may_be_used(request.row) {
            subscribe::refuse_while_listening(core, id, request);
            return Next::Taken;
        }
        if plan == Plan::Local(Local::Ping) && request.args.len() <= 2 {
            subscribe::pong(core, id, request.args, now_us);
            return Next::Taken;
        }
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let it = &core.pools[client.pool];
    if it.topology.live.is_empty()
        && absent::needs_servers(plan, client.transaction.is_some(), it.has_slots())
    {
        return absent::nobody(core, id, now_us);
    }
    if client.transaction.is_some()
        && let Some(next) = transaction::take(core, id, request, plan)
    {
        return next;
    }
    let goes_on_lane = matches!(
        plan,
        Plan::Key(_)
            | Plan::Keys
            | Plan::ToDatabase
            | Plan::Fill(_)
            | Plan::Every(_)
            | Plan::Script(Script::Eval | Script::EvalSha)
    );
    if goes_on_lane && apart::may_be_heavy(request.row) && !apart::goes_by_first(core, id, &request)
    {
        return Next::Later;
    }
    carry_out(core, id, request, plan)
}

/// Does what the plan says, or refuses what it has no place for.
pub fn carry_out(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Next {
    let now_us = request.now_us;
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let pool = client.pool;
    match plan {
        Plan::Key(_) | Plan::Keys => by_keys(core, id, request),
        Plan::ToDatabase => {
            if !databases::refuse_beyond(core, id, request) {
                by_keys(core, id, request);
            }
        }
        Plan::SwapDatabases => databases::swap(core, id, request),
        Plan::Fill(place) => return fill::ask(core, id, request, usize::from(place)),
        Plan::Block => return private::wait(core, id, request),
        Plan::KeysUnlessBlocking if is_blocking(request.args) => {
            return private::wait(core, id, request);
        }
        Plan::Subscribe(kind) => return subscribe::begin(core, id, request, kind),
        Plan::Unsubscribe(kind) => return subscribe::end(core, id, request, kind),
        Plan::Watch => return watch::begin(core, id, request),
        Plan::Local(Local::Monitor) => return observe::monitor(core, id, request),
        Plan::Local(Local::Wait) => return local::wait(core, id, request),
        Plan::KeysUnlessBlocking => by_keys(core, id, request),
        Plan::Split { merge, step } => split::by_key(core, id, request, merge, usize::from(step)),
        Plan::Every(merge) => split::to_every_server(core, id, request, merge),
        Plan::Scan => scan::begin(core, id, request),
        // A channel of a cluster lies in a slot as keys do.
        Plan::Anywhere if core.pools[pool].has_slots() => by_keys(core, id, request),
        Plan::Anywhere => {
            let shard = anywhere(core, id);
            forward::request(core, id, shard, &request);
        }
        Plan::Script(what) => script::take(core, id, request, what),
        Plan::Local(local) => local::answer(core, id, request, local),
        Plan::Refuse => reject(core, id, now_us, |out| texts::not_shared(out, request.row)),
    }
    Next::Taken
}

/// Whether XREAD or XREADGROUP asks to wait.
fn is_blocking(args: Args<'_>) -> bool {
    args.iter()
        .skip(1)
        .take_while(|word| !word.eq_ignore_ascii_case(b"STREAMS"))
        .any(|word| word.eq_ignore_ascii_case(b"BLOCK"))
}

fn by_keys(core: &mut Core, id: ClientId, request: Request<'_>) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let pool = client.pool;
    let shard = match place(core, pool, request) {
        Place::Shard(shard) => shard,
        Place::NoKeys => whichever(core, id, request.row),
        Place::Several => {
            return reject(core, id, request.now_us, |out| out.error(error::CROSS_SLOT));
        }
    };
    forward::request(core, id, shard, &request);
}

/// Whether it is a word of a browser's, which would go on with whatever somebody made it send.
fn is_http(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:")
}

/// Ends the connection of a client that speaks HTTP, as Redis does. Nothing more of what it sent is looked at.
#[cold]
fn hang_up(core: &mut Core, id: ClientId) {
    /// The minute in which the log was told last.
    static TOLD: AtomicU64 = AtomicU64::new(u64::MAX);
    let minute = core.clock.now_us() / 60_000_000;
    let Some(client) = core.down.clients.get_mut(id) else { return };
    client.closing = Some(Gone::Failed);
    if TOLD.swap(minute, Ordering::Relaxed) != minute {
        log!(
            Warning,
            "client {} sends POST or Host: as a browser would; its connection is ended",
            client.session.address
        );
    }
    core.down.clients.mark(id);
}

/// As [`refuse`], of a request that is not carried out at all.
#[cold]
pub fn reject(core: &mut Core, id: ClientId, now_us: u64, write: impl FnOnce(&mut Vec<u8>)) {
    core.down.clients.reject(id);
    refuse(core, id, now_us, write);
}

/// Answers with an error of the proxy's own.
pub fn refuse(core: &mut Core, id: ClientId, now_us: u64, write: impl FnOnce(&mut Vec<u8>)) {
    if let Some(client) = core.down.clients.get_mut(id) {
        core.pools[client.pool].stats.refused += 1;
        client.spoil_transaction();
    }
    core.down.clients.reply(id, now_us, write);
}
