use redstart_common::command::{Mode, Resolved, resolve_in};
use redstart_common::resp::OwnedArgs;

use super::selector::Denied;
use super::user::User;
use super::{RuleError, file, join_selectors};
use crate::settings::Settings;

fn user(rules: &str) -> User {
    let mut user = User::new(b"u", false);
    let words: Vec<&str> = rules.split_whitespace().collect();
    for rule in join_selectors(&words).expect("closed") {
        user.apply(&rule, false).unwrap_or_else(|error| panic!("{rules}: {error:?}"));
    }
    user
}

fn text(user: &User) -> String {
    String::from_utf8(user.rules()).expect("text")
}

fn check(user: &User, words: &str) -> Result<(), Denied> {
    let words: Vec<&str> = words.split(' ').collect();
    let owned = OwnedArgs::from_slices(&words);
    let args = owned.as_args();
    let Resolved::Command(id) = resolve_in(Mode::Server, args.at(0), args.get(1)) else {
        panic!("{words:?} is a command");
    };
    user.check(id.spec(), args)
}

#[test]
fn rules_are_told_as_the_original_tells_them() {
    const HASH: &str = "#2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    for (rules, told) in [
        ("", "off resetchannels -@all"),
        ("on nopass ~* &* +@all", "on nopass ~* &* +@all"),
        (
            "on >secret ~a* %R~b %W~c %RW~d +@all -@dangerous",
            &format!("on {HASH} ~a* %R~b %W~c ~d resetchannels +@all -@dangerous"),
        ),
        ("+get +select|1 &ch", "off resetchannels &ch -@all +get +select|1"),
        ("+config -config|get", "off resetchannels -@all +config -config|get"),
        (
            "+@read (+set ~b) ( +@all ~c )",
            "off resetchannels -@all +@read (~b resetchannels -@all +set) (~c \
             resetchannels +@all)",
        ),
        ("+set reset", "off sanitize-payload resetchannels -@all"),
        (
            "(+set) clearselectors skip-sanitize-payload",
            "off skip-sanitize-payload resetchannels -@all",
        ),
    ] {
        let user = user(rules);
        assert_eq!(text(&user), told, "{rules}");
        assert_eq!(text(&self::user(told)), told, "again: {rules}");
    }
}

#[test]
fn every_category_added_or_taken_away_is_told_exactly() {
    for (_, name) in redstart_common::command::spec::Categories::WORDS {
        for rules in
            [format!("+@{name}"), format!("+@all -@{name}"), format!("+@{name} -@slow +get")]
        {
            let user = user(&rules);
            let again = self::user(&text(&user));
            assert_eq!(user.root.commands, again.root.commands, "{rules}: {}", text(&user));
        }
    }
}

#[test]
fn wrong_rules_are_refused() {
    let mut user = User::default_user(false);
    for (rule, error) in [
        ("+nothing", RuleError::Unknown),
        ("+@nothing", RuleError::Unknown),
        ("-config|nothing", RuleError::Unknown),
        ("+config|get|port", RuleError::FirstArgOfSub),
        ("+select|", RuleError::Syntax),
        ("~key", RuleError::AfterAllKeys),
        ("&channel", RuleError::AfterAllChannels),
        ("nonsense", RuleError::Syntax),
        ("(", RuleError::Syntax),
        ("(+nothing)", RuleError::Unknown),
        ("<unknown", RuleError::NoSuchPassword),
        ("#abc", RuleError::BadHash),
    ] {
        assert_eq!(user.apply(rule.as_bytes(), false), Err(error), "{rule}");
    }
    let mut user = User::new(b"u", false);
    for rule in ["~a b", "%RR~a", "%X~a", "%", "%~a", "&a b"] {
        assert_eq!(user.apply(rule.as_bytes(), false), Err(RuleError::Syntax), "{rule}");
    }
    assert_eq!(join_selectors(&["on", "(+get", "~a"]), Err(1));
}

#[test]
fn calls_are_judged_by_command_keys_and_channels() {
    let limited = user("+@all -config +config|get ~a* %R~r* %W~w* &ch*");
    for (call, outcome) in [
        ("GET a1", Ok(())),
        ("GET b", Err(Denied::Key(1))),
        ("GET r", Ok(())),
        ("SET r v", Err(Denied::Key(1))),
        ("SET w v", Ok(())),
        ("GET w", Err(Denied::Key(1))),
        ("COPY r1 w1", Ok(())),
        ("COPY w1 r1", Err(Denied::Key(1))),
        ("MGET a1 a2 b", Err(Denied::Key(3))),
        ("PUBLISH ch1 x", Ok(())),
        ("PUBLISH other x", Err(Denied::Channel(1))),
        ("SUBSCRIBE ch1 other", Err(Denied::Channel(2))),
        ("PSUBSCRIBE ch*", Ok(())),
        ("PSUBSCRIBE ch1*", Err(Denied::Channel(1))),
        ("UNSUBSCRIBE other", Ok(())),
        ("CONFIG GET port", Ok(())),
        ("CONFIG SET port 1", Err(Denied::Command)),
        ("PING", Ok(())),
    ] {
        assert_eq!(check(&limited, call), outcome, "{call}");
    }
    let nobody = user("");
    assert_eq!(check(&nobody, "AUTH x"), Ok(()));
    assert_eq!(check(&nobody, "PING"), Err(Denied::Command));
    let first = user("+select|3");
    assert_eq!(check(&first, "SELECT 3"), Ok(()));
    assert_eq!(check(&first, "SELECT 4"), Err(Denied::Command));
    let several = user("+get ~a (+set ~b)");
    assert_eq!(check(&several, "SET b v"), Ok(()));
    assert_eq!(check(&several, "SET a v"), Err(Denied::Key(1)));
    assert_eq!(check(&several, "DEL a"), Err(Denied::Command));
}

#[test]
fn passwords_open_only_enabled_users() {
    let mut user = user("on >one >two");
    assert!(user.accepts(b"one") && user.accepts(b"two") && !user.accepts(b"three"));
    user.apply(b"<one", false).expect("known");
    assert!(!user.accepts(b"one"));
    user.apply(b"nopass", false).expect("a rule");
    assert!(user.accepts(b"anything"));
    user.apply(b"off", false).expect("a rule");
    assert!(!user.accepts(b"anything"));
}

#[test]
fn a_file_is_read_back_and_its_errors_are_all_told() {
    let folder = std::env::temp_dir().join(format!("acl-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("users.acl").display().to_string();
    let good = "user alice on +get ~a*\n\nuser default on nopass ~* &* +@all\n";
    std::fs::write(&path, good).expect("written");
    let users = file::load(&path, false).expect("good");
    assert!(users.open_to_all() && users.get(b"alice").is_some());
    file::save(&users, &path).expect("saved");
    let again = file::load(&path, false).expect("good");
    assert_eq!(users.iter().collect::<Vec<_>>(), again.iter().collect::<Vec<_>>());
    let bad = "usr x\nuser a +nothing\nuser a on\nuser b (+get\nuser c #zz\n";
    std::fs::write(&path, bad).expect("written");
    let errors = file::load(&path, false).expect_err("bad");
    for part in [
        ":1 should start with user keyword",
        ":2: Error in applying operation '+nothing': Unknown command",
        "Duplicate user 'a' found on line 3",
        ":4: Unmatched parenthesis",
        ":5: The password hash must",
        "no change to the previously active",
    ] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    let settings = Settings { aclfile: path, users: vec![vec!["x".into()]], ..Settings::default() };
    assert!(file::users_at_start(&settings).expect_err("both").contains("but not both"));
}
