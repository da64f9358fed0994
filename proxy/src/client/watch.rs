//! WATCH: the keys are watched on a connection of the client's own, and its transaction runs there.
//!
//! From WATCH to EXEC the client is tied to the shard of its keys. Whatever might have changed unseen meanwhile (the connection
//! was lost, another server became the primary, keys moved) makes EXEC answer null, as a changed key does.

use redstart_common::resp::encode::Proto;
use redstart_common::resp::{RespWrite, error};

use super::choose::{Place, place, slot_of_first};
use super::dispatch::{Next, reject};
use super::fate::Doing;
use super::held::{self, discard, give_back, is_held, shard_id};
use super::private::{self, At, Wait};
use super::request::{Request, write_args};
use super::transaction::Transaction;
use super::{ClientId, absent, exec, forward};
use crate::backend::Duty;
use crate::backend::pipeline::{Kind, Slot, Target};
use crate::backend::private::Held;
use crate::topology::ShardId;
use crate::worker::Core;

/// Keys that are watched.
#[derive(Debug)]
pub struct Watch {
    held: Held,
    /// The shard of the keys.
    pub shard: ShardId,
    /// The slot of the first of them, in a cluster.
    pub slot: Option<u16>,
    /// The picture in which they lay there.
    picture: u64,
    is_lost: bool,
    /// Their slot is on its way to the server: what is said there of them goes behind ASKING.
    pub is_asked: bool,
}

impl Watch {
    /// Keys of a shard are watched on this connection, as of a picture.
    #[must_use]
    pub fn new(held: Held, shard: ShardId, slot: Option<u16>, picture: u64) -> Self {
        Self { held, shard, slot, picture, is_lost: false, is_asked: false }
    }

    /// Its connection.
    #[must_use]
    pub fn held(&self) -> Held {
        self.held
    }

    /// What is watched may change unseen from now on.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }
}

/// `WATCH key …`
pub fn begin(core: &mut Core, id: ClientId, request: Request<'_>) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    if !client.pending.is_empty() {
        return Next::Later;
    }
    let (pool, now_us) = (client.pool, request.now_us);
    let before = client.watch.as_ref().map(|watch| (watch.held, watch.shard));
    let shard = match place(core, pool, request) {
        Place::Shard(shard) => shard,
        Place::NoKeys => None,
        Place::Several => {
            reject(core, id, now_us, |out| out.error(error::CROSS_SLOT));
            return Next::Taken;
        }
    };
    let Some(shard) = shard else { return absent::nobody(core, id, now_us) };
    let identity = shard_id(core, pool, shard);
    // Where the first key decides, it does so for all that is watched, and for the transaction.
    let first_key_decides = core.pools[pool].shared.settings.first_key_decides;
    let held = match before {
        Some((_, other)) if other != identity && !first_key_decides => {
            reject(core, id, now_us, |out| out.error(error::CROSS_SLOT));
            return Next::Taken;
        }
        // What was watched before is lost, which EXEC will tell; what is watched now makes no difference.
        Some((held, _)) if !is_held(core, held) => {
            if let Some(watch) =
                core.down.clients.get_mut(id).and_then(|client| client.watch.as_mut())
            {
                watch.lose();
            }
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            return Next::Taken;
        }
        Some((held, _)) => held,
        None => match held::open(core, id, Some(shard)) {
            Ok(held) => held,
            Err(refusal) => {
                forward::refused(core, id, now_us, &refusal);
                return Next::Taken;
            }
        },
    };
    let picture = core.pools[pool].topology.epoch;
    let slot = slot_of_first(core, pool, request);
    let is_first = before.is_none();
    if let Some(client) = core.down.clients.get_mut(id).filter(|_| is_first) {
        client.watch = Some(Box::new(Watch::new(held, identity, slot, picture)));
    }
    let mut bytes = Vec::new();
    write_args(request.args, &mut bytes);
    let doing = Doing::Watch { first: is_first };
    let watch = core.down.clients.get_mut(id).and_then(|client| client.watch.as_ref());
    if watch.is_some_and(|watch| watch.is_asked) {
        held::ask_first(core, held, now_us);
    }
    let wait =
        |sequence| Wait::new(sequence, doing, At::Server(held), request.row, bytes.clone(), now_us);
    private::begin(core, id, held, now_us, now_us, Kind::Read, &bytes, wait);
    Next::Taken
}

/// Nothing is watched any more on a connection, which is kept for others.
pub fn unwatch(core: &mut Core, held: Held) {
    if !is_held(core, held) {
        return;
    }
    let now_us = core.clock.now_us();
    let it = core.up.get_mut(held.place as usize);
    if !it.is_up() || !it.pipeline.is_owed_to_nobody() {
        return discard(core, held);
    }
    let slot = Slot::new(Target::Nobody, Kind::Read, now_us);
    core.up.send(held.place as usize, slot, |output| output.push(b"*1\r\n$7\r\nUNWATCH\r\n"));
    give_back(core, held);
}

/// A client watches nothing any more: UNWATCH, DISCARD, RESET.
pub fn end(core: &mut Core, id: ClientId) {
    let Some(client) = core.down.clients.get_mut(id) else { return };
    if let Some(watch) = client.watch.take() {
        unwatch(core, watch.held);
    }
}

/// Whether what a client watches can still be trusted.
fn is_sound(core: &mut Core, id: ClientId, watch: &Watch) -> bool {
    let Some(client) = core.down.clients.get_mut(id) else { return false };
    let (pool, manner) = (client.pool, client.manner());
    if watch.is_lost
        || core.pools[pool].topology.epoch != watch.picture
        || !is_held(core, watch.held)
    {
        return false;
    }
    let it = core.up.get_mut(watch.held.place as usize);
    it.is_up() && it.manner == manner && matches!(it.duty, Duty::Private { .. })
}

/// EXEC of a transaction whose client watches keys.
pub fn exec(core: &mut Core, id: ClientId, now_us: u64, watch: &Watch, transaction: Transaction) {
    let held = watch.held;
    if !is_sound(core, id, watch) {
        discard(core, held);
        let resp3 = core.down.clients.get_mut(id).is_some_and(|client| client.resp3);
        let proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
        return core.down.clients.reply(id, now_us, |out| out.null_array(proto));
    }
    if watch.is_asked {
        held::ask_first(core, held, now_us);
    }
    send(core, id, now_us, held, true, transaction);
}

/// Sends a transaction on a connection of its client's own, whose keys are watched there (`watches`) or are not.
pub fn send(
    core: &mut Core,
    id: ClientId,
    now_us: u64,
    held: Held,
    watches: bool,
    mut transaction: Transaction,
) {
    let kind = transaction.kind();
    for _ in 0..=transaction.asked() {
        core.up.send(held.place as usize, Slot::new(Target::Nobody, kind, now_us), |_| {});
    }
    let Some(client) = core.down.clients.get_mut(id) else { return discard(core, held) };
    let sequence = client.begin(now_us);
    client.barrier = true;
    let row = redstart_common::command::lookup(b"exec").map(|id| id.spec());
    let Some(row) = row else { return discard(core, held) };
    let doing = Doing::Exec { watches };
    let wait = Wait::new(sequence, doing, At::Server(held), row, Vec::new(), now_us);
    client.wait = Some(Box::new(wait));
    exec::begin(core, id, sequence, transaction.take_beside());
    let way_back = transaction.way_back();
    let slot = Slot::new(Target::Private { id, sequence }, kind, now_us);
    core.up.send(held.place as usize, slot, |output| transaction.write(output));
    for request in way_back {
        let slot = Slot::new(Target::Nobody, Kind::Read, now_us);
        core.up.send(held.place as usize, slot, |output| output.push(&request));
    }
}
