//! What jemalloc knows of its own memory, and what it can be told.
//!
//! `unsafe` because it is told through a C function.

use std::time::Duration;

use tikv_jemalloc_ctl::{epoch, raw, stats};

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

/// Bytes of pages that lie in memory and hold nothing, as of the last [`statistics`]; `None` where jemalloc is not the
/// allocator.
#[must_use]
pub fn free_bytes() -> Option<usize> {
    const PAGE_BYTES: usize = 4096;
    // SAFETY: the name ends in NUL, and the figure is a `size_t`. 4096 stands for all arenas.
    let pages: usize = unsafe { raw::read(b"stats.arenas.4096.pdirty\0") }.ok()?;
    Some(pages * PAGE_BYTES)
}

/// Has jemalloc itself give free pages back after a time, in steps and only while something is allocated or freed; or
/// never.
pub fn give_back_after(time: Option<Duration>) {
    let ms = time.map_or(-1, |time| isize::try_from(time.as_millis()).unwrap_or(isize::MAX));
    // SAFETY: the names end in NUL; the count is an `unsigned`, the times are `ssize_t`.
    unsafe {
        if let Err(error) = raw::write(b"arenas.dirty_decay_ms\0", ms) {
            redstart_common::log!(Warning, "The allocator refuses a decay of {ms} ms: {error}");
        }
        for arena in 0..raw::read::<u32>(b"arenas.narenas\0").unwrap_or(0) {
            // An arena that no thread uses yet cannot be set, and takes the default when it is made.
            let _ = raw::write(format!("arena.{arena}.dirty_decay_ms\0").as_bytes(), ms);
        }
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
