//! What operators ask for: the sub-commands of CLUSTER that change something.

use std::net::IpAddr;

use super::Cluster;
use super::claims::Brought;
use super::door::{Action, Turn};
use super::membership::FORGOTTEN_MS;
use super::node::{Called, Flags, Handle, Name};
use super::options::Options;
use super::packet::Kind;
use super::slots::SlotSet;

/// How far the port of the bus is above that for clients, unless it is said.
pub const BUS_PORT_ABOVE: i64 = 10_000;

/// Why something is not done: the text of the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl From<&str> for Refusal {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

type Outcome = Result<(), Refusal>;

/// CLUSTER SETSLOT, without the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetSlot<'a> {
    /// It is on its way to this node.
    Migrating(&'a [u8]),
    /// It is on its way from this node to this server.
    Importing(&'a [u8]),
    /// It is not on any way.
    Stable,
    /// It is this node's.
    Node(&'a [u8]),
}

/// CLUSTER FAILOVER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverKind {
    /// With the primary's help.
    Plain,
    /// Without it.
    Force,
    /// Without anybody's vote.
    Takeover,
}

impl Cluster {
    /// Finds a node that an operator names.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Handle> {
        self.nodes.find(&Name::parse(name)?)
    }

    fn find_or(&self, name: &[u8], text: &str) -> Result<Handle, Refusal> {
        let shown = || Refusal(format!("{text} {}", String::from_utf8_lossy(name)));
        self.find(name).ok_or_else(shown)
    }

    fn primary_or(&self, name: &[u8], text: &str) -> Result<Handle, Refusal> {
        let node = self.find_or(name, text)?;
        if self.nodes[node].is_replica() {
            return Err("Target node is not a master".into());
        }
        Ok(node)
    }

    /// Whether a node at this address is on its way to be known.
    pub(super) fn shakes_hands_at(&self, ip: &str, port: u16, bus_port: u16) -> bool {
        self.nodes.iter().any(|(_, node)| {
            node.is_in_handshake()
                && node.ip.eq_ignore_ascii_case(ip)
                && (node.port, node.bus_port) == (port, bus_port)
        })
    }

    /// CLUSTER MEET; `false` if the address cannot be one.
    pub fn meet(&mut self, ip: &str, port: i64, bus_port: i64, turn: &mut Turn<'_>) -> bool {
        let port_of = |port: i64| u16::try_from(port).ok().filter(|port| *port != 0);
        let (Ok(ip), Some(port), Some(bus_port)) =
            (ip.parse::<IpAddr>(), port_of(port), port_of(bus_port))
        else {
            return false;
        };
        let ip = ip.to_string();
        if !self.shakes_hands_at(&ip, port, bus_port) {
            let node = self.add_node(None, Flags::HANDSHAKE.or(Flags::MEET), turn);
            let node = &mut self.nodes[node];
            (node.ip, node.port, node.bus_port) = (ip.into(), port, bus_port);
        }
        true
    }

    /// Whether a slot may be added to this server's, or taken from its owner.
    ///
    /// # Errors
    /// It is somebody's already, or nobody's.
    pub fn check_assignment(&self, slot: u16, takes: bool) -> Outcome {
        match (takes, self.owner_handle(slot).is_some()) {
            (true, false) => Err(Refusal(format!("Slot {slot} is already unassigned"))),
            (false, true) => Err(Refusal(format!("Slot {slot} is already busy"))),
            _ => Ok(()),
        }
    }

    /// CLUSTER ADDSLOTS and DELSLOTS, of slots that were looked at.
    pub fn assign(&mut self, slots: &SlotSet, takes: bool) {
        for slot in slots.iter() {
            self.importing.remove(&slot);
            if takes {
                self.release_slot(slot);
            } else {
                self.give_slot(slot, self.myself);
            }
            self.not_claimed.remove(slot);
        }
        self.todo.state = true;
        self.todo.save = true;
        self.touch();
    }

    /// CLUSTER FLUSHSLOTS
    pub fn flush_slots(&mut self) {
        self.release_slots(self.myself);
        self.todo.state = true;
        self.todo.save = true;
    }

    /// CLUSTER SETSLOT. `keys` are those that this server has in the slot.
    ///
    /// # Errors
    /// The node is not known or no primary, or the slot is not where it would have to be.
    pub fn set_slot(
        &mut self,
        slot: u16,
        to: SetSlot<'_>,
        keys: usize,
        turn: &mut Turn<'_>,
    ) -> Outcome {
        const UNKNOWN: &str = "I don't know about node";
        if matches!(to, SetSlot::Migrating(_) | SetSlot::Importing(_)) {
            match self.moves_under_way() {
                (_, true) => return Err("Slot import in progress.".into()),
                (true, _) => return Err("Slot export in progress.".into()),
                _ => {}
            }
        }
        match to {
            SetSlot::Migrating(name) => {
                if !self.is_mine(slot) {
                    return Err(Refusal(format!("I'm not the owner of hash slot {slot}")));
                }
                let node = self.primary_or(name, UNKNOWN)?;
                self.migrating.insert(slot, node);
                self.brought.remove(&slot);
            }
            SetSlot::Importing(name) => {
                if self.is_mine(slot) {
                    return Err(Refusal(format!("I'm already the owner of hash slot {slot}")));
                }
                let node = self.primary_or(name, UNKNOWN)?;
                self.importing.insert(slot, node);
            }
            SetSlot::Stable => {
                self.importing.remove(&slot);
                self.migrating.remove(&slot);
            }
            SetSlot::Node(name) => {
                let node = self.primary_or(name, "Unknown node")?;
                self.set_owner(slot, node, keys, turn)?;
            }
        }
        self.todo.state = true;
        self.todo.save = true;
        self.touch();
        Ok(())
    }

    fn set_owner(&mut self, slot: u16, node: Handle, keys: usize, turn: &mut Turn<'_>) -> Outcome {
        let was_mine = self.is_mine(slot);
        if was_mine && node != self.myself && keys > 0 {
            return Err(Refusal(format!(
                "Can't assign hashslot {slot} to a different node while I still hold keys for this \
                 hash slot."
            )));
        }
        if keys == 0 {
            self.migrating.remove(&slot);
        }
        let before = self.owner_handle(slot);
        self.release_slot(slot);
        self.give_slot(slot, node);
        self.not_claimed.remove(slot);
        self.brought.remove(&slot);
        if was_mine
            && node != self.myself
            && self.nodes[self.myself].slots.is_empty()
            && self.options.replicas_migrate
        {
            let why = "Configuration change detected. Reconfiguring myself as a replica of";
            self.reconfigure(node, why, turn);
        }
        // Nobody may say it again: where the epoch stays what it is, the old owner has given the slot up by hand.
        self.todo.save_soon();
        if node == self.myself
            && let Some(from) = self.importing.remove(&slot)
        {
            self.brought.insert(slot, Brought::by_hand(before.unwrap_or(from)));
            // The new owner's word must be newer than the old one's, as far as that is known here.
            if self.bump_epoch(turn) {
                turn.warn(format!("configEpoch updated after importing slot {slot}"));
            }
            self.broadcast_pong(false, turn);
        } else if let Some(link) = self.nodes[node].link.filter(|_| was_mine) {
            // Others may still say to the new owner, by an epoch that it has not heard of, that the slot is here.
            self.send_heartbeat(link, Kind::Pong, turn);
        }
        Ok(())
    }

    /// CLUSTER BUMPEPOCH: whether the epoch was raised, and what it is now.
    pub fn raise_epoch(&mut self, turn: &mut Turn<'_>) -> (bool, u64) {
        let raised = self.bump_epoch(turn);
        (raised, self.nodes[self.myself].config_epoch)
    }

    /// CLUSTER FORGET
    ///
    /// # Errors
    /// The node is not known, this server, or its primary.
    pub fn forget(&mut self, name: &[u8], turn: &mut Turn<'_>) -> Outcome {
        // Others have told of it already.
        if self.find(name).is_none()
            && Name::parse(name).is_some_and(|name| self.is_shunned(&name, turn.now_ms))
        {
            return Ok(());
        }
        let node = self.find_or(name, "Unknown node")?;
        if node == self.myself {
            return Err("I tried hard but I can't forget myself...".into());
        }
        let myself = &self.nodes[self.myself];
        if myself.is_replica() && myself.primary == Some(node) {
            return Err("Can't forget my master!".into());
        }
        let name = self.nodes[node].name;
        self.shun(name, turn.now_ms, FORGOTTEN_MS);
        self.remove_node(node, turn);
        // Once, other than in Redis 7.2, where each packet says so for a minute: who is met again in that time would be forgotten again.
        self.just_forgotten = Some(name);
        self.broadcast_pong(false, turn);
        self.just_forgotten = None;
        self.todo.state = true;
        self.todo.save = true;
        Ok(())
    }

    /// CLUSTER REPLICATE. `has_keys` says whether this server has any.
    ///
    /// # Errors
    /// The node is not known, this server, or no primary; or this is a primary with slots or keys.
    pub fn replicate(&mut self, name: &[u8], has_keys: bool, turn: &mut Turn<'_>) -> Outcome {
        let node = self.find_or(name, "Unknown node")?;
        if node == self.myself {
            return Err("Can't replicate myself".into());
        }
        if self.nodes[node].is_replica() {
            return Err("I can only replicate a master, not a replica.".into());
        }
        let myself = &self.nodes[self.myself];
        if myself.is_primary() && (has_keys || !myself.slots.is_empty()) {
            return Err("To set a master the node must be empty and without assigned slots.".into());
        }
        self.follow(node, turn);
        self.todo.state = true;
        self.todo.save = true;
        Ok(())
    }

    /// CLUSTER REPLICATE NO ONE, of Valkey 9: this replica is an empty primary of a shard of its own.
    ///
    /// # Errors
    /// This is a primary.
    pub fn replicate_nobody(&mut self, turn: &mut Turn<'_>) -> Outcome {
        if self.nodes[self.myself].is_primary() {
            return Err("This node is already a primary.".into());
        }
        turn.notice("Stop replicating, and become an empty primary of a new shard (user request).");
        self.become_primary(self.myself);
        self.nodes[self.myself].shard = Some(Name::random(turn.random));
        turn.act(Action::Lead);
        turn.act(Action::EmptyData);
        self.reset_manual(turn);
        self.todo.save_synced();
        self.todo.state = true;
        self.broadcast_pong(false, turn);
        Ok(())
    }

    /// CLUSTER FAILOVER
    ///
    /// # Errors
    /// This is no replica, or its primary is not known or not reached.
    pub fn fail_over(&mut self, kind: FailoverKind, turn: &mut Turn<'_>) -> Outcome {
        let myself = &self.nodes[self.myself];
        if myself.is_primary() {
            return Err("You should send CLUSTER FAILOVER to a replica".into());
        }
        let Some(primary) = myself.primary else {
            return Err("I'm a replica but my master is unknown to me".into());
        };
        let is_down = self.nodes[primary].has_failed() || self.nodes[primary].link.is_none();
        if kind == FailoverKind::Plain && is_down {
            return Err("Master is down or failed, please use CLUSTER FAILOVER FORCE".into());
        }
        match kind {
            FailoverKind::Takeover => {
                turn.warn("Taking over the master (user request).");
                self.begin_manual(false, turn);
                self.bump_epoch(turn);
                self.take_over(turn);
            }
            FailoverKind::Force => {
                turn.warn("Forced failover user request accepted.");
                self.begin_manual(true, turn);
            }
            FailoverKind::Plain => {
                turn.warn("Manual failover user request accepted.");
                self.begin_manual(false, turn);
                self.ask_to_pause(primary, turn);
            }
        }
        Ok(())
    }

    /// CLUSTER SET-CONFIG-EPOCH
    ///
    /// # Errors
    /// The epoch cannot be one, or this server is in a cluster already.
    pub fn set_config_epoch(&mut self, epoch: i64, turn: &mut Turn<'_>) -> Outcome {
        let Ok(wanted) = u64::try_from(epoch) else {
            return Err(Refusal(format!("Invalid config epoch specified: {epoch}")));
        };
        if self.nodes.len() > 1 {
            return Err("The user can assign a config epoch only when the node does not know any \
                        other node."
                .into());
        }
        let myself = &mut self.nodes[self.myself];
        if myself.config_epoch != 0 {
            return Err("Node config epoch is already non-zero".into());
        }
        myself.config_epoch = wanted;
        turn.warn(format!("configEpoch set to {wanted} via CLUSTER SET-CONFIG-EPOCH"));
        self.current_epoch = self.current_epoch.max(wanted);
        self.todo.state = true;
        self.todo.save = true;
        Ok(())
    }

    /// CLUSTER RESET: this server is alone, and another one if `hard`.
    pub fn reset(&mut self, hard: bool, turn: &mut Turn<'_>) {
        self.give_up_moves("The node was reset", turn);
        if self.nodes[self.myself].is_replica() {
            self.become_primary(self.myself);
            self.nodes[self.myself].shard = Some(Name::random(turn.random));
            turn.act(Action::Lead);
            turn.act(Action::EmptyData);
        }
        self.close_open_slots();
        self.reset_manual(turn);
        for handle in self.nodes.handles() {
            self.release_slots(handle);
        }
        self.not_claimed = SlotSet::default();
        for handle in self.nodes.handles() {
            if handle != self.myself {
                self.remove_node(handle, turn);
            }
        }
        if hard {
            self.current_epoch = 0;
            self.last_vote_epoch = 0;
            self.nodes[self.myself].config_epoch = 0;
            turn.warn("configEpoch set to 0 via CLUSTER RESET HARD");
            let name = Name::random(turn.random);
            self.nodes.rename(self.myself, name);
            self.nodes[self.myself].shard = Some(name);
            turn.notice(format!("Node hard reset, now I'm {name}"));
        }
        self.todo.save_synced();
        self.todo.state = true;
        self.touch();
    }

    /// Has settings take effect.
    pub fn set_options(&mut self, options: Options) {
        let old = std::mem::replace(&mut self.options, options);
        let options = &self.options;
        let myself = &mut self.nodes[self.myself];
        if myself.flags.any(Flags::NO_FAILOVER) != options.no_failover {
            myself.flags.put(Flags::NO_FAILOVER, options.no_failover);
            self.todo.save = true;
            self.todo.state = true;
        }
        if old.announced_ip != options.announced_ip {
            // Without one it is found out again.
            myself.ip = options.announced_ip.as_deref().unwrap_or_default().into();
        }
        let [ipv4, ipv6] = &options.client_ips;
        myself.call(Called::Hostname, &options.hostname);
        myself.call(Called::Human, &options.human_name);
        myself.call(Called::ClientIpv4, ipv4);
        myself.call(Called::ClientIpv6, ipv6);
        (myself.port, myself.plain_port, myself.bus_port) =
            (options.port, options.plain_port, options.bus_port);
        self.touch();
    }

    /// DEBUG DROP-CLUSTER-PACKET-FILTER: packets of this kind are as if they had not come.
    pub fn drop_kind(&mut self, kind: Option<u16>) {
        self.dropped_kind = kind;
    }

    /// DEBUG CLOSE-CLUSTER-LINK-ON-PACKET-DROP, of Valkey 8.0: and the link by which they came is closed.
    pub fn close_where_dropped(&mut self, closes: bool) {
        self.closes_where_dropped = closes;
    }

    /// What the data that was loaded says: slots with keys that are nobody's are taken, those of others are on their way here.
    pub fn fit_to_data(&mut self, used: &[u16], turn: &mut Turn<'_>) {
        if self.nodes[self.myself].is_replica() {
            return;
        }
        for &slot in used {
            if self.is_mine(slot) || self.importing.contains_key(&slot) {
                continue;
            }
            match self.owner_handle(slot) {
                None => {
                    turn.warn(format!(
                        "I have keys for unassigned slot {slot}. Taking responsibility for it."
                    ));
                    self.give_slot(slot, self.myself);
                }
                Some(owner) => {
                    turn.warn(format!(
                        "I have keys for slot {slot}, but the slot is assigned to another node. \
                         Setting it to importing state."
                    ));
                    self.importing.insert(slot, owner);
                }
            }
            self.todo.save_synced();
            self.touch();
        }
    }
}
