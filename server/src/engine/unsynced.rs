//! Keys whose last writes are not on the disk yet, while `appendfsync always` promises each write.
//!
//! The engine does not wait for the disk; replies do. Those are the replies to writes, and those to requests that name, or
//! may have seen, a key which was written and is not on the disk yet: what a client has been told, of its own writes or of
//! others', is not lost with the machine. Requests about other keys are answered meanwhile.
//!
//! Keys are kept by their hashes, whatever the database: one that looks like another makes a reply wait that need not.

use std::hash::BuildHasher;

use hashbrown::HashSet;
use redstart_common::command::keys::positions;
use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandId, id_of};
use redstart_common::resp::Args;

use crate::client::{Client, Flags};

/// With more keys than this every key counts as one of them.
const KEYS_MAX: usize = 1 << 16;

/// Some keys, or all.
#[derive(Default)]
struct Keys {
    hashes: HashSet<u64, foldhash::fast::FixedState>,
    all: bool,
}

impl Keys {
    fn is_empty(&self) -> bool {
        !self.all && self.hashes.is_empty()
    }

    fn has(&self, hash: u64) -> bool {
        self.all || self.hashes.contains(&hash)
    }

    fn add_all(&mut self) {
        self.all = true;
        self.hashes.clear();
    }

    fn clear(&mut self) {
        self.all = false;
        self.hashes.clear();
    }
}

/// The keys, in two generations, and the clients.
#[derive(Default)]
pub struct Unsynced {
    is_on: bool,
    hasher: foldhash::fast::RandomState,
    /// Those that the younger mark of the log will have brought to the disk, or a later one.
    young: Keys,
    /// Those for which `mark` is enough.
    old: Keys,
    mark: u64,
    /// Ids of clients whose replies wait.
    held: Vec<u64>,
    /// How far the disk was when they were looked at last.
    reached: u64,
}

impl Unsynced {
    /// Whether replies wait for the disk at all.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Says whether replies wait for the disk.
    pub fn set_on(&mut self, on: bool) {
        self.is_on = on;
        if !on {
            self.young.clear();
            self.old.clear();
        }
    }

    /// What there is for a client may leave, as far as it does not wait for the disk: the log has `appended` all that it
    /// has been told of, and `reached` the disk up to this mark.
    #[cold]
    pub fn release(&mut self, client: &mut Client, (appended, reached): (u64, u64)) {
        let mark = if client.flags.any(Flags::AWAITS_LOG) { appended } else { 0 };
        client.flags.clear(Flags::AWAITS_LOG);
        if !client.reply.output.release_behind(mark, reached) {
            client.flags.clear(Flags::HELD);
        } else if !client.flags.any(Flags::HELD) {
            client.flags.set(Flags::HELD);
            self.held.push(client.id);
        }
    }

    /// The clients whose replies wait, if the disk has come further: it has `reached` this mark of the log. They have to be
    /// marked as not held, and released.
    pub fn take_held(&mut self, reached: u64) -> Vec<u64> {
        if self.held.is_empty() || self.reached == reached {
            return Vec::new();
        }
        self.reached = reached;
        std::mem::take(&mut self.held)
    }

    /// Whether there are any keys.
    #[inline]
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.is_on && !(self.young.is_empty() && self.old.is_empty())
    }

    /// A key was written.
    pub fn note(&mut self, key: &[u8]) {
        if !self.young.all {
            self.young.hashes.insert(self.hasher.hash_one(key));
            if self.young.hashes.len() > KEYS_MAX {
                self.young.add_all();
            }
        }
    }

    /// Any key may have been written.
    pub fn note_all(&mut self) {
        if self.is_on {
            self.young.add_all();
        }
    }

    /// All that was written lies before the mark `appended` of the log, and what lies before `released` is on the disk.
    pub fn settle(&mut self, appended: u64, released: u64) {
        if !self.is_any() {
            return;
        }
        if released >= appended {
            self.young.clear();
            self.old.clear();
        } else if released >= self.mark || self.old.is_empty() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.mark = appended;
        }
    }

    /// Whether a command may have seen any of the keys.
    #[must_use]
    pub fn are_seen_by(&self, id: CommandId, args: Args<'_>) -> bool {
        const BY_PATTERN: [CommandId; 2] = [id_of("sort"), id_of("sort_ro")];
        let row = id.spec();
        let mut places = positions(row, args).peekable();
        if places.peek().is_none() {
            // KEYS, SCAN, DBSIZE and the like.
            return row.flags.contains(RowFlags::READONLY);
        }
        BY_PATTERN.contains(&id)
            || places.any(|place| {
                let hash = self.hasher.hash_one(args.get(place).unwrap_or_default());
                self.young.has(hash) || self.old.has(hash)
            })
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use redstart_common::command::lookup::lookup;
    use redstart_common::resp::OwnedArgs;

    use super::*;
    use crate::client::output::PIECES_MAX;

    fn sees(keys: &Unsynced, words: &[&str]) -> bool {
        let args = OwnedArgs::from_slices(words);
        let id = lookup(&words[0].to_lowercase().into_bytes()).expect("a command");
        keys.are_seen_by(id, args.as_args())
    }

    #[test]
    fn a_reply_leaves_when_its_own_write_is_on_the_disk_and_none_with_it() {
        let (mut unsynced, mut client) = (Unsynced::default(), Client::new(1, 0));
        let tell = |unsynced: &mut Unsynced, client: &mut Client, text: &str, marks| {
            client.reply.simple(text);
            client.flags.set(Flags::AWAITS_LOG);
            unsynced.release(client, marks);
        };
        let left = |unsynced: &mut Unsynced, client: &mut Client, marks: (u64, u64)| {
            for _ in unsynced.take_held(marks.1) {
                client.flags.clear(Flags::HELD);
                unsynced.release(client, marks);
            }
            let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
            let count = client.reply.output.pieces(&mut pieces);
            pieces[..count].iter().map(|piece| piece.len()).sum::<usize>()
        };
        tell(&mut unsynced, &mut client, "a", (10, 0));
        tell(&mut unsynced, &mut client, "b", (20, 0));
        assert_eq!(left(&mut unsynced, &mut client, (20, 0)), 0);
        // The write of the third is not even in the file when the first is on the disk.
        tell(&mut unsynced, &mut client, "c", (30, 10));
        assert_eq!(left(&mut unsynced, &mut client, (30, 10)), 4);
        assert!(client.flags.any(Flags::HELD), "it is looked at again");
        assert_eq!(left(&mut unsynced, &mut client, (30, 20)), 8);
        // A reply that waits for nothing itself comes behind those that do.
        client.reply.simple("d");
        unsynced.release(&mut client, (30, 20));
        assert_eq!(left(&mut unsynced, &mut client, (30, 25)), 8);
        assert_eq!(left(&mut unsynced, &mut client, (30, 30)), 16);
        assert!(!client.flags.any(Flags::HELD) && !client.reply.output.is_held());
    }

    #[test]
    fn who_names_an_unsynced_key_has_seen_it() {
        let mut keys = Unsynced::default();
        keys.note_all();
        assert!(!keys.is_any(), "nothing is promised");
        keys.set_on(true);
        keys.note(b"a");
        assert!(sees(&keys, &["GET", "a"]) && sees(&keys, &["MGET", "b", "a"]));
        assert!(!sees(&keys, &["GET", "b"]) && !sees(&keys, &["PING"]));
        assert!(sees(&keys, &["DBSIZE"]) && sees(&keys, &["SORT", "b", "GET", "*"]));
        keys.settle(10, 0);
        keys.note(b"b");
        keys.settle(20, 0);
        assert!(sees(&keys, &["GET", "a"]) && sees(&keys, &["GET", "b"]));
        keys.settle(20, 10);
        assert!(!sees(&keys, &["GET", "a"]) && sees(&keys, &["GET", "b"]));
        keys.settle(20, 20);
        assert!(!keys.is_any());
        for number in 0..=KEYS_MAX {
            keys.note(number.to_string().as_bytes());
        }
        assert!(sees(&keys, &["GET", "whatever"]));
        keys.set_on(false);
        assert!(!keys.is_any());
    }
}
