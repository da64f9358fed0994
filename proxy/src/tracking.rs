//! Client-side caching: which clients hold which keys in caches of their own, and what servers say of keys that change.
//!
//! ```text
//!   client::tracking ──reads──▶ table ◀──changed keys── link (CLIENT TRACKING ON BCAST) ◀── server
//!   clients ◀──────invalidate────┘
//! ```
//!
//! A worker whose clients track has one connection to each server that tells every key that changes there; who is to hear of
//! it is known here. Reads go on other connections, so that a change may be heard before the reply that it concerns: then it
//! is said again behind that reply. Where a server cannot be heard, what was read from it is said to have changed at once, and
//! all that was read before when it is lost. It knows no sockets and no clock.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use redstart_common::resp::{Reader, Value};
use smallvec::SmallVec;

use crate::client::ClientId;
use crate::pubsub::post::Post;
use crate::topology::ServerId;

/// Keys that a worker remembers at most, and their bytes.
const KEYS_MAX: usize = 1_000_000;
const BYTES_MAX: usize = 64 << 20;
/// What a key is counted as, beside its bytes.
const KEY_COST: usize = 64;
/// Readers of a key after which those that are there twice are looked for.
const READERS_MANY: usize = 64;

/// Who has read a key, and in which request last.
type Readers = SmallVec<[(ClientId, u32); 1]>;

/// Who has read what.
#[derive(Debug, Default)]
pub struct Table {
    keys: HashMap<Arc<[u8]>, Readers>,
    /// In the order in which they were read first; some are forgotten already.
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Table {
    /// A client reads a key in the request of this number. The key that is forgotten for it, if there are too many, is said
    /// to have changed to those who have read it.
    pub fn note(
        &mut self,
        key: &[u8],
        client: ClientId,
        sequence: u32,
    ) -> Option<(Arc<[u8]>, Readers)> {
        self.note_within(key, client, sequence, KEYS_MAX, BYTES_MAX)
    }

    fn note_within(
        &mut self,
        key: &[u8],
        client: ClientId,
        sequence: u32,
        keys_max: usize,
        bytes_max: usize,
    ) -> Option<(Arc<[u8]>, Readers)> {
        if let Some(readers) = self.keys.get_mut(key) {
            let mut latest = readers.iter_mut().rev().take(8);
            match latest.find(|(other, _)| *other == client) {
                Some(reader) => reader.1 = sequence,
                None => readers.push((client, sequence)),
            }
            if readers.len() >= READERS_MANY && readers.len().is_power_of_two() {
                // The last of a client's counts.
                let unique: HashMap<ClientId, u32> = readers.drain(..).collect();
                readers.extend(unique);
            }
            return None;
        }
        let name: Arc<[u8]> = key.into();
        self.bytes += key.len() + KEY_COST;
        self.keys.insert(Arc::clone(&name), SmallVec::from_slice(&[(client, sequence)]));
        self.order.push_back(name);
        if self.order.len() > 2 * self.keys.len() + 1024 {
            let keys = &self.keys;
            self.order.retain(|name| is_same(keys, name));
        }
        if self.keys.len() > keys_max || self.bytes > bytes_max {
            while let Some(oldest) = self.order.pop_front() {
                if is_same(&self.keys, &oldest) {
                    let readers = self.take(&oldest).unwrap_or_default();
                    return Some((oldest, readers));
                }
            }
        }
        None
    }

    /// A key has changed: who has read it is to be told, and is forgotten.
    pub fn take(&mut self, key: &[u8]) -> Option<Readers> {
        let readers = self.keys.remove(key)?;
        self.bytes = self.bytes.saturating_sub(key.len() + KEY_COST);
        Some(readers)
    }

    /// Everything is forgotten.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Keys that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Whether a name in the order is the one that is remembered, rather than that of the same key in former times.
fn is_same(keys: &HashMap<Arc<[u8]>, Readers>, name: &Arc<[u8]>) -> bool {
    keys.get_key_value(name).is_some_and(|(other, _)| Arc::ptr_eq(name, other))
}

/// The connection that tells of a server's keys.
#[derive(Debug, Default)]
pub struct Link {
    /// What it is driven by.
    pub post: Post,
    /// The server tells of every change from now on.
    pub is_active: bool,
    /// The log has been told that it does not.
    pub is_told: bool,
}

/// Who tracks in a pool, on one worker.
#[derive(Debug, Default)]
pub struct Tracking {
    /// The clients that track.
    pub clients: Vec<ClientId>,
    /// Of those that track what they read: what that is.
    pub table: Table,
    links: HashMap<ServerId, Link>,
    wanted: Vec<ServerId>,
    numbers: u64,
    /// Since when nobody tracks.
    idle_us: Option<u64>,
}

impl Tracking {
    /// These servers are to be heard, and no others. Says whether one of them was heard before, and is no more.
    pub fn hear_from(&mut self, servers: &[ServerId]) -> bool {
        let mut was_heard = false;
        self.links.retain(|server, link| {
            let stays = servers.contains(server);
            was_heard |= !stays && link.is_active;
            if !stays {
                link.post.wake();
            }
            stays
        });
        self.wanted.retain(|server| servers.contains(server));
        for server in servers {
            if !self.links.contains_key(server) {
                self.numbers += 1;
                let post = Post { number: self.numbers, ..Post::default() };
                self.links.insert(*server, Link { post, ..Link::default() });
                self.wanted.push(*server);
            }
        }
        was_heard
    }

    /// Whether a server tells of every change.
    #[must_use]
    pub fn hears(&self, server: ServerId) -> bool {
        self.links.get(&server).is_some_and(|link| link.is_active)
    }

    /// Whether all servers do.
    #[must_use]
    pub fn hears_all(&self) -> bool {
        self.links.values().all(|link| link.is_active)
    }

    /// A link, unless its server has no say any more.
    pub fn link_mut(&mut self, server: ServerId) -> Option<&mut Link> {
        self.links.get_mut(&server)
    }

    /// All links.
    pub fn links_mut(&mut self) -> impl Iterator<Item = (ServerId, &mut Link)> {
        self.links.iter_mut().map(|(server, link)| (*server, link))
    }

    /// A link is opened again.
    pub fn reopen(&mut self, server: ServerId) {
        if let Some(link) = self.links.get_mut(&server) {
            self.numbers += 1;
            link.post.number = self.numbers;
            link.post.wake();
            self.wanted.push(server);
        }
    }

    /// The servers to which links are to be opened, since the last call.
    pub fn take_wanted(&mut self) -> Vec<ServerId> {
        std::mem::take(&mut self.wanted)
    }

    /// Whether anybody tracks.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether servers are heard, and nobody has tracked for so long.
    pub fn is_idle(&mut self, now_us: u64, idle_us: u64) -> bool {
        if self.is_used() || self.links.is_empty() {
            self.idle_us = None;
            return false;
        }
        *self.idle_us.get_or_insert(now_us) + idle_us <= now_us
    }

    /// Whether links are to be opened.
    #[must_use]
    pub fn has_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }
}

/// What a server says on such a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// These keys have changed.
    Changed(Vec<&'a [u8]>),
    /// All have.
    AllChanged,
    /// Nothing of interest.
    Alive,
}

/// Reads a whole frame. `None` is for what no such connection says.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Said<'_>> {
    if frame.first() == Some(&b'+') {
        return Some(Said::Alive);
    }
    let mut reader = Reader::new(frame);
    let Value::Push(2) = reader.read()? else { return None };
    if reader.read()?.bytes()? != b"invalidate" {
        return None;
    }
    match reader.read()? {
        Value::Null => Some(Said::AllChanged),
        Value::Array(count) => {
            let keys: Option<Vec<&[u8]>> = (0..count).map(|_| reader.read()?.bytes()).collect();
            keys.map(Said::Changed)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn client(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    fn server(number: u32) -> ServerId {
        ServerId::new(number)
    }

    #[test]
    fn who_has_read_a_key_hears_of_it_once() {
        let mut table = Table::default();
        table.note(b"k", client(1), 5);
        table.note(b"k", client(2), 6);
        table.note(b"k", client(1), 9);
        table.note(b"other", client(1), 10);
        assert_eq!(table.take(b"k").as_deref(), Some(&[(client(1), 9), (client(2), 6)][..]));
        assert_eq!(table.take(b"k"), None);
        assert_eq!((table.len(), table.bytes), (1, 5 + KEY_COST));
    }

    #[test]
    fn many_readers_are_kept_once_each() {
        let mut table = Table::default();
        for round in 0..50 {
            (0..100).for_each(|index| drop(table.note(b"k", client(index), round)));
        }
        let readers = table.take(b"k").expect("it was read");
        let unique: BTreeMap<u32, u32> = readers.iter().map(|(id, at)| (id.index, *at)).collect();
        assert_eq!(unique.len(), 100);
        assert!(readers.len() <= 256, "{}", readers.len());
        let latest =
            |index| readers.iter().filter(|(id, _)| *id == client(index)).map(|(_, at)| *at).max();
        assert!((0..100).all(|index| latest(index) == Some(49)));
    }

    proptest! {
        /// Whatever is read, changes and is forgotten: who has read a key is told of its next change, or that it is
        /// forgotten, and the bounds hold.
        #[test]
        fn nobody_is_left_with_a_key(steps in prop::collection::vec((0u8..3, 0u8..12, 0u32..3), 0..300)) {
            let (mut table, mut held) = (Table::default(), BTreeMap::<(u8, u32), ()>::new());
            for (what, key, one) in steps {
                let name = [key; 4];
                let told = match what {
                    0 => table.take(&name).map(|readers| (name.into(), readers)),
                    _ => {
                        held.insert((key, one), ());
                        table.note_within(&name, client(one), 0, 5, 6 * (4 + KEY_COST))
                    }
                };
                if let Some((name, readers)) = told {
                    for (id, _) in readers {
                        prop_assert!(held.remove(&(name[0], id.index)).is_some());
                    }
                    prop_assert!(!held.keys().any(|(key, _)| *key == name[0]));
                } else if what == 0 {
                    prop_assert!(!held.keys().any(|(other, _)| *other == key));
                }
                prop_assert!(table.len() <= 5);
                prop_assert_eq!(table.bytes, table.len() * (4 + KEY_COST));
            }
        }
    }

    #[test]
    fn servers_come_and_go() {
        let mut tracking = Tracking::default();
        assert!(!tracking.hear_from(&[server(1), server(2)]));
        assert_eq!(tracking.take_wanted(), [server(1), server(2)]);
        assert!(!tracking.hears(server(1)));
        tracking.link_mut(server(1)).expect("a link").is_active = true;
        assert!(tracking.hears(server(1)) && !tracking.hears_all());
        assert!(!tracking.hear_from(&[server(1), server(3)]), "the second was never heard");
        assert_eq!(tracking.take_wanted(), [server(3)]);
        let number = tracking.link_mut(server(3)).expect("a link").post.number;
        tracking.reopen(server(3));
        assert_ne!(tracking.link_mut(server(3)).expect("a link").post.number, number);
        assert_eq!(tracking.take_wanted(), [server(3)]);
        assert!(tracking.hear_from(&[]));
        assert!(tracking.hears_all() && !tracking.has_wanted());
    }

    #[test]
    fn what_servers_say_is_read() {
        let keys = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\nbb\r\n";
        assert_eq!(read(keys), Some(Said::Changed(vec![b"a", b"bb"])));
        assert_eq!(read(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), Some(Said::AllChanged));
        assert_eq!(read(b"+PONG\r\n"), Some(Said::Alive));
        for wrong in [&b":1\r\n"[..], b"-ERR no\r\n", b">2\r\n$7\r\nmessage\r\n$1\r\nc\r\n", b""] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
