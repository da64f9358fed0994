//! The refusals, in the order clients rely on.

use redstart_common::command::CommandSpec;
use redstart_common::command::spec::Flags as RowFlags;

use super::slots::is_plainly_served;
use crate::acl::selector::Denied;
use crate::client::{Client, Flags, Origin};
use crate::engine::armed::Armed;
use crate::engine::{CommandError, CommandResult};
use crate::engine::{Core, Engine};
use crate::eviction::candidates::Room;
use crate::observe::memory::used_bytes;
use crate::persistence::save::Save;
use crate::persistence::state::Refusal;
use redstart_common::resp::error;
use redstart_common::resp::{Args, Proto};

/// Memory is used up and the policy frees none.
pub const OUT_OF_MEMORY: CommandError = CommandError::new(error::OUT_OF_MEMORY);

/// Conditions that concern writes.
const WRITE_GATES: Armed = Armed::DISK.or(Armed::REPLICAS).or(Armed::READ_ONLY);

const NO_AUTH: CommandError = CommandError::new(error::NO_AUTH);

const READ_ONLY: CommandError = CommandError::new(error::READ_ONLY);
const NO_REPLICAS: CommandError = CommandError::new(error::NO_REPLICAS);
const LOADING: CommandError = CommandError::new(error::LOADING);
const MASTER_DOWN: CommandError = CommandError::new(error::MASTER_DOWN);
const MISCONF_RDB: CommandError = CommandError::new(error::MISCONF_RDB);

/// What a call is, as the gates see it: EXEC is what it would run.
#[derive(Clone, Copy)]
struct Nature {
    /// What some command of it does.
    does: RowFlags,
    /// What every command of it may do.
    may: RowFlags,
}

impl Nature {
    fn of(core: &Core, client: &Client, row: &CommandSpec, args: Args<'_>) -> Self {
        let flags = core.scripting.flags_of(row, args);
        let mut nature = Self { does: flags, may: flags };
        if row.name == "exec"
            && let Some(multi) = &client.multi
        {
            for queued in &multi.queue {
                let flags = core.scripting.flags_of(queued.command.spec(), queued.args.as_args());
                nature.does = nature.does.or(flags);
                nature.may = nature.may.and(flags);
            }
        }
        nature
    }

    fn writes(self) -> bool {
        self.does.contains(RowFlags::WRITE)
    }
}

/// What may not be asked while data is loaded: of a call, what some command of it does, and what every command may do.
pub(super) fn loading_gate(core: &Core, does: RowFlags, may: RowFlags) -> CommandResult {
    let Some(loading) = &core.saved.loading else { return Ok(()) };
    let refused = if loading.beside {
        does.contains(RowFlags::NO_ASYNC_LOADING)
    } else {
        !may.contains(RowFlags::LOADING)
    };
    if refused { Err(LOADING) } else { Ok(()) }
}

impl Engine {
    /// Lets each gate refuse the command, in the order clients rely on.
    #[inline]
    pub(super) fn gates(
        &mut self,
        client: &mut Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> CommandResult {
        const RARE: Flags = Flags::MULTI
            .or(Flags::SUBSCRIBED)
            .or(Flags::RESTRICTED)
            .or(Flags::REPLICA)
            .or(Flags::FOLLOWS)
            .or(Flags::IMPORT);
        if client.authenticated && !client.flags.any(RARE) && self.core.armed.is_empty() {
            match &self.core.cluster {
                None => return Ok(()),
                Some(cluster) if is_plainly_served(cluster, row, args) => return Ok(()),
                Some(_) => {}
            }
        }
        self.gates_closely(client, row, args)
    }

    #[cold]
    fn gates_closely(
        &mut self,
        client: &mut Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> CommandResult {
        // What the log says has happened.
        if client.origin == Origin::Log {
            return Ok(());
        }
        self.core.client_gates(client, row, args)?;
        if client.origin == Origin::Client {
            self.core.slot_gate(&self.keyspace.dbs[0], client, row, args)?;
        }
        let armed = self.core.armed;
        if armed.any(Armed::MEMORY) {
            self.memory_gate(client, row, args)?;
        }
        let nature = Nature::of(&self.core, client, row, args);
        if client.flags.any(Flags::FOLLOWS) {
            self.core.redirect_gate(client, nature)?;
        }
        if armed.any(WRITE_GATES) && client.origin == Origin::Client {
            self.write_gates(row, nature)?;
        }
        if armed.any(Armed::DISK) && client.origin == Origin::Primary && nature.writes() {
            self.core.unsaved_write_of_primary();
        }
        listening_gate(client, row)?;
        if armed.any(Armed::STALE)
            && client.origin == Origin::Client
            && !self.core.replication.is_link_up()
            && !nature.may.contains(RowFlags::STALE)
        {
            return Err(MASTER_DOWN);
        }
        loading_gate(&self.core, nature.does, nature.may)?;
        let touches = RowFlags::WRITE.or(RowFlags::READONLY).or(RowFlags::MAY_REPLICATE);
        if client.flags.any(Flags::REPLICA) && row.flags.intersects(touches) {
            return Err(CommandError::new("ERR Replica can't interact with the keyspace"));
        }
        Ok(())
    }

    /// What may not be written now.
    fn write_gates(&self, row: &CommandSpec, nature: Nature) -> CommandResult {
        let core = &self.core;
        if (nature.writes() || row.name == "ping")
            && let Some(refusal) = core.saved.refusal(&core.settings)
        {
            return Err(match refusal {
                Refusal::Snapshot => MISCONF_RDB,
                Refusal::Log(reason) => CommandError::made(error::misconf_aof(&reason)),
            });
        }
        if nature.writes() && !core.replication.has_enough_replicas() {
            return Err(NO_REPLICAS);
        }
        if nature.writes() && core.armed.any(Armed::READ_ONLY) {
            return Err(READ_ONLY);
        }
        Ok(())
    }

    fn memory_gate(
        &mut self,
        client: &mut Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> CommandResult {
        let is_whole = client.origin == Origin::Client && !client.flags.any(Flags::MULTI);
        let room = self.make_room(is_whole.then_some(&mut *client));
        if client.flags.any(Flags::CLOSE_ASAP) {
            return Err(CommandError::new("ERR the client takes too much memory"));
        }
        // That a key was evicted is told before the reply: it was gone when the command ran. A reply that is taken back
        // would take the message along; then it comes after.
        const SILENT: Flags = Flags::REPLY_OFF.or(Flags::REPLY_SKIP);
        if client.flags.any(Flags::TRACKING) && !client.flags.any(SILENT) {
            self.core.tracking.tell_pending(&mut self.core.clients, Some(client));
        }
        let flags = self.core.scripting.flags_of(row, args);
        if room == Room::None && takes_memory(client, row, flags) {
            return Err(OUT_OF_MEMORY);
        }
        Ok(())
    }
}

/// What a client may not do that listens to channels and speaks RESP2.
pub(super) fn listening_gate(client: &Client, row: &CommandSpec) -> CommandResult {
    let listening = client.flags.any(Flags::SUBSCRIBED) && client.reply.proto == Proto::Resp2;
    if listening && !allowed_while_listening(row.name) {
        return Err(CommandError::made(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
             are allowed in this context",
            row.name
        )));
    }
    Ok(())
}

/// Whether a command is refused when memory is used up.
fn takes_memory(client: &Client, row: &CommandSpec, flags: RowFlags) -> bool {
    flags.contains(RowFlags::DENYOOM)
        || match row.name {
            "exec" => client.queues_memory(),
            "discard" | "multi" | "quit" | "reset" => false,
            // A queue without end would take memory whatever is in it.
            _ => client.flags.any(Flags::MULTI),
        }
}

/// The user may not make the call.
/// The words of a refusal.
pub(crate) fn no_permission(row: &CommandSpec, denied: Denied) -> CommandError {
    match denied {
        Denied::Command => CommandError::made(format!(
            "NOPERM this user has no permissions to run the '{}' command",
            row.name
        )),
        Denied::Key(_) => CommandError::new(
            "NOPERM this user has no permissions to access one of the keys used as arguments",
        ),
        Denied::Channel(_) => CommandError::new(
            "NOPERM this user has no permissions to access one of the channels used as arguments",
        ),
    }
}

/// The user may not make a call any more that has been queued.
pub(super) fn permission_lost(denied: Denied) -> CommandError {
    let reason = match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments",
    };
    CommandError::made(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC \
         call. This command is no longer allowed for the following reason: {reason}"
    ))
}

fn allowed_while_listening(name: &str) -> bool {
    matches!(
        name,
        "ping"
            | "subscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "quit"
            | "reset"
    )
}

impl Core {
    /// Sends a client that follows to the primary, where this server is a replica.
    fn redirect_gate(&self, client: &Client, nature: Nature) -> CommandResult {
        let reads = nature.does.contains(RowFlags::READONLY);
        let asks = nature.writes() || reads && !client.flags.any(Flags::READS_REPLICA);
        match self.redirection() {
            Some(error) if asks && client.origin == Origin::Client => Err(error),
            _ => Ok(()),
        }
    }

    /// What tells a client that follows where the primary is.
    pub(crate) fn redirection(&self) -> Option<CommandError> {
        let (host, port) = self.replication.primary_address().filter(|_| self.cluster.is_none())?;
        Some(CommandError::made(format!("REDIRECT {host}:{port}")))
    }

    /// What the client itself may not do.
    pub(super) fn client_gates(
        &mut self,
        client: &Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> CommandResult {
        if !client.authenticated && !row.flags.contains(RowFlags::NO_AUTH) {
            return Err(NO_AUTH);
        }
        if client.flags.any(Flags::MULTI) && row.flags.contains(RowFlags::NO_MULTI) {
            return Err(CommandError::new("ERR Command not allowed inside a transaction"));
        }
        if client.flags.any(Flags::RESTRICTED) {
            self.check_user(client, row, args).map_err(|denied| no_permission(row, denied))?;
        }
        Ok(())
    }

    /// Whether memory in use is over the limit.
    #[must_use]
    pub fn out_of_memory(&self) -> bool {
        self.bytes_over_limit() > 0
    }

    /// By how many bytes memory in use is over the limit; 0 when it is not, or when there is none.
    #[must_use]
    pub fn bytes_over_limit(&self) -> usize {
        match self.settings.maxmemory {
            0 => 0,
            limit => match used_bytes().saturating_sub(limit) {
                0 => 0,
                over => over.saturating_sub(self.uncounted_bytes()),
            },
        }
    }

    /// Memory in use that is no reason to evict keys, or evicting, which is told to the log and to replicas, would call for
    /// more of itself: what is held for replicas beyond the backlog's size or on its way to them, what waits to be logged, and a snapshot.
    #[must_use]
    pub fn uncounted_bytes(&self) -> usize {
        let replicas = self.replication.bytes_for_replicas();
        let outputs = self.replicating.replicas.iter().filter_map(|id| self.clients.look(*id));
        let outputs: usize = outputs.map(|client| client.reply.output.allocated()).sum();
        let log = self.logging.log.as_ref().map_or(0, |log| log.buffer_capacity());
        let save = self.save.as_ref().map_or(0, Save::bytes_on_the_way);
        let moves = self.clustering.moving.all_waiting_bytes();
        usize::try_from(replicas).unwrap_or(0) + outputs + log + save + moves + self.feed.capacity()
    }
}
