//! A snapshot as it comes from the primary: `$<bytes>\r\n` and so many bytes, or `$EOF:<mark>\r\n` and bytes up to the mark.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::handshake::text;
use super::ids::ID_LEN;

/// How the end of a snapshot is known.
#[derive(Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes in all, and so many still to come.
    Size { total: u64, left: u64 },
    /// When this was seen.
    Mark {
        mark: [u8; ID_LEN],
        /// The last bytes that came, which may be the beginning of the mark.
        held: BytesMut,
    },
}

/// What the line before a snapshot says.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// The primary still prepares it, and keeps the link alive.
    NotYet,
    /// It comes.
    Comes(Framing),
    /// It does not: the text of the log.
    Refused(String),
}

/// Reads that line.
#[must_use]
pub fn head(line: &[u8]) -> Head {
    match line.split_first() {
        None => Head::NotYet,
        Some((b'-', error)) => {
            Head::Refused(format!("MASTER aborted replication with an error: {}", text(error)))
        }
        Some((b'$', form)) => framing(form).map_or_else(
            || Head::Refused(format!("Bad size of the snapshot from MASTER: '{}'", text(line))),
            Head::Comes,
        ),
        Some(_) => Head::Refused(format!(
            "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port are right?",
            text(line)
        )),
    }
}

fn framing(form: &[u8]) -> Option<Framing> {
    if let Some(mark) = form.strip_prefix(b"EOF:") {
        let mark = *mark.first_chunk()?;
        return Some(Framing::Mark { mark, held: BytesMut::new() });
    }
    let size = redstart_common::number::parse_i64(form)?;
    let size = u64::try_from(size).ok()?;
    Some(Framing::Size { total: size, left: size })
}

impl Framing {
    /// The size, if it is known.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Size { total, .. } => Some(*total),
            Self::Mark { .. } => None,
        }
    }

    /// Takes the bytes that belong to the snapshot out of `bytes` and hands them to `emit`; true when that was all. What follows
    /// it stays in `bytes`.
    pub fn take(&mut self, bytes: &mut Bytes, mut emit: impl FnMut(Bytes)) -> bool {
        let mut emit = |piece: Bytes| {
            if !piece.is_empty() {
                emit(piece);
            }
        };
        match self {
            Self::Size { left, .. } => {
                let now = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= now as u64;
                emit(bytes.split_to(now));
                *left == 0
            }
            Self::Mark { mark, held } => {
                // The mark may lie across the border of what was held and what came. What is held is shorter than the mark.
                let before = held.len();
                held.extend_from_slice(&bytes[..bytes.len().min(ID_LEN - 1)]);
                if let Some(at) = memmem::find(held, mark) {
                    emit(held.split_to(at).freeze());
                    *bytes = bytes.split_off(at + ID_LEN - before);
                    return true;
                }
                held.truncate(before);
                if let Some(at) = memmem::find(bytes, mark) {
                    emit(held.split().freeze());
                    emit(bytes.split_to(at));
                    *bytes = bytes.split_off(ID_LEN);
                    return true;
                }
                let total = before + bytes.len();
                let keep = total.min(ID_LEN - 1);
                let from_new = keep.min(bytes.len());
                let old_out = before.saturating_sub(keep - from_new);
                emit(held.split_to(old_out).freeze());
                emit(bytes.split_to(bytes.len() - from_new));
                held.extend_from_slice(bytes);
                bytes.clear();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn comes(line: &[u8]) -> Framing {
        match head(line) {
            Head::Comes(framing) => framing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_before_a_snapshot() {
        assert_eq!(head(b""), Head::NotYet);
        assert_eq!(comes(b"$12"), Framing::Size { total: 12, left: 12 });
        assert!(matches!(comes(&[&b"$EOF:"[..], &[b'm'; 40]].concat()), Framing::Mark { .. }));
        for refused in [&b"$-1"[..], b"$EOF:short", b"$x", b"+OK", b"-ERR no"] {
            assert!(matches!(head(refused), Head::Refused(_)), "{refused:?}");
        }
    }

    #[test]
    fn an_empty_snapshot_of_known_size_is_complete_at_once() {
        let mut bytes = Bytes::from_static(b"*1");
        assert!(comes(b"$0").take(&mut bytes, |_| panic!("nothing belongs to it")));
        assert_eq!(bytes, "*1");
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_snapshot_and_the_rest_are_told_apart(
            body in proptest::collection::vec(prop_oneof![Just(b'm'), any::<u8>()], 0..300),
            rest in proptest::collection::vec(any::<u8>(), 0..50),
            cuts in proptest::collection::vec(1_usize..120, 1..20),
            by_mark: bool,
        ) {
            let mark: Vec<u8> = (0..40).map(|i| if i < 20 { b'm' } else { b'k' }).collect();
            prop_assume!(memmem::find(&[&body[..], &mark].concat(), &mark) == Some(body.len()));
            let (line, sent) = if by_mark {
                ([&b"$EOF:"[..], &mark].concat(), [&body[..], &mark, &rest].concat())
            } else {
                (format!("${}", body.len()).into_bytes(), [&body[..], &rest].concat())
            };
            let mut framing = comes(&line);
            let (mut taken, mut left) = (Vec::new(), Bytes::from(sent));
            let mut cuts = cuts.iter().cycle();
            let mut done = framing.size() == Some(0);
            while !done {
                let cut = (*cuts.next().unwrap()).min(left.len());
                prop_assert!(cut > 0, "the end was missed");
                let mut piece = left.split_to(cut);
                done = framing.take(&mut piece, |bytes| taken.extend_from_slice(&bytes));
                if done {
                    left = Bytes::from([&piece[..], &left].concat());
                } else {
                    prop_assert!(piece.is_empty());
                }
            }
            prop_assert_eq!(taken, body);
            prop_assert_eq!(&left[..], &rest[..]);
        }
    }
}
