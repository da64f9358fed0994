//! Moving many elements at once from one list to another: LMOVEM and BLMOVEM (Redis 8.10).

use redstart_common::resp::Args;

use super::super::options::{Options, integer, timeout_ms};
use super::super::{Handlers, after_removal};
use super::{end, pop_event, push_event, taken, word_of};
use crate::engine::waiting::Nothing;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::keyspace::Kind;
use crate::settings::notify::Classes;
use crate::types::List;
use crate::types::list::End;

pub(in crate::commands) const HANDLERS: Handlers = &[("blmovem", blmovem), ("lmovem", lmovem)];

/// How many elements LMOVEM moves, and in which order.
#[derive(Clone, Copy)]
struct Many {
    count: usize,
    /// Fewer are not moved at all.
    exactly: bool,
    /// They keep their order, as if they were moved in one piece; else one goes after the other.
    in_bulk: bool,
}

/// Reads `[COUNT count | EXACTLY count <OBO | BULK>]`, which ends the request.
fn many(args: Args<'_>, at: usize) -> Result<Many, CommandError> {
    let mut options = Options::new(args, at);
    let Some(word) = options.word() else {
        return Ok(Many { count: 1, exactly: false, in_bulk: true });
    };
    let exactly = word.eq_ignore_ascii_case(b"EXACTLY");
    if !exactly && !word.eq_ignore_ascii_case(b"COUNT") {
        return Err(SYNTAX);
    }
    let count = integer(options.need()?)?;
    if count <= 0 {
        return Err(CommandError::new("ERR count should be greater than 0"));
    }
    let order = options.need()?;
    let in_bulk = order.eq_ignore_ascii_case(b"BULK");
    if (!in_bulk && !order.eq_ignore_ascii_case(b"OBO")) || options.left() > 0 {
        return Err(SYNTAX);
    }
    Ok(Many { count: count as usize, exactly, in_bulk })
}

/// Moves elements and answers them as they lie at their destination. Answers whether there were enough.
fn move_elements(
    call: &mut Call<'_>,
    from: End,
    to: End,
    many: Many,
) -> Result<bool, CommandError> {
    let (source, target) = (call.arg(1), call.arg(2));
    let db = call.keyspace.db(call.client.db);
    // Both must be lists before either changes.
    if !db.holds::<List>(source)? {
        return Ok(false);
    }
    db.holds::<List>(target)?;
    let Some(list) = db.write_as::<List>(source)? else { return Ok(false) };
    if many.exactly && list.len() < many.count {
        return Ok(false);
    }
    let mut moved: Vec<Vec<u8>> = Vec::new();
    for _ in 0..many.count.min(list.len()) {
        list.pop(from, |element| moved.push(element.to_vec()));
    }
    let empty = list.is_empty() && source != target;
    // In bulk they are pushed so that they lie as they lay: what was at the far side goes first when the ends are the same.
    if many.in_bulk && from == to {
        moved.reverse();
    }
    let limits = &call.core.settings.packed;
    let list = db.write_or_create::<List>(target)?;
    moved.iter().for_each(|element| list.push(to, element, limits));
    if to == End::Front {
        moved.reverse();
    }
    call.client.reply.array(moved.len());
    moved.iter().for_each(|element| call.client.reply.bulk(element));
    call.modified(target);
    call.notify(Classes::LIST, push_event(to), target);
    after_removal(call, source, taken(pop_event(from)), empty, moved.len());
    if call.core.feed.wanted() {
        let count = moved.len().to_string();
        let order: &[u8] = if many.in_bulk { b"BULK" } else { b"OBO" };
        let (from, to) = (word_of(from), word_of(to));
        let head: [&[u8]; 5] = [b"LMOVEM", source, target, from, to];
        let tail: [&[u8]; 3] = [b"COUNT", count.as_bytes(), order];
        call.propagate_instead(&[&head[..], &tail[..]].concat());
    }
    Ok(true)
}

/// `LMOVEM source destination LEFT | RIGHT LEFT | RIGHT [COUNT count | EXACTLY count <OBO | BULK>]` (Redis 8.10)
pub fn lmovem(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from, to) = (end(args.at(3))?, end(args.at(4))?);
    let many = many(args, 5)?;
    if !move_elements(call, from, to, many)? {
        call.client.reply.null_array();
    }
    Ok(())
}

/// `BLMOVEM source destination LEFT | RIGHT LEFT | RIGHT timeout [COUNT count | EXACTLY count <OBO | BULK>]` (Redis 8.10)
pub fn blmovem(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let (from, to) = (end(args.at(3))?, end(args.at(4))?);
    let timeout = timeout_ms(args.at(5))?;
    let many = many(args, 6)?;
    if !move_elements(call, from, to, many)? {
        call.block(Kind::List, std::iter::once(args.at(1)), timeout, Nothing::NullArray);
    }
    Ok(())
}
