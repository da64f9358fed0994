//! Which data this server has: the name of its history, how far it has come, and the history that this one grew from.

use rand::RngCore;

use super::ids::ReplicationId;
use super::offset::Offset;

/// A history that continues under another name: the same bytes up to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Older {
    /// Its name.
    pub id: ReplicationId,
    /// Up to here both are the same.
    pub until: Offset,
}

/// The history of the data of this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Its name.
    pub id: ReplicationId,
    /// Bytes that were fed into it, or taken from the primary and applied.
    pub offset: Offset,
    /// The name it had before a promotion.
    pub older: Option<Older>,
}

/// What an RDB file says of the history its data belongs to: the fields `repl-id`, `repl-offset` and `repl-stream-db`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedHistory {
    /// `repl-id`
    pub id: ReplicationId,
    /// `repl-offset`
    pub offset: Offset,
    /// `repl-stream-db`: the database that is selected in the stream at this offset.
    pub db: u32,
}

impl SavedHistory {
    /// From the fields of a file. Nothing if one is missing or cannot be: the file then belongs to no history. (Old servers
    /// wrote -1 as the database by mistake.)
    #[must_use]
    pub fn from_fields(id: &[u8], offset: i64, db: i64) -> Option<Self> {
        Some(Self {
            id: ReplicationId::parse(id)?,
            offset: Offset::after(offset)?,
            db: u32::try_from(db).ok()?,
        })
    }
}

/// Why a history cannot go on where somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// The name is not known.
    Name,
    /// The name is that of the older history, which is not this one any more at that place.
    BeyondOlder,
}

impl History {
    /// A history without bytes and past.
    pub fn new(random: &mut dyn RngCore) -> Self {
        Self { id: ReplicationId::random(random), offset: Offset::ZERO, older: None }
    }

    /// Whether the bytes before the byte numbered `first_byte` of the history called `id` are the first of this one.
    pub fn includes(&self, id: &[u8], first_byte: i64) -> Result<(), Mismatch> {
        if self.id.is_named(id) {
            return Ok(());
        }
        match self.older {
            Some(older) if older.id.is_named(id) => {
                if first_byte <= older.until.next_byte() {
                    Ok(())
                } else {
                    Err(Mismatch::BeyondOlder)
                }
            }
            // Where there is no older history, its name is shown as zeros, and may be asked for.
            None if ReplicationId::NONE.is_named(id) => Err(Mismatch::BeyondOlder),
            _ => Err(Mismatch::Name),
        }
    }

    /// Goes on under a new name: what is written from now on is not what the primary so far would write. Those who have the
    /// same bytes can still continue here.
    pub fn fork(&mut self, random: &mut dyn RngCore) {
        self.rename(ReplicationId::random(random));
    }

    /// Goes on under the name that the primary has taken on.
    pub fn rename(&mut self, id: ReplicationId) {
        self.older = Some(Older { id: self.id, until: self.offset });
        self.id = id;
    }

    /// Gives the name and the past up, because the bytes at this offset are no longer known to be the same everywhere.
    pub fn disown(&mut self, random: &mut dyn RngCore) {
        self.id = ReplicationId::random(random);
        self.older = None;
    }

    /// The older name as INFO and the log show it.
    #[must_use]
    pub fn second_id(&self) -> ReplicationId {
        self.older.map_or(ReplicationId::NONE, |older| older.id)
    }

    /// `second_repl_offset`: the first byte that the older history does not share, or -1.
    #[must_use]
    pub fn second_offset(&self) -> i64 {
        self.older.map_or(-1, |older| older.until.next_byte())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn at(bytes: i64) -> History {
        let mut history = History::new(&mut SmallRng::seed_from_u64(7));
        history.offset = Offset::after(bytes).unwrap();
        history
    }

    #[test]
    fn a_promoted_server_continues_the_old_history_up_to_the_first_byte_it_lacks() {
        let mut history = at(100);
        let old = history.id;
        history.fork(&mut SmallRng::seed_from_u64(8));
        assert_ne!(history.id, old);
        assert_eq!(history.second_id(), old);
        assert_eq!(history.second_offset(), 101);
        assert_eq!(history.includes(old.as_bytes(), 101), Ok(()));
        assert_eq!(history.includes(old.as_bytes(), 102), Err(Mismatch::BeyondOlder));
        assert_eq!(history.includes(history.id.as_bytes(), 5000), Ok(()));
    }

    #[test]
    fn unknown_names_and_the_zeros_of_no_older_history_continue_nowhere() {
        let history = at(100);
        assert_eq!(history.includes(b"?", -1), Err(Mismatch::Name));
        assert_eq!(history.includes(&[b'a'; 40], 1), Err(Mismatch::Name));
        assert_eq!(history.includes(&[b'0'; 40], 1), Err(Mismatch::BeyondOlder));
        assert_eq!(history.second_offset(), -1);
    }

    #[test]
    fn a_history_that_was_disowned_has_no_past() {
        let mut history = at(100);
        history.fork(&mut SmallRng::seed_from_u64(8));
        let gone = [history.id, history.second_id()];
        history.disown(&mut SmallRng::seed_from_u64(9));
        for id in gone {
            assert_eq!(history.includes(id.as_bytes(), 1), Err(Mismatch::Name));
        }
    }

    #[test]
    fn damaged_fields_of_a_file_make_no_history() {
        let id = [b'a'; 40];
        assert!(SavedHistory::from_fields(&id, 7, 0).is_some());
        assert!(SavedHistory::from_fields(&id, -1, 0).is_none());
        assert!(SavedHistory::from_fields(&id, 7, -1).is_none());
        assert!(SavedHistory::from_fields(&id[1..], 7, 0).is_none());
    }
}
