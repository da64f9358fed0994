//! The links by which slots go to other nodes as one step, and the removal of keys of slots that have left. What is sent, and
//! what an answer means, is decided elsewhere: see [`crate::clustering::moves`].

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use redstart_common::log;
use redstart_common::net::link::Event;
use redstart_common::net::{Link, turn};
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;

use crate::cluster::Name;
use crate::cluster::moves::Heard;
use crate::server::Server;
use crate::text::system_words;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes that may wait at a link before more of a snapshot is taken.
const WAITING_MAX: usize = 1 << 20;
/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long keys of lost slots are removed between two turns of the clients.
const EMPTYING_STEP: Duration = Duration::from_micros(300);

/// All links there are.
pub struct SlotLinks {
    open: RefCell<HashMap<Name, Rc<SlotLink>>>,
    /// What one link reads at a time.
    buffer: RefCell<Vec<u8>>,
}

impl Default for SlotLinks {
    fn default() -> Self {
        Self { open: RefCell::default(), buffer: RefCell::new(vec![0; READ_BYTES]) }
    }
}

/// A link.
struct SlotLink {
    name: Name,
    stream: Link,
    is_closed: Cell<bool>,
    /// Something has changed: its task looks.
    changed: Notify,
}

/// Makes the link of a move.
pub fn open(server: &Rc<Server>, name: Name, ip: String, port: u16) {
    let link = Rc::new(SlotLink {
        name,
        stream: Link::default(),
        is_closed: Cell::new(false),
        changed: Notify::new(),
    });
    server.slot_links.open.borrow_mut().insert(name, Rc::clone(&link));
    tokio::task::spawn_local(serve(Rc::clone(server), link, ip, port));
}

/// Closes it.
pub fn close(server: &Server, name: Name) {
    if let Some(link) = server.slot_links.open.borrow_mut().remove(&name) {
        link.is_closed.set(true);
        link.changed.notify_one();
    }
}

/// The snapshot of a move has begun: its task takes the pieces.
pub fn take_chunks(server: &Server, name: Name) {
    if let Some(link) = server.slot_links.open.borrow().get(&name) {
        link.changed.notify_one();
    }
}

/// Sends what the turn has left to be sent.
pub fn flush(server: &Server) {
    if server.slot_links.open.borrow().is_empty() {
        return;
    }
    let ready: Vec<Name> = server.engine.borrow().core.clustering.moving.ready().collect();
    for name in ready {
        let link = server.slot_links.open.borrow().get(&name).cloned();
        if let Some(link) = link.filter(|link| !link.stream.is_stuck()) {
            send(server, &link);
        }
    }
}

/// Sends what the kernel takes; the link's task sends the rest.
fn send(server: &Server, link: &SlotLink) {
    let mut engine = server.engine.borrow_mut();
    let Some(it) = engine.core.clustering.moving.outgoing(&link.name) else { return };
    let had_room = it.pending.len() < WAITING_MAX;
    let sent = link.stream.send(&it.pending);
    it.pending.drain(..sent);
    if !had_room && it.pending.len() < WAITING_MAX {
        // It takes more of the snapshot.
        link.changed.notify_one();
    }
}

fn tell(server: &Rc<Server>, name: Name, heard: Heard<'_>) {
    {
        let mut engine = server.engine.borrow_mut();
        engine.refresh();
        let engine = &mut *engine;
        engine.core.tell_move(&mut engine.keyspace, &name, heard);
    }
    server.carry_out_asks();
}

async fn serve(server: Rc<Server>, link: Rc<SlotLink>, ip: String, port: u16) {
    let connected = tokio::select! {
        connected = server.reach(&ip, port, |tls| tls.cluster) => connected,
        () = link.changed.notified() => return,
        () = tokio::time::sleep(CONNECT_TIMEOUT) => Err(io::ErrorKind::TimedOut.into()),
    };
    let reason = match connected {
        _ if link.is_closed.get() => return,
        Ok(stream) => {
            link.stream.open(stream);
            tell(&server, link.name, Heard::Connected);
            serve_until_closed(&server, &link).await
        }
        Err(error) => system_words(&error),
    };
    if !link.is_closed.replace(true) {
        server.slot_links.open.borrow_mut().remove(&link.name);
        log!(Verbose, "The link of slot migration {} ended: {reason}", link.name);
        tell(&server, link.name, Heard::Lost(&reason));
    }
}

/// A piece of the snapshot, if there is room for it.
async fn next_chunk(chunks: &mut Option<Receiver<Bytes>>, has_room: bool) -> Option<Bytes> {
    match chunks {
        Some(chunks) if has_room => chunks.recv().await,
        _ => std::future::pending().await,
    }
}

async fn serve_until_closed(server: &Rc<Server>, link: &Rc<SlotLink>) -> String {
    let mut chunks = None;
    loop {
        if link.is_closed.get() {
            return String::new();
        }
        let has_room = {
            let mut engine = server.engine.borrow_mut();
            let it = engine.core.clustering.moving.outgoing(&link.name);
            let Some(it) = it else { return String::new() };
            chunks = chunks.or_else(|| it.chunks.take());
            it.pending.len() < WAITING_MAX
        };
        let event = tokio::select! {
            event = link.stream.event(&server.slot_links.buffer) => event,
            chunk = next_chunk(&mut chunks, has_room) => {
                if chunk.is_none() {
                    chunks = None;
                }
                {
                    let mut engine = server.engine.borrow_mut();
                    engine.refresh();
                    let engine = &mut *engine;
                    let name = &link.name;
                    engine.core.send_chunk(&mut engine.keyspace, name, chunk.as_ref());
                }
                if !link.stream.is_stuck() {
                    send(server, link);
                }
                turn::end();
                // So that the clients are heard between two pieces.
                tokio::task::yield_now().await;
                continue;
            }
            () = link.changed.notified() => continue,
        };
        match event {
            Ok(Event::Room) => send(server, link),
            Ok(Event::Came(0)) => return "connection closed".to_owned(),
            Ok(Event::Came(count)) => {
                {
                    let mut engine = server.engine.borrow_mut();
                    engine.refresh();
                    let engine = &mut *engine;
                    let said = &server.slot_links.buffer.borrow()[..count];
                    engine.core.hear_target(&mut engine.keyspace, &link.name, said);
                }
                server.carry_out_asks();
            }
            Err(error) => return system_words(&error),
        }
        turn::end_if_full();
    }
}

/// Removes keys of slots that have left, a little between two turns, whenever `wanted` says that there are some.
pub async fn empty(server: Rc<Server>, wanted: Rc<Notify>) {
    loop {
        wanted.notified().await;
        loop {
            let goes_on = {
                let mut engine = server.engine.borrow_mut();
                engine.refresh();
                let engine = &mut *engine;
                let is_loading = engine.core.saved.loading.is_some();
                !is_loading && engine.core.go_on_emptying(&mut engine.keyspace, EMPTYING_STEP)
            };
            // If there is more to do this task is woken already, so that the loop does not come to wait.
            turn::end();
            tokio::task::yield_now().await;
            if !goes_on {
                break;
            }
        }
    }
}
