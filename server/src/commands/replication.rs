//! REPLICAOF, PSYNC, SYNC, REPLCONF, FAILOVER, WAIT, WAITAOF, ROLE.

use redstart_common::clock;
use redstart_common::resp::error;

use super::Handlers;
use super::options::{count, integer, integer_between};
use crate::client::{Flags, describe};
use crate::engine::{Call, CommandError, CommandResult};
use crate::persistence::aof::chain::State;
use crate::replicating::awaited::{Awaited, NoLog};
use crate::replication::{Ask, Offset, Refusal, Replconf, RoleReport, SyncRequest, parse_failover};

pub(super) const HANDLERS: Handlers = &[
    ("failover", failover),
    ("psync", psync),
    ("replconf", replconf),
    ("replicaof", replicaof),
    ("role", role),
    ("slaveof", replicaof),
    ("sync", sync),
    ("wait", wait),
    ("waitaof", waitaof),
];

fn refused(refusal: &Refusal) -> CommandError {
    CommandError::made(refusal.wire())
}

/// `REPLICAOF host port`, `REPLICAOF NO ONE`
pub fn replicaof(call: &mut Call<'_>) -> CommandResult {
    if call.core.cluster.is_some() {
        return Err(CommandError::new("ERR REPLICAOF not allowed in cluster mode."));
    }
    let (host, port) = (call.args.at(1), call.args.at(2));
    let by = describe(call.client, call.now_ms());
    let id = call.client.id;
    if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
        call.core
            .replicate(call.keyspace, Some(call.client), |replication, turn| {
                replication.replicaof_no_one(&by, turn)
            })
            .map_err(|refusal| refused(&refusal))?;
        call.core.settings.replication.replicaof = None;
        call.client.reply.ok();
        return Ok(());
    }
    let name = String::from_utf8_lossy(host).into_owned();
    let changed = call
        .core
        .replicate(call.keyspace, Some(call.client), |replication, turn| {
            replication.replicaof(id, &name, port, &by, turn)
        })
        .map_err(|refusal| refused(&refusal))?;
    if changed {
        let port = std::str::from_utf8(port).ok().and_then(|port| port.parse().ok()).unwrap_or(0);
        call.core.settings.replication.replicaof = Some((name, port));
        call.client.reply.ok();
    } else {
        call.client.reply.simple("OK Already connected to specified master");
    }
    Ok(())
}

fn begin_sync(call: &mut Call<'_>, ask: Ask<'_>) -> CommandResult {
    // What was written before belongs before the place that the replica goes on from.
    if call.core.deliver(call.keyspace).is_err() {
        std::process::exit(1);
    }
    let line = describe(call.client, call.now_ms());
    let address = call.client.address.clone();
    let peer_ip = address.rsplit_once(':').map_or(address.as_str(), |(ip, _)| ip);
    let peer_ip = peer_ip.trim_start_matches('[').trim_end_matches(']');
    let request = SyncRequest {
        client: call.client.id,
        peer_ip,
        line: &line,
        has_pending_output: call.client.reply.pending() > 0,
        ask,
    };
    let id = call.client.id;
    let was = call.client.flags.any(Flags::REPLICA);
    // Before what is decided is carried out: a replica's output begins with it.
    call.core.note_replica(call.client);
    let outcome = call.core.replicate(call.keyspace, Some(call.client), |replication, turn| {
        replication.sync(request, turn)
    });
    if !was && !call.core.replication.is_replica_client(id) {
        call.client.flags.clear(Flags::REPLICA);
        call.core.replicating.replicas.retain(|replica| *replica != id);
    }
    outcome.map_err(|refusal| refused(&refusal))
}

/// `SYNC`
pub fn sync(call: &mut Call<'_>) -> CommandResult {
    begin_sync(call, Ask::Sync)
}

/// `PSYNC replicationid offset [FAILOVER]`
pub fn psync(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let failover = args.get(3).is_some_and(|word| word.eq_ignore_ascii_case(b"failover"));
    begin_sync(call, Ask::Psync { id: args.at(1), first_byte: args.at(2), failover })
}

/// `REPLCONF option value [option value ...]`
pub fn replconf(call: &mut Call<'_>) -> CommandResult {
    let (id, args) = (call.client.id, call.args);
    let reply = call
        .core
        .replicate(call.keyspace, Some(call.client), |replication, turn| {
            replication.replconf(id, args, turn)
        })
        .map_err(|refusal| refused(&refusal))?;
    if reply == Replconf::Ok {
        call.client.reply.ok();
    }
    Ok(())
}

/// `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]`
pub fn failover(call: &mut Call<'_>) -> CommandResult {
    if call.core.cluster.is_some() {
        return Err(CommandError::new(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let options = parse_failover(call.args).map_err(|refusal| refused(&refusal))?;
    // The place that the target has to reach.
    if call.core.deliver(call.keyspace).is_err() {
        std::process::exit(1);
    }
    call.core
        .replicate(call.keyspace, Some(call.client), |replication, turn| {
            replication.fail_over(options, turn)
        })
        .map_err(|refusal| refused(&refusal))?;
    call.client.reply.ok();
    Ok(())
}

/// `WAIT numreplicas timeout`
pub fn wait(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if call.core.replication.is_replica() {
        return Err(refused(&Refusal::WAIT_ON_REPLICA));
    }
    let wanted = integer(args.at(1))?;
    let timeout = timeout_ms(args.at(2))?;
    let (offset, _) = written(call);
    let acked = call
        .core
        .replicate(call.keyspace, Some(call.client), |replication, _| {
            replication.wait(offset, wanted)
        })
        .map_err(|refusal| refused(&refusal))?;
    let is_enough = i64::try_from(acked).unwrap_or(i64::MAX) >= wanted;
    if is_enough || !call.may_block() {
        call.client.reply.count(acked);
        return Ok(());
    }
    call.wait_for_replicas(offset, wanted, timeout);
    Ok(())
}

/// `WAITAOF numlocal numreplicas timeout`, of Redis 7.2
pub fn waitaof(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let local = integer_between(args.at(1), 0, 1)? == 1;
    let replicas = count(args.at(2))?;
    let timeout = timeout_ms(args.at(3))?;
    if call.core.replication.is_replica() {
        return Err(refused(&Refusal::WAITAOF_ON_REPLICA));
    }
    if local && call.core.logging.state == State::Off {
        return Err(CommandError::new(NoLog::TEXT));
    }
    let (offset, mark) = written(call);
    call.core
        .replicate(call.keyspace, Some(call.client), |replication, _| {
            replication.wait_for_disks(offset, replicas)
        })
        .map_err(|refusal| refused(&refusal))?;
    let awaited = Awaited { offset, replicas, mark, local };
    let standing = awaited.standing(&call.core.replication, &call.core.logging);
    if awaited.is_reached(standing) || !call.may_block() {
        standing.write(&mut call.client.reply);
        return Ok(());
    }
    call.wait_for_disks(awaited, timeout);
    Ok(())
}

/// A timeout in milliseconds.
fn timeout_ms(arg: &[u8]) -> Result<i64, CommandError> {
    let timeout = integer(arg).map_err(|_| CommandError::new(error::TIMEOUT_NOT_AN_INTEGER))?;
    if timeout < 0 {
        return Err(CommandError::new(error::TIMEOUT_NEGATIVE));
    }
    // 7.0.15 counts past the end of time and answers at once; later versions say this.
    if timeout.checked_add(clock::unix_ms()).is_none() {
        return Err(CommandError::new(error::TIMEOUT_OUT_OF_RANGE));
    }
    Ok(timeout)
}

/// The place of the stream and the mark of the log behind what the client has written. One that has written nothing waits for
/// nothing.
fn written(call: &mut Call<'_>) -> (Offset, u64) {
    if !call.client.flags.any(Flags::WROTE) {
        return (Offset::ZERO, 0);
    }
    // Within a transaction what it has written so far is not on its way yet.
    if !call.client.flags.any(Flags::EXECUTING) && call.core.deliver(call.keyspace).is_err() {
        std::process::exit(1);
    }
    let (appended, _) = call.core.logging.marks();
    (call.core.replication.history().offset, appended)
}

/// `ROLE`
pub fn role(call: &mut Call<'_>) -> CommandResult {
    if call.core.sentinel.is_some() {
        return super::sentinel::role(call);
    }
    let reply = &mut call.client.reply;
    match call.core.replication.role() {
        RoleReport::Primary { offset, replicas } => {
            reply.array(3);
            reply.bulk(b"master");
            reply.integer(offset);
            reply.array(replicas.len());
            for replica in replicas {
                reply.array(3);
                reply.bulk(replica.ip.as_bytes());
                reply.bulk(replica.port.to_string().as_bytes());
                reply.bulk(replica.acked.to_string().as_bytes());
            }
        }
        RoleReport::Replica { host, port, state, offset } => {
            reply.array(5);
            reply.bulk(b"slave");
            reply.bulk(host.as_bytes());
            reply.integer(i64::from(port));
            reply.bulk(state.as_bytes());
            reply.integer(offset);
        }
    }
    Ok(())
}
