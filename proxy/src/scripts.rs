//! The scripts that clients have shown: their bodies, by digest, so that a server which lacks one can be given it.
//!
//! A server keeps scripts for itself: one that restarts, joins or is promoted has none. Where a connection has not carried a
//! script yet, EVALSHA is sent as EVAL with the body; from then on as it is. The bodies of a pool are shared by all workers
//! and bounded; what each connection has carried is the connection's own.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha1::{Digest as _, Sha1};

/// Most bytes of bodies that are kept for a pool.
const BYTES_MAX: usize = 16 << 20;
/// Most bodies that are kept for a pool.
const COUNT_MAX: usize = 10_000;
/// Most digests that are noted of a connection, and most bodies that a worker recognises.
const NOTED_MAX: usize = 10_000;

/// What names a script: the SHA-1 of its body.
pub type Digest = [u8; 20];

/// The digest of a body.
#[must_use]
pub fn digest(body: &[u8]) -> Digest {
    Sha1::digest(body).into()
}

/// A digest as clients write it: forty hexadecimal digits.
#[must_use]
pub fn read_digest(text: &[u8]) -> Option<Digest> {
    let mut digest = [0; 20];
    if text.len() != 40 {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(text.chunks_exact(2)) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(digest)
}

/// Whether a reply says that the server lacks the script, so that nothing has run.
#[must_use]
pub fn is_missing(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOSCRIPT ")
        && (reply == b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
            || reply == b"-NOSCRIPT No matching script.\r\n")
}

#[derive(Debug, Default)]
struct Bodies {
    by_digest: HashMap<Digest, Arc<[u8]>>,
    /// Oldest first.
    order: VecDeque<Digest>,
    bytes: usize,
}

impl Bodies {
    fn remember(&mut self, digest: Digest, body: &[u8]) {
        if body.len() > BYTES_MAX || self.by_digest.contains_key(&digest) {
            return;
        }
        self.by_digest.insert(digest, body.into());
        self.order.push_back(digest);
        self.bytes += body.len();
        while self.bytes > BYTES_MAX || self.order.len() > COUNT_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            if let Some(body) = self.by_digest.remove(&oldest) {
                self.bytes -= body.len();
            }
        }
    }
}

/// The bodies of a pool's scripts. It is asked only for what a worker or a connection has not met before.
#[derive(Debug, Default)]
pub struct Scripts {
    bodies: Mutex<Bodies>,
    /// How often all were forgotten.
    flushes: AtomicU64,
}

impl Scripts {
    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of a script, if it is known.
    #[must_use]
    pub fn body(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        self.bodies().by_digest.get(digest).cloned()
    }

    /// Whether the body of a script is known.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.bodies().by_digest.contains_key(digest)
    }

    /// Forgets all of them.
    pub fn forget(&self) {
        *self.bodies() = Bodies::default();
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }
}

/// The bodies that a worker has met, told apart by a keyed hash, so that a digest is worked out once for each.
#[derive(Debug, Default)]
pub struct Met {
    seen: HashMap<u64, Digest>,
    keys: RandomState,
    flushes: u64,
}

impl Met {
    /// Takes note of a body that a client has shown, and gives its digest.
    pub fn note(&mut self, scripts: &Scripts, body: &[u8]) -> Digest {
        let flushes = scripts.flushes.load(Ordering::Relaxed);
        if flushes != self.flushes || self.seen.len() >= NOTED_MAX {
            self.seen.clear();
            self.flushes = flushes;
        }
        let digest = self.seen.entry(self.keys.hash_one(body)).or_insert_with(|| {
            let digest = digest(body);
            scripts.bodies().remember(digest, body);
            digest
        });
        *digest
    }
}

/// The digest of the script that a request asks for, where it is EVALSHA or EVALSHA_RO.
#[must_use]
pub fn asked_for(request: &[u8]) -> Option<Digest> {
    let mut words = request.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end());
    let name = words.nth(2)?;
    let is_asked =
        name.eq_ignore_ascii_case(b"EVALSHA") || name.eq_ignore_ascii_case(b"EVALSHA_RO");
    let text = words.nth(1).filter(|_| is_asked)?;
    read_digest(text)
}

/// The scripts that a connection has carried, which its server has unless they were flushed.
#[derive(Debug, Default)]
pub struct Carried(HashSet<Digest>);

impl Carried {
    /// Whether it has carried this one.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.contains(digest)
    }

    /// Whether it has carried none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// It carries this one.
    pub fn note(&mut self, digest: Digest) {
        if self.0.len() >= NOTED_MAX {
            self.0.clear();
        }
        self.0.insert(digest);
    }

    /// The server lacks this one.
    pub fn forget(&mut self, digest: &Digest) {
        self.0.remove(digest);
    }

    /// The server, or the connection, is another.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_in_either_case() {
        let wanted = digest(b"return 1");
        let text: String = wanted.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert_eq!(read_digest(text.as_bytes()), Some(wanted));
        assert_eq!(read_digest(text.to_uppercase().as_bytes()), Some(wanted));
        for wrong in [&text[1..], "", &text.replace('e', "g")] {
            assert_eq!(read_digest(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_request_asks_for_is_seen_in_its_bytes() {
        let wanted = digest(b"return 1");
        let text = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        let request = |name: &str, text: &str| {
            format!("*3\r\n${}\r\n{name}\r\n${}\r\n{text}\r\n$1\r\n0\r\n", name.len(), text.len())
        };
        for name in ["EVALSHA", "evalsha_ro"] {
            assert_eq!(asked_for(request(name, text).as_bytes()), Some(wanted));
        }
        for other in
            [request("EVAL", text), request("EVALSHA", "x"), request("EVALSHA", &text[1..])]
        {
            assert_eq!(asked_for(other.as_bytes()), None, "{other}");
        }
        assert_eq!(asked_for(b"*1\r\n$7\r\nEVALSHA\r\n"), None);
        assert_eq!(asked_for(b""), None);
    }

    #[test]
    fn the_oldest_bodies_go_first() {
        let (scripts, mut met) = (Scripts::default(), Met::default());
        let body = |number: usize| vec![number as u8; BYTES_MAX / 4];
        let digests: Vec<Digest> = (0..5).map(|number| met.note(&scripts, &body(number))).collect();
        assert!(scripts.body(&digests[0]).is_none());
        for (number, digest) in digests.iter().enumerate().skip(1) {
            assert_eq!(scripts.body(digest).as_deref(), Some(&body(number)[..]));
        }
        assert!(scripts.bodies().bytes <= BYTES_MAX);
        let huge = met.note(&scripts, &vec![b'x'; BYTES_MAX + 1]);
        assert!(scripts.body(&huge).is_none() && scripts.body(&digests[4]).is_some());
    }

    #[test]
    fn what_was_flushed_is_learnt_again_when_it_is_shown_again() {
        let (scripts, mut met) = (Scripts::default(), Met::default());
        let digest = met.note(&scripts, b"return 2");
        assert!(scripts.body(&digest).is_some());
        scripts.forget();
        assert!(scripts.body(&digest).is_none());
        assert_eq!(met.note(&scripts, b"return 2"), digest);
        assert!(scripts.body(&digest).is_some());
    }

    #[test]
    fn only_the_servers_own_word_says_that_a_script_is_missing() {
        assert!(is_missing(b"-NOSCRIPT No matching script. Please use EVAL.\r\n"));
        assert!(is_missing(b"-NOSCRIPT No matching script.\r\n"));
        assert!(!is_missing(b"-NOSCRIPT says the script itself\r\n"));
        assert!(!is_missing(b"+NOSCRIPT No matching script.\r\n"));
    }
}
