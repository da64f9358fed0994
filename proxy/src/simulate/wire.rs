//! Requests and replies as the simulated sides write and read them, plainly.

use std::future::poll_fn;
use std::io;

use redstart_common::net::memory::MemoryStream;
use redstart_common::resp::{ReplyLimits, ReplyScanner};
use tokio::io::ReadBuf;

/// The next complete request, taken off the front.
pub fn take_request(input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut at = 0;
    let count = line(input, &mut at, b'*')?;
    let mut args = Vec::new();
    for _ in 0..count {
        let length = line(input, &mut at, b'$')?;
        args.push(input.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    if at > input.len() {
        return None;
    }
    input.drain(..at);
    Some(args)
}

/// The next complete array of strings and integers, taken off the front.
pub fn take_words(input: &mut Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, String> {
    let mut scanner = ReplyScanner::new();
    let found = scanner.scan(input, &ReplyLimits::default());
    let Some(len) = found.map_err(|error| format!("no reply: {error:?}"))? else { return Ok(None) };
    let reply: Vec<u8> = input.drain(..len).collect();
    if reply[0] != b'*' {
        return Err(format!("no array: {:?}", String::from_utf8_lossy(&reply)));
    }
    let mut at = 0;
    let count = line(&reply, &mut at, b'*').ok_or("no array")?;
    let mut words = Vec::new();
    for _ in 0..count {
        if reply.get(at) == Some(&b':') {
            let number = line(&reply, &mut at, b':').ok_or("no number")?;
            words.push(number.to_string().into_bytes());
            continue;
        }
        let length = line(&reply, &mut at, b'$').ok_or("no string")?;
        words.push(reply.get(at..at + length).ok_or("no string")?.to_vec());
        at += length + 2;
    }
    Ok(Some(words))
}

fn line(input: &[u8], at: &mut usize, first: u8) -> Option<usize> {
    let rest = input.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], first, "{:?}", String::from_utf8_lossy(&rest[..end]));
    let number = std::str::from_utf8(&rest[1..end]).expect("text").parse().expect("a number");
    *at += end + 2;
    Some(number)
}

/// A request as people read it, its words cut short.
pub fn show(args: &[Vec<u8>]) -> String {
    let words = args.iter().map(|word| String::from_utf8_lossy(&word[..word.len().min(20)]));
    words.collect::<Vec<_>>().join(" ")
}

/// The value that every server has for a key: whoever gets another's reply sees it. Keys that begin with `L` have long ones.
pub fn value_of(key: &[u8]) -> Vec<u8> {
    let mut value = b"v:".to_vec();
    value.extend_from_slice(key);
    if key.starts_with(b"L") {
        let bytes = 15_000 + key.iter().map(|byte| usize::from(*byte)).sum::<usize>() * 60;
        value = value.repeat(bytes / value.len());
    }
    value
}

/// What a server says of a key that is written to: the last write, and the server's place.
pub fn written(reply: &[u8]) -> Option<(u64, usize)> {
    let text = std::str::from_utf8(reply).ok().filter(|text| text.starts_with('$'))?;
    let (id, place) = text.split("\r\n").nth(1)?.split_once(' ')?;
    Some((id.parse().ok()?, place.parse().ok()?))
}

/// Reads what has come; nothing is the end.
pub async fn read(stream: &MemoryStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 16 * 1024];
    let mut room = ReadBuf::new(&mut bytes);
    poll_fn(|cx| stream.poll_read(cx, &mut room)).await?;
    let count = room.filled().len();
    bytes.truncate(count);
    Ok(bytes)
}
