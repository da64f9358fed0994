//! Strings that are set or deleted on a condition about their value, and several at once: SET's IFEQ and its kin, DELEX,
//! DIGEST and MSETEX (Redis 8.4), DELIFEQ (Valkey 9.0).

use xxhash_rust::xxh3::xxh3_64;

use super::super::expiry::Unit;
use super::super::options::{Options, integer};
use super::super::{Handlers, removal_word};
use super::{Expiry, finish_set};
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::keyspace::{Deadline, Place, Str, WrongType};

pub(in crate::commands) const HANDLERS: Handlers =
    &[("delex", delex), ("delifeq", delifeq), ("digest", digest), ("msetex", msetex)];

/// A condition about the value of a string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueTest<'a> {
    /// It is this.
    Equals(&'a [u8]),
    /// It is not this.
    Differs(&'a [u8]),
    /// Its digest is this.
    HasDigest(u64),
    /// Its digest is another.
    HasOtherDigest(u64),
}

impl<'a> ValueTest<'a> {
    /// The test that `word` begins, if it begins one, with its argument, which the syntax demands.
    pub(super) fn of(word: &[u8], options: &mut Options<'a>) -> Result<Option<Self>, CommandError> {
        Ok(Some(match word {
            _ if word.eq_ignore_ascii_case(b"IFEQ") => Self::Equals(options.need()?),
            _ if word.eq_ignore_ascii_case(b"IFNE") => Self::Differs(options.need()?),
            _ if word.eq_ignore_ascii_case(b"IFDEQ") => {
                Self::HasDigest(parse_digest(options.need()?)?)
            }
            _ if word.eq_ignore_ascii_case(b"IFDNE") => {
                Self::HasOtherDigest(parse_digest(options.need()?)?)
            }
            _ => return Ok(None),
        }))
    }

    /// Whether it holds for a value; one that is not there equals nothing.
    pub(super) fn holds(self, value: Option<Str<'_>>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Differs(_) | Self::HasOtherDigest(_));
        };
        with_text(value, |text| match self {
            Self::Equals(wanted) => text == wanted,
            Self::Differs(wanted) => text != wanted,
            Self::HasDigest(wanted) => xxh3_64(text) == wanted,
            Self::HasOtherDigest(wanted) => xxh3_64(text) != wanted,
        })
    }
}

fn with_text<R>(value: Str<'_>, body: impl FnOnce(&[u8]) -> R) -> R {
    match value {
        Str::Bytes(bytes) => body(bytes),
        Str::Int(number) => body(itoa::Buffer::new().format(number).as_bytes()),
    }
}

fn parse_digest(text: &[u8]) -> Result<u64, CommandError> {
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or(CommandError::new("ERR must be exactly 16 hexadecimal characters"))
}

/// `DIGEST key`: the XXH3 hash of a string, as 16 hexadecimal digits.
pub fn digest(call: &mut Call<'_>) -> CommandResult {
    match call.keyspace.db(call.client.db).read_str(call.args.at(1))? {
        Some(value) => {
            let sum = with_text(value, xxh3_64);
            call.client.reply.bulk(format!("{sum:016x}").as_bytes());
        }
        None => call.client.reply.null(),
    }
    Ok(())
}

/// Deletes a key if its value passes the test, or whatever it holds where there is none.
fn delete_if(call: &mut Call<'_>, test: Option<ValueTest<'_>>) -> CommandResult {
    let key = call.arg(1);
    let Place::Held(held) = call.keyspace.db(call.client.db).place_to_write(key) else {
        call.client.reply.integer(0);
        return Ok(());
    };
    if let Some(test) = test
        && !test.holds(Some(held.string()?))
    {
        call.client.reply.integer(0);
        return Ok(());
    }
    let lazily = call.core.settings.lazyfree_lazy_user_del;
    held.remove(lazily);
    call.modified(key);
    call.removed(key);
    call.dirty(1);
    call.propagate_instead(&[removal_word(lazily), key]);
    call.client.reply.integer(1);
    Ok(())
}

/// `DELEX key [IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]`
pub fn delex(call: &mut Call<'_>) -> CommandResult {
    let mut options = Options::new(call.args, 2);
    let test = match options.word() {
        Some(word) => Some(ValueTest::of(word, &mut options)?.ok_or(SYNTAX)?),
        None => None,
    };
    if options.left() > 0 {
        return Err(SYNTAX);
    }
    delete_if(call, test)
}

/// `DELIFEQ key value`
pub fn delifeq(call: &mut Call<'_>) -> CommandResult {
    let value = call.arg(2);
    delete_if(call, Some(ValueTest::Equals(value)))
}

/// `MSETEX numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds |
/// PXAT unix-time-milliseconds | KEEPTTL]`
pub fn msetex(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let count = integer(args.at(1)).ok().and_then(|count| usize::try_from(count).ok());
    let count = count
        .filter(|count| (1..=i32::MAX as usize / 2).contains(count))
        .ok_or(CommandError::new("ERR invalid numkeys value"))?;
    let pairs = args.slice(2, count * 2);
    if pairs.len() < count * 2 {
        return Err(CommandError::new("ERR wrong number of key-value pairs"));
    }
    let mut wanted = None;
    let mut expiry = Expiry::Clear;
    let mut options = Options::new(args, 2 + count * 2);
    while let Some(word) = options.word() {
        let is_there = word.eq_ignore_ascii_case(b"XX");
        if is_there || word.eq_ignore_ascii_case(b"NX") {
            if wanted.replace(is_there).is_some_and(|said| said != is_there) {
                return Err(SYNTAX);
            }
        } else if !matches!(expiry, Expiry::Clear) {
            return Err(SYNTAX);
        } else if word.eq_ignore_ascii_case(b"KEEPTTL") {
            expiry = Expiry::Keep;
        } else {
            let unit = Unit::of_option(word).ok_or(SYNTAX)?;
            expiry = Expiry::Set(unit, options.need()?);
        }
    }
    let deadline = expiry.deadline(call.now_ms(), "msetex")?;
    let named = || (0..pairs.len()).step_by(2).map(|at| (pairs.at(at), pairs.at(at + 1)));
    if let Some(wanted) = wanted {
        let db = call.db();
        if !named().all(|(key, _)| db.contains(key) == wanted) {
            call.client.reply.integer(0);
            return Ok(());
        }
    }
    let at = if let Deadline::At(at) = deadline { Some(at) } else { None };
    for (key, value) in named() {
        call.db().set_string(key, value, deadline);
        finish_set(call, key);
        if at.is_some() {
            call.notify(crate::settings::notify::Classes::GENERIC, "expire", key);
        }
    }
    // As commands that every version knows; together they are one group.
    if call.core.feed.wanted() {
        let text = at.map(|at| at.to_string());
        for (key, value) in named() {
            match (&text, deadline) {
                (Some(at), _) => {
                    call.propagate_instead(&[b"SET", key, value, b"PXAT", at.as_bytes()]);
                }
                (None, Deadline::Keep) => {
                    call.propagate_instead(&[b"SET", key, value, b"KEEPTTL"]);
                }
                (None, _) => call.propagate_instead(&[b"SET", key, value]),
            }
        }
    }
    call.client.reply.integer(1);
    Ok(())
}

/// The value of a string that a test is made about.
pub(super) fn tested<'d>(place: &'d Place<'_>) -> Result<Option<Str<'d>>, WrongType> {
    match place {
        Place::Held(held) => held.string().map(Some),
        Place::Vacant(_) => Ok(None),
    }
}
