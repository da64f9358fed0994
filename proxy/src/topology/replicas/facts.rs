//! What a server's INFO says of its replication.

use crate::settings::Lag;

/// What counts of a server's INFO.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// It loads its data.
    pub is_loading: bool,
    /// It has a link to its primary; a primary needs none.
    pub is_linked: bool,
    /// How much of the stream of changes it has written or taken in.
    pub offset: u64,
    /// Seconds since its primary was last heard.
    pub silent_s: u64,
}

impl Facts {
    /// Reads sections `replication` and `persistence`, in whatever order.
    #[must_use]
    pub fn read(info: &str) -> Self {
        let value = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        let number = |name: &str| value(name).and_then(|text| text.parse::<i64>().ok());
        let is_replica = value("role") == Some("slave");
        let offset = if is_replica { "slave_repl_offset" } else { "master_repl_offset" };
        // It is -1 where it was never heard.
        let silent_s = number("master_last_io_seconds_ago").unwrap_or(0);
        Self {
            is_loading: number("loading") == Some(1) || number("async_loading") == Some(1),
            is_linked: !is_replica || value("master_link_status") == Some("up"),
            offset: number(offset).and_then(|offset| u64::try_from(offset).ok()).unwrap_or(0),
            silent_s: u64::try_from(silent_s).unwrap_or(u64::MAX),
        }
    }

    /// Whether a replica is further behind than it may be. `primary` is the offset of its primary, asked before.
    #[must_use]
    pub fn lags(&self, most: Lag, primary: Option<u64>) -> bool {
        !self.is_linked
            || match most {
                Lag::Bytes(most) => {
                    primary.is_some_and(|offset| offset.saturating_sub(self.offset) > most)
                }
                Lag::Seconds(most) => self.silent_s > most,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLICA: &str = "# Replication\r\nrole:slave\r\nmaster_host:h\r\nmaster_link_status:up\r\n\
        master_last_io_seconds_ago:3\r\nslave_repl_offset:900\r\nmaster_repl_offset:1\r\n# Persistence\r\nloading:0\r\n";

    #[test]
    fn info_is_understood() {
        let facts = Facts::read(REPLICA);
        let wanted = Facts { is_loading: false, is_linked: true, offset: 900, silent_s: 3 };
        assert_eq!(facts, wanted);
        let primary = Facts::read("role:master\r\nmaster_repl_offset:1000\r\nloading:1\r\n");
        assert_eq!((primary.offset, primary.is_linked, primary.is_loading), (1000, true, true));
        let lost = REPLICA.replace("status:up", "status:down").replace("ago:3", "ago:-1");
        let lost = Facts::read(&lost);
        assert_eq!((lost.is_linked, lost.silent_s), (false, u64::MAX));
        assert_eq!(Facts::read("").offset, 0);
    }

    #[test]
    fn lag_is_counted_in_bytes_or_in_seconds() {
        let facts = Facts::read(REPLICA);
        assert!(!facts.lags(Lag::Bytes(100), Some(1000)));
        assert!(facts.lags(Lag::Bytes(99), Some(1000)));
        assert!(!facts.lags(Lag::Bytes(0), Some(800)), "the primary was asked before");
        assert!(!facts.lags(Lag::Bytes(0), None));
        assert!(!facts.lags(Lag::Seconds(3), Some(1 << 40)));
        assert!(facts.lags(Lag::Seconds(2), None));
        let lost = Facts { is_linked: false, ..facts };
        assert!(lost.lags(Lag::Seconds(100), None) && lost.lags(Lag::Bytes(u64::MAX), None));
    }
}
