//! A script that runs: what it may touch, the commands that it calls, and how it answers.

use std::rc::Rc;
use std::time::{Duration, Instant};

use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandId, CommandSpec, Resolved};
use redstart_common::log;
use redstart_common::resp::{Args, OwnedArgs, Proto, RespWrite, error};

use super::flags::ScriptFlags;
use super::session::Stop;
use super::state::{LibraryFunction, Running};
use crate::acl::selector::Denied;
use crate::client::{Client, Flags, Origin, Reply};
use crate::engine::armed::Armed;
use crate::engine::feed::Audience;
use crate::engine::{Call, CommandError, CommandResult, Core};
use crate::keyspace::Keyspace;
use crate::persistence::state::Refusal;
use crate::text::trim_line_ends;

/// Where a result that is being written is, in one of the tables around it.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// Behind the element with this number.
    Array(std::ffi::c_int),
    /// Before the next key of a map.
    Key,
    /// Before the value of a key of a map.
    Value,
    /// Before the next member of a set.
    Member,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A script: its keys and arguments are globals.
    Eval,
    /// A function: they are its arguments.
    Function,
    /// A library, which registers its functions; for so long at most, if that is limited.
    Load(Option<Duration>),
}

/// How a script may run.
pub struct Plan {
    /// What runs.
    pub kind: Kind,
    /// Its name: the SHA-1, or the function's.
    pub name: Rc<str>,
    /// It may not write.
    pub read_only: bool,
    /// It may write though memory is used up.
    pub allow_oom: bool,
    /// In a cluster it may name keys of several slots that are all this server's.
    pub crosses_slots: bool,
    /// How many of the arguments are keys.
    pub keys: usize,
}

/// A run of a script.
pub struct Run<'a> {
    /// The databases.
    pub keyspace: &'a mut Keyspace,
    /// Everything else of the engine.
    pub core: &'a mut Core,
    /// Who has called the script: it calls the script's commands as well.
    pub client: &'a mut Client,
    /// The client's reply, which the script's result becomes; that in the client takes what commands answer.
    pub own: Reply,
    /// The words of a command that is being called.
    pub words: OwnedArgs,
    /// The tables around what is being written of the result.
    pub levels: Vec<Level>,
    /// What a library has registered.
    pub registered: Vec<LibraryFunction>,
    /// Why a library could not be loaded.
    pub load_fault: Option<Vec<u8>>,
    plan: Plan,
    row: CommandId,
    args: Args<'a>,
    /// A reply that does not lie in one piece, or the text of a refusal.
    copied: Vec<u8>,
    out_of_memory: bool,
    audience: Audience,
    since: Instant,
    /// Where the script's answer begins.
    own_start: usize,
    own_db: usize,
    own_flags: Flags,
    failed: bool,
    /// In a cluster: the slot of all keys, once one is known; nothing where the script may name keys of several.
    slot: Option<Option<u16>>,
}

/// Flags of the client that a script sets.
const SCRIPT_FLAGS: Flags = Flags::EXECUTING.or(Flags::SCRIPT);

/// Places of the arguments of EVAL and FCALL behind which keys follow.
const BEFORE_KEYS: usize = 3;

impl<'a> Run<'a> {
    /// Begins a run for a call.
    pub fn begin(call: Call<'a>, plan: Plan) -> Self {
        let Call { keyspace, core, client, args, row } = call;
        let since = Instant::now();
        let spare = std::mem::take(&mut core.scripting.spare);
        let own = std::mem::replace(&mut client.reply, spare.reply);
        let own_start = own.end();
        client.reply.proto = Proto::Resp2;
        let own_flags = client.flags;
        client.flags.set(SCRIPT_FLAGS);
        core.scripting.running = Some(Running {
            name: Rc::clone(&plan.name),
            is_eval: plan.kind == Kind::Eval,
            since,
            of_primary: client.origin != Origin::Client,
            wrote: false,
            killed: false,
            forgotten: false,
            slow: None,
        });
        core.feed.begin_frame();
        let out_of_memory = core.armed.any(Armed::MEMORY) && core.out_of_memory();
        let own_db = client.db;
        let slot = (!plan.crosses_slots).then(|| core.slot_of(row.spec(), args));
        Self {
            keyspace,
            core,
            client,
            own,
            words: spare.args,
            levels: Vec::new(),
            registered: Vec::new(),
            load_fault: None,
            plan,
            row,
            args,
            copied: Vec::new(),
            out_of_memory,
            audience: Audience::ALL,
            since,
            own_start,
            own_db,
            own_flags,
            failed: false,
            slot,
        }
    }

    /// Ends the run: the client is what it was, and has the script's answer.
    pub fn end(self) {
        let Self { core, client, mut own, mut words, own_flags, .. } = self;
        /// Memory that is kept for the next script, in bytes.
        const KEPT_BYTES: usize = 64 << 10;
        if core.scripting.running.take().is_some_and(|running| running.forgotten) {
            core.feed.drop_group();
        }
        core.feed.end_frame();
        client.db = self.own_db;
        if !own_flags.any(Flags::EXECUTING) {
            client.flags.clear(Flags::EXECUTING);
        }
        client.flags.clear(Flags::SCRIPT);
        own.failed = self.failed;
        let mut reply = std::mem::replace(&mut client.reply, own);
        reply.output.clear();
        // Messages to the client itself came before its reply; within EXEC they follow that one's.
        if !own_flags.any(Flags::EXECUTING) && !client.after_exec.is_empty() {
            let messages = std::mem::take(&mut client.after_exec);
            client.reply.output.insert(self.own_start, &messages);
        }
        words.clear();
        if words.heap_bytes() > KEPT_BYTES {
            words = OwnedArgs::new();
        }
        core.scripting.spare = super::state::Spare { args: words, reply };
    }

    /// The keys of the call.
    #[must_use]
    pub fn keys(&self) -> Args<'a> {
        let spans = self.args.tail(BEFORE_KEYS).spans();
        Args::new(self.args.buffer(), spans.get(..self.plan.keys).unwrap_or(spans))
    }

    /// The other arguments.
    #[must_use]
    pub fn arguments(&self) -> Args<'a> {
        self.args.tail(BEFORE_KEYS + self.plan.keys)
    }

    /// Whether keys and arguments are globals.
    #[must_use]
    pub fn is_eval(&self) -> bool {
        self.plan.kind == Kind::Eval
    }

    /// Whether it is a library that registers its functions.
    #[must_use]
    pub fn is_load(&self) -> bool {
        matches!(self.plan.kind, Kind::Load(_))
    }

    /// Sets the version of the protocol in which commands answer the script.
    pub fn set_proto(&mut self, proto: Proto) {
        self.client.reply.proto = proto;
    }

    /// Sets who repeats what the script's commands write from now on.
    pub fn set_audience(&mut self, audience: Audience) {
        self.audience = audience;
    }

    fn wrote(&self) -> bool {
        self.core.scripting.running.as_ref().is_some_and(|running| running.wrote)
    }

    /// Calls the command whose words have been gathered. Answers with its reply.
    ///
    /// # Errors
    /// The text of the refusal when it was not let run, which is counted by then.
    pub fn command(&mut self) -> Result<*const [u8], *const [u8]> {
        let output = &mut self.client.reply.output;
        if output.blocks() > 0 {
            output.clear();
        } else {
            output.truncate(0);
        }
        let words = std::mem::take(&mut self.words);
        let called = self.call(words.as_args());
        self.words = words;
        match called {
            Ok(()) => {
                let output = &self.client.reply.output;
                // One that cannot be given is a reply all the same: nothing.
                match output.tail_from(0) {
                    Some(bytes) => Ok(bytes),
                    None => {
                        self.copied = output.waiting();
                        Ok(&raw const *self.copied)
                    }
                }
            }
            Err((row, refusal)) => {
                self.core.stats.count_error(refusal.text());
                if let Some(id) = row {
                    self.core.stats.rejected(id);
                }
                self.copied.clear();
                self.copied.extend_from_slice(refusal.text());
                Err(&raw const *self.copied)
            }
        }
    }

    fn call(&mut self, words: Args<'_>) -> Result<(), (Option<CommandId>, CommandError)> {
        let found = self.core.renames.resolve(words.at(0), words.get(1));
        let Resolved::Command(id) = found else { return Err((None, UNKNOWN)) };
        let row = id.spec();
        let Some(handler) = self.core.handlers.of(id) else {
            // A container lacks its sub-command, if it has any that runs.
            let runs = row.subcommands().iter().any(|sub| self.core.handlers.of(sub.id).is_some());
            return Err(if runs { (Some(id), WRONG_ARITY) } else { (None, UNKNOWN) });
        };
        if !row.accepts_count(words.len()) {
            return Err((Some(id), WRONG_ARITY));
        }
        self.gates(row, words).map_err(|refusal| (Some(id), refusal))?;
        if row.flags.contains(RowFlags::WRITE)
            && let Some(running) = &mut self.core.scripting.running
        {
            running.wrote = true;
        }
        let Self { keyspace, core, client, .. } = self;
        let reads = row.flags.contains(RowFlags::READONLY) && !row.flags.contains(RowFlags::PUBSUB);
        if reads && client.flags.any(Flags::TRACKING) {
            // As in Redis, all that it was called with.
            core.tracking.remember_keys(client, self.row, self.args);
        }
        if self.audience == Audience::ALL {
            crate::dispatch::run(keyspace, core, client, id, handler, words);
        } else {
            let before = core.feed.limit(Audience::ALL);
            core.feed.limit(before.and(self.audience));
            crate::dispatch::run(keyspace, core, client, id, handler, words);
            core.feed.limit(before);
        }
        Ok(())
    }

    /// What a script may not call now, in the order of Redis.
    fn gates(&mut self, row: &'static CommandSpec, words: Args<'_>) -> CommandResult {
        let core = &mut *self.core;
        if row.flags.contains(RowFlags::NOSCRIPT) && !core.scripting.may_call_all {
            return Err(CommandError::new("ERR This Redis command is not allowed from script"));
        }
        if core.armed.any(Armed::STALE)
            && !core.replication.is_link_up()
            && !row.flags.contains(RowFlags::STALE)
        {
            return Err(CommandError::new("ERR Can not execute the command on a stale replica"));
        }
        if self.client.flags.any(Flags::RESTRICTED) {
            core.check_user(self.client, row, words).map_err(not_permitted)?;
        }
        let writes = row.flags.contains(RowFlags::WRITE);
        if self.plan.read_only && (writes || row.flags.contains(RowFlags::MAY_REPLICATE)) {
            return Err(CommandError::new(
                "ERR Write commands are not allowed from read-only scripts.",
            ));
        }
        let obeys = self.client.origin != Origin::Client;
        // What has begun to write is not stopped half-way.
        if !self.core.armed.is_empty() && !self.wrote() {
            if writes {
                self.write_gates(obeys)?;
            }
            if self.out_of_memory
                && !self.plan.allow_oom
                && !obeys
                && row.flags.contains(RowFlags::DENYOOM)
            {
                return Err(CommandError::new(error::OUT_OF_MEMORY));
            }
        }
        if self.core.cluster.is_some() && !obeys {
            let (db, slot) = (&self.keyspace.dbs[0], self.slot.as_mut());
            self.core.slot_gate_of_script(db, self.client, row, words, slot)?;
        }
        Ok(())
    }

    fn write_gates(&self, obeys: bool) -> CommandResult {
        let core = &*self.core;
        if core.armed.any(Armed::READ_ONLY) && !obeys {
            return Err(CommandError::new(error::READ_ONLY));
        }
        match core.saved.refusal(&core.settings) {
            Some(Refusal::Snapshot) => return Err(CommandError::new(error::MISCONF_RDB)),
            Some(Refusal::Log(reason)) => {
                return Err(CommandError::made(error::misconf_aof(&reason)));
            }
            None => {}
        }
        if !core.replication.has_enough_replicas() {
            return Err(CommandError::new(error::NO_REPLICAS));
        }
        Ok(())
    }

    /// Looks at the clock: a script that runs for long lets others be served. Answers with the text of the error that ends it,
    /// if it is to end.
    pub fn interrupt(&mut self) -> Option<&'static str> {
        if let Kind::Load(most) = self.plan.kind {
            let is_over = most.is_some_and(|most| self.since.elapsed() > most);
            return is_over.then_some("ERR FUNCTION LOAD timeout");
        }
        let running = self.core.scripting.running.as_mut()?;
        if running.killed {
            return Some(KILLED);
        }
        if running.slow.is_none() {
            let threshold_ms = self.core.settings.busy_reply_threshold_ms;
            let took = running.since.elapsed();
            if threshold_ms == 0 || took < Duration::from_millis(threshold_ms) {
                return None;
            }
            running.slow = Some(OwnedArgs::from_args(self.args));
            log!(
                Warning,
                "Slow script detected: still in execution after {} milliseconds. You can try killing the \
                 script using the {} command. Script name is: {}.",
                took.as_millis(),
                if running.is_eval { "SCRIPT KILL" } else { "FUNCTION KILL" },
                running.name
            );
        }
        self.core.serve_others(self.keyspace);
        let is_killed = self.core.scripting.running.as_ref().is_some_and(|running| running.killed);
        if is_killed {
            log!(Warning, "Lua script killed by user with SCRIPT KILL.");
        }
        is_killed.then_some(KILLED)
    }

    /// A script that is debugged arrives at a line, or has run on for a while. Answers why it stops there, if it does.
    pub fn arrives(&mut self, line: i64, has_run_on: bool) -> Option<Stop> {
        /// How long a script runs on before it stops, where no other time is set, in milliseconds.
        const LONG_MS: u64 = 5000;
        let threshold_ms = match self.core.settings.busy_reply_threshold_ms {
            0 => LONG_MS,
            set => set,
        };
        let is_long = has_run_on && self.since.elapsed() >= Duration::from_millis(threshold_ms);
        self.core.scripting.session.as_mut()?.arrives(line, is_long)
    }

    /// A script that has stopped goes on: the time until here does not count.
    pub fn restart_clock(&mut self) {
        self.since = Instant::now();
    }

    /// Answers with the error that has ended the script: its text, where it was raised, and whether it has been counted.
    pub fn report(&mut self, text: &[u8], place: Option<(&[u8], &[u8])>, counted: bool) {
        let mut whole = text.to_vec();
        if let Some((source, line)) = place {
            whole.extend_from_slice(b" script: ");
            whole.extend_from_slice(self.plan.name.as_bytes());
            for part in [&b", on "[..], source, b":", line, b"."] {
                whole.extend_from_slice(part);
            }
        }
        self.reply_error(&whole, counted);
    }

    /// Answers with an error that is no error of Redis's, as far as it is known.
    pub fn report_unusual(&mut self, text: &[u8]) {
        const TOLD_BYTES: usize = 100;
        let told = text.get(..TOLD_BYTES).unwrap_or(text);
        let name = self.plan.name.as_bytes();
        let whole = [b"ERR Error running script ", name, b", ", told].concat();
        self.reply_error(&whole, false);
    }

    /// Answers with an error that a script has returned or raised.
    pub fn reply_error(&mut self, text: &[u8], counted: bool) {
        let text = trim_line_ends(text);
        if !counted {
            // As Redis has it: one without a blank has no code word.
            let is_coded = text.iter().take(31).any(|byte| *byte == b' ');
            self.core.stats.count_error(if is_coded { text } else { b"ERR" });
        }
        self.failed = true;
        self.own.output.room(text.len() + 8).error(text);
    }

    /// Answers with a status.
    pub fn reply_status(&mut self, text: &[u8]) {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        self.own.output.room(text.len() + 8).simple(text);
    }

    /// Answers with a truth value, which is a number or nothing where the script speaks RESP2.
    pub fn reply_boolean(&mut self, truth: bool) {
        match (self.client.reply.proto, truth) {
            (Proto::Resp2, true) => self.own.integer(1),
            (Proto::Resp2, false) => self.own.null(),
            (Proto::Resp3, truth) => self.own.boolean(truth),
        }
    }

    /// Answers with a number of any length.
    pub fn reply_big_number(&mut self, digits: &[u8]) {
        let plain = |byte: &u8| if b"\r\n".contains(byte) { b' ' } else { *byte };
        let digits: Vec<u8> = digits.iter().map(plain).collect();
        let proto = self.own.proto;
        self.own.output.room(digits.len() + 32).big_number(&digits, proto);
    }

    /// Answers with a text that has a format.
    pub fn reply_verbatim(&mut self, format: &[u8], text: &[u8]) {
        let mut letters = *b"   ";
        let given = format.iter().take_while(|byte| **byte != 0);
        for (letter, byte) in letters.iter_mut().zip(given) {
            *letter = *byte;
        }
        self.own.verbatim(letters, text);
    }
}

const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
const UNKNOWN: CommandError = CommandError::new("ERR Unknown Redis command called from script");
const WRONG_ARITY: CommandError =
    CommandError::new("ERR Wrong number of args calling Redis command from script");

fn not_permitted(denied: Denied) -> CommandError {
    CommandError::new(match denied {
        Denied::Command => "ERR The user executing the script can't run this command or subcommand",
        Denied::Key(_) => {
            "ERR The user executing the script can't access at least one of the keys mentioned in the \
             command arguments"
        }
        Denied::Channel(_) => {
            "ERR The user executing the script can't publish to the channel mentioned in the command"
        }
    })
}

/// What keeps a script from being run at all, in the words of Redis.
///
/// # Errors
/// The refusal.
pub fn may_run(call: &Call<'_>, flags: ScriptFlags, read_only: bool) -> CommandResult {
    let core = &*call.core;
    let obeys = call.client.origin != Origin::Client;
    let is_stale = core.armed.any(Armed::STALE) && !core.replication.is_link_up();
    if flags.any(ScriptFlags::SILENT) {
        return if is_stale { Err(CommandError::new(error::MASTER_DOWN)) } else { Ok(()) };
    }
    if flags.any(ScriptFlags::NO_CLUSTER) && call.is_in_cluster() {
        return Err(CommandError::new(
            "ERR Can not run script on cluster, 'no-cluster' flag is set.",
        ));
    }
    if is_stale && !flags.any(ScriptFlags::ALLOW_STALE) {
        return Err(CommandError::new(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and \
             'allow-stale' flag is not set on the script.",
        ));
    }
    if !flags.any(ScriptFlags::NO_WRITES) {
        if core.armed.any(Armed::READ_ONLY) && !obeys {
            return Err(CommandError::new(
                "READONLY Can not run script with write flag on readonly replica",
            ));
        }
        if let Some(refusal) = core.saved.refusal(&core.settings).filter(|_| !obeys) {
            return Err(not_on_disk(&refusal));
        }
        if read_only {
            return Err(CommandError::new(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
        if !core.replication.has_enough_replicas() {
            return Err(CommandError::new(error::NO_REPLICAS));
        }
    }
    let may_take_memory = flags.any(ScriptFlags::ALLOW_OOM.or(ScriptFlags::NO_WRITES));
    if core.armed.any(Armed::MEMORY) && !may_take_memory && core.out_of_memory() {
        return Err(CommandError::new(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > \
             'maxmemory'",
        ));
    }
    Ok(())
}

fn not_on_disk(refusal: &Refusal) -> CommandError {
    const BLOCKED: &str = "but it's currently unable to persist to disk. Writable scripts are blocked. \
                           Use 'no-writes' flag for read only scripts.";
    CommandError::made(match refusal {
        Refusal::Snapshot => {
            format!("MISCONF Redis is configured to save RDB snapshots, {BLOCKED}")
        }
        Refusal::Log(reason) => format!(
            "MISCONF Redis is configured to persist data to AOF, {BLOCKED} AOF error: {reason}"
        ),
    })
}
