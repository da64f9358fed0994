//! Texts for people: quoted arguments, the system's errors.

/// Appends `bytes` in double quotes, with escapes for what is not printable, as Redis prints arguments.
pub fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x20..=0x7e => out.push(byte),
            _ => out.extend_from_slice(format!("\\x{byte:02x}").as_bytes()),
        }
    }
    out.push(b'"');
}

/// The system's words for an error, as strerror gives them.
#[must_use]
pub fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// `text` without the line ends around it.
#[must_use]
pub fn trim_line_ends(mut text: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] | [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use redstart_common::number::human_memory;

    use super::*;

    #[test]
    fn quoting_is_redis_quoting() {
        let mut out = Vec::new();
        quote(b"a\"b\\\n\x00\xff\x07", &mut out);
        assert_eq!(out, b"\"a\\\"b\\\\\\n\\x00\\xff\\a\"");
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(human_memory(1023), "1023B");
        assert_eq!(human_memory(1536), "1.50K");
        assert_eq!(human_memory(3 << 30), "3.00G");
    }
}
