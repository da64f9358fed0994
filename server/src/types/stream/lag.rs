//! How far a group is: what is known of the entries as a whole, and what that says of an id.

use super::{Group, Stream, StreamId};

/// The number of entries that a group has read, where nobody knows it.
pub const UNKNOWN_READS: i64 = -1;

/// What is known of a stream's entries as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Entries.
    pub length: u64,
    /// The id of the first entry, or the lowest id where there is none.
    pub first_id: StreamId,
    /// The highest id there has been, or the one that XSETID has set.
    pub last_id: StreamId,
    /// The highest id of an entry that XDEL has removed.
    pub max_deleted_id: StreamId,
    /// Entries that were ever added.
    pub entries_added: u64,
}

impl Facts {
    /// Whether entries may be missing behind `id`, so that counting ids does not count entries.
    #[must_use]
    pub fn has_gap_from(&self, id: StreamId) -> bool {
        self.length > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && id <= self.max_deleted_id
    }

    /// How many entries were added up to and with `id`; [`UNKNOWN_READS`] where that cannot be told.
    #[must_use]
    pub fn added_up_to(&self, id: StreamId) -> i64 {
        let added = self.entries_added as i64;
        if self.entries_added == 0 {
            return 0;
        }
        if id == self.last_id || (self.length == 0 && id < self.last_id) {
            return added;
        }
        if id > self.last_id {
            return UNKNOWN_READS;
        }
        let has_gap = self.max_deleted_id != StreamId::MIN && self.max_deleted_id >= self.first_id;
        let before_first = added.wrapping_sub(self.length as i64);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if !has_gap => before_first,
            std::cmp::Ordering::Equal if !has_gap => before_first.wrapping_add(1),
            _ => UNKNOWN_READS,
        }
    }

    /// What a group has read once it has come to `id`.
    pub(super) fn reads_at(&self, reads: i64, id: StreamId) -> i64 {
        if reads != UNKNOWN_READS && !self.has_gap_from(id) {
            reads.wrapping_add(1)
        } else if self.entries_added > 0 {
            self.added_up_to(id)
        } else {
            reads
        }
    }
}

impl Stream {
    /// How many entries a group has yet to be handed; `None` where that cannot be told.
    #[must_use]
    pub fn lag(&self, group: &Group) -> Option<i64> {
        let facts = &self.facts;
        let added = facts.entries_added as i64;
        if facts.entries_added == 0 {
            return Some(0);
        }
        if group.entries_read != UNKNOWN_READS && !facts.has_gap_from(group.last_id) {
            return Some(added.wrapping_sub(group.entries_read));
        }
        match facts.added_up_to(group.last_id) {
            UNKNOWN_READS => None,
            reads => Some(added.wrapping_sub(reads)),
        }
    }
}
