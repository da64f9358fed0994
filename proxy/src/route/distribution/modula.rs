//! Remainder of the hash: each live server stands on a wheel as many times as it weighs.

use super::{ShardIndex, Share};

/// The wheel, kept as the sum of the weights up to and including each server.
#[derive(Debug)]
pub struct Wheel {
    ends: Box<[u64]>,
    owners: Box<[ShardIndex]>,
    total: u64,
    /// Every weight is one: the remainder is the place.
    flat: bool,
}

impl Wheel {
    pub(super) fn build<S: Share>(shards: &[S], live: &[ShardIndex]) -> Self {
        let mut total = 0;
        let ends = live
            .iter()
            .map(|index| {
                total += u64::from(shards[usize::from(*index)].weight());
                total
            })
            .collect();
        Self { ends, owners: live.into(), total, flat: total == live.len() as u64 }
    }

    /// The owners of the wheel's parts, in order.
    pub(super) fn owners_mut(&mut self) -> &mut [ShardIndex] {
        &mut self.owners
    }

    /// The server at `hash`. A 64-bit hash counts in full: predixy takes a signed one as unsigned before it divides.
    #[inline]
    pub(super) fn shard(&self, hash: u64) -> ShardIndex {
        let turn = hash % self.total;
        let place =
            if self.flat { turn as usize } else { self.ends.partition_point(|end| *end <= turn) };
        self.owners[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ServerAddress, ServerSettings};

    fn wheel(weights: &[u32]) -> Wheel {
        let servers: Vec<ServerSettings> = weights
            .iter()
            .map(|weight| ServerSettings {
                name: String::new(),
                address: ServerAddress::Tcp { host: "h".to_owned(), port: 1 },
                weight: *weight,
                user: None,
                password: None,
            })
            .collect();
        let live: Vec<ShardIndex> = (0..weights.len() as ShardIndex).collect();
        Wheel::build(&servers, &live)
    }

    #[test]
    fn weights_repeat_servers_in_order() {
        let wheel = wheel(&[1, 2, 5]);
        let seen: Vec<_> = (0..9).map(|hash| wheel.shard(hash)).collect();
        assert_eq!(seen, [0, 1, 1, 2, 2, 2, 2, 2, 0]);
        // fnv1a_64 of the golden keys.
        let hashes = [
            2_248_273_036,
            4_275_688_823,
            1_488_911_807,
            2_927_313_545,
            1_959_240_562,
            3_472_276_361,
            1_912_656_593,
        ];
        assert_eq!(hashes.map(|hash| wheel.shard(hash)), [2, 2, 2, 1, 1, 1, 1]);
    }

    #[test]
    fn a_negative_number_is_taken_as_unsigned() {
        let hash = -1_i64 as u64;
        assert_eq!(wheel(&[1; 3]).shard(hash), 0);
        assert_eq!(wheel(&[1; 5]).shard(hash), 0);
        assert_eq!(wheel(&[1; 7]).shard(hash), 1);
    }
}
