//! How the threads of the process speak with each other: rarely, and never about a request on its way.

use std::sync::{Arc, Mutex, PoisonError};

use redstart_common::client_filter::Filter;
use redstart_common::net::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::client::ClientId;
use crate::client::observe::Pause;
use crate::clock::Clock;
use crate::pubsub::Topic;
use crate::settings::Global;
use crate::stats::PoolStats;
use crate::topology::PoolId;
use crate::topology::pool::SharedPool;
use crate::topology::roster::Change;
use crate::worker::Loads;

/// A connection on its way from one thread to another.
#[derive(Debug)]
pub enum Handed {
    /// Over TCP.
    Tcp(std::net::TcpStream),
    /// Over a Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Handed {
    /// Takes a stream out of this thread's event loop.
    ///
    /// # Errors
    /// What the event loop says.
    pub fn from_stream(stream: Stream) -> std::io::Result<Self> {
        Ok(match stream {
            Stream::Tcp(stream) => Self::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Self::Unix(stream.into_std()?),
            // A simulation is one thread, and a layer is put on by the thread that serves the connection.
            Stream::Memory(_) | Stream::Layered(_) => {
                return Err(std::io::ErrorKind::Unsupported.into());
            }
        })
    }

    /// Ties it to this thread's event loop.
    ///
    /// # Errors
    /// What the event loop says.
    pub fn into_stream(self) -> std::io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream) => tokio::net::TcpStream::from_std(stream)?.into(),
            Self::Unix(stream) => tokio::net::UnixStream::from_std(stream)?.into(),
        })
    }
}

/// Which clients are meant. All given conditions must hold.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// The pool of whoever asks; nobody reaches beyond.
    pub pool: PoolId,
    /// The client's number.
    pub number: Option<u64>,
    /// What else must hold.
    pub filter: Filter,
    /// Not this one.
    pub except: Option<u64>,
}

/// A request from one thread to a worker.
#[derive(Debug)]
pub enum Message {
    /// Serve this connection.
    Accept(Handed, PoolId),
    /// There is another picture of this pool.
    Changed(PoolId),
    /// Describe your clients that meet the conditions.
    List(Which, oneshot::Sender<Vec<(u64, String)>>),
    /// For each of these topics, say how many clients get its messages, and at how many servers it is subscribed to.
    Listeners(PoolId, Vec<Topic>, oneshot::Sender<Vec<(usize, usize)>>),
    /// The clients of this pool are paused, or not any more; say when that holds.
    Pause(PoolId, Option<Pause>, oneshot::Sender<()>),
    /// See whether anybody watches what clients ask.
    Look,
    /// Show these lines to your clients who watch the pool.
    Shown(PoolId, Arc<[u8]>),
    /// Let the client go that meets the conditions, by an error or as if its time was up; say whether it waited.
    Unblock(Which, bool, oneshot::Sender<bool>),
    /// Say who meets the conditions, if anybody does.
    Find(Which, oneshot::Sender<Option<ClientId>>),
    /// Tell this client of keys that have changed, for one of another worker's; the keys as an array, or null for all.
    Invalidated(ClientId, Box<[u8]>, (usize, ClientId)),
    /// Whoever heard for this client of yours is gone.
    HearerGone(ClientId),
    /// Drop the clients that meet the conditions and say how many there were.
    Kill(Which, oneshot::Sender<u64>),
}

/// What the threads know of each other.
#[derive(Debug)]
pub struct Directory {
    /// A line to each worker.
    pub workers: Vec<mpsc::UnboundedSender<Message>>,
    /// How many clients each worker has.
    pub loads: Loads,
    /// Most clients at a time, so that descriptors are left for the servers.
    pub clients_max: usize,
    /// The pools.
    pub pools: Vec<Arc<SharedPool>>,
    /// Settings of the process.
    pub global: Global,
    /// What each worker counted, at its last report.
    reports: Mutex<Vec<Vec<PoolStats>>>,
    /// The clock of the process.
    pub clock: Clock,
}

impl Directory {
    /// The directory of a process, and the end of each worker's line.
    #[must_use]
    pub fn new(
        workers: usize,
        pools: Vec<Arc<SharedPool>>,
        global: Global,
    ) -> (Arc<Self>, Vec<mpsc::UnboundedReceiver<Message>>) {
        let (senders, receivers) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let own = own_descriptors(workers, &pools);
        let clients_max = clients_max(descriptors_max(), own, private_descriptors(workers, &pools));
        let directory = Self {
            workers: senders,
            loads: Loads::new(workers),
            clients_max,
            pools,
            global,
            reports: Mutex::new(vec![Vec::new(); workers]),
            clock: Clock::start(),
        };
        (Arc::new(directory), receivers)
    }

    /// A pool, by its identity.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> &Arc<SharedPool> {
        &self.pools[id.place()]
    }

    /// The door through which the topology of a running pool changes: discovery's, and that of tests. Says whether
    /// there is another picture for it. All workers have heard of it, though they may not have taken it in yet.
    pub fn change(&self, pool: PoolId, changes: impl IntoIterator<Item = Change>) -> bool {
        let changed = self.pool(pool).apply(changes);
        if changed {
            self.tell_changed(pool);
        }
        changed
    }

    /// Tells the workers that there is another picture of a pool. Those who are busy see it by themselves.
    pub fn tell_changed(&self, pool: PoolId) {
        for worker in &self.workers {
            // The workers live as long as the process.
            let _ = worker.send(Message::Changed(pool));
        }
    }

    /// Whether there are as many clients as the process has descriptors for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.loads.total() >= self.clients_max
    }

    /// A worker has one client less.
    pub fn client_left(&self, worker: usize) {
        self.loads.leave(worker);
    }

    /// Takes a worker's report.
    pub fn report(&self, worker: usize, pools: Vec<PoolStats>) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = reports.get_mut(worker) {
            *place = pools;
        }
    }

    /// All workers' reports together, a pool each. At most a second old.
    #[must_use]
    pub fn totals(&self) -> Vec<PoolStats> {
        let mut totals = vec![PoolStats::default(); self.pools.len()];
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        for report in reports.iter() {
            for (total, pool) in totals.iter_mut().zip(report) {
                total.merge(pool);
            }
        }
        totals
    }
}

/// Descriptors of a worker besides its clients and servers: its poller and what wakes it.
const DESCRIPTORS_PER_WORKER: usize = 4;
/// Descriptors of the process besides: standard ones, signals, statistics, a log line being written, probes, and a
/// client that is being told that there is no place.
const DESCRIPTORS_BESIDES: usize = 20;

/// Nodes that a cluster is taken to have at least.
const NODES: usize = 6;
/// Connections to nodes of a cluster that are asked what they know.
const NODES_ASKED: usize = 16;

/// The most descriptors this process may have.
fn descriptors_max() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(1024, |(soft, _)| usize::try_from(soft).unwrap_or(usize::MAX))
}

/// The descriptors that are needed for anything but clients.
fn own_descriptors(workers: usize, pools: &[Arc<SharedPool>]) -> usize {
    let of_pool = |pool: &Arc<SharedPool>| {
        let settings = &pool.settings;
        let listeners = if settings.reuseport { workers } else { 1 };
        let servers = pool.topology.load().members.len();
        let sentinels = settings.sentinel.as_ref().map_or(0, |it| 2 * it.sentinels.len());
        // Which nodes there are is not known yet.
        let (servers, nodes) = match &settings.cluster {
            Some(cluster) => (cluster.seeds.len().max(NODES), cluster.seeds.len() + NODES_ASKED),
            None => (servers, 0),
        };
        let connections = servers * settings.lanes().count() * workers;
        // An engine in this process holds the other end as well.
        listeners
            + sentinels
            + nodes
            + if settings.embedded { connections * 2 } else { connections }
    };
    let pools: usize = pools.iter().map(of_pool).sum();
    DESCRIPTORS_BESIDES + workers * DESCRIPTORS_PER_WORKER + pools
}

/// The descriptors that clients' own connections to servers take when there are as many as there may be.
fn private_descriptors(workers: usize, pools: &[Arc<SharedPool>]) -> usize {
    let of_pool = |pool: &Arc<SharedPool>| {
        pool.topology.load().shards.len() * pool.settings.private_connections * workers
    };
    pools.iter().map(of_pool).sum()
}

/// How many of `descriptors` clients may have when the process needs `own` itself. At least half of them: with a low
/// limit and many servers not all connections will be open at once. Clients' own connections to servers, `private` at most,
/// are seldom all wanted: an eighth is kept for them.
fn clients_max(descriptors: usize, own: usize, private: usize) -> usize {
    let kept = own.saturating_add(private.min(descriptors / 8));
    (descriptors - kept.min(descriptors / 2)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_kept_for_the_servers() {
        assert_eq!(clients_max(1_048_576, 100, 0), 1_048_476);
        assert_eq!(clients_max(1_048_576, 100, 1000), 1_047_476);
        assert_eq!(clients_max(64, 30, 0), 34);
        assert_eq!(clients_max(1024, 30, 4096), 866, "few clients wait or watch");
        assert_eq!(clients_max(64, 1000, 512), 32, "not all servers are connected at once");
        assert_eq!(clients_max(0, 10, 10), 1);
        assert_eq!(clients_max(usize::MAX, 10, 0), usize::MAX - 10);
    }
}
