//! The command line: nutcracker's options with their meaning, and a few more.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use redstart_common::crash::{self, Program};
use redstart_common::log;
use redstart_common::net::buffer;

use crate::data_folder::{self, DataFolder};
use crate::proxy::{Proxy, set_up_log, write_pid};
use crate::route::table;
use crate::settings::{Listen, ListenAddress, Settings, rows};
use crate::{embedded, stats_page};

/// One endpoint over many Redis servers.
///
/// Without --conf-file the proxy starts engines in its own process and listens on 127.0.0.1:22121; their data lies in
/// the folder redstart-data. A file conf/nutcracker.yml is not read unless it is named.
#[derive(Debug, Parser)]
#[command(name = "redstart-proxy", disable_version_flag = true, args_override_self = true)]
struct Arguments {
    /// Print the version and exit.
    #[arg(short = 'V', long)]
    version: bool,
    /// Test the configuration and exit.
    #[arg(short, long)]
    test_conf: bool,
    /// Run in the background.
    #[arg(short, long)]
    daemonize: bool,
    /// Describe the statistics and exit.
    #[arg(short = 'D', long)]
    describe_stats: bool,
    /// How much is logged: 0 to 11, as is all above [default: 5].
    #[arg(short, long, value_name = "N")]
    verbose: Option<u32>,
    /// The log file [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<String>,
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    conf_file: Option<PathBuf>,
    /// Port of the JSON statistics, 0 for none [default: 22222].
    #[arg(short, long, value_name = "N")]
    stats_port: Option<u16>,
    /// Address of the JSON statistics [default: 0.0.0.0, or 127.0.0.1 without a configuration file].
    #[arg(short = 'a', long, value_name = "ADDR")]
    stats_addr: Option<String>,
    /// Milliseconds between two refreshes of the JSON statistics [default: 30000].
    #[arg(short = 'i', long, value_name = "MS")]
    stats_interval: Option<u64>,
    /// Where the process id is written.
    #[arg(short, long, value_name = "FILE")]
    pid_file: Option<String>,
    /// Size of a read buffer in bytes, 512 to 16777216 [default: 262144].
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(512..=16_777_216))]
    mbuf_size: Option<u32>,
    /// Worker threads [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// Engines in this process when there is no configuration file [default: one per core, 2 to 8].
    #[arg(long, value_name = "N", conflicts_with = "conf_file", value_parser = clap::value_parser!(u16).range(1..=1024))]
    embedded: Option<u16>,
    /// The folder in which these engines keep their data [default: redstart-data].
    #[arg(long, value_name = "DIR", conflicts_with_all = ["conf_file", "no_persistence"])]
    data: Option<PathBuf>,
    /// These engines keep their data in memory only.
    #[arg(long, conflicts_with = "conf_file")]
    no_persistence: bool,
    /// Where to listen when there is no configuration file [default: 127.0.0.1:22121].
    #[arg(long, value_name = "ADDR", conflicts_with = "conf_file")]
    listen: Option<String>,
    /// Where Prometheus scrapes, host:port, or "off" [default: off, or 127.0.0.1:22190 without a configuration file].
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Leave pools of memcached out, rather than refusing a file that has any.
    #[arg(long)]
    skip_memcached: bool,
    /// Describe what becomes of each command of Redis and exit.
    #[arg(long)]
    describe_commands: bool,
    /// Describe the keys of the configuration file and exit.
    #[arg(long)]
    help_config: bool,
}

/// The highest of nutcracker's log levels; it takes any number and means this one by those above.
const LOG_LEVEL_MAX: u8 = 11;

/// Default size of a worker's read buffer, in bytes. A request or reply of 64 KiB and its header must fit, so that it is
/// read once and sent once; memory that is not read into is never touched.
const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.version {
        println!("This is redstart-proxy-{}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if arguments.describe_stats {
        print!("{}", described_stats());
        return ExitCode::SUCCESS;
    }
    if arguments.describe_commands {
        print!("{}", table::document());
        return ExitCode::SUCCESS;
    }
    if arguments.help_config {
        print!("{}", described_keys());
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("redstart-proxy: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = match &arguments.conf_file {
        Some(file) => Settings::load(file, arguments.skip_memcached)?,
        None => Settings::default(),
    };
    if arguments.test_conf {
        let Some(file) = &arguments.conf_file else {
            return Err("--test-conf needs --conf-file".into());
        };
        println!("redstart-proxy: configuration file '{}' syntax is ok", file.display());
        return Ok(());
    }
    apply(arguments, &mut settings);
    let mut engines = Vec::new();
    let mut data = None;
    let is_embedded = arguments.conf_file.is_none();
    if is_embedded {
        settings.pools.clear();
        keep_to_this_machine(&mut settings);
    }
    let read_buffer_bytes = arguments.mbuf_size.map_or(READ_BUFFER_BYTES, |bytes| bytes as usize);
    buffer::set_read_buffer_bytes(read_buffer_bytes);
    raise_file_limit();
    let skipped = std::mem::take(&mut settings.skipped);
    let pid_file = settings.global.pid_file.clone().map(PathBuf::from);
    let log_file = settings.global.log_file.clone().map(PathBuf::from);
    // Nobody sees standard error once the terminal is left.
    let in_background = |problem: String| {
        if arguments.daemonize {
            log!(Warning, "{problem}");
        }
        problem
    };
    let proxy = if is_embedded {
        let listen = match &arguments.listen {
            Some(text) => Listen::parse(text).map_err(|problem| format!("--listen {problem}"))?,
            None => Listen::tcp(embedded::HOST, embedded::PORT),
        };
        set_up_log(&settings)?;
        go_to_background(arguments, log_file.as_deref())?;
        let failed = |error: std::io::Error| {
            in_background(format!("no configuration file given, and {error}; try --conf-file"))
        };
        let asked = arguments.embedded.map(usize::from);
        let default = embedded::default_count();
        data = match arguments.no_persistence {
            true => None,
            false => {
                let path = arguments.data.clone().unwrap_or_else(|| data_folder::DEFAULT.into());
                Some(DataFolder::open(&path, asked, default).map_err(failed)?)
            }
        };
        let count = data.as_ref().map_or(asked.unwrap_or(default), DataFolder::engines);
        let (pool, started) = embedded::pool(count, data.as_ref(), listen).map_err(failed)?;
        settings.pools.push(pool);
        engines = started;
        Proxy::bind(settings).map_err(|error| in_background(error.to_string()))?
    } else {
        // Bound before the way to the background, while whoever started the program can still be told.
        set_up_log(&settings)?;
        let proxy = Proxy::bind(settings)?;
        go_to_background(arguments, log_file.as_deref())?;
        proxy
    };
    if let Some(path) = &pid_file {
        write_pid(path).map_err(|error| in_background(error.to_string()))?;
    }
    if is_embedded {
        welcome(engines.len(), data.as_ref(), &proxy);
    }
    for name in skipped {
        log!(Warning, "pool '{name}' is one of memcached, and is left out");
    }
    let ended = proxy.run();
    if let Some(path) = &pid_file {
        // It may be gone already.
        let _ = std::fs::remove_file(path);
    }
    // The engines save their data before the folder is given up.
    drop(engines);
    drop(data);
    ended.map_err(Into::into)
}

/// What reports of crashes call the proxy.
const PROGRAM: Program = Program {
    title: "REDSTART-PROXY BUG REPORT",
    name: "redstart-proxy",
    version: env!("CARGO_PKG_VERSION"),
    build: env!("CARGO_PKG_VERSION"),
};

/// Leaves the terminal, if that is wanted, and has crashes and panics told in the log from here on. No thread may exist yet: none
/// would come along.
fn go_to_background(arguments: &Arguments, log_file: Option<&Path>) -> nix::Result<()> {
    if arguments.daemonize {
        nix::unistd::daemon(true, false)?;
    }
    crash::prepare(PROGRAM, log_file, false);
    crash::set_enabled(true);
    Ok(())
}

/// What the command line says wins over the file.
fn apply(arguments: &Arguments, settings: &mut Settings) {
    let global = &mut settings.global;
    let given = |from: &Option<String>, to: &mut Option<String>| {
        if from.is_some() {
            to.clone_from(from);
        }
    };
    given(&arguments.output, &mut global.log_file);
    given(&arguments.stats_addr, &mut global.stats_address);
    given(&arguments.pid_file, &mut global.pid_file);
    given(&arguments.metrics, &mut global.metrics);
    let level = |level: u32| u8::try_from(level).unwrap_or(u8::MAX).min(LOG_LEVEL_MAX);
    global.log_level = arguments.verbose.map(level).or(global.log_level);
    global.stats_interval_ms = arguments.stats_interval.or(global.stats_interval_ms);
    global.workers = arguments.workers.map(usize::from).or(global.workers);
    // nutcracker's port is the default with a file, as there; without one nobody expects an open port.
    let default_port = arguments.conf_file.as_ref().map(|_| 22222);
    global.stats_port = arguments.stats_port.or(global.stats_port).or(default_port);
}

/// Without a configuration nothing listens beyond this machine, and the metrics are on, if their port is free.
fn keep_to_this_machine(settings: &mut Settings) {
    let global = &mut settings.global;
    global.stats_address.get_or_insert_with(|| embedded::HOST.to_owned());
    if global.metrics.is_none() {
        let place = (embedded::HOST, embedded::METRICS_PORT);
        match std::net::TcpListener::bind(place) {
            Ok(_) => global.metrics = Some(format!("{}:{}", place.0, place.1)),
            Err(error) => log!(
                Warning,
                "no metrics for Prometheus: {}:{} cannot be listened to: {error}",
                place.0,
                place.1
            ),
        }
    }
}

fn welcome(engines: usize, data: Option<&DataFolder>, proxy: &Proxy) {
    match data {
        Some(data) => log!(
            Notice,
            "no configuration file: {engines} engines run in this process; their data is in {}",
            data.path().display()
        ),
        None => log!(
            Notice,
            "no configuration file: {engines} engines run in this process; their data is in memory only"
        ),
    }
    let place = match &proxy.pools()[0].listen.address {
        ListenAddress::Tcp { port, .. } => format!("-p {port}"),
        ListenAddress::Unix { path, .. } => format!("-s {}", path.display()),
    };
    log!(Notice, "try: redis-cli {place} set hello world; redis-cli {place} info servers");
}

/// As many open files as the system lets us have: clients and servers are limited by nothing else.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // The limit that was there serves as well.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

fn described_stats() -> String {
    let mut text = String::from("This is redstart-proxy; its statistics are nutcracker's.\n");
    for (title, figures) in
        [("pool stats:", stats_page::POOL_FIGURES), ("server stats:", stats_page::SERVER_FIGURES)]
    {
        text.push_str(&format!("\n{title}\n"));
        for (name, meaning) in figures {
            text.push_str(&format!("  {name:<20}\"{meaning}\"\n"));
        }
    }
    text
}

fn described_keys() -> String {
    let mut text = String::new();
    for (title, rows) in [("global", rows::GLOBAL), ("a pool", rows::POOL)] {
        text.push_str(&format!("Keys of {title}:\n"));
        for row in rows {
            text.push_str(&format!("  {:<24}[{}] {}\n", row.name, row.default, row.doc));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_are_nutcrackers() {
        Arguments::command().debug_assert();
        let arguments = Arguments::parse_from([
            "redstart-proxy",
            "-d",
            "-D",
            "-t",
            "-V",
            "-v",
            "11",
            "-o",
            "log",
            "-c",
            "conf",
            "-s",
            "1",
            "-a",
            "::1",
            "-i",
            "5",
            "-p",
            "pid",
            "-m",
            "512",
        ]);
        assert!(arguments.daemonize && arguments.describe_stats && arguments.test_conf);
        assert_eq!((arguments.verbose, arguments.mbuf_size), (Some(11), Some(512)));
        for bad in [
            &["x", "-v", "loud"][..],
            &["x", "-m", "511"],
            &["x", "--workers", "0"],
            &["x", "--nonsense"],
        ] {
            assert!(Arguments::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_nutcracker_takes_is_taken() {
        let mut settings = Settings::default();
        let arguments =
            Arguments::parse_from(["x", "-v", "5", "-o", "a", "-v", "99", "-o", "b", "-d", "-d"]);
        apply(&arguments, &mut settings);
        assert_eq!(settings.global.log_level, Some(11), "the last one counts, and above 11 is 11");
        assert_eq!(settings.global.log_file.as_deref(), Some("b"));
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let mut settings = Settings::default();
        settings.global.stats_port = Some(7);
        settings.global.workers = Some(3);
        apply(&Arguments::parse_from(["x", "-c", "f", "--workers", "5"]), &mut settings);
        assert_eq!((settings.global.stats_port, settings.global.workers), (Some(7), Some(5)));
        apply(&Arguments::parse_from(["x", "-s", "0"]), &mut settings);
        assert_eq!(settings.global.stats_port, Some(0));
    }
}
