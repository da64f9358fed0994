//! Clients that listen to channels: nothing that is said twice, on another channel or by nobody, and at the end all of it.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::net::memory::MemoryStream;
use redstart_common::resp::encode;
use tokio::time::{Instant, sleep, timeout};

use super::asks::CHANNELS;
use super::servers::World;
use super::settings::Fate;
use super::{ANSWERED, clients, wire};
use crate::control::Directory;
use crate::worker::Worker;

/// A look at whether all is over.
const LOOK: Duration = Duration::from_millis(100);

/// The life of a listener.
pub async fn live(
    world: &World,
    worker: &Rc<Worker>,
    directory: &Arc<Directory>,
    seed: u64,
) -> Result<(), String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let is_of_shard = random.random_bool(0.5);
    let channels: BTreeSet<String> = (0..random.random_range(1..4))
        .map(|_| format!("ch:{}", random.random_range(0..CHANNELS)))
        .collect();
    sleep(Duration::from_millis(random.random_range(0..400))).await;
    let stream = clients::connect(worker, directory, 1 << random.random_range(9..15));
    let command = if is_of_shard { "SSUBSCRIBE" } else { "SUBSCRIBE" };
    let mut words = vec![command.as_bytes()];
    words.extend(channels.iter().map(String::as_bytes));
    let mut out = Vec::new();
    encode::request(&mut out, words.into_iter());
    write(&stream, &out).await?;
    let mut listener = Listener { world, channels, is_of_shard, heard: BTreeSet::new() };
    let mut input = Vec::new();
    let (mut confirmed, wanted) = (0, listener.channels.len());
    let mut since = None;
    loop {
        let bytes = timeout(if confirmed < wanted { ANSWERED } else { LOOK }, wire::read(&stream));
        match bytes.await {
            Ok(Ok(bytes)) if !bytes.is_empty() => input.extend(bytes),
            Ok(ended) => return Err(format!("a listener's connection ended: {:?}", ended.err())),
            Err(_) if confirmed < wanted => return Err("a listener waits in vain".to_owned()),
            Err(_) if world.is_over.get() => break,
            Err(_) => {}
        }
        if input.first() == Some(&b'-') && confirmed == 0 && world.fate_at_first() == Fate::Rough {
            // There is nobody to listen to.
            return Ok(());
        }
        while let Some(words) = wire::take_words(&mut input)? {
            if words[0].eq_ignore_ascii_case(command.as_bytes()) {
                confirmed += 1;
                since = (confirmed == wanted).then(Instant::now);
            } else {
                listener.hears(&words)?;
            }
        }
    }
    listener.has_heard_all()?;
    since.map_or(Ok(()), |since| listener.has_missed_nothing(since))
}

async fn write(stream: &MemoryStream, out: &[u8]) -> Result<(), String> {
    let mut at = 0;
    while at < out.len() {
        let sent = std::future::poll_fn(|cx| stream.poll_write(cx, &out[at..])).await;
        at += sent.map_err(|error| error.to_string())?;
    }
    Ok(())
}

struct Listener<'a> {
    world: &'a World,
    channels: BTreeSet<String>,
    is_of_shard: bool,
    heard: BTreeSet<String>,
}

impl Listener<'_> {
    fn hears(&mut self, words: &[Vec<u8>]) -> Result<(), String> {
        let shown = || words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>();
        let kind: &[u8] = if self.is_of_shard { b"smessage" } else { b"message" };
        let [what, channel, text] = words else { return Err(format!("{:?} is said", shown())) };
        let (channel, text) = (String::from_utf8_lossy(channel), String::from_utf8_lossy(text));
        let is_right = what == kind
            && self.channels.contains(&*channel)
            && text.split(' ').next() == Some(&*channel);
        // Where the node that was listened to has left, another may tell late what that has told before.
        let may_repeat = self.world.is_cluster && self.world.leaves && !self.is_of_shard;
        let is_new = self.heard.insert(text.into_owned());
        if !is_right || !(is_new || may_repeat) {
            return Err(format!("{:?} is said, or twice", shown()));
        }
        Ok(())
    }

    /// Where no link is lost, all that was published since then was heard.
    fn has_missed_nothing(&self, since: Instant) -> Result<(), String> {
        if self.is_of_shard || self.world.leaves {
            return Ok(());
        }
        let published = self.world.published.borrow();
        let mut missed = published.iter().filter(|(asked, text)| {
            let channel = text.split(' ').next().unwrap_or_default();
            *asked > since && self.channels.contains(channel) && !self.heard.contains(text)
        });
        match missed.next() {
            Some((_, text)) => Err(format!("a listener has not heard {text:?}")),
            None => Ok(()),
        }
    }

    /// What was said when all was quiet was heard.
    fn has_heard_all(&self) -> Result<(), String> {
        let last = self.world.last.borrow();
        // Each channel is spoken on in both ways, one after the other.
        let mine = last.iter().skip(usize::from(self.is_of_shard)).step_by(2);
        let mut missed = mine.filter(|text| {
            let channel = text.split(' ').next().unwrap_or_default();
            self.channels.contains(channel) && !self.heard.contains(*text)
        });
        match missed.next() {
            Some(text) => Err(format!("a listener has not heard {text:?}, when all was quiet")),
            None => Ok(()),
        }
    }
}
