//! What the log says when the server crashes, panics or stands still, beside the original.

use std::os::unix::process::ExitStatusExt;

use redstart_tests::proxy_support::eventually;
use redstart_tests::server_support::{Peer, Server};

const DEBUG: &[&str] = &["--enable-debug-command", "yes", "--save", ""];

const ABORTED: i32 = 6;
const SEGFAULT: i32 = 11;

#[test]
fn a_crash_is_reported_and_ends_the_process_by_its_signal() {
    for mut peer in Peer::both(DEBUG) {
        peer.listening().process.signal(ABORTED);
        assert_eq!(peer.process_mut().ended().signal(), Some(ABORTED), "{}", peer.name());
        let log = peer.log();
        for line in [
            "=== REDIS BUG REPORT START: Cut & paste starting from here ===",
            "Redis 7.0.15 crashed by signal: 6, si_code: 0",
            "Killed by PID: ",
            "------ STACK TRACE ------",
            "Backtrace:",
            "------ REGISTERS ------",
            "=== REDIS BUG REPORT END. Make sure to include from START to END. ===",
        ] {
            assert!(log.contains(line), "{}: {line}\n{log}", peer.name());
        }
    }
}

#[test]
fn a_fault_of_memory_is_reported_with_its_place() {
    let mut server = Server::start(DEBUG);
    let _ = server.client().try_send_raw(b"DEBUG SEGFAULT\r\n");
    assert_eq!(server.process.ended().signal(), Some(SEGFAULT));
    let log = server.log();
    assert!(log.contains("crashed by signal: 11, si_code: 1"), "{log}");
    assert!(log.contains("Accessing address: 0x8\n"), "{log}");
    // The places in the sources come from the executable.
    assert!(log.contains("common/src/crash/mod.rs:"), "{log}");
    assert!(log.contains("REDIS BUG REPORT END"), "{log}");
}

#[test]
fn reports_of_crashes_can_be_turned_off() {
    let mut server = Server::start(&[DEBUG, &["--crash-log-enabled", "no"]].concat());
    server.process.signal(ABORTED);
    assert_eq!(server.process.ended().signal(), Some(ABORTED));
    assert!(!server.log().contains("BUG REPORT"), "{}", server.log());
    let mut server = Server::start(DEBUG);
    assert_eq!(server.client().call("CONFIG SET crash-log-enabled no"), "+OK\r\n");
    server.process.signal(ABORTED);
    assert_eq!(server.process.ended().signal(), Some(ABORTED));
    assert!(!server.log().contains("BUG REPORT"), "{}", server.log());
}

#[test]
fn a_panic_ends_the_process_with_a_report() {
    for (exits, signal, code) in [("no", Some(ABORTED), None), ("yes", None, Some(1))] {
        let mut server = Server::start(&[DEBUG, &["--use-exit-on-panic", exits]].concat());
        let _ = server.client().try_send_raw(b"DEBUG PANIC\r\n");
        let ended = server.process.ended();
        assert_eq!((ended.signal(), ended.code()), (signal, code));
        let log = server.log();
        assert!(log.contains("Guru Meditation: Panic called at Unix time "), "{log}");
        assert!(log.contains("server/src/commands/debug.rs:"), "{log}");
        assert_eq!(log.matches("BUG REPORT START").count(), 1, "{log}");
    }
}

#[test]
fn who_stands_still_for_too_long_is_told_where() {
    for peer in Peer::both(DEBUG) {
        let mut client = peer.client();
        assert_eq!(client.call("CONFIG SET watchdog-period 200"), "+OK\r\n");
        assert_eq!(client.call("CONFIG GET watchdog*"), "*0\r\n");
        assert!(client.call("CONFIG GET watchdog-period").contains("200"));
        // What stands behind the number is passed over, and what is none is nought.
        for no_time in ["0\r\n", "0x", "none"] {
            client.send(&["DEBUG", "SLEEP", no_time]);
            assert_eq!(client.receive(), "+OK\r\n", "{no_time:?}");
        }
        assert_eq!(client.call("DEBUG SLEEP 1"), "+OK\r\n");
        eventually("the log says so", || peer.log().contains("--- WATCHDOG TIMER EXPIRED ---"));
        assert_eq!(client.call("CONFIG SET watchdog-period 0"), "+OK\r\n");
        let told = peer.log().matches("WATCHDOG").count();
        assert_eq!(client.call("DEBUG SLEEP 1"), "+OK\r\n");
        assert_eq!(peer.log().matches("WATCHDOG").count(), told, "{}", peer.name());
    }
}
