//! Arguments → settings → `Server::run`; log lines and exit codes are redis-server's.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use redstart_common::crash::{self, Program};
use redstart_common::memory::Counting;
use redstart_common::{log, log as logging};
use redstart_server::REDIS_VERSION;
use redstart_server::engine::{Engine, Shell, random_hex};
use redstart_server::process::{banner, checker, environment, supervised, watchdog};
use redstart_server::processors::{self, Work};
use redstart_server::saving::last;
use redstart_server::sentinel::Sentinel;
use redstart_server::server::{self, Asked, Server};
use redstart_server::settings::{Settings, file};
use redstart_server::turn::sentinel::configured;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How jemalloc behaves: memory that was given back as one large piece, such as a long list's, serves small allocations
/// again (up to 2^16 times smaller; its own bound of 2^6 keeps large pieces whole). Otherwise it would lie unused until
/// it is returned to the system, while new pages are asked for at a microsecond or more each.
// SAFETY: jemalloc reads this symbol, a pointer to text that ends with a NUL, before its first allocation.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 28] = b"lg_extent_max_active_fit:16\0";

const USAGE: &str = "\
Usage: ./redstart-server [/path/to/redis.conf] [options] [-]
       ./redstart-server - (read config from stdin)
       ./redstart-server -v or --version
       ./redstart-server -h or --help

Examples:
       ./redstart-server (run the server with default conf)
       echo 'maxmemory 128mb' | ./redstart-server -
       ./redstart-server /etc/redis/6379.conf
       ./redstart-server --port 7777
       ./redstart-server /etc/myredis.conf --loglevel verbose -

Sentinel mode:
       ./redstart-server /etc/sentinel.conf --sentinel
";

fn version() -> String {
    format!(
        "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=jemalloc-5.3.1 bits={} build={}\n\
         Redstart server v={}",
        usize::BITS,
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION")
    )
}

/// What reports of crashes call the server.
const PROGRAM: Program = Program {
    title: "REDIS BUG REPORT",
    name: "Redis",
    version: REDIS_VERSION,
    build: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    // SAFETY: the first thing that the process does; its only thread is this one.
    unsafe { environment::settle() };
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = checker::by_name(&words) {
        return if code == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let args: Vec<String> =
        words.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    match args.first().map(String::as_str) {
        Some("-v" | "--version") => {
            println!("{}", version());
            return ExitCode::SUCCESS;
        }
        Some("-h" | "--help") => {
            eprint!("{USAGE}");
            return ExitCode::FAILURE;
        }
        Some("--test-memory") => {
            eprintln!("Redstart does not test memory: use memtest86.");
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    let is_sentinel = acts_as_sentinel(&words);
    if is_sentinel {
        logging::set_role('X');
    }
    match configure(&args, is_sentinel) {
        Ok((settings, config_file, sentinel)) => {
            run(settings, config_file, args.is_empty(), sentinel)
        }
        Err(error) => {
            eprint!("{}", error.report());
            ExitCode::FAILURE
        }
    }
}

/// Whether the program acts as a sentinel: by its name, or because it is told to.
fn acts_as_sentinel(words: &[OsString]) -> bool {
    let name = words.first().map(PathBuf::from).unwrap_or_default();
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ["redis-sentinel", "redstart-sentinel"].iter().any(|known| name.contains(known))
        || words.iter().any(|word| word == "--sentinel")
}

/// Settings, the configuration file's path, and what acts as a sentinel if anything does.
type Configured = (Settings, Option<PathBuf>, Option<Box<Sentinel>>);

/// Reads the file, standard input and options, in this order.
fn configure(args: &[String], is_sentinel: bool) -> Result<Configured, file::ConfigError> {
    let line = file::command_line(args);
    let mut settings = Settings::default();
    if is_sentinel {
        redstart_server::acl::selector::be_about_sentinels();
        settings.sentinel = Some(Vec::new());
        settings.port = redstart_server::sentinel::PORT;
        // It has to be reached by others.
        settings.protected_mode = false;
    }
    // The path must hold after a change of directory.
    let path = line.file.as_deref().map(|path| std::path::absolute(path).unwrap_or(path.into()));
    let mut text = String::new();
    if let Some(path) = &path {
        text = file::read(path)?;
    }
    if line.stdin {
        text.push_str(&file::read("-".as_ref())?);
    }
    // One text, so that an error names the line that redis-server would.
    text.push('\n');
    text.push_str(&line.lines);
    file::load(&mut settings, &text)?;
    file::check_log_file(&settings)?;
    let sentinel = is_sentinel.then(|| configured(&settings).map(Box::new)).transpose()?;
    if is_sentinel {
        settings.save.clear();
    }
    Ok((settings, path, sentinel))
}

/// Makes sure that a sentinel can keep what it decides.
fn check_sentinel_file(path: Option<&std::path::Path>) -> bool {
    let Some(path) = path else {
        log!(Warning, "Sentinel needs config file on disk to save state. Exiting...");
        return false;
    };
    match redstart_server::process::files::check_writable(path) {
        Ok(()) => true,
        Err(error) => {
            log!(
                Warning,
                "Sentinel config file {} is not writable: {}. Exiting...",
                path.display(),
                redstart_server::text::system_words(&error)
            );
            false
        }
    }
}

fn run(
    settings: Settings,
    config_file: Option<PathBuf>,
    bare: bool,
    sentinel: Option<Box<Sentinel>>,
) -> ExitCode {
    logging::set_level(settings.loglevel);
    logging::set_file((!settings.logfile.is_empty()).then(|| PathBuf::from(&settings.logfile)));
    if settings.syslog_enabled {
        logging::set_syslog(&settings.syslog_ident, settings.syslog_facility);
    }
    let is_sentinel = sentinel.is_some();
    if is_sentinel && !check_sentinel_file(config_file.as_deref()) {
        return ExitCode::FAILURE;
    }
    if !is_sentinel {
        logging::set_role('C');
    }
    let supervisor = supervised::find(settings.supervised);
    if settings.daemonize
        && supervisor.is_none()
        && let Err(error) = nix::unistd::daemon(true, false)
    {
        log!(Warning, "Can't become a daemon: {error}");
        return ExitCode::FAILURE;
    }
    for list in processors::configure(&settings.processors) {
        log!(Warning, "'{list}' is no list of processors, and does not count");
    }
    processors::enter(Work::Serving);
    log!(Warning, "oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo");
    log!(
        Warning,
        "Redis version={REDIS_VERSION}, bits={}, commit=00000000, modified=0, pid={}, just started",
        usize::BITS,
        std::process::id()
    );
    if bare {
        log!(
            Warning,
            "Warning: no config file specified, using the default config. In order to specify a \
             config file use redstart-server /path/to/redis.conf"
        );
    } else {
        log!(Warning, "Configuration loaded");
    }
    if !is_sentinel {
        logging::set_role('M');
    }
    let tls = match settings.tls.is_wanted().then(|| settings.tls.load()).transpose() {
        Ok(tls) => tls,
        Err(line) => {
            log!(Warning, "{line}");
            log!(Warning, "Failed to configure TLS. Check logs for more info.");
            return ExitCode::FAILURE;
        }
    };
    // What std's Instant reads.
    log!(Notice, "monotonic clock: POSIX clock_gettime");
    let mut settings = settings;
    redstart_server::process::files::raise_file_limit(&mut settings);
    let bound = match server::bind(&settings) {
        Ok(bound) => bound,
        Err(error) => {
            log!(Warning, "{}", error.warning());
            log!(Warning, "{}", error.verdict());
            return ExitCode::FAILURE;
        }
    };
    if bound.is_empty() {
        log!(Warning, "Configured to not listen anywhere, exiting.");
        return ExitCode::FAILURE;
    }
    let pidfile = pid_file(&settings);
    if let Some(path) = &pidfile
        && let Err(error) = std::fs::write(path, format!("{}\n", std::process::id()))
    {
        log!(Warning, "Failed to write PID file: {error}");
    }
    let log_file = (!settings.logfile.is_empty()).then_some(settings.logfile.as_ref());
    crash::prepare(PROGRAM, log_file, settings.use_exit_on_panic);
    if settings.crash_log_enabled {
        crash::set_enabled(true);
    }
    if let Err(error) = watchdog::set(&settings) {
        log!(Warning, "The watchdog cannot be started: {error}");
    }
    let port = bound.port();
    let interactive = settings.logfile.is_empty() && std::io::stdout().is_terminal();
    let mode = match (is_sentinel, settings.cluster.enabled) {
        (true, _) => "sentinel",
        (false, true) => "cluster",
        (false, false) => "standalone",
    };
    if interactive || settings.always_show_logo {
        logging::raw(logging::Level::Notice, &banner::text(mode, port));
    } else {
        log!(Notice, "Running mode={mode}, port={port}.");
    }
    // A daemon's threads begin behind its fork.
    redstart_server::process::reserve::set_background_thread(settings.jemalloc_bg_thread);
    // As in Redis, the start goes on where this fails; the log says why.
    redstart_server::process::oom::apply(&settings, settings.replication.replicaof.is_some());
    keep_pages_small(&settings);
    let unixsocket = settings.unixsocket.clone();
    let users = match redstart_server::acl::file::users_at_start(&settings) {
        Ok(users) => users,
        Err(reason) => {
            log!(Warning, "{reason}");
            return ExitCode::FAILURE;
        }
    };
    let mut engine = Engine::new(settings, redstart_server::commands::handlers());
    engine.core.users = users;
    engine.core.tls = tls;
    engine.core.shell = Shell {
        port,
        config_file,
        executable: std::env::current_exe()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        title: std::env::args_os().next().map(|name| name.to_string_lossy().into_owned()),
        supervisor,
        ..Shell::default()
    };
    if engine.core.settings.cluster.enabled
        && let Err(reason) = join_cluster(&mut engine)
    {
        log!(Warning, "{reason}");
        return ExitCode::FAILURE;
    }
    engine.core.show_title();
    if let Err(error) = hear_interrupts() {
        // Without a handler the signal ends the process in its own way.
        log!(Warning, "Can't wait for SIGINT: {error}");
    }
    if let Some(sentinel) = sentinel {
        engine.core.sentinel = Some(sentinel);
        let now = engine.keyspace.shared.now_ms.get();
        engine.core.with_sentinel(now, None, |sentinel| sentinel.begin(random_hex));
    } else {
        log!(Warning, "Server initialized");
    }
    let outcome = Server::run(engine, bound, asked_to_end);
    // What keeps it from starting is the last that the log says, as tools expect.
    let failed = outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidData);
    let say = |line: &str| {
        if !failed {
            log!(Notice, "{line}");
        }
    };
    if let Some(path) = pidfile {
        say("Removing the pid file.");
        // It may have been removed by others; the process ends either way.
        let _ = std::fs::remove_file(path);
    }
    if !unixsocket.is_empty() {
        say("Removing the unix socket file.");
        let _ = std::fs::remove_file(unixsocket);
    }
    if let Some(supervisor) = supervisor {
        supervisor.tell("STOPPING=1\n");
    }
    match outcome {
        Ok(_) => {
            let name = if is_sentinel { "Sentinel" } else { "Redis" };
            log!(Warning, "{name} is now ready to exit, bye bye...");
            ExitCode::SUCCESS
        }
        Err(error) => {
            if !failed {
                log!(Warning, "The event loop failed: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Takes nodes.conf, and binds the bus.
fn join_cluster(engine: &mut Engine) -> Result<(), String> {
    let core = &mut engine.core;
    let settings = &core.settings;
    if settings.cluster.port == 0 && core.cluster_port() > u16::MAX - 10_000 {
        return Err(
            "Redis port number too high. Cluster communication port is 10,000 port numbers \
                    higher than your Redis port. Your Redis port number must be 55535 or less."
                .to_owned(),
        );
    }
    if settings.bind.is_empty() {
        return Err(
            "No bind address is configured, but it is required for the Cluster bus.".to_owned()
        );
    }
    engine.join_cluster()?;
    let core = &mut engine.core;
    let port = core.bus_port();
    let mut bus = Settings { port, unixsocket: String::new(), ..core.settings.clone() };
    bus.tls.port = 0;
    let bound = server::bind(&bus).map_err(|error| {
        log!(Warning, "{}", error.warning());
        format!("Failed listening on port {port} (cluster), aborting.")
    })?;
    core.clustering.bus = bound.plain;
    Ok(())
}

/// Has the kernel not make large pages for this process where it would do so for all: they make memory grow in large
/// steps, each of which is slow.
fn keep_pages_small(settings: &Settings) {
    const SWITCH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    #[cfg(target_os = "linux")]
    if settings.disable_thp
        && std::fs::read_to_string(SWITCH).is_ok_and(|text| text.contains("[always]"))
        && let Err(error) = nix::sys::prctl::set_thp_disable(true)
    {
        log!(Warning, "Large pages cannot be disabled: {error}");
    }
}

fn pid_file(settings: &Settings) -> Option<PathBuf> {
    match (settings.pidfile.as_str(), settings.daemonize) {
        ("", false) => None,
        ("", true) => Some(PathBuf::from("/var/run/redis.pid")),
        (path, _) => Some(PathBuf::from(path)),
    }
}

/// SIGINT has come, and is for the engine.
static INTERRUPTED: Notify = Notify::const_new();

/// Waits for SIGINT on a thread of its own, so that who insists on the end is heard while the engine saves.
fn hear_interrupts() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _context = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let hear = async move {
        while signals.recv().await.is_some() {
            last::insist();
            INTERRUPTED.notify_one();
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || runtime.block_on(hear))
        .map(|_| ())
}

/// Waits for a signal that asks the process to end.
async fn asked_to_end() -> Asked {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => {
                signals.recv().await;
                log!(Warning, "Received SIGTERM scheduling shutdown...");
            }
            // Without a handler the signal ends the process in its own way.
            Err(_) => std::future::pending().await,
        }
    };
    // Like redis-server, a hang-up of the terminal is not a reason to end.
    let _hangups = signal(SignalKind::hangup());
    tokio::select! {
        () = terminated => Asked::Terminate,
        () = INTERRUPTED.notified() => {
            log!(Warning, "Received SIGINT scheduling shutdown...");
            Asked::Interrupt
        }
    }
}
