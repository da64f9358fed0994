//! The table of commands in docs/ against a running proxy.

use redstart_common::command::{Mode, commands};
use redstart_tests::proxy_support::{Proxy, Redis};
use redstart_tests::server_support::workspace;

#[test]
fn what_is_refused_is_what_the_table_says() {
    let text = std::fs::read_to_string(workspace().join("docs/proxy-commands.md")).expect("there");
    let server = Redis::start();
    let proxy = Proxy::start("  databases: 16\n", &[server.port]);
    let (mut seen, mut wrong) = (0, Vec::new());
    for top in commands(Mode::Server).filter(|row| !row.is_newer()) {
        let subs = if top.is_container() { top.subcommands() } else { std::slice::from_ref(top) };
        for row in subs.iter().filter(|row| !row.is_newer()) {
            let name = row.name.replace('|', " ").to_ascii_uppercase();
            let line = text.lines().find(|line| line.starts_with(&format!("| {name} | ")));
            let line = line.unwrap_or_else(|| panic!("{name} is not in the table"));
            let is_refused = line.split(" | ").nth(1) == Some("refused");
            let mut words: Vec<&str> = name.split(' ').collect();
            words.resize(usize::from(row.arity.unsigned_abs()).max(words.len()), "x");
            let mut client = proxy.client();
            client.send(&words);
            let reply = client.receive();
            let says = reply.contains("is not supported through the proxy");
            if says != is_refused {
                wrong.push(format!("{line}: {reply}"));
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty() && seen > 300, "{seen}: {wrong:#?}");
}
