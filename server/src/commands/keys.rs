//! Commands on whole databases: listing, scanning, counting, emptying, exchanging.

use redstart_common::glob;
use redstart_common::number;

use super::Handlers;
use super::options::{Options, integer};
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, DB_OUT_OF_RANGE, SYNTAX};
use crate::keyspace::Entry;
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers = &[
    ("dbsize", dbsize),
    ("flushall", flushall),
    ("flushdb", flushdb),
    ("keys", keys),
    ("randomkey", randomkey),
    ("scan", scan),
    ("swapdb", swapdb),
];

/// `DBSIZE`
pub fn dbsize(call: &mut Call<'_>) -> CommandResult {
    let keys = call.db().seen_len();
    call.client.reply.count(keys);
    Ok(())
}

/// Reads `[ASYNC | SYNC]`. Answers whether the freeing is left to another thread.
fn flush_lazily(call: &Call<'_>) -> Result<bool, CommandError> {
    match call.args.get(1) {
        None => Ok(call.core.settings.lazyfree_lazy_user_flush),
        Some(word) if call.args.len() == 2 && word.eq_ignore_ascii_case(b"SYNC") => Ok(false),
        Some(word) if call.args.len() == 2 && word.eq_ignore_ascii_case(b"ASYNC") => Ok(true),
        Some(_) => Err(SYNTAX),
    }
}

fn empty(call: &mut Call<'_>, db: usize, lazily: bool) -> usize {
    let keys = call.keyspace.dbs[db].len();
    call.modified_all(db, None);
    if lazily {
        call.keyspace.db(db).clear_lazily();
    } else {
        call.keyspace.db(db).clear();
    }
    call.core.blocking.note_all(db);
    keys
}

/// `FLUSHDB [ASYNC | SYNC]`
pub fn flushdb(call: &mut Call<'_>) -> CommandResult {
    let lazily = flush_lazily(call)?;
    let keys = empty(call, call.client.db, lazily);
    tell_caches(call);
    call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
        cluster.moves_flushed(turn);
    });
    call.dirty(keys.max(1) as u64);
    call.client.reply.ok();
    Ok(())
}

fn tell_caches(call: &mut Call<'_>) {
    let crate::engine::Core { tracking, clients, .. } = &mut *call.core;
    tracking.emptied(clients, call.client);
}

/// `FLUSHALL [ASYNC | SYNC]`
pub fn flushall(call: &mut Call<'_>) -> CommandResult {
    let lazily = flush_lazily(call)?;
    let mut keys = 0;
    for db in 0..call.keyspace.dbs.len() {
        keys += empty(call, db, lazily);
    }
    tell_caches(call);
    call.dirty(keys.max(1) as u64);
    call.core.after_flush_all(call.keyspace);
    call.client.reply.ok();
    Ok(())
}

/// `SWAPDB index1 index2`
pub fn swapdb(call: &mut Call<'_>) -> CommandResult {
    if call.is_in_cluster() {
        return Err(CommandError::new("ERR SWAPDB is not allowed in cluster mode"));
    }
    let args = call.args;
    let index = |arg: &[u8], which: &str| {
        number::parse_i64(arg)
            .filter(|index| i32::try_from(*index).is_ok())
            .ok_or_else(|| CommandError::made(format!("ERR invalid {which} DB index")))
    };
    let (first, second) = (index(args.at(1), "first")?, index(args.at(2), "second")?);
    let count = call.core.settings.databases;
    let known = |index: i64| usize::try_from(index).ok().filter(|index| *index < count);
    let (Some(first), Some(second)) = (known(first), known(second)) else {
        return Err(DB_OUT_OF_RANGE);
    };
    if first != second {
        call.modified_all(first, Some(second));
        call.modified_all(second, Some(first));
        if let Some((one, other)) = call.keyspace.two(first, second) {
            one.swap(other);
        }
        call.core.blocking.note_all(first);
        call.core.blocking.note_all(second);
    }
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// `KEYS pattern`
pub fn keys(call: &mut Call<'_>) -> CommandResult {
    let pattern = call.arg(1);
    let all = pattern == b"*";
    let now = call.now_ms();
    let most = call.output_most();
    let open = call.client.reply.begin();
    let mut count = 0;
    let db = &call.keyspace.dbs[call.client.db];
    for entry in db.iter() {
        if call.client.reply.pending() > most {
            break;
        }
        let alive = entry.deadline().is_none_or(|deadline| deadline > now);
        if alive && (all || glob::matches(pattern, entry.key(), false)) && !db.is_aside(entry.key())
        {
            call.client.reply.bulk(entry.key());
            count += 1;
        }
    }
    call.client.reply.end_array(open, count);
    Ok(())
}

/// `RANDOMKEY`
pub fn randomkey(call: &mut Call<'_>) -> CommandResult {
    call.core.feed.keep_apart();
    let now = call.now_ms();
    let db = call.keyspace.db(call.client.db);
    // Keys past their deadline are removed and drawn again; a few tries, then whatever lives is searched for.
    for _ in 0..100 {
        let Some(entry) = db.random() else { break };
        let key: Box<[u8]> = entry.key().into();
        if !db.is_aside(&key) && db.contains(&key) {
            call.client.reply.bulk(&key);
            return Ok(());
        }
    }
    let alive = db
        .iter()
        .find(|entry| {
            entry.deadline().is_none_or(|deadline| deadline > now) && !db.is_aside(entry.key())
        })
        .map(Entry::key);
    match alive {
        Some(key) => call.client.reply.bulk(key),
        None => call.client.reply.null(),
    }
    Ok(())
}

/// What the SCAN family's options ask for.
pub struct ScanOptions<'a> {
    /// Elements to look at, about.
    pub count: usize,
    /// The pattern elements must match.
    pub pattern: Option<&'a [u8]>,
    /// The type keys must have.
    pub kind: Option<&'a [u8]>,
    /// Only fields or members are wanted, without what belongs to them.
    pub is_bare: bool,
}

impl ScanOptions<'_> {
    /// Whether the pattern, if there is one, matches.
    #[must_use]
    pub fn fits(&self, text: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, text, false))
    }

    /// Takes steps from the cursor `at` until about `count` elements were looked at, or many buckets were empty, and
    /// answers the next cursor. A step answers its next cursor and counts what it looked at.
    pub fn walk(&self, mut at: u64, mut step: impl FnMut(u64, &mut usize) -> u64) -> u64 {
        let (mut looked, mut buckets) = (0, self.count.saturating_mul(10));
        loop {
            at = step(at, &mut looked);
            buckets -= 1;
            if at == 0 || looked >= self.count || buckets == 0 {
                return at;
            }
        }
    }
}

/// Reads a cursor as C's `strtoul` does: a number that fits 64 bits, a sign in front perhaps, up to a NUL. Nothing at
/// all is 0.
///
/// # Errors
/// When it is none.
pub fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    let text = arg.split(|byte| *byte == 0).next().unwrap_or_default();
    if text.is_empty() {
        return Ok(0);
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    // `parse` would take a second sign.
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok())
        .ok_or(CommandError::new(error::INVALID_CURSOR))?;
    Ok(if negative { number.wrapping_neg() } else { number })
}

/// Reads `[MATCH pattern] [COUNT count] [TYPE type]`; TYPE only where `typed`, and the word
/// `bare` that leaves values or scores out, where there is one.
///
/// # Errors
/// A syntax error for anything else.
pub fn scan_options<'a>(
    mut options: Options<'a>,
    typed: bool,
    bare: Option<&str>,
) -> Result<ScanOptions<'a>, CommandError> {
    let mut parsed = ScanOptions { count: 10, pattern: None, kind: None, is_bare: false };
    while let Some(word) = options.word() {
        if bare.is_some_and(|bare| word.eq_ignore_ascii_case(bare.as_bytes())) {
            parsed.is_bare = true;
            continue;
        }
        if options.left() == 0 {
            return Err(SYNTAX);
        }
        if word.eq_ignore_ascii_case(b"COUNT") {
            let count = integer(options.need()?)?;
            if count < 1 {
                return Err(SYNTAX);
            }
            parsed.count = count as usize;
        } else if word.eq_ignore_ascii_case(b"MATCH") {
            // A lone star matches everything and need not be asked.
            parsed.pattern = Some(options.need()?).filter(|pattern| *pattern != b"*");
        } else if typed && word.eq_ignore_ascii_case(b"TYPE") {
            parsed.kind = Some(options.need()?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(parsed)
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
pub fn scan(call: &mut Call<'_>) -> CommandResult {
    call.core.feed.keep_apart();
    let args = call.args;
    let at = cursor(args.at(1))?;
    let options = scan_options(Options::new(args, 2), true, None)?;
    let now = call.now_ms();
    let db = call.keyspace.db(call.client.db);
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let mut due: Vec<Box<[u8]>> = Vec::new();
    let at = options.walk(at, |at, looked| {
        db.scan(at, |entry| {
            *looked += 1;
            // As in Redis, a key that was not asked for stays, even past its deadline.
            if !options.fits(entry.key()) || db.is_aside(entry.key()) {
                return;
            }
            if entry.deadline().is_some_and(|deadline| deadline <= now) {
                due.push(entry.key().into());
                return;
            }
            let kind = entry.kind().name().as_bytes();
            if options.kind.is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind)) {
                found.push(entry.key().into());
            }
        })
    });
    for key in due {
        db.contains(&key);
    }
    let reply = &mut call.client.reply;
    reply.array(2);
    reply.bulk(at.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}
