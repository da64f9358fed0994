//! Slots that go to another node as one step: CLUSTER MIGRATESLOTS, what belongs to it, and what the nodes say to each other.

use redstart_common::log;

use super::{DISABLED, cluster};
use crate::client::Flags;
use crate::cluster::Refusal;
use crate::cluster::moves::Word;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};

fn refused(refusal: Refusal) -> CommandError {
    CommandError::made(format!("ERR {}", refusal.0))
}

/// `CLUSTER MIGRATESLOTS SLOTSRANGE start-slot end-slot [start-slot end-slot ...] NODE node-id [SLOTSRANGE ... NODE ...]`
pub fn migrateslots(call: &mut Call<'_>) -> CommandResult {
    let words: Vec<&[u8]> = call.args.tail(2).iter().collect();
    let outcome = call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
        cluster.move_slots(&words, turn)
    });
    outcome.ok_or(DISABLED)?.map_err(refused)?;
    call.client.reply.ok();
    Ok(())
}

/// `CLUSTER CANCELSLOTMIGRATIONS`
pub fn cancelslotmigrations(call: &mut Call<'_>) -> CommandResult {
    let outcome = call
        .core
        .cluster_step(call.keyspace, Some(call.client), |cluster, turn| cluster.cancel_moves(turn));
    outcome.ok_or(DISABLED)?.map_err(refused)?;
    log!(
        Notice,
        "Canceled all in progress slot migrations (user request from '{}')",
        call.client.address
    );
    call.client.reply.ok();
    Ok(())
}

/// `CLUSTER GETSLOTMIGRATIONS`
pub fn getslotmigrations(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let wall_ahead_ms = call.core.wall_ahead_ms();
    let Some(cluster) = call.core.cluster.as_deref() else { return Err(DISABLED) };
    let myself = cluster.myself().name;
    let reply = &mut call.client.reply;
    reply.array(cluster.moves().len());
    for it in cluster.moves() {
        let (target, source) = if it.is_import { (myself, it.other) } else { (it.other, myself) };
        let waits = call.core.clustering.moving.waiting_bytes(&it.name);
        let seconds = |ms: i64| (ms + wall_ahead_ms) / 1000;
        reply.map(12);
        for (name, text) in [
            ("name", it.name.to_string()),
            ("operation", if it.is_import { "IMPORT" } else { "EXPORT" }.to_owned()),
            ("slot_ranges", it.ranges_text()),
            ("target_node", target.to_string()),
            ("source_node", source.to_string()),
        ] {
            reply.bulk(name.as_bytes());
            reply.bulk(text.as_bytes());
        }
        for (name, at_ms) in [
            ("create_time", it.created_ms),
            ("last_update_time", it.updated_ms),
            ("last_ack_time", it.heard_ms),
        ] {
            reply.bulk(name.as_bytes());
            reply.integer(seconds(at_ms));
        }
        reply.bulk(b"state");
        reply.bulk(it.state.name().as_bytes());
        reply.bulk(b"message");
        reply.bulk(it.message.as_bytes());
        // Nothing is copied on write, for nothing is forked.
        reply.bulk(b"cow_size");
        reply.integer(0);
        reply.bulk(b"remaining_repl_size");
        reply.count(waits);
    }
    Ok(())
}

/// `CLUSTER SYNCSLOTS ESTABLISH SOURCE node-id NAME name SLOTSRANGE start-slot end-slot ...`, and `CLUSTER SYNCSLOTS word`: what
/// a source says to a target. It answers by words of its own; only ESTABLISH has a reply.
pub fn syncslots(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let id = call.client.id;
    if args.at(2).eq_ignore_ascii_case(b"establish") {
        let words: Vec<&[u8]> = args.tail(3).iter().collect();
        let leftover: Vec<u16> =
            call.keyspace.dbs[0].used_slots().filter(|slot| call.core.leaves_keys(*slot)).collect();
        let outcome = call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
            cluster.establish_move(id, &words, |slot| leftover.contains(&slot), turn)
        });
        outcome.ok_or(DISABLED)?.map_err(refused)?;
        call.client.flags.set(Flags::IMPORT);
        call.client.reply.ok();
        return Ok(());
    }
    let word = Word::of(args.at(2)).ok_or(SYNTAX)?;
    let heard = call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
        cluster.hear_source(id, word, turn)
    });
    if !heard.ok_or(DISABLED)? && !call.client.flags.any(Flags::CLOSE_ASAP) {
        return Err(CommandError::made(format!(
            "ERR CLUSTER SYNCSLOTS {} should only be used by slot migration clients",
            word.name()
        )));
    }
    Ok(())
}
