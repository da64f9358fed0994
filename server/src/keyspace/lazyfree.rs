//! Freeing large values on another thread, so that UNLINK and FLUSHALL ASYNC return at once.
//!
//! One thread serves the process; it is started with the first value. What it gets is owned by nobody else.

use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

use super::entries::Entries;
use super::entry::Entry;
use crate::processors::{self, Work};
use crate::types::Object;

/// Parts above which a collection is worth another thread's time.
pub const THRESHOLD: usize = 64;

enum Garbage {
    Object(Object),
    Entries(Entries),
}

/// A value on its way to be freed.
struct Parcel(Garbage);

// SAFETY: a parcel owns what it holds alone: the addresses inside lead to allocations that no other thread can
// reach, and freeing them uses neither thread-locals nor anything else tied to the thread that made them.
unsafe impl Send for Parcel {}

static PENDING: AtomicUsize = AtomicUsize::new(0);
static FREED: AtomicU64 = AtomicU64::new(0);
static WORKER: OnceLock<Option<Sender<Parcel>>> = OnceLock::new();

fn release(parcel: Parcel) -> usize {
    match parcel.0 {
        Garbage::Object(object) => {
            drop(object);
            1
        }
        Garbage::Entries(mut table) => {
            let count = table.len();
            // SAFETY: the table's entries belong to the parcel, and are forgotten as they are freed.
            table.drain(|entry: NonNull<Entry>| unsafe { Entry::free(entry) });
            count
        }
    }
}

fn send(garbage: Garbage, objects: usize) {
    PENDING.fetch_add(objects, Ordering::Relaxed);
    let worker = WORKER.get_or_init(|| {
        let (sender, receiver) = channel::<Parcel>();
        std::thread::Builder::new()
            .name("lazyfree".to_owned())
            .spawn(move || {
                processors::enter(Work::Background);
                for parcel in receiver {
                    let count = release(parcel);
                    FREED.fetch_add(count as u64, Ordering::Relaxed);
                    PENDING.fetch_sub(count, Ordering::Relaxed);
                }
            })
            .ok()
            .map(|_| sender)
    });
    let parcel = Parcel(garbage);
    let refused = match worker {
        Some(worker) => worker.send(parcel).err().map(|refused| refused.0),
        None => Some(parcel),
    };
    // Without a thread the work is done here: late is better than never.
    if let Some(parcel) = refused {
        let count = release(parcel);
        PENDING.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Frees a collection elsewhere.
pub fn free(object: Object) {
    send(Garbage::Object(object), 1);
}

/// Frees all entries of a table elsewhere.
pub fn free_entries(table: Entries) {
    let count = table.len();
    send(Garbage::Entries(table), count);
}

/// Values handed over and not freed yet.
#[must_use]
pub fn pending() -> usize {
    PENDING.load(Ordering::Relaxed)
}

/// Counts the freed values from nought on, as CONFIG RESETSTAT does.
pub fn reset_freed() {
    FREED.store(0, Ordering::Relaxed);
}

/// Values freed by the other thread so far.
#[must_use]
pub fn freed() -> u64 {
    FREED.load(Ordering::Relaxed)
}
