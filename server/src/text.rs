//! Texts for people: quoted arguments, byte counts.

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

/// A byte count as INFO shows it to people: `1.50M`.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    let number = bytes as f64;
    for (unit, scale) in [("B", 0), ("K", 10), ("M", 20), ("G", 30), ("T", 40), ("P", 50)] {
        if bytes < 1 << (scale + 10) {
            return if scale == 0 {
                format!("{bytes}B")
            } else {
                format!("{:.2}{unit}", number / (1_u64 << scale) as f64)
            };
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_redis_quoting() {
        let mut out = Vec::new();
        quote(b"a\"b\\\n\x00\xff\x07", &mut out);
        assert_eq!(out, b"\"a\\\"b\\\\\\n\\x00\\xff\\a\"");
    }

    #[test]
    fn bytes_for_people() {
        assert_eq!(human_bytes(1023), "1023B");
        assert_eq!(human_bytes(1536), "1.50K");
        assert_eq!(human_bytes(3 << 30), "3.00G");
    }
}
