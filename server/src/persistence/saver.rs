//! The thread that writes a snapshot: it takes the engine's drafts, finishes them and brings them where they are wanted.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::aof::commands::Commands;
use super::rdb::{Decoder, Draft, Finisher, Item, Options, SaveFile};

use crate::processors::{self, Work};

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The file of BGSAVE.
    Dump,
    /// The base of the append-only file.
    LogBase,
    /// Replicas that wait for the data: a group of them.
    Replicas(u64),
    /// The node that slots go to: a move of them.
    Slots(u64),
}

/// Where the bytes go.
pub enum Sink {
    /// A file.
    File(SaveFile),
    /// A file of the commands that make the data, and what it begins with.
    Commands(SaveFile, Vec<u8>),
    /// Whoever sends them on. The thread waits while the channel is full, unless the save is given up; that nobody listens
    /// any more is a failure.
    Stream(tokio::sync::mpsc::Sender<Bytes>),
    /// Whoever sends the commands on that make the data, whole ones in each piece. See [`Self::Stream`].
    CommandStream(tokio::sync::mpsc::Sender<Bytes>),
}

/// One file or stream that is made of a snapshot.
pub struct Output {
    /// What it is for.
    pub purpose: Purpose,
    /// Where its bytes go.
    pub sink: Sink,
    /// What it says of itself at its beginning.
    pub head: Draft,
}

/// What the thread tells the engine.
#[derive(Debug)]
pub enum Report {
    /// A draft is written, and comes back.
    Taken(Draft),
    /// An output is complete, or has failed for the reason that the log is to say.
    Ended {
        /// Which one.
        purpose: Purpose,
        /// Bytes written.
        result: Result<u64, String>,
    },
}

/// How a snapshot is written.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// `rdbcompression`.
    pub compresses: bool,
    /// `rdbchecksum`.
    pub checksums: bool,
    /// `rdb-key-save-delay`.
    pub key_delay_us: i32,
}

/// The thread, from the engine's side. Dropped before the last draft was sent, it gives up what it has begun.
pub struct Saver {
    orders: Option<Sender<(Draft, usize)>>,
    stop: Arc<Stop>,
    keys_written: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;
/// Chunks that may wait for the thread that makes commands of them.
const CHUNKS_MAX: usize = 4;
/// How much nicer than its process the thread is while it writes files: about a sixth of a core that the clients want all
/// of, and everything of one that is free.
#[cfg(target_os = "linux")]
const NICE: i32 = 7;
/// The longest rest between two looks whether the work is still wanted.
const REST: Duration = Duration::from_millis(10);

/// Whether the work is still wanted.
#[derive(Default)]
struct Stop {
    is_set: AtomicBool,
    told: Notify,
}

impl Stop {
    fn set(&self) {
        self.is_set.store(true, Ordering::Relaxed);
        self.told.notify_one();
    }

    fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }
}

/// A channel that the thread waits for while it is full. Who empties it may be the one who gives the save up, and then waits
/// for the thread: so the thread waits for the end of the save as well.
struct Stream {
    sender: tokio::sync::mpsc::Sender<Bytes>,
    stop: Arc<Stop>,
    runtime: Runtime,
}

impl Stream {
    fn new(sender: tokio::sync::mpsc::Sender<Bytes>, stop: &Arc<Stop>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self { sender, stop: Arc::clone(stop), runtime })
    }

    fn send(&self, bytes: Bytes) -> Result<(), String> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.told.notified() => Err("the snapshot was given up".to_owned()),
                sent = self.sender.send(bytes) => {
                    sent.map_err(|_| "nobody takes the snapshot".to_owned())
                }
            }
        })
    }
}

/// Where the bytes go, from the thread's side.
enum Way {
    File(SaveFile),
    /// To a thread that makes commands of them.
    Commands(SyncSender<Vec<u8>>, JoinHandle<Result<u64, String>>),
    Stream(Stream),
}

/// Where commands go.
enum CommandWay {
    File(SaveFile),
    Stream(Stream),
}

impl CommandWay {
    /// Writes what there is, and leaves nothing of it.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::File(file) => {
                file.write(out).map_err(|error| error.to_string())?;
                out.clear();
                Ok(())
            }
            Self::Stream(_) if out.is_empty() => Ok(()),
            Self::Stream(stream) => stream.send(Bytes::from(std::mem::take(out))),
        }
    }
}

struct Writing {
    purpose: Purpose,
    way: Way,
    finisher: Finisher,
    written: u64,
}

impl Writing {
    fn begin(output: Output, manner: Manner, stop: &Arc<Stop>) -> io::Result<Self> {
        let Output { purpose, sink, head } = output;
        let is_file = !matches!(sink, Sink::Commands(..) | Sink::CommandStream(_));
        let mut finisher = Finisher::new(manner.compresses && is_file, manner.checksums && is_file);
        finisher.finish(&head);
        let way = match sink {
            Sink::File(file) => Way::File(file),
            Sink::Stream(sender) => Way::Stream(Stream::new(sender, stop)?),
            Sink::Commands(file, head) => Self::to_commands(CommandWay::File(file), head),
            Sink::CommandStream(sender) => {
                Self::to_commands(CommandWay::Stream(Stream::new(sender, stop)?), Vec::new())
            }
        };
        Ok(Self { purpose, way, finisher, written: 0 })
    }

    fn to_commands(way: CommandWay, head: Vec<u8>) -> Way {
        let (sender, receiver) = sync_channel(CHUNKS_MAX);
        let reader = Chunks { receiver, chunk: Vec::new(), at: 0 };
        Way::Commands(sender, std::thread::spawn(move || write_commands(reader, way, head)))
    }

    fn add(&mut self, draft: &Draft) -> Result<(), String> {
        self.finisher.finish(draft);
        if draft.is_last || self.finisher.output().len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), String> {
        let ready = self.finisher.output();
        self.written += ready.len() as u64;
        match &mut self.way {
            Way::File(file) => {
                file.write(ready).map_err(|error| error.to_string())?;
                ready.clear();
            }
            Way::Commands(chunks, _) => {
                let bytes = std::mem::take(ready);
                chunks.send(bytes).map_err(|_| "the commands could not be written".to_owned())?;
            }
            Way::Stream(stream) => {
                stream.send(Bytes::from(std::mem::take(ready)))?;
            }
        }
        Ok(())
    }

    fn end(self) -> Result<u64, String> {
        match self.way {
            Way::File(file) => file.commit().map_err(|error| error.to_string())?,
            Way::Stream(_) => {}
            Way::Commands(chunks, thread) => {
                drop(chunks);
                return thread.join().unwrap_or_else(|_| Err("the thread has failed".to_owned()));
            }
        }
        Ok(self.written)
    }
}

/// Chunks that come from another thread, as one stream.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = into.len().min(self.chunk.len() - self.at);
        into[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Makes commands of a snapshot, and writes them.
fn write_commands(reader: Chunks, mut way: CommandWay, mut out: Vec<u8>) -> Result<u64, String> {
    let mut decoder = Decoder::new(reader, Options::default());
    let (mut commands, mut db) = (Commands::default(), 0);
    loop {
        match decoder.next().map_err(|error| error.to_string())? {
            Item::Select(number) => db = number as usize,
            Item::Entry { key, value, deadline, .. } => {
                // Another thread has just written it: there is no type that is not ours.
                if let Some(value) = value.into_value() {
                    commands.entry(db, key, &value, deadline, &mut out);
                }
            }
            Item::End(_) => break,
            _ => {}
        }
        if out.len() >= WRITE_BYTES {
            way.write(&mut out)?;
        }
    }
    way.write(&mut out)?;
    let CommandWay::File(file) = way else { return Ok(0) };
    let written = file.written();
    file.commit().map_err(|error| error.to_string())?;
    Ok(written)
}

impl Manner {
    /// How long `rdb-key-save-delay` rests after `keys` keys.
    #[must_use]
    pub fn rest_after(&self, keys: usize) -> Duration {
        let delay = u64::from(self.key_delay_us.unsigned_abs());
        Duration::from_micros(match self.key_delay_us {
            0 => 0,
            1.. => keys as u64 * delay,
            ..0 => keys as u64 / delay,
        })
    }
}

/// Rests for so long after `keys` keys, and counts them meanwhile.
fn rest(mut left: Duration, keys: usize, stop: &Stop, written: &AtomicUsize) {
    let before = written.load(Ordering::Relaxed);
    let all = left.as_micros().max(1);
    while !left.is_zero() && !stop.is_set() {
        let now = left.min(REST);
        std::thread::sleep(now);
        left -= now;
        let share = 1.0 - left.as_micros() as f64 / all as f64;
        written.store(before + (keys as f64 * share) as usize, Ordering::Relaxed);
    }
    written.store(before + keys, Ordering::Relaxed);
}

/// Lets the clients have the core before the thread that calls, where they want the same one.
fn stand_back() {
    // Elsewhere it would be of the whole process. That it is refused harms nobody.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(NICE);
}

fn work(
    orders: &Receiver<(Draft, usize)>,
    mut writing: Vec<Writing>,
    manner: Manner,
    (stop, written): (&Stop, &AtomicUsize),
    report: &dyn Fn(Report),
) {
    for (draft, keys) in orders {
        rest(manner.rest_after(keys), keys, stop, written);
        if stop.is_set() {
            break;
        }
        let mut failed = Vec::new();
        writing.retain_mut(|one| match one.add(&draft) {
            Ok(()) => true,
            Err(reason) => {
                failed.push((one.purpose, reason));
                false
            }
        });
        for (purpose, reason) in failed {
            report(Report::Ended { purpose, result: Err(reason) });
        }
        if draft.is_last {
            for one in writing.drain(..) {
                let purpose = one.purpose;
                report(Report::Ended { purpose, result: one.end() });
            }
        }
        report(Report::Taken(draft));
    }
}

impl Saver {
    /// Starts the thread. `report` is called on it.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        outputs: Vec<Output>,
        manner: Manner,
        report: impl Fn(Report) + Send + 'static,
    ) -> io::Result<Self> {
        let (orders, receiver) = channel();
        let stop = Arc::new(Stop::default());
        let seen = Arc::clone(&stop);
        let writing: io::Result<Vec<_>> =
            outputs.into_iter().map(|output| Writing::begin(output, manner, &stop)).collect();
        let writing = writing?;
        let keys_written = Arc::new(AtomicUsize::new(0));
        let written = Arc::clone(&keys_written);
        // A replica that waits long falls behind far.
        let stands_back = !writing
            .iter()
            .any(|it| matches!(it.purpose, Purpose::Replicas(_) | Purpose::Slots(_)));
        let makes_log = writing.iter().all(|it| it.purpose == Purpose::LogBase);
        let thread = std::thread::Builder::new().name("save".to_owned()).spawn(move || {
            processors::enter(if makes_log { Work::LogBase } else { Work::Dump });
            if stands_back {
                stand_back();
            }
            work(&receiver, writing, manner, (&seen, &written), &report);
        })?;
        Ok(Self { orders: Some(orders), stop, keys_written, thread: Some(thread) })
    }

    /// Keys that the thread has written.
    #[must_use]
    pub fn keys_written(&self) -> usize {
        self.keys_written.load(Ordering::Relaxed)
    }

    /// Hands a draft over, in which so many keys end.
    pub fn send(&self, draft: Draft, keys: usize) {
        if let Some(orders) = &self.orders {
            // The thread ends only once this side is dropped.
            let _ = orders.send((draft, keys));
        }
    }

    /// Gives everything up and waits for the thread to have removed what it has begun.
    pub fn abort(mut self) {
        self.stop.set();
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed.
            let _ = thread.join();
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        if self.orders.is_some() && self.thread.as_ref().is_some_and(|it| !it.is_finished()) {
            self.stop.set();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persistence::rdb;

    #[test]
    fn a_snapshot_that_nobody_takes_can_be_given_up() {
        let (sender, _nobody_reads) = tokio::sync::mpsc::channel(1);
        let mut head = Draft::default();
        rdb::begin(&mut head, &rdb::About::default());
        let output = Output { purpose: Purpose::Replicas(1), sink: Sink::Stream(sender), head };
        let manner = Manner { compresses: false, checksums: false, key_delay_us: 0 };
        let (reports, reported) = channel();
        let report = move |report| drop(reports.send(report));
        let saver = Saver::start(vec![output], manner, report).expect("a thread");
        for _ in 0..3 {
            let mut draft = Draft::default();
            draft.bytes.resize(WRITE_BYTES, 0);
            saver.send(draft, 0);
        }
        // The channel holds the first; the thread waits with the second.
        assert!(matches!(reported.recv(), Ok(Report::Taken(_))));
        saver.abort();
        let rest: Vec<_> = reported.iter().collect();
        assert!(!rest.iter().any(|report| matches!(report, Report::Ended { result: Ok(_), .. })));
    }

    #[test]
    fn rests_are_for_each_key_or_for_many() {
        let after = |key_delay_us, keys| {
            let manner = Manner { compresses: false, checksums: false, key_delay_us };
            manner.rest_after(keys).as_micros()
        };
        assert_eq!([after(0, 9), after(7, 3), after(-10, 29), after(-10, 9)], [0, 21, 2, 0]);
        assert_eq!(after(i32::MIN, 1), 0);
    }
}
