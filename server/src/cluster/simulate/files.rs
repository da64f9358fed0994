//! The files with which servers begin.

use std::fmt::Write;

use redstart_common::slot::SLOT_COUNT;

use super::super::Name;
use super::node::address;
use super::world::{BUS_PORT_ABOVE, FIRST_PORT};

/// The file of a node of a cluster that stands: the slots are shared out, each replica has its primary, and all are known.
pub fn first_file(names: &[Name], primaries: usize, myself: usize) -> String {
    let mut text = String::new();
    for (number, name) in names.iter().enumerate() {
        let mine = if number == myself { "myself," } else { "" };
        let _ = write!(text, "{name} {} {mine}", place(number));
        let _ = if number < primaries {
            let slots = share(number, primaries);
            writeln!(text, "master - 0 0 {} connected{slots}", number + 1)
        } else {
            let primary = number % primaries;
            writeln!(text, "slave {} 0 0 {} connected", names[primary], primary + 1)
        };
    }
    let _ = writeln!(text, "vars currentEpoch {primaries} lastVoteEpoch 0");
    text
}

/// Where a server is, as its file has it.
pub fn place(number: usize) -> String {
    let port = FIRST_PORT + number as u16;
    format!("{}:{port}@{}", address(number), port + BUS_PORT_ABOVE)
}

/// The slots of a primary, as its file has them.
pub fn share(number: usize, primaries: usize) -> String {
    let share = usize::from(SLOT_COUNT) / primaries;
    let end = if number + 1 == primaries { usize::from(SLOT_COUNT) } else { (number + 1) * share };
    format!(" {}-{}", number * share, end - 1)
}
