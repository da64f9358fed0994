//! Lines for the system's log, as syslog(3) sends them: datagrams to a socket of the system.

use std::fmt::Arguments;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::Level;

/// Where the system listens.
const SOCKET: &str = "/dev/log";

/// What kind of program speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// A program of a user.
    User = 1,
    /// For use on this machine, as are the others.
    Local0 = 16,
    /// See [`Facility::Local0`].
    Local1,
    /// See [`Facility::Local0`].
    Local2,
    /// See [`Facility::Local0`].
    Local3,
    /// See [`Facility::Local0`].
    Local4,
    /// See [`Facility::Local0`].
    Local5,
    /// See [`Facility::Local0`].
    Local6,
    /// See [`Facility::Local0`].
    Local7,
}

impl Facility {
    /// The names of redis.conf.
    pub const NAMES: [(&'static str, Self); 9] = [
        ("user", Self::User),
        ("local0", Self::Local0),
        ("local1", Self::Local1),
        ("local2", Self::Local2),
        ("local3", Self::Local3),
        ("local4", Self::Local4),
        ("local5", Self::Local5),
        ("local6", Self::Local6),
        ("local7", Self::Local7),
    ];
}

/// The way to the system's log.
pub(super) struct Syslog {
    ident: String,
    facility: Facility,
    to: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(ident: &str, facility: Facility) -> Self {
        Self::to(Path::new(SOCKET), ident, facility)
    }

    fn to(path: &Path, ident: &str, facility: Facility) -> Self {
        let socket = UnixDatagram::unbound().ok();
        // Nobody waits for a log that is read slowly.
        let socket = socket.filter(|socket| socket.set_nonblocking(true).is_ok());
        Self { ident: ident.to_owned(), facility, to: path.to_owned(), socket }
    }

    /// Sends a line. The system may not listen, or not at this time: the line is lost then, as with syslog(3).
    pub(super) fn send(&self, level: Level, message: Arguments<'_>) {
        // Debugging, informational, notice, warning.
        let severity = 7 - level as usize;
        let priority = self.facility as usize * 8 + severity;
        let now = chrono::Local::now().format("%b %e %H:%M:%S");
        let (ident, pid) = (&self.ident, std::process::id());
        if let Some(socket) = &self.socket {
            let line = format!("<{priority}>{now} {ident}[{pid}]: {message}");
            let _ = socket.send_to(line.as_bytes(), &self.to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_priority_of_facility_and_level() {
        let path = std::env::temp_dir().join(format!("redstart-syslog-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixDatagram::bind(&path).expect("a socket");
        let pid = std::process::id();
        for (facility, level, priority) in [
            (Facility::User, Level::Debug, 15),
            (Facility::Local0, Level::Verbose, 134),
            (Facility::Local0, Level::Notice, 133),
            (Facility::Local7, Level::Warning, 188),
        ] {
            Syslog::to(&path, "redis", facility).send(level, format_args!("is {}", "ready"));
            let mut line = [0; 128];
            let length = listener.recv(&mut line).expect("a line");
            let line = String::from_utf8_lossy(&line[..length]);
            assert!(line.starts_with(&format!("<{priority}>")), "{line}");
            assert!(line.ends_with(&format!(" redis[{pid}]: is ready")), "{line}");
        }
        // Nobody listens any more, which is nobody's concern.
        drop(listener);
        std::fs::remove_file(&path).expect("its file");
        Syslog::to(&path, "redis", Facility::User).send(Level::Warning, format_args!("lost"));
    }
}
