//! The link to the primary: a connection whose bytes replication decides about, the file of a snapshot that comes by it,
//! and the execution of the stream.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redstart_common::log;
use redstart_common::net::{Link as Wire, turn};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use crate::client::{Client, Flags, Origin};
use crate::dispatch::unexpected::Peer;
use crate::engine::Engine;
use crate::engine::feed::Audience;
use crate::replication::{Action, Event, LinkId, LoadBy, Stream};
use crate::saving::load::{self, Load, Rules};
use crate::server::Server;
use crate::text::system_words;
use crate::turn::incoming::{self, Incoming, Inflow};
use crate::turn::saving;

/// Bytes read from the primary at once.
const READ_BYTES: usize = 64 << 10;
/// How long a primary is left alone whose snapshot comes faster than it is taken in.
const REST: Duration = Duration::from_millis(1);
/// How soon what waited for the end of a pause runs after it.
const LOOK_AT_PAUSE_EVERY: Duration = Duration::from_millis(10);
/// Bytes that are read from the primary during a pause.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// All links there are: one, and perhaps others that are ending.
#[derive(Default)]
pub struct Links {
    open: RefCell<HashMap<LinkId, Rc<Link>>>,
}

/// A link.
struct Link {
    id: LinkId,
    wire: Wire,
    /// What the kernel has not taken yet.
    unsent: RefCell<Vec<u8>>,
    /// The address of the primary, and our own.
    addresses: RefCell<(String, String)>,
    closed: Cell<bool>,
    /// While a snapshot is loaded nothing is read.
    is_loading: Cell<bool>,
    /// A snapshot is taken in as it comes.
    takes_in: Cell<bool>,
    /// Nothing more comes.
    ended: Cell<bool>,
    /// The link's state has changed: its task looks.
    changed: Notify,
    /// All of a snapshot has come, or will not.
    loads: Notify,
    receiving: RefCell<Option<Receiving>>,
    replay: RefCell<Option<Replay>>,
}

/// A snapshot that comes.
enum Receiving {
    /// Into a file.
    File(Arriving),
    /// Into databases.
    Parser(Inflow),
}

/// The file of a snapshot that comes.
struct Arriving {
    file: File,
    path: PathBuf,
}

/// The stream as it is executed.
struct Replay {
    client: Box<Client>,
    stream: Stream,
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // It has another name once it is complete.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Link {
    /// Answers how many bytes the stream took.
    fn send(&self, bytes: &[u8]) -> usize {
        let mut unsent = self.unsent.borrow_mut();
        unsent.extend_from_slice(bytes);
        // What is sent is small and regular: the next time takes along what is left.
        let sent = self.wire.send(&unsent);
        unsent.drain(..sent);
        sent
    }

    /// Whether the stream runs. What is said before it is no traffic of a client's.
    fn streams(&self) -> bool {
        self.replay.borrow().is_some()
    }

    /// Bytes of the stream that came and have not run.
    fn waiting(&self) -> usize {
        self.replay.borrow().as_ref().map_or(0, |replay| replay.stream.waiting())
    }

    /// Whether enough of a snapshot waits to be taken in.
    fn is_full(&self) -> bool {
        match &*self.receiving.borrow() {
            Some(Receiving::Parser(inflow)) => inflow.is_full(),
            _ => false,
        }
    }

    /// Nothing more comes. What takes a snapshot in as it came says first what it lacked: called again before that, the primary would
    /// send the next while this one is not done with, and what is said of both would mix.
    async fn end(&self) {
        self.ended.set(true);
        if self.takes_in.get() {
            self.receiving.take();
            self.loads.notify_one();
        }
        while self.takes_in.get() && !self.closed.get() {
            self.changed.notified().await;
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.receiving.take();
        self.replay.take();
        self.wire.close();
        self.changed.notify_one();
        self.loads.notify_one();
    }
}

/// Carries out what replication wants of the link to the primary.
pub fn carry_out(server: &Rc<Server>, action: Action) {
    let find = |id: &LinkId| server.links.open.borrow().get(id).cloned();
    match action {
        Action::Connect { link, host, port } => {
            let link = Rc::new(Link {
                id: link,
                wire: Wire::default(),
                unsent: RefCell::default(),
                addresses: RefCell::default(),
                closed: Cell::new(false),
                is_loading: Cell::new(false),
                takes_in: Cell::new(false),
                ended: Cell::new(false),
                changed: Notify::new(),
                loads: Notify::new(),
                receiving: RefCell::new(None),
                replay: RefCell::new(None),
            });
            server.links.open.borrow_mut().insert(link.id, Rc::clone(&link));
            tokio::task::spawn_local(serve(Rc::clone(server), link, host, port));
        }
        Action::CloseLink(id) => {
            hide(server, id);
            if let Some(link) = server.links.open.borrow_mut().remove(&id) {
                link.close();
            }
        }
        Action::SendPrimary(id, bytes) => {
            if let Some(link) = find(&id) {
                let sent = link.send(&bytes);
                if link.streams() {
                    server.engine.borrow_mut().core.stats.written_to_primary(sent);
                }
            }
        }
        Action::Receive { link: id, by, size } => {
            let Some(link) = find(&id) else { return };
            let received = match by {
                LoadBy::File => receive_file(server, &link),
                LoadBy::Parser => receive_directly(server, &link, size, None),
                LoadBy::NewDatabases { serve_old } => {
                    receive_directly(server, &link, size, Some(serve_old))
                }
            };
            if let Err(reason) = received {
                tell(server, Event::LoadFailed(id, &reason));
            }
        }
        Action::SnapshotBytes(id, bytes) => {
            let Some(link) = find(&id) else { return };
            let written = match &mut *link.receiving.borrow_mut() {
                Some(Receiving::File(arriving)) => arriving.file.write_all(&bytes),
                Some(Receiving::Parser(inflow)) => {
                    inflow.push(bytes);
                    Ok(())
                }
                None => Ok(()),
            };
            if let Err(error) = written {
                log!(
                    Warning,
                    "Write error or short write writing to the DB dump file needed for MASTER <-> \
                     REPLICA synchronization: {}",
                    system_words(&error)
                );
                tell(server, Event::LoadFailed(id, &system_words(&error)));
            }
        }
        Action::Load(id) => {
            if let Some(link) = find(&id) {
                link.is_loading.set(true);
                link.loads.notify_one();
                let receiving = link.receiving.take();
                if let Some(Receiving::File(arriving)) = receiving {
                    tokio::task::spawn_local(load(Rc::clone(server), link, arriving));
                }
                // Otherwise the parser sees the end of what comes now.
            }
        }
        Action::Stream(id, db) => {
            if let Some(link) = find(&id) {
                let mut client = Box::new(Client::new(0, 0));
                client.origin = Origin::Primary;
                client.flags.set(Flags::DENY_BLOCKING);
                client.db = db as usize;
                link.replay.replace(Some(Replay { client, stream: Stream::default() }));
                show(server, &link);
            }
        }
        Action::Execute(id, bytes) => {
            if let Some(link) = find(&id) {
                execute(server, &link, bytes);
            }
        }
        _ => {}
    }
}

/// Shows the stream among the clients.
fn show(server: &Server, link: &Link) {
    let mut engine = server.engine.borrow_mut();
    let now_ms = engine.keyspace.shared.now_ms.get();
    let core = &mut engine.core;
    let mut client = Box::new(Client::new(core.clients.new_id(), now_ms));
    client.origin = Origin::Primary;
    let (address, local_address) = &*link.addresses.borrow();
    client.address = address.clone();
    client.local_address = local_address.clone();
    // It may do everything, as no user has to be allowed.
    client.user = Rc::from(&b"(superuser)"[..]);
    core.replicating.primary = Some((link.id, client));
}

/// Takes it away.
fn hide(server: &Server, link: LinkId) {
    let primary = &mut server.engine.borrow_mut().core.replicating.primary;
    primary.take_if(|(shown, _)| *shown == link);
}

/// Tells replication what happened, and does at once what follows for links.
pub fn tell(server: &Rc<Server>, event: Event<'_>) {
    {
        let mut engine = server.engine.borrow_mut();
        engine.refresh();
        let engine = &mut *engine;
        engine.core.tell_replication(&mut engine.keyspace, event);
    }
    server.carry_out_asks();
}

/// Makes the connection, and reads from it until it ends.
async fn serve(server: Rc<Server>, link: Rc<Link>, host: String, port: u16) {
    let connected = tokio::select! {
        connected = server.reach(&host, port, |tls| tls.replication) => connected,
        () = link.changed.notified() => return,
    };
    if link.closed.get() {
        return;
    }
    match connected {
        Ok(stream) => {
            let name = |address: Option<std::net::SocketAddr>| {
                address.map_or_else(String::new, |address| address.to_string())
            };
            link.addresses.replace((name(stream.peer_address()), name(stream.local_address())));
            link.wire.open(stream);
        }
        Err(error) => {
            server.links.open.borrow_mut().remove(&link.id);
            tell(&server, Event::ConnectFailed(link.id, &system_words(&error)));
            return;
        }
    }
    tell(&server, Event::Connected(link.id));
    let reason = read_until_closed(&server, &link).await;
    link.end().await;
    if !link.closed.get() {
        server.links.open.borrow_mut().remove(&link.id);
        hide(&server, link.id);
        link.close();
        tell(&server, Event::LinkClosed(link.id, &reason));
    }
}

async fn read_until_closed(server: &Rc<Server>, link: &Rc<Link>) -> String {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    loop {
        if link.closed.get() {
            return String::new();
        }
        if link.is_loading.get() {
            link.changed.notified().await;
            continue;
        }
        if link.is_full() {
            tokio::time::sleep(REST).await;
            continue;
        }
        while link.waiting() > WAITING_BYTES_MAX && server.engine.borrow().core.paused.is_some() {
            tokio::time::sleep(LOOK_AT_PAUSE_EVERY).await;
            execute(server, link, Bytes::new());
            turn::end();
        }
        buffer.reserve(READ_BYTES);
        let outcome = tokio::select! {
            outcome = read_some(&link.wire, &mut buffer) => outcome,
            () = link.changed.notified() => continue,
            () = tokio::time::sleep(LOOK_AT_PAUSE_EVERY), if link.waiting() > 0 => {
                execute(server, link, Bytes::new());
                turn::end();
                continue;
            }
        };
        match outcome {
            Ok(0) => return "connection lost".to_owned(),
            Ok(count) => {
                {
                    let stats = &mut server.engine.borrow_mut().core.stats;
                    stats.repl_bytes_in += count as u64;
                    stats.reads += u64::from(link.streams());
                }
                tell(server, Event::Received(link.id, buffer.split().freeze()));
            }
            Err(error) => return system_words(&error),
        }
        turn::end_if_full();
    }
}

async fn read_some(wire: &Wire, buffer: &mut BytesMut) -> io::Result<usize> {
    wire.input().read_buf(buffer).await
}

/// Prepares for a snapshot that is about to come, as it comes. `beside` says that it goes into new databases, and whether the
/// old ones serve meanwhile.
fn receive_directly(
    server: &Rc<Server>,
    link: &Rc<Link>,
    size: Option<u64>,
    beside: Option<bool>,
) -> Result<(), String> {
    let (inflow, incoming) = {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        let core = &mut engine.core;
        let begun = incoming::begin(load::options(size, core))
            .map_err(|error| format!("no thread: {}", system_words(&error)))?;
        core.replicating.new_databases = beside.map(|_| engine.keyspace.new_databases());
        core.replicating.loads_from = Some(link.id);
        core.begin_loading(&engine.keyspace, size.unwrap_or(0), beside.unwrap_or(false));
        begun
    };
    link.receiving.replace(Some(Receiving::Parser(inflow)));
    link.takes_in.set(true);
    tokio::task::spawn_local(take_in(Rc::clone(server), Rc::clone(link), incoming));
    Ok(())
}

/// Takes in what the parser has read, and says how that ended.
async fn take_in(server: Rc<Server>, link: Rc<Link>, mut incoming: Incoming) {
    let outcome = incoming.take_in(&server, link.id).await;
    // The end of the data may be known before the end of what is sent.
    while outcome.is_ok() && !link.is_loading.get() && !link.closed.get() && !link.ended.get() {
        link.loads.notified().await;
    }
    end_load(&server, &link, outcome);
}

/// Prepares for a snapshot that is about to come into a file.
fn receive_file(server: &Rc<Server>, link: &Link) -> Result<(), String> {
    let engine = server.engine.borrow();
    let now_s = redstart_common::clock::unix_ms() / 1000;
    let path = engine.core.data_path(&format!("temp-{now_s}.{}.rdb", std::process::id()));
    let file = File::create(&path).map_err(|error| {
        log!(
            Warning,
            "Opening the temp file needed for MASTER <-> REPLICA synchronization: {}",
            system_words(&error)
        );
        system_words(&error)
    })?;
    link.receiving.replace(Some(Receiving::File(Arriving { file, path })));
    Ok(())
}

/// Loads the snapshot that has come.
async fn load(server: Rc<Server>, link: Rc<Link>, arriving: Arriving) {
    server.engine.borrow_mut().core.replicating.loads_from = Some(link.id);
    let outcome = load_file(&server, &link, arriving).await;
    end_load(&server, &link, outcome);
}

/// A load is over.
fn end_load(server: &Rc<Server>, link: &Rc<Link>, outcome: Result<u32, String>) {
    // A snapshot whose end was not seen is none, though all its data may have come.
    let is_whole = link.is_loading.replace(false);
    link.takes_in.set(false);
    {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        // Another link may load by now.
        let loads_from = engine.core.replicating.loads_from;
        if loads_from.is_none_or(|loading| loading == link.id) {
            engine.core.end_loading(&engine.keyspace);
        }
    }
    if !link.closed.get() {
        match outcome {
            Ok(db) if is_whole => tell(server, Event::Loaded(link.id, db)),
            // The link says that it has ended.
            Ok(_) => {}
            Err(reason) => tell(server, Event::LoadFailed(link.id, &reason)),
        }
    }
    link.changed.notify_one();
}

async fn load_file(
    server: &Rc<Server>,
    link: &Rc<Link>,
    receiving: Arriving,
) -> Result<u32, String> {
    let path = server.engine.borrow().core.dump_path();
    let moved = receiving
        .file
        .sync_all()
        .and_then(|()| std::fs::rename(&receiving.path, &path))
        .and_then(|()| load::open(&path));
    let opened = moved.map_err(|error| {
        let reason = system_words(&error);
        log!(
            Warning,
            "Failed trying to rename the temp DB into {} in MASTER <-> REPLICA synchronization: {reason}",
            path.display()
        );
        reason
    })?;
    let Some((file, bytes)) = opened else { return Err("the snapshot's file is gone".to_owned()) };
    let mut rdb = {
        let mut engine = server.engine.borrow_mut();
        let engine = &mut *engine;
        engine.core.begin_loading(&engine.keyspace, bytes, false);
        Load::new(file, Some(bytes), Rules::default(), &engine.core)
    };
    let outcome = saving::in_steps(server, &mut rdb, 0, || is_given_up(server, link.id)).await;
    outcome.map_err(|failure| {
        let lines = failure.log_lines();
        lines.iter().for_each(|line| log!(Warning, "{line}"));
        lines.last().cloned().unwrap_or_default()
    })?;
    server.engine.borrow().core.remove_sync_file(&path);
    Ok(rdb.origin().stream_db.and_then(|db| u32::try_from(db).ok()).unwrap_or(0))
}

/// Whether what this link brings is of no use any more.
pub(super) fn is_given_up(server: &Server, link: LinkId) -> bool {
    server.engine.borrow().core.replicating.loads_from != Some(link)
}

/// Executes what came by the stream.
fn execute(server: &Rc<Server>, link: &Rc<Link>, bytes: Bytes) {
    let Some(mut replay) = link.replay.take() else { return };
    replay.stream.push(bytes);
    let broken = {
        let mut engine = server.engine.borrow_mut();
        engine.refresh();
        run(&mut engine, &mut replay)
    };
    link.replay.replace(Some(replay));
    if let Some(why) = broken {
        {
            let mut engine = server.engine.borrow_mut();
            let engine = &mut *engine;
            engine.core.replicate(&mut engine.keyspace, None, |replication, turn| {
                replication.stream_broken(link.id, &why, turn);
            });
        }
        server.carry_out_asks();
    }
}

/// Runs complete requests. Answers why the stream makes no sense, if it does not.
fn run(engine: &mut Engine, replay: &mut Replay) -> Option<String> {
    engine.keyspace.shared.ignore_expiry.set(true);
    let limit = engine.core.feed.limit(Audience::LOG);
    let mut broken = None;
    engine.core.check_pause(&engine.keyspace.shared);
    loop {
        // What is paused changes in no way.
        if engine.core.paused.is_some() {
            break;
        }
        let has_applied = replay.stream.has_applied();
        match replay.stream.next_request() {
            // It asks how far this is, so what has run counts before; then the request comes again.
            Ok(Some(args)) if has_applied && args.at(0).eq_ignore_ascii_case(b"replconf") => {
                count_applied(engine, replay);
                continue;
            }
            Ok(Some(args)) => {
                if !args.is_empty() {
                    let errors = engine.core.stats.total_errors;
                    engine.execute(&mut replay.client, args);
                    // Nobody hears the replies, but an error says that the data may differ from now on.
                    engine.core.look_for_error(Peer::Primary, &replay.client, errors);
                    replay.client.reply.truncate(0);
                }
            }
            Ok(None) => break,
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        }
        replay.stream.done(replay.client.flags.any(Flags::MULTI));
    }
    engine.core.feed.limit(limit);
    engine.keyspace.shared.ignore_expiry.set(false);
    count_applied(engine, replay);
    broken
}

/// What has run is part of this server's history.
fn count_applied(engine: &mut Engine, replay: &mut Replay) {
    let applied = replay.stream.take_applied();
    engine.core.replication.applied(&applied, replay.client.db as u32);
}
