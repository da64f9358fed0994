//! The regular work of an engine, `hz` times a second: expiry, rates, clients that are idle or slow.

use std::time::Instant;

use redstart_common::log;

use crate::client::Flags;
use crate::engine::Engine;
use crate::keyspace::expire;
use crate::observe::latency::micros_since;
use crate::process::{fork, watchdog};
use crate::replication::Event;

/// One tick.
pub fn tick(engine: &mut Engine) {
    watchdog::wind_up();
    if engine.core.cron_paused {
        return;
    }
    engine.core.look_at_end(&mut engine.keyspace);
    if engine.core.settings.active_expire
        && !engine.core.stands_still()
        && engine.core.saved.loading.is_none()
        && !engine.core.replication.is_replica()
    {
        let hz = engine.core.settings.hz.max(1);
        let effort = engine.core.settings.active_expire_effort;
        let start = Instant::now();
        expire::cycle(&mut engine.keyspace, expire::Cycle::Slow { hz, effort });
        engine.core.note_latency("expire-cycle", micros_since(start));
        settle(engine);
    }
    if engine.core.saved.loading.is_none() {
        expire::forget_names(&mut engine.keyspace);
    }
    close_idle_clients(engine);
    engine.settle_migrations();
    engine.core.end_turn_of_tracking();
    engine.core.evict_clients(None);
    let core = &mut engine.core;
    core.tell_replication(&mut engine.keyspace, Event::Tick);
    core.expire_own(&mut engine.keyspace);
    core.set_pace();
    core.look_at_log(&mut engine.keyspace);
    core.look_at_save_points(&mut engine.keyspace);
    core.migrations.close_idle_links();
    fork::reap(&mut core.scripting.children);
    core.rates.sample(&core.stats);
    let used = crate::observe::memory::used_bytes();
    core.memory_peak.set(core.memory_peak.get().max(used));
    core.check_pause(&engine.keyspace.shared);
}

/// Has what look-ups and the expiry caused propagated and published, with no client asking.
pub fn settle(engine: &mut Engine) {
    if engine.keyspace.shared.has_incidents() {
        let mut nobody = engine.core.clients.take_nobody();
        let mut call =
            crate::engine::Call::aside(&mut engine.keyspace, &mut engine.core, &mut nobody);
        call.settle();
        engine.core.clients.give_nobody(nobody);
        // Keys that expire at the same time have nothing to do with each other.
        engine.core.feed.keep_apart();
        engine.core.feed.end_call();
    }
    if engine.core.blocking.has_ready() {
        engine.serve_ready();
    }
}

fn close_idle_clients(engine: &mut Engine) {
    let now = engine.keyspace.shared.now_ms.get();
    let timeout_ms = engine.core.settings.timeout as i64 * 1000;
    let limits = engine.core.settings.client_output_buffer_limit;
    for client in engine.core.clients.iter_mut() {
        let spared = client
            .flags
            .any(Flags::BLOCKED.or(Flags::SUBSCRIBED).or(Flags::MONITOR).or(Flags::REPLICA))
            || client.flags.any(Flags::IMPORT);
        if timeout_ms > 0 && !spared && now - client.active_ms > timeout_ms {
            log!(Verbose, "Closing idle client");
            client.close_asap();
        } else if client.reply.pending() > 0 && limits.of(client).exceeded(client, now) {
            log!(
                Warning,
                "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
                crate::client::describe(client, now)
            );
            client.close_asap();
        }
    }
}
