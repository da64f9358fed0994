//! Loading an RDB into the databases, in steps, so that the server can answer that it is loading.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use redstart_common::command::{CommandId, id_of};
use redstart_common::resp::OwnedArgs;
use redstart_common::{clock, log};

use crate::client;
use crate::engine::{Call, Core};
use crate::keyspace::{Db, Keyspace, Shared};
use crate::persistence::rdb::{Decoded, Decoder, Item, LoadError, Options, Usage};
use crate::persistence::state::Loading;
use crate::settings::saving::Sanitize;

/// How long a step goes on before the server looks after its clients.
pub const STEP: Duration = Duration::from_millis(2);
/// Entries between two looks at the clock.
const ENTRIES_BETWEEN: u32 = 64;
/// Names of empty keys that are told.
const EMPTY_KEYS_TOLD: u64 = 10;

/// What becomes of what does not fit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Keys past their deadline are left out: this is no replica, and no log follows that may prolong them.
    pub drops_expired: bool,
    /// The names of those are kept until they are taken, for replicas that go on from the file's history.
    pub tells_expired: bool,
    /// A key that is there already is replaced; otherwise that is an error.
    pub replaces: bool,
}

/// What a file says of the place of its data in the stream of a primary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `repl-stream-db`
    pub stream_db: Option<i64>,
    /// `repl-id`
    pub id: Option<String>,
    /// `repl-offset`
    pub offset: Option<i64>,
}

/// Why a load ended early.
#[derive(Debug)]
pub enum Failure {
    /// The file, as its reader says.
    File(LoadError),
    /// What the log is to say.
    Said(String),
}

impl Failure {
    /// The lines for the log.
    #[must_use]
    pub fn log_lines(&self) -> Vec<String> {
        match self {
            Self::File(error) => error.log_lines(),
            Self::Said(line) => vec![line.clone()],
        }
    }

    /// Whether the file is damaged, so that a check of it tells more.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::File(error) if error.is_damage())
    }
}

/// A load.
pub struct Load<R> {
    decoder: Decoder<R>,
    /// What becomes of what is read.
    pub placer: Placer,
}

/// Puts what is read where it belongs.
pub struct Placer {
    rules: Rules,
    db: usize,
    loaded: u64,
    expired: u64,
    empty: u64,
    expired_keys: Vec<(usize, Box<[u8]>)>,
    /// The texts of libraries of functions, which are loaded behind the keys.
    functions: Vec<Vec<u8>>,
    /// Where the data belongs.
    pub origin: Origin,
    /// How long to rest after each key, for tests: `key-load-delay`.
    pub key_delay_us: i32,
}

/// A load of a file.
pub type FileLoad = Load<File>;

impl<R: Read> Load<R> {
    /// A load from `reader`, of `length` bytes if that is known.
    pub fn new(reader: R, length: Option<u64>, rules: Rules, core: &Core) -> Self {
        let decoder = Decoder::new(reader, options(length, core));
        Self { decoder, placer: Placer::new(rules, core) }
    }

    /// Where the data belongs.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.placer.origin
    }

    /// Loads for a moment. Answers whether that was all.
    ///
    /// # Errors
    /// What is wrong with the data; what was loaded of it is there.
    pub fn step(&mut self, keyspace: &mut Keyspace, interval_bytes: u64) -> Result<bool, Failure> {
        let start = Instant::now();
        let until = self.decoder.offset() + interval_bytes;
        let mut count = 0;
        loop {
            if self.take(keyspace)? {
                return Ok(true);
            }
            count += 1;
            let looks = count % ENTRIES_BETWEEN == 0 || self.placer.is_slowed();
            if looks && start.elapsed() >= STEP || self.decoder.offset() >= until {
                return Ok(false);
            }
        }
    }

    /// The keys that were left out since this was last asked, with the numbers of their databases.
    pub fn take_expired(&mut self) -> Vec<(usize, Box<[u8]>)> {
        std::mem::take(&mut self.placer.expired_keys)
    }

    /// Takes the next item. Answers whether it was the last.
    fn take(&mut self, keyspace: &mut Keyspace) -> Result<bool, Failure> {
        let item = self.decoder.next().map_err(Failure::File)?;
        self.placer.place(item, &mut keyspace.dbs, &keyspace.shared)
    }

    /// Bytes that were read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.decoder.offset()
    }

    /// Loads the libraries of functions, says in the log what was loaded, and notes it for INFO.
    ///
    /// # Errors
    /// When a library cannot be loaded.
    pub fn finish(&mut self, keyspace: &mut Keyspace, core: &mut Core) -> Result<(), Failure> {
        if core.settings.saving.sanitize_dump_payload == Sanitize::Yes {
            core.stats.sanitizations += self.decoder.checked();
        }
        self.placer.finish(keyspace, core)
    }

    /// Loads everything at once, while everybody waits.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn run(&mut self, keyspace: &mut Keyspace, core: &mut Core) -> Result<(), Failure> {
        while !self.step(keyspace, u64::MAX / 2)? {}
        self.finish(keyspace, core)
    }
}

/// How a load of `length` bytes is read, if that is known.
#[must_use]
pub fn options(length: Option<u64>, core: &Core) -> Options {
    Options {
        limits: core.settings.packed,
        verifies: core.settings.saving.rdbchecksum,
        length,
        ..Options::default()
    }
}

impl Placer {
    /// One that has placed nothing.
    #[must_use]
    pub fn new(rules: Rules, core: &Core) -> Self {
        Self {
            rules,
            db: 0,
            loaded: 0,
            expired: 0,
            empty: 0,
            expired_keys: Vec::new(),
            functions: Vec::new(),
            origin: Origin::default(),
            key_delay_us: core.settings.saving.key_load_delay,
        }
    }

    /// Takes an item. Answers whether it was the last.
    ///
    /// # Errors
    /// When it cannot be placed.
    pub fn place(
        &mut self,
        item: Item<'_>,
        dbs: &mut [Db],
        shared: &Shared,
    ) -> Result<bool, Failure> {
        let at_ms = shared.now_ms.get();
        match item {
            Item::Aux { name, value }
                if name == crate::persistence::rdb::SLOTS_ASIDE.as_bytes() =>
            {
                let slots = crate::cluster::SlotSet::read(&String::from_utf8_lossy(value));
                if let (Some(slots), Some(db)) = (slots, dbs.first_mut()) {
                    db.set_aside(&slots);
                }
            }
            Item::Aux { name, value } => note_aux(&mut self.origin, name, value),
            Item::Select(number) => {
                let count = dbs.len();
                self.db =
                    usize::try_from(number).ok().filter(|db| *db < count).ok_or_else(|| {
                        Failure::Said(format!(
                            "FATAL: Data file was created with a Redis server configured to handle \
                             more than {count} databases. Exiting"
                        ))
                    })?;
            }
            Item::Resize { .. } => {}
            Item::Function(code) => self.functions.push(code),
            Item::ModuleAux { module } => {
                return Err(Failure::Said(format!(
                    "The RDB file contains AUX module data I can't load: no matching module '{module}'"
                )));
            }
            Item::EmptyKey(key) => {
                if self.empty < EMPTY_KEYS_TOLD {
                    log!(
                        Notice,
                        "rdbLoadObject skipping empty key: {}",
                        String::from_utf8_lossy(key)
                    );
                }
                self.empty += 1;
            }
            Item::Entry { key, value, deadline, usage } => {
                if self.rules.drops_expired && deadline.is_some_and(|at| at < at_ms) {
                    self.expired += 1;
                    if self.rules.tells_expired {
                        self.expired_keys.push((self.db, key.into()));
                    }
                } else {
                    let lru = lru_of(shared, usage);
                    let db = &mut dbs[self.db];
                    if self.rules.replaces {
                        db.remove(key);
                    }
                    let is_new = match value {
                        Decoded::Short(text) => db.load_string(key, text, deadline, lru),
                        other => match other.into_value() {
                            Some(value) => db.load(key, value, deadline, lru),
                            None => true,
                        },
                    };
                    if !is_new {
                        let key = String::from_utf8_lossy(key);
                        return Err(Failure::Said(format!(
                            "RDB has duplicated key '{key}' in DB {}",
                            self.db
                        )));
                    }
                    self.loaded += 1;
                }
                delay(self.key_delay_us, self.loaded);
            }
            Item::End(_) => return Ok(true),
        }
        Ok(false)
    }

    /// Whether it rests between keys, as `key-load-delay` wants.
    #[must_use]
    pub fn is_slowed(&self) -> bool {
        self.key_delay_us != 0
    }

    /// Loads the libraries of functions, says in the log what was loaded, and notes it for INFO.
    ///
    /// # Errors
    /// When a library cannot be loaded.
    pub fn finish(&mut self, keyspace: &mut Keyspace, core: &mut Core) -> Result<(), Failure> {
        for code in std::mem::take(&mut self.functions) {
            core.load_library(keyspace, &code, self.rules.replaces)?;
        }
        core.saved.keys_loaded = self.loaded;
        core.saved.keys_expired = self.expired;
        let (loaded, expired) = (self.loaded, self.expired);
        if self.empty > 0 {
            log!(
                Warning,
                "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}, empty keys skipped: {}.",
                self.empty
            );
        } else {
            log!(Notice, "Done loading RDB, keys loaded: {loaded}, keys expired: {expired}.");
        }
        Ok(())
    }
}

fn note_aux(origin: &mut Origin, name: &[u8], value: &[u8]) {
    let text = String::from_utf8_lossy(value);
    match name {
        b"redis-ver" | b"valkey-ver" => log!(Notice, "Loading RDB produced by version {text}"),
        b"ctime" => {
            if let Ok(at) = text.parse::<i64>() {
                let age = (clock::unix_ms() / 1000 - at).max(0);
                log!(Notice, "RDB age {age} seconds");
            }
        }
        b"used-mem" => {
            if let Ok(bytes) = text.parse::<u64>() {
                let megabytes = bytes as f64 / (1024.0 * 1024.0);
                log!(Notice, "RDB memory usage when created {megabytes:.2} Mb");
            }
        }
        b"aof-base" | b"aof-preamble" if value == b"1" => log!(Notice, "RDB is base AOF"),
        b"repl-stream-db" => origin.stream_db = text.parse().ok(),
        b"repl-id" if value.len() == 40 => origin.id = Some(text.into_owned()),
        b"repl-offset" => origin.offset = text.parse().ok(),
        _ => {}
    }
}

/// The eviction data of a key that was used so much.
fn lru_of(shared: &Shared, usage: Usage) -> u32 {
    match usage {
        Usage::IdleSeconds(seconds) if !shared.lfu.get() => {
            let seconds = seconds.min(0xff_ffff) as u32;
            shared.lru_clock.get().wrapping_sub(seconds) & 0xff_ffff
        }
        Usage::Frequency(count) if shared.lfu.get() => {
            shared.fresh_lru() & !0xff | u32::from(count)
        }
        _ => shared.fresh_lru(),
    }
}

/// Rests as `key-load-delay` wants after the key with this number.
fn delay(us: i32, number: u64) {
    let rest = match us {
        0 => return,
        1.. => u64::from(us.unsigned_abs()),
        ..0 if number.is_multiple_of(u64::from(us.unsigned_abs())) => 1,
        ..0 => return,
    };
    std::thread::sleep(Duration::from_micros(rest));
}

/// Opens a dump. Nothing is there when the file is not.
///
/// # Errors
/// The disk's.
pub fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => {
            let bytes = file.metadata()?.len();
            Ok(Some((file, bytes)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Core {
    /// Begins a load: from here on clients are told so. `beside` says that the old data serves meanwhile.
    pub fn begin_loading(&mut self, keyspace: &Keyspace, total_bytes: u64, beside: bool) {
        self.saved.loading = Some(Loading {
            since_unix_s: clock::unix_ms() / 1000,
            total_bytes,
            loaded_bytes: 0,
            rdb_used_mem: 0,
            beside,
        });
        if !beside {
            keyspace.shared.ignore_expiry.set(true);
        }
        self.arm();
    }

    /// Loads a library of functions that a file holds.
    fn load_library(
        &mut self,
        keyspace: &mut Keyspace,
        code: &[u8],
        replaces: bool,
    ) -> Result<(), Failure> {
        const LOAD: CommandId = id_of("function|load");
        let Some(handler) = self.handlers.of(LOAD) else { return Ok(()) };
        let mut words = OwnedArgs::from_slices(&[&b"FUNCTION"[..], b"LOAD"]);
        if replaces {
            words.push(b"REPLACE");
        }
        words.push(code);
        let mut nobody = self.clients.take_nobody();
        let origin = std::mem::replace(&mut nobody.origin, client::Origin::Log);
        let dirty = self.feed.dirty;
        let mut call = Call {
            keyspace,
            core: &mut *self,
            client: &mut nobody,
            args: words.as_args(),
            row: LOAD,
        };
        let loaded = handler(&mut call);
        // It is no change that anybody repeats.
        self.feed.dirty = dirty;
        nobody.origin = origin;
        nobody.reply.output.clear();
        self.clients.give_nobody(nobody);
        loaded.map_err(|error| {
            let reason = String::from_utf8_lossy(error.text()).into_owned();
            let reason = reason.strip_prefix("ERR ").unwrap_or(&reason);
            Failure::Said(format!("Failed creating function library: {reason}"))
        })
    }

    /// `rdb-del-sync-files`: the file of a sync goes where nothing else is kept on disk.
    pub fn remove_sync_file(&self, path: &Path) {
        let keeps = !self.settings.save.is_empty() || self.settings.saving.appendonly;
        if self.settings.saving.rdb_del_sync_files && !keeps {
            log!(
                Notice,
                "Removing the RDB file obtained from the master. This replica has persistence disabled"
            );
            // That it stays is no harm to the data.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Ends a load.
    pub fn end_loading(&mut self, keyspace: &Keyspace) {
        self.saved.loading = None;
        keyspace.shared.ignore_expiry.set(false);
        // What the load caused is told to nobody.
        keyspace.shared.take_incidents();
        self.arm();
    }

    /// Notes how far a load is.
    pub fn note_loaded(&mut self, bytes: u64) {
        if let Some(loading) = &mut self.saved.loading {
            loading.loaded_bytes = bytes;
        }
    }
}
