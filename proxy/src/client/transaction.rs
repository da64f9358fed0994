//! `MULTI` … `EXEC`: composed here, sent whole to the one server that owns all its keys.
//!
//! The commands are kept as bytes until EXEC. They then travel as one block on the shared connection, MULTI first
//! and EXEC last, so that nothing of another client can come between; the `+OK` and `+QUEUED` in between are
//! swallowed and the reply to EXEC is the client's.

use super::ClientId;
use super::choose::{Place, anywhere, place, slot_of_first};
use super::dispatch::refuse;
use super::forward;
use super::request::{Request, write_args};
use crate::backend::Refusal;
use crate::backend::pipeline::{Kind, LEAD_UNKNOWN, Slot, Target};
use crate::route::distribution::Wants;
use crate::route::plan::{Local, Plan};
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

/// A command inside a transaction. Says whether it was dealt with; what was not takes its usual way.
pub fn take(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> bool {
    let now_us = request.now_us;
    let mut slot = None;
    let found = match plan {
        Plan::Local(Local::Exec) => {
            exec(core, id, now_us);
            return true;
        }
        Plan::Local(Local::Discard) => {
            if let Some(client) = core.down.clients.get_mut(id) {
                client.transaction = None;
            }
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            return true;
        }
        Plan::Local(Local::Quit | Local::Reset) => return false,
        Plan::Local(Local::Multi) => {
            core.down.clients.reply(id, now_us, |out| out.error(error::NESTED_MULTI));
            return true;
        }
        Plan::Local(Local::Ping | Local::Echo | Local::Time | Local::Unwatch) | Plan::Anywhere => {
            Ok(None)
        }
        Plan::Key(_) | Plan::Keys | Plan::KeysUnlessBlocking | Plan::Split { .. } => {
            let Some(client) = core.down.clients.get_mut(id) else { return true };
            let pool = client.pool;
            slot = slot_of_first(core, pool, request);
            match place(core, pool, request) {
                Place::NoKeys => Ok(None),
                Place::Shard(_) if slot.is_some() => Ok(None),
                Place::Shard(Some(shard)) => {
                    Ok(Some(core.pools[pool].topology.shards[usize::from(shard)].id))
                }
                Place::Shard(None) => Err(Refusal::nobody().text().to_vec()),
                Place::Several => Err(error::CROSS_SLOT.into()),
            }
        }
        Plan::Every(_) | Plan::Scan | Plan::Local(_) | Plan::Refuse => {
            let name = request.row.name.replace('|', " ");
            Err(format!(
                "ERR command '{name}' is not supported inside a transaction through the proxy"
            )
            .into_bytes())
        }
    };
    let Some(client) = core.down.clients.get_mut(id) else { return true };
    // Where any server is as good as another, all goes where the first went.
    let is_tied = core.pools[client.pool].topology.distribution.wants() != Wants::Chance;
    let Some(transaction) = &mut client.transaction else { return false };
    let is_elsewhere = |shard| is_tied && transaction.shard.is_some_and(|other| other != shard);
    let is_other_slot = slot.is_some() && transaction.slot.is_some_and(|other| slot != Some(other));
    let problem = match found {
        Err(text) => Some(text),
        Ok(_) if is_other_slot => Some(error::CROSS_SLOT.into()),
        Ok(Some(shard)) if is_elsewhere(shard) => Some(error::CROSS_SLOT.into()),
        Ok(_) if transaction.commands.len() + request.raw.len() > BYTES_MAX => {
            Some(b"ERR the transaction is too large".to_vec())
        }
        Ok(shard) => {
            transaction.shard = transaction.shard.or(shard);
            transaction.slot = transaction.slot.or(slot);
            transaction.count += 1;
            transaction.writes |= Kind::of(request.row) == Kind::Write;
            if request.is_inline() {
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
    true
}

fn exec(core: &mut Core, id: ClientId, now_us: u64) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    let Some(transaction) = client.transaction.take() else { return };
    if transaction.failed {
        return refuse(core, id, now_us, |out| out.error(error::EXEC_ABORT));
    }
    if transaction.is_empty() {
        return core.down.clients.reply(id, now_us, |out| out.array_len(0));
    }
    let (resp3, pool) = (client.resp3, client.pool);
    // The servers may have changed while the transaction was composed: its keys must still lie where they lay.
    core.refresh(pool);
    let topology = &core.pools[pool].topology;
    let shard = match (transaction.slot, transaction.shard) {
        (Some(slot), _) => topology.distribution.shard(u64::from(slot)),
        (None, Some(shard)) => topology.place_of(shard).filter(|shard| topology.is_live(*shard)),
        (None, None) => anywhere(core, id),
    };
    let backend = match shard {
        Some(shard) => Some(core.pools[pool].backend(shard, resp3, id.index)),
        None => core.pools[pool].waiting_place(resp3, id.index),
    };
    let Some(backend) = backend else {
        return forward::refused(core, id, now_us, &Refusal::nobody());
    };
    if let Err(refusal) = core.up.check(backend, now_us) {
        return forward::refused(core, id, now_us, &refusal);
    }
    // MULTI and every command in it are answered before EXEC is.
    let kind = if transaction.writes { Kind::Write } else { Kind::Read };
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
    core.up.send(backend, slot, |output| {
        output.push(b"*1\r\n$5\r\nMULTI\r\n");
        output.push_owned(transaction.commands);
        output.push(b"*1\r\n$4\r\nEXEC\r\n");
    });
}
