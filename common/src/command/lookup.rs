//! From a name on the wire to its row.
//!
//! All rows stand in one table, top-level commands first, then the sub-commands, those of one container side by
//! side; a [`CommandId`] is a place in it. Names are found through a table of 24-byte slots, made at compile time:
//! open addressing over a hash of the name's first and last eight bytes, which together with its length decide the
//! comparison too (only names above 16 bytes look at their middle). A lookup is a few loads from one or two cache
//! lines, in any case of letters, with nothing allocated or copied.

use super::spec::{CommandSpec, Flags, Group};
use super::{
    bitmap, cluster, connection, generic, geo, hash, hyperloglog, list, newer, pubsub, scripting,
    sentinel, server, set, sorted_set, stream, string, transactions,
};

/// The place of a row in the table: dense, so that arrays of handlers or counters can stand beside it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CommandId(u16);

impl CommandId {
    /// The id of a row that is not in the table yet.
    pub(super) const UNSET: Self = Self(u16::MAX);

    /// The place as an index, below [`count`].
    #[must_use]
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The id of an index, if there is such a row.
    #[must_use]
    pub const fn from_index(index: usize) -> Option<Self> {
        if index < COUNT { Some(Self(index as u16)) } else { None }
    }

    /// The row.
    #[must_use]
    #[inline]
    pub fn spec(self) -> &'static CommandSpec {
        &TABLE[self.index()]
    }
}

/// Which program asks: sentinels have a table of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// A server.
    Server = 1,
    /// `--sentinel`.
    Sentinel = 2,
    /// A proxy, which knows commands of other servers than ours.
    Proxy = 4,
}

impl CommandSpec {
    /// Whether the command came after Redis 7.0.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        let mut parts = self.since.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        version > (7, 0)
    }

    /// The arity that the command had in Redis 7.0.
    #[must_use]
    pub fn arity_of_original(&self) -> i16 {
        let widened = newer::WIDENED.iter().find(|(name, _)| *name == self.name);
        widened.map_or(self.arity, |(_, arity)| *arity)
    }

    /// True when the command exists in that mode.
    #[must_use]
    #[inline]
    pub const fn exists_in(&self, mode: Mode) -> bool {
        match mode {
            Mode::Proxy => !self.flags.contains(Flags::ONLY_SENTINEL),
            Mode::Server => !self.flags.contains(Flags::ONLY_SENTINEL) && !self.is_foreign,
            Mode::Sentinel => self.flags.contains(Flags::SENTINEL),
        }
    }

    /// The sub-commands, of every mode; empty for all but containers.
    #[must_use]
    pub fn subcommands(&self) -> &'static [CommandSpec] {
        if self.sub_count == 0 {
            return &[];
        }
        let first = self.first_sub.index();
        &TABLE[first..first + self.sub_count as usize]
    }
}

/// The groups, in the order in which their rows stand in the table.
const GROUPS: &[&[CommandSpec]] = &[
    string::COMMANDS,
    hash::COMMANDS,
    list::COMMANDS,
    set::COMMANDS,
    sorted_set::COMMANDS,
    stream::COMMANDS,
    bitmap::COMMANDS,
    hyperloglog::COMMANDS,
    geo::COMMANDS,
    generic::COMMANDS,
    connection::COMMANDS,
    pubsub::COMMANDS,
    transactions::COMMANDS,
    scripting::COMMANDS,
    server::COMMANDS,
    cluster::COMMANDS,
    sentinel::COMMANDS,
    newer::COMMANDS,
    newer::bloom::COMMANDS,
    newer::collections::COMMANDS,
    newer::command_log::COMMANDS,
    newer::hash::COMMANDS,
    newer::stream::COMMANDS,
    newer::string::COMMANDS,
    newer::foreign::COMMANDS,
];

/// Number of top-level rows, of every mode; their ids are `0..TOP_COUNT`.
pub const TOP_COUNT: usize = counts().0;

/// Number of all rows, of every mode.
pub const COUNT: usize = counts().0 + counts().1;

const fn counts() -> (usize, usize) {
    let (mut top, mut sub) = (0, 0);
    let mut group = 0;
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            top += 1;
            let spec = &GROUPS[group][row];
            sub += spec.declared.len() + newer_subs(spec.name).len();
            row += 1;
        }
        group += 1;
    }
    (top, sub)
}

/// The newer sub-commands of a container.
const fn newer_subs(container: &str) -> &'static [CommandSpec] {
    let mut at = 0;
    while at < newer::SUBCOMMANDS.len() {
        let (name, rows) = newer::SUBCOMMANDS[at];
        if is_same(name.as_bytes(), container.as_bytes()) {
            return rows;
        }
        at += 1;
    }
    &[]
}

const fn is_same(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([first, rest @ ..], [second, others @ ..]) = (one, other) {
        if *first != *second {
            return false;
        }
        (one, other) = (rest, others);
    }
    one.is_empty() && other.is_empty()
}

static TABLE: [CommandSpec; COUNT] = build_table();

const fn build_table() -> [CommandSpec; COUNT] {
    let mut table = [CommandSpec::of(Group::Generic); COUNT];
    let (mut top, mut sub) = (0, TOP_COUNT);
    let mut group = 0;
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            table[top] = GROUPS[group][row];
            table[top].id = CommandId(top as u16);
            table[top].first_sub = CommandId(sub as u16);
            let declared = table[top].declared;
            let newer = newer_subs(table[top].name);
            table[top].sub_count = (declared.len() + newer.len()) as u16;
            let mut i = 0;
            while i < declared.len() + newer.len() {
                table[sub] =
                    if i < declared.len() { declared[i] } else { newer[i - declared.len()] };
                table[sub].id = CommandId(sub as u16);
                table[sub].container = Some(CommandId(top as u16));
                sub += 1;
                i += 1;
            }
            top += 1;
            row += 1;
        }
        group += 1;
    }
    table
}

// === names as numbers ===

/// What a name is compared by: its first and last eight bytes in lower case (shorter names fill `head` alone), and
/// its length. That is all of a name of up to 16 bytes.
#[derive(Clone, Copy)]
struct Fingerprint {
    head: u64,
    tail: u64,
    len: u8,
}

/// Names longer than this are in no table.
const NAME_LEN_MAX: usize = 32;

const fn fingerprint(name: &[u8]) -> Option<Fingerprint> {
    let len = name.len();
    let (head, tail) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u32::from_le_bytes(*first) as u64 | (u32::from_le_bytes(*last) as u64) << 32, 0)
    } else if let [first, .., last] = name {
        // Two or three bytes: the middle one of two is the last.
        (*first as u64 | (name[len / 2] as u64) << 8 | (*last as u64) << 16, 0)
    } else if let [only] = name {
        (*only as u64, 0)
    } else {
        return None;
    };
    if len > NAME_LEN_MAX {
        return None;
    }
    Some(Fingerprint { head: lower(head), tail: lower(tail), len: len as u8 })
}

/// A..Z to a..z in each of eight bytes, all others as they are.
const fn lower(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = bytes & (0x7f * ONES);
    // The top bit of each byte: at least 'A', above 'Z'. Bytes above 127 are no letters.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let above_z = low + (0x80 - b'Z' as u64 - 1) * ONES;
    let upper = (from_a ^ above_z) & !bytes & (0x80 * ONES);
    bytes | (upper >> 2)
}

// === slots ===

/// What the container of a top-level name is called.
const NO_CONTAINER: u16 = u16::MAX;

#[derive(Clone, Copy)]
struct Slot {
    head: u64,
    tail: u64,
    container: u16,
    id: u16,
    /// 0 in an empty slot.
    len: u8,
    /// Bits of [`Mode`].
    modes: u8,
}

const SLOT_BITS: u32 = 11;
const SLOT_COUNT: usize = 1 << SLOT_BITS;
// At least half of the slots are empty, so a search for what is not there ends soon, and ends.
const _: () = assert!(COUNT * 2 < SLOT_COUNT);

static SLOTS: [Slot; SLOT_COUNT] = build_slots();

const fn build_slots() -> [Slot; SLOT_COUNT] {
    let mut slots = [Slot { head: 0, tail: 0, container: 0, id: 0, len: 0, modes: 0 }; SLOT_COUNT];
    let mut id = 0;
    while id < COUNT {
        let spec = &TABLE[id];
        let container = match spec.container {
            Some(container) => container.0,
            None => NO_CONTAINER,
        };
        let Some(key) = fingerprint(own_name(spec)) else { panic!("a name's length") };
        let mut modes = 0;
        if spec.exists_in(Mode::Server) {
            modes |= Mode::Server as u8;
        }
        if spec.exists_in(Mode::Sentinel) {
            modes |= Mode::Sentinel as u8;
        }
        if spec.exists_in(Mode::Proxy) {
            modes |= Mode::Proxy as u8;
        }
        let mut at = first_slot(key, container);
        while slots[at].len != 0 {
            at = (at + 1) % SLOT_COUNT;
        }
        let Fingerprint { head, tail, len } = key;
        slots[at] = Slot { head, tail, container, id: id as u16, len, modes };
        id += 1;
    }
    slots
}

/// The name after the `|`, as bytes; the whole of it for a top-level command.
const fn own_name(spec: &CommandSpec) -> &'static [u8] {
    let mut name = spec.name.as_bytes();
    if spec.container.is_some() {
        while let [byte, rest @ ..] = name {
            name = rest;
            if *byte == b'|' {
                break;
            }
        }
    }
    name
}

const fn first_slot(key: Fingerprint, container: u16) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (key.head ^ key.tail.rotate_left(27))
        .wrapping_add((container as u64) << 17 | key.len as u64);
    (mixed.wrapping_mul(ODD) >> (u64::BITS - SLOT_BITS)) as usize
}

#[inline]
const fn find(mode: Mode, container: u16, name: &[u8]) -> Option<CommandId> {
    let Some(key) = fingerprint(name) else { return None };
    let mut at = first_slot(key, container);
    loop {
        let slot = &SLOTS[at];
        if slot.head == key.head
            && slot.tail == key.tail
            && slot.len == key.len
            && slot.container == container
        {
            if key.len > 16 && !same_ignoring_case(own_name(&TABLE[slot.id as usize]), name) {
                return None;
            }
            return if slot.modes & mode as u8 != 0 { Some(CommandId(slot.id)) } else { None };
        }
        if slot.len == 0 {
            return None;
        }
        at = (at + 1) % SLOT_COUNT;
    }
}

/// Rare: only names above 16 bytes come here, and no two of them share both ends (tested below).
#[cold]
const fn same_ignoring_case(ours: &[u8], asked: &[u8]) -> bool {
    ours.eq_ignore_ascii_case(asked)
}

// === the doors ===

/// The id of a top-level command of a server, in any case of letters.
#[must_use]
#[inline]
pub fn lookup(name: &[u8]) -> Option<CommandId> {
    find(Mode::Server, NO_CONTAINER, name)
}

/// The id of a top-level command of that mode, in any case of letters.
#[must_use]
#[inline]
pub fn lookup_in(mode: Mode, name: &[u8]) -> Option<CommandId> {
    find(mode, NO_CONTAINER, name)
}

/// The id of a sub-command, by its own name.
#[must_use]
#[inline]
pub fn lookup_sub(mode: Mode, container: CommandId, name: &[u8]) -> Option<CommandId> {
    find(mode, container.0, name)
}

/// The id of a command by its full name, `get` or `config|get`, as `COMMAND INFO` and ACL rules write it.
#[must_use]
pub fn lookup_full_name(mode: Mode, name: &[u8]) -> Option<CommandId> {
    match memchr::memchr(b'|', name) {
        None => lookup_in(mode, name),
        Some(bar) => {
            let container = lookup_in(mode, &name[..bar])?;
            lookup_sub(mode, container, &name[bar + 1..])
        }
    }
}

/// What a request's first words lead to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// A command, a sub-command, or a container named alone (its arity refuses the call).
    Command(CommandId),
    /// There is no such command.
    UnknownCommand,
    /// There is such a container, but not the sub-command.
    UnknownSubcommand(CommandId),
}

/// The row that decides about a server's request, from its first two arguments.
#[must_use]
#[inline]
pub fn resolve(name: &[u8], second: Option<&[u8]>) -> Resolved {
    resolve_in(Mode::Server, name, second)
}

/// The row that decides about a request, from its first two arguments.
#[must_use]
#[inline]
pub fn resolve_in(mode: Mode, name: &[u8], second: Option<&[u8]>) -> Resolved {
    let Some(id) = lookup_in(mode, name) else { return Resolved::UnknownCommand };
    match second {
        Some(sub) if id.spec().is_container() => match lookup_sub(mode, id, sub) {
            Some(sub) => Resolved::Command(sub),
            None => Resolved::UnknownSubcommand(id),
        },
        _ => Resolved::Command(id),
    }
}

/// The id of a full name known to exist, for constants: a wrong name does not compile there.
///
/// # Panics
/// If no row has that name (lower case).
#[must_use]
pub const fn id_of(name: &str) -> CommandId {
    let mut id = 0;
    while id < COUNT {
        let ours = TABLE[id].name.as_bytes();
        // Lengths first: it keeps the compiler's evaluation short.
        if ours.len() == name.len() && ours.eq_ignore_ascii_case(name.as_bytes()) {
            return CommandId(id as u16);
        }
        id += 1;
    }
    panic!("no such command")
}

/// The row of an id.
#[must_use]
#[inline]
pub fn spec(id: CommandId) -> &'static CommandSpec {
    id.spec()
}

/// Number of rows: ids are `0..count()`.
#[must_use]
pub const fn count() -> usize {
    COUNT
}

/// All rows, sub-commands and both modes included, by id.
#[must_use]
pub fn all() -> &'static [CommandSpec] {
    &TABLE
}

/// The top-level commands of a mode, by id.
pub fn commands(mode: Mode) -> impl Iterator<Item = &'static CommandSpec> + Clone {
    TABLE[..TOP_COUNT].iter().filter(move |spec| spec.exists_in(mode))
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
