//! Which of a call's arguments are keys (and which are channels).
//!
//! Redis has two answers and so have we. [`positions`] is the one of cluster routing and client tracking: where the
//! keys are, shard channels included, as an arithmetic progression and at most one key beside it; it costs a few
//! instructions for most commands and allocates nothing. [`with_flags`] is the one of ACL and `COMMAND GETKEYS`:
//! the key specs are followed, each key comes with what is done to it, and where the specs do not suffice the
//! command's own extractor decides.
//!
//! Both expect calls whose number of arguments the row accepts. Others, and calls whose options make no sense, get
//! some keys or none, as in Redis; the command itself will refuse them.

use super::spec::{BeginSearch, Channels, CommandSpec, Extractor, FindKeys, KeyFlags, KeySpec};
use crate::number;
use crate::resp::Args;
use std::ops::Range;

/// A key among the arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyRef {
    /// Its place; the command's name is 0.
    pub position: u32,
    /// What the command does with it; empty where Redis does not tell.
    pub flags: KeyFlags,
}

/// The places of a call's keys, in Redis's order. Made by [`positions`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Positions {
    next: usize,
    step: usize,
    left: usize,
    /// A key outside of the progression (a destination); it comes last. 0 if there is none.
    extra: usize,
}

impl Positions {
    const NONE: Self = Self { next: 0, step: 1, left: 0, extra: 0 };

    #[inline]
    const fn progression(next: usize, step: usize, left: usize) -> Self {
        Self { next, step, left, extra: 0 }
    }
}

impl Iterator for Positions {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left > 0 {
            let position = self.next;
            self.next += self.step;
            self.left -= 1;
            return Some(position);
        }
        match std::mem::take(&mut self.extra) {
            0 => None,
            position => Some(position),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.left + usize::from(self.extra != 0);
        (len, Some(len))
    }
}

impl ExactSizeIterator for Positions {}

/// Where the keys of a call are, for routing and tracking; shard channels count as keys.
#[must_use]
#[inline]
pub fn positions(spec: &CommandSpec, args: Args<'_>) -> Positions {
    match spec.keys.extractor {
        Extractor::None => legacy_range(spec, args.len()),
        // The commonest of all, so not behind a call.
        Extractor::Set | Extractor::BitField | Extractor::SortRo => Positions::progression(1, 1, 1),
        extractor => by_extractor(extractor, args),
    }
}

/// The first key of a call: all that most requests need for routing.
#[must_use]
#[inline]
pub fn first(spec: &CommandSpec, args: Args<'_>) -> Option<usize> {
    positions(spec, args).next()
}

#[inline]
fn legacy_range(spec: &CommandSpec, count: usize) -> Positions {
    let keys = &spec.keys;
    if keys.first == 0 {
        return Positions::NONE;
    }
    let (first, step) = (keys.first as usize, keys.step as usize);
    if keys.first == keys.last && first < count {
        return Positions::progression(first, 1, 1);
    }
    // A negative end counts from the end; one before the first key leaves none.
    let last = if keys.last >= 0 {
        keys.last as usize
    } else {
        count.wrapping_add_signed(keys.last.into())
    };
    if last < first || last > count {
        return Positions::NONE;
    }
    // Most steps are 1, and a division costs as much as all the rest.
    let left = if step == 1 { last - first } else { (last - first) / step } + 1;
    // All or nothing, as in Redis, where a fixed range does not fit the call.
    if first + (left - 1) * step >= count {
        return Positions::NONE;
    }
    Positions::progression(first, step, left)
}

fn by_extractor(extractor: Extractor, args: Args<'_>) -> Positions {
    let count = args.len();
    match extractor {
        Extractor::None => Positions::NONE,
        Extractor::Set | Extractor::BitField | Extractor::SortRo => Positions::progression(1, 1, 1),
        Extractor::Counted { count_at, store } => {
            let count_at = usize::from(count_at);
            let first = count_at + 1;
            match usize::try_from(atoi(args.get(count_at).unwrap_or_default())) {
                Ok(left) if left >= 1 && first + left <= count => Positions {
                    extra: usize::from(store),
                    ..Positions::progression(first, 1, left)
                },
                _ => Positions::NONE,
            }
        }
        Extractor::CountedPairs { count_at } => {
            let count_at = usize::from(count_at);
            let first = count_at + 1;
            match usize::try_from(atoi(args.get(count_at).unwrap_or_default())) {
                Ok(left) if left >= 1 && left <= (count - first.min(count)) / 2 => {
                    Positions::progression(first, 2, left)
                }
                _ => Positions::NONE,
            }
        }
        Extractor::Sort => Positions { extra: sort_store(args), ..Positions::progression(1, 1, 1) },
        Extractor::Migrate => migrate(args),
        Extractor::GeoRadius => {
            let (mut store, mut i) = (0, 5);
            while i + 1 < count {
                if is_word(args.at(i), "store") || is_word(args.at(i), "storedist") {
                    store = i + 1;
                    i += 1;
                }
                i += 1;
            }
            Positions { extra: store, ..Positions::progression(1, 1, 1) }
        }
        Extractor::XRead => xread(args),
    }
}

/// The place of SORT's last STORE key, 0 if there is none.
fn sort_store(args: Args<'_>) -> usize {
    let (mut store, mut i) = (0, 2);
    while i < args.len() {
        let arg = args.at(i);
        if is_word(arg, "limit") {
            i += 2;
        } else if is_word(arg, "get") || is_word(arg, "by") {
            i += 1;
        } else if is_word(arg, "store") && i + 1 < args.len() {
            // What follows is looked at as an option too: so does SORT's own finder in Redis.
            store = i + 1;
        }
        i += 1;
    }
    store
}

fn migrate(args: Args<'_>) -> Positions {
    let count = args.len();
    let mut i = 6;
    while i < count {
        let arg = args.at(i);
        if is_word(arg, "keys") {
            // A key and KEYS together are an error that MIGRATE itself tells.
            let many = args.at(3).is_empty();
            return if many {
                Positions::progression(i + 1, 1, count - i - 1)
            } else {
                Positions::NONE
            };
        }
        if is_word(arg, "auth") {
            i += 1;
        } else if is_word(arg, "auth2") {
            i += 2;
        }
        i += 1;
    }
    Positions::progression(3, 1, 1)
}

fn xread(args: Args<'_>) -> Positions {
    let mut i = 1;
    while let Some(arg) = args.get(i) {
        if is_word(arg, "streams") {
            // As many ids as keys.
            let rest = args.len() - i - 1;
            return if rest.is_multiple_of(2) {
                Positions::progression(i + 1, 1, rest / 2)
            } else {
                Positions::NONE
            };
        }
        let takes_a_number = ["block", "count", "claim", "maxcount", "maxsize"];
        i += if takes_a_number.iter().any(|option| is_word(arg, option)) {
            2
        } else if is_word(arg, "group") {
            3
        } else if is_word(arg, "noack") {
            1
        } else {
            break;
        };
    }
    Positions::NONE
}

/// The keys of a call, each with what is done to it, into `out` (which is emptied first and may be reused).
pub fn with_flags(spec: &CommandSpec, args: Args<'_>, out: &mut Vec<KeyRef>) {
    out.clear();
    let keys = &spec.keys;
    if keys.has_real
        && !keys.any_flags.contains(KeyFlags::VARIABLE_FLAGS)
        && by_specs(keys.specs, args, out).is_some()
    {
        return;
    }
    // The specs failed, or do not suffice.
    out.clear();
    if keys.extractor == Extractor::None {
        return;
    }
    let (first_flags, extra_flags) = extractor_flags(keys.extractor, args);
    let mut places = by_extractor(keys.extractor, args);
    out.reserve(places.len());
    let extra = std::mem::take(&mut places.extra);
    out.extend(places.map(|position| KeyRef { position: position as u32, flags: first_flags }));
    if extra != 0 {
        out.push(KeyRef { position: extra as u32, flags: extra_flags });
    }
}

/// What an extractor knows about its keys, and about the one beside them. Those that stand in for complete specs
/// know nothing.
fn extractor_flags(extractor: Extractor, args: Args<'_>) -> (KeyFlags, KeyFlags) {
    const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
    const OVERWRITE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);
    const CHANGE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
    const MOVE_AWAY: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
    match extractor {
        Extractor::None
        | Extractor::Counted { .. }
        | Extractor::CountedPairs { .. }
        | Extractor::GeoRadius
        | Extractor::XRead => (KeyFlags::NONE, KeyFlags::NONE),
        Extractor::Sort | Extractor::SortRo => (READ, OVERWRITE),
        Extractor::Migrate => (MOVE_AWAY, KeyFlags::NONE),
        Extractor::Set => {
            let get = args.iter().skip(3).any(|arg| is_word(arg, "get"));
            (if get { CHANGE } else { OVERWRITE }, KeyFlags::NONE)
        }
        Extractor::BitField => {
            (if bitfield_only_reads(args) { READ } else { CHANGE }, KeyFlags::NONE)
        }
    }
}

fn bitfield_only_reads(args: Args<'_>) -> bool {
    let mut i = 2;
    while i < args.len() {
        let (arg, after) = (args.at(i), args.len() - i - 1);
        if is_word(arg, "get") && after >= 2 {
            i += 3;
        } else if is_word(arg, "overflow") && after >= 1 {
            i += 2;
        } else {
            // SET, INCRBY, or nonsense, of which the worst is assumed.
            return false;
        }
    }
    true
}

/// Follows all specs; nothing if one of them does not fit the call or admits to be incomplete.
fn by_specs(specs: &[KeySpec], args: Args<'_>, out: &mut Vec<KeyRef>) -> Option<()> {
    for spec in specs {
        if spec.flags.contains(KeyFlags::NOT_KEY) {
            continue;
        }
        let begin = match spec.begin {
            BeginSearch::Index(at) => at as usize,
            BeginSearch::Keyword { keyword, start_from } => {
                match after_keyword(args, keyword, start_from) {
                    Some(at) => at,
                    None => continue,
                }
            }
            BeginSearch::Unknown => return None,
        };
        let (first, last, step) = range(spec.find, begin, args)?;
        // An end before the beginning or outside of the call is a syntax error.
        let (first, last) = (usize::try_from(first).ok()?, usize::try_from(last).ok()?);
        if last < first || last >= args.len() {
            return None;
        }
        let places = (first..=last).step_by(step);
        out.extend(places.map(|position| KeyRef { position: position as u32, flags: spec.flags }));
        if spec.flags.contains(KeyFlags::INCOMPLETE) {
            return None;
        }
    }
    Some(())
}

/// The place after a keyword. Forwards the last argument is not looked at (nothing could follow it), backwards the
/// first is not.
fn after_keyword(args: Args<'_>, keyword: &str, start_from: i16) -> Option<usize> {
    let count = args.len();
    if start_from > 0 {
        let start = start_from as usize;
        (start..count.saturating_sub(1)).find(|&at| is_word(args.at(at), keyword)).map(|at| at + 1)
    } else {
        let start = count.checked_sub(usize::from(start_from.unsigned_abs()))?;
        (2..=start)
            .rev()
            .find(|&at| args.get(at).is_some_and(|arg| is_word(arg, keyword)))
            .map(|at| at + 1)
    }
}

/// First and last place and step of a range, not yet checked against the call.
fn range(find: FindKeys, begin: usize, args: Args<'_>) -> Option<(i64, i64, usize)> {
    let (count, begin) = (args.len() as i64, begin as i64);
    match find {
        FindKeys::Range { last, step, limit } => {
            let (last, limit) = (i64::from(last), i64::from(limit));
            let last = match (last, limit) {
                (0.., _) => begin + last,
                (_, 0) => count + last,
                _ => begin + (count - begin) / limit + last,
            };
            Some((begin, last, step as usize))
        }
        FindKeys::KeyNumber { count_at, first, step } => {
            let number = args.get((begin + i64::from(count_at)) as usize)?;
            // Redis keeps the number in a C int.
            let number = i64::from(number::parse_i64(number).filter(|number| *number >= 0)? as i32);
            let first = begin + i64::from(first);
            Some((first, first + (number - 1) * i64::from(step), step as usize))
        }
        FindKeys::Unknown => None,
    }
}

/// The channels of a call, as a range of arguments.
#[must_use]
pub fn channels(spec: &CommandSpec, args: Args<'_>) -> Range<usize> {
    match spec.channels {
        Channels::None => 0..0,
        Channels::Publish => 1..args.len().clamp(1, 2),
        Channels::Subscribe
        | Channels::SubscribePatterns
        | Channels::Unsubscribe
        | Channels::UnsubscribePatterns => 1..args.len().max(1),
    }
}

/// True when an argument is that word in any case of letters. As in C, an argument ends at a zero byte.
fn is_word(arg: &[u8], word: &str) -> bool {
    match arg.split_at_checked(word.len()) {
        Some((head, tail)) => {
            matches!(tail.first(), None | Some(0)) && head.eq_ignore_ascii_case(word.as_bytes())
        }
        None => false,
    }
}

/// C's `atoi` as it behaves on Linux: blanks, a sign, digits, and whatever; too big numbers keep the low half of
/// the nearest 64-bit one.
fn atoi(text: &[u8]) -> i32 {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().position(|byte| !blank(byte)).unwrap_or(text.len())..];
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut value: i64 = 0;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        let digit = i64::from(digit - b'0');
        let signed = if negative { -digit } else { digit };
        value = value.saturating_mul(10).saturating_add(signed);
    }
    value as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spec::Flags;
    use crate::command::{all, id_of, lookup};
    use crate::resp::OwnedArgs;
    use proptest::prelude::*;

    fn call(line: &str) -> (&'static CommandSpec, OwnedArgs) {
        let words: Vec<_> =
            line.split(' ').map(|word| if word == "''" { "" } else { word }).collect();
        let name = words[0].to_ascii_lowercase();
        let mut id = lookup(name.as_bytes()).expect("a known command");
        if id.spec().is_container() {
            id = id_of(&format!("{name}|{}", words[1].to_ascii_lowercase()));
        }
        (id.spec(), OwnedArgs::from_slices(&words))
    }

    fn routed(line: &str) -> Vec<usize> {
        let (spec, args) = call(line);
        positions(spec, args.as_args()).collect()
    }

    fn flagged(line: &str) -> String {
        let (spec, args) = call(line);
        let mut keys = Vec::new();
        with_flags(spec, args.as_args(), &mut keys);
        let words = |key: &KeyRef| key.flags.words().collect::<Vec<_>>().join("+");
        let keys: Vec<_> =
            keys.iter().map(|key| format!("{}:{}", key.position, words(key))).collect();
        keys.join(" ")
    }

    #[test]
    fn plain_ranges() {
        assert_eq!(routed("get k"), [1]);
        assert_eq!(routed("mget a b c"), [1, 2, 3]);
        assert_eq!(routed("mset a 1 b 2 c 3"), [1, 3, 5]);
        assert_eq!(routed("mset a 1 b"), [1, 3]);
        assert_eq!(routed("blpop a b 0"), [1, 2]);
        assert_eq!(routed("bitop and dest a b"), [2, 3, 4]);
        assert_eq!(routed("object encoding k"), [2]);
        assert_eq!(routed("xgroup create k g $"), [2]);
        assert_eq!(routed("rename a b"), [1, 2]);
        assert_eq!(routed("ping hello"), [0; 0]);
        assert_eq!(routed("pfmerge dest"), [1]);
        assert_eq!(routed("ssubscribe a b"), [1, 2]);
        assert_eq!(routed("subscribe a b"), [0; 0]);
    }

    #[test]
    fn extractors() {
        assert_eq!(routed("eval s 2 a b c"), [3, 4]);
        assert_eq!(routed("eval s 0 c"), [0; 0]);
        assert_eq!(routed("eval s 9 c"), [0; 0]);
        assert_eq!(routed("eval s -1 c"), [0; 0]);
        assert_eq!(routed("zunionstore d 2 a b weights 1 2"), [3, 4, 1]);
        assert_eq!(routed("sort k by w* limit 0 store get store store d"), [1, 10]);
        assert_eq!(routed("sort k store a store b"), [1, 5]);
        assert_eq!(routed("sort_ro k by w*"), [1]);
        assert_eq!(routed("migrate h 1 k 0 9"), [3]);
        assert_eq!(routed("migrate h 1 '' 0 9 copy auth keys keys a b"), [10, 11]);
        assert_eq!(routed("migrate h 1 '' 0 9 auth2 keys keys keys a b"), [10, 11]);
        assert_eq!(routed("migrate h 1 k 0 9 keys a b"), [0; 0]);
        assert_eq!(routed("georadius k 1 2 3 m store a storedist b"), [1, 9]);
        assert_eq!(routed("xread count 2 block 0 streams a b 0 0"), [6, 7]);
        assert_eq!(routed("xread maxcount 2 MAXSIZE 9 streams a b 0 0"), [6, 7]);
        assert_eq!(routed("xread count 2 streams a b 0"), [0; 0]);
        assert_eq!(routed("xreadgroup group streams streams noack streams streams >"), [6]);
        assert_eq!(routed("set k v get"), [1]);
        assert_eq!(routed("msetex 2 a 1 b 2 nx"), [2, 4]);
        assert_eq!(routed("msetex 3 a 1 b 2 nx"), [0; 0]);
        assert_eq!(routed("msetex 9223372036854775807 a 1 b 2 nx"), [0; 0]);
    }

    #[test]
    fn flags_of_special_calls() {
        assert_eq!(flagged("set k v"), "1:OW+update");
        assert_eq!(flagged("set k get"), "1:OW+update");
        assert_eq!(flagged("set k v EX 10 GeT"), "1:RW+access+update");
        assert_eq!(flagged("bitfield k get u8 0 get u8 8"), "1:RO+access");
        assert_eq!(flagged("bitfield k get u8 0 overflow sat"), "1:RO+access");
        assert_eq!(flagged("bitfield k get u8 0 set u8 8 1"), "1:RW+access+update");
        assert_eq!(flagged("bitfield k get u8"), "1:RW+access+update");
        assert_eq!(flagged("sort k store d"), "1:RO+access 3:OW+update");
        assert_eq!(flagged("migrate h 1 '' 0 9 keys a"), "7:RW+access+delete");
        assert_eq!(flagged("eval s 1x a"), "3:");
        assert_eq!(flagged("eval s 01 a"), "3:");
        assert_eq!(flagged("eval s 4294967297 a"), "3:RW+access+update");
        assert_eq!(flagged("pfmerge dest"), "");
    }

    #[test]
    fn whatever_moves_has_an_extractor_or_plain_keys() {
        for row in all().iter().filter(|row| row.flags.contains(Flags::MOVABLEKEYS)) {
            assert_ne!(row.keys.extractor, Extractor::None, "{}", row.name);
        }
    }

    #[test]
    fn channels_are_arguments() {
        let of = |line| {
            let (spec, args) = call(line);
            channels(spec, args.as_args())
        };
        assert_eq!(of("subscribe a b"), 1..3);
        assert_eq!(of("unsubscribe"), 1..1);
        assert_eq!(of("publish a b"), 1..2);
        assert_eq!(of("get a"), 0..0);
    }

    #[test]
    fn words_and_numbers_are_read_as_c_reads_them() {
        assert!(is_word(b"StorE", "store") && is_word(b"store\0x", "store"));
        assert!(
            !is_word(b"stor", "store") && !is_word(b"stores", "store") && !is_word(b"", "store")
        );
        for (text, value) in [
            (&b"12"[..], 12),
            (b" \t\x0b-7x", -7),
            (b"+3", 3),
            (b"", 0),
            (b"x", 0),
            (b"-", 0),
            (b"007", 7),
            (b"99999999999999999999", -1),
            (b"-99999999999999999999", 0),
            (b"4294967297", 1),
        ] {
            assert_eq!(atoi(text), value, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn keys_lie_in_the_call(
            row in 0..all().len(),
            words in prop::collection::vec(prop_oneof![
                prop::sample::select(vec!["", "store", "get", "by", "limit", "keys", "auth2", "streams", "group",
                    "count", "block", "storedist", "0", "1", "2", "3", "-1", "2147483647", "9223372036854775807"]),
                Just("x"),
            ], 0..14),
        ) {
            let spec = &all()[row];
            let args = OwnedArgs::from_slices(&words);
            let args = args.as_args();
            let places: Vec<_> = positions(spec, args).collect();
            // Extractors that take a fixed key rely on the arity, which the gates check first.
            if spec.accepts_count(args.len()) {
                prop_assert!(places.iter().all(|&at| at > 0 && at < args.len()), "{} {:?}", spec.name, places);
                prop_assert_eq!(first(spec, args), places.first().copied());
            }
            prop_assert_eq!(positions(spec, args).len(), places.len());
            let mut keys = Vec::new();
            with_flags(spec, args, &mut keys);
            if spec.accepts_count(args.len()) {
                prop_assert!(keys.iter().all(|key| (key.position as usize) < args.len()), "{} {:?}", spec.name, keys);
            }
            prop_assert!(channels(spec, args).end <= args.len().max(1));
        }
    }
}
