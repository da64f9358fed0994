//! Failovers that operators ask for: the primary pauses its clients, says where it is, and the replica takes over when it has
//! all of it.

use super::Cluster;
use super::door::{Action, Turn};
use super::node::{Handle, LinkId};
use super::packet::{self, Kind, Packet, mark};

/// The primary's clients are paused for so many times as long.
const PAUSE_TIMES: i64 = 2;

/// A failover that an operator has asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Manual {
    /// When it is given up; 0 if none is under way.
    pub(super) end_ms: i64,
    /// On the primary: the replica that is to take over.
    pub(super) replica: Option<Handle>,
    /// On the primary: clients are paused.
    is_pausing: bool,
    /// On the replica: where the primary is.
    offset: Option<i64>,
    /// On the replica: votes may be asked for.
    pub(super) can_start: bool,
}

impl Cluster {
    /// Ends what is under way.
    pub(super) fn reset_manual(&mut self, turn: &mut Turn<'_>) {
        if self.manual.is_pausing {
            turn.act(Action::ResumeWrites);
        }
        self.manual = Manual::default();
    }

    /// Whether a replica is to take this primary's place, which waits for it.
    #[must_use]
    pub fn is_relieved(&self) -> bool {
        self.manual.end_ms != 0 && self.nodes[self.myself].is_primary()
    }

    /// Begins a failover of this replica.
    pub(super) fn begin_manual(&mut self, can_start: bool, turn: &mut Turn<'_>) {
        self.reset_manual(turn);
        self.manual.end_ms = turn.now_ms + self.options.manual_ms;
        self.manual.can_start = can_start;
    }

    /// Asks the primary to pause its clients.
    pub(super) fn ask_to_pause(&mut self, primary: Handle, turn: &mut Turn<'_>) {
        let link = self.nodes[primary].link;
        let packet = packet::plain(&self.header(turn.offset), Kind::ManualStart);
        self.send(link, Kind::ManualStart, &packet);
    }

    /// A replica of this server is to take over: clients are paused.
    pub(super) fn pause_for(&mut self, replica: Handle, link: LinkId, turn: &mut Turn<'_>) {
        if self.nodes[replica].primary != Some(self.myself) {
            return;
        }
        self.reset_manual(turn);
        self.manual.end_ms = turn.now_ms + self.options.manual_ms;
        self.manual.replica = Some(replica);
        self.manual.is_pausing = true;
        turn.act(Action::PauseWrites { for_ms: self.options.manual_ms * PAUSE_TIMES });
        turn.warn(format!("Manual failover requested by replica {}.", self.nodes[replica].name));
        // It says where this server is now that nothing is written.
        self.send_heartbeat(link, Kind::Ping, turn);
    }

    /// The primary says where it is, now that its clients are paused.
    pub(super) fn hear_paused_offset(
        &mut self,
        sender: Handle,
        packet: &Packet<'_>,
        turn: &mut Turn<'_>,
    ) {
        let myself = &self.nodes[self.myself];
        if self.manual.end_ms != 0
            && myself.is_replica()
            && myself.primary == Some(sender)
            && packet.marks & mark::PAUSED != 0
            && self.manual.offset.is_none()
        {
            self.manual.offset = Some(packet.offset);
            self.todo.manual = true;
            turn.warn(format!(
                "Received replication offset for paused master manual failover: {}",
                packet.offset
            ));
        }
    }

    /// Looks whether this replica has all of what its primary had when it was paused.
    pub(super) fn step_manual(&mut self, turn: &mut Turn<'_>) {
        if self.manual.end_ms == 0 || self.manual.can_start {
            return;
        }
        let Some(offset) = self.manual.offset else { return };
        if offset == turn.offset {
            self.manual.can_start = true;
            self.todo.failover = true;
            turn.warn("All master replication stream processed, manual failover can start.");
        } else {
            self.todo.manual = true;
        }
    }

    pub(super) fn end_manual_if_late(&mut self, turn: &mut Turn<'_>) {
        if self.manual.end_ms != 0 && self.manual.end_ms < turn.now_ms {
            turn.warn("Manual failover timed out.");
            self.reset_manual(turn);
        }
    }
}
