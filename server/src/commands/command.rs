//! `COMMAND` and its sub-commands, answered from the table.

use redstart_common::command::{CommandId, CommandSpec, Mode, reply};

use super::Handlers;
use super::handlers;
use crate::engine::Call;
use crate::engine::CommandResult;
use crate::settings::renames::Renames;

pub(super) const HANDLERS: Handlers = &[
    ("command", command),
    ("command|count", command),
    ("command|docs", command),
    ("command|getkeys", command),
    ("command|getkeysandflags", command),
    ("command|help", command),
    ("command|info", command),
    ("command|list", command),
];

/// The commands this server runs, by the names they have here: rows whose handler is not written yet are left out.
struct Running<'a>(&'a Renames);

fn runs(row: &CommandSpec) -> bool {
    handlers().of(row.id).is_some()
        || row.subcommands().iter().any(|sub| handlers().of(sub.id).is_some())
}

impl reply::Directory for Running<'_> {
    fn mode(&self) -> Mode {
        self.0.mode()
    }

    fn find(&self, name: &[u8]) -> Option<CommandId> {
        self.0.find(name).filter(|id| runs(id.spec()))
    }

    fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> + Clone {
        let all = redstart_common::command::commands(self.0.mode());
        all.filter(|row| runs(row) && (self.0.is_empty() || self.0.has_name(row)))
    }
}

/// `COMMAND [COUNT | DOCS | GETKEYS | GETKEYSANDFLAGS | HELP | INFO | LIST] …`
pub fn command(call: &mut Call<'_>) -> CommandResult {
    let proto = call.client.reply.proto;
    let out = call.client.reply.encoded();
    reply::answer(&Running(&call.core.renames), call.row, call.args, proto, out);
    Ok(())
}
