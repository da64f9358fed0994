//! One connected client: what it has said about itself and what waits to be sent to it.

pub mod blocked;
pub mod caching;
mod line;
pub mod multi;
pub mod output;
pub mod reply;
pub mod subscriptions;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::command::CommandId;

pub use self::blocked::Blocked;
pub use self::line::{allocated_bytes, describe, facts};
pub use self::multi::{Multi, Queued};
pub use self::reply::{Open, Reply};

/// States of a client that refuse, delay or colour what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u32);

impl Flags {
    /// In MULTI.
    pub const MULTI: Self = Self(1);
    /// A command failed to be queued; EXEC will refuse.
    pub const DIRTY_EXEC: Self = Self(1 << 1);
    /// A watched key has changed; EXEC will answer nothing.
    pub const DIRTY_CAS: Self = Self(1 << 2);
    /// Waits in a blocking command.
    pub const BLOCKED: Self = Self(1 << 3);
    /// Is closed once its output is sent; asks nothing more.
    pub const CLOSE_AFTER_REPLY: Self = Self(1 << 4);
    /// Is closed as soon as possible.
    pub const CLOSE_ASAP: Self = Self(1 << 5);
    /// Gets copies of all commands.
    pub const MONITOR: Self = Self(1 << 6);
    /// Is subscribed to something.
    pub const SUBSCRIBED: Self = Self(1 << 7);
    /// CLIENT REPLY OFF.
    pub const REPLY_OFF: Self = Self(1 << 8);
    /// CLIENT REPLY SKIP: the next command's reply is left out.
    pub const REPLY_SKIP_NEXT: Self = Self(1 << 9);
    /// This command's reply is left out.
    pub const REPLY_SKIP: Self = Self(1 << 10);
    /// Came over a Unix socket.
    pub const UNIX: Self = Self(1 << 11);
    /// CLIENT NO-EVICT.
    pub const NO_EVICT: Self = Self(1 << 12);
    /// Its commands wait for CLIENT UNPAUSE.
    pub const PAUSED: Self = Self(1 << 13);
    /// Runs inside EXEC.
    pub const EXECUTING: Self = Self(1 << 14);
    /// Must not block, whatever the command.
    pub const DENY_BLOCKING: Self = Self(1 << 15);
    /// Was waiting and is being served: its command runs again.
    pub const SERVING: Self = Self(1 << 16);
    /// Caches what it reads, and is told when that changes.
    pub const TRACKING: Self = Self(1 << 17);
    /// Its user may not do everything: each call is looked at.
    pub const RESTRICTED: Self = Self(1 << 18);

    /// Is a replica: its output is the stream.
    pub const REPLICA: Self = Self(1 << 19);
    /// Has written something: WAIT waits for it.
    pub const WROTE: Self = Self(1 << 20);
    /// Was told in this turn what is not on the disk yet: it hears of it once it is.
    pub const AWAITS_LOG: Self = Self(1 << 21);
    /// Is among those whose replies wait for the disk.
    pub const HELD: Self = Self(1 << 22);
    /// A script that it has called calls the commands.
    pub const SCRIPT: Self = Self(1 << 23);

    /// READONLY: reads of what this server's primary owns are served.
    pub const READS_REPLICA: Self = Self(1 << 24);
    /// ASKING: the next command may name keys of a slot that is on its way here.
    pub const ASKING: Self = Self(1 << 25);
    /// CLIENT CAPA REDIRECT: where this server is a replica, it wants to be told of the primary.
    pub const FOLLOWS: Self = Self(1 << 27);
    /// CLIENT NO-TOUCH: what it reads is not thereby used.
    pub const NO_TOUCH: Self = Self(1 << 26);

    /// It brings slots that another node hands over as one step: it executes what is to be so, and nobody hears the replies.
    pub const IMPORT: Self = Self(1 << 28);

    /// SCRIPT DEBUG: its scripts are debugged.
    pub const DEBUGS: Self = Self(1 << 29);
    /// SCRIPT DEBUG SYNC: they are so in the server itself, not in a child.
    pub const DEBUGS_HERE: Self = Self(1 << 30);

    /// Came by TLS.
    pub const BY_TLS: Self = Self(1 << 31);

    /// Whether any of `other`'s flags is set.
    #[inline]
    #[must_use]
    pub fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets flags.
    #[inline]
    pub fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Takes flags away.
    #[inline]
    pub fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Both sets of flags.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Origin {
    /// A client.
    #[default]
    Client,
    /// The primary's stream: what it says is obeyed.
    Primary,
    /// The append-only file: what it says has happened.
    Log,
}

/// How the engine reaches a client's connection.
pub trait Connection {
    /// Output is waiting: send it at the end of the turn.
    fn mark(self: Rc<Self>);
    /// The client's state changed (served, closed, unpaused): let its task look.
    fn wake(&self);
    /// Bytes of requests that have been read but not executed.
    fn input_bytes(&self) -> usize;
    /// Bytes the connection has allocated for input.
    fn input_capacity(&self) -> usize;
    /// About how many bytes its transport holds that are on their way: those of TLS.
    fn transport_bytes(&self) -> usize;
    /// The file descriptor, for CLIENT LIST.
    fn descriptor(&self) -> i32;
    /// Has what is sent gathered into larger packets: `repl-disable-tcp-nodelay`.
    fn gather_packets(&self);
    /// Reads what comes, past the runtime, and waits for it.
    ///
    /// # Errors
    /// The socket's.
    fn read_waiting(&self, room: &mut [u8]) -> io::Result<usize>;
    /// Sends all of `bytes`, past the runtime and what waits for the end of the turn, and waits for the socket for no longer than
    /// `most` at once.
    ///
    /// # Errors
    /// The socket's; `TimedOut`.
    fn write_waiting(&self, bytes: &[u8], most: Duration) -> io::Result<()>;
    /// Forgets the client and leaves the connection to another process that has it too.
    fn let_go(&self);
    /// The connection itself, for the layer that knows what it is.
    fn as_any(self: Rc<Self>) -> Rc<dyn std::any::Any>;
}

/// A client as the engine sees it.
pub struct Client {
    /// Unique, ever growing.
    pub id: u64,
    /// Its place among the clients.
    pub slot: usize,
    /// Where its calls come from.
    pub origin: Origin,
    /// Its connection; none for the engine's own (scripts, log replay).
    pub connection: Option<Rc<dyn Connection>>,
    /// The selected database.
    pub db: usize,
    /// Output.
    pub reply: Reply,
    /// States.
    pub flags: Flags,
    /// Whether it may ask for more than AUTH.
    pub authenticated: bool,
    /// The ACL user.
    pub user: Rc<[u8]>,
    /// CLIENT SETNAME.
    pub name: Vec<u8>,
    /// CLIENT SETINFO: the name of its library, and the version.
    pub library: Option<Box<[Vec<u8>; 2]>>,
    /// Where it comes from: `ip:port`.
    pub address: String,
    /// Where it came in: `ip:port`.
    pub local_address: String,
    /// When it came, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it last asked, in milliseconds since 1970.
    pub active_ms: i64,
    /// The command it ran last.
    pub last_command: Option<CommandId>,
    /// MULTI's queue.
    pub multi: Option<Box<Multi>>,
    /// WATCHed keys, with their database.
    pub watched: Vec<(usize, Box<[u8]>)>,
    /// What it waits for.
    pub blocked: Option<Box<Blocked>>,
    /// The key that it is being served from after having waited for several.
    pub served_key: Option<Box<[u8]>>,
    /// Messages of RESP3 to itself that came while its transaction ran: they follow the transaction's reply.
    pub after_exec: Vec<u8>,
    /// Channels.
    pub channels: subscriptions::Subscriptions,
    /// How it is told of changes to what it has read, if it is.
    pub tracking: Option<Box<caching::Mode>>,
    /// Bytes received over its life.
    pub bytes_in: u64,
    /// Since when its output is over the soft limit, in milliseconds since 1970; 0 when it is not.
    pub soft_limit_since_ms: i64,
}

impl Client {
    /// How it came, which decides by what addresses it finds the nodes of a cluster.
    #[must_use]
    pub fn came(&self) -> crate::cluster::Came {
        crate::cluster::Came {
            by_ipv6: self.address.starts_with('['),
            by_tls: self.flags.any(Flags::BY_TLS),
        }
    }

    /// Whether it waits for the end of the server.
    #[must_use]
    pub fn waits_for_end(&self) -> bool {
        self.blocked.as_ref().is_some_and(|blocked| blocked.nothing == blocked::Nothing::Ended)
    }

    /// Has its request that was put off tried again.
    pub fn wake_if_paused(&mut self) {
        if self.flags.any(Flags::PAUSED) {
            self.flags.clear(Flags::PAUSED);
            if let Some(connection) = &self.connection {
                connection.wake();
            }
        }
    }

    /// A client without a connection.
    #[must_use]
    pub fn new(id: u64, now_ms: i64) -> Self {
        Self {
            id,
            slot: usize::MAX,
            origin: Origin::default(),
            connection: None,
            db: 0,
            reply: Reply::default(),
            flags: Flags::default(),
            authenticated: true,
            user: Rc::from(&b"default"[..]),
            name: Vec::new(),
            library: None,
            address: String::new(),
            local_address: String::new(),
            created_ms: now_ms,
            active_ms: now_ms,
            last_command: None,
            multi: None,
            watched: Vec::new(),
            blocked: None,
            served_key: None,
            after_exec: Vec::new(),
            channels: subscriptions::Subscriptions::default(),
            tracking: None,
            bytes_in: 0,
            soft_limit_since_ms: 0,
        }
    }

    /// Has the output sent at the end of the turn.
    pub fn mark(&self) {
        if let Some(connection) = &self.connection {
            Rc::clone(connection).mark();
        }
    }

    /// Closes the connection at the end of the turn; what is not sent is lost.
    pub fn close_asap(&mut self) {
        self.flags.set(Flags::CLOSE_ASAP);
        if let Some(connection) = &self.connection {
            Rc::clone(connection).mark();
            connection.wake();
        }
    }
}

/// All clients of an engine. One that is being served is taken out of its place meanwhile.
#[derive(Default)]
pub struct Clients {
    places: slab::Slab<Option<Box<Client>>>,
    by_id: hashbrown::HashMap<u64, usize, foldhash::fast::FixedState>,
    next_id: u64,
    /// What acts where no client asks; see [`Clients::take_nobody`].
    nobody: Option<Box<Client>>,
}

impl Clients {
    /// Has all requests that were put off tried again.
    pub fn wake_paused(&mut self) {
        for client in self.iter_mut() {
            client.wake_if_paused();
        }
    }

    /// Adds a client and answers its place.
    pub fn add(&mut self, mut client: Box<Client>) -> usize {
        let vacant = self.places.vacant_entry();
        client.slot = vacant.key();
        self.by_id.insert(client.id, client.slot);
        let slot = client.slot;
        vacant.insert(Some(client));
        slot
    }

    /// The next client's id.
    pub fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A client without a connection, for what the engine does by itself. It is given back with
    /// [`give_nobody`](Self::give_nobody), so that it is not made again each time.
    pub fn take_nobody(&mut self) -> Box<Client> {
        self.nobody.take().unwrap_or_else(|| Box::new(Client::new(0, 0)))
    }

    /// See [`take_nobody`](Self::take_nobody).
    pub fn give_nobody(&mut self, nobody: Box<Client>) {
        self.nobody = Some(nobody);
    }

    /// Takes a client out to serve it.
    #[inline]
    pub fn take(&mut self, slot: usize) -> Option<Box<Client>> {
        self.places.get_mut(slot)?.take()
    }

    /// Puts a client back that was taken out.
    #[inline]
    pub fn put_back(&mut self, client: Box<Client>) {
        let slot = client.slot;
        if let Some(place) = self.places.get_mut(slot) {
            *place = Some(client);
        }
    }

    /// Forgets a client. It must not be taken out.
    pub fn remove(&mut self, slot: usize) -> Option<Box<Client>> {
        let client = self.places.try_remove(slot)??;
        self.by_id.remove(&client.id);
        Some(client)
    }

    /// The place of the client with this id.
    #[must_use]
    pub fn slot_of(&self, id: u64) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// The client at a place, unless it is taken out.
    pub fn at(&mut self, slot: usize) -> Option<&mut Client> {
        self.places.get_mut(slot)?.as_deref_mut()
    }

    /// The client with this id, unless it is taken out.
    pub fn by_id(&mut self, id: u64) -> Option<&mut Client> {
        let slot = self.slot_of(id)?;
        self.at(slot)
    }

    /// The client with this id to look at, unless it is taken out.
    #[must_use]
    pub fn look(&self, id: u64) -> Option<&Client> {
        self.places.get(self.slot_of(id)?)?.as_deref()
    }

    /// All clients but those taken out.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.places.iter().filter_map(|(_, place)| place.as_deref())
    }

    /// All clients but those taken out.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.places.iter_mut().filter_map(|(_, place)| place.as_deref_mut())
    }

    /// How many there are, those taken out included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
