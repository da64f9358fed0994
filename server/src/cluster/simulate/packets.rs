//! Packets on their way: each has its own fate.

use rand::Rng;

use super::super::Event;
use super::world::{Coming, World};

/// Rooms for packets that are kept.
const ROOMS_MAX: usize = 64;

impl World {
    /// Lets out what waits to be sent, packet by packet, each with its fate.
    pub fn send(&mut self, number: usize) {
        let (mut ready, mut packets) =
            (std::mem::take(&mut self.ready), std::mem::take(&mut self.packets));
        let node = &mut self.nodes[number];
        let Some(cluster) = &mut node.cluster else { return };
        cluster.take_ready(&mut ready);
        for link in ready.drain(..) {
            let (Some(output), Some(connection)) = (cluster.output(link), node.links.get(link))
            else {
                continue;
            };
            let (mut rest, total) = (output, output.len());
            while let Some(length) = rest.get(4..8) {
                let length = u32::from_be_bytes(length.try_into().expect("four")) as usize;
                let mut packet = self.rooms.pop().unwrap_or_default();
                packet.extend_from_slice(&rest[..length]);
                packets.push((link, *connection, packet));
                rest = &rest[length..];
            }
            cluster.sent(link, total);
        }
        for (link, connection, bytes) in packets.drain(..) {
            let mine = self.connections[connection].ends[0];
            let mine = mine.is_some_and(|end| end.node == number && end.link == link);
            let to = usize::from(mine);
            self.digest(&bytes);
            self.bytes_sent += bytes.len() as u64;
            if !self.connections[connection].is_open {
                self.keep_room(bytes);
                continue;
            }
            if self.chance(self.lost) {
                self.outcome.lost += 1;
                self.keep_room(bytes);
                continue;
            }
            if self.chance(self.doubled) {
                self.post(connection, to, bytes.clone());
            }
            self.post(connection, to, bytes);
        }
        (self.ready, self.packets) = (ready, packets);
    }

    /// The room of a packet is used again.
    fn keep_room(&mut self, mut bytes: Vec<u8>) {
        if self.rooms.len() < ROOMS_MAX {
            bytes.clear();
            self.rooms.push(bytes);
        }
    }

    /// Puts a packet on its way.
    fn post(&mut self, connection: usize, to: usize, bytes: Vec<u8>) {
        let late_ms = self.random.random_range(1..=self.delay_ms.max(1));
        let overtaken = self.chance(self.overtaken);
        let busy = &mut self.connections[connection].busy_until_ms[to];
        let mut at_ms = (*busy).max(self.now_ms + late_ms);
        if overtaken {
            at_ms += late_ms * 50;
        } else {
            *busy = at_ms;
        }
        self.schedule(at_ms - self.now_ms, Coming::Deliver { connection, to, bytes });
    }

    fn digest(&mut self, bytes: &[u8]) {
        let mut digest = self.outcome.digest ^ self.now_ms.unsigned_abs();
        // What lies between them are the slots.
        for part in [&bytes[..80], &bytes[2128..]] {
            let (chunks, rest) = part.as_chunks::<8>();
            let mut take = |chunk: [u8; 8]| {
                digest = (digest ^ u64::from_le_bytes(chunk)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                digest ^= digest >> 29;
            };
            chunks.iter().for_each(|chunk| take(*chunk));
            if !rest.is_empty() {
                let mut last = [0; 8];
                last[..rest.len()].copy_from_slice(rest);
                take(last);
            }
        }
        self.outcome.digest = digest;
    }

    /// A packet comes.
    pub fn deliver(&mut self, connection: usize, to: usize, bytes: Vec<u8>) -> Result<(), String> {
        let Some(end) = self.end_that_lives(connection, to) else { return Ok(()) };
        let Some(from) = self.connections[connection].ends[1 - to] else { return Ok(()) };
        let stopped_ms = self.nodes[end.node].stopped_until_ms - self.now_ms;
        let late_ms = stopped_ms.max(self.blocked_ms(from.node, end.node));
        if late_ms > 0 {
            self.schedule(late_ms, Coming::Deliver { connection, to, bytes });
            return Ok(());
        }
        self.outcome.packets += 1;
        self.tell(end.node, Event::Received(end.link, &bytes))?;
        self.keep_room(bytes);
        Ok(())
    }
}
