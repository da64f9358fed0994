//! The sockets and the clock around the watch: connects, asks, and carries out what it says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::resp::owned::Frame;
use tokio::sync::mpsc::UnboundedReceiver;

use super::PeerId;
use super::view;
use super::watch::{Action, Event, Watch};
use crate::backend::control_link::ControlLink;
use crate::backend::{error_text, probe};
use crate::control::Directory;
use crate::settings::{ReadFrom, ServerAddress};
use crate::topology::links::{Links, Tell};
use crate::topology::pool::SharedPool;

/// How long a connection to a node may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches the cluster of a pool as long as the process lives.
pub async fn run(directory: Arc<Directory>, pool: Arc<SharedPool>) {
    let Some(settings) = &pool.settings.cluster else { return };
    let clock = directory.clock;
    let reads_replicas = pool.settings.read_from != ReadFrom::Master;
    let mut watch = Watch::new(&settings.seeds, reads_replicas, clock.ms());
    let mut links: Links<PeerId, (), Event> = Links::default();
    let mut actions = Vec::new();
    let mut event = Event::Tick;
    loop {
        watch.step(event, clock.ms(), &mut actions);
        let mut changes = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Open(id, address) => {
                    let pool = Arc::clone(&pool);
                    links.open(id, |questions, tell| serve(pool, address, questions, tell));
                }
                Action::Close(id) => links.close(id),
                Action::Ask(id) => links.ask(id, ()),
                Action::Change(change) => changes.push(change),
                Action::Log(level, text) => {
                    if level >= log::level() {
                        log::line(level, format_args!("pool '{}': {text}", pool.settings.name));
                    }
                }
            }
        }
        directory.change(pool.id, changes);
        let wait = watch.wake_ms().saturating_sub(clock.ms());
        event = tokio::select! {
            (id, event) = links.next() => {
                if matches!(event, Event::Lost(..)) {
                    links.close(id);
                }
                event
            }
            () = pool.strange.notified() => {
                let moved = pool.take_moved();
                match moved.is_empty() {
                    true => Event::Strange,
                    false => Event::Moved(moved.into_iter().collect()),
                }
            }
            () = tokio::time::sleep(Duration::from_millis(wait.clamp(1, 60_000))) => Event::Tick,
        };
    }
}

async fn serve(
    pool: Arc<SharedPool>,
    address: ServerAddress,
    questions: UnboundedReceiver<()>,
    tell: Tell<PeerId, Event>,
) {
    let opening = probe::connect(&pool.settings, &address);
    let ended = match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
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

/// Asks what is to be asked and tells what comes, until the connection ends.
async fn exchange(
    mut link: ControlLink,
    address: &ServerAddress,
    mut questions: UnboundedReceiver<()>,
    tell: &Tell<PeerId, Event>,
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
