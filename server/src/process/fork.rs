//! A child of the process with a copy of its memory: for a debugger's session, which must leave no trace, and for nothing else.
//!
//! The child has one thread, the one that has made it. It runs one script, whose commands touch the memory of that thread
//! alone, speaks with one client by blocking calls, and ends; it never comes back to the runtime. It has the allocator in order
//! (jemalloc sees to that around a fork); what other threads held meanwhile stays locked in it, so that a child which needs
//! that (a large value to be freed by a thread of its own) may hang until its client leaves or the server ends it.

use std::io;
use std::os::fd::RawFd;

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid};
use redstart_common::log;

/// Who goes on behind [`fork`].
pub enum Side {
    /// The process, with the child's number.
    Parent(i32),
    /// The child.
    Child(Child),
}

/// The child's end of itself: it ends when this is dropped, so that no error and no panic leads it back to what is its parent's.
pub struct Child(());

impl Child {
    /// Ends the child as one that has done its work.
    pub fn end(self) -> ! {
        std::mem::forget(self);
        // SAFETY: ends the process and runs nothing of it.
        unsafe { libc::_exit(0) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: as in `end`.
        unsafe { libc::_exit(1) }
    }
}

/// Makes a child that keeps one socket of the process, `kept`.
///
/// # Errors
/// fork(2)'s.
pub fn fork(kept: RawFd) -> io::Result<Side> {
    // SAFETY: the child allocates, which jemalloc allows, and keeps to what the module says.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Side::Parent(child.as_raw())),
        ForkResult::Child => {
            let child = Child(());
            for number in [Signal::SIGTERM, Signal::SIGINT] {
                // SAFETY: ignoring a signal runs no code. Where it cannot be, the child ends by it, as is its default.
                let _ = unsafe { signal(number, SigHandler::SigIgn) };
            }
            log::set_role('C');
            close_sockets(kept);
            Ok(Side::Child(child))
        }
    }
}

/// Closes the child's copies of all sockets but one: connections end when the parent ends them, and ports are free when it does.
fn close_sockets(kept: RawFd) {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
    for entry in folder.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok());
        let is_socket = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.as_os_str().as_encoded_bytes().starts_with(b"socket:"));
        if let Some(number) = number.filter(|number| is_socket && *number != kept) {
            // What owns it in this process is never used again. One that is closed already is no matter.
            let _ = nix::unistd::close(number);
        }
    }
}

/// Takes those away that have ended.
pub fn reap(children: &mut Vec<i32>) {
    children.retain(|child| {
        let state = waitpid(Pid::from_raw(*child), Some(WaitPidFlag::WNOHANG));
        state.is_ok_and(|state| state.pid().is_none())
    });
}

/// Ends all of them.
pub fn kill_all(children: &mut Vec<i32>) {
    for child in children.drain(..) {
        log!(Warning, "Killing debugging session {child}");
        let child = Pid::from_raw(child);
        // One that has ended already is no matter.
        let _ = kill(child, Signal::SIGKILL);
        let _ = waitpid(child, None);
    }
}
