//! Elections: votes that are given, and the way of a replica to its primary's place.

use rand::Rng;

use super::Cluster;
use super::door::{Action, Turn};
use super::node::{Flags, Handle};
use super::packet::{self, Kind, Packet, mark, own_mark};

/// The shortest time that votes are waited for, in milliseconds.
const VOTES_MS_MIN: i64 = 2000;
/// How long the news of a failure is given to spread, in milliseconds; as much again is added by chance.
const DELAY_MS: i64 = 500;
/// What each better replica of the same primary adds, in milliseconds.
const RANK_MS: i64 = 1000;
/// With `cluster-ranked-elections`: what each failed primary whose turn is before this one's adds, and what is added by chance at
/// most, in milliseconds. The votes are there sooner than the next asks for his.
const SHARD_MS: i64 = 250;
const RANKED_CHANCE_MS: i64 = 100;
/// And after so many milliseconds without enough votes they are asked for again, by a new epoch.
const ASK_AGAIN_MS: i64 = 1000;
/// A reason that stays the same is told again after so many milliseconds.
const TELL_AGAIN_MS: i64 = 300_000;
/// Nothing is told while the primary has failed for less than the node timeout and this, in milliseconds.
const TELL_AFTER_MS: i64 = 5000;

/// Why a replica of a failed primary does not take its place yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hindrance {
    #[default]
    None,
    DataAge,
    Delay,
    Expired,
    Votes,
}

impl Hindrance {
    fn text(self) -> &'static str {
        match self {
            Self::None => "Unknown reason code.",
            Self::DataAge => {
                "Disconnected from master for longer than allowed. Please check the \
                 'cluster-replica-validity-factor' configuration option."
            }
            Self::Delay => "Waiting the delay before I can start a new failover.",
            Self::Expired => "Failover attempt expired.",
            Self::Votes => "Waiting for votes, but majority still not reached.",
        }
    }
}

/// Why a vote is denied, and whose newer slots are the reason.
struct Denial {
    why: String,
    owner: Option<Handle>,
}

/// This server's election, where it is a replica.
#[derive(Debug, Clone, Default)]
pub(super) struct Election {
    /// When votes are asked for, or were.
    at_ms: i64,
    votes: Vec<Handle>,
    is_asked: bool,
    /// How many votes were most of them when they were asked for.
    needed: usize,
    rank: usize,
    /// Failed primaries whose replicas are before this one.
    shard_rank: usize,
    epoch: u64,
    hindrance: Hindrance,
    told_ms: i64,
}

impl Cluster {
    /// How many primaries are most of them.
    pub(super) fn majority(&self) -> usize {
        self.size / 2 + 1
    }

    /// Whether the votes are enough. While slots go from one node to another fewer primaries may be counted for a moment, which Redis
    /// takes for the new majority: then two replicas may win one epoch.
    fn is_elected(&self) -> bool {
        self.election.votes.len() >= self.majority().max(self.election.needed)
    }

    /// A replica asks for this server's vote.
    pub(super) fn vote_if_fit(&mut self, sender: Handle, packet: &Packet<'_>, turn: &mut Turn<'_>) {
        if !self.nodes[self.myself].has_vote() {
            return;
        }
        let (node, epoch) = (&self.nodes[sender], self.current_epoch);
        let name = node.name;
        match self.denial(sender, packet, turn.now_ms) {
            Some(Denial { why, owner }) => {
                turn.warn(format!("Failover auth denied to {name}: {why}"));
                if let Some(owner) = owner {
                    // It would be denied again and again: nobody else may tell it what it has missed (valkey#2169).
                    let link = node.link;
                    self.send_update(link, owner, turn);
                }
            }
            None => {
                let (link, primary) = (node.link, node.primary);
                self.last_vote_epoch = epoch;
                if let Some(primary) = primary {
                    self.nodes[primary].voted_ms = turn.now_ms;
                    self.nodes[primary].voted_for = Some(Box::new(name));
                }
                self.todo.save_synced();
                if link.is_some() {
                    let packet = packet::plain(&self.header(turn.offset), Kind::AuthAck);
                    self.send(link, Kind::AuthAck, &packet);
                }
                turn.warn(format!("Failover auth granted to {name} for epoch {epoch}"));
            }
        }
    }

    /// Why a replica is not given this server's vote.
    fn denial(&self, sender: Handle, packet: &Packet<'_>, now_ms: i64) -> Option<Denial> {
        let node = &self.nodes[sender];
        let current = self.current_epoch;
        let deny = |why: String| Some(Denial { why, owner: None });
        if packet.current_epoch < current {
            return deny(format!("reqEpoch ({}) < curEpoch({current})", packet.current_epoch));
        }
        if self.last_vote_epoch == current {
            return deny(format!("already voted for epoch {current}"));
        }
        if node.is_primary() {
            return deny("it is a master node".to_owned());
        }
        let Some(primary) = node.primary.map(|primary| &self.nodes[primary]) else {
            return deny("I don't know its master".to_owned());
        };
        if !primary.has_failed() && packet.marks & mark::FORCE == 0 {
            return deny("its master is up".to_owned());
        }
        let wait_ms = self.options.node_timeout_ms.saturating_mul(2);
        let since_ms = now_ms - primary.voted_ms;
        // Whoever asks again has not won, by a newer epoch: nothing is lost by voting again.
        let asks_again =
            self.options.ranks_elections && primary.voted_for.as_deref() == Some(&node.name);
        if since_ms < wait_ms && !asks_again {
            return deny(format!(
                "can't vote about this master before {} milliseconds",
                wait_ms - since_ms
            ));
        }
        packet.claimed().iter().find_map(|slot| {
            let epoch = self.claimed_epoch(slot).filter(|epoch| *epoch > packet.config_epoch)?;
            let asked = packet.config_epoch;
            let why = format!("slot {slot} epoch ({epoch}) > reqEpoch ({asked})");
            Some(Denial { why, owner: self.owner_handle(slot) })
        })
    }

    /// A node gives this server its vote.
    pub(super) fn count_vote(&mut self, sender: Handle, current_epoch: u64) {
        // A vote that is heard twice is one.
        if self.nodes[sender].has_vote()
            && current_epoch >= self.election.epoch
            && !self.election.votes.contains(&sender)
        {
            self.election.votes.push(sender);
            self.todo.failover = true;
        }
    }

    /// How many replicas of the same primary are further in its stream.
    fn rank(&self, offset: i64) -> usize {
        let Some(primary) = self.nodes[self.myself].primary else { return 0 };
        let name = self.nodes[self.myself].name;
        let better = |replica: &&Handle| {
            let node = &self.nodes[**replica];
            // Chance alone parts those that are as far, in Redis.
            let is_first_of_equals =
                self.options.ranks_elections && node.offset == offset && node.name < name;
            **replica != self.myself
                && !node.flags.any(Flags::NO_FAILOVER)
                && (node.offset > offset || is_first_of_equals && !node.has_failed())
        };
        self.nodes[primary].replicas.iter().filter(better).count()
    }

    /// How many failed primaries, whose places others take, come before this replica's: those with smaller names.
    fn shard_rank(&self) -> usize {
        let Some(mine) = self.nodes[self.myself].primary.filter(|_| self.options.ranks_elections)
        else {
            return 0;
        };
        let name = self.nodes[mine].name;
        let fit = |replica: &Handle| {
            !self.nodes[*replica].flags.any(Flags::FAILED.or(Flags::NO_FAILOVER))
        };
        let earlier = |node: &&super::Node| {
            node.has_failed()
                && node.has_vote()
                && node.name < name
                && node.replicas.iter().any(fit)
        };
        self.nodes.iter().map(|(_, node)| node).filter(earlier).count()
    }

    /// Whether the votes that were asked for will not be enough, so that it is better to ask again at once: others have won by this
    /// epoch or a newer one, or it takes too long. Only where most voters vote again, as Redis's do not for two node timeouts.
    fn asks_in_vain(&self, now_ms: i64) -> bool {
        if !self.options.ranks_elections
            || !self.election.is_asked
            || self.manual.end_ms != 0
            || self.is_elected()
        {
            return false;
        }
        let others = || self.nodes.iter().map(|(_, node)| node).filter(|node| !node.is_myself());
        let is_late = now_ms - self.election.at_ms > ASK_AGAIN_MS;
        if !is_late && others().all(|node| node.config_epoch < self.election.epoch) {
            return false;
        }
        let votes_again = |node: &&super::Node| {
            node.has_vote() && !node.has_failed() && node.own_marks & own_mark::VOTES_AGAIN != 0
        };
        others().filter(votes_again).count() >= self.majority()
    }

    fn hinder(&mut self, hindrance: Hindrance, turn: &mut Turn<'_>) {
        let election = &mut self.election;
        if hindrance == election.hindrance && turn.now_ms - election.told_ms < TELL_AGAIN_MS {
            return;
        }
        election.hindrance = hindrance;
        let patience_ms = self.options.node_timeout_ms.saturating_add(TELL_AFTER_MS);
        let primary = self.nodes[self.myself].primary.map(|primary| &self.nodes[primary]);
        if primary.is_some_and(|primary| {
            primary.has_failed() && turn.now_ms - primary.failed_ms < patience_ms
        }) {
            return;
        }
        self.election.told_ms = turn.now_ms;
        turn.warn(format!("Currently unable to failover: {}", hindrance.text()));
    }

    /// A replica whose primary has failed, or is to be relieved, goes a step on its way to its place.
    pub(super) fn step_failover(&mut self, turn: &mut Turn<'_>) {
        self.todo.failover = false;
        let now_ms = turn.now_ms;
        let timeout_ms = self.options.node_timeout_ms;
        let votes_ms = timeout_ms.saturating_mul(2).max(VOTES_MS_MIN);
        let is_manual = self.manual.end_ms != 0 && self.manual.can_start;
        let myself = &self.nodes[self.myself];
        let primary = myself.primary.filter(|_| myself.is_replica()).map(|it| &self.nodes[it]);
        let is_wanted = primary.is_some_and(|primary| {
            !primary.slots.is_empty()
                && (is_manual || (primary.has_failed() && !self.options.no_failover))
        });
        if !is_wanted {
            self.election.hindrance = Hindrance::None;
            return;
        }
        let mut age_ms = turn.data_age_ms;
        if age_ms > timeout_ms {
            age_ms -= timeout_ms;
        }
        let factor = self.options.validity_factor;
        let age_ms_max =
            self.options.replica_ping_ms.saturating_add(timeout_ms.saturating_mul(factor));
        if factor != 0 && age_ms > age_ms_max && !is_manual {
            self.hinder(Hindrance::DataAge, turn);
            return;
        }
        let since_ms = now_ms - self.election.at_ms;
        if since_ms > votes_ms.saturating_mul(2) {
            self.call_election(turn);
            return;
        }
        if self.asks_in_vain(now_ms) {
            self.election.votes.clear();
            self.election.is_asked = false;
            self.election.shard_rank = self.shard_rank();
            let chance_ms = turn.random.random_range(0..RANKED_CHANCE_MS);
            self.election.at_ms = now_ms + chance_ms + self.election.shard_rank as i64 * SHARD_MS;
            turn.warn(format!(
                "Failover election for epoch {} is lost to others, asking again in {} milliseconds.",
                self.election.epoch,
                self.election.at_ms - now_ms
            ));
        }
        if !self.election.is_asked && self.manual.end_ms == 0 {
            let rank = self.rank(turn.offset);
            if rank > self.election.rank {
                let added_ms = (rank - self.election.rank) as i64 * RANK_MS;
                self.election.at_ms += added_ms;
                self.election.rank = rank;
                turn.warn(format!(
                    "Replica rank updated to #{rank}, added {added_ms} milliseconds of delay."
                ));
            }
            let rank = self.shard_rank();
            if rank != self.election.shard_rank {
                let added_ms = (rank as i64 - self.election.shard_rank as i64) * SHARD_MS;
                self.election.at_ms += added_ms;
                self.election.shard_rank = rank;
                turn.warn(format!(
                    "Failed primary rank updated to #{rank}, added {added_ms} milliseconds of delay."
                ));
            }
        }
        let since_ms = now_ms - self.election.at_ms;
        if now_ms < self.election.at_ms {
            self.hinder(Hindrance::Delay, turn);
        } else if since_ms > votes_ms {
            self.hinder(Hindrance::Expired, turn);
        } else if !self.election.is_asked {
            self.ask_for_votes(turn);
        } else if self.is_elected() {
            self.win(turn);
        } else {
            self.hinder(Hindrance::Votes, turn);
        }
    }

    /// Sets the time of an election: later, the more replicas are further in the stream.
    fn call_election(&mut self, turn: &mut Turn<'_>) {
        let rank = self.rank(turn.offset);
        let ranks = self.options.ranks_elections;
        let chance_ms = if ranks { RANKED_CHANCE_MS } else { DELAY_MS };
        let chance_ms = turn.random.random_range(0..chance_ms);
        self.election.shard_rank = self.shard_rank();
        self.election.at_ms = turn.now_ms
            + DELAY_MS
            + chance_ms
            + rank as i64 * RANK_MS
            + self.election.shard_rank as i64 * SHARD_MS;
        self.election.votes.clear();
        self.election.is_asked = false;
        self.election.rank = rank;
        if self.manual.end_ms != 0 {
            self.election.at_ms = turn.now_ms;
            (self.election.rank, self.election.shard_rank) = (0, 0);
            self.todo.failover = true;
        }
        turn.warn(format!(
            "Start of election delayed for {} milliseconds (rank #{}, offset {}).",
            self.election.at_ms - turn.now_ms,
            self.election.rank,
            turn.offset
        ));
        // The other replicas learn how far this one is.
        self.broadcast_pong(true, turn);
    }

    fn ask_for_votes(&mut self, turn: &mut Turn<'_>) {
        self.current_epoch += 1;
        self.election.epoch = self.current_epoch;
        turn.warn(format!("Starting a failover election for epoch {}.", self.current_epoch));
        let mut header = self.header(turn.offset);
        if self.manual.end_ms != 0 {
            header.marks |= mark::FORCE;
        }
        let packet = packet::plain(&header, Kind::AuthRequest);
        self.broadcast(Kind::AuthRequest, &packet);
        self.election.needed = self.majority();
        self.election.is_asked = true;
        self.todo.save_synced();
        self.todo.state = true;
    }

    fn win(&mut self, turn: &mut Turn<'_>) {
        turn.warn("Failover election won: I'm the new master.");
        let epoch = self.election.epoch;
        let myself = &mut self.nodes[self.myself];
        if myself.config_epoch < epoch {
            myself.config_epoch = epoch;
            turn.warn(format!("configEpoch set to {epoch} after successful failover"));
        }
        // It is a primary now, and may be asked for its vote in the epoch that it has won itself. Redis gives it: two win the same.
        self.last_vote_epoch = self.last_vote_epoch.max(epoch);
        self.take_over(turn);
    }

    /// Takes the primary's place: its slots are this server's, and all are told.
    pub(super) fn take_over(&mut self, turn: &mut Turn<'_>) {
        let myself = &self.nodes[self.myself];
        let Some(old) = myself.primary.filter(|_| myself.is_replica()) else { return };
        self.become_primary(self.myself);
        turn.act(Action::Lead);
        let mut slots = self.nodes[old].slots.clone();
        slots.add(&self.take_left_slots());
        self.give_all(&slots, self.myself);
        self.update_state(turn);
        self.todo.save_synced();
        self.broadcast_pong(false, turn);
        self.reset_manual(turn);
    }
}
