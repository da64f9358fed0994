//! Nodes that have forgotten what they were: they were started with an old nodes.conf.
//!
//! Such a node says of itself what was true once. That it is a primary with fewer slots does no harm that others do not see; that it
//! replicates somebody who replicates it by now leaves its slots to nobody. Redis makes no promise here. Here the others remember:
//! the epochs that a node has had as a primary never fall, so that one who says less has forgotten, and is told of itself (UPDATE).
//! It may be that it has not forgotten and what it says is old: then it knows of the epoch, and nothing comes of being told.
//!
//! Not each slot that comes has an epoch of its own: a node that has the newest keeps it. What such a node has forgotten is seen by nobody
//! claiming it.

use super::Cluster;
use super::door::{Action, Turn};
use super::node::Handle;
use super::packet::{self, Kind, Packet};
use super::slots::SlotSet;

/// A node that is told of itself is taken at its word after so many node timeouts.
const REMIND_TIMEOUTS: i64 = 2;
/// Two nodes that replicate each other are left to others for so many node timeouts.
const MUTUAL_TIMEOUTS: i64 = 3;

/// What this replica remembers of a primary that has become its replica.
#[derive(Debug, Clone, Default)]
pub(super) struct Mutual {
    /// Since when the two replicate each other.
    since_ms: Option<i64>,
    /// The slots that the other had.
    slots: SlotSet,
}

impl Cluster {
    /// Whether a node says less of itself than it was. It is told so, and what it says of its role and its slots is not to be taken
    /// in; not for long, and only if it is one of ours, as others do not listen to what they are told of themselves.
    pub(super) fn has_forgotten(
        &mut self,
        sender: Handle,
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) -> bool {
        let patience_ms = self.options.node_timeout_ms.saturating_mul(REMIND_TIMEOUTS);
        let node = &mut self.nodes[sender];
        if !packet.is_replica {
            node.epoch_as_primary = node.epoch_as_primary.max(packet.config_epoch);
        }
        let epoch = node.epoch_as_primary;
        if packet.config_epoch >= epoch || !node.is_primary() || !node.takes_slots() {
            node.reminded_ms = 0;
            return false;
        }
        if node.slots.is_within(&self.not_claimed) {
            return false;
        }
        if node.reminded_ms == 0 {
            node.reminded_ms = turn.now_ms;
            turn.notice(format!(
                "Node {} says that its epoch is {} and had {epoch} before: telling it what it was",
                node.name, packet.config_epoch
            ));
        }
        if turn.now_ms - node.reminded_ms > patience_ms {
            return false;
        }
        let link = node.link;
        self.send_slots_of(link, sender, epoch, turn);
        true
    }

    /// A primary of ours says nothing of slots that it had by no newer epoch, and nobody else claims them: what it was started with may be
    /// older than they are. It is told after a while, and knows whether it has given them away.
    pub(super) fn remind_of_left(
        &mut self,
        sender: Handle,
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) {
        let node = &self.nodes[sender];
        if self.not_claimed.is_empty() && node.had.is_none()
            || packet.is_replica
            || !node.takes_slots()
        {
            return;
        }
        let mut left = node.slots.common(&self.not_claimed);
        let had = node.had.iter().flat_map(|had| had.iter());
        had.filter(|slot| self.owner_handle(*slot).is_none()).for_each(|slot| {
            left.insert(slot);
        });
        let patience_ms = self.options.node_timeout_ms.saturating_mul(REMIND_TIMEOUTS);
        let node = &mut self.nodes[sender];
        if left.is_empty() {
            (node.left_ms, node.had) = (0, None);
            return;
        }
        if node.left_ms == 0 {
            node.left_ms = turn.now_ms;
        }
        if turn.now_ms - node.left_ms <= patience_ms {
            return;
        }
        node.left_ms = turn.now_ms;
        let (link, name) = (node.link, node.name);
        turn.verbose(format!(
            "Node {name} says nothing of {} slots that it had and nobody claims: telling it",
            left.len()
        ));
        left.add(&self.nodes[sender].slots);
        let packet = packet::update(&self.header(turn.offset), &name, packet.config_epoch, &left);
        self.send(link, Kind::Update, &packet);
    }

    /// Others say that this server had these slots by this epoch. It takes them again that nobody has by a newer one, if the
    /// epoch is newer than all that it remembers of itself and of its primary.
    pub(super) fn recall(&mut self, epoch: u64, slots: &SlotSet, turn: &mut Turn<'_>) {
        let myself = &self.nodes[self.myself];
        if epoch == myself.config_epoch && myself.is_primary() && self.take_unclaimed(slots, turn) {
            return;
        }
        // A replica's packets show its primary's epoch, which may be this one: only what others said as primaries counts.
        let as_primary = |node: Handle| self.nodes[node].epoch_as_primary;
        let myself = &self.nodes[self.myself];
        let primary = myself.primary.filter(|_| myself.is_replica());
        // Not all of the others know all of the slots: each adds what it knows.
        let is_again = epoch == self.recalled_epoch && epoch == myself.config_epoch;
        if epoch <= myself.config_epoch.max(primary.map_or(0, as_primary)) && !is_again {
            return;
        }
        let is_older = |slot: &u16| {
            self.owner_handle(*slot)
                .is_none_or(|owner| owner != self.myself && as_primary(owner) < epoch)
        };
        let mine: SlotSet = slots.iter().filter(is_older).collect();
        if mine.is_empty() && (myself.is_replica() || is_again) {
            return;
        }
        turn.warn(format!(
            "The cluster configuration file is an old one: others know me as the owner of {} slots by epoch \
             {epoch}. I am again.",
            mine.len()
        ));
        self.current_epoch = self.current_epoch.max(epoch);
        self.nodes[self.myself].config_epoch = epoch;
        self.recalled_epoch = epoch;
        self.lead_with(&mine, turn);
    }

    /// Others say that this primary had these slots by the epoch that it has: it takes those whose owners, as it knows them, do not claim them.
    /// What an operator had it drop is nobody's, and stays so. Answers whether there were any.
    fn take_unclaimed(&mut self, slots: &SlotSet, turn: &mut Turn<'_>) -> bool {
        let is_left = |slot: &u16| self.owner_handle(*slot).is_some_and(|it| it != self.myself);
        let left: SlotSet = slots.common(&self.not_claimed).iter().filter(is_left).collect();
        if left.is_empty() {
            return false;
        }
        turn.warn(format!(
            "The cluster configuration file is an old one: others know me as the owner of {} slots that nobody claims. \
             I am again.",
            left.len()
        ));
        self.lead_with(&left, turn);
        true
    }

    /// This server is a primary, with these slots beside its own, and all are told.
    fn lead_with(&mut self, slots: &SlotSet, turn: &mut Turn<'_>) {
        if self.nodes[self.myself].is_replica() {
            self.become_primary(self.myself);
            turn.act(Action::Lead);
        }
        self.give_all(slots, self.myself);
        self.reset_manual(turn);
        self.todo.save_synced();
        self.todo.state = true;
        self.broadcast_pong(false, turn);
    }

    /// A primary has become a replica: if it was this server's, and replicates this server now, what it had is remembered.
    pub(super) fn note_mutual(&mut self, sender: Handle) {
        let myself = &self.nodes[self.myself];
        if myself.is_replica() && myself.primary == Some(sender) {
            self.mutual = Mutual { since_ms: None, slots: self.nodes[sender].slots.clone() };
        }
    }

    /// The slots of this server's primary that nobody has, now that it replicates this server.
    pub(super) fn take_left_slots(&mut self) -> SlotSet {
        let slots = std::mem::take(&mut self.mutual).slots;
        slots.iter().filter(|slot| self.owner_handle(*slot).is_none()).collect()
    }

    /// Ends that this server and its primary replicate each other, where nobody else does: this one takes the slots that the
    /// other had, by a new epoch.
    pub(super) fn end_mutual(&mut self, turn: &mut Turn<'_>) {
        let myself = &self.nodes[self.myself];
        let primary = myself.primary.filter(|_| myself.is_replica()).map(|it| &self.nodes[it]);
        if !primary.is_some_and(|it| it.is_replica() && it.primary == Some(self.myself)) {
            if self.mutual.since_ms.is_some() || !self.mutual.slots.is_empty() {
                self.mutual = Mutual::default();
            }
            return;
        }
        let since_ms = *self.mutual.since_ms.get_or_insert(turn.now_ms);
        let patience_ms = self.options.node_timeout_ms.saturating_mul(MUTUAL_TIMEOUTS);
        if turn.now_ms - since_ms <= patience_ms {
            return;
        }
        turn.warn("My primary and I replicate each other: I lead, as nobody else does.");
        let left = self.take_left_slots();
        self.bump_epoch(turn);
        self.lead_with(&left, turn);
    }
}
