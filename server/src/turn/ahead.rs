//! Looking ahead: requests that are read but not yet run, and what memory they will ask for.
//!
//! Looking a key up in a large keyspace waits for memory twice, for a bucket and for an entry, and a member of a
//! large collection twice more. A processor can wait for many places at once, but only if it is told of them before
//! it needs the first. So requests that arrived together, of one client or of many, are first all scanned and their
//! places asked for, step by step, and then run in their order:
//!
//! ```text
//!   scan and hash all ─▶ buckets of keys ─▶ entries ─▶ buckets of members ─▶ members ─▶ run one after the other
//! ```
//!
//! All of it is a hint: what a request does when it runs is found anew.

use std::ops::Range;
use std::sync::OnceLock;

use redstart_common::command::{self, CommandId, Resolved, keys};
use redstart_common::resp::{Args, Limits, RequestScanner, Span};

use crate::encoding::table;
use crate::keyspace::{Db, Keyspace};

/// Requests that are looked at together, at most.
const REQUESTS_MAX: usize = 128;
/// Keys that are asked for together, at most: they shall still be in the cache when their request runs.
const TOUCHES_MAX: usize = 256;
/// Places of arguments that are kept allocated.
const SPANS_KEPT: usize = 8192;
/// Keys of one request that are asked for, at most.
const KEYS_MAX: usize = 32;

/// A request that was scanned.
struct Request {
    row: CommandId,
    spans: Range<usize>,
    start: usize,
    end: usize,
}

/// A place that will be looked up.
struct Touch {
    db: usize,
    key: u64,
    member: Option<u64>,
}

/// Why a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is room for no more; go on behind the last request.
    Full,
    /// The last request is not complete.
    Incomplete,
    /// What follows must be looked at by itself: an inline request, a fault, a name that no row has.
    Irregular,
}

/// Scanned requests, and the places they will ask for.
#[derive(Default)]
pub struct Ahead {
    requests: Vec<Request>,
    spans: Vec<Span>,
    touches: Vec<Touch>,
}

impl Ahead {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT);
        self.touches.clear();
    }

    /// Requests scanned so far.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether no request has been scanned.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether there is room for more requests.
    pub fn has_room(&self) -> bool {
        self.requests.len() < REQUESTS_MAX && self.touches.len() < TOUCHES_MAX
    }

    /// A scanned request: its row, its arguments in `work`, and where it ends there.
    pub fn request<'a>(&'a self, index: usize, work: &'a [u8]) -> (CommandId, Args<'a>, usize) {
        let request = &self.requests[index];
        let args = Args::new(&work[request.start..], &self.spans[request.spans.clone()]);
        (request.row, args, request.end)
    }

    /// Scans requests of `work` from `start` on, of a client that uses `db`.
    ///
    /// The scanner is at the start of a request afterwards, unless the last one was incomplete.
    pub fn scan(
        &mut self,
        scanner: &mut RequestScanner,
        work: &[u8],
        start: usize,
        limits: &Limits,
        db: &Db,
    ) -> Ended {
        if limits.unauthenticated {
            return Ended::Irregular;
        }
        let mut start = start;
        let mut last_key: &[u8] = b"";
        while self.has_room() {
            let rest = &work[start..];
            match scanner.scan(rest, limits) {
                Ok(Some(length)) => {
                    let args = scanner.args(rest);
                    let Some(row) = row_of(args).filter(|_| !scanner.is_unquoted()) else {
                        *scanner = RequestScanner::new();
                        return Ended::Irregular;
                    };
                    let spec = command::spec(row);
                    if spec.accepts_count(args.len()) {
                        let member = member_at(row).and_then(|at| args.get(at));
                        for position in keys::positions(spec, args).take(KEYS_MAX) {
                            let Some(key) = args.get(position) else { break };
                            if member.is_none() && key == last_key {
                                continue;
                            }
                            let member = member.map(table::hash);
                            let touch = Touch { db: db.index(), key: db.hash(key), member };
                            self.touches.push(touch);
                            last_key = &rest[args.spans()[position].start as usize..][..key.len()];
                        }
                    }
                    let first = self.spans.len();
                    self.spans.extend_from_slice(scanner.spans());
                    let spans = first..self.spans.len();
                    self.requests.push(Request { row, spans, start, end: start + length });
                    start += length;
                }
                Ok(None) => return Ended::Incomplete,
                Err(_) => {
                    *scanner = RequestScanner::new();
                    return Ended::Irregular;
                }
            }
        }
        Ended::Full
    }

    /// Asks the processor for all places that the scanned requests will look at.
    pub fn prefetch(&self, keyspace: &Keyspace) {
        // For a single place there is nothing to be done meanwhile.
        if self.touches.len() < 2 {
            return;
        }
        for touch in &self.touches {
            keyspace.dbs[touch.db].prefetch(touch.key);
        }
        for touch in &self.touches {
            keyspace.dbs[touch.db].prefetch_entry(touch.key);
        }
        let members = || {
            self.touches.iter().filter_map(|touch| {
                let member = touch.member?;
                keyspace.dbs[touch.db].guess(touch.key)?.object().map(|object| (object, member))
            })
        };
        members().for_each(|(object, member)| object.prefetch(member));
        members().for_each(|(object, member)| object.prefetch_item(member));
    }
}

fn row_of(args: Args<'_>) -> Option<CommandId> {
    match command::resolve(args.get(0)?, args.get(1)) {
        Resolved::Command(row) => Some(row),
        _ => None,
    }
}

/// The argument of a row's calls that names a member of the collection at the key, if there is one.
#[inline]
fn member_at(row: CommandId) -> Option<usize> {
    static MEMBERS: OnceLock<Vec<u8>> = OnceLock::new();
    let members = MEMBERS.get_or_init(|| {
        let mut places = vec![0; command::count()];
        for (at, names) in [
            (2, &["sadd", "srem", "sismember", "smismember"][..]),
            (2, &["hget", "hset", "hsetnx", "hdel", "hexists", "hmget", "hmset", "hstrlen"]),
            (2, &["hincrby", "hincrbyfloat", "zrem", "zscore", "zmscore", "zrank", "zrevrank"]),
            (3, &["zadd", "zincrby"]),
        ] {
            for name in names {
                if let Some(row) = command::lookup(name.as_bytes()) {
                    places[row.index()] = at;
                }
            }
        }
        places
    });
    match members[row.index()] {
        0 => None,
        at => Some(usize::from(at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::Deadline;

    fn scanned(work: &[u8]) -> (Ahead, Ended, bool) {
        let (mut ahead, mut scanner) = (Ahead::default(), RequestScanner::new());
        let ended = ahead.scan(&mut scanner, work, 0, &Limits::default(), &Keyspace::new(1).dbs[0]);
        (ahead, ended, scanner.is_inside())
    }

    fn names(ahead: &Ahead, work: &[u8]) -> Vec<(&'static str, usize, usize)> {
        let all = (0..ahead.len()).map(|index| ahead.request(index, work));
        all.map(|(row, args, end)| (row.spec().name, args.len(), end)).collect()
    }

    #[test]
    fn an_incomplete_request_is_left_for_later() {
        let work = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGET\r\n$5\r\nab";
        let (ahead, ended, inside) = scanned(work);
        assert_eq!((ended, inside), (Ended::Incomplete, true));
        assert_eq!(names(&ahead, work), [("get", 2, 20)]);
    }

    #[test]
    fn what_is_not_plain_ends_the_look() {
        for rest in
            [&b"GET \"k\"\r\n"[..], b"*1\r\n$4\r\nNONE\r\n", b"*1\r\nx\r\n", b"*0\r\n", b"\r\n"]
        {
            let mut work = b"*1\r\n$4\r\nPING\r\n".to_vec();
            work.extend_from_slice(rest);
            let (ahead, ended, inside) = scanned(&work);
            assert_eq!((ended, inside), (Ended::Irregular, false), "{}", rest.escape_ascii());
            assert_eq!(names(&ahead, &work), [("ping", 1, 14)]);
        }
    }

    #[test]
    fn requests_and_keys_are_bounded() {
        let work = b"*1\r\n$4\r\nPING\r\n".repeat(REQUESTS_MAX + 1);
        let (ahead, ended, _) = scanned(&work);
        assert_eq!((ended, ahead.len()), (Ended::Full, REQUESTS_MAX));
        let many: Vec<u8> =
            (0..100).flat_map(|n| format!("$3\r\nk{n:02}\r\n").into_bytes()).collect();
        let mut work = b"*101\r\n$3\r\nDEL\r\n".to_vec();
        work.extend_from_slice(&many);
        let (ahead, _, _) = scanned(&work);
        assert_eq!(ahead.touches.len(), KEYS_MAX);
    }

    #[test]
    fn asking_for_places_changes_nothing() {
        let mut keyspace = Keyspace::new(1);
        for n in 0..100 {
            let key = format!("k{n}");
            keyspace.dbs[0].set_string(key.as_bytes(), b"value", Deadline::Clear);
        }
        let work = b"*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n*3\r\n$4\r\nSADD\r\n$2\r\nk2\r\n$1\r\nm\r\n*2\r\n$3\r\nGET\r\n$2\r\nno\r\n";
        let (ahead, ended, _) = scanned(work);
        assert_eq!((ended, ahead.touches.len()), (Ended::Incomplete, 3));
        ahead.prefetch(&keyspace);
        keyspace.dbs[0].check();
        assert_eq!(keyspace.dbs[0].len(), 100);
    }
}
