//! Items that are read on another thread than the one that keeps them, many at once.
//!
//! The thread hashes as the other does (see [`Seed`]), for large collections are tables already when they are handed over.

use std::collections::VecDeque;
use std::io::Read;

use super::decode::{Checksum, Decoded, Decoder, Item, Options, Usage};
use super::error::LoadError;
use crate::encoding::table::{self, Seed};
use crate::keyspace::Value;

/// Bytes of the stream after which a batch is handed over.
const BATCH_BYTES: u64 = 64 << 10;
/// Items after which it is, too.
const BATCH_ITEMS: usize = 512;

/// Items in order. Texts lie one behind the other in one buffer.
#[derive(Default)]
pub struct Batch {
    texts: Vec<u8>,
    read: usize,
    records: VecDeque<Record>,
    /// Bytes of the stream up to the end of the batch.
    pub offset: u64,
}

// SAFETY: what makes a batch stay on its thread is the values' tables, which are addresses. A batch owns its values alone:
// the addresses lead to allocations that nobody else can reach, and using or freeing them takes nothing of the thread that
// made them but the seed of its hashes, which [`decode`] has made the same on both.
unsafe impl Send for Batch {}

/// An item; what it has of text is told by its length.
enum Record {
    Aux { name: usize, value: usize },
    Select(u64),
    Resize { keys: u64, volatile: u64 },
    Function(Vec<u8>),
    ModuleAux(String),
    Entry { key: usize, value: Kept, deadline: Option<i64>, usage: Usage },
    EmptyKey(usize),
    End(Checksum),
}

enum Kept {
    Short(usize),
    Value(Value),
    PassedOver,
}

impl Batch {
    fn text(&mut self, text: &[u8]) -> usize {
        self.texts.extend_from_slice(text);
        text.len()
    }

    fn push(&mut self, item: Item<'_>) {
        let record = match item {
            Item::Aux { name, value } => {
                Record::Aux { name: self.text(name), value: self.text(value) }
            }
            Item::Select(db) => Record::Select(db),
            Item::Resize { keys, volatile } => Record::Resize { keys, volatile },
            Item::Function(code) => Record::Function(code),
            Item::ModuleAux { module } => Record::ModuleAux(module),
            Item::Entry { key, value, deadline, usage } => {
                let key = self.text(key);
                let value = match value {
                    Decoded::Short(text) => Kept::Short(self.text(text)),
                    Decoded::Value(value) => Kept::Value(value),
                    Decoded::PassedOver => Kept::PassedOver,
                };
                Record::Entry { key, value, deadline, usage }
            }
            Item::EmptyKey(key) => Record::EmptyKey(self.text(key)),
            Item::End(checksum) => Record::End(checksum),
        };
        self.records.push_back(record);
    }

    /// The next item.
    pub fn take(&mut self) -> Option<Item<'_>> {
        let record = self.records.pop_front()?;
        let Self { texts, read, .. } = self;
        let mut text = |length: usize| {
            let text = &texts[*read..*read + length];
            *read += length;
            text
        };
        Some(match record {
            Record::Aux { name, value } => Item::Aux { name: text(name), value: text(value) },
            Record::Select(db) => Item::Select(db),
            Record::Resize { keys, volatile } => Item::Resize { keys, volatile },
            Record::Function(code) => Item::Function(code),
            Record::ModuleAux(module) => Item::ModuleAux { module },
            Record::Entry { key, value, deadline, usage } => {
                let key = text(key);
                let value = match value {
                    Kept::Short(length) => Decoded::Short(text(length)),
                    Kept::Value(value) => Decoded::Value(value),
                    Kept::PassedOver => Decoded::PassedOver,
                };
                Item::Entry { key, value, deadline, usage }
            }
            Record::EmptyKey(key) => Item::EmptyKey(text(key)),
            Record::End(checksum) => Item::End(checksum),
        })
    }
}

/// Reads all of `reader` on a thread of its own, for one that hashes by `seed`. `hand_over` gets batches, and at last an
/// error if there is one; it says whether there is still somebody who wants them.
pub fn decode(
    reader: impl Read,
    options: Options,
    seed: Seed,
    hand_over: impl Fn(Result<Batch, LoadError>) -> bool,
) {
    assert!(table::adopt_seed(seed), "a thread of its own has hashed nothing before");
    let mut decoder = Decoder::new(reader, options);
    let mut batch = Batch::default();
    loop {
        let is_last = match decoder.next() {
            Ok(item) => {
                let is_last = matches!(item, Item::End(_));
                batch.push(item);
                is_last
            }
            Err(error) => {
                // What came before it is of no use.
                hand_over(Err(error));
                return;
            }
        };
        let read = decoder.offset();
        if is_last || batch.records.len() >= BATCH_ITEMS || read - batch.offset >= BATCH_BYTES {
            batch.offset = read;
            let full = std::mem::take(&mut batch);
            batch.offset = read;
            if !hand_over(Ok(full)) || is_last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Keyspace;
    use crate::persistence::rdb::{self, Draft, Finisher};
    use crate::types::{Collection, Limits, Set};

    /// A dump of a short string, a key that dies, and a set that is a table.
    fn dump() -> Vec<u8> {
        let mut keyspace = Keyspace::new(2);
        let mut set = Set::create();
        if let Some(set) = Set::of_mut(&mut set) {
            for number in 0..5000_u32 {
                set.insert(format!("member {number}").as_bytes(), &Limits::default());
            }
        }
        keyspace.dbs[0].load(b"set", Value::Object(set), None, 0);
        keyspace.dbs[1].load_string(b"short", b"text", Some(1 << 60), 0);
        let mut draft = Draft::default();
        let about = rdb::About {
            has_field_deadlines: false,
            written_at_seconds: 0,
            used_memory: 0,
            replication: None,
            is_log_base: false,
        };
        rdb::begin(&mut draft, &about);
        for db in &keyspace.dbs {
            rdb::select(&mut draft, db.index(), db.len(), db.volatile_len());
            db.iter().for_each(|entry| rdb::entry(&mut draft, entry, Usage::Unknown));
        }
        rdb::end(&mut draft);
        let mut finisher = Finisher::new(true, true);
        finisher.finish(&draft);
        std::mem::take(finisher.output())
    }

    fn read_elsewhere(bytes: Vec<u8>) -> Vec<Result<Batch, LoadError>> {
        let seed = table::seed();
        let (sender, received) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            decode(&bytes[..], Options::default(), seed, |batch| sender.send(batch).is_ok());
        });
        let batches = received.iter().collect();
        thread.join().expect("the thread ends");
        batches
    }

    #[test]
    fn what_another_thread_read_is_found_here() {
        let mut keyspace = Keyspace::new(2);
        let (mut db, mut is_over) = (0, false);
        for batch in read_elsewhere(dump()) {
            let mut batch = batch.expect("a good dump");
            while let Some(item) = batch.take() {
                match item {
                    Item::Select(number) => db = number as usize,
                    Item::Entry { key, value, deadline, .. } => {
                        let value = value.into_value().expect("a known type");
                        assert!(keyspace.dbs[db].load(key, value, deadline, 0));
                    }
                    Item::End(checksum) => is_over = checksum == Checksum::Right,
                    _ => {}
                }
            }
        }
        assert!(is_over);
        let set = keyspace.dbs[0].read_as::<Set>(b"set").ok().flatten().expect("the set");
        assert!((0..5000).all(|number| set.contains(format!("member {number}").as_bytes())));
        assert_eq!(
            keyspace.dbs[1].look(b"short").and_then(|entry| entry.deadline()),
            Some(1 << 60)
        );
    }

    #[test]
    fn what_is_cut_off_is_an_error_at_the_end() {
        let mut bytes = dump();
        bytes.truncate(bytes.len() / 2);
        let batches = read_elsewhere(bytes);
        assert!(batches.last().is_some_and(Result::is_err));
        assert!(batches[..batches.len() - 1].iter().all(Result::is_ok));
    }
}
