//! What operators and sources ask for, read: CLUSTER MIGRATESLOTS and CLUSTER SYNCSLOTS ESTABLISH.

use redstart_common::number::parse_i64;
use redstart_common::slot::SLOT_COUNT;

use super::{Act, Move, State, Word};
use crate::cluster::door::{Action, Turn};
use crate::cluster::node::{Handle, NAME_BYTES, Name};
use crate::cluster::{Cluster, Refusal};

type Ranges = Vec<(u16, u16)>;

/// Slots that are to go to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The slots.
    pub ranges: Ranges,
    /// The node.
    pub target: Name,
}

const SYNTAX: &str = "syntax error";

fn slot(word: &[u8]) -> Result<u16, Refusal> {
    parse_i64(word)
        .and_then(|slot| u16::try_from(slot).ok())
        .filter(|slot| *slot < SLOT_COUNT)
        .ok_or_else(|| "Invalid or out of range slot".into())
}

fn overlap(one: &Ranges, other: &Ranges) -> bool {
    one.iter().any(|a| other.iter().any(|b| a.0 <= b.1 && b.0 <= a.1))
}

fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

impl Cluster {
    /// Reads ranges of slots from the front of `words`, up to what is no number. All are one node's, which is answered with
    /// them.
    fn read_ranges(&self, words: &mut &[&[u8]]) -> Result<(Ranges, Handle), Refusal> {
        let mut ranges = Ranges::new();
        let mut owner = None;
        while let Some(word) = words.first().filter(|word| parse_i64(word).is_some()) {
            let first = slot(word)?;
            let Some(last) = words.get(1) else {
                return Err("No end slot for final slot range".into());
            };
            let last = slot(last)?;
            if first > last {
                return Err(Refusal(format!(
                    "Start slot number {first} is greater than end slot number {last}."
                )));
            }
            for slot in first..=last {
                let Some(of_slot) = self.owner_handle(slot) else {
                    return Err(Refusal(format!("Slot {slot} has no node served.")));
                };
                if *owner.get_or_insert(of_slot) != of_slot {
                    return Err("Requested slots span multiple shards".into());
                }
            }
            if let Some((start, end)) = ranges.iter().find(|it| first <= it.1 && it.0 <= last) {
                return Err(Refusal(format!(
                    "Slot range {first}-{last} overlaps with previous range {start}-{end}."
                )));
            }
            ranges.push((first, last));
            *words = &words[2..];
        }
        let owner = owner.ok_or(Refusal::from("No slot ranges specified"))?;
        Ok((ranges, owner))
    }

    /// Reads CLUSTER MIGRATESLOTS, without these two words.
    fn read_wishes(&self, mut words: &[&[u8]]) -> Result<Vec<Wanted>, Refusal> {
        let mut wanted: Vec<Wanted> = Vec::new();
        while let Some((word, rest)) = words.split_first() {
            if !word.eq_ignore_ascii_case(b"slotsrange") {
                return Err(SYNTAX.into());
            }
            words = rest;
            let (ranges, owner) = self.read_ranges(&mut words)?;
            if owner != self.myself {
                return Err("Slots are not served by this node.".into());
            }
            for slot in ranges.iter().flat_map(|(first, last)| *first..=*last) {
                if self.moves.active(false).any(|it| it.slots.contains(slot)) {
                    return Err(Refusal(format!("I am already migrating slot {slot}.")));
                }
            }
            if wanted.iter().any(|before| overlap(&before.ranges, &ranges)) {
                return Err("Slot ranges in migrations overlap".into());
            }
            let (true, Some(name)) =
                (words.first().is_some_and(|it| it.eq_ignore_ascii_case(b"node")), words.get(1))
            else {
                return Err(SYNTAX.into());
            };
            if name.len() != NAME_BYTES {
                return Err(Refusal(format!("Invalid node name: {}", shown(name))));
            }
            let Some(target) = self.find(name) else {
                return Err(Refusal(format!("Unknown node name: {}", shown(name))));
            };
            if target == self.myself {
                return Err("Target node can not be this node.".into());
            }
            let node = &self.nodes[target];
            if node.is_replica() {
                return Err("Target node is not a primary".into());
            }
            if !node.takes_slots() {
                return Err(Refusal(format!(
                    "Target node {} does not take slots as one step: it is no Redstart, or has not been \
                     heard yet",
                    node.name
                )));
            }
            wanted.push(Wanted { ranges, target: node.name });
            words = &words[2..];
        }
        Ok(wanted)
    }

    /// CLUSTER MIGRATESLOTS, without these two words.
    ///
    /// # Errors
    /// It makes no sense, or cannot be done now; nothing is begun then.
    pub fn move_slots(&mut self, words: &[&[u8]], turn: &mut Turn<'_>) -> Result<(), Refusal> {
        if !self.nodes[self.myself].is_primary() {
            return Err("Slot migration can only be used on primary nodes.".into());
        }
        if !self.importing.is_empty() {
            return Err("Slots are being manually imported".into());
        }
        if !self.migrating.is_empty() {
            return Err("Slots are being manually migrated".into());
        }
        for Wanted { ranges, target } in self.read_wishes(words)? {
            let name = Name::random(turn.random);
            let it = Move::new(name, target, ranges, State::Connecting, turn.now_ms);
            turn.notice(format!(
                "Slot migration initiated through CLUSTER MIGRATESLOTS command: {}",
                it.described()
            ));
            self.moves.all.insert(0, it);
            if let Some(node) = self.node(&target) {
                let (ip, port) = (node.ip.to_string(), node.port);
                turn.act(Action::Move(Act::Open { name, ip, port }));
            }
        }
        Ok(())
    }

    /// CLUSTER SYNCSLOTS ESTABLISH, without these words: a source wants to send slots by this client. `leftover` says whether
    /// there are keys in a slot already.
    ///
    /// # Errors
    /// The slots cannot come; the source shows the text to its operator.
    pub fn establish_move(
        &mut self,
        client: u64,
        words: &[&[u8]],
        leftover: impl Fn(u16) -> bool,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        if !self.nodes[self.myself].is_primary() {
            return Err("Target node is not a primary".into());
        }
        if !self.importing.is_empty() || !self.migrating.is_empty() {
            return Err("A slot on the target node is being manually imported or migrated".into());
        }
        if self.moves.active(true).any(|it| it.client == client) {
            return Err("Slot migration client is already a slot migration job".into());
        }
        let (mut source, mut name, mut slots) = (None, None, None);
        let mut rest = words;
        while let Some((word, after)) = rest.split_first() {
            rest = after;
            if word.eq_ignore_ascii_case(b"slotsrange") && slots.is_none() {
                slots = Some(self.read_ranges(&mut rest)?);
                continue;
            }
            let value = after.first().filter(|it| it.len() == NAME_BYTES);
            let value = *value.ok_or(Refusal::from(SYNTAX))?;
            if word.eq_ignore_ascii_case(b"source") && source.is_none() {
                let Some(node) = self.find(value) else {
                    return Err("Target node does not know the source node".into());
                };
                source = Some(node);
            } else if word.eq_ignore_ascii_case(b"name") && name.is_none() {
                name = Some(Name::parse(value).ok_or(Refusal::from(SYNTAX))?);
            } else {
                return Err(SYNTAX.into());
            }
            rest = &after[1..];
        }
        let (Some(source), Some(name), Some((ranges, owner))) = (source, name, slots) else {
            return Err(SYNTAX.into());
        };
        if source == self.myself {
            return Err("Source node is target node itself".into());
        }
        if owner != source {
            return Err("Target node does not agree about current slot ownership".into());
        }
        let mut it =
            Move::new(name, self.nodes[source].name, ranges, State::WaitingForAck, turn.now_ms);
        if self.moves.active(true).any(|other| !other.slots.is_apart_from(&it.slots)) {
            return Err(
                "Slot is already being imported on the target by a different migration".into()
            );
        }
        if let Some(slot) = it.slots.iter().find(|slot| leftover(*slot)) {
            return Err(Refusal(format!("Target node still has keys of slot {slot}")));
        }
        (it.is_import, it.client) = (true, client);
        turn.notice(format!("New slot import job created: {}.", it.described()));
        turn.act(Action::Move(Act::SetAside(Box::new(it.slots.clone()))));
        self.moves.all.insert(0, it);
        Ok(())
    }

    /// The words behind CLUSTER SYNCSLOTS ESTABLISH that announce a move from here.
    #[must_use]
    pub fn announcement(&self, name: &Name) -> Vec<String> {
        let Some(it) = self.exported(name) else { return Vec::new() };
        let mut words = vec!["SOURCE".to_owned(), self.nodes[self.myself].name.to_string()];
        words.extend(["NAME".to_owned(), it.name.to_string(), "SLOTSRANGE".to_owned()]);
        for (first, last) in &it.ranges {
            words.extend([first.to_string(), last.to_string()]);
        }
        words
    }

    /// A word that came by a client: [`Word::of`] has read it.
    pub fn hear_source(&mut self, client: u64, word: Word, turn: &mut Turn<'_>) -> bool {
        let Some(name) = self.import_of(client).map(|it| it.name) else { return false };
        self.hear_move(&name, super::Heard::Said(word, super::Lag::default()), turn);
        true
    }
}
