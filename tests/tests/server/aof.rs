//! The append-only file beside the original's: each reads what the other wrote, and the two checkers say the same.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use redstart_common::resp::encode;
use redstart_server::persistence::aof::chain::{Chain, State};
use redstart_server::persistence::aof::check;
use redstart_server::persistence::aof::flush::Policy;
use redstart_server::persistence::aof::load::{Contents, Loaded, Loader, Step};
use redstart_server::persistence::aof::log::Log;
use redstart_server::persistence::aof::manifest::{Kind, Names};
use redstart_server::persistence::aof::sync::SyncThread;
use redstart_tests::proxy_support::{Client, Folder, Redis, eventually, free_port};
use redstart_tests::server_support::{Random, figure, readable};

const STEM: &str = "my log.aof";
const DIGEST: [&str; 2] = ["--enable-debug-command", "yes"];

/// A server that has loaded what there is: it listens before, and tells its digest half way.
fn redis(options: &[&str]) -> Redis {
    let redis = Redis::start_on(free_port(), &[&DIGEST, options].concat());
    eventually("everything is loaded", || redis.log().contains("Ready to accept connections"));
    redis
}

fn digest(port: u16) -> String {
    Client::connect(port).call("DEBUG DIGEST")
}

/// Writes of many kinds to three databases, some in transactions, until `is_over`, and a few thousand at least.
fn write_load(port: u16, seed: u64, is_over: &AtomicBool) {
    let (mut client, mut random) = (Client::connect(port), Random::new(seed));
    let mut rounds = 0;
    while rounds < 1500 || !is_over.load(Ordering::Relaxed) {
        rounds += 1;
        let mut asked = vec![format!("SELECT {}", random.below(3))];
        let in_group = random.chance(30);
        if in_group {
            asked.push("MULTI".into());
        }
        for _ in 0..=random.below(4) {
            let key = random.below(50);
            asked.push(match random.below(7) {
                0 => format!("SET s{key} {}", random.number()),
                1 => format!("RPUSH l{key} a {} c", random.number()),
                2 => format!("SADD t{key} {} x", random.below(1000)),
                3 => format!("SPOP t{key}"),
                4 => format!("ZADD z{key} {} m{}", random.below(100), random.below(100)),
                5 => format!("INCR n{key}"),
                _ => format!("DEL l{key}"),
            });
        }
        if in_group {
            asked.push(format!("SELECT {}", random.below(3)));
            asked.push("SET last 1".into());
            asked.push("EXEC".into());
        }
        for request in &asked {
            client.send(&request.split(' ').collect::<Vec<_>>());
        }
        for request in &asked {
            let reply = client.receive();
            assert!(!reply.starts_with('-'), "{request}: {reply}");
        }
    }
}

/// Runs what a chain holds on a server, and says how large it was.
fn replay(folder: &Path, port: u16, may_truncate: bool) -> Loaded {
    let chain = Chain::read(folder, "appendonlydir", Names::new(STEM)).expect("a manifest");
    let Contents::Some(mut loader) = Loader::open(&chain, may_truncate).expect("files") else {
        panic!("nothing to load");
    };
    let mut client = Client::connect(port);
    loop {
        match loader.next().expect("readable") {
            Step::Command => {
                let args: Vec<_> = loader.args().iter().collect();
                client.send(&args);
                let reply = client.receive();
                assert!(!reply.starts_with('-'), "{:?}: {reply}", loader.args());
            }
            Step::Time(seconds) => assert!(seconds > 1_600_000_000),
            Step::Rdb => {
                let bytes = fs::metadata(loader.path().expect("a file")).expect("there").len();
                loader.rdb_loaded(bytes).expect("goes on");
            }
            Step::Done => return loader.loaded(),
        }
    }
}

/// What the original logs while it is written to and rewrites its log.
fn original_log(preamble: &str) -> (Redis, u64) {
    let original =
        redis(
            &[
                &[
                    "--appendonly",
                    "yes",
                    "--aof-timestamp-enabled",
                    "yes",
                    "--appendfilename",
                    STEM,
                ][..],
                &["--aof-use-rdb-preamble", preamble],
            ]
            .concat(),
        );
    let is_over = AtomicBool::new(false);
    let port = original.port;
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let is_over = &is_over;
            scope.spawn(move || write_load(port, seed, is_over));
        }
        let mut client = original.client();
        for rewrites in 1..=2 {
            client.call("BGREWRITEAOF");
            eventually("the log is rewritten", || {
                let info = client.call("INFO persistence");
                info.contains("aof_rewrite_in_progress:0")
                    && info.contains("aof_rewrite_scheduled:0")
                    && figure(&mut client, "aof_rewrites") >= rewrites
            });
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let bytes = figure(&mut original.client(), "aof_current_size");
    (original, bytes)
}

#[test]
fn what_the_original_logs_is_read() {
    let (mut original, bytes) = original_log("no");
    let expected = digest(original.port);
    original.process.kill();
    let target = redis(&[]);
    let loaded = replay(original.folder.path(), target.port, false);
    assert_eq!(digest(target.port), expected);
    assert_eq!(loaded.bytes, bytes);
    assert!(loaded.base_bytes > 0 && !loaded.is_truncated);
}

#[test]
fn what_the_original_logs_behind_an_rdb_is_read() {
    let (mut original, _) = original_log("yes");
    let expected = digest(original.port);
    original.process.kill();
    let chain = Chain::read(original.folder.path(), "appendonlydir", Names::new(STEM));
    let base = chain.expect("a manifest").manifest().base.clone().expect("a base");
    assert_eq!(base.kind, Kind::Base);
    let target = redis(&[
        "--dir",
        &original.folder.join("appendonlydir").display().to_string(),
        "--dbfilename",
        &base.shown(),
    ]);
    replay(original.folder.path(), target.port, false);
    assert_eq!(digest(target.port), expected);
}

#[test]
fn an_end_that_a_crash_cut_off_is_read_as_the_original_reads_it() {
    let (mut original, _) = original_log("no");
    original.process.kill();
    let chain = Chain::read(original.folder.path(), "appendonlydir", Names::new(STEM));
    let chain = chain.expect("a manifest");
    let last = chain.folder().join(chain.manifest().last_incr().expect("an increment").path());
    let whole = fs::read(&last).expect("there");
    let is_end_of_group = |at: &usize| whole[..*at].ends_with(b"EXEC\r\n");
    // In the middle of a command that stands outside of transactions: there both cut the same.
    let group = (1..whole.len()).rev().find(is_end_of_group).expect("a transaction");
    let torn = [&whole[..group], b"*3\r\n$3\r\nSET\r\n$4\r\nto"].concat();
    fs::write(&last, &torn).expect("written");
    let target = redis(&[]);
    assert!(replay(original.folder.path(), target.port, true).is_truncated);
    assert_eq!(fs::read(&last).expect("there"), &whole[..group]);
    fs::write(&last, &torn).expect("written");
    let again = redis(&[
        "--appendonly",
        "yes",
        "--appendfilename",
        STEM,
        "--dir",
        &original.folder.path().display().to_string(),
    ]);
    assert_eq!(digest(again.port), digest(target.port));
    assert!(again.log().contains("loaded anyway because aof-load-truncated is enabled"));
}

fn encoded(words: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    encode::request(&mut out, words.into_iter());
    out
}

#[test]
fn the_original_loads_what_our_log_wrote() {
    let folder = Folder::new();
    let direct = redis(&[]);
    let mut client = direct.client();
    let mut chain = Chain::read(folder.path(), "appendonlydir", Names::new(STEM)).expect("none");
    let opened = chain.open(false, |path| File::create(path)?.sync_all()).expect("opened");
    let syncs = SyncThread::start(|| {}).expect("a thread");
    let policy = (Policy::Always, 0);
    let mut log = Log::new(opened.file, opened.size, syncs, policy, 0, 0);
    let mut random = Random::new(7);
    for turn in 0..600_u32 {
        if turn == 400 {
            // A rewrite while nothing else happens: its base is a command.
            log.flush(u64::from(turn), 0, true).expect("written");
            let opened = chain.begin_rewrite(State::On).expect("begun").expect("a file");
            let mark = log.switch_to(opened.file, u64::from(turn)).expect("left");
            let temp = folder.join("temp");
            let mut base = File::create(&temp).expect("a file");
            for database in 0..3 {
                client.call(&format!("SELECT {database}"));
                base.write_all(&encoded(&format!("SELECT {database}"))).expect("written");
                for key in 0..20 {
                    let value = client.call(&format!("GET k{key}"));
                    if let Some(value) = value.lines().nth(1) {
                        base.write_all(&encoded(&format!("SET k{key} {value}"))).expect("written");
                    }
                }
            }
            base.sync_all().expect("synced");
            chain.finish_rewrite(State::On, false, &temp).expect("done");
            chain.remove_history().expect("removed");
            log.rewritten(mark);
        }
        let database = u32::try_from(random.below(3)).expect("small");
        client.call(&format!("SELECT {database}"));
        log.time(1_700_000_000 + i64::from(turn / 100));
        let in_group = random.chance(40);
        if in_group {
            log.begin_group(database);
        }
        for _ in 0..=random.below(3) {
            let words = format!("SET k{} {}", random.below(20), random.number());
            client.call(&words);
            log.commands(database, &encoded(&words));
        }
        if in_group {
            log.end_group();
        }
        log.flush(u64::from(turn), 0, false).expect("written");
    }
    log.finish(1000, 0).expect("done");
    assert_eq!(log.state().released(), log.state().appended());
    let original = redis(&[
        "--appendonly",
        "yes",
        "--appendfilename",
        STEM,
        "--dir",
        &folder.path().display().to_string(),
        "--aof-load-truncated",
        "no",
    ]);
    assert_eq!(digest(original.port), digest(direct.port));
    let bytes = chain.bytes_total().expect("there");
    assert_eq!(figure(&mut original.client(), "aof_current_size"), bytes);
}

#[test]
fn the_original_writes_its_manifest_as_we_do() {
    let original = redis(&["--appendonly", "yes", "--appendfilename", STEM]);
    let mut chain =
        Chain::read(original.folder.path(), "appendonlydir", Names::new(STEM)).expect("a manifest");
    let theirs =
        fs::read(original.folder.join("appendonlydir/my log.aof.manifest")).expect("there");
    assert_eq!(chain.manifest().print(), theirs);
    original.client().call("BGREWRITEAOF");
    eventually("the log is rewritten", || {
        original.log().contains("Background AOF rewrite finished successfully")
    });
    let folder = Folder::new();
    fs::create_dir(folder.join("appendonlydir")).expect("a folder");
    for entry in fs::read_dir(chain.folder()).expect("there") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), folder.join("appendonlydir").join(entry.file_name()))
            .expect("copied");
    }
    fs::write(folder.join("appendonlydir/my log.aof.manifest"), theirs).expect("written");
    chain = Chain::read(folder.path(), "appendonlydir", Names::new(STEM)).expect("a manifest");
    chain.begin_rewrite(State::On).expect("begun");
    fs::write(folder.join("temp"), "").expect("written");
    chain.finish_rewrite(State::On, true, &folder.join("temp")).expect("done");
    chain.remove_history().expect("removed");
    let manifest = |folder: &Path| {
        fs::read_to_string(folder.join("appendonlydir/my log.aof.manifest")).expect("there")
    };
    assert_eq!(manifest(folder.path()), manifest(original.folder.path()));
}

/// Files beside each other, to be checked by both programs.
struct Checked {
    folder: Folder,
    files: Vec<(String, Vec<u8>)>,
}

impl Checked {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let files =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        Self { folder: Folder::new(), files }
    }

    fn lay_out(&self) {
        for (name, bytes) in &self.files {
            fs::write(self.folder.join(name), bytes).expect("written");
        }
    }

    fn found(&self) -> Vec<Vec<u8>> {
        self.files
            .iter()
            .map(|(name, _)| fs::read(self.folder.join(name)).expect("there"))
            .collect()
    }

    /// Both check the file `name`; panics where they differ.
    fn compare(&self, options: &[&str], name: &str, answer: &str) -> String {
        let path = self.folder.join(name).display().to_string();
        self.lay_out();
        let mut child = Command::new("redis-check-aof")
            .args(options)
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        // It may not ask.
        let _ = child.stdin.take().expect("a pipe").write_all(answer.as_bytes());
        let theirs = child.wait_with_output().expect("it ends");
        let their_files = self.found();
        let Some(their_code) = theirs.status.code() else {
            return "it crashed".into();
        };
        self.lay_out();
        let mut args = vec!["redis-check-aof".to_owned()];
        args.extend(options.iter().map(|word| (*word).to_owned()));
        args.push(path);
        let mut said = Vec::new();
        let code = check::run(&args, &mut answer.as_bytes(), &mut said, &mut |name, _, out| {
            self.check_rdb(name, out)
        });
        let shown = |bytes: &[u8]| {
            readable(&fs::read(self.folder.join(name)).unwrap_or_default())
                + " | "
                + &readable(bytes)
        };
        let (ours, theirs) = (without_times(&said), without_times(&theirs.stdout));
        assert_eq!(ours, theirs, "{options:?} {}", shown(b""));
        assert_eq!(code, their_code, "{options:?} {ours}");
        assert_eq!(self.found(), their_files, "{options:?} {ours}");
        ours
    }

    /// The RDB part as the original's other checker sees it.
    fn check_rdb(&self, name: &str, out: &mut dyn Write) -> Option<u64> {
        // A file of its own is named to the checker by its whole path.
        let path = self.folder.path().join(name).display().to_string();
        let found = Command::new("redis-check-rdb").arg(&path).output().expect("started");
        let said = String::from_utf8_lossy(&found.stdout).replace(&path, name);
        out.write_all(said.as_bytes()).expect("written");
        let line = said.lines().find(|line| line.contains("\\o/"))?;
        line.strip_prefix("[offset ")?.split(']').next()?.parse().ok()
    }
}

/// Without process, time and what the original reads behind the end of its buffer.
fn without_times(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines =
        text.lines().map(|line| match (line.split_once(" # "), line.split_once("got: 00")) {
            (Some((_, message)), _) => format!("# {message}"),
            (_, Some((before, _))) => before.to_owned(),
            _ => line.to_owned(),
        });
    lines.map(|line| line + "\n").collect()
}

const GOOD: &[u8] = b"#TS:100\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n12\r\n\
*1\r\n$4\r\nEXEC\r\n#TS:200\r\n*2\r\n$3\r\nDEL\r\n$1\r\na\r\n";
const RDB: &[u8] = b"REDIS0010\xff\0\0\0\0\0\0\0\0";

#[test]
fn the_checkers_agree_on_files_cut_anywhere() {
    for end in 0..=GOOD.len() {
        let files = Checked::new(&[("a.aof", &GOOD[..end])]);
        files.compare(&[], "a.aof", "");
        files.compare(&["--fix"], "a.aof", if end % 2 == 0 { "y\n" } else { "n\n" });
    }
}

#[test]
fn the_checkers_agree_on_damage() {
    let mut random = Random::new(1);
    for round in 0..300 {
        let mut bytes = GOOD.to_vec();
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len());
            match random.below(3) {
                0 => bytes[at] = b"\0\n\r*$#-19zZ\xff"[random.below(12)],
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"\0\n\r*$#-19zZ\xff"[random.below(12)]),
            }
        }
        let files = Checked::new(&[("a.aof", &bytes)]);
        files.compare(if round % 3 == 0 { &["--fix"] } else { &[] }, "a.aof", "y\n");
    }
}

#[test]
fn the_checkers_agree_on_rdbs_before_commands() {
    let torn = [RDB, b"*1\r\n$4\r\nPI"].concat();
    let bad = &[&RDB[..9], b"\xfe"].concat();
    for bytes in [&[RDB, GOOD].concat()[..], &torn, bad, RDB, &RDB[..7]] {
        let files = Checked::new(&[("a.aof", bytes)]);
        files.compare(&[], "a.aof", "");
        files.compare(&["--fix"], "a.aof", "yes\n");
    }
}

#[test]
fn the_checkers_agree_on_chains() {
    let manifest =
        b"file base.rdb seq 1 type b\nfile 1.aof seq 1 type i\nfile \"2 2.aof\" seq 2 type i\n\
                     file gone.aof seq 1 type h\n";
    let torn = &GOOD[..GOOD.len() - 3];
    let parts: [(&[u8], &[u8], &[u8]); 6] = [
        (RDB, GOOD, GOOD),
        (GOOD, b"", GOOD),
        (RDB, GOOD, torn),
        (RDB, torn, GOOD),
        (b"", b"", b""),
        (&RDB[..9], GOOD, GOOD),
    ];
    for (base, first, second) in parts {
        let files = Checked::new(&[
            ("a.manifest", manifest),
            ("base.rdb", base),
            ("1.aof", first),
            ("2 2.aof", second),
        ]);
        for options in [&[][..], &["--fix"]] {
            files.compare(options, "a.manifest", "Y\n");
        }
        for time in ["1", "99", "100", "150", "300", "x", "99999999999999999999"] {
            files.compare(&["--truncate-to-timestamp", time], "a.manifest", "");
            files.compare(&["--truncate-to-timestamp", time], "2 2.aof", "");
        }
    }
    for manifest in [
        &b"file b seq 1 type z\n"[..],
        b"# x\nfile missing seq 1 type b\n",
        b"file ",
        b"file x\n",
        b"",
    ] {
        Checked::new(&[("a.manifest", manifest)]).compare(&[], "a.manifest", "");
    }
    let none = Checked::new(&[]);
    none.compare(&[], "missing", "");
    none.compare(&["--nonsense"], "missing", "");
    none.compare(&["--fix", "--fix"], "missing", "");
    assert!(none.compare(&["--truncate-to-timestamp"], "x", "").starts_with("Usage: "));
}

#[test]
fn the_checkers_agree_on_what_is_no_file() {
    let files = Checked::new(&[]);
    fs::create_dir(files.folder.join("folder")).expect("a folder");
    files.compare(&[], "folder", "");
}
