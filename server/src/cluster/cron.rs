//! What is done ten times a second, and at the end of each turn.

use redstart_common::slot::SLOT_COUNT;

use super::Cluster;
use super::door::{Action, Event, Turn};
use super::node::{Called, Flags, Handle};
use super::packet::Kind;

/// How often the regular work is done, in milliseconds.
const TICK_MS: u64 = 100;
/// Of so many by chance, the one that was silent for longest.
const PING_AMONG: usize = 5;
/// The shortest time that a handshake is given, in milliseconds.
const HANDSHAKE_MS_MIN: i64 = 1000;
/// A primary that has just started waits so long before it serves, in milliseconds.
const WRITABLE_DELAY_MS: i64 = 2000;
/// One that was among the few waits for the node timeout, within these, in milliseconds.
const REJOIN_DELAY_MS: std::ops::RangeInclusive<i64> = 500..=5000;
/// After so many ticks at most the file is on the disk with all slots that have changed hands: half a second.
const SYNC_EVERY: u64 = 5;

/// What waits for the end of the turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Todo {
    pub(super) failover: bool,
    pub(super) manual: bool,
    pub(super) state: bool,
    pub(super) save: bool,
    pub(super) moves: bool,
    sync: bool,
    /// The file has yet to be brought to the disk.
    sync_soon: bool,
}

impl Todo {
    /// The file is written, and on the disk before anything leaves.
    pub(super) fn save_synced(&mut self) {
        (self.save, self.sync) = (true, true);
    }

    /// The file is written, and is on the disk a little later: for what other nodes say again after a loss of power. A slot
    /// that changes hands by an epoch that is saved already is such; a reshard of thousands of slots syncs once for all that
    /// come within half a second. What a vote or an epoch depends on is [synced](Self::save_synced).
    pub(super) fn save_soon(&mut self) {
        (self.save, self.sync_soon) = (true, true);
    }
}

/// Replicas of primaries, counted.
#[derive(Default)]
struct Census {
    orphans: usize,
    most: usize,
    mine: usize,
}

impl Cluster {
    /// Takes in what happened.
    pub fn handle(&mut self, event: Event<'_>, turn: &mut Turn<'_>) {
        match event {
            Event::Accepted { link, peer_ip, local_ip } => {
                self.accept(link, peer_ip, local_ip, turn.now_ms);
            }
            Event::Connected { link, peer_ip, local_ip } => {
                self.connected(link, peer_ip, local_ip, turn);
            }
            Event::Closed(link, reason) => self.link_lost(link, reason, turn),
            Event::Received(link, bytes) => self.receive(link, bytes, turn),
            Event::Tick => self.tick(turn),
            Event::EndOfTurn => self.end_turn(turn),
        }
    }

    /// Whether [`Event::EndOfTurn`] has anything to do.
    #[must_use]
    #[inline]
    pub fn has_todo(&self) -> bool {
        let Todo { failover, manual, state, save, moves, .. } = self.todo;
        failover || manual || state || save || moves
    }

    fn end_turn(&mut self, turn: &mut Turn<'_>) {
        let (failover, manual) = (self.todo.failover, self.todo.manual);
        (self.todo.failover, self.todo.manual) = (false, false);
        let is_replica = self.nodes[self.myself].is_replica();
        if manual && is_replica {
            self.step_manual(turn);
            self.step_failover(turn);
        } else if failover {
            self.step_failover(turn);
        }
        if self.todo.state {
            self.update_state(turn);
        }
        if self.todo.moves {
            self.look_at_moves(turn);
        }
        if std::mem::take(&mut self.todo.save) {
            let synced = std::mem::take(&mut self.todo.sync);
            self.todo.sync_soon &= !synced;
            turn.act(Action::Save { synced });
        }
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        self.ticks += 1;
        if self.todo.sync_soon && self.ticks.is_multiple_of(SYNC_EVERY) {
            self.todo.save_synced();
        }
        self.nodes[self.myself].call(Called::Hostname, &self.options.hostname);
        self.look_after_links(turn);
        self.stats.maybe_failed = 0;
        let handshake_ms = self.options.node_timeout_ms.max(HANDSHAKE_MS_MIN);
        for handle in self.nodes.handles() {
            self.keep_connected(handle, handshake_ms, turn);
        }
        if self.ticks.is_multiple_of((self.options.ping_ms / TICK_MS).max(1)) {
            self.ping_by_chance(turn);
        }
        let mut census = Census::default();
        let mut suspects = false;
        for handle in self.nodes.handles() {
            suspects |= self.watch_node(handle, &mut census, turn);
        }
        let myself = &self.nodes[self.myself];
        if let Some(primary) = myself.primary.filter(|_| myself.is_replica())
            && !turn.follows
            && !self.nodes[primary].flags.any(Flags::NO_ADDRESS)
        {
            self.follow_address(primary, turn);
        }
        self.follow_the_primary_of_mine(turn);
        self.end_mutual(turn);
        self.end_manual_if_late(turn);
        self.tick_moves(turn);
        if self.nodes[self.myself].is_replica() {
            self.step_manual(turn);
            self.step_failover(turn);
            let Census { orphans, most, mine } = census;
            if orphans > 0 && most >= 2 && mine == most && self.options.replicas_migrate {
                self.migrate_if_chosen(most, turn);
            }
        }
        if suspects || !self.is_up {
            self.update_state(turn);
        }
    }

    /// This replica's primary is a replica itself: its primary is followed. In Redis that is found out only when slots are claimed
    /// by another node; where they were not all of the old primary's, and `cluster-allow-replica-migration` is off, never.
    fn follow_the_primary_of_mine(&mut self, turn: &mut Turn<'_>) {
        let myself = &self.nodes[self.myself];
        let mine = myself.primary.filter(|_| myself.is_replica());
        let of_mine = mine
            .map(|mine| &self.nodes[mine])
            .and_then(|it| it.primary.filter(|_| it.is_replica()));
        let is_fit = |it: &Handle| {
            *it != self.myself && self.nodes[*it].is_primary() && !self.nodes[*it].slots.is_empty()
        };
        let Some(primary) = of_mine.filter(is_fit) else {
            self.sub_replica_since_ms = None;
            return;
        };
        // What is claimed comes a moment after who replicates whom, mostly.
        let since_ms = *self.sub_replica_since_ms.get_or_insert(turn.now_ms);
        if turn.now_ms - since_ms > self.options.node_timeout_ms {
            self.sub_replica_since_ms = None;
            let why = "I'm a sub-replica! Reconfiguring myself as a replica of grandmaster";
            self.reconfigure(primary, why, turn);
        }
    }

    /// Connects to a node that there is no link to; forgets one that does not answer the first time.
    fn keep_connected(&mut self, handle: Handle, handshake_ms: i64, turn: &mut Turn<'_>) {
        let node = &self.nodes[handle];
        self.stats.maybe_failed += usize::from(node.may_have_failed());
        if node.flags.any(Flags::MYSELF.or(Flags::NO_ADDRESS)) {
            return;
        }
        if node.is_in_handshake() && turn.now_ms - node.created_ms > handshake_ms {
            self.remove_node(handle, turn);
        } else if node.link.is_none() {
            self.connect(handle, turn);
        }
    }

    fn ping_by_chance(&mut self, turn: &mut Turn<'_>) {
        let mut oldest: Option<Handle> = None;
        for _ in 0..PING_AMONG {
            let Some(handle) = self.nodes.random(turn.random) else { return };
            let node = &self.nodes[handle];
            if node.link.is_none()
                || node.ping_sent_ms != 0
                || node.flags.any(Flags::MYSELF.or(Flags::HANDSHAKE))
            {
                continue;
            }
            let pong_ms = |handle: Handle| self.nodes[handle].pong_received_ms;
            if oldest.is_none_or(|oldest| pong_ms(oldest) > pong_ms(handle)) {
                oldest = Some(handle);
            }
        }
        if let Some(link) = oldest.and_then(|oldest| self.nodes[oldest].link) {
            self.send_heartbeat(link, Kind::Ping, turn);
        }
    }

    /// Pings a node that was silent for long, gives its link up if nothing comes, and suspects it in the end. Answers whether it
    /// is newly suspected.
    fn watch_node(&mut self, handle: Handle, census: &mut Census, turn: &mut Turn<'_>) -> bool {
        let node = &self.nodes[handle];
        if node.flags.any(Flags::MYSELF.or(Flags::HANDSHAKE)) {
            return false;
        }
        if node.flags.any(Flags::NO_ADDRESS) {
            return self.suspect_lost(handle, turn.now_ms);
        }
        let (now_ms, timeout_ms) = (turn.now_ms, self.options.node_timeout_ms);
        let myself = &self.nodes[self.myself];
        if myself.is_replica() && node.is_primary() && !node.has_failed() {
            let working = self.working_replicas(node);
            if working == 0 && !node.slots.is_empty() && node.flags.any(Flags::MIGRATE_TO) {
                census.orphans += 1;
            }
            census.most = census.most.max(working);
            if myself.primary == Some(handle) {
                census.mine = working;
            }
        }
        let ping_ms = now_ms - node.ping_sent_ms;
        let data_ms = now_ms - node.data_received_ms;
        let link = node.link.and_then(|link| self.links.get(link));
        // What comes by the node's own link says that it lives, not that this one carries: an answer that is lost is asked for
        // again by another link.
        let is_mute = link.is_some_and(|link| {
            now_ms - link.created_ms > timeout_ms
                && ping_ms > timeout_ms / 2
                && (data_ms > timeout_ms / 2
                    || ping_ms > timeout_ms && now_ms - link.heard_ms > timeout_ms)
        });
        if is_mute && node.ping_sent_ms != 0 {
            let link = node.link;
            self.close_link(link, turn);
        }
        let node = &self.nodes[handle];
        if let Some(link) = node.link {
            let is_due = node.ping_sent_ms == 0 && now_ms - node.pong_received_ms > timeout_ms / 2;
            let is_relieving = self.manual.end_ms != 0
                && self.nodes[self.myself].is_primary()
                && self.manual.replica == Some(handle);
            if is_due || is_relieving {
                self.send_heartbeat(link, Kind::Ping, turn);
                return false;
            }
        }
        let is_late = node.ping_sent_ms != 0 && ping_ms.min(data_ms) > timeout_ms;
        if !is_late || node.flags.any(Flags::MAYBE_FAILED.or(Flags::FAILED)) {
            return false;
        }
        self.nodes[handle].flags.set(Flags::MAYBE_FAILED);
        if self.nodes.iter().filter(|(_, node)| node.has_vote()).count() == 1 {
            // A primary that is the only one hears of it from nobody else (valkey 8.0).
            self.mark_failed_if_agreed(handle, turn);
        }
        true
    }

    /// A node without an address cannot be pinged. Redis never suspects it, so that nobody takes its place; here it is suspected
    /// like any other that has been silent for too long. Answers whether it is so newly.
    fn suspect_lost(&mut self, handle: Handle, now_ms: i64) -> bool {
        let timeout_ms = self.options.node_timeout_ms;
        let node = &mut self.nodes[handle];
        let heard_ms = node.data_received_ms.max(node.pong_received_ms).max(node.created_ms);
        let is_new = now_ms - heard_ms > timeout_ms
            && !node.flags.any(Flags::MAYBE_FAILED.or(Flags::FAILED));
        if is_new {
            node.flags.set(Flags::MAYBE_FAILED);
        }
        is_new
    }

    /// Finds out whether the cluster can serve: all slots have owners that work, and most primaries are reached.
    pub(super) fn update_state(&mut self, turn: &mut Turn<'_>) {
        self.todo.state = false;
        let now_ms = turn.now_ms;
        let began_ms = *self.began_ms.get_or_insert(now_ms);
        let is_primary = self.nodes[self.myself].is_primary();
        if is_primary && !self.is_up && now_ms - began_ms < WRITABLE_DELAY_MS {
            return;
        }
        // Each slot is in the set of its owner and in no other.
        let works = |node: &&super::Node| !node.has_failed();
        let nodes = self.nodes.iter().map(|(_, node)| node);
        let covered: usize = nodes.filter(works).map(|node| node.slots.len()).sum();
        let mut can_serve = !self.options.full_coverage || covered == usize::from(SLOT_COUNT);
        let (mut size, mut reached) = (0, 0);
        for (_, node) in self.nodes.iter().filter(|(_, node)| node.has_vote()) {
            size += 1;
            reached += usize::from(!node.flags.any(Flags::FAILED.or(Flags::MAYBE_FAILED)));
        }
        self.size = size;
        if reached < self.majority() {
            can_serve = false;
            self.minority_ms = now_ms;
        }
        if can_serve == self.is_up {
            return;
        }
        let delay_ms =
            self.options.node_timeout_ms.clamp(*REJOIN_DELAY_MS.start(), *REJOIN_DELAY_MS.end());
        if can_serve && is_primary && now_ms - self.minority_ms < delay_ms {
            return;
        }
        turn.warn(format!("Cluster state changed: {}", if can_serve { "ok" } else { "fail" }));
        self.is_up = can_serve;
        self.touch();
    }
}
