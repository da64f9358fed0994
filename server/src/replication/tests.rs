//! Conversations: what happens, and what is done about it. The texts are those of redis-server 7.0.15 in the same case.

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use redstart_common::resp::OwnedArgs;

use super::*;

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_ID: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A server without anything around it.
pub(super) struct Server {
    pub(super) replication: Replication,
    random: SmallRng,
    pub(super) now_ms: i64,
    data_is_empty: bool,
    is_paused: bool,
    durable: Option<Offset>,
}

impl Server {
    fn new(options: Options) -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let replication = Replication::new(options, 0, &mut random);
        Self {
            replication,
            random,
            now_ms: 0,
            data_is_empty: true,
            is_paused: false,
            durable: None,
        }
    }

    fn replica(options: Options) -> Self {
        let mut server = Self::new(options);
        server.replication.start_as_replica("primary", 7000);
        server
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Replication, &mut Turn) -> R) -> (R, Vec<String>) {
        let mut actions = Vec::new();
        let mut turn = Turn {
            now_ms: self.now_ms,
            data_is_empty: self.data_is_empty,
            is_paused: self.is_paused,
            durable: self.durable,
            random: &mut self.random,
            actions: &mut actions,
        };
        let result = call(&mut self.replication, &mut turn);
        (result, actions.iter().map(show).collect())
    }

    pub(super) fn event(&mut self, event: Event) -> Vec<String> {
        self.call(|replication, turn| replication.handle(event, turn)).1
    }

    /// Time passes, in steps of a tick.
    pub(super) fn wait(&mut self, ms: i64) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..ms / 100 {
            self.now_ms += 100;
            all.extend(self.event(Event::Tick));
        }
        all
    }

    fn received(&mut self, link: u64, text: &str) -> Vec<String> {
        self.event(Event::Received(LinkId(link), Bytes::copy_from_slice(text.as_bytes())))
    }

    fn replconf(&mut self, client: ClientId, words: &[&str]) -> Result<Replconf, String> {
        let args = OwnedArgs::from_slices(words);
        self.call(|replication, turn| replication.replconf(client, args.as_args(), turn))
            .0
            .map_err(|refusal| String::from_utf8(refusal.wire()).unwrap())
    }

    fn sync(&mut self, client: ClientId, ask: Ask) -> Result<Vec<String>, String> {
        let request = SyncRequest {
            client,
            peer_ip: "10.0.0.1",
            line: "id=9",
            has_pending_output: false,
            ask,
        };
        let (result, actions) = self.call(|replication, turn| replication.sync(request, turn));
        result.map(|()| actions).map_err(|refusal| String::from_utf8(refusal.wire()).unwrap())
    }

    pub(super) fn psync(
        &mut self,
        client: ClientId,
        id: &str,
        first_byte: &str,
    ) -> Result<Vec<String>, String> {
        let ask =
            Ask::Psync { id: id.as_bytes(), first_byte: first_byte.as_bytes(), failover: false };
        self.sync(client, ask)
    }

    fn failover(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        let args = OwnedArgs::from_slices(words);
        let (result, actions) = self
            .call(|replication, turn| replication.fail_over(parse_failover(args.as_args())?, turn));
        result.map(|()| actions).map_err(|refusal| String::from_utf8(refusal.wire()).unwrap())
    }

    pub(super) fn id(&self) -> String {
        self.replication.history().id.to_string()
    }

    fn pending(&self, client: ClientId) -> Vec<u8> {
        let limit = self.replication.history().offset;
        self.replication.pending(client, limit).flatten().copied().collect()
    }

    pub(super) fn offset(&self) -> i64 {
        self.replication.history().offset.bytes()
    }

    /// Through the handshake, up to the answer to PSYNC.
    fn shake_hands(&mut self, link: u64) -> Vec<String> {
        self.event(Event::Connected(LinkId(link)));
        self.received(link, "+PONG\r\n");
        self.received(link, "+OK\r\n+OK\r\n-ERR Unrecognized REPLCONF option: version\r\n")
    }

    /// A replica that follows.
    fn synced_replica() -> Self {
        let mut server = Self::replica(Options::default());
        server.wait(100);
        server.shake_hands(1);
        server.received(1, &format!("+FULLRESYNC {ID} 1000\r\n$3\r\nRDB"));
        server.event(Event::Loaded(LinkId(1), 2));
        server
    }

    /// A primary with one replica that follows.
    pub(super) fn with_replica() -> Self {
        let mut server = Self::new(Options { diskless_sync: false, ..Options::default() });
        server
            .replconf(1, &["REPLCONF", "listening-port", "7001", "capa", "eof", "capa", "psync2"])
            .unwrap();
        server.psync(1, "?", "-1").unwrap();
        server.event(Event::SnapshotStarted(SnapshotId(1)));
        server.event(Event::SnapshotDone(SnapshotId(1)));
        server.event(Event::FileSent(1));
        server
    }
}

fn show(action: &Action) -> String {
    let text = |bytes: &Bytes| {
        let text = String::from_utf8_lossy(bytes).replace("\r\n", " ");
        let words: Vec<&str> =
            text.split(' ').filter(|word| !word.starts_with(['*', '$'])).collect();
        words.join(" ").trim_end_matches(' ').to_owned()
    };
    match action {
        Action::Log(_, line) => format!("log {line}"),
        Action::SendPrimary(_, bytes) => format!("> {}", text(bytes)),
        Action::SendReplica(client, bytes) => format!("{client}> {}", text(bytes)),
        other => format!("{other:?}"),
    }
}

fn sent(actions: &[String]) -> Vec<&str> {
    actions.iter().filter_map(|action| action.strip_prefix("> ")).collect()
}

fn logged(actions: &[String]) -> Vec<&str> {
    actions.iter().filter_map(|action| action.strip_prefix("log ")).collect()
}

fn has(actions: &[String], wanted: &str) -> bool {
    actions.iter().any(|action| action.contains(wanted))
}

#[test]
fn the_handshake_says_what_redis_says_and_a_version() {
    let mut server = Server::replica(Options {
        primary_password: Some(b"pw".to_vec()),
        announced_ip: Some("10.9.8.7".into()),
        announced_port: 21702,
        ..Options::default()
    });
    let actions = server.wait(100);
    assert_eq!(
        logged(&actions),
        ["Connecting to MASTER primary:7000", "MASTER <-> REPLICA sync started"]
    );
    assert!(has(&actions, "Connect { link: LinkId(1), host: \"primary\", port: 7000 }"));
    assert_eq!(sent(&server.event(Event::Connected(LinkId(1)))), ["PING"]);
    assert_eq!(
        sent(&server.received(1, "-NOAUTH x\r\n")),
        [
            "AUTH pw REPLCONF listening-port 21702 REPLCONF ip-address 10.9.8.7 REPLCONF capa eof capa psync2 REPLCONF version 7.0.15"
        ]
    );
    let actions = server.received(1, "+OK\r\n-ERR no\r\n+OK\r\n+OK\r\n-ERR what\r\n");
    assert_eq!(sent(&actions), ["PSYNC ? -1"]);
    assert_eq!(
        logged(&actions)[0],
        "(Non critical) Master does not understand REPLCONF listening-port: -ERR no"
    );
    assert_eq!(
        server.replication.role(),
        RoleReport::Replica { host: "primary".into(), port: 7000, state: "handshake", offset: -1 }
    );
}

#[test]
fn a_replica_that_starts_calls_its_primary_at_the_next_tick() {
    let mut server = Server::new(Options::default());
    server.wait(500);
    server.replication.start_as_replica("primary", 7000);
    assert!(has(&server.wait(100), "Connecting to MASTER primary:7000"));
}

#[test]
fn a_primary_that_loads_is_asked_again_a_second_later() {
    let mut server = Server::replica(Options::default());
    server.wait(100);
    server.shake_hands(1);
    let actions = server.received(1, "-LOADING x\r\n");
    assert_eq!(
        logged(&actions),
        ["Master is currently unable to PSYNC but should be in the future: -LOADING x"]
    );
    assert!(has(&actions, "CloseLink(LinkId(1))"));
    assert!(has(&server.wait(1000), "Connect { link: LinkId(2)"));
}

#[test]
fn a_primary_without_psync_is_asked_by_sync() {
    let mut server = Server::replica(Options::default());
    server.wait(100);
    server.shake_hands(1);
    assert_eq!(sent(&server.received(1, "-ERR unknown command\r\n")), ["SYNC"]);
    let actions = server.received(1, "-ERR not now\r\n");
    assert_eq!(
        logged(&actions),
        [
            "MASTER aborted replication with an error: ERR not now",
            "Reconnecting to MASTER primary:7000 after failure",
            "MASTER <-> REPLICA sync started"
        ]
    );
    server.shake_hands(2);
    server.received(2, "-ERR unknown command\r\n$0\r\n");
    server.event(Event::Loaded(LinkId(2), 0));
    // It told no history: nothing is acknowledged, and nothing can be continued.
    assert_eq!(sent(&server.wait(3000)), [""; 0]);
    server.event(Event::LinkClosed(LinkId(2), "connection lost"));
    assert_eq!(sent(&server.shake_hands(3)).last(), Some(&"PSYNC ? -1"));
}

#[test]
fn a_full_sync_by_mark_ends_in_an_acknowledgement() {
    let mut server = Server::replica(Options::default());
    server.wait(100);
    server.shake_hands(1);
    server.received(1, &format!("+FULLRESYNC {ID} 1000\r\n\n\n"));
    let mark = "m".repeat(40);
    let actions = server.received(1, &format!("$EOF:{mark}\r\nRDB{mark}"));
    assert_eq!(
        logged(&actions),
        [
            "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF to disk",
            "MASTER <-> REPLICA sync: Flushing old data",
            "MASTER <-> REPLICA sync: Loading DB in memory"
        ]
    );
    assert!(
        has(&actions, "SnapshotBytes(LinkId(1), b\"RDB\")") && has(&actions, "Load(LinkId(1))")
    );
    assert_eq!(sent(&server.wait(2000)), ["\n", "\n"]);
    let actions = server.event(Event::Loaded(LinkId(1), 3));
    assert_eq!(sent(&actions), ["REPLCONF ACK 1000"]);
    assert_eq!(logged(&actions), ["MASTER <-> REPLICA sync: Finished with success"]);
    assert!(has(&actions, "Stream(LinkId(1), 3)"));
    assert_eq!((server.id().as_str(), server.offset()), (ID, 1000));
}

#[test]
fn only_what_is_applied_is_acknowledged_and_asked_for_again() {
    let mut server = Server::synced_replica();
    let select = "*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n";
    assert!(has(&server.received(1, select), "Execute(LinkId(1)"));
    server.replication.applied(select.as_bytes(), 2);
    server.received(1, "*1\r\n$5\r\nMULTI\r\n");
    let info: Vec<_> = server
        .replication
        .info(server.now_ms)
        .into_iter()
        .filter(|(name, _)| name.contains("slave_"))
        .collect();
    let shown: Vec<String> = info.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(shown[..2], ["slave_read_repl_offset:1038", "slave_repl_offset:1023"]);
    let actions = server.event(Event::LinkClosed(LinkId(1), "connection lost"));
    assert_eq!(
        logged(&actions),
        [
            "Connection with master lost.",
            "Caching the disconnected master state.",
            "Reconnecting to MASTER primary:7000",
            "MASTER <-> REPLICA sync started"
        ]
    );
    let actions = server.shake_hands(2);
    assert_eq!(sent(&actions).last().unwrap(), &format!("PSYNC {ID} 1024"));
    let actions = server.received(2, &format!("+CONTINUE {OTHER_ID}\r\n*1\r\n$4\r\nping\r\n"));
    assert_eq!(
        logged(&actions),
        [
            "Successful partial resynchronization with master.",
            &format!("Master replication ID changed to {OTHER_ID}"),
            "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization."
        ]
    );
    assert!(has(&actions, "Stream(LinkId(2), 2)") && has(&actions, "Execute(LinkId(2)"));
    assert_eq!(server.replication.history().second_offset(), 1024);
    assert_eq!(server.replication.history().second_id().as_str(), ID);
}

#[test]
fn a_continue_that_was_not_asked_for_is_no_stream() {
    let mut server = Server::replica(Options::default());
    server.wait(100);
    server.shake_hands(1);
    assert!(has(&server.received(1, "+CONTINUE\r\n"), "CloseLink"));
    assert!(!server.replication.is_link_up());
}

#[test]
fn silence_ends_a_link_in_each_stage() {
    for answers in 0..4 {
        let mut server = Server::replica(Options { timeout_s: 5, ..Options::default() });
        server.wait(100);
        if answers > 0 {
            server.event(Event::Connected(LinkId(1)));
        }
        if answers > 1 {
            server.shake_hands(1);
        }
        if answers > 2 {
            server.received(1, &format!("+FULLRESYNC {ID} 5\r\n$100\r\nabc"));
        }
        let actions = server.wait(8000);
        assert!(has(&actions, "CloseLink(LinkId(1))"), "{answers}");
        assert!(has(&actions, "Connect { link: LinkId(2)"), "{answers}");
    }
}

#[test]
fn news_of_a_link_that_is_given_up_are_ignored() {
    let mut server = Server::synced_replica();
    server.event(Event::LinkClosed(LinkId(1), "connection lost"));
    for late in [
        Event::Connected(LinkId(1)),
        Event::LinkClosed(LinkId(1), "again"),
        Event::Loaded(LinkId(1), 0),
    ] {
        assert_eq!(server.event(late), [""; 0]);
    }
    assert_eq!(server.received(1, "*1\r\n$4\r\nping\r\n"), [""; 0]);
}

#[test]
fn a_load_that_fails_leaves_no_data_and_no_history() {
    let mut server = Server::synced_replica();
    server.event(Event::LinkClosed(LinkId(1), "connection lost"));
    server.shake_hands(2);
    server.received(2, &format!("+FULLRESYNC {OTHER_ID} 7\r\n$3\r\nRDB"));
    let actions = server.event(Event::LoadFailed(LinkId(2), "bad"));
    assert!(has(&actions, "EmptyData") && has(&actions, "Connect { link: LinkId(3)"));
    assert_ne!(server.id(), ID);
    assert_eq!(server.replication.saved_history(), None);
    assert_eq!(sent(&server.shake_hands(3)).last(), Some(&"PSYNC ? -1"));
}

#[test]
fn new_databases_serve_old_data_until_they_are_whole() {
    let mut server = Server::synced_replica();
    server
        .replication
        .set_options(Options { diskless_load: DisklessLoad::SwapDb, ..Options::default() }, 0);
    server.event(Event::LinkClosed(LinkId(1), "connection lost"));
    server.shake_hands(2);
    let actions = server.received(2, &format!("+FULLRESYNC {ID} 2000\r\n$3\r\nR"));
    assert!(has(&actions, "NewDatabases { serve_old: true }") && !has(&actions, "EmptyData"));
    let actions = server.event(Event::LinkClosed(LinkId(2), "connection lost"));
    assert!(has(&actions, "DropNewDatabases"));
    // The old data is still there, and so is the place where it stopped.
    assert_eq!(sent(&server.shake_hands(3)).last().unwrap(), &format!("PSYNC {ID} 1001"));
    server.received(3, &format!("+FULLRESYNC {ID} 2000\r\n$3\r\nRDB"));
    assert!(has(&server.event(Event::Loaded(LinkId(3), 0)), "SwapDatabases"));
}

#[test]
fn promotion_keeps_the_backlog_and_the_old_name() {
    let mut server = Server::synced_replica();
    server.received(1, "*1\r\n$4\r\nping\r\n");
    server.replication.applied(b"*1\r\n$4\r\nping\r\n", 2);
    let (_, actions) = server.call(|replication, turn| replication.replicaof_no_one("id=3", turn));
    let id = server.id();
    assert_eq!(
        logged(&actions),
        [
            "Connection with master lost.",
            "Caching the disconnected master state.",
            "Discarding previously cached master state.",
            &format!(
                "Setting secondary replication ID to {ID}, valid up to offset: 1015. New replication ID is {id}"
            ),
            "MASTER MODE enabled (user request from 'id=3')"
        ]
    );
    server.replconf(1, &["REPLCONF", "capa", "psync2"]).unwrap();
    let actions = server.psync(1, ID, "1001").unwrap();
    assert!(has(&actions, &format!("1> +CONTINUE {id}")));
    let pending = server.pending(1);
    assert_eq!(pending, b"*1\r\n$4\r\nping\r\n");
    // One byte beyond what both have.
    let actions = server.psync(2, ID, "1016").unwrap();
    assert_eq!(
        logged(&actions)[1],
        "Partial resynchronization not accepted: Requested offset for second ID was 1016, but I can reply up to 1015"
    );
}

#[test]
fn the_byte_after_the_last_can_be_asked_for_and_the_next_cannot() {
    let mut server = Server::with_replica();
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    let (id, end) = (server.id(), server.offset());
    assert!(has(&server.psync(2, &id, &(end + 1).to_string()).unwrap(), "2> +CONTINUE"));
    let actions = server.psync(3, &id, &(end + 2).to_string()).unwrap();
    assert!(
        has(&actions, "for lack of backlog")
            && has(&actions, "greater than the master replication offset")
    );
    assert!(has(&server.psync(4, &id, "0").unwrap(), "for lack of backlog"));
    assert!(has(&server.psync(5, &id.to_uppercase(), "1").unwrap(), "5> +CONTINUE"));
    assert_eq!(
        server.psync(6, &id, "x").unwrap_err(),
        "ERR value is not an integer or out of range"
    );
    let counts = server.replication.counts();
    assert_eq!((counts.partial_ok, counts.partial_err, counts.full), (2, 2, 3));
}

#[test]
fn what_a_replica_is_sent_begins_with_a_database() {
    let mut server = Server::with_replica();
    server.replication.append(3, b"*1\r\n$4\r\nwrit\r\n");
    server.replication.append(3, b"*1\r\n$4\r\nmore\r\n");
    let pending = server.pending(1);
    assert_eq!(
        pending,
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nwrit\r\n*1\r\n$4\r\nmore\r\n"
    );
    server.replication.sent(1, 23, 0);
    assert_eq!(server.pending(1).len(), 28);
    assert_eq!(server.replication.saved_history().unwrap().db, 3);
}

#[test]
fn replconf_answers_as_redis_does() {
    let mut server = Server::new(Options::default());
    let long = "a".repeat(300);
    for (words, answer) in [
        (&["REPLCONF"][..], Ok(Replconf::Ok)),
        (&["REPLCONF", "capa"], Err("ERR syntax error")),
        (&["REPLCONF", "capa", "nonsense"], Ok(Replconf::Ok)),
        (&["REPLCONF", "listening-port", "x"], Err("ERR value is not an integer or out of range")),
        (&["REPLCONF", "listening-port", "70000"], Ok(Replconf::Ok)),
        (
            &["REPLCONF", "ip-address", &long],
            Err("ERR REPLCONF ip-address provided by replica instance is too long: 300 bytes"),
        ),
        (
            &["REPLCONF", "rdb-only", "2"],
            Err("ERR value is out of range, value must between 0 and 1"),
        ),
        (
            &["REPLCONF", "rdb-filter-only", "keys"],
            Err("ERR Unsupported rdb-filter-only option: keys"),
        ),
        (&["REPLCONF", "rdb-filter-only", "\""], Err("ERR Missing rdb-filter-only values")),
        (&["REPLCONF", "rdb-filter-only", "functions"], Ok(Replconf::Ok)),
        (&["REPLCONF", "version", "8.1.0"], Ok(Replconf::Ok)),
        (&["REPLCONF", "version", "8.1"], Err("ERR Unrecognized version format: 8.1")),
        (&["REPLCONF", "ack", "5"], Ok(Replconf::Silent)),
        (&["REPLCONF", "getack", "*"], Ok(Replconf::Silent)),
        (&["REPLCONF", "foo", "bar"], Err("ERR Unrecognized REPLCONF option: foo")),
    ] {
        assert_eq!(server.replconf(1, words), answer.map_err(str::to_owned), "{words:?}");
    }
    assert_eq!(
        server.psync(1, "?", "-1").unwrap_err(),
        "ERR Filtered replica requires EOF capability"
    );
}

#[test]
fn replicas_that_come_within_the_delay_share_a_snapshot_and_a_later_one_waits() {
    let mut server = Server::new(Options { diskless_sync_delay_s: 2, ..Options::default() });
    for client in 1..=3 {
        server.replconf(client, &["REPLCONF", "capa", "eof"]).unwrap();
        let actions = server.psync(client, "?", "-1").unwrap();
        assert!(has(&actions, "log Delay next BGSAVE for diskless SYNC"));
    }
    let actions = server.wait(3000);
    assert!(has(&actions, "replicas: [1, 2, 3]"));
    assert!(has(&actions, "1> \n"), "a sign of life while it waits");
    assert_eq!(server.event(Event::SnapshotStarted(SnapshotId(1))).len(), 3);
    server.replconf(4, &["REPLCONF", "capa", "eof"]).unwrap();
    assert!(has(&server.psync(4, "?", "-1").unwrap(), "Current BGSAVE has socket target"));
    let actions = server.event(Event::SnapshotDone(SnapshotId(1)));
    assert!(has(
        &actions,
        "Streamed RDB transfer with replica 10.0.0.1:<unknown-replica-port> succeeded (socket)"
    ));
    assert!(!has(&actions, "StreamTo"));
    // It is sent the stream when it has said that it found the end.
    let args = OwnedArgs::from_slices(&["REPLCONF", "ACK", "0"]);
    let (_, actions) =
        server.call(|replication, turn| replication.replconf(2, args.as_args(), turn));
    assert!(has(&actions, "StreamTo(2)"));
    assert!(has(&server.wait(3000), "replicas: [4]"));
}

#[test]
fn a_snapshot_into_a_file_can_be_joined() {
    let mut server = Server::new(Options { diskless_sync: false, ..Options::default() });
    assert!(has(
        &server.psync(1, "?", "-1").unwrap(),
        "StartSnapshot { snapshot: SnapshotId(1), target: File"
    ));
    server.event(Event::SnapshotStarted(SnapshotId(1)));
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    let actions = server.psync(2, "?", "-1").unwrap();
    assert!(has(&actions, "2> +FULLRESYNC") && has(&actions, "Waiting for end of BGSAVE for SYNC"));
    server.replconf(3, &["REPLCONF", "capa", "eof", "rdb-filter-only", ""]).unwrap();
    assert!(has(
        &server.psync(3, "?", "-1").unwrap(),
        "Can't attach the replica to the current BGSAVE"
    ));
    let actions = server.event(Event::SnapshotDone(SnapshotId(1)));
    assert!(
        has(&actions, "SendFile(1, SnapshotId(1))") && has(&actions, "SendFile(2, SnapshotId(1))")
    );
    assert!(has(&server.event(Event::FileSent(2)), "StreamTo(2)"));
    assert_eq!(server.pending(2).len(), 37);
    assert_eq!(server.pending(1).len(), 0);
}

/// Found by the simulator: the old snapshot and the new history had the same offset.
#[test]
fn a_snapshot_of_data_that_was_replaced_is_joined_by_nobody() {
    let mut server = Server::new(Options { diskless_sync: false, ..Options::default() });
    server.sync(1, Ask::Sync).unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(1)));
    server.call(|replication, turn| replication.replicaof(9, "h", b"1", "", turn)).0.unwrap();
    server.shake_hands(1);
    let actions = server.received(1, &format!("+FULLRESYNC {ID} 0\r\n$3\r\nRDB"));
    assert!(has(&actions, "AbortSnapshot(SnapshotId(1))"));
    server.event(Event::Loaded(LinkId(1), 0));
    assert!(has(&server.psync(2, "?", "-1").unwrap(), "StartSnapshot { snapshot: SnapshotId(2)"));
}

#[test]
fn a_snapshot_from_before_the_backlog_went_is_joined_by_nobody() {
    let mut server =
        Server::new(Options { diskless_sync: false, backlog_ttl_s: 1, ..Options::default() });
    server.sync(1, Ask::Sync).unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(1)));
    server.event(Event::ClientClosed(1));
    assert!(has(&server.wait(4000), "Replication backlog freed"));
    assert!(has(
        &server.psync(2, "?", "-1").unwrap(),
        "Can't attach the replica to the current BGSAVE"
    ));
}

#[test]
fn a_snapshot_that_cannot_begin_or_fails_sends_its_replicas_away() {
    let mut server = Server::new(Options { diskless_sync: false, ..Options::default() });
    server.sync(1, Ask::Sync).unwrap();
    let actions = server.event(Event::SnapshotRefused(SnapshotId(1)));
    assert!(
        has(&actions, "1> -ERR BGSAVE failed, replication can't continue")
            && has(&actions, "CloseAfterReply(1)")
    );
    server.sync(2, Ask::Sync).unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(2)));
    let actions = server.event(Event::SnapshotFailed(SnapshotId(2)));
    assert!(
        has(&actions, "SYNC failed. BGSAVE child returned an error")
            && has(&actions, "CloseReplica(2)")
    );
}

#[test]
fn a_snapshot_to_sockets_ends_with_its_last_replica() {
    let mut server = Server::new(Options { diskless_sync_delay_s: 0, ..Options::default() });
    server.replconf(1, &["REPLCONF", "capa", "eof"]).unwrap();
    server.psync(1, "?", "-1").unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(1)));
    assert!(has(&server.event(Event::ClientClosed(1)), "AbortSnapshot(SnapshotId(1))"));
}

#[test]
fn rdb_only_replicas_are_closed_when_they_have_it() {
    let mut server = Server::new(Options { diskless_sync_delay_s: 0, ..Options::default() });
    server.replconf(1, &["REPLCONF", "capa", "eof", "rdb-only", "1"]).unwrap();
    server.psync(1, "?", "-1").unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(1)));
    let actions = server.event(Event::SnapshotDone(SnapshotId(1)));
    assert!(has(
        &actions,
        "rdb only replica (10.0.0.1:<unknown-replica-port>) should be disconnected asap"
    ));
    assert!(has(&actions, "CloseAfterReply(1)"));
}

#[test]
fn wait_counts_acknowledgements_and_asks_for_them_once_a_turn() {
    let mut server = Server::with_replica();
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    let offset = server.replication.history().offset;
    for _ in 0..3 {
        assert_eq!(server.replication.wait(offset, 1), Ok(0));
    }
    server.event(Event::EndOfTurn);
    server.event(Event::EndOfTurn);
    let getack = "*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n".len();
    assert_eq!(server.offset(), offset.bytes() + getack as i64);
    server.replconf(1, &["REPLCONF", "ACK", &offset.to_string()]).unwrap();
    assert_eq!(server.replication.wait(offset, 1), Ok(1));
}

#[test]
fn waitaof_counts_replicas_whose_disk_has_it() {
    let mut server = Server::with_replica();
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    let offset = server.replication.history().offset;
    let at = offset.to_string();
    assert_eq!(server.replication.wait_for_disks(offset, 1), Ok(0));
    let moved = |server: &mut Server, words: &[&str]| {
        let args = OwnedArgs::from_slices(words);
        let (reply, actions) = server.call(|it, turn| it.replconf(1, args.as_args(), turn));
        assert_eq!(reply, Ok(Replconf::Silent));
        has(&actions, "AcksMoved")
    };
    assert!(moved(&mut server, &["REPLCONF", "ACK", &at]), "a replica that keeps no log");
    assert_eq!(server.replication.wait_for_disks(offset, 1), Ok(0));
    assert!(moved(&mut server, &["REPLCONF", "ACK", &at, "FACK", "3"]));
    assert_eq!(server.replication.fsynced(offset), 0);
    assert!(moved(&mut server, &["REPLCONF", "ACK", &at, "fack", &at]));
    assert!(!moved(&mut server, &["REPLCONF", "ACK", &at, "FACK", "2"]), "it does not go back");
    assert_eq!(server.replication.wait_for_disks(offset, 1), Ok(1));
}

#[test]
fn a_replica_tells_what_its_disk_has_and_once_more_when_it_has_what_was_asked_about() {
    let mut server = Server::synced_replica();
    let asked = |server: &mut Server, durable: Option<i64>| {
        server.durable = durable.and_then(Offset::after);
        let args = OwnedArgs::from_slices(&["REPLCONF", "GETACK", "*"]);
        let (reply, actions) = server.call(|it, turn| it.replconf(9, args.as_args(), turn));
        assert_eq!(reply, Ok(Replconf::Silent));
        sent(&actions).join(",")
    };
    assert_eq!(asked(&mut server, None), "REPLCONF ACK 1000");
    assert_eq!(asked(&mut server, Some(1000)), "REPLCONF ACK 1000 FACK 1000");
    assert_eq!(asked(&mut server, Some(900)), "REPLCONF ACK 1000 FACK 900");
    server.durable = Offset::after(999);
    assert_eq!(sent(&server.event(Event::EndOfTurn)), [""; 0]);
    server.durable = Offset::after(1000);
    assert_eq!(sent(&server.event(Event::EndOfTurn)), ["REPLCONF ACK 1000 FACK 1000"]);
    assert_eq!(sent(&server.event(Event::EndOfTurn)), [""; 0], "once");
}

#[test]
fn writes_need_enough_replicas_that_are_heard_of() {
    let mut server = Server::with_replica();
    let options = server.replication.options().clone();
    server.replication.set_options(
        Options { min_replicas_to_write: 1, min_replicas_max_lag_s: 3, ..options },
        server.now_ms,
    );
    server.wait(1000);
    assert!(server.replication.has_enough_replicas());
    server.wait(5000);
    assert!(!server.replication.has_enough_replicas());
    server.replication.heard_of(1, server.now_ms);
    server.wait(1000);
    assert!(server.replication.has_enough_replicas());
}

#[test]
fn a_replica_that_is_silent_is_dropped_and_one_that_came_by_sync_is_not() {
    let mut server = Server::with_replica();
    server.sync(2, Ask::Sync).unwrap();
    server.event(Event::SnapshotStarted(SnapshotId(2)));
    server.event(Event::SnapshotDone(SnapshotId(2)));
    server.event(Event::FileSent(2));
    let actions = server.wait(62_000);
    assert!(has(&actions, "Disconnecting timedout replica (streaming sync): 10.0.0.1:7001"));
    assert!(has(&actions, "CloseReplica(1)") && !has(&actions, "CloseReplica(2)"));
}

#[test]
fn the_backlog_goes_when_nobody_has_followed_for_long_counted_from_the_promotion_too() {
    let mut server = Server::with_replica();
    let id = server.id();
    server.wait(5_000);
    server.event(Event::ClientClosed(1));
    assert!(!has(&server.wait(3_600_000), "freed"));
    assert!(has(
        &server.wait(2000),
        "Replication backlog freed after 3600 seconds without connected replicas."
    ));
    assert_ne!(server.id(), id);

    let mut server = Server::synced_replica();
    server.replication.set_options(Options { backlog_ttl_s: 10, ..Options::default() }, 0);
    server.now_ms += 60_000;
    server.call(|replication, turn| replication.replicaof_no_one("", turn)).0.unwrap();
    assert!(!has(&server.wait(9_000), "freed"));
    assert!(has(&server.wait(4_000), "freed"));
}

#[test]
fn a_replica_beyond_the_limit_is_dropped_or_its_writers_slowed() {
    let limit = OutputLimit { hard_bytes: 4 << 20, soft_bytes: 2 << 20, soft_seconds: 5 };
    let write = vec![b'x'; 1 << 20];
    for slow_writers in [false, true] {
        let mut server = Server::with_replica();
        let options = server.replication.options().clone();
        server.replication.set_options(Options { output_limit: limit, slow_writers, ..options }, 0);
        assert_eq!(server.replication.pace(), Pace::Free);
        for _ in 0..3 {
            server.replication.append(0, &write);
            server.event(Event::EndOfTurn);
        }
        server.replconf(1, &["REPLCONF", "ACK", "1"]).unwrap();
        let actions = server.wait(10_000);
        assert_eq!(has(&actions, "overcoming of output buffer limits"), !slow_writers);
        if slow_writers {
            let Pace::Bytes(bytes) = server.replication.pace() else { panic!("not slowed") };
            assert!(bytes < 30_000, "{bytes}");
            // A socket that takes nothing at all does not hold writers up for ever.
            server.replication.sent(1, 0, server.now_ms);
            let mut actions = Vec::new();
            for _ in 0..70 {
                server.replication.heard_of(1, server.now_ms);
                actions.extend(server.wait(1000));
            }
            assert!(has(&actions, "CloseReplica(1)"));
            assert_eq!(server.replication.pace(), Pace::Free);
        }
    }
}

#[test]
fn failover_refusals_are_those_of_redis() {
    let mut server = Server::new(Options::default());
    for (words, error) in [
        (&["FAILOVER", "ABORT"][..], "ERR No failover in progress."),
        (&["FAILOVER", "TIMEOUT", "0"], "ERR FAILOVER timeout must be greater than 0"),
        (&["FAILOVER", "TIMEOUT", "x"], "ERR value is not an integer or out of range"),
        (&["FAILOVER", "TO", "h"], "ERR syntax error"),
        (&["FAILOVER", "TO", "h", "1", "TO", "h", "2"], "ERR syntax error"),
        (&["FAILOVER", "FORCE"], "ERR FAILOVER requires connected replicas."),
    ] {
        assert_eq!(server.failover(words).unwrap_err(), error, "{words:?}");
    }
    let mut server = Server::with_replica();
    for (words, error) in [
        (
            &["FAILOVER", "FORCE", "TIMEOUT", "5"][..],
            "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
        ),
        (
            &["FAILOVER", "TO", "1.2.3.4", "5"],
            "ERR FAILOVER target HOST and PORT is not a replica.",
        ),
    ] {
        assert_eq!(server.failover(words).unwrap_err(), error, "{words:?}");
    }
    server.psync(2, "?", "-1").unwrap();
    server.replconf(2, &["REPLCONF", "listening-port", "7002"]).unwrap();
    assert_eq!(
        server.failover(&["FAILOVER", "TO", "10.0.0.1", "7002"]).unwrap_err(),
        "ERR FAILOVER target replica is not online."
    );
    assert!(has(&server.failover(&["FAILOVER"]).unwrap(), "PauseWrites"));
    assert_eq!(server.failover(&["FAILOVER"]).unwrap_err(), "ERR FAILOVER already in progress.");
    assert_eq!(
        server.psync(3, "?", "-1").unwrap_err(),
        "NOMASTERLINK Can't SYNC while failing over"
    );
    let actions = server.failover(&["FAILOVER", "ABORT"]).unwrap();
    assert_eq!(logged(&actions), ["FAILOVER to any replica aborted: Failover manually aborted"]);
}

#[test]
fn a_failover_waits_for_the_replica_and_asks_it_to_take_over() {
    let mut server = Server::with_replica();
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    let (id, end) = (server.id(), server.offset());
    server.failover(&["FAILOVER", "TO", "10.0.0.1", "7001", "TIMEOUT", "9000"]).unwrap();
    server.is_paused = true;
    assert_eq!(server.event(Event::EndOfTurn), [""; 0]);
    server.wait(3000);
    assert_eq!(server.offset(), end, "a ping would move what is waited for");
    server.replconf(1, &["REPLCONF", "ACK", &end.to_string()]).unwrap();
    let actions = server.event(Event::EndOfTurn);
    assert_eq!(logged(&actions)[0], "Failover target 10.0.0.1:7001 is synced, failing over.");
    assert!(has(&actions, "Connect { link: LinkId(1), host: \"10.0.0.1\", port: 7001 }"));
    let actions = server.shake_hands(1);
    assert_eq!(sent(&actions), [format!("PSYNC {id} {} FAILOVER", end + 1)]);
    let actions = server.received(1, &format!("+CONTINUE {OTHER_ID}\r\n"));
    assert!(has(&actions, "ResumeWrites") && server.replication.is_link_up());
}

#[test]
fn a_failover_that_is_rejected_or_late_leaves_a_primary() {
    let mut server = Server::with_replica();
    let end = server.offset().to_string();
    server.replconf(1, &["REPLCONF", "ACK", &end]).unwrap();
    server.failover(&["FAILOVER"]).unwrap();
    server.event(Event::EndOfTurn);
    server.shake_hands(1);
    let actions = server.received(1, "-ERR PSYNC FAILOVER replid must match my replid.\r\n");
    assert!(has(
        &actions,
        "FAILOVER to 10.0.0.1:7001 aborted: Failover target rejected psync request"
    ));
    assert!(has(&actions, "ResumeWrites") && !server.replication.is_replica());

    let mut server = Server::with_replica();
    server.replication.append(0, b"*1\r\n$4\r\nwrit\r\n");
    server.failover(&["FAILOVER", "TIMEOUT", "300"]).unwrap();
    assert!(has(
        &server.wait(1000),
        "FAILOVER to any replica aborted: Replica never caught up before timeout"
    ));
}

#[test]
fn the_failover_form_of_psync_promotes_whoever_has_the_same_history() {
    let mut server = Server::synced_replica();
    let ask = |id| Ask::Psync { id, first_byte: b"1001", failover: true };
    assert_eq!(
        server.sync(1, ask(OTHER_ID.as_bytes())).unwrap_err(),
        "ERR PSYNC FAILOVER replid must match my replid."
    );
    let actions = server.sync(1, ask(ID.as_bytes())).unwrap();
    assert!(
        has(&actions, "MASTER MODE enabled (failover request from 'id=9')")
            && has(&actions, "1> +CONTINUE")
    );
    assert_eq!(
        server.sync(2, ask(ID.as_bytes())).unwrap_err(),
        "ERR PSYNC FAILOVER can't be sent to a master."
    );
}

#[test]
fn a_replica_without_its_primary_syncs_nobody() {
    let mut server = Server::synced_replica();
    server.event(Event::LinkClosed(LinkId(1), "connection lost"));
    assert_eq!(
        server.psync(1, "?", "-1").unwrap_err(),
        "NOMASTERLINK Can't SYNC while not connected with my master"
    );
}

#[test]
fn replicaof_answers_as_redis_does() {
    let mut server = Server::with_replica();
    let mut replicaof = |client, host: &str, port: &str| {
        server
            .call(|replication, turn| {
                replication.replicaof(client, host, port.as_bytes(), "id=3", turn)
            })
            .0
            .map_err(|refusal| String::from_utf8(refusal.wire()).unwrap())
    };
    assert_eq!(replicaof(9, "h", "99999").unwrap_err(), "ERR Invalid master port");
    assert_eq!(
        replicaof(1, "h", "1").unwrap_err(),
        "ERR Command is not valid when client is a replica."
    );
    assert_eq!(replicaof(9, "Host", "1"), Ok(true));
    assert_eq!(replicaof(9, "hOST", "1"), Ok(false));
}

#[test]
fn a_restarted_primary_is_continued_by_who_has_just_what_it_has() {
    let mut server = Server::new(Options { diskless_sync_delay_s: 0, ..Options::default() });
    let saved = SavedHistory::from_fields(ID.as_bytes(), 500, 0).unwrap();
    server.replication.restore(saved, 0);
    server.replication.append(0, b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n");
    assert!(has(&server.psync(1, ID, "501").unwrap(), "1> +CONTINUE"));
    assert!(has(&server.psync(2, ID, "502").unwrap(), "I can reply up to 501"));
    assert!(has(&server.psync(3, ID, "500").unwrap(), "for lack of backlog"));
}

#[test]
fn lines_that_do_not_end_are_no_conversation() {
    let mut server = Server::replica(Options::default());
    server.wait(100);
    server.event(Event::Connected(LinkId(1)));
    let actions = server.received(1, &"x".repeat(LINE_BYTES_MAX + 1));
    assert!(has(&actions, "CloseLink(LinkId(1))"));
}
