//! The options of XADD and XTRIM that say what is to stay.

use redstart_common::resp::Args;

use super::super::options::integer;
use super::id;
use super::references::policy;
use super::repeats;
use crate::client::Origin;
use crate::engine::{Call, CommandError, SYNTAX};
use crate::types::Stream;
use crate::types::stream::{Keep, References, StreamId, Trim, Wanted};

/// What XADD or XTRIM wants.
pub(super) struct Request<'a> {
    /// How the stream is cut, and the index of the argument that says up to where.
    pub trim: Option<(Trim, usize)>,
    /// What becomes of entries that groups have still to deal with, where it is said (Redis 8.2).
    pub references: Option<References>,
    /// XADD: the stream must be there.
    pub only_if_present: bool,
    /// XADD: what the entry's producer calls itself, and the entry: a name, or what it is made of (Redis 8.6).
    pub producer: Option<(&'a [u8], Option<&'a [u8]>)>,
    /// XADD: the id that is wanted.
    pub wanted: Wanted,
    /// XADD: the index of the argument that says so.
    pub id_at: usize,
}

const BOTH: CommandError = CommandError::new(
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
);
const LIMIT_ALONE: CommandError = CommandError::new(
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
);
const NO_STRATEGY: CommandError =
    CommandError::new("ERR syntax error, XTRIM must be called with a trimming strategy");
const LIMIT_OF_EXACT: CommandError =
    CommandError::new("ERR syntax error, LIMIT cannot be used without the special ~ option");

const NAMED_TWICE: CommandError = CommandError::new("ERR IDMP/IDMPAUTO specified multiple times");
const NAMED_WITH_ID: CommandError =
    CommandError::new("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs");
const NO_PRODUCER: CommandError = CommandError::new("ERR IDMP requires a non-empty producer ID");
const NO_PRODUCER_OF_AUTO: CommandError =
    CommandError::new("ERR IDMPAUTO requires a non-empty producer ID");
const NO_NAME: CommandError = CommandError::new("ERR IDMP requires a non-empty idempotent ID");

/// The producer of an entry and the name of that, behind IDMP or IDMPAUTO.
fn producer<'a>(
    producer: &'a [u8],
    name: Option<&'a [u8]>,
) -> Result<(&'a [u8], Option<&'a [u8]>), CommandError> {
    match (producer, name) {
        ([], None) => Err(NO_PRODUCER_OF_AUTO),
        ([], Some(_)) => Err(NO_PRODUCER),
        (_, Some([])) => Err(NO_NAME),
        named => Ok(named),
    }
}

fn not_negative(arg: &[u8], error: &'static str) -> Result<u64, CommandError> {
    u64::try_from(integer(arg)?).map_err(|_| CommandError::new(error))
}

/// Entries that go at most where nobody says how many: those of a hundred nodes.
fn usual_limit(node_entries: u64) -> u64 {
    match node_entries.saturating_mul(100) {
        0 => 10_000,
        entries => entries.min(1_000_000),
    }
}

/// Reads `[~ | =] threshold` behind the word at `at`. Answers what stays, whether about so, and the index of the threshold.
fn strategy(args: Args<'_>, at: usize) -> Result<(Keep, bool, usize), CommandError> {
    let has_operator = at + 2 < args.len();
    let (by_nodes, is_given) = match args.at(at + 1) {
        b"~" if has_operator => (true, true),
        b"=" if has_operator => (false, true),
        _ => (false, false),
    };
    let place = at + 1 + usize::from(is_given);
    let threshold = args.at(place);
    let keep = if args.at(at).eq_ignore_ascii_case(b"maxlen") {
        Keep::Newest(not_negative(threshold, "ERR The MAXLEN argument must be >= 0.")?)
    } else {
        Keep::From(id(threshold)?)
    };
    Ok((keep, by_nodes, place))
}

/// Reads the options of XADD, up to the id, or those of XTRIM.
pub(super) fn request<'a>(call: &Call<'a>, adds: bool) -> Result<Request<'a>, CommandError> {
    let args = call.args;
    let mut found = Request {
        trim: None,
        references: None,
        only_if_present: false,
        producer: None,
        wanted: Wanted::Next,
        id_at: args.len(),
    };
    let (mut limit, mut at) = (None, 2);
    while let Some(word) = args.get(at) {
        let has_more = at + 1 < args.len();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if adds && word == b"*" {
            found.id_at = at;
            break;
        } else if (is(b"maxlen") || is(b"minid")) && has_more {
            if found.trim.is_some() {
                return Err(BOTH);
            }
            let (keep, by_nodes, place) = strategy(args, at)?;
            found.trim = Some((Trim { keep, by_nodes, limit: 0 }, place));
            at = place;
        } else if is(b"limit") && has_more {
            at += 1;
            limit = Some(not_negative(args.at(at), "ERR The LIMIT argument must be >= 0.")?);
        } else if let (None, Some(policy)) = (found.references, policy(word)) {
            found.references = Some(policy);
        } else if adds && is(b"nomkstream") {
            found.only_if_present = true;
        } else if adds && (is(b"idmp") && at + 2 < args.len() || is(b"idmpauto") && has_more) {
            if found.producer.is_some() {
                return Err(NAMED_TWICE);
            }
            let named = usize::from(is(b"idmp"));
            let name = (named > 0).then(|| args.at(at + 2));
            found.producer = Some(producer(args.at(at + 1), name)?);
            at += 1 + named;
        } else if adds {
            found.wanted = StreamId::parse_wanted(word).ok_or(super::INVALID_ID)?;
            found.id_at = at;
            break;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    let obeys = call.client.origin != Origin::Client;
    // What is repeated has its id.
    if found.producer.is_some() && !repeats(call.client) && found.wanted != Wanted::Next {
        return Err(NAMED_WITH_ID);
    }
    let Some((trim, _)) = &mut found.trim else {
        return match limit {
            Some(1..) => Err(LIMIT_ALONE),
            _ if !adds => Err(NO_STRATEGY),
            Some(0) if !obeys => Err(LIMIT_OF_EXACT),
            _ => Ok(found),
        };
    };
    // What the primary and the log say was rewritten to be exact.
    if !obeys {
        trim.limit = match limit {
            Some(_) if !trim.by_nodes => return Err(LIMIT_OF_EXACT),
            Some(limit) => limit,
            None if trim.by_nodes => usual_limit(call.core.settings.packed.stream_node_entries),
            None => 0,
        };
    }
    Ok(found)
}

/// The threshold that gives what `trim` gave, however the nodes are.
pub(super) fn exact_threshold(stream: &Stream, trim: &Trim) -> Vec<u8> {
    match trim.keep {
        Keep::Newest(_) => stream.len().to_string().into_bytes(),
        Keep::From(_) => stream.first_kept_id().text().as_bytes().to_vec(),
    }
}

/// The threshold that leaves what there is, where entries before it may have been removed one by one.
pub(super) fn threshold_of_the_rest(stream: &Stream, trim: &Trim) -> Vec<u8> {
    match trim.keep {
        Keep::Newest(_) => stream.len().to_string().into_bytes(),
        Keep::From(_) if stream.is_empty() => StreamId::MAX.text().as_bytes().to_vec(),
        Keep::From(_) => stream.facts().first_id.text().as_bytes().to_vec(),
    }
}
