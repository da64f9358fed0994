//! Bytes read straight into a vector's spare capacity.
//!
//! `unsafe` because the compiler cannot know that the kernel has written them.

/// Makes `vec` longer by `length` bytes that have just been written into its spare capacity.
///
/// # Panics
/// When the spare capacity is smaller than `length`.
pub fn grow(vec: &mut Vec<u8>, length: usize) {
    assert!(vec.capacity() - vec.len() >= length, "more bytes than there was room for");
    // SAFETY: the caller's `ReadBuf` over the spare capacity counted exactly `length` bytes as filled, and they
    // are within the capacity.
    unsafe { vec.set_len(vec.len() + length) };
}
