//! Replies whole, in pieces and broken. Agreement with redis-protocol is tested in `owned`.

use proptest::prelude::*;

use super::*;

fn scan(input: &[u8]) -> Result<Option<usize>, ReplyError> {
    ReplyScanner::new().scan(input, &ReplyLimits::default())
}

#[test]
fn every_type_is_measured() {
    for reply in [
        "+OK\r\n",
        "+\r\n",
        "+a\rb\nc\r\n",
        "-ERR no\r\n",
        ":0\r\n",
        ":-12\r\n",
        ":+1\r\n",
        ":-9223372036854775808\r\n",
        "$0\r\n\r\n",
        "$5\r\nab\r\nc\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        "_\r\n",
        ",1.5\r\n",
        ",-inf\r\n",
        ",nan\r\n",
        ",1e+17\r\n",
        "#t\r\n",
        "#f\r\n",
        "(-3492890328409238509324850943850943825024385\r\n",
        "!3\r\nERR\r\n",
        "=6\r\ntxt:hi\r\n",
        "~2\r\n:1\r\n:2\r\n",
        "%1\r\n+k\r\n*0\r\n",
        ">2\r\n+message\r\n$1\r\nx\r\n",
        "|1\r\n+ttl\r\n:9\r\n$1\r\nx\r\n",
        "*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n",
        "|0\r\n|0\r\n:1\r\n",
    ] {
        let input = [reply.as_bytes(), b"+next\r\n"].concat();
        assert_eq!(scan(&input), Ok(Some(reply.len())), "{reply:?}");
        let mut scanner = ReplyScanner::new();
        for end in 0..reply.len() {
            assert_eq!(
                scanner.scan(&input[..end], &ReplyLimits::default()),
                Ok(None),
                "{reply:?} cut at {end}"
            );
        }
        assert_eq!(
            scanner.scan(&input, &ReplyLimits::default()),
            Ok(Some(reply.len())),
            "{reply:?}"
        );
    }
}

#[test]
fn replies_follow_each_other() {
    let input = b"+OK\r\n*1\r\n*1\r\n:1\r\n$1\r\na\r\n:7\r\n";
    let (mut scanner, mut at, mut ends) = (ReplyScanner::new(), 0, Vec::new());
    while let Some(used) = scanner.scan(&input[at..], &ReplyLimits::default()).unwrap() {
        at += used;
        ends.push(at);
    }
    assert_eq!(ends, [5, 17, 24, 28]);
    assert!(!scanner.is_inside());
}

#[test]
fn nonsense_is_told_apart() {
    use ReplyError::*;
    for (input, error) in [
        (&b"hello\r\n"[..], UnknownType(b'h')),
        (b"*1\r\n\r\n", UnknownType(b'\r')),
        (b"$\r\n", InvalidLength(b'$')),
        (b"$1x\r\n", InvalidLength(b'$')),
        (b"$-2\r\n", InvalidLength(b'$')),
        (b"$+3\r\n", InvalidLength(b'$')),
        (b"$99999999999999999999\r\n", InvalidLength(b'$')),
        (b"*18446744073709551615\r\n", TooManyValues),
        (b"%18446744073709551615\r\n", TooManyValues),
        (b"$111111111111111111111111111111111", InvalidLength(b'$')),
        (b"%-1\r\n", InvalidLength(b'%')),
        (b"=3\r\ntxt\r\n", InvalidLength(b'=')),
        (b"=6\r\ntxthi!\r\n", InvalidScalar(b'=')),
        (b":\r\n", InvalidScalar(b':')),
        (b":1 \r\n", InvalidScalar(b':')),
        (b":9223372036854775808\r\n", InvalidScalar(b':')),
        (b"#x\r\n", InvalidScalar(b'#')),
        (b"_x\r\n", InvalidScalar(b'_')),
        (b",one\r\n", InvalidScalar(b',')),
        (b"$3\r\nabcd\r\n", MissingLineEnd),
        (b"$3\r\nabc\rx", MissingLineEnd),
        (b"$?\r\n", Streamed),
        (b"*?\r\n", Streamed),
    ] {
        assert_eq!(scan(input), Err(error), "{}", input.escape_ascii());
    }
}

#[test]
fn limits_are_inclusive() {
    let limits = ReplyLimits { bulk_max: 10, values_max: 5, line_max: 8, depth_max: 3 };
    let within = |input: &[u8]| ReplyScanner::new().scan(input, &limits);
    assert_eq!(within(b"$10\r\n0123456789\r\n"), Ok(Some(17)));
    assert_eq!(within(b"$11\r\n"), Err(ReplyError::TooLargeBulk { len: 11 }));
    assert_eq!(within(b"*5\r\n"), Ok(None));
    assert_eq!(within(b"*6\r\n"), Err(ReplyError::TooManyValues));
    assert_eq!(within(b"%3\r\n"), Err(ReplyError::TooManyValues));
    assert_eq!(within(b"*2\r\n*2\r\n*2\r\n"), Err(ReplyError::TooManyValues));
    assert_eq!(within(&b"*1\r\n".repeat(3)), Ok(None));
    assert_eq!(within(&b"*1\r\n".repeat(4)), Err(ReplyError::TooDeep));
    assert_eq!(within(b"+1234567\r\n"), Ok(Some(10)));
    assert_eq!(within(b"+12345678\r\n"), Err(ReplyError::TooLongLine));
    assert_eq!(within(b"+12345678"), Err(ReplyError::TooLongLine));
}

#[test]
fn siblings_do_not_count_as_depth() {
    let limits = ReplyLimits { depth_max: 2, ..ReplyLimits::default() };
    let reply = [&b"*1000\r\n"[..], &b"*1\r\n:1\r\n".repeat(1000)].concat();
    assert_eq!(ReplyScanner::new().scan(&reply, &limits), Ok(Some(reply.len())));
}

#[test]
fn a_reader_learns_how_much_is_missing() {
    let mut scanner = ReplyScanner::new();
    let limits = ReplyLimits::default();
    assert_eq!(scanner.scan(b"$1000", &limits), Ok(None));
    assert_eq!(scanner.wanted(), None);
    assert_eq!(scanner.scan(b"$1000\r\nabc", &limits), Ok(None));
    assert_eq!(scanner.wanted(), Some(999));
    let whole = [&b"$1000\r\n"[..], &[b'x'; 1000], b"\r\n"].concat();
    assert_eq!(scanner.scan(&whole, &limits), Ok(Some(whole.len())));
    assert_eq!(scanner.wanted(), None);
}

proptest! {
    /// Bytes of any kind, whole or one at a time: the same outcome, no panic.
    #[test]
    fn anything_in_pieces_is_the_same_as_whole(
        input in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            "[*$%~:+,#_(=!|>?0-3tx.\r\n-]{0,60}".prop_map(String::into_bytes),
            "([*%~>|][0-2]\r\n|:-?[0-9]{1,3}\r\n|\\$[0-2]\r\nx{0,2}\r\n|_\r\n){0,9}".prop_map(String::into_bytes),
        ]
    ) {
        let limits = ReplyLimits { bulk_max: 30, values_max: 20, line_max: 20, depth_max: 4 };
        let mut stepped = ReplyScanner::new();
        for end in 0..=input.len() {
            let outcome = stepped.scan(&input[..end], &limits);
            let whole = ReplyScanner::new().scan(&input[..end], &limits);
            prop_assert_eq!(whole, outcome);
            if outcome != Ok(None) {
                break;
            }
        }
    }
}
