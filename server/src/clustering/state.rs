//! What the engine keeps of the cluster beside the decisions.

use redstart_common::net::listen::Bound;

use super::file::NodesFile;
use crate::cluster::Action;

/// What the engine keeps of the cluster beside the decisions.
#[derive(Default)]
pub struct Clustering {
    /// nodes.conf.
    pub(super) file: Option<NodesFile>,
    /// Actions between two calls, to be used again.
    pub(super) actions: Vec<Action>,
    /// The cluster's clock at the start of the engine, in milliseconds since 1970.
    pub(super) began_unix_ms: i64,
    /// [`Cluster::changes`](crate::cluster::Cluster::changes), when it was asked last.
    pub(super) seen_changes: u64,
    /// Sockets that were bound for the bus, until the shell takes them.
    pub bus: Vec<Bound>,
}
