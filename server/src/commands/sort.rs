//! `SORT`: elements of a list, set or sorted set, by themselves or by keys that they name.

use std::cmp::Ordering;

use redstart_common::number::strtod;
use redstart_common::resp::OwnedArgs;

use super::options::Options;
use super::{Handlers, store_result};
use crate::client::Flags;
use crate::dispatch::gates::no_permission;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX, WRONG_TYPE};
use crate::keyspace::{Db, Entry, Str};
use crate::settings::notify::Classes;
use crate::types::list::End;
use crate::types::{Hash, List, Object, Zset};

pub(super) const HANDLERS: Handlers = &[("sort", sort), ("sort_ro", sort_ro)];

#[derive(Default)]
struct Request<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

fn request<'a>(call: &mut Call<'a>, read_only: bool) -> Result<Request<'a>, CommandError> {
    let mut wanted = Request::default();
    let mut options = Options::new(call.args, 2);
    // What BY and GET read is known to no row, so only who may read every key may use them.
    let reads_all =
        call.core.reads_all_keys(call.client, call.row.spec(), call.args) && !call.is_in_cluster();
    let mut stores = 0;
    let in_cluster = call.is_in_cluster();
    let denied = |option| {
        let why =
            if in_cluster { "in Cluster mode" } else { "due to insufficient ACL permissions" };
        Err(CommandError::made(format!("ERR {option} option of SORT denied {why}.")))
    };
    while let Some(word) = options.word() {
        let left = options.left();
        if word.eq_ignore_ascii_case(b"ASC") {
            wanted.descending = false;
        } else if word.eq_ignore_ascii_case(b"DESC") {
            wanted.descending = true;
        } else if word.eq_ignore_ascii_case(b"ALPHA") {
            wanted.alpha = true;
        } else if word.eq_ignore_ascii_case(b"LIMIT") && left >= 2 {
            wanted.limit = Some((options.integer()?, options.integer()?));
        } else if !read_only && word.eq_ignore_ascii_case(b"STORE") && left >= 1 {
            wanted.store = Some(options.need()?);
            stores += 1;
        } else if word.eq_ignore_ascii_case(b"BY") && left >= 1 {
            let pattern = options.need()?;
            if !reads_all && pattern.contains(&b'*') {
                return denied("BY");
            }
            wanted.by = Some(pattern);
        } else if word.eq_ignore_ascii_case(b"GET") && left >= 1 {
            if !reads_all {
                return denied("GET");
            }
            wanted.get.push(options.need()?);
        } else {
            return Err(SYNTAX);
        }
    }
    if stores > 1
        && call.client.flags.any(Flags::RESTRICTED)
        && let Some(target) = wanted.store
    {
        may_store(call, target)?;
    }
    Ok(wanted)
}

/// Refuses a target that the client may not write. Where there are several STOREs, the rows' finder of keys, which is
/// Redis's, may see another one than the last: it takes the name of a target for an option.
fn may_store(call: &mut Call<'_>, target: &[u8]) -> CommandResult {
    let plain = OwnedArgs::from_slices(&[call.arg(0), call.arg(1), b"STORE", target]);
    let row = call.row.spec();
    let checked = call.core.check_user(call.client, row, plain.as_args());
    checked.map_err(|denied| no_permission(row, denied))
}

/// The text a pattern leads to: `*` stands for the element, `key->field` for a field of a hash, `#` for the element.
fn follow(db: &mut Db, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern == b"#" {
        return Some(element.to_vec());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let arrow = pattern[star + 1..]
        .windows(2)
        .position(|pair| pair == b"->")
        .map(|place| star + 1 + place)
        .filter(|place| place + 2 < pattern.len());
    let (name, field) = match arrow {
        Some(place) => (&pattern[..place], Some(&pattern[place + 2..])),
        None => (pattern, None),
    };
    let key = [&name[..star], element, &name[star + 1..]].concat();
    match field {
        Some(field) => {
            let hash = db.read_as::<Hash>(&key).ok()??;
            hash.get(field).map(crate::encoding::listpack::Element::to_vec)
        }
        None => match db.read_str(&key).ok()?? {
            Str::Int(number) => Some(number.to_string().into_bytes()),
            Str::Bytes(bytes) => Some(bytes.to_vec()),
        },
    }
}

struct Sortable {
    element: Vec<u8>,
    number: f64,
    text: Option<Vec<u8>>,
}

fn elements(
    call: &mut Call<'_>,
    wanted: &Request<'_>,
    sorts: bool,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let key = call.arg(1);
    let db = call.keyspace.db(call.client.db);
    if let Some(Object::Zset(Zset::Packed(_))) = db.peek(key).and_then(Entry::object) {
        // No change to anybody, but the original leaves a sorted set in its large form.
        if let Some(zset) = db.write_as::<Zset>(key)? {
            zset.spread();
        }
    }
    let mut all = Vec::new();
    let Some(entry) = db.read(key) else { return Ok(all) };
    match entry.object() {
        Some(Object::List(list)) => {
            let from = if !sorts && wanted.descending { End::Back } else { End::Front };
            list.walk(from, |_, element| {
                all.push(element.to_vec());
                true
            });
        }
        Some(Object::Set(set)) => set.for_each(|member| all.push(member.to_vec())),
        // Unsorted, a sorted set keeps its own order.
        Some(Object::Zset(zset)) => {
            zset.walk(0, !sorts && wanted.descending, |member, _| {
                all.push(member.to_vec());
                true
            });
        }
        _ => return Err(WRONG_TYPE),
    }
    Ok(all)
}

fn run(call: &mut Call<'_>, read_only: bool) -> CommandResult {
    let wanted = request(call, read_only)?;
    // A pattern without a star names the same key for all: there is nothing to sort by.
    let mut sorts = wanted.by.is_none_or(|by| by.contains(&b'*'));
    let mut wanted = wanted;
    let source = call.keyspace.db(call.client.db).look(call.args.at(1));
    let is_set = matches!(source.and_then(Entry::object), Some(Object::Set(_)));
    let tells = wanted.store.is_some() || call.client.flags.any(Flags::SCRIPT);
    if !sorts && is_set && tells {
        // What is stored, or seen by a script, must not depend on the set's hidden order.
        sorts = true;
        wanted.alpha = true;
        wanted.by = None;
    }
    let all = elements(call, &wanted, sorts)?;
    let db = call.keyspace.db(call.client.db);
    let length = all.len();
    let (start, end) = match wanted.limit {
        None => (0, length),
        Some((offset, count)) => {
            let start = usize::try_from(offset).unwrap_or(0).min(length);
            let count = usize::try_from(count).unwrap_or(length);
            (start, start.saturating_add(count).min(length))
        }
    };
    let mut sortables = Vec::with_capacity(length);
    for element in all {
        let mut sortable = Sortable { element, number: 0.0, text: None };
        if sorts {
            let text = match wanted.by {
                Some(by) => follow(db, by, &sortable.element),
                None => Some(sortable.element.clone()),
            };
            if wanted.alpha {
                // Stored, whole texts are compared; answered, C strings are, which end at a NUL.
                let end = |text: &Vec<u8>| match wanted.store {
                    Some(_) => text.len(),
                    None => text.iter().position(|byte| *byte == 0).unwrap_or(text.len()),
                };
                sortable.text = text.map(|mut text| {
                    text.truncate(end(&text));
                    text
                });
            } else if let Some(text) = text {
                let (number, _) = strtod(&text).filter(|(_, in_range)| *in_range).ok_or(
                    CommandError::new("ERR One or more scores can't be converted into double"),
                )?;
                sortable.number = number;
            }
        }
        sortables.push(sortable);
    }
    if sorts {
        sortables.sort_by(|a, b| {
            let order = if wanted.alpha {
                a.text.cmp(&b.text)
            } else {
                a.number.partial_cmp(&b.number).unwrap_or(Ordering::Equal)
            };
            // Equal numbers fall back to the elements, so that the answer is always the same.
            let order =
                if wanted.alpha { order } else { order.then_with(|| a.element.cmp(&b.element)) };
            if wanted.descending { order.reverse() } else { order }
        });
    }
    let chosen = &sortables[start..end];
    let mut answers: Vec<Option<Vec<u8>>> = Vec::new();
    for sortable in chosen {
        if wanted.get.is_empty() {
            answers.push(Some(sortable.element.clone()));
        }
        for pattern in &wanted.get {
            answers.push(follow(db, pattern, &sortable.element));
        }
    }
    match wanted.store {
        None => {
            let reply = &mut call.client.reply;
            reply.array(answers.len());
            for answer in &answers {
                match answer {
                    Some(text) => reply.bulk(text),
                    None => reply.null(),
                }
            }
        }
        Some(target) => store(call, target, &answers),
    }
    Ok(())
}

fn store(call: &mut Call<'_>, target: &[u8], answers: &[Option<Vec<u8>>]) {
    let mut list = List::default();
    for answer in answers {
        list.push(End::Back, answer.as_deref().unwrap_or_default(), &call.core.settings.packed);
    }
    store_result(call, target, Object::List(list), Classes::LIST, "sortstore", answers.len());
    call.client.reply.count(answers.len());
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA] [STORE destination]`
pub fn sort(call: &mut Call<'_>) -> CommandResult {
    run(call, false)
}

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC | DESC] [ALPHA]`
pub fn sort_ro(call: &mut Call<'_>) -> CommandResult {
    run(call, true)
}
