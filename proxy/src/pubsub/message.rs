//! What a server says on a connection that subscribes: confirmations, messages and errors, in RESP2.

use redstart_common::resp::{Reader, Value};

use super::{Kind, Topic};

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// A message to a topic, and the channel it was published to.
    Message(Kind, &'a [u8], &'a [u8]),
    /// A topic is subscribed to, or no more.
    Confirmed,
    /// What was asked is refused.
    Refused,
    /// Nothing of interest.
    Alive,
}

/// Reads a whole frame. `None` is for what no such connection says.
#[must_use]
pub fn read(frame: &[u8]) -> Option<Said<'_>> {
    match frame.first()? {
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
        b"pong" => Said::Alive,
        b"subscribe" | b"psubscribe" | b"ssubscribe" | b"unsubscribe" | b"punsubscribe"
        | b"sunsubscribe" => Said::Confirmed,
        _ => return None,
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
        assert_eq!(read(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"), Some(Said::Confirmed));
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
