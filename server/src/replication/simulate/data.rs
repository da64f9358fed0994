//! What stands for the keyspace: a few counters whose value depends on the order of all writes to them, and the list of writes.

use bytes::Bytes;

pub const DBS: usize = 3;
const KEYS: usize = 4;

/// Some data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data {
    values: [[u64; KEYS]; DBS],
    /// The numbers of the writes that made it, in order.
    pub log: Vec<u32>,
}

impl Data {
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// One write. Doing it twice, or in another order, or in another database, is seen.
    pub fn write(&mut self, db: u32, write: u32) {
        let value = &mut self.values[db as usize][write as usize % KEYS];
        *value = (value.rotate_left(7) ^ u64::from(write)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.log.push(write);
    }

    /// What tells this data from any other.
    pub fn digest(&self) -> u64 {
        self.values.iter().flatten().fold(self.log.len() as u64, |sum, value| {
            (sum ^ value).wrapping_mul(0x100_0000_01b3).rotate_left(17)
        })
    }

    /// The form of a snapshot.
    pub fn encode(&self, db: u32) -> Vec<u8> {
        let mut out = db.to_le_bytes().to_vec();
        for value in self.values.iter().flatten() {
            out.extend(value.to_le_bytes());
        }
        for write in &self.log {
            out.extend(write.to_le_bytes());
        }
        out
    }

    /// The data of a snapshot, and its `repl-stream-db`.
    pub fn decode(bytes: &[u8]) -> (Self, u32) {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut data = Self::default();
        let mut at = 4;
        for value in data.values.iter_mut().flatten() {
            *value = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            at += 8;
        }
        data.log = (at..bytes.len()).step_by(4).map(number).collect();
        (data, number(0))
    }
}

/// A write as a request. Some are long, so that a backlog is soon used up.
pub fn request(write: u32, padding: usize) -> Bytes {
    let mut out = Vec::with_capacity(padding + 48);
    let (number, padding) = (write.to_string(), vec![b'x'; padding]);
    redstart_common::resp::encode::request(
        &mut out,
        [&b"MIX"[..], number.as_bytes(), &padding].into_iter(),
    );
    out.into()
}
