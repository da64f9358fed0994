//! In a cluster: whether this server serves a call, or who does.
//!
//! A call of which every key is in one slot that is this server's, and is staying, costs a checksum for each key and a bit
//! that is looked at. All else is decided as Redis decides it: slots on their way between two nodes, a cluster that is down,
//! replicas that serve reads.

use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandSpec, keys};
use redstart_common::resp::{Args, error};
use redstart_common::slot::key_slot;

use crate::client::{Client, Flags};
use crate::cluster::{Cluster, Node};
use crate::engine::{CommandError, Core, Unblock};
use crate::keyspace::Db;
use crate::pubsub::Channel;

/// Why a call is not served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Its keys lie in several slots.
    CrossSlot,
    /// Some of its keys have gone to where their slot is on its way to.
    Torn,
    /// The cluster is down.
    Down,
    /// The cluster is down, and serves reads only.
    DownForWrites,
    /// Nobody owns the slot.
    Unbound,
    /// Another node owns the slot.
    Moved(u16),
    /// The key has gone to where its slot is on its way to, or does not exist.
    Ask(u16),
}

impl Elsewhere {
    /// What the client is told.
    pub(crate) fn error(self, cluster: &Cluster, client: &Client) -> CommandError {
        let way = |word: &str, slot: u16, node: Option<&Node>| match node {
            Some(node) => {
                let (host, port) = cluster.endpoint(node, client.came());
                CommandError::made(format!("{word} {slot} {host}:{port}"))
            }
            None => CommandError::new(error::SLOT_UNBOUND),
        };
        match self {
            Self::CrossSlot => CommandError::new(error::CROSS_SLOT),
            Self::Torn => CommandError::new(error::TRY_AGAIN),
            Self::Down => CommandError::new(error::CLUSTER_DOWN),
            Self::DownForWrites => CommandError::new(error::CLUSTER_DOWN_FOR_WRITES),
            Self::Unbound => CommandError::new(error::SLOT_UNBOUND),
            Self::Moved(slot) => way("MOVED", slot, cluster.owner(slot)),
            Self::Ask(slot) => way("ASK", slot, cluster.migrating_to(slot)),
        }
    }

    /// What a script is told whose command is not served here.
    fn told_script(self) -> CommandError {
        CommandError::new(match self {
            Self::DownForWrites => {
                "ERR Script attempted to execute a write command while the cluster is down and readonly"
            }
            Self::Down => "ERR Script attempted to execute a command while the cluster is down",
            _ => "ERR Script attempted to access a non local key in a cluster node",
        })
    }
}

/// Whether a call has no keys, or all of them in one slot that needs no question.
#[inline]
pub(super) fn is_plainly_served(cluster: &Cluster, row: &CommandSpec, args: Args<'_>) -> bool {
    let mut places = keys::positions(row, args);
    let Some(first) = places.next() else { return true };
    let slot = key_slot(args.at(first));
    let word = cluster.served()[usize::from(slot / 64)];
    word >> (slot % 64) & 1 == 1 && places.all(|place| key_slot(args.at(place)) == slot)
}

/// What of a client and its call decides, beside the keys.
#[derive(Clone, Copy)]
struct Wish {
    /// The client has said READONLY.
    reads_replica: bool,
    /// It has said ASKING, or the command says it by itself.
    asking: bool,
    /// The command writes.
    writes: bool,
    /// It, or something in the queue of EXEC, writes.
    queue_writes: bool,
    /// It is about a shard channel, which is no key.
    is_channel: bool,
    /// It is MIGRATE, which moves keys of slots that are on their way.
    is_migrate: bool,
}

/// Decides about calls that are made together. Answers the slot of their keys, if they have any.
fn route<'a>(
    cluster: &Cluster,
    db: &Db,
    calls: impl Iterator<Item = (&'static CommandSpec, Args<'a>)>,
    wish: Wish,
) -> Result<Option<u16>, Elsewhere> {
    let mut first: Option<(u16, &[u8])> = None;
    let (mut leaves, mut comes) = (false, false);
    let (mut missing, mut existing, mut are_several) = (false, false, false);
    for (row, args) in calls {
        for place in keys::positions(row, args) {
            let key = args.at(place);
            match first {
                None => {
                    let slot = key_slot(key);
                    if cluster.owner(slot).is_none() {
                        return Err(Elsewhere::Unbound);
                    }
                    leaves = cluster.is_mine(slot) && cluster.migrating_to(slot).is_some();
                    comes = !leaves && cluster.importing_from(slot).is_some();
                    first = Some((slot, key));
                }
                Some((slot, one)) if one != key => {
                    if key_slot(key) != slot {
                        return Err(Elsewhere::CrossSlot);
                    }
                    are_several = true;
                }
                Some(_) => {}
            }
            if (leaves || comes) && !wish.is_channel {
                let is_there = db.look(key).is_some();
                missing |= !is_there;
                existing |= is_there;
            }
        }
    }
    let Some((slot, _)) = first else { return Ok(None) };
    if !cluster.is_up() {
        if wish.is_channel {
            if !cluster.options().shard_channels_when_down {
                return Err(Elsewhere::Down);
            }
        } else if !cluster.options().reads_when_down {
            return Err(Elsewhere::Down);
        } else if wish.writes {
            return Err(Elsewhere::DownForWrites);
        }
    }
    if (leaves || comes) && wish.is_migrate {
        return Ok(Some(slot));
    }
    if leaves && missing {
        return Err(if existing { Elsewhere::Torn } else { Elsewhere::Ask(slot) });
    }
    if comes && wish.asking {
        return if are_several && missing { Err(Elsewhere::Torn) } else { Ok(Some(slot)) };
    }
    let of_primary = || cluster.owner(slot).is_some_and(|node| cluster.i_am_replica_of(node));
    let reads = (wish.reads_replica || wish.is_channel) && !wish.queue_writes;
    if cluster.is_mine(slot) || reads && of_primary() {
        return Ok(Some(slot));
    }
    Err(Elsewhere::Moved(slot))
}

/// What a source may do that hands slots over: it keeps to them.
fn import_gate(
    cluster: &Cluster,
    client: &Client,
    row: &'static CommandSpec,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let slots = cluster.import_of(client.id).map(|it| &it.slots);
    let comes = |place: usize| slots.is_some_and(|it| it.contains(key_slot(args.at(place))));
    match keys::positions(row, args).all(comes) {
        true => Ok(()),
        false => Err(CommandError::new("ERR a key is not in a slot that is being handed over")),
    }
}

impl Core {
    /// What a cluster says to a call of a client. `db` is the database.
    ///
    /// # Errors
    /// When somebody else serves it, or nobody.
    #[cold]
    pub(super) fn slot_gate(
        &self,
        db: &Db,
        client: &Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        if client.flags.any(Flags::IMPORT) {
            return import_gate(cluster, client, row, args);
        }
        self.route_call(cluster, db, client, row, args)
            .map_err(|elsewhere| elsewhere.error(cluster, client))
            .map(drop)
    }

    fn route_call(
        &self,
        cluster: &Cluster,
        db: &Db,
        client: &Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> Result<Option<u16>, Elsewhere> {
        let writes = self.scripting.flags_of(row, args).contains(RowFlags::WRITE);
        let wish = Wish {
            reads_replica: client.flags.any(Flags::READS_REPLICA),
            asking: client.flags.any(Flags::ASKING) || row.flags.contains(RowFlags::ASKING),
            writes,
            queue_writes: writes,
            is_channel: matches!(row.name, "ssubscribe" | "sunsubscribe" | "spublish"),
            is_migrate: row.name == "migrate",
        };
        if row.name != "exec" {
            return route(cluster, db, std::iter::once((row, args)), wish);
        }
        // Without a queue it will say so itself.
        let Some(multi) = &client.multi else { return Ok(None) };
        let calls = multi.queue.iter().map(|call| (call.command.spec(), call.args.as_args()));
        let queue_writes = calls.clone().any(|(row, _)| row.flags.contains(RowFlags::WRITE));
        route(cluster, db, calls, Wish { queue_writes, ..wish })
    }

    /// What a cluster says to a command that a script calls, whose client this is. `own` is the slot that the script has
    /// to keep to, which its first key decides where none was named before.
    ///
    /// # Errors
    /// When the command's keys are not this server's, or lie in another slot than the script's other keys.
    pub(crate) fn slot_gate_of_script(
        &self,
        db: &Db,
        client: &Client,
        row: &'static CommandSpec,
        args: Args<'_>,
        own: Option<&mut Option<u16>>,
    ) -> Result<(), CommandError> {
        let Some(cluster) = &self.cluster else { return Ok(()) };
        let slot =
            self.route_call(cluster, db, client, row, args).map_err(Elsewhere::told_script)?;
        if slot.is_some_and(|slot| self.clustering.moving.holds_slot(slot))
            && row.flags.contains(RowFlags::WRITE)
        {
            return Err(CommandError::new(
                "TRYAGAIN Script attempted to write to a slot that is being handed over",
            ));
        }
        let (Some(slot), Some(own)) = (slot, own) else { return Ok(()) };
        if *own.get_or_insert(slot) != slot {
            return Err(CommandError::new(
                "ERR Script attempted to access keys that do not hash to the same slot",
            ));
        }
        Ok(())
    }

    /// The slot of the keys that a call names, in a cluster.
    pub(crate) fn slot_of(&self, row: &CommandSpec, args: Args<'_>) -> Option<u16> {
        self.cluster.as_ref()?;
        keys::first(row, args).map(|place| key_slot(args.at(place)))
    }

    /// Why one who waits for keys is not served here any more.
    fn waits_in_vain(cluster: &Cluster, client: &Client) -> Option<Elsewhere> {
        let blocked = client.blocked.as_ref()?;
        let key = blocked.keys.first()?;
        if !cluster.is_up() {
            return Some(Elsewhere::Down);
        }
        let slot = key_slot(key);
        let Some(owner) = cluster.owner(slot) else { return Some(Elsewhere::Unbound) };
        let reads = client.flags.any(Flags::READS_REPLICA)
            && !blocked.command.spec().flags.contains(RowFlags::WRITE)
            && cluster.i_am_replica_of(owner);
        let is_here = cluster.is_mine(slot) || cluster.importing_from(slot).is_some() || reads;
        (!is_here).then_some(Elsewhere::Moved(slot))
    }

    /// Looks again at those who wait for keys or listen to shard channels, after the cluster has changed: whoever is not
    /// served here any more is told where to go.
    pub fn slots_have_moved(&mut self) {
        let Some(cluster) = self.cluster.take() else { return };
        if !self.blocking.is_empty() {
            let told: Vec<_> = self
                .clients
                .iter()
                .filter_map(|client| {
                    let why = Self::waits_in_vain(&cluster, client)?;
                    Some((client.id, why.error(&cluster, client)))
                })
                .collect();
            for (id, error) in told {
                self.unblock(id, Unblock::Elsewhere(error));
            }
        }
        let gone: Vec<Box<[u8]>> = self
            .pubsub
            .active(Channel::Shard)
            .filter(|channel| {
                let slot = key_slot(channel);
                let owner = cluster.owner(slot);
                !cluster.is_mine(slot) && !owner.is_some_and(|node| cluster.i_am_replica_of(node))
            })
            .map(Into::into)
            .collect();
        for channel in gone {
            self.pubsub.close_shard_channel(&mut self.clients, &channel);
        }
        self.cluster = Some(cluster);
    }
}
