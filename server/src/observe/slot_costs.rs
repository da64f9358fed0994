//! What the slots of a cluster cost, for CLUSTER SLOT-STATS (`cluster-slot-stats-enabled`): time, and bytes from and to clients.
//!
//! A transaction is counted with EXEC, a script with its call. What replicas are sent is not counted, and neither is what
//! those are sent who listen to channels.

use redstart_common::command::{CommandId, id_of, keys};
use redstart_common::resp::Args;
use redstart_common::slot::{SLOT_COUNT, key_slot};

use crate::client::{Client, Flags, Origin};

/// Bytes of the replies and requests of a transaction that are not seen with its commands: `+QUEUED`, and MULTI.
const QUEUED_BYTES: u64 = 9;
const MULTI_BYTES: u64 = 15;

/// What a slot has cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Microseconds.
    pub us: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of replies.
    pub bytes_out: u64,
}

/// What each slot has cost.
pub struct SlotCosts {
    costs: Box<[Cost]>,
    /// The slot of the transaction that runs.
    of_transaction: Option<u16>,
}

impl Default for SlotCosts {
    fn default() -> Self {
        Self { costs: vec![Cost::default(); usize::from(SLOT_COUNT)].into(), of_transaction: None }
    }
}

impl SlotCosts {
    /// What a slot has cost.
    #[must_use]
    pub fn of(&self, slot: u16) -> Cost {
        self.costs.get(usize::from(slot)).copied().unwrap_or_default()
    }

    /// Forgets all that was counted.
    pub fn reset(&mut self) {
        self.costs.fill(Cost::default());
    }

    /// Counts a command that ran, by the slot of its keys.
    pub fn count(
        &mut self,
        client: &Client,
        id: CommandId,
        us: u64,
        args: Args<'_>,
        reply_bytes: usize,
    ) {
        if client.origin != Origin::Client || client.flags.any(Flags::SCRIPT) {
            return;
        }
        let first = keys::positions(id.spec(), args).next();
        let mut slot = first.map(|place| key_slot(args.at(place)));
        let bytes_in = args.encoded_len() as u64;
        let mut cost = Cost { us, bytes_in, bytes_out: reply_bytes as u64 };
        if client.flags.any(Flags::EXECUTING) {
            // Its time and its reply are part of what EXEC has.
            self.of_transaction = self.of_transaction.or(slot);
            cost = Cost { us: 0, bytes_in, bytes_out: QUEUED_BYTES };
        } else if id == const { id_of("exec") } {
            slot = self.of_transaction.take();
            cost.bytes_in += MULTI_BYTES;
        }
        let Some(slot) = slot else { return };
        let sum = &mut self.costs[usize::from(slot)];
        sum.us += cost.us;
        sum.bytes_in += cost.bytes_in;
        sum.bytes_out += cost.bytes_out;
    }
}
