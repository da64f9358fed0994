//! In-process engines, for a proxy without a configuration. The only file of the proxy that knows the server.

use std::io;

use redstart_common::hash::HashKind;
use redstart_common::net::Address;
use redstart_server::embedded::{Embedded, EmbeddedHandle};

use crate::data_folder::DataFolder;
use crate::settings::{DistributionKind, Listen, PoolSettings, ServerAddress, ServerSettings};

/// Where the proxy listens without a configuration.
pub const HOST: &str = "127.0.0.1";
/// Its port.
pub const PORT: u16 = 22121;

/// How many engines there are by default: one per core, from 2 to 8.
#[must_use]
pub fn default_count() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8)
}

/// Where Prometheus scrapes without a configuration.
pub const METRICS_PORT: u16 = 22190;

/// Starts the engines and gives the pool over them; `data` is where they keep their data, if anywhere. The engines live
/// as long as the second value.
///
/// # Errors
/// When an engine does not start, or cannot load its data.
pub fn pool(
    count: usize,
    data: Option<&DataFolder>,
    listen: Listen,
) -> io::Result<(PoolSettings, Vec<EmbeddedHandle>)> {
    let start = |index| {
        let folder = data.map(|data| data.of_engine(index)).transpose()?;
        Embedded::start(index, folder.as_deref())
    };
    let engines: Vec<EmbeddedHandle> = (0..count).map(start).collect::<io::Result<_>>()?;
    // They load side by side.
    engines.iter().try_for_each(EmbeddedHandle::wait_until_loaded)?;
    let servers = engines
        .iter()
        .enumerate()
        .map(|(index, engine)| ServerSettings {
            name: format!("engine{index}"),
            address: match engine.address() {
                Address::Tcp(address) => {
                    ServerAddress::Tcp { host: address.ip().to_string(), port: address.port() }
                }
                Address::Unix { path, .. } => ServerAddress::Unix(path),
            },
            weight: 1,
            user: None,
            password: None,
        })
        .collect();
    let mut pool = PoolSettings::new("embedded", listen, servers);
    pool.distribution = DistributionKind::Ketama;
    // The default of a pool, fnv1a_64, puts keys that differ in their last letters only (`k1`, `k2`) close to each
    // other on the ring, so a first handful of keys would all be in one engine.
    pool.hash = Some(HashKind::Murmur);
    pool.hash_tag = Some(*b"{}");
    pool.preconnect = true;
    pool.embedded = true;
    Ok((pool, engines))
}
