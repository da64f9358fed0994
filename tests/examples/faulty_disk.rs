//! A disk that fails when it is told to: a library that the tests have the loader put before the C library
//! (`LD_PRELOAD`), so that a whole server can be tried on it without root and without a disk of its own.
//!
//! The folder that the variable `FAULTY_DISK` names is the switchboard. Each switch is a file in it that holds a word; a
//! fault concerns files with that word in their path, while the switch is there:
//!
//! - `sync-waits`: a sync does not return,
//! - `sync-fails`: a sync fails with EIO,
//! - `write-fails`: a write fails with EIO,
//! - `read-fails`: a read from a place in a file (`pread64`) fails with EIO.

#![cfg(target_os = "linux")]

use std::ffi::{CStr, c_char, c_int, c_long, c_void};

/// The most that a path or a word may have, in bytes.
const TEXT_BYTES: usize = 512;
/// Between two looks whether a sync may return, in microseconds.
const LOOK_EVERY_US: u32 = 2000;

/// Text that may have been cut off.
struct Text([u8; TEXT_BYTES], usize);

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.0[..self.1]
    }

    /// The name of a switch's file, ended as C likes it.
    fn of_switch(switch: &str) -> Option<Self> {
        // SAFETY: the variable is set before the program starts and never changed; what is found ends with a null byte.
        let folder = unsafe {
            let value = libc::getenv(c"FAULTY_DISK".as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value))?
        };
        let mut text = Self([0; TEXT_BYTES], 0);
        for part in [folder.to_bytes(), b"/", switch.as_bytes(), b"\0"] {
            text.0.get_mut(text.1..text.1 + part.len())?.copy_from_slice(part);
            text.1 += part.len();
        }
        Some(text)
    }

    /// The word that a switch holds; none while it is off.
    fn of_word(switch: &str) -> Option<Self> {
        let name = Self::of_switch(switch)?;
        let mut word = Self([0; TEXT_BYTES], 0);
        // SAFETY: the name ends with a null byte, and as much is read as there is room for. The calls are not those that
        // are replaced here.
        let length = unsafe {
            let file = libc::open(name.0.as_ptr().cast::<c_char>(), libc::O_RDONLY);
            if file < 0 {
                return None;
            }
            let length = libc::read(file, word.0.as_mut_ptr().cast::<c_void>(), TEXT_BYTES);
            libc::close(file);
            length
        };
        word.1 = usize::try_from(length).unwrap_or(0);
        Some(word)
    }

    /// Where a descriptor leads.
    fn of_path(descriptor: c_int) -> Self {
        let mut path = Self([0; TEXT_BYTES], 0);
        let name = format!("/proc/self/fd/{descriptor}\0");
        // SAFETY: the name ends with a null byte, and as much is written as there is room for.
        let length = unsafe {
            let room = path.0.as_mut_ptr().cast::<c_char>();
            libc::readlink(name.as_ptr().cast::<c_char>(), room, TEXT_BYTES)
        };
        path.1 = usize::try_from(length).unwrap_or(0);
        path
    }
}

/// Whether a switch is on for a file.
fn is_on(switch: &str, descriptor: c_int) -> bool {
    let Some(word) = Text::of_word(switch) else { return false };
    let path = Text::of_path(descriptor);
    word.1 > 0 && path.bytes().windows(word.1).any(|part| part == word.bytes())
}

fn fail() -> c_int {
    // SAFETY: every thread has a place for its error number.
    unsafe { *libc::__errno_location() = libc::EIO };
    -1
}

fn sync(descriptor: c_int, call: c_long) -> c_int {
    while is_on("sync-waits", descriptor) {
        // SAFETY: it only sleeps.
        unsafe { libc::usleep(LOOK_EVERY_US) };
    }
    if is_on("sync-fails", descriptor) {
        return fail();
    }
    // SAFETY: the system answers for any number.
    let result = unsafe { libc::syscall(call, descriptor) };
    c_int::try_from(result).unwrap_or(-1)
}

/// As in the C library.
// SAFETY: it has the type of the function that it stands before.
#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fdatasync)
}

/// As in the C library.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn fsync(descriptor: c_int) -> c_int {
    sync(descriptor, libc::SYS_fsync)
}

/// As in the C library.
///
/// # Safety
/// As there: `count` bytes can be read at `bytes`.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, count: usize) -> isize {
    if is_on("write-fails", descriptor) {
        return fail() as isize;
    }
    // SAFETY: the caller answers for the bytes.
    let written = unsafe { libc::syscall(libc::SYS_write, descriptor, bytes, count) };
    written as isize
}

/// As in the C library.
///
/// # Safety
/// As there: `count` bytes can be read at `bytes`.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    descriptor: c_int,
    bytes: *const c_void,
    count: usize,
    at: i64,
) -> isize {
    if is_on("write-fails", descriptor) {
        return fail() as isize;
    }
    // SAFETY: the caller answers for the bytes.
    let written = unsafe { libc::syscall(libc::SYS_pwrite64, descriptor, bytes, count, at) };
    written as isize
}

/// As in the C library.
///
/// # Safety
/// As there: `count` bytes can be written at `bytes`.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pread64(
    descriptor: c_int,
    bytes: *mut c_void,
    count: usize,
    at: i64,
) -> isize {
    if is_on("read-fails", descriptor) {
        return fail() as isize;
    }
    // SAFETY: the caller answers for the room.
    let read = unsafe { libc::syscall(libc::SYS_pread64, descriptor, bytes, count, at) };
    read as isize
}
