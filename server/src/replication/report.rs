//! What is told about replication: the section of INFO, and ROLE.

use super::door::seconds_between;
use super::driver::Replication;
use super::replica::{Link, Upstream};
use super::replicas::{Replica, Stage};

/// A replica as ROLE shows it: address, port, acknowledged offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaReport {
    /// Its address.
    pub ip: String,
    /// Its port.
    pub port: i64,
    /// What it has acknowledged.
    pub acked: i64,
}

/// The reply to ROLE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleReport {
    /// `master`
    Primary {
        /// Its offset.
        offset: i64,
        /// Those who follow.
        replicas: Vec<ReplicaReport>,
    },
    /// `slave`
    Replica {
        /// Of whom.
        host: String,
        /// At which port.
        port: u16,
        /// `connect`, `connecting`, `handshake`, `sync` or `connected`.
        state: &'static str,
        /// The offset, or -1 if the link is down.
        offset: i64,
    },
}

/// The fields of INFO, in order.
type Fields = Vec<(String, String)>;

impl Replication {
    /// ROLE.
    #[must_use]
    pub fn role(&self) -> RoleReport {
        match &self.upstream {
            None => RoleReport::Primary {
                offset: self.history.offset.bytes(),
                replicas: self
                    .replicas
                    .iter()
                    .filter(|replica| replica.is_online())
                    .map(report)
                    .collect(),
            },
            Some(upstream) => RoleReport::Replica {
                host: upstream.host.clone(),
                port: upstream.port,
                state: upstream.state_name(),
                offset: if upstream.is_streaming() { self.history.offset.bytes() } else { -1 },
            },
        }
    }

    /// The fields of INFO's section Replication.
    #[must_use]
    pub fn info(&self, now_ms: i64) -> Fields {
        let mut fields = Fields::new();
        let mut field = |name: &str, value: &dyn ToString| {
            fields.push((name.to_owned(), value.to_string()));
        };
        field("role", &if self.upstream.is_none() { "master" } else { "slave" });
        if let Some(upstream) = &self.upstream {
            self.upstream_fields(upstream, now_ms, &mut field);
        }
        field("connected_slaves", &self.replicas.len());
        if self.options.min_replicas_to_write > 0 && self.options.min_replicas_max_lag_s > 0 {
            field("min_slaves_good_slaves", &self.good_replicas);
        }
        let shown =
            self.replicas.iter().filter_map(|replica| Some((replica, state_name(replica)?)));
        for (number, (replica, state)) in shown.enumerate() {
            let (ip, port) = (replica.ip(), replica.profile.port);
            let (acked, lag) = (replica.acked.unwrap_or(0), replica.lag_s(now_ms));
            field(
                &format!("slave{number}"),
                &format!("ip={ip},port={port},state={state},offset={acked},lag={lag}"),
            );
        }
        field("master_failover_state", &self.failover.name());
        field("master_replid", &self.history.id);
        field("master_replid2", &self.history.second_id());
        field("master_repl_offset", &self.history.offset);
        field("second_repl_offset", &self.history.second_offset());
        let backlog = self.backlog.as_ref();
        field("repl_backlog_active", &u8::from(backlog.is_some()));
        field("repl_backlog_size", &self.options.backlog_bytes.max(super::BACKLOG_BYTES_MIN));
        field(
            "repl_backlog_first_byte_offset",
            &backlog.map_or(0, |backlog| backlog.start().next_byte()),
        );
        field("repl_backlog_histlen", &backlog.map_or(0, super::Backlog::held));
        if self.options.spill_bytes > 0 || backlog.is_some_and(|backlog| backlog.in_files() > 0) {
            field("repl_spill_size", &self.options.spill_bytes);
            field("repl_spilled_bytes", &backlog.map_or(0, super::Backlog::in_files));
        }
        fields
    }

    /// Whether every replica has acknowledged all there is.
    #[must_use]
    pub fn is_in_sync(&self) -> bool {
        let end = self.history.offset.bytes();
        self.replicas.iter().all(|replica| report(replica).acked == end)
    }

    /// A line for the log about each replica that has not acknowledged all there is, and how many replicas there are.
    #[must_use]
    pub fn lagging(&self, now_ms: i64) -> (Vec<String>, usize) {
        let end = self.history.offset.bytes();
        let lagging = self.replicas.iter().filter(|replica| report(replica).acked != end);
        let line = |replica: &Replica| {
            format!(
                "Lagging replica {} reported offset {} behind master, lag={}, state={}.",
                replica.name(),
                end - report(replica).acked,
                if replica.is_online() { replica.lag_s(now_ms) } else { 0 },
                state_name(replica).unwrap_or("")
            )
        };
        (lagging.map(line).collect(), self.replicas.len())
    }

    fn upstream_fields(
        &self,
        upstream: &Upstream,
        now_ms: i64,
        field: &mut dyn FnMut(&str, &dyn ToString),
    ) {
        field("master_host", &upstream.host);
        field("master_port", &upstream.port);
        let is_up = upstream.is_streaming();
        field("master_link_status", &if is_up { "up" } else { "down" });
        let heard_s = match &upstream.link {
            Link::Streaming(state) => seconds_between(state.heard_ms, now_ms),
            _ => -1,
        };
        field("master_last_io_seconds_ago", &heard_s);
        let is_syncing = upstream.state_name() == "sync";
        field("master_sync_in_progress", &u8::from(is_syncing));
        let has_place = is_up || upstream.can_resume;
        // Redis shows 1 where there is no place in the primary's stream.
        let offset = if has_place { self.history.offset.bytes() } else { 1 };
        field("slave_read_repl_offset", &(offset + upstream.unapplied().cast_signed()));
        field("slave_repl_offset", &offset);
        if is_syncing {
            sync_fields(&upstream.link, now_ms, field);
        }
        if !is_up {
            let down_s = upstream.down_since_ms.map_or(-1, |since| seconds_between(since, now_ms));
            field("master_link_down_since_seconds", &down_s);
        }
        field("slave_priority", &self.options.priority);
        field("slave_read_only", &u8::from(self.options.read_only));
        field("replica_announced", &u8::from(self.options.announced));
    }
}

fn sync_fields(link: &Link, now_ms: i64, field: &mut dyn FnMut(&str, &dyn ToString)) {
    // While the size is not known it is -1, as in Redis; by mark it is 0.
    let (total, read, heard_ms) = match link {
        Link::Receiving(state) => {
            (state.size.map_or(0, u64::cast_signed), state.read, state.heard_ms)
        }
        Link::Loading(state) => (state.size.map_or(0, u64::cast_signed), state.read, now_ms),
        Link::Preparing { heard_ms, .. } => (-1, 0, *heard_ms),
        _ => (-1, 0, now_ms),
    };
    let read = read.cast_signed();
    let percent = if total == 0 { 0.0 } else { read as f64 / total as f64 * 100.0 };
    field("master_sync_total_bytes", &total);
    field("master_sync_read_bytes", &read);
    field("master_sync_left_bytes", &(total - read));
    field("master_sync_perc", &format!("{percent:.2}"));
    field("master_sync_last_io_seconds_ago", &seconds_between(heard_ms, now_ms));
}

fn report(replica: &Replica) -> ReplicaReport {
    ReplicaReport {
        ip: replica.ip().to_owned(),
        port: replica.profile.port,
        acked: replica.acked.unwrap_or(0),
    }
}

fn state_name(replica: &Replica) -> Option<&'static str> {
    match replica.stage {
        Stage::WaitStart { .. } | Stage::WaitEnd { .. } => Some("wait_bgsave"),
        Stage::SendBulk { .. } => Some("send_bulk"),
        Stage::Online { .. } | Stage::AwaitAck { .. } => Some("online"),
        Stage::Done => None,
    }
}
