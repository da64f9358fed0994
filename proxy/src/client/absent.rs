//! Requests that nobody can serve at present: before the first discovery of a cluster, or of all groups of sentinels, and where
//! nobody serves a slot. Their clients wait until there is another picture, and nothing of theirs is looked at meanwhile; who
//! has waited as long as requests may wait is told.
//!
//! Requests by key do not come here: they wait in limbo, behind each other, and their clients may go on asking.

use std::collections::HashMap;

use super::dispatch::Next;
use super::{ClientId, forward};
use crate::backend::Refusal;
use crate::route::plan::{Local, Plan, Script};
use crate::topology::PoolId;
use crate::worker::Core;

/// How long a client that was woken is remembered, in microseconds: it looks at its request at once.
const WOKEN_US: u64 = 1_000_000;

#[derive(Debug)]
struct Waiter {
    pool: PoolId,
    /// The number that its request will have: what it asks later is another.
    sequence: u32,
    since_us: u64,
    /// When it was told to look again.
    woken_us: Option<u64>,
}

/// The clients that wait.
#[derive(Debug, Default)]
pub struct Waiters(HashMap<ClientId, Waiter>);

/// Whether a request needs to know which servers there are before it is dispatched. `is_queued` says that it is put into a
/// transaction, `has_slots` that keys lie in slots, whoever serves those.
#[must_use]
pub fn needs_servers(plan: Plan, is_queued: bool, has_slots: bool) -> bool {
    match plan {
        Plan::Key(_)
        | Plan::Fill(_)
        | Plan::Keys
        | Plan::Script(Script::Eval | Script::EvalSha) => is_queued && !has_slots,
        Plan::ToDatabase => is_queued,
        Plan::Split { .. } | Plan::Block | Plan::KeysUnlessBlocking => !is_queued || !has_slots,
        Plan::Every(_)
        | Plan::Scan
        | Plan::SwapDatabases
        | Plan::Subscribe(_)
        | Plan::Watch
        | Plan::Script(Script::Exists | Script::Load | Script::Flush)
        | Plan::Local(Local::Wait | Local::Beside) => !is_queued,
        Plan::Anywhere | Plan::Unsubscribe(_) | Plan::Local(_) | Plan::Refuse => false,
    }
}

/// Nobody can serve the request at hand: its client waits, or is told if it has waited or must not.
#[cold]
pub fn nobody(core: &mut Core, id: ClientId, now_us: u64) -> Next {
    let Some(client) = core.down.clients.get_mut(id) else { return Next::Taken };
    let (pool, sequence) = (client.pool, client.pending.next_sequence());
    let settings = &core.pools[pool].shared.settings;
    let hold_us = if settings.is_discovered() { settings.failover_hold_ms * 1000 } else { 0 };
    let before = core.absent.0.remove(&id).filter(|waiter| waiter.sequence == sequence);
    let since_us = before.map_or(now_us, |waiter| waiter.since_us);
    if since_us + hold_us <= now_us {
        forward::refused(core, id, now_us, &Refusal::nobody());
        return Next::Taken;
    }
    client.held = true;
    client.paused = true;
    client.looks_again = true;
    core.absent.0.insert(id, Waiter { pool, sequence, since_us, woken_us: None });
    core.pools[pool].shared.strange.notify_one();
    Next::Away
}

/// A pool has another picture: who waits looks again.
pub fn reconciled(core: &mut Core, pool: PoolId) {
    let now_us = core.clock.now_us();
    for (id, waiter) in core.absent.0.iter_mut().filter(|(_, waiter)| waiter.pool == pool) {
        if waiter.woken_us.is_none()
            && let Some(client) = core.down.clients.get_mut(*id)
        {
            waiter.woken_us = Some(now_us);
            client.held = false;
            client.wake();
        }
    }
}

/// What is done by the clock: who has waited long enough looks again, and is told.
pub fn tick(core: &mut Core) {
    if core.absent.0.is_empty() {
        return;
    }
    let now_us = core.clock.now_us();
    let Core { absent, down, pools, .. } = core;
    absent.0.retain(|id, waiter| {
        let Some(client) = down.clients.get_mut(*id) else { return false };
        if let Some(woken_us) = waiter.woken_us {
            return woken_us + WOKEN_US > now_us;
        }
        if waiter.since_us + pools[waiter.pool].shared.settings.failover_hold_ms * 1000 <= now_us {
            waiter.woken_us = Some(now_us);
            client.held = false;
            client.wake();
        }
        true
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gather::Merge;
    use crate::pubsub::Kind;

    #[test]
    fn what_can_wait_in_limbo_is_dispatched() {
        let all = [
            // Plan, alone, queued with slots, queued without.
            (Plan::Key(1), false, false, true),
            (Plan::Keys, false, false, true),
            (Plan::Split { merge: Merge::Sum, step: 1 }, true, false, true),
            (Plan::Block, true, false, true),
            (Plan::Every(Merge::First), true, false, false),
            (Plan::Scan, true, false, false),
            (Plan::Subscribe(Kind::Pattern), true, false, false),
            (Plan::Watch, true, false, false),
            (Plan::Local(Local::Wait), true, false, false),
            (Plan::Local(Local::Ping), false, false, false),
            (Plan::Unsubscribe(Kind::Channel), false, false, false),
        ];
        for (plan, alone, with_slots, without) in all {
            assert_eq!(needs_servers(plan, false, true), alone, "{plan:?}");
            assert_eq!(needs_servers(plan, false, false), alone, "{plan:?}");
            assert_eq!(needs_servers(plan, true, true), with_slots, "{plan:?}");
            assert_eq!(needs_servers(plan, true, false), without, "{plan:?}");
        }
    }
}
