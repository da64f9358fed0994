//! The sockets of the cluster's bus. What comes by them, and what is to be sent, [`Cluster`](crate::cluster::Cluster) decides.
//!
//! A node has two links with each other one, which are rarely used: one task watches them all. Those that go by TLS are known to the
//! runtime besides, which carries out their handshakes.

use std::cell::{OnceCell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::arrivals::{Arrival, Arrivals, HANDSHAKE_TIMEOUT};
use redstart_common::net::listen::Bound;
use redstart_common::net::outward;
use redstart_common::net::tls::{ClientAuth, Material, Peer};
use redstart_common::net::watch::Watch;
use redstart_common::net::{Listener, Stream, turn};
use socket2::{SockAddr, SockRef};
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
    /// Connections of other nodes that have to agree on TLS first.
    arrivals: Arrivals,
}

/// A link.
enum Link {
    /// A task makes it.
    Coming(AbortHandle),
    /// It stands.
    Open {
        socket: Socket,
        /// The kernel has not taken all that was to be sent.
        is_stuck: bool,
    },
}

/// What a link goes over. None of it waits.
enum Socket {
    Plain(TcpStream),
    /// By TLS. The two ends have agreed.
    Layered(Stream),
}

impl Socket {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room),
            Self::Layered(stream) => stream.read_now(room),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Layered(stream) => stream.write_now(bytes),
        }
    }

    /// Whether there is something to be read that the kernel does not announce.
    fn has_unread(&self) -> bool {
        matches!(self, Self::Layered(stream) if stream.has_unread())
    }

    /// Sends what was taken and held back. Answers whether some of it still is.
    fn send_held_back(&mut self) -> bool {
        let Self::Layered(stream) = self else { return false };
        // A broken link shows at reading.
        let _ = stream.flush_now();
        stream.is_behind()
    }

    fn descriptor(&self) -> io::Result<BorrowedFd<'_>> {
        match self {
            Self::Plain(stream) => Ok(stream.as_fd()),
            Self::Layered(stream) => stream.descriptor().ok_or(ErrorKind::Unsupported.into()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Self::Layered(stream) = self {
            stream.shut_down();
        }
    }
}

impl Bus {
    /// Has a link that stands watched.
    fn admit(&self, id: LinkId, socket: Socket) -> io::Result<()> {
        let Some(watch) = self.watch.get() else { return Err(ErrorKind::NotConnected.into()) };
        watch.add(socket.descriptor()?, id.0.get())?;
        self.open.borrow_mut().insert(id, Link::Open { socket, is_stuck: false });
        Ok(())
    }

    /// Does something with the socket of a link that stands, and has it told of when there is room if `act` answers that something is left.
    fn with<R>(&self, id: LinkId, act: impl FnOnce(&mut Socket) -> (R, bool)) -> Option<R> {
        let mut open = self.open.borrow_mut();
        let Link::Open { socket, is_stuck } = open.get_mut(id)? else { return None };
        let (outcome, is_left) = act(socket);
        let wants_room = is_left | socket.send_held_back();
        if std::mem::replace(is_stuck, wants_room) != wants_room
            && let Some(watch) = self.watch.get()
            && let Err(error) = socket
                .descriptor()
                .and_then(|descriptor| watch.want_room(descriptor, id.0.get(), wants_room))
        {
            log!(Verbose, "Watching a cluster link: {error}");
        }
        Some(outcome)
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
            Ok(Stream::Tcp(stream)) => {
                if let Err(error) = received(&server, stream) {
                    log!(Verbose, "Error accepting cluster node: {error}");
                }
            }
            // It listens on TCP.
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
    let sent = server.bus.with(id, |socket| {
        let mut sent = 0;
        while sent < output.len() {
            match socket.write(&output[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A broken link shows at reading.
                Err(_) => break,
            }
        }
        (sent, sent < output.len())
    });
    cluster.sent(id, sent.unwrap_or(0));
}

/// The addresses of the other side, and of this one, without ports.
type Ends = (String, String);

fn ends(socket: &SockRef<'_>) -> Ends {
    let ip = |address: io::Result<SockAddr>| {
        let address = address.ok().and_then(|address| address.as_socket());
        address.map_or_else(String::new, |address| address.ip().to_canonical().to_string())
    };
    (ip(socket.peer_addr()), ip(socket.local_addr()))
}

/// Dead peers are found out by the kernel, too, as in Redis.
fn prepare(server: &Server, socket: &SockRef<'_>) {
    let timeout_ms = server.engine.borrow().core.settings.cluster.node_timeout.unsigned_abs();
    let keepalive =
        socket2::TcpKeepalive::new().with_time(Duration::from_secs((timeout_ms / 500).max(1)));
    let prepared = socket.set_tcp_nodelay(true).and_then(|()| socket.set_tcp_keepalive(&keepalive));
    if let Err(error) = prepared {
        log!(Verbose, "Preparing a cluster link: {error}");
    }
}

/// What TLS needs, where nodes speak it.
fn material(server: &Server) -> Option<Arc<Material>> {
    let engine = server.engine.borrow();
    engine.core.tls.clone().filter(|_| engine.core.settings.tls.cluster)
}

/// Another node has made a connection.
fn received(server: &Rc<Server>, stream: tokio::net::TcpStream) -> io::Result<()> {
    let socket = SockRef::from(&stream);
    prepare(server, &socket);
    let ends = ends(&socket);
    log!(Verbose, "Accepting cluster node connection from {}", ends.0);
    let Some(material) = material(server) else {
        take(server, Socket::Plain(stream.into_std()?), ends);
        return Ok(());
    };
    // Who joins a cluster has to show that it belongs there, whatever is asked of clients.
    let layer = material.accepted(ClientAuth::Required).map_err(io::Error::other)?;
    let arrival = server.bus.arrivals.enter(Stream::Tcp(stream).under(layer));
    tokio::task::spawn_local(agree(Rc::clone(server), arrival, ends));
    Ok(())
}

/// Agrees on TLS with a node that has made a connection.
async fn agree(server: Rc<Server>, arrival: Rc<Arrival>, ends: Ends) {
    match server.bus.arrivals.agree(&arrival).await {
        Ok(Some(stream)) => take(&server, Socket::Layered(stream), ends),
        Ok(None) => {}
        Err(why) => {
            log!(Verbose, "Error accepting cluster node connection from {}: {}", ends.0, why.error);
        }
    }
}

/// Takes a connection that another node has made.
fn take(server: &Server, socket: Socket, (peer_ip, local_ip): Ends) {
    let id = {
        let mut engine = server.engine.borrow_mut();
        let Some(cluster) = &mut engine.core.cluster else { return };
        cluster.new_link()
    };
    match server.bus.admit(id, socket) {
        Ok(()) => {
            tell(server, Event::Accepted { link: id, peer_ip, local_ip });
            read(server, id);
        }
        Err(error) => log!(Verbose, "Error accepting cluster node: {error}"),
    }
}

/// Makes a link.
async fn connect(server: Rc<Server>, id: LinkId, ip: String, port: u16) {
    let source = server.engine.borrow().core.settings.bind_source_addr.clone();
    let made = async {
        let stream = outward::connect_tcp(&ip, port, &source).await?;
        let socket = SockRef::from(&stream);
        prepare(&server, &socket);
        let ends = ends(&socket);
        let socket = match material(&server) {
            None => Socket::Plain(stream.into_std()?),
            Some(material) => {
                let layer = material.connected(Peer::Trusted).map_err(io::Error::other)?;
                let mut stream = Stream::Tcp(stream).under(layer);
                tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.handshake()).await??;
                Socket::Layered(stream)
            }
        };
        server.bus.admit(id, socket)?;
        io::Result::Ok(ends)
    };
    match made.await {
        Ok((peer_ip, local_ip)) => {
            tell(&server, Event::Connected { link: id, peer_ip, local_ip });
            read(&server, id);
        }
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
    let read = loop {
        let read = server.bus.with(id, |socket| {
            let read = socket.read(&mut buffer);
            ((read, socket.has_unread()), false)
        });
        let Some((Ok(count @ 1..), goes_on)) = read else { break read.map(|(read, _)| read) };
        tell(server, Event::Received(id, &buffer[..count]));
        if !goes_on {
            break Some(Ok(count));
        }
    };
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
