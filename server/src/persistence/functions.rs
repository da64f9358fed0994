//! Libraries of functions as a payload: what FUNCTION DUMP gives and FUNCTION RESTORE takes. It is a part of an RDB file,
//! with a version and a checksum behind it.

use super::rdb::{CRC, Decoder, Draft, Item, Options, VERSION, function, opcode};
use super::value::PayloadError;

/// Version and checksum.
const FOOTER_BYTES: usize = 10;

/// The payload of these libraries.
#[must_use]
pub fn dump<'a>(codes: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut draft = Draft::default();
    codes.for_each(|code| function(&mut draft, code));
    let mut out = super::rdb::compressed(draft);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sum = CRC.checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The texts of the libraries in a payload.
///
/// # Errors
/// What is wrong with it.
pub fn restore(payload: &[u8]) -> Result<Vec<Vec<u8>>, PayloadError> {
    let body = payload.len().checked_sub(FOOTER_BYTES).ok_or(PayloadError::Checksum)?;
    let (libraries, footer) = payload.split_at(body);
    let (version, sum) = footer.split_at(2);
    let version = u16::from_le_bytes(version.try_into().unwrap_or_default());
    let sum = u64::from_le_bytes(sum.try_into().unwrap_or_default());
    if version > VERSION || (sum != 0 && CRC.checksum(&payload[..body + 2]) != sum) {
        return Err(PayloadError::Checksum);
    }
    // What a file would hold around them, so that one reader knows the form.
    let end = [&[opcode::EOF][..], &[0; 8]].concat();
    let file = [format!("REDIS{VERSION:04}").as_bytes(), libraries, &end].concat();
    let mut decoder = Decoder::new(&*file, Options { verifies: false, ..Options::default() });
    let mut codes = Vec::new();
    loop {
        match decoder.next() {
            Ok(Item::Function(code)) => codes.push(code),
            Ok(Item::End(_)) => break,
            Ok(_) => return Err(PayloadError::Format(Some("given type is not a function".into()))),
            Err(_) => {
                let text = "failed loading the given functions payload".into();
                return Err(PayloadError::Format(Some(text)));
            }
        }
    }
    // An end within the libraries is none of theirs.
    if decoder.offset() != file.len() as u64 {
        return Err(PayloadError::Format(Some("given type is not a function".into())));
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_come_back() {
        let codes = [&b"#!lua name=a\nreturn 1"[..], b"#!lua name=b\nreturn 2"];
        let payload = dump(codes.into_iter());
        assert_eq!(restore(&payload), Ok(codes.map(<[u8]>::to_vec).to_vec()));
        assert_eq!(restore(&dump(std::iter::empty())), Ok(Vec::new()));
    }

    #[test]
    fn damage_is_refused() {
        let mut payload = dump([&b"#!lua name=a\nreturn 1"[..]].into_iter());
        assert_eq!(restore(&payload[1..]), Err(PayloadError::Checksum));
        assert_eq!(restore(b""), Err(PayloadError::Checksum));
        let end = payload.len();
        payload[end - 8..].fill(0);
        payload[0] = opcode::SELECTDB;
        assert!(matches!(restore(&payload), Err(PayloadError::Format(_))));
        payload[0] = opcode::EOF;
        assert!(matches!(restore(&payload), Err(PayloadError::Format(_))));
        payload[0] = opcode::FUNCTION2;
        payload[1] = 63;
        assert!(matches!(restore(&payload), Err(PayloadError::Format(_))));
    }
}
