//! The sockets and the clock around the watch.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::resp::owned::Frame;
use tokio::sync::mpsc::UnboundedReceiver;

use super::facts::Facts;
use super::watch::{Action, Event, Listed, Watch};
use crate::backend::control_link::{ControlLink, text_of};
use crate::backend::probe;
use crate::clock::Clock;
use crate::control::Directory;
use crate::settings::{ReadFrom, ServerAddress};
use crate::topology::links::{Links, Tell};
use crate::topology::pool::SharedPool;
use crate::topology::{ServerId, Topology};

/// How long a connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at which servers there are.
const LOOK: Duration = Duration::from_millis(100);

/// Watches the servers of a pool whose replicas are read, as long as the process lives.
pub async fn run(directory: Arc<Directory>, pool: Arc<SharedPool>) {
    let settings = &pool.settings;
    let clock = directory.clock;
    let mut watch = Watch::new(settings.max_lag, settings.read_from == ReadFrom::Nearest);
    let mut links: Links<ServerId, (), Event> = Links::default();
    let mut epoch = None;
    let mut actions = Vec::new();
    let mut event = Event::Tick;
    loop {
        watch.step(event, clock.ms(), &mut actions);
        let mut changes = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Open(id, address) => {
                    let pool = Arc::clone(&pool);
                    links.open(id, |questions, tell| serve(pool, clock, address, questions, tell));
                }
                Action::Close(id) => links.close(id),
                Action::Ask(id) => links.ask(id, ()),
                Action::Change(change) => changes.push(change),
            }
        }
        directory.change(pool.id, changes);
        let topology = pool.topology.load();
        if epoch.replace(topology.epoch) != Some(topology.epoch) {
            event = Event::Servers(list(&topology));
            continue;
        }
        drop(topology);
        let wait = Duration::from_millis(watch.wake_ms().saturating_sub(clock.ms()).max(1));
        event = tokio::select! {
            (id, event) = links.next() => {
                if matches!(event, Event::Lost(_)) {
                    links.close(id);
                }
                event
            }
            () = tokio::time::sleep(wait.min(LOOK)) => Event::Tick,
        };
    }
}

fn list(topology: &Topology) -> Vec<Listed> {
    let listed = |member: &crate::topology::Member| {
        Some(Listed {
            id: member.endpoint.id,
            address: member.endpoint.address.clone()?,
            shard: topology.shards[usize::from(member.shard)].id,
            role: member.role,
        })
    };
    topology.members.iter().filter_map(listed).collect()
}

async fn serve(
    pool: Arc<SharedPool>,
    clock: Clock,
    address: ServerAddress,
    questions: UnboundedReceiver<()>,
    tell: Tell<ServerId, Event>,
) {
    let opening = probe::connect(&pool.settings, &address);
    if let Ok(Ok(link)) = tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        tell.tell(Event::Opened(tell.id));
        // Why it ended makes no difference.
        let _ = exchange(link, clock, questions, &tell).await;
    }
    tell.tell(Event::Lost(tell.id));
}

/// Asks what is to be asked and tells what comes, until the connection ends.
async fn exchange(
    mut link: ControlLink,
    clock: Clock,
    mut questions: UnboundedReceiver<()>,
    tell: &Tell<ServerId, Event>,
) -> io::Result<()> {
    loop {
        tokio::select! {
            question = questions.recv() => {
                if question.is_none() {
                    return Ok(());
                }
                let asked_us = clock.us();
                let replication = text(&link.ask(&[b"INFO", b"replication"]).await?)?;
                let took_us = u32::try_from(clock.us() - asked_us).unwrap_or(u32::MAX);
                let persistence = text(&link.ask(&[b"INFO", b"persistence"]).await?)?;
                let facts = Facts::read(&format!("{replication}\n{persistence}"));
                tell.tell(Event::Told(tell.id, facts, took_us));
            }
            reply = link.receive() => {
                reply?;
                return Err(io::Error::other("it sent a reply that nobody asked for"));
            }
        }
    }
}

fn text(reply: &Frame) -> io::Result<String> {
    let text = text_of(reply).ok_or_else(|| io::Error::other("it does not answer INFO"))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}
