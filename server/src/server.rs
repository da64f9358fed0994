//! Builds the parts and draws the threads; the only file that knows them all.
//!
//! ```text
//!   main thread:  tokio current-thread runtime ─ acceptors ─ a task per connection ─ cron ─ signals
//!                 owns the engine; commands run to completion here and nowhere else
//!   lazyfree:     frees large values
//!   memory:       gives free memory back to the system
//!   migrate:      one for each MIGRATE that is under way: talks to the other server
//!   bio_aof_fsync: brings the append-only file to the disk
//!   save:         one while a snapshot is written: compresses it, keeps its checksum, writes it
//!   repl_spill:   writes and reads what replicas have yet to be sent and does not fit in memory
//! ```

mod sockets;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redstart_common::log;
use redstart_common::net::arrivals::Arrivals;
use redstart_common::net::listen::Bound;
use redstart_common::net::timer::Timer;
use redstart_common::net::tls::Peer;
use redstart_common::net::{Listener, Stream, buffer, outward, turn};
use tokio::sync::{Notify, Semaphore};

pub use self::sockets::{BindError, Sockets, bind};
use crate::client::{Client, Flags};
use crate::engine::asks::Ask;
use crate::engine::{Core, Engine};
use crate::migrate::transfer::{self, Job, Outcome};
use crate::replication::Action;
use crate::saving::shutdown::Manner;
use crate::settings::Settings;
use crate::settings::tls::Tls;
use crate::turn::bus::{self, Bus};
use crate::turn::connection::Connection;
use crate::turn::intake::Intake;
use crate::turn::link::{self, Links};
use crate::turn::slots::{self, SlotLinks};
use crate::turn::{arrivals, busy, relay, saving, sentinel, spill};

/// Who asks the server to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// The program that the engine runs in.
    Program,
}

/// An engine and the way to its end.
pub struct Server {
    /// The engine. Borrowed for the length of a batch, never across an `.await`.
    pub engine: RefCell<Engine>,
    /// What was read in this turn.
    pub intake: Intake,
    /// Links to the primary.
    pub links: Links,
    /// Links of the cluster's bus.
    pub bus: Bus,
    /// Links by which slots go to other nodes.
    pub slot_links: SlotLinks,
    /// What a sentinel has open.
    pub sentinel: sentinel::Shell,
    /// Connections that are no clients yet.
    pub arrivals: Arrivals,
    wanted: Wanted,
    failed: Cell<bool>,
    listening: RefCell<Vec<Listening>>,
}

/// Who is woken when the engine asks for something.
#[derive(Default)]
struct Wanted {
    stop: Rc<Notify>,
    alarm: Rc<Notify>,
    evict: Rc<Notify>,
    save: Rc<Notify>,
    empty: Rc<Notify>,
    /// The log's thread has synced.
    logged: Arc<Notify>,
}

/// A TCP socket that takes connections, and the task that does it.
struct Listening {
    socket: std::net::TcpListener,
    tls: bool,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves `sockets` with `engine` on the current thread until asked to stop: by a command, or by `until`, which
    /// is asked again when the engine does not end for what it has said.
    ///
    /// # Errors
    /// What the runtime's poller says, or that the data could not be loaded: that is `InvalidData`, and the log says why.
    pub fn run<U: Future<Output = Asked>>(
        engine: Engine,
        sockets: Sockets,
        until: impl Fn() -> U,
    ) -> io::Result<Engine> {
        let runtime = turn::runtime()?;
        let server = runtime.block_on(async {
            let server = Rc::new(Self {
                engine: RefCell::new(engine),
                intake: Intake::default(),
                links: Links::default(),
                bus: Bus::default(),
                slot_links: SlotLinks::default(),
                sentinel: sentinel::Shell::default(),
                arrivals: Arrivals::default(),
                wanted: Wanted::default(),
                failed: Cell::new(false),
                listening: RefCell::default(),
            });
            let (reports, reported) = tokio::sync::mpsc::unbounded_channel();
            let (spilled, of_spill) = tokio::sync::mpsc::unbounded_channel();
            let (weak, room) = (Rc::downgrade(&server), Rc::new(Semaphore::new(MIGRATIONS_MAX)));
            {
                let core = &mut server.engine.borrow_mut().core;
                core.reports = Some(reports);
                core.replicating.files.report_to(spilled);
                let logged = Arc::clone(&server.wanted.logged);
                core.logging.wake = Some(Arc::new(move || logged.notify_one()));
                core.migrations.set_carrier(move |ticket, job| {
                    tokio::task::spawn_local(migrate(weak.clone(), Rc::clone(&room), ticket, job));
                });
                let (weak, looks) = (Rc::downgrade(&server), busy::Looks::default());
                core.set_serve_others(move |keyspace, core| {
                    if let Some(server) = weak.upgrade() {
                        busy::serve(&server, &looks, keyspace, core);
                    }
                });
                let weak = Rc::downgrade(&server);
                core.set_rebind(move |old, new| {
                    weak.upgrade().and_then(|server| server.rebind(old, new))
                });
            }
            server.add_hooks();
            sharpen_timers();
            for (socket, tls) in sockets.all() {
                server.listen(socket, tls)?;
            }
            tokio::task::spawn_local(cron(Rc::clone(&server)));
            tokio::task::spawn_local(alarms(Rc::clone(&server)));
            tokio::task::spawn_local(evictions(Rc::clone(&server)));
            let wanted = Rc::clone(&server.wanted.save);
            tokio::task::spawn_local(saving::save(Rc::clone(&server), wanted, reported));
            let wanted = Rc::clone(&server.wanted.empty);
            tokio::task::spawn_local(slots::empty(Rc::clone(&server), wanted));
            tokio::task::spawn_local(spill::hear(Rc::clone(&server), of_spill));
            tokio::task::spawn_local(log(Rc::clone(&server)));
            tokio::task::spawn_local(start(Rc::clone(&server)));
            if server.engine.borrow().core.sentinel.is_some() {
                tokio::task::spawn_local(sentinel::cron(Rc::clone(&server)));
            }
            loop {
                tokio::select! {
                    asked = until() => server.asked_to_end(asked),
                    () = server.wanted.stop.notified() => break,
                }
            }
            turn::end();
            // Whoever sees its connection end finds nobody to connect to.
            server.close_listeners(std::mem::take(&mut *server.listening.borrow_mut()));
            // Clients that are still connected hold their connections, and those the server.
            for client in server.engine.borrow_mut().core.clients.iter_mut() {
                client.connection = None;
            }
            Ok::<_, io::Error>(server)
        })?;
        // Ends the tasks, and with them the other holders of the server.
        drop(runtime);
        match Rc::try_unwrap(server) {
            Ok(server) if server.failed.get() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "the data could not be loaded"))
            }
            Ok(server) => Ok(server.engine.into_inner()),
            Err(_) => Err(io::Error::other("a connection outlived its runtime")),
        }
    }

    /// What happens at the end of each turn of this thread.
    fn add_hooks(self: &Rc<Self>) {
        let weak = Rc::downgrade(self);
        turn::add_hook(move || {
            if let Some(server) = weak.upgrade() {
                server.intake.run(&server);
            }
        });
        let weak = Rc::downgrade(self);
        turn::add_rest(move || {
            if let Some(server) = weak.upgrade() {
                server.intake.rest(|| server.engine.borrow().core.settings.coalesce_us);
            }
        });
        let weak = Rc::downgrade(self);
        turn::add_hook(move || {
            if let Some(server) = weak.upgrade() {
                let mut borrowed = server.engine.borrow_mut();
                let engine = &mut *borrowed;
                let core = &mut engine.core;
                // The log says why. No reply to what was not logged may leave.
                if core.deliver(&mut engine.keyspace).is_err() {
                    std::process::exit(1);
                }
                core.look_at_held();
                core.end_turn_of_tracking();
                core.evict_clients_each_turn();
                core.end_turn_of_cluster(&mut engine.keyspace);
                if core.cluster_has_changed() {
                    core.slots_have_moved();
                }
                drop(borrowed);
                server.carry_out_asks();
                bus::flush(&server);
                slots::flush(&server);
            }
        });
    }

    /// Does what the engine asks for. Call it where the engine is not borrowed.
    pub(crate) fn carry_out_asks(self: &Rc<Self>) {
        loop {
            let asks = std::mem::take(&mut self.engine.borrow_mut().core.asks);
            if asks.is_empty() {
                return;
            }
            asks.into_iter().for_each(|ask| self.carry_out(ask));
        }
    }

    fn carry_out(self: &Rc<Self>, ask: Ask) {
        match ask {
            Ask::Reload { client, source } => {
                tokio::task::spawn_local(saving::reload(Rc::clone(self), client, source));
            }
            Ask::LookAtDeadlines => self.wanted.alarm.notify_one(),
            Ask::GoOnEvicting => self.wanted.evict.notify_one(),
            Ask::GoOnSaving => self.wanted.save.notify_one(),
            Ask::GoOnEmptying => self.wanted.empty.notify_one(),
            Ask::SlotLink { name, ip, port } => slots::open(self, name, ip, port),
            Ask::CloseSlotLink(name) => slots::close(self, name),
            Ask::SlotChunks(name) => slots::take_chunks(self, name),
            Ask::Stop => self.wanted.stop.notify_one(),
            Ask::Relay => {
                let relays = std::mem::take(&mut self.engine.borrow_mut().core.replicating.relays);
                for one in relays {
                    tokio::task::spawn_local(relay::relay(Rc::clone(self), one));
                }
            }
            Ask::Replication(action @ Action::SendFile(..)) => {
                tokio::task::spawn_local(relay::send_file(Rc::clone(self), action));
            }
            Ask::Bus(action) => bus::carry_out(self, action),
            Ask::Replication(action) => link::carry_out(self, action),
            ask @ (Ask::Sentinel(_) | Ask::Monitor { .. }) => sentinel::ask(self, ask),
        }
    }

    /// The server is asked to end from outside.
    fn asked_to_end(&self, asked: Asked) {
        let mut engine = self.engine.borrow_mut();
        engine.refresh();
        let engine = &mut *engine;
        if engine.core.saved.loading.is_some() {
            log!(Warning, "Received shutdown signal during loading, exiting now.");
            self.wanted.stop.notify_one();
            return;
        }
        let settings = &engine.core.settings;
        let [save, nosave, now, force, safe] = match asked {
            Asked::Terminate => settings.shutdown_on_sigterm,
            Asked::Interrupt => settings.shutdown_on_sigint,
            Asked::Program => [false, false, true, true, false],
        };
        let manner = Manner { save, nosave, now, force, safe };
        if asked == Asked::Program {
            engine.core.shut_down(&mut engine.keyspace, manner);
            return;
        }
        if asked == Asked::Interrupt && engine.core.ending.is_under_way() {
            log!(Warning, "You insist... exiting now.");
            std::process::exit(1);
        }
        engine.core.ask_to_end(manner);
    }

    /// Ends because something that is needed is not there.
    fn fail(&self) {
        self.failed.set(true);
        self.wanted.stop.notify_one();
    }

    /// Takes connections from a socket from now on.
    fn listen(self: &Rc<Self>, socket: Bound, tls: bool) -> io::Result<()> {
        let copy = match &socket {
            Bound::Tcp(socket) => Some(socket.try_clone()?),
            Bound::Unix(_) => None,
        };
        let listener = socket.into_listener()?;
        let task = tokio::task::spawn_local(accept(Rc::clone(self), listener, tls));
        if let Some(socket) = copy {
            self.listening.borrow_mut().push(Listening { socket, tls, task });
        }
        Ok(())
    }

    /// Takes the connections that wait for it, past the runtime, and hands them to `take`, with whether they speak TLS.
    pub(crate) fn accept_now(&self, mut take: impl FnMut(Stream, bool)) {
        for listening in self.listening.borrow().iter() {
            while let Ok((stream, _)) = listening.socket.accept() {
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| stream.set_nodelay(true))
                    .and_then(|()| tokio::net::TcpStream::from_std(stream));
                match stream {
                    Ok(stream) => take(Stream::Tcp(stream), listening.tls),
                    Err(error) => log!(Warning, "Accepting client connection: {error}"),
                }
            }
        }
    }

    /// Closes the TCP sockets that take connections.
    fn close_listeners(&self, listeners: Vec<Listening>) {
        for Listening { socket, task, .. } in listeners {
            // At once, so that the address is free; the task lets go of its own handle a little later.
            if let Err(error) = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Both) {
                log!(Warning, "Closing a listening socket: {error}");
            }
            task.abort();
        }
    }

    /// Binds the addresses of `settings` and takes connections there: those of the plain port, of that for TLS, or of both.
    /// Answers whether it does; if not, nothing has changed.
    fn listen_as(self: &Rc<Self>, settings: &Settings, which: Which) -> bool {
        let mut wanted = Settings { unixsocket: String::new(), ..settings.clone() };
        if which == Which::Tls {
            (wanted.port, wanted.ephemeral_port) = (0, false);
        } else if which == Which::Plain {
            wanted.tls.port = 0;
        }
        let bound = match bind(&wanted) {
            Ok(bound) => bound,
            Err(error) => {
                log!(Warning, "{}", error.warning());
                return false;
            }
        };
        for (socket, tls) in bound.all() {
            if let Err(error) = self.listen(socket, tls) {
                log!(Warning, "Listening: {error}");
            }
        }
        true
    }

    /// Takes connections where `new` says instead of where `old` did. Those that are there stay. Answers the port.
    fn rebind(self: &Rc<Self>, old: &Settings, new: &Settings) -> Option<u16> {
        if new.bind != old.bind {
            // The new addresses may be part of those of now, on the same port: these have to go first.
            let before = std::mem::take(&mut *self.listening.borrow_mut());
            self.close_listeners(before);
            let listens = self.listen_as(new, Which::Both);
            if !listens && !self.listen_as(old, Which::Both) {
                log!(Warning, "The addresses of before could not be bound again either.");
            }
            return listens.then(|| self.port());
        }
        let which = match (new.port != old.port, new.tls.port != old.tls.port) {
            (true, true) => Which::Both,
            (false, true) => Which::Tls,
            _ => Which::Plain,
        };
        let goes = |listening: &Listening| match which {
            Which::Both => true,
            Which::Tls => listening.tls,
            Which::Plain => !listening.tls,
        };
        let before = std::mem::take(&mut *self.listening.borrow_mut());
        let (before, kept): (Vec<_>, Vec<_>) = before.into_iter().partition(goes);
        self.listening.borrow_mut().extend(kept);
        if self.listen_as(new, which) {
            self.close_listeners(before);
            return Some(self.port());
        }
        self.listening.borrow_mut().extend(before);
        None
    }

    /// The port that clients are told: the plain one, or that for TLS where there is no other; 0 where there is none.
    fn port(&self) -> u16 {
        let listening = self.listening.borrow();
        let plain = listening.iter().find(|listening| !listening.tls);
        let at = plain.or(listening.first()).and_then(|it| it.socket.local_addr().ok());
        at.map_or(0, |at| at.port())
    }

    /// Connects to another server: from the address that the settings name, and by TLS where `goes_by_tls` finds that in the
    /// settings.
    ///
    /// # Errors
    /// What connecting says, or that the two ends do not agree. This waits for the other end.
    pub(crate) async fn reach(
        &self,
        host: &str,
        port: u16,
        goes_by_tls: fn(&Tls) -> bool,
    ) -> io::Result<Stream> {
        let (source, tls) = {
            let engine = self.engine.borrow();
            let core = &engine.core;
            let tls = core.tls.clone().filter(|_| goes_by_tls(&core.settings.tls));
            (core.settings.bind_source_addr.clone(), tls)
        };
        let stream = outward::connect(host, port, &source).await?;
        let Some(material) = tls else { return Ok(stream) };
        let mut stream = stream.under(material.connected(Peer::Trusted).map_err(io::Error::other)?);
        stream.handshake().await?;
        Ok(stream)
    }

    /// Takes a connection in as a client, if there is room and the protected mode lets it. Answers whether it did.
    pub(crate) fn admit(&self, connection: &Rc<Connection>) -> bool {
        let mut engine = self.engine.borrow_mut();
        engine.refresh();
        let now = engine.keyspace.shared.now_ms.get();
        self.admit_to(&mut engine.core, now, connection)
    }

    /// As [`admit`](Self::admit), where the engine is borrowed.
    pub(crate) fn admit_to(&self, core: &mut Core, now: i64, connection: &Rc<Connection>) -> bool {
        let mut stream = connection.stream();
        if core.clients.len() + core.cluster_connections() >= core.settings.maxclients {
            core.stats.rejected_connections += 1;
            // As in Redis, a best effort: the client may not read it.
            let text: &[u8] = match core.cluster {
                Some(_) => b"-ERR max number of clients + cluster connections reached\r\n",
                None => b"-ERR max number of clients reached\r\n",
            };
            let _ = stream.try_write(text);
            return false;
        }
        if core.users.open_to_all() && core.settings.protects_from(&stream) {
            core.stats.rejected_connections += 1;
            let _ = stream.try_write(PROTECTED);
            return false;
        }
        // Those who have not agreed yet give way to those who have.
        self.arrivals.keep_at_most(core.settings.maxclients - core.clients.len());
        if core.settings.tcp_keepalive > 0 {
            // A socket without keepalive still serves.
            let _ = stream.set_keepalive(Duration::from_secs(core.settings.tcp_keepalive));
        }
        core.stats.connections += 1;
        let mut client = Box::new(Client::new(core.clients.new_id(), now));
        client.address = stream.peer_name(&core.settings.unixsocket);
        client.local_address = stream.local_name(&core.settings.unixsocket);
        client.authenticated = core.users.open_to_all();
        core.become_user(&mut client, b"default");
        if stream.is_unix() {
            client.flags.set(Flags::UNIX);
        }
        if stream.is_layered() {
            client.flags.set(Flags::BY_TLS);
        }
        client.connection = Some(Rc::clone(connection) as Rc<dyn crate::client::Connection>);
        connection.set_slot(core.clients.add(client));
        true
    }
}

/// Has short waits of this thread end when they should, rather than up to 50 microseconds later.
fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_timerslack(1000) {
        log!(Verbose, "The timer slack cannot be set: {error}");
    }
}

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted from \
the loopback interface. If you want to connect from external computers to Redis you may adopt one of \
the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode \
no' from the loopback interface by connecting to Redis from the same host the server is running, \
however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to \
make this change permanent. 2) Alternatively you can just disable the protected mode by editing the \
Redis configuration file, and setting the protected mode option to 'no', and then restarting the \
server. 3) If you started the server manually just for testing, restart it with the '--protected-mode \
no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one \
of the above things in order for the server to start accepting connections from the outside.\r\n";

async fn accept(server: Rc<Server>, listener: Listener, tls: bool) {
    loop {
        match listener.accept().await {
            Ok(stream) if tls => {
                arrivals::begin(&server, &mut server.engine.borrow_mut().core, stream);
            }
            Ok(stream) => {
                tokio::task::spawn_local(Connection::serve(Rc::clone(&server), stream));
            }
            Err(error) => {
                log!(Warning, "Accepting client connection: {error}");
                // Out of descriptors, most likely: the kernel keeps the queue meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// How often spare buffers for replies are given back, but for a few.
const TRIM_EVERY: Duration = Duration::from_secs(1);

/// The regular work, `hz` times a second, and that of the cluster's bus, which shares its turns where both are as often.
async fn cron(server: Rc<Server>) {
    let timer = Timer::default();
    let mut now = Instant::now();
    let (mut trimmed, mut due, mut bus_due) = (now, now, now);
    loop {
        if now - trimmed >= TRIM_EVERY {
            trimmed = now;
            buffer::trim();
        }
        if now >= due {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            crate::turn::cron::tick(&mut engine);
            let hz = engine.core.settings.hz.max(1);
            due = now + Duration::from_micros(1_000_000 / u64::from(hz));
        }
        let mut next = due;
        if bus::works(&server) {
            if now >= bus_due {
                bus::tick(&server);
                bus_due = now + bus::TICK;
            }
            next = next.min(bus_due);
        }
        timer.sleep(next.saturating_duration_since(Instant::now())).await;
        now = Instant::now();
    }
}

/// Looks after the log when no turn does: the end of each turn writes and syncs what is due.
async fn log(server: Rc<Server>) {
    let timer = Timer::default();
    loop {
        let pause = {
            let core = &server.engine.borrow().core;
            // Where there is none, the turns that the regular work ends do until its first sync wakes this task.
            core.logging.log.as_ref().map(|_| {
                let pause = core.log_wakes_in().unwrap_or(LOOK_AT_LOG_EVERY);
                pause.clamp(LOG_PAUSE_MIN, LOOK_AT_LOG_EVERY)
            })
        };
        // Whichever it is, a turn ends after it.
        tokio::select! {
            () = server.wanted.logged.notified() => {}
            () = timer.sleep(pause.unwrap_or_default()), if pause.is_some() => {}
        }
    }
}

/// How often the log is looked at at least, and at most.
const LOOK_AT_LOG_EVERY: Duration = Duration::from_millis(500);
const LOG_PAUSE_MIN: Duration = Duration::from_millis(1);

/// Loads the data, and says that the server is ready.
async fn start(server: Rc<Server>) {
    let is_sentinel = server.engine.borrow().core.sentinel.is_some();
    // A sentinel has no data.
    if !is_sentinel && saving::load(&server).await.is_err() {
        // Who waits for it learns it by this.
        server.engine.borrow_mut().core.shell.ready = None;
        return server.fail();
    }
    let mut engine = server.engine.borrow_mut();
    if let Some(ready) = engine.core.shell.ready.take() {
        // Who started the engine may be gone by now.
        let _ = ready.send(());
    }
    {
        let engine = &mut *engine;
        engine.core.fit_cluster_to_data(&mut engine.keyspace);
    }
    if engine.core.cluster.is_some() {
        bus::begin(&server, std::mem::take(&mut engine.core.clustering.bus));
    }
    let (shell, settings) = (&engine.core.shell, &engine.core.settings);
    if shell.embedded {
        return;
    }
    if shell.port != 0 && !is_sentinel {
        log!(Notice, "Ready to accept connections");
    }
    if !settings.unixsocket.is_empty() && !is_sentinel {
        log!(Notice, "The server is now ready to accept connections at {}", settings.unixsocket);
    }
    if let Some(supervisor) = shell.supervisor {
        supervisor.tell("STATUS=Ready to accept connections\n");
        supervisor.tell("READY=1\n");
    }
}

/// Evicts what one command had no time for, a little at each turn.
async fn evictions(server: Rc<Server>) {
    loop {
        server.wanted.evict.notified().await;
        {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            engine.make_room(None);
            crate::turn::cron::settle(&mut engine);
        }
        // If there is more to do this task is woken already, so that the loop does not come to wait.
        turn::end();
        tokio::task::yield_now().await;
    }
}

/// MIGRATEs that are carried out at the same time; more wait.
const MIGRATIONS_MAX: usize = 32;

/// Has a thread do a job of MIGRATE, and tells the engine how it ended.
async fn migrate(server: Weak<Server>, room: Rc<Semaphore>, ticket: u64, job: Job) {
    // The semaphore is never closed.
    let _place = room.acquire().await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("migrate".to_owned());
    let started = thread.spawn(move || {
        // Nobody is left to hear it when the server has ended meanwhile.
        let _ = sender.send(transfer::carry(job));
    });
    let outcome = match started {
        Ok(_) => receiver.await.ok(),
        Err(error) => {
            log!(Warning, "Can't start a thread for MIGRATE: {error}");
            None
        }
    };
    let Some(server) = server.upgrade() else { return };
    let mut engine = server.engine.borrow_mut();
    engine.refresh();
    engine.finish_migration(ticket, outcome.unwrap_or_else(Outcome::failed));
}

/// Tells clients that wait in blocking commands when their time is over, to the millisecond.
async fn alarms(server: Rc<Server>) {
    loop {
        let wait = {
            let mut engine = server.engine.borrow_mut();
            engine.refresh();
            engine.expire_waiters();
            let now = engine.keyspace.shared.now_ms.get();
            let next = engine.core.blocking.next_deadline();
            next.map(|deadline| deadline.saturating_sub(now).max(1))
        };
        match wait {
            Some(ms) => {
                let pause = Duration::from_millis(ms.unsigned_abs());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = server.wanted.alarm.notified() => {}
                }
            }
            None => server.wanted.alarm.notified().await,
        }
    }
}

/// Which of the server's ports are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Plain,
    Tls,
    Both,
}
