//! Slots that go to another node as one step (CLUSTER MIGRATESLOTS), decided: both sides of a move.
//!
//! The source pushes. By a link of its own it sends the keys of the slots as they were at one moment, behind them what was
//! written since, and asks how far the target is. When little is on its way it holds the writers of these slots, says so, and
//! gives the target leave to take them. The target takes them by a new epoch, which the bus tells everybody, and those who were
//! held are sent there. Until then the target's keys of these slots lie aside: nobody sees them.
//!
//! ```text
//!   source: connecting ─▶ establish ─▶ snapshotting ─▶ replicating ─▶ waiting-to-pause ─▶ failover-paused ─▶ failover-granted ─▶ success
//!   target:               waiting-for-ack ─▶ receiving-snapshot ─▶ waiting-for-paused ──────▶ failover-requested ──────────────▶ success
//! ```
//!
//! **Who owns the slots is never in doubt for longer than one of the two cannot be heard.** A source that has said yes and does not
//! see the slots taken does not go on by itself, for what was written here would be lost if they were taken after all. When its
//! link to the target is lost, or after half of `cluster-manual-failover-timeout`, it takes its word back by the bus
//! (`withdraw.rs`): the target gives the move up unless it has taken the slots, and says which. Only when most primaries hold the target to have failed does the source take its slots back, by an epoch of
//! its own; what the target has written then is lost as with any primary that fails.
//!
//! What is said on the link, and what CLUSTER GETSLOTMIGRATIONS shows, has Valkey's words.

mod ask;
mod source;
mod target;
#[cfg(test)]
mod tests;
mod withdraw;

use std::fmt::Write;

use super::door::{Action, Turn};
use super::node::{LinkId, Name};
use super::slots::SlotSet;
use super::{Cluster, Handle};

pub use self::ask::Wanted;

/// How often each side says that it is there, in milliseconds.
const ACK_EVERY_MS: i64 = 1000;

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is explained by its name, which is Valkey's")]
pub enum State {
    Connecting,
    ReadingAuth,
    ReadingEstablish,
    WaitingToSnapshot,
    Snapshotting,
    Replicating,
    WaitingToPause,
    FailoverPaused,
    FailoverGranted,
    WaitingForAck,
    ReceivingSnapshot,
    WaitingForPaused,
    FailoverRequested,
    Success,
    Cancelled,
    Failed,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::ReadingAuth => "reading-auth-response",
            Self::ReadingEstablish => "reading-establish-response",
            Self::WaitingToSnapshot => "waiting-to-snapshot",
            Self::Snapshotting => "snapshotting",
            Self::Replicating => "replicating",
            Self::WaitingToPause => "waiting-to-pause",
            Self::FailoverPaused => "failover-paused",
            Self::FailoverGranted => "failover-granted",
            Self::WaitingForAck => "waiting-for-ack",
            Self::ReceivingSnapshot => "receiving-snapshot",
            Self::WaitingForPaused => "waiting-for-paused",
            Self::FailoverRequested => "failover-requested",
            Self::Success => "success",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Success | Self::Cancelled | Self::Failed)
    }

    /// Whether the source holds the writers of the slots.
    fn holds(self) -> bool {
        matches!(self, Self::FailoverPaused | Self::FailoverGranted)
    }

    /// Whether the two sides have yet to agree that there is a move.
    fn is_shaking_hands(self) -> bool {
        matches!(self, Self::Connecting | Self::ReadingAuth | Self::ReadingEstablish)
    }
}

/// What the two sides say to each other, beside the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The source's user and password.
    Auth,
    /// The source wants to send these slots.
    Establish,
    /// I am there.
    Ack,
    /// All keys as they were are sent; what follows was written since.
    SnapshotEof,
    /// I have them: hold the writers when you like.
    RequestPause,
    /// How far are you?
    Probe,
    /// So far.
    Probed,
    /// Nothing is written any more, and this is behind all that was.
    Paused,
    /// May I take the slots?
    RequestFailover,
    /// Take them.
    FailoverGranted,
}

impl Word {
    /// The words that stand behind CLUSTER SYNCSLOTS alone.
    pub const NAMES: [(Self, &'static str); 8] = [
        (Self::Ack, "ACK"),
        (Self::SnapshotEof, "SNAPSHOT-EOF"),
        (Self::RequestPause, "REQUEST-PAUSE"),
        (Self::Probe, "PROBE"),
        (Self::Probed, "PROBED"),
        (Self::Paused, "PAUSED"),
        (Self::RequestFailover, "REQUEST-FAILOVER"),
        (Self::FailoverGranted, "FAILOVER-GRANTED"),
    ];

    /// The word with a name.
    #[must_use]
    pub fn of(name: &[u8]) -> Option<Self> {
        let found =
            Self::NAMES.iter().find(|(_, known)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(word, _)| *word)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(word, _)| *word == self).map_or("", |(_, name)| *name)
    }
}

/// What is still to be sent when the other side says something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Bytes that the kernel has not taken yet.
    pub bytes: u64,
    /// Something is under way that may write to the slots later, whoever is held: a MIGRATE of their keys.
    pub is_busy: bool,
}

/// What has happened to a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The link to the target stands.
    Connected,
    /// The target says yes, to AUTH or to ESTABLISH.
    Accepted,
    /// The target says no.
    Refused(&'a str),
    /// The other side says a word.
    Said(Word, Lag),
    /// The snapshot has begun: what is written from now on is sent behind it.
    SnapshotBegun,
    /// All of it is on its way.
    SnapshotSent,
    /// It could not be made.
    SnapshotFailed,
    /// The link was lost, or could not be made.
    Lost(&'a str),
    /// Slots were written to whose writers are held.
    Written,
    /// More waits to be sent than may.
    Overflow,
    /// The target could not do what the source has sent.
    NotDone(&'a str),
}

/// What the server is to do for moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Connect to the target of a move.
    Open {
        /// The move.
        name: Name,
        /// The address.
        ip: String,
        /// The port for clients.
        port: u16,
    },
    /// The source's link is of no use any more, nor is what was to be sent by it.
    Close(Name),
    /// The client by which the source's bytes come is one no more; it is closed.
    CloseClient(u64),
    /// Say a word to the target.
    Say(Name, Word),
    /// Say a word to the source.
    SayClient(u64, Word),
    /// Begin the snapshot of a move's slots.
    Snapshot(Name),
    /// The writers of these slots wait from now on, and nobody else; nobody, if there are none.
    Hold(Box<SlotSet>),
    /// The keys of these slots are not this shard's: nobody sees them.
    SetAside(Box<SlotSet>),
    /// The keys of these slots are this server's own.
    BringHome(Box<SlotSet>),
    /// Remove the keys of these slots, which lie aside.
    Empty(Box<SlotSet>),
}

/// A move of slots, under way or over.
#[derive(Debug, Clone)]
pub struct Move {
    /// Its name, which both sides know it by.
    pub name: Name,
    /// Whether the slots come to this server.
    pub is_import: bool,
    /// The node on the other side.
    pub other: Name,
    /// The slots, as they were asked for.
    pub ranges: Vec<(u16, u16)>,
    /// The slots.
    pub slots: SlotSet,
    /// How far it is.
    pub state: State,
    /// What is to be said of how it ended.
    pub message: String,
    /// When it began, in milliseconds of the cluster's clock.
    pub created_ms: i64,
    /// When it was last another state's.
    pub updated_ms: i64,
    /// When the other side was last heard.
    pub heard_ms: i64,
    said_ms: i64,
    /// On the target: the client by which it comes.
    client: u64,
    /// When the state that waits for the other side's word is given up.
    deadline_ms: i64,
    /// When the target was last asked how far it is, and how often it was.
    probed_ms: i64,
    probes: u32,
    /// After a yes that has no visible effect: when the target is asked what became of it, and by which link it was asked last.
    asks_at_ms: i64,
    asked_by: Option<LinkId>,
    /// When an operator has cancelled it, who would not wait for the answer for ever.
    cancelled_ms: Option<i64>,
    /// On the target: the source's epoch when it was asked for the slots. On the source: its own when it said yes.
    epoch: u64,
    /// The log says that writers wait for a target that is not heard.
    is_told: bool,
}

impl Move {
    fn new(name: Name, other: Name, ranges: Vec<(u16, u16)>, state: State, now_ms: i64) -> Self {
        let mut slots = SlotSet::default();
        for slot in ranges.iter().flat_map(|(first, last)| *first..=*last) {
            slots.insert(slot);
        }
        Self {
            name,
            is_import: false,
            other,
            ranges,
            slots,
            state,
            message: String::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
            heard_ms: now_ms,
            said_ms: now_ms,
            client: 0,
            deadline_ms: 0,
            probed_ms: 0,
            probes: 0,
            asks_at_ms: 0,
            asked_by: None,
            cancelled_ms: None,
            epoch: 0,
            is_told: false,
        }
    }

    /// Its slots as `0-9 20-29`.
    #[must_use]
    pub fn ranges_text(&self) -> String {
        let mut text = String::new();
        for (first, last) in &self.ranges {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{first}-{last}", if text.is_empty() { "" } else { " " });
        }
        text
    }

    /// What the log calls it.
    fn described(&self) -> String {
        let (way, side) = if self.is_import { ("import", "source") } else { ("export", "target") };
        let (name, other, slots) = (self.name, self.other, self.ranges_text());
        format!("{{name: {name}, operation: {way}, {side}_node_id: {other}, slots: {slots}}}")
    }
}

/// All moves that are known, the newest first.
#[derive(Debug, Default)]
pub(super) struct Moves {
    all: Vec<Move>,
    /// Slots whose writers wait.
    held: SlotSet,
}

impl Moves {
    /// Whether any is under way.
    pub(super) fn is_active(&self) -> bool {
        self.all.iter().any(|it| !it.state.is_over())
    }

    fn active(&self, is_import: bool) -> impl Iterator<Item = &Move> {
        self.all.iter().filter(move |it| !it.state.is_over() && it.is_import == is_import)
    }
}

impl Cluster {
    /// All moves that are known, the newest first.
    #[must_use]
    pub fn moves(&self) -> &[Move] {
        &self.moves.all
    }

    /// The move of slots that comes by a client, while it is under way.
    #[must_use]
    pub fn import_of(&self, client: u64) -> Option<&Move> {
        self.moves.active(true).find(|it| it.client == client)
    }

    /// The slots of a move from here, if what is written to them is to be sent.
    #[must_use]
    pub fn exported(&self, name: &Name) -> Option<&Move> {
        self.moves.active(false).find(|it| it.name == *name)
    }

    /// Whether slots of this server are on their way as one step, and whether others come so.
    #[must_use]
    pub fn moves_under_way(&self) -> (bool, bool) {
        (self.moves.active(false).next().is_some(), self.moves.active(true).next().is_some())
    }

    /// Something has happened to a move.
    pub fn hear_move(&mut self, name: &Name, heard: Heard<'_>, turn: &mut Turn<'_>) {
        let known = |it: &Move| it.name == *name && !it.state.is_over();
        let Some(place) = self.moves.all.iter().position(known) else { return };
        let mut it = self.moves.all.remove(place);
        if matches!(heard, Heard::Said(..) | Heard::Accepted) {
            it.heard_ms = turn.now_ms;
        }
        if it.is_import {
            self.target_hears(&mut it, heard, turn);
        } else {
            self.source_hears(&mut it, heard, turn);
        }
        self.moves.all.insert(place, it);
        self.hold_writers(turn);
    }

    /// Has each move that is under way looked at, with nothing else changing the list meanwhile.
    fn each_move(
        &mut self,
        turn: &mut Turn<'_>,
        look: impl Fn(&mut Self, &mut Move, &mut Turn<'_>),
    ) {
        for place in 0..self.moves.all.len() {
            if self.moves.all[place].state.is_over() {
                continue;
            }
            let mut it = self.moves.all.remove(place);
            look(self, &mut it, turn);
            self.moves.all.insert(place, it);
        }
        self.hold_writers(turn);
    }

    /// Who owns slots may have changed: moves that this ends are over.
    pub(super) fn look_at_moves(&mut self, turn: &mut Turn<'_>) {
        self.todo.moves = false;
        self.each_move(turn, |cluster, it, turn| {
            if it.is_import {
                cluster.check_target(it, turn);
            } else {
                cluster.check_source(it, turn);
            }
        });
    }

    /// The regular look: time that is over, signs of life, and the log of moves that are over.
    pub(super) fn tick_moves(&mut self, turn: &mut Turn<'_>) {
        if self.moves.all.is_empty() {
            return;
        }
        self.each_move(turn, |cluster, it, turn| {
            let silent_ms = turn.now_ms - it.heard_ms;
            if it.state != State::FailoverGranted && silent_ms > cluster.options.replica_silence_ms
            {
                let why = "Timed out after too long with no interaction";
                return cluster.end_move(it, State::Failed, why, turn);
            }
            let says = !it.state.is_shaking_hands() && it.state != State::WaitingForAck;
            if says && turn.now_ms - it.said_ms >= ACK_EVERY_MS {
                it.said_ms = turn.now_ms;
                it.say(Word::Ack, turn);
            }
            if it.is_import {
                cluster.tick_target(it, turn);
            } else {
                cluster.tick_source(it, turn);
            }
        });
        let most = self.options.moves_logged;
        while self.moves.all.len() > most {
            let Some(oldest) = self.moves.all.iter().rposition(|it| it.state.is_over()) else {
                return;
            };
            self.moves.all.remove(oldest);
        }
    }

    /// All data was removed: what is under way is given up, but for what may have been taken already.
    pub fn moves_flushed(&mut self, turn: &mut Turn<'_>) {
        self.give_up_moves("Data was flushed", turn);
    }

    /// Gives up all that is under way, but for what may have been taken already.
    pub(super) fn give_up_moves(&mut self, why: &str, turn: &mut Turn<'_>) {
        self.each_move(turn, |cluster, it, turn| {
            if it.state != State::FailoverGranted {
                cluster.end_move(it, State::Failed, why, turn);
            }
        });
    }

    /// CLUSTER CANCELSLOTMIGRATIONS
    ///
    /// # Errors
    /// No slot is on its way from here.
    pub fn cancel_moves(&mut self, turn: &mut Turn<'_>) -> Result<(), super::Refusal> {
        if self.moves.active(false).next().is_none() {
            return Err("No migrations ongoing".into());
        }
        self.each_move(turn, |cluster, it, turn| {
            if it.is_import {
                return;
            }
            // The slots may have been taken: the target is asked first.
            if it.state == State::FailoverGranted {
                it.asks_at_ms = turn.now_ms;
                it.cancelled_ms.get_or_insert(turn.now_ms);
                return cluster.take_word_back(it, false, turn);
            }
            cluster.end_move(it, State::Cancelled, "", turn);
        });
        Ok(())
    }

    /// Ends a move.
    fn end_move(&mut self, it: &mut Move, state: State, message: &str, turn: &mut Turn<'_>) {
        let line = format!(
            "Slot migration {} finished. State: {}, Message: {}",
            it.described(),
            state.name(),
            if message.is_empty() { "none" } else { message }
        );
        if state == State::Failed {
            turn.warn(line)
        } else {
            turn.notice(line)
        }
        message.clone_into(&mut it.message);
        it.enter(state, turn);
        if !it.is_import {
            turn.act(Action::Move(Act::Close(it.name)));
            return;
        }
        turn.act(Action::Move(Act::CloseClient(it.client)));
        // A replica's keys are its primary's to remove.
        if state != State::Success && self.nodes[self.myself].is_primary() {
            turn.act(Action::Move(Act::Empty(Box::new(it.slots.clone()))));
        }
    }

    /// Has the writers of exactly those slots wait that are being handed over.
    fn hold_writers(&mut self, turn: &mut Turn<'_>) {
        let mut held = SlotSet::default();
        for it in self.moves.all.iter().filter(|it| it.state.holds()) {
            held.add(&it.slots);
        }
        if held != self.moves.held {
            self.moves.held = held.clone();
            turn.act(Action::Move(Act::Hold(Box::new(held))));
        }
    }

    /// The node that owns all of a move's slots, if one does.
    fn owner_of_all(&self, it: &Move) -> Option<Handle> {
        let mut owners = it.slots.iter().map(|slot| self.owner_handle(slot));
        let first = owners.next()??;
        owners.all(|owner| owner == Some(first)).then_some(first)
    }
}

impl Move {
    fn enter(&mut self, state: State, turn: &mut Turn<'_>) {
        turn.notice(format!(
            "Slot migration {} state transition: {} -> {}",
            self.described(),
            self.state.name(),
            state.name()
        ));
        self.state = state;
        self.updated_ms = turn.now_ms;
    }

    fn say(&self, word: Word, turn: &mut Turn<'_>) {
        turn.act(Action::Move(match self.is_import {
            true => Act::SayClient(self.client, word),
            false => Act::Say(self.name, word),
        }));
    }
}
