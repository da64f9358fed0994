use super::*;
use crate::resp::Span;

fn read(line: &str, command: Command) -> Result<Filter, String> {
    let mut spans = Vec::new();
    let mut at = 0;
    for word in line.split(' ') {
        spans.push(Span { start: at as u32, end: (at + word.len()) as u32 });
        at += word.len() + 1;
    }
    let known = Known { user: &|name| name == b"default" || name == b"app", databases: 16 };
    Filter::read(Args::new(line.as_bytes(), &spans), command, &known)
        .map_err(|text| String::from_utf8(text).expect("text"))
}

fn list(filters: &str) -> Filter {
    read(&format!("CLIENT LIST {filters}"), Command::List).expect(filters)
}

fn facts() -> Facts<'static> {
    Facts {
        id: 7,
        kind: Kind::Normal,
        user: b"app",
        address: b"10.0.0.1:5000",
        local_address: b"10.0.0.2:6379",
        age_ms: 5_500,
        idle_ms: 2_000,
        name: b"worker",
        flags: "xb".to_owned(),
        library: [b"lib", b"1.2"],
        db: 3,
        capabilities: "r",
    }
}

#[test]
fn each_filter_holds_or_not_and_its_opposite_is_the_other() {
    let both = [
        ("ID", "7", "8"),
        ("TYPE", "normal", "pubsub"),
        ("USER", "app", "default"),
        ("ADDR", "10.0.0.1:5000", "10.0.0.1:5001"),
        ("LADDR", "10.0.0.2:6379", "10.0.0.1:5000"),
        ("NAME", "worker", "other"),
        ("FLAGS", "bx", "xP"),
        ("LIB-NAME", "lib", "li"),
        ("LIB-VER", "1.2", "1"),
        ("DB", "3", "0"),
        ("IP", "10.0.0.1", "10.0.0"),
    ];
    for (name, yes, no) in both {
        let lower = name.to_lowercase();
        assert!(list(&format!("{lower} {yes}")).fits(&facts()), "{name} {yes}");
        assert!(!list(&format!("{name} {no}")).fits(&facts()), "{name} {no}");
        assert!(!list(&format!("NOT-{name} {yes}")).fits(&facts()), "NOT-{name} {yes}");
        assert!(list(&format!("not-{name} {no}")).fits(&facts()), "NOT-{name} {no}");
    }
    for (name, yes, no) in [("MAXAGE", 5, 6), ("IDLE", 2, 3)] {
        assert!(list(&format!("{name} {yes}")).fits(&facts()), "{name} {yes}");
        assert!(!list(&format!("{name} {no}")).fits(&facts()), "{name} {no}");
    }
    assert!(list("CAPA r").fits(&facts()) && !list("NOT-CAPA r").fits(&facts()));
    assert!(!list("CAPA r").fits(&Facts { capabilities: "", ..facts() }));
    assert!(list("TYPE master").fits(&Facts { kind: Kind::Primary, ..facts() }));
    assert!(list("TYPE Primary").fits(&Facts { kind: Kind::Primary, ..facts() }));
    assert!(list("TYPE slave").fits(&Facts { kind: Kind::Replica, ..facts() }));
}

#[test]
fn all_filters_must_hold_and_the_last_of_a_kind_counts() {
    assert!(list("TYPE normal DB 3 NOT-ID 8 9 NAME worker").fits(&facts()));
    assert!(!list("TYPE normal DB 3 NOT-ID 8 7 NAME worker").fits(&facts()));
    assert!(list("DB 1 DB 3").fits(&facts()));
    assert!(!list("DB 3 NOT-DB 3").fits(&facts()));
    let both = list("ID 1 2 SKIPME no ID 7 TYPE normal");
    assert_eq!(both.ids(), Some(&[1, 2, 7][..]));
    assert_eq!(both.skip_me, Some(false));
    assert!(both.fits(&facts()));
    assert_eq!(list("TYPE normal").ids(), None);
    assert_eq!(list("NOT-ID 3").ids(), None);
    assert!(Filter::default().fits(&facts()));
}

#[test]
fn what_a_client_has_not_is_equal_to_nothing() {
    let bare = Facts { name: b"", library: [b"", b""], ..facts() };
    assert!(list("NOT-NAME worker NOT-LIB-NAME lib NOT-LIB-VER 1.2").fits(&bare));
    assert!(!list("NAME worker").fits(&bare));
}

#[test]
fn ip_addresses_are_taken_out_of_addresses() {
    assert_eq!(ip_of(b"127.0.0.1:5000"), Some(&b"127.0.0.1"[..]));
    assert_eq!(ip_of(b"[::1]:5000"), Some(&b"::1"[..]));
    assert_eq!(ip_of(b"/tmp/socket:0"), None);
    assert_eq!(ip_of(b""), None);
}

#[test]
fn refusals_are_worded_as_by_those_who_made_the_filters() {
    for (line, text) in [
        ("TYPE nobody", "ERR Unknown client type 'nobody'"),
        ("NOT-TYPE nobody", "ERR Unknown client type 'nobody'"),
        ("USER nobody", "ERR No such user 'nobody'"),
        ("NOT-USER nobody", "ERR No such user 'nobody'"),
        ("MAXAGE x", "ERR maxage is not an integer or out of range"),
        ("MAXAGE 0", "ERR maxage should be greater than 0"),
        ("IDLE x", "ERR idle is not an integer or out of range"),
        ("IDLE -1", "ERR idle should be greater than 0"),
        ("NOT-IDLE 1", "ERR syntax error"),
        ("NOT-MAXAGE 1", "ERR syntax error"),
        ("FLAGS bQ", "ERR Unknown flags found in the provided filter: bQ"),
        ("NOT-FLAGS Q", "ERR Unknown flags found in the NOT-FLAGS filter: Q"),
        ("CAPA x", "ERR Unknown capa found in the provided filter: x"),
        ("NOT-CAPA x", "ERR Unknown capa found in the NOT-CAPA filter: x"),
        ("DB x", "ERR DB is not an integer or out of range"),
        ("DB 4294967296", "ERR DB is not an integer or out of range"),
        ("DB 16", "ERR DB number should be between 0 and 15"),
        ("NOT-DB -1", "ERR NOT-DB number should be between 0 and 15"),
        ("SKIPME maybe", "ERR syntax error"),
        ("SKIPME", "ERR syntax error"),
        ("NAME", "ERR syntax error"),
        ("WHAT ever", "ERR syntax error"),
        ("ID", "ERR syntax error"),
    ] {
        for command in [Command::List, Command::Kill] {
            assert_eq!(read(&format!("CLIENT X {line}"), command), Err(text.to_owned()), "{line}");
        }
    }
    for (line, listed, killed) in [
        ("ID x", "ERR Invalid client ID", "ERR client-id should be greater than 0"),
        ("ID 0", "ERR Invalid client ID", "ERR client-id should be greater than 0"),
        ("ID 1 -1", "ERR Invalid client ID", "ERR client-id should be greater than 0"),
        ("ID 1 x", "ERR Invalid client ID", "ERR syntax error"),
        ("ID TYPE normal", "ERR Invalid client ID", "ERR client-id should be greater than 0"),
    ] {
        let line = format!("CLIENT X {line}");
        assert_eq!(read(&line, Command::List), Err(listed.to_owned()), "{line}");
        assert_eq!(read(&line, Command::Kill), Err(killed.to_owned()), "{line}");
    }
}
