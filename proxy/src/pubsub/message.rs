//! What a server says on a connection that subscribes: confirmations, messages and errors, in RESP2.

use redstart_common::resp::{Reader, Value};

use super::{Kind, Topic};
use crate::backend::redirect;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A message to a topic, and the channel it was published to.
    Message(Kind, &'a [u8], &'a [u8]),
    /// A topic is subscribed to, or no more; unasked, where its slot has gone to another node of a cluster.
    Confirmed {
        /// What it is.
        kind: Kind,
        /// Its name, or the pattern.
        name: &'a [u8],
        /// Whether it is subscribed to.
        is_wanted: bool,
    },
    /// What was asked is refused.
    Refused,
    /// A node of a cluster says that a shard channel is to be asked for elsewhere, or later.
    Elsewhere,
    /// Nothing of interest.
    Alive,
}

/// Reads a whole frame. `None` is for what no such connection says.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Said<'_>> {
    match frame.first()? {
        b'-' if redirect::read(frame).is_some() => return Some(Said::Elsewhere),
        b'-' => return Some(Said::Refused),
        b'+' => return Some(Said::Alive),
        _ => {}
    }
    let mut reader = Reader::new(frame);
    let Value::Array(_) = reader.read()? else { return None };
    let said = reader.read()?.bytes()?;
    let name = reader.read()?.bytes()?;
    Some(match said {
        b"message" => Said::Message(Kind::Channel, name, name),
        b"pmessage" => Said::Message(Kind::Pattern, name, reader.read()?.bytes()?),
        b"smessage" => Said::Message(Kind::Shard, name, name),
        b"pong" if name.is_empty() => Said::Alive,
        said => {
            let kinds = [Kind::Channel, Kind::Pattern, Kind::Shard];
            let of_kind = |kind: Kind| match said {
                _ if said == kind.subscribe().as_bytes() => Some((kind, true)),
                _ if said == kind.unsubscribe().as_bytes() => Some((kind, false)),
                _ => None,
            };
            let (kind, is_wanted) = kinds.into_iter().find_map(of_kind)?;
            Said::Confirmed { kind, name, is_wanted }
        }
    })
}

/// Appends the request that subscribes to a topic, or ends that.
pub fn ask(topic: &Topic, is_wanted: bool, out: &mut Vec<u8>) {
    let kind = topic.kind;
    let name = if is_wanted { kind.subscribe() } else { kind.unsubscribe() };
    redstart_common::resp::encode::request(out, [name.as_bytes(), &topic.name].into_iter());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        let message = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n\r\n\r\n";
        assert_eq!(read(message), Some(Said::Message(Kind::Channel, b"c", b"c")));
        let pattern = b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$1\r\nc\r\n$1\r\nx\r\n";
        assert_eq!(read(pattern), Some(Said::Message(Kind::Pattern, b"c*", b"c")));
        let shard = b"*3\r\n$8\r\nsmessage\r\n$0\r\n\r\n$0\r\n\r\n";
        assert_eq!(read(shard), Some(Said::Message(Kind::Shard, b"", b"")));
        for (kind, name) in [
            (Kind::Channel, "subscribe"),
            (Kind::Pattern, "psubscribe"),
            (Kind::Shard, "ssubscribe"),
            (Kind::Channel, "unsubscribe"),
            (Kind::Pattern, "punsubscribe"),
            (Kind::Shard, "sunsubscribe"),
        ] {
            let frame = format!("*3\r\n${}\r\n{name}\r\n$1\r\nc\r\n:1\r\n", name.len());
            let is_wanted = !name.contains("unsub");
            let confirmed = Some(Said::Confirmed { kind, name: b"c", is_wanted });
            assert_eq!(read(frame.as_bytes()), confirmed, "{name}");
        }
        assert_eq!(read(b"-MOVED 7 127.0.0.1:7000\r\n"), Some(Said::Elsewhere));
        assert_eq!(read(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"), Some(Said::Alive));
        assert_eq!(read(b"+PONG\r\n"), Some(Said::Alive));
        assert_eq!(read(b"-NOPERM no\r\n"), Some(Said::Refused));
        for wrong in
            [&b":1\r\n"[..], b"*0\r\n", b"*2\r\n$3\r\nfoo\r\n$1\r\nx\r\n", b"*1\r\n$9", b""]
        {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
