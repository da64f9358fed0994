//! Producers that may send the same entry twice: which id it got the first time, for some time (IDMP of Redis 8.6).
//!
//! A producer names itself and each entry that it sends. What is known of a producer are its last entries, and none longer
//! than some seconds; a name that is forgotten may be used again.

use std::collections::{BTreeMap, VecDeque};

use super::{Stream, StreamId};

/// For how long the names of entries are known, and how many of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Seconds that a name is known, from the time in the id of its entry.
    pub seconds: u64,
    /// Names that are known of a producer at most.
    pub most: u64,
}

impl Memory {
    /// What Redis begins with.
    pub const USUAL: Self = Self { seconds: 100, most: 100 };
    /// Seconds that may be wanted.
    pub const SECONDS: std::ops::RangeInclusive<i64> = 1..=86_400;
    /// Names that may be wanted.
    pub const MOST: std::ops::RangeInclusive<i64> = 1..=10_000;
}

/// What is known of a producer.
#[derive(Debug, Clone, Default)]
struct Producer {
    ids: BTreeMap<Box<[u8]>, StreamId>,
    /// The names in the order in which they came.
    order: VecDeque<Box<[u8]>>,
}

impl Producer {
    fn forget_oldest(&mut self) {
        if let Some(name) = self.order.pop_front() {
            self.ids.remove(&name);
        }
    }

    fn oldest(&self) -> Option<StreamId> {
        self.order.front().and_then(|name| self.ids.get(name)).copied()
    }
}

/// What is known of the producers of a stream.
#[derive(Debug, Clone)]
pub struct Idempotence {
    memory: Memory,
    producers: BTreeMap<Box<[u8]>, Producer>,
    /// Entries that were added with a name.
    pub added: u64,
    /// Entries that were not added, for they were there.
    pub duplicates: u64,
}

impl Idempotence {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self { memory, producers: BTreeMap::new(), added: 0, duplicates: 0 }
    }

    /// How much is remembered.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Has more or less remembered. Where that is another measure than before, everything is forgotten, as in Redis, and the
    /// answer is yes.
    pub fn remember(&mut self, memory: Memory) -> bool {
        let is_other = memory != self.memory;
        if is_other {
            self.memory = memory;
            self.producers.clear();
        }
        is_other
    }

    /// Producers of which something is known.
    #[must_use]
    pub fn producer_count(&self) -> usize {
        self.producers.len()
    }

    /// Names that are known.
    #[must_use]
    pub fn name_count(&self) -> usize {
        self.producers.values().map(|producer| producer.order.len()).sum()
    }

    /// The id that the entry of this name got.
    #[must_use]
    pub fn find(&self, producer: &[u8], name: &[u8]) -> Option<StreamId> {
        self.producers.get(producer)?.ids.get(name).copied()
    }

    /// Notes that the entry of this name got an id, unless the name is known. The oldest name of the producer is forgotten
    /// where it would be one too many.
    pub fn note(&mut self, producer: &[u8], name: &[u8], id: StreamId) {
        let of = match self.producers.get_mut(producer) {
            Some(of) => of,
            None => self.producers.entry(producer.into()).or_default(),
        };
        if of.ids.contains_key(name) {
            return;
        }
        of.ids.insert(name.into(), id);
        of.order.push_back(name.into());
        self.added = self.added.wrapping_add(1);
        while of.order.len() as u64 > self.memory.most {
            of.forget_oldest();
        }
    }

    /// Forgets what is older than it may be. `now_ms` is the wall clock in milliseconds since 1970. Answers how many names it
    /// was.
    pub fn forget_old(&mut self, now_ms: u64) -> usize {
        let until = now_ms.checked_sub(self.memory.seconds.saturating_mul(1000));
        let Some(until) = until else { return 0 };
        let mut forgotten = 0;
        self.producers.retain(|_, producer| {
            while producer.oldest().is_some_and(|id| id.ms <= until) {
                producer.forget_oldest();
                forgotten += 1;
            }
            !producer.order.is_empty()
        });
        forgotten
    }

    /// What is known, by producer and in the order in which it came: producer, name, id.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], StreamId)> {
        self.producers.iter().flat_map(|(producer, of)| {
            let named = of.order.iter().filter_map(|name| Some((name, *of.ids.get(name)?)));
            named.map(move |(name, id)| (&**producer, &**name, id))
        })
    }

    /// The producers, each with how many names are known of it.
    pub fn producers(&self) -> impl Iterator<Item = (&[u8], usize)> {
        self.producers.iter().map(|(producer, of)| (&**producer, of.order.len()))
    }

    /// Bytes that it has allocated, about.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        /// What a tree takes for a name, its leaves being two thirds full, and the order for it.
        const NAME_BYTES: usize =
            size_of::<(Box<[u8]>, StreamId)>() * 3 / 2 + size_of::<Box<[u8]>>();
        const PRODUCER_BYTES: usize = size_of::<(Box<[u8]>, Producer)>() * 3 / 2;
        let names = self.iter().map(|(_, name, _)| NAME_BYTES + 2 * name.len());
        let producers = self.producers.keys().map(|producer| PRODUCER_BYTES + producer.len());
        size_of::<Self>() + names.sum::<usize>() + producers.sum::<usize>()
    }
}

impl Stream {
    /// What is known of producers, if any has ever named its entries or it was said how much to remember.
    #[must_use]
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    /// As [`idempotence`](Self::idempotence), to be changed; where there is none yet, one that remembers so much.
    pub fn idempotence_or(&mut self, memory: Memory) -> &mut Idempotence {
        self.idempotence.get_or_insert_with(|| Box::new(Idempotence::new(memory)))
    }

    /// Takes over what is known of producers from a file.
    pub fn set_idempotence(&mut self, known: Idempotence) {
        self.idempotence = Some(Box::new(known));
    }

    /// Forgets names that are older than they may be. Answers whether any is left.
    pub fn forget_old_names(&mut self, now_ms: u64) -> bool {
        let Some(known) = &mut self.idempotence else { return false };
        known.forget_old(now_ms);
        known.producer_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that is known, by a plain list.
    #[derive(Default)]
    struct Model(Vec<(u8, u8, StreamId)>);

    impl Model {
        fn find(&self, producer: u8, name: u8) -> Option<StreamId> {
            let found = self.0.iter().find(|known| (known.0, known.1) == (producer, name));
            found.map(|known| known.2)
        }

        fn note(&mut self, producer: u8, name: u8, id: StreamId, most: usize) {
            self.0.push((producer, name, id));
            if self.0.iter().filter(|known| known.0 == producer).count() > most {
                let oldest = self.0.iter().position(|known| known.0 == producer);
                self.0.remove(oldest.expect("there is one"));
            }
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_list_knows(
            steps in prop::collection::vec((0_u8..3, 0_u8..12, 0_u64..700), 1..200),
            most in 1_u64..6,
        ) {
            let memory = Memory { seconds: 2, most };
            let mut known = Idempotence::new(memory);
            let (mut model, mut now_ms, mut added) = (Model::default(), 0, 0);
            for (producer, name, passes_ms) in steps {
                now_ms += passes_ms;
                let gone = known.forget_old(now_ms);
                let before = model.0.len();
                model.0.retain(|known| known.2.ms + 2000 > now_ms);
                prop_assert_eq!(gone, before - model.0.len());
                let found = known.find(&[producer], &[name]);
                prop_assert_eq!(found, model.find(producer, name));
                if found.is_none() {
                    added += 1;
                    let id = StreamId::new(now_ms, added);
                    known.note(&[producer], &[name], id);
                    model.note(producer, name, id, most as usize);
                }
                prop_assert_eq!(known.name_count(), model.0.len());
                let mut all: Vec<_> = known.iter().map(|(p, n, id)| (p[0], n[0], id)).collect();
                let mut wanted = model.0.clone();
                all.sort();
                wanted.sort();
                prop_assert_eq!(all, wanted);
            }
            prop_assert_eq!(known.added, added);
            prop_assert!(!known.remember(memory));
            let longer = Memory { seconds: 3, most };
            prop_assert!(known.remember(longer));
            prop_assert_eq!((known.name_count(), known.producer_count()), (0, 0));
        }
    }
}
