//! Slots that go to another node as one step, done: what is sent, who waits, and whose keys are seen.
//!
//! What is written to the slots of a move is taken from the feed, at the end of each turn, behind the snapshot that
//! [`Snapshot`](crate::persistence::snapshot::Snapshot) makes of these slots. Keys that lie aside are told of in the stream of
//! the replicas and in the log by a PING with a text that begins with [`MARK`]: to Redis it says nothing.

use bytes::Bytes;
use redstart_common::command::{self, Resolved, keys};
use redstart_common::resp::{Limits, RespWrite};
use redstart_common::slot::key_slot;

use super::replies::{self, Reply};
use super::state::Outgoing;
use crate::client::{Client, Flags};
use crate::cluster::moves::{Act, Heard, Lag, Word};
use crate::cluster::{Name, SlotSet};
use crate::engine::asks::Ask;
use crate::engine::feed::{Audience, Batch, Part};
use crate::engine::{Call, Core};
use crate::keyspace::Keyspace;
use crate::persistence::saver::{Output, Purpose, Sink};

/// What the text begins with by which the log and replicas learn of keys that lie aside.
pub const MARK: &[u8] = b"redstart-slots ";
/// Pieces of a snapshot that may wait to be sent.
const CHUNKS_MAX: usize = 4;
/// Keys of lost slots that are removed at once; more are, between the turns of the clients.
const REMOVED_AT_ONCE: usize = 1000;
/// Keys that are removed between two looks at the clock.
const REMOVED_BETWEEN: usize = 64;

/// Whether the keys of slots lie aside from now on, or no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Aside,
    Home,
}

impl Core {
    pub(super) fn act_for_move(
        &mut self,
        keyspace: &mut Keyspace,
        current: &mut Option<&mut Client>,
        act: Act,
    ) {
        match act {
            Act::Open { name, ip, port } => {
                let slots = self.cluster.as_ref().and_then(|it| it.exported(&name));
                let Some(slots) = slots.map(|it| it.slots.clone()) else { return };
                self.clustering.moving.outgoing.push(Outgoing::new(name, slots));
                self.asks.push(Ask::SlotLink { name, ip, port });
            }
            Act::Close(name) => self.close_move(keyspace, name),
            Act::CloseClient(id) => {
                let found = match current {
                    Some(client) if client.id == id => Some(&mut **client),
                    _ => self.clients.by_id(id),
                };
                if let Some(client) = found {
                    client.flags.clear(Flags::IMPORT);
                    client.close_asap();
                }
                self.clustering.moving.to_say.retain(|(client, _)| *client != id);
            }
            Act::Say(name, word) => self.say_to_target(&name, word),
            Act::SayClient(id, word) => self.clustering.moving.to_say.push((id, word)),
            Act::Snapshot(name) => self.clustering.moving.wanted.push(name),
            Act::Hold(slots) => self.hold_slots(keyspace, &slots),
            Act::SetAside(slots) => self.mark_slots(keyspace, Mark::Aside, &slots),
            Act::BringHome(slots) => self.mark_slots(keyspace, Mark::Home, &slots),
            Act::Empty(slots) => self.empty_slots(keyspace, &slots),
        }
    }

    fn say_to_target(&mut self, name: &Name, word: Word) {
        let announcement = match (word, &self.cluster) {
            (Word::Establish, Some(cluster)) => cluster.announcement(name),
            _ => Vec::new(),
        };
        let settings = &self.settings.replication;
        let Some(it) = self.clustering.moving.outgoing(name) else { return };
        match word {
            Word::Auth => {
                let user = Some(settings.masteruser.as_bytes()).filter(|user| !user.is_empty());
                it.pending.array_len(2 + usize::from(user.is_some()));
                it.pending.bulk(b"AUTH");
                user.into_iter().for_each(|user| it.pending.bulk(user));
                it.pending.bulk(settings.masterauth.as_bytes());
            }
            Word::Establish => {
                it.pending.array_len(3 + announcement.len());
                it.pending.bulk(b"CLUSTER");
                it.pending.bulk(b"SYNCSLOTS");
                it.pending.bulk(b"ESTABLISH");
                announcement.iter().for_each(|word| it.pending.bulk(word.as_bytes()));
            }
            word => {
                say(&mut it.pending, word);
                if word == Word::SnapshotEof {
                    // What was written meanwhile follows, and from now on goes out as it comes.
                    it.pending.extend(it.behind.take().unwrap_or_default());
                }
            }
        }
    }

    fn close_move(&mut self, keyspace: &mut Keyspace, name: Name) {
        let moving = &mut self.clustering.moving;
        moving.outgoing.retain(|it| it.name != name);
        moving.wanted.retain(|wanted| *wanted != name);
        if let Some((number, _)) = moving.snapshot.take_if(|(_, of)| *of == name) {
            self.give_up_purpose(keyspace, Purpose::Slots(number));
        }
        self.note_taps();
        self.asks.push(Ask::CloseSlotLink(name));
    }

    /// Whether anything is taken from the feed for moves.
    fn note_taps(&mut self) {
        let is_wanted = self.clustering.moving.outgoing.iter().any(|it| it.is_tapped);
        let rest = self.feed.audience().without(Audience::MOVES);
        self.feed.set_audience(if is_wanted { rest.or(Audience::MOVES) } else { rest });
    }

    fn hold_slots(&mut self, keyspace: &mut Keyspace, slots: &SlotSet) {
        self.clustering.moving.held.clone_from(slots);
        self.note_expiry(&keyspace.shared);
        if slots.is_empty() {
            self.clients.wake_paused();
        }
    }

    /// Whether nothing is to change by itself: clients pause, or slots are being handed over.
    #[must_use]
    pub fn stands_still(&self) -> bool {
        self.paused.is_some() || self.clustering.moving.holds()
    }

    /// Begins the snapshot of a move that waits for it, if no other save stands in the way.
    pub fn begin_wanted_slots(&mut self, keyspace: &mut Keyspace) {
        if self.save.is_some() || self.clustering.moving.wanted.is_empty() {
            return;
        }
        let name = self.clustering.moving.wanted.remove(0);
        // What was written before is in the snapshot.
        self.hand_over();
        let head = self.head_without_functions(keyspace, false);
        let moving = &mut self.clustering.moving;
        moving.snapshots += 1;
        let number = moving.snapshots;
        let Some(it) = moving.outgoing(&name) else { return };
        let slots = Box::new(it.slots.clone());
        let (sender, receiver) = tokio::sync::mpsc::channel(CHUNKS_MAX);
        let output =
            Output { purpose: Purpose::Slots(number), sink: Sink::CommandStream(sender), head };
        if self.begin_save_of(keyspace, vec![output], Some(slots)).is_err() {
            return self.tell_move(keyspace, &name, Heard::SnapshotFailed);
        }
        let moving = &mut self.clustering.moving;
        moving.snapshot = Some((number, name));
        if let Some(it) = moving.outgoing(&name) {
            (it.chunks, it.behind, it.is_tapped) = (Some(receiver), Some(Vec::new()), true);
        }
        self.note_taps();
        self.asks.push(Ask::SlotChunks(name));
        self.tell_move(keyspace, &name, Heard::SnapshotBegun);
    }

    /// The snapshot of a move is made, or has failed.
    pub fn slots_snapshot_ended(&mut self, keyspace: &mut Keyspace, number: u64, is_whole: bool) {
        let moving = &mut self.clustering.moving;
        let Some((_, name)) = moving.snapshot.take_if(|(of, _)| *of == number) else { return };
        if !is_whole {
            return self.tell_move(keyspace, &name, Heard::SnapshotFailed);
        }
        if let Some(it) = moving.outgoing(&name) {
            it.is_complete = true;
        }
        self.look_at_snapshot(keyspace, &name);
    }

    /// A piece of a move's snapshot goes to its link; nothing is the end of them.
    pub fn send_chunk(&mut self, keyspace: &mut Keyspace, name: &Name, chunk: Option<&Bytes>) {
        let Some(it) = self.clustering.moving.outgoing(name) else { return };
        match chunk {
            Some(chunk) => it.pending.extend_from_slice(chunk),
            None => {
                it.is_drained = true;
                self.look_at_snapshot(keyspace, name);
            }
        }
    }

    fn look_at_snapshot(&mut self, keyspace: &mut Keyspace, name: &Name) {
        let it = self.clustering.moving.outgoing(name);
        if it.is_some_and(|it| it.is_complete && it.is_drained) {
            self.tell_move(keyspace, name, Heard::SnapshotSent);
        }
    }

    /// Tells the cluster what has happened to a move.
    pub fn tell_move(&mut self, keyspace: &mut Keyspace, name: &Name, heard: Heard<'_>) {
        self.cluster_step(keyspace, None, |cluster, turn| cluster.hear_move(name, heard, turn));
    }

    /// Bytes have come from the target of a move.
    pub fn hear_target(&mut self, keyspace: &mut Keyspace, name: &Name, bytes: &[u8]) {
        let Some(it) = self.clustering.moving.outgoing(name) else { return };
        it.input.extend_from_slice(bytes);
        while let Some(it) = self.clustering.moving.outgoing(name)
            && let Some(reply) = replies::next(&mut it.input)
        {
            // What was written counts as not sent.
            self.hand_over();
            let is_busy = self.migrations.moving.iter().any(|moving| !moving.copy);
            let bytes = self.clustering.moving.waiting_bytes(name) as u64;
            match reply {
                Reply::Yes => self.tell_move(keyspace, name, Heard::Accepted),
                Reply::No(text) => self.tell_move(keyspace, name, Heard::Refused(&text)),
                Reply::Word(word) => {
                    self.tell_move(keyspace, name, Heard::Said(word, Lag { bytes, is_busy }));
                }
                Reply::Nonsense => self.tell_move(keyspace, name, Heard::Lost("nonsense")),
            }
        }
    }

    /// Takes what a turn has written to slots of moves. What was written where writers are held is told at the end of the turn.
    pub(crate) fn tap_moves(&mut self, batch: &Batch) {
        const LIMITS: Limits = Limits {
            proto_max_bulk_len: usize::MAX,
            multibulk_max: i32::MAX as usize,
            inline_max: 0,
            unauthenticated: false,
        };
        if !self.feed.audience().and(Audience::MOVES).is_nobody() {
            let moving = &mut self.clustering.moving;
            for part in batch.parts(Audience::MOVES) {
                let Part::Command { bytes, .. } = part else { continue };
                let Ok(Some(_)) = moving.scanner.scan(bytes, &LIMITS) else { continue };
                let args = moving.scanner.args(bytes);
                let Resolved::Command(id) = command::resolve(args.at(0), args.get(1)) else {
                    continue;
                };
                let Some(place) = keys::first(id.spec(), args) else { continue };
                let slot = key_slot(args.at(place));
                let fits = |it: &&mut Outgoing| it.is_tapped && it.slots.contains(slot);
                for it in moving.outgoing.iter_mut().filter(fits) {
                    it.behind.as_mut().unwrap_or(&mut it.pending).extend_from_slice(bytes);
                    it.is_written |= moving.held.contains(slot);
                }
            }
        }
    }

    /// The end of a turn: sources are told what was decided, and what went wrong with what leaves is told to the cluster.
    pub(super) fn end_turn_of_moves(&mut self, keyspace: &mut Keyspace) {
        self.tell_home();
        for (id, word) in std::mem::take(&mut self.clustering.moving.to_say) {
            if let Some(client) = self.clients.by_id(id) {
                let mut words = Vec::new();
                say(&mut words, word);
                client.reply.raw(&words);
                client.mark();
            }
        }
        if self.clustering.moving.outgoing.is_empty() {
            return;
        }
        let most = self.settings.client_output_buffer_limit.replica.hard_bytes;
        let (mut written, mut over) = (Vec::new(), Vec::new());
        for it in &mut self.clustering.moving.outgoing {
            if std::mem::take(&mut it.is_written) {
                written.push(it.name);
            }
            if most > 0 && it.waiting_bytes() > most {
                over.push(it.name);
            }
        }
        for name in written {
            self.tell_move(keyspace, &name, Heard::Written);
        }
        for name in over {
            self.tell_move(keyspace, &name, Heard::Overflow);
        }
        self.begin_wanted_slots(keyspace);
    }

    /// A client by which slots come is gone.
    pub fn source_gone(&mut self, keyspace: &mut Keyspace, client: u64) {
        let name = self.cluster.as_ref().and_then(|cluster| cluster.import_of(client));
        if let Some(name) = name.map(|it| it.name) {
            self.tell_move(keyspace, &name, Heard::Lost(""));
        }
    }

    /// A command of a source could not be done. The client is out of its place.
    pub fn import_failed(&mut self, keyspace: &mut Keyspace, client: &mut Client, text: &str) {
        let name = self.cluster.as_ref().and_then(|cluster| cluster.import_of(client.id));
        if let Some(name) = name.map(|it| it.name) {
            self.cluster_step(keyspace, Some(client), |cluster, turn| {
                cluster.hear_move(&name, Heard::NotDone(text), turn);
            });
        }
    }
}

/// The text by which the log and replicas learn of keys that lie aside from now on, or no more.
pub(crate) fn mark_text(word: &str, slots: &SlotSet) -> Vec<u8> {
    [MARK, word.as_bytes(), b" ", slots.text().as_bytes()].concat()
}

fn say(out: &mut Vec<u8>, word: Word) {
    out.array_len(3);
    out.bulk(b"CLUSTER");
    out.bulk(b"SYNCSLOTS");
    out.bulk(word.name().as_bytes());
}

impl Core {
    /// Has keys of slots lie aside or no more, here, in the log and on replicas.
    fn mark_slots(&mut self, keyspace: &mut Keyspace, mark: Mark, slots: &SlotSet) {
        if slots.is_empty() {
            return;
        }
        match mark {
            Mark::Aside => {
                self.tell_home();
                keyspace.dbs[0].set_aside(slots);
                self.feed.push(0, &[b"PING", &mark_text("aside", slots)]);
                self.feed.end_call();
            }
            // The log hears of it once nodes.conf says that the slots are this server's: a crash between the two finds keys that
            // lie aside, and whose they are in nodes.conf.
            Mark::Home => {
                keyspace.dbs[0].bring_home(slots);
                self.clustering.moving.home.add(slots);
            }
        }
    }

    /// The log and replicas hear of slots whose keys lie aside no more.
    fn tell_home(&mut self) {
        let home = std::mem::take(&mut self.clustering.moving.home);
        if !home.is_empty() {
            self.feed.push(0, &[b"PING", &mark_text("home", &home)]);
            self.feed.end_call();
        }
    }

    /// The log, or the primary, says that keys of slots lie aside or no more. `text` is what follows [`MARK`].
    pub fn hear_mark(keyspace: &mut Keyspace, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let Some((word, slots)) = text.split_once(' ') else { return };
        let Some(slots) = SlotSet::read(slots) else { return };
        match word {
            "aside" => keyspace.dbs[0].set_aside(&slots),
            "home" => keyspace.dbs[0].bring_home(&slots),
            _ => {}
        }
    }

    /// Has the keys of slots removed that lie aside: between the turns of the clients, but for those of slots that are this
    /// server's own by now.
    fn empty_slots(&mut self, keyspace: &mut Keyspace, slots: &SlotSet) {
        self.clustering.moving.emptying.add(slots);
        self.asks.push(Ask::GoOnEmptying);
        self.empty_what_is_mine(keyspace);
    }

    /// Slots have come back before their old keys were gone: they go at once.
    pub(super) fn empty_what_is_mine(&mut self, keyspace: &mut Keyspace) {
        let Some(cluster) = &self.cluster else { return };
        let emptying = &self.clustering.moving.emptying;
        let mine: Vec<u16> = emptying.iter().filter(|slot| cluster.is_mine(*slot)).collect();
        let mut home = SlotSet::default();
        for slot in mine {
            self.remove_keys(keyspace, slot, usize::MAX);
            self.clustering.moving.emptying.remove(slot);
            self.clustering.moving.emptied.remove(slot);
            home.insert(slot);
        }
        self.mark_slots(keyspace, Mark::Home, &home);
    }

    /// Whether a slot that is not this server's has keys, so that none may come on top of them.
    #[must_use]
    pub fn leaves_keys(&self, slot: u16) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| !cluster.is_mine(slot))
    }

    /// Goes on with the removal of keys of lost slots, for about as long as `budget`. Answers whether there is more to do.
    pub fn go_on_emptying(&mut self, keyspace: &mut Keyspace, budget: std::time::Duration) -> bool {
        if self.replication.is_replica() {
            // They are the primary's to remove.
            self.clustering.moving.emptying = SlotSet::default();
            self.clustering.moving.emptied = SlotSet::default();
            return false;
        }
        let start = std::time::Instant::now();
        while start.elapsed() < budget {
            let moving = &self.clustering.moving;
            let next = moving.emptying.iter().find(|slot| !moving.emptied.contains(*slot));
            let Some(slot) = next else {
                let done = std::mem::take(&mut self.clustering.moving.emptying);
                self.clustering.moving.emptied = SlotSet::default();
                self.mark_slots(keyspace, Mark::Home, &done);
                return false;
            };
            if self.remove_keys(keyspace, slot, REMOVED_BETWEEN) < REMOVED_BETWEEN {
                self.clustering.moving.emptied.insert(slot);
            }
        }
        true
    }

    /// The keys of a slot are another node's now. A few go at once, the others lie aside until they are removed.
    pub(super) fn lose_slot(&mut self, keyspace: &mut Keyspace, slot: u16) {
        let room = REMOVED_AT_ONCE.saturating_sub(self.clustering.moving.removed);
        if keyspace.dbs[0].slot_len(slot) <= room {
            self.clustering.moving.removed += self.remove_keys(keyspace, slot, usize::MAX);
        } else {
            self.clustering.moving.lost.insert(slot);
        }
    }

    /// The step of the cluster is over: what it has lost lies aside.
    pub(super) fn set_lost_aside(&mut self, keyspace: &mut Keyspace) {
        self.clustering.moving.removed = 0;
        let lost = std::mem::take(&mut self.clustering.moving.lost);
        if !lost.is_empty() {
            self.mark_slots(keyspace, Mark::Aside, &lost);
            self.empty_slots(keyspace, &lost);
        }
    }

    /// This server is a primary, by its start or by promotion: keys that lie aside and are not its own are removed.
    pub fn settle_aside(&mut self, keyspace: &mut Keyspace) {
        let Some(cluster) = &self.cluster else { return };
        let Some(aside) = keyspace.dbs[0].aside().cloned() else { return };
        if self.replication.is_replica() || cluster.myself().is_replica() {
            return;
        }
        let (mut mine, mut others) = (SlotSet::default(), SlotSet::default());
        for slot in aside.iter() {
            let set = if cluster.is_mine(slot) { &mut mine } else { &mut others };
            set.insert(slot);
        }
        // What is on its way here now is not left over.
        for it in cluster.moves().iter().filter(|it| it.is_import && !it.state.is_over()) {
            others = others.without(&it.slots);
        }
        self.mark_slots(keyspace, Mark::Home, &mine);
        if !others.is_empty() {
            redstart_common::log!(
                Notice,
                "Removing keys that a move of slots has left behind: {}",
                others.text()
            );
            self.empty_slots(keyspace, &others);
        }
    }

    /// Removes up to `most` keys of a slot that is not this server's any more. The log and the replicas hear of it; clients that
    /// listen for keys that go do not, for they are elsewhere. Answers how many were removed.
    fn remove_keys(&mut self, keyspace: &mut Keyspace, slot: u16, most: usize) -> usize {
        let mut keys: Vec<Box<[u8]>> = Vec::new();
        keyspace.dbs[0].keys_in_slot(slot, most, |key| keys.push(key.into()));
        if keys.is_empty() {
            return 0;
        }
        let mut nobody = self.clients.take_nobody();
        for key in &keys {
            keyspace.dbs[0].unlink(key);
            self.feed.push(0, &[b"DEL", key]);
            Call::aside(keyspace, self, &mut nobody).modified_in(0, key);
            self.feed.end_call();
        }
        self.clients.give_nobody(nobody);
        keys.len()
    }
}
