//! Saving: SAVE and BGSAVE, save points, and the end of a save. The walk is a [`Snapshot`]'s, the writing a thread's.

pub mod aof;
pub mod ending;
pub mod last;
pub mod load;
mod points;
pub mod shutdown;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use redstart_common::{clock, log};

use crate::cluster::SlotSet;
use crate::engine::Core;
use crate::engine::asks::Ask;
use crate::keyspace::Keyspace;
use crate::observe::memory::used_bytes;
use crate::persistence::aof::commands::Commands;
use crate::persistence::rdb::{self, About, Draft, Finisher, SaveError, SaveFile};
use crate::persistence::save::{Pace, Save};
use crate::persistence::saver::{Manner, Output, Purpose, Report, Saver, Sink};
use crate::persistence::snapshot::{Snapshot, Uses};

/// How long the walk goes on between two turns of the clients.
const STEP: Duration = Duration::from_micros(300);
/// Bytes of drafts that wait while a save is written in one go.
const AT_ONCE_BYTES: usize = 1 << 20;

/// Rests for `rdb-key-save-delay` that are shorter are added up.
const REST_MIN: Duration = Duration::from_millis(1);

/// Why a save does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotBegun {
    /// Another is under way.
    Busy,
    /// It failed at once; the log says why.
    Failed,
}

impl Core {
    /// How eviction data is saved.
    fn uses(&self, keyspace: &Keyspace) -> Uses {
        match self.settings.maxmemory_policy {
            policy if policy.is_lfu() => Uses::Frequency,
            policy if policy.is_lru() => Uses::Idle { clock: keyspace.shared.lru_clock.get() },
            _ => Uses::Unknown,
        }
    }

    /// What a file says of itself, and the libraries of functions.
    pub fn head(&self, keyspace: &Keyspace, is_log_base: bool) -> Draft {
        let mut head = self.head_without_functions(keyspace, is_log_base);
        let libraries = self.scripting.libraries.libraries.values();
        libraries.for_each(|library| rdb::function(&mut head, &library.code));
        head
    }

    /// What a file says of itself.
    pub fn head_without_functions(&self, keyspace: &Keyspace, is_log_base: bool) -> Draft {
        let mut head = Draft::default();
        let has_field_deadlines = keyspace.has_field_deadlines();
        if has_field_deadlines {
            log!(
                Notice,
                "The RDB is of version {}: hash fields have a time to live, which Redis reads from 7.4 on",
                rdb::VERSION_FIELD_DEADLINES
            );
        }
        let saved = self.replication.saved_history();
        let about = About {
            written_at_seconds: clock::unix_ms() / 1000,
            used_memory: used_bytes() as u64,
            replication: saved.as_ref().map(|saved| rdb::Replication {
                selected_db: i64::from(saved.db),
                id: saved.id.as_str(),
                offset: saved.offset.bytes(),
            }),
            is_log_base,
            has_field_deadlines,
        };
        rdb::begin(&mut head, &about);
        if let Some(aside) = keyspace.dbs.first().and_then(|db| db.aside()) {
            rdb::aux(&mut head, rdb::SLOTS_ASIDE, aside.text().as_bytes());
        }
        head
    }

    fn manner(&self) -> Manner {
        let saving = &self.settings.saving;
        Manner {
            compresses: saving.rdbcompression,
            checksums: saving.rdbchecksum,
            key_delay_us: saving.rdb_key_save_delay,
        }
    }

    /// A path in the folder that holds the data.
    #[must_use]
    pub fn data_path(&self, name: &str) -> PathBuf {
        self.shell.folder.join(name)
    }

    /// The file of SAVE and BGSAVE.
    #[must_use]
    pub fn dump_path(&self) -> PathBuf {
        self.data_path(&self.settings.saving.dbfilename)
    }
}

impl Core {
    /// Writes all data to `file` at once, with nothing between.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_all(
        &self,
        keyspace: &Keyspace,
        mut file: SaveFile,
        is_log_base: bool,
    ) -> Result<(), SaveError> {
        let manner = self.manner();
        let mut finisher = Finisher::new(manner.compresses, manner.checksums);
        finisher.finish(&self.head(keyspace, is_log_base));
        let uses = self.uses(keyspace);
        let (mut draft, mut keys) = (Draft::default(), 0);
        for db in keyspace.dbs.iter().filter(|db| !db.is_empty()) {
            rdb::select(&mut draft, db.index(), db.len(), db.volatile_len());
            for entry in db.iter() {
                rdb::entry(&mut draft, entry, uses.of(entry));
                if draft.bytes.len() >= AT_ONCE_BYTES {
                    flush(&mut draft, &mut finisher, &mut file)?;
                }
                keys += 1;
                let rest = manner.rest_after(keys);
                if rest >= REST_MIN {
                    std::thread::sleep(rest);
                    keys = 0;
                }
            }
        }
        rdb::end(&mut draft);
        flush(&mut draft, &mut finisher, &mut file)?;
        file.commit()
    }

    /// Writes all data to the base of the log at once.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_base(
        &self,
        keyspace: &Keyspace,
        mut file: SaveFile,
        is_rdb: bool,
    ) -> Result<(), SaveError> {
        if is_rdb {
            return self.write_all(keyspace, file, true);
        }
        let (mut commands, mut out) = (Commands::default(), self.head_of_commands(keyspace));
        for db in &keyspace.dbs {
            for entry in db.iter() {
                let value = entry.duplicate();
                commands.entry(db.index(), entry.key(), &value, entry.deadline(), &mut out);
                if out.len() >= AT_ONCE_BYTES {
                    file.write(&out)?;
                    out.clear();
                }
            }
        }
        file.write(&out)?;
        file.commit()
    }

    /// `SAVE`: writes the dump, and everybody waits. Answers whether it worked; the log says what did not.
    pub fn save(&mut self, keyspace: &mut Keyspace) -> bool {
        self.saved.saves += 1;
        let path = self.dump_path();
        let on_the_way = self.settings.saving.rdb_save_incremental_fsync;
        let outcome = SaveFile::create(&path, on_the_way).and_then(|file| {
            let unfinished = self.ending.by_signal.then(|| file.temporary().to_owned());
            last::during(unfinished, || self.write_all(keyspace, file, false))
        });
        match outcome {
            Ok(()) => {
                log!(Notice, "DB saved on disk");
                let saved = &mut self.saved;
                saved.changes_saved = self.feed.dirty;
                saved.last_save_unix_s = clock::unix_ms() / 1000;
                saved.last_failed = false;
                self.arm();
                true
            }
            Err(error) => {
                log!(Warning, "{error}");
                false
            }
        }
    }

    /// Begins a save of all that `outputs` say.
    ///
    /// # Errors
    /// When another is under way, or no thread is to be had.
    pub fn begin_save(
        &mut self,
        keyspace: &mut Keyspace,
        outputs: Vec<Output>,
    ) -> Result<(), NotBegun> {
        self.begin_save_of(keyspace, outputs, None)
    }

    /// As [`begin_save`](Self::begin_save), of the keys of some slots only.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn begin_save_of(
        &mut self,
        keyspace: &mut Keyspace,
        outputs: Vec<Output>,
        slots: Option<Box<SlotSet>>,
    ) -> Result<(), NotBegun> {
        if self.save.is_some() {
            return Err(NotBegun::Busy);
        }
        let Some(reports) = self.reports.clone() else { return Err(NotBegun::Failed) };
        let begun = Instant::now();
        self.save_number += 1;
        let number = self.save_number;
        let purposes = outputs.iter().map(|output| output.purpose).collect();
        let report = move |report| {
            // Without a shell the engine has ended, and nobody waits for the outcome.
            let _ = reports.send((number, report));
        };
        let saver = Saver::start(outputs, self.manner(), report).map_err(|error| {
            log!(Warning, "Can't save in background: no thread: {error}");
            NotBegun::Failed
        })?;
        let snapshot = Snapshot::begin_of(keyspace, self.uses(keyspace), slots);
        self.save = Some(Save::new(snapshot, saver, purposes, self.feed.dirty));
        self.stats.save_began(begun.elapsed());
        self.asks.push(Ask::GoOnSaving);
        Ok(())
    }

    /// Begins a save of nothing: what replicas get that want no keys.
    ///
    /// # Errors
    /// As [`begin_save`](Self::begin_save).
    pub fn begin_empty_save(&mut self, output: Output) -> Result<(), NotBegun> {
        let mut nothing = Keyspace::new(1);
        let begun = self.begin_save(&mut nothing, vec![output]);
        if let Some(save) = &mut self.save {
            while save.step(&mut nothing, STEP) != Pace::Sent {}
        }
        begun
    }

    /// `BGSAVE`: begins to write the dump.
    ///
    /// # Errors
    /// When another save is under way, or this one failed at once.
    pub fn begin_dump(&mut self, keyspace: &mut Keyspace) -> Result<(), NotBegun> {
        if self.save.is_some() {
            return Err(NotBegun::Busy);
        }
        self.saved.saves += 1;
        self.saved.last_try_unix_s = clock::unix_ms() / 1000;
        let path = self.dump_path();
        let temporary = path.with_file_name(format!("temp-bgsave-{}.rdb", std::process::id()));
        let on_the_way = self.settings.saving.rdb_save_incremental_fsync;
        let begun = SaveFile::create_as(temporary, &path, on_the_way)
            .map_err(|error| {
                log!(Warning, "{error}");
                NotBegun::Failed
            })
            .and_then(|file| {
                let head = self.head(keyspace, false);
                let sink = Sink::File(file);
                self.begin_save(keyspace, vec![Output { purpose: Purpose::Dump, sink, head }])
            });
        match begun {
            Ok(()) => {
                log!(Notice, "Background saving started by pid {}", std::process::id());
                self.saved.scheduled = false;
            }
            Err(_) => {
                self.saved.last_failed = true;
                self.arm();
            }
        }
        begun
    }

    /// Since when an RDB is being written beside the clients, for the dump or for replicas: what SAVE and BGSAVE do not go
    /// together with, and INFO shows.
    #[must_use]
    pub fn writes_rdb_since(&self) -> Option<Instant> {
        self.save.as_ref().and_then(Save::writes_rdb_since)
    }

    /// Goes on with the save that is under way, if there is one.
    pub fn go_on_saving(&mut self, keyspace: &mut Keyspace) -> Option<Pace> {
        let save = self.save.as_mut()?;
        let pace = save.step(keyspace, STEP);
        self.wake_save_waiters();
        Some(pace)
    }

    /// Lets requests try again that waited for a large value, once one is written.
    fn wake_save_waiters(&mut self) {
        let Some(save) = &mut self.save else { return };
        for id in save.take_waiting() {
            if let Some(client) = self.clients.by_id(id) {
                client.wake_if_paused();
            }
        }
    }

    /// Takes note of what the thread of save `number` reports.
    pub fn take_report(&mut self, keyspace: &mut Keyspace, number: u64, report: Report) {
        if number != self.save_number {
            return;
        }
        let Some(save) = &mut self.save else { return };
        match report {
            Report::Taken(draft) => save.taken(draft),
            Report::Ended { purpose, result } => {
                let changes = save.changes;
                self.end_purpose(keyspace, purpose);
                self.note_log_saving();
                match purpose {
                    Purpose::Dump => self.dump_ended(&result, changes),
                    Purpose::LogBase => self.rewrite_ended(result),
                    Purpose::Replicas(number) => {
                        self.replica_snapshot_ended(keyspace, number, changes, result)
                    }
                    Purpose::Slots(number) => {
                        self.slots_snapshot_ended(keyspace, number, result.is_ok());
                    }
                }
                self.begin_wanted_snapshot(keyspace, None);
            }
        }
    }

    /// Forgets the save; if it is not complete it is given up.
    fn end_save(&mut self, keyspace: &mut Keyspace) {
        let Some(mut save) = self.save.take() else { return };
        let waiting = std::mem::take(&mut save.waiting);
        let of_slots = save.purposes.iter().find_map(|purpose| match purpose {
            Purpose::Slots(number) => Some(*number),
            _ => None,
        });
        save.abort(keyspace);
        if let Some(number) = of_slots {
            self.slots_snapshot_ended(keyspace, number, false);
        }
        for id in waiting {
            if let Some(client) = self.clients.by_id(id) {
                client.wake_if_paused();
            }
        }
    }

    /// The dump is written, or has failed, be it for BGSAVE or for replicas.
    pub(crate) fn dump_ended(&mut self, result: &Result<u64, String>, changes: u64) {
        let saved = &mut self.saved;
        match result {
            Ok(_) => {
                log!(Notice, "DB saved on disk");
                log!(Notice, "Background saving terminated with success");
                saved.changes_saved = changes;
                saved.last_save_unix_s = clock::unix_ms() / 1000;
                saved.last_failed = false;
            }
            Err(reason) => {
                log!(Warning, "{reason}");
                log!(Warning, "Background saving error");
                saved.last_failed = true;
            }
        }
        self.arm();
    }

    /// Gives up the save that is under way.
    pub fn give_up_saving(&mut self, keyspace: &mut Keyspace) {
        self.end_save(keyspace);
    }

    /// Gives up the dump that is being written. Answers whether there was one.
    pub fn abort_dump(&mut self, keyspace: &mut Keyspace) -> bool {
        let is_written = self.save.as_ref().is_some_and(|save| save.is_for(Purpose::Dump));
        self.give_up_purpose(keyspace, Purpose::Dump);
        is_written
    }

    pub(crate) fn give_up_purpose(&mut self, keyspace: &mut Keyspace, purpose: Purpose) {
        if self.save.as_ref().is_some_and(|save| save.is_for(purpose)) {
            self.end_purpose(keyspace, purpose);
        }
    }

    /// The save that is under way is no longer for `purpose`, and ends if it was for nothing else.
    fn end_purpose(&mut self, keyspace: &mut Keyspace, purpose: Purpose) {
        let Some(save) = &mut self.save else { return };
        if matches!(purpose, Purpose::Dump | Purpose::Replicas(_)) {
            self.saved.last_took_s = Some(save.since.elapsed().as_secs() as i64);
        }
        save.purposes.retain(|one| *one != purpose);
        if save.purposes.is_empty() {
            self.end_save(keyspace);
        }
    }

    /// All data was flushed: the dump that is being written is given up, and where there are save points an empty one
    /// takes the place of the old.
    pub fn after_flush_all(&mut self, keyspace: &mut Keyspace) {
        self.cluster_step(keyspace, None, |cluster, turn| cluster.moves_flushed(turn));
        self.abort_dump(keyspace);
        self.give_up_replica_snapshot(keyspace);
        if !self.settings.save.is_empty() {
            // The log says if it failed; the old file is left then.
            self.save(keyspace);
        }
    }
}

fn flush(draft: &mut Draft, finisher: &mut Finisher, file: &mut SaveFile) -> Result<(), SaveError> {
    finisher.finish(draft);
    draft.clear();
    file.write(finisher.output())?;
    finisher.output().clear();
    Ok(())
}
