//! What jemalloc knows of its own memory.

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
