//! How connections to servers end, and how requests do whose time is up.

use std::sync::atomic::Ordering;

use redstart_common::log;
use redstart_common::resp::RespWrite;

use super::Core;
use crate::backend::Duty;
use crate::backend::connection::Ending;
use crate::backend::pipeline::{Slot, Target};
use crate::client::{forward, private};
use crate::settings::OnServerDown;
use crate::stats::Lost;
use crate::topology::{PoolId, ServerId};

/// Tombstones on a connection after which it is closed.
const TOMBSTONES_MAX: usize = 1024;

impl Core {
    /// Ends a server connection and tells everyone who waits on it.
    pub fn close_backend(&mut self, backend: usize, why: &str, how: Ending) {
        if let Duty::Private { .. } = self.up.get_mut(backend).duty {
            return private::ended(self, backend, why, how);
        }
        let now_us = self.clock.now_us();
        let mut text = Vec::new();
        text.error(format!("ERR {why}"));
        let it = self.up.get_mut(backend);
        let was_needed = !matches!(how, Ending::Refused | Ending::Barred)
            && (!it.pipeline.is_empty() || !it.is_up() || how == Ending::Turned);
        let was_up = it.is_up();
        let since_us = it.begun_us(now_us);
        let mut unsent = 0;
        it.counters.ended(how);
        let (pool, server, duty) = (it.pool, it.server.id, it.duty);
        if was_up
            && how == Ending::Silence
            && !it.server.is_told_silent.swap(true, Ordering::Relaxed)
        {
            let name = &self.pools[pool].shared.settings.name;
            log!(Warning, "pool '{name}': server '{}' does not answer", it.server.name);
        }
        let lane = it.lane;
        // What was never sent has not run, and what was turned away neither.
        let may_have_run = was_up && how != Ending::Turned;
        let why_lost = if how == Ending::Silence { Lost::Timeout } else { Lost::Connection };
        let lost = (why_lost, self.pools[pool].shared.settings.on_lost_request);
        let (down, scripts) = (&mut self.down, &self.pools[pool].shared.scripts);
        // Where its shard has left, what it has not run goes to whoever has the keys now.
        let (broken, homeless) = self.up.close(backend, why, now_us, scripts, |slot: Slot| {
            unsent += u64::from(slot.target != Target::Nobody);
            match may_have_run {
                true => down.lose((pool, slot), lost, &text, now_us),
                false => down.answer(slot.target, &text, now_us),
            }
        });
        if let Some(reply) = broken {
            down.break_off(&reply);
        }
        if how == Ending::Silence {
            // A request that is told so counts once.
            self.up.get_mut(backend).counters.timed_out += unsent;
        }
        if !was_up {
            // They waited for the connection, and none of them ever left.
            self.pools[pool].stats.forward_errors += unsent;
        }
        if self.up.get_mut(backend).reads && duty != Duty::Leaving {
            self.read_elsewhere(backend);
        } else if duty == Duty::Leaving {
            self.release_backend(backend);
            forward::again(self, pool, None, lane, &homeless);
        } else if was_needed {
            self.note_failure(pool, server, since_us);
        }
    }

    /// A replica is away: what it was to read goes to the primary.
    fn read_elsewhere(&mut self, backend: usize) {
        let now_us = self.clock.now_us();
        let it = self.up.get_mut(backend);
        let (pool, lane) = (it.pool, it.lane);
        let Duty::Shared { shard, .. } = it.duty else { return };
        if it.pipeline.is_empty() {
            return;
        }
        // What was kept can be sent again, and what was not has been told already.
        let (waiting, broken) = self.up.take_waiting(backend, now_us, |_| {});
        if let Some(reply) = broken {
            self.down.break_off(&reply);
        }
        forward::again(self, pool, Some(shard), lane, &waiting);
    }

    /// Gives up the place of a connection on which nobody waits.
    pub fn release_backend(&mut self, backend: usize) {
        self.count(backend);
        let it = self.up.get_mut(backend);
        if let Duty::Private { .. } = it.duty {
            self.privates.gone(it.pool, it.server.id, backend as u32);
        }
        self.up.release(backend);
    }

    /// Takes note of the failure of something that had begun at `since_us`.
    pub fn note_failure(&mut self, pool: PoolId, server: ServerId, since_us: u64) {
        let now = self.clock.moment();
        let shared = &self.pools[pool].shared;
        if shared.settings.is_discovered() {
            shared.strange.notify_one();
        }
        if shared.failed(server, since_us, now) {
            let settings = &shared.settings;
            let topology = shared.topology.load();
            let name = topology.member(server).map_or("", |member| &member.endpoint.name);
            let what = match settings.on_server_down {
                OnServerDown::Fail => "is down, and requests for its keys are refused",
                OnServerDown::Next => "is down, and the next servers have its keys",
                OnServerDown::Eject | OnServerDown::Try => "is ejected",
            };
            log!(
                Warning,
                "pool '{}': server '{name}' {what} for at least {} ms",
                settings.name,
                settings.server_retry_timeout_ms
            );
            self.refresh(pool);
        }
    }

    /// Tells those whose time is up, and closes connections whose server has fallen silent.
    pub fn expire(&mut self) {
        let now_us = self.clock.now_us();
        let mut text = Vec::new();
        text.error("ERR Connection timed out");
        for index in 0..self.up.places() {
            let it = self.up.get_mut(index);
            if it.pipeline.is_empty() {
                continue;
            }
            if it.keeps && !it.is_up() {
                self.give_up_waiting(index, now_us);
                continue;
            }
            let (pool, server) = (it.pool, it.server.id);
            let Some(timeout_ms) = self.pools[pool].shared.settings.timeout_ms else { continue };
            let timeout_us = timeout_ms * 1000;
            let Some(deadline_us) = now_us.checked_sub(timeout_us) else { continue };
            if !it.is_up() && matches!(it.duty, Duty::Shared { .. }) {
                // What was never sent is not to run when its client has been told otherwise.
                let (down, scripts) = (&mut self.down, &self.pools[pool].shared.scripts);
                let told = self.up.give_up_waiting(index, deadline_us, scripts, |slot, _| {
                    down.answer(slot.target, &text, now_us);
                });
                let it = self.up.get_mut(index);
                it.counters.timed_out += told;
                it.suspect |= told > 0;
                continue;
            }
            let mut told = 0;
            let is_busy = it.streaming.is_some();
            let lost = (Lost::Timeout, self.pools[pool].shared.settings.on_lost_request);
            let may_have_run = it.is_up();
            let mut since_us = now_us;
            let down = &mut self.down;
            it.pipeline.expire(deadline_us, is_busy, |slot| {
                told += 1;
                since_us = since_us.min(slot.at_us);
                match may_have_run {
                    true => down.lose((pool, slot), lost, &text, now_us),
                    false => down.answer(slot.target, &text, now_us),
                }
            });
            it.counters.timed_out += told;
            it.suspect |= told > 0;
            let oldest_us = it.pipeline.oldest_us().unwrap_or(now_us);
            let silent_since_us = it.heard_us.max(oldest_us + timeout_us);
            let is_silent = it.is_up() && silent_since_us <= deadline_us;
            if is_silent || it.pipeline.tombstones() > TOMBSTONES_MAX {
                self.close_backend(index, "Connection timed out", Ending::Silence);
            } else if told > 0 && it.is_up() && it.duty != Duty::Leaving {
                // A connection that is still being opened fails by itself, and one failure is not to count twice.
                self.note_failure(pool, server, since_us);
            }
        }
    }

    /// Tells those who have waited for a server for too long.
    fn give_up_waiting(&mut self, backend: usize, now_us: u64) {
        let pool = self.up.get_mut(backend).pool;
        let hold_ms = self.pools[pool].shared.settings.failover_hold_ms;
        let is_limbo = self.up.get_mut(backend).duty == Duty::Limbo;
        let Some(deadline_us) = now_us.checked_sub(hold_ms * 1000) else { return };
        if hold_ms == 0 && self.up.get_mut(backend).is_connecting() {
            // It is not away until that has failed.
            return;
        }
        let (down, scripts) = (&mut self.down, &self.pools[pool].shared.scripts);
        let told = self.up.give_up_waiting(backend, deadline_us, scripts, |slot, why| {
            let mut text = Vec::new();
            let why = if why.is_empty() { "it does not answer" } else { why };
            if is_limbo {
                text.error(why);
            } else {
                text.error(format!("ERR the server of this key was away for {hold_ms} ms: {why}"));
            }
            down.answer(slot.target, &text, now_us);
        });
        self.pools[pool].stats.forward_errors += told;
    }

    /// A server that says it is no primary, or not ready, has answered all it was sent: what it turned away waits until
    /// there is one that is.
    pub fn turned_away(&mut self, backend: usize) {
        self.close_backend(backend, "the server is not a primary that is ready", Ending::Turned);
    }

    /// A server has answered that it is no primary or loads its data. Loading counts as a failure: where servers are
    /// ejected, it leaves until it is done.
    pub fn note_refusal(&mut self, backend: usize, since_us: u64, is_loading: bool) {
        let it = self.up.get_mut(backend);
        let (pool, server) = (it.pool, it.server.id);
        if it.duty == Duty::Leaving {
            return;
        }
        if is_loading {
            it.suspect = true;
            self.note_failure(pool, server, since_us);
        } else if self.pools[pool].shared.settings.is_discovered() {
            self.pools[pool].shared.strange.notify_one();
        }
    }
}
