//! The sockets and the clock around the watch: connects, asks, and carries out what it says.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::resp::owned::Frame;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::PeerId;
use super::view;
use super::watch::{Action, Event, Watch};
use crate::backend::control_link::ControlLink;
use crate::backend::error_text;
use crate::control::Directory;
use crate::settings::ServerAddress;
use crate::topology::pool::SharedPool;

/// How long a connection to a node may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// An open or opening connection; ends when it is dropped.
struct Link {
    number: u64,
    asks: UnboundedSender<()>,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Watches the cluster of a pool as long as the process lives.
pub async fn run(directory: Arc<Directory>, pool: Arc<SharedPool>) {
    let Some(settings) = &pool.settings.cluster else { return };
    let clock = directory.clock;
    let mut watch = Watch::new(&settings.seeds, clock.ms());
    let (events, mut inbox) = mpsc::unbounded_channel::<(u64, Event)>();
    let mut links: HashMap<PeerId, Link> = HashMap::new();
    let mut number = 0;
    let mut actions = Vec::new();
    let mut event = Event::Tick;
    loop {
        watch.step(event, clock.ms(), &mut actions);
        let mut changes = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Open(id, address) => {
                    number += 1;
                    let (asks, questions) = mpsc::unbounded_channel();
                    let tell = Tell { id, number, events: events.clone() };
                    let task = tokio::spawn(serve(Arc::clone(&pool), address, questions, tell));
                    links.insert(id, Link { number, asks, task });
                }
                Action::Close(id) => drop(links.remove(&id)),
                Action::Ask(id) => {
                    if let Some(link) = links.get(&id) {
                        // It may have ended: then it tells so itself.
                        let _ = link.asks.send(());
                    }
                }
                Action::Change(change) => changes.push(change),
                Action::Log(level, text) => {
                    if level >= log::level() {
                        log::line(level, format_args!("pool '{}': {text}", pool.settings.name));
                    }
                }
            }
        }
        directory.change(pool.id, changes);
        event = loop {
            let wait = watch.wake_ms().saturating_sub(clock.ms());
            tokio::select! {
                Some((number, event)) = inbox.recv() => {
                    // What a connection told before it was let go counts no more.
                    let (Event::Opened(id) | Event::Lost(id, _) | Event::Told(id, _)) = &event else {
                        continue;
                    };
                    let id = *id;
                    if links.get(&id).is_none_or(|link| link.number != number) {
                        continue;
                    }
                    if matches!(event, Event::Lost(..)) {
                        links.remove(&id);
                    }
                    break event;
                }
                () = pool.strange.notified() => {
                    let moved = pool.take_moved();
                    break match moved.is_empty() {
                        true => Event::Strange,
                        false => Event::Moved(moved.into_iter().collect()),
                    };
                }
                () = tokio::time::sleep(Duration::from_millis(wait.clamp(1, 60_000))) => break Event::Tick,
            }
        };
    }
}

/// How a connection's task tells what happens.
struct Tell {
    id: PeerId,
    number: u64,
    events: UnboundedSender<(u64, Event)>,
}

impl Tell {
    fn tell(&self, event: Event) {
        // The watch lives as long as the process.
        let _ = self.events.send((self.number, event));
    }
}

async fn serve(
    pool: Arc<SharedPool>,
    address: ServerAddress,
    questions: UnboundedReceiver<()>,
    tell: Tell,
) {
    let ended = match tokio::time::timeout(OPEN_TIMEOUT, open(&pool, &address)).await {
        Ok(Ok(link)) => {
            tell.tell(Event::Opened(tell.id));
            exchange(link, &address, questions, &tell).await
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let why = match ended {
        Ok(()) => "it was let go".to_owned(),
        Err(error) => error_text(&error),
    };
    tell.tell(Event::Lost(tell.id, why));
}

async fn open(pool: &SharedPool, address: &ServerAddress) -> io::Result<ControlLink> {
    let settings = &pool.settings;
    let mut link = ControlLink::connect(address).await?;
    link.authenticate(settings.server_user.as_deref(), settings.password_of_servers()).await?;
    Ok(link)
}

/// Asks what is to be asked and tells what comes, until the connection ends.
async fn exchange(
    mut link: ControlLink,
    address: &ServerAddress,
    mut questions: UnboundedReceiver<()>,
    tell: &Tell,
) -> io::Result<()> {
    loop {
        tokio::select! {
            question = questions.recv() => {
                if question.is_none() {
                    return Ok(());
                }
                link.send(&[b"CLUSTER", b"SLOTS"]).await?;
                link.send(&[b"CLUSTER", b"NODES"]).await?;
                let (slots, nodes) = (link.receive().await?, link.receive().await?);
                let (Frame::Resp2(slots), Frame::Resp2(nodes)) = (slots, nodes) else {
                    return Err(io::Error::other("its reply is of another protocol"));
                };
                tell.tell(Event::Told(tell.id, view::read(&nodes, &slots, address)));
            }
            reply = link.receive() => {
                // A connection that ends is noticed at once.
                reply?;
                return Err(io::Error::other("it sent a reply that nobody asked for"));
            }
        }
    }
}
