//! The sub-commands of CLUSTER that change something.

use redstart_common::slot::SLOT_COUNT;

use super::{DISABLED, cluster, slot};
use crate::cluster::{BUS_PORT_ABOVE, Cluster, FailoverKind, Refusal, SetSlot, SlotSet, Turn};
use crate::commands::options::integer;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};

/// Has the cluster do something.
fn step<R>(
    call: &mut Call<'_>,
    step: impl FnOnce(&mut Cluster, &mut Turn<'_>) -> R,
) -> Result<R, CommandError> {
    call.core.cluster_step(call.keyspace, Some(call.client), step).ok_or(DISABLED)
}

/// Answers a request that may be refused.
fn answer(call: &mut Call<'_>, outcome: Result<(), Refusal>) -> CommandResult {
    outcome.map_err(|refusal| CommandError::made(format!("ERR {}", refusal.0)))?;
    call.client.reply.ok();
    Ok(())
}

/// `CLUSTER MEET ip port [cluster-bus-port]`
pub fn meet(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let args = call.args;
    super::super::options::at_most(call, 5)?;
    let number = |what: &str, arg: &[u8]| {
        let before = format!("ERR Invalid TCP {what} port specified: ");
        integer(arg).map_err(|_| CommandError::about(&before, arg, ""))
    };
    let port = number("base", args.at(3))?;
    let bus_port = match args.get(4) {
        Some(arg) => number("bus", arg)?,
        None => port.saturating_add(BUS_PORT_ABOVE),
    };
    let ip = String::from_utf8_lossy(args.at(2)).into_owned();
    if !step(call, |cluster, turn| cluster.meet(&ip, port, bus_port, turn))? {
        let mut place = args.at(2).to_vec();
        place.push(b':');
        place.extend_from_slice(args.at(3));
        return Err(CommandError::about("ERR Invalid node address specified: ", &place, ""));
    }
    call.client.reply.ok();
    Ok(())
}

/// Slots that are named once each, in ranges of first and last.
fn assign(call: &mut Call<'_>, ranges: &[(u16, u16)], takes: bool) -> CommandResult {
    let mut slots = SlotSet::default();
    for slot in ranges.iter().flat_map(|(first, last)| *first..=*last) {
        let checked = cluster(call)?.check_assignment(slot, takes);
        checked.map_err(|refusal| CommandError::made(format!("ERR {}", refusal.0)))?;
        if !slots.insert(slot) {
            return Err(CommandError::made(format!("ERR Slot {slot} specified multiple times")));
        }
    }
    step(call, |cluster, _| cluster.assign(&slots, takes))?;
    call.client.reply.ok();
    Ok(())
}

fn assign_named(call: &mut Call<'_>, takes: bool) -> CommandResult {
    cluster(call)?;
    let slots: Result<Vec<_>, _> =
        call.args.tail(2).iter().map(|arg| slot(arg).map(|slot| (slot, slot))).collect();
    assign(call, &slots?, takes)
}

fn assign_ranges(call: &mut Call<'_>, takes: bool) -> CommandResult {
    cluster(call)?;
    let args = call.args.tail(2);
    if !args.len().is_multiple_of(2) {
        let name = if takes { "delslotsrange" } else { "addslotsrange" };
        return Err(CommandError::arity(&format!("cluster|{name}")));
    }
    let mut ranges = Vec::new();
    for place in (0..args.len()).step_by(2) {
        let (first, last) = (slot(args.at(place))?, slot(args.at(place + 1))?);
        if first > last {
            return Err(CommandError::made(format!(
                "ERR start slot number {first} is greater than end slot number {last}"
            )));
        }
        ranges.push((first, last));
    }
    assign(call, &ranges, takes)
}

/// `CLUSTER ADDSLOTS slot [slot ...]`
pub fn addslots(call: &mut Call<'_>) -> CommandResult {
    assign_named(call, false)
}

/// `CLUSTER DELSLOTS slot [slot ...]`
pub fn delslots(call: &mut Call<'_>) -> CommandResult {
    assign_named(call, true)
}

/// `CLUSTER ADDSLOTSRANGE start-slot end-slot [start-slot end-slot ...]`
pub fn addslotsrange(call: &mut Call<'_>) -> CommandResult {
    assign_ranges(call, false)
}

/// `CLUSTER DELSLOTSRANGE start-slot end-slot [start-slot end-slot ...]`
pub fn delslotsrange(call: &mut Call<'_>) -> CommandResult {
    assign_ranges(call, true)
}

/// `CLUSTER FLUSHSLOTS`
pub fn flushslots(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    if !call.keyspace.dbs[0].is_empty() {
        return Err(CommandError::new("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
    }
    step(call, |cluster, _| cluster.flush_slots())?;
    call.client.reply.ok();
    Ok(())
}

/// `CLUSTER SETSLOT slot (IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE)`
pub fn setslot(call: &mut Call<'_>) -> CommandResult {
    if cluster(call)?.myself().is_replica() {
        return Err(CommandError::new("ERR Please use SETSLOT only with masters."));
    }
    let args = call.args;
    let slot = slot(args.at(2))?;
    let word = args.at(3).to_ascii_lowercase();
    let to = match (word.as_slice(), args.get(4), args.len()) {
        (b"migrating", Some(name), 5) => SetSlot::Migrating(name),
        (b"importing", Some(name), 5) => SetSlot::Importing(name),
        (b"node", Some(name), 5) => SetSlot::Node(name),
        (b"stable", None, _) => SetSlot::Stable,
        _ => {
            return Err(CommandError::new(
                "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ));
        }
    };
    let keys = call.keyspace.dbs[0].slot_len(slot);
    let outcome = step(call, |cluster, turn| cluster.set_slot(slot, to, keys, turn))?;
    answer(call, outcome)
}

/// `CLUSTER BUMPEPOCH`
pub fn bumpepoch(call: &mut Call<'_>) -> CommandResult {
    let (raised, epoch) = step(call, |cluster, turn| cluster.raise_epoch(turn))?;
    let word = if raised { "BUMPED" } else { "STILL" };
    call.client.reply.simple(&format!("{word} {epoch}"));
    Ok(())
}

/// `CLUSTER SAVECONFIG`
pub fn saveconfig(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    call.core.save_cluster(true).map_err(|reason| {
        CommandError::made(format!("ERR error saving the cluster node config: {reason}"))
    })?;
    call.client.reply.ok();
    Ok(())
}

/// `CLUSTER FORGET node-id`
pub fn forget(call: &mut Call<'_>) -> CommandResult {
    let name = call.args.at(2);
    let outcome = step(call, |cluster, turn| cluster.forget(name, turn))?;
    answer(call, outcome)
}

/// `CLUSTER REPLICATE node-id`, and `CLUSTER REPLICATE NO ONE` of Valkey 9
pub fn replicate(call: &mut Call<'_>) -> CommandResult {
    super::super::options::at_most(call, 4)?;
    let name = call.args.at(2);
    if let Some(one) = call.args.get(3) {
        if !name.eq_ignore_ascii_case(b"no") || !one.eq_ignore_ascii_case(b"one") {
            return Err(SYNTAX);
        }
        let outcome = step(call, |cluster, turn| cluster.replicate_nobody(turn))?;
        return answer(call, outcome);
    }
    let has_keys = call.keyspace.dbs[0].seen_len() > 0;
    let outcome = step(call, |cluster, turn| cluster.replicate(name, has_keys, turn))?;
    answer(call, outcome)
}

/// `CLUSTER FAILOVER [FORCE | TAKEOVER]`
pub fn failover(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    super::super::options::at_most(call, 3)?;
    let kind = match call.args.get(2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => FailoverKind::Plain,
        Some(b"force") => FailoverKind::Force,
        Some(b"takeover") => FailoverKind::Takeover,
        Some(_) => return Err(SYNTAX),
    };
    let outcome = step(call, |cluster, turn| cluster.fail_over(kind, turn))?;
    answer(call, outcome)
}

/// `CLUSTER SET-CONFIG-EPOCH config-epoch`
pub fn set_config_epoch(call: &mut Call<'_>) -> CommandResult {
    cluster(call)?;
    let epoch = integer(call.args.at(2))?;
    let outcome = step(call, |cluster, turn| cluster.set_config_epoch(epoch, turn))?;
    answer(call, outcome)
}

/// `CLUSTER RESET [HARD | SOFT]`
pub fn reset(call: &mut Call<'_>) -> CommandResult {
    let is_primary = cluster(call)?.myself().is_primary();
    super::super::options::at_most(call, 3)?;
    let hard = match call.args.get(2).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None | Some(b"soft") => false,
        Some(b"hard") => true,
        Some(_) => return Err(SYNTAX),
    };
    if is_primary && call.keyspace.dbs[0].seen_len() > 0 {
        return Err(CommandError::new(
            "ERR CLUSTER RESET can't be called with master nodes containing keys",
        ));
    }
    step(call, |cluster, turn| cluster.reset(hard, turn))?;
    call.client.reply.ok();
    Ok(())
}

// What is read as a slot fits the table of slots.
const _: () = assert!(SLOT_COUNT as usize == crate::cluster::SLOT_WORDS * 64);
