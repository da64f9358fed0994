//! The append-only file: what each turn has written is logged, and the files are rewritten when they have grown.

use std::time::Duration;

use redstart_common::resp::RespWrite;
use redstart_common::{clock, log};

use super::NotBegun;
use crate::client::Flags;
use crate::clustering::moves;
use crate::engine::Core;
use crate::engine::feed::{Audience, Part};
use crate::keyspace::Keyspace;
use crate::persistence::aof::chain::{Chain, ChainError, Opened, State};
use crate::persistence::aof::encode::Encoder;
use crate::persistence::aof::growth::{Automatic, Permission, Sizes};
use crate::persistence::aof::load::Loaded;
use crate::persistence::aof::log::Fatal;
use crate::persistence::aof::manifest::Names;
use crate::persistence::logging::{Rewrite, policy};
use crate::persistence::rdb::SaveFile;
use crate::persistence::saver::{Output, Purpose, Sink};

/// Something could not be done; the log says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reported;

fn report(error: &ChainError) -> Reported {
    for line in error.report() {
        log!(Warning, "{line}");
    }
    Reported
}

impl Core {
    /// Hands what was written to the log and to the backlog, as far as it is whole.
    pub(crate) fn hand_over(&mut self) {
        if !self.feed.is_empty() {
            let batch = self.feed.take();
            if let Some(log) = &mut self.logging.log {
                if self.settings.saving.aof_timestamp_enabled {
                    log.time(clock::unix_ms() / 1000);
                }
                let mut group = false;
                for part in batch.parts(Audience::LOG) {
                    match part {
                        // The group's database is that of its first command.
                        Part::Begin => group = true,
                        Part::Command { db, bytes } => {
                            let db = db as u32;
                            if std::mem::take(&mut group) {
                                log.begin_group(db);
                            }
                            log.commands(db, bytes);
                        }
                        Part::End => log.end_group(),
                    }
                }
            }
            self.append_to_backlog(&batch);
            self.tap_moves(&batch);
            self.feed.give_back(batch);
        }
    }

    /// The end of a turn: what it has written goes to the log, and to the disk where replies wait for that; replicas are given
    /// it.
    ///
    /// # Errors
    /// When a write that was acknowledged, or is about to be, is lost: the process has to end. The log says why.
    pub fn deliver(&mut self, keyspace: &mut Keyspace) -> Result<(), Fatal> {
        self.hand_over();
        self.flush_log(false)?;
        if !self.feed.is_framed() {
            let (appended, released) = self.logging.marks();
            self.unsynced.settle(appended, released);
        }
        self.look_at_disk();
        self.feed_replicas(keyspace);
        Ok(())
    }

    /// Has those looked at again whose replies wait for the disk, if it has come further. No client may be taken out.
    pub fn look_at_held(&mut self) {
        let marks = self.logging.marks();
        for id in self.unsynced.take_held(marks.1) {
            if let Some(client) = self.clients.by_id(id) {
                client.flags.clear(Flags::HELD);
                self.unsynced.release(client, marks);
                client.mark();
            }
        }
    }

    fn flush_log(&mut self, force: bool) -> Result<(), Fatal> {
        let now_ms = self.logging.now_ms();
        let offset = self.replication.history().offset.bytes().unsigned_abs();
        let Some(log) = &mut self.logging.log else { return Ok(()) };
        if !self.logging.flush_sleep.is_zero() && log.buffered_bytes() > 0 {
            // It is asked for: a test wants a slow disk.
            std::thread::sleep(self.logging.flush_sleep);
        }
        log.flush(now_ms, offset, force)?;
        let events = log.latencies().clone();
        for (event, took) in events {
            self.note_latency(event, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        let refusal = self.logging.refusal();
        if refusal != self.saved.log_error {
            self.saved.log_error = refusal;
            self.arm();
        }
        Ok(())
    }

    /// Before the log is loaded again: it goes out to the disk, and its manifest is read once more.
    ///
    /// # Errors
    /// When a write that was acknowledged is lost: the process has to end. The log says why.
    pub fn prepare_log_reload(&mut self, keyspace: &mut Keyspace) -> Result<(), Fatal> {
        self.deliver(keyspace)?;
        self.flush_log(true)?;
        if self.logging.rewrite.is_none() {
            self.logging.chain = None;
        }
        Ok(())
    }

    /// Settings of the log have changed.
    pub fn apply_log_settings(&mut self) {
        let saving = &self.settings.saving;
        if let Some(log) = &mut self.logging.log {
            log.state_mut().set_policy(policy(saving));
            log.state_mut().set_spare_disk(saving.no_appendfsync_on_rewrite);
        }
        self.unsynced.set_on(self.logging.promises());
        self.remove_history();
    }

    /// Removes the files that rewrites have replaced, unless they are to be left there.
    fn remove_history(&mut self) {
        if !self.settings.saving.aof_disable_auto_gc
            && let Some(chain) = &mut self.logging.chain
            && let Err(error) = chain.remove_history()
        {
            report(&error);
        }
    }

    /// Writes to `file` from now on, which has `size` bytes.
    fn begin_log(&mut self, file: std::fs::File, size: u64) -> Result<(), Reported> {
        let offset = self.replication.history().offset.bytes().unsigned_abs();
        let Self { logging, settings, unsynced, .. } = self;
        logging.open_log(file, size, &settings.saving, offset).map_err(|error| {
            log!(Warning, "Can't start the thread that syncs the append-only file: {error}");
            Reported
        })?;
        unsynced.set_on(logging.promises());
        Ok(())
    }

    fn close_log(&mut self) {
        self.logging.close_log();
        self.unsynced.set_on(false);
    }

    fn set_log_state(&mut self, state: State) {
        self.logging.state = state;
        let rest = self.feed.audience().without(Audience::LOG);
        let log = if state == State::Off { Audience::NOBODY } else { Audience::LOG };
        self.feed.set_audience(rest.or(log));
        self.serve_wait_for_disks();
    }

    /// The files of the log, read when they are first asked for.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn chain(&mut self) -> Result<&mut Chain, ChainError> {
        if self.logging.chain.is_none() {
            let saving = &self.settings.saving;
            let names = Names::new(&saving.appendfilename);
            let folder = match self.shell.folder.as_os_str() {
                name if name.is_empty() => std::path::Path::new("."),
                _ => &self.shell.folder,
            };
            let chain = Chain::read(folder, &saving.appenddirname, names)?;
            self.logging.chain = Some(chain);
        }
        Ok(self.logging.chain.as_mut().expect("it was just read"))
    }

    /// After loading: opens the increment to go on with.
    ///
    /// # Errors
    /// The disk's; the server cannot start then.
    pub fn open_log(&mut self, keyspace: &Keyspace, loaded: Loaded) -> Result<(), Reported> {
        let rdb_base = self.settings.saving.aof_use_rdb_preamble;
        let mut chain = match self.chain() {
            Ok(_) => self.logging.chain.take().expect("it was just read"),
            Err(error) => return Err(report(&error)),
        };
        let outcome = chain.open(rdb_base, |path| {
            let temporary = path.with_extension("tmp");
            SaveFile::create_as(temporary, path, false)
                .and_then(|file| self.write_base(keyspace, file, rdb_base))
                .map_err(|error| error.source)
        });
        self.logging.chain = Some(chain);
        let Opened { file, size } = outcome.map_err(|error| report(&error))?;
        self.begin_log(file, size)?;
        self.logging.sizes = Sizes::loaded(loaded.bytes, loaded.base_bytes, size);
        self.set_log_state(State::On);
        Ok(())
    }

    /// `BGREWRITEAOF`: begins to write the data into a new base.
    ///
    /// # Errors
    /// When another save is under way, or this one failed at once.
    pub fn begin_rewrite(&mut self, keyspace: &mut Keyspace) -> Result<(), NotBegun> {
        if self.save.is_some() {
            return Err(NotBegun::Busy);
        }
        match self.try_rewrite(keyspace) {
            Ok(()) => {
                log!(
                    Notice,
                    "Background append only file rewriting started by pid {}",
                    std::process::id()
                );
                self.logging.scheduled = false;
                Ok(())
            }
            Err(Reported) => {
                self.logging.last_failed = true;
                self.logging.back_off.failed();
                Err(NotBegun::Failed)
            }
        }
    }

    fn try_rewrite(&mut self, keyspace: &mut Keyspace) -> Result<(), Reported> {
        let state = self.logging.state;
        // What was written before belongs to the files of before: it is in the data that is saved now.
        if self.deliver(keyspace).and_then(|()| self.flush_log(true)).is_err() {
            std::process::exit(1);
        }
        if self.logging.log.as_ref().is_some_and(|log| log.buffered_bytes() > 0) {
            log!(Warning, "The append-only file takes no writes: it cannot be rewritten now");
            return Err(Reported);
        }
        let chain = self.chain().map_err(|error| report(&error))?;
        let opened = chain.begin_rewrite(state).map_err(|error| report(&error))?;
        let pid = std::process::id();
        let written = self.data_path(&format!("temp-rewriteaof-bg-{pid}.aof"));
        let temporary = self.data_path(&format!("temp-rewriteaof-{pid}.aof"));
        let on_the_way = self.settings.saving.aof_rewrite_incremental_fsync;
        let rdb_base = self.settings.saving.aof_use_rdb_preamble;
        let file = SaveFile::create_as(temporary, &written, on_the_way).map_err(|error| {
            log!(Warning, "Opening the temp file for AOF rewrite: {error}");
            Reported
        })?;
        let mark = self.switch_log(opened)?;
        let sink = if rdb_base {
            Sink::File(file)
        } else {
            Sink::Commands(file, self.head_of_commands(keyspace))
        };
        let head = self.head(keyspace, true);
        self.begin_save(keyspace, vec![Output { purpose: Purpose::LogBase, sink, head }])
            .map_err(|_| Reported)?;
        self.logging.rewrites += 1;
        let since = std::time::Instant::now();
        self.logging.rewrite = Some(Rewrite { state, rdb_base, mark, written, since });
        self.note_log_saving();
        Ok(())
    }

    /// What a base of commands begins with: the time, if that is logged, and the libraries of functions.
    pub(super) fn head_of_commands(&self, keyspace: &Keyspace) -> Vec<u8> {
        let mut out = Vec::new();
        if self.settings.saving.aof_timestamp_enabled {
            Encoder::default().time(clock::unix_ms() / 1000, &mut out);
        }
        for library in self.scripting.libraries.libraries.values() {
            let words: [&[u8]; 3] = [b"FUNCTION", b"LOAD", &library.code];
            out.array_len(words.len());
            words.iter().for_each(|word| out.bulk(word));
        }
        if let Some(aside) = keyspace.dbs.first().and_then(|db| db.aside()) {
            out.array_len(2);
            out.bulk(b"PING");
            out.bulk(&moves::mark_text("aside", aside));
        }
        out
    }

    /// Has the log go on in another file. Answers where it does.
    fn switch_log(&mut self, opened: Option<Opened>) -> Result<Option<u64>, Reported> {
        let Some(Opened { file, size }) = opened else { return Ok(None) };
        let now_ms = self.logging.now_ms();
        let left = self.logging.open_bytes();
        match &mut self.logging.log {
            Some(log) => {
                let mark = log.switch_to(file, now_ms).map_err(|_| {
                    log!(Warning, "The append-only file takes no writes: it cannot be left now");
                    Reported
                })?;
                self.logging.sizes.switch(left);
                Ok(Some(mark))
            }
            None => {
                self.begin_log(file, size)?;
                Ok(Some(0))
            }
        }
    }

    /// The log spares the disk while a snapshot is written, if it is to.
    pub(super) fn note_log_saving(&mut self) {
        let saving = self.save.as_ref().is_some_and(|save| !save.purposes.is_empty());
        if let Some(log) = &mut self.logging.log {
            log.state_mut().set_saving(saving);
        }
    }

    /// A rewrite has ended.
    pub(super) fn rewrite_ended(&mut self, result: Result<u64, String>) {
        let Some(rewrite) = self.logging.rewrite.take() else { return };
        self.note_log_saving();
        self.logging.last_took_s = Some(rewrite.since.elapsed().as_secs() as i64);
        let done = match result {
            Ok(_) => {
                let name = rewrite.written.display();
                log!(Notice, "Successfully created the temporary AOF base file {name}");
                log!(Notice, "Background AOF rewrite terminated with success");
                self.finish_rewrite(&rewrite)
            }
            Err(reason) => {
                log!(Warning, "{reason}");
                log!(Warning, "Background AOF rewrite terminated with error");
                Err(Reported)
            }
        };
        match done {
            Ok(()) => {
                log!(Notice, "Background AOF rewrite finished successfully");
                self.logging.last_failed = false;
                self.logging.back_off.reset();
            }
            Err(Reported) => {
                self.logging.last_failed = true;
                self.logging.back_off.failed();
                // Whether it was renamed before the failure or not: it is of no use.
                let _ = std::fs::remove_file(&rewrite.written);
                self.rewrite_given_up(&rewrite);
            }
        }
        if self.logging.state == State::AwaitRewrite {
            self.logging.scheduled = true;
        }
    }

    fn rewrite_given_up(&mut self, rewrite: &Rewrite) {
        if let Some(chain) = &self.logging.chain {
            chain.fail_rewrite(rewrite.state);
        }
        if rewrite.state == State::AwaitRewrite {
            // The log was for this rewrite alone; the next begins another.
            self.close_log();
        }
    }

    fn finish_rewrite(&mut self, rewrite: &Rewrite) -> Result<(), Reported> {
        let Some(chain) = &mut self.logging.chain else { return Err(Reported) };
        let done = chain
            .finish_rewrite(rewrite.state, rewrite.rdb_base, &rewrite.written)
            .map_err(|error| report(&error))?;
        if let (Some(log), Some(mark)) = (&mut self.logging.log, rewrite.mark) {
            log.rewritten(mark);
        }
        let open = self.logging.open_bytes();
        self.logging.sizes.rewrite(done.base_bytes, open);
        if rewrite.state == State::AwaitRewrite && self.logging.state == State::AwaitRewrite {
            self.set_log_state(State::On);
        }
        self.remove_history();
        Ok(())
    }

    /// Gives up the rewrite that is under way, if there is one.
    pub fn abort_rewrite(&mut self, keyspace: &mut Keyspace) {
        let Some(rewrite) = self.logging.rewrite.take() else { return };
        log!(Notice, "Killing running AOF rewrite child: {}", std::process::id());
        self.give_up_purpose(keyspace, Purpose::LogBase);
        // What the thread had not finished is gone with it.
        let _ = std::fs::remove_file(&rewrite.written);
        self.rewrite_given_up(&rewrite);
        self.note_log_saving();
    }

    /// `CONFIG SET appendonly yes`. Answers whether it worked; the log says what did not.
    pub fn start_log(&mut self, keyspace: &mut Keyspace, within_exec: bool) -> bool {
        self.set_log_state(State::AwaitRewrite);
        if self.save.is_some() && self.logging.rewrite.is_none() {
            self.logging.scheduled = true;
            log!(
                Warning,
                "AOF was enabled but there is already another background operation. An AOF \
                 background was scheduled to start when possible."
            );
        } else if within_exec {
            self.logging.scheduled = true;
            log!(
                Warning,
                "AOF was enabled during a transaction. An AOF background was scheduled to start when \
                 possible."
            );
        } else {
            if self.logging.rewrite.is_some() {
                log!(
                    Warning,
                    "AOF was enabled but there is already an AOF rewriting in background. Stopping \
                     background AOF and starting a rewrite now."
                );
                self.abort_rewrite(keyspace);
            }
            if self.begin_rewrite(keyspace).is_err() {
                self.set_log_state(State::Off);
                log!(
                    Warning,
                    "Redis needs to enable the AOF but can't trigger a background AOF rewrite \
                     operation. Check the above logs for more info about the error."
                );
                return false;
            }
        }
        true
    }

    /// `CONFIG SET appendonly no`, and the end of the server.
    pub fn stop_log(&mut self, keyspace: &mut Keyspace) {
        if self.logging.state == State::Off {
            return;
        }
        self.flush_for_good(keyspace);
        self.set_log_state(State::Off);
        self.logging.scheduled = false;
        self.abort_rewrite(keyspace);
        self.close_log();
        self.saved.log_error = None;
        self.arm();
    }

    /// Brings everything to the disk. What cannot be is said in the log.
    pub(super) fn flush_for_good(&mut self, keyspace: &mut Keyspace) {
        let _ = self.deliver(keyspace);
        let now_ms = self.logging.now_ms();
        if let Some(log) = &mut self.logging.log {
            let _ = log.finish(now_ms, 0);
        }
    }

    /// The regular work: a rewrite that was put off, or for which the files have grown enough.
    pub fn look_at_log(&mut self, keyspace: &mut Keyspace) {
        if self.save.is_some() || self.saved.loading.is_some() {
            return;
        }
        let automatic = Automatic {
            percentage: u64::from(self.settings.saving.auto_aof_rewrite_percentage),
            bytes_min: self.settings.saving.auto_aof_rewrite_min_size as u64,
        };
        let growth = match self.logging.state {
            State::On => self.logging.sizes.growth_due(self.logging.open_bytes(), &automatic),
            _ => None,
        };
        let doubtful = self.logging.state == State::On
            && self.logging.log.as_ref().is_some_and(|log| log.state().wants_rewrite());
        if !self.logging.scheduled && growth.is_none() && !doubtful {
            return;
        }
        match self.logging.back_off.ask(clock::unix_ms() / 1000) {
            Permission::Granted => {}
            Permission::Refused => return,
            Permission::RefusedFor(minutes) => {
                log!(
                    Warning,
                    "Background AOF rewrite has repeatedly failed and triggered the limit, will retry \
                     in {minutes} minutes"
                );
                return;
            }
        }
        if doubtful {
            log!(
                Warning,
                "A failed fsync has left open what is on the disk: the append-only file is rewritten"
            );
        } else if let (Some(growth), false) = (growth, self.logging.scheduled) {
            log!(Notice, "Starting automatic rewriting of AOF on {growth}% growth");
        }
        // The log says why it did not begin; it is tried again.
        let _ = self.begin_rewrite(keyspace);
    }

    /// How long until the log has to be looked at though nothing happens.
    #[must_use]
    pub fn log_wakes_in(&self) -> Option<Duration> {
        let log = self.logging.log.as_ref()?;
        log.state().wake_in_ms(self.logging.now_ms()).map(Duration::from_millis)
    }
}
