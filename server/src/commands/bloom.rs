//! Bloom filters: the `BF.` commands of RedisBloom 2.4, with its replies and texts.

use redstart_common::number::{parse_f64, parse_i64};

use super::Handlers;
use super::options::Options;
use crate::engine::{Call, CommandError, CommandResult};
use crate::keyspace::{Deadline, WrongType};
use crate::types::bloom::{CHUNK_BYTES, NoPlace, NotAdded};
use crate::types::{Bloom, Object};

pub(super) const HANDLERS: Handlers = &[
    ("bf.add", add),
    ("bf.card", card),
    ("bf.exists", exists),
    ("bf.info", info),
    ("bf.insert", insert),
    ("bf.loadchunk", loadchunk),
    ("bf.madd", madd),
    ("bf.mexists", mexists),
    ("bf.reserve", reserve),
    ("bf.scandump", scandump),
];

/// What RedisBloom counts for a filter, and for each link, beside the bits.
const FILTER_BYTES: usize = 32;
const LINK_BYTES: usize = 64;

const NOT_FOUND: CommandError = CommandError::new("ERR not found");
const NOT_CREATED: CommandError = CommandError::new("ERR could not create filter");
const BAD_DATA: CommandError = CommandError::new("ERR received bad data");

/// How a filter is made that is not there.
struct Shape {
    error: f64,
    capacity: i64,
    expansion: i64,
    scales: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { error: 0.01, capacity: 100, expansion: 2, scales: true }
    }
}

impl Shape {
    fn create(&self) -> Result<Object, CommandError> {
        let capacity = u64::try_from(self.capacity).map_err(|_| NOT_CREATED)?;
        let growth = u32::try_from(self.expansion).map_err(|_| NOT_CREATED)?;
        let filter = Bloom::new(capacity, self.error, growth, self.scales).ok_or(NOT_CREATED)?;
        Ok(Object::Bloom(Box::new(filter)))
    }
}

/// `BF.RESERVE key error_rate capacity [EXPANSION expansion] [NONSCALING]`
pub fn reserve(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 7 {
        return Err(CommandError::arity("bf.reserve"));
    }
    let key = args.at(1);
    let mut shape = Shape {
        error: parse_f64(args.at(2)).ok_or(CommandError::new("ERR bad error rate"))?,
        ..Shape::default()
    };
    if !(shape.error > 0.0 && shape.error < 1.0) {
        return Err(CommandError::new("ERR (0 < error rate range < 1) "));
    }
    shape.capacity = parse_i64(args.at(3)).ok_or(CommandError::new("ERR bad capacity"))?;
    if shape.capacity <= 0 {
        return Err(CommandError::new("ERR (capacity should be larger than 0)"));
    }
    let named =
        |name: &str| (4..args.len()).find(|at| args.at(*at).eq_ignore_ascii_case(name.as_bytes()));
    shape.scales = named("NONSCALING").is_none();
    if let Some(at) = named("EXPANSION") {
        let expansion = args.get(at + 1).ok_or(CommandError::new("ERR no expansion"))?;
        if !shape.scales {
            return Err(CommandError::new("Nonscaling filters cannot expand"));
        }
        shape.expansion = parse_i64(expansion).ok_or(CommandError::new("ERR bad expansion"))?;
    }
    if call.db().holds::<Bloom>(key)? {
        return Err(CommandError::new("ERR item exists"));
    }
    let filter = shape.create()?;
    call.db().set_object(key, filter, Deadline::Clear);
    call.modified(key);
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// Adds the items that are the arguments from `first` on, to a filter that is made in this shape where there is none.
fn add_items(
    call: &mut Call<'_>,
    first: usize,
    shape: Option<&Shape>,
    is_multi: bool,
) -> CommandResult {
    let (key, items) = (call.arg(1), call.args.tail(first));
    let mut changes = 0;
    if !call.db().holds::<Bloom>(key)? {
        let filter = shape.ok_or(NOT_FOUND)?.create()?;
        call.db().set_object(key, filter, Deadline::Clear);
        changes += 1;
    }
    let db = call.keyspace.db(call.client.db);
    let Some(filter) = db.write_as::<Bloom>(key)? else { return Err(NOT_FOUND) };
    let mut answers = Vec::with_capacity(items.len());
    for item in items.iter() {
        let answer = filter.add(item);
        changes += u64::from(answer == Ok(true));
        answers.push(answer);
        if answer == Err(NotAdded::Full) {
            break;
        }
    }
    if is_multi {
        call.client.reply.array(answers.len());
    }
    for answer in answers {
        match answer {
            Ok(is_new) => call.client.reply.integer(i64::from(is_new)),
            Err(NotAdded::Full) => {
                call.client.reply.error("ERR non scaling filter is full");
            }
            Err(NotAdded::TooLarge) => {
                call.client.reply.error("ERR problem inserting into filter");
            }
        }
    }
    if changes > 0 {
        call.modified(key);
        call.dirty(changes);
    }
    Ok(())
}

/// `BF.ADD key item`
pub fn add(call: &mut Call<'_>) -> CommandResult {
    add_items(call, 2, Some(&Shape::default()), false)
}

/// `BF.MADD key item [item ...]`
pub fn madd(call: &mut Call<'_>) -> CommandResult {
    add_items(call, 2, Some(&Shape::default()), true)
}

/// `BF.INSERT key [CAPACITY capacity] [ERROR error] [EXPANSION expansion] [NOCREATE] [NONSCALING] ITEMS item [item ...]`
pub fn insert(call: &mut Call<'_>) -> CommandResult {
    let arity = || CommandError::arity("bf.insert");
    let mut shape = Shape::default();
    let mut creates = true;
    let mut options = Options::new(call.args, 2);
    // As RedisBloom, which looks at as many letters as tell the words apart.
    let items = loop {
        let Some(word) = options.word() else { return Err(arity()) };
        let letter = |at: usize| word.get(at).map_or(0, u8::to_ascii_lowercase);
        match letter(0) {
            b'i' => break options.position(),
            b'e' => {
                let value = options.need().map_err(|_| arity())?;
                if letter(1) == b'r' {
                    shape.error = parse_f64(value).ok_or(CommandError::new("Bad error rate"))?;
                } else {
                    shape.expansion = parse_i64(value).ok_or(CommandError::new("Bad expansion"))?;
                }
            }
            b'c' => {
                let value = options.need().map_err(|_| arity())?;
                shape.capacity = parse_i64(value).ok_or(CommandError::new("Bad capacity"))?;
            }
            b'n' if letter(2) == b'c' => creates = false,
            b'n' => shape.scales = false,
            _ => return Err(CommandError::new("Unknown argument received")),
        }
    };
    if items == call.args.len() {
        return Err(arity());
    }
    let is_error = shape.error > 0.0 && shape.error < 1.0;
    if !is_error || shape.capacity < 1 || shape.expansion < 1 {
        return Err(CommandError::new("Bad argument received"));
    }
    add_items(call, items, creates.then_some(&shape), true)
}

/// Answers for each item whether it may be there; a key that holds something else holds none.
fn check_items(call: &mut Call<'_>) {
    let args = call.args;
    let filter = call.keyspace.db(call.client.db).read_as::<Bloom>(args.at(1)).unwrap_or(None);
    for item in args.tail(2).iter() {
        let is_there = filter.is_some_and(|filter| filter.contains(item));
        call.client.reply.integer(i64::from(is_there));
    }
}

/// `BF.EXISTS key item`
pub fn exists(call: &mut Call<'_>) -> CommandResult {
    check_items(call);
    Ok(())
}

/// `BF.MEXISTS key item [item ...]`
pub fn mexists(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.array(call.args.len() - 2);
    check_items(call);
    Ok(())
}

/// `BF.CARD key`
pub fn card(call: &mut Call<'_>) -> CommandResult {
    let filter = call.keyspace.db(call.client.db).read_as::<Bloom>(call.args.at(1))?;
    call.client.reply.integer(filter.map_or(0, Bloom::size) as i64);
    Ok(())
}

/// `BF.INFO key [CAPACITY | SIZE | FILTERS | ITEMS | EXPANSION]`
pub fn info(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 3 {
        return Err(CommandError::arity("bf.info"));
    }
    let filter = call.keyspace.db(call.client.db).read_as::<Bloom>(args.at(1))?;
    let filter = filter.ok_or(NOT_FOUND)?;
    let bits: usize = filter.links().iter().map(|link| LINK_BYTES + link.data.len()).sum();
    let facts = [
        ("capacity", "Capacity", Some(filter.capacity() as i64)),
        ("size", "Size", Some((FILTER_BYTES + bits) as i64)),
        ("filters", "Number of filters", Some(filter.links().len() as i64)),
        ("items", "Number of items inserted", Some(filter.size() as i64)),
        ("expansion", "Expansion rate", filter.scales().then(|| i64::from(filter.growth()))),
    ];
    let reply = &mut call.client.reply;
    if let Some(word) = args.get(2) {
        let fact = facts.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name.as_bytes()));
        let (.., value) = fact.ok_or(CommandError::new("Invalid information value"))?;
        reply.array(1);
        match value {
            Some(value) => reply.integer(*value),
            None => reply.null(),
        }
        return Ok(());
    }
    reply.array(facts.len() * 2);
    for (_, name, value) in facts {
        reply.simple(name);
        match value {
            Some(value) => reply.integer(value),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `BF.SCANDUMP key iterator`: a number to go on with and a part of the filter, the header first; 0 and nothing at the end.
pub fn scandump(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let filter = call.keyspace.db(call.client.db).read_as::<Bloom>(args.at(1))?;
    let filter = filter.ok_or(NOT_FOUND)?;
    let at = parse_i64(args.at(2));
    let at = at.ok_or(CommandError::new("Second argument must be numeric"))?;
    let reply = &mut call.client.reply;
    reply.array(2);
    if at == 0 {
        reply.integer(1);
        reply.bulk(&filter.header());
        return Ok(());
    }
    let offset = usize::try_from(at - 1).ok();
    match offset.and_then(|offset| filter.chunk(offset, CHUNK_BYTES)) {
        Some(chunk) => {
            reply.integer(at + chunk.len() as i64);
            reply.bulk(chunk);
        }
        None => {
            reply.integer(0);
            reply.bulk(b"");
        }
    }
    Ok(())
}

/// `BF.LOADCHUNK key iterator data`: takes what BF.SCANDUMP gave.
pub fn loadchunk(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (key, chunk) = (args.at(1), args.at(3));
    let at = parse_i64(args.at(2));
    let at = at.ok_or(CommandError::new("ERR Second argument must be numeric"))?;
    if !call.db().holds::<Bloom>(key)? {
        if at != 1 {
            return Err(NOT_FOUND);
        }
        let filter = Bloom::from_header(chunk).ok_or(BAD_DATA)?;
        call.db().set_object(key, Object::Bloom(Box::new(filter)), Deadline::Clear);
    } else {
        let end = usize::try_from(at).ok().filter(|end| *end > chunk.len()).ok_or(BAD_DATA)?;
        let filter = call.db().write_as::<Bloom>(key)?.ok_or(WrongType)?;
        filter.load_chunk(end - chunk.len() - 1, chunk).map_err(|why| {
            CommandError::new(match why {
                NoPlace::Behind => "ERR invalid offset - no link found",
                NoPlace::TooLong => "ERR invalid chunk - Too big for current filter",
            })
        })?;
    }
    call.modified(key);
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}
