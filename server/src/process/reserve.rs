//! How much free memory the process keeps, and when it goes back to the system.
//!
//! A page that was given back costs several microseconds when it is needed again: a trap, a page to be found and to be
//! cleared, and in a virtual machine often the same once more beneath. A server whose lists and buffers come and go
//! pays that over and over if, as is jemalloc's way, all that is free goes back within ten seconds. So a thread looks
//! once a second: free memory of up to a part of what is in use stays, and when it has been more for ten seconds, all
//! of it is given back, without the engine's waiting for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redstart_common::log;

use crate::process::allocator;

/// Free memory stays up to this part of what is in use, or up to [`KEPT_BYTES`].
const KEPT_PART: usize = 8;
const KEPT_BYTES: usize = 8 << 20;
/// How long more than that may lie free: jemalloc's own default.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);

/// Since when more has been free than is kept.
#[derive(Debug, Default)]
struct Excess {
    since: Option<Instant>,
}

impl Excess {
    /// Whether it is time to give back what is free.
    fn look(&mut self, now: Instant, used_bytes: usize, free_bytes: usize) -> bool {
        if free_bytes <= (used_bytes / KEPT_PART).max(KEPT_BYTES) {
            self.since = None;
            return false;
        }
        let is_due = now.duration_since(*self.since.get_or_insert(now)) >= PATIENCE;
        if is_due {
            self.since = None;
        }
        is_due
    }
}

/// The thread's end, when there is one.
static KEEPER: Mutex<Option<Arc<AtomicBool>>> = Mutex::new(None);

/// Starts or ends the thread that gives free memory back (`jemalloc-bg-thread`). Without it jemalloc does so itself,
/// ten seconds after, but only while something is allocated or freed.
pub fn set_background_thread(runs: bool) {
    let mut keeper = KEEPER.lock().unwrap_or_else(PoisonError::into_inner);
    if keeper.is_some() == runs {
        return;
    }
    if let Some(ended) = keeper.take() {
        ended.store(true, Ordering::Relaxed);
        allocator::give_back_after(Some(PATIENCE));
        return;
    }
    let ended = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&ended);
    match std::thread::Builder::new().name("memory".to_owned()).spawn(move || keep(&seen)) {
        Ok(_) => {
            allocator::give_back_after(None);
            *keeper = Some(ended);
        }
        Err(error) => log!(Warning, "Can't start the thread that gives memory back: {error}"),
    }
}

fn keep(ended: &AtomicBool) {
    let mut excess = Excess::default();
    loop {
        std::thread::sleep(LOOK);
        if ended.load(Ordering::Relaxed) {
            return;
        }
        let used = allocator::statistics().allocated;
        let Some(free) = allocator::free_bytes() else { continue };
        if excess.look(Instant::now(), used, free) && !allocator::purge() {
            log!(Warning, "The allocator did not give free memory back.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_for_long_beyond_the_reserve_goes_back() {
        let (mut excess, start) = (Excess::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!excess.look(at(0), 1 << 30, 128 << 20), "an eighth");
        assert!(!excess.look(at(100), 1 << 30, 129 << 20), "only now");
        assert!(!excess.look(at(109), 1 << 30, 500 << 20));
        assert!(!excess.look(at(109), 1 << 30, 100 << 20), "it was used again");
        assert!(!excess.look(at(111), 1 << 30, 129 << 20));
        assert!(excess.look(at(121), 1 << 30, 129 << 20));
        assert!(!excess.look(at(122), 1 << 30, 129 << 20), "it begins anew");
        assert!(!excess.look(at(200), 1 << 20, 8 << 20), "a small server keeps a little");
    }
}
