//! What nodes tell each other of third ones: which are chosen, and what follows from what is heard.

use redstart_common::log::Level;

use super::Cluster;
use super::door::Turn;
use super::membership::FORGOTTEN_MS;
use super::node::{Called, Flags, Handle, LinkId, Name};
use super::packet::{self, Extensions, GOSSIP_BYTES, Gossip, Header, Kind, mark, own_mark};

/// A failure report counts for so many node timeouts.
const REPORT_TIMEOUTS: i64 = 2;
/// How far ahead of this server's clock another may be, in milliseconds, for what it says of answers to count.
const CLOCK_TOLERANCE_MS: i64 = 500;
/// What may be taken over of the flags of a node that is told of for the first time.
const TOLD: Flags = Flags::PRIMARY
    .or(Flags::REPLICA)
    .or(Flags::MAYBE_FAILED)
    .or(Flags::FAILED)
    .or(Flags::MIGRATE_TO)
    .or(Flags::NO_FAILOVER);

impl Cluster {
    /// What all packets say of this server.
    pub(super) fn header(&self, offset: i64) -> Header<'_> {
        let myself = &self.nodes[self.myself];
        let primary = myself.primary.map(|primary| &self.nodes[primary]);
        // A replica shows its primary's slots.
        let shown = primary.filter(|_| myself.is_replica()).unwrap_or(myself);
        let pauses = myself.is_primary() && self.manual.end_ms != 0;
        Header {
            sender: myself.name,
            current_epoch: self.current_epoch,
            config_epoch: shown.config_epoch,
            offset,
            slots: self.claims_of(shown),
            primary: primary.map(|primary| primary.name),
            ip: self.options.announced_ip.as_deref().unwrap_or_default(),
            port: self.options.port,
            plain_port: self.options.plain_port,
            bus_port: self.options.bus_port,
            flags: myself.flags,
            is_up: self.is_up,
            marks: if pauses { mark::PAUSED } else { 0 },
            own_marks: own_mark::TAKES_SLOTS
                | if self.options.history_wins { own_mark::HISTORY_WINS } else { 0 }
                | if self.options.ranks_elections { own_mark::VOTES_AGAIN } else { 0 },
        }
    }

    fn extensions(&self) -> Extensions<'_> {
        let myself = &self.nodes[self.myself];
        let called = |how: Called| Some(myself.called(how)).filter(|text| !text.is_empty());
        Extensions {
            hostname: called(Called::Hostname),
            human_name: called(Called::Human),
            shard: Some(self.shard_of(myself)),
            client_ipv4: called(Called::ClientIpv4),
            client_ipv6: called(Called::ClientIpv6),
            forgotten: self
                .just_forgotten
                .iter()
                .map(|name| (*name, FORGOTTEN_MS as u64 / 1000))
                .collect(),
            ..Extensions::default()
        }
    }

    /// Takes in what a node says of itself in extensions.
    pub(super) fn hear_extensions(
        &mut self,
        sender: Handle,
        said: &Extensions<'_>,
        turn: &mut Turn<'_>,
    ) {
        for kind in &said.unknown {
            turn.warn(format!("Received unknown extension type {kind}"));
        }
        let node = &mut self.nodes[sender];
        node.call(Called::Hostname, said.hostname.unwrap_or_default());
        node.takes_extensions |= said.takes_all;
        if !node.takes_extensions {
            return;
        }
        node.call(Called::Human, said.human_name.unwrap_or_default());
        let is_moved = node.call(Called::ClientIpv4, said.client_ipv4.unwrap_or_default())
            | node.call(Called::ClientIpv6, said.client_ipv6.unwrap_or_default());
        if is_moved {
            self.touch();
        }
        self.hear_shard(sender, said.shard);
        for &(name, for_s) in &said.forgotten {
            self.hear_forgotten(name, for_s, turn);
        }
    }

    /// An operator had another node forget one, and that one says so, as nodes of Redis 7.2 do.
    fn hear_forgotten(&mut self, name: Name, for_s: u64, turn: &mut Turn<'_>) {
        let Some(node) = self.nodes.find(&name) else { return };
        let myself = &self.nodes[self.myself];
        if node == self.myself || myself.is_replica() && myself.primary == Some(node) {
            return;
        }
        let for_ms = i64::try_from(for_s).unwrap_or(i64::MAX).saturating_mul(1000);
        self.shun(name, turn.now_ms, for_ms);
        self.remove_node(node, turn);
        self.todo.save = true;
        self.todo.state = true;
    }

    /// Sends a PING, PONG or MEET, and tells of some other nodes.
    pub(super) fn send_heartbeat(&mut self, link: LinkId, kind: Kind, turn: &mut Turn<'_>) {
        let Some(found) = self.links.get(link) else { return };
        let receiver = found.node;
        if let Some(node) = receiver.filter(|_| !found.is_inbound && kind == Kind::Ping) {
            self.nodes[node].ping_sent_ms = turn.now_ms;
        }
        let mut told = std::mem::take(&mut self.told);
        self.choose_gossip(&mut told, turn);
        let takes_all = receiver.is_some_and(|node| self.nodes[node].takes_extensions);
        let mut out = self.links.begin_output(link);
        let nodes = told.iter().map(|node| &self.nodes[*node]);
        let (header, extensions) = (self.header(turn.offset), self.extensions());
        header.heartbeat(kind, &extensions, takes_all, nodes, turn.wall_ahead_ms, &mut out);
        self.links.end_output(link, out);
        self.stats.sent[kind as usize] += 1;
        self.told = told;
    }

    /// A tenth of the nodes, at least three, by chance; and all that may have failed, so that others hear of it soon.
    fn choose_gossip(&mut self, chosen: &mut Vec<Handle>, turn: &mut Turn<'_>) {
        self.heartbeats += 1;
        let mut fresh = self.nodes.len().saturating_sub(2);
        let wanted = (self.nodes.len() / 10).max(3).min(fresh);
        chosen.clear();
        let mut tries = wanted * 3;
        while fresh > 0 && chosen.len() < wanted && tries > 0 {
            tries -= 1;
            let Some(handle) = self.nodes.random(turn.random) else { break };
            let heartbeat = self.heartbeats;
            let node = &mut self.nodes[handle];
            if handle == self.myself || node.may_have_failed() {
                continue;
            }
            // One that has failed without an address is told of where somebody may have to take its place.
            let is_lost = node.flags.any(Flags::NO_ADDRESS) && !node.has_failed();
            if node.is_in_handshake() || is_lost || (node.link.is_none() && node.slots.is_empty()) {
                fresh -= 1;
                continue;
            }
            if node.in_gossip == heartbeat {
                continue;
            }
            node.in_gossip = heartbeat;
            chosen.push(handle);
            fresh -= 1;
        }
        if self.stats.maybe_failed > 0 {
            // Those without an address too, other than in Redis: only so can most agree that one has failed.
            let failing = self
                .nodes
                .iter()
                .filter(|(_, node)| node.may_have_failed() && !node.is_in_handshake());
            chosen.extend(failing.map(|(handle, _)| handle).take(self.stats.maybe_failed));
        }
    }

    /// Sends a PONG to all nodes that there is a link to, or to those of this server's shard: news of its configuration.
    pub(super) fn broadcast_pong(&mut self, shard_only: bool, turn: &mut Turn<'_>) {
        let my_primary = self.nodes[self.myself].primary;
        for handle in self.nodes.handles() {
            let node = &self.nodes[handle];
            let Some(link) = node.link else { continue };
            let is_sibling = node.is_replica()
                && node
                    .primary
                    .is_some_and(|primary| primary == self.myself || Some(primary) == my_primary);
            if handle != self.myself && !node.is_in_handshake() && (is_sibling || !shard_only) {
                self.send_heartbeat(link, Kind::Pong, turn);
            }
        }
    }

    /// Takes in what a node tells of others.
    pub(super) fn hear_gossip(
        &mut self,
        told: &[[u8; GOSSIP_BYTES]],
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) {
        for told in told {
            let told = Gossip::read(told);
            let Some(name) = told.name else { continue };
            match self.nodes.find(&name) {
                Some(node) => self.hear_of_known(node, &told, sender, turn),
                // Only nodes of the cluster are believed: otherwise it could be joined with another one.
                None if sender.is_none() || told.flags.any(Flags::NO_ADDRESS) => {}
                None if self.is_shunned(&name, turn.now_ms) => {}
                None => {
                    let node = self.add_node(Some(name), told.flags.and(TOLD), turn);
                    let node = &mut self.nodes[node];
                    node.ip = told.ip.into();
                    (node.port, node.plain_port, node.bus_port) =
                        (told.port, told.plain_port, told.bus_port);
                }
            }
        }
    }

    fn hear_of_known(
        &mut self,
        handle: Handle,
        told: &Gossip<'_>,
        sender: Option<Handle>,
        turn: &mut Turn<'_>,
    ) {
        let failing = told.flags.any(Flags::FAILED.or(Flags::MAYBE_FAILED));
        if let Some(sender) = sender
            && self.nodes[sender].has_vote()
            && handle != self.myself
        {
            let shown = |it: &Self| (it.nodes[sender].shown(), it.nodes[handle].shown());
            if failing {
                if self.add_report(handle, sender, turn.now_ms) {
                    let (by, about) = shown(self);
                    turn.verbose(format!("Node {by} reported node {about} as not reachable."));
                }
                self.mark_failed_if_agreed(handle, turn);
            } else if self.remove_report(handle, sender, turn.now_ms) {
                let (by, about) = shown(self);
                turn.verbose(format!("Node {by} reported node {about} is back online."));
            }
        }
        if !failing
            && self.nodes[handle].ping_sent_ms == 0
            && self.count_reports(handle, turn.now_ms) == 0
        {
            let pong_ms = i64::from(told.pong_received_s) * 1000 - turn.wall_ahead_ms;
            let node = &mut self.nodes[handle];
            if pong_ms <= turn.now_ms + CLOCK_TOLERANCE_MS && pong_ms > node.pong_received_ms {
                node.pong_received_ms = pong_ms;
            }
        }
        let node = &self.nodes[handle];
        let moved = !node.ip.eq_ignore_ascii_case(told.ip)
            || node.port != told.port
            || node.bus_port != told.bus_port;
        if node.flags.any(Flags::FAILED.or(Flags::MAYBE_FAILED))
            && !failing
            && !told.flags.any(Flags::NO_ADDRESS)
            && moved
            && handle != self.myself
        {
            let link = node.link;
            self.close_link(link, turn);
            let node = &mut self.nodes[handle];
            node.ip = told.ip.into();
            (node.port, node.plain_port, node.bus_port) =
                (told.port, told.plain_port, told.bus_port);
            node.flags.clear(Flags::NO_ADDRESS);
        }
    }

    /// Notes that a node says of another that it has failed; answers whether that is news.
    fn add_report(&mut self, about: Handle, by: Handle, now_ms: i64) -> bool {
        let reports = &mut self.nodes[about].reports;
        match reports.iter_mut().find(|(reporter, _)| *reporter == by) {
            Some((_, heard_ms)) => *heard_ms = now_ms,
            None => {
                reports.push((by, now_ms));
                return true;
            }
        }
        false
    }

    /// It no longer says so; answers whether it did.
    fn remove_report(&mut self, about: Handle, by: Handle, now_ms: i64) -> bool {
        let reports = &mut self.nodes[about].reports;
        let before = reports.len();
        reports.retain(|(reporter, _)| *reporter != by);
        let did = reports.len() < before;
        if did {
            self.count_reports(about, now_ms);
        }
        did
    }

    /// How many nodes have said lately that a node has failed.
    pub fn count_reports(&mut self, about: Handle, now_ms: i64) -> usize {
        let valid_ms = self.options.node_timeout_ms.saturating_mul(REPORT_TIMEOUTS);
        let Some(node) = self.nodes.get_mut(about) else { return 0 };
        node.reports.retain(|(_, heard_ms)| now_ms - heard_ms <= valid_ms);
        node.reports.len()
    }

    /// Holds a node to have failed that does not answer, if most primaries say the same; and tells all.
    pub(super) fn mark_failed_if_agreed(&mut self, handle: Handle, turn: &mut Turn<'_>) {
        let node = &self.nodes[handle];
        if !node.may_have_failed() || node.has_failed() {
            return;
        }
        let mut voices = self.count_reports(handle, turn.now_ms);
        // Most of those with a vote: in Redis 7.0 primaries without slots are heard too, though they are not counted.
        voices += usize::from(self.nodes[self.myself].has_vote());
        if voices < self.majority() {
            return;
        }
        let node = &mut self.nodes[handle];
        node.flags.clear(Flags::MAYBE_FAILED);
        node.flags.set(Flags::FAILED);
        node.failed_ms = turn.now_ms;
        let name = node.name;
        turn.log(Level::Notice, format!("Marking node {name} as failing (quorum reached)."));
        let packet = packet::fail(&self.header(turn.offset), &name);
        self.broadcast(Kind::Fail, &packet);
        self.todo.state = true;
        self.todo.save = true;
    }

    /// A node that was held to have failed answers again: it is trusted where nobody takes its place.
    pub(super) fn clear_failure_if_over(&mut self, handle: Handle, turn: &mut Turn<'_>) {
        let undo_ms = self.options.node_timeout_ms.saturating_mul(2);
        let node = &mut self.nodes[handle];
        let name = node.name;
        let line = if node.is_replica() || node.slots.is_empty() {
            let what = if node.is_replica() { "replica" } else { "master without slots" };
            format!("Clear FAIL state for node {name}: {what} is reachable again.")
        } else if node.is_primary() && turn.now_ms - node.failed_ms > undo_ms {
            format!(
                "Clear FAIL state for node {name}: is reachable again and nobody is serving its \
                 slots after some time."
            )
        } else {
            return;
        };
        node.flags.clear(Flags::FAILED);
        turn.notice(line);
        self.todo.state = true;
        self.todo.save = true;
    }
}
