use super::*;

fn flush(policy: Policy) -> Flush {
    Flush::new(policy, 0, 0)
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

const WRITE: Plan = Plan::Write { is_late: false };

#[test]
fn everysec_syncs_once_a_second_on_the_thread() {
    let mut log = flush(Policy::EverySecond);
    log.append(10);
    assert_eq!(log.plan(500, false), WRITE);
    assert_eq!(log.wrote(Written::All, 500).then, Then::Nothing);
    assert_eq!(log.released(), 10, "replies do not wait for the disk");
    assert_eq!(log.wake_in_ms(500), Some(500));
    assert_eq!(log.plan(999, false), Plan::Nothing);
    assert_eq!(log.plan(1000, false), Plan::Sync, "also when nothing is written");
    assert_eq!(log.sync_begins(1000), 10);
    assert_eq!((log.synced_to(), log.is_syncing()), (0, true));
    assert_eq!(log.synced(10, true, &Ok(())).then, Then::Nothing);
    assert_eq!((log.synced_to(), log.is_syncing()), (10, false));
    assert_eq!(log.plan(9000, false), Plan::Nothing);
    assert_eq!(log.wake_in_ms(9000), None);
}

#[test]
fn a_write_waits_two_seconds_for_a_slow_fsync() {
    let mut log = flush(Policy::EverySecond);
    log.append(10);
    log.plan(1000, false);
    assert_eq!(log.wrote(Written::All, 1000).then, Then::Sync);
    log.sync_begins(1000);
    log.append(5);
    assert_eq!(log.plan(1500, false), Plan::Nothing);
    assert!(log.is_postponed());
    assert_eq!(log.wake_in_ms(1500), Some(2000));
    assert_eq!(log.plan(3499, false), Plan::Nothing);
    assert_eq!(log.plan(3499, true), WRITE, "a rewrite does not wait");
    assert_eq!(log.plan(3500, false), Plan::Nothing, "the wait began again");
    assert_eq!(log.plan(5500, false), Plan::Write { is_late: true });
    assert_eq!(log.delayed_syncs(), 1);
    // One under way is enough: the next is due a second later.
    assert_eq!(log.wrote(Written::All, 5500).then, Then::Nothing);
    log.synced(10, true, &Ok(()));
    assert_eq!(log.plan(6400, false), Plan::Nothing);
    assert_eq!(log.plan(6500, false), Plan::Sync);
}

#[test]
fn always_shares_an_fsync_among_the_turns_that_come_meanwhile() {
    let mut log = flush(Policy::Always);
    log.append(10);
    assert_eq!(log.plan(0, false), WRITE);
    assert_eq!(log.wrote(Written::All, 0).then, Then::Sync);
    assert_eq!(log.sync_begins(0), 10);
    for _ in 0..2 {
        log.append(5);
        assert_eq!(
            log.plan(90_000, false),
            Plan::Nothing,
            "it would wait for the next fsync anyway"
        );
        assert_eq!((log.written(), log.released(), log.wake_in_ms(90_000)), (10, 0, None));
    }
    assert_eq!(log.synced(10, true, &Ok(())).then, Then::Nothing);
    assert_eq!(log.released(), 10);
    assert_eq!(log.plan(90_000, false), WRITE);
    assert_eq!(log.wrote(Written::All, 90_000).then, Then::Sync);
    assert_eq!(log.sync_begins(90_000), 20);
    log.append(1);
    assert_eq!(log.plan(90_000, true), WRITE, "a rewrite does not wait");
    assert_eq!(log.wrote(Written::All, 90_000).then, Then::Nothing, "one fsync at a time");
    assert_eq!(log.synced(20, true, &Ok(())).then, Then::Sync);
    assert_eq!(log.released(), 20);
}

#[test]
fn marks_go_on_where_the_log_before_has_ended() {
    let mut log = Flush::new(Policy::Always, 70, 0);
    assert_eq!((log.appended(), log.released(), log.synced_to()), (70, 70, 70));
    assert_eq!(log.plan(0, false), Plan::Nothing);
    log.append(5);
    assert_eq!(log.plan(0, false), WRITE);
    assert_eq!((log.appended(), log.released()), (75, 70));
}

#[test]
fn always_ends_the_process_when_it_cannot_keep_its_promise() {
    let mut log = flush(Policy::Always);
    log.append(10);
    log.plan(0, false);
    let verdict = log.wrote(Written::Nothing(no_space()), 0);
    assert_eq!(verdict.then, Then::Exit);
    assert_eq!(
        verdict.lines,
        [
            "Error writing to the AOF file: No space left on device",
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting..."
        ]
    );

    let mut log = flush(Policy::Always);
    log.append(10);
    log.plan(0, false);
    log.wrote(Written::All, 0);
    log.sync_begins(0);
    let verdict = log.synced(10, true, &Err(io::Error::from_raw_os_error(libc::EIO)));
    assert_eq!(verdict.then, Then::Exit);
    assert_eq!(
        verdict.lines,
        [
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': Input/output error. Exiting..."
        ]
    );
    assert_eq!(log.released(), 0);
}

#[test]
fn a_full_disk_refuses_writes_until_it_has_room() {
    let mut log = flush(Policy::EverySecond);
    log.append(10);
    log.plan(0, false);
    let verdict = log.wrote(Written::Short { bytes: 4, of: 10, cut: Ok(()) }, 0);
    assert_eq!((verdict.kept_bytes, &verdict.then), (0, &Then::Nothing));
    assert_eq!(
        verdict.lines,
        ["Short write while writing to the AOF file: (nwritten=4, expected=10)"]
    );
    assert_eq!(log.refusal(), Some(libc::ENOSPC));
    assert_eq!(log.plan(99, false), Plan::Nothing, "not every turn");
    assert_eq!(log.plan(100, false), WRITE);
    let verdict = log.wrote(Written::Nothing(no_space()), 100);
    assert_eq!(verdict.lines, [""; 0], "said once in a while");
    assert_eq!(log.plan(150, true), WRITE);
    assert_eq!(log.wrote(Written::Nothing(no_space()), 30_001).lines.len(), 1);
    log.append(1);
    assert_eq!(log.plan(31_000, false), WRITE);
    let verdict = log.wrote(Written::All, 31_000);
    assert_eq!(verdict.kept_bytes, 11);
    assert_eq!(verdict.lines, ["AOF write error looks solved, Redis can write again."]);
    assert_eq!(log.refusal(), None);
}

#[test]
fn what_cannot_be_cut_off_again_is_kept() {
    let mut log = flush(Policy::No);
    log.append(10);
    log.plan(0, false);
    let cut = Err(io::Error::from_raw_os_error(libc::EIO));
    let verdict = log.wrote(Written::Short { bytes: 4, of: 10, cut }, 0);
    assert_eq!(verdict.kept_bytes, 4);
    assert_eq!(
        verdict.lines[1],
        "Could not remove short write from the append-only file.  Redis may refuse to load the AOF the next time it \
         starts.  ftruncate: Input/output error"
    );
    assert_eq!(log.written(), 4);
    log.plan(100, false);
    assert_eq!(log.wrote(Written::All, 100).kept_bytes, 6);
}

#[test]
fn after_a_failed_fsync_nothing_is_sure_until_a_rewrite() {
    let mut log = flush(Policy::EverySecond);
    log.append(10);
    log.plan(1000, false);
    log.wrote(Written::All, 1000);
    log.sync_begins(1000);
    let failed = Err(io::Error::from_raw_os_error(libc::EIO));
    let verdict = log.synced(10, true, &failed);
    assert_eq!(verdict.lines, ["Fail to fsync the AOF file: Input/output error"]);
    assert_eq!(log.refusal(), Some(libc::EIO));
    assert!(log.synced(10, true, &failed).lines.is_empty(), "said once");
    log.append(5);
    log.plan(2000, false);
    log.wrote(Written::All, 2000);
    log.sync_begins(2000);
    log.synced(15, true, &Ok(()));
    assert_eq!(log.refusal(), None, "writes are taken again");
    assert_eq!(log.synced_to(), 0, "but what the first one was for may be gone");
    assert!(log.is_doubtful());
    log.rewritten(9);
    assert!(log.is_doubtful(), "that rewrite began too early");
    log.rewritten(15);
    assert_eq!((log.synced_to(), log.is_doubtful()), (15, false));
}

#[test]
fn a_failed_fsync_is_tried_again_though_nothing_is_written() {
    let mut log = flush(Policy::EverySecond);
    log.append(10);
    log.plan(1000, false);
    log.wrote(Written::All, 1000);
    log.sync_begins(1000);
    log.synced(10, true, &Err(io::Error::from_raw_os_error(libc::EIO)));
    assert_eq!(log.wake_in_ms(1200), Some(800));
    assert_eq!(log.plan(1999, false), Plan::Nothing);
    assert_eq!(log.plan(2000, false), Plan::Sync);
    assert_eq!(log.sync_begins(2000), 10);
    assert_eq!(log.plan(9000, false), Plan::Nothing, "one at a time");
    assert!(!log.wants_rewrite(), "the disk may still be broken");
    log.synced(10, true, &Ok(()));
    assert_eq!((log.refusal(), log.wake_in_ms(9000)), (None, None));
    assert!(log.wants_rewrite());
    log.rewritten(10);
    assert!(!log.wants_rewrite());
}

#[test]
fn a_rewrite_settles_the_failed_fsync_of_a_file_that_was_left_behind() {
    let mut log = flush(Policy::No);
    log.append(10);
    log.plan(0, false);
    log.wrote(Written::All, 0);
    let mark = log.leave_file(0);
    log.synced(mark, false, &Err(io::Error::from_raw_os_error(libc::EIO)));
    assert_eq!(log.refusal(), Some(libc::EIO));
    log.rewritten(mark);
    assert_eq!((log.refusal(), log.synced_to()), (None, 10));
}

#[test]
fn no_fsync_while_a_rewrite_writes_if_the_disk_is_to_be_spared() {
    let mut log = flush(Policy::Always);
    log.set_spare_disk(true);
    log.set_saving(true);
    log.append(10);
    log.plan(0, false);
    assert_eq!(log.wrote(Written::All, 0).then, Then::Nothing);
    assert_eq!(log.released(), 10);
    log.set_saving(false);
    assert_eq!(log.plan(0, false), Plan::Sync);
}

#[test]
fn a_change_to_always_syncs_what_was_written_before() {
    let mut log = flush(Policy::No);
    log.append(10);
    log.plan(0, false);
    assert_eq!(log.wrote(Written::All, 0).then, Then::Nothing);
    assert_eq!(log.plan(5000, false), Plan::Nothing);
    log.set_policy(Policy::Always);
    assert_eq!(log.plan(5000, false), Plan::Sync);
}

#[test]
fn a_log_that_is_given_up_holds_nobody() {
    let mut log = flush(Policy::Always);
    log.append(10);
    log.discard();
    assert_eq!((log.released(), log.synced_to()), (10, 0));
    assert_eq!(log.plan(0, false), Plan::Nothing);
}

#[test]
fn starting_again_leaves_errors_behind() {
    let mut log = flush(Policy::EverySecond);
    assert!(log.forgive().is_empty());
    log.append(1);
    log.plan(0, false);
    log.wrote(Written::Nothing(no_space()), 0);
    assert_eq!(log.forgive(), ["AOF reopen, just ignore the last error."]);
    assert_eq!(log.refusal(), None);
}
