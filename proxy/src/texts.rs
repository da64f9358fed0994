//! The words of errors that only a proxy has; those shared with Redis are in `resp::error`.

use redstart_common::command::CommandSpec;
use redstart_common::resp::RespWrite;

/// A command that a connection shared by many clients cannot carry.
pub fn not_shared(out: &mut Vec<u8>, row: &CommandSpec) {
    let name = row.name.replace('|', " ");
    out.error(format!("ERR command '{name}' is not supported through the proxy"));
}
