//! A disk that fails when a test says so, under a whole server; see `examples/faulty_disk.rs`.

use std::process::Command;
use std::sync::OnceLock;

use crate::proxy_support::{Folder, Redis, free_port};
use crate::server_support::{Peer, Server, built, server_binary};

/// What may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A sync does not return while this lasts.
    SyncWaits,
    /// A sync fails with EIO.
    SyncFails,
    /// A write fails with EIO.
    WriteFails,
    /// A read from a place in a file fails with EIO.
    ReadFails,
}

impl Fault {
    fn switch(self) -> &'static str {
        match self {
            Self::SyncWaits => "sync-waits",
            Self::SyncFails => "sync-fails",
            Self::WriteFails => "write-fails",
            Self::ReadFails => "read-fails",
        }
    }
}

/// The disk of the servers that are started on it.
#[derive(Debug)]
pub struct FaultyDisk {
    switches: Folder,
    library: &'static str,
}

impl FaultyDisk {
    /// One that is well.
    ///
    /// # Panics
    /// When what stands before the C library cannot be built.
    #[must_use]
    pub fn new() -> Self {
        static LIBRARY: OnceLock<String> = OnceLock::new();
        let library = LIBRARY.get_or_init(|| {
            let built = built(&["-p", "redstart-tests", "--example", "faulty_disk"]);
            built.join("examples/libfaulty_disk.so").display().to_string()
        });
        Self { switches: Folder::new(), library }
    }

    /// Has our server or the original run on it.
    #[must_use]
    pub fn start(&self, is_original: bool, options: &[&str]) -> Peer {
        if is_original {
            let command = self.under(Command::new("redis-server"));
            return Peer::Original(Redis::start_by(command, free_port(), options));
        }
        Peer::Ours(self.ours(Folder::new(), options))
    }

    /// Has our server run on it, in this folder.
    #[must_use]
    pub fn ours(&self, folder: Folder, options: &[&str]) -> Server {
        Server::start_by(self.under(Command::new(server_binary())), folder, options)
    }

    fn under(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", self.library).env("FAULTY_DISK", self.switches.path());
        command
    }

    /// From now on this goes wrong with files that have `word` in their path.
    ///
    /// # Panics
    /// When it cannot be said.
    pub fn begin(&self, fault: Fault, word: &str) {
        // Whole at once, for it is looked at while it is written.
        let new = self.switches.join("new");
        std::fs::write(&new, word).expect("written");
        std::fs::rename(new, self.switches.join(fault.switch())).expect("switched on");
    }

    /// This goes well again.
    pub fn end(&self, fault: Fault) {
        // It may not have been on.
        let _ = std::fs::remove_file(self.switches.join(fault.switch()));
    }
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}
