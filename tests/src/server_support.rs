//! What the tests of the server need beside [`crate::proxy_support`]: our server as a process, replies taken apart,
//! and a generator of random numbers that gives the same numbers everywhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use redstart_common::resp::{ReplyLimits, ReplyScanner};

use crate::proxy_support::{Client, Folder, Listening, Process, Redis, free_port, listening};

/// Builds the server's binary, once, in the profile of the tests, and says where it is. `REDSTART_SERVER` names
/// another binary to test instead.
///
/// # Panics
/// When it does not build.
pub fn server_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("REDSTART_SERVER") {
            return given.into();
        }
        built(&["-p", "redstart-server", "--bin", "redstart-server"]).join("redstart-server")
    })
}

/// Has cargo build something in the profile of the tests, and says in which folder that is.
///
/// # Panics
/// When it does not build.
pub(crate) fn built(what: &[&str]) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // target/<profile>/deps/<this test>
    let here = std::env::current_exe().expect("the test's path");
    let profile_folder = here.parent().and_then(Path::parent).expect("target/<profile>");
    let mut command = Command::new(cargo);
    command.args(["build", "-q"]).args(what);
    if profile_folder.ends_with("release") {
        command.arg("--release");
    }
    command.current_dir(workspace());
    command.env("CARGO_TARGET_DIR", profile_folder.parent().expect("target"));
    assert!(command.status().expect("cargo runs").success(), "{what:?} does not build");
    profile_folder.to_owned()
}

/// Runs somebody else's program to its end, which is two minutes away at most.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run(program: &str, args: &[&str]) -> Output {
    Command::new("timeout")
        .args(["120", program])
        .args(args)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

/// The root of the sources.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ lies in the workspace").to_owned()
}

/// Our server on a free port, in a folder of its own.
#[derive(Debug)]
pub struct Server(Listening);

listening!(Server);

impl Server {
    /// Starts one with these options.
    #[must_use]
    pub fn start(options: &[&str]) -> Self {
        Self::start_in(Folder::new(), options)
    }

    /// Starts one in a folder that is there already. Options stand after the port, so that the first may not be a
    /// configuration file; see [`Server::start_with_file`].
    #[must_use]
    pub fn start_in(folder: Folder, options: &[&str]) -> Self {
        Self::start_by(Command::new(server_binary()), folder, options)
    }

    /// As [`Server::start_in`], by a command that has more to it than the program.
    #[must_use]
    pub fn start_by(mut command: Command, folder: Folder, options: &[&str]) -> Self {
        let port = free_port();
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]).args(options);
        Self(Listening::start(command, port, folder))
    }

    /// Ends it as `kill -9` does, and gives its folder, in which another may be started.
    #[must_use]
    pub fn into_folder(self) -> Folder {
        self.0.folder
    }

    /// Starts one with a configuration file of this text, to which the port is added.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[must_use]
    pub fn start_with_file(text: &str) -> Self {
        let port = free_port();
        let folder = Folder::new();
        let file = folder.join("redis.conf");
        std::fs::write(&file, format!("{text}port {port}\nbind 127.0.0.1\n")).expect("written");
        let mut command = Command::new(server_binary());
        command.arg(file);
        Self(Listening::start(command, port, folder))
    }
}

/// Our server or the original, for tests of what holds for both.
#[derive(Debug)]
pub enum Peer {
    /// redstart-server.
    Ours(Server),
    /// redis-server.
    Original(Redis),
}

impl Peer {
    /// One of each, with the same options.
    #[must_use]
    pub fn both(options: &[&str]) -> [Self; 2] {
        [Self::Original(Redis::start_on(free_port(), options)), Self::Ours(Server::start(options))]
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Self::Ours(server) => server.port,
            Self::Original(server) => server.port,
        }
    }

    /// What to call it where a test fails.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours(_) => "redstart-server",
            Self::Original(_) => "redis-server",
        }
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.port())
    }

    /// The process, whichever it is.
    #[must_use]
    pub fn listening(&self) -> &Listening {
        match self {
            Self::Ours(server) => server,
            Self::Original(server) => server,
        }
    }

    /// The same, to wait for its end.
    pub fn process_mut(&mut self) -> &mut Process {
        match self {
            Self::Ours(server) => &mut server.process,
            Self::Original(server) => &mut server.process,
        }
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.listening().log()
    }

    /// The folder that it works in.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        match self {
            Self::Ours(server) => &server.folder,
            Self::Original(server) => &server.folder,
        }
    }

    /// Its resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        match self {
            Self::Ours(server) => server.process.resident_bytes(),
            Self::Original(server) => server.process.resident_bytes(),
        }
    }
}

/// A figure of INFO.
///
/// # Panics
/// When INFO does not name it, or it is no whole number.
#[must_use]
pub fn figure(client: &mut Client, name: &str) -> u64 {
    let info = client.call("INFO everything");
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let line = line.unwrap_or_else(|| panic!("no {name} in {info}"));
    line.parse().unwrap_or_else(|error| panic!("{name}:{line}: {error}"))
}

/// The marker and the elements of a reply that has elements; keys and values of a map are elements alike.
#[must_use]
pub fn elements(reply: &[u8]) -> Option<(u8, Vec<&[u8]>)> {
    let marker = *reply.first()?;
    if !b"*~%>".contains(&marker) {
        return None;
    }
    let end = reply.windows(2).position(|pair| pair == b"\r\n")?;
    let count: usize = std::str::from_utf8(&reply[1..end]).ok()?.parse().ok()?;
    let count = if marker == b'%' { count * 2 } else { count };
    let mut rest = &reply[end + 2..];
    let mut parts = Vec::with_capacity(count);
    for _ in 0..count {
        let len = ReplyScanner::default().scan(rest, &ReplyLimits::default()).ok()??;
        let (part, after) = rest.split_at(len);
        parts.push(part);
        rest = after;
    }
    Some((marker, parts))
}

/// Bytes as a reader likes them: printable ones as they are, others escaped.
#[must_use]
pub fn readable(bytes: &[u8]) -> String {
    let text: String = bytes.escape_ascii().to_string();
    if text.len() > 600 { format!("{}… ({} bytes)", &text[..600], bytes.len()) } else { text }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Mixed, so that the numbers of one seed are not those of its neighbour a little later.
        Self(Self(seed).number())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).expect("below a usize")
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of some things.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}
