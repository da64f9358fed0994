//! The clients of a worker, and what becomes of a reply that is owed to one of them.

use std::collections::HashMap;

use redstart_common::net::buffer;

use crate::backend::Streaming;
use crate::backend::pipeline::{Slot, Target};
use crate::client::chores::Chore;
use crate::client::fate::{self, Loss};
use crate::client::fill::{Fills, Outcome};
use crate::client::hedge::Hedges;
use crate::client::scan::After;
use crate::client::{ClientId, Clients};
use crate::gather::{Flowed, GatherId, Gathers, Merged};
use crate::scripts;
use crate::settings::OnLostRequest;
use crate::stats::{Lost, LostRequests};
use crate::topology::PoolId;

/// The clients of a worker and the replies being put together for them.
#[derive(Debug, Default)]
pub struct Downstream {
    /// The clients.
    pub clients: Clients,
    /// Split requests.
    pub gathers: Gathers,
    /// Requests by EVALSHA that may be needed once more.
    pub asked_scripts: HashMap<(ClientId, u32), Vec<u8>>,
    /// Reads that may be asked of other servers, and what is brought home from there.
    pub fills: Fills,
    /// Reads that two servers were asked.
    pub hedges: Hedges,
    /// What replies have given to do, before the turn ends.
    pub chores: Vec<Chore>,
    /// Requests that may have run on servers that were lost, by pool.
    pub lost: Vec<LostRequests>,
}

impl Downstream {
    /// Hands a reply to whoever is owed it.
    pub fn answer(&mut self, target: Target, reply: &[u8], now_us: u64) {
        match target {
            Target::Client { id, sequence } => self.clients.answer(id, sequence, reply, now_us),
            Target::Script { id, sequence } => self.answer_script(id, sequence, reply, now_us),
            Target::Private { id, sequence } => self.answer_private(id, sequence, reply, now_us),
            Target::Part { gather, part } if self.gathers.is_flowing(gather) => {
                self.flow(gather, part, reply, true, now_us);
            }
            Target::Part { gather, part } => {
                let Some(client) = self.gathers.client_of(gather) else { return };
                let own = self.gathers.bytes_of(gather);
                if !self.clients.gather(client, reply.len(), own) {
                    self.gathers.forget(gather);
                } else if let Some(merged) = self.gathers.part(gather, part, reply) {
                    self.merged(merged, now_us);
                }
            }
            Target::Fill { id, sequence } => match self.fills.look(id, sequence, reply) {
                Outcome::Answer => self.clients.answer(id, sequence, reply, now_us),
                Outcome::Missed => {
                    self.chores.push(Chore::Missed { id, sequence, reply: reply.to_vec() });
                }
                Outcome::Found => {
                    self.clients.answer(id, sequence, reply, now_us);
                    self.chores.push(Chore::Found { id, sequence });
                }
            },
            Target::Copy { number, is_payload } => {
                if self.fills.take(number, is_payload, reply) {
                    self.chores.push(Chore::Copied { number });
                }
            }
            Target::Hedged { number, is_copy } => {
                if let Some(target) = self.hedges.answered(number, is_copy, reply) {
                    self.answer(target, reply, now_us);
                }
            }
            Target::Nobody => {}
        }
    }

    /// A request was sent to a server that is lost, or its time is up, and it may have run. Where `on_lost` wants it of a write, its
    /// client's connection ends in the place of the reply; else that is `text`.
    pub fn lose(
        &mut self,
        (pool, slot): (PoolId, Slot),
        (why, on_lost): (Lost, OnLostRequest),
        text: &[u8],
        now_us: u64,
    ) {
        let ends = on_lost == OnLostRequest::Close && !slot.kind.may_repeat();
        if self.is_awaited(slot.target) {
            self.lost[pool.place()].count(why, ends);
        }
        if ends {
            self.end(slot.target);
        } else {
            self.answer(slot.target, text, now_us);
        }
    }

    /// Whether a client still waits for a reply.
    fn is_awaited(&self, target: Target) -> bool {
        match target {
            Target::Client { id, .. }
            | Target::Script { id, .. }
            | Target::Private { id, .. }
            | Target::Fill { id, .. } => self.clients.is_there(id),
            Target::Part { gather, .. } => self.gathers.client_of(gather).is_some(),
            Target::Hedged { number, .. } => self.client_of_hedge(number).is_some(),
            Target::Copy { .. } | Target::Nobody => false,
        }
    }

    /// Ends the connection of whoever is owed a reply, in its place and behind those before it.
    fn end(&mut self, target: Target) {
        match target {
            Target::Client { id, sequence } | Target::Private { id, sequence } => {
                self.clients.end_at(id, sequence);
            }
            Target::Script { id, sequence } => {
                self.asked_scripts.remove(&(id, sequence));
                self.clients.end_at(id, sequence);
            }
            Target::Part { gather, .. } => {
                if let Some((id, sequence)) = self.gathers.owner_of(gather) {
                    self.gathers.forget(gather);
                    self.clients.end_at(id, sequence);
                }
            }
            // What is read, or copied, is not lost.
            Target::Fill { .. } | Target::Copy { .. } | Target::Hedged { .. } | Target::Nobody => {}
        }
    }

    /// All parts of a request are answered.
    fn merged(&mut self, mut merged: Merged, now_us: u64) {
        let (id, sequence) = (merged.client, merged.sequence);
        if let Some(client) = self.clients.get_mut(id)
            && let Some(at) = client.scans.iter().position(|scan| scan.sequence == sequence)
        {
            let after = client.scans[at].take(&merged.reply);
            buffer::give(std::mem::take(&mut merged.reply));
            match after {
                After::On => {
                    self.clients.gathered(id, merged.parts_bytes);
                    return self.chores.push(Chore::Scanned { id, sequence });
                }
                After::Reply(reply) => merged.reply = reply,
            }
            client.scans.swap_remove(at);
        }
        if self.clients.get_mut(id).is_some_and(|client| client.executes(sequence)) {
            self.clients.gathered(id, merged.parts_bytes);
            let reply = std::mem::take(&mut merged.reply);
            return self.chores.push(Chore::Executed { id, sequence, reply });
        }
        self.clients.answer_gathered(merged, now_us);
    }

    /// A reply that was being passed on piece by piece breaks off: its client can only be dropped, for it would take the next
    /// reply for the rest.
    pub fn break_off(&mut self, reply: &Streaming) {
        if let Some((gather, _)) = reply.part {
            self.gathers.forget(gather);
        }
        if let Some(client) = reply.client {
            self.clients.break_stream(client);
        }
    }

    /// Takes a piece of a part of a request whose parts go out as they come.
    pub fn flow(&mut self, id: GatherId, part: u32, piece: &[u8], is_last: bool, now_us: u64) {
        let Some((client, sequence)) = self.gathers.owner_of(id) else { return };
        let before = self.gathers.bytes_of(id);
        if !self.clients.gather(client, piece.len(), before) {
            return self.gathers.forget(id);
        }
        let had_begun = self.gathers.has_begun(id);
        let may_go = had_begun || self.clients.may_stream(client, sequence);
        let Self { gathers, clients, .. } = self;
        let mut is_heard = None;
        let flowed = gathers.flow(id, part, piece, is_last, may_go, |piece| {
            let begins = !had_begun && is_heard.is_none();
            let hears = *is_heard.get_or_insert_with(|| match begins {
                true => clients.begin_stream(client),
                false => clients.hears_stream(client),
            });
            if hears {
                clients.stream(client, piece);
            }
        });
        let held = gathers.bytes_of(id);
        clients.gathered(client, (before + piece.len()).saturating_sub(held));
        match flowed {
            Flowed::On => {}
            Flowed::Done => clients.end_stream(client, now_us),
            Flowed::Whole(reply) => clients.answer_owned(client, sequence, reply, now_us),
            Flowed::Broken => clients.break_stream(client),
        }
    }

    /// The client whose read two servers were asked, while that is not answered.
    #[must_use]
    pub fn client_of_hedge(&self, number: u32) -> Option<ClientId> {
        match self.hedges.target(Target::Hedged { number, is_copy: false }) {
            Target::Client { id, .. } => Some(id),
            Target::Part { gather, .. } => self.gathers.client_of(gather),
            _ => None,
        }
    }

    /// Whose request a reply is owed to, which number it has, and whether it is the whole of what it waits for.
    #[must_use]
    pub fn owner_of(&self, target: Target) -> Option<(ClientId, u32, bool)> {
        match self.hedges.target(target) {
            Target::Client { id, sequence }
            | Target::Script { id, sequence }
            | Target::Fill { id, sequence }
            | Target::Private { id, sequence } => Some((id, sequence, true)),
            Target::Part { gather, .. } => {
                self.gathers.owner_of(gather).map(|(id, sequence)| (id, sequence, false))
            }
            Target::Hedged { .. } | Target::Copy { .. } | Target::Nobody => None,
        }
    }

    /// A large reply to a read that two servers were asked begins to arrive. Says who gets it piece by piece, or `None` where
    /// it has to come whole.
    pub fn begins_hedged(&mut self, number: u32, is_copy: bool) -> Option<Target> {
        match self.hedges.target(Target::Hedged { number, is_copy }) {
            Target::Client { id, sequence } if self.clients.is_there(id) => {
                let may_stream = self.clients.may_stream(id, sequence);
                may_stream.then(|| self.hedges.answered(number, is_copy, b"$")).flatten()
            }
            Target::Part { .. } => None,
            // Its client is gone, and with this nobody waits for it; or the other was first, and there is no entry any more.
            _ => {
                self.hedges.answered(number, is_copy, b"$");
                Some(Target::Nobody)
            }
        }
    }
}

impl Downstream {
    /// The server has the script of an EVALSHA, whose request is not needed any more.
    pub fn has_script(&mut self, id: ClientId, sequence: u32) -> Option<Vec<u8>> {
        self.asked_scripts.remove(&(id, sequence))
    }

    fn answer_private(&mut self, id: ClientId, sequence: u32, reply: &[u8], now_us: u64) {
        let client = self.clients.get_mut(id);
        let executes = client.as_ref().is_some_and(|client| client.executes(sequence));
        let wait = client.and_then(|client| client.wait.as_ref());
        let is_deposed = wait.is_some_and(|wait| wait.is_deposed());
        let chore = if is_deposed {
            Chore::Late { id, sequence, reply: reply.to_vec() }
        } else if fate::has_not_run(reply) {
            Chore::Lost { id, sequence, loss: Loss::Refused, why: reply.to_vec() }
        } else {
            self.clients.restart_clock(id, now_us);
            if executes {
                self.chores.push(Chore::Executed { id, sequence, reply: reply.to_vec() });
            } else {
                self.clients.answer(id, sequence, reply, now_us);
            }
            Chore::Settled { id, sequence, is_error: reply.starts_with(b"-") }
        };
        self.chores.push(chore);
    }

    /// Whether anything is to be done before the turn ends.
    #[must_use]
    pub fn has_chores(&self) -> bool {
        !self.chores.is_empty() || !self.clients.legacies.is_empty()
    }

    fn answer_script(&mut self, id: ClientId, sequence: u32, reply: &[u8], now_us: u64) {
        match self.has_script(id, sequence) {
            Some(asked) if scripts::is_missing(reply) => {
                self.chores.push(Chore::Script { id, sequence, asked, reply: reply.to_vec() });
            }
            asked => {
                asked.into_iter().for_each(buffer::give);
                self.clients.answer(id, sequence, reply, now_us);
            }
        }
    }
}
