//! The thread that syncs files, so that the engine's turn does not wait for the disk.
//!
//! Files are synced in the order in which they are given; a file that was left behind is closed here too, which may take
//! long. The engine is woken by a call of the thread's.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::log::LogFile;

use crate::processors::{self, Work};

/// A file to be synced.
#[derive(Debug)]
pub struct Job<F> {
    /// The file.
    pub file: Arc<F>,
    /// How far the log was written when the job was given.
    pub mark: u64,
    /// Whether it is the file that is written to; otherwise it was left behind, and this is the last of it.
    pub is_current: bool,
}

/// What came of a job.
#[derive(Debug)]
pub struct Synced {
    /// As in the job.
    pub mark: u64,
    /// As in the job.
    pub is_current: bool,
    /// The disk's answer.
    pub result: io::Result<()>,
    /// How long that took.
    pub took: Duration,
}

/// Syncs elsewhere.
pub trait Syncs<F> {
    /// Takes a job.
    fn start(&mut self, job: Job<F>);
    /// The next job that is done, if there is one.
    fn poll(&mut self) -> Option<Synced>;
    /// Waits for the next job that is done; nothing when none is under way.
    fn wait(&mut self) -> Option<Synced>;
}

/// [`Syncs`] on a thread of its own.
#[derive(Debug)]
pub struct SyncThread<F> {
    jobs: Option<Sender<Job<F>>>,
    done: Receiver<Synced>,
    under_way: usize,
    /// Jobs that the thread did not take, because it is gone.
    refused: VecDeque<Synced>,
    thread: Option<JoinHandle<()>>,
}

impl<F: LogFile> SyncThread<F> {
    /// Starts the thread. It calls `wake` after each job.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(wake: impl Fn() + Send + 'static) -> io::Result<Self> {
        let (jobs, to_do) = channel::<Job<F>>();
        let (tell, done) = channel();
        let thread = std::thread::Builder::new().name("bio_aof_fsync".into()).spawn(move || {
            processors::enter(Work::Background);
            while let Ok(Job { file, mark, is_current }) = to_do.recv() {
                let begun = Instant::now();
                let result = file.sync();
                let took = begun.elapsed();
                drop(file);
                if tell.send(Synced { mark, is_current, result, took }).is_err() {
                    return;
                }
                wake();
            }
        })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            under_way: 0,
            refused: VecDeque::new(),
            thread: Some(thread),
        })
    }
}

impl<F> Syncs<F> for SyncThread<F> {
    fn start(&mut self, job: Job<F>) {
        let (mark, is_current) = (job.mark, job.is_current);
        if self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok()) {
            self.under_way += 1;
        } else {
            let result = Err(io::Error::other("the thread that syncs has ended"));
            self.refused.push_back(Synced { mark, is_current, result, took: Duration::ZERO });
        }
    }

    fn poll(&mut self) -> Option<Synced> {
        let Ok(synced) = self.done.try_recv() else { return self.refused.pop_front() };
        self.under_way -= 1;
        Some(synced)
    }

    fn wait(&mut self) -> Option<Synced> {
        if self.under_way == 0 {
            return self.refused.pop_front();
        }
        let synced = self.done.recv().ok()?;
        self.under_way -= 1;
        Some(synced)
    }
}

impl<F> Drop for SyncThread<F> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported where it happened.
            let _ = thread.join();
        }
    }
}
