//! A number that XINFO tells: how large Redis's index of the nodes would be.

use super::{ID_BYTES, Stream, StreamId};

/// Bytes that two ids have in common at their beginning.
fn common(one: StreamId, other: StreamId) -> u32 {
    let differs = u128::from_be_bytes(one.to_bytes()) ^ u128::from_be_bytes(other.to_bytes());
    differs.leading_zeros() / 8
}

/// Counts the nodes of a tree of ids that come in order.
#[derive(Default)]
struct Counting {
    /// The depths of the branches on the way to the last id.
    branches: Vec<u32>,
    nodes: usize,
}

impl Counting {
    /// The last id is complete, and so are the branches above it that are deeper than `until`, where the next one leaves
    /// its way; without one, all are.
    fn close(&mut self, until: Option<u32>) {
        let mut depth = ID_BYTES as u32;
        loop {
            let above = self.branches.last().copied();
            // A leaf or a branch is a node, and what lies between it and the branch above is one, if it is anything.
            let begins = above.max(until).map_or(0, |branch| branch + 1);
            self.nodes += if depth > begins { 2 } else { 1 };
            match above {
                Some(above) if Some(above) > until => depth = above,
                Some(above) if Some(above) == until => return,
                _ => return self.branches.extend(until),
            }
            self.branches.pop();
        }
    }
}

impl Stream {
    /// How many nodes the radix tree would have in which Redis keeps this stream's nodes.
    #[must_use]
    pub fn radix_tree_nodes(&self) -> usize {
        let mut counting = Counting::default();
        let mut previous = None;
        for (id, _) in self.nodes.iter() {
            if let Some(previous) = previous.replace(id) {
                counting.close(Some(common(previous, id)));
            }
        }
        if previous.is_none() {
            return 1;
        }
        counting.close(None);
        counting.nodes
    }
}
