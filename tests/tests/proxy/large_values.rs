//! Large values through the proxy: they go out from where they were read, and come through whole however the bytes
//! are cut, however slow the other side is, and whatever waits around them.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use redstart_common::resp::{RespWrite, encode};
use redstart_tests::proxy_support::{
    Client, Fake, PATIENCE, Proxy, Redis, each_request, eventually, within,
};

/// A value of so many bytes that no other number has.
fn value(number: usize, size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 7 + number * 31 + at) as u8).collect()
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    reply.bulk(bytes);
    reply
}

fn request(args: &[&[u8]]) -> Vec<u8> {
    let mut request = Vec::new();
    encode::request(&mut request, args.iter().copied());
    request
}

fn expect(client: &mut Client, wanted: &[u8], what: &str) {
    let got = client.try_receive().unwrap_or_default();
    assert!(got == wanted, "{what}: {} bytes instead of {}", got.len(), wanted.len());
}

/// Sizes around every bound there is: what is copied, what goes out at once, the read buffer.
const SIZES: [usize; 9] = [100, 16_383, 32_700, 32_768, 65_536, 65_600, 131_072, 262_144, 700_000];

#[test]
fn values_of_any_size_come_back_whole_and_in_order() {
    let servers = [Redis::start(), Redis::start()];
    let ports = [servers[0].port, servers[1].port];
    for arguments in
        [&["--workers", "1", "-s", "0"][..], &["--workers", "1", "-s", "0", "-m", "512"]]
    {
        let proxy = Proxy::start_with("", &ports, arguments);
        let (mut asking, mut hearing) = proxy.client().halves();
        let sender = std::thread::spawn(move || {
            for (number, size) in SIZES.into_iter().enumerate() {
                let (large, small) = (format!("large{number}"), format!("small{number}"));
                asking.send(&["SET".as_bytes(), small.as_bytes(), b"s"]);
                asking.send(&["SET".as_bytes(), large.as_bytes(), &value(number, size)]);
                asking.send(&["GET", &small]);
                asking.send(&["GET", &large]);
                asking.send(&["GET", &large]);
                asking.send(&["STRLEN", &large]);
            }
        });
        for (number, size) in SIZES.into_iter().enumerate() {
            let whole = bulk(&value(number, size));
            expect(&mut hearing, b"+OK\r\n", "a small SET");
            expect(&mut hearing, b"+OK\r\n", "a large SET");
            expect(&mut hearing, b"$1\r\ns\r\n", "a small GET");
            expect(&mut hearing, &whole, "a large GET");
            expect(&mut hearing, &whole, "the same again");
            expect(&mut hearing, format!(":{size}\r\n").as_bytes(), "its length");
        }
        sender.join().expect("everything was sent");
    }
}

#[test]
fn large_values_are_split_and_gathered() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start("", &[servers[0].port, servers[1].port]);
    let mut client = proxy.client();
    for size in [10, 16_384, 40_000, 65_536, 200_000] {
        let values: Vec<Vec<u8>> = (0..12).map(|number| value(number, size)).collect();
        let keys: Vec<String> = (0..12).map(|number| format!("key{number}")).collect();
        let mut args: Vec<&[u8]> = vec![b"MSET"];
        for (key, value) in keys.iter().zip(&values) {
            args.extend([key.as_bytes(), value]);
        }
        client.send(&args);
        expect(&mut client, b"+OK\r\n", "MSET");
        let mut args: Vec<&[u8]> = vec![b"MGET"];
        args.extend(keys.iter().map(String::as_bytes));
        client.send(&args);
        let mut wanted = Vec::new();
        wanted.array_len(12);
        values.iter().for_each(|value| wanted.bulk(value));
        expect(&mut client, &wanted, "MGET");
        for (key, value) in keys.iter().zip(&values) {
            client.send(&["GET", key]);
            expect(&mut client, &bulk(value), key);
        }
    }
}

#[test]
fn a_large_request_may_come_in_any_two_pieces() {
    let server = Redis::start();
    let proxy = Proxy::start("", &[server.port]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let stored = value(3, 65_536);
    let whole = request(&[b"SET", b"key", &stored]);
    let head = whole.len() - 65_536 - 2;
    let cuts = (1..head + 3).chain([30_000, 65_535, 65_536]).chain(whole.len() - 4..whole.len());
    for cut in cuts {
        client.send_raw(&whole[..cut]);
        // Another client's request shows that the proxy has read the first piece, and must not come between.
        assert_eq!(other.call("SET other 1"), "+OK\r\n");
        client.send_raw(&whole[cut..]);
        expect(&mut client, b"+OK\r\n", "SET");
        client.send(&["GET", "key"]);
        expect(&mut client, &bulk(&stored), "GET");
    }
    // A small value at every byte.
    let whole = request(&[b"SET", b"key", b"0123456789"]);
    for cut in 1..whole.len() {
        client.send_raw(&whole[..cut]);
        assert_eq!(other.call("GET other"), "$1\r\n1\r\n");
        client.send_raw(&whole[cut..]);
        expect(&mut client, b"+OK\r\n", "SET");
    }
}

#[test]
fn a_large_reply_may_come_in_any_two_pieces() {
    let reply = Arc::new(bulk(&value(1, 65_536)));
    let sent = Arc::clone(&reply);
    let server = Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, args| {
            let key = String::from_utf8_lossy(args[1]).into_owned();
            let Ok(cut) = key.parse::<usize>() else {
                return stream.write_all(b"+small\r\n").is_ok();
            };
            let first = stream.write_all(&sent[..cut]).is_ok();
            std::thread::yield_now();
            first && stream.write_all(&sent[cut..]).is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let mut client = proxy.client();
    let cuts = (1..12).chain([16_000, 16_384, 32_768, 65_536]).chain(reply.len() - 3..reply.len());
    for cut in cuts {
        client.send(&["GET", "before"]);
        client.send(&["GET", &cut.to_string()]);
        client.send(&["GET", "after"]);
        expect(&mut client, b"+small\r\n", "the reply before");
        expect(&mut client, &reply, "the large reply");
        expect(&mut client, b"+small\r\n", "the reply after");
    }
}

#[test]
fn a_client_that_reads_slowly_gets_everything_and_holds_nobody_up() {
    let server = Redis::start();
    let proxy = Proxy::start("", &[server.port]);
    let (mut slow, mut quick) = (proxy.client(), proxy.client());
    let values: Vec<Vec<u8>> = (0..4).map(|number| value(number, 65_536)).collect();
    for (number, value) in values.iter().enumerate() {
        quick.send(&["SET".as_bytes(), format!("key{number}").as_bytes(), value]);
        expect(&mut quick, b"+OK\r\n", "SET");
    }
    // Far more than the kernel's buffers hold.
    for number in 0..400 {
        slow.send(&["GET".to_owned(), format!("key{}", number % 4)]);
        slow.send(&["ECHO".to_owned(), number.to_string()]);
    }
    for number in 0..40 {
        quick.send(&["GET".to_owned(), format!("key{}", number % 4)]);
        expect(&mut quick, &bulk(&values[number % 4]), "a GET of the quick client");
    }
    for number in 0..400 {
        expect(&mut slow, &bulk(&values[number % 4]), "a GET of the slow client");
        expect(&mut slow, &bulk(number.to_string().as_bytes()), "an ECHO of the slow client");
    }
}

#[test]
fn a_server_that_reads_slowly_gets_every_request_whole() {
    let may_read = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&may_read);
    let server = Fake::start(move |mut stream| {
        assert!(within(PATIENCE, || gate.load(Ordering::SeqCst)));
        each_request(&mut stream, |stream, args| {
            let Some(given) = args.get(2) else { return stream.write_all(b"+pong\r\n").is_ok() };
            let number = String::from_utf8_lossy(args[1]).parse::<usize>().expect("a number");
            let is_right = **given == value(number, given.len())[..];
            let reply = format!("+{number} {} {is_right}\r\n", given.len());
            stream.write_all(reply.as_bytes()).is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let (mut asking, mut hearing) = proxy.client().halves();
    let size = |number: usize| if number.is_multiple_of(3) { 50 } else { 40_000 + number * 100 };
    let sender = std::thread::spawn(move || {
        for number in 0..300 {
            let key = number.to_string();
            asking.send(&[b"SET".as_slice(), key.as_bytes(), &value(number, size(number))]);
            if number == 200 {
                // By now the kernel's buffers are full and the rest waits in the proxy.
                may_read.store(true, Ordering::SeqCst);
            }
        }
    });
    for number in 0..300 {
        let wanted = format!("+{number} {} true\r\n", size(number));
        expect(&mut hearing, wanted.as_bytes(), "a SET");
    }
    sender.join().expect("everything was sent");
}

/// More than may wait for one server connection: what the proxy does not take, the client must keep.
#[test]
fn a_client_that_sends_faster_than_its_server_reads_waits_itself() {
    const VALUES: usize = 300;
    let large = Arc::new(value(1, 1 << 20));
    let sent = Arc::new(AtomicUsize::new(0));
    let progress = Arc::clone(&sent);
    let server = Fake::start(move |mut stream| {
        // Reads nothing until the client has come to a halt.
        let (mut before, mut same) = (0, 0);
        assert!(within(PATIENCE, || {
            let now = progress.load(Ordering::SeqCst);
            same = if now > 0 && now == before { same + 1 } else { 0 };
            before = now;
            same == 50
        }));
        each_request(&mut stream, |stream, args| {
            let number = String::from_utf8_lossy(args[1]);
            stream.write_all(format!("+{number} {}\r\n", args[2].len()).as_bytes()).is_ok()
        });
    });
    let proxy = Proxy::start("", &[server.port]);
    let (mut asking, mut hearing) = proxy.client().halves();
    let sender = std::thread::spawn({
        let (large, sent) = (Arc::clone(&large), Arc::clone(&sent));
        move || {
            for number in 0..VALUES {
                let key = number.to_string();
                asking.send(&[b"SET".as_slice(), key.as_bytes(), &large]);
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    for number in 0..VALUES {
        let wanted = format!("+{number} {}\r\n", large.len());
        expect(&mut hearing, wanted.as_bytes(), "a SET");
    }
    sender.join().expect("everything was sent");
    let peak = proxy.process.peak_bytes();
    assert!(peak < 64 << 20, "{peak} bytes for what a server did not read");
}

#[test]
fn a_large_reply_that_comes_too_late_is_swallowed() {
    let large = value(5, 65_536);
    let late = bulk(&large);
    let told = Arc::new(AtomicUsize::new(0));
    let (told_by_then, asked) = (Arc::clone(&told), AtomicUsize::new(0));
    let server = Fake::start(move |mut stream| {
        each_request(&mut stream, |stream, args| {
            if args[1] == b"late" {
                let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
                eventually("its time is up", || told_by_then.load(Ordering::SeqCst) >= number);
                return stream.write_all(&late).is_ok();
            }
            stream.write_all(b"+soon\r\n").is_ok()
        });
    });
    let proxy = Proxy::start("  timeout: 200\n", &[server.port]);
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.call("GET late"), "-ERR Connection timed out\r\n");
        told.fetch_add(1, Ordering::SeqCst);
        let served = within(PATIENCE, || {
            let reply = client.call("GET soon");
            assert!(reply.starts_with("-ERR ") || reply == "+soon\r\n", "{reply:.90}");
            !reply.starts_with('-')
        });
        assert!(served, "the next is served");
    }
}

/// Whatever is refused is refused alike, in however many pieces it comes, and what comes behind gets its own reply.
#[test]
fn a_large_request_that_is_refused_is_answered_in_whatever_pieces_it_comes() {
    let servers = [Redis::start(), Redis::start()];
    let proxy = Proxy::start("", &[servers[0].port, servers[1].port]);
    let (mut client, mut other) = (proxy.client(), proxy.client());
    let big = "x".repeat(40_000);
    let refused: [(&[&str], &str); 7] = [
        (&["NOSUCH", "k", &big], "-ERR unknown command 'NOSUCH', with args beginning with: 'k' "),
        (&["GET", "k", &big], "-ERR wrong number of arguments for 'get' command"),
        (&["OBJECT", "NOSUCH", &big], "-ERR unknown subcommand 'NOSUCH'"),
        (&["REPLICAOF", "k", &big], "-ERR command 'replicaof' is not supported"),
        (&["EVAL", &big, "6", "alpha", "beta", "gamma", "delta", "zeta", "eta"], "-CROSSSLOT "),
        (&["MSET", "k1", &big, "k2"], "-ERR wrong number of arguments for 'mset' command"),
        (&["SELECT", &big], "-ERR value is not an integer"),
    ];
    for (words, text) in refused {
        let mut request = Vec::new();
        encode::request(&mut request, words.iter().map(|word| word.as_bytes()));
        for piece in [request.len(), request.len() / 2 + 1, request.len() / 3 + 1, 5000] {
            for part in request.chunks(piece) {
                client.send_raw(part);
                // It is read before the next one comes: the worker has served another client meanwhile.
                assert_eq!(other.call("PING"), "+PONG\r\n");
            }
            let reply = client.receive();
            assert!(reply.starts_with(text), "{} in pieces of {piece}: {:.90}", words[0], reply);
            assert_eq!(client.call("ECHO mine"), "$4\r\nmine\r\n", "after {}", words[0]);
        }
    }
}

#[test]
fn a_large_mget_goes_out_as_it_comes() {
    let servers = [Redis::start(), Redis::start()];
    // By names, so that the keys always lie alike.
    let addresses = [("alpha", &servers[0]), ("beta", &servers[1])]
        .map(|(name, server)| format!("127.0.0.1:{}:1 {name}", server.port));
    let keys = "  hash: murmur\n";
    let proxy = Proxy::start_over(keys, &addresses, &["--workers", "1", "-s", "0"]);
    let mut client = proxy.client();
    let value = |key: usize| format!("{key:04}").repeat(256 * 1024);
    for key in 0..24 {
        assert_eq!(client.call(&format!("SET k{key} {}", value(key))), "+OK\r\n");
    }
    assert!(servers.each_ref().iter().all(|it| it.client().call("DBSIZE") != ":0\r\n"));
    let before = proxy.process.peak_bytes();
    // 168 MB, of keys in any order, some of which are not there.
    let wanted: Vec<usize> = (0..170).map(|at| at * 7 % 25).collect();
    let words: String = wanted.iter().map(|key| format!(" k{key}")).collect();
    let bulk = |key: usize| match key {
        24 => "$-1\r\n".to_owned(),
        _ => format!("$1048576\r\n{}\r\n", value(key)),
    };
    client.send_raw(format!("MGET{words}\r\nPING\r\n").as_bytes());
    let all: String = wanted.iter().map(|key| bulk(*key)).collect();
    assert!(client.receive() == format!("*170\r\n{all}"));
    assert_eq!(client.receive(), "+PONG\r\n");
    let grown = proxy.process.peak_bytes().saturating_sub(before);
    // The reader is not as fast as the servers: what it has not taken yet is held, once.
    assert!(grown < 250 << 20, "{grown} bytes for a reply of 168 MB");
    // Behind each other, and behind what is not large.
    let some: String = wanted[..12].iter().map(|key| bulk(*key)).collect();
    let words: String = wanted[..12].iter().map(|key| format!(" k{key}")).collect();
    client.send_raw(format!("GET k24\r\nMGET{words}\r\n").repeat(4).as_bytes());
    for _ in 0..4 {
        assert_eq!(client.receive(), "$-1\r\n");
        assert!(client.receive() == format!("*12\r\n{some}"));
    }
    // A server that is lost in the middle ends the client, as it would be with a single value.
    servers[1].signal(libc::SIGSTOP);
    client.send_raw(format!("MGET{}\r\n", " k0 k1 k2 k3 k4 k5".repeat(30)).as_bytes());
    drop(servers);
    assert!(client.try_receive().is_none_or(|reply| reply.starts_with(b"-ERR ")));
}
