//! A snapshot of the primary on its way into databases: a thread reads what comes, this one places it.
//!
//! ```text
//!   link ─▶ Inflow ─▶ thread "rdb_load": Decoder ─▶ batches ─▶ Incoming ─▶ databases
//! ```

use std::io::{self, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::{Buf, Bytes};
use redstart_common::log;
use redstart_common::net::turn;
use tokio::sync::mpsc;

use super::link::is_given_up;
use crate::encoding::table;
use crate::persistence::rdb::batch::{self, Batch};
use crate::persistence::rdb::{LoadError, Options};
use crate::replication::LinkId;
use crate::saving::load::{Failure, Placer, Rules, STEP};
use crate::server::Server;

/// Bytes that may wait for the thread before no more are read from the link.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// Batches that may wait to be placed.
const BATCHES_MAX: usize = 4;
/// Items between two looks at the clock.
const ITEMS_BETWEEN: u32 = 64;

/// The end of the link.
pub struct Inflow {
    sender: std::sync::mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Inflow {
    /// Gives the thread the next bytes.
    pub fn push(&self, bytes: Bytes) {
        self.waiting.fetch_add(bytes.len(), Ordering::Relaxed);
        // The thread has ended for an error, which is told, or because nobody wants the data any more.
        let _ = self.sender.send(bytes);
    }

    /// Whether enough waits for now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > WAITING_BYTES_MAX
    }
}

/// The thread's end. It is over when the inflow is dropped.
struct Outflow {
    receiver: std::sync::mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    at_hand: Bytes,
}

impl Read for Outflow {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at_hand.is_empty() {
            match self.receiver.recv() {
                Ok(bytes) => self.at_hand = bytes,
                Err(_) => return Ok(0),
            }
        }
        let count = self.at_hand.len().min(into.len());
        self.at_hand.copy_to_slice(&mut into[..count]);
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        Ok(count)
    }
}

/// The end of the engine.
pub struct Incoming {
    batches: mpsc::Receiver<Result<Batch, LoadError>>,
}

/// Starts the thread.
///
/// # Errors
/// When none is to be had.
pub fn begin(options: Options) -> io::Result<(Inflow, Incoming)> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let (batch_sender, batches) = mpsc::channel(BATCHES_MAX);
    let waiting = Arc::new(AtomicUsize::new(0));
    let inflow = Inflow { sender, waiting: Arc::clone(&waiting) };
    let seed = table::seed();
    std::thread::Builder::new().name("rdb_load".to_owned()).spawn(move || {
        let outflow = Outflow { receiver, waiting, at_hand: Bytes::new() };
        batch::decode(outflow, options, seed, |batch| batch_sender.blocking_send(batch).is_ok());
    })?;
    Ok((inflow, Incoming { batches }))
}

impl Incoming {
    /// Places all that comes. Answers the database that is selected in the stream that follows.
    ///
    /// # Errors
    /// What is wrong with the data, or that it is of no use any more.
    pub async fn take_in(&mut self, server: &Rc<Server>, link: LinkId) -> Result<u32, String> {
        let mut placer = Placer::new(Rules::default(), &server.engine.borrow().core);
        let outcome = self.place_all(server, link, &mut placer).await.and_then(|()| {
            let mut engine = server.engine.borrow_mut();
            let engine = &mut *engine;
            // Those that it had beside its old data go with that.
            engine.core.scripting.forget_libraries();
            placer.finish(&mut engine.keyspace, &mut engine.core)
        });
        outcome.map_err(|failure| {
            let lines = failure.log_lines();
            lines.iter().for_each(|line| log!(Warning, "{line}"));
            lines.last().cloned().unwrap_or_default()
        })?;
        Ok(placer.origin.stream_db.and_then(|db| u32::try_from(db).ok()).unwrap_or(0))
    }

    async fn place_all(
        &mut self,
        server: &Rc<Server>,
        link: LinkId,
        placer: &mut Placer,
    ) -> Result<(), Failure> {
        while let Some(batch) = self.batches.recv().await {
            let mut batch = batch.map_err(Failure::File)?;
            loop {
                if is_given_up(server, link) {
                    return Err(Failure::Said("The load was given up".to_owned()));
                }
                match place(server, &mut batch, placer)? {
                    Placed::All => return Ok(()),
                    Placed::Batch => break,
                    Placed::Some => {}
                }
                turn::end();
                tokio::task::yield_now().await;
            }
            turn::end();
            tokio::task::yield_now().await;
        }
        Err(Failure::Said("The load was given up".to_owned()))
    }
}

enum Placed {
    Some,
    Batch,
    All,
}

/// Places items of a batch for a moment.
fn place(server: &Server, batch: &mut Batch, placer: &mut Placer) -> Result<Placed, Failure> {
    let mut engine = server.engine.borrow_mut();
    engine.refresh();
    let engine = &mut *engine;
    // It may be changed meanwhile.
    placer.key_delay_us = engine.core.settings.saving.key_load_delay;
    let is_beside = engine.core.saved.loading.as_ref().is_some_and(|loading| loading.beside);
    let dbs = match &mut engine.core.replicating.new_databases {
        Some(new) => &mut new.dbs,
        None => &mut engine.keyspace.dbs,
    };
    let shared = &engine.keyspace.shared;
    let (start, mut count) = (Instant::now(), 0);
    let placed = loop {
        let Some(item) = batch.take() else { break Placed::Batch };
        if placer.place(item, dbs, shared)? {
            break Placed::All;
        }
        count += 1;
        let looks = count % ITEMS_BETWEEN == 0 || placer.is_slowed();
        if looks && start.elapsed() >= STEP {
            break Placed::Some;
        }
    };
    if is_beside {
        // That these keys are new is not told to anybody.
        shared.take_incidents();
    }
    if matches!(placed, Placed::Batch) {
        engine.core.note_loaded(batch.offset);
    }
    Ok(placed)
}
