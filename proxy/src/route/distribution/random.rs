//! Any live server, whatever it weighs: for pools whose servers all hold the same data.

use super::ShardIndex;

/// The servers to choose from.
#[derive(Debug)]
pub struct Any(Box<[ShardIndex]>);

impl Any {
    pub(super) fn build(live: &[ShardIndex]) -> Self {
        Self(live.into())
    }

    /// The server for a random number.
    #[inline]
    pub(super) fn shard(&self, chance: u64) -> ShardIndex {
        self.0[(chance % self.0.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_live_server_is_chosen_and_no_other() {
        let any = Any::build(&[1, 4]);
        assert_eq!([0, 1, 2, 3].map(|chance| any.shard(chance)), [1, 4, 1, 4]);
    }
}
