//! Builds the parts and draws the threads; the only file that knows them all.
//!
//! ```text
//!   main thread    signals · accepting (unless a worker does it itself) · probes of servers that are down · metrics
//!   worker-0 …     each with its clients, its connections to servers, its counters
//!   discovery      sentinels and nodes of clusters, if a pool has any
//!   stats          twemproxy's JSON page
//!   exporter       Prometheus
//! ```

use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redstart_common::crash;
use redstart_common::log;
use redstart_common::log::Level;
use redstart_common::net::listen::{Bound, Options, bind};
use redstart_common::net::{Address, Listener, Stream, turn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::arrivals;
use crate::backend::probe;
use crate::control::{Directory, Handed, Message};
use crate::metrics::{self, Publisher};
use crate::settings::{ListenAddress, OnServerDown, PoolSettings, ReadFrom, Settings};
use crate::topology::PoolId;
use crate::topology::pool::SharedPool;
use crate::topology::{cluster, replicas, sentinel};
use crate::worker::Worker;
use crate::{stats_page, tick};

/// Between two looks at which servers that are down are due for a probe.
const PROBE_TICK: Duration = Duration::from_millis(20);
/// Pause after accepting failed, so that a process out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Everything that is bound before any thread starts, so that errors are told to whoever started the program.
pub struct Proxy {
    settings: Settings,
    workers: usize,
    /// Per pool, its listeners: one, or one per worker.
    listeners: Vec<Vec<Bound>>,
    stats: Option<TcpListener>,
    metrics: Option<std::net::SocketAddr>,
}

fn with_place(place: &str) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("cannot listen on {place}: {error}"))
}

impl Proxy {
    /// Binds every listener.
    ///
    /// # Errors
    /// When one cannot be bound.
    pub fn bind(settings: Settings) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = settings.global.workers.unwrap_or(cores).max(1);
        let mut listeners = Vec::new();
        for pool in &settings.pools {
            let is_tcp = matches!(pool.listen.address, ListenAddress::Tcp { .. });
            let count = if pool.reuseport && is_tcp { workers } else { 1 };
            let options = Options { backlog: pool.backlog, reuse_port: pool.reuseport && is_tcp };
            let mut bound = Vec::new();
            for _ in 0..count {
                let address = pool.listen.resolve().map_err(with_place(&pool.listen.text))?;
                bound.push(bind(&address, options).map_err(with_place(&pool.listen.text))?);
            }
            listeners.push(bound);
        }
        let global = &settings.global;
        let stats = match global.stats_port {
            Some(port) if port > 0 => {
                let host = global.stats_address.as_deref().unwrap_or("0.0.0.0");
                let place = format!("{host}:{port}");
                let address = crate::settings::resolve(host, port).map_err(with_place(&place))?;
                let options = Options::default();
                match bind(&Address::Tcp(address), options).map_err(with_place(&place))? {
                    Bound::Tcp(listener) => {
                        listener.set_nonblocking(false)?;
                        Some(listener)
                    }
                    Bound::Unix(_) => None,
                }
            }
            _ => None,
        };
        let metrics = global.metrics.as_deref().filter(|text| *text != "off");
        let metrics = match metrics.and_then(|text| text.rsplit_once(':')) {
            Some((host, port)) => {
                let port = port.parse().map_err(io::Error::other)?;
                let place = format!("{host}:{port}");
                let address = crate::settings::resolve(host, port).map_err(with_place(&place))?;
                // It is bound where metrics are made; whoever starts the program is told now if that would fail.
                bind(&Address::Tcp(address), Options::default()).map_err(with_place(&place))?;
                Some(address)
            }
            None => None,
        };
        Ok(Self { settings, workers, listeners, stats, metrics })
    }

    /// The pools that will be served.
    #[must_use]
    pub fn pools(&self) -> &[PoolSettings] {
        &self.settings.pools
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// When a thread cannot be started or the metrics cannot be published.
    pub fn run(self) -> io::Result<()> {
        self.start()?.run()
    }

    /// Starts the threads. What is the main thread's work is done by [`Running::run`].
    ///
    /// # Errors
    /// As [`Proxy::run`].
    pub fn start(self) -> io::Result<Running> {
        let pools: Vec<Arc<SharedPool>> = self
            .settings
            .pools
            .iter()
            .cloned()
            .zip(0..)
            .map(|(pool, number)| Arc::new(SharedPool::new(PoolId::new(number), pool)))
            .collect();
        let global = self.settings.global.clone();
        let (directory, receivers) = Directory::new(self.workers, pools.clone(), global);
        self.announce(directory.clients_max);
        if let Some(address) = self.metrics {
            metrics::install(address).map_err(io::Error::other)?;
        }
        if let Some(listener) = self.stats {
            let interval = self.settings.global.stats_interval_ms.unwrap_or(30_000);
            let interval = Duration::from_millis(interval);
            stats_page::serve(listener, Arc::clone(&directory), interval)?;
        }
        // Listeners that a worker serves itself, and those the main thread serves for all.
        let mut own: Vec<Vec<(PoolId, Bound)>> = (0..self.workers).map(|_| Vec::new()).collect();
        let mut shared = Vec::new();
        for (pool, bound) in
            self.listeners.into_iter().zip(0..).map(|(bound, n)| (PoolId::new(n), bound))
        {
            let is_own = self.workers == 1 || bound.len() > 1;
            for (worker, listener) in bound.into_iter().enumerate() {
                if is_own {
                    own[worker].push((pool, listener));
                } else {
                    shared.push((pool, listener));
                }
            }
        }
        for (number, (receiver, listeners)) in receivers.into_iter().zip(own).enumerate() {
            let directory = Arc::clone(&directory);
            std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                crash::give_stack();
                if let Err(error) = work(number, directory, receiver, listeners) {
                    log!(Warning, "worker {number} cannot run: {error}");
                    std::process::exit(1);
                }
            })?;
        }
        discover(&directory)?;
        let publisher = self.metrics.map(|_| Publisher::new(&directory));
        Ok(Running { directory, listeners: shared, publisher })
    }

    fn announce(&self, clients_max: usize) {
        for (pool, bound) in self.settings.pools.iter().zip(&self.listeners) {
            let place = bound
                .first()
                .and_then(Bound::local_address)
                .map_or_else(|| pool.listen.text.clone(), |address| address.to_string());
            log!(
                Notice,
                "pool '{}' listens on {place}: {}, {}",
                pool.name,
                pool.made_of(),
                pool.placement()
            );
            for warning in pool.warnings() {
                log!(Warning, "{warning}");
            }
        }
        if let Some(stats) = self.stats.as_ref().and_then(|stats| stats.local_addr().ok()) {
            log!(Notice, "statistics as JSON on {stats}");
        }
        if let Some(address) = self.metrics {
            log!(Notice, "metrics for Prometheus on http://{address}/metrics");
        }
        log!(
            Notice,
            "{} worker(s) ready to accept connections, {clients_max} at most",
            self.workers
        );
    }
}

/// A proxy whose workers run.
pub struct Running {
    directory: Arc<Directory>,
    /// The listeners that the main thread serves.
    listeners: Vec<(PoolId, Bound)>,
    publisher: Option<Publisher>,
}

impl Running {
    /// What the threads know of each other, and the door to the pools.
    #[must_use]
    pub fn directory(&self) -> Arc<Directory> {
        Arc::clone(&self.directory)
    }

    /// Does the main thread's work until a signal ends it.
    ///
    /// # Errors
    /// When a listener or a signal cannot be waited for.
    pub fn run(self) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(supervise(&self.directory, self.listeners, self.publisher))?;
        remove_sockets(&self.directory.pools);
        Ok(())
    }
}

fn remove_sockets(pools: &[Arc<SharedPool>]) {
    for pool in pools {
        if let ListenAddress::Unix { path, .. } = &pool.settings.listen.address {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Starts the thread that watches sentinels and clusters, if a pool has any.
fn discover(directory: &Arc<Directory>) -> io::Result<()> {
    let watched: Vec<Arc<SharedPool>> =
        directory.pools.iter().filter(|pool| pool.settings.is_discovered()).cloned().collect();
    if watched.is_empty() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = Arc::clone(directory);
    let body = move || {
        runtime.block_on(async move {
            let watch = |pool: Arc<SharedPool>| {
                let directory = Arc::clone(&directory);
                match pool.settings.cluster {
                    Some(_) => tokio::spawn(cluster::shell::run(directory, pool)),
                    None => tokio::spawn(sentinel::shell::run(directory, pool)),
                }
            };
            let measured: Vec<Arc<SharedPool>> = watched
                .iter()
                .filter(|pool| pool.settings.read_from != ReadFrom::Master)
                .cloned()
                .collect();
            let measure = |pool| tokio::spawn(replicas::shell::run(Arc::clone(&directory), pool));
            let measured: Vec<_> = measured.into_iter().map(measure).collect();
            for watch in watched.into_iter().map(watch).chain(measured).collect::<Vec<_>>() {
                if watch.await.is_err() {
                    log!(Warning, "sentinels and clusters are watched no more");
                    std::process::exit(1);
                }
            }
        });
    };
    std::thread::Builder::new().name("discovery".to_owned()).spawn(body).map(drop)
}

/// The life of a worker's thread.
fn work(
    number: usize,
    directory: Arc<Directory>,
    receiver: UnboundedReceiver<Message>,
    listeners: Vec<(PoolId, Bound)>,
) -> io::Result<()> {
    turn::runtime()?.block_on(async move {
        let worker = Worker::new(
            number,
            &directory.pools,
            &directory.global,
            Arc::clone(&directory),
            rand::random(),
        );
        worker.start();
        for (pool, bound) in listeners {
            let listener = bound.into_listener()?;
            let worker = Rc::clone(&worker);
            let directory = Arc::clone(&directory);
            tokio::task::spawn_local(async move {
                loop {
                    if let Some(stream) = accept(&listener, &directory, pool).await {
                        directory.loads.enter(number);
                        arrivals::arrive(&worker, stream, pool);
                    }
                }
            });
        }
        tick::listen(worker, receiver).await;
        Ok(())
    })
}

/// Accepts the next connection, or tells it that the pool is full or the process out of descriptors.
async fn accept(listener: &Listener, directory: &Directory, pool: PoolId) -> Option<Stream> {
    match listener.accept().await {
        Ok(stream) if arrivals::may_come(directory, pool) => Some(stream),
        Ok(stream) => {
            arrivals::refuse(directory, pool, stream).await;
            None
        }
        Err(error) => {
            // It may go on failing for long: once a second is told often enough.
            static TOLD_AT: AtomicU64 = AtomicU64::new(u64::MAX);
            let second = directory.clock.seconds();
            if TOLD_AT.swap(second, Ordering::Relaxed) != second {
                log!(Warning, "accepting a connection failed: {error}");
            }
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The life of the main thread.
async fn supervise(
    directory: &Arc<Directory>,
    listeners: Vec<(PoolId, Bound)>,
    mut publisher: Option<Publisher>,
) -> io::Result<()> {
    for (pool, bound) in listeners {
        let listener = bound.into_listener()?;
        let directory = Arc::clone(directory);
        tokio::spawn(async move {
            loop {
                let Some(stream) = accept(&listener, &directory, pool).await else {
                    continue;
                };
                let Ok(handed) = Handed::from_stream(stream) else {
                    arrivals::give_place_back(&directory, pool);
                    continue;
                };
                let worker = directory.loads.enter_least();
                // The workers live as long as the process.
                let _ = directory.workers[worker].send(Message::Accept(handed, pool));
            }
        });
    }
    let may_be_down =
        directory.pools.iter().any(|pool| pool.settings.on_server_down != OnServerDown::Try);
    let mut probes =
        tokio::time::interval(if may_be_down { PROBE_TICK } else { Duration::from_secs(3600) });
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let mut louder = signal(SignalKind::from_raw(nix::sys::signal::Signal::SIGTTIN as i32))?;
    let mut quieter = signal(SignalKind::from_raw(nix::sys::signal::Signal::SIGTTOU as i32))?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // The log file is opened for each line, so a rotated one is left at once.
            _ = hangup.recv() => log!(Notice, "SIGHUP: the log continues here"),
            _ = user1.recv() => {}
            _ = user2.recv() => {}
            _ = louder.recv() => shift_level("SIGTTIN", 1),
            _ = quieter.recv() => shift_level("SIGTTOU", -1),
            _ = probes.tick() => probe_those_down(directory),
            _ = seconds.tick() => {
                if let Some(publisher) = &mut publisher {
                    publisher.push(directory);
                }
            }
        }
    }
    log!(Notice, "told to stop; bye");
    Ok(())
}

fn shift_level(signal: &str, by: i8) {
    const LEVELS: [Level; 4] = [Level::Warning, Level::Notice, Level::Verbose, Level::Debug];
    let place = LEVELS.iter().position(|level| *level == log::level()).unwrap_or(1);
    let place = place.saturating_add_signed(by.into()).min(LEVELS.len() - 1);
    log::set_level(LEVELS[place]);
    log!(Warning, "{signal}: the log level is {} now", LEVELS[place].name());
}

/// Asks the servers that are down whether they are well, each when its time has come.
pub(crate) fn probe_those_down(directory: &Arc<Directory>) {
    for pool in &directory.pools {
        for server in pool.due_for_probe(directory.clock.now()) {
            let (directory, pool) = (Arc::clone(directory), Arc::clone(pool));
            tokio::spawn(async move {
                let settings = &pool.settings;
                let name = &server.name;
                let is_well = probe::is_well(settings, &server).await;
                pool.probed(server.id, is_well, directory.clock.now());
                if is_well {
                    log!(Notice, "pool '{}': server '{name}' is back", settings.name);
                    directory.tell_changed(pool.id);
                } else {
                    log!(Debug, "pool '{}': server '{name}' is not well yet", settings.name);
                }
            });
        }
    }
}

/// Sends log lines where the settings say.
///
/// # Errors
/// When the log file cannot be opened: it is opened anew for each line, and lines must not get lost unnoticed.
pub fn set_up_log(settings: &Settings) -> io::Result<()> {
    if let Some(path) = &settings.global.log_file {
        log::open(path).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot open the log file '{path}': {error}"))
        })?;
    }
    let level = match settings.global.log_level.unwrap_or(5) {
        0..=4 => Level::Warning,
        5 => Level::Notice,
        6..=7 => Level::Verbose,
        _ => Level::Debug,
    };
    log::set_level(level);
    log::set_role('P');
    log::set_file(settings.global.log_file.as_ref().map(PathBuf::from));
    Ok(())
}

/// Writes the process id where the settings say.
///
/// # Errors
/// When the file cannot be written.
pub fn write_pid(path: &Path) -> io::Result<()> {
    std::fs::write(path, format!("{}\n", std::process::id())).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot write '{}': {error}", path.display()))
    })
}
