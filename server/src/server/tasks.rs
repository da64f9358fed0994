//! What goes on beside the clients: regular work, the log, deadlines, eviction, keys that migrate.

use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use redstart_common::log;
use redstart_common::net::timer::Timer;
use redstart_common::net::{buffer, turn};
use tokio::sync::Semaphore;

use super::Server;
use crate::migrate::transfer::{self, Job, Outcome};
use crate::turn::bus;

/// How often spare buffers for replies are given back, but for a few.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// The regular work, `hz` times a second, and that of the cluster's bus, which shares its turns where both are as often.
pub(super) async fn cron(server: Rc<Server>) {
    let timer = Timer::default();
    let mut now = Instant::now();
    let (mut trimmed, mut due, mut bus_due) = (now, now, now);
    loop {
        if now - trimmed >= TRIM_EVERY {
            trimmed = now;
            buffer::trim();
        }
        if now >= due {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            crate::turn::cron::tick(&mut engine);
            let hz = engine.core.settings.hz.max(1);
            due = now + Duration::from_micros(1_000_000 / u64::from(hz));
        }
        let mut next = due;
        if bus::works(&server) {
            if now >= bus_due {
                bus::tick(&server);
                bus_due = now + bus::TICK;
            }
            next = next.min(bus_due);
        }
        timer.sleep(next.saturating_duration_since(Instant::now())).await;
        now = Instant::now();
    }
}

/// How often the log is looked at at least, and at most.
const LOOK_AT_LOG_EVERY: Duration = Duration::from_millis(500);

const LOG_PAUSE_MIN: Duration = Duration::from_millis(1);

/// Looks after the log when no turn does: the end of each turn writes and syncs what is due.
pub(super) async fn log(server: Rc<Server>) {
    let timer = Timer::default();
    loop {
        let pause = {
            let core = &server.engine.borrow().core;
            // Where there is none, the turns that the regular work ends do until its first sync wakes this task.
            core.logging.log.as_ref().map(|_| {
                let pause = core.log_wakes_in().unwrap_or(LOOK_AT_LOG_EVERY);
                pause.clamp(LOG_PAUSE_MIN, LOOK_AT_LOG_EVERY)
            })
        };
        // Whichever it is, a turn ends after it.
        tokio::select! {
            () = server.wanted.logged.notified() => {}
            () = timer.sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// Evicts what one command had no time for, a little at each turn.
pub(super) async fn evictions(server: Rc<Server>) {
    loop {
        server.wanted.evict.notified().await;
        {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            engine.make_room(None);
            crate::turn::cron::settle(&mut engine);
        }
        // If there is more to do this task is woken already, so that the loop does not come to wait.
        turn::end();
        tokio::task::yield_now().await;
    }
}

/// MIGRATEs that are carried out at the same time; more wait.
pub(super) const MIGRATIONS_MAX: usize = 32;

/// Has a thread do a job of MIGRATE, and tells the engine how it ended.
pub(super) async fn migrate(server: Weak<Server>, room: Rc<Semaphore>, ticket: u64, job: Job) {
    // The semaphore is never closed.
    let _place = room.acquire().await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("migrate".to_owned());
    let started = thread.spawn(move || {
        // Nobody is left to hear it when the server has ended meanwhile.
        let _ = sender.send(transfer::carry(job));
    });
    let outcome = match started {
        Ok(_) => receiver.await.ok(),
        Err(error) => {
            log!(Warning, "Can't start a thread for MIGRATE: {error}");
            None
        }
    };
    let Some(server) = server.upgrade() else { return };
    let mut engine = server.engine.borrow_mut();
    engine.refresh();
    engine.finish_migration(ticket, outcome.unwrap_or_else(Outcome::failed));
}

/// Tells clients that wait in blocking commands when their time is over, to the millisecond.
pub(super) async fn alarms(server: Rc<Server>) {
    loop {
        let wait = {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            engine.expire_waiters();
            let now = engine.keyspace.shared.now_ms.get();
            let next = engine.core.blocking.next_deadline();
            next.map(|deadline| deadline.saturating_sub(now).max(1))
        };
        match wait {
            Some(ms) => {
                let pause = Duration::from_millis(ms.unsigned_abs());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = server.wanted.alarm.notified() => {}
                }
            }
            None => server.wanted.alarm.notified().await,
        }
    }
}
