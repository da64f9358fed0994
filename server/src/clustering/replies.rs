//! What comes back on the link of a move: lines that answer AUTH and ESTABLISH, and words of the target.

use redstart_common::resp::{Limits, RequestScanner};

use crate::cluster::moves::Word;

/// Something that the target has said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Yes,
    No(String),
    Word(Word),
    /// It makes no sense.
    Nonsense,
}

/// The longest line that is read, and the longest word.
const BYTES_MAX: usize = 16 << 10;

/// Takes the next thing off the front of what has come; nothing if it is not whole yet.
pub(super) fn next(input: &mut Vec<u8>) -> Option<Reply> {
    const LIMITS: Limits = Limits {
        proto_max_bulk_len: BYTES_MAX,
        multibulk_max: 3,
        inline_max: BYTES_MAX,
        unauthenticated: false,
    };
    match input.first()? {
        b'+' | b'-' => {
            let end = input.windows(2).position(|pair| pair == b"\r\n");
            let Some(end) = end else {
                return (input.len() > BYTES_MAX).then_some(Reply::Nonsense);
            };
            let line: Vec<u8> = input.drain(..end + 2).take(end).collect();
            let text = || String::from_utf8_lossy(&line[1..]).into_owned();
            Some(if line[0] == b'+' { Reply::Yes } else { Reply::No(text()) })
        }
        b'*' => {
            // What is asked for is short, and nearly always whole.
            let mut scanner = RequestScanner::new();
            match scanner.scan(input, &LIMITS) {
                Ok(Some(length)) => {
                    let args = scanner.args(input);
                    let is_ours = args.len() == 3
                        && args.at(0).eq_ignore_ascii_case(b"cluster")
                        && args.at(1).eq_ignore_ascii_case(b"syncslots");
                    let word = if is_ours { Word::of(args.at(2)) } else { None };
                    input.drain(..length);
                    Some(word.map_or(Reply::Nonsense, Reply::Word))
                }
                Ok(None) => None,
                Err(_) => Some(Reply::Nonsense),
            }
        }
        _ => Some(Reply::Nonsense),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_words_come_in_pieces() {
        let sent = b"+OK\r\n-ERR no\r\n*3\r\n$7\r\nCLUSTER\r\n$9\r\nSYNCSLOTS\r\n$6\r\nPROBED\r\n";
        let (mut input, mut heard) = (Vec::new(), Vec::new());
        for byte in sent {
            input.push(*byte);
            heard.extend(next(&mut input));
        }
        assert_eq!(heard, [Reply::Yes, Reply::No("ERR no".to_owned()), Reply::Word(Word::Probed)]);
        for nonsense in [&b"$3\r\n"[..], b"*1\r\n$4\r\nPING\r\n", b"*99\r\n"] {
            assert_eq!(next(&mut nonsense.to_vec()), Some(Reply::Nonsense));
        }
    }
}
