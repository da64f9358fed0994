//! Keys that may be evicted next.

use crate::keyspace::Entry;
use crate::settings::Policy;

/// Candidates remembered between draws.
const POOL: usize = 16;

/// What eviction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Memory in use is below the limit.
    Enough,
    /// It is not yet: eviction goes on later.
    Later,
    /// It is not, and there is nothing that may be evicted.
    None,
}

pub(super) struct Candidate {
    pub(super) db: usize,
    pub(super) key: Vec<u8>,
    /// The higher, the better to evict.
    pub(super) score: u64,
    /// Where its entry was: the same one is not remembered twice.
    pub(super) address: usize,
}

/// The best keys of earlier draws, worst first.
#[derive(Default)]
pub struct Candidates {
    pub(super) held: Vec<Candidate>,
    /// What their scores mean.
    pub(super) policy: Policy,
    /// The memory of one that was dropped, for the next.
    pub(super) spare: Vec<u8>,
}

impl Candidates {
    /// Remembers an entry if it is better than the worst, or there is room.
    pub(super) fn offer(&mut self, db: usize, entry: &Entry, score: u64) {
        let address = std::ptr::from_ref(entry).addr();
        let is_full = self.held.len() == POOL;
        if is_full && self.held[0].score >= score {
            return;
        }
        if self.held.iter().any(|held| held.address == address && held.score == score) {
            return;
        }
        let mut key =
            if is_full { self.held.remove(0).key } else { std::mem::take(&mut self.spare) };
        key.clear();
        key.extend_from_slice(entry.key());
        let place = self.held.partition_point(|held| held.score < score);
        self.held.insert(place, Candidate { db, key, score, address });
    }
}
