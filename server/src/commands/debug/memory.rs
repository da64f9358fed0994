//! What DEBUG asks of the allocator.

use crate::commands::options::integer;
use crate::engine::{Call, CommandError, CommandResult};
use crate::process::allocator;
use crate::text::system_words;

/// `DEBUG MALLCTL name [number]`
pub(super) fn number(call: &mut Call<'_>) -> CommandResult {
    let value = call.args.get(3).map(integer).transpose()?;
    let before = allocator::control(call.arg(2), value).map_err(refused)?;
    match before {
        Some(number) => call.client.reply.integer(number),
        None => call.client.reply.ok(),
    }
    Ok(())
}

/// `DEBUG MALLCTL-STR name [text]`
pub(super) fn text(call: &mut Call<'_>) -> CommandResult {
    let before = allocator::control_text(call.arg(2), call.args.get(3));
    match before.map_err(refused)? {
        Some(text) => call.client.reply.bulk(&text),
        None => call.client.reply.ok(),
    }
    Ok(())
}

fn refused(error: std::io::Error) -> CommandError {
    CommandError::made(format!("ERR {}", system_words(&error)))
}
