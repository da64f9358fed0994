//! Requests whole, in pieces and broken, and what redis-server 7.0.15 made of them.

use proptest::prelude::*;

use super::*;

/// The length of the first request and its arguments, if it is complete.
type Scanned = Result<Option<(usize, Vec<Vec<u8>>)>, RequestError>;

fn scan(input: &[u8]) -> Scanned {
    scan_within(input, &Limits::default())
}

fn scan_within(input: &[u8], limits: &Limits) -> Scanned {
    let mut scanner = RequestScanner::new();
    let end = scanner.scan(input, limits)?;
    Ok(end.map(|end| (end, scanner.args(input).iter().map(<[u8]>::to_vec).collect())))
}

fn complete(input: &str) -> Vec<String> {
    let (end, args) = scan(input.as_bytes()).unwrap().unwrap();
    assert_eq!(end, input.len(), "{input:?}");
    args.into_iter().map(|arg| String::from_utf8(arg).unwrap()).collect()
}

fn refused(input: &[u8]) -> String {
    let error = scan(input).unwrap_err();
    String::from_utf8_lossy(&error.wire()).into_owned()
}

#[test]
fn arguments_lie_in_the_buffer() {
    assert_eq!(complete("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"), ["SET", "k", ""]);
    assert_eq!(complete("*1\r\n$12\r\nabc\r\ndef\r\nxy\r\n"), ["abc\r\ndef\r\nxy"]);
}

#[test]
fn requests_follow_each_other() {
    let input = b"*1\r\n$4\r\nPING\r\nget k\r\n*0\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    let (mut scanner, mut at, mut seen) = (RequestScanner::new(), 0, Vec::new());
    while let Some(used) = scanner.scan(&input[at..], &Limits::default()).unwrap() {
        seen.push(scanner.args(&input[at..]).len());
        at += used;
    }
    assert_eq!((at, seen), (input.len(), vec![1, 2, 0, 2]));
    assert!(!scanner.is_inside());
}

#[test]
fn requests_that_mean_nothing_have_no_arguments() {
    for input in ["*0\r\n", "*-1\r\n", "*-9223372036854775808\r\n", "\r\n", "\n", "  \r\n"] {
        assert!(complete(input).is_empty(), "{input:?}");
    }
}

#[test]
fn inline_requests_are_lines_of_words() {
    assert_eq!(complete("PING\r\n"), ["PING"]);
    assert_eq!(complete("set  k \"a b\"\n"), ["set", "k", "a b"]);
    assert_eq!(complete("$3\r\n"), ["$3"]);
    assert_eq!(refused(b"set k \"v\r\n"), "ERR Protocol error: unbalanced quotes in request");
}

#[test]
fn the_bytes_after_a_payload_are_not_looked_at() {
    assert_eq!(complete("*2\r\n$3\r\nGETxx$1\r\nkyy"), ["GET", "k"]);
    assert_eq!(complete("*1\rX$4\r!PING\r\n"), ["PING"]);
}

#[test]
fn refusals_have_the_words_of_redis() {
    for (input, text) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*\r\n", "invalid multibulk length"),
        (b"*01\r\n", "invalid multibulk length"),
        (b"*+1\r\n", "invalid multibulk length"),
        (b"*2147483648\r\n", "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1\r\n!\r\n", "expected '$', got '!'"),
        (b"*1\r\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n\n\r\n", "expected '$', got ' '"),
        (b"*1\r\n1234\r\n", "expected '$', got '1'"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$\r\n", "invalid bulk length"),
        (b"*1\r\n$1x\r\n", "invalid bulk length"),
        (b"*1\r\n$00\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
    ] {
        assert_eq!(
            refused(input),
            format!("ERR Protocol error: {text}"),
            "{}",
            input.escape_ascii()
        );
    }
    assert_eq!(scan(b"*1\r\n\xff\r\n").unwrap_err().wire().last_chunk(), Some(b"'\xff'"));
}

#[test]
fn limits_are_inclusive() {
    assert_eq!(scan(b"*2147483647\r\n"), Ok(None));
    assert_eq!(scan(b"*1\r\n$536870912\r\n"), Ok(None));
    let unlimited = Limits { proto_max_bulk_len: usize::MAX, ..Limits::default() };
    assert_eq!(
        scan_within(b"*1\r\n$9223372036854775807\r\n", &unlimited),
        Err(RequestError::TooBigRequest)
    );
}

#[test]
fn strangers_may_send_small_requests_only() {
    let stranger = Limits { unauthenticated: true, ..Limits::default() };
    assert_eq!(scan_within(b"*10\r\n", &stranger), Ok(None));
    assert_eq!(
        scan_within(b"*11\r\n", &stranger),
        Err(RequestError::UnauthenticatedMultibulkLength)
    );
    assert_eq!(scan_within(b"*1\r\n$16384\r\n", &stranger), Ok(None));
    assert_eq!(
        scan_within(b"*1\r\n$16385\r\n", &stranger),
        Err(RequestError::UnauthenticatedBulkLength)
    );
    assert_eq!(scan_within(b"*x\r\n", &stranger), Err(RequestError::InvalidMultibulkLength));
}

#[test]
fn lines_that_do_not_end_are_refused_after_64_kib() {
    let line = |prefix: &[u8], fill: u8, len: usize| [prefix, &vec![fill; len]].concat();
    let max = 64 * 1024;
    for (prefix, error) in [
        (&b""[..], RequestError::TooBigInline),
        (b"*", RequestError::TooBigCountLine),
        (b"*1\r\n$", RequestError::TooBigLengthLine),
    ] {
        let started = prefix.len().min(1);
        assert_eq!(scan(&line(prefix, b'1', max - started)), Ok(None));
        assert_eq!(scan(&line(prefix, b'1', max - started + 1)), Err(error));
        // Redis looks for the end as in a C string, so a NUL hides it.
        let hidden = [&line(prefix, 0, max - started)[..], b"\r\n"].concat();
        assert_eq!(scan(&hidden), Err(error));
        assert_eq!(scan(&hidden[..100]), Ok(None));
    }
    let long = [&vec![b'a'; 2 * max][..], b"\r\n"].concat();
    assert_eq!(
        scan(&long).unwrap().unwrap().0,
        long.len(),
        "an end in sight makes any line short enough"
    );
}

#[test]
fn a_reader_learns_how_much_is_missing() {
    let mut scanner = RequestScanner::new();
    let limits = Limits::default();
    assert_eq!(scanner.scan(b"*1\r\n$10", &limits), Ok(None));
    assert_eq!(scanner.wanted(), None);
    assert_eq!(scanner.scan(b"*1\r\n$1000\r\nabc", &limits), Ok(None));
    assert_eq!(scanner.wanted(), Some(999));
    assert!(scanner.is_inside());
}

#[test]
fn memory_follows_what_arrived_not_what_was_announced() {
    let mut scanner = RequestScanner::new();
    assert_eq!(scanner.scan(b"*2000000000\r\n$1\r\na\r\n", &Limits::default()), Ok(None));
    assert!(scanner.spans.capacity() <= 16);

    let mut scanner = RequestScanner::new();
    let big = [&b"*100000\r\n"[..], &b"$1\r\na\r\n".repeat(100_000)].concat();
    assert_eq!(scanner.scan(&big, &Limits::default()), Ok(Some(big.len())));
    assert_eq!(scanner.spans().len(), 100_000);
    assert_eq!(scanner.scan(b"PING\r\n", &Limits::default()), Ok(Some(6)));
    assert!(scanner.spans.capacity() <= SPANS_KEPT);
    scanner.release();
    assert_eq!(scanner.spans.capacity(), 0);
}

/// Bytes as the recording spells them: hexadecimal parts, `61*70000` for a repeated byte.
fn unspelled(text: &str) -> Vec<u8> {
    let part = |part: &str| {
        let (hex, count) = part.split_once('*').unwrap_or((part, "1"));
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect::<Vec<_>>().repeat(count.parse().unwrap())
    };
    text.split(',').flat_map(part).collect()
}

/// What a server that knows ECHO and `EVAL 'return ARGV' 0` answers.
fn answer(input: &[u8], limits: &Limits) -> Vec<u8> {
    use crate::resp::{RespWrite as _, error};
    let (mut scanner, mut at, mut out) = (RequestScanner::new(), 0, Vec::new());
    loop {
        let rest = &input[at..];
        match scanner.scan(rest, limits) {
            Ok(None) => return out,
            Err(error) => {
                out.error(error.wire());
                return out;
            }
            Ok(Some(used)) => at += used,
        }
        let args = scanner.args(rest);
        match args.get(0) {
            None => {}
            Some(b"ECHO" | b"echo") if args.len() == 2 => out.bulk(args.at(1)),
            Some(b"ECHO" | b"echo") => out.error(error::wrong_arity("echo")),
            Some(b"eval") => {
                out.array_len(args.len() - 3);
                args.tail(3).iter().for_each(|arg| out.bulk(arg));
            }
            Some(_) => out.error(error::unknown_command(args)),
        }
    }
}

#[test]
fn requests_are_read_as_redis_reads_them() {
    let mut count = 0;
    for line in include_str!("../../../tests/golden/protocol.tsv").lines().skip(1) {
        let [client, sent, answered] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let limits = Limits { unauthenticated: client == "stranger", ..Limits::default() };
        let (sent, answered) = (unspelled(sent), unspelled(answered));
        let ours = answer(&sent, &limits);
        assert_eq!(ours.escape_ascii().to_string(), answered.escape_ascii().to_string(), "{line}");
        count += 1;
    }
    assert!(count > 450, "only {count} recorded exchanges");
}

fn any_args() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..14)
}

fn encoded(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    crate::resp::encode::request(&mut out, args.iter().map(Vec::as_slice));
    out
}

proptest! {
    /// Wherever a request is cut, the pieces give what the whole gives.
    #[test]
    fn every_cut_gives_the_same(args in any_args(), more in any::<[u8; 3]>()) {
        let whole = encoded(&args);
        let input = [&whole[..], &more].concat();
        for cut in 0..whole.len() {
            let mut scanner = RequestScanner::new();
            prop_assert_eq!(scanner.scan(&input[..cut], &Limits::default()), Ok(None));
            prop_assert_eq!(scanner.scan(&input, &Limits::default()), Ok(Some(whole.len())));
            let found: Vec<_> = scanner.args(&input).iter().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(&found, &args);
        }
    }

    /// Bytes of any kind, whole or one at a time: the same outcome, spans that lie in the buffer, no panic.
    #[test]
    fn anything_in_pieces_is_the_same_as_whole(
        input in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[*$0-9\r\n\"'x \\\\-]{0,60}".prop_map(String::into_bytes),
            "\\*[0-3]\r\n(\\$[0-4]\r\n[a-z]{0,4}\r\n){0,3}".prop_map(String::into_bytes),
        ]
    ) {
        let limits = Limits { inline_max: 40, multibulk_max: 20, proto_max_bulk_len: 50, unauthenticated: false };
        let mut stepped = RequestScanner::new();
        let mut outcome = Ok(None);
        for end in 0..=input.len() {
            outcome = stepped.scan(&input[..end], &limits);
            if outcome != Ok(None) {
                // The same prefix at once must agree.
                let mut whole = RequestScanner::new();
                prop_assert_eq!(whole.scan(&input[..end], &limits), outcome);
                prop_assert_eq!(whole.spans(), stepped.spans());
                break;
            }
        }
        if let Ok(Some(end)) = outcome {
            prop_assert!(end <= input.len());
            let args = stepped.args(&input);
            for index in 0..args.len() {
                prop_assert!(args.get(index).is_some());
            }
        }
    }
}
