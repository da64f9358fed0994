//! Cutting old entries off.

use super::{Group, Stream, StreamId};

/// What is to stay of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many entries, the newest.
    Newest(u64),
    /// Entries from this id on.
    From(StreamId),
}

impl Keep {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Newest(_) => "MAXLEN",
            Self::From(_) => "MINID",
        }
    }
}

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trim {
    /// What is to stay.
    pub keep: Keep,
    /// Nodes go whole or stay, so that more may stay than was asked for.
    pub by_nodes: bool,
    /// So many entries go at most; 0 is any number.
    pub limit: u64,
}

/// What becomes of an entry that is to go, with regard to the groups that may still have to deal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// It goes, and stays pending where it is.
    Keep,
    /// It goes, and is pending nowhere any more.
    Delete,
    /// It goes only if every group has read and acknowledged it.
    Acknowledged,
}

/// What has gone with regard to the groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Entries that went, in their order.
    pub removed: Vec<StreamId>,
    /// Entries that are pending no more, by the name of a group.
    pub acknowledged: Vec<(Box<[u8]>, StreamId)>,
}

/// Whether a group has still to read or to acknowledge an entry.
fn awaits(group: &Group, id: StreamId) -> bool {
    group.last_id < id || group.pending().get(id).is_some()
}

impl Stream {
    /// Whether any group has still to read or to acknowledge an entry.
    #[must_use]
    pub fn is_awaited(&self, id: StreamId) -> bool {
        self.groups.iter().any(|group| awaits(group, id))
    }

    /// Has an entry pending nowhere any more, and notes where it was.
    pub fn delete_references(&mut self, id: StreamId, gone: &mut Gone) {
        for group in &mut self.groups {
            if group.acknowledge(id).is_some() {
                gone.acknowledged.push((group.name().into(), id));
            }
        }
    }

    /// Cuts old entries off with regard to the groups. Answers how many went, and which, unless references are kept. As in
    /// Redis 8.2, it is then entry by entry in the last node that is looked at, though nodes were to go whole.
    pub fn trim_by(&mut self, trim: &Trim, references: References) -> (u64, Gone) {
        let mut gone = Gone::default();
        if references == References::Keep {
            return (self.trim(trim), gone);
        }
        let mut length = self.facts.length;
        for (node_id, node) in self.nodes.iter() {
            let (live, _) = node.counts();
            let walk = node.walk(node_id);
            let is_over = match trim.keep {
                Keep::Newest(count) if length <= count => break,
                Keep::Newest(count) => length.saturating_sub(live) >= count,
                Keep::From(from) => {
                    let last = walk.before(walk.end()).and_then(|at| walk.read(at));
                    last.is_none_or(|last| last.entry.id < from)
                }
            };
            if trim.limit > 0 && gone.removed.len() as u64 + live > trim.limit {
                break;
            }
            let mut at = walk.first();
            while let Some(found) = walk.read(at) {
                let id = found.entry.id;
                let stays = match trim.keep {
                    Keep::Newest(count) => length <= count,
                    Keep::From(from) => id >= from,
                };
                if stays {
                    break;
                }
                at = found.end();
                let waits = references == References::Acknowledged && self.is_awaited(id);
                if !found.is_deleted && !waits {
                    gone.removed.push(id);
                    length -= 1;
                }
            }
            if !is_over {
                break;
            }
        }
        let max_deleted_id = self.facts.max_deleted_id;
        self.remove(gone.removed.iter().copied());
        if references == References::Delete {
            // What was cut off at the front leaves no hole.
            self.facts.max_deleted_id = max_deleted_id;
            let removed = std::mem::take(&mut gone.removed);
            removed.iter().for_each(|id| self.delete_references(*id, &mut gone));
            gone.removed = removed;
        }
        (gone.removed.len() as u64, gone)
    }

    /// Cuts old entries off. Answers how many went.
    pub fn trim(&mut self, trim: &Trim) -> u64 {
        let mut removed = 0;
        while let Some((id, node)) = self.nodes.first() {
            let (live, _) = node.counts();
            let length = self.facts.length;
            let over = match trim.keep {
                Keep::Newest(count) if length <= count => break,
                Keep::Newest(count) => length - count,
                Keep::From(_) => live,
            };
            if trim.limit > 0 && removed + live > trim.limit {
                break;
            }
            let goes_whole = match trim.keep {
                Keep::Newest(_) => live <= over,
                // Its last entry counts, deleted or not.
                Keep::From(from) => {
                    let walk = node.walk(id);
                    let last = walk.before(walk.end()).and_then(|at| walk.read(at));
                    last.is_none_or(|last| last.entry.id < from)
                }
            };
            if goes_whole {
                self.drop_first_node(live);
                removed += live;
                continue;
            }
            if !trim.by_nodes {
                removed += self.trim_first_node(trim.keep, over);
            }
            break;
        }
        if removed > 0 {
            self.find_first();
        }
        removed
    }

    fn drop_first_node(&mut self, live: u64) {
        self.nodes.remove_at(super::Place::default());
        self.facts.length = self.facts.length.saturating_sub(live);
    }

    /// Removes up to `most` entries from the front of the first node, which stays as it does in Redis, though all of it may
    /// be deleted.
    fn trim_first_node(&mut self, keep: Keep, most: u64) -> u64 {
        let place = super::Place::default();
        let Some((id, node)) = self.nodes.at(place) else { return 0 };
        let walk = node.walk(id);
        let (mut at, mut going) = (walk.first(), Vec::new());
        while let Some(found) = walk.read(at).filter(|_| (going.len() as u64) < most) {
            if matches!(keep, Keep::From(from) if found.entry.id >= from) {
                break;
            }
            at = found.end();
            if !found.is_deleted {
                going.push(found.at);
            }
        }
        let removed = going.len() as u64;
        if let Some(node) = self.nodes.at_mut(place).filter(|_| removed > 0) {
            // From the back: a mark may move what is behind it.
            going.into_iter().rev().for_each(|at| node.mark_deleted(at));
            node.count_deleted(removed);
        }
        self.facts.length = self.facts.length.saturating_sub(removed);
        removed
    }

    /// The id of the first entry that is still kept, deleted or not, or the highest id where there is none.
    #[must_use]
    pub fn first_kept_id(&self) -> StreamId {
        let first = self.nodes.first().and_then(|(id, node)| {
            let walk = node.walk(id);
            walk.read(walk.first()).map(|found| found.entry.id)
        });
        first.unwrap_or(StreamId::MAX)
    }
}
