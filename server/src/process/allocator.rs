//! What jemalloc knows of its own memory, and what it can be told.
//!
//! `unsafe` because it is told through a C function.

use std::ffi::{CStr, CString, c_char};
use std::io;
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
    act(c"arena.4096.purge").is_ok()
}

/// Has a control act that has no value.
fn act(name: &CStr) -> io::Result<()> {
    let nothing = std::ptr::null_mut;
    // SAFETY: the name ends in NUL, and this control neither reads nor writes, as its null pointers say.
    let code = unsafe {
        tikv_jemalloc_sys::mallctl(name.as_ptr(), nothing(), nothing().cast(), nothing(), 0)
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
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

/// Reads a number that jemalloc knows by name, and sets it where a value is given. Answers with the number from before; nothing
/// where it can only be set.
///
/// # Errors
/// jemalloc's: no such name, or it cannot be read or set. A table of functions, which a number would put out of order, is
/// not set.
pub fn control(name: &[u8], value: Option<i64>) -> io::Result<Option<i64>> {
    let name = c_name(name)?;
    if value.is_some() && name.to_bytes().ends_with(b"extent_hooks") {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let mut code = libc::EINVAL;
    // The number has one of these sizes; jemalloc refuses the others.
    for size in [8, 4, 2, 1] {
        let mut old = [0_u8; 8];
        let mut old_size = size;
        let mut new = value.unwrap_or(0).to_le_bytes();
        let new_size = if value.is_some() { size } else { 0 };
        let new_place = if value.is_some() { new.as_mut_ptr() } else { std::ptr::null_mut() };
        // SAFETY: the name ends in NUL; jemalloc copies no more than the sizes say, to and from places that are as large.
        let reads = unsafe {
            let (old, old_size) = (old.as_mut_ptr().cast(), &raw mut old_size);
            tikv_jemalloc_sys::mallctl(name.as_ptr(), old, old_size, new_place.cast(), new_size)
        };
        if reads == 0 {
            return Ok(Some(i64::from_le_bytes(old)));
        }
        code = reads;
        if reads == libc::EPERM && value.is_some() {
            let nothing = std::ptr::null_mut;
            // SAFETY: as above; nothing is read.
            let sets = unsafe {
                let new = new_place.cast();
                tikv_jemalloc_sys::mallctl(
                    name.as_ptr(),
                    nothing(),
                    nothing().cast(),
                    new,
                    new_size,
                )
            };
            if sets == 0 {
                return Ok(None);
            }
            code = sets;
        }
        if code != libc::EINVAL {
            break;
        }
    }
    Err(io::Error::from_raw_os_error(code))
}

/// What jemalloc knows by these names is a text. `opt.` and the arena's own may be read by others too, but not as one.
const TEXTS: [&[u8]; 8] = [
    b"version",
    b"config.malloc_conf",
    b"opt.metadata_thp",
    b"opt.dss",
    b"opt.percpu_arena",
    b"opt.stats_print_opts",
    b"opt.thp",
    b"opt.zero_realloc",
];

/// What stands for a value where a control acts and takes none.
const NO_VALUE: &[u8] = b"VOID";

/// Whether a control acts and takes no value.
fn is_act(name: &[u8]) -> bool {
    let of_arena = || {
        let rest = name.strip_prefix(b"arena.")?;
        let dot = memchr::memchr(b'.', rest)?;
        Some(&rest[dot..])
    };
    matches!(name, b"thread.tcache.flush" | b"thread.idle")
        || matches!(of_arena(), Some(b".purge" | b".decay"))
}

/// Reads a text that jemalloc knows by name, and sets it where one is given. Answers with that from before; nothing where the
/// control acts and has no value (it is given `VOID`).
///
/// # Errors
/// jemalloc's; one that is no text, or cannot be set, is refused.
pub fn control_text(name: &[u8], value: Option<&[u8]>) -> io::Result<Option<Vec<u8>>> {
    let is_arenas = name.strip_prefix(b"arena.").is_some_and(|rest| rest.ends_with(b".dss"));
    if is_act(name) && value == Some(NO_VALUE) {
        return act(&c_name(name)?).map(|()| None);
    }
    if !is_arenas && !TEXTS.contains(&name) {
        // Whether there is such a name at all.
        let outcome = control(name, None);
        return Err(outcome.err().unwrap_or(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    if value.is_some() && !is_arenas {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    let name = c_name(name)?;
    let value = value.map(c_name).transpose()?;
    let mut old: *const c_char = std::ptr::null();
    let mut old_size = size_of::<*const c_char>();
    let mut new: *const c_char = value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr());
    let new_size = if value.is_some() { old_size } else { 0 };
    let new_place = if value.is_some() { (&raw mut new).cast() } else { std::ptr::null_mut() };
    // SAFETY: the name ends in NUL and is that of a text: what is read and set is a pointer to one, which ends in NUL. That from
    // before is a constant of jemalloc's, and of a new one it keeps nothing but what it means.
    unsafe {
        let (old_place, old_size) = ((&raw mut old).cast(), &raw mut old_size);
        match tikv_jemalloc_sys::mallctl(name.as_ptr(), old_place, old_size, new_place, new_size) {
            0 if !old.is_null() => Ok(Some(CStr::from_ptr(old).to_bytes().to_vec())),
            0 => Ok(None),
            code => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

fn c_name(text: &[u8]) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from_raw_os_error(libc::ENOENT))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_sizes_are_read_and_those_that_can_be_are_set() {
        // The test's executable has jemalloc beside its own allocator.
        assert_eq!(control(b"arenas.page", None).expect("there"), Some(4096));
        assert!(control(b"arenas.narenas", None).expect("there") > Some(0));
        assert!(matches!(control(b"opt.background_thread", None).expect("there"), Some(0 | 1)));
        let before = control(b"arenas.muzzy_decay_ms", Some(7)).expect("settable");
        assert_eq!(control(b"arenas.muzzy_decay_ms", before).expect("settable"), Some(7));
        let code =
            |outcome: io::Result<Option<i64>>| outcome.err().and_then(|it| it.raw_os_error());
        assert_eq!(code(control(b"nope", None)), Some(libc::ENOENT));
        assert_eq!(code(control(b"a\0b", None)), Some(libc::ENOENT));
        assert_eq!(code(control(b"arenas.page", Some(1))), Some(libc::EPERM));
        assert_eq!(code(control(b"arena.0.extent_hooks", Some(1))), Some(libc::EPERM));
    }

    #[test]
    fn texts_are_read_and_what_is_none_is_not_taken_for_one() {
        let read = |name| control_text(name, None).expect("there").expect("a text");
        assert!(read(b"version").starts_with(b"5."));
        let before = control_text(b"arena.0.dss", Some(b"primary")).expect("settable");
        let set = control_text(b"arena.0.dss", before.as_deref()).expect("settable");
        assert_eq!(set.as_deref(), Some(&b"primary"[..]));
        for act in [&b"thread.tcache.flush"[..], b"arena.0.purge", b"arena.4096.decay"] {
            assert_eq!(control_text(act, Some(NO_VALUE)).expect("done"), None);
        }
        let code = |name, value| control_text(name, value).err().and_then(|it| it.raw_os_error());
        assert_eq!(code(b"arenas.page", None), Some(libc::EINVAL));
        assert_eq!(code(b"nope", None), Some(libc::ENOENT));
        assert_eq!(code(b"arena.0.destroy", Some(NO_VALUE)), Some(libc::EPERM));
        assert_eq!(code(b"version", Some(b"6")), Some(libc::EPERM));
    }
}
