//! What a worker does by the clock: timeouts, reports, giving memory back, and listening to the other threads.

use std::rc::Rc;
use std::time::Duration;

use redstart_common::net::{buffer, turn};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::arrivals;
use crate::client::{
    Gone, absent, hedge, observe, private, redirect, session, subscribe, tracking,
};
use crate::control::{Message, Which};
use crate::settings::PoolSettings;
use crate::worker::Worker;

/// Between two looks at the timeouts, at most.
const TICK_MAX: Duration = Duration::from_millis(100);
/// Between two looks at the timeouts, at least.
const TICK_MIN: Duration = Duration::from_millis(2);
/// The same where requests may wait for a server that is away.
const TICK_HOLDING: Duration = Duration::from_millis(10);
/// Between two reports.
const REPORT: Duration = Duration::from_secs(1);

/// Runs a worker's clock.
pub async fn run(worker: Rc<Worker>) {
    let (shortest_ms, holds) = {
        let pools = &worker.core.borrow().pools;
        let settings = || pools.iter().map(|pool| &pool.shared.settings);
        let shortest_ms = settings().filter_map(|pool| pool.timeout_ms).min();
        (shortest_ms, settings().any(PoolSettings::keeps))
    };
    let tick =
        shortest_ms.map_or(REPORT, |ms| Duration::from_millis(ms / 8).clamp(TICK_MIN, TICK_MAX));
    let tick = if holds { tick.min(TICK_HOLDING) } else { tick };
    let hedge_ms =
        worker.core.borrow().pools.iter().filter_map(|it| it.shared.settings.hedge_after_ms).min();
    let tick = hedge_ms.map_or(tick, |ms| tick.min(Duration::from_millis((ms / 4).max(1))));
    let mut ticks = interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reported = Instant::now();
    loop {
        ticks.tick().await;
        let core = &mut *worker.core.borrow_mut();
        if shortest_ms.is_some() || holds {
            core.expire();
        }
        private::tick(core);
        absent::tick(core);
        subscribe::tick(core);
        tracking::tick(core);
        if holds {
            let now_us = core.clock.now_us();
            core.up.retry_waiting(now_us);
            redirect::retry(core);
        }
        if hedge_ms.is_some() {
            hedge::run(core);
        }
        if reported.elapsed() >= REPORT - TICK_MIN {
            let ms = reported.elapsed().as_millis().max(1) as u64;
            reported = Instant::now();
            for pool in core.pools.iter_mut() {
                pool.note_rate(ms);
            }
            let report = core.snapshot();
            core.directory.report(core.number, report);
            core.trim();
            buffer::trim();
        }
    }
}

/// Serves what other threads ask of a worker, until they are gone.
pub async fn listen(worker: Rc<Worker>, mut messages: UnboundedReceiver<Message>) {
    while let Some(message) = messages.recv().await {
        match message {
            Message::Accept(handed, pool) => match handed.into_stream() {
                Ok(stream) => arrivals::arrive(&worker, stream, pool),
                Err(_) => {
                    let core = worker.core.borrow();
                    arrivals::give_place_back(&core.directory, pool);
                    core.directory.client_left(core.number);
                }
            },
            Message::Changed(pool) => {
                worker.core.borrow_mut().refresh(pool);
                turn::end();
            }
            Message::List(which, answer) => {
                let core = &mut *worker.core.borrow_mut();
                let now_us = core.clock.now_us();
                let found = core
                    .down
                    .clients
                    .iter()
                    .filter(|client| meets(client, &which, now_us))
                    .map(|client| {
                        let mut line = String::new();
                        session::describe(client, now_us, &mut line);
                        (client.session.number, line)
                    })
                    .collect();
                // Whoever asked may be gone.
                let _ = answer.send(found);
            }
            Message::Listeners(pool, topics, answer) => {
                let hub = &worker.core.borrow_mut().hubs[pool.place()];
                let counts = topics.iter().map(|topic| hub.count(topic)).collect();
                let _ = answer.send(counts);
            }
            Message::Pause(pool, pause, answer) => {
                observe::pause(&mut worker.core.borrow_mut(), pool, pause);
                let _ = answer.send(());
            }
            Message::Look => observe::look(&mut worker.core.borrow_mut()),
            Message::Shown(pool, lines) => {
                observe::hand_on(&mut worker.core.borrow_mut(), pool, &lines);
            }
            Message::Unblock(which, is_error, answer) => {
                let core = &mut *worker.core.borrow_mut();
                let now_us = core.clock.now_us();
                let found = core.down.clients.iter().find(|client| meets(client, &which, now_us));
                let found = found.map(|client| client.id);
                let was_blocked = found.is_some_and(|id| private::let_go(core, id, is_error));
                let _ = answer.send(was_blocked);
            }
            Message::Find(which, answer) => {
                let core = &mut *worker.core.borrow_mut();
                let now_us = core.clock.now_us();
                let clients = &core.down.clients;
                let found = clients.iter().find(|client| meets(client, &which, now_us));
                let _ = answer.send(found.map(|client| client.id));
            }
            Message::Invalidated(hearer, keys, (number, teller)) => {
                let core = &mut *worker.core.borrow_mut();
                if !tracking::hand_over(core, hearer, &keys) {
                    // The workers live as long as the process.
                    let _ = core.directory.workers[number].send(Message::HearerGone(teller));
                }
            }
            Message::HearerGone(teller) => {
                tracking::hearer_gone(&mut worker.core.borrow_mut(), teller);
            }
            Message::Kill(which, answer) => {
                let core = &mut *worker.core.borrow_mut();
                let now_us = core.clock.now_us();
                let found: Vec<_> = core
                    .down
                    .clients
                    .iter()
                    .filter(|client| meets(client, &which, now_us))
                    .map(|client| client.id)
                    .collect();
                let count = found.len() as u64;
                for id in found {
                    core.close_client(id, Gone::Failed);
                }
                let _ = answer.send(count);
            }
        }
    }
}

fn meets(client: &crate::client::Client, which: &Which, now_us: u64) -> bool {
    let session = &client.session;
    client.pool == which.pool
        && which.number.is_none_or(|number| number == session.number)
        && which.except != Some(session.number)
        && which.filter.fits(&session::facts(client, now_us))
}
