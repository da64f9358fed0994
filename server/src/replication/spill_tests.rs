//! What goes to files and comes back: how much, when, and that it is the very stream.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::tests::Server;
use super::*;

const MB: u64 = 1 << 20;

/// Files in memory, and the answers they owe.
#[derive(Default)]
struct Disk {
    files: BTreeMap<u64, Vec<u8>>,
    /// A job's number, whether it went well, and what was read.
    answers: Vec<(u64, bool, Option<Bytes>)>,
    writes_fail: bool,
    reads_fail: bool,
    written: u64,
}

impl Disk {
    fn do_jobs(&mut self, server: &mut Server) {
        let mut jobs = Vec::new();
        server.replication.spill_jobs(server.now_ms, &mut jobs);
        for job in jobs {
            match job {
                SpillJob::Write { id, segment, at, pieces } => {
                    let file = self.files.entry(segment).or_default();
                    file.truncate(at as usize);
                    file.extend(pieces.concat());
                    self.written += u64::from(!self.writes_fail);
                    self.answers.push((id, !self.writes_fail, None));
                }
                SpillJob::Read { id, segment, at, bytes } => {
                    let part = &self.files[&segment][at as usize..][..bytes];
                    let part = Bytes::copy_from_slice(part);
                    self.answers.push((id, !self.reads_fail, Some(part)));
                }
                SpillJob::Free { before } => self.files = self.files.split_off(&before),
            }
        }
    }

    /// Gives the answers that are owed. Says what is done about them.
    fn answer(&mut self, server: &mut Server) -> Vec<String> {
        let mut actions = Vec::new();
        for (id, is_well, read) in self.answers.drain(..) {
            actions.extend(server.event(match (is_well, read) {
                (true, None) => Event::Spilled(id),
                (true, Some(bytes)) => Event::ReadBack(id, bytes),
                (false, None) => Event::SpillFailed(id, "No space left on device"),
                (false, Some(_)) => Event::ReadBackFailed(id, "Input/output error"),
            }));
        }
        actions
    }

    /// All there is to do, until nothing is.
    fn settle(&mut self, server: &mut Server) -> Vec<String> {
        let mut actions = server.event(Event::EndOfTurn);
        loop {
            self.do_jobs(server);
            if self.answers.is_empty() {
                return actions;
            }
            actions.extend(self.answer(server));
            actions.extend(server.event(Event::EndOfTurn));
        }
    }
}

/// The limits are 4 MB at once and 2 MB for five seconds: one is kept in memory, and the rest goes to files.
fn with_files(spill_bytes: u64, slow_writers: bool) -> Server {
    let mut server = Server::with_replica();
    let output_limit = OutputLimit { hard_bytes: 4 * MB, soft_bytes: 2 * MB, soft_seconds: 5 };
    let options = Options {
        output_limit,
        spill_bytes,
        slow_writers,
        backlog_bytes: MB / 4,
        ..server.replication.options().clone()
    };
    server.replication.set_options(options, 0);
    server
}

fn in_memory(server: &Server) -> u64 {
    server.replication.backlog().unwrap().memory()
}

fn in_files(server: &Server) -> u64 {
    server.replication.backlog().unwrap().in_files()
}

fn write(server: &mut Server, disk: &mut Disk, bytes: u64) -> Vec<String> {
    let mut actions = Vec::new();
    for turn in 1..=bytes / 1000 {
        server.replication.append(0, &[b'x'; 1000]);
        if turn % 100 == 0 {
            actions.extend(disk.settle(server));
        }
    }
    actions.extend(disk.settle(server));
    actions
}

fn is_dropped(actions: &[String]) -> bool {
    actions.iter().any(|action| action.contains("overcoming of output buffer limits"))
}

/// Takes all that the replica can be sent now.
fn take(server: &mut Server, client: ClientId, most: usize) -> Vec<u8> {
    let limit = server.replication.history().offset;
    let pending = server.replication.pending(client, limit).flatten().copied();
    let bytes: Vec<u8> = pending.take(most).collect();
    if !bytes.is_empty() {
        server.replication.sent(client, bytes.len(), server.now_ms);
    }
    bytes
}

#[test]
fn memory_stays_at_what_is_kept_and_files_take_the_rest() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    for part in 1..40 {
        assert!(!is_dropped(&write(&mut server, &mut disk, MB)));
        server.now_ms += 1000;
        server.replication.heard_of(1, server.now_ms);
        assert!(!is_dropped(&server.wait(100)));
        // What is kept, and what was read back for the replica already.
        assert!(in_memory(&server) < MB + MB / 2, "{}", in_memory(&server));
        let expected = (part * (MB / 1000 * 1000)).saturating_sub(MB + MB / 8);
        assert!(in_files(&server) >= expected, "{} of {expected}", in_files(&server));
    }
    assert_eq!(server.replication.pace(), Pace::Free);
    // All of it comes back, and nothing is left of the files.
    let mut read = 0;
    loop {
        let taken = take(&mut server, 1, 100_000).len();
        disk.settle(&mut server);
        read += taken as u64;
        if taken == 0 && !server.replication.is_behind(1) {
            break;
        }
        assert!(in_memory(&server) < 2 * MB, "{}", in_memory(&server));
    }
    assert!(read >= 39 * (MB / 1000 * 1000));
    assert_eq!((in_files(&server), disk.files.len()), (0, 0));
}

#[test]
fn without_the_setting_nothing_goes_to_files() {
    let (mut server, mut disk) = (with_files(0, false), Disk::default());
    assert!(!is_dropped(&write(&mut server, &mut disk, 3 * MB)));
    assert_eq!((in_files(&server), disk.written), (0, 0));
    assert!(is_dropped(&write(&mut server, &mut disk, 2 * MB)));
}

#[test]
fn beyond_the_files_memory_is_judged_as_ever() {
    let (mut server, mut disk) = (with_files(8 * MB, false), Disk::default());
    assert!(!is_dropped(&write(&mut server, &mut disk, 10 * MB)));
    assert!((7 * MB..=8 * MB).contains(&in_files(&server)), "{}", in_files(&server));
    let actions = server.wait(100);
    assert!(actions.iter().any(|line| line.contains("fills the files up to repl-spill-size")));
    assert!(is_dropped(&write(&mut server, &mut disk, 4 * MB)));
    disk.settle(&mut server);
    // What was held for it is given back.
    assert_eq!((in_files(&server), disk.files.len()), (0, 0));
    assert!(in_memory(&server) < MB / 2, "{}", in_memory(&server));
}

#[test]
fn writers_are_slowed_from_half_the_files_on_and_the_less_is_left_the_more() {
    let (mut server, mut disk) = (with_files(16 * MB, true), Disk::default());
    write(&mut server, &mut disk, 8 * MB);
    assert_eq!(server.replication.pace(), Pace::Free);
    write(&mut server, &mut disk, MB);
    let mut before = u64::MAX;
    for _ in 0..9 {
        write(&mut server, &mut disk, MB);
        let Pace::Bytes(bytes) = server.replication.pace() else { panic!("not slowed") };
        assert!(bytes < before, "{bytes}");
        before = bytes;
    }
    // As fast as they are let, they never come to the end.
    for _ in 0..100 {
        let Pace::Bytes(bytes) = server.replication.pace() else { panic!("not slowed") };
        let actions = write(&mut server, &mut disk, bytes.max(1000));
        assert!(!is_dropped(&actions), "{}", in_memory(&server));
    }
    assert!(server.replication.is_replica_client(1));
}

#[test]
fn a_disk_that_is_slow_slows_writers_by_what_lies_in_memory() {
    let (mut server, mut disk) = (with_files(1 << 30, true), Disk::default());
    // A write that takes for ever.
    for _ in 0..1500 {
        server.replication.append(0, &[b'x'; 1000]);
    }
    server.event(Event::EndOfTurn);
    disk.do_jobs(&mut server);
    assert_eq!(disk.answers.len(), 1);
    assert_eq!(server.replication.pace(), Pace::Free);
    for _ in 0..1500 {
        server.replication.append(0, &[b'x'; 1000]);
    }
    assert!(!is_dropped(&server.event(Event::EndOfTurn)));
    let Pace::Bytes(bytes) = server.replication.pace() else { panic!("not slowed") };
    assert!(bytes < 30_000, "{bytes}");
    disk.settle(&mut server);
    assert_eq!(server.replication.pace(), Pace::Free);
}

#[test]
fn a_disk_that_fails_leaves_all_in_memory_and_is_tried_again() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    disk.writes_fail = true;
    let actions = write(&mut server, &mut disk, 2 * MB);
    let line = "cannot be written to a file, and stays in memory: No space left on device";
    assert_eq!(actions.iter().filter(|action| action.contains(line)).count(), 1, "{actions:?}");
    assert!(in_files(&server) == 0 && in_memory(&server) > 2 * (MB - 1000));
    disk.writes_fail = false;
    server.replication.heard_of(1, 9_000);
    server.now_ms = 9_000;
    write(&mut server, &mut disk, 1000);
    assert_eq!(in_files(&server), 0);
    server.now_ms = 11_000;
    let actions = write(&mut server, &mut disk, 1000);
    assert!(actions.iter().any(|line| line.contains("can be written to a file again")));
    assert!(in_files(&server) > MB / 2);

    // Where it goes on failing, the limit is what it was.
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    disk.writes_fail = true;
    assert!(!is_dropped(&write(&mut server, &mut disk, 3 * MB)));
    assert!(is_dropped(&write(&mut server, &mut disk, 2 * MB)));
}

#[test]
fn a_disk_that_hangs_keeps_nothing_for_replicas_that_are_gone() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    write(&mut server, &mut disk, 2 * MB);
    for _ in 0..1500 {
        server.replication.append(0, &[b'x'; 1000]);
    }
    disk.do_jobs(&mut server);
    assert_eq!(disk.answers.len(), 1);
    server.event(Event::ClientClosed(1));
    while server.event(Event::EndOfTurn).is_empty() && in_memory(&server) > MB / 2 {}
    assert_eq!(in_files(&server), 0);
    // It is asked for nothing more until it has answered, and what it answers then is of no use.
    let id = server.id();
    server.psync(2, &id, &(server.offset() + 1).to_string()).unwrap();
    for _ in 0..3000 {
        server.replication.append(0, &[b'x'; 1000]);
    }
    disk.do_jobs(&mut server);
    assert_eq!((disk.answers.len(), in_files(&server)), (1, 0));
    disk.answer(&mut server);
    assert_eq!(in_files(&server), 0);
    disk.do_jobs(&mut server);
    disk.answer(&mut server);
    assert!(in_files(&server) > MB);
}

#[test]
fn what_cannot_be_read_back_costs_those_who_need_it_a_full_sync() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    let from = server.replication.history().offset;
    write(&mut server, &mut disk, 6 * MB);
    // Another continues near the end.
    let near = (server.offset() + 1 - 1000).to_string();
    let id = server.id();
    server.psync(2, &id, &near).unwrap();
    disk.reads_fail = true;
    take(&mut server, 1, usize::MAX);
    let actions = disk.settle(&mut server);
    assert!(actions.iter().any(|line| line.contains("cannot be read back from a file")));
    assert!(!server.replication.is_replica_client(1) && server.replication.is_replica_client(2));
    // It is not let to try the same again.
    server.psync(3, &id, &from.next_byte().to_string()).unwrap();
    assert_eq!(server.replication.counts().full, 2);
    assert!(server.replication.backlog().unwrap().start() > from);
    assert_eq!(take(&mut server, 2, usize::MAX).len(), 1000);
}

#[test]
fn what_a_file_holds_can_be_continued_from() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    write(&mut server, &mut disk, 6 * MB);
    let from = server.offset() + 1 - 4 * MB as i64;
    let id = server.id();
    server.psync(2, &id, &from.to_string()).unwrap();
    assert_eq!(server.replication.counts().partial_ok, 1);
    let mut read = 0;
    while server.replication.is_behind(2) {
        disk.settle(&mut server);
        read += take(&mut server, 2, usize::MAX).len() as u64;
    }
    assert_eq!(read, 4 * MB);
}

#[test]
fn a_backlog_that_is_larger_than_the_limits_stays_in_memory() {
    let (mut server, mut disk) = (with_files(64 * MB, false), Disk::default());
    let options = Options { backlog_bytes: 8 * MB, ..server.replication.options().clone() };
    server.replication.set_options(options, 0);
    assert!(!is_dropped(&write(&mut server, &mut disk, 20 * MB)));
    assert!(in_memory(&server) >= 8 * MB && in_memory(&server) < 10 * MB);
    for _ in 0..10 {
        server.replication.heard_of(1, server.now_ms);
        assert!(!is_dropped(&server.wait(1000)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// Two replicas, one of which is stuck now and then, and a disk that answers late and fails: each is sent the stream byte
    /// for byte, as long as it is there.
    #[test]
    fn however_it_goes_replicas_are_sent_the_stream(
        steps in proptest::collection::vec(
            (0_u8..9, 0_usize..200_000, any::<bool>()), 1..150),
        spill_bytes in prop_oneof![Just(MB / 2), Just(4 * MB), Just(64 * MB)],
    ) {
        let (mut server, mut disk) = (with_files(spill_bytes, false), Disk::default());
        let id = server.id();
        server.replication.append(0, b"first");
        let start = server.offset();
        let (mut stream, mut read) = (Vec::new(), [start; 2]);
        take(&mut server, 1, usize::MAX);
        server.psync(2, &id, &(start + 1).to_string()).unwrap();
        for (step, amount, flag) in steps {
            match step {
                0..=3 => {
                    let part: Vec<u8> =
                        (0..amount).map(|at| ((stream.len() + at) / 7) as u8).collect();
                    server.replication.append(0, &part);
                    stream.extend(part);
                }
                4 | 5 => {
                    let which = usize::from(flag);
                    let bytes = take(&mut server, which as u64 + 1, amount);
                    let from = (read[which] - start) as usize;
                    prop_assert_eq!(&bytes[..], &stream[from..from + bytes.len()]);
                    read[which] += bytes.len() as i64;
                }
                6 => drop(disk.answer(&mut server)),
                7 => drop(disk.settle(&mut server)),
                _ => (disk.writes_fail, disk.reads_fail) = (flag && amount > 100_000, amount < 9000),
            }
            server.event(Event::EndOfTurn);
            disk.do_jobs(&mut server);
            server.now_ms += 500;
            for client in [1, 2] {
                server.replication.heard_of(client, server.now_ms);
            }
            prop_assert!(in_files(&server) <= spill_bytes);
            prop_assert_eq!(server.replication.history().offset.bytes() - start, stream.len() as i64);
        }
        (disk.writes_fail, disk.reads_fail) = (false, false);
        for (client, read) in [1, 2].into_iter().zip(&mut read) {
            while server.replication.is_replica_client(client) {
                drop(disk.settle(&mut server));
                if !server.replication.is_replica_client(client) {
                    // An error of before is told only now.
                    break;
                }
                let bytes = take(&mut server, client, usize::MAX);
                let from = (*read - start) as usize;
                prop_assert_eq!(&bytes[..], &stream[from..from + bytes.len()]);
                *read += bytes.len() as i64;
                if !server.replication.is_behind(client) {
                    prop_assert_eq!(*read - start, stream.len() as i64);
                    break;
                }
            }
        }
    }
}
