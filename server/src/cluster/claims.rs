//! Who owns which slots: what nodes claim, by the epochs of their configurations.

use std::borrow::Cow;

use super::Cluster;
use super::door::{Action, Turn};
use super::node::{Handle, Name, Node};
use super::packet::{self, Kind, Packet, own_mark};
use super::slots::{SLOT_BYTES, SlotSet};

/// Two that were both told to have a slot of the other's would each outbid the other for ever: after so many times the other's
/// epoch counts. Each of them is another epoch that the other got while it had not heard of this one.
const TIMES_INSISTED: u8 = 3;

/// A slot that an operator has brought here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brought {
    /// The node that had it, or that has taken the place of that one.
    pub(super) from: Handle,
    times_left: u8,
}

impl Brought {
    /// It was brought from this node.
    pub(super) fn by_hand(from: Handle) -> Self {
        Self { from, times_left: TIMES_INSISTED }
    }
}

impl Cluster {
    /// The epoch of the owner of a slot that is claimed.
    pub(super) fn claimed_epoch(&self, slot: u16) -> Option<u64> {
        if self.not_claimed.contains(slot) {
            return None;
        }
        Some(self.nodes[self.owner_handle(slot)?].config_epoch)
    }

    /// What this server's packets say of the slots of its own or of its primary, whichever it shows.
    pub(super) fn claims_of<'n>(&self, shown: &'n Node) -> Cow<'n, SlotSet> {
        let let_go = if shown.is_myself() { self.let_go(None) } else { SlotSet::default() };
        if let_go.is_empty() {
            return Cow::Borrowed(&shown.slots);
        }
        Cow::Owned(shown.slots.without(&let_go))
    }

    /// The newest epoch that is known.
    pub(super) fn newest_epoch(&self) -> u64 {
        let configs = self.nodes.iter().map(|(_, node)| node.config_epoch);
        configs.max().unwrap_or(0).max(self.current_epoch)
    }

    /// Gives this server a new epoch without asking anybody, unless it has the newest already; answers whether it did.
    pub(super) fn bump_epoch(&mut self, turn: &mut Turn<'_>) -> bool {
        let newest = self.newest_epoch();
        let mine = self.nodes[self.myself].config_epoch;
        if mine != 0 && mine == newest {
            return false;
        }
        self.current_epoch = newest + 1;
        self.nodes[self.myself].config_epoch = self.current_epoch;
        self.todo.save_synced();
        turn.warn(format!("New configEpoch set to {}", self.current_epoch));
        true
    }

    /// What a node says of its slots, or of its primary's.
    pub(super) fn hear_claims(&mut self, sender: Handle, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        let node = &self.nodes[sender];
        let is_primary = node.is_primary();
        let shown = if is_primary { Some(sender) } else { node.primary };
        if is_primary && !self.brought.is_empty() {
            let claimed = packet.claimed();
            self.brought.retain(|slot, it| it.from != sender || claimed.contains(*slot));
        }
        let differs = shown.is_some_and(|shown| !self.nodes[shown].slots.is_bytes(packet.slots));
        if differs {
            let claimed = packet.claimed();
            if is_primary {
                self.take_claims(sender, packet.config_epoch, &claimed, turn);
            }
            self.correct(sender, packet.config_epoch, &claimed, turn);
        }
        let myself = &self.nodes[self.myself];
        if myself.is_primary()
            && self.nodes[sender].is_primary()
            && packet.config_epoch == myself.config_epoch
        {
            self.part_epochs(sender, packet, turn);
        }
    }

    /// Tells a node that it claims slots by a configuration that is no longer the newest.
    fn correct(
        &mut self,
        sender: Handle,
        config_epoch: u64,
        claimed: &SlotSet,
        turn: &mut Turn<'_>,
    ) {
        // Whose slot comes first of those that are claimed by a newer one.
        let newer = self.nodes.iter().filter(|(handle, node)| {
            *handle != sender && node.config_epoch > config_epoch && !node.slots.is_empty()
        });
        let of_newer = newer.filter_map(|(handle, node)| {
            let slots = claimed.common(&node.slots).without(&self.not_claimed);
            Some((slots.iter().next()?, handle))
        });
        let Some((_, owner)) = of_newer.min() else { return };
        let (name, about) = (self.nodes[sender].name, self.nodes[owner].name);
        turn.verbose(format!(
            "Node {name} has old slots configuration, sending an UPDATE message about {about}"
        ));
        let link = self.nodes[sender].link;
        self.send_update(link, owner, turn);
    }

    pub(super) fn send_update(
        &mut self,
        link: Option<super::LinkId>,
        about: Handle,
        turn: &mut Turn<'_>,
    ) {
        let node = &self.nodes[about];
        self.send_slots_of(link, about, node.config_epoch, turn);
    }

    pub(super) fn send_slots_of(
        &mut self,
        link: Option<super::LinkId>,
        about: Handle,
        epoch: u64,
        turn: &mut Turn<'_>,
    ) {
        let node = &self.nodes[about];
        let slots = node.slots.without(&self.not_claimed);
        let packet = packet::update(&self.header(turn.offset), &node.name, epoch, &slots);
        self.send(link, Kind::Update, &packet);
    }

    /// A third node tells of the slots of a node.
    pub(super) fn hear_update(
        &mut self,
        about: &Name,
        config_epoch: u64,
        slots: &[u8; SLOT_BYTES],
        turn: &mut Turn<'_>,
    ) {
        let Some(node) = self.nodes.find(about) else { return };
        if node == self.myself {
            return self.recall(config_epoch, &SlotSet::from_bytes(slots), turn);
        }
        if self.nodes[node].config_epoch >= config_epoch {
            return;
        }
        self.become_primary(node);
        self.nodes[node].config_epoch = config_epoch;
        self.nodes[node].epoch_as_primary = config_epoch;
        self.todo.save_synced();
        self.take_claims(node, config_epoch, &SlotSet::from_bytes(slots), turn);
    }

    /// Gives a node the slots that it claims by a newer configuration than their owners', and follows it if it is the new
    /// primary of this server's shard.
    fn take_claims(
        &mut self,
        sender: Handle,
        config_epoch: u64,
        claimed: &SlotSet,
        turn: &mut Turn<'_>,
    ) {
        self.insist_on_brought(sender, config_epoch, claimed, turn);
        let myself = &self.nodes[self.myself];
        let my_primary = if myself.is_primary() { Some(self.myself) } else { myself.primary };
        let mut lost = SlotSet::default();
        let mut of_my_shard = 0;
        // Somebody may have taken a failed primary's place: the next in the row need not wait.
        self.todo.failover |= self.options.ranks_elections;
        let own = &self.nodes[sender].slots;
        // What it claims no more stays with it until somebody else claims it: answers are better than none.
        self.not_claimed.add(&own.without(claimed));
        self.not_claimed.take_out(&own.common(claimed));
        let mut taken = claimed.without(own);
        for slot in self.importing.keys() {
            // Operators close it by hand.
            taken.remove(*slot);
        }
        let let_go = self.let_go(Some(sender));
        for (handle, node) in self.nodes.iter().filter(|(handle, _)| *handle != sender) {
            let mut theirs = taken.common(&node.slots);
            if theirs.is_empty() {
                continue;
            }
            if node.config_epoch >= config_epoch {
                let mut kept = theirs.without(&self.not_claimed);
                if handle == self.myself {
                    kept.take_out(&let_go);
                }
                taken.take_out(&kept);
                theirs.take_out(&kept);
            }
            if Some(handle) == my_primary {
                of_my_shard += theirs.len();
            }
            if handle == self.myself {
                lost = theirs;
            }
        }
        if !taken.is_empty() {
            self.give_all(&taken, sender);
            self.todo.save_soon();
            self.todo.state = true;
        }
        let left = my_primary.map(|primary| self.nodes[primary].slots.len());
        let grandparent = self.nodes[self.myself]
            .primary
            .and_then(|primary| self.nodes[primary].primary)
            .filter(|grandparent| *grandparent != self.myself);
        if of_my_shard > 0
            && left == Some(0)
            && (self.options.replicas_migrate || of_my_shard == claimed.len())
        {
            self.reconfigure(
                sender,
                "Configuration change detected. Reconfiguring myself as a replica of",
                turn,
            );
        } else if let Some(grandparent) = grandparent {
            self.reconfigure(
                grandparent,
                "I'm a sub-replica! Reconfiguring myself as a replica of grandmaster",
                turn,
            );
        } else {
            lost.iter().for_each(|slot| turn.act(Action::DeleteSlot(slot)));
        }
    }

    /// A node claims a slot that an operator has brought here from it, by an epoch that is newer than the one that this server took for
    /// the newest then. In Redis the slot goes back, with its keys removed here, while the operator has the other side let go of
    /// it: nobody owns it. Here the operator's word is the newer one, whoever had heard of which epoch when it came; until the
    /// other side is heard without the slot.
    fn insist_on_brought(
        &mut self,
        sender: Handle,
        config_epoch: u64,
        claimed: &SlotSet,
        turn: &mut Turn<'_>,
    ) {
        if config_epoch <= self.nodes[self.myself].config_epoch {
            return;
        }
        let owned = &self.nodes[self.myself].slots;
        let mut brought = self.brought.iter_mut().filter(|(slot, it)| {
            it.from == sender
                && it.times_left > 0
                && claimed.contains(**slot)
                && owned.contains(**slot)
        });
        let Some((&slot, first)) = brought.next() else { return };
        first.times_left -= 1;
        brought.for_each(|(_, it)| it.times_left -= 1);
        let name = self.nodes[sender].name;
        if self.bump_epoch(turn) {
            turn.warn(format!(
                "Node {name} claims slot {slot} by epoch {config_epoch}, which was brought here from it: my configEpoch is updated"
            ));
            self.broadcast_pong(false, turn);
        }
    }

    /// Follows another node, which the configuration asks for.
    pub(super) fn reconfigure(&mut self, primary: Handle, why: &str, turn: &mut Turn<'_>) {
        turn.warn(format!("{why} {}", self.nodes[primary].name));
        self.follow(primary, turn);
        self.todo.save_synced();
        self.todo.state = true;
    }

    /// Two primaries have the same epoch: one of them takes a new one, and wins the slots that both claim. In Redis it is the one
    /// with the smaller name, whatever it has lost. Where both go by `cluster-longer-history-wins` and claim the same slots, it is the
    /// one that is further in the stream. Each compares what it has with what the other has said, which was less or as much: never
    /// do both leave it to the other for longer than until they hear each other again.
    fn part_epochs(&mut self, sender: Handle, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        let (mine, theirs) = (&self.nodes[self.myself], &self.nodes[sender]);
        if theirs.config_epoch != mine.config_epoch {
            return;
        }
        let by_history = self.options.history_wins
            && theirs.own_marks & own_mark::HISTORY_WINS != 0
            && !mine.slots.is_apart_from(&packet.claimed());
        let lengths = if by_history { (packet.offset, turn.offset) } else { (0, 0) };
        if (lengths.0, mine.name) >= (lengths.1, theirs.name) {
            return;
        }
        self.current_epoch += 1;
        let name = theirs.name;
        self.nodes[self.myself].config_epoch = self.current_epoch;
        self.todo.save_synced();
        turn.verbose(format!(
            "WARNING: configEpoch collision with node {name}. configEpoch set to {}",
            self.current_epoch
        ));
    }
}
