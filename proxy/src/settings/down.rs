//! What a file says of servers that are down, put together.

use super::file::Seen;
use super::{DistributionKind, OnServerDown, PoolSettings, RETRY_TIMEOUT_FAIL_MS};

/// Puts together `auto_eject_hosts`, `on_server_down` and what goes with them.
///
/// # Errors
/// The key that does not fit, and why.
pub(super) fn on_server_down(
    pool: &mut PoolSettings,
    seen: &Seen,
) -> Result<(), (&'static str, &'static str)> {
    let said = match (seen.on_server_down, seen.ejects) {
        (Some(down), None) => Some(("on_server_down", down)),
        (Some(OnServerDown::Eject), Some(true)) => Some(("on_server_down", OnServerDown::Eject)),
        (Some(OnServerDown::Eject), Some(false)) => {
            return Err(("on_server_down", "is eject, and 'auto_eject_hosts' is false"));
        }
        (Some(_), Some(true)) => {
            let problem = "does not go with 'auto_eject_hosts', which is 'on_server_down: eject'";
            return Err(("on_server_down", problem));
        }
        (Some(down), Some(false)) => Some(("on_server_down", down)),
        (None, Some(true)) => Some(("auto_eject_hosts", OnServerDown::Eject)),
        (None, _) => None,
    };
    if let Some((key, _)) = said {
        if pool.cluster.is_some() {
            return Err((key, "does not go with 'cluster': slots keep their keys"));
        }
        if pool.sentinel.is_some() {
            return Err((key, "does not go with 'sentinels': a group keeps its keys"));
        }
    }
    let down = said.map_or(OnServerDown::Try, |(_, down)| down);
    if down == OnServerDown::Fail && pool.failover_hold_ms > 0 {
        let problem = "lets requests wait that 'on_server_down: fail' is to refuse at once";
        return Err(("failover_hold", problem));
    }
    if down == OnServerDown::Next && pool.distribution == DistributionKind::Random {
        let problem = "is next, and 'distribution: random' has no order; eject leaves a server out";
        return Err(("on_server_down", problem));
    }
    pool.on_server_down = down;
    match seen.retry_ms {
        Some(ms) => pool.server_retry_timeout_ms = ms,
        None if down == OnServerDown::Fail => pool.server_retry_timeout_ms = RETRY_TIMEOUT_FAIL_MS,
        None => {}
    }
    Ok(())
}
