//! Cutting old entries off.

use super::{Stream, StreamId};

/// What is to stay of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So many entries, the newest.
    Newest(u64),
    /// Entries from this id on.
    From(StreamId),
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

impl Stream {
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
