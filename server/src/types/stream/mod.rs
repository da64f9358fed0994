//! Streams: entries in the order of their ids, in packed nodes, and groups of consumers that read them.

mod groups;
mod id;
mod idempotence;
mod lag;
mod node;
mod radix;
mod range;
mod rebuild;
mod row;
#[cfg(test)]
mod tests;
mod trim;

pub use groups::{Claim, Consumer, ConsumerId, Delivery, Group, Pending};
pub use id::{ID_BYTES, IdText, StreamId, Wanted};
pub use idempotence::{Idempotence, Memory};
pub use lag::{Facts, UNKNOWN_READS};
pub use node::{Entry, Node};
pub use range::Range;
pub use rebuild::{Damage, Rebuild};
pub use row::{Place, Row};
pub use trim::{Gone, Keep, References, Trim};

use super::Limits;

/// Bytes of a node, and of what one entry brings, whatever the limit says: Redis's own bound.
const NODE_BYTES_MAX: usize = 1 << 30;
/// Bytes that a new node is given at most before it needs them.
const NODE_BYTES_AHEAD: usize = 4096;

/// A stream.
#[derive(Clone, Default)]
pub struct Stream {
    nodes: Row<Node>,
    facts: Facts,
    /// By name.
    groups: Vec<Group>,
    /// What is known of producers that name their entries.
    idempotence: Option<Box<Idempotence>>,
}

/// Why an entry was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddError {
    /// No id is left.
    Exhausted,
    /// The id is not above the last one.
    NotAbove,
    /// Names and values are longer than a node may be.
    TooLong,
}

/// Bytes that a node may have.
fn node_bytes(limits: &Limits) -> usize {
    match limits.stream_node_bytes {
        0 => NODE_BYTES_MAX,
        bytes => bytes.min(NODE_BYTES_MAX),
    }
}

impl Stream {
    /// Entries.
    #[inline]
    #[must_use]
    pub fn len(&self) -> u64 {
        self.facts.length
    }

    /// Whether there is no entry. The key stays nevertheless.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.length == 0
    }

    /// What is known of the entries as a whole.
    #[inline]
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The nodes by the ids of their first entries.
    #[must_use]
    pub fn nodes(&self) -> &Row<Node> {
        &self.nodes
    }

    fn pending(&self) -> usize {
        self.groups.iter().map(|group| group.pending().len()).sum()
    }

    /// Parts that take time to read: entries, and those that wait for an acknowledgement.
    #[must_use]
    pub fn parts(&self) -> usize {
        let names = self.idempotence().map_or(0, Idempotence::name_count);
        usize::try_from(self.facts.length)
            .unwrap_or(usize::MAX)
            .saturating_add(self.pending())
            .saturating_add(names)
    }

    /// Parts that are freed one by one: nodes, groups, consumers, and chunks of what is pending.
    #[must_use]
    pub fn parts_to_free(&self) -> usize {
        let consumers = self.groups.iter().map(|group| group.consumer_count()).sum::<usize>();
        let names = self.idempotence().map_or(0, Idempotence::name_count);
        self.nodes.len() + self.groups.len() + consumers + self.pending() / 64 + 2 * names
    }

    /// The id that the next entry gets.
    ///
    /// # Errors
    /// When there is none.
    fn next_id(&self, wanted: Wanted, now_ms: u64) -> Result<StreamId, AddError> {
        let last = self.facts.last_id;
        let id = match wanted {
            _ if last == StreamId::MAX => return Err(AddError::Exhausted),
            Wanted::Next if now_ms > last.ms => Some(StreamId::new(now_ms, 0)),
            Wanted::Next => last.next(),
            Wanted::At(ms) if ms == last.ms => last.next().filter(|next| next.ms == ms),
            Wanted::At(ms) => Some(StreamId::new(ms, 0)),
            Wanted::Exactly(id) => Some(id),
        };
        id.filter(|id| *id > last).ok_or(AddError::NotAbove)
    }

    /// Adds an entry. `now_ms` is the wall clock in milliseconds since 1970.
    ///
    /// # Errors
    /// When it cannot get the wanted id, or is too long.
    pub fn add<'t, P>(
        &mut self,
        wanted: Wanted,
        now_ms: u64,
        pairs: P,
        limits: &Limits,
    ) -> Result<StreamId, AddError>
    where
        P: ExactSizeIterator<Item = (&'t [u8], &'t [u8])> + Clone,
    {
        let id = self.next_id(wanted, now_ms)?;
        let bytes = pairs
            .clone()
            .try_fold(0_usize, |sum, (name, value)| {
                sum.checked_add(name.len())?.checked_add(value.len())
            })
            .filter(|bytes| *bytes <= NODE_BYTES_MAX)
            .ok_or(AddError::TooLong)?;
        let most = node_bytes(limits);
        let mut ahead = 0;
        let open = match self.nodes.last_mut() {
            Some((node_id, node)) => {
                let (live, deleted) = node.counts();
                let entries = limits.stream_node_entries;
                let is_full = node.pack().total() + bytes >= most
                    || (entries != 0 && live + deleted >= entries);
                if is_full {
                    // Entries of a stream are much alike, and so are its nodes.
                    ahead = node.pack().total().min(NODE_BYTES_AHEAD);
                    node.close();
                }
                (!is_full).then_some((node_id, node))
            }
            None => None,
        };
        match open {
            Some((node_id, node)) => node.append(node_id, id, pairs, most),
            None => {
                let names = pairs.clone().map(|(name, _)| name);
                let mut node = Node::begin(names, ahead, most);
                node.append(id, id, pairs, most);
                self.nodes.insert(id, node);
            }
        }
        let facts = &mut self.facts;
        facts.length += 1;
        facts.entries_added = facts.entries_added.wrapping_add(1);
        facts.last_id = id;
        if facts.length == 1 {
            facts.first_id = id;
        }
        Ok(id)
    }

    /// Removes the entries with these ids. Answers how many there were.
    pub fn remove(&mut self, ids: impl IntoIterator<Item = StreamId>) -> usize {
        let (mut removed, mut first) = (0, false);
        for id in ids {
            if self.remove_one(id) {
                removed += 1;
                first |= id == self.facts.first_id;
                self.facts.max_deleted_id = self.facts.max_deleted_id.max(id);
            }
        }
        if removed > 0 && (first || self.is_empty()) {
            self.find_first();
        }
        removed
    }

    fn remove_one(&mut self, id: StreamId) -> bool {
        let Some(place) = self.nodes.floor(id) else { return false };
        let Some((node_id, node)) = self.nodes.at(place) else { return false };
        let walk = node.walk(node_id);
        let mut at = walk.seek(id);
        let at = loop {
            match walk.read(at) {
                Some(found) if found.is_deleted => at = found.end(),
                Some(found) if found.entry.id == id => break found.at,
                _ => return false,
            }
        };
        if node.counts().0 <= 1 {
            self.nodes.remove_at(place);
        } else if let Some(node) = self.nodes.at_mut(place) {
            node.mark_deleted(at);
            node.count_deleted(1);
        }
        self.facts.length = self.facts.length.saturating_sub(1);
        true
    }

    /// Finds again which entry is the first.
    fn find_first(&mut self) {
        let first = self.range(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id);
        self.facts.first_id = first.unwrap_or(StreamId::MIN);
    }

    /// Whether there is an entry with this id.
    #[must_use]
    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    /// The entry with this id.
    #[must_use]
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.range(id, id).next()
    }

    /// The highest id of an entry that is there.
    #[must_use]
    pub fn last_entry_id(&self) -> Option<StreamId> {
        self.range_back(StreamId::MIN, StreamId::MAX).next().map(|entry| entry.id)
    }

    /// Sets what the stream says of itself, as XSETID does; the caller has seen that it fits the entries.
    pub fn set_facts(
        &mut self,
        last_id: StreamId,
        entries_added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        let facts = &mut self.facts;
        facts.last_id = last_id;
        facts.entries_added = entries_added.unwrap_or(facts.entries_added);
        facts.max_deleted_id = max_deleted_id.unwrap_or(facts.max_deleted_id);
    }

    /// Bytes that the stream has allocated, told from `samples` of its nodes when there are more.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        let count = self.nodes.len();
        let looked_at = count.min(samples.max(1));
        let sampled: usize =
            self.nodes.iter().take(looked_at).map(|(_, node)| node.allocated_bytes()).sum();
        // The last one is not like the others, and counted by itself.
        let nodes = match self.nodes.last() {
            Some((_, last)) if looked_at < count => {
                sampled / looked_at * (count - 1) + last.allocated_bytes()
            }
            _ => sampled,
        };
        let groups: usize = self.groups.iter().map(Group::allocated_bytes).sum();
        size_of::<Self>()
            + self.nodes.allocated_bytes()
            + nodes
            + self.groups.capacity() * size_of::<Group>()
            + groups
            + self.idempotence().map_or(0, Idempotence::allocated_bytes)
    }
}
