//! What jemalloc knows of its own memory, and what it can be told.
//!
//! `unsafe` because it is told through a C function.

use tikv_jemalloc_ctl::{epoch, stats};

/// Bytes, as jemalloc counts them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics {
    /// In use by the program.
    pub allocated: usize,
    /// In pages that hold something.
    pub active: usize,
    /// In pages that lie in memory.
    pub resident: usize,
}

/// Reads the statistics; all zero where jemalloc is not the allocator.
#[must_use]
pub fn statistics() -> Statistics {
    if epoch::advance().is_err() {
        return Statistics::default();
    }
    Statistics {
        allocated: stats::allocated::read().unwrap_or(0),
        active: stats::active::read().unwrap_or(0),
        resident: stats::resident::read().unwrap_or(0),
    }
}

/// Gives unused pages of all arenas back to the system. Answers whether jemalloc did.
#[must_use]
pub fn purge() -> bool {
    // 4096 stands for all arenas (MALLCTL_ARENAS_ALL of jemalloc.h).
    const PURGE_ALL: &std::ffi::CStr = c"arena.4096.purge";
    let nothing = std::ptr::null_mut;
    // SAFETY: the name ends in NUL, and this control neither reads nor writes, as its null pointers say.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(PURGE_ALL.as_ptr(), nothing(), nothing().cast(), nothing(), 0)
    };
    code == 0
}

/// Has a thread of jemalloc's give unused pages back, or not: without one they are only given back while something is
/// allocated or freed, so an idle process keeps them.
pub fn set_background_thread(runs: bool) {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(runs) {
        redstart_common::log!(Warning, "Unable to change jemalloc's background thread: {error}");
    }
}

/// What jemalloc prints of its inner life.
#[must_use]
pub fn report() -> Vec<u8> {
    let mut text = Vec::new();
    match tikv_jemalloc_ctl::stats_print::stats_print(&mut text, Default::default()) {
        Ok(()) => text,
        Err(error) => format!("No statistics: {error}\n").into_bytes(),
    }
}
