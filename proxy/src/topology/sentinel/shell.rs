//! The sockets and the clock around the watch: connects, asks, listens, and carries out what it says.
//!
//! Each sentinel has two connections, as every client of sentinels keeps them: one for questions, one for what it
//! publishes. They live and end together.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::resp::owned::Frame;
use tokio::sync::mpsc::UnboundedReceiver;

use super::SentinelId;
use super::answer::{self, Ask};
use super::watch::{Action, Event, Watch};
use crate::backend::control_link::ControlLink;
use crate::backend::error_text;
use crate::control::Directory;
use crate::settings::{SentinelSettings, ServerAddress};
use crate::topology::links::{Links, Tell};
use crate::topology::pool::SharedPool;

/// How long both connections to a sentinel may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);
/// What sentinels publish of what a client of the group may want to know at once.
const CHANNELS: &[&[u8]] = &[
    b"+switch-master",
    b"+promoted-slave",
    b"+config-update-from",
    b"+sdown",
    b"-sdown",
    b"+odown",
    b"-odown",
    b"+failover-state-reconf-slaves",
    b"+failover-end",
    b"+slave",
    b"+sentinel",
    b"+reboot",
    b"+role-change",
    b"-role-change",
    b"+convert-to-slave",
    b"+monitor",
    b"-monitor",
];

/// Watches the sentinels of a pool as long as the process lives.
pub async fn run(directory: Arc<Directory>, pool: Arc<SharedPool>) {
    let Some(settings) = pool.settings.sentinel.clone() else { return };
    let settings = Arc::new(settings);
    let clock = directory.clock;
    let mut watch = Watch::new(&settings, clock.ms());
    let mut links: Links<SentinelId, Ask, Event> = Links::default();
    let mut actions = Vec::new();
    let mut event = Event::Tick;
    loop {
        watch.step(event, clock.ms(), &mut actions);
        let mut changes = Vec::new();
        for action in actions.drain(..) {
            match action {
                Action::Open(id, address) => {
                    let settings = Arc::clone(&settings);
                    links.open(id, |questions, tell| serve(settings, address, questions, tell));
                }
                Action::Close(id) => links.close(id),
                Action::Ask(id, ask) => links.ask(id, ask),
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
            () = pool.strange.notified() => Event::Strange,
            () = tokio::time::sleep(Duration::from_millis(wait.clamp(1, 60_000))) => Event::Tick,
        };
    }
}

async fn serve(
    settings: Arc<SentinelSettings>,
    address: ServerAddress,
    questions: UnboundedReceiver<Ask>,
    tell: Tell<SentinelId, Event>,
) {
    let ended = match tokio::time::timeout(OPEN_TIMEOUT, open(&settings, &address)).await {
        Ok(Ok((asking, hearing))) => {
            tell.tell(Event::Opened(tell.id));
            exchange(asking, hearing, questions, &tell).await
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

/// Opens both connections.
async fn open(
    settings: &SentinelSettings,
    address: &ServerAddress,
) -> io::Result<(ControlLink, ControlLink)> {
    let one = || async {
        let mut link = ControlLink::connect(address, settings.tls.as_ref()).await?;
        link.authenticate(settings.user.as_deref(), settings.password.as_deref()).await?;
        io::Result::Ok(link)
    };
    let (asking, mut hearing) = (one().await?, one().await?);
    let mut words: Vec<&[u8]> = vec![b"SUBSCRIBE"];
    words.extend(CHANNELS);
    hearing.send(&words).await?;
    for _ in CHANNELS {
        let reply = hearing.receive().await?;
        if let Frame::Resp2(redis_protocol::resp2::types::OwnedFrame::Error(text)) = reply {
            return Err(io::Error::other(format!("it refuses SUBSCRIBE: {text}")));
        }
    }
    Ok((asking, hearing))
}

/// Asks what is to be asked and tells what comes, until a connection ends.
async fn exchange(
    mut asking: ControlLink,
    mut hearing: ControlLink,
    mut questions: UnboundedReceiver<Ask>,
    tell: &Tell<SentinelId, Event>,
) -> io::Result<()> {
    let mut asked: VecDeque<Ask> = VecDeque::new();
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(ask) = question else { return Ok(()) };
                asking.send(&ask.words()).await?;
                asked.push_back(ask);
            }
            reply = asking.receive() => {
                let (Frame::Resp2(reply), Some(ask)) = (reply?, asked.pop_front()) else {
                    return Err(io::Error::other("it sent a reply that nobody asked for"));
                };
                let answer = answer::read(&ask, &reply);
                tell.tell(Event::Told(tell.id, ask, answer));
            }
            message = hearing.receive() => {
                message?;
                tell.tell(Event::Heard(tell.id));
            }
        }
    }
}
