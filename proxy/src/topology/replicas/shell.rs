//! The sockets and the clock around the watch.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::resp::owned::Frame;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

use super::facts::Facts;
use super::watch::{Action, Event, Listed, Watch};
use crate::backend::control_link::{ControlLink, text_of};
use crate::clock::Clock;
use crate::control::Directory;
use crate::settings::{ReadFrom, ServerAddress};
use crate::topology::pool::SharedPool;
use crate::topology::{ServerId, Topology};

/// How long a connection may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks at which servers there are.
const LOOK: Duration = Duration::from_millis(100);

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

/// Watches the servers of a pool whose replicas are read, as long as the process lives.
pub async fn run(directory: Arc<Directory>, pool: Arc<SharedPool>) {
    let settings = &pool.settings;
    let clock = directory.clock;
    let mut watch = Watch::new(settings.max_lag, settings.read_from == ReadFrom::Nearest);
    let (events, mut inbox) = mpsc::unbounded_channel::<(ServerId, u64, Event)>();
    let mut links: HashMap<ServerId, Link> = HashMap::new();
    let mut number = 0;
    let mut epoch = None;
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
                    let serving = serve(Arc::clone(&pool), clock, address, questions, tell);
                    links.insert(id, Link { number, asks, task: tokio::spawn(serving) });
                }
                Action::Close(id) => drop(links.remove(&id)),
                Action::Ask(id) => {
                    if let Some(link) = links.get(&id) {
                        // It may have ended: then it tells so itself.
                        let _ = link.asks.send(());
                    }
                }
                Action::Change(change) => changes.push(change),
            }
        }
        directory.change(pool.id, changes);
        event = loop {
            let topology = pool.topology.load();
            if epoch.replace(topology.epoch) != Some(topology.epoch) {
                break Event::Servers(list(&topology));
            }
            drop(topology);
            let wait = Duration::from_millis(watch.wake_ms().saturating_sub(clock.ms()).max(1));
            tokio::select! {
                Some((id, number, event)) = inbox.recv() => {
                    // What a connection told before it was let go counts no more.
                    if links.get(&id).is_none_or(|link| link.number != number) {
                        continue;
                    }
                    if matches!(event, Event::Lost(_)) {
                        links.remove(&id);
                    }
                    break event;
                }
                () = tokio::time::sleep(wait.min(LOOK)) => break Event::Tick,
            }
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

/// How a connection's task tells what happens.
struct Tell {
    id: ServerId,
    number: u64,
    events: UnboundedSender<(ServerId, u64, Event)>,
}

impl Tell {
    fn tell(&self, event: Event) {
        // The watch lives as long as the process.
        let _ = self.events.send((self.id, self.number, event));
    }
}

async fn serve(
    pool: Arc<SharedPool>,
    clock: Clock,
    address: ServerAddress,
    questions: UnboundedReceiver<()>,
    tell: Tell,
) {
    let opening = async {
        let settings = &pool.settings;
        let mut link = ControlLink::connect(&address).await?;
        link.authenticate(settings.server_user.as_deref(), settings.password_of_servers()).await?;
        io::Result::Ok(link)
    };
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
    tell: &Tell,
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
