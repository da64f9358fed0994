//! The engine: one keyspace and all that serves it, owned by one thread.

use std::sync::OnceLock;
use std::time::Instant;

use redstart_common::command::{self, CommandId, CommandSpec, Mode};
use redstart_common::net::buffer;
use redstart_common::resp::Args;

use crate::acl::Users;
use crate::client::{Client, Clients};
use crate::dispatch::blocking::Blocking;
use crate::dispatch::effects::Effects;
use crate::dispatch::stats::Stats;
use crate::dispatch::watch::Watches;
use crate::dispatch::{Handler, Time};
use crate::keyspace::Keyspace;
use crate::keyspace::evict::{Candidates, Room};
use crate::latency::Monitor;
use crate::migrate::Migrations;
pub use crate::pause::{Pause, Paused};
use crate::pubsub::PubSub;
use crate::renames::Renames;
use crate::settings::Settings;
use crate::slowlog::SlowLog;
use crate::supervised::Supervisor;
use crate::tracking::Tracking;

/// A keyspace and what serves it.
pub struct Engine {
    /// The databases.
    pub keyspace: Keyspace,
    /// Everything else.
    pub core: Core,
}

/// An engine without its databases, so that a handler can hold both.
pub struct Core {
    /// Settings.
    pub settings: Settings,
    /// Users and their rights.
    pub users: Users,
    /// Keys that may be evicted next.
    pub candidates: Candidates,
    /// Connected clients.
    pub clients: Clients,
    /// Counters.
    pub stats: Stats,
    /// Who listens to what.
    pub pubsub: PubSub,
    /// Who watches what.
    pub watches: Watches,
    /// Who caches what.
    pub tracking: Tracking,
    /// Who waits for what.
    pub blocking: Blocking,
    /// Writes on their way out.
    pub effects: Effects,
    /// Commands that took long.
    pub slowlog: SlowLog,
    /// What took too long, by kind of event.
    pub latency: Monitor,
    /// From how many microseconds on a command is noted, in the slow log or by the latency monitor.
    slow_us: u64,
    /// The clock.
    pub time: Time,
    /// The handlers of the rows.
    pub handlers: &'static Handlers,
    /// Those of the rows that answer to their own names.
    pub named: &'static Handlers,
    /// The other names of commands.
    pub renames: Renames,
    /// Ids of clients that get copies of all commands.
    pub monitors: Vec<u64>,
    /// What identifies this run of the server: 40 hexadecimal digits.
    pub run_id: String,
    /// When the engine started.
    pub started: Instant,
    /// What the server's shell has told the engine about itself.
    pub shell: Shell,
    /// Samples per second of what INFO calls instantaneous.
    pub rates: crate::info::Rates,
    /// The most memory that was ever seen in use, in bytes.
    pub memory_peak: std::cell::Cell<usize>,
    /// Memory in use before there was any data, in bytes.
    pub memory_at_start: usize,
    /// When the engine started, in seconds since 1970.
    pub started_unix_s: i64,
    /// What names this data set's history: 40 hexadecimal digits.
    pub replication_id: String,
    /// Whether the regular work stands still (DEBUG PAUSE-CRON).
    pub cron_paused: bool,
    /// Whether checksums of payloads do not count (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub checksums_skipped: bool,
    /// CLIENT PAUSE, while it is on.
    pub paused: Paused,
    /// Keys on their way to other servers.
    pub migrations: Migrations,
    alarm: Option<Box<dyn Fn(i64)>>,
    evict_on: Option<Box<dyn Fn()>>,
    stop: Option<Box<dyn Fn()>>,
    rebind: Option<Rebind>,
}

/// Has the server listen where other settings say, and answers with the port; or leaves everything as it is.
type Rebind = Box<dyn Fn(&Settings, &Settings) -> Option<u16>>;

/// What the engine knows of the process around it.
#[derive(Debug, Clone, Default)]
pub struct Shell {
    /// The TCP port that was bound; 0 when there is none.
    pub port: u16,
    /// The configuration file's absolute path, if there is one.
    pub config_file: Option<std::path::PathBuf>,
    /// The executable's path.
    pub executable: String,
    /// The process's first argument, if its title is the server's to set.
    pub title: Option<String>,
    /// Who supervises the process.
    pub supervisor: Option<Supervisor>,
    /// Set when SHUTDOWN or a signal has asked the process to end.
    pub shutdown: bool,
    /// Whether Redstart's engine runs inside another program.
    pub embedded: bool,
}

/// The handlers, by row.
pub struct Handlers(Vec<Option<Handler>>);

impl Handlers {
    /// The handlers of the rows that `keep` holds for. They live as long as the process.
    fn only(&self, keep: impl Fn(&CommandSpec) -> bool) -> &'static Self {
        let rows = command::all().iter().zip(&self.0);
        let kept = rows.map(|(row, handler)| handler.filter(|_| keep(row)));
        Box::leak(Box::new(Self(kept.collect())))
    }

    /// The handler of a row, if it is written yet.
    #[inline]
    #[must_use]
    pub fn of(&self, id: CommandId) -> Option<Handler> {
        self.0[id.index()]
    }
}

/// The handlers of all rows that have one.
///
/// # Panics
/// When a handler names no row: a mistake in the tables, found by any test.
pub fn handlers() -> &'static Handlers {
    static HANDLERS: OnceLock<Handlers> = OnceLock::new();
    HANDLERS.get_or_init(|| {
        let mut all = vec![None; command::count()];
        for (name, handler) in crate::commands::GROUPS.iter().copied().flatten() {
            let id = command::lookup_full_name(Mode::Server, name.as_bytes());
            let id = id.unwrap_or_else(|| panic!("no row is named {name}"));
            all[id.index()] = Some(*handler);
        }
        Handlers(all)
    })
}

impl Engine {
    /// An empty engine.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let count = settings.databases;
        let keyspace = Keyspace::new(count);
        // The lines were tried when they were read: an error here cannot come from a configuration.
        let renames = Renames::of(&settings.renames).unwrap_or_default();
        let mut engine = Self {
            keyspace,
            core: Core {
                candidates: Candidates::default(),
                users: Users::new(settings.requirepass.as_bytes(), settings.acl_pubsub_all),
                clients: Clients::default(),
                stats: Stats::new(),
                pubsub: PubSub::default(),
                watches: Watches::new(count),
                tracking: Tracking::default(),
                blocking: Blocking::new(count),
                effects: Effects::default(),
                slowlog: SlowLog::default(),
                latency: Monitor::default(),
                slow_us: u64::MAX,
                time: Time::new(),
                handlers: handlers(),
                named: if renames.is_empty() {
                    handlers()
                } else {
                    handlers().only(|row| renames.keeps_name(row))
                },
                renames,
                monitors: Vec::new(),
                run_id: random_hex(),
                started: Instant::now(),
                shell: Shell::default(),
                rates: crate::info::Rates::default(),
                memory_peak: std::cell::Cell::new(0),
                memory_at_start: redstart_common::memory::used_bytes(),
                started_unix_s: redstart_common::clock::unix_ms() / 1000,
                replication_id: random_hex(),
                cron_paused: false,
                checksums_skipped: false,
                paused: None,
                migrations: Migrations::default(),
                alarm: None,
                evict_on: None,
                stop: None,
                rebind: None,
                settings,
            },
        };
        engine.apply_settings();
        engine.refresh();
        engine
    }

    /// Reads the clocks; call it before each batch of requests.
    #[inline]
    pub fn refresh(&mut self) {
        self.core.time.refresh(&self.keyspace.shared);
        let seconds = self.keyspace.shared.now_ms.get() / 1000;
        self.keyspace.shared.lru_clock.set(seconds as u32 & 0xff_ffff);
    }

    /// Has settings take effect that the keyspace keeps copies of. Call it after any change of settings.
    pub fn apply_settings(&mut self) {
        self.core.apply_settings(&self.keyspace.shared);
    }

    /// Frees memory by the policy until it is below the limit, or it has taken too long: then the rest is done later.
    pub(crate) fn make_room(&mut self) -> Room {
        // While clients pause, nothing changes.
        if !self.core.out_of_memory() || self.core.paused.is_some() {
            return Room::Enough;
        }
        // Rather a client that takes too much than data.
        self.core.evict_clients();
        let room = crate::keyspace::evict::run(&mut self.keyspace, &mut self.core);
        if room == Room::Later {
            self.core.evict_on();
        }
        room
    }

    /// Takes a client out of everything it takes part in.
    pub fn forget_client(&mut self, slot: usize) {
        let Some(mut client) = self.core.clients.remove(slot) else { return };
        if let Some(blocked) = client.blocked.take() {
            self.core.blocking.remove(client.id, &blocked);
        }
        for (db, key) in std::mem::take(&mut client.watched) {
            self.core.watches.remove(db, &key, client.id);
        }
        self.core.pubsub.forget(&mut client);
        self.core.tracking.disable(&mut client);
        self.core.monitors.retain(|id| *id != client.id);
        buffer::give(std::mem::take(&mut client.reply.bytes));
    }
}

impl Core {
    /// Has settings take effect that the keyspace keeps copies of.
    pub fn apply_settings(&mut self, shared: &crate::keyspace::Shared) {
        use crate::dispatch::notify::Classes;
        let settings = &self.settings;
        shared.lfu.set(settings.maxmemory_policy.is_lfu());
        shared.lfu_log_factor.set(settings.lfu_log_factor);
        shared.lfu_decay_minutes.set(settings.lfu_decay_time);
        shared.watch_misses.set(settings.notify_keyspace_events.any(Classes::MISS));
        shared.watch_added.set(settings.notify_keyspace_events.any(Classes::NEW));
        self.stats.track_latency = settings.latency_tracking;
        self.slowlog.set_length(settings.slowlog_max_len);
        let slowlog = u64::try_from(settings.slowlog_log_slower_than).unwrap_or(u64::MAX);
        self.slow_us = match settings.latency_monitor_threshold {
            0 => slowlog,
            ms => slowlog.min(ms.saturating_mul(1000)),
        };
    }

    /// Who is called when a waiter's deadline may be nearer than the shell's next look.
    pub fn set_alarm(&mut self, alarm: impl Fn(i64) + 'static) {
        self.alarm = Some(Box::new(alarm));
    }

    /// Who is called when the server is to end.
    pub fn set_stop(&mut self, stop: impl Fn() + 'static) {
        self.stop = Some(Box::new(stop));
    }

    /// Who is called when keys have to be evicted while nobody asks for anything.
    pub fn set_evict_on(&mut self, evict_on: impl Fn() + 'static) {
        self.evict_on = Some(Box::new(evict_on));
    }

    /// Has eviction go on, between what clients ask for.
    pub fn evict_on(&self) {
        if let Some(evict_on) = &self.evict_on {
            evict_on();
        }
    }

    /// Who is called when the server is to listen elsewhere: with the settings of now, and those to come.
    pub fn set_rebind(&mut self, rebind: impl Fn(&Settings, &Settings) -> Option<u16> + 'static) {
        self.rebind = Some(Box::new(rebind));
    }

    /// Has the server listen where `wanted` says. Answers whether it does.
    pub fn listen_as(&mut self, wanted: &Settings) -> bool {
        let Some(rebind) = &self.rebind else { return false };
        let port = rebind(&self.settings, wanted);
        self.shell.port = port.unwrap_or(self.shell.port);
        port.is_some()
    }

    /// Has the server end.
    pub fn stop(&self) {
        if let Some(stop) = &self.stop {
            stop();
        }
    }

    /// A waiter's deadline, in milliseconds since 1970.
    pub fn alarm(&self, deadline_ms: i64) {
        if let Some(alarm) = &self.alarm {
            alarm(deadline_ms);
        }
    }

    /// Whether anybody gets copies of commands.
    #[inline]
    #[must_use]
    pub fn has_monitors(&self) -> bool {
        !self.monitors.is_empty()
    }

    /// Sends a copy of a command to all monitors.
    #[cold]
    pub fn feed_monitors(&mut self, client: &Client, id: CommandId, args: Args<'_>) {
        use redstart_common::command::spec::Flags as RowFlags;
        let row = command::spec(id);
        if row.flags.contains(RowFlags::SKIP_MONITOR) || row.flags.contains(RowFlags::ADMIN) {
            return;
        }
        let now = redstart_common::clock::unix_us();
        let from = if client.flags.any(crate::client::Flags::UNIX) {
            format!("unix:{}", self.settings.unixsocket)
        } else {
            client.address.clone()
        };
        let mut line =
            format!("+{}.{:06} [{} {from}]", now / 1_000_000, now % 1_000_000, client.db)
                .into_bytes();
        let secrets = crate::redact::secrets(id, args);
        for (place, arg) in args.iter().enumerate() {
            line.push(b' ');
            let shown = if secrets.contains(&place) { crate::redact::REDACTED } else { arg };
            crate::text::quote(shown, &mut line);
        }
        line.extend_from_slice(b"\r\n");
        for id in &self.monitors {
            if let Some(monitor) = self.clients.by_id(*id) {
                monitor.reply.raw(&line);
                monitor.mark();
            }
        }
    }

    /// Notes a command in the slow log, and for the latency monitor, if it took long enough.
    #[inline]
    pub fn note_slow(&mut self, client: &Client, id: CommandId, us: u64, args: Args<'_>) {
        if us >= self.slow_us {
            self.add_slow(client, id, us, args);
        }
    }

    #[cold]
    fn add_slow(&mut self, client: &Client, id: CommandId, us: u64, args: Args<'_>) {
        use redstart_common::command::spec::Flags as RowFlags;
        let flags = command::spec(id).flags;
        let fast = flags.contains(RowFlags::FAST);
        self.note_latency(if fast { "fast-command" } else { "command" }, us);
        let limit = u64::try_from(self.settings.slowlog_log_slower_than).unwrap_or(u64::MAX);
        if us >= limit && !flags.contains(RowFlags::SKIP_SLOWLOG) {
            let secrets = crate::redact::secrets(id, args);
            self.slowlog.add(us, args, &secrets, &client.address, &client.name);
        }
    }

    /// Notes for the latency monitor that something took `us`, if that is long enough.
    pub fn note_latency(&mut self, event: &'static str, us: u64) {
        let threshold = self.settings.latency_monitor_threshold;
        if threshold > 0 && us / 1000 >= threshold {
            self.latency.add(event, us / 1000);
        }
    }
}

/// 40 random hexadecimal digits.
#[must_use]
pub fn random_hex() -> String {
    use rand::Rng;
    let mut rng = rand::rng();
    (0..40).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0')).collect()
}
