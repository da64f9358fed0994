//! A worker: one thread with its own clients and its own connections to servers.
//!
//! All its state is one structure, borrowed for the length of a batch by whichever task has something to do. A
//! turn of its loop reads what is readable, moves requests and replies between outputs, and at its end writes every
//! server connection and then every client that has something to be written.

mod ends;
mod figures;
mod loads;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redstart_common::net::arrivals::Arrivals;
use redstart_common::net::{Stream, turn};
use redstart_common::resp::{Limits, RequestScanner};
use tokio::sync::Notify;

pub use self::loads::Loads;
use crate::backend::connection::{self, Ending};
use crate::backend::private::Privates;
use crate::backend::{Upstream, error_text};
use crate::client::absent::Waiters;
use crate::client::chores;
use crate::client::exec::{self, Finishing};
use crate::client::redirect::Parking;
use crate::client::session::Session;
use crate::client::split::Scratch;
use crate::client::{ClientId, Clients, Gone, observe, task, tracking};
use crate::clock::{Clock, Moment};
use crate::control::Directory;
use crate::downstream::Downstream;
use crate::pubsub::hub::Hub;
use crate::pubsub::link::{self, Purpose};
use crate::reconcile;
use crate::route::pool::{Pool, Pools};
use crate::scripts::Met;
use crate::settings::Global;
use crate::stats::LostRequests;
use crate::topology::PoolId;
use crate::topology::pool::SharedPool;
use crate::tracking::Tracking;

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
    /// Transactions of which the proxy carries out its part.
    pub finishing: Vec<Finishing>,
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
    /// When shard channels that have gone elsewhere were last asked for again.
    pub asked_elsewhere_us: u64,
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
    /// Clients that have yet to agree on TLS.
    pub arrivals: Arrivals,
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
            lost: vec![LostRequests::default(); pools.len()],
            ..Downstream::default()
        };
        Rc::new_cyclic(|me| Self {
            core: RefCell::new(Core {
                down,
                up: Upstream::new(global.backend_queue_bytes_max),
                privates: Privates::default(),
                homeless: Vec::new(),
                finishing: Vec::new(),
                absent: Waiters::default(),
                deposed_us: None,
                hubs: pools.iter().map(|pool| Hub::new(pool.settings.cluster.is_some())).collect(),
                tracking: pools.iter().map(|_| Tracking::default()).collect(),
                untold: Vec::new(),
                joiners: Vec::new(),
                asked_elsewhere_us: 0,
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
            arrivals: Arrivals::default(),
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
            if !core.finishing.is_empty() {
                exec::finish(core);
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
                // Its place may have been given up, or be another's, by the time that the task begins.
                let epoch = core.up.get_mut(backend).epoch;
                tokio::task::spawn_local(connection::run(Rc::clone(self), backend, epoch));
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
            let pool = self.up.get_mut(place).pool;
            let scripts = &self.pools[pool].shared.scripts;
            self.up.close(place, "", now_us, scripts, |_| {});
        }
    }
}
