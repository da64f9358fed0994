use proptest::prelude::*;

use super::super::faulty::{Disk, Pending};
use super::super::scan::{Found, Scanner};
use super::*;

const DEL: &[u8] = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";

fn log(disk: &Disk, policy: Policy) -> Log<Disk, Pending> {
    Log::new(disk.clone(), 0, Pending::default(), (policy, 0), 0, 0)
}

fn shown(disk: &Disk) -> String {
    String::from_utf8_lossy(&disk.state().bytes).replace("\r\n", " ")
}

#[test]
fn a_turn_is_one_write() {
    let disk = Disk::new();
    let mut log = log(&disk, Policy::EverySecond);
    log.time(77);
    log.commands(0, &DEL.repeat(2));
    log.begin_group(1);
    log.commands(1, DEL);
    assert_eq!(log.flush(0, 0, false), Ok(()));
    assert!(disk.state().bytes.is_empty(), "a group is not cut");
    log.end_group();
    assert_eq!(log.flush(0, 0, false), Ok(()));
    assert_eq!(
        shown(&disk),
        "#TS:77 *2 $6 SELECT $1 0 *2 $3 DEL $1 k *2 $3 DEL $1 k \
         *2 $6 SELECT $1 1 *1 $5 MULTI *2 $3 DEL $1 k *1 $4 EXEC "
    );
    assert_eq!(log.file_bytes(), disk.state().bytes.len() as u64);
    assert_eq!(log.buffered_bytes(), 0);
    let names: Vec<_> = log.latencies().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["aof-write-alone", "aof-write"]);
}

#[test]
fn a_write_cut_short_is_taken_back() {
    let disk = Disk::new();
    let mut log = log(&disk, Policy::EverySecond);
    log.commands(0, DEL);
    log.flush(0, 0, false).expect("written");
    let before = disk.state().bytes.clone();
    disk.state().room = 10;
    log.commands(0, DEL);
    log.flush(0, 0, false).expect("goes on");
    assert_eq!(disk.state().bytes, before);
    assert_eq!(log.state().refusal(), Some(libc::ENOSPC));
    assert_eq!(log.buffered_bytes(), DEL.len());
    disk.state().room = 1000;
    log.flush(100, 0, false).expect("written");
    assert_eq!(disk.state().bytes, [before, DEL.to_vec()].concat());
    assert_eq!(log.state().refusal(), None);
}

#[test]
fn offsets_of_the_stream_follow_the_disk() {
    let disk = Disk::new();
    let mut log = log(&disk, Policy::EverySecond);
    log.commands(0, DEL);
    log.flush(1000, 100, false).expect("written");
    log.commands(0, DEL);
    log.flush(1001, 200, true).expect("written");
    assert_eq!(log.synced_offset, 0);
    assert!(log.syncs.run());
    log.flush(1002, 200, false).expect("told");
    assert_eq!(log.synced_offset, 100, "the second write came after the fsync began");
    log.flush(2100, 250, false).expect("told");
    assert!(log.syncs.run());
    log.flush(2101, 250, false).expect("told");
    assert_eq!(log.synced_offset, 250, "what is not logged does not hold it back");
}

#[test]
fn another_file_begins_with_its_database() {
    let (old, new) = (Disk::new(), Disk::new());
    let mut log = log(&old, Policy::EverySecond);
    log.commands(3, DEL);
    let new_file = log.switch_to(new.clone(), 0).expect_err("not all is written");
    log.flush(0, 50, true).expect("written");
    let mark = log.switch_to(new_file, 0).expect("left");
    assert_eq!(mark, log.state().written());
    log.commands(3, DEL);
    log.flush(1, 60, false).expect("written");
    assert_eq!(shown(&new), "*2 $6 SELECT $1 3 *2 $3 DEL $1 k ");
    assert_eq!(old.state().durable, 0);
    assert!(log.syncs.run(), "the old file is synced on the thread");
    log.flush(2, 60, false).expect("told");
    assert!(old.is_durable());
    assert_eq!((log.state().synced_to(), log.synced_offset), (mark, 50));
}

#[test]
fn the_end_syncs_everything() {
    let disk = Disk::new();
    let mut log = log(&disk, Policy::No);
    log.commands(0, DEL);
    log.finish(0, 9).expect("done");
    assert!(disk.is_durable());
    assert_eq!(log.synced_offset, 9);
}

#[test]
fn the_thread_syncs_files_and_wakes() {
    let folder = std::env::temp_dir().join(format!("redstart-log-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("incr");
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path).expect("a file");
    let (wake, woken) = std::sync::mpsc::channel();
    let syncs = SyncThread::start(move || {
        let _ = wake.send(());
    });
    let policy = (Policy::Always, 0);
    let mut log = Log::new(file, 0, syncs.expect("a thread"), policy, 0, 0);
    log.commands(0, DEL);
    log.flush(0, 5, false).expect("written");
    assert_eq!(log.state().released(), 0);
    woken.recv().expect("woken");
    log.flush(0, 5, false).expect("told");
    assert_eq!(log.state().released(), log.state().appended());
    assert_eq!(log.synced_offset, 5);
    assert!(std::fs::read(&path).expect("there").ends_with(DEL));
    drop(log);
    std::fs::remove_dir_all(&folder).expect("removed");
}

#[derive(Clone, Debug)]
enum Event {
    Command(u32),
    Group(u32, usize),
    Turn(u64),
    SyncEnds,
    Room(usize),
    WriteMax(usize),
    FailSync(bool),
    FailTruncate(bool),
    Forced,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u32..3).prop_map(Event::Command),
        2 => (0_u32..3, 0_usize..4).prop_map(|(database, count)| Event::Group(database, count)),
        6 => (0_u64..1500).prop_map(Event::Turn),
        3 => Just(Event::SyncEnds),
        1 => prop_oneof![0_usize..200, Just(usize::MAX)].prop_map(Event::Room),
        1 => prop_oneof![1_usize..30, Just(usize::MAX)].prop_map(Event::WriteMax),
        1 => prop::bool::weighted(0.3).prop_map(Event::FailSync),
        1 => prop::bool::weighted(0.5).prop_map(Event::FailTruncate),
        1 => Just(Event::Forced),
    ]
}

/// Whole commands and then at most the beginning of one.
fn check_whole(mut bytes: &[u8]) {
    loop {
        match Scanner::default().scan(bytes).expect("no damage") {
            Found::Command(count) | Found::Annotation(count, _) => bytes = &bytes[count..],
            Found::Incomplete => return,
        }
    }
}

proptest! {
    #[test]
    fn whatever_fails_the_file_is_a_beginning_of_what_was_logged(
        policy in prop_oneof![
            Just((Policy::Always, 0)),
            Just((Policy::EverySecond, 0)),
            Just((Policy::No, 0)),
        ],
        events in prop::collection::vec(event(), 1..80),
    ) {
        let disk = Disk::new();
        let mut log = Log::new(disk.clone(), 0, Pending::default(), policy, 0, 0);
        let (mut all, mut now_ms) = (Vec::new(), 0);
        let mut is_over = false;
        for (number, event) in events.into_iter().enumerate() {
            let buffered = log.buffered_bytes();
            match event {
                Event::Command(database) => log.commands(database, DEL),
                Event::Group(database, count) => {
                    log.time(number as i64);
                    log.begin_group(database);
                    for _ in 0..count {
                        log.commands(database, DEL);
                    }
                    log.end_group();
                }
                Event::Turn(later) => now_ms += later,
                Event::Forced => {}
                Event::SyncEnds => { log.syncs.run(); }
                Event::Room(room) => disk.state().room = room,
                Event::WriteMax(count) => disk.state().write_max = count,
                Event::FailSync(fails) => disk.state().fails_sync = fails,
                Event::FailTruncate(fails) => disk.state().fails_truncate = fails,
            }
            all.extend_from_slice(&log.buffer[buffered.min(log.buffer.len())..]);
            if matches!(event, Event::Turn(_) | Event::Forced) {
                let forced = matches!(event, Event::Forced);
                is_over = log.flush(now_ms, log.state().appended(), forced).is_err();
            }
            prop_assert!(log.syncs.waiting() <= 1, "two under way");
            let state = disk.state();
            prop_assert!(all.starts_with(&state.bytes));
            check_whole(&state.bytes);
            let (durable, appended) = (state.durable as u64, log.state().appended());
            prop_assert_eq!(appended, all.len() as u64);
            prop_assert!(log.state().synced_to() <= durable, "said to be on the disk");
            prop_assert!(log.synced_offset <= durable);
            if policy.0 == Policy::Always {
                prop_assert!(log.state().released() <= durable, "acknowledged and lost");
            }
            drop(state);
            if is_over {
                prop_assert_eq!(policy.0, Policy::Always);
                return Ok(());
            }
        }
        // Once the disk is well, everything gets there.
        let was_holed = log.state().is_doubtful() || disk.state().fails_sync;
        disk.mend();
        if log.finish(now_ms + 5000, 0).is_ok() {
            prop_assert_eq!(&disk.state().bytes, &all);
            if !was_holed && !log.state().is_doubtful() {
                prop_assert!(disk.is_durable());
            }
        }
    }
}
