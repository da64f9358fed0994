//! Hashes.

pub(super) mod deadlines;

use redstart_common::number;
use redstart_common::resp::Proto;
use redstart_common::resp::error;

use super::keys::{cursor, scan_options};
use super::options::{Options, integer, random_count};
use super::{Handlers, Removal, after_removal};
use crate::client::Reply;
use crate::encoding::listpack::Element;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};
use crate::settings::notify::Classes;
use crate::types::Hash;

pub(super) const HANDLERS: Handlers = &[
    ("hdel", hdel),
    ("hexists", hexists),
    ("hget", hget),
    ("hgetall", hgetall),
    ("hincrby", hincrby),
    ("hincrbyfloat", hincrbyfloat),
    ("hkeys", hkeys),
    ("hlen", hlen),
    ("hmget", hmget),
    ("hmset", hmset),
    ("hrandfield", hrandfield),
    ("hscan", hscan),
    ("hset", hset),
    ("hsetnx", hsetnx),
    ("hstrlen", hstrlen),
    ("hvals", hvals),
];

impl Reply {
    /// An element of a packed value as a string of bytes.
    #[inline]
    pub fn element(&mut self, element: Element<'_>) {
        match element {
            Element::Int(number) => self.bulk_int(number),
            Element::Bytes(bytes) => self.bulk(bytes),
        }
    }
}

/// Sets all pairs of the call and answers how many fields are new.
fn set_pairs(call: &mut Call<'_>, name: &str) -> Result<i64, CommandError> {
    let args = call.args;
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::arity(name));
    }
    let key = args.at(1);
    let limits = &call.core.settings.packed;
    let hash = call.keyspace.db(call.client.db).write_or_create::<Hash>(key)?;
    let pairs = args.tail(2);
    hash.prepare(pairs.iter(), limits);
    let mut created = 0;
    for at in (0..pairs.len()).step_by(2) {
        created += i64::from(hash.set(pairs.at(at), pairs.at(at + 1), limits));
    }
    call.modified(key);
    call.notify(Classes::HASH, "hset", key);
    call.dirty((pairs.len() / 2) as u64);
    Ok(created)
}

/// `HSET key field value [field value ...]`
pub fn hset(call: &mut Call<'_>) -> CommandResult {
    let created = set_pairs(call, "hset")?;
    call.client.reply.integer(created);
    Ok(())
}

/// `HMSET key field value [field value ...]`
pub fn hmset(call: &mut Call<'_>) -> CommandResult {
    set_pairs(call, "hmset")?;
    call.client.reply.ok();
    Ok(())
}

/// `HSETNX key field value`
pub fn hsetnx(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, field, value) = (args.at(1), args.at(2), args.at(3));
    let limits = &call.core.settings.packed;
    let hash = call.keyspace.db(call.client.db).write_or_create::<Hash>(key)?;
    if hash.contains(field) {
        call.client.reply.integer(0);
        return Ok(());
    }
    hash.prepare([field, value].into_iter(), limits);
    hash.set(field, value, limits);
    call.modified(key);
    call.notify(Classes::HASH, "hset", key);
    call.dirty(1);
    call.client.reply.integer(1);
    Ok(())
}

/// `HGET key field`
pub fn hget(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    match hash.and_then(|hash| hash.get(args.at(2))) {
        Some(value) => call.client.reply.element(value),
        None => call.client.reply.null(),
    }
    Ok(())
}

/// `HMGET key field [field ...]`
pub fn hmget(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let fields = args.tail(2);
    call.client.reply.array(fields.len());
    for field in fields.iter() {
        match hash.and_then(|hash| hash.get(field)) {
            Some(value) => call.client.reply.element(value),
            None => call.client.reply.null(),
        }
    }
    Ok(())
}

/// `HDEL key field [field ...]`
pub fn hdel(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let key = args.at(1);
    let Some(hash) = call.keyspace.db(call.client.db).write_as::<Hash>(key)? else {
        call.client.reply.integer(0);
        return Ok(());
    };
    let removed = args.tail(2).iter().filter(|field| hash.remove(field)).count();
    let empty = hash.is_empty();
    if removed > 0 {
        let removal = Removal { class: Classes::HASH, event: "hdel", watchers_last: false };
        after_removal(call, key, removal, empty, removed);
    }
    call.client.reply.count(removed);
    Ok(())
}

/// `HLEN key`
pub fn hlen(call: &mut Call<'_>) -> CommandResult {
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(call.args.at(1))?;
    call.client.reply.count(hash.map_or(0, Hash::len));
    Ok(())
}

/// `HEXISTS key field`
pub fn hexists(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let there = hash.is_some_and(|hash| hash.contains(args.at(2)));
    call.client.reply.integer(i64::from(there));
    Ok(())
}

/// `HSTRLEN key field`
pub fn hstrlen(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let length =
        hash.and_then(|hash| hash.get(args.at(2))).map_or(0, |value| value.with_text(<[u8]>::len));
    call.client.reply.count(length);
    Ok(())
}

/// `HGETALL key`
pub fn hgetall(call: &mut Call<'_>) -> CommandResult {
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(call.args.at(1))?;
    let reply = &mut call.client.reply;
    reply.map(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|field, value| {
            reply.element(field);
            reply.element(value);
        });
    }
    Ok(())
}

/// `HKEYS key`
pub fn hkeys(call: &mut Call<'_>) -> CommandResult {
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(call.args.at(1))?;
    let reply = &mut call.client.reply;
    reply.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|field, _| reply.element(field));
    }
    Ok(())
}

/// `HVALS key`
pub fn hvals(call: &mut Call<'_>) -> CommandResult {
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(call.args.at(1))?;
    let reply = &mut call.client.reply;
    reply.array(hash.map_or(0, Hash::len));
    if let Some(hash) = hash {
        hash.for_each(|_, value| reply.element(value));
    }
    Ok(())
}

/// `HINCRBY key field increment`
pub fn hincrby(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, field) = (args.at(1), args.at(2));
    let amount = integer(args.at(3))?;
    let limits = &call.core.settings.packed;
    // One that is created here gets its field below: without an old value there is nothing to go wrong.
    let hash = call.keyspace.db(call.client.db).write_or_create::<Hash>(key)?;
    let old = match hash.get(field) {
        None => 0,
        Some(Element::Int(number)) => number,
        Some(Element::Bytes(bytes)) => {
            number::parse_i64(bytes).ok_or(CommandError::new(error::HASH_NOT_AN_INTEGER))?
        }
    };
    let new = old.checked_add(amount).ok_or(CommandError::new(error::INCREMENT_OVERFLOW))?;
    hash.set_keeping_deadline(field, itoa::Buffer::new().format(new).as_bytes(), limits);
    call.modified(key);
    call.notify(Classes::HASH, "hincrby", key);
    call.dirty(1);
    call.client.reply.integer(new);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`
pub fn hincrbyfloat(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, field, amount) = (args.at(1), args.at(2), args.at(3));
    match number::LongDouble::parse(amount) {
        None => return Err(crate::engine::NOT_A_FLOAT),
        Some(amount) if amount.is_finite() => {}
        Some(_) => return Err(CommandError::new("ERR value is NaN or Infinity")),
    }
    let limits = &call.core.settings.packed;
    // One that is created here gets its field below: 0 and a finite number have a sum.
    let hash = call.keyspace.db(call.client.db).write_or_create::<Hash>(key)?;
    let old = hash.get(field).map_or_else(|| b"0".to_vec(), Element::to_vec);
    let text = super::add_long_double(&old, amount, CommandError::new(error::HASH_NOT_A_FLOAT))?;
    hash.set_keeping_deadline(field, text.as_bytes(), limits);
    let has_deadline = hash.deadline(field).flatten().is_some();
    call.modified(key);
    call.notify(Classes::HASH, "hincrbyfloat", key);
    call.dirty(1);
    call.client.reply.bulk(text.as_bytes());
    if has_deadline {
        // HSET would take the deadline away.
        let words: [&[u8]; 7] =
            [b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, text.as_bytes()];
        call.propagate_instead(&words);
    } else {
        call.propagate_instead(&[b"HSET", key, field, text.as_bytes()]);
    }
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count] [NOVALUES]` (the last of Redis 7.4)
pub fn hscan(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let at = cursor(args.at(2))?;
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let reply = &mut call.client.reply;
    let Some(hash) = hash else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    // Read only now: without the key, options are not looked at.
    let options = scan_options(Options::new(args, 3), false, Some("NOVALUES"))?;
    reply.array(2);
    let mut found = Vec::new();
    let at = options.walk(at, |at, looked| {
        hash.scan(at, |field, value| {
            *looked += 1;
            if field.with_text(|text| options.fits(text)) {
                found.push(field.to_vec());
                if !options.is_bare {
                    found.push(value.to_vec());
                }
            }
        })
    });
    reply.bulk(at.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|text| reply.bulk(text));
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`
pub fn hrandfield(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let Some((count, with_values)) = random_count(args, "WITHVALUES")? else {
        let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
        let reply = &mut call.client.reply;
        match hash {
            Some(hash) => hash.with_random(|field, _| reply.element(field)),
            None => reply.null(),
        }
        return Ok(());
    };
    let most = call.output_most();
    let hash = call.keyspace.db(call.client.db).read_as::<Hash>(args.at(1))?;
    let reply = &mut call.client.reply;
    let pairs = reply.proto == Proto::Resp3;
    let answer = |reply: &mut Reply, field: Element<'_>, value: Element<'_>| {
        if with_values && pairs {
            reply.array(2);
        }
        reply.element(field);
        if with_values {
            reply.element(value);
        }
    };
    let width = if with_values && !pairs { 2 } else { 1 };
    let Some(hash) = hash.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        let draws = count.unsigned_abs() as usize;
        reply.array(draws * width);
        for _ in 0..draws {
            if reply.pending() > most {
                break;
            }
            hash.with_random(|field, value| answer(reply, field, value));
        }
        return Ok(());
    }
    let wanted = (count as usize).min(hash.len());
    reply.array(wanted * width);
    hash.with_some(wanted, |field, value| answer(reply, field, value));
    Ok(())
}
