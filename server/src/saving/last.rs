//! The save at the end of the server, for which nothing else runs: who insists on the end does not wait for it.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The unfinished file of the save that a signal has led to. It is the process's, as signals are.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

fn set(path: Option<PathBuf>) {
    *UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner) = path;
}

/// Runs `save`, which may be cut short if it writes into `unfinished` until it is complete.
pub(super) fn during<R>(unfinished: Option<PathBuf>, save: impl FnOnce() -> R) -> R {
    set(unfinished);
    let result = save();
    set(None);
    result
}

/// Ends the process if it is saving for its end, and leaves no unfinished file behind. To be called when a signal asks for
/// the end again, from a thread of its own.
pub fn insist() {
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*unfinished {
        redstart_common::log!(Warning, "You insist... exiting now.");
        // It may have its name already: then the save is complete.
        let _ = std::fs::remove_file(path);
        std::process::exit(1);
    }
}
