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

mod listening;
mod sockets;
mod tasks;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use redstart_common::log;
use redstart_common::net::arrivals::Arrivals;
use redstart_common::net::turn;
use tokio::sync::{Notify, Semaphore};

use self::listening::Listening;
pub use self::sockets::{BindError, Sockets, bind};
use self::tasks::{MIGRATIONS_MAX, alarms, cron, evictions, log, migrate};
use crate::engine::Engine;
use crate::engine::asks::Ask;
use crate::replication::Action;
use crate::saving::shutdown::Manner;
use crate::turn::bus::{self, Bus};
use crate::turn::intake::Intake;
use crate::turn::link::{self, Links};
use crate::turn::slots::{self, SlotLinks};
use crate::turn::{busy, relay, saving, sentinel, spill};

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
}

/// Has short waits of this thread end when they should, rather than up to 50 microseconds later.
fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_timerslack(1000) {
        log!(Verbose, "The timer slack cannot be set: {error}");
    }
}

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
