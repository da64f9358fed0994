//! The process's limit of open files, which each connection takes one of, and what it may run.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{AccessFlags, access};
use redstart_common::log;

use crate::settings::Settings;

/// Descriptors the process needs beside those of clients.
const RESERVED_FILES: u64 = 32;

/// The limit was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raised {
    /// From this many files …
    pub from: u64,
    /// … to this many.
    pub to: u64,
}

/// Whether there is such a file and this process may run it.
#[must_use]
pub fn is_executable(path: &str) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

/// Whether there is such a file and this process may write it.
///
/// # Errors
/// Why it may not.
pub fn check_writable(path: &std::path::Path) -> std::io::Result<()> {
    Ok(access(path, AccessFlags::W_OK)?)
}

/// Raises the limit of open files to what so many clients need. Answers whether that was necessary.
///
/// # Errors
/// How many clients the limit allows, when it cannot be raised.
pub fn allow_clients(clients: usize) -> Result<Option<Raised>, usize> {
    let wanted = clients as u64 + RESERVED_FILES;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(None) };
    if soft >= wanted {
        return Ok(None);
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted))
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard.min(wanted), hard));
    let now = getrlimit(Resource::RLIMIT_NOFILE).map_or(soft, |(soft, _)| soft);
    if raised.is_ok() && now >= wanted {
        Ok(Some(Raised { from: soft, to: wanted }))
    } else {
        Err(now.saturating_sub(RESERVED_FILES).max(1) as usize)
    }
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what the limit allows.
pub fn raise_file_limit(settings: &mut Settings) {
    match allow_clients(settings.maxclients) {
        Ok(None) => {}
        Ok(Some(Raised { from, to })) => log!(
            Notice,
            "Increased maximum number of open files to {to} (it was originally set to {from})."
        ),
        Err(clients) => {
            log!(
                Warning,
                "maxclients has been reduced to {clients} to compensate for low ulimit. If you need \
                 higher maxclients increase 'ulimit -n'."
            );
            settings.maxclients = clients;
        }
    }
}
