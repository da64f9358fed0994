//! What the views of several nodes come to, and what is new in it.
//!
//! What holds of a node is in [`facts`](super::facts), whose a slot is in [`slots`](super::slots). Here they become shards: a
//! primary and its replicas, which stay the same shard when one of them takes the slots over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redstart_common::log::Level;
use redstart_common::slot::SLOT_COUNT;

use super::facts::{self, Fact, Said};
use super::slots::{Known, Run, Slots};
use super::view::NodeId;
use super::watch::Action;
use crate::settings::ServerAddress;
use crate::topology::roster::{Change, SlotRange};

/// A primary that was replaced makes no shard of its own for so long, in milliseconds: it becomes a replica.
const DEMOTED_MS: u64 = 5000;
/// How long after the last sign of slots on their way out a shard is taken to be giving slots away, in milliseconds: they go one
/// after the other, each in a moment.
const PARTING_MS: u64 = 3000;
/// Slots that nobody claims for so long are told to the log.
const UNCLAIMED_MS: u64 = 2000;

/// What holds of all nodes.
struct Nodes<'v> {
    facts: BTreeMap<&'v str, Fact<'v>>,
    /// Those that are primaries and make shards: with slots, or ready to take some.
    primaries: BTreeSet<&'v str>,
    /// Those that have slots.
    owners: BTreeSet<&'v str>,
}

impl<'v> Nodes<'v> {
    fn of(facts: BTreeMap<&'v str, Fact<'v>>, runs: &[Run]) -> Self {
        let owners = runs.iter().filter_map(|run| facts.get_key_value(&**run.owner.as_ref()?));
        let owners: BTreeSet<&'v str> = owners.map(|(id, _)| *id).collect();
        let is_primary = |(id, fact): &(&&'v str, &Fact<'_>)| {
            let row = fact.row;
            let has_place = row.replica_of.is_none() && row.address.is_some();
            has_place && (owners.contains(**id) || !row.is_failed)
        };
        let primaries = facts.iter().filter(is_primary).map(|(id, _)| *id).collect();
        Self { facts, primaries, owners }
    }

    /// Whether a node is a primary with slots.
    fn serves(&self, id: &str) -> bool {
        self.primaries.contains(id) && self.owners.contains(id)
    }

    fn members(&self) -> Vec<Member> {
        let (first, rest): (Vec<_>, Vec<_>) =
            self.facts.iter().partition(|(id, _)| self.owners.contains(**id));
        let member = |(id, fact): (&&str, &Fact<'_>)| {
            Some(Member { id: (*id).into(), address: fact.row.address.clone()? })
        };
        first.into_iter().chain(rest).filter_map(member).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Replica {
    id: NodeId,
    address: ServerAddress,
    is_down: bool,
}

#[derive(Debug)]
struct Shard {
    primary: NodeId,
    address: ServerAddress,
    is_down: bool,
    /// Until when it is taken to be giving slots away.
    parting_until_ms: Option<u64>,
    replicas: Vec<Replica>,
}

/// What was decided so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// Whether it matters that slots are on their way: to those who read replicas.
    tells_parting: bool,
    shards: BTreeMap<Arc<str>, Shard>,
    /// Whose each slot is.
    slots: Slots,
    /// What was told of that last.
    ranges: Vec<SlotRange>,
    /// Primaries that were replaced, and until when they make no shard.
    demoted: BTreeMap<NodeId, u64>,
    /// How many slots nobody claims, since when, and whether the log has been told.
    unclaimed: (usize, u64, bool),
}

/// A node that takes part, and where it can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) address: ServerAddress,
}

impl Books {
    /// Nothing was decided yet. `tells_parting` says whether it is to be told that slots of a shard are on their way.
    pub(super) fn new(tells_parting: bool) -> Self {
        Self { tells_parting, ..Self::default() }
    }

    /// A node has said that a slot lies elsewhere.
    pub(super) fn note_moved(&mut self, slot: u16, to: ServerAddress, now_ms: u64) {
        self.slots.note_moved(slot, to, now_ms);
    }

    /// Whether time alone may change what holds.
    pub(super) fn is_waiting(&self) -> bool {
        let has_hole = self.unclaimed.0 > 0 && !self.unclaimed.2;
        let parts = self.shards.values().any(|shard| shard.parting_until_ms.is_some());
        self.slots.is_waiting() || !self.demoted.is_empty() || has_hole || parts
    }

    /// Works out what the views come to and tells what is new. The nodes that take part are returned, those with slots
    /// first.
    pub(super) fn settle(
        &mut self,
        said: &[Said<'_>],
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Vec<Member> {
        let said = facts::acknowledged(said);
        let facts = facts::facts(&said);
        if facts.is_empty() {
            return Vec::new();
        }
        self.slots.resolve(&Known { said: &said, facts: &facts }, now_ms);
        self.note_unclaimed(self.slots.unclaimed(), now_ms);
        let nodes = Nodes::of(facts, self.slots.runs());
        self.demoted.retain(|_, until_ms| now_ms < *until_ms);
        let mut changes = Vec::new();
        self.succeed(&nodes, now_ms, &mut changes, actions);
        self.join(&nodes, &mut changes, actions);
        for (name, shard) in &mut self.shards {
            shard.describe(name, &nodes.facts, &mut changes, actions);
            if self.tells_parting {
                shard.part(name, &nodes.facts, now_ms, &mut changes);
            }
        }
        self.tell_slots(&mut changes);
        self.tell_unclaimed(now_ms, actions);
        actions.extend(changes.into_iter().map(Action::Change));
        nodes.members()
    }

    fn note_unclaimed(&mut self, count: usize, now_ms: u64) {
        let (before, since_ms, is_told) = self.unclaimed;
        self.unclaimed = match (before, count) {
            (0, 1..) => (count, now_ms, false),
            _ => (count, since_ms, is_told),
        };
    }

    /// Shards whose primary was replaced, and shards that are gone.
    fn succeed(
        &mut self,
        nodes: &Nodes<'_>,
        now_ms: u64,
        changes: &mut Vec<Change>,
        actions: &mut Vec<Action>,
    ) {
        let mut taken: BTreeSet<NodeId> =
            self.shards.values().map(|shard| Arc::clone(&shard.primary)).collect();
        let names: Vec<Arc<str>> = self.shards.keys().cloned().collect();
        for name in names {
            let Some(shard) = self.shards.get_mut(&name) else { continue };
            let of_old = nodes.facts.get(&*shard.primary);
            let may_follow = |id: &&NodeId| nodes.serves(id) && !taken.contains(*id);
            let follows = of_old.and_then(|fact| fact.row.replica_of.as_ref());
            let heir = shard.replicas.iter().map(|replica| &replica.id).chain(follows);
            let heir = heir.into_iter().find(may_follow).cloned();
            let stays = nodes.primaries.contains(&*shard.primary);
            if stays && (heir.is_none() || nodes.serves(&shard.primary)) {
                continue;
            }
            let address = heir.as_ref().and_then(|heir| nodes.facts[&**heir].row.address.clone());
            let (Some(heir), Some(address)) = (heir, address) else {
                actions.push(log(format!("node {} has left the cluster", shard.address)));
                changes.push(Change::Leave { shard: Arc::clone(&name) });
                self.shards.remove(&name);
                continue;
            };
            actions.push(log(format!(
                "{address} is the primary now, in the place of {} (epoch {})",
                shard.address, nodes.facts[&*heir].row.epoch
            )));
            taken.insert(Arc::clone(&heir));
            self.demoted.insert(std::mem::replace(&mut shard.primary, heir), now_ms + DEMOTED_MS);
            shard.address = address.clone();
            shard.is_down = false;
            // The one before is among them until they are told.
            shard.replicas.clear();
            changes.push(Change::Promote { shard: name, primary: address });
        }
    }

    /// Primaries that are in no shard yet.
    fn join(&mut self, nodes: &Nodes<'_>, changes: &mut Vec<Change>, actions: &mut Vec<Action>) {
        for id in &nodes.primaries {
            let row = nodes.facts[id].row;
            let is_new = self.shards.values().all(|shard| *shard.primary != **id);
            // Who claims slots that are another's does not know yet that it was replaced.
            let is_ready = row.is_connected && row.slots.is_empty();
            let is_wanted = nodes.serves(id) || (is_ready && !self.demoted.contains_key(*id));
            let (true, true, Some(address)) = (is_new, is_wanted, &row.address) else { continue };
            // A shard is called after the node that was its first primary, which may have gone elsewhere since.
            let mut name: Arc<str> = (*id).into();
            for number in 2.. {
                if !self.shards.contains_key(&name) {
                    break;
                }
                name = format!("{id}.{number}").into();
            }
            actions.push(log(format!("node {address} joins")));
            changes.push(Change::Join {
                shard: Arc::clone(&name),
                weight: 1,
                primary: Some(address.clone()),
            });
            let shard = Shard {
                primary: Arc::clone(&row.id),
                address: address.clone(),
                is_down: false,
                parting_until_ms: None,
                replicas: Vec::new(),
            };
            self.shards.insert(name, shard);
        }
    }

    /// Which slots lie where, if that has changed.
    fn tell_slots(&mut self, changes: &mut Vec<Change>) {
        let name_of: BTreeMap<&str, &Arc<str>> =
            self.shards.iter().map(|(name, shard)| (&*shard.primary, name)).collect();
        let mut ranges: Vec<SlotRange> = Vec::new();
        let runs = self.slots.runs();
        for (place, Run { first, owner, .. }) in runs.iter().enumerate() {
            let Some(name) = owner.as_ref().and_then(|owner| name_of.get(&**owner)) else {
                continue;
            };
            let (first, last) =
                (*first, runs.get(place + 1).map_or(SLOT_COUNT, |run| run.first) - 1);
            match ranges.last_mut() {
                Some(range) if range.shard == **name && range.last + 1 == first => {
                    range.last = last
                }
                _ => ranges.push(SlotRange { first, last, shard: Arc::clone(name) }),
            }
        }
        if self.ranges != ranges {
            self.ranges.clone_from(&ranges);
            changes.push(Change::Slots(ranges));
        }
    }

    /// Slots that nobody has claimed for a while, and that all are claimed again.
    fn tell_unclaimed(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let (count, since_ms, is_told) = &mut self.unclaimed;
        match (*count, *is_told) {
            (1.., false) if now_ms >= *since_ms + UNCLAIMED_MS => {
                *is_told = true;
                let text = format!("{count} slots are served by no node");
                actions.push(Action::Log(Level::Warning, text));
            }
            (0, true) => {
                *is_told = false;
                actions.push(log("all slots are served again".to_owned()));
            }
            _ => {}
        }
    }
}

impl Shard {
    /// Tells whether slots are on their way elsewhere, where that is new.
    fn part(
        &mut self,
        name: &Arc<str>,
        facts: &BTreeMap<&str, Fact<'_>>,
        now_ms: u64,
        changes: &mut Vec<Change>,
    ) {
        let says_so = facts.get(&*self.primary).is_some_and(|fact| fact.row.is_parting);
        let before = self.parting_until_ms;
        self.parting_until_ms = match says_so {
            true => Some(now_ms + PARTING_MS),
            false => before.filter(|until_ms| now_ms < *until_ms),
        };
        let is_parting = self.parting_until_ms.is_some();
        if before.is_some() != is_parting {
            changes.push(Change::Parting { shard: Arc::clone(name), is_parting });
        }
    }

    /// Tells what is new of it besides its slots.
    fn describe(
        &mut self,
        name: &Arc<str>,
        facts: &BTreeMap<&str, Fact<'_>>,
        changes: &mut Vec<Change>,
        actions: &mut Vec<Action>,
    ) {
        let Some(fact) = facts.get(&*self.primary) else { return };
        if let Some(address) = fact.row.address.as_ref().filter(|it| **it != self.address) {
            actions.push(log(format!("node {} is at {address} now", self.address)));
            self.address = address.clone();
            changes.push(Change::Move { shard: Arc::clone(name), to: address.clone() });
        }
        if self.is_down != fact.row.is_failed {
            self.is_down = fact.row.is_failed;
            let (shard, is_down) = (Arc::clone(name), self.is_down);
            changes.push(Change::PrimaryState { shard, is_down });
        }
        let replicas: Vec<Replica> = facts
            .values()
            .filter(|fact| fact.row.replica_of.as_ref() == Some(&self.primary))
            .filter_map(|fact| {
                let address = fact.row.address.clone()?;
                let id = Arc::clone(&fact.row.id);
                Some(Replica { id, address, is_down: fact.row.is_failed })
            })
            .collect();
        if self.replicas != replicas {
            let told = replicas.iter().map(|it| (it.address.clone(), it.is_down)).collect();
            changes.push(Change::Replicas { shard: Arc::clone(name), replicas: told });
            self.replicas = replicas;
        }
    }
}

fn log(text: String) -> Action {
    Action::Log(Level::Notice, text)
}
