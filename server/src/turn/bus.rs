//! The sockets of the cluster's bus. What comes by them, and what is to be sent, [`Cluster`](crate::cluster::Cluster) decides.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::link::Event as Arrived;
use redstart_common::net::listen::Bound;
use redstart_common::net::outward;
use redstart_common::net::{Link, Listener, Stream, turn};
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use crate::cluster::{Action, Event, LinkId};
use crate::server::Server;
use crate::text::system_words;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;
/// How often the cluster does its regular work.
const TICK: Duration = Duration::from_millis(100);

/// All links there are.
pub struct Bus {
    open: RefCell<HashMap<LinkId, Rc<BusLink>>>,
    /// Links with output, between two turns.
    ready: RefCell<Vec<LinkId>>,
    /// What one link reads at a time.
    buffer: RefCell<Vec<u8>>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            ready: RefCell::default(),
            buffer: RefCell::new(vec![0; READ_BYTES]),
        }
    }
}

/// A link.
struct BusLink {
    id: LinkId,
    stream: Link,
    is_closed: Cell<bool>,
    /// It was closed: its task looks.
    changed: Notify,
}

impl BusLink {
    fn new(server: &Server, id: LinkId) -> Rc<Self> {
        let link = Rc::new(Self {
            id,
            stream: Link::default(),
            is_closed: Cell::new(false),
            changed: Notify::new(),
        });
        server.bus.open.borrow_mut().insert(id, Rc::clone(&link));
        link
    }
}

/// Begins the work of the bus: takes connections from these sockets.
pub fn begin(server: &Rc<Server>, sockets: Vec<Bound>) {
    for socket in sockets {
        match socket.into_listener() {
            Ok(listener) => {
                tokio::task::spawn_local(accept(Rc::clone(server), listener));
            }
            Err(error) => log!(Warning, "Listening for the cluster: {error}"),
        }
    }
    tokio::task::spawn_local(tick(Rc::clone(server)));
}

async fn tick(server: Rc<Server>) {
    if server.engine.try_borrow().is_ok_and(|engine| engine.core.cluster.is_none()) {
        return;
    }
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        tell(&server, Event::Tick);
    }
}

async fn accept(server: Rc<Server>, listener: Listener) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                tokio::task::spawn_local(serve_inbound(Rc::clone(&server), stream));
            }
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
            let link = BusLink::new(server, link);
            tokio::task::spawn_local(serve_outbound(Rc::clone(server), link, ip, port));
        }
        Action::Close(id) => {
            if let Some(link) = server.bus.open.borrow_mut().remove(&id) {
                link.is_closed.set(true);
                link.changed.notify_one();
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

/// Sends what the turn has left to be sent.
pub fn flush(server: &Server) {
    let mut ready = server.bus.ready.take();
    {
        let mut engine = server.engine.borrow_mut();
        let Some(cluster) = &mut engine.core.cluster else { return };
        cluster.take_ready(&mut ready);
    }
    for id in ready.drain(..) {
        let link = server.bus.open.borrow().get(&id).cloned();
        if let Some(link) = link {
            send(server, &link);
        }
    }
    server.bus.ready.replace(ready);
}

/// Sends what the kernel takes; its task sends the rest.
fn send(server: &Server, link: &BusLink) {
    let mut engine = server.engine.borrow_mut();
    let Some(output) = engine.core.cluster.as_mut().and_then(|it| it.output(link.id)) else {
        return;
    };
    let sent = link.stream.send(output);
    output.drain(..sent);
}

/// The addresses of the other side, and of this one, without ports.
fn addresses(stream: &Stream) -> (String, String) {
    let ip = |address: Option<SocketAddr>| {
        address.map_or_else(String::new, |address| address.ip().to_canonical().to_string())
    };
    (ip(stream.peer_address()), ip(stream.local_address()))
}

/// Dead peers are found out by the kernel, too, as in Redis.
fn prepare(server: &Server, stream: &Stream) {
    let timeout_ms = server.engine.borrow().core.settings.cluster.node_timeout.unsigned_abs();
    let idle = Duration::from_secs((timeout_ms / 500).max(1));
    if let Err(error) = stream.set_keepalive_time(idle) {
        log!(Verbose, "Preparing a cluster link: {error}");
    }
}

async fn serve_inbound(server: Rc<Server>, stream: Stream) {
    prepare(&server, &stream);
    let (peer_ip, local_ip) = addresses(&stream);
    log!(Verbose, "Accepting cluster node connection from {peer_ip}");
    let id = {
        let mut engine = server.engine.borrow_mut();
        let Some(cluster) = &mut engine.core.cluster else { return };
        cluster.new_link()
    };
    let link = BusLink::new(&server, id);
    link.stream.open(stream);
    tell(&server, Event::Accepted { link: id, peer_ip, local_ip });
    serve(&server, &link).await;
}

async fn serve_outbound(server: Rc<Server>, link: Rc<BusLink>, ip: String, port: u16) {
    let source = server.engine.borrow().core.settings.bind_source_addr.clone();
    let connected = tokio::select! {
        connected = outward::connect(&ip, port, &source) => connected,
        () = link.changed.notified() => return,
    };
    if link.is_closed.get() {
        return;
    }
    match connected {
        Ok(stream) => {
            prepare(&server, &stream);
            let (peer_ip, local_ip) = addresses(&stream);
            link.stream.open(stream);
            tell(&server, Event::Connected { link: link.id, peer_ip, local_ip });
            serve(&server, &link).await;
        }
        Err(error) => {
            server.bus.open.borrow_mut().remove(&link.id);
            tell(&server, Event::Closed(link.id, &system_words(&error)));
        }
    }
}

/// Reads from a link until it ends, and sends what was stuck.
async fn serve(server: &Rc<Server>, link: &Rc<BusLink>) {
    let reason = serve_until_closed(server, link).await;
    if !link.is_closed.replace(true) {
        server.bus.open.borrow_mut().remove(&link.id);
        tell(server, Event::Closed(link.id, &reason));
    }
}

async fn serve_until_closed(server: &Rc<Server>, link: &Rc<BusLink>) -> String {
    loop {
        if link.is_closed.get() {
            return String::new();
        }
        let arrived = tokio::select! {
            arrived = link.stream.event(&server.bus.buffer) => arrived,
            () = link.changed.notified() => continue,
        };
        match arrived {
            Ok(Arrived::Came(0)) => return "connection closed".to_owned(),
            Ok(Arrived::Came(count)) => {
                let buffer = server.bus.buffer.borrow();
                tell(server, Event::Received(link.id, &buffer[..count]));
            }
            Ok(Arrived::Room) => send(server, link),
            Err(error) => return system_words(&error),
        }
        turn::end_if_full();
    }
}
