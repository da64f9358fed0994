//! twemproxy's ring: each live server owns points on a circle of 32-bit values, and a key belongs to the first
//! point at or after its hash.
//!
//! A server has about 160 points scaled by its share of the weight. The count is computed in 32-bit floats, and
//! with some pool sizes (25, 47, 50, …) the rounding loses one digest of four points; keys lie where they lie
//! because of it, so the arithmetic here is the original's, step by step.

use redstart_common::hash::md5_digest;

use super::{ShardIndex, Share};

/// Points of a server of average weight.
const POINTS: f32 = 160.0;
/// Points taken from one digest.
const POINTS_PER_DIGEST: f32 = 4.0;
/// Longest name of a point in bytes; the original truncates beyond.
const POINT_NAME_MAX: usize = 272;

/// The ring. `starts` shortens the search: entry `i` is the first point whose value has at least `i` in its top
/// bits, so that a look-up inspects one or two points.
#[derive(Debug)]
pub struct Ring {
    values: Box<[u32]>,
    owners: Box<[ShardIndex]>,
    starts: Box<[u32]>,
    shift: u32,
}

/// How many digests a server of `weight` gets.
fn digest_count(weight: u32, weight_total: u32, live_count: usize) -> u32 {
    let share = weight as f32 / weight_total as f32;
    let scaled = share * POINTS / POINTS_PER_DIGEST * live_count as f32;
    // The original adds in double precision and rounds the sum to a float before the floor.
    (f64::from(scaled) + 0.000_000_000_1) as f32 as u32
}

impl Ring {
    pub(super) fn build<S: Share>(shards: &[S], live: &[ShardIndex]) -> Self {
        let weight_total: u32 = live.iter().map(|index| shards[usize::from(*index)].weight()).sum();
        let mut points: Vec<(u32, ShardIndex)> = Vec::new();
        for index in live {
            let shard = &shards[usize::from(*index)];
            for number in 0..digest_count(shard.weight(), weight_total, live.len()) {
                let mut name = format!("{}-{number}", shard.name()).into_bytes();
                name.truncate(POINT_NAME_MAX);
                let digest = md5_digest(&name);
                for word in digest.chunks_exact(4) {
                    points.push((u32::from_le_bytes([word[0], word[1], word[2], word[3]]), *index));
                }
            }
        }
        points.sort_by_key(|(value, _)| *value);
        // A share so small that every count rounds to nothing cannot happen: the largest weight has at least
        // the average share, which is 40 digests.
        debug_assert!(!points.is_empty());

        let bits = (usize::BITS - points.len().leading_zeros()).clamp(1, 20);
        let shift = 32 - bits;
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut place = 0;
        for prefix in 0..1u64 << bits {
            while place < points.len() && u64::from(points[place].0) < prefix << shift {
                place += 1;
            }
            starts.push(place as u32);
        }
        Self {
            values: points.iter().map(|(value, _)| *value).collect(),
            owners: points.iter().map(|(_, owner)| *owner).collect(),
            starts: starts.into_boxed_slice(),
            shift,
        }
    }

    /// The owner of the first point at or after `hash`, going round at the end.
    #[inline]
    pub(super) fn shard(&self, hash: u32) -> ShardIndex {
        self.owners[self.place(hash)]
    }

    /// The first owner from there on that `passes` does not say yes to.
    pub(super) fn next(
        &self,
        hash: u32,
        passes: impl Fn(ShardIndex) -> bool,
    ) -> Option<ShardIndex> {
        let (before, after) = self.owners.split_at(self.place(hash));
        after.iter().chain(before).copied().find(|owner| !passes(*owner))
    }

    /// The owners of the points, in ascending order of those.
    pub(super) fn owners_mut(&mut self) -> &mut [ShardIndex] {
        &mut self.owners
    }

    #[inline]
    fn place(&self, hash: u32) -> usize {
        let mut place = self.starts[(hash >> self.shift) as usize] as usize;
        while place < self.values.len() && self.values[place] < hash {
            place += 1;
        }
        if place == self.values.len() {
            place = 0;
        }
        place
    }

    /// The points in ascending order, each with its owner.
    #[cfg(test)]
    fn points(&self) -> impl Iterator<Item = (u32, ShardIndex)> + '_ {
        self.values.iter().copied().zip(self.owners.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::{ServerAddress, ServerSettings};

    fn servers(list: &[(&str, u32)]) -> Vec<ServerSettings> {
        list.iter()
            .map(|(name, weight)| ServerSettings {
                name: (*name).to_owned(),
                address: ServerAddress::Tcp { host: "h".to_owned(), port: 1 },
                weight: *weight,
                user: None,
                password: None,
            })
            .collect()
    }

    fn ring(list: &[(&str, u32)]) -> Ring {
        let servers = servers(list);
        let live: Vec<ShardIndex> = (0..servers.len() as ShardIndex).collect();
        Ring::build(&servers, &live)
    }

    fn counts(ring: &Ring, servers: u16) -> Vec<usize> {
        (0..servers)
            .map(|index| ring.owners.iter().filter(|owner| **owner == index).count())
            .collect()
    }

    #[test]
    fn three_equal_servers_as_recorded_from_twemproxy() {
        let ring = ring(&[("127.0.0.1:6379", 1), ("127.0.0.1:6380", 1), ("127.0.0.1:6381", 1)]);
        let first: Vec<_> = ring.points().take(4).collect();
        assert_eq!(ring.values.len(), 480);
        assert_eq!(first, [(20_075_150, 0), (23_409_604, 1), (29_345_296, 1), (38_654_231, 0)]);
        // fnv1a_64 of a, foo, apple, user:1000, key:000000000123, café and ff 80 01.
        let hashes = [
            2_248_273_036,
            4_275_688_823,
            1_488_911_807,
            2_927_313_545,
            1_959_240_562,
            3_472_276_361,
            1_912_656_593,
        ];
        assert_eq!(hashes.map(|hash| ring.shard(hash)), [0, 2, 0, 2, 2, 2, 1]);
    }

    #[test]
    fn weights_count_for_named_servers_too() {
        let ring = ring(&[("server1", 1), ("server2", 2), ("server3", 5)]);
        assert_eq!(counts(&ring, 3), [60, 120, 300]);
        let hashes = [
            2_248_273_036,
            4_275_688_823,
            1_488_911_807,
            2_927_313_545,
            1_959_240_562,
            3_472_276_361,
            1_912_656_593,
        ];
        assert_eq!(hashes.map(|hash| ring.shard(hash)), [2, 1, 0, 0, 2, 2, 2]);
    }

    #[test]
    fn point_names_give_the_recorded_values() {
        let digest = md5_digest(b"server1-8");
        assert_eq!(u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]), 3_853_726_576);
        assert_eq!(
            u32::from_le_bytes([digest[12], digest[13], digest[14], digest[15]]),
            2_667_054_752
        );
    }

    /// The rounding of 32-bit floats loses a digest at exactly these sizes up to 200, and at 105 up to 1024.
    #[test]
    fn some_pool_sizes_have_156_points_a_server() {
        let short: Vec<usize> =
            (1..=1024).filter(|n| digest_count(1, *n as u32, *n) == 39).collect();
        let start = [
            25, 47, 50, 55, 61, 71, 94, 100, 107, 109, 110, 115, 122, 142, 159, 163, 188, 193, 200,
        ];
        assert_eq!(short[..start.len()], start);
        assert_eq!(short.len(), 105);
        assert!((1..=1024).all(|n| [39, 40].contains(&digest_count(1, n as u32, n))));
    }

    #[test]
    fn a_15_bit_hash_always_falls_on_the_first_point() {
        let ring = ring(&[("127.0.0.1:6379", 1), ("127.0.0.1:6380", 1), ("127.0.0.1:6381", 1)]);
        assert!((0..=0x7fff).all(|hash| ring.shard(hash) == ring.owners[0]));
    }

    #[test]
    fn whoever_had_a_key_before_a_server_came_is_next() {
        let old = ring(&[("a", 1), ("b", 1), ("c", 1)]);
        let new = ring(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
        let mut moved = 0;
        for number in 0..2000_u32 {
            let hash = number.wrapping_mul(0x9e37_79b9);
            let owner = new.shard(hash);
            let mut seen = vec![owner];
            while let Some(next) = new.next(hash, |shard| seen.contains(&shard)) {
                seen.push(next);
            }
            assert_eq!(seen.len(), 4, "each comes once");
            if owner == 3 {
                moved += 1;
                assert_eq!(seen[1], old.shard(hash));
            }
        }
        assert!(moved > 300, "{moved}");
    }

    proptest! {
        #[test]
        fn the_shortened_search_finds_what_a_plain_one_finds(
            weights in prop::collection::vec(1u32..50, 2..12),
            hashes in prop::collection::vec(any::<u32>(), 1..200),
        ) {
            let names: Vec<String> = (0..weights.len()).map(|n| format!("s{n}")).collect();
            let list: Vec<(&str, u32)> =
                names.iter().map(String::as_str).zip(weights.iter().copied()).collect();
            let ring = ring(&list);
            let edges = ring.values.iter().flat_map(|v| [v.wrapping_sub(1), *v, v.wrapping_add(1)]);
            for hash in hashes.into_iter().chain(edges).chain([0, u32::MAX]) {
                let place = ring.values.partition_point(|value| *value < hash) % ring.values.len();
                prop_assert_eq!(ring.shard(hash), ring.owners[place]);
            }
        }
    }
}
