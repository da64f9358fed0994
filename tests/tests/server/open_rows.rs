//! The rows of the command table that the server has no handler for yet, against the list of them in `golden/`: who
//! writes a handler shortens the list, and who adds a row without one has to say so there.

use redstart_common::command::{Mode, all, commands};
use redstart_server::commands::handlers;

#[test]
fn rows_without_a_handler_are_those_of_the_list() {
    let served: Vec<_> = commands(Mode::Server).map(|row| row.id).collect();
    let mut open: Vec<&str> = all()
        .iter()
        .filter(|row| row.container.map_or(served.contains(&row.id), |of| served.contains(&of)))
        // A container's work is its sub-commands'.
        .filter(|row| row.subcommands().is_empty() && handlers().of(row.id).is_none())
        .map(|row| row.name)
        .collect();
    open.sort_unstable();
    let found = open.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/open_rows.txt");
    if std::env::var_os("REDSTART_RECORD").is_some() {
        std::fs::write(path, &found).expect("written");
    }
    let listed = std::fs::read_to_string(path).expect("golden/open_rows.txt");
    let missing: Vec<_> =
        open.iter().filter(|name| !listed.lines().any(|line| line == **name)).collect();
    let done: Vec<_> = listed.lines().filter(|name| !open.contains(name)).collect();
    assert!(missing.is_empty(), "rows without a handler that are not listed: {missing:?}");
    assert!(done.is_empty(), "rows that have a handler now, to be taken off the list: {done:?}");
}
