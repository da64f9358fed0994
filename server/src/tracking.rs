//! Client-side caching: who may hold which keys in a cache of its own, and telling it when they change.
//!
//! A client that tracks is remembered with each key it reads, until that key changes or is forgotten for there being
//! too many; in the broadcasting mode it names prefixes instead, and is told once a turn of all changed keys that
//! begin with them. Keys of all databases are one space, as in Redis. What concerns the client that is being served
//! waits until its reply is written.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use redstart_common::command::spec::{Flags as RowFlags, Group};
use redstart_common::command::{CommandId, keys};
use redstart_common::resp::{Args, Proto, RespWrite};

pub use crate::client::caching::{Choice, Mode};
use crate::client::{Client, Clients, Flags};

/// Where clients of RESP2 hear of changed keys.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// Keys forgotten in a turn when there are too many; more with each turn in which that was not enough.
const FORGOTTEN_MAX: usize = 100;

/// Clients that named a prefix, and keys that changed in this turn, with who changed them last.
#[derive(Default)]
struct Prefix {
    clients: BTreeSet<u64>,
    changed: BTreeMap<Box<[u8]>, u64>,
}

/// Who tracks what.
#[derive(Default)]
pub struct Tracking {
    clients: usize,
    keys: HashMap<Box<[u8]>, HashSet<u64, foldhash::fast::FixedState>, foldhash::fast::RandomState>,
    items: usize,
    prefixes: BTreeMap<Box<[u8]>, Prefix>,
    changed: bool,
    /// What waits for the served client's reply: who is to be told, and of which key; none is all.
    pending: Vec<(u64, Option<Box<[u8]>>)>,
    /// Turns in a row that ended with too many keys.
    crowded: usize,
}

/// What a client is told.
#[derive(Clone, Copy)]
enum Body<'a> {
    /// The encoded array of keys.
    Keys(&'a [u8]),
    /// All keys.
    Everything,
}

fn encoded<'k>(keys: impl ExactSizeIterator<Item = &'k [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    out.array_len(keys.len());
    keys.for_each(|key| out.bulk(key));
    out
}

fn find<'c>(
    clients: &'c mut Clients,
    current: &'c mut Option<&mut Client>,
    id: u64,
) -> Option<&'c mut Client> {
    match current {
        Some(client) if client.id == id => Some(&mut **client),
        _ => clients.by_id(id),
    }
}

/// Tells whoever is to hear it for the tracking client `id`.
fn tell(clients: &mut Clients, mut current: Option<&mut Client>, id: u64, body: Body<'_>) {
    let Some(client) = find(clients, &mut current, id) else { return };
    let Some(mode) = &mut client.tracking else { return };
    // In the words of who tracks, even if another hears them.
    let mut everything = Vec::new();
    everything.null(client.reply.proto);
    let redirect = mode.redirect;
    let hearer = if redirect == 0 {
        client
    } else {
        let gone = clients.slot_of(redirect).is_none();
        let Some(client) = find(clients, &mut current, id) else { return };
        if gone {
            if let Some(mode) = &mut client.tracking {
                mode.broken = true;
            }
            if client.reply.proto == Proto::Resp3 {
                client.reply.push(2);
                client.reply.bulk(b"tracking-redir-broken");
                client.reply.integer(redirect as i64);
                client.mark();
            }
            return;
        }
        let Some(hearer) = find(clients, &mut current, redirect) else { return };
        hearer
    };
    if hearer.reply.proto == Proto::Resp3 {
        hearer.reply.push(2);
        hearer.reply.bulk(b"invalidate");
    } else if redirect != 0 && hearer.flags.any(Flags::SUBSCRIBED) {
        hearer.reply.array(3);
        hearer.reply.bulk(b"message");
        hearer.reply.bulk(CHANNEL);
    } else {
        return;
    }
    hearer.reply.raw(match body {
        Body::Keys(keys) => keys,
        Body::Everything => &everything,
    });
    hearer.mark();
}

impl Tracking {
    /// Whether nobody tracks, and no key is remembered.
    #[inline]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.clients == 0
    }

    /// Clients that track.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.clients
    }

    /// Remembered keys, and clients remembered with them.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize) {
        (self.keys.len(), self.items)
    }

    /// Prefixes that somebody named.
    #[must_use]
    pub fn prefix_count(&self) -> usize {
        self.prefixes.len()
    }

    /// Has a client track from now on; what it named before stays named.
    pub fn enable(&mut self, client: &mut Client, mut mode: Mode) {
        if let Some(prefixes) = &mut mode.prefixes {
            for prefix in &*prefixes {
                self.prefixes.entry(prefix.clone()).or_default().clients.insert(client.id);
            }
            if let Some(Mode { prefixes: Some(old), .. }) = client.tracking.as_deref_mut() {
                prefixes.append(old);
            }
        }
        if client.tracking.replace(Box::new(mode)).is_none() {
            self.clients += 1;
        }
        client.flags.set(Flags::TRACKING);
    }

    /// Has a client track no more. It is left with its keys, which costs nothing until they change.
    pub fn disable(&mut self, client: &mut Client) {
        let Some(mode) = client.tracking.take() else { return };
        client.flags.clear(Flags::TRACKING);
        self.clients -= 1;
        if self.clients == 0 {
            self.keys = HashMap::default();
            self.items = 0;
        }
        for prefix in mode.prefixes.into_iter().flatten() {
            if let Some(named) = self.prefixes.get_mut(&prefix) {
                named.clients.remove(&client.id);
                if named.clients.is_empty() {
                    self.prefixes.remove(&prefix);
                }
            }
        }
    }

    /// Remembers a client with the keys of a command that it has run.
    pub fn remember(&mut self, client: &Client, id: CommandId, args: Args<'_>) {
        let row = id.spec();
        let reads = row.flags.contains(RowFlags::READONLY) && !row.flags.contains(RowFlags::PUBSUB);
        // A script's keys are remembered when it reads.
        if reads && row.group != Group::Scripting && !client.flags.any(Flags::SCRIPT) {
            self.remember_keys(client, id, args);
        }
    }

    /// Remembers the keys that a client's call names, if it wants that.
    pub fn remember_keys(&mut self, client: &Client, id: CommandId, args: Args<'_>) {
        let Some(mode) = &client.tracking else { return };
        let row = id.spec();
        let wanted = match mode.choice {
            Choice::All => mode.prefixes.is_none(),
            Choice::OptIn => mode.caching,
            Choice::OptOut => !mode.caching,
        };
        if !wanted {
            return;
        }
        for key in keys::positions(row, args).filter_map(|place| args.get(place)) {
            let ids = match self.keys.get_mut(key) {
                Some(ids) => ids,
                None => self.keys.entry(key.into()).or_default(),
            };
            self.items += usize::from(ids.insert(client.id));
        }
    }

    fn note_for_prefixes(&mut self, key: &[u8], by: u64) {
        for (prefix, named) in &mut self.prefixes {
            if key.starts_with(prefix) {
                named.changed.insert(key.into(), by);
                self.changed = true;
            }
        }
    }

    /// Forgets a key and tells those who were remembered with it. `current` is the client that is being served.
    fn forget(&mut self, clients: &mut Clients, current: Option<&mut Client>, key: &[u8]) {
        let Some(ids) = self.keys.remove(key) else { return };
        self.items -= ids.len();
        let mut current = current;
        let own = current.as_ref().map(|client| client.id);
        let body = encoded(std::iter::once(key));
        for id in ids {
            let is_current = own == Some(id);
            // Nobody is at the place of the client that is served, whoever asks.
            let is_served =
                is_current || (clients.slot_of(id).is_some() && clients.by_id(id).is_none());
            let mode = match &current {
                Some(client) if is_current => client.tracking.as_deref(),
                _ => clients.by_id(id).and_then(|client| client.tracking.as_deref()),
            };
            let skipped =
                mode.is_some_and(|mode| mode.prefixes.is_some() || (mode.no_loop && is_served));
            if skipped {
                continue;
            }
            if is_served {
                self.pending.push((id, Some(key.into())));
            } else if mode.is_some() {
                tell(clients, current.as_deref_mut(), id, Body::Keys(&body));
            }
        }
    }

    /// A key has changed by the hand of `current`.
    #[cold]
    pub fn changed(&mut self, clients: &mut Clients, current: &mut Client, key: &[u8]) {
        if !self.prefixes.is_empty() {
            self.note_for_prefixes(key, current.id);
        }
        self.forget(clients, Some(current), key);
    }

    /// Databases were emptied: all keys are forgotten, and all are told so.
    pub fn emptied(&mut self, clients: &mut Clients, current: &mut Client) {
        if self.is_idle() {
            return;
        }
        let tracking: Vec<u64> = clients
            .iter()
            .filter(|client| client.tracking.is_some())
            .map(|client| client.id)
            .collect();
        for id in tracking {
            tell(clients, Some(current), id, Body::Everything);
        }
        if current.tracking.is_some() {
            self.pending.push((current.id, None));
        }
        self.keys.clear();
        self.items = 0;
    }

    /// Tells what waited for the reply of `current`.
    #[cold]
    pub fn tell_pending(&mut self, clients: &mut Clients, mut current: Option<&mut Client>) {
        for (id, key) in std::mem::take(&mut self.pending) {
            match key {
                Some(key) => {
                    let body = encoded(std::iter::once(&*key));
                    tell(clients, current.as_deref_mut(), id, Body::Keys(&body));
                }
                None => tell(clients, current.as_deref_mut(), id, Body::Everything),
            }
        }
    }

    /// Tells those who named prefixes what has changed in this turn.
    pub fn broadcast(&mut self, clients: &mut Clients) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        for named in self.prefixes.values_mut() {
            let changed = std::mem::take(&mut named.changed);
            if changed.is_empty() {
                continue;
            }
            let all = encoded(changed.keys().map(|key| &**key));
            for id in &named.clients {
                let no_loop = clients
                    .by_id(*id)
                    .and_then(|client| client.tracking.as_ref())
                    .is_some_and(|mode| mode.no_loop);
                if !no_loop {
                    tell(clients, None, *id, Body::Keys(&all));
                    continue;
                }
                let others: Vec<&[u8]> =
                    changed.iter().filter(|(_, by)| *by != id).map(|(key, _)| &**key).collect();
                if !others.is_empty() {
                    tell(clients, None, *id, Body::Keys(&encoded(others.into_iter())));
                }
            }
        }
    }

    /// Forgets keys while there are more than `keys_max`; 0 is no limit.
    pub fn make_room(&mut self, clients: &mut Clients, keys_max: usize) {
        if keys_max == 0 || self.keys.len() <= keys_max {
            self.crowded = 0;
            return;
        }
        let excess = self.keys.len() - keys_max;
        let effort = FORGOTTEN_MAX * (self.crowded + 1);
        let some: Vec<Box<[u8]>> = self.keys.keys().take(excess.min(effort)).cloned().collect();
        for key in some {
            self.forget(clients, None, &key);
        }
        self.crowded = if excess > effort { self.crowded + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use redstart_common::resp::OwnedArgs;

    use super::*;

    const GET: CommandId = redstart_common::command::id_of("get");

    fn client(clients: &mut Clients, proto: Proto) -> u64 {
        let id = clients.new_id();
        let mut client = Box::new(Client::new(id, 0));
        client.reply.proto = proto;
        clients.add(client);
        id
    }

    fn with<R>(
        clients: &mut Clients,
        id: u64,
        body: impl FnOnce(&mut Clients, &mut Client) -> R,
    ) -> R {
        let slot = clients.slot_of(id).expect("it is there");
        let mut client = clients.take(slot).expect("it is in its place");
        let result = body(clients, &mut client);
        clients.put_back(client);
        result
    }

    fn said(clients: &mut Clients, id: u64) -> String {
        let client = clients.by_id(id).expect("it is there");
        let text = client.reply.output.waiting();
        client.reply.output.clear();
        String::from_utf8(text).expect("text")
    }

    fn read(tracking: &mut Tracking, clients: &mut Clients, id: u64, key: &str) {
        let args = OwnedArgs::from_slices(&["GET", key]);
        with(clients, id, |_, client| tracking.remember(client, GET, args.as_args()));
    }

    fn write(tracking: &mut Tracking, clients: &mut Clients, id: u64, key: &str) {
        with(clients, id, |clients, client| {
            tracking.changed(clients, client, key.as_bytes());
            tracking.tell_pending(clients, Some(client));
        });
    }

    const OF_K: &str = ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";

    #[test]
    fn readers_are_told_once() {
        let (mut tracking, mut clients) = (Tracking::default(), Clients::default());
        let reader = client(&mut clients, Proto::Resp3);
        let writer = client(&mut clients, Proto::Resp2);
        with(&mut clients, reader, |_, client| tracking.enable(client, Mode::default()));
        read(&mut tracking, &mut clients, reader, "k");
        assert_eq!(tracking.sizes(), (1, 1));
        write(&mut tracking, &mut clients, writer, "k");
        write(&mut tracking, &mut clients, writer, "k");
        assert_eq!(said(&mut clients, reader), OF_K);
        read(&mut tracking, &mut clients, reader, "k");
        write(&mut tracking, &mut clients, reader, "k");
        assert_eq!(said(&mut clients, reader), OF_K);
        assert_eq!(tracking.sizes(), (0, 0));
        let quiet = Mode { no_loop: true, ..Mode::default() };
        with(&mut clients, reader, |_, client| tracking.enable(client, quiet));
        read(&mut tracking, &mut clients, reader, "k");
        write(&mut tracking, &mut clients, reader, "k");
        assert_eq!(said(&mut clients, reader), "");
        with(&mut clients, reader, |_, client| tracking.disable(client));
        assert!(tracking.is_idle());
    }

    #[test]
    fn another_hears_it_on_a_channel_until_it_is_gone() {
        let (mut tracking, mut clients) = (Tracking::default(), Clients::default());
        let (reader, hearer) =
            (client(&mut clients, Proto::Resp3), client(&mut clients, Proto::Resp2));
        let mode = Mode { redirect: hearer, ..Mode::default() };
        with(&mut clients, reader, |_, client| tracking.enable(client, mode));
        clients.by_id(hearer).expect("there").flags.set(Flags::SUBSCRIBED);
        read(&mut tracking, &mut clients, reader, "k");
        write(&mut tracking, &mut clients, reader, "k");
        assert_eq!(
            said(&mut clients, hearer),
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\nk\r\n"
        );
        let slot = clients.slot_of(hearer).expect("there");
        clients.remove(slot);
        read(&mut tracking, &mut clients, reader, "k");
        write(&mut tracking, &mut clients, reader, "k");
        assert_eq!(
            said(&mut clients, reader),
            format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{hearer}\r\n")
        );
    }

    #[test]
    fn prefixes_gather_a_turn() {
        let (mut tracking, mut clients) = (Tracking::default(), Clients::default());
        let (reader, writer) =
            (client(&mut clients, Proto::Resp3), client(&mut clients, Proto::Resp3));
        let prefixes = Some(BTreeSet::from([Box::from(&b"a"[..]), Box::from(&b"b"[..])]));
        let mode = Mode { prefixes, no_loop: true, ..Mode::default() };
        with(&mut clients, reader, |_, client| tracking.enable(client, mode));
        for key in ["a1", "a2", "c"] {
            write(&mut tracking, &mut clients, writer, key);
        }
        write(&mut tracking, &mut clients, reader, "b1");
        tracking.broadcast(&mut clients);
        assert_eq!(
            said(&mut clients, reader),
            ">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n"
        );
        tracking.broadcast(&mut clients);
        assert_eq!(said(&mut clients, reader), "");
        with(&mut clients, reader, |_, client| tracking.disable(client));
        assert_eq!(tracking.prefix_count(), 0);
    }

    #[test]
    fn too_many_keys_are_forgotten_and_flushes_told() {
        let (mut tracking, mut clients) = (Tracking::default(), Clients::default());
        let reader = client(&mut clients, Proto::Resp3);
        with(&mut clients, reader, |_, client| tracking.enable(client, Mode::default()));
        for number in 0..250 {
            read(&mut tracking, &mut clients, reader, &number.to_string());
        }
        tracking.make_room(&mut clients, 10);
        assert_eq!(tracking.sizes(), (150, 150));
        tracking.make_room(&mut clients, 10);
        assert_eq!(tracking.sizes(), (10, 10));
        assert_eq!(said(&mut clients, reader).matches("invalidate").count(), 240);
        let writer = client(&mut clients, Proto::Resp2);
        with(&mut clients, writer, |clients, client| tracking.emptied(clients, client));
        assert_eq!(said(&mut clients, reader), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(tracking.sizes(), (0, 0));
    }
}
