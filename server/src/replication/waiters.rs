//! Clients in WAIT: who waits for how many replicas to have acknowledged which place.
//!
//! With so many replicas sorted by what they have acknowledged, those who want `n` of them are served up to what the n-th has:
//! so they are kept by `n`, and by place. An acknowledgement costs a look at each `n` and those whom it serves, however many
//! others wait.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::door::ClientId;
use super::offset::Offset;

/// All of them.
#[derive(Debug, Default)]
pub struct Waiters {
    /// By the number of replicas: place, turn in the order in which they came, client.
    wanted: BTreeMap<usize, BTreeSet<(Offset, u64, ClientId)>>,
    /// Where each stands.
    clients: HashMap<ClientId, (usize, Offset, u64)>,
    joined: u64,
}

impl Waiters {
    /// A client waits for so many replicas to have acknowledged this place.
    pub fn add(&mut self, client: ClientId, offset: Offset, wanted: usize) {
        self.remove(client);
        self.joined += 1;
        self.clients.insert(client, (wanted, offset, self.joined));
        self.wanted.entry(wanted).or_default().insert((offset, self.joined, client));
    }

    /// A client does not wait any more, if it did.
    pub fn remove(&mut self, client: ClientId) {
        let Some((wanted, offset, joined)) = self.clients.remove(&client) else { return };
        if let Some(places) = self.wanted.get_mut(&wanted) {
            places.remove(&(offset, joined, client));
            if places.is_empty() {
                self.wanted.remove(&wanted);
            }
        }
    }

    /// Nobody waits any more.
    pub fn clear(&mut self) {
        self.wanted.clear();
        self.clients.clear();
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Takes out those who have waited long enough, in the order in which they came, with the number of replicas that have what
    /// each waits for. `acked` is what replicas have acknowledged, the most first.
    pub fn take_served(&mut self, acked: &[Offset]) -> Vec<(ClientId, usize)> {
        let mut served = Vec::new();
        for (wanted, places) in &mut self.wanted {
            // Nobody waits for no replica; were there one, it would be served.
            let limit = match wanted.checked_sub(1) {
                None => Offset::MAX,
                Some(last) => match acked.get(last) {
                    Some(limit) => *limit,
                    None => break,
                },
            };
            while let Some((offset, joined, client)) =
                places.first().copied().filter(|(offset, ..)| *offset <= limit)
            {
                places.pop_first();
                self.clients.remove(&client);
                let count = acked.partition_point(|acked| *acked >= offset);
                served.push((joined, client, count));
            }
        }
        if !served.is_empty() {
            self.wanted.retain(|_, places| !places.is_empty());
        }
        served.sort_unstable();
        served.into_iter().map(|(_, client, count)| (client, count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_served_as_if_each_were_looked_at(
            steps in proptest::collection::vec((0_u8..4, 0_u64..12, 0_i64..40, 0_usize..4), 1..60),
        ) {
            let mut waiters = Waiters::default();
            let mut model: Vec<(u64, i64, usize)> = Vec::new();
            let mut acked = [0; 3];
            for (step, client, offset, wanted) in steps {
                match step {
                    0 | 1 => {
                        model.retain(|(other, ..)| *other != client);
                        model.push((client, offset, wanted));
                        waiters.add(client, Offset::after(offset).unwrap(), wanted);
                    }
                    2 => {
                        model.retain(|(other, ..)| *other != client);
                        waiters.remove(client);
                    }
                    _ => {
                        let place = client as usize % acked.len();
                        acked[place] = acked[place].max(offset);
                        let mut sorted: Vec<_> =
                            acked.iter().map(|acked| Offset::after(*acked).unwrap()).collect();
                        sorted.sort_unstable_by(|one, other| other.cmp(one));
                        let mut expected = Vec::new();
                        model.retain(|(client, offset, wanted)| {
                            let count = acked.iter().filter(|acked| *acked >= offset).count();
                            if count >= *wanted {
                                expected.push((*client, count));
                            }
                            count < *wanted
                        });
                        prop_assert_eq!(waiters.take_served(&sorted), expected);
                    }
                }
                prop_assert_eq!(waiters.is_empty(), model.is_empty());
                prop_assert_eq!(waiters.clients.len(), model.len());
                let places: usize = waiters.wanted.values().map(BTreeSet::len).sum();
                prop_assert_eq!(places, model.len());
            }
        }
    }
}
