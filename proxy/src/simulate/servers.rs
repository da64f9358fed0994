//! The servers of a history: what they answer, what they have run, and what befalls them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::net::memory::{self, MemoryStream};
use redstart_common::slot::{self, SLOT_COUNT};
use tokio::time::{Instant, sleep, sleep_until};

use super::answers::{Mailbox, Session};
use super::asks::Owed;
use super::bus::Bus;
use super::data::Data;
use super::groups::Groups;
use super::settings::{Fate, Kind, Manner};
use super::wire;
use crate::settings::ServerAddress;
use crate::topology::roster::{Change, SlotRange};

/// Slots move in pieces of this size.
pub const PIECE: u16 = 1024;
/// The first server's port.
pub const PORT: u16 = 7000;

/// A server as it is, whatever others take it for.
#[derive(Debug)]
pub struct Server {
    /// Whether it can be connected to.
    pub is_up: bool,
    /// It reads and says nothing until then.
    pub hangs_until: Instant,
    /// It answers LOADING until then.
    pub loads_until: Instant,
    /// Those that are open, and what is said there without being asked for.
    pub connections: Vec<(Rc<MemoryStream>, Rc<Mailbox>)>,
}

/// The servers, and what all of them have run.
#[derive(Debug)]
pub struct World {
    random: RefCell<SmallRng>,
    /// The servers, by their places.
    pub servers: RefCell<Vec<Server>>,
    /// Who of them is a primary, where they are groups.
    pub groups: Option<Groups>,
    /// Whose each piece of the slots is, in a cluster.
    pub owners: RefCell<Vec<usize>>,
    /// The piece that is on its way, and to whom.
    pub moving: Cell<Option<(usize, usize)>>,
    /// Since when something has been on its way, and by when the proxy knew, or it had arrived.
    pub on_its_way: RefCell<Vec<(Instant, Option<Instant>)>>,
    /// They are nodes of a cluster.
    pub is_cluster: bool,
    /// Every second node of the cluster is a replica of the one before it.
    pub has_replicas: bool,
    /// Every server is asked for a key that some lack before it counts as missing.
    pub asks_all: bool,
    /// Replicas may be read, which may be ahead of what is on its way to their primaries.
    reads_replicas: bool,
    fate: Cell<Fate>,
    at_first: Fate,
    /// Connections end in the place of replies to writes that may have run on servers that were lost.
    pub ends_lost: bool,
    /// How often one has.
    pub ended: Cell<u64>,
    /// What the servers have.
    pub data: Data,
    /// What has befallen.
    pub faults: Cell<u64>,
    /// What nodes of a cluster tell each other.
    pub bus: Bus,
    /// What was published and acknowledged, and when it was asked for.
    pub published: RefCell<Vec<(Instant, String)>>,
    /// A server that was read from over a connection on which it had not said that it is a primary, where only those are read.
    pub read_unasked: Cell<Option<usize>>,
    /// When a server last left while a connection to it was wanted.
    pub left_wanted: Cell<Option<Instant>>,
    /// Servers may leave, and come back.
    pub leaves: bool,
    /// What was said on channels when all was quiet.
    pub last: RefCell<Vec<String>>,
    /// Listeners need not listen any more.
    pub is_over: Cell<bool>,
    /// Whether to tell what happens.
    pub is_verbose: bool,
    /// When the history began.
    pub began: Instant,
}

impl World {
    /// Servers that are all well.
    pub fn new(seed: u64, manner: &Manner, is_verbose: bool) -> Self {
        let now = Instant::now();
        let server =
            || Server { is_up: true, hangs_until: now, loads_until: now, connections: Vec::new() };
        let pieces = usize::from(SLOT_COUNT / PIECE);
        let count = usize::from(manner.servers);
        let owner = |piece: usize| match manner.has_replicas {
            true => piece % (count / 2) * 2,
            false => piece % count,
        };
        Self {
            random: RefCell::new(SmallRng::seed_from_u64(seed ^ 0x5eed)),
            servers: RefCell::new((0..count).map(|_| server()).collect()),
            groups: (manner.kind == Kind::Groups).then(|| Groups::new(count / 2)),
            owners: RefCell::new((0..pieces).map(owner).collect()),
            moving: Cell::new(None),
            on_its_way: RefCell::default(),
            is_cluster: manner.kind == Kind::Cluster,
            has_replicas: manner.has_replicas,
            asks_all: manner.fallback + 1 >= manner.servers,
            reads_replicas: manner.reads_replicas(),
            fate: Cell::new(manner.fate),
            at_first: manner.fate,
            ends_lost: manner.ends_lost,
            ended: Cell::new(0),
            data: Data::default(),
            faults: Cell::new(0),
            bus: Bus::default(),
            published: RefCell::default(),
            read_unasked: Cell::new(None),
            left_wanted: Cell::new(None),
            leaves: manner.leaves,
            last: RefCell::default(),
            is_over: Cell::new(false),
            is_verbose,
            began: now,
        }
    }

    /// Whether errors are to be expected.
    pub fn is_rough(&self) -> bool {
        self.fate.get() == Fate::Rough
    }

    /// A server is read from, on a connection on which it has said that it is a primary, or not.
    pub fn is_read(&self, place: usize, is_vouched: bool) {
        if self.groups.is_some() && !self.reads_replicas && !is_vouched {
            self.read_unasked.set(Some(place));
        }
    }

    /// What was to befall the servers before all was calm.
    pub fn fate_at_first(&self) -> Fate {
        self.at_first
    }

    /// Whether a client may be told of an error. Where nothing befalls servers that is to be noticed, only that nobody knows what
    /// became of something on a connection of its own.
    pub fn may_tell(&self, owed: &Owed, has_more: bool, error: &[u8]) -> bool {
        let is_unknown = || error.ends_with(b"whether the request has run is not known\r\n");
        // A script that its server lacks is not sent again where more of the client's would be overtaken.
        let is_overtaken = || has_more && error.starts_with(b"-NOSCRIPT");
        let may_be = || owed.is_alone() && is_unknown() || is_overtaken();
        self.is_rough() || (self.at_first == Fate::Gentle && may_be())
    }

    /// Whether anything befalls anybody.
    pub fn is_eventful(&self) -> bool {
        self.fate.get() != Fate::Calm
    }

    /// From now on nothing befalls anybody.
    pub fn calm(&self) {
        self.fate.set(Fate::Calm);
        let now = Instant::now();
        for server in self.servers.borrow_mut().iter_mut() {
            server.is_up = true;
            server.hangs_until = now;
            server.loads_until = now;
        }
        if let Some(groups) = &self.groups {
            groups.calm();
        }
    }

    /// Whether what was run and what was told of it go together.
    pub fn judge(&self) -> Result<(), String> {
        self.data.judge(self.at_first != Fate::Calm || self.data.has_given_up.get())?;
        if let Some(place) = self.read_unasked.get() {
            return Err(format!(
                "server {place} was read from and had not said that it is a primary"
            ));
        }
        self.groups.as_ref().map_or(Ok(()), |groups| groups.judge(&self.data.all_told()))
    }

    /// Whether only what one server runs is in order: where there are several without a plan, keys go from one to another without
    /// what was written to them.
    fn orders_by_server(&self) -> bool {
        !self.is_cluster && self.groups.is_none()
    }

    /// Whether what clients ask for one key runs in order. Where such a server leaves and comes back, it is another to the proxy, and
    /// what it was asked before may still be on its way.
    fn is_ordered(&self) -> bool {
        !self.orders_by_server() || !self.leaves
    }

    /// A client has heard that a write has run, and before that of another of its own to the same key.
    pub fn comes_behind(&self, before: Option<u64>, write: u64) -> Result<(), String> {
        match before {
            Some(before)
                if self.is_ordered()
                    && self.data.is_overtaken(before, write, self.orders_by_server()) =>
            {
                Err(format!("write {write} has overtaken write {before} of the same client"))
            }
            _ => Ok(()),
        }
    }

    /// A client has read what was written last, and by which server that is said, and has heard before that a write of its own to
    /// the same key has run.
    pub fn finds(&self, write: u64, (found, place): (u64, usize)) -> Result<(), String> {
        let by_server = self.orders_by_server();
        if self.is_ordered()
            && !self.reads_replicas
            && self.data.is_missed(write, found, place, by_server)
        {
            return Err(format!(
                "a read has overtaken write {write} of its client: {found} is found"
            ));
        }
        Ok(())
    }

    /// Whether a server takes writes.
    pub fn is_primary(&self, place: usize) -> bool {
        match &self.groups {
            Some(groups) => groups.is_primary(place),
            None => !self.has_replicas || place.is_multiple_of(2),
        }
    }

    /// A piece of the slots is on its way, or not any more.
    pub fn set_moving(&self, moving: Option<(usize, usize)>) {
        self.knows_of_moving();
        self.moving.set(moving);
        if moving.is_some() {
            self.on_its_way.borrow_mut().push((Instant::now(), None));
        }
    }

    /// The proxy knows of the piece that is on its way, if one is.
    pub fn knows_of_moving(&self) {
        if let Some((_, known)) = self.on_its_way.borrow_mut().last_mut() {
            known.get_or_insert_with(Instant::now);
        }
    }

    /// Whether a key that was asked for then may have been asked of a replica that has it no more: the proxy did not know that it
    /// was on its way.
    pub fn may_lack(&self, asked: Instant) -> bool {
        self.has_replicas
            && self.on_its_way.borrow().iter().any(|(_, known)| known.is_none_or(|it| asked <= it))
    }

    /// Whether a key has gone from a replica to which it has not come back, and which does not know that.
    pub fn has_left_replica(&self, place: usize, key: &[u8]) -> bool {
        let piece = usize::from(slot::key_slot(key) / PIECE);
        let is_moving = self.moving.get().is_some_and(|(moving, _)| moving == piece);
        let is_replica = self.has_replicas && self.owners.borrow()[piece] ^ 1 == place;
        is_moving && is_replica && Self::has_gone(key)
    }

    /// Yes, as often as `share` says.
    pub fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().random_bool(share)
    }

    /// A number by chance.
    pub fn up_to(&self, most: u64) -> u64 {
        self.random.borrow_mut().random_range(0..=most)
    }

    /// The picture of the cluster as it is now: shards and slots. Of a pool of servers there is none.
    pub fn picture(&self) -> Vec<Change> {
        if let Some(groups) = &self.groups {
            return groups.told_at_first();
        }
        if !self.is_cluster {
            return Vec::new();
        }
        let name = |place: usize| -> Arc<str> { format!("node-{place}").into() };
        let count = self.servers.borrow().len();
        let join = |place: usize| Change::Join {
            shard: name(place),
            weight: 1,
            primary: Some(address(place)),
        };
        let owners = self.owners.borrow();
        let slots = owners.iter().enumerate().map(|(piece, owner)| SlotRange {
            first: piece as u16 * PIECE,
            last: piece as u16 * PIECE + PIECE - 1,
            shard: name(*owner),
        });
        let primaries = || (0..count).filter(|place| self.is_primary(*place));
        let now = Instant::now();
        let replicas = |place: usize| {
            let replica = &self.servers.borrow()[place + 1];
            let is_silent = !replica.is_up || replica.hangs_until > now;
            let replicas = vec![(address(place + 1), is_silent)];
            Change::Replicas { shard: name(place), replicas }
        };
        let parting = |place: usize| {
            let owner = self.moving.get().map(|(piece, _)| self.owners.borrow()[piece]);
            Change::Parting { shard: name(place), is_parting: owner == Some(place) }
        };
        let changes = primaries().map(join).chain([Change::Slots(slots.collect())]);
        let changes = changes.chain(primaries().filter(|_| self.has_replicas).map(parting));
        changes.chain(primaries().filter(|_| self.has_replicas).map(replicas)).collect()
    }

    /// Somebody connects to a port.
    pub fn connect(world: &Rc<Self>, port: u16) -> io::Result<Option<MemoryStream>> {
        let place = usize::from(port - PORT);
        let now = Instant::now();
        let mut servers = world.servers.borrow_mut();
        let Some(server) = servers.get_mut(place) else { return Ok(None) };
        if !server.is_up {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // A server that hangs has a queue for those who connect, which fills.
        if server.hangs_until > now && world.is_rough() && world.chance(0.3) {
            return Ok(None);
        }
        let room = 1 << (10 + world.up_to(7));
        let (near, far) = memory::pair(room);
        let far = Rc::new(far);
        let mailbox = Rc::new(Mailbox::default());
        server.connections.push((Rc::clone(&far), Rc::clone(&mailbox)));
        tokio::task::spawn_local(serve(Rc::clone(world), place, far, mailbox));
        Ok(Some(near))
    }

    /// What a message takes on its way, and how long the server hangs.
    async fn rest(&self, place: usize) {
        let until = self.servers.borrow()[place].hangs_until;
        sleep_until(until).await;
        if self.chance(0.5) {
            sleep(Duration::from_micros(self.up_to(3000))).await;
        }
    }

    /// Waits until there is something in a list for a client that waits for it, or its time is up, or the server has no say.
    async fn wait_for_element(&self, place: usize, args: &[Vec<u8>]) {
        let seconds = std::str::from_utf8(&args[2]).expect("text").parse().expect("seconds");
        let until = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < until && self.is_primary(place) && !self.data.has_any(&args[1]) {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The server ends without a word.
    pub fn kill(&self, place: usize) {
        self.servers.borrow_mut()[place].is_up = false;
        self.data.forget_scripts(place);
        self.drop_connections(place);
    }

    /// Resets all connections of a server.
    pub fn drop_connections(&self, place: usize) {
        let mut servers = self.servers.borrow_mut();
        for (connection, _) in servers[place].connections.drain(..) {
            connection.reset();
        }
    }
}

/// Where the server of this place is.
pub fn address(place: usize) -> ServerAddress {
    ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: PORT + place as u16 }
}

/// The life of a connection at its server.
async fn serve(world: Rc<World>, place: usize, stream: Rc<MemoryStream>, mailbox: Rc<Mailbox>) {
    let mut session = Session::default();
    loop {
        tokio::select! {
            biased;
            bytes = wire::read(&stream) => match bytes {
                Ok(bytes) if !bytes.is_empty() => session.input.extend(bytes),
                _ => break,
            },
            () = mailbox.news.notified() => {}
        }
        world.rest(place).await;
        let mut out = std::mem::take(&mut *mailbox.mail.borrow_mut());
        while let Some(args) = wire::take_request(&mut session.input) {
            if args[0].eq_ignore_ascii_case(b"blpop") && session.queued.is_none() {
                if send(&world, &stream, &mut out).await.is_err() {
                    break;
                }
                world.wait_for_element(place, &args).await;
            }
            let before = out.len();
            let asked = world.is_verbose.then(|| wire::show(&args));
            world.answer(place, &mut session, &mailbox, args, &mut out);
            if let Some(asked) = asked {
                let said = String::from_utf8_lossy(&out[before..out.len().min(before + 60)]);
                println!("{:?} server {place}: {asked} -> {said:?}", world.began.elapsed());
            }
            if world.chance(0.1) {
                if send(&world, &stream, &mut out).await.is_err() {
                    break;
                }
                world.rest(place).await;
            }
        }
        if send(&world, &stream, &mut out).await.is_err() {
            break;
        }
    }
    let mut servers = world.servers.borrow_mut();
    servers[place].connections.retain(|(other, _)| !Rc::ptr_eq(other, &stream));
}

/// Sends what there is, in pieces.
async fn send(world: &World, stream: &MemoryStream, out: &mut Vec<u8>) -> io::Result<()> {
    let mut at = 0;
    while at < out.len() {
        let piece = if world.chance(0.2) { 1 + world.up_to(40) as usize } else { out.len() };
        let end = out.len().min(at + piece);
        at += poll_fn(|cx| stream.poll_write(cx, &out[at..end])).await?;
        if end < out.len() && world.chance(0.3) {
            sleep(Duration::from_micros(world.up_to(500))).await;
        }
    }
    out.clear();
    Ok(())
}
