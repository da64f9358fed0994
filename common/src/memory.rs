//! The allocator of both programs: jemalloc, counting what is in use.
//!
//! Every thread counts for itself, in a word that only it writes, so that counting costs an addition and no
//! locked instruction; [`used_bytes`] adds the threads up. Sizes are counted as jemalloc rounds them.
//!
//! All `unsafe` of this module forwards to jemalloc under `GlobalAlloc`'s own contract.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use tikv_jemallocator::Jemalloc;

/// jemalloc with a count of the bytes in use.
pub struct Counting;

/// Threads that can have a counter of their own; later ones share the last.
const COUNTERS: usize = 256;

static COUNTED: [AtomicI64; COUNTERS] = [const { AtomicI64::new(0) }; COUNTERS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn count(bytes: i64) {
    // During a thread's last moments its locals may be gone; the shared counter serves then.
    let place = MINE
        .try_with(|mine| {
            if mine.get() == usize::MAX {
                mine.set(NEXT.fetch_add(1, Ordering::Relaxed).min(COUNTERS - 1));
            }
            mine.get()
        })
        .unwrap_or(COUNTERS - 1);
    let counter = &COUNTED[place];
    if place == COUNTERS - 1 {
        counter.fetch_add(bytes, Ordering::Relaxed);
    } else {
        // Only this thread writes here: a plain load and store, without a locked instruction.
        counter.store(counter.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }
}

/// Bytes allocated and not freed by all threads, rounded up to jemalloc's size classes.
#[must_use]
pub fn used_bytes() -> usize {
    // Counters that no thread has taken are nought; the shared one counts from its first use on.
    let (shared, own) = (&COUNTED[COUNTERS - 1], &COUNTED[..COUNTERS - 1]);
    let taken = NEXT.load(Ordering::Relaxed).min(own.len());
    let counters = own[..taken].iter().chain(std::iter::once(shared));
    let sum: i64 = counters.map(|counter| counter.load(Ordering::Relaxed)).sum();
    usize::try_from(sum).unwrap_or(0)
}

/// The size class that jemalloc serves a request of `size` bytes from.
#[inline]
#[must_use]
pub const fn size_class(size: usize) -> usize {
    if size <= 8 {
        return 8;
    }
    if size <= 128 {
        return (size + 15) & !15;
    }
    // Four classes to a doubling.
    let spacing = 1_usize << ((size - 1).ilog2() - 2);
    (size + spacing - 1) & !(spacing - 1)
}

#[inline]
fn counted(layout: Layout) -> i64 {
    size_class(layout.size()) as i64
}

// SAFETY: every call goes to jemalloc unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract is passed on.
        let place = unsafe { Jemalloc.alloc(layout) };
        if !place.is_null() {
            count(counted(layout));
        }
        place
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        let place = unsafe { Jemalloc.alloc_zeroed(layout) };
        if !place.is_null() {
            count(counted(layout));
        }
        place
    }

    #[inline]
    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { Jemalloc.dealloc(place, layout) };
        count(-counted(layout));
    }

    #[inline]
    unsafe fn realloc(&self, place: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let new = unsafe { Jemalloc.realloc(place, layout, new_size) };
        if !new.is_null() {
            count(size_class(new_size) as i64 - counted(layout));
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_are_jemallocs() {
        for (size, class) in [
            (1, 8),
            (8, 8),
            (9, 16),
            (56, 64),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (1025, 1280),
            (4097, 5120),
        ] {
            assert_eq!(size_class(size), class, "{size}");
            let layout = Layout::from_size_align(size, 8).expect("small");
            // SAFETY: allocated and freed with the same layout; only the usable size is asked for between.
            unsafe {
                let place = Jemalloc.alloc(layout);
                assert_eq!(tikv_jemallocator::usable_size(place), class, "{size}");
                Jemalloc.dealloc(place, layout);
            }
        }
    }
}
