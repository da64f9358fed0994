//! The lists of docs/ against the programs: a setting or a command that is added, or served from now on, has to be
//! told there.

use std::collections::BTreeSet;

use redstart_server::settings::rows::{Kind, ROWS};
use redstart_tests::server_support::workspace;

fn document(name: &str) -> String {
    std::fs::read_to_string(workspace().join("docs").join(name)).expect("the document")
}

/// The names in back quotes.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_setting_of_the_server_stands_under_what_becomes_of_it() {
    let text = document("configuration.md");
    let (server, _) = text.split_once("## redstart-proxy").expect("both programs");
    let (acting, rest) = server.split_once("Parameters of what is switched off").expect("kept");
    let (kept, refused) =
        rest.split_once("Switches of features that are not there").expect("refused");
    let kept = quoted(kept);
    for row in ROWS {
        let starts = |part: &str| part.contains(&format!("\n| `{}` | ", row.name));
        let places = [starts(acting), kept.contains(row.name), starts(refused)];
        let wanted = match row.kind {
            Kind::Dormant(..) => [false, true, places[2]],
            Kind::Only(value, feature) => {
                let value = if value.is_empty() { "\"\"" } else { value };
                let line = format!("\n| `{}` | `{value}` | {feature} |", row.name);
                assert!(refused.contains(&line), "{line}");
                [false, false, true]
            }
            _ => [true, places[1], false],
        };
        assert_eq!(places, wanted, "{} in acting, kept, refused", row.name);
    }
}

#[test]
fn every_key_of_the_proxy_is_listed() {
    let text = document("configuration.md");
    let (_, proxy) = text.split_once("## redstart-proxy").expect("both programs");
    let output = std::process::Command::new(redstart_tests::proxy_support::proxy_binary())
        .arg("--help-config")
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let mut keys = 0;
    for line in told.lines().filter(|line| line.starts_with("  ")) {
        let (key, rest) = line.trim().split_once(' ').expect("a key and more");
        let (default, meaning) = rest.trim()[1..].split_once("] ").expect("a default");
        let line = format!("\n| `{key}` | {default} | {meaning} |\n");
        assert!(proxy.contains(&line), "{line}");
        keys += 1;
    }
    assert!(keys > 20, "{told}");
}

#[test]
fn the_commands_that_are_not_served_are_listed() {
    let text = document("commands.md");
    let (_, rest) = text.split_once("## Not served yet").expect("the list");
    let (list, _) = rest.split_once("\n## ").expect("more follows");
    let mut told = BTreeSet::new();
    for line in list.lines().filter(|line| line.starts_with("- ")) {
        let (name, subs) = line.split_once(':').unwrap_or((line, ""));
        let name = name.trim_matches(['-', ' ', '`']).to_ascii_lowercase();
        if subs.is_empty() {
            told.insert(name);
        } else {
            let subs = quoted(subs).into_iter();
            told.extend(subs.map(|sub| format!("{name}|{}", sub.to_ascii_lowercase())));
        }
    }
    let open = std::fs::read_to_string(workspace().join("tests/golden/open_rows.txt"));
    let open: BTreeSet<String> = open.expect("the list").lines().map(str::to_owned).collect();
    assert_eq!(told, open);
}
