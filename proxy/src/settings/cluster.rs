//! What belongs to a Redis Cluster, and what does not go with it.

use super::document::{LIST_KEY, SENTINELS_KEY};
use super::file::Seen;
use super::{ClusterSettings, DistributionKind, PoolSettings, ServerOrder};

/// The key of the seeds.
pub(super) const KEY: &str = "cluster";

/// Puts together what belongs to a cluster, if that is what the pool is made of.
///
/// # Errors
/// The key that does not fit, and why.
pub(super) fn cluster(
    pool: &mut PoolSettings,
    seen: &mut Seen,
) -> Result<bool, (&'static str, &'static str)> {
    if !seen.has_cluster {
        return Ok(false);
    }
    let seeds = std::mem::take(&mut seen.seeds);
    let misfit = [
        (!pool.servers.is_empty(), LIST_KEY, "does not go with 'cluster', whose nodes are learnt"),
        (pool.sentinel.is_some(), SENTINELS_KEY, "does not go with 'cluster'"),
        (seen.hash.is_some(), "hash", "does not go with 'cluster': its nodes say where keys lie"),
        (
            seen.has_distribution,
            "distribution",
            "does not go with 'cluster': its nodes say where keys lie",
        ),
        (
            seen.has_order,
            "server_order",
            "does not go with 'cluster': its nodes say where keys lie",
        ),
        (
            pool.hash_tag.is_some_and(|tag| tag != *b"{}"),
            "hash_tag",
            "is \"{}\" in a cluster, and nothing else",
        ),
        (
            pool.first_key_decides,
            "cross_server",
            "does not go with 'cluster', whose nodes refuse keys of several slots",
        ),
        (pool.databases != 1, "databases", "is 1 in a cluster, and nothing else"),
        (pool.redis_db != 0, "redis_db", "is 0 in a cluster, and nothing else"),
        (seeds.is_empty(), KEY, "has no seeds"),
    ];
    if let Some((_, key, problem)) = misfit.into_iter().find(|(is_so, ..)| *is_so) {
        return Err((key, problem));
    }
    pool.distribution = DistributionKind::Slots;
    pool.hash = None;
    pool.hash_tag = Some(*b"{}");
    pool.server_order = ServerOrder::File;
    pool.cluster = Some(ClusterSettings { seeds });
    Ok(true)
}
