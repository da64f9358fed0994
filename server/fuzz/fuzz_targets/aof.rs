//! The manifest and the commands of the append-only file: refused, or read, and what was read is written and read again
//! as the same.
//!
//! The first byte chooses between the two, and into which pieces commands are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_server::persistence::aof::manifest::Manifest;
use redstart_server::persistence::aof::scan::{Found, Scanner};

/// What a name may grow to in quotes and the line around it still be read.
const NAME_MAX: usize = 200;

fuzz_target!(|data: &[u8]| {
    let [choice, body @ ..] = data else { return };
    if choice & 1 == 0 {
        manifest(body);
    } else {
        commands(body, usize::from(choice >> 1) + 1);
    }
});

fn manifest(text: &[u8]) {
    let manifest = match Manifest::parse(text) {
        Ok(manifest) => manifest,
        Err(error) => {
            assert!(!error.report().is_empty());
            return;
        }
    };
    let printed = manifest.print();
    let mut entries = manifest.parts().chain(&manifest.history);
    if printed.is_empty() || entries.any(|entry| entry.name.len() > NAME_MAX) {
        return;
    }
    let again = Manifest::parse(&printed).expect("what was written is refused");
    assert_eq!(again.print(), printed);
}

/// In pieces as in one, and never further than the bytes go.
fn commands(bytes: &[u8], step: usize) {
    let (mut start, mut end) = (0, 0);
    let mut pieces = Scanner::default();
    loop {
        let at_once = Scanner::default().scan(&bytes[start..]);
        let found = loop {
            match pieces.scan(&bytes[start..end]) {
                Ok(Found::Incomplete) if end < bytes.len() => end = (end + step).min(bytes.len()),
                found => break found,
            }
        };
        assert_eq!(found, at_once);
        match found {
            Ok(Found::Command(count)) => {
                let args = pieces.args(&bytes[start..]);
                assert!(!args.is_empty() && args.bytes_total() < count);
                start += count;
            }
            Ok(Found::Annotation(count, _)) => start += count,
            Ok(Found::Incomplete) => return,
            Err(error) => {
                assert!(error.offset() <= bytes.len() - start);
                return;
            }
        }
        end = end.max(start);
    }
}
