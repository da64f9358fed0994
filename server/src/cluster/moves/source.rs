//! The side that slots leave.

use super::{Heard, Lag, Move, State, Word};
use crate::cluster::door::Turn;
use crate::cluster::node::Handle;
use crate::cluster::{Act, Action, Cluster, SlotSet};

/// The source holds its writers for so many times `cluster-manual-failover-timeout` until it says yes.
const HOLD_TIMES: i64 = 2;
/// The target takes the slots within `cluster-manual-failover-timeout` of its question, which the source heard later. For so many
/// percent of that nothing is made of the target's failure: two clocks may not run alike.
const YES_PERCENT: i64 = 110;
/// The target is near enough when it says within so many milliseconds how far it is: so long it has yet to work, about, before
/// it can take the slots.
const NEAR_MS: i64 = 20;
/// After being asked so often the target is taken as it is: it may always be busy.
const PROBES_MAX: u32 = 500;

const UNEXPECTED: &str = "Unexpected state machine transition";

impl Cluster {
    pub(super) fn source_hears(&mut self, it: &mut Move, heard: Heard<'_>, turn: &mut Turn<'_>) {
        match (it.state, heard) {
            (State::Connecting, Heard::Connected) if self.options.authenticates => {
                it.enter(State::ReadingAuth, turn);
                it.say(Word::Auth, turn);
            }
            (State::Connecting, Heard::Connected) | (State::ReadingAuth, Heard::Accepted) => {
                it.enter(State::ReadingEstablish, turn);
                it.say(Word::Establish, turn);
            }
            (State::ReadingAuth, Heard::Refused(text)) => {
                let why = format!("Failed to AUTH to target node: {text}");
                self.end_move(it, State::Failed, &why, turn);
            }
            (State::ReadingEstablish, Heard::Refused(text)) => {
                let why = format!("Received error during handshake to target: {text}");
                self.end_move(it, State::Failed, &why, turn);
            }
            (State::ReadingEstablish, Heard::Accepted) => {
                it.enter(State::WaitingToSnapshot, turn);
                it.say(Word::Ack, turn);
                turn.act(Action::Move(Act::Snapshot(it.name)));
            }
            (State::WaitingToSnapshot, Heard::SnapshotBegun) => {
                it.enter(State::Snapshotting, turn);
            }
            (State::WaitingToSnapshot | State::Snapshotting, Heard::SnapshotFailed) => {
                self.end_move(it, State::Failed, "Failed to perform snapshot", turn);
            }
            (State::Snapshotting, Heard::SnapshotSent) => {
                it.enter(State::Replicating, turn);
                it.say(Word::SnapshotEof, turn);
            }
            (_, Heard::Said(Word::Ack, _)) if !it.state.is_shaking_hands() => {}
            (State::Replicating, Heard::Said(Word::RequestPause, _)) => {
                it.enter(State::WaitingToPause, turn);
                Self::probe(it, turn);
            }
            (State::WaitingToPause, Heard::Said(Word::Probed, lag)) => {
                if self.may_hold(it, lag, turn) {
                    it.deadline_ms = turn.now_ms + HOLD_TIMES * self.options.manual_ms;
                    it.enter(State::FailoverPaused, turn);
                    it.say(Word::Paused, turn);
                } else {
                    Self::probe(it, turn);
                }
            }
            (State::FailoverPaused, Heard::Said(Word::RequestFailover, _)) => {
                if turn.now_ms >= it.deadline_ms {
                    let why = "Unpaused before failover completed";
                    return self.end_move(it, State::Failed, why, turn);
                }
                it.deadline_ms = turn.now_ms + self.options.manual_ms * YES_PERCENT / 100;
                it.asks_at_ms = turn.now_ms + self.options.manual_ms / 2;
                it.epoch = self.nodes[self.myself].config_epoch;
                it.enter(State::FailoverGranted, turn);
                it.say(Word::FailoverGranted, turn);
            }
            (State::FailoverPaused, Heard::Written) => {
                let why = "Slots were written to while their writers were held";
                self.end_move(it, State::Failed, why, turn);
            }
            (State::FailoverGranted, Heard::Written) => turn.warn(format!(
                "Slot migration {}: slots were written to that the target may own by now",
                it.described()
            )),
            (State::FailoverGranted, Heard::Lost(_)) => {
                turn.notice(format!("Slot migration {} connection lost", it.described()));
                it.asks_at_ms = turn.now_ms;
                self.take_word_back(it, false, turn);
            }
            (State::Connecting, Heard::Lost(reason)) => {
                let why = format!("Unable to connect to target node: {reason}");
                self.end_move(it, State::Failed, &why, turn);
            }
            (_, Heard::Lost(_)) => {
                let why = "Connection lost to target. Check CLUSTER GETSLOTMIGRATIONS on the target \
                           node for more information.";
                self.end_move(it, State::Failed, why, turn);
            }
            (_, Heard::Overflow) if it.state != State::FailoverGranted => {
                let why = "More waits to be sent than client-output-buffer-limit lets";
                self.end_move(it, State::Failed, why, turn);
            }
            (State::FailoverGranted, _) | (_, Heard::Written | Heard::Overflow) => {}
            _ => self.end_move(it, State::Failed, UNEXPECTED, turn),
        }
    }

    fn probe(it: &mut Move, turn: &mut Turn<'_>) {
        it.probes += 1;
        it.probed_ms = turn.now_ms;
        it.say(Word::Probe, turn);
    }

    /// Whether the writers may be held now: what is on its way is little, and nothing else stands in the way.
    fn may_hold(&self, it: &Move, lag: Lag, turn: &Turn<'_>) -> bool {
        let most = self.options.move_lag_bytes;
        let is_near = turn.now_ms - it.probed_ms <= NEAR_MS || it.probes > PROBES_MAX;
        let is_small = most < 0 || lag.bytes <= most.unsigned_abs();
        (is_near && is_small || most < 0) && !lag.is_busy && self.manual.end_ms == 0
    }

    /// Who owns the slots now?
    pub(super) fn check_source(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        let target = self.nodes.find(&it.other);
        match self.owner_of_all(it) {
            Some(owner) if owner == self.myself => {
                if target.is_none() {
                    if it.state == State::FailoverGranted {
                        self.take_back(it, turn);
                    }
                    self.end_move(it, State::Failed, "Target node is no longer known", turn);
                }
            }
            owner if owner.is_some() && owner == target => {
                turn.notice(format!(
                    "Slot migration {} slots are now owned by target node.",
                    it.described()
                ));
                self.end_move(it, State::Success, "", turn);
            }
            _ => {
                self.end_move(it, State::Failed, "Slots are no longer owned by myself", turn);
            }
        }
    }

    pub(super) fn tick_source(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        let is_late = it.deadline_ms != 0 && turn.now_ms > it.deadline_ms;
        match it.state {
            State::FailoverPaused if is_late => {
                let why = "Timed out before streaming completed";
                self.end_move(it, State::Failed, why, turn);
            }
            State::FailoverGranted => self.take_word_back(it, is_late, turn),
            _ => {}
        }
    }

    /// The slots of a move are this server's, by an epoch that is newer than the one by which the target would have taken
    /// them.
    pub(super) fn take_back(&mut self, it: &Move, turn: &mut Turn<'_>) {
        self.raise_above(2, turn);
        turn.warn(format!(
            "Slot migration {}: taking the slots back by epoch {}. What the target may have written to them \
             is lost.",
            it.described(),
            self.current_epoch
        ));
        self.broadcast_pong(false, turn);
    }

    /// Slots that somebody, or this node, may take by this server's word, which was said by an older epoch than it has now. The new owner may
    /// not have heard of the epoch, so that its own is no newer. This server claims them no more: others believe whom it was told.
    pub(in crate::cluster) fn let_go(&self, to: Option<Handle>) -> SlotSet {
        let mut slots = SlotSet::default();
        // Those who were told to hold their writers are few, and mostly none.
        if self.moves.held.is_empty() {
            return slots;
        }
        let epoch = self.nodes[self.myself].config_epoch;
        let to = to.map(|to| self.nodes[to].name);
        for it in self.moves.active(false) {
            let is_older = it.state == State::FailoverGranted && it.epoch < epoch;
            if is_older && to.is_none_or(|to| to == it.other) {
                slots.add(&it.slots);
            }
        }
        slots
    }

    /// Gives this server an epoch that is by so much newer than any that is known.
    pub(in crate::cluster) fn raise_above(&mut self, by: u64, turn: &mut Turn<'_>) {
        self.current_epoch = self.newest_epoch() + by;
        self.nodes[self.myself].config_epoch = self.current_epoch;
        self.todo.save_synced();
        turn.warn(format!("New configEpoch set to {}", self.current_epoch));
    }
}
