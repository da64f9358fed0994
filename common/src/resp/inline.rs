//! Requests typed as a line of words, the way telnet sends them, with Redis's quoting.

use super::args::Span;

/// A quote that is not closed, or has something glued to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unbalanced;

/// Where the words of a line were put.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Nothing needed unquoting: the spans are offsets of the line itself.
    InLine,
    /// The spans are offsets of the scratch buffer.
    InScratch,
}

/// Cuts `line` (without its line end) into words.
pub(super) fn split(
    line: &[u8],
    spans: &mut Vec<Span>,
    scratch: &mut Vec<u8>,
) -> Result<Words, Unbalanced> {
    if memchr::memchr2(b'"', b'\'', line).is_none() {
        split_plain(line, spans);
        return Ok(Words::InLine);
    }
    scratch.clear();
    let mut pos = 0;
    while let Some(skipped) = line[pos..].iter().position(|&byte| !is_space(byte)) {
        let start = scratch.len();
        pos = word(line, pos + skipped, scratch)?;
        spans.push(span(start, scratch.len()));
    }
    Ok(Words::InScratch)
}

fn split_plain(line: &[u8], spans: &mut Vec<Span>) {
    let mut pos = 0;
    while let Some(skipped) = line[pos..].iter().position(|&byte| !is_space(byte)) {
        let start = pos + skipped;
        let len = line[start..].iter().position(|&byte| ends_word(byte));
        pos = len.map_or(line.len(), |len| start + len);
        spans.push(span(start, pos));
    }
}

/// Appends the word at `pos` to `out`; returns the offset after it.
fn word(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    while let Some(&byte) = line.get(pos) {
        match byte {
            _ if ends_word(byte) => break,
            b'"' => return double_quoted(line, pos + 1, out),
            b'\'' => return single_quoted(line, pos + 1, out),
            _ => out.push(byte),
        }
        pos += 1;
    }
    Ok(pos)
}

fn double_quoted(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line[pos..] {
            [b'"', ..] => return after_quote(line, pos + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex_digit(high) * 16 + hex_digit(low));
                pos += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                pos += 2;
            }
            [byte, ..] => {
                out.push(byte);
                pos += 1;
            }
            [] => return Err(Unbalanced),
        }
    }
}

fn single_quoted(line: &[u8], mut pos: usize, out: &mut Vec<u8>) -> Result<usize, Unbalanced> {
    loop {
        match line[pos..] {
            [b'\'', ..] => return after_quote(line, pos + 1),
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                pos += 2;
            }
            [byte, ..] => {
                out.push(byte);
                pos += 1;
            }
            [] => return Err(Unbalanced),
        }
    }
}

/// A closing quote ends its word, so only a blank or the end of the line may follow.
fn after_quote(line: &[u8], pos: usize) -> Result<usize, Unbalanced> {
    match line.get(pos) {
        Some(&byte) if !is_space(byte) => Err(Unbalanced),
        _ => Ok(pos),
    }
}

/// C's `isspace`: what may stand between words.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// What ends a bare word. Vertical tab and form feed do not, though they are skipped between words.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

fn span(start: usize, end: usize) -> Span {
    // The scanner refuses requests beyond 4 GiB before it comes here, and a word never outgrows its line.
    Span { start: start as u32, end: end as u32 }
}

/// The words of a line of redis.conf or a console, unquoted; `None` when quotes do not match.
#[must_use]
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut spans, mut scratch) = (Vec::new(), Vec::new());
    let words = split(line, &mut spans, &mut scratch).ok()?;
    let bytes = if words == Words::InLine { line } else { &scratch };
    Some(spans.iter().map(|span| bytes[span.start as usize..span.end as usize].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Vec<Vec<u8>>, Unbalanced> {
        let (mut spans, mut scratch) = (Vec::new(), Vec::new());
        let place = split(line.as_bytes(), &mut spans, &mut scratch)?;
        let from = if place == Words::InLine { line.as_bytes() } else { &scratch };
        Ok(spans.iter().map(|s| from[s.start as usize..s.end as usize].to_vec()).collect())
    }

    #[test]
    fn words_are_cut_at_blanks() {
        assert_eq!(words("  set\tkey   value ").unwrap(), [&b"set"[..], b"key", b"value"]);
        assert_eq!(words("a\x0bb \x0cc").unwrap(), [&b"a\x0bb"[..], b"c"]);
        assert!(words(" \t ").unwrap().is_empty());
        assert_eq!(words("back\\slash").unwrap(), [b"back\\slash"]);
    }

    #[test]
    fn double_quotes_know_escapes() {
        assert_eq!(words(r#""a\x41\n\r\t\b\a\"\q\xZZ""#).unwrap(), [b"aA\n\r\t\x08\x07\"qxZZ"]);
        assert_eq!(words(r#"pre"fix b" x"#).unwrap(), [&b"prefix b"[..], b"x"]);
        assert_eq!(words(r#""" ''"#).unwrap(), [b"", b""]);
    }

    #[test]
    fn single_quotes_know_only_themselves() {
        assert_eq!(words(r"'a\n\'b'").unwrap(), [br"a\n'b"]);
    }

    #[test]
    fn quotes_must_close_and_end_the_word() {
        for line in ["\"abc", "'abc", "\"a\"b", "'a'b", "\"a\\", "\"a\"\"b\"", "get \"k'"] {
            assert_eq!(words(line), Err(Unbalanced), "{line}");
        }
    }
}
