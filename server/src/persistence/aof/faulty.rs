//! A disk in memory that fails when told to, for tests.
//!
//! After a failed sync the bytes that it was for are gone from the cache without being on the disk, as Linux does it: a
//! later sync that succeeds does not bring them back.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::log::LogFile;
use super::sync::{Job, Synced, Syncs};

#[derive(Debug)]
pub(super) struct State {
    /// What a reader finds while the system is up.
    pub bytes: Vec<u8>,
    /// How many of them a reader finds after the power has failed.
    pub durable: usize,
    /// Bytes that still fit.
    pub room: usize,
    /// Bytes of one write.
    pub write_max: usize,
    pub fails_sync: bool,
    pub fails_truncate: bool,
    is_holed: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes: Vec::new(),
            durable: 0,
            room: usize::MAX,
            write_max: usize::MAX,
            fails_sync: false,
            fails_truncate: false,
            is_holed: false,
        })))
    }

    /// Whether the power may fail.
    pub fn is_durable(&self) -> bool {
        let state = self.state();
        state.durable == state.bytes.len()
    }

    /// From now on nothing fails.
    pub fn mend(&self) {
        let mut state = self.state();
        (state.room, state.write_max) = (usize::MAX, usize::MAX);
        (state.fails_sync, state.fails_truncate) = (false, false);
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile for Disk {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        let count = bytes.len().min(state.room).min(state.write_max);
        if count == 0 {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        state.room -= count;
        state.bytes.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.state();
        if state.fails_truncate {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let bytes = usize::try_from(bytes).expect("small");
        assert!(bytes <= state.bytes.len() && bytes >= state.durable, "whole commands stay");
        state.room = state.room.saturating_add(state.bytes.len() - bytes);
        state.bytes.truncate(bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.fails_sync {
            state.is_holed |= state.durable < state.bytes.len();
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if !state.is_holed {
            state.durable = state.bytes.len();
        }
        Ok(())
    }
}

/// Syncs when the test says so.
#[derive(Debug, Default)]
pub(super) struct Pending {
    jobs: VecDeque<Job<Disk>>,
    done: VecDeque<Synced>,
}

impl Pending {
    /// Does the oldest job; false when there is none.
    pub fn run(&mut self) -> bool {
        let Some(Job { file, mark, is_current }) = self.jobs.pop_front() else { return false };
        let result = file.sync();
        self.done.push_back(Synced { mark, is_current, result, took: Duration::ZERO });
        true
    }

    pub fn waiting(&self) -> usize {
        self.jobs.len()
    }
}

impl Syncs<Disk> for Pending {
    fn start(&mut self, job: Job<Disk>) {
        self.jobs.push_back(job);
    }

    fn poll(&mut self) -> Option<Synced> {
        self.done.pop_front()
    }

    fn wait(&mut self) -> Option<Synced> {
        self.run();
        self.poll()
    }
}
