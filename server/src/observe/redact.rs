//! Which arguments are secrets: the slow log and MONITOR show `(redacted)` in their place.

use redstart_common::command::{CommandId, id_of};
use redstart_common::resp::Args;

/// What is shown in the place of a secret.
pub const REDACTED: &[u8] = b"(redacted)";

/// Settings whose values are secrets.
const SECRET_SETTINGS: [&[u8]; 5] = [
    b"requirepass",
    b"masterauth",
    b"masteruser",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
];

/// The places of secrets among a call's arguments.
#[must_use]
pub fn secrets(id: CommandId, args: Args<'_>) -> Vec<usize> {
    let is = |place: usize, word: &str| {
        args.get(place).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let mut found = Vec::new();
    if id == const { id_of("auth") } {
        found.extend(1..args.len().min(3));
    } else if id == const { id_of("hello") } {
        let mut place = 2;
        while place < args.len() {
            let auth = is(place, "AUTH") && place + 2 < args.len();
            if auth {
                found.extend([place + 1, place + 2]);
            }
            place += if auth { 3 } else { 2 };
        }
    } else if id == const { id_of("migrate") } {
        let mut place = 6;
        while place < args.len() && !is(place, "KEYS") {
            let count = if is(place, "AUTH") {
                1
            } else if is(place, "AUTH2") {
                2
            } else {
                0
            };
            found.extend((place + 1..=place + count).filter(|place| *place < args.len()));
            place += 1 + count;
        }
    } else if id.spec().name == "config|set" {
        let secret = |place: &usize| {
            SECRET_SETTINGS.iter().any(|name| args.at(*place).eq_ignore_ascii_case(name))
        };
        let values = (2..args.len()).step_by(2).filter(secret).map(|place| place + 1);
        found.extend(values.filter(|place| *place < args.len()));
    } else if matches!(id.spec().name, "acl|setuser" | "acl|deluser" | "acl|getuser") {
        found.extend(2..args.len());
    }
    found
}

#[cfg(test)]
mod tests {
    use redstart_common::command::{Mode, Resolved, resolve_in};
    use redstart_common::resp::OwnedArgs;

    use super::*;

    #[test]
    fn secrets_are_where_they_stand() {
        for (words, places) in [
            ("AUTH p", &[1][..]),
            ("AUTH u p", &[1, 2]),
            ("HELLO 3 SETNAME auth AUTH u p", &[5, 6]),
            ("HELLO 3 AUTH u", &[]),
            ("MIGRATE h p k 0 1 COPY AUTH p REPLACE", &[8]),
            ("MIGRATE h p k 0 1 AUTH2 u p KEYS AUTH k", &[7, 8]),
            ("CONFIG SET port 1 requirepass p", &[5]),
            ("CONFIG SET masterauth", &[]),
            ("ACL SETUSER u >p", &[2, 3]),
            ("SET auth p", &[]),
        ] {
            let words: Vec<&str> = words.split(' ').collect();
            let owned = OwnedArgs::from_slices(&words);
            let args = owned.as_args();
            let Resolved::Command(id) = resolve_in(Mode::Server, args.at(0), args.get(1)) else {
                panic!("{words:?} is a command");
            };
            assert_eq!(secrets(id, args), places, "{words:?}");
        }
    }
}
