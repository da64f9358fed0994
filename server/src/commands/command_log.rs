//! `COMMANDLOG`, of Valkey 8.1, and `SLOWLOG`: the commands that were noted for their time or for their bytes.

use super::Handlers;
use super::options::{at_most, integer};
use crate::engine::{Call, CommandError, CommandResult};
use crate::observe::command_log::About;

pub(super) const HANDLERS: Handlers = &[
    ("commandlog|get", get),
    ("commandlog|help", help),
    ("commandlog|len", len),
    ("commandlog|reset", reset),
    ("slowlog|get", slowlog_get),
    ("slowlog|help", slowlog_help),
    ("slowlog|len", slowlog_len),
    ("slowlog|reset", slowlog_reset),
];

const WRONG_COUNT: CommandError =
    CommandError::new("ERR count should be greater than or equal to -1");

/// The log that a word names.
fn log(word: &[u8]) -> Result<About, CommandError> {
    let found = About::NAMES.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, about)| *about).ok_or(CommandError::new(
        "ERR type should be one of the following: slow, large-request, large-reply",
    ))
}

/// How many entries are asked for; all where it is -1.
fn count(word: &[u8]) -> Result<usize, CommandError> {
    match integer(word) {
        Ok(-1) => Ok(usize::MAX),
        Ok(count) => usize::try_from(count).map_err(|_| WRONG_COUNT),
        Err(_) => Err(WRONG_COUNT),
    }
}

fn answer(call: &mut Call<'_>, about: About, count: usize) {
    let (reply, log) = (&mut call.client.reply, call.core.command_logs.of(about));
    reply.array(count.min(log.len()));
    for noted in log.iter().take(count) {
        reply.array(6);
        reply.integer(noted.id as i64);
        reply.integer(noted.at_s);
        reply.integer(noted.amount as i64);
        reply.array(noted.args.len());
        noted.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(noted.address.as_bytes());
        reply.bulk(&noted.name);
    }
}

fn answer_len(call: &mut Call<'_>, about: About) {
    call.client.reply.count(call.core.command_logs.of(about).len());
}

fn clear(call: &mut Call<'_>, about: About) {
    call.core.command_logs.of_mut(about).clear();
    call.client.reply.ok();
}

/// `COMMANDLOG GET count slow | large-request | large-reply`
pub fn get(call: &mut Call<'_>) -> CommandResult {
    let count = count(call.arg(2))?;
    let about = log(call.arg(3))?;
    answer(call, about, count);
    Ok(())
}

/// `COMMANDLOG LEN slow | large-request | large-reply`
pub fn len(call: &mut Call<'_>) -> CommandResult {
    let about = log(call.arg(2))?;
    answer_len(call, about);
    Ok(())
}

/// `COMMANDLOG RESET slow | large-request | large-reply`
pub fn reset(call: &mut Call<'_>) -> CommandResult {
    let about = log(call.arg(2))?;
    clear(call, about);
    Ok(())
}

/// `COMMANDLOG HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "COMMANDLOG",
        &[
            "GET <count> <type>",
            "    The latest <count> entries of the log <type> (-1: all). Each has an id, a time,",
            "    microseconds (slow) or bytes (large-request, large-reply), arguments, address",
            "    and name of the client.",
            "LEN <type>",
            "    How many entries the log has.",
            "RESET <type>",
            "    Forgets them.",
        ],
    );
    Ok(())
}

/// `SLOWLOG GET [count]`
pub fn slowlog_get(call: &mut Call<'_>) -> CommandResult {
    at_most(call, 3)?;
    let count = call.args.get(2).map_or(Ok(10), count)?;
    answer(call, About::Slow, count);
    Ok(())
}

/// `SLOWLOG LEN`
pub fn slowlog_len(call: &mut Call<'_>) -> CommandResult {
    answer_len(call, About::Slow);
    Ok(())
}

/// `SLOWLOG RESET`
pub fn slowlog_reset(call: &mut Call<'_>) -> CommandResult {
    clear(call, About::Slow);
    Ok(())
}

/// `SLOWLOG HELP`
pub fn slowlog_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "SLOWLOG",
        &[
            "GET [<count>]",
            "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
            "    Entries are made of:",
            "    id, timestamp, time in microseconds, arguments array, client IP and port,",
            "    client name",
            "LEN",
            "    Return the length of the slowlog.",
            "RESET",
            "    Reset the slowlog.",
        ],
    );
    Ok(())
}
