//! What a packet does to what this server knows.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::Cluster;
use super::door::{Action, Turn};
use super::node::{Flags, Handle, LinkId, Name};
use super::packet::{self, Body, Kind, NotABus, Packet, Wrong, own};

/// What becomes of a link when a packet is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stays,
    Gone,
}

impl Cluster {
    /// Takes in bytes of a link: all packets that are whole.
    pub(super) fn receive(&mut self, id: LinkId, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.heard_ms = turn.now_ms;
        let mut input = std::mem::take(&mut link.input);
        let taken = input.push(bytes, |packet| match self.take_in(id, packet, turn) {
            Fate::Stays => ControlFlow::Continue(()),
            Fate::Gone => ControlFlow::Break(()),
        });
        match taken {
            Ok(ControlFlow::Break(())) => {}
            Ok(ControlFlow::Continue(())) => {
                if let Some(link) = self.links.get_mut(id) {
                    link.input = input;
                }
            }
            Err(NotABus) => {
                turn.warn("Bad message length or signature received from Cluster bus.");
                self.close_link(Some(id), turn);
            }
        }
    }

    fn take_in(&mut self, id: LinkId, bytes: &[u8], turn: &mut Turn<'_>) -> Fate {
        let Some(kind) = packet::kind_of(bytes) else { return Fate::Stays };
        if let Some(count) = self.stats.received.get_mut(usize::from(kind)) {
            *count += 1;
        }
        if self.dropped_kind == Some(kind) {
            turn.warn("Dropping packet that matches debug drop filter");
            if self.closes_where_dropped {
                self.close_link(Some(id), turn);
                return Fate::Gone;
            }
            return Fate::Stays;
        }
        let packet = match packet::read(bytes) {
            Ok(packet) => packet,
            Err(Wrong::Foreign) => return Fate::Stays,
            Err(Wrong::Parts(line)) => {
                turn.warn(line);
                return Fate::Stays;
            }
        };
        let Some(sender) = packet.sender else { return Fate::Stays };
        let known = self.sender_of(id, &sender, turn);
        if let Some(known) = known {
            self.note_sender(known, &packet, turn);
        }
        self.act_on(id, &packet, sender, known, turn)
    }

    /// The node that a packet comes from, if it is known; the link is the node's from now on.
    fn sender_of(&mut self, id: LinkId, name: &Name, turn: &mut Turn<'_>) -> Option<Handle> {
        let owner = self.links.get(id)?.node;
        if let Some(owner) = owner.filter(|owner| !self.nodes[*owner].is_in_handshake()) {
            return Some(owner);
        }
        let sender = self.nodes.find(name)?;
        if owner.is_none() {
            self.claim_link(sender, id, turn);
        }
        Some(sender)
    }

    fn note_sender(&mut self, sender: Handle, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        let node = &mut self.nodes[sender];
        node.data_received_ms = turn.now_ms;
        if node.is_in_handshake() || sender == self.myself {
            return;
        }
        self.current_epoch = self.current_epoch.max(packet.current_epoch);
        if packet.config_epoch > node.config_epoch {
            node.config_epoch = packet.config_epoch;
            self.todo.save_synced();
        }
        node.offset = packet.offset;
        node.own_marks = packet.own_marks;
        self.hear_paused_offset(sender, packet, turn);
    }

    fn act_on(
        &mut self,
        id: LinkId,
        packet: &Packet<'_>,
        name: Name,
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        let (body, Some(kind)) = (&packet.body, Kind::of(packet.kind)) else {
            turn.warn(format!("Received unknown packet type: {}", packet.kind));
            return Fate::Stays;
        };
        match (body, sender) {
            (Body::Heartbeat { gossip, extensions }, _) => {
                if matches!(kind, Kind::Ping | Kind::Meet) {
                    self.answer(id, packet, kind, sender, turn);
                }
                if self.hear_heartbeat(id, packet, kind, name, sender, turn) == Fate::Gone {
                    return Fate::Gone;
                }
                if let Some(sender) = sender.filter(|sender| *sender != self.myself) {
                    // Its link's owner is the one to be believed, as the sender was looked up before.
                    self.hear_gossip(gossip, Some(sender), turn);
                    self.hear_extensions(sender, extensions, turn);
                }
            }
            (Body::Fail(about), Some(_)) => self.hear_failed(&name, about.as_ref(), turn),
            (Body::Fail(about), None) => {
                let about = about.as_ref().map_or("", |about| about.as_str());
                turn.notice(format!(
                    "Ignoring FAIL message from unknown node {name} about {about}"
                ));
            }
            (_, None) => {}
            (Body::Publish { channel, message, sharded }, Some(_)) => turn.act(Action::Publish {
                channel: Bytes::copy_from_slice(channel),
                message: Bytes::copy_from_slice(message),
                sharded: *sharded,
            }),
            (Body::AuthRequest, Some(sender)) => self.vote_if_fit(sender, packet, turn),
            (Body::AuthAck, Some(sender)) => self.count_vote(sender, packet.current_epoch),
            (Body::ManualStart, Some(sender)) => self.pause_for(sender, id, turn),
            (Body::Update { name: Some(about), config_epoch, slots }, Some(_)) => {
                self.hear_update(about, *config_epoch, slots, turn);
            }
            (Body::Module { id: own::ID, kind, payload }, Some(sender)) => {
                self.hear_own(id, sender, *kind, payload, packet, turn);
            }
            (Body::Update { .. } | Body::Module { .. } | Body::Unknown, Some(_)) => {}
        }
        Fate::Stays
    }

    /// PING and MEET are answered by a PONG, whoever asks. A MEET makes its sender a node.
    fn answer(
        &mut self,
        id: LinkId,
        packet: &Packet<'_>,
        kind: Kind,
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get(id) else { return };
        // The address by which others reach this server is its own: a MEET comes by it.
        let myself = &mut self.nodes[self.myself];
        if (kind == Kind::Meet || myself.ip.is_empty())
            && self.options.announced_ip.is_none()
            && !link.local_ip.is_empty()
            && myself.ip != link.local_ip
        {
            myself.ip.clone_from(&link.local_ip);
            turn.warn(format!("IP address for this node updated to {}", myself.ip));
            self.todo.save = true;
            self.touch();
        }
        let Some(link) = self.links.get(id) else { return };
        let ip = if packet.ip.is_empty() { &*link.peer_ip } else { packet.ip };
        let is_new = sender.is_none() && kind == Kind::Meet && !ip.is_empty();
        if is_new && !self.shakes_hands_at(ip, packet.port, packet.bus_port) {
            let ip = ip.into();
            let node = self.add_node(None, Flags::HANDSHAKE, turn);
            let node = &mut self.nodes[node];
            node.ip = ip;
            (node.port, node.plain_port, node.bus_port) =
                (packet.port, packet.plain_port, packet.bus_port);
            self.todo.save = true;
        }
        self.send_heartbeat(id, Kind::Pong, turn);
    }

    /// PING, PONG and MEET: who the sender is, where it is, and what it says of its role and slots.
    fn hear_heartbeat(
        &mut self,
        id: LinkId,
        packet: &Packet<'_>,
        kind: Kind,
        name: Name,
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        let Some(link) = self.links.get(id) else { return Fate::Gone };
        let outbound = link.node.filter(|_| !link.is_inbound);
        if let Some(owner) = outbound
            && self.know_owner(id, owner, packet, name, sender, turn) == Fate::Gone
        {
            return Fate::Gone;
        }
        let sender = sender.filter(|sender| *sender != self.myself);
        if let Some(sender) = sender {
            let unwilling = packet.flags.any(Flags::NO_FAILOVER);
            self.nodes[sender].flags.put(Flags::NO_FAILOVER, unwilling);
            if kind == Kind::Ping && !self.nodes[sender].is_in_handshake() {
                self.update_address(sender, id, packet, turn);
            }
        }
        if let Some(owner) = outbound.filter(|_| kind == Kind::Pong) {
            let node = &mut self.nodes[owner];
            node.pong_received_ms = turn.now_ms;
            node.ping_sent_ms = 0;
            if node.may_have_failed() {
                node.flags.clear(Flags::MAYBE_FAILED);
                self.todo.save = true;
                self.todo.state = true;
            } else if node.has_failed() {
                self.clear_failure_if_over(owner, turn);
            }
        }
        if let Some(sender) = sender
            && !self.has_forgotten(sender, packet, turn)
        {
            self.hear_role(sender, packet);
            self.hear_claims(sender, packet, turn);
            self.remind_of_left(sender, packet, turn);
        }
        Fate::Stays
    }

    /// Compares the node that a link was made for with the one that answers.
    fn know_owner(
        &mut self,
        id: LinkId,
        owner: Handle,
        packet: &Packet<'_>,
        name: Name,
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) -> Fate {
        if self.nodes[owner].is_in_handshake() {
            if let Some(sender) = sender {
                let known = self.nodes[sender].name;
                turn.verbose(format!(
                    "Handshake: we already know node {known}, updating the address if needed."
                ));
                if sender != self.myself {
                    self.update_address(sender, id, packet, turn);
                }
                self.remove_node(owner, turn);
                return Fate::Gone;
            }
            self.nodes.rename(owner, name);
            let node = &mut self.nodes[owner];
            // A MEET is said until it is answered: one that is lost with its link is said again by the next (valkey 8.0).
            node.flags.clear(Flags::HANDSHAKE.or(Flags::MEET));
            node.flags.set(packet.flags.and(Flags::PRIMARY.or(Flags::REPLICA)));
            self.todo.save = true;
        } else if self.nodes[owner].name != name {
            // Another node has the address now: where this one is is not known.
            let node = &mut self.nodes[owner];
            node.flags.set(Flags::NO_ADDRESS);
            node.ip = Box::default();
            (node.port, node.plain_port, node.bus_port) = (0, 0, 0);
            self.close_link(Some(id), turn);
            self.todo.save = true;
            return Fate::Gone;
        }
        Fate::Stays
    }

    /// A node pings from where it is: links to it go there from now on.
    fn update_address(
        &mut self,
        sender: Handle,
        id: LinkId,
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get(id) else { return };
        // What comes by the link that this server made says nothing of where others come from.
        if self.nodes[sender].link == Some(id) {
            return;
        }
        let ip = if packet.ip.is_empty() { &*link.peer_ip } else { packet.ip };
        let node = &self.nodes[sender];
        let is_there = node.port == packet.port
            && node.bus_port == packet.bus_port
            && node.plain_port == packet.plain_port
            && *node.ip == *ip;
        if is_there || ip.is_empty() {
            return;
        }
        let (link, ip) = (node.link, ip.into());
        self.close_link(link, turn);
        let node = &mut self.nodes[sender];
        node.ip = ip;
        (node.port, node.plain_port, node.bus_port) =
            (packet.port, packet.plain_port, packet.bus_port);
        node.flags.clear(Flags::NO_ADDRESS);
        let line = format!("Address updated for node {}, now {}:{}", node.name, node.ip, node.port);
        turn.warn(line);
        let myself = &self.nodes[self.myself];
        if myself.is_replica() && myself.primary == Some(sender) {
            self.follow_address(sender, turn);
        }
        self.todo.save = true;
        self.todo.state = true;
        self.touch();
    }

    /// A node says whether it is a primary, and otherwise whose replica.
    pub(super) fn hear_role(&mut self, sender: Handle, packet: &Packet<'_>) {
        if !packet.is_replica {
            self.become_primary(sender);
            return;
        }
        if self.nodes[sender].is_primary() {
            self.brought.retain(|_, it| it.from != sender);
            self.note_mutual(sender);
            let had = self.nodes[sender].slots.clone();
            self.release_slots(sender);
            let node = &mut self.nodes[sender];
            node.had = Some(had).filter(|had| !had.is_empty()).map(Box::new);
            node.flags.clear(Flags::PRIMARY.or(Flags::MIGRATE_TO));
            node.flags.set(Flags::REPLICA);
            self.todo.save = true;
            self.todo.state = true;
            self.touch();
        }
        let primary = packet.primary.and_then(|name| self.nodes.find(&name));
        if let Some(primary) = primary
            && primary != sender
            && self.nodes[sender].primary != Some(primary)
        {
            self.join_primary(sender, primary);
            self.todo.save = true;
            self.touch();
        }
    }

    fn hear_failed(&mut self, by: &Name, about: Option<&Name>, turn: &mut Turn<'_>) {
        let Some(about) = about.and_then(|about| self.nodes.find(about)) else { return };
        let node = &mut self.nodes[about];
        if node.flags.any(Flags::FAILED.or(Flags::MYSELF)) {
            return;
        }
        turn.notice(format!("FAIL message received from {by} about {}", node.name));
        node.flags.set(Flags::FAILED);
        node.flags.clear(Flags::MAYBE_FAILED);
        node.failed_ms = turn.now_ms;
        self.todo.save = true;
        self.todo.state = true;
    }
}
