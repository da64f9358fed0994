use proptest::prelude::*;

use super::*;

/// What redis-server 7.0.15 wrote, with times of its own.
const WRITTEN: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,hostname4 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@31002 master - 0 1426238316232 2 connected 5461-10922
6ec23923021cf3ffec47632106199cb7f496ce01 127.0.0.1:30005@31005 slave,fail?,nofailover 67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 1426238317238 1426238316232 2 disconnected
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 127.0.0.1:30001@31001 myself,master - 0 0 4 connected 0-5460 16383 [93-<-67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1] [100->-67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1]
vars currentEpoch 6 lastVoteEpoch 5
";

fn options() -> Options {
    Options { port: 30001, bus_port: 31001, ..Options::default() }
}

#[test]
fn what_was_written_is_read_and_written_again() {
    let cluster = Cluster::from_file(WRITTEN, options(), 1_426_238_316_232).expect("whole");
    let again = cluster.to_file(0);
    let expected =
        WRITTEN.replace("1426238317239", "1426238316232").replace("1426238317238", "1426238316232");
    // Links do not outlive a process; the flag that keeps a replica from taking over is in the setting, for this server.
    let links = |text: &str| text.replace(" connected", " _").replace("disconnected", "_");
    assert_eq!(links(&again), links(&expected));
    assert_eq!(cluster.owner(16_383).map(|node| node.name), Some(cluster.myself().name));
    assert!(cluster.importing_from(93).is_some() && cluster.migrating_to(100).is_some());
}

#[test]
fn what_is_cut_off_is_refused_wherever_the_cut_is() {
    for end in 0..WRITTEN.len() {
        let cut = Cluster::from_file(&WRITTEN[..end], options(), 1);
        assert!(cut.is_err(), "after {end} bytes");
    }
}

#[test]
fn what_no_node_writes_is_refused() {
    for (from, to) in [
        ("myself,", ""),
        ("slave e7d1", "slave,myself e7d1"),
        ("vars currentEpoch", "vars currentEpoch 1"),
        ("67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127", "67ed2 127"),
        ("master", "boss"),
        ("0-5460", "0-16384"),
        ("[93-<-", "[93-"),
        ("127.0.0.1:30002@31002", "here"),
        (" 0 1426238316232 2 connected 5461-10922", ""),
        (
            "slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca",
            "slave 07c37dfeb235213a872192d90877d0cd55635b91",
        ),
    ] {
        let text = WRITTEN.replacen(from, to, 1);
        assert_ne!(text, WRITTEN);
        assert!(Cluster::from_file(&text, options(), 1).is_err(), "{from} → {to}");
    }
}

#[test]
fn blank_lines_and_what_later_versions_add_are_skipped() {
    let text = WRITTEN
        .replace("@31002", "@31002,,tls-port=0,shard-id=aaaa")
        .replace("vars", "\n\nvars")
        .replace("lastVoteEpoch 5", "lastVoteEpoch 5\n\n\n");
    let cluster = Cluster::from_file(&text, options(), 1).expect("readable");
    assert_eq!(cluster.nodes().count(), 4);
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "([0-9a-f]{40}|vars|myself,master|slave|-|0|[0-9]{1,5}|1\\.1:1@2|\\[|->-|\\]| |\n){0,60}") {
        if let Ok(cluster) = Cluster::from_file(&text, options(), 1) {
            prop_assert!(Cluster::from_file(&cluster.to_file(0), options(), 1).is_ok());
        }
    }
}
