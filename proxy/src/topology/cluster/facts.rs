//! What is known of each node, from what several nodes say.
//!
//! ```text
//!   who counts           the nodes that know each other, be it by way of others, around the one whose friends have most slots
//!   what holds of a node its own word, while it can be asked and nobody knows of a later one; else what is said of it at its
//!                        highest epoch
//! ```
//!
//! A node's epoch only rises, while it is a primary. So a reply in which it has a lower one than somebody else knew of it
//! before the reply was asked for is no late reply, whatever the reason; one that was asked for earlier than that is.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::view::{NodeId, Row};

/// What one node has said.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) rows: Vec<Row>,
    /// Since when it says so of each of the rows' nodes what epoch and role that has.
    since_ms: Vec<u64>,
    /// When it was asked.
    pub(super) at_ms: u64,
    /// When it answered.
    told_ms: u64,
}

impl View {
    /// What was asked for at `at_ms` and has come now. `before` is what the same node has said before that.
    pub(super) fn new(rows: Vec<Row>, at_ms: u64, now_ms: u64, before: Option<&Self>) -> Self {
        let role = |row: &Row| (row.epoch, row.replica_of.is_none());
        let since = |row: &Row| {
            let before = before?;
            let place = before.rows.iter().position(|other| other.id == row.id)?;
            (role(&before.rows[place]) == role(row)).then(|| before.since_ms[place])
        };
        let since_ms = rows.iter().map(|row| since(row).unwrap_or(now_ms)).collect();
        Self { rows, since_ms, at_ms, told_ms: now_ms }
    }

    /// What the node says of itself.
    pub(super) fn own(&self) -> Option<&Row> {
        self.rows.iter().find(|row| row.is_myself)
    }

    /// Whether it was said later than something else that the same node said, perhaps on another connection.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        if self.at_ms >= other.told_ms || other.at_ms >= self.told_ms {
            return self.at_ms >= other.told_ms;
        }
        // Both were on their way at the same time.
        let epoch = |view: &Self| view.own().map(|row| row.epoch);
        (epoch(self), self.at_ms) > (epoch(other), other.at_ms)
    }
}

/// A view, and whether the node that said it can still be asked.
#[derive(Clone, Copy)]
pub(super) struct Said<'v> {
    pub(super) view: &'v View,
    pub(super) is_open: bool,
}

/// What holds of a node.
#[derive(Clone, Copy)]
pub(super) struct Fact<'v> {
    /// What was said.
    pub(super) row: &'v Row,
    /// Everything that was said together with it.
    pub(super) view: &'v View,
    /// It says so itself.
    pub(super) is_own: bool,
}

impl Fact<'_> {
    /// Whether it was asked for, of the node itself, since then.
    pub(super) fn spoke_since(&self, ms: u64) -> bool {
        self.is_own && self.view.at_ms > ms
    }
}

/// The views that count: those of nodes that know each other, be it by way of others. A node that was sent away says nothing
/// of the cluster any more: it knows but itself, or nobody knows it. One that is new is known to some before it is to all, and
/// may have slots by then.
pub(super) fn acknowledged<'v>(said: &[Said<'v>]) -> Vec<Said<'v>> {
    let lists: Vec<(Option<&NodeId>, HashSet<&NodeId>)> = said
        .iter()
        .map(|said| {
            let own = said.view.own().map(|row| &row.id);
            (own, said.view.rows.iter().map(|row| &row.id).collect())
        })
        .collect();
    let knows =
        |one: usize, other: usize| lists[other].0.is_some_and(|id| lists[one].1.contains(id));
    let know_each_other = |one: usize, other: usize| knows(one, other) && knows(other, one);
    let own_slots = |one: usize| -> usize {
        let slots = said[one].view.own().map_or(&[][..], |row| &row.slots);
        slots.iter().map(|(first, last)| usize::from(last - first) + 1).sum()
    };
    // Those who were sent away may know each other, and have no slots.
    let weight = |one: usize| {
        let friends = || (0..said.len()).filter(|other| know_each_other(one, *other));
        let slots: usize = friends().map(own_slots).sum();
        let fame = (0..said.len()).filter(|other| knows(*other, one)).count();
        (slots, friends().count(), fame)
    };
    // Of equals the first, which is a seed if any is.
    let best = (0..said.len()).max_by_key(|one| (weight(*one), std::cmp::Reverse(*one)));
    let Some(best) = best else { return Vec::new() };
    let mut counts: Vec<bool> = (0..said.len()).map(|other| knows(best, other)).collect();
    let mut reached: Vec<usize> = (0..said.len()).filter(|one| counts[*one]).collect();
    while let Some(one) = reached.pop() {
        for (other, counts) in counts.iter_mut().enumerate().filter(|(_, counts)| !**counts) {
            if know_each_other(one, other) {
                *counts = true;
                reached.push(other);
            }
        }
    }
    (0..said.len()).filter(|other| counts[*other]).map(|other| said[other]).collect()
}

/// Whose word on a node counts: its own, that at its highest epoch, that of who has a link to it, what was said last.
type Rank = (bool, u64, bool, bool, u64);

/// What holds of each node.
pub(super) fn facts<'v>(said: &[Said<'v>]) -> BTreeMap<&'v str, Fact<'v>> {
    // At which epochs each is said to be a primary, and since when.
    let mut epochs: HashMap<&'v str, Vec<(u64, u64)>> = HashMap::new();
    for Said { view, .. } in said {
        for (row, since_ms) in view.rows.iter().zip(&view.since_ms) {
            if row.replica_of.is_none() {
                epochs.entry(&row.id).or_default().push((row.epoch, *since_ms));
            }
        }
    }
    let is_late = |row: &Row, view: &View| {
        let epochs = epochs.get(&*row.id).map_or(&[][..], Vec::as_slice);
        epochs.iter().any(|(epoch, since_ms)| *epoch > row.epoch && *since_ms > view.at_ms)
    };
    let mut facts: BTreeMap<&'v str, (Rank, Fact<'v>)> = BTreeMap::new();
    for Said { view, is_open } in said {
        for row in &view.rows {
            let is_own = row.is_myself && *is_open && !is_late(row, view);
            let rank = (is_own, row.epoch, row.is_connected && *is_open, *is_open, view.at_ms);
            let fact = Fact { row, view, is_own };
            match facts.get_mut(&*row.id) {
                Some(known) if known.0 >= rank => {}
                Some(known) => *known = (rank, fact),
                None => drop(facts.insert(&row.id, (rank, fact))),
            }
        }
    }
    facts.into_iter().map(|(id, (_, fact))| (id, fact)).collect()
}
