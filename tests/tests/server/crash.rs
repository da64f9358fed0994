//! The server is killed at random moments, or its disk fills up: what it has acknowledged is there when it comes back.
//!
//! `REDSTART_CRASH_ROUNDS` is how often it is killed where each write is promised, 10 if it is not set; less often where the log
//! holds commands alone (a third of it) or a second may be lost (a fifth). A disk that fails is in `disk.rs`.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redstart_common::resp::encode;
use redstart_tests::proxy_support::{Client, Folder, eventually, within};
use redstart_tests::server_support::{Random, Server, figure};

const WRITERS: usize = 8;
/// Steps that a writer has on their way at most.
const DEPTH: usize = 8;

fn rounds() -> usize {
    std::env::var("REDSTART_CRASH_ROUNDS").map_or(10, |text| text.parse().expect("a number"))
}

/// How far a writer is. Its step `n` appends `n` to a list, and sets two keys to `n` in one transaction.
#[derive(Debug, Default)]
struct Progress {
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// Adds a request.
fn request(out: &mut Vec<u8>, words: &[&str]) {
    encode::request(out, words.iter().map(|word| word.as_bytes()));
}

/// Writes steps until the connection ends or a write is refused. Answers the refusal.
fn write_steps(
    mut client: Client,
    writer: usize,
    seed: u64,
    progress: &Progress,
) -> Option<String> {
    let mut random = Random::new(seed);
    loop {
        let count = 1 + random.below(DEPTH);
        let mut bytes = Vec::new();
        for _ in 0..count {
            let number = progress.sent.load(Ordering::Relaxed) + 1;
            progress.sent.store(number, Ordering::Relaxed);
            let number = number.to_string();
            request(&mut bytes, &["RPUSH", &format!("list {writer}"), &number]);
            request(&mut bytes, &["MULTI"]);
            request(&mut bytes, &["SET", &format!("one {writer}"), &number]);
            request(&mut bytes, &["SET", &format!("other {writer}"), &number]);
            request(&mut bytes, &["EXEC"]);
        }
        if !client.try_send_raw(&bytes) {
            return None;
        }
        for _ in 0..count {
            for _ in 0..5 {
                let reply = client.try_receive()?;
                if reply.starts_with(b"-") {
                    return Some(String::from_utf8_lossy(&reply).into_owned());
                }
            }
            progress.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Has snapshots and rewrites begin every now and then, until the server ends.
fn save_now_and_then(mut client: Client, seed: u64, is_over: &AtomicBool) {
    let mut random = Random::new(seed);
    while !is_over.load(Ordering::Relaxed) {
        let word = random.pick(&["BGSAVE", "BGREWRITEAOF", "BGREWRITEAOF"]);
        let mut bytes = Vec::new();
        request(&mut bytes, &[word]);
        if !client.try_send_raw(&bytes) || client.try_receive().is_none() {
            return;
        }
        let pause = Duration::from_millis(5 + random.below(40) as u64);
        if within(pause, || is_over.load(Ordering::Relaxed)) {
            return;
        }
    }
}

fn number(client: &mut Client, words: &[&str]) -> u64 {
    client.send(words);
    let reply = client.receive();
    let line = reply.trim_end().rsplit("\r\n").next().unwrap_or_default().trim_start_matches(':');
    if line == "$-1" { 0 } else { line.parse().unwrap_or_else(|_| panic!("{words:?}: {reply}")) }
}

/// Looks what is there of a writer's steps: all up to one, which is answered.
fn last_step(client: &mut Client, writer: usize, before: u64) -> u64 {
    let list = format!("list {writer}");
    client.send(&["LRANGE", &list, &before.to_string(), "-1"]);
    let reply = client.receive();
    let held: Vec<u64> =
        reply.split("\r\n").skip(2).step_by(2).filter_map(|line| line.parse().ok()).collect();
    let length = number(client, &["LLEN", &list]);
    assert!(held.iter().copied().eq(before + 1..=length), "{list}: {before}..{length}: {held:?}");
    let one = number(client, &["GET", &format!("one {writer}")]);
    let other = number(client, &["GET", &format!("other {writer}")]);
    assert_eq!(one, other, "a transaction is there as a whole or not at all");
    assert!(one == length || one + 1 == length, "{list} has {length}, its keys {one}");
    length
}

/// Waits until the server has loaded its data.
fn ready(server: &mut Server) -> Client {
    eventually("the data is loaded", || {
        assert!(server.process.is_alive(), "it has ended:\n{}", server.log());
        server.log().contains("Ready to accept connections")
    });
    server.client()
}

/// How a server is killed over and over.
struct Rounds {
    options: &'static [&'static str],
    count: usize,
    /// It is killed so many milliseconds after the writers began, or less.
    within_ms: usize,
    /// How much of what was acknowledged may be lost.
    may_lose: Duration,
}

fn kill_over_and_over(rounds: &Rounds, seed: u64) {
    let mut random = Random::new(seed);
    let mut folder = Folder::new();
    let mut steps = [0; WRITERS];
    for round in 0..rounds.count {
        let mut server = Server::start_in(folder, rounds.options);
        let mut client = ready(&mut server);
        let progress: [Progress; WRITERS] = std::array::from_fn(|writer| {
            let done = AtomicU64::new(last_step(&mut client, writer, steps[writer]));
            steps[writer] = done.load(Ordering::Relaxed);
            Progress { sent: AtomicU64::new(steps[writer]), acknowledged: done }
        });
        let due = Duration::from_millis(random.below(rounds.within_ms) as u64);
        let mut clients: Vec<Client> = (0..=WRITERS).map(|_| server.client()).collect();
        let is_over = AtomicBool::new(false);
        // What was acknowledged when, so that what may be lost is known.
        let mut seen: Vec<(Instant, [u64; WRITERS])> = Vec::new();
        let mut killed = Instant::now();
        std::thread::scope(|scope| {
            for (writer, progress) in progress.iter().enumerate() {
                let (client, seed) = (clients.remove(0), random.number());
                scope.spawn(move || {
                    let refusal = write_steps(client, writer, seed, progress);
                    assert_eq!(refusal, None, "round {round}");
                });
            }
            let (client, seed, is_over) = (clients.remove(0), random.number(), &is_over);
            scope.spawn(move || save_now_and_then(client, seed, is_over));
            eventually("something is acknowledged", || {
                let mut all = progress.iter().zip(steps);
                all.any(|(one, before)| one.acknowledged.load(Ordering::Relaxed) > before)
            });
            let begun = Instant::now();
            while begun.elapsed() < due {
                let now = |at: usize| progress[at].acknowledged.load(Ordering::Relaxed);
                seen.push((Instant::now(), std::array::from_fn(now)));
                let _ = within(Duration::from_millis(20).min(due), || false);
            }
            killed = Instant::now();
            server.process.kill();
            is_over.store(true, Ordering::Relaxed);
        });
        folder = server.into_folder();
        let mut server = Server::start_in(folder, rounds.options);
        let mut client = ready(&mut server);
        let mut least = steps;
        if rounds.may_lose.is_zero() {
            least = std::array::from_fn(|at| progress[at].acknowledged.load(Ordering::Relaxed));
        } else {
            let known = seen.iter().rev().find(|(at, _)| killed - *at >= rounds.may_lose);
            least = known.map_or(least, |(_, steps)| *steps);
        }
        for (writer, progress) in progress.iter().enumerate() {
            let there = last_step(&mut client, writer, steps[writer]);
            let sent = progress.sent.load(Ordering::Relaxed);
            let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
            assert!(
                (least[writer]..=sent).contains(&there),
                "round {round}, writer {writer}: {there} steps are there, {acknowledged} were acknowledged, {sent} sent"
            );
            steps[writer] = there;
        }
        server.process.kill();
        folder = server.into_folder();
    }
    assert!(steps.iter().sum::<u64>() > 0);
}

#[test]
fn nothing_that_was_acknowledged_is_lost_with_a_sync_for_each_write() {
    kill_over_and_over(
        &Rounds {
            options: &["--appendonly", "yes", "--appendfsync", "always", "--save", ""],
            count: rounds(),
            within_ms: 400,
            may_lose: Duration::ZERO,
        },
        1,
    );
}

#[test]
fn a_log_of_commands_alone_loses_nothing_either() {
    kill_over_and_over(
        &Rounds {
            options: &[
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--aof-use-rdb-preamble",
                "no",
                "--aof-timestamp-enabled",
                "yes",
            ],
            count: rounds().div_ceil(3),
            within_ms: 400,
            may_lose: Duration::ZERO,
        },
        2,
    );
}

#[test]
fn about_a_second_is_lost_with_a_sync_each_second() {
    kill_over_and_over(
        &Rounds {
            options: &["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""],
            count: rounds().div_ceil(5),
            within_ms: 4000,
            // A sync is waited for for two seconds at most.
            may_lose: Duration::from_millis(2500),
        },
        3,
    );
}

/// A small disk, if one can be mounted.
struct SmallDisk(Folder);

impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let folder = Folder::new();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "none"])
            .arg(folder.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("left out: no tmpfs can be mounted here");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes the room that is left, but for `spare` bytes.
    fn fill(&self, spare: usize) {
        let filler = self.path().join("filler");
        let mut size = 64 << 20;
        // As much as there is room for.
        let mut file = std::fs::File::create(&filler).expect("a file");
        let block = vec![1; 64 << 10];
        while size > 0 && std::io::Write::write_all(&mut file, &block).is_ok() {
            size -= block.len();
        }
        let length = file.metadata().expect("its size").len();
        file.set_len(length.saturating_sub(spare as u64)).expect("cut");
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn on_disk<'a>(disk: &'a SmallDisk, options: &[&'a str]) -> Vec<&'a str> {
    [&["--dir", disk.path().to_str().expect("text")], options].concat()
}

#[test]
fn a_full_disk_stops_writes_until_there_is_room_again() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let options =
        on_disk(&disk, &["--appendonly", "yes", "--appendfsync", "everysec", "--save", ""]);
    let mut server = Server::start(&options);
    let mut client = ready(&mut server);
    client.play(
        "> SET before 1
         < +OK",
    );
    disk.fill(100 << 10);
    let progress = Progress::default();
    let refusal = write_steps(server.client(), 0, 7, &progress).expect("the server goes on");
    assert!(
        refusal.starts_with("-MISCONF Errors writing to the AOF file: No space left on device")
            || refusal.starts_with("-EXECABORT"),
        "{refusal}"
    );
    assert!(client.call("SET x 1").starts_with("-MISCONF Errors writing to the AOF file: "));
    assert!(client.call("PING").starts_with("-MISCONF"));
    assert_eq!(client.call("GET before"), "$1\r\n1\r\n");
    assert!(client.call("INFO persistence").contains("aof_last_write_status:err"));
    disk.free();
    eventually("writes are taken again", || client.call("SET after 1") == "+OK\r\n");
    assert!(client.call("INFO persistence").contains("aof_last_write_status:ok"));
    assert!(server.log().contains("AOF write error looks solved"), "{}", server.log());
    let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
    // What is in memory: a step whose acknowledgement did not come may be there.
    let held = number(&mut client, &["LLEN", "list 0"]);
    assert!(held >= acknowledged && acknowledged > 0, "{held} of {acknowledged}");
    eventually("it is written", || figure(&mut client, "aof_buffer_length") == 0);
    server.process.kill();
    let mut server = Server::start(&options);
    let mut client = ready(&mut server);
    assert_eq!(number(&mut client, &["LLEN", "list 0"]), held);
    assert_eq!(client.call("GET after"), "$1\r\n1\r\n");
}

#[test]
fn a_full_disk_ends_a_server_that_promises_each_write() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let options = on_disk(&disk, &["--appendonly", "yes", "--appendfsync", "always"]);
    let mut server = Server::start(&options);
    ready(&mut server);
    disk.fill(100 << 10);
    let progress = Progress::default();
    assert_eq!(write_steps(server.client(), 0, 7, &progress), None, "it ends");
    eventually("it ends", || !server.process.is_alive());
    assert!(server.log().contains("Can't recover from AOF write error"), "{}", server.log());
    disk.free();
    let mut server = Server::start(&options);
    let mut client = ready(&mut server);
    let there = last_step(&mut client, 0, 0);
    let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
    assert!(there >= acknowledged && acknowledged > 0, "{there} of {acknowledged}");
}

#[test]
fn a_snapshot_without_room_leaves_the_old_one() {
    let Some(disk) = SmallDisk::mount(12) else { return };
    let options = on_disk(&disk, &["--save", "3600 1", "--enable-debug-command", "yes"]);
    let mut server = Server::start(&options);
    let mut client = ready(&mut server);
    client.play(
        "> SET kept 1
         < +OK
         > SAVE
         < +OK",
    );
    let file = disk.path().join("dump.rdb");
    let old = std::fs::read(&file).expect("a dump");
    // What does not compress.
    let mut random = Random::new(5);
    for key in 0..16 {
        let value: Vec<u8> = (0..1 << 17).map(|_| random.number() as u8).collect();
        client.send(&[b"SET", format!("large {key}").as_bytes(), &value]);
        assert_eq!(client.receive(), "+OK\r\n");
    }
    disk.fill(1 << 20);
    assert_eq!(client.call("SAVE"), "-ERR\r\n");
    assert_eq!(std::fs::read(&file).expect("the dump"), old);
    assert_eq!(client.call("BGSAVE"), "+Background saving started\r\n");
    eventually("it fails", || {
        client.call("INFO persistence").contains("rdb_last_bgsave_status:err")
    });
    assert_eq!(std::fs::read(&file).expect("the dump"), old);
    let refusal = client.call("SET x 1");
    assert!(refusal.starts_with("-MISCONF Redis is configured to save RDB snapshots"), "{refusal}");
    assert_eq!(client.call("GET kept"), "$1\r\n1\r\n");
    let names: Vec<_> = std::fs::read_dir(disk.path()).expect("a folder").flatten().collect();
    assert_eq!(names.len(), 2, "nothing is left behind: {names:?}");
    disk.free();
    assert_eq!(client.call("BGSAVE"), "+Background saving started\r\n");
    eventually("it succeeds", || {
        client.call("INFO persistence").contains("rdb_last_bgsave_status:ok")
    });
    assert_eq!(client.call("SET x 1"), "+OK\r\n");
    let digest = client.call("DEBUG DIGEST");
    server.process.signal(15);
    eventually("it ends", || !server.process.is_alive());
    let mut server = Server::start(&options);
    assert_eq!(ready(&mut server).call("DEBUG DIGEST"), digest);
}
