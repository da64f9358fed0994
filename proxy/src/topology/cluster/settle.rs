//! What the views of several nodes come to, and what is new in it.
//!
//! ```text
//!   who counts           nodes that know each other: of views that do not, those that most nodes acknowledge
//!   what holds of a node its own word while it can be asked; else what is said of it at its highest epoch
//!   whose a slot is      of those that claim it, the node with the highest epoch, as the nodes decide it themselves
//!   a single slot        what MOVED says, until the node that it names has denied it, or all have been asked again
//!   a shard              a primary and its replicas; it stays the same when one of them takes the slots over
//! ```

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use redstart_common::log::Level;
use redstart_common::slot::SLOT_COUNT;

use super::view::{NodeId, Row};
use super::watch::Action;
use crate::settings::ServerAddress;
use crate::topology::roster::{Change, SlotRange};

/// How long what MOVED says of a slot counts more than views, in milliseconds.
const MOVED_MS: u64 = 2000;
/// A primary that was replaced makes no shard of its own for so long: it becomes a replica.
const DEMOTED_MS: u64 = 5000;
/// Slots that nobody claims for so long are told to the log.
const UNCLAIMED_MS: u64 = 2000;

/// What one node has said.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) rows: Vec<Row>,
    /// When it was asked.
    pub(super) at_ms: u64,
}

/// A view, and whether the node that said it can still be asked.
#[derive(Clone, Copy)]
pub(super) struct Said<'v> {
    pub(super) view: &'v View,
    pub(super) is_open: bool,
}

/// What holds of a node.
#[derive(Clone, Copy)]
struct Fact<'v> {
    row: &'v Row,
    /// It says so itself.
    is_own: bool,
    at_ms: u64,
}

/// What holds of all nodes.
struct Nodes<'v> {
    facts: BTreeMap<&'v str, Fact<'v>>,
    /// Those that are primaries and make shards: with slots, or ready to take some.
    primaries: BTreeSet<&'v str>,
    /// Those that have slots.
    owners: BTreeSet<&'v str>,
}

impl<'v> Nodes<'v> {
    fn of(facts: BTreeMap<&'v str, Fact<'v>>, slots: &[Option<NodeId>]) -> Self {
        let mut owners: BTreeSet<&'v str> = BTreeSet::new();
        for run in slots.chunk_by(|one, other| one == other) {
            let owner = run[0].as_ref().and_then(|owner| facts.get_key_value(&**owner));
            owners.extend(owner.map(|(id, _)| *id));
        }
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
    replicas: Vec<Replica>,
}

/// What was decided so far.
#[derive(Debug, Default)]
pub(super) struct Books {
    shards: BTreeMap<Arc<str>, Shard>,
    /// Whose each slot is.
    owners: Vec<Option<NodeId>>,
    slots: Vec<SlotRange>,
    /// What MOVED has said, and when.
    moved: BTreeMap<u16, (ServerAddress, u64)>,
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
    /// A node has said that a slot lies elsewhere.
    pub(super) fn note_moved(&mut self, slot: u16, to: ServerAddress, now_ms: u64) {
        if slot < SLOT_COUNT {
            self.moved.insert(slot, (to, now_ms));
        }
    }

    /// Whether time alone may change what holds.
    pub(super) fn is_waiting(&self) -> bool {
        let has_hole = self.unclaimed.0 > 0 && !self.unclaimed.2;
        !self.moved.is_empty() || !self.demoted.is_empty() || has_hole
    }

    /// Works out what the views come to and tells what is new. The nodes that take part are returned, those with slots
    /// first.
    pub(super) fn settle(
        &mut self,
        said: &[Said<'_>],
        now_ms: u64,
        actions: &mut Vec<Action>,
    ) -> Vec<Member> {
        let said = acknowledged(said);
        let facts = facts(&said);
        if facts.is_empty() {
            return Vec::new();
        }
        self.owners = self.resolve(&said, &facts, now_ms);
        let nodes = Nodes::of(facts, &self.owners);
        self.demoted.retain(|_, until_ms| now_ms < *until_ms);
        let mut changes = Vec::new();
        self.succeed(&nodes, now_ms, &mut changes, actions);
        self.join(&nodes, &mut changes, actions);
        for (name, shard) in &mut self.shards {
            shard.describe(name, &nodes.facts, &mut changes, actions);
        }
        self.tell_slots(&mut changes);
        self.tell_unclaimed(now_ms, actions);
        actions.extend(changes.into_iter().map(Action::Change));
        nodes.members()
    }

    /// Whose each slot is.
    fn resolve(
        &mut self,
        said: &[Said<'_>],
        facts: &BTreeMap<&str, Fact<'_>>,
        now_ms: u64,
    ) -> Vec<Option<NodeId>> {
        let count = usize::from(SLOT_COUNT);
        self.owners.resize(count, None);
        let mut best: Vec<Option<(u64, bool, &Row)>> = vec![None; count];
        let rows = || said.iter().flat_map(|said| &said.view.rows);
        // What a node said itself at its newest epoch is all it has: at the same epoch it can but lose some.
        let own: HashSet<&str> = rows()
            .filter(|row| row.is_myself && row.epoch == facts[&*row.id].row.epoch)
            .map(|row| &*row.id)
            .collect();
        for row in rows() {
            let fact = &facts[&*row.id];
            let counts = match (fact.is_own, own.contains(&*row.id)) {
                (true, _) => std::ptr::eq(fact.row, row),
                (false, true) => row.is_myself && row.epoch == fact.row.epoch,
                (false, false) => row.epoch == fact.row.epoch,
            };
            let counts = counts && fact.row.replica_of.is_none();
            for (first, last) in row.slots.iter().filter(|_| counts) {
                let claimed = usize::from(*first)..=usize::from(*last);
                let places = best[claimed.clone()].iter_mut().zip(&self.owners[claimed]);
                for (best, before) in places {
                    let is_present = before.as_ref() == Some(&row.id);
                    let claim = (row.epoch, is_present);
                    if best.is_none_or(|(epoch, present, _)| (epoch, present) < claim) {
                        *best = Some((claim.0, claim.1, fact.row));
                    }
                }
            }
        }
        self.moved.retain(|slot, (address, at_ms)| {
            let named = facts.values().find(|fact| fact.row.address.as_ref() == Some(address));
            let Some(fact) = named else { return now_ms < *at_ms + MOVED_MS };
            let claims = fact.row.slots.iter().any(|(first, last)| (first..=last).contains(&slot));
            let denies = fact.is_own && fact.at_ms > *at_ms && !claims;
            let counts = now_ms < *at_ms + MOVED_MS && !denies;
            if counts && fact.row.replica_of.is_none() {
                best[usize::from(*slot)] = Some((fact.row.epoch, true, fact.row));
            }
            counts
        });
        self.note_unclaimed(best.iter().filter(|best| best.is_none()).count(), now_ms);
        // Between one that has given a slot away and one that has not said yet that it took it, the former knows best.
        let owner = |(best, before): (Option<(u64, bool, &Row)>, Option<NodeId>)| match best {
            Some((_, _, row)) => Some(Arc::clone(&row.id)),
            None => before.filter(|id| {
                facts.get(&**id).is_some_and(|fact| fact.is_own && fact.row.replica_of.is_none())
            }),
        };
        best.into_iter().zip(std::mem::take(&mut self.owners)).map(owner).collect()
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
                replicas: Vec::new(),
            };
            self.shards.insert(name, shard);
        }
    }

    /// Which slots lie where, if that has changed.
    fn tell_slots(&mut self, changes: &mut Vec<Change>) {
        let name_of: BTreeMap<&str, &Arc<str>> =
            self.shards.iter().map(|(name, shard)| (&*shard.primary, name)).collect();
        let mut slots: Vec<SlotRange> = Vec::new();
        for (slot, owner) in (0..).zip(&self.owners) {
            let Some(name) = owner.as_ref().and_then(|owner| name_of.get(&**owner)) else {
                continue;
            };
            match slots.last_mut() {
                Some(range) if range.shard == **name && range.last + 1 == slot => range.last = slot,
                _ => slots.push(SlotRange { first: slot, last: slot, shard: Arc::clone(name) }),
            }
        }
        if self.slots != slots {
            self.slots.clone_from(&slots);
            changes.push(Change::Slots(slots));
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

/// The views that count: those of nodes that know each other. A node that was sent away says nothing of the cluster any
/// more: it knows but itself, or nobody knows it.
fn acknowledged<'v>(said: &[Said<'v>]) -> Vec<Said<'v>> {
    let lists: Vec<(Option<&NodeId>, HashSet<&NodeId>)> = said
        .iter()
        .map(|said| {
            let rows = &said.view.rows;
            let own = rows.iter().find(|row| row.is_myself).map(|row| &row.id);
            (own, rows.iter().map(|row| &row.id).collect())
        })
        .collect();
    let knows =
        |one: usize, other: usize| lists[other].0.is_some_and(|id| lists[one].1.contains(id));
    let weight = |one: usize| {
        let known =
            (0..said.len()).filter(|other| knows(one, *other) && knows(*other, one)).count();
        let rows = &said[one].view.rows;
        let slots: usize = rows
            .iter()
            .flat_map(|row| &row.slots)
            .map(|(first, last)| usize::from(last - first) + 1)
            .sum();
        (known, slots, rows.len())
    };
    // Of equals the first, which is a seed if any is.
    let best = (0..said.len()).max_by_key(|one| (weight(*one), std::cmp::Reverse(*one)));
    let Some(best) = best else { return Vec::new() };
    (0..said.len()).filter(|other| knows(best, *other)).map(|other| said[other]).collect()
}

/// Whose word on a node counts: its own, that at its highest epoch, that of who has a link to it, what was said last.
type Rank = (bool, u64, bool, bool, u64);

/// What holds of each node.
fn facts<'v>(said: &[Said<'v>]) -> BTreeMap<&'v str, Fact<'v>> {
    let mut facts: BTreeMap<&'v str, (Rank, Fact<'v>)> = BTreeMap::new();
    for Said { view, is_open } in said {
        for row in &view.rows {
            let is_own = row.is_myself && *is_open;
            let rank = (is_own, row.epoch, row.is_connected && *is_open, *is_open, view.at_ms);
            let fact = Fact { row, is_own, at_ms: view.at_ms };
            match facts.get_mut(&*row.id) {
                Some(known) if known.0 >= rank => {}
                Some(known) => *known = (rank, fact),
                None => drop(facts.insert(&row.id, (rank, fact))),
            }
        }
    }
    facts.into_iter().map(|(id, (_, fact))| (id, fact)).collect()
}
