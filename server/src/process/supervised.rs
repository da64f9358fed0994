//! Supervision: whoever started the process hears when it is ready, as redis-server tells it.

use crate::settings::process::Supervised;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::signal::{Signal, raise};
use redstart_common::log;

/// Who supervises the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supervisor {
    /// upstart
    Upstart,
    /// systemd
    Systemd,
}

impl Supervisor {
    /// Its name in INFO.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstart => "upstart",
            Self::Systemd => "systemd",
        }
    }

    /// Tells it something, such as `READY=1`. Only systemd listens.
    pub fn tell(self, message: &str) {
        if self == Self::Systemd {
            notify(message);
        }
    }
}

/// Finds who supervises the process and tells them that it starts. `None` when nobody does; the log says why if
/// somebody should.
#[must_use]
pub fn find(mode: Supervised) -> Option<Supervisor> {
    let wanted = match mode {
        Supervised::No => return None,
        Supervised::Upstart => Supervisor::Upstart,
        Supervised::Systemd => Supervisor::Systemd,
        Supervised::Auto if std::env::var_os("UPSTART_JOB").is_some() => {
            log!(Verbose, "Upstart supervision detected.");
            Supervisor::Upstart
        }
        Supervised::Auto if std::env::var_os("NOTIFY_SOCKET").is_some() => {
            log!(Verbose, "Systemd supervision detected.");
            Supervisor::Systemd
        }
        Supervised::Auto => return None,
    };
    match wanted {
        Supervisor::Upstart if std::env::var_os("UPSTART_JOB").is_none() => {
            log!(Warning, "upstart supervision requested, but UPSTART_JOB not found!");
            None
        }
        Supervisor::Upstart => {
            log!(Notice, "supervised by upstart, will stop to signal readiness.");
            if let Err(error) = raise(Signal::SIGSTOP) {
                log!(Warning, "The process cannot stop itself: {error}");
            }
            Some(wanted)
        }
        Supervisor::Systemd => notify("STATUS=Redis is loading...\n").then(|| {
            log!(
                Notice,
                "Supervised by systemd. Please make sure you set appropriate values for \
                 TimeoutStartSec and TimeoutStopSec in your service unit."
            );
            wanted
        }),
    }
}

/// Sends a message to systemd's socket. Answers whether it was sent; if not, the log says why.
fn notify(message: &str) -> bool {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        log!(Warning, "systemd supervision error: NOTIFY_SOCKET not found!");
        return false;
    };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
    });
    if let Err(error) = &sent {
        let code = error.raw_os_error().unwrap_or(0);
        log!(Warning, "systemd supervision error: sd_notify: {}", -code);
    }
    sent.is_ok()
}
