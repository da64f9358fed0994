//! Who is served, from which key, and in which order, at our server and at the original alike.

use redstart_tests::proxy_support::{Client, eventually};
use redstart_tests::server_support::{Peer, figure};

fn wait(admin: &mut Client, count: u64) {
    eventually("all wait", || figure(admin, "blocked_clients") == count);
}

#[test]
fn of_several_keys_the_one_that_was_written_first_serves() {
    for peer in Peer::both(&[]) {
        let (mut admin, mut waiter) = (peer.client(), peer.client());
        for (request, fill, said) in [
            ("BLPOP a b c 0", "RPUSH c 1|RPUSH a 2|RPUSH b 3", "*2\r\n$1\r\nc\r\n$1\r\n1\r\n"),
            ("BRPOP a b 0", "RPUSH b 1|LPOP b|RPUSH a 2|RPUSH b 3", "*2\r\n$1\r\nb\r\n$1\r\n3\r\n"),
            (
                "BLMPOP 0 2 a b LEFT COUNT 2",
                "RPUSH b 1 2 3|RPUSH a 4",
                "*2\r\n$1\r\nb\r\n*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
            ),
            ("BZPOPMIN a b 0", "ZADD b 1 x|ZADD a 0 y", "*3\r\n$1\r\nb\r\n$1\r\nx\r\n$1\r\n1\r\n"),
            (
                "BZMPOP 0 2 a b MAX",
                "ZADD b 1 x|ZADD a 0 y",
                "*2\r\n$1\r\nb\r\n*1\r\n*2\r\n$1\r\nx\r\n$1\r\n1\r\n",
            ),
            // A key of another kind among them is no error to one who waits.
            ("BLPOP a b 0", "SET a text|RPUSH b 1", "*2\r\n$1\r\nb\r\n$1\r\n1\r\n"),
        ] {
            assert_eq!(admin.call("FLUSHALL"), "+OK\r\n");
            waiter.send(&request.split(' ').collect::<Vec<_>>());
            wait(&mut admin, 1);
            assert_eq!(admin.call("MULTI"), "+OK\r\n");
            for command in fill.split('|') {
                assert_eq!(admin.call(command), "+QUEUED\r\n");
            }
            assert!(admin.call("EXEC").starts_with('*'));
            assert_eq!(waiter.receive(), said, "{}: {request}", peer.name());
        }
    }
}

#[test]
fn many_wait_and_are_served_in_their_order() {
    for peer in Peer::both(&[]) {
        let mut admin = peer.client();
        let mut waiters: Vec<Client> = Vec::new();
        for at in 0..100 {
            let mut waiter = peer.client();
            waiter.send(&["BLPOP", "other", "list", "list", "0"]);
            wait(&mut admin, at + 1);
            waiters.push(waiter);
        }
        // Some leave.
        let staying: Vec<Client> =
            waiters.into_iter().enumerate().filter(|(at, _)| at % 3 != 1).map(|it| it.1).collect();
        wait(&mut admin, staying.len() as u64);
        let elements: Vec<String> = (0..staying.len()).map(|at| at.to_string()).collect();
        assert!(admin.call(&format!("RPUSH list {}", elements.join(" "))).starts_with(':'));
        for (mut waiter, element) in staying.into_iter().zip(elements) {
            let said = format!("*2\r\n$4\r\nlist\r\n${}\r\n{element}\r\n", element.len());
            assert_eq!(waiter.receive(), said, "{}", peer.name());
        }
        assert_eq!(admin.call("EXISTS list"), ":0\r\n");
    }
}

#[test]
fn many_keys_are_watched_in_no_time() {
    // The original compares each key with all that are watched, and takes minutes for the larger number.
    for (peer, count) in Peer::both(&[]).into_iter().zip([1000, 200_000]) {
        let (mut client, mut other) = (peer.client(), peer.client());
        let keys: Vec<String> = (0..count).map(|at| format!("key:{at}")).collect();
        let mut request = vec!["WATCH".to_owned()];
        request.extend(keys);
        for _ in 0..2 {
            client.send(&request);
            assert_eq!(client.receive(), "+OK\r\n");
        }
        assert_eq!(client.call("MULTI"), "+OK\r\n");
        assert_eq!(client.call("PING"), "+QUEUED\r\n");
        assert_eq!(other.call(&format!("SET key:{} v", count - 1)), "+OK\r\n");
        assert_eq!(client.call("EXEC"), "*-1\r\n", "{}", peer.name());
    }
}

#[test]
fn a_message_to_oneself_follows_the_transaction_that_sent_it() {
    let [_, ours] = Peer::both(&[]);
    let mut client = ours.client();
    assert!(client.call("HELLO 3").starts_with('%'));
    assert!(client.call("SUBSCRIBE news").starts_with(">3"));
    for command in ["MULTI", "PUBLISH news hi", "PING"] {
        client.call(command);
    }
    client.send(&["EXEC"]);
    assert_eq!(client.receive(), "*2\r\n:1\r\n+PONG\r\n");
    assert_eq!(client.receive(), ">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn sort_stores_where_its_user_may_write() {
    let [_, ours] = Peer::both(&[]);
    let mut client = ours.client();
    assert_eq!(client.call("RPUSH list 2 1"), ":2\r\n");
    client.call("ACL SETUSER joe on nopass ~list ~GET +@all");
    assert_eq!(client.call("AUTH joe x"), "+OK\r\n");
    // To the finder of keys the second STORE is what GET reads.
    let refused =
        "-NOPERM this user has no permissions to access one of the keys used as arguments\r\n";
    assert_eq!(client.call("SORT list STORE GET STORE forbidden"), refused);
    assert_eq!(client.call("SORT list STORE forbidden"), refused);
    assert_eq!(client.call("SORT list STORE forbidden STORE GET"), ":2\r\n");
}

#[test]
fn more_clients_than_files_are_refused_or_made_room_for() {
    let refused = Peer::both(&[]).map(|peer| {
        let mut client = peer.client();
        assert_eq!(client.call("CONFIG SET maxclients 12000"), "+OK\r\n", "{}", peer.name());
        let said = client.call("CONFIG SET maxclients 100000");
        let words = "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - The operating \
                     system is not able to handle the specified number of clients, try with ";
        let is_refused = said.starts_with(words);
        assert!(is_refused || said == "+OK\r\n", "{}: {said}", peer.name());
        let kept = client.call("CONFIG GET maxclients");
        let wanted = if is_refused { "\r\n12000\r\n" } else { "\r\n100000\r\n" };
        assert!(kept.contains(wanted), "{}: {kept}", peer.name());
        is_refused
    });
    // Which of the two it is lies with the machine.
    assert_eq!(refused[0], refused[1]);
}

#[test]
fn a_monitor_is_an_ordinary_client() {
    for peer in Peer::both(&[]) {
        let (mut admin, mut monitor) = (peer.client(), peer.client());
        assert_eq!(monitor.call("MONITOR"), "+OK\r\n");
        assert_eq!(admin.call("CLIENT LIST TYPE replica"), "$0\r\n\r\n", "{}", peer.name());
        let normal = admin.call("CLIENT LIST TYPE normal");
        assert_eq!(normal.matches(" flags=O ").count(), 1, "{}: {normal}", peer.name());
        assert_eq!(admin.call("CLIENT KILL TYPE replica"), ":0\r\n");
        assert_eq!(admin.call("CLIENT KILL TYPE normal"), ":1\r\n");
    }
}

#[test]
fn figures_move_with_what_they_count() {
    for peer in Peer::both(&[]) {
        let mut client = peer.client();
        let peak = figure(&mut client, "used_memory_peak");
        client.send(&["SET", "k", &"v".repeat(8 << 20)]);
        assert_eq!(client.receive(), "+OK\r\n");
        eventually("the peak was seen", || {
            figure(&mut client, "used_memory_peak") > peak + (8 << 20)
        });
        assert_eq!(client.call("CONFIG SET maxmemory 1mb maxmemory-policy noeviction"), "+OK\r\n");
        assert!(client.call("SET a b").starts_with("-OOM"));
        eventually("memory is over its limit", || {
            figure(&mut client, "current_eviction_exceeded_time") > 0
        });
        assert_eq!(client.call("CONFIG SET maxmemory 0"), "+OK\r\n");
        assert_eq!(client.call("SET a b"), "+OK\r\n");
        assert!(figure(&mut client, "total_eviction_exceeded_time") > 0, "{}", peer.name());
    }
}
