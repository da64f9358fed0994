//! A stream from outside, part by part. What does not fit together is refused, for what lies in memory is trusted.

use super::groups::ConsumerId;
use super::node::Node;
use super::{Facts, Group, Stream, StreamId};
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
    owned: usize,
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
        Ok(())
    }

    /// The consumer has a pending entry.
    ///
    /// # Errors
    /// When it is not pending, or somebody has it already.
    pub fn owns(&mut self, id: StreamId) -> Result<(), Damage> {
        let (Some(group), Some(consumer)) = (&mut self.group, self.consumer) else {
            return Err(Damage::NotPending);
        };
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
        let Some(group) = self.group.take() else { return Ok(()) };
        if self.owned != group.pending().len() {
            return Err(Damage::Unowned);
        }
        self.stream.add_group(group);
        Ok(())
    }

    /// The stream.
    #[must_use]
    pub fn finish(self) -> Stream {
        self.stream
    }
}
