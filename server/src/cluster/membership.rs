//! Who is in the cluster, who replicates whom, and who owns which slot: the table's own rules.

use super::Cluster;
use super::door::{Action, Turn};
use super::node::{Flags, Handle, Name, Node};
use super::slots::SlotSet;

/// How long a node that was forgotten here is not learnt of again, in milliseconds.
pub(super) const FORGOTTEN_MS: i64 = 60_000;

impl Cluster {
    /// Adds a node; its name is by chance if it has none yet.
    pub(super) fn add_node(
        &mut self,
        name: Option<Name>,
        flags: Flags,
        turn: &mut Turn<'_>,
    ) -> Handle {
        let name = name.unwrap_or_else(|| Name::random(turn.random));
        self.nodes.add(Node::new(name, flags, turn.now_ms))
    }

    /// Removes a node, and all that names it.
    pub(super) fn remove_node(&mut self, gone: Handle, turn: &mut Turn<'_>) {
        self.importing.retain(|_, from| *from != gone);
        self.brought.retain(|_, it| it.from != gone);
        self.migrating.retain(|_, to| *to != gone);
        self.release_slots(gone);
        for handle in self.nodes.handles() {
            let node = &mut self.nodes[handle];
            node.reports.retain(|(reporter, _)| *reporter != gone);
            node.primary.take_if(|primary| *primary == gone);
            node.replicas.retain(|replica| *replica != gone);
        }
        self.manual.replica.take_if(|replica| *replica == gone);
        let node = &self.nodes[gone];
        let (link, inbound) = (node.link, node.inbound);
        self.close_link(link, turn);
        self.close_link(inbound, turn);
        self.nodes.remove(gone);
        self.touch();
    }

    /// Keeps a node from being learnt of again for so long.
    pub(super) fn shun(&mut self, name: Name, now_ms: i64, for_ms: i64) {
        self.forget_shunned(now_ms);
        self.shunned.insert(name, now_ms.saturating_add(for_ms));
    }

    /// Whether a node is not to be learnt of.
    pub(super) fn is_shunned(&mut self, name: &Name, now_ms: i64) -> bool {
        self.forget_shunned(now_ms);
        self.shunned.contains_key(name)
    }

    fn forget_shunned(&mut self, now_ms: i64) {
        self.shunned.retain(|_, until_ms| *until_ms >= now_ms);
    }

    /// Takes a replica off its primary's list.
    pub(super) fn leave_primary(&mut self, replica: Handle) {
        let Some(primary) = self.nodes[replica].primary.take() else { return };
        let primary = &mut self.nodes[primary];
        primary.replicas.retain(|other| *other != replica);
        if primary.replicas.is_empty() {
            primary.flags.clear(Flags::MIGRATE_TO);
        }
    }

    /// Puts a replica on a primary's list, and takes it off the one where it is.
    pub(super) fn join_primary(&mut self, replica: Handle, primary: Handle) {
        self.leave_primary(replica);
        self.nodes[replica].primary = Some(primary);
        // By their names, as in Valkey: CLUSTER SLOTS is the same on all nodes.
        let name = self.nodes[replica].name;
        let replicas = &self.nodes[primary].replicas;
        let place = replicas.partition_point(|other| self.nodes[*other].name < name);
        let primary = &mut self.nodes[primary];
        primary.replicas.insert(place, replica);
        primary.flags.set(Flags::MIGRATE_TO);
    }

    /// Replicas of a node that have not failed.
    pub(super) fn working_replicas(&self, node: &Node) -> usize {
        node.replicas.iter().filter(|replica| !self.nodes[**replica].has_failed()).count()
    }

    /// A node that was held to be a replica is a primary.
    pub(super) fn become_primary(&mut self, handle: Handle) {
        if self.nodes[handle].is_primary() {
            return;
        }
        let old = self.nodes[handle].primary;
        let had_primary = old.is_some();
        // What was brought here from its primary is claimed by it now.
        let of_old = self.brought.values_mut().filter(|it| Some(it.from) == old);
        of_old.for_each(|it| it.from = handle);
        self.leave_primary(handle);
        let node = &mut self.nodes[handle];
        if had_primary && handle != self.myself {
            node.flags.set(Flags::MIGRATE_TO);
        }
        node.flags.clear(Flags::REPLICA);
        node.flags.set(Flags::PRIMARY);
        self.todo.save = true;
        self.todo.state = true;
        self.touch();
    }

    /// Has this server, which owns no slots, replicate a node.
    pub(super) fn follow(&mut self, primary: Handle, turn: &mut Turn<'_>) {
        if self.nodes[self.myself].is_primary() {
            let myself = &mut self.nodes[self.myself];
            myself.flags.clear(Flags::PRIMARY.or(Flags::MIGRATE_TO));
            myself.flags.set(Flags::REPLICA);
            self.close_open_slots();
        }
        self.join_primary(self.myself, primary);
        self.nodes[self.myself].shard = None;
        self.join_shard_of_primary();
        self.follow_address(primary, turn);
        self.reset_manual(turn);
        self.touch();
        // Redis tells nobody. What it is others hear from itself alone, which may take longer than the node timeout: who lives is
        // known by what third ones say, and few are asked directly.
        self.broadcast_pong(false, turn);
    }

    /// Has replication follow a node where it is now.
    pub(super) fn follow_address(&self, primary: Handle, turn: &mut Turn<'_>) {
        let primary = &self.nodes[primary];
        turn.act(Action::Follow { ip: primary.ip.to_string(), port: primary.port });
    }

    /// No slot is on its way any more.
    pub(super) fn close_open_slots(&mut self) {
        self.migrating.clear();
        self.importing.clear();
        self.brought.clear();
        self.touch();
    }

    /// Gives a slot that nobody owns to a node; answers whether it was nobody's.
    pub(super) fn give_slot(&mut self, slot: u16, owner: Handle) -> bool {
        let Some(place) = self.owners.get_mut(usize::from(slot)) else { return false };
        if place.is_some() {
            return false;
        }
        *place = Some(owner);
        if self.nodes[owner].slots.insert(slot) && self.nodes[owner].slots.len() == 1 {
            self.look_for_replicas(owner);
        }
        self.touch();
        true
    }

    fn primaries_have_replicas(&self) -> bool {
        self.nodes.iter().any(|(_, node)| !node.is_replica() && !node.replicas.is_empty())
    }

    /// Takes a slot from its owner; answers whether it had one.
    pub(super) fn release_slot(&mut self, slot: u16) -> bool {
        let Some(place) = self.owners.get_mut(usize::from(slot)) else { return false };
        let Some(owner) = place.take() else { return false };
        self.nodes[owner].slots.remove(slot);
        self.touch();
        true
    }

    /// Takes all slots from a node.
    pub(super) fn release_slots(&mut self, owner: Handle) {
        let slots = std::mem::take(&mut self.nodes[owner].slots);
        for slot in slots.iter() {
            self.owners[usize::from(slot)] = None;
        }
        if !slots.is_empty() {
            self.touch();
        }
    }

    /// Gives slots to a node, whoever has them.
    pub(super) fn give_all(&mut self, slots: &SlotSet, to: Handle) {
        if slots.is_empty() {
            return;
        }
        let had_some = !self.nodes[to].slots.is_empty();
        self.nodes.nodes_mut().for_each(|node| node.slots.take_out(slots));
        self.nodes[to].slots.add(slots);
        for slot in slots.iter() {
            self.owners[usize::from(slot)] = Some(to);
        }
        self.not_claimed.take_out(slots);
        if !had_some {
            self.look_for_replicas(to);
        }
        self.touch();
    }

    /// Gives those of some slots to a node that nobody owns, as [`give_slot`](Self::give_slot) does.
    pub(super) fn give_run(&mut self, first: u16, last: u16, owner: Handle) {
        let run = usize::from(first)..=usize::from(last);
        let owners = self.owners.get_mut(run).unwrap_or_default();
        if first >= last || owners.is_empty() || owners.iter().any(Option::is_some) {
            for slot in first..=last {
                self.give_slot(slot, owner);
            }
            return;
        }
        owners.fill(Some(owner));
        let is_new = self.nodes[owner].slots.is_empty();
        self.nodes[owner].slots.insert_run(first, last);
        if is_new {
            self.look_for_replicas(owner);
        }
        self.touch();
    }

    /// A new primary among others that have replicas may get one of theirs.
    fn look_for_replicas(&mut self, owner: Handle) {
        if self.primaries_have_replicas() {
            self.nodes[owner].flags.set(Flags::MIGRATE_TO);
        }
    }

    /// The primary of this server's shard, and its replicas.
    pub(super) fn shard(&self) -> Vec<Handle> {
        let myself = &self.nodes[self.myself];
        let primary = if myself.is_primary() { Some(self.myself) } else { myself.primary };
        let mut shard: Vec<Handle> = primary.into_iter().collect();
        if let Some(primary) = primary {
            shard.extend_from_slice(&self.nodes[primary].replicas);
        }
        shard
    }
}
