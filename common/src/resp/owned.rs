//! Replies as owned `redis-protocol` values, for control links, tools and tests.
//!
//! That crate recurses without bound and starts over on partial input, so it is only ever given one complete
//! reply that [`ReplyScanner`] has measured. It must not encode either: integers of many nines leave it with a
//! stray NUL; [`encode`](super::encode) writes.

use redis_protocol::error::RedisProtocolError;
use redis_protocol::{resp2, resp3};

use super::encode::Proto;
use super::limits::ReplyLimits;
use super::reply::{ReplyError, ReplyScanner};

/// An owned reply. In RESP3 maps and sets lose their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A reply of a connection in RESP2.
    Resp2(resp2::types::OwnedFrame),
    /// A reply of a connection in RESP3.
    Resp3(resp3::types::OwnedFrame),
}

/// Why a reply could not be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is no reply, or too large a one.
    #[error(transparent)]
    Unsound(#[from] ReplyError),
    /// It is one that `redis-protocol` has no value for, such as a map with a map as key.
    #[error("reply cannot be represented: {0}")]
    Unrepresentable(String),
}

impl From<RedisProtocolError> for DecodeError {
    fn from(error: RedisProtocolError) -> Self {
        Self::Unrepresentable(error.to_string())
    }
}

/// The reply at the start of `buf` and its length in bytes, or `None` if it is not complete.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(buf: &[u8], proto: Proto) -> Result<Option<(Frame, usize)>, DecodeError> {
    decode_within(buf, proto, &ReplyLimits::default())
}

/// [`decode`] with limits of the caller's.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_within(
    buf: &[u8],
    proto: Proto,
    limits: &ReplyLimits,
) -> Result<Option<(Frame, usize)>, DecodeError> {
    let Some(len) = ReplyScanner::new().scan(buf, limits)? else { return Ok(None) };
    decode_exact(&buf[..len], proto).map(|frame| Some((frame, len)))
}

/// Turns the bytes of exactly one reply, measured before, into a value.
fn decode_exact(reply: &[u8], proto: Proto) -> Result<Frame, DecodeError> {
    let frame = match proto {
        Proto::Resp2 => {
            resp2::decode::decode(reply)?.map(|(frame, used)| (Frame::Resp2(frame), used))
        }
        Proto::Resp3 => {
            resp3::decode::complete::decode(reply)?.map(|(frame, used)| (Frame::Resp3(frame), used))
        }
    };
    match frame {
        Some((frame, used)) if used == reply.len() => Ok(frame),
        _ => Err(DecodeError::Unrepresentable("its end is elsewhere".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redis_protocol::resp3::types::Resp3Frame as _;

    use super::*;
    use crate::resp::encode::RespWrite;

    #[test]
    fn complete_replies_become_values() {
        use resp2::types::OwnedFrame;
        let (frame, used) = decode(b"*2\r\n$1\r\na\r\n:5\r\n+more", Proto::Resp2).unwrap().unwrap();
        let items = vec![OwnedFrame::BulkString(b"a".to_vec()), OwnedFrame::Integer(5)];
        assert_eq!((frame, used), (Frame::Resp2(OwnedFrame::Array(items)), 15));
        assert!(decode(b"*2\r\n$1\r\na\r\n", Proto::Resp2).unwrap().is_none());
        let (frame, _) = decode(b"%1\r\n+a\r\n#t\r\n", Proto::Resp3).unwrap().unwrap();
        assert!(
            matches!(frame, Frame::Resp3(frame) if frame.kind() == resp3::types::FrameKind::Map)
        );
    }

    #[test]
    fn nesting_is_refused_before_it_can_overflow_the_stack() {
        let deep = b"*1\r\n".repeat(100_000);
        assert!(matches!(
            decode(&deep, Proto::Resp2),
            Err(DecodeError::Unsound(ReplyError::TooDeep))
        ));
    }

    #[test]
    fn what_the_values_cannot_hold_is_an_error() {
        let map_as_key = b"%1\r\n%1\r\n+a\r\n+b\r\n+c\r\n";
        assert!(matches!(decode(map_as_key, Proto::Resp3), Err(DecodeError::Unrepresentable(_))));
    }

    /// A reply as a tree, to be written by our encoder.
    #[derive(Clone, Debug)]
    enum Tree {
        Simple(String),
        Error(String),
        Integer(i64),
        Bulk(Vec<u8>),
        Null,
        Double(f64),
        Boolean(bool),
        BigNumber(u64),
        Verbatim(String),
        Array(Vec<Tree>),
        Push(Vec<Tree>),
        Map(Vec<(String, Tree)>),
    }

    fn write(out: &mut Vec<u8>, tree: &Tree, proto: Proto) {
        match tree {
            Tree::Simple(text) => out.simple(text),
            Tree::Error(text) => out.error(text),
            Tree::Integer(value) => out.integer(*value),
            Tree::Bulk(bytes) => out.bulk(bytes),
            Tree::Null => out.null(proto),
            Tree::Double(value) => out.double(*value, proto),
            Tree::Boolean(value) => out.boolean(*value, proto),
            Tree::BigNumber(value) => out.big_number(value.to_string().as_bytes(), proto),
            Tree::Verbatim(text) => out.verbatim(*b"txt", text.as_bytes(), proto),
            Tree::Array(items) => {
                out.array_len(items.len());
                items.iter().for_each(|item| write(out, item, proto));
            }
            Tree::Push(items) => {
                out.push_len(items.len(), proto);
                items.iter().for_each(|item| write(out, item, proto));
            }
            Tree::Map(pairs) => {
                out.map_len(pairs.len(), proto);
                for (key, value) in pairs {
                    out.bulk(key.as_bytes());
                    write(out, value, proto);
                }
            }
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let leaf = prop_oneof![
            "[ -~]{0,12}".prop_map(Tree::Simple),
            "[A-Z]{3} [ -~]{0,12}".prop_map(Tree::Error),
            any::<i64>().prop_map(Tree::Integer),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Tree::Bulk),
            Just(Tree::Null),
            (-1e6..1e6f64).prop_map(Tree::Double),
            any::<bool>().prop_map(Tree::Boolean),
            any::<u64>().prop_map(Tree::BigNumber),
            "[ -~]{0,12}".prop_map(Tree::Verbatim),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::Array),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::Push),
                prop::collection::vec(("[a-z]{1,5}", inner), 0..4).prop_map(Tree::Map),
            ]
        })
    }

    proptest! {
        /// Our scanner and redis-protocol see the same end, whole and at every cut.
        #[test]
        fn the_scanner_agrees_with_redis_protocol(
            tree in trees(),
            proto in prop_oneof![Just(Proto::Resp2), Just(Proto::Resp3)],
        ) {
            let mut reply = Vec::new();
            write(&mut reply, &tree, proto);
            let limits = ReplyLimits::default();
            let theirs = |input: &[u8]| match proto {
                Proto::Resp2 => resp2::decode::decode_range(input).unwrap().map(|(_, used)| used),
                Proto::Resp3 => resp3::decode::complete::decode_range(input).unwrap().map(|(_, used)| used),
            };
            let more = [&reply[..], b"+next\r\n"].concat();
            prop_assert_eq!(ReplyScanner::new().scan(&more, &limits), Ok(theirs(&more)));
            prop_assert_eq!(theirs(&more), Some(reply.len()));
            prop_assert!(decode(&more, proto).unwrap().is_some());
            for cut in 0..reply.len() {
                let mut scanner = ReplyScanner::new();
                prop_assert_eq!(scanner.scan(&reply[..cut], &limits), Ok(theirs(&reply[..cut])));
                prop_assert_eq!(scanner.scan(&more, &limits), Ok(Some(reply.len())));
            }
        }

        /// The scanner is the stricter of the two: what it completes, redis-protocol does not see end elsewhere.
        #[test]
        fn no_reply_ends_in_two_places(input in "([*+:$-][0-3]?\r\n|x{0,3}\r\n){1,8}") {
            let ours = ReplyScanner::new().scan(input.as_bytes(), &ReplyLimits::default());
            if let (Ok(Some(ours)), Ok(Some((_, theirs)))) = (ours, resp2::decode::decode_range(input.as_bytes())) {
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
