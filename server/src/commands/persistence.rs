//! SAVE, BGSAVE, LASTSAVE, SHUTDOWN.

use super::Handlers;
use crate::client::Flags;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::saving::NotBegun;
use crate::saving::shutdown::{End, Manner};
use redstart_common::log;
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers = &[
    ("bgrewriteaof", bgrewriteaof),
    ("bgsave", bgsave),
    ("lastsave", lastsave),
    ("save", save),
    ("shutdown", shutdown),
];

/// What Redis answers where the log says what went wrong.
const FAILED: CommandError = CommandError::new("ERR");

/// `SAVE`
pub fn save(call: &mut Call<'_>) -> CommandResult {
    if call.core.writes_rdb_since().is_some() {
        return Err(CommandError::new("ERR Background save already in progress"));
    }
    if !call.core.save(call.keyspace) {
        return Err(FAILED);
    }
    call.client.reply.ok();
    Ok(())
}

/// `BGSAVE CANCEL`, of Valkey 8.1: the dump that is being written or scheduled is given up, which is no failure.
fn cancel_bgsave(call: &mut Call<'_>) -> CommandResult {
    if call.core.abort_dump(call.keyspace) {
        log!(Notice, "Background saving aborted as asked for");
        call.client.reply.simple("Background saving cancelled");
    } else if std::mem::take(&mut call.core.saved.scheduled) {
        log!(Notice, "Scheduled background saving cancelled as asked for");
        call.client.reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::new(
            "ERR Background saving is currently not in progress or scheduled",
        ));
    }
    Ok(())
}

/// `BGSAVE [SCHEDULE | CANCEL]`
pub fn bgsave(call: &mut Call<'_>) -> CommandResult {
    let schedule = match call.args.get(1) {
        None => false,
        Some(word) if call.args.len() == 2 && word.eq_ignore_ascii_case(b"schedule") => true,
        Some(word) if call.args.len() == 2 && word.eq_ignore_ascii_case(b"cancel") => {
            return cancel_bgsave(call);
        }
        Some(_) => return Err(SYNTAX),
    };
    let within = call.client.flags.any(Flags::EXECUTING);
    if call.core.writes_rdb_since().is_some() {
        return Err(CommandError::new("ERR Background save already in progress"));
    }
    if call.core.save.is_some() || within {
        if schedule || within {
            call.core.saved.scheduled = true;
            call.client.reply.simple("Background saving scheduled");
            return Ok(());
        }
        return Err(CommandError::new(
            "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE \
             in order to schedule a BGSAVE whenever possible.",
        ));
    }
    match call.core.begin_dump(call.keyspace) {
        Ok(()) => call.client.reply.simple("Background saving started"),
        Err(NotBegun::Busy | NotBegun::Failed) => return Err(FAILED),
    }
    Ok(())
}

/// `BGREWRITEAOF`
pub fn bgrewriteaof(call: &mut Call<'_>) -> CommandResult {
    if call.core.logging.rewrite.is_some() {
        return Err(CommandError::new(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    if call.core.save.is_some() || call.client.flags.any(Flags::EXECUTING) {
        call.core.logging.scheduled = true;
        call.core.logging.back_off.reset();
        call.client.reply.simple("Background append only file rewriting scheduled");
        return Ok(());
    }
    match call.core.begin_rewrite(call.keyspace) {
        Ok(()) => call.client.reply.simple("Background append only file rewriting started"),
        Err(NotBegun::Busy | NotBegun::Failed) => {
            return Err(CommandError::new(
                "ERR Can't execute an AOF background rewriting. Please check the server logs for more \
                 information.",
            ));
        }
    }
    Ok(())
}

/// `LASTSAVE`
pub fn lastsave(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.integer(call.core.saved.last_save_unix_s);
    Ok(())
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`
pub fn shutdown(call: &mut Call<'_>) -> CommandResult {
    let mut manner = Manner::default();
    let mut abort = false;
    for word in call.args.tail(1).iter() {
        match word {
            _ if word.eq_ignore_ascii_case(b"SAVE") => manner.save = true,
            _ if word.eq_ignore_ascii_case(b"NOSAVE") => manner.nosave = true,
            _ if word.eq_ignore_ascii_case(b"ABORT") => abort = true,
            _ if word.eq_ignore_ascii_case(b"NOW") => manner.now = true,
            _ if word.eq_ignore_ascii_case(b"FORCE") => manner.force = true,
            _ if word.eq_ignore_ascii_case(b"SAFE") => manner.safe = true,
            _ => return Err(SYNTAX),
        }
    }
    if (abort && manner != Manner::default()) || (manner.save && manner.nosave) {
        return Err(SYNTAX);
    }
    if abort {
        if !call.core.abort_shutdown(call.keyspace) {
            return Err(CommandError::new("ERR No shutdown in progress."));
        }
        call.client.reply.ok();
        return Ok(());
    }
    if call.core.scripting.is_slow() {
        return end_script_and_server(call, manner);
    }
    if !manner.now && !call.may_block() {
        return Err(CommandError::new(
            "ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client",
        ));
    }
    match call.core.shut_down(call.keyspace, manner) {
        End::Ends => call.client.flags.set(Flags::CLOSE_AFTER_REPLY),
        End::Waits => call.wait_for_end(),
        End::Fails => {
            return Err(CommandError::new("ERR Errors trying to SHUTDOWN. Check logs."));
        }
    }
    Ok(())
}

/// SHUTDOWN while a script runs: what it has done half-way must not be saved.
fn end_script_and_server(call: &mut Call<'_>, manner: Manner) -> CommandResult {
    let core = &mut *call.core;
    let Some(running) = core.scripting.running.as_mut().filter(|_| manner.nosave) else {
        let is_eval = core.scripting.running.as_ref().is_none_or(|running| running.is_eval);
        return Err(CommandError::new(if is_eval {
            error::BUSY_SCRIPT
        } else {
            error::BUSY_FUNCTION
        }));
    };
    running.killed = true;
    running.forgotten = true;
    core.ending.ask(manner);
    call.wait_for_end();
    Ok(())
}
