//! Who is alive: an immutable picture of a pool, swapped whole whenever it changes.

pub mod fixed;

use crate::route::distribution::{Distribution, ServerIndex};

/// The picture.
#[derive(Debug)]
pub struct Topology {
    /// How keys lie over the live servers.
    pub distribution: Distribution,
    /// The live servers, in ascending order.
    pub live: Box<[ServerIndex]>,
}

impl Topology {
    /// Whether a server takes part.
    #[must_use]
    pub fn is_live(&self, server: ServerIndex) -> bool {
        self.live.binary_search(&server).is_ok()
    }
}
