//! The table as a table, and finding every row of it.

use super::*;
use crate::command::spec::{BeginSearch, Categories, DocFlags, FindKeys, KeyFlags};

/// Every way of writing a name that differs in the case of one letter, and all in capitals.
fn spellings(name: &str) -> Vec<Vec<u8>> {
    let mut all = vec![name.as_bytes().to_vec(), name.to_ascii_uppercase().into_bytes()];
    for i in 0..name.len() {
        let mut one = name.as_bytes().to_vec();
        one[i] = one[i].to_ascii_uppercase();
        all.push(one);
    }
    all
}

#[test]
fn every_row_is_found_in_any_case_and_at_its_place() {
    for (index, row) in all().iter().enumerate() {
        assert_eq!(row.id.index(), index);
        assert_eq!(CommandId::from_index(index), Some(row.id));
        for mode in [Mode::Server, Mode::Sentinel, Mode::Proxy] {
            let expected = row.exists_in(mode).then_some(row.id);
            for name in spellings(row.name) {
                assert_eq!(lookup_full_name(mode, &name), expected, "{}", row.name);
            }
            match row.container {
                None => assert_eq!(lookup_in(mode, row.name.as_bytes()), expected),
                Some(container) => {
                    assert_eq!(lookup_sub(mode, container, row.own_name().as_bytes()), expected);
                    assert!(container.spec().subcommands().iter().any(|sub| sub.name == row.name));
                }
            }
        }
    }
    assert_eq!(CommandId::from_index(COUNT), None);
}

#[test]
fn no_name_stands_twice() {
    let mut names: Vec<_> = all().iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COUNT);
}

#[test]
fn unknown_names_are_unknown() {
    let long = [b'x'; 70_000];
    for name in [
        &b""[..],
        b"g",
        b"ge",
        b"gett",
        b"xget",
        b"get\0",
        b"get ",
        b"\0get",
        b"get|",
        b"|get",
        b"|",
        b"config|",
        b"config|get|x",
        b"nosuchcommand",
        b"\xc7\xc5\xd4",
        b"ge\xd4",
        b"georadiusbymember-ro",
        b"georadiusxymember_ro",
        &long,
    ] {
        assert_eq!(lookup_full_name(Mode::Server, name), None, "{}", name.escape_ascii());
    }
}

#[test]
fn bytes_that_differ_from_a_name_in_one_bit_are_another_name() {
    for row in all() {
        for bit in 0..row.name.len() * 8 {
            let mut name = row.name.as_bytes().to_vec();
            name[bit / 8] ^= 1 << (bit % 8);
            let expected =
                all().iter().find(|other| other.name.as_bytes().eq_ignore_ascii_case(&name));
            let found = [Mode::Proxy, Mode::Sentinel]
                .into_iter()
                .find_map(|mode| lookup_full_name(mode, &name));
            assert_eq!(found, expected.map(|row| row.id), "{}", name.escape_ascii());
        }
    }
}

#[test]
fn searches_are_short() {
    let mut steps = 0;
    for row in all() {
        let container = row.container.map_or(NO_CONTAINER, |id| id.0);
        let mut at =
            first_slot(fingerprint(own_name(row)).expect("a name of the table"), container);
        let mut own = 1;
        while SLOTS[at].id as usize != row.id.index() || SLOTS[at].len == 0 {
            at = (at + 1) % SLOT_COUNT;
            own += 1;
        }
        assert!(own <= 8, "{}: {own} steps", row.name);
        steps += own;
    }
    assert!(steps * 10 < COUNT * 15, "{steps} steps for {COUNT} names");
}

#[test]
fn resolve_names_the_row_that_decides() {
    let config = id_of("config");
    assert_eq!(resolve(b"GET", Some(b"k")), Resolved::Command(id_of("get")));
    assert_eq!(resolve(b"config", None), Resolved::Command(config));
    assert_eq!(resolve(b"CONFIG", Some(b"GET")), Resolved::Command(id_of("config|get")));
    assert_eq!(resolve(b"config", Some(b"nope")), Resolved::UnknownSubcommand(config));
    assert_eq!(resolve(b"nope", Some(b"get")), Resolved::UnknownCommand);
    assert_eq!(resolve(b"command", None), Resolved::Command(id_of("command")));
}

#[test]
fn sentinels_have_a_table_of_their_own() {
    assert_eq!(lookup(b"sentinel"), None);
    assert!(lookup_in(Mode::Sentinel, b"sentinel").is_some());
    assert_eq!(lookup_in(Mode::Sentinel, b"get"), None);
    assert!(lookup_full_name(Mode::Sentinel, b"sentinel|get-master-addr-by-name").is_some());
    assert!(lookup_full_name(Mode::Sentinel, b"client|no-evict").is_some());
    assert!(lookup_full_name(Mode::Sentinel, b"client|no-touch").is_none());
    assert_eq!(commands(Mode::Server).filter(|row| !row.is_newer()).count(), 240);
    let foreign = commands(Mode::Proxy).filter(|row| !row.exists_in(Mode::Server));
    assert!(foreign.clone().count() > 100 && foreign.clone().all(|row| row.is_foreign));
    assert_eq!(lookup(b"json.get"), None);
    assert!(commands(Mode::Server).any(|row| row.is_newer()));
    assert_eq!(commands(Mode::Sentinel).count(), 15);
}

#[test]
fn arity_counts_the_name() {
    let (get, set) = (id_of("get").spec(), id_of("set").spec());
    assert!(get.accepts_count(2) && !get.accepts_count(1) && !get.accepts_count(3));
    assert!(set.accepts_count(3) && set.accepts_count(9) && !set.accepts_count(2));
    assert!(all().iter().all(|row| row.arity != 0 && !row.accepts_count(0)));
}

#[test]
fn rows_keep_the_rules_of_the_table() {
    for row in all() {
        let name = row.name;
        assert!(
            name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_|.0123456789".contains(&byte)),
            "{name}"
        );
        assert!(!row.summary.is_empty() && !row.since.is_empty(), "{name}");
        assert_eq!(row.container.is_some(), name.contains('|'), "{name}");
        let implied = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::ADMIN, Categories::ADMIN.or(Categories::DANGEROUS)),
            (Flags::PUBSUB, Categories::PUBSUB),
            (Flags::FAST, Categories::FAST),
            (Flags::BLOCKING, Categories::BLOCKING),
        ];
        for (flag, categories) in implied {
            assert!(
                !row.flags.contains(flag) || row.categories.contains(categories),
                "{name}: {flag:?}"
            );
        }
        assert_ne!(
            row.categories.contains(Categories::FAST),
            row.categories.contains(Categories::SLOW),
            "{name}"
        );
        assert!(
            !(row.flags.contains(Flags::WRITE) && row.flags.contains(Flags::READONLY)),
            "{name}"
        );
        let deprecated = row.doc_flags.contains(DocFlags::DEPRECATED);
        assert_eq!(deprecated, !row.deprecated_since.is_empty(), "{name}");
    }
}

#[test]
fn key_specs_stay_in_the_call() {
    for row in all() {
        let (name, fewest) = (row.name, row.arity.abs());
        let mut movable = row.keys.any_flags.contains(KeyFlags::INCOMPLETE);
        for spec in row.keys.specs {
            match spec.begin {
                BeginSearch::Index(at) => assert!(at > 0 && at <= fewest, "{name}"),
                BeginSearch::Keyword { keyword, start_from } => {
                    assert!(!keyword.is_empty() && start_from != 0, "{name}");
                    movable = true;
                }
                BeginSearch::Unknown => movable = true,
            }
            match spec.find {
                FindKeys::Range { step, limit, .. } => {
                    assert!(step > 0 && limit >= 0, "{name}")
                }
                FindKeys::KeyNumber { step, first, .. } => {
                    assert!(step > 0 && first > 0, "{name}");
                    movable = true;
                }
                FindKeys::Unknown => {}
            }
        }
        assert_eq!(row.flags.contains(Flags::MOVABLEKEYS), movable, "{name}");
        assert!(
            row.flags.intersects(Flags::NO_MANDATORY_KEYS) <= !row.keys.specs.is_empty(),
            "{name}"
        );
    }
}
