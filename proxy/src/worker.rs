//! A worker: one thread with its own clients and its own connections to servers.
//!
//! All its state is one structure, borrowed for the length of a batch by whichever task has something to do. A
//! turn of its loop reads what is readable, moves requests and replies between outputs, and at its end writes every
//! server connection and then every client that has something to be written.

mod figures;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::{Stream, turn};
use redstart_common::resp::{Limits, RequestScanner, RespWrite};
use tokio::sync::Notify;

use crate::backend::connection::{self, Ending};
use crate::backend::pipeline::{Slot, Target};
use crate::backend::private::Privates;
use crate::backend::{Duty, Upstream, error_text};
use crate::client::absent::Waiters;
use crate::client::chores;
use crate::client::redirect::Parking;
use crate::client::session::Session;
use crate::client::split::Scratch;
use crate::client::{ClientId, Clients, Gone, forward, observe, private, task, tracking};
use crate::clock::{Clock, Moment};
use crate::control::Directory;
use crate::downstream::Downstream;
use crate::pubsub::hub::Hub;
use crate::pubsub::link::{self, Purpose};
use crate::reconcile;
use crate::route::pool::{Pool, Pools};
use crate::scripts::Met;
use crate::settings::{Global, OnServerDown};
use crate::topology::pool::SharedPool;
use crate::topology::{PoolId, ServerId};
use crate::tracking::Tracking;

/// Tombstones on a connection after which it is closed.
const TOMBSTONES_MAX: usize = 1024;
/// How long a connection for heavy requests is kept that nobody uses, in microseconds.
const HEAVY_UNUSED_US: u64 = 60_000_000;
/// Things that clients ask for at once, on average, for each of which, as it were, a rest is made: requests of a
/// pipeline, keys of a split request. With more, it lasts longer in proportion, for what a client waits for is then
/// all of them, and what is saved is shared by all of them.
const RESTED_THINGS: u32 = 4;
/// How much longer a rest gets.
const RESTS_MAX: u32 = 4;
/// Connections with output after which a turn ends though there is more to do.
const MARKED_MAX: usize = 512;

/// Time as a worker sees it: read once a turn, in microseconds since the process started.
#[derive(Debug)]
pub struct TurnClock {
    clock: Clock,
    now_us: u64,
    is_fresh: bool,
}

impl TurnClock {
    fn new(clock: Clock) -> Self {
        Self { clock, now_us: 0, is_fresh: false }
    }

    /// The present turn's time.
    #[inline]
    pub fn now_us(&mut self) -> u64 {
        if !self.is_fresh {
            self.now_us = self.clock.us();
            self.is_fresh = true;
        }
        self.now_us
    }

    /// The same, with the wall clock.
    pub fn moment(&mut self) -> Moment {
        Moment { us: self.now_us(), ..self.clock.now() }
    }
}

/// Bounds of what clients may do.
#[derive(Debug)]
pub struct Bounds {
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Sizes of requests.
    pub request: Limits,
    /// The same before a password was given.
    pub unauthenticated: Limits,
}

/// Everything a worker knows.
pub struct Core {
    /// Clients.
    pub down: Downstream,
    /// Server connections.
    pub up: Upstream,
    /// Which of the connections are single clients'.
    pub privates: Privates,
    /// Clients whose requests have lost their servers and look for others.
    pub homeless: Vec<ClientId>,
    /// Clients whose requests nobody can serve at present.
    pub absent: Waiters,
    /// Since when clients wait on servers that have no say any more.
    pub deposed_us: Option<u64>,
    /// What clients subscribe to, by pool.
    pub hubs: Vec<Hub>,
    /// Who is told of keys that change, by pool.
    pub tracking: Vec<Tracking>,
    /// Clients that are to be told of such keys once requests of theirs are answered.
    pub untold: Vec<(PoolId, ClientId)>,
    /// Clients whose subscriptions are not confirmed yet.
    pub joiners: Vec<ClientId>,
    /// Whether any request is to be looked at before it is dispatched.
    pub is_observed: bool,
    /// Clients that watch what others ask.
    pub monitors: Vec<(PoolId, ClientId)>,
    /// What they are to be shown of this turn, by pool.
    pub shown: Vec<Vec<u8>>,
    /// Clients whose requests a pause holds back.
    pub held_back: Vec<ClientId>,
    /// Pools.
    pub pools: Pools,
    /// The scanner of whichever client's batch is at hand.
    pub scanner: RequestScanner,
    /// Requests that nodes of clusters have turned away, and that wait.
    pub parking: Parking,
    /// The scripts it has met.
    pub met_scripts: Met,
    /// Vectors for splitting.
    pub split: Scratch,
    /// Bounds.
    pub limits: Bounds,
    /// Time.
    pub clock: TurnClock,
    /// The other workers and what they counted.
    pub directory: Arc<Directory>,
    /// Itself, for tasks it starts.
    pub me: std::rc::Weak<Worker>,
    /// Its number.
    pub number: usize,
    /// How long to rest at the end of a turn when many clients wait.
    rest: Duration,
}

/// A worker.
pub struct Worker {
    /// Its state; borrowed for a batch, never across a wait.
    pub core: RefCell<Core>,
    /// Told when output is held back: another turn must come soon.
    again: Notify,
}

static CLIENT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl Worker {
    /// A worker over `pools`; `seed` is what its choices by chance follow from.
    #[must_use]
    pub fn new(
        number: usize,
        pools: &[Arc<SharedPool>],
        global: &Global,
        directory: Arc<Directory>,
        seed: u64,
    ) -> Rc<Self> {
        let own = pools.iter().map(|shared| Pool::new(Arc::clone(shared), seed));
        let own = Pools::new(own.collect());
        let request = Limits { proto_max_bulk_len: global.bulk_bytes_max, ..Limits::default() };
        let down = Downstream {
            clients: Clients::new(pools.len(), global.client_output_bytes_max),
            ..Downstream::default()
        };
        Rc::new_cyclic(|me| Self {
            core: RefCell::new(Core {
                down,
                up: Upstream::new(global.backend_queue_bytes_max),
                privates: Privates::default(),
                homeless: Vec::new(),
                absent: Waiters::default(),
                deposed_us: None,
                hubs: pools.iter().map(|pool| Hub::new(pool.settings.cluster.is_some())).collect(),
                tracking: pools.iter().map(|_| Tracking::default()).collect(),
                untold: Vec::new(),
                joiners: Vec::new(),
                is_observed: false,
                monitors: Vec::new(),
                shown: vec![Vec::new(); pools.len()],
                held_back: Vec::new(),
                pools: own,
                scanner: RequestScanner::default(),
                parking: Parking::default(),
                met_scripts: Met::default(),
                split: Scratch::default(),
                limits: Bounds {
                    in_flight_max: global.client_in_flight_max,
                    request,
                    unauthenticated: Limits { unauthenticated: true, ..request },
                },
                clock: TurnClock::new(directory.clock),
                directory,
                me: me.clone(),
                number,
                rest: Duration::from_micros(global.coalesce_us),
            }),
            again: Notify::new(),
        })
    }

    /// Hooks the worker into its thread's turn and starts its clock. To be called within its runtime.
    pub fn start(self: &Rc<Self>) {
        let hooked = Rc::downgrade(self);
        turn::add_hook(move || {
            if let Some(worker) = hooked.upgrade() {
                worker.flush();
            }
        });
        let rested = Rc::downgrade(self);
        turn::add_rest(move || {
            if let Some(worker) = rested.upgrade() {
                worker.rest();
            }
        });
        let core = &mut *self.core.borrow_mut();
        for pool in core.pools.ids() {
            reconcile::reconcile(core, pool);
        }
        tokio::task::spawn_local(crate::tick::run(Rc::clone(self)));
        let worker = Rc::clone(self);
        tokio::task::spawn_local(async move {
            loop {
                worker.again.notified().await;
                // Yielding looks at the poller without waiting, lets whoever is ready run, and ends another turn.
                tokio::task::yield_now().await;
            }
        });
    }

    /// Takes a connection in. The pool has counted it already.
    pub fn accept(self: &Rc<Self>, stream: Stream, pool: PoolId) {
        let id = {
            let core = &mut *self.core.borrow_mut();
            let settings = &core.pools[pool].shared.settings;
            if settings.tcpkeepalive {
                // Without keepalive the connection serves as well.
                let _ = stream.set_keepalive(Duration::from_secs(300));
            }
            let number = CLIENT_NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
            let path = settings.listen.text.split(' ').next().unwrap_or_default();
            let session = Session::new(number, stream.peer_name(path), stream.local_name(path));
            let authenticated = settings.redis_auth.is_none();
            core.pools[pool].stats.clients_total += 1;
            let (lanes, now_us) = (core.pools[pool].lanes, core.clock.now_us());
            core.down.clients.insert(pool, lanes, stream, authenticated, session, now_us)
        };
        tokio::task::spawn_local(task::serve(Rc::clone(self), id));
    }

    /// The end of a turn.
    fn flush(self: &Rc<Self>) {
        let core = &mut *self.core.borrow_mut();
        let in_flight_max = core.limits.in_flight_max;
        let is_busy = core.down.clients.crowd.size() > 0 && !core.rest.is_zero();
        loop {
            if core.down.has_chores() {
                chores::run(core);
            }
            if core.is_observed {
                observe::deliver(core);
            }
            if !core.untold.is_empty() {
                tracking::tell_untold(core);
            }
            core.up.flush();
            for (backend, error) in core.up.take_broken() {
                if core.up.get_mut(backend).is_up() {
                    core.close_backend(backend, &error_text(&error), Ending::Error);
                }
            }
            let pools = &core.pools;
            let directory = &core.directory;
            core.down.clients.flush(in_flight_max, is_busy, |pool| {
                pools[pool].shared.release_client();
                directory.client_left(core.number);
            });
            if core.is_quiet() {
                break;
            }
            if core.wants_links() {
                self.open_links(core);
            }
            for backend in core.up.take_wanted() {
                tokio::task::spawn_local(connection::run(Rc::clone(self), backend));
            }
        }
        core.clock.is_fresh = false;
        if core.down.clients.has_held() {
            self.again.notify_one();
        }
    }

    /// Opens the connections that subscribe.
    fn open_links(self: &Rc<Self>, core: &mut Core) {
        for pool in core.pools.ids() {
            let channels = core.hub(pool).take_wanted().into_iter();
            let keys = core.tracking(pool).take_wanted().into_iter();
            let channels = channels.map(|server| (Purpose::Channels, server));
            for (purpose, server) in channels.chain(keys.map(|server| (Purpose::Keys, server))) {
                let Some(member) = core.pools[pool].topology.member(server) else { continue };
                let endpoint = Arc::clone(&member.endpoint);
                let Some(post) = purpose.post(core, pool, server) else { continue };
                let link = link::run(Rc::clone(self), purpose, pool, endpoint, post.number);
                tokio::task::spawn_local(link);
            }
        }
    }

    /// Before the thread waits: rests for some microseconds if that lets requests gather.
    ///
    /// The kernel's work for a request is mostly that of waking, sending and receiving, and most of it is per system
    /// call, not per request. A worker that reacts at once to every event finds one request per turn, and makes its
    /// servers do the same. What gathers in a rest shares a read, a write and a wake-up on both sides. With 50 clients,
    /// one request each at a time, and two servers this nearly halves the CPU time per request (15.5 to 8.2 us) and
    /// gains throughput and latency too (46k to 76k requests per second, p50 0.66 to 0.52 ms). With fewer clients there
    /// is nothing to gather and only latency to lose: at 10 it would cost a fifth of the throughput.
    fn rest(&self) {
        let length = {
            let core = self.core.borrow();
            if core.rest.is_zero() || core.down.clients.crowd.size() == 0 {
                return;
            }
            let depth = core.down.clients.crowd.depth();
            core.rest * depth.clamp(RESTED_THINGS, RESTED_THINGS * RESTS_MAX) / RESTED_THINGS
        };
        // Nothing else is to be done on this thread, and what comes meanwhile waits in the kernel. The timer slack,
        // 50 us by default, is left as it is: measured, the 110 us or so that a rest of 50 then takes are a better
        // length than 55 (the same latency and throughput, 5 to 8 % less CPU time per request) and than 210 (up to
        // 12 % less CPU time, but a p50 and a throughput no better than twemproxy's).
        std::thread::sleep(length);
    }

    /// Ends the turn early when much has gathered. To be called where nothing is borrowed.
    #[inline]
    pub fn end_turn_if_full(&self) {
        if self.core.borrow().down.clients.marked() >= MARKED_MAX {
            turn::end();
        }
    }
}

impl Core {
    /// What the clients of a pool subscribe to.
    #[inline]
    pub fn hub(&mut self, pool: PoolId) -> &mut Hub {
        &mut self.hubs[pool.place()]
    }

    /// Who is told of keys that change.
    #[inline]
    pub fn tracking(&mut self, pool: PoolId) -> &mut Tracking {
        &mut self.tracking[pool.place()]
    }

    /// Whether connections that listen are to be opened.
    fn wants_links(&self) -> bool {
        self.hubs.iter().any(Hub::has_wanted) || self.tracking.iter().any(Tracking::has_wanted)
    }

    /// Whether nothing is left to do before the turn ends.
    fn is_quiet(&self) -> bool {
        !self.up.has_news()
            && self.down.clients.marked() == 0
            && !self.down.has_chores()
            && !self.wants_links()
    }

    /// Lets go of a client.
    pub fn close_client(&mut self, id: ClientId, why: Gone) {
        if let Some(client) = self.down.clients.remove(id, why) {
            self.pools[client.pool].shared.release_client();
            self.directory.client_left(self.number);
        }
    }

    /// Brings a pool's connections in line with its newest picture, if that has changed.
    #[inline]
    pub fn refresh(&mut self, pool: PoolId) {
        if self.pools[pool].is_stale() {
            reconcile::reconcile(self, pool);
        }
    }

    /// Ends a server connection and tells everyone who waits on it.
    pub fn close_backend(&mut self, backend: usize, why: &str, how: Ending) {
        if let Duty::Private { .. } = self.up.get_mut(backend).duty {
            return private::ended(self, backend, why, how);
        }
        let now_us = self.clock.now_us();
        let mut text = Vec::new();
        text.error(format!("ERR {why}"));
        let it = self.up.get_mut(backend);
        let was_needed = how != Ending::Refused
            && (!it.pipeline.is_empty() || !it.is_up() || how == Ending::Turned);
        let was_up = it.is_up();
        let since_us = it.begun_us(now_us);
        let mut unsent = 0;
        it.counters.ended(how);
        let (pool, server, duty) = (it.pool, it.server.id, it.duty);
        if was_up
            && how == Ending::Silence
            && !it.server.is_told_silent.swap(true, Ordering::Relaxed)
        {
            let name = &self.pools[pool].shared.settings.name;
            log!(Warning, "pool '{name}': server '{}' does not answer", it.server.name);
        }
        let lane = it.lane;
        let down = &mut self.down;
        // Where its shard has left, what it has not run goes to whoever has the keys now.
        let (broken, homeless) = self.up.close(backend, why, now_us, |slot: Slot| {
            unsent += u64::from(slot.target != Target::Nobody);
            down.answer(slot.target, &text, now_us);
        });
        if let Some(reply) = broken {
            down.break_off(&reply);
        }
        if how == Ending::Silence {
            // A request that is told so counts once.
            self.up.get_mut(backend).counters.timed_out += unsent;
        }
        if !was_up {
            // They waited for the connection, and none of them ever left.
            self.pools[pool].stats.forward_errors += unsent;
        }
        if self.up.get_mut(backend).reads && duty != Duty::Leaving {
            self.read_elsewhere(backend);
        } else if duty == Duty::Leaving {
            self.release_backend(backend);
            forward::again(self, pool, None, lane, &homeless);
        } else if was_needed {
            self.note_failure(pool, server, since_us);
        }
    }

    /// A replica is away: what it was to read goes to the primary.
    fn read_elsewhere(&mut self, backend: usize) {
        let now_us = self.clock.now_us();
        let it = self.up.get_mut(backend);
        let (pool, lane) = (it.pool, it.lane);
        let Duty::Shared { shard, .. } = it.duty else { return };
        if it.pipeline.is_empty() {
            return;
        }
        // What was kept can be sent again, and what was not has been told already.
        let (waiting, broken) = self.up.take_waiting(backend, now_us, |_| {});
        if let Some(reply) = broken {
            self.down.break_off(&reply);
        }
        forward::again(self, pool, Some(shard), lane, &waiting);
    }

    /// Gives up the place of a connection on which nobody waits.
    pub fn release_backend(&mut self, backend: usize) {
        self.count(backend);
        let it = self.up.get_mut(backend);
        if let Duty::Private { .. } = it.duty {
            self.privates.gone(it.pool, it.server.id, backend as u32);
        }
        self.up.release(backend);
    }

    /// Takes note of the failure of something that had begun at `since_us`.
    pub fn note_failure(&mut self, pool: PoolId, server: ServerId, since_us: u64) {
        let now = self.clock.moment();
        let shared = &self.pools[pool].shared;
        if shared.settings.is_discovered() {
            shared.strange.notify_one();
        }
        if shared.failed(server, since_us, now) {
            let settings = &shared.settings;
            let topology = shared.topology.load();
            let name = topology.member(server).map_or("", |member| &member.endpoint.name);
            let what = match settings.on_server_down {
                OnServerDown::Fail => "is down, and requests for its keys are refused",
                OnServerDown::Next => "is down, and the next servers have its keys",
                OnServerDown::Eject | OnServerDown::Try => "is ejected",
            };
            log!(
                Warning,
                "pool '{}': server '{name}' {what} for at least {} ms",
                settings.name,
                settings.server_retry_timeout_ms
            );
            self.refresh(pool);
        }
    }

    /// Tells those whose time is up, and closes connections whose server has fallen silent.
    pub fn expire(&mut self) {
        let now_us = self.clock.now_us();
        let mut text = Vec::new();
        text.error("ERR Connection timed out");
        for index in 0..self.up.places() {
            let it = self.up.get_mut(index);
            if it.pipeline.is_empty() {
                continue;
            }
            if it.keeps && !it.is_up() {
                self.give_up_waiting(index, now_us);
                continue;
            }
            let (pool, server) = (it.pool, it.server.id);
            let Some(timeout_ms) = self.pools[pool].shared.settings.timeout_ms else { continue };
            let timeout_us = timeout_ms * 1000;
            let Some(deadline_us) = now_us.checked_sub(timeout_us) else { continue };
            let mut told = 0;
            let is_busy = it.streaming.is_some();
            let mut since_us = now_us;
            let down = &mut self.down;
            it.pipeline.expire(deadline_us, is_busy, |slot| {
                told += 1;
                since_us = since_us.min(slot.at_us);
                down.answer(slot.target, &text, now_us);
            });
            it.counters.timed_out += told;
            it.suspect |= told > 0;
            let oldest_us = it.pipeline.oldest_us().unwrap_or(now_us);
            let silent_since_us = it.heard_us.max(oldest_us + timeout_us);
            let is_silent = it.is_up() && silent_since_us <= deadline_us;
            if is_silent || it.pipeline.tombstones() > TOMBSTONES_MAX {
                self.close_backend(index, "Connection timed out", Ending::Silence);
            } else if told > 0 && it.is_up() && it.duty != Duty::Leaving {
                // A connection that is still being opened fails by itself, and one failure is not to count twice.
                self.note_failure(pool, server, since_us);
            }
        }
    }

    /// Tells those who have waited for a server for too long.
    fn give_up_waiting(&mut self, backend: usize, now_us: u64) {
        let pool = self.up.get_mut(backend).pool;
        let hold_ms = self.pools[pool].shared.settings.failover_hold_ms;
        let is_limbo = self.up.get_mut(backend).duty == Duty::Limbo;
        let Some(deadline_us) = now_us.checked_sub(hold_ms * 1000) else { return };
        let down = &mut self.down;
        let told = self.up.give_up_waiting(backend, deadline_us, |slot, why| {
            let mut text = Vec::new();
            let why = if why.is_empty() { "it does not answer" } else { why };
            if is_limbo {
                text.error(why);
            } else {
                text.error(format!("ERR the server of this key was away for {hold_ms} ms: {why}"));
            }
            down.answer(slot.target, &text, now_us);
        });
        self.pools[pool].stats.forward_errors += told;
    }

    /// A server that says it is no primary, or not ready, has answered all it was sent: what it turned away waits until
    /// there is one that is.
    pub fn turned_away(&mut self, backend: usize) {
        self.close_backend(backend, "the server is not a primary that is ready", Ending::Turned);
    }

    /// A server has answered that it is no primary or loads its data. Loading counts as a failure: where servers are
    /// ejected, it leaves until it is done.
    pub fn note_refusal(&mut self, backend: usize, since_us: u64, is_loading: bool) {
        let it = self.up.get_mut(backend);
        let (pool, server) = (it.pool, it.server.id);
        if it.duty == Duty::Leaving {
            return;
        }
        if is_loading {
            it.suspect = true;
            self.note_failure(pool, server, since_us);
        } else if self.pools[pool].shared.settings.is_discovered() {
            self.pools[pool].shared.strange.notify_one();
        }
    }

    /// Gives back memory that is not needed now.
    pub fn trim(&mut self) {
        self.down.clients.trim();
        self.down.gathers.trim();
        let now_us = self.clock.now_us();
        let mut unused = Vec::new();
        for (place, it) in self.up.iter_mut() {
            it.trim();
            let is_unused = it.is_heavy && it.is_up() && it.pipeline.is_empty();
            if is_unused && it.heard_us + HEAVY_UNUSED_US <= now_us {
                unused.push(place);
            }
        }
        for place in unused {
            self.up.close(place, "", now_us, |_| {});
        }
    }
}

/// How many clients each worker has, to find the least loaded.
#[derive(Debug, Default)]
pub struct Loads(Box<[AtomicUsize]>);

impl Loads {
    /// No clients yet.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicUsize::new(0)).collect())
    }

    /// Counts a client in on the least loaded worker and names that.
    pub fn enter_least(&self) -> usize {
        let least =
            (0..self.0.len()).min_by_key(|n| self.0[*n].load(Ordering::Relaxed)).unwrap_or(0);
        self.enter(least);
        least
    }

    /// Counts a client in.
    pub fn enter(&self, worker: usize) {
        self.0[worker].fetch_add(1, Ordering::Relaxed);
    }

    /// Clients of all workers.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().map(|load| load.load(Ordering::Relaxed)).sum()
    }

    /// Counts a client out.
    pub fn leave(&self, worker: usize) {
        self.0[worker].fetch_sub(1, Ordering::Relaxed);
    }
}
