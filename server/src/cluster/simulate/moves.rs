//! Slots that go to another node as one step: the link between the two, which delivers in order or breaks, and the data of a
//! few slots, as the number of the last write that was acknowledged.

use rand::Rng;

use super::super::moves::{Act, Heard, Lag, State, Word};
use super::super::{Cluster, Name, SlotSet};
use super::world::{Coming, World};

/// Slots whose writes are counted: some of each node's.
pub const WATCHED: [u16; 8] = [0, 700, 2048, 4500, 6000, 9000, 12_000, 16_383];

/// What goes over the link of a move.
#[derive(Debug, Clone)]
pub enum Sent {
    Establish(Vec<String>),
    Yes,
    No(String),
    Word(Word),
    /// The last write to a slot.
    Data(u16, u64),
}

/// The link of a move: the source's end, and the target's.
pub struct MoveLink {
    pub name: Name,
    source: (usize, u32),
    target: (usize, u32),
    client: u64,
    is_open: bool,
    /// What was sent arrives not before this, to the target and to the source.
    busy_until_ms: [i64; 2],
    /// What is written to its slots is sent.
    is_tapped: bool,
    is_mute: bool,
}

impl MoveLink {
    /// What is on its way never arrives, and neither side hears of it.
    pub fn lose_what_is_sent(&mut self) {
        self.is_mute = true;
    }
}

impl World {
    fn is_alive(&self, (node, life): (usize, u32)) -> bool {
        self.nodes[node].life == life && self.nodes[node].cluster.is_some()
    }

    fn link_of(&self, name: &Name) -> Option<usize> {
        self.move_links.iter().rposition(|link| link.name == *name)
    }

    /// Carries out what a node's cluster wants for moves.
    pub fn carry_out_move(&mut self, number: usize, act: Act) -> Result<(), String> {
        match act {
            Act::Open { name, ip, port } => {
                let life = self.nodes[number].life;
                let target = self.find(&ip, port);
                let target = target.unwrap_or(number);
                self.clients += 1;
                self.move_links.push(MoveLink {
                    name,
                    source: (number, life),
                    target: (target, self.nodes[target].life),
                    client: self.clients,
                    is_open: true,
                    busy_until_ms: [0; 2],
                    is_tapped: false,
                    is_mute: false,
                });
                let link = self.move_links.len() - 1;
                self.schedule(self.delay_ms, Coming::MoveUp { link });
            }
            Act::Close(name) => {
                if let Some(link) = self.link_of(&name) {
                    self.break_link(link);
                }
            }
            Act::CloseClient(client) => {
                let link = self.move_links.iter().position(|link| link.client == client);
                link.into_iter().for_each(|link| self.break_link(link));
            }
            Act::Say(name, word) => {
                let Some(link) = self.link_of(&name) else { return Ok(()) };
                let sent = match (word, &self.nodes[number].cluster) {
                    (Word::Establish, Some(cluster)) => {
                        Sent::Establish(cluster.announcement(&name))
                    }
                    _ => Sent::Word(word),
                };
                self.send_move(link, 0, sent);
            }
            Act::SayClient(client, word) => {
                let link = self.move_links.iter().position(|link| link.client == client);
                link.into_iter().for_each(|link| self.send_move(link, 1, Sent::Word(word)));
            }
            Act::Snapshot(name) => {
                let in_ms = self.random.random_range(1..50);
                let life = self.nodes[number].life;
                self.schedule(in_ms, Coming::Snapshot { node: number, life, name, is_begin: true });
            }
            Act::Hold(slots) => self.nodes[number].held = *slots,
            Act::SetAside(slots) => self.nodes[number].aside.add(&slots),
            Act::BringHome(slots) => {
                self.nodes[number].aside = self.nodes[number].aside.without(&slots);
                self.check_taken(number)?;
            }
            Act::Empty(slots) => self.empty(number, &slots),
        }
        Ok(())
    }

    fn empty(&mut self, number: usize, slots: &SlotSet) {
        let node = &mut self.nodes[number];
        node.data.retain(|slot, _| !slots.contains(*slot));
        node.aside = node.aside.without(slots);
    }

    /// A server starts: what a move has left behind is removed.
    pub fn settle_aside(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.held = SlotSet::default();
        let Some(cluster) = &node.cluster else { return };
        if cluster.myself().is_primary() {
            let aside = std::mem::take(&mut node.aside);
            node.data.retain(|slot, _| cluster.is_mine(*slot) || !aside.contains(*slot));
        }
    }

    /// When a target takes slots, its source has let go of them, and it has all that was acknowledged there.
    fn check_taken(&mut self, number: usize) -> Result<(), String> {
        let Some(cluster) = &self.nodes[number].cluster else { return Ok(()) };
        let now_ms = self.now_ms + self.nodes[number].clock_ahead_ms;
        // It is over a moment later.
        let taken = cluster.moves().iter().find(|it| it.is_import && it.updated_ms == now_ms);
        let Some(it) = taken.filter(|it| it.slots.iter().all(|slot| cluster.is_mine(slot))) else {
            return Ok(());
        };
        self.outcome.taken += 1;
        let by_name = |node: &super::node::Node| {
            node.cluster.as_ref().is_some_and(|cluster| cluster.myself().name == it.other)
        };
        let Some(source) = self.nodes.iter().position(by_name) else { return Ok(()) };
        let theirs = self.nodes[source].cluster.as_ref().map(Cluster::moves).unwrap_or_default();
        let Some(own) = theirs.iter().find(|own| own.name == it.name) else { return Ok(()) };
        let cluster = self.nodes[source].cluster.as_ref();
        if cluster.is_some_and(|cluster| cluster.myself().is_replica()) {
            // Somebody has taken its place by an operator's word, while its yes was on its way.
            return Ok(());
        }
        if own.state != State::FailoverGranted {
            return Err(format!("{number} takes slots that {source} does not hold: {own:?}"));
        }
        for slot in WATCHED.into_iter().filter(|slot| it.slots.contains(*slot)) {
            let (mine, his) =
                (self.nodes[number].data.get(&slot), self.nodes[source].data.get(&slot));
            if mine != his {
                return Err(format!(
                    "{number} takes slot {slot} with {mine:?}, {source} had {his:?}"
                ));
            }
        }
        Ok(())
    }

    /// Puts something on its way; `to` is 0 for the target, 1 for the source.
    fn send_move(&mut self, link: usize, to: usize, sent: Sent) {
        let late_ms = self.random.random_range(1..=self.delay_ms.max(1));
        let found = &mut self.move_links[link];
        if !found.is_open {
            return;
        }
        let at_ms = found.busy_until_ms[to].max(self.now_ms + late_ms);
        found.busy_until_ms[to] = at_ms;
        self.schedule(at_ms - self.now_ms, Coming::Moved { link, to, sent });
    }

    /// A link is closed by one side, or one side is gone: the other hears of it behind what was sent.
    fn break_link(&mut self, link: usize) {
        let found = &mut self.move_links[link];
        if std::mem::replace(&mut found.is_open, false) {
            for to in 0..2 {
                let at_ms = self.move_links[link].busy_until_ms[to].max(self.now_ms + 1);
                self.schedule(at_ms - self.now_ms, Coming::MoveLost { link, to });
            }
        }
    }

    /// A server has ended: the links of its moves break.
    pub fn break_links_of(&mut self, number: usize) {
        for link in 0..self.move_links.len() {
            let MoveLink { source, target, .. } = self.move_links[link];
            if source.0 == number || target.0 == number {
                self.break_link(link);
            }
        }
    }

    fn hear(&mut self, number: usize, name: &Name, heard: Heard<'_>) -> Result<(), String> {
        self.with(number, |cluster, turn| cluster.hear_move(name, heard, turn)).map(drop)
    }

    /// What happens to moves.
    pub fn happen_to_move(&mut self, coming: Coming) -> Result<(), String> {
        match coming {
            Coming::MoveUp { link } => {
                let MoveLink { name, source, target, .. } = self.move_links[link];
                if !self.is_alive(source) {
                    return Ok(());
                }
                let late_ms = self.nodes[source.0].stopped_until_ms - self.now_ms;
                if late_ms > 0 {
                    self.schedule(late_ms, Coming::MoveUp { link });
                    return Ok(());
                }
                if self.is_alive(target) && self.move_links[link].is_open {
                    self.hear(source.0, &name, Heard::Connected)
                } else {
                    self.move_links[link].is_open = false;
                    self.hear(source.0, &name, Heard::Lost("Connection refused"))
                }
            }
            Coming::Moved { link, to, sent } => self.deliver_moved(link, to, sent),
            Coming::MoveLost { link, to } => {
                let MoveLink { name, source, target, .. } = self.move_links[link];
                let end = if to == 0 { target } else { source };
                let late_ms = self.nodes[end.0].stopped_until_ms - self.now_ms;
                if !self.is_alive(end) {
                    return Ok(());
                }
                if late_ms > 0 {
                    self.schedule(late_ms, Coming::MoveLost { link, to });
                    return Ok(());
                }
                self.hear(end.0, &name, Heard::Lost("connection closed"))
            }
            Coming::Snapshot { node, life, name, is_begin } => {
                if !self.is_alive((node, life)) {
                    return Ok(());
                }
                let late_ms = self.nodes[node].stopped_until_ms - self.now_ms;
                if late_ms > 0 {
                    self.schedule(late_ms, Coming::Snapshot { node, life, name, is_begin });
                    return Ok(());
                }
                if !is_begin {
                    return self.hear(node, &name, Heard::SnapshotSent);
                }
                let cluster = self.nodes[node].cluster.as_ref();
                let slots = cluster.and_then(|it| it.exported(&name)).map(|it| it.slots.clone());
                let (Some(slots), Some(link)) = (slots, self.link_of(&name)) else { return Ok(()) };
                self.hear(node, &name, Heard::SnapshotBegun)?;
                self.move_links[link].is_tapped = true;
                let data: Vec<_> = self.nodes[node].data.clone().into_iter().collect();
                for (slot, value) in data.into_iter().filter(|(slot, _)| slots.contains(*slot)) {
                    self.send_move(link, 0, Sent::Data(slot, value));
                }
                let in_ms = self.random.random_range(1..200);
                self.schedule(in_ms, Coming::Snapshot { node, life, name, is_begin: false });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn deliver_moved(&mut self, link: usize, to: usize, sent: Sent) -> Result<(), String> {
        let MoveLink { name, source, target, client, .. } = self.move_links[link];
        let (from, end) = if to == 0 { (source, target) } else { (target, source) };
        if !self.is_alive(end) || self.move_links[link].is_mute {
            return Ok(());
        }
        let late_ms =
            (self.nodes[end.0].stopped_until_ms - self.now_ms).max(self.blocked_ms(from.0, end.0));
        let waiting = self.waiting_moved.entry((link, to)).or_default();
        if late_ms > 0 || !waiting.is_empty() {
            // What follows waits behind it.
            waiting.push_back(sent);
            if waiting.len() == 1 {
                self.schedule(late_ms, Coming::MovedAgain { link, to });
            }
            return Ok(());
        }
        self.take_moved(link, (name, client, end.0), sent)
    }

    /// What waited for a stopped node, or behind a cut, arrives.
    pub fn deliver_waiting(&mut self, link: usize, to: usize) -> Result<(), String> {
        let MoveLink { name, source, target, client, .. } = self.move_links[link];
        let (from, end) = if to == 0 { (source, target) } else { (target, source) };
        let late_ms =
            (self.nodes[end.0].stopped_until_ms - self.now_ms).max(self.blocked_ms(from.0, end.0));
        if late_ms > 0 && self.is_alive(end) {
            self.schedule(late_ms, Coming::MovedAgain { link, to });
            return Ok(());
        }
        for sent in self.waiting_moved.remove(&(link, to)).unwrap_or_default() {
            if self.is_alive(end) {
                self.take_moved(link, (name, client, end.0), sent)?;
            }
        }
        Ok(())
    }

    fn take_moved(
        &mut self,
        link: usize,
        (name, client, number): (Name, u64, usize),
        sent: Sent,
    ) -> Result<(), String> {
        match sent {
            Sent::Establish(words) => {
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                let answer = self.with(number, |cluster, turn| {
                    cluster.establish_move(client, &words, |_| false, turn)
                })?;
                let sent = match answer {
                    Some(Ok(())) => Sent::Yes,
                    Some(Err(refusal)) => Sent::No(refusal.0),
                    None => return Ok(()),
                };
                self.send_move(link, 1, sent);
                Ok(())
            }
            Sent::Yes => self.hear(number, &name, Heard::Accepted),
            Sent::No(text) => self.hear(number, &name, Heard::Refused(&text)),
            Sent::Word(word) => self.hear(number, &name, Heard::Said(word, Lag::default())),
            Sent::Data(slot, value) => {
                let node = &mut self.nodes[number];
                let comes = node.cluster.as_ref().is_some_and(|it| it.import_of(client).is_some());
                if comes {
                    node.data.insert(slot, value);
                }
                Ok(())
            }
        }
    }

    /// A primary that serves writes to what is its own; what moves is sent on.
    pub fn write(&mut self, number: usize) {
        let node = &self.nodes[number];
        let Some(cluster) = &node.cluster else { return };
        let served: Vec<u16> = WATCHED
            .into_iter()
            .filter(|slot| cluster.is_mine(*slot) && !node.held.contains(*slot))
            .collect();
        for slot in served {
            self.writes += 1;
            let value = self.writes;
            self.nodes[number].data.insert(slot, value);
            self.acknowledged.insert(slot, value);
            for link in 0..self.move_links.len() {
                let found = &self.move_links[link];
                let is_of_it = found.is_tapped
                    && found.is_open
                    && found.source == (number, self.nodes[number].life)
                    && self.nodes[number].cluster.as_ref().is_some_and(|cluster| {
                        cluster.exported(&found.name).is_some_and(|it| it.slots.contains(slot))
                    });
                if is_of_it {
                    self.send_move(link, 0, Sent::Data(slot, value));
                }
            }
        }
    }

    /// An operator has slots moved as one step, or changes his mind.
    pub fn move_at_once(&mut self) -> Result<(), String> {
        let Some(from) = self.any_that(|node| node.has_vote()) else { return Ok(()) };
        let Some(to) = self.any_that(|node| node.is_primary()).filter(|to| *to != from) else {
            return Ok(());
        };
        if self.random.random_range(0..5) == 0 {
            self.log(Some(from), "is told to cancel its moves");
            return self.with(from, |cluster, turn| cluster.cancel_moves(turn).is_ok()).map(drop);
        }
        let (Some(to_name), Some(cluster)) = (self.name_of(to), &self.nodes[from].cluster) else {
            return Ok(());
        };
        let slots: Vec<(u16, u16)> = cluster.myself().slots.ranges().collect();
        let (first, last) = slots[self.random.random_range(0..slots.len())];
        let last = last.min(first + 3000);
        let words =
            ["slotsrange".to_owned(), first.to_string(), last.to_string(), "node".to_owned()];
        let mut words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        words.push(&to_name);
        let begun = self.with(from, |cluster, turn| cluster.move_slots(&words, turn))?;
        self.log(Some(from), &format!("is to move {first}-{last} to {to}: {begun:?}"));
        self.outcome.moves += u64::from(begun.is_some_and(|begun| begun.is_ok()));
        Ok(())
    }

    /// After quiet no move is under way, nobody is held, nothing lies aside, and the owners of slots have what was
    /// acknowledged, where no failover may have lost it.
    pub fn check_moves(&self) -> Option<String> {
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(cluster) = &node.cluster else { continue };
            if let Some(it) = cluster.moves().iter().find(|it| !it.state.is_over()) {
                return Some(format!("{number} still moves: {it:?}"));
            }
            if !node.held.is_empty() || !node.aside.is_empty() && cluster.myself().is_primary() {
                return Some(format!("{number} holds {:?}, aside {:?}", node.held, node.aside));
            }
            let keeps = |slot: &u16| node.data.contains_key(slot) && !cluster.is_mine(*slot);
            if let Some(slot) = WATCHED.iter().find(|slot| keeps(slot))
                && cluster.myself().is_primary()
                && !self.may_lose
            {
                return Some(format!("{number} has data of slot {slot}, which is not its own"));
            }
        }
        if self.may_lose {
            return None;
        }
        for (slot, value) in &self.acknowledged {
            let owns = |node: &&super::node::Node| {
                node.cluster.as_ref().is_some_and(|cluster| cluster.is_mine(*slot))
            };
            let found = self.nodes.iter().find(owns).and_then(|node| node.data.get(slot));
            if found.is_none_or(|found| found < value) {
                return Some(format!("slot {slot}: {value} was acknowledged, there is {found:?}"));
            }
        }
        None
    }
}
