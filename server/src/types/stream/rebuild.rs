//! A stream from outside, part by part. What does not fit together is refused, for what lies in memory is trusted.

use super::groups::ConsumerId;
use super::node::Node;
use super::{Facts, Group, Idempotence, Stream, StreamId};
use crate::encoding::listpack::Listpack;

/// What is wrong with a stream from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// A node is none, or its entries are out of order.
    Node,
    /// A node stands there twice.
    NodeAgain,
    /// The entries are not as many as the stream says, or go beyond its last id.
    Length,
    /// A group stands there twice.
    GroupAgain,
    /// A pending entry stands in a group twice.
    PendingAgain,
    /// A consumer stands in a group twice.
    ConsumerAgain,
    /// A consumer has an entry that is not pending in its group.
    NotPending,
    /// A pending entry has two owners, or one twice.
    OwnedAgain,
    /// A pending entry has no owner.
    Unowned,
}

/// A stream that is being put together: nodes, then facts, then each group with its pending entries and its consumers.
#[derive(Default)]
pub struct Rebuild {
    stream: Stream,
    /// The id of the last node.
    node: Option<StreamId>,
    /// The id of the last entry.
    entry: Option<StreamId>,
    live: u64,
    group: Option<Group>,
    consumer: Option<ConsumerId>,
    /// The consumer without a name, if that is the one.
    is_nameless: bool,
    owned: usize,
    /// The last of those that are nobody's.
    last_released: Option<StreamId>,
}

impl Rebuild {
    /// Adds a node.
    ///
    /// # Errors
    /// When it is none, or does not belong behind those before.
    pub fn node(&mut self, id: StreamId, pack: Listpack) -> Result<(), Damage> {
        if self.node == Some(id) {
            return Err(Damage::NodeAgain);
        }
        let checked = Node::check(&pack, id).ok_or(Damage::Node)?;
        if self.node > Some(id)
            || checked.bounds.is_some_and(|(first, _)| self.entry >= Some(first))
        {
            return Err(Damage::Node);
        }
        self.node = Some(id);
        self.live = self.live.saturating_add(checked.live);
        if let Some((_, last)) = checked.bounds {
            self.entry = Some(last);
        }
        self.stream.nodes.insert(id, Node::of(pack));
        Ok(())
    }

    /// All nodes are there; sets what the stream says of itself. The first id is found in the nodes.
    ///
    /// # Errors
    /// When that cannot be.
    pub fn facts(&mut self, facts: Facts) -> Result<(), Damage> {
        if facts.length != self.live || self.entry > Some(facts.last_id) {
            return Err(Damage::Length);
        }
        self.stream.facts = facts;
        self.stream.find_first();
        Ok(())
    }

    /// How many entries were added up to and with `id`, for forms that do not say it of a group.
    #[must_use]
    pub fn added_up_to(&self, id: StreamId) -> i64 {
        self.stream.facts.added_up_to(id)
    }

    /// Begins a group.
    ///
    /// # Errors
    /// When there is one of its name.
    pub fn begin_group(&mut self, group: Group) -> Result<(), Damage> {
        if self.stream.group(group.name()).is_some() {
            return Err(Damage::GroupAgain);
        }
        (self.group, self.consumer, self.owned) = (Some(group), None, 0);
        self.last_released = None;
        Ok(())
    }

    /// Adds a pending entry to the group.
    ///
    /// # Errors
    /// When it is there already.
    pub fn pending(&mut self, id: StreamId, at_ms: i64, count: u64) -> Result<(), Damage> {
        let group = self.group.as_mut().ok_or(Damage::NotPending)?;
        let is_new = group.add_pending_of_nobody(id, at_ms, count);
        is_new.then_some(()).ok_or(Damage::PendingAgain)
    }

    /// Begins a consumer of the group.
    ///
    /// # Errors
    /// When there is one of its name.
    pub fn begin_consumer(&mut self, name: &[u8], seen_ms: i64) -> Result<(), Damage> {
        let group = self.group.as_mut().ok_or(Damage::NotPending)?;
        self.consumer = Some(group.add_consumer(name, seen_ms).ok_or(Damage::ConsumerAgain)?);
        self.is_nameless = name.is_empty();
        Ok(())
    }

    /// A pending entry is nobody's. They come in their order.
    ///
    /// # Errors
    /// When it is not pending, or somebody has it already.
    pub fn released(&mut self, id: StreamId) -> Result<(), Damage> {
        let group = self.group.as_mut().ok_or(Damage::NotPending)?;
        let held = group.pending().get(id).ok_or(Damage::NotPending)?;
        if !held.is_released() || self.last_released >= Some(id) {
            return Err(Damage::OwnedAgain);
        }
        if held.delivered_ms != 0 {
            group.release(id, |before| before);
        }
        self.last_released = Some(id);
        self.owned += 1;
        Ok(())
    }

    /// The consumer has a pending entry. What one without a name was handed in 1970 is nobody's: where no form says that of an
    /// entry, it is written so.
    ///
    /// # Errors
    /// When it is not pending, or somebody has it already.
    pub fn owns(&mut self, id: StreamId) -> Result<(), Damage> {
        let (Some(group), Some(consumer)) = (&mut self.group, self.consumer) else {
            return Err(Damage::NotPending);
        };
        if self.is_nameless && group.pending().get(id).is_some_and(|held| held.delivered_ms == 0) {
            return self.released(id);
        }
        match group.own(id, consumer) {
            None => Err(Damage::NotPending),
            Some(false) => Err(Damage::OwnedAgain),
            Some(true) => {
                self.owned += 1;
                Ok(())
            }
        }
    }

    /// Ends the group.
    ///
    /// # Errors
    /// When a pending entry has no owner.
    pub fn end_group(&mut self) -> Result<(), Damage> {
        let Some(mut group) = self.group.take() else { return Ok(()) };
        let nameless = group.find(b"").map(|id| group.consumer(id).pending().is_empty());
        if self.last_released.is_some() && nameless == Some(true) {
            group.remove_consumer(b"");
        }
        if self.owned != group.pending().len() {
            return Err(Damage::Unowned);
        }
        self.stream.add_group(group);
        Ok(())
    }

    /// What is known of producers.
    pub fn idempotence(&mut self, known: Idempotence) {
        self.stream.set_idempotence(known);
    }

    /// The stream.
    #[must_use]
    pub fn finish(self) -> Stream {
        self.stream
    }
}
