//! Everything of an engine but its databases.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::SmallRng;
use redstart_common::command::{self, CommandId};
use redstart_common::net::tls::Material;
use redstart_common::resp::Args;

use super::armed::Armed;
use super::asks::Ask;
use super::feed::Feed;
use super::unsynced::Unsynced;
use super::waiting::Blocking;
use super::watch::Watches;
use super::{Handlers, Time};
use crate::acl::Users;
use crate::client::{Client, Clients};
use crate::cluster::Cluster;
use crate::clustering::state::Clustering;
use crate::eviction::candidates::Candidates;
use crate::keyspace::Keyspace;
use crate::migrate::Migrations;
use crate::observe::command_log::{About, CommandLogs, Limits};
use crate::observe::latency::Monitor;
use crate::observe::slot_costs::SlotCosts;
use crate::observe::stats::Stats;
use crate::pause::Paused;
use crate::persistence::logging::Logging;
use crate::persistence::save::{Reports, Save};
use crate::persistence::state::Saved;
use crate::process::supervised::Supervisor;
use crate::pubsub::PubSub;
use crate::replicating::state::Replicating;
use crate::replication::Replication;
use crate::saving::ending::Ending;
use crate::scripting::state::Scripting;
use crate::sentinel::Sentinel;
use crate::settings::Settings;
use crate::settings::renames::Renames;
use crate::tracking::Tracking;

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
    pub feed: Feed,
    /// Commands that took long, or much.
    pub command_logs: CommandLogs,
    /// What slots cost, if that is counted.
    pub slot_costs: Option<SlotCosts>,
    /// What took too long, by kind of event.
    pub latency: Monitor,
    /// From what on a command is noted, in a log or by the latency monitor.
    pub(super) noted_from: Limits,
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
    pub rates: crate::observe::rates::Rates,
    /// The most memory that was ever seen in use, in bytes.
    pub memory_peak: std::cell::Cell<usize>,
    /// Memory in use before there was any data, in bytes.
    pub memory_at_start: usize,
    /// When the engine started, in seconds since 1970.
    pub started_unix_s: i64,
    /// Whether this is about to end.
    pub ending: Ending,
    /// Who follows whom, decided.
    pub replication: Replication,
    /// The same, as far as the engine has to do with it.
    pub replicating: Replicating,
    /// This server's part in a cluster, where it has one.
    pub cluster: Option<Box<Cluster>>,
    /// The same, as far as the engine has to do with it.
    pub clustering: Clustering,
    /// Chance.
    pub random: SmallRng,
    /// Whether the regular work stands still (DEBUG PAUSE-CRON).
    pub cron_paused: bool,
    /// Whether checksums of payloads do not count (DEBUG SET-SKIP-CHECKSUM-VALIDATION).
    pub checksums_skipped: bool,
    /// CLIENT PAUSE, while it is on.
    pub paused: Paused,
    /// What may refuse commands for now.
    pub armed: Armed,
    /// What was saved and loaded.
    pub saved: Saved,
    /// The append-only file.
    pub logging: Logging,
    /// Keys that it has not brought to the disk yet, and who waits for that.
    pub unsynced: Unsynced,
    /// The save that is under way.
    pub save: Option<Save>,
    /// Its number.
    pub save_number: u64,
    /// Where the thread of a save reports to; none without a shell.
    pub reports: Option<Reports>,
    /// What is asked of the shell.
    pub asks: Vec<Ask>,
    /// Keys on their way to other servers.
    pub migrations: Migrations,
    /// Scripts and functions.
    pub scripting: Scripting,
    /// Who watches primaries, where the process acts as a sentinel. It is out of its place while it decides.
    pub sentinel: Option<Box<Sentinel>>,
    /// What TLS needs, where anything goes by it.
    pub tls: Option<Arc<Material>>,
    pub(super) others: Option<ServeOthers>,
    pub(super) rebind: Option<Rebind>,
}

/// Has the server listen where other settings say, and answers with the port; or leaves everything as it is.
type Rebind = Box<dyn Fn(&Settings, &Settings) -> Option<u16>>;

/// Serves clients while a script runs.
type ServeOthers = Rc<dyn Fn(&mut Keyspace, &mut Core)>;

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
    /// Who waits until the data is loaded.
    pub ready: Option<std::sync::mpsc::Sender<()>>,
    /// The folder of the data; empty is the one that the process works in.
    pub folder: std::path::PathBuf,
}

impl Core {
    /// Has settings take effect that the keyspace keeps copies of.
    pub fn apply_settings(&mut self, shared: &crate::keyspace::Shared) {
        use crate::settings::notify::Classes;
        let settings = &self.settings;
        shared.lfu.set(settings.maxmemory_policy.is_lfu());
        shared.change_is_use.set(settings.maxmemory_policy.is_lrm());
        shared.lfu_log_factor.set(settings.lfu_log_factor);
        shared.lfu_decay_minutes.set(settings.lfu_decay_time);
        shared.watch_misses.set(settings.notify_keyspace_events.any(Classes::MISS));
        shared.watch_added.set(settings.notify_keyspace_events.any(Classes::NEW));
        self.stats.track_latency = settings.latency_tracking;
        let logs = &settings.command_logs;
        for (about, log) in [
            (About::Slow, logs.slow),
            (About::LargeRequest, logs.large_request),
            (About::LargeReply, logs.large_reply),
        ] {
            let log_of = self.command_logs.of_mut(about);
            log_of.set_length(log.length_max);
            log_of.set_extent(logs.args_max, logs.arg_bytes_max);
        }
        let limits = Limits {
            us: logs.slow.limit(),
            request_bytes: logs.large_request.limit(),
            reply_bytes: logs.large_reply.limit(),
        };
        let latency_us = match settings.latency_monitor_threshold {
            0 => u64::MAX,
            ms => ms.saturating_mul(1000),
        };
        self.noted_from = Limits { us: limits.us.min(latency_us), ..limits };
        if settings.cluster.enabled && settings.cluster.slot_stats_enabled {
            // Every command is looked at closely.
            self.noted_from.us = 0;
            self.slot_costs.get_or_insert_default();
        } else {
            self.slot_costs = None;
        }
        self.note_expiry(shared);
        self.arm();
    }

    /// Has eviction go on, between what clients ask for.
    pub fn evict_on(&mut self) {
        self.asks.push(Ask::GoOnEvicting);
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

    /// Who serves clients while a script runs.
    pub fn set_serve_others(&mut self, serve: impl Fn(&mut Keyspace, &mut Self) + 'static) {
        self.others = Some(Rc::new(serve));
    }

    /// Serves clients while a script runs, as far as they may be.
    pub fn serve_others(&mut self, keyspace: &mut Keyspace) {
        if let Some(serve) = self.others.clone() {
            serve(keyspace, self);
        }
    }

    /// Whether a row can be run: it has a handler, or a sub-command of it has.
    #[must_use]
    pub fn runs(&self, row: &'static command::CommandSpec) -> bool {
        let runs = |id| self.handlers.of(id).is_some();
        runs(row.id) || row.subcommands().iter().any(|sub| runs(sub.id))
    }

    /// Has the server end.
    pub fn stop(&mut self) {
        self.asks.push(Ask::Stop);
    }

    /// A waiter has a deadline.
    pub fn alarm(&mut self) {
        self.asks.push(Ask::LookAtDeadlines);
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
        self.show_to_monitors(client, id, args);
    }

    /// Sends a copy of a command to all monitors, whatever its row says.
    #[cold]
    pub fn show_to_monitors(&mut self, client: &Client, id: CommandId, args: Args<'_>) {
        let now = redstart_common::clock::unix_us();
        let from = if client.flags.any(crate::client::Flags::SCRIPT) {
            "lua".to_owned()
        } else if client.flags.any(crate::client::Flags::UNIX) {
            format!("unix:{}", self.settings.unixsocket)
        } else {
            client.address.clone()
        };
        let mut line =
            format!("+{}.{:06} [{} {from}]", now / 1_000_000, now % 1_000_000, client.db)
                .into_bytes();
        let secrets = crate::observe::redact::secrets(id, args);
        for (place, arg) in args.iter().enumerate() {
            line.push(b' ');
            let shown =
                if secrets.contains(&place) { crate::observe::redact::REDACTED } else { arg };
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

    /// Notes a command in the logs, and for the latency monitor, if it took long enough, or its request or reply was large.
    #[inline]
    pub fn note_command(
        &mut self,
        client: &Client,
        id: CommandId,
        us: u64,
        args: Args<'_>,
        reply_bytes: usize,
    ) {
        let from = &self.noted_from;
        // One branch, which is hardly ever taken.
        if (us >= from.us)
            | (args.encoded_len_max() as u64 >= from.request_bytes)
            | (reply_bytes as u64 >= from.reply_bytes)
        {
            self.note_closely(client, id, us, args, reply_bytes);
        }
    }

    #[cold]
    fn note_closely(
        &mut self,
        client: &Client,
        id: CommandId,
        us: u64,
        args: Args<'_>,
        reply_bytes: usize,
    ) {
        use redstart_common::command::spec::Flags as RowFlags;
        if let Some(costs) = &mut self.slot_costs {
            costs.count(client, id, us, args, reply_bytes);
        }
        let flags = command::spec(id).flags;
        let fast = flags.contains(RowFlags::FAST);
        self.note_latency(if fast { "fast-command" } else { "command" }, us);
        if flags.contains(RowFlags::SKIP_SLOWLOG) {
            return;
        }
        let request_bytes = args.encoded_len() as u64;
        let logs = self.settings.command_logs;
        for (about, amount, log) in [
            (About::Slow, us, logs.slow),
            (About::LargeRequest, request_bytes, logs.large_request),
            (About::LargeReply, reply_bytes as u64, logs.large_reply),
        ] {
            if amount >= log.limit() {
                let secrets = crate::observe::redact::secrets(id, args);
                let log = self.command_logs.of_mut(about);
                log.add(amount, args, &secrets, &client.address, &client.name);
            }
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
