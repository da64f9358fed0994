//! Commands about the server itself.

use redstart_common::clock;

use super::Handlers;
use super::options::{at_most, integer};
use crate::client::Flags;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers = &[
    ("info", super::info::info),
    ("monitor", monitor),
    ("slowlog|get", slowlog_get),
    ("slowlog|help", slowlog_help),
    ("slowlog|len", slowlog_len),
    ("slowlog|reset", slowlog_reset),
    ("time", time),
];

/// `TIME`
pub fn time(call: &mut Call<'_>) -> CommandResult {
    let now = clock::unix_us();
    call.client.reply.array(2);
    call.client.reply.bulk_int(now / 1_000_000);
    call.client.reply.bulk_int(now % 1_000_000);
    Ok(())
}

/// `MONITOR`
pub fn monitor(call: &mut Call<'_>) -> CommandResult {
    if call.client.flags.any(Flags::DENY_BLOCKING) {
        return Err(CommandError::new("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if !call.client.flags.any(Flags::MONITOR) {
        call.client.flags.set(Flags::MONITOR);
        call.core.monitors.push(call.client.id);
    }
    call.client.reply.ok();
    Ok(())
}

/// `SLOWLOG GET [count]`
pub fn slowlog_get(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    at_most(call, 3)?;
    let wrong = CommandError::new("ERR count should be greater than or equal to -1");
    let count = match args.get(2).map(integer) {
        None => 10,
        Some(Ok(-1)) => call.core.slowlog.len(),
        Some(Ok(count)) => usize::try_from(count).map_err(|_| wrong)?,
        Some(Err(_)) => return Err(wrong),
    };
    let reply = &mut call.client.reply;
    reply.array(count.min(call.core.slowlog.len()));
    for slow in call.core.slowlog.iter().take(count) {
        reply.array(6);
        reply.integer(slow.id as i64);
        reply.integer(slow.at_s);
        reply.integer(slow.took_us as i64);
        reply.array(slow.args.len());
        slow.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(slow.address.as_bytes());
        reply.bulk(&slow.name);
    }
    Ok(())
}

/// `SLOWLOG LEN`
pub fn slowlog_len(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.count(call.core.slowlog.len());
    Ok(())
}

/// `SLOWLOG RESET`
pub fn slowlog_reset(call: &mut Call<'_>) -> CommandResult {
    call.core.slowlog.clear();
    call.client.reply.ok();
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
