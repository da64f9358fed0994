//! What the tests of the proxy need: processes that end with the test, a plain client, servers that misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use redstart_common::resp::{ReplyLimits, ReplyScanner, encode};

/// How long a condition may take to come true.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(PATIENCE, condition), "in vain: {what}");
}

/// Waits until `condition` holds, and answers whether it did within `patience`. Every wait of the tests is this one.
#[must_use]
pub fn within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Sends a signal to a process of this number, and answers whether there was one.
pub fn send_signal(process: u32, signal: i32) -> bool {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(process.to_string()).status();
    sent.is_ok_and(|status| status.success())
}

/// The ports that tests are given: below those that the system gives to connections and to listeners on port 0.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port that is free, and that this process is not given again.
///
/// Were it one that the system gives out, another test could listen on it, or connect from it, before whoever it is
/// meant for does.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // Processes that test at the same time begin at different places.
    let first = std::process::id().wrapping_mul(397);
    for _ in 0..count {
        let step = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + step % count).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Several free ports, all different.
///
/// # Panics
/// When there are not so many.
#[must_use]
pub fn free_ports(count: usize) -> Vec<u16> {
    (0..count).map(|_| free_port()).collect()
}

/// A folder of the test's own, removed with it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A fresh folder.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("redstart-proxy-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Its own path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a command; its output goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = std::fs::File::create(log).expect("a log file");
        let again = file.try_clone().expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(again)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self(child)
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// How it has ended, which is waited for.
    ///
    /// # Panics
    /// When it runs on.
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.0.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        send_signal(self.id(), signal);
    }

    /// Its resident memory in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/statm", self.id())).unwrap_or_default();
        text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0)
            * 4096
    }

    /// The most resident memory it ever had, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(u64::MAX / 1024) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A process that listens on a port of this machine, in a folder of its own.
#[derive(Debug)]
pub struct Listening {
    /// The process.
    pub process: Process,
    /// Where clients connect.
    pub port: u16,
    /// Its working directory; `log` in it holds what it printed.
    pub folder: Folder,
}

impl Listening {
    /// Starts `command`, which is told the port, and waits until somebody listens there.
    ///
    /// # Panics
    /// When that does not happen, with what the process printed.
    #[must_use]
    pub fn start(mut command: Command, port: u16, folder: Folder) -> Self {
        command.current_dir(folder.path());
        let process = Process::start(&mut command, &folder.join("log"));
        let mut it = Self { process, port, folder };
        eventually("the process listens", || {
            assert!(it.process.is_alive(), "it has ended: {command:?}\n{}", it.log());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        it
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }
}

/// Says of a type that it is something [`Listening`] with another way to start.
macro_rules! listening {
    ($name:ident) => {
        impl std::ops::Deref for $name {
            type Target = $crate::proxy_support::Listening;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl std::ops::DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.0
            }
        }
    };
}
pub(crate) use listening;

/// A real redis-server without persistence.
#[derive(Debug)]
pub struct Redis(Listening);

listening!(Redis);

impl Redis {
    /// Starts one on a free port.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(free_port(), &[])
    }

    /// Starts one on a given port, with more options.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_on(port: u16, options: &[&str]) -> Self {
        Self::start_by(Command::new("redis-server"), port, options)
    }

    /// As [`Redis::start_on`], by a command that has more to it than the program.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_by(mut command: Command, port: u16, options: &[&str]) -> Self {
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(options);
        Self(Listening::start(command, port, Folder::new()))
    }

    /// Ends it as `kill -9` does, and says on which port it was.
    pub fn kill(mut self) -> u16 {
        self.process.kill();
        self.port
    }

    /// Stops or continues it (SIGSTOP, SIGCONT).
    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }
}

/// Builds the proxy's binary, once, in the profile of the tests, and says where it is. `REDSTART_PROXY` names
/// another binary to test instead.
///
/// # Panics
/// When it does not build.
pub fn proxy_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("REDSTART_PROXY") {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // target/<profile>/deps/<this test>
        let here = std::env::current_exe().expect("the test's path");
        let profile_folder = here.parent().and_then(Path::parent).expect("target/<profile>");
        let mut command = Command::new(cargo);
        command.args(["build", "-q", "-p", "redstart-proxy", "--bin", "redstart-proxy"]);
        if profile_folder.ends_with("release") {
            command.arg("--release");
        }
        command.current_dir(workspace);
        command.env("CARGO_TARGET_DIR", profile_folder.parent().expect("target"));
        assert!(command.status().expect("cargo runs").success(), "the proxy does not build");
        profile_folder.join("redstart-proxy")
    })
}

/// A running proxy of one pool.
#[derive(Debug)]
pub struct Proxy(Listening);

listening!(Proxy);

impl Proxy {
    /// Starts a proxy with a pool `test` of these keys (two spaces of indent, a line each) over servers on these
    /// ports.
    #[must_use]
    pub fn start(keys: &str, servers: &[u16]) -> Self {
        Self::start_with(keys, servers, &["--workers", "1", "-s", "0"])
    }

    /// As [`Proxy::start`], with other arguments.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(keys: &str, servers: &[u16], arguments: &[&str]) -> Self {
        let servers: Vec<String> = servers
            .iter()
            .enumerate()
            .map(|(number, port)| format!("127.0.0.1:{port}:1 server{number}"))
            .collect();
        Self::start_over(keys, &servers, arguments)
    }

    /// As [`Proxy::start_with`], with servers as a configuration file names them.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_over(keys: &str, servers: &[String], arguments: &[&str]) -> Self {
        let port = free_port();
        let mut config =
            format!("test:\n  listen: 127.0.0.1:{port}\n  redis: true\n{keys}  servers:\n");
        for server in servers {
            config += &format!("    - {server}\n");
        }
        let folder = Folder::new();
        let file = folder.join("proxy.yml");
        std::fs::write(&file, &config).expect("written");
        let mut command = Command::new(proxy_binary());
        command.arg("-c").arg(&file).args(arguments);
        Self(Listening::start(command, port, folder))
    }

    /// Starts a proxy without a configuration, over so many engines inside of it.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn embedded(engines: usize) -> Self {
        let (port, folder) = (free_port(), Folder::new());
        let mut command = Command::new(proxy_binary());
        command.args(["--embedded", &engines.to_string(), "-s", "0", "--metrics", "off"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]).env("TMPDIR", folder.path());
        Self(Listening::start(command, port, folder))
    }
}

/// A plain client: bytes out, whole replies in.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    scanner: ReplyScanner,
}

impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream, input: Vec::new(), scanner: ReplyScanner::default() }
    }

    /// Waits as many times as long for what comes: for servers that have much to do.
    ///
    /// # Panics
    /// When the connection takes no timeout.
    pub fn wait_longer(&self, times: u32) {
        self.stream.set_read_timeout(Some(PATIENCE * times)).expect("a timeout");
    }

    /// Two clients on the same connection: one to send, one to receive.
    ///
    /// # Panics
    /// When the connection cannot be shared.
    #[must_use]
    pub fn halves(self) -> (Self, Self) {
        let stream = self.stream.try_clone().expect("a second handle");
        (Self { stream, input: Vec::new(), scanner: ReplyScanner::default() }, self)
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("sent");
    }

    /// Sends bytes as they are and does not mind if nobody takes them.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends a request.
    pub fn send<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let mut request = Vec::new();
        encode::request(&mut request, args.iter().map(AsRef::as_ref));
        self.send_raw(&request);
    }

    /// The next reply's bytes; `None` when the connection was closed.
    pub fn try_receive(&mut self) -> Option<Vec<u8>> {
        loop {
            if !self.input.is_empty()
                && let Some(len) =
                    self.scanner.scan(&self.input, &ReplyLimits::default()).expect("a reply")
            {
                return Some(self.input.drain(..len).collect());
            }
            let mut piece = vec![0; 256 * 1024];
            match self.stream.read(&mut piece) {
                Ok(count) if count > 0 => self.input.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("no reply in time; so far {:?}", String::from_utf8_lossy(&self.input))
                }
                _ => return None,
            }
        }
    }

    /// The next reply, as text.
    ///
    /// # Panics
    /// When the connection was closed.
    pub fn receive(&mut self) -> String {
        let reply = self.try_receive().expect("a reply, but the connection was closed");
        String::from_utf8_lossy(&reply).into_owned()
    }

    /// Sends a request of words and gives the reply as text.
    pub fn call(&mut self, words: &str) -> String {
        self.send(&words.split_whitespace().collect::<Vec<_>>());
        self.receive()
    }

    /// Whether anything has come that was not taken yet. It does not wait for it.
    ///
    /// # Panics
    /// When the connection cannot be asked.
    #[must_use]
    pub fn has_received(&self) -> bool {
        self.stream.set_nonblocking(true).expect("asked");
        let has = !self.input.is_empty() || self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false).expect("asked");
        has
    }

    /// Whether the other side has closed the connection, having sent nothing more.
    pub fn is_closed(&mut self) -> bool {
        self.try_receive().is_none()
    }

    /// Whether the peer's end of the connection is here already: a client that looks without waiting sees it.
    ///
    /// # Panics
    /// When the socket takes no settings.
    pub fn has_ended(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("settable");
        let ended = matches!(self.stream.peek(&mut [0]), Ok(0));
        self.stream.set_nonblocking(false).expect("settable");
        ended
    }

    /// Plays a conversation: lines `> request` and `< reply` (a further `<` for each line of a reply; blanks at the end
    /// of a line count).
    ///
    /// # Panics
    /// When a reply differs.
    pub fn play(&mut self, conversation: &str) {
        let mut asked = String::new();
        let mut said = String::new();
        let check = |client: &mut Self, asked: &str, said: &mut String| {
            if !said.is_empty() {
                assert_eq!(client.receive(), *said, "to {asked}");
                said.clear();
            }
        };
        for line in conversation.lines().map(str::trim_start) {
            if let Some(request) = line.strip_prefix("> ") {
                check(self, &asked, &mut said);
                asked = request.to_owned();
                self.send(&request.split_whitespace().collect::<Vec<_>>());
            } else if let Some(reply) = line.strip_prefix('<') {
                said += reply.strip_prefix(' ').unwrap_or_default();
                said += "\r\n";
            }
        }
        check(self, &asked, &mut said);
    }
}

/// A server that does what the test wants: `serve` is run with each connection, on a thread of its own.
#[derive(Debug)]
pub struct Fake {
    /// Its port.
    pub port: u16,
}

impl Fake {
    /// Starts one.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let serve = std::sync::Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = stream.set_nodelay(true);
                let serve = std::sync::Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { port }
    }
}

/// Reads requests from a stream and hands each to `each`, until the stream ends or `each` says no.
pub fn each_request(
    stream: &mut TcpStream,
    mut each: impl FnMut(&mut TcpStream, &[&[u8]]) -> bool,
) {
    use redstart_common::resp::{Limits, RequestScanner};
    let mut scanner = RequestScanner::default();
    let mut input = Vec::new();
    let mut piece = [0; 64 * 1024];
    while let Ok(count) = stream.read(&mut piece) {
        if count == 0 {
            return;
        }
        input.extend_from_slice(&piece[..count]);
        let mut used = 0;
        while let Ok(Some(len)) = scanner.scan(&input[used..], &Limits::default()) {
            let args: Vec<&[u8]> = scanner.args(&input[used..used + len]).iter().collect();
            if !each(stream, &args) {
                return;
            }
            used += len;
            if used == input.len() {
                break;
            }
        }
        input.drain(..used);
    }
}
