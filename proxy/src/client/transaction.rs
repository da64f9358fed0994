//! `MULTI` … `EXEC`: composed here, sent whole to the one server that owns all its keys.
//!
//! The commands are kept as bytes until EXEC. They then travel as one block on the shared connection, MULTI first
//! and EXEC last, so that nothing of another client can come between; the `+OK` and `+QUEUED` in between are
//! swallowed and the reply to EXEC is the client's.

use super::ClientId;
use super::choose::{Place, anywhere, place, slot_of_first};
use super::dispatch::{Next, refuse};
use super::request::{Request, write_args};
use super::{databases, forward};
use super::{script, watch};
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, LEAD_UNKNOWN, Slot, Target};
use crate::output::Output;
use crate::route::distribution::Wants;
use crate::route::plan::{Local, Plan, Script};
use crate::topology::ShardId;
use crate::worker::Core;
use redstart_common::resp::{RespWrite, error};

/// Bytes a transaction may gather.
const BYTES_MAX: usize = 1 << 30;

/// A transaction being composed.
#[derive(Debug, Default)]
pub struct Transaction {
    commands: Vec<u8>,
    count: usize,
    writes: bool,
    shard: Option<ShardId>,
    /// In a cluster, where the slot of its keys counts rather than the shard.
    slot: Option<u16>,
    failed: bool,
}

impl Transaction {
    /// A command in it was refused: EXEC will do nothing.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.writes { Kind::Write } else { Kind::Read }
    }

    /// Appends it whole, from MULTI to EXEC.
    pub fn write(self, output: &mut Output) {
        output.push(b"*1\r\n$5\r\nMULTI\r\n");
        output.push_owned(self.commands);
        output.push(b"*1\r\n$4\r\nEXEC\r\n");
    }

    /// Commands so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.commands.len()
    }
}

/// `MULTI` outside a transaction.
pub fn begin(core: &mut Core, id: ClientId, now_us: u64) {
    if let Some(client) = core.down.clients.get_mut(id) {
        client.transaction = Some(Box::default());
    }
    core.down.clients.reply(id, now_us, |out| out.simple("OK"));
}

/// A command inside a transaction. `None` is for one that takes its usual way.
pub fn take(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Option<Next> {
    let now_us = request.now_us;
    let mut slot = None;
    let found = match plan {
        Plan::Local(Local::Exec) => {
            return Some(exec(core, id, now_us));
        }
        Plan::Local(Local::Discard) => {
            if let Some(client) = core.down.clients.get_mut(id) {
                client.transaction = None;
            }
            watch::end(core, id);
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            return Some(Next::Taken);
        }
        Plan::Local(Local::Quit | Local::Reset) => return None,
        Plan::Local(Local::Multi) => {
            core.down.clients.reply(id, now_us, |out| out.error(error::NESTED_MULTI));
            return Some(Next::Taken);
        }
        Plan::Watch => {
            core.down.clients.reply(id, now_us, |out| out.error(error::WATCH_INSIDE_MULTI));
            return Some(Next::Taken);
        }
        Plan::Local(Local::Ping | Local::Echo | Local::Time | Local::Unwatch) | Plan::Anywhere => {
            Ok(None)
        }
        Plan::Key(_)
        | Plan::Fill(_)
        | Plan::Keys
        | Plan::Block
        | Plan::KeysUnlessBlocking
        | Plan::Split { .. }
        | Plan::ToDatabase
        | Plan::Script(Script::Eval | Script::EvalSha) => {
            if plan == Plan::ToDatabase && databases::refuse_beyond(core, id, request) {
                return Some(Next::Taken);
            }
            let Some(client) = core.down.clients.get_mut(id) else { return Some(Next::Taken) };
            let pool = client.pool;
            let watched = client.watch.as_ref().map(|watch| watch.slot);
            slot = slot_of_first(core, pool, request);
            let is_heard_anywhere = core.pools[pool].shared.settings.subscribe_everywhere
                && matches!(request.row.name, "publish" | "spublish");
            match place(core, pool, request) {
                _ if is_heard_anywhere => Ok(None),
                Place::NoKeys => Ok(None),
                // What is watched is watched on one node, which may have the slot only in part.
                Place::Shard(_) if slot.is_some() && watched.is_none_or(|it| it == slot) => {
                    Ok(None)
                }
                Place::Shard(Some(shard)) => {
                    Ok(Some(core.pools[pool].topology.shards[usize::from(shard)].id))
                }
                Place::Shard(None) => Err(Refusal::nobody().text().to_vec()),
                Place::Several => Err(error::CROSS_SLOT.into()),
            }
        }
        Plan::Every(_)
        | Plan::Subscribe(_)
        | Plan::Unsubscribe(_)
        | Plan::Script(_)
        | Plan::Scan
        | Plan::SwapDatabases
        | Plan::Local(_)
        | Plan::Refuse => {
            let name = request.row.name.replace('|', " ");
            Err(format!(
                "ERR command '{name}' is not supported inside a transaction through the proxy"
            )
            .into_bytes())
        }
    };
    let with_body = match plan {
        Plan::Script(what) => script::within_transaction(core, id, request, what),
        _ => None,
    };
    let bytes = with_body.as_ref().map_or(request.raw.len(), Vec::len);
    let Some(client) = core.down.clients.get_mut(id) else { return Some(Next::Taken) };
    // Where any server is as good as another, all goes where the first went.
    let is_tied = core.pools[client.pool].topology.distribution.wants() != Wants::Chance;
    let watched = client.watch.as_ref().map(|watch| watch.shard);
    let Some(transaction) = &mut client.transaction else { return None };
    let tied_to = transaction.shard.or(watched);
    let is_elsewhere = |shard| is_tied && tied_to.is_some_and(|other| other != shard);
    let is_other_slot = slot.is_some() && transaction.slot.is_some_and(|other| slot != Some(other));
    let problem = match found {
        Err(text) => Some(text),
        Ok(_) if is_other_slot => Some(error::CROSS_SLOT.into()),
        Ok(Some(shard)) if is_elsewhere(shard) => Some(error::CROSS_SLOT.into()),
        Ok(_) if transaction.commands.len() + bytes > BYTES_MAX => {
            Some(b"ERR the transaction is too large".to_vec())
        }
        Ok(shard) => {
            transaction.shard = transaction.shard.or(shard);
            transaction.slot = transaction.slot.or(slot);
            transaction.count += 1;
            transaction.writes |= Kind::of(request.row) == Kind::Write;
            if let Some(with_body) = with_body {
                transaction.commands.extend_from_slice(&with_body);
            } else if request.is_inline() {
                write_args(request.args, &mut transaction.commands);
            } else {
                transaction.commands.extend_from_slice(request.raw);
            }
            None
        }
    };
    match problem {
        None => core.down.clients.reply(id, now_us, |out| out.simple("QUEUED")),
        Some(text) => refuse(core, id, now_us, |out| out.error(&text)),
    }
    Some(Next::Taken)
}

fn exec(core: &mut Core, id: ClientId, now_us: u64) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if client.watch.is_some() && !client.pending.is_empty() {
        return Next::Later;
    }
    let Some(transaction) = client.transaction.take() else { return Next::Taken };
    let pool = client.pool;
    // The servers may have changed while the transaction was composed: its keys must still lie where they lay.
    core.refresh(pool);
    if transaction.failed {
        watch::end(core, id);
        refuse(core, id, now_us, |out| out.error(error::EXEC_ABORT));
        return Next::Taken;
    }
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if let Some(watch) = client.watch.take() {
        watch::exec(core, id, now_us, &watch, *transaction);
    } else if transaction.is_empty() {
        core.down.clients.reply(id, now_us, |out| out.array_len(0));
    } else {
        send(core, id, now_us, *transaction);
    }
    Next::Taken
}

/// Sends a transaction on the connection that all clients share.
fn send(core: &mut Core, id: ClientId, now_us: u64, transaction: Transaction) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let (lane, pool) = (client.lane, client.pool);
    let topology = &core.pools[pool].topology;
    let shard = match (transaction.slot, transaction.shard) {
        (Some(slot), _) => topology.distribution.shard(u64::from(slot)),
        (None, Some(shard)) => topology.place_of(shard).filter(|shard| topology.is_live(*shard)),
        (None, None) => anywhere(core, id),
    };
    let backend = match shard {
        Some(shard) => Some(core.pools[pool].backend(shard, lane)),
        None => core.pools[pool].waiting_place(lane),
    };
    let Some(backend) = backend else {
        return forward::refused(core, id, now_us, &Refusal::nobody());
    };
    if let Err(refusal) = core.up.check(backend, now_us) {
        return forward::refused(core, id, now_us, &refusal);
    }
    // MULTI and every command in it are answered before EXEC is.
    let kind = transaction.kind();
    let lead = transaction.count + 1;
    for _ in 0..lead {
        core.up.send(backend, Slot::new(Target::Nobody, kind, now_us), |_| {});
    }
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let target = Target::Client { id, sequence: client.begin(now_us) };
    let mut slot = Slot::new(target, kind, now_us);
    match u16::try_from(lead) {
        Ok(lead) => slot.lead = lead,
        // Too long a one is sent once.
        Err(_) => (slot.lead, slot.kind) = (LEAD_UNKNOWN, Kind::Write),
    }
    core.up.send(backend, slot, |output| transaction.write(output));
}
