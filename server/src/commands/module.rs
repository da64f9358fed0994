//! `MODULE`: there are no modules, and none can be loaded.

use redstart_common::log;
use redstart_common::resp::Args;

use super::Handlers;
use super::debug::is_allowed;
use crate::engine::{Call, CommandError, CommandResult};

pub(super) const HANDLERS: Handlers = &[
    ("module|help", help),
    ("module|list", list),
    ("module|load", load),
    ("module|loadex", load),
    ("module|unload", unload),
];

/// `MODULE LIST`: none.
pub fn list(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.array(0);
    Ok(())
}

fn check_allowed(call: &Call<'_>) -> CommandResult {
    if is_allowed(call.client, call.core.settings.enable_module_command) {
        return Ok(());
    }
    Err(CommandError::new(
        "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", \
         you can run it from a local connection, otherwise you need to set this option in the \
         configuration file, and then restart the server.",
    ))
}

fn path(args: &Args<'_>) -> String {
    String::from_utf8_lossy(args.at(2)).into_owned()
}

/// `MODULE LOAD path [arg ...]`, `MODULE LOADEX path [CONFIG name value ...] [ARGS arg ...]`: refused, for code that was made
/// for redis-server's memory and threads cannot run here.
pub fn load(call: &mut Call<'_>) -> CommandResult {
    check_allowed(call)?;
    log!(Warning, "Module {} failed to load: Redstart does not support modules", path(&call.args));
    Err(CommandError::new("ERR Error loading the extension. Please check the server logs."))
}

/// `MODULE UNLOAD name`
pub fn unload(call: &mut Call<'_>) -> CommandResult {
    check_allowed(call)?;
    Err(CommandError::new("ERR Error unloading module: no such module with that name"))
}

/// `MODULE HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "MODULE",
        &[
            "LIST",
            "    Return a list of loaded modules.",
            "LOAD <path> [<arg> ...]",
            "    Load a module library from <path>, passing to it any optional arguments.",
            "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
            "    Load a module library from <path>, while passing it module configurations and optional arguments.",
            "UNLOAD <name>",
            "    Unload a module.",
        ],
    );
    Ok(())
}
