//! What replies have given to do: a reply is taken in while its connection is borrowed, so whatever needs other connections
//! waits here until the end of the turn, which is before anything is sent.

use super::fate::Loss;
use super::{ClientId, exec, fill, private, scan, script};
use crate::worker::Core;
use redstart_common::net::buffer;

/// Something to do.
#[derive(Debug)]
pub enum Chore {
    /// A server lacks the script of an EVALSHA.
    Script {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
        /// The request.
        asked: Vec<u8>,
        /// What the server said.
        reply: Vec<u8>,
    },
    /// A read has missed, and may be asked of the next server.
    Missed {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
        /// What the server said.
        reply: Vec<u8>,
    },
    /// A server has no more keys for a SCAN, and the next is asked.
    Scanned {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// A read was answered; where that was elsewhere, the value is brought home.
    Found {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
    },
    /// The server of a transaction has answered EXEC, and the proxy has a part in the reply.
    Executed {
        /// The client.
        id: ClientId,
        /// The number of EXEC in the client's queue.
        sequence: u32,
        /// What the server said.
        reply: Vec<u8>,
    },
    /// All that was asked about a value on its way home is answered.
    Copied {
        /// Which.
        number: u32,
    },
    /// A request on a connection of its client's own is answered.
    Settled {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
        /// Whether by an error.
        is_error: bool,
    },
    /// Such a connection has ended before, or its server will not run the request.
    Lost {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
        /// How far it had come.
        loss: Loss,
        /// Why, or what the server said.
        why: Vec<u8>,
    },
    /// Such a request was answered by a server that has no say any more.
    Late {
        /// The client.
        id: ClientId,
        /// The request's number in the client's queue.
        sequence: u32,
        /// What the server said.
        reply: Vec<u8>,
    },
}

/// Does all there is to do.
pub fn run(core: &mut Core) {
    loop {
        for legacy in std::mem::take(&mut core.down.clients.legacies) {
            private::departed(core, legacy);
        }
        if core.down.chores.is_empty() {
            return;
        }
        for chore in std::mem::take(&mut core.down.chores) {
            match chore {
                Chore::Script { id, sequence, asked, reply } => {
                    script::missing(core, id, sequence, &asked, &reply);
                    buffer::give(asked);
                }
                Chore::Missed { id, sequence, reply } => fill::missed(core, id, sequence, reply),
                Chore::Found { id, sequence } => fill::found(core, id, sequence),
                Chore::Executed { id, sequence, reply } => {
                    exec::answered(core, id, sequence, reply);
                }
                Chore::Scanned { id, sequence } => scan::go_on(core, id, sequence),
                Chore::Copied { number } => fill::copied(core, number),
                Chore::Settled { id, sequence, is_error } => {
                    private::settled(core, id, sequence, is_error);
                }
                Chore::Lost { id, sequence, loss, why } => {
                    private::lost(core, id, sequence, loss, &why);
                    private::rehome(core);
                }
                Chore::Late { id, sequence, reply } => private::late(core, id, sequence, &reply),
            }
        }
    }
}
