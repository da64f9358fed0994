//! Byte buffers that a thread's connections share, so that an idle connection owns none.
//!
//! A connection reads into the thread's one read buffer and keeps bytes of its own only while a request is
//! incomplete. For output it borrows a buffer from the pool and gives it back once everything is sent.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::memory::size_class;

/// Default size of the read buffer of a thread, in bytes: large enough that a read is nearly always short, which lets
/// the poller clear readiness without a second, failing read.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Capacity a fresh pooled buffer starts with, in bytes.
pub const POOLED_BYTES: usize = 4 * 1024;
/// A buffer that has grown beyond this is freed rather than kept, so that one large reply does not stay.
pub const POOLED_BYTES_MAX: usize = 128 * 1024;
/// Spare buffers a thread keeps.
const SPARES_MAX: usize = 128;
/// Spare buffers a thread keeps while it has little to do.
const SPARES_IDLE: usize = 16;

static READ_BYTES: AtomicUsize = AtomicUsize::new(READ_BUFFER_BYTES);

thread_local! {
    static SPARES: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// What the spare buffers take of the allocator, in bytes.
    static SPARE_BYTES: Cell<usize> = const { Cell::new(0) };
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES.load(Ordering::Relaxed)].into_boxed_slice());
}

/// Takes an empty buffer from the thread's pool.
#[must_use]
pub fn take() -> Vec<u8> {
    let Some(spare) = SPARES.with(|spares| spares.borrow_mut().pop()) else {
        return Vec::with_capacity(POOLED_BYTES);
    };
    SPARE_BYTES.set(SPARE_BYTES.get() - size_class(spare.capacity()));
    spare
}

/// Gives a buffer back to the thread's pool; its contents are forgotten.
pub fn give(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOLED_BYTES_MAX {
        return;
    }
    buffer.clear();
    SPARES.with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < SPARES_MAX {
            SPARE_BYTES.set(SPARE_BYTES.get() + size_class(buffer.capacity()));
            spares.push(buffer);
        }
    });
}

/// What the thread's spare buffers take, in bytes: memory that is in use for nothing but speed.
#[must_use]
pub fn spare_bytes() -> usize {
    SPARE_BYTES.get()
}

/// Gives memory of the thread's pool back, but for a few buffers. To be called now and then.
pub fn trim() {
    SPARES.with(|spares| {
        let mut spares = spares.borrow_mut();
        spares.retain(|buffer| buffer.capacity() <= 4 * POOLED_BYTES);
        spares.truncate(SPARES_IDLE);
        SPARE_BYTES.set(spares.iter().map(|spare| size_class(spare.capacity())).sum());
    });
}

/// Sets the size of the read buffer of threads that have not read yet.
pub fn set_read_buffer_bytes(bytes: usize) {
    READ_BYTES.store(bytes, Ordering::Relaxed);
}

/// Lends the thread's read buffer for the length of `body`.
///
/// # Panics
/// When called from within `body`: a thread has one read buffer.
pub fn with_read_buffer<R>(body: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with(|read| body(&mut read.borrow_mut()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_and_a_huge_one_does_not_come_back() {
        let mut buffer = take();
        buffer.extend_from_slice(b"hello");
        let place = buffer.as_ptr();
        give(buffer);
        let again = take();
        assert!(again.is_empty());
        assert_eq!(again.as_ptr(), place);
        give(again);
        give(Vec::with_capacity(POOLED_BYTES_MAX + 1));
        assert!(take().capacity() <= POOLED_BYTES_MAX);
    }

    #[test]
    fn what_spare_buffers_take_is_known() {
        let lent: Vec<Vec<u8>> = (0..40).map(|_| take()).collect();
        assert_eq!(spare_bytes(), 0);
        let bytes: usize = lent.iter().map(Vec::capacity).sum();
        lent.into_iter().for_each(give);
        assert_eq!(spare_bytes(), bytes);
        // A buffer takes the size that the allocator has for it.
        give(Vec::with_capacity(100_000));
        assert_eq!(spare_bytes(), bytes + (112 << 10));
        trim();
        assert_eq!(spare_bytes(), SPARES_IDLE * POOLED_BYTES);
        let one = take();
        assert_eq!(spare_bytes(), (SPARES_IDLE - 1) * POOLED_BYTES);
        drop(one);
    }
}
