//! Reading ranges.

use super::super::options::Options;
use super::{answer_entry, range_end, range_start};
use crate::engine::{Call, CommandResult, SYNTAX};
use crate::types::Stream;

/// `XLEN key`
pub(super) fn xlen(call: &mut Call<'_>) -> CommandResult {
    let stream = call.keyspace.db(call.client.db).read_as::<Stream>(call.args.at(1))?;
    call.client.reply.integer(stream.map_or(0, |stream| stream.len() as i64));
    Ok(())
}

fn range(call: &mut Call<'_>, is_back: bool) -> CommandResult {
    let args = call.args;
    let (low, high) = if is_back { (3, 2) } else { (2, 3) };
    let (start, end) = (range_start(args.at(low))?, range_end(args.at(high))?);
    let (mut options, mut count) = (Options::new(args, 4), None);
    while options.left() > 0 {
        if !options.take("COUNT") {
            return Err(SYNTAX);
        }
        count = Some(options.integer()?);
    }
    let most = call.output_most();
    let stream = call.keyspace.db(call.client.db).read_as::<Stream>(args.at(1))?;
    let reply = &mut call.client.reply;
    let Some(stream) = stream else {
        reply.array(0);
        return Ok(());
    };
    let count = match count {
        None => usize::MAX,
        Some(..=0) => {
            reply.null_array();
            return Ok(());
        }
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let entries = if is_back { stream.range_back(start, end) } else { stream.range(start, end) };
    let open = reply.begin();
    let mut written = 0;
    for entry in entries.take(count) {
        if reply.pending() > most {
            break;
        }
        answer_entry(reply, entry);
        written += 1;
    }
    reply.end_array(open, written);
    Ok(())
}

/// `XRANGE key start end [COUNT count]`
pub(super) fn xrange(call: &mut Call<'_>) -> CommandResult {
    range(call, false)
}

/// `XREVRANGE key end start [COUNT count]`
pub(super) fn xrevrange(call: &mut Call<'_>) -> CommandResult {
    range(call, true)
}
