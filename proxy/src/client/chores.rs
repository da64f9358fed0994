//! What replies have given to do: a reply is taken in while its connection is borrowed, so whatever needs other connections
//! waits here until the end of the turn, which is before anything is sent.

use super::{ClientId, script};
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
}

/// Does all there is to do.
pub fn run(core: &mut Core) {
    while !core.down.chores.is_empty() {
        for chore in std::mem::take(&mut core.down.chores) {
            match chore {
                Chore::Script { id, sequence, asked, reply } => {
                    script::missing(core, id, sequence, &asked, &reply);
                    buffer::give(asked);
                }
            }
        }
    }
}
