//! Streams as RDB bytes, both ways.

use super::encode::{self, Draft, put_length};
use super::error::{Fault, corrupt};
use super::foreign::told;
use super::format::kind;
use super::input::{Input, Slice};
use super::value::{Reader, Rooms, array, number};
use crate::types::stream::{
    Consumer, Damage, Facts, Group, Idempotence, Memory, Place, Rebuild, StreamId,
};
use crate::types::{Limits, Stream};

/// Where the writing of a stream stands.
#[derive(Debug, Clone, Default)]
enum Stage {
    #[default]
    Count,
    /// The nodes, from this one on.
    Nodes(Place),
    /// The group of this index.
    Group(usize),
    /// The pending entries of a group, from this one on.
    Pending(usize, StreamId),
    /// The consumers of a group, from this one on.
    Consumers(usize, usize),
    /// The pending entries of a consumer, from this one on.
    Owned(usize, usize, StreamId),
}

/// Writes a stream in slices. Between two of them it must not change.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamSlicer {
    stage: Stage,
    /// With what is known of producers, in the form of [`kind::STREAM_4`]; otherwise it is [`kind::STREAM_2`].
    is_newer: bool,
}

/// What an auxiliary field of a file is called that says what is known of the producers of the stream behind it. Servers that
/// know nothing of it pass over it, and the stream is one that they can read.
pub(super) const NAMES: &str = "redstart-stream-names";

fn put_id(draft: &mut Draft, id: StreamId) {
    draft.put_length(id.ms);
    draft.put_length(id.seq);
}

/// Appends what is known of producers, as it stands at the end of a stream in Redis 8.6.
fn put_names(out: &mut Vec<u8>, known: &Idempotence) {
    fn put_text(out: &mut Vec<u8>, text: &[u8]) {
        put_length(out, text.len() as u64);
        out.extend_from_slice(text);
    }
    let memory = known.memory();
    put_length(out, memory.seconds);
    put_length(out, memory.most);
    put_length(out, known.producer_count() as u64);
    let mut names = known.iter();
    for (producer, count) in known.producers() {
        put_text(out, producer);
        put_length(out, count as u64);
        for (_, name, id) in names.by_ref().take(count) {
            put_text(out, name);
            put_length(out, id.ms);
            put_length(out, id.seq);
        }
    }
    put_length(out, known.added);
    put_length(out, known.duplicates);
}

/// Says before a stream what is known of its producers.
pub(super) fn names_before(draft: &mut Draft, stream: &Stream) {
    if let Some(known) = stream.idempotence() {
        let mut names = Vec::new();
        put_names(&mut names, known);
        encode::aux(draft, NAMES, &names);
    }
}

/// Adds to a stream what such a field says of its producers.
pub(super) fn names_of_field(
    field: &[u8],
    limits: &Limits,
    stream: &mut Stream,
) -> Result<(), Fault> {
    let mut rooms = Rooms::default();
    let mut input = Slice { bytes: field };
    let mut reader = Reader { input: &mut input, rooms: &mut rooms, limits, checked: 0 };
    stream.set_idempotence(reader.names()?);
    Ok(())
}

impl StreamSlicer {
    /// Writes a stream with what is known of its producers.
    pub(super) fn with_names() -> Self {
        Self { is_newer: true, ..Self::default() }
    }

    /// Writes more, until the draft has about `most` bytes. Answers whether that was the end.
    pub(super) fn advance(&mut self, draft: &mut Draft, stream: &Stream, most: usize) -> bool {
        let is_newer = self.is_newer;
        loop {
            let group_at = |at: usize| stream.groups().get(at);
            self.stage = match self.stage {
                Stage::Count => {
                    draft.put_length(stream.nodes().len() as u64);
                    Stage::Nodes(Place::default())
                }
                Stage::Nodes(place) => match stream.nodes().at(place) {
                    Some((id, node)) => {
                        draft.put_plain(&id.to_bytes());
                        draft.put_plain(node.pack().as_bytes());
                        Stage::Nodes(stream.nodes().after(place))
                    }
                    None => {
                        put_facts(draft, stream.facts());
                        draft.put_length(stream.groups().len() as u64);
                        Stage::Group(0)
                    }
                },
                Stage::Group(at) => match group_at(at) {
                    Some(group) => {
                        draft.put_text(group.name());
                        put_id(draft, group.last_id);
                        draft.put_length(group.entries_read as u64);
                        draft.put_length(group.pending().len() as u64);
                        Stage::Pending(at, StreamId::MIN)
                    }
                    None => {
                        if let Some(known) = stream.idempotence().filter(|_| is_newer) {
                            put_names(&mut draft.bytes, known);
                        }
                        return true;
                    }
                },
                Stage::Pending(at, from) => match group_at(at) {
                    Some(group) => match put_pending(draft, group, from, most) {
                        Some(next) => Stage::Pending(at, next),
                        None => {
                            draft.put_length(consumers_of(group).count() as u64);
                            Stage::Consumers(at, 0)
                        }
                    },
                    None => return true,
                },
                Stage::Consumers(at, from) => match group_at(at) {
                    Some(group) => put_consumers(draft, group, (at, from, None), most, is_newer),
                    None => return true,
                },
                Stage::Owned(at, from, id) => match group_at(at) {
                    Some(group) => {
                        put_consumers(draft, group, (at, from, Some(id)), most, is_newer)
                    }
                    None => return true,
                },
            };
            if draft.bytes.len() >= most {
                return false;
            }
        }
    }
}

fn put_facts(draft: &mut Draft, facts: &Facts) {
    draft.put_length(facts.length);
    put_id(draft, facts.last_id);
    put_id(draft, facts.first_id);
    put_id(draft, facts.max_deleted_id);
    draft.put_length(facts.entries_added);
}

/// Writes pending entries of a group. Answers the one to go on with, if the draft is full.
fn put_pending(draft: &mut Draft, group: &Group, from: StreamId, most: usize) -> Option<StreamId> {
    for (id, held) in group.pending().iter_from(from) {
        if draft.bytes.len() >= most {
            return Some(id);
        }
        draft.bytes.extend_from_slice(&id.to_bytes());
        draft.bytes.extend_from_slice(&held.delivered_ms.to_le_bytes());
        draft.put_length(held.deliveries);
    }
    None
}

/// The consumers of a group as they are written: one without a name has what is nobody's too, and comes first. It stands there
/// though there is none where something is.
fn consumers_of(group: &Group) -> impl Iterator<Item = Option<&Consumer>> {
    let is_missing = group.released_count() > 0 && group.find(b"").is_none();
    is_missing.then_some(None).into_iter().chain(group.consumers().map(Some))
}

/// Writes consumers of the group of an index, from one on, and of that the pending entries from an id on if it is begun. Answers
/// where to go on.
fn put_consumers(
    draft: &mut Draft,
    group: &Group,
    (at, from, mut within): (usize, usize, Option<StreamId>),
    most: usize,
    is_newer: bool,
) -> Stage {
    for (index, consumer) in consumers_of(group).enumerate().skip(from) {
        let name = consumer.map_or(&b""[..], Consumer::name);
        let own = consumer.map_or(0, |consumer| consumer.pending().len());
        let released = if name.is_empty() { group.released_count() } else { 0 };
        let start = match within.take() {
            Some(start) => start,
            None if draft.bytes.len() >= most => return Stage::Consumers(at, index),
            None => {
                let seen_ms = consumer.map_or(0, |consumer| consumer.seen_ms);
                draft.put_text(name);
                draft.bytes.extend_from_slice(&seen_ms.to_le_bytes());
                if is_newer {
                    // When it did something last, which is not kept apart.
                    draft.bytes.extend_from_slice(&seen_ms.to_le_bytes());
                }
                draft.put_length((own + released) as u64);
                StreamId::MIN
            }
        };
        let full = if released == 0 {
            let own = consumer.into_iter().flat_map(|consumer| consumer.pending().iter_from(start));
            put_ids(draft, own.map(|(id, ())| id), most)
        } else {
            let all = group.pending().iter_from(start);
            let its = all.filter(|(_, held)| group.owner_name(held).is_empty());
            put_ids(draft, its.map(|(id, _)| id), most)
        };
        if let Some(next) = full {
            return Stage::Owned(at, index, next);
        }
    }
    Stage::Group(at + 1)
}

/// Writes ids. Answers the one to go on with, if the draft is full.
fn put_ids(
    draft: &mut Draft,
    ids: impl Iterator<Item = StreamId>,
    most: usize,
) -> Option<StreamId> {
    for id in ids {
        if draft.bytes.len() >= most {
            return Some(id);
        }
        draft.bytes.extend_from_slice(&id.to_bytes());
    }
    None
}

/// What redis-server says of damage, and where.
fn damage(damage: Damage) -> Fault {
    let (reason, line) = match damage {
        Damage::Node => ("Stream listpack integrity check failed.", 2362),
        Damage::NodeAgain => ("Listpack re-added with existing key", 2386),
        Damage::Length => ("Stream length inconsistent with rax entries", 2430),
        Damage::GroupAgain => ("Duplicated consumer group name", 2480),
        Damage::PendingAgain => ("Duplicated global PEL entry loading stream consumer group", 2516),
        Damage::ConsumerAgain => ("Duplicate stream consumer detected.", 2544),
        Damage::NotPending => ("Consumer entry not found in group global PEL", 2574),
        Damage::OwnedAgain => {
            ("Duplicated consumer PEL entry  loading a stream consumer group", 2585)
        }
        Damage::Unowned => ("Stream CG PEL entry without consumer", 2604),
    };
    corrupt(reason, line)
}

impl<I: Input> Reader<'_, I> {
    /// A stream of a type. It may be without entries.
    pub(super) fn stream(&mut self, kind: u8) -> Result<Stream, Fault> {
        let mut rebuild = Rebuild::default();
        for _ in 0..told(number(self.input), "Stream listpacks len loading failed.", 2327)? {
            self.stream_node(&mut rebuild)?;
        }
        let facts = told(self.facts(kind), "Stream object metadata loading failed.", 2424)?;
        rebuild.facts(facts).map_err(damage)?;
        let groups = told(number(self.input), "Stream cgroup count loading failed.", 2438)?;
        for _ in 0..groups {
            self.group(&mut rebuild, kind)?;
        }
        if matches!(kind, kind::STREAM_4 | kind::STREAM_5) {
            rebuild.idempotence(self.names()?);
        }
        Ok(rebuild.finish())
    }

    /// What is known of producers.
    fn names(&mut self) -> Result<Idempotence, Fault> {
        let measure = |value: u64, within: std::ops::RangeInclusive<i64>| {
            let fits = i64::try_from(value).is_ok_and(|value| within.contains(&value));
            if fits { Ok(value) } else { Err(corrupt("Stream IDMP configuration is invalid", 0)) }
        };
        let seconds = measure(number(self.input)?, Memory::SECONDS)?;
        let most = measure(number(self.input)?, Memory::MOST)?;
        let mut known = Idempotence::new(Memory { seconds, most });
        for _ in 0..number(self.input)? {
            let producer = self.text()?.to_vec();
            for _ in 0..number(self.input)? {
                let name = self.text()?.to_vec();
                known.note(&producer, &name, self.id()?);
            }
        }
        known.added = number(self.input)?;
        known.duplicates = number(self.input)?;
        Ok(known)
    }

    fn stream_node(&mut self, rebuild: &mut Rebuild) -> Result<(), Fault> {
        let id = self.text().map(<[u8; 16]>::try_from);
        let id = told(id, "Stream master ID loading failed: invalid encoding or I/O error.", 2338)?
            .map_err(|_| corrupt("Stream node key entry is not the size of a stream ID", 2343))?;
        let pack = told(self.listpack(), "Stream listpacks loading failed.", 2355)?;
        let pack = pack.ok_or_else(|| damage(Damage::Node))?;
        if pack.is_empty() {
            return Err(corrupt("Empty listpack inside stream", 2374));
        }
        rebuild.node(StreamId::from_bytes(id), pack).map_err(damage)
    }

    fn id(&mut self) -> Result<StreamId, Fault> {
        Ok(StreamId { ms: number(self.input)?, seq: number(self.input)? })
    }

    fn facts(&mut self, kind: u8) -> Result<Facts, Fault> {
        let length = number(self.input)?;
        let mut facts =
            Facts { length, last_id: self.id()?, entries_added: length, ..Facts::default() };
        if kind != kind::STREAM {
            facts.first_id = self.id()?;
            facts.max_deleted_id = self.id()?;
            facts.entries_added = number(self.input)?;
        }
        Ok(facts)
    }

    fn raw_id(&mut self, reason: &'static str, line: u16) -> Result<StreamId, Fault> {
        told(array(self.input), reason, line).map(StreamId::from_bytes)
    }

    fn group(&mut self, rebuild: &mut Rebuild, kind: u8) -> Result<(), Fault> {
        let name = self.text().map(<[u8]>::to_vec);
        let name = told(name, "Error reading the consumer group name from Stream", 2449)?;
        let last_id = told(self.id(), "Stream cgroup ID loading failed.", 2458)?;
        let entries_read = if kind == kind::STREAM {
            rebuild.added_up_to(last_id)
        } else {
            told(number(self.input), "Stream cgroup offset loading failed.", 2469)? as i64
        };
        rebuild.begin_group(Group::new(&name, last_id, entries_read)).map_err(damage)?;
        for _ in 0..told(number(self.input), "Stream PEL size loading failed.", 2495)? {
            let id = self.raw_id("Stream PEL ID loading failed.", 2502)?;
            let (reason, line) = ("Stream PEL NACK loading failed.", 2510);
            let at_ms = i64::from_le_bytes(told(array(self.input), reason, line)?);
            let count = told(number(self.input), reason, line)?;
            rebuild.pending(id, at_ms, count).map_err(damage)?;
        }
        for _ in 0..told(number(self.input), "Stream consumers num loading failed.", 2529)? {
            self.consumer(rebuild, kind)?;
        }
        if kind == kind::STREAM_5 {
            for _ in 0..number(self.input)? {
                let id = self.raw_id("Stream NACK zone entry loading failed.", 0)?;
                rebuild.released(id).map_err(damage)?;
            }
        }
        rebuild.end_group().map_err(damage)
    }

    fn consumer(&mut self, rebuild: &mut Rebuild, kind: u8) -> Result<(), Fault> {
        let name = self.text().map(<[u8]>::to_vec);
        let name = told(name, "Error reading the consumer name from Stream group.", 2535)?;
        let (reason, line) = ("Stream short read reading seen time.", 2550);
        let seen_ms = i64::from_le_bytes(told(array(self.input), reason, line)?);
        if !matches!(kind, kind::STREAM | kind::STREAM_2) {
            // When it did something last; 7.0.15 does not keep that apart.
            told(array::<8>(self.input), "Stream short read reading active time.", line)?;
        }
        rebuild.begin_consumer(&name, seen_ms).map_err(damage)?;
        for _ in 0..told(number(self.input), "Stream consumer PEL num loading failed.", 2559)? {
            let id = self.raw_id("Stream short read reading PEL streamID.", 2567)?;
            rebuild.owns(id).map_err(damage)?;
        }
        Ok(())
    }
}
