//! The engine's saves and loads, between the turns of its clients.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redstart_common::command::id_of;
use redstart_common::log;
use redstart_common::net::turn;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::client::{Client, Flags, Origin};
use crate::engine::Core;
use crate::engine::asks::Source;
use crate::engine::feed::Audience;
use crate::persistence::aof::load::{Contents, Loaded, Loader, Step};
use crate::persistence::rdb::check;
use crate::persistence::save::Pace;
use crate::persistence::saver::Report;
use crate::saving::aof::Reported;
use crate::saving::load::{self, Failure, Load, Rules};
use crate::server::Server;

/// The shortest rest: timers run in whole milliseconds, and less is rested later.
const REST_MIN: Duration = Duration::from_millis(2);

/// Goes on with the save that is under way, whenever `wanted` says that one has begun.
pub async fn save(
    server: Rc<Server>,
    wanted: Rc<Notify>,
    mut reports: UnboundedReceiver<(u64, Report)>,
) {
    let (mut commands, mut owed) = (0, Duration::ZERO);
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
            Some(Pace::More(rest)) => {
                // If there is more to do this task is woken already, so that the loop does not come to wait.
                turn::end();
                let now = server.engine.borrow().core.stats.commands;
                if std::mem::replace(&mut commands, now) == now {
                    owed = Duration::ZERO;
                } else {
                    owed += rest;
                }
                if owed < REST_MIN {
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(std::mem::take(&mut owed)).await;
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
pub async fn load(server: &Rc<Server>) -> Result<(), Reported> {
    let (embedded, logs) = {
        let core = &server.engine.borrow().core;
        let folder = core.shell.folder.as_os_str();
        (core.shell.embedded && folder.is_empty(), core.settings.saving.appendonly)
    };
    {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        engine.core.begin_replication(&mut engine.keyspace);
    }
    if embedded {
        return Ok(());
    }
    let outcome = match logs {
        true => load_log(server).await.map(|loaded| (loaded, None)),
        false => match load_dump(server, false).await {
            Ok(place) => Ok((Loaded::default(), place)),
            Err(NotLoaded { lines, .. }) => Err(lines),
        },
    };
    let mut engine = server.engine.borrow_mut();
    let engine = &mut *engine;
    engine.core.end_loading(&engine.keyspace);
    let (loaded, place) = outcome.map_err(|lines| {
        tell(&lines);
        Reported
    })?;
    if let Some(place) = place {
        engine.core.restore_history(&mut engine.keyspace, &place);
    }
    if logs {
        // What was loaded was not asked for.
        engine.core.stats.reset();
        engine.core.open_log(&engine.keyspace, loaded)?;
    }
    Ok(())
}

fn tell(lines: &[String]) {
    lines.iter().for_each(|line| log!(Warning, "{line}"));
}

/// Loads the data again, for DEBUG RELOAD and DEBUG LOADAOF, and tells the client how that went.
pub async fn reload(server: Rc<Server>, client: u64, source: Source) {
    let begun = Instant::now();
    let (stats, limit) = {
        let core = &mut server.engine.borrow_mut().core;
        (core.stats.clone(), core.feed.limit(Audience::NOBODY))
    };
    let outcome = match source {
        Source::Dump { replaces } => match load_dump(&server, replaces).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(NotLoaded { lines: Vec::new(), is_damage: false }),
            Err(mut failure) => {
                if !failure.is_damage {
                    // The last line says that the server ends.
                    failure.lines.pop();
                }
                Err(failure)
            }
        },
        Source::Log => match load_log(&server).await {
            Ok(_) => Ok(()),
            Err(lines) => Err(NotLoaded { lines, is_damage: true }),
        },
    };
    let mut engine = server.engine.borrow_mut();
    let engine = &mut *engine;
    engine.core.feed.limit(limit);
    engine.core.stats = stats;
    engine.core.end_loading(&engine.keyspace);
    let reply = match (outcome, source) {
        (Ok(()), Source::Dump { .. }) => {
            log!(Warning, "DB reloaded by DEBUG RELOAD");
            Ok(())
        }
        (Ok(()), Source::Log) => {
            engine.core.saved.changes_saved = engine.core.feed.dirty;
            log!(Warning, "Append Only File loaded by DEBUG LOADAOF");
            Ok(())
        }
        (Err(NotLoaded { lines, is_damage }), _) => {
            tell(&lines);
            if is_damage {
                // As in Redis: what is in memory now is not the data, and nobody may save it.
                std::process::exit(1);
            }
            Err("ERR Error trying to load the RDB dump, check server logs")
        }
    };
    answer(&mut engine.core, client, reply, begun.elapsed());
}

/// Answers the client that has waited for its DEBUG.
fn answer(core: &mut Core, client: u64, reply: Result<(), &'static str>, took: Duration) {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    core.stats.ran(const { id_of("debug") }, us, reply.is_err());
    if let Err(text) = reply {
        core.stats.count_error(text);
    }
    let Some(client) = core.clients.by_id(client) else { return };
    client.flags.clear(Flags::BLOCKED);
    if !client.flags.any(Flags::REPLY_OFF) {
        match reply {
            Ok(()) => client.reply.ok(),
            Err(text) => client.reply.error(text),
        }
    }
    client.mark();
    if let Some(connection) = &client.connection {
        connection.wake();
    }
}

/// Why a dump was not loaded.
struct NotLoaded {
    /// What the log is to say.
    lines: Vec<String>,
    /// The file is damaged, and part of it may have been loaded.
    is_damage: bool,
}

/// Loads the dump, if there is one. Answers what it says of its place in the stream of a primary.
async fn load_dump(server: &Rc<Server>, replaces: bool) -> Result<Option<load::Origin>, NotLoaded> {
    let path = server.engine.borrow().core.dump_path();
    let begun = Instant::now();
    let opened = load::open(&path).map_err(|error| {
        let reason = crate::text::system_words(&error);
        let lines = vec![format!("Fatal error loading the DB: {reason}. Exiting.")];
        NotLoaded { lines, is_damage: false }
    })?;
    let Some((file, bytes)) = opened else { return Ok(None) };
    let mut rdb = {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        engine.core.begin_loading(&engine.keyspace, bytes, false);
        let drops_expired = !engine.core.replication.is_replica();
        let rules = Rules { drops_expired, tells_expired: drops_expired, replaces };
        Load::new(file, Some(bytes), rules, &engine.core)
    };
    in_steps(server, &mut rdb, 0, || false).await.map_err(|failure| {
        let is_damage = failure.is_damage();
        let mut lines = report(server, &failure, &path);
        if !is_damage {
            lines.push("Fatal error loading the DB: Invalid argument. Exiting.".to_owned());
        }
        NotLoaded { lines, is_damage }
    })?;
    log!(Notice, "DB loaded from disk: {:.3} seconds", begun.elapsed().as_secs_f64());
    Ok(Some(rdb.origin().clone()))
}

/// Says what is wrong with a file that could not be loaded, and what a check finds if it is damaged. Answers what else
/// the log is to say.
fn report(server: &Server, failure: &Failure, path: &Path) -> Vec<String> {
    if !failure.is_damage() {
        return failure.log_lines();
    }
    tell(&failure.log_lines());
    if !server.engine.borrow().core.shell.embedded {
        check::report(path, &mut std::io::stdout());
    }
    Vec::new()
}

/// Loads the append-only file.
async fn load_log(server: &Rc<Server>) -> Result<Loaded, Vec<String>> {
    let begun = Instant::now();
    let contents = {
        let mut engine = server.engine.borrow_mut();
        let may_truncate = engine.core.settings.saving.aof_load_truncated;
        let chain = engine.core.chain().map_err(|error| error.report())?;
        chain.take_over_single().map_err(|error| error.report())?;
        Loader::open(chain, may_truncate).map_err(|error| error.report().to_vec())?
    };
    let mut loader = match contents {
        Contents::Absent => return Ok(Loaded::default()),
        Contents::Empty => {
            log!(Notice, "DB loaded from append only file: 0.000 seconds");
            return Ok(Loaded::default());
        }
        Contents::Some(loader) => loader,
    };
    {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        engine.core.begin_loading(&engine.keyspace, loader.progress().0, false);
    }
    let mut reader = Box::new(Client::new(0, 0));
    reader.origin = Origin::Log;
    reader.flags.set(Flags::DENY_BLOCKING);
    loop {
        let next = run_commands(server, &mut loader, &mut reader)?;
        match next {
            Some(Next::Rdb) => load_base(server, &mut loader).await?,
            Some(Next::Done) => break,
            None => {}
        }
        turn::end();
        tokio::task::yield_now().await;
    }
    // A transaction that is not complete did not happen.
    reader.multi = None;
    let seconds = begun.elapsed().as_secs_f64();
    log!(Notice, "DB loaded from append only file: {seconds:.3} seconds");
    Ok(loader.loaded())
}

/// What a log has next, but for commands.
enum Next {
    Rdb,
    Done,
}

/// Runs commands of the log for a moment.
fn run_commands(
    server: &Rc<Server>,
    loader: &mut Loader,
    reader: &mut Client,
) -> Result<Option<Next>, Vec<String>> {
    let mut engine = server.engine.borrow_mut();
    engine.refresh();
    let interval = engine.core.settings.saving.loading_process_events_interval_bytes as u64;
    let (start, until) = (Instant::now(), loader.progress().1 + interval);
    loop {
        for _ in 0..COMMANDS_BETWEEN {
            match loader.next().map_err(|error| error.report().to_vec())? {
                Step::Command => {
                    if !engine.replay(reader, loader.args()) {
                        return Err(loader.unknown_command().report().to_vec());
                    }
                }
                Step::Time(_) => {}
                Step::Rdb => return Ok(Some(Next::Rdb)),
                Step::Done => return Ok(Some(Next::Done)),
            }
        }
        let done = loader.progress().1;
        engine.core.note_loaded(done);
        if start.elapsed() >= load::STEP || done >= until {
            return Ok(None);
        }
    }
}

/// Loads the RDB that the log's file at hand begins with.
async fn load_base(server: &Rc<Server>, loader: &mut Loader) -> Result<(), Vec<String>> {
    let failed = |loader: &Loader, mut lines: Vec<String>| {
        lines.extend_from_slice(loader.rdb_failed().report());
        lines
    };
    let path = loader.path().map(std::path::Path::to_owned).unwrap_or_default();
    let file = std::fs::File::open(&path)
        .map_err(|error| failed(loader, vec![crate::text::system_words(&error)]))?;
    let mut rdb = {
        let engine = server.engine.borrow();
        let length = file.metadata().ok().map(|data| data.len());
        // Keys past their deadline may be prolonged by what follows.
        Load::new(file, length, Rules::default(), &engine.core)
    };
    let before = loader.progress().1;
    in_steps(server, &mut rdb, before, || false)
        .await
        .map_err(|failure| failed(loader, report(server, &failure, &path)))?;
    loader.rdb_loaded(rdb.offset()).map_err(|error| error.report().to_vec())
}

/// Commands of the log between two looks at the clock.
const COMMANDS_BETWEEN: u32 = 64;

/// Loads an RDB, and lets clients be told in between that it is being loaded. What is given up ends early.
///
/// # Errors
/// What is wrong with the data.
pub async fn in_steps<R: std::io::Read>(
    server: &Rc<Server>,
    rdb: &mut Load<R>,
    before: u64,
    is_given_up: impl Fn() -> bool,
) -> Result<(), Failure> {
    loop {
        {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            let engine = &mut *engine;
            let interval = engine.core.settings.saving.loading_process_events_interval_bytes as u64;
            // It may be changed meanwhile.
            rdb.placer.key_delay_us = engine.core.settings.saving.key_load_delay;
            let done = rdb.step(&mut engine.keyspace, interval)?;
            engine.core.note_loaded(before + rdb.offset());
            let expired = rdb.take_expired();
            engine.core.tell_expired_at_load(&mut engine.keyspace, rdb.origin(), expired);
            if done {
                return rdb.finish(&mut engine.keyspace, &mut engine.core);
            }
        }
        turn::end();
        tokio::task::yield_now().await;
        if is_given_up() {
            return Err(Failure::Said("The load was given up".to_owned()));
        }
    }
}
