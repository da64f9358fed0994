//! What becomes of each command of Redis 7.0.15 before servers of each kind: a table for readers, made from the plans.
//! `docs/proxy-commands.md` is what [`document`] gives.

use std::fmt::Write;

use redstart_common::command::{CommandSpec, Mode, commands};

use crate::local;

use super::plan::{Local, Plan, Script, plan};

/// What becomes of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// What one server answers.
    Alike,
    /// The same, cut by key.
    Cut,
    /// The same, from all servers together.
    All,
    /// The same, where its keys lie together; CROSSSLOT otherwise.
    Together,
    /// One of the servers answers.
    One,
    /// The proxy answers, about itself and its clients.
    Own,
    /// An error; where it is not the usual one, which.
    Refused(&'static str),
}

const REFUSED: Fate = Fate::Refused("");
const OUT_OF_RANGE: Fate = Fate::Refused("`ERR DB index is out of range`");

impl Fate {
    fn sign(self) -> &'static str {
        match self {
            Self::Alike => "=",
            Self::Cut => "cut",
            Self::All => "all",
            Self::Together => "together",
            Self::One => "one",
            Self::Own => "own",
            Self::Refused("") => "refused",
            Self::Refused(text) => text,
        }
    }

    /// Whether it is an error always.
    #[must_use]
    pub fn is_refused(self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

/// Before one server, several (or sentinel groups), and a cluster.
pub type Fates = [Fate; 3];

fn answered_here(row: &CommandSpec, local: Local) -> Fates {
    match local {
        Local::Config if !local::serves_config(row) => [REFUSED; 3],
        Local::Cluster => {
            let is_served = matches!(
                row.own_name(),
                "asking"
                    | "countkeysinslot"
                    | "getkeysinslot"
                    | "help"
                    | "info"
                    | "keyslot"
                    | "links"
                    | "myid"
                    | "nodes"
                    | "replicas"
                    | "shards"
                    | "slaves"
                    | "slots"
            );
            let own = if is_served { Fate::Own } else { REFUSED };
            [Fate::Alike, Fate::Alike, own]
        }
        Local::Discard
        | Local::Echo
        | Local::Multi
        | Local::Ping
        | Local::Quit
        | Local::Reset
        | Local::Unwatch => [Fate::Alike; 3],
        Local::Exec => [Fate::Alike, Fate::Together, Fate::Together],
        Local::Select => [Fate::Alike, Fate::Alike, Fate::Own],
        Local::Wait | Local::Beside => [Fate::Alike, Fate::All, Fate::All],
        Local::Auth
        | Local::Client
        | Local::Command
        | Local::Config
        | Local::Hello
        | Local::Info
        | Local::Modules
        | Local::Monitor
        | Local::PubSub
        | Local::ReadMode
        | Local::Role
        | Local::Time
        | Local::WhoAmI => [Fate::Own; 3],
    }
}

/// What becomes of a row's command.
#[must_use]
pub fn fates(row: &CommandSpec) -> Fates {
    let then = |fate| [Fate::Alike, fate, fate];
    match plan(row) {
        Plan::Key(_) | Plan::Fill(_) | Plan::Subscribe(_) | Plan::Unsubscribe(_) => {
            [Fate::Alike; 3]
        }
        Plan::ToDatabase if row.name == "move" => [Fate::Alike, Fate::Alike, OUT_OF_RANGE],
        Plan::Keys
        | Plan::ToDatabase
        | Plan::Block
        | Plan::KeysUnlessBlocking
        | Plan::Watch
        | Plan::Script(Script::Eval | Script::EvalSha) => then(Fate::Together),
        Plan::Split { .. } => then(Fate::Cut),
        Plan::Every(_)
        | Plan::Scan
        | Plan::Script(Script::Exists | Script::Load | Script::Flush) => then(Fate::All),
        Plan::Anywhere => then(Fate::One),
        Plan::SwapDatabases => {
            [Fate::Alike, Fate::Refused("refused: not at one moment"), OUT_OF_RANGE]
        }
        Plan::Local(local) => answered_here(row, local),
        Plan::Refuse => [REFUSED; 3],
    }
}

/// The rows of Redis 7.0.15's commands: a container's sub-commands in its place.
fn rows() -> impl Iterator<Item = Vec<&'static CommandSpec>> {
    let mut tops: Vec<&CommandSpec> =
        commands(Mode::Server).filter(|row| !row.is_newer()).collect();
    tops.sort_unstable_by_key(|row| row.name);
    tops.into_iter().map(|top| match top.subcommands() {
        [] => vec![top],
        subs => {
            let mut subs: Vec<&CommandSpec> = subs.iter().filter(|row| !row.is_newer()).collect();
            subs.sort_unstable_by_key(|row| row.name);
            subs
        }
    })
}

const HEAD: &str = "\
# The commands of Redis 7.0.15 through the proxy

Made by `redstart-proxy --describe-commands` from what the proxy goes by; a test holds this file against it.

| sign | meaning |
|---|---|
| = | the client is answered what one server would answer |
| cut | the same; the request is cut by key, so that it does not happen at one moment on all servers |
| all | the same, put together from all servers |
| together | the same where all keys lie on one server (in a cluster: in one slot; `hash_tag` sees to it), else `CROSSSLOT …` |
| one | one of the servers answers for all |
| own | the proxy answers, about itself and its clients |
| refused | `ERR command '…' is not supported through the proxy`; the connection stays |

Several servers are fixed ones or sentinel groups, by `hash` or `distribution`; MOVE, COPY with DB, SELECT and SWAPDB need `databases`. The
keys that SORT finds by patterns (BY, GET) are keys of the request: a `hash_tag` in the pattern says where they lie.
";

/// The document: the legend, how many commands are served, and the table.
#[must_use]
pub fn document() -> String {
    let all: Vec<Vec<&CommandSpec>> = rows().collect();
    let served = |at: usize| {
        all.iter().filter(|rows| rows.iter().any(|row| !fates(row)[at].is_refused())).count()
    };
    let mut out = HEAD.to_owned();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "\nOf {} commands {} are served before one server, {} before several, {} before a cluster.\n\n",
        all.len(),
        served(0),
        served(1),
        served(2)
    );
    out.push_str("| command | one server | several servers | a cluster |\n|---|---|---|---|\n");
    for row in all.iter().flatten() {
        let name = row.name.replace('|', " ").to_ascii_uppercase();
        let [one, several, cluster] = fates(row).map(Fate::sign);
        let _ = writeln!(out, "| {name} | {one} | {several} | {cluster} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_plans_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/proxy-commands.md");
        let text = std::fs::read_to_string(path).expect("the document");
        assert!(
            text == document(),
            "docs/proxy-commands.md is old: redstart-proxy --describe-commands makes it"
        );
        assert!(text.contains("\nOf 240 commands "));
    }

    #[test]
    fn commands_stand_where_they_should() {
        let of = |name: &str| {
            let all: Vec<&CommandSpec> = rows().flatten().collect();
            fates(all.iter().find(|row| row.name == name).expect("a row"))
        };
        assert_eq!(of("get"), [Fate::Alike; 3]);
        assert_eq!(of("mget"), [Fate::Alike, Fate::Cut, Fate::Cut]);
        assert_eq!(of("sinter"), [Fate::Alike, Fate::Together, Fate::Together]);
        assert_eq!(of("config|set"), [REFUSED; 3]);
        assert_eq!(of("cluster|addslots"), [Fate::Alike, Fate::Alike, REFUSED]);
        assert!(of("swapdb")[1].is_refused() && !of("swapdb")[0].is_refused());
    }
}
