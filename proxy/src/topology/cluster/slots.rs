//! Whose each slot is, from what several nodes say. Pure.
//!
//! What CLUSTER NODES tells, and SLOTS and SHARDS tell no more: for every node that the asked one knows, the epoch that it knows of
//! it, and which slots it takes to be that node's. Of a slot itself there is no epoch. From how nodes come to their opinion follows
//! what it is worth:
//!
//! ```text
//!   a node says a slot is its own     it came to it at its epoch or before. Who claims it at a higher epoch has it, whatever the
//!                                     first still says: it has not heard.
//!   a node says a slot is another's   that one has claimed it, at the epoch that is told of it or before. The claim is as good as
//!                                     that node's own, unless it was asked itself and no longer makes it.
//!   a node has lost a slot of its own somebody has it at a higher epoch than it had. It names whoever that is, perhaps with
//!                                     the epoch of old: SETSLOT names the new owner before that has been heard of.
//!   a node that has lost a slot       may be misled about it later, by one that had it still earlier and claims it yet: that one's
//!                                     epoch is higher than the one that it knows of the true owner.
//! ```
//!
//! Hence the rule. Of each slot it is kept who holds it, and the highest epoch at which it was claimed by the holder or by those
//! before it. It goes to
//!
//! ```text
//!   whoever claims it at a higher epoch than that
//!   where the holder no longer claims it  whoever claims it at that same epoch; else whoever the holder names, unless that one is
//!                                         known to claim it from an earlier time. The epoch stays: the new holder's is higher
//!                                         still, and what the old one or others claim up to it is of the past.
//!   after a while without a claim by the holder, or when it has left the cluster    whoever claims it at all
//! ```
//!
//! MOVED is what a node says of one slot, later than everything it has said before. It counts until the node that it names denies
//! it, or until both that one and the holder have been asked since.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use redstart_common::slot::SLOT_COUNT;

use super::facts::{Fact, Said};
use super::view::{NodeId, Row};
use crate::settings::ServerAddress;

/// How long what MOVED says of a slot counts more than views, in milliseconds.
const MOVED_MS: u64 = 2000;
/// How long claims of the past are told apart from news where the holder is silent.
const KEPT_MS: u64 = 15_000;

/// Who holds a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    id: NodeId,
    /// The highest epoch at which it was claimed, by this node or by one before it.
    epoch: u64,
    /// When the one before has named it; its own claims may be at lower epochs than `epoch`.
    named_ms: Option<u64>,
    /// Since when it is not claimed for it any more.
    lost_ms: Option<u64>,
}

/// Slots that are in the same hands, from `first` to where the next run begins.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) first: u16,
    /// Whom requests go to.
    pub(super) owner: Option<NodeId>,
    holder: Option<Holder>,
}

/// Claims of a run of slots.
struct Claims<'v> {
    first: u16,
    before: Option<Holder>,
    /// The epoch at which the holder claims it.
    own: Option<u64>,
    /// The highest at which another does, and which.
    other: Option<(u64, &'v NodeId)>,
}

/// The facts of all nodes, and the views from which they are.
pub(super) struct Known<'a, 'v> {
    pub(super) said: &'a [Said<'v>],
    pub(super) facts: &'a BTreeMap<&'v str, Fact<'v>>,
}

/// Whose each slot is.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Without gaps, in order.
    runs: Vec<Run>,
    /// What MOVED has said, and when.
    moved: BTreeMap<u16, (ServerAddress, u64)>,
    /// Somebody's claim is taken to be of the past for the time being.
    has_doubts: bool,
    /// Slots that nobody claims.
    unclaimed: usize,
}

impl Slots {
    /// A node has said that a slot lies elsewhere.
    pub(super) fn note_moved(&mut self, slot: u16, to: ServerAddress, now_ms: u64) {
        if slot < SLOT_COUNT {
            self.moved.insert(slot, (to, now_ms));
        }
    }

    /// Whether time alone may change what holds.
    pub(super) fn is_waiting(&self) -> bool {
        self.has_doubts || !self.moved.is_empty()
    }

    /// The slots, in runs without gaps.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Slots that nobody claims.
    pub(super) fn unclaimed(&self) -> usize {
        self.unclaimed
    }

    /// Works out whose each slot is now.
    pub(super) fn resolve(&mut self, known: &Known<'_, '_>, now_ms: u64) {
        self.moved.retain(|_, (_, at_ms)| now_ms < *at_ms + MOVED_MS);
        let mut claims = self.claims(known);
        claims.push(Claims { first: SLOT_COUNT, before: None, own: None, other: None });
        let mut runs: Vec<Run> = Vec::new();
        (self.has_doubts, self.unclaimed) = (false, 0);
        for pair in claims.windows(2) {
            let (here, end) = (&pair[0], pair[1].first);
            let first = here.first;
            let mut holder = known.settle(here, now_ms);
            let mut is_claimed = here.own.is_some() || here.other.is_some();
            let id = holder.as_ref().map(|holder| &holder.id);
            let is_held = here.own.is_some() || id != here.before.as_ref().map(|it| &it.id);
            let is_there = is_held || holder.as_ref().is_some_and(|holder| known.keeps(holder));
            let mut owner = id.filter(|_| is_there).cloned();
            self.has_doubts |= here.other.is_some() && here.own.is_none() && !is_held;
            if let Some((address, at_ms)) = self.moved.get(&first) {
                match known.moved(first, (address, *at_ms), holder.as_ref()) {
                    Moved::Counts(id) => (owner, is_claimed) = (Some(id), true),
                    Moved::IsSo(epoch, id) => {
                        owner = Some(Arc::clone(&id));
                        holder = Some(Holder { id, epoch, named_ms: None, lost_ms: None });
                        self.moved.remove(&first);
                    }
                    Moved::IsOver => drop(self.moved.remove(&first)),
                    Moved::IsUnknown => {}
                }
            }
            if !is_claimed {
                self.unclaimed += usize::from(end - first);
            }
            match runs.last() {
                Some(run) if run.owner == owner && run.holder == holder => {}
                _ => runs.push(Run { first, owner, holder }),
            }
        }
        self.runs = runs;
    }

    /// Who claims which slots, cut where anything changes.
    fn claims<'v>(&self, known: &Known<'_, 'v>) -> Vec<Claims<'v>> {
        let rows = known.rows_that_count();
        let mut cuts: BTreeSet<u16> = self.runs.iter().map(|run| run.first).collect();
        cuts.insert(0);
        // What a holder says of slots that it has lost counts beyond the rows that are claims.
        let all = known.said.iter().flat_map(|said| &said.view.rows);
        for (first, last) in all.flat_map(|row| &row.slots) {
            cuts.extend([*first, *last + 1]);
        }
        for slot in self.moved.keys() {
            cuts.extend([*slot, *slot + 1]);
        }
        cuts.remove(&SLOT_COUNT);
        let mut before = self.runs.iter().peekable();
        let mut holder = None;
        let mut claims: Vec<Claims<'v>> = Vec::with_capacity(cuts.len());
        for first in cuts {
            while let Some(run) = before.next_if(|run| run.first <= first) {
                holder.clone_from(&run.holder);
            }
            claims.push(Claims { first, before: holder.clone(), own: None, other: None });
        }
        for row in rows {
            for (first, last) in &row.slots {
                let from = claims.partition_point(|it| it.first < *first);
                for it in claims[from..].iter_mut().take_while(|it| it.first <= *last) {
                    if it.before.as_ref().is_some_and(|holder| holder.id == row.id) {
                        it.own = it.own.max(Some(row.epoch));
                    } else if it.other.is_none_or(|(epoch, _)| epoch < row.epoch) {
                        it.other = Some((row.epoch, &row.id));
                    }
                }
            }
        }
        claims
    }
}

/// What is to be made of a MOVED.
enum Moved {
    /// The slot is taken to be this node's.
    Counts(NodeId),
    /// It is, at this epoch, by its own word.
    IsSo(u64, NodeId),
    /// It says nothing any more.
    IsOver,
    /// Nobody knows the node that it names, or not as a primary.
    IsUnknown,
}

impl<'v> Known<'_, 'v> {
    /// The rows whose slots are claims.
    fn rows_that_count(&self) -> Vec<&'v Row> {
        let rows = || self.said.iter().flat_map(|said| &said.view.rows);
        // What a node said itself at its newest epoch is all it has: at the same epoch it can but lose some.
        let own: HashSet<&str> = rows()
            .filter(|row| row.is_myself && row.epoch == self.facts[&*row.id].row.epoch)
            .map(|row| &*row.id)
            .collect();
        let counts = |row: &&'v Row| {
            let fact = &self.facts[&*row.id];
            let is_newest = match (fact.is_own, own.contains(&*row.id)) {
                (true, _) => std::ptr::eq(fact.row, *row),
                (false, true) => row.is_myself && row.epoch == fact.row.epoch,
                (false, false) => row.epoch == fact.row.epoch,
            };
            is_newest && fact.row.replica_of.is_none()
        };
        rows().filter(counts).collect()
    }

    /// Who holds slots from now on that are claimed so.
    fn settle(&self, claims: &Claims<'_>, now_ms: u64) -> Option<Holder> {
        let take = |(epoch, id): (u64, &NodeId)| Holder {
            id: Arc::clone(id),
            epoch,
            named_ms: None,
            lost_ms: None,
        };
        let Some(holder) = &claims.before else { return claims.other.map(take) };
        let is_newer = |(epoch, _): &(u64, &NodeId)| {
            let is_left = claims.own.is_none()
                && (holder.lost_ms.is_some_and(|ms| now_ms >= ms + KEPT_MS)
                    || !self.facts.contains_key(&*holder.id)
                    || (*epoch == holder.epoch && holder.named_ms.is_none()));
            *epoch > holder.epoch || is_left
        };
        if let Some(other) = claims.other.filter(is_newer) {
            return Some(take(other));
        }
        if let Some(epoch) = claims.own {
            return Some(Holder {
                id: Arc::clone(&holder.id),
                epoch: holder.epoch.max(epoch),
                named_ms: holder.named_ms.filter(|_| epoch <= holder.epoch),
                lost_ms: None,
            });
        }
        let heir = self.heir(claims.first, holder).map(|id| Holder {
            id: Arc::clone(id),
            epoch: holder.epoch,
            named_ms: Some(now_ms),
            lost_ms: None,
        });
        let lost = || Holder { lost_ms: holder.lost_ms.or(Some(now_ms)), ..holder.clone() };
        Some(heir.unwrap_or_else(lost))
    }

    /// Whether slots stay with a holder for whom nobody claims them.
    fn keeps(&self, holder: &Holder) -> bool {
        let fact = self.facts.get(&*holder.id).filter(|fact| fact.row.replica_of.is_none());
        // Between one that has given a slot away and one that has not said yet that it took it, the former knows best, and who
        // was named may not have been asked since.
        let is_news = |fact: &Fact<'_>| holder.named_ms.is_some_and(|ms| !fact.spoke_since(ms));
        fact.is_some_and(|fact| fact.is_own || is_news(fact))
    }

    /// The node that a holder names which no longer claims a slot.
    fn heir(&self, slot: u16, holder: &Holder) -> Option<&'v NodeId> {
        let fact = self.facts.get(&*holder.id).filter(|fact| fact.is_own)?;
        // One that was named itself, and has not come to the slot, knows nothing of who has.
        let is_behind = |ms: u64| !fact.spoke_since(ms) || fact.row.epoch <= holder.epoch;
        if holder.named_ms.is_some_and(is_behind) {
            return None;
        }
        let named = fact.view.rows.iter().find(|row| row.claims(slot) && row.id != holder.id)?;
        let heir = self.facts.get(&*named.id)?;
        let is_of_the_past = |said: &Said<'v>| {
            let is_another = !std::ptr::eq(said.view, fact.view);
            let claims =
                |row: &Row| row.id == named.id && row.epoch < holder.epoch && row.claims(slot);
            is_another && said.view.rows.iter().any(claims)
        };
        let is_primary = heir.row.replica_of.is_none();
        (is_primary && !self.said.iter().any(is_of_the_past)).then_some(&heir.row.id)
    }

    /// What is to be made of it that a node has said that a slot lies at an address.
    fn moved(&self, slot: u16, said: (&ServerAddress, u64), holder: Option<&Holder>) -> Moved {
        let (address, at_ms) = said;
        let fact = self.facts.values().find(|fact| fact.row.address.as_ref() == Some(address));
        let Some(fact) = fact else { return Moved::IsUnknown };
        let id = Arc::clone(&fact.row.id);
        let spoke = fact.spoke_since(at_ms);
        let of_holder = holder.and_then(|holder| self.facts.get(&*holder.id));
        let holder_claims =
            of_holder.filter(|it| it.spoke_since(at_ms)).map(|it| it.row.claims(slot));
        match fact.row.replica_of {
            _ if spoke && !fact.row.claims(slot) => Moved::IsOver,
            // It may be about to take over.
            Some(_) => Moved::IsUnknown,
            None if spoke && holder_claims == Some(true) => Moved::IsOver,
            None if spoke && (holder_claims == Some(false) || holder.is_none()) => {
                Moved::IsSo(fact.row.epoch, id)
            }
            None => Moved::Counts(id),
        }
    }
}
