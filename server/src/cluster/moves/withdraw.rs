//! A yes that is taken back: the source has let go of slots, and does not see that the target takes them.
//!
//! What the source has said may still lie in a socket. So it asks the target, by a link of the bus, to forget the move: what the
//! target answers is final, as it will take nothing by a move that is over. The answer has the target's slots with it, as all
//! packets do. What was written to the slots waits for as long as this takes, a journey there and back if the target is there.

use super::{Move, State};
use crate::cluster::Cluster;
use crate::cluster::door::Turn;
use crate::cluster::node::{Handle, LinkId, NAME_BYTES, Name};
use crate::cluster::packet::{self, Kind, Packet, own};

/// After so many milliseconds without an answer an operator's word is enough to keep the slots.
const CANCEL_MS: i64 = 1000;
/// A target that does not answer is asked again after so many milliseconds, and by each new link.
const ASK_EVERY_MS: i64 = 500;

impl Cluster {
    /// Asks the target what became of the source's yes, if it is time; `is_late` says that it would have had to be heard long ago.
    pub(super) fn take_word_back(&mut self, it: &mut Move, is_late: bool, turn: &mut Turn<'_>) {
        let Some(target) = self.nodes.find(&it.other) else { return };
        if is_late && self.nodes[target].has_failed() {
            self.take_back(it, turn);
            let why = "Target node has failed; the slots stay here";
            return self.end_move(it, State::Failed, why, turn);
        }
        if it.cancelled_ms.is_some_and(|cancelled_ms| turn.now_ms - cancelled_ms > CANCEL_MS) {
            // What is written here from now on has to count.
            self.take_back(it, turn);
            return self.end_move(it, State::Cancelled, "", turn);
        }
        if is_late && !it.is_told {
            it.is_told = true;
            turn.warn(format!(
                "Slot migration {}: the target was to take the slots and has not said so; their writers wait \
                 until it is heard, or has failed",
                it.described()
            ));
            // It may be one that carries nothing any more. The regular work makes another.
            let link = self.nodes[target].link;
            return self.close_link(link, turn);
        }
        let stands = |link: &LinkId| self.links.get(*link).is_some_and(|link| link.is_connected);
        let Some(link) = self.nodes[target].link.filter(stands) else { return };
        let is_another = it.asked_by.is_some_and(|before| before != link);
        if turn.now_ms < it.asks_at_ms && !is_another {
            return;
        }
        it.asks_at_ms = turn.now_ms + ASK_EVERY_MS;
        it.asked_by = Some(link);
        let packet = packet::to_own(&self.header(turn.offset), own::WITHDRAW, it.name.as_bytes());
        self.send(Some(link), Kind::Module, &packet);
    }

    /// A node of ours says something that only such do.
    pub(in crate::cluster) fn hear_own(
        &mut self,
        link: LinkId,
        sender: Handle,
        kind: u8,
        payload: &[u8],
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) {
        let Some((name, rest)) = payload.split_at_checked(NAME_BYTES) else { return };
        let Some(name) = Name::parse(name).filter(|_| sender != self.myself) else { return };
        match (kind, rest) {
            (own::WITHDRAW, []) => self.give_up_import(link, sender, name, turn),
            (own::WITHDRAWN, [how]) => {
                if !self.has_forgotten(sender, packet, turn) {
                    self.hear_role(sender, packet);
                    self.hear_claims(sender, packet, turn);
                }
                self.hear_withdrawn(sender, name, *how, packet, turn);
            }
            _ => {}
        }
    }

    /// On the target: the source takes its word back, unless the slots are taken.
    fn give_up_import(&mut self, link: LinkId, sender: Handle, name: Name, turn: &mut Turn<'_>) {
        let source = self.nodes[sender].name;
        let is_meant = |it: &Move| it.is_import && it.name == name && it.other == source;
        let how = match self.moves.all.iter().position(is_meant) {
            None => own::UNKNOWN,
            Some(place) => {
                let mut it = self.moves.all.remove(place);
                if !it.state.is_over() {
                    let why = "Source node has taken its word back";
                    self.end_move(&mut it, State::Failed, why, turn);
                }
                let is_taken = it.state == State::Success;
                self.moves.all.insert(place, it);
                if is_taken { own::TAKEN } else { own::NOT_TAKEN }
            }
        };
        let mut payload = name.as_bytes().to_vec();
        payload.push(how);
        let packet = packet::to_own(&self.header(turn.offset), own::WITHDRAWN, &payload);
        self.send(Some(link), Kind::Module, &packet);
    }

    /// On the source: the target says how the move has ended, and what it owns has been taken in.
    fn hear_withdrawn(
        &mut self,
        sender: Handle,
        name: Name,
        how: u8,
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) {
        let target = self.nodes[sender].name;
        let shown = packet.claimed();
        self.each_move(turn, |cluster, it, turn| {
            let is_meant = it.name == name && it.other == target && it.asked_by.is_some();
            if !is_meant || it.state != State::FailoverGranted {
                return;
            }
            cluster.check_source(it, turn);
            // A target that has taken them and is a replica by now does not speak for who has them after it.
            let is_without = shown.is_apart_from(&it.slots)
                && (how == own::UNKNOWN || how == own::TAKEN && !packet.is_replica);
            if !it.state.is_over() && (how == own::NOT_TAKEN || is_without) {
                let (state, why) = match it.cancelled_ms {
                    Some(_) => (State::Cancelled, ""),
                    None => (State::Failed, "Target node did not take the slots"),
                };
                cluster.end_move(it, state, why, turn);
            }
        });
    }
}
