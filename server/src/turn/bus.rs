//! The sockets of the cluster's bus. What comes by them, and what is to be sent, [`Cluster`](crate::cluster::Cluster) decides.
//!
//! A node has two links with each other one, which are rarely used: one task watches them all.

use std::cell::{OnceCell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::listen::Bound;
use redstart_common::net::outward;
use redstart_common::net::watch::Watch;
use redstart_common::net::{Listener, Stream, turn};
use tokio::task::AbortHandle;

use crate::cluster::{Action, ById, Event, LinkId};
use crate::server::Server;
use crate::text::system_words;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// How often the cluster does its regular work.
pub const TICK: Duration = Duration::from_millis(100);

/// All links there are.
#[derive(Default)]
pub struct Bus {
    /// Is there once the bus works.
    watch: OnceCell<Watch>,
    open: RefCell<ById<Link>>,
    /// Links with output, between two turns.
    ready: RefCell<Vec<LinkId>>,
    /// What one link reads at a time.
    buffer: RefCell<Vec<u8>>,
}

/// A link.
enum Link {
    /// A task makes it.
    Coming(AbortHandle),
    /// It stands.
    Open {
        stream: TcpStream,
        /// The kernel has not taken all that was to be sent.
        is_stuck: bool,
    },
}

impl Bus {
    /// Has a link that stands watched.
    fn admit(&self, id: LinkId, stream: TcpStream) -> io::Result<()> {
        let Some(watch) = self.watch.get() else { return Err(ErrorKind::NotConnected.into()) };
        watch.add(&stream, id.0.get())?;
        self.open.borrow_mut().insert(id, Link::Open { stream, is_stuck: false });
        Ok(())
    }

    /// Does something with the socket of a link that stands.
    fn with<R>(&self, id: LinkId, act: impl FnOnce(&TcpStream, &mut bool) -> R) -> Option<R> {
        match self.open.borrow_mut().get_mut(id)? {
            Link::Coming(_) => None,
            Link::Open { stream, is_stuck } => Some(act(stream, is_stuck)),
        }
    }
}

/// Begins the work of the bus: takes connections from these sockets.
pub fn begin(server: &Rc<Server>, sockets: Vec<Bound>) {
    match Watch::new() {
        // It begins once.
        Ok(watch) => drop(server.bus.watch.set(watch)),
        Err(error) => return log!(Warning, "Watching links of the cluster: {error}"),
    }
    for socket in sockets {
        match socket.into_listener() {
            Ok(listener) => {
                tokio::task::spawn_local(accept(Rc::clone(server), listener));
            }
            Err(error) => log!(Warning, "Listening for the cluster: {error}"),
        }
    }
    tokio::task::spawn_local(serve(Rc::clone(server)));
}

/// Whether the bus works, so that [`tick`] is to be called every [`TICK`].
pub fn works(server: &Server) -> bool {
    server.bus.watch.get().is_some()
}

/// The regular work.
pub fn tick(server: &Server) {
    tell(server, Event::Tick);
}

async fn accept(server: Rc<Server>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(Stream::Tcp(stream)) => match stream.into_std() {
                Ok(stream) => take(&server, stream),
                Err(error) => log!(Verbose, "Error accepting cluster node: {error}"),
            },
            // It listens on TCP, and without TLS.
            Ok(Stream::Unix(_) | Stream::Memory(_) | Stream::Layered(_)) => {}
            Err(error) => {
                log!(Verbose, "Error accepting cluster node: {error}");
                // Out of descriptors, most likely: the kernel keeps the queue meanwhile.
                tokio::time::sleep(TICK).await;
            }
        }
    }
}

/// Carries out what the cluster wants of its links.
pub fn carry_out(server: &Rc<Server>, action: Action) {
    match action {
        Action::Connect { link, ip, port } => {
            let task = tokio::task::spawn_local(connect(Rc::clone(server), link, ip, port));
            server.bus.open.borrow_mut().insert(link, Link::Coming(task.abort_handle()));
        }
        Action::Close(id) => {
            if let Some(Link::Coming(task)) = server.bus.open.borrow_mut().remove(id) {
                task.abort();
            }
        }
        _ => {}
    }
}

/// Tells the cluster what happened.
fn tell(server: &Server, event: Event<'_>) {
    let mut engine = server.engine.borrow_mut();
    engine.refresh();
    let engine = &mut *engine;
    engine.core.tell_cluster(&mut engine.keyspace, event);
}

/// A link ended, or could not be made.
fn lost(server: &Server, id: LinkId, reason: &str) {
    if server.bus.open.borrow_mut().remove(id).is_some() {
        tell(server, Event::Closed(id, reason));
    }
}

/// Sends what the turn has left to be sent.
pub fn flush(server: &Server) {
    let mut ready = server.bus.ready.take();
    {
        let mut engine = server.engine.borrow_mut();
        let Some(cluster) = &mut engine.core.cluster else { return };
        cluster.take_ready(&mut ready);
    }
    for id in ready.drain(..) {
        send(server, id);
    }
    server.bus.ready.replace(ready);
}

/// Sends what the kernel takes; the rest when there is room for it.
fn send(server: &Server, id: LinkId) {
    let mut engine = server.engine.borrow_mut();
    let Some(cluster) = &mut engine.core.cluster else { return };
    let Some(output) = cluster.output(id) else { return };
    let sent = server.bus.with(id, |mut stream, is_stuck| {
        let mut sent = 0;
        while sent < output.len() {
            match stream.write(&output[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A broken link shows at reading.
                Err(_) => break,
            }
        }
        let wants_room = sent < output.len();
        if std::mem::replace(is_stuck, wants_room) != wants_room
            && let Some(watch) = server.bus.watch.get()
            && let Err(error) = watch.want_room(stream, id.0.get(), wants_room)
        {
            log!(Verbose, "Watching a cluster link: {error}");
        }
        sent
    });
    cluster.sent(id, sent.unwrap_or(0));
}

/// The addresses of the other side, and of this one, without ports.
fn addresses(stream: &TcpStream) -> (String, String) {
    let ip = |address: io::Result<std::net::SocketAddr>| {
        address.map_or_else(|_| String::new(), |address| address.ip().to_canonical().to_string())
    };
    (ip(stream.peer_addr()), ip(stream.local_addr()))
}

/// Dead peers are found out by the kernel, too, as in Redis.
fn prepare(server: &Server, stream: &TcpStream) {
    let timeout_ms = server.engine.borrow().core.settings.cluster.node_timeout.unsigned_abs();
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs((timeout_ms / 500).max(1)));
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        log!(Verbose, "Preparing a cluster link: {error}");
    }
}

/// Takes a connection that another node has made.
fn take(server: &Server, stream: TcpStream) {
    prepare(server, &stream);
    let (peer_ip, local_ip) = addresses(&stream);
    log!(Verbose, "Accepting cluster node connection from {peer_ip}");
    let id = {
        let mut engine = server.engine.borrow_mut();
        let Some(cluster) = &mut engine.core.cluster else { return };
        cluster.new_link()
    };
    match server.bus.admit(id, stream) {
        Ok(()) => tell(server, Event::Accepted { link: id, peer_ip, local_ip }),
        Err(error) => log!(Verbose, "Error accepting cluster node: {error}"),
    }
}

/// Makes a link.
async fn connect(server: Rc<Server>, id: LinkId, ip: String, port: u16) {
    let source = server.engine.borrow().core.settings.bind_source_addr.clone();
    let connected = outward::connect_tcp(&ip, port, &source).await;
    let made = connected.and_then(tokio::net::TcpStream::into_std).and_then(|stream| {
        prepare(&server, &stream);
        let addresses = addresses(&stream);
        server.bus.admit(id, stream)?;
        Ok(addresses)
    });
    match made {
        Ok((peer_ip, local_ip)) => tell(&server, Event::Connected { link: id, peer_ip, local_ip }),
        Err(error) => lost(&server, id, &system_words(&error)),
    }
}

/// Reads from the links that have something, and sends what was stuck.
async fn serve(server: Rc<Server>) {
    let Some(watch) = server.bus.watch.get() else { return };
    let mut found = Vec::new();
    loop {
        if let Err(error) = watch.ready(&mut found).await {
            log!(Warning, "Watching links of the cluster: {error}");
            tokio::time::sleep(TICK).await;
        }
        for ready in found.drain(..) {
            // They were given as such.
            let Some(id) = std::num::NonZeroU64::new(ready.id).map(LinkId) else { continue };
            if ready.has_room {
                send(&server, id);
            }
            if ready.is_readable {
                read(&server, id);
            }
            turn::end_if_full();
        }
        // Clients are to be served though others never end talking.
        tokio::task::yield_now().await;
    }
}

/// Reads from a link, and takes in what it says.
fn read(server: &Server, id: LinkId) {
    let mut buffer = server.bus.buffer.take();
    buffer.resize(READ_BYTES, 0);
    let read = server.bus.with(id, |mut stream, _| stream.read(&mut buffer));
    if let Some(Ok(count @ 1..)) = read {
        tell(server, Event::Received(id, &buffer[..count]));
    }
    server.bus.buffer.replace(buffer);
    match read {
        Some(Ok(0)) => lost(server, id, "connection closed"),
        Some(Err(error))
            if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
        {
            lost(server, id, &system_words(&error));
        }
        _ => {}
    }
}
