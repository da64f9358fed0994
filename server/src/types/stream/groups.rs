//! Groups of consumers: what a group was handed, who has it, and what was acknowledged.
//!
//! An entry that was handed out and not acknowledged is pending. What is known of it stands once, in the group; a consumer
//! has the ids of its own. Both are in the order of the ids.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Entry, Row, Stream, StreamId};

/// A consumer of a group, for as long as it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerId(u32);

/// What is known of a pending entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Who has it.
    pub consumer: ConsumerId,
    /// When it was handed out last, in milliseconds since 1970.
    pub delivered_ms: i64,
    /// How often it was.
    pub deliveries: u64,
}

/// Somebody who is handed entries.
#[derive(Clone)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it was heard of last, in milliseconds since 1970.
    pub seen_ms: i64,
    pending: Row<()>,
}

impl Consumer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The ids of its pending entries.
    #[must_use]
    pub fn pending(&self) -> &Row<()> {
        &self.pending
    }
}

/// A group.
#[derive(Clone)]
pub struct Group {
    name: Box<[u8]>,
    /// The highest id that was handed out.
    pub last_id: StreamId,
    /// Entries that were handed out, or [`UNKNOWN_READS`](super::UNKNOWN_READS).
    pub entries_read: i64,
    pending: Row<Pending>,
    /// The pending entries by when they were handed out last, from when somebody asks for idle ones.
    ages: OnceCell<BTreeSet<(i64, StreamId)>>,
    names: BTreeMap<Box<[u8]>, ConsumerId>,
    consumers: Vec<Option<Box<Consumer>>>,
    free: Vec<u32>,
}

/// How new entries are handed out.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// To whom.
    pub consumer: ConsumerId,
    /// Whether they are pending then.
    pub is_pending: bool,
    /// The wall clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Entries at most.
    pub most: usize,
}

/// How a pending entry changes hands.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// To whom it goes.
    pub consumer: ConsumerId,
    /// When it counts as handed out, in milliseconds since 1970.
    pub delivered_ms: i64,
    /// How often it was handed out, if that is to change.
    pub deliveries: Option<u64>,
}

/// Whose a pending entry is that was given back (XNACK), and while a file has not told it yet.
const NOBODY: ConsumerId = ConsumerId(u32::MAX);

impl Pending {
    /// Whether its consumer has given it back, so that it is anybody's to claim.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.consumer == NOBODY
    }
}

impl Group {
    /// A group that was handed what is up to `last_id`.
    #[must_use]
    pub fn new(name: &[u8], last_id: StreamId, entries_read: i64) -> Self {
        Self {
            name: name.into(),
            last_id,
            entries_read,
            pending: Row::default(),
            ages: OnceCell::new(),
            names: BTreeMap::new(),
            consumers: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The pending entries.
    #[must_use]
    pub fn pending(&self) -> &Row<Pending> {
        &self.pending
    }

    /// Consumers there are.
    #[must_use]
    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    /// The consumers, by name.
    pub fn consumers(&self) -> impl Iterator<Item = &Consumer> {
        self.names.values().filter_map(|id| self.consumers[id.0 as usize].as_deref())
    }

    /// The consumer of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<ConsumerId> {
        self.names.get(name).copied()
    }

    /// A consumer that is one of this group.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn consumer(&self, id: ConsumerId) -> &Consumer {
        self.consumers[id.0 as usize].as_deref().expect("a consumer of this group")
    }

    /// The name of who has a pending entry, which is empty where nobody has it.
    #[must_use]
    pub fn owner_name(&self, held: &Pending) -> &[u8] {
        if held.is_released() { b"" } else { self.consumer(held.consumer).name() }
    }

    /// How many pending entries were given back and are nobody's.
    #[must_use]
    pub fn released_count(&self) -> usize {
        let owned: usize = self.consumers().map(|consumer| consumer.pending.len()).sum();
        self.pending.len() - owned
    }

    /// A consumer that is one of this group, to be changed.
    ///
    /// # Panics
    /// When it is not.
    pub fn consumer_mut(&mut self, id: ConsumerId) -> &mut Consumer {
        self.consumers[id.0 as usize].as_deref_mut().expect("a consumer of this group")
    }

    /// Adds a consumer, unless there is one of this name.
    pub fn add_consumer(&mut self, name: &[u8], seen_ms: i64) -> Option<ConsumerId> {
        (!self.names.contains_key(name)).then(|| self.add_new(name, seen_ms))
    }

    /// The consumer of this name, who is heard of now, and whether it was made just now.
    pub fn find_or_add(&mut self, name: &[u8], now_ms: i64) -> (ConsumerId, bool) {
        match self.find(name) {
            Some(id) => {
                self.consumer_mut(id).seen_ms = now_ms;
                (id, false)
            }
            None => (self.add_new(name, now_ms), true),
        }
    }

    fn add_new(&mut self, name: &[u8], seen_ms: i64) -> ConsumerId {
        let consumer =
            Some(Box::new(Consumer { name: name.into(), seen_ms, pending: Row::default() }));
        let id = match self.free.pop() {
            Some(place) => {
                self.consumers[place as usize] = consumer;
                ConsumerId(place)
            }
            None => {
                self.consumers.push(consumer);
                ConsumerId(self.consumers.len() as u32 - 1)
            }
        };
        self.names.insert(name.into(), id);
        id
    }

    /// Removes a consumer with its pending entries. Answers how many these were, if there was such a consumer.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let id = self.names.remove(name)?;
        let consumer = self.consumers[id.0 as usize].take()?;
        self.free.push(id.0);
        for (id, ()) in consumer.pending.iter() {
            if let Some(held) = self.pending.remove(id) {
                self.aged(id, Some(held.delivered_ms), None);
            }
        }
        Some(consumer.pending.len())
    }

    /// The pending entries by when they were handed out last, in milliseconds since 1970, the oldest first. The first who asks
    /// has the order made, and it is kept from then on.
    #[must_use]
    pub fn ages(&self) -> &BTreeSet<(i64, StreamId)> {
        self.ages
            .get_or_init(|| self.pending.iter().map(|(id, held)| (held.delivered_ms, id)).collect())
    }

    /// When a pending entry was handed out last is another time now, or it is pending from now on, or no more.
    #[inline]
    fn aged(&mut self, id: StreamId, from: Option<i64>, to: Option<i64>) {
        if let Some(ages) = self.ages.get_mut() {
            if let Some(from) = from {
                ages.remove(&(from, id));
            }
            if let Some(to) = to {
                ages.insert((to, id));
            }
        }
    }

    /// When the oldest of the pending entries that are still in the stream was handed out last.
    #[must_use]
    pub fn oldest_delivery_ms(&self, stream: &Stream) -> Option<i64> {
        let mut there = self.ages().iter().filter(|(_, id)| stream.contains(*id));
        there.next().map(|(at_ms, _)| *at_ms)
    }

    /// Hands pending entries that nobody has dealt with for `idle_ms` to one of the consumers, the oldest first, and calls
    /// `visit` with each and with what was known of it before, until that answers that it is enough. Those that are no longer
    /// in the stream stay where they are. Answers how many there were.
    pub fn deliver_idle(
        &mut self,
        stream: &Stream,
        delivery: Delivery,
        idle_ms: i64,
        mut visit: impl FnMut(Entry<'_>, Pending, &Self) -> bool,
    ) -> usize {
        let until = delivery.now_ms.saturating_sub(idle_ms);
        let old = self.ages().iter().take_while(|(at_ms, _)| *at_ms <= until);
        let there = old.map(|(_, id)| *id).filter(|id| stream.contains(*id));
        let ids: Vec<StreamId> = there.take(delivery.most).collect();
        let mut count = 0;
        for id in &ids {
            let (Some(entry), Some(before)) = (stream.get(*id), self.pending.get(*id).copied())
            else {
                continue;
            };
            self.claim(
                *id,
                Claim {
                    consumer: delivery.consumer,
                    delivered_ms: delivery.now_ms,
                    deliveries: Some(before.deliveries.wrapping_add(1)),
                },
            );
            count += 1;
            if !visit(entry, before, self) {
                break;
            }
        }
        count
    }

    /// Hands entries of its stream that the group was not handed yet to one of its consumers, and calls `visit` with each,
    /// until that answers that it is enough. Answers how many there were.
    pub fn deliver(
        &mut self,
        stream: &Stream,
        delivery: Delivery,
        mut visit: impl FnMut(Entry<'_>, &Self) -> bool,
    ) -> usize {
        let Some(start) = self.last_id.next() else { return 0 };
        let mut count = 0;
        for entry in stream.range(start, StreamId::MAX).take(delivery.most) {
            self.entries_read = stream.facts().reads_at(self.entries_read, entry.id);
            self.last_id = entry.id;
            if delivery.is_pending {
                self.hand(entry.id, delivery.consumer, delivery.now_ms);
            }
            count += 1;
            if !visit(entry, self) {
                break;
            }
        }
        count
    }

    /// Hands an entry to a consumer for the first time. If somebody has it already, it goes over.
    fn hand(&mut self, id: StreamId, consumer: ConsumerId, now_ms: i64) {
        let pending = Pending { consumer, delivered_ms: now_ms, deliveries: 1 };
        if self.pending.insert(id, pending) {
            self.consumer_mut(consumer).pending.insert(id, ());
            self.aged(id, None, Some(now_ms));
        } else {
            self.claim(id, Claim { consumer, delivered_ms: now_ms, deliveries: Some(1) });
        }
    }

    /// Gives a pending entry to a consumer. Answers what is known of it then, if it is pending.
    pub fn claim(&mut self, id: StreamId, claim: Claim) -> Option<Pending> {
        let held = self.pending.get_mut(id)?;
        let from = std::mem::replace(&mut held.consumer, claim.consumer);
        let before_ms = std::mem::replace(&mut held.delivered_ms, claim.delivered_ms);
        held.deliveries = claim.deliveries.unwrap_or(held.deliveries);
        let now = *held;
        if from != claim.consumer {
            if from != NOBODY {
                self.consumer_mut(from).pending.remove(id);
            }
            self.consumer_mut(claim.consumer).pending.insert(id, ());
        }
        self.aged(id, Some(before_ms), Some(claim.delivered_ms));
        Some(now)
    }

    /// Makes an entry pending that was not. Answers whether it was not.
    pub fn add_pending(&mut self, id: StreamId, pending: Pending) -> bool {
        let is_new = self.pending.insert(id, pending);
        if is_new {
            self.consumer_mut(pending.consumer).pending.insert(id, ());
            self.aged(id, None, Some(pending.delivered_ms));
        }
        is_new
    }

    /// Has a pending entry be nobody's, as if it had been handed out for ever, and so often as `deliveries` makes of what it
    /// was. Answers what is known of it then, if it is pending.
    pub fn release(
        &mut self,
        id: StreamId,
        deliveries: impl FnOnce(u64) -> u64,
    ) -> Option<Pending> {
        let held = self.pending.get_mut(id)?;
        let before = *held;
        let now = Pending {
            consumer: NOBODY,
            delivered_ms: 0,
            deliveries: deliveries(before.deliveries),
        };
        *held = now;
        if !before.is_released() {
            self.consumer_mut(before.consumer).pending.remove(id);
        }
        self.aged(id, Some(before.delivered_ms), Some(0));
        Some(now)
    }

    /// Makes an entry pending that was not and is nobody's. Answers what is known of it then, if it was not.
    pub fn add_released(&mut self, id: StreamId, deliveries: u64) -> Option<Pending> {
        let is_new = self.add_pending_of_nobody(id, 0, deliveries);
        is_new.then_some(Pending { consumer: NOBODY, delivered_ms: 0, deliveries })
    }

    /// Makes an entry pending of which a file has not said yet who has it. Answers whether it was not pending.
    pub(super) fn add_pending_of_nobody(&mut self, id: StreamId, at_ms: i64, count: u64) -> bool {
        let pending = Pending { consumer: NOBODY, delivered_ms: at_ms, deliveries: count };
        let is_new = self.pending.insert(id, pending);
        if is_new {
            self.aged(id, None, Some(at_ms));
        }
        is_new
    }

    /// Says who has it. Answers whether it was nobody's.
    pub(super) fn own(&mut self, id: StreamId, consumer: ConsumerId) -> Option<bool> {
        let held = self.pending.get_mut(id)?;
        let was_nobodys = held.consumer == NOBODY;
        if was_nobodys {
            held.consumer = consumer;
            self.consumer_mut(consumer).pending.insert(id, ());
        }
        Some(was_nobodys)
    }

    /// Notes that a pending entry was handed to its consumer once more.
    pub fn hand_again(&mut self, id: StreamId, now_ms: i64) {
        if let Some(held) = self.pending.get_mut(id) {
            let before_ms = std::mem::replace(&mut held.delivered_ms, now_ms);
            held.deliveries = held.deliveries.wrapping_add(1);
            self.aged(id, Some(before_ms), Some(now_ms));
        }
    }

    /// An entry is pending no longer. Answers what was known of it, if it was.
    pub fn acknowledge(&mut self, id: StreamId) -> Option<Pending> {
        let held = self.pending.remove(id)?;
        if !held.is_released() {
            self.consumer_mut(held.consumer).pending.remove(id);
        }
        self.aged(id, Some(held.delivered_ms), None);
        Some(held)
    }

    /// Bytes that the group has allocated beside its own place.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        /// What a tree takes for a name, beside the name.
        const NAME_BYTES: usize = size_of::<(Box<[u8]>, ConsumerId)>() * 3 / 2;
        let consumers = self.consumers().map(|consumer| {
            size_of::<Consumer>()
                + 2 * consumer.name.len()
                + NAME_BYTES
                + consumer.pending.allocated_bytes()
        });
        // Leaves of a tree are two thirds full.
        let ages = self.ages.get().map_or(0, BTreeSet::len);
        self.name.len()
            + self.pending.allocated_bytes()
            + ages * size_of::<(i64, StreamId)>() * 3 / 2
            + self.consumers.capacity() * size_of::<Option<Box<Consumer>>>()
            + consumers.sum::<usize>()
    }
}

impl Stream {
    /// The groups, by name.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The groups, to be changed.
    pub fn groups_mut(&mut self) -> &mut [Group] {
        &mut self.groups
    }

    fn find_group(&self, name: &[u8]) -> Result<usize, usize> {
        self.groups.binary_search_by(|group| (*group.name).cmp(name))
    }

    /// The group of this name.
    #[must_use]
    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.find_group(name).ok().map(|at| &self.groups[at])
    }

    /// The group of this name, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.find_group(name).ok().map(|at| &mut self.groups[at])
    }

    /// Adds a group. Answers whether there was none of its name.
    pub fn add_group(&mut self, group: Group) -> bool {
        match self.find_group(&group.name) {
            Ok(_) => false,
            Err(at) => {
                if self.groups.is_empty() {
                    self.groups.reserve_exact(1);
                }
                self.groups.insert(at, group);
                true
            }
        }
    }

    /// Takes the group of this name out.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Group> {
        self.find_group(name).ok().map(|at| self.groups.remove(at))
    }

    /// Calls `body` with the stream and one of its groups, to be changed, if there is one of this name. Meanwhile the stream
    /// has no groups.
    pub fn with_group<R>(
        &mut self,
        name: &[u8],
        body: impl FnOnce(&Self, &mut Group) -> R,
    ) -> Option<R> {
        let at = self.find_group(name).ok()?;
        let mut groups = std::mem::take(&mut self.groups);
        let result = body(self, &mut groups[at]);
        self.groups = groups;
        Some(result)
    }
}
