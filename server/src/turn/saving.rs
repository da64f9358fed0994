//! The engine's saves and loads, between the turns of its clients.

use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::turn;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::persistence::save::Pace;
use crate::persistence::saver::Report;
use crate::saving::load::{self, Failure, Load, Rules};
use crate::server::Server;

/// How many times as long as a step the clients get before the next, while they have something to ask.
const SHARE: u32 = 2;

/// Goes on with the save that is under way, whenever `wanted` says that one has begun.
pub async fn save(
    server: Rc<Server>,
    wanted: Rc<Notify>,
    mut reports: UnboundedReceiver<(u64, Report)>,
) {
    let mut commands = 0;
    loop {
        while let Ok((number, report)) = reports.try_recv() {
            let mut engine = server.engine.borrow_mut();
            let engine = &mut *engine;
            engine.core.take_report(&mut engine.keyspace, number, report);
        }
        let pace = {
            let mut engine = server.engine.borrow_mut();
            let engine = &mut *engine;
            engine.core.go_on_saving(&mut engine.keyspace)
        };
        match pace {
            Some(Pace::More(took)) => {
                // If there is more to do this task is woken already, so that the loop does not come to wait.
                turn::end();
                let now = server.engine.borrow().core.stats.commands;
                if std::mem::replace(&mut commands, now) == now {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep((took * SHARE).max(Duration::from_micros(500))).await;
                }
            }
            Some(Pace::Full | Pace::Sent) | None => {
                tokio::select! {
                    report = reports.recv() => {
                        let Some((number, report)) = report else { return };
                        let mut engine = server.engine.borrow_mut();
                        let engine = &mut *engine;
                        engine.core.take_report(&mut engine.keyspace, number, report);
                    }
                    () = wanted.notified() => {}
                }
            }
        }
    }
}

/// Loads the data that the server begins with.
///
/// # Errors
/// When there is data that cannot be loaded; the log says why.
pub async fn load(server: &Rc<Server>) -> Result<(), ()> {
    let shell = &server.engine.borrow().core.shell.clone();
    if shell.embedded && shell.folder.as_os_str().is_empty() {
        return Ok(());
    }
    let path = server.engine.borrow().core.dump_path();
    let opened = load::open(&path);
    let begun = std::time::Instant::now();
    let outcome = match opened {
        Ok(None) => Ok(()),
        Err(error) => {
            let reason = crate::text::system_words(&error);
            log!(Warning, "Fatal error loading the DB: {reason}. Exiting.");
            return Err(());
        }
        Ok(Some((file, bytes))) => {
            let mut rdb = {
                let mut engine = server.engine.borrow_mut();
                let engine = &mut *engine;
                engine.core.begin_loading(&engine.keyspace, bytes, false);
                let rules = Rules { drops_expired: true, replaces: false };
                Load::new(file, Some(bytes), rules, &engine.core)
            };
            let outcome = in_steps(server, &mut rdb).await;
            if outcome.is_ok() {
                log!(Notice, "DB loaded from disk: {:.3} seconds", begun.elapsed().as_secs_f64());
            }
            outcome
        }
    };
    let mut engine = server.engine.borrow_mut();
    let engine = &mut *engine;
    engine.core.end_loading(&engine.keyspace);
    outcome.map_err(|failure| {
        for line in failure.log_lines() {
            log!(Warning, "{line}");
        }
        log!(Warning, "Fatal error loading the DB, check server logs. Exiting.");
    })
}

/// Loads an RDB, and lets clients be told in between that it is being loaded.
async fn in_steps<R: std::io::Read>(server: &Rc<Server>, rdb: &mut Load<R>) -> Result<(), Failure> {
    loop {
        {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            let engine = &mut *engine;
            let interval = engine.core.settings.saving.loading_process_events_interval_bytes as u64;
            let done = rdb.step(&mut engine.keyspace, interval)?;
            engine.core.note_loaded(rdb.offset());
            if done {
                rdb.finish(&mut engine.core);
                return Ok(());
            }
        }
        turn::end();
        tokio::task::yield_now().await;
    }
}
