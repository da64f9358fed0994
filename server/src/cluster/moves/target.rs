//! The side that slots come to.

use super::{Heard, Move, State, Word};
use crate::cluster::door::Turn;
use crate::cluster::{Act, Action, Cluster};

impl Cluster {
    pub(super) fn target_hears(&mut self, it: &mut Move, heard: Heard<'_>, turn: &mut Turn<'_>) {
        match (it.state, heard) {
            (State::WaitingForAck, Heard::Said(Word::Ack, _)) => {
                it.enter(State::ReceivingSnapshot, turn);
            }
            (_, Heard::Said(Word::Ack, _)) => {}
            (State::ReceivingSnapshot, Heard::Said(Word::SnapshotEof, _)) => {
                it.enter(State::WaitingForPaused, turn);
                it.say(Word::RequestPause, turn);
            }
            (State::WaitingForPaused, Heard::Said(Word::Probe, _)) => it.say(Word::Probed, turn),
            (State::WaitingForPaused, Heard::Said(Word::Paused, _)) => {
                it.deadline_ms = turn.now_ms + self.options.manual_ms;
                it.epoch = self.node(&it.other).map_or(0, |source| source.config_epoch);
                it.enter(State::FailoverRequested, turn);
                it.say(Word::RequestFailover, turn);
            }
            (State::FailoverRequested, Heard::Said(Word::FailoverGranted, _)) => {
                self.check_target(it, turn);
                if it.state.is_over() {
                    return;
                }
                if turn.now_ms >= it.deadline_ms {
                    return self.too_late(it, turn);
                }
                // The source has kept the slots by a newer epoch meanwhile, and its yes is older.
                if self.node(&it.other).is_none_or(|source| source.config_epoch != it.epoch) {
                    let why = "The source node's configuration has changed";
                    return self.end_move(it, State::Failed, why, turn);
                }
                self.take_slots(it, turn);
            }
            (_, Heard::Lost(_)) => {
                let why = "Connection lost to source. Check CLUSTER GETSLOTMIGRATIONS on the source \
                           node for more information.";
                self.end_move(it, State::Failed, why, turn);
            }
            (_, Heard::NotDone(text)) => {
                let why = format!("Failed to process command during slot migration: {text}");
                self.end_move(it, State::Failed, &why, turn);
            }
            _ => self.end_move(it, State::Failed, "Unexpected state machine transition", turn),
        }
    }

    /// The slots are this server's, by an epoch of its own; the keys that came are seen from now on.
    fn take_slots(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        // Newer than the source's, whatever that is.
        self.raise_above(1, turn);
        for slot in it.slots.iter() {
            self.release_slot(slot);
            self.give_slot(slot, self.myself);
            self.not_claimed.remove(slot);
        }
        self.todo.state = true;
        turn.act(Action::Move(Act::BringHome(Box::new(it.slots.clone()))));
        self.broadcast_pong(false, turn);
        turn.notice(format!(
            "Slot migration {} completed successfully. This node is now the owner of the slots",
            it.described()
        ));
        self.end_move(it, State::Success, "", turn);
    }

    fn too_late(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        let why = "Source node did not let go of the slots in time";
        self.end_move(it, State::Failed, why, turn);
    }

    /// May the slots still come?
    pub(super) fn check_target(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        let source = self.nodes.find(&it.other);
        let owner = self.owner_of_all(it);
        if !self.nodes[self.myself].is_primary() {
            self.end_move(it, State::Failed, "I was demoted to a replica", turn);
        } else if owner == Some(self.myself) {
            let why = "Slots were unexpectedly assigned to myself during import";
            self.end_move(it, State::Failed, why, turn);
        } else if owner.is_none() || owner != source {
            let why = "Slots are no longer owned by source node";
            self.end_move(it, State::Failed, why, turn);
        }
    }

    pub(super) fn tick_target(&mut self, it: &mut Move, turn: &mut Turn<'_>) {
        if it.state == State::FailoverRequested && turn.now_ms >= it.deadline_ms {
            self.too_late(it, turn);
        }
    }
}
