//! The replicas of this server: what each said about itself, how far it has come, what it has acknowledged.

use super::door::{ClientId, Filter, SnapshotId, seconds_between};
use super::offset::Offset;

/// What a client said by REPLCONF before it asked for a sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its address as it wants to be known.
    pub ip: Option<String>,
    /// The port it listens to; 0 if it did not say.
    pub port: i64,
    /// It finds the end of a snapshot by a mark.
    pub eof: bool,
    /// It takes on a new name of its primary's history.
    pub psync2: bool,
    /// It wants the snapshot only, not the stream.
    pub rdb_only: bool,
    /// What the snapshot leaves out.
    pub filter: Filter,
    /// Its version, if it is one that says so.
    pub version: Option<(u32, u32, u32)>,
}

/// How far a replica has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A snapshot has to begin for it.
    WaitStart {
        /// When it asked.
        since_ms: i64,
    },
    /// A snapshot is being made, which is the data at this place.
    WaitEnd {
        /// Which one.
        snapshot: SnapshotId,
        /// There the stream goes on.
        from: Offset,
    },
    /// The snapshot's file is being sent.
    SendBulk {
        /// See above.
        from: Offset,
    },
    /// It was sent the snapshot as it was made, and the stream once it has said that it found the end.
    AwaitAck {
        /// See above.
        from: Offset,
    },
    /// It follows the stream.
    Online {
        /// The first place that it has not been sent.
        next: Offset,
    },
    /// It has the snapshot, and wanted no more.
    Done,
}

/// A replica.
#[derive(Debug)]
pub struct Replica {
    /// Its client.
    pub id: ClientId,
    /// The address its connection comes from.
    pub peer_ip: String,
    /// What it said.
    pub profile: Profile,
    /// How far it is.
    pub stage: Stage,
    /// It came by SYNC: it acknowledges nothing.
    pub is_old: bool,
    /// The offset it has acknowledged, if it has. Redis takes 0 for nothing, and so counts a replica that still loads for the
    /// writes that were made before anybody followed.
    pub acked: Option<i64>,
    /// The offset up to which it has the stream on its disk, if it said so.
    pub fsynced: Option<i64>,
    /// When it was last heard of.
    pub acked_ms: i64,
    /// It said that it is ready before its snapshot was known to be complete.
    pub acked_early: bool,
    /// Since when its lag is above the soft limit.
    pub soft_since_ms: Option<i64>,
    /// Since when nothing could be written to it.
    pub stuck_since_ms: Option<i64>,
}

impl Replica {
    /// The address others reach it at.
    #[must_use]
    pub fn ip(&self) -> &str {
        self.profile.ip.as_deref().unwrap_or(&self.peer_ip)
    }

    /// Its name in the log.
    #[must_use]
    pub fn name(&self) -> String {
        let ip = self.ip();
        match self.profile.port {
            0 => format!("{ip}:<unknown-replica-port>"),
            port if ip.contains(':') => format!("[{ip}]:{port}"),
            port => format!("{ip}:{port}"),
        }
    }

    /// The first place of the stream that it still needs. A snapshot alone needs none.
    #[must_use]
    pub fn needs(&self) -> Option<Offset> {
        match self.stage {
            _ if self.profile.rdb_only => None,
            Stage::WaitEnd { from, .. } | Stage::SendBulk { from } | Stage::AwaitAck { from } => {
                Some(from)
            }
            Stage::Online { next } => Some(next),
            Stage::WaitStart { .. } | Stage::Done => None,
        }
    }

    /// The first place of the stream that it has not been sent, if it may be sent it.
    #[must_use]
    pub fn reads_at(&self) -> Option<Offset> {
        match self.stage {
            Stage::Online { next } => Some(next),
            _ => None,
        }
    }

    /// Whether it is counted as following.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online { .. } | Stage::AwaitAck { .. })
    }

    /// Whether it waits for this snapshot.
    #[must_use]
    pub fn waits_for(&self, id: SnapshotId) -> bool {
        matches!(self.stage, Stage::WaitEnd { snapshot, .. } if snapshot == id)
    }

    /// Seconds since it was heard of, if it follows.
    #[must_use]
    pub fn lag_s(&self, now_ms: i64) -> i64 {
        if self.is_online() { seconds_between(self.acked_ms, now_ms) } else { 0 }
    }
}

/// All of them, in the order in which they came.
#[derive(Debug, Default)]
pub struct Replicas {
    list: Vec<Replica>,
}

impl Replicas {
    /// How many there are, whatever their stage.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.list.iter()
    }

    /// The same, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.list.iter_mut()
    }

    /// The one of a client.
    #[must_use]
    pub fn get(&self, id: ClientId) -> Option<&Replica> {
        self.list.iter().find(|replica| replica.id == id)
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Replica> {
        self.list.iter_mut().find(|replica| replica.id == id)
    }

    /// The one that others reach at this address.
    #[must_use]
    pub fn at(&self, host: &str, port: i64) -> Option<&Replica> {
        self.list
            .iter()
            .find(|replica| replica.ip().eq_ignore_ascii_case(host) && replica.profile.port == port)
    }

    /// A new one.
    pub fn push(&mut self, replica: Replica) {
        self.list.push(replica);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: ClientId) -> Option<Replica> {
        let at = self.list.iter().position(|replica| replica.id == id)?;
        Some(self.list.remove(at))
    }

    /// Takes all out.
    pub fn take_all(&mut self) -> Vec<Replica> {
        std::mem::take(&mut self.list)
    }

    /// The ids of those of which `wanted` is true.
    pub fn ids(&self, wanted: impl Fn(&Replica) -> bool) -> Vec<ClientId> {
        self.list.iter().filter(|replica| wanted(replica)).map(|replica| replica.id).collect()
    }

    /// The first place of the stream that one of them still needs.
    #[must_use]
    pub fn needed_from(&self) -> Option<Offset> {
        self.list.iter().filter_map(Replica::needs).min()
    }

    /// How many have acknowledged this offset.
    #[must_use]
    pub fn acked(&self, offset: Offset) -> usize {
        self.list
            .iter()
            .filter(|replica| {
                replica.is_online() && replica.acked.is_some_and(|acked| acked >= offset.bytes())
            })
            .count()
    }

    /// How many have it on their disk up to this offset.
    #[must_use]
    pub fn fsynced(&self, offset: Offset) -> usize {
        self.list
            .iter()
            .filter(|replica| {
                replica.is_online() && replica.fsynced.is_some_and(|at| at >= offset.bytes())
            })
            .count()
    }

    /// What those who follow have acknowledged, the most first.
    #[must_use]
    pub fn acks(&self) -> Vec<Offset> {
        let online = self.list.iter().filter(|replica| replica.is_online());
        let mut acks: Vec<Offset> =
            online.filter_map(|replica| Offset::after(replica.acked?)).collect();
        acks.sort_unstable_by(|one, other| other.cmp(one));
        acks
    }

    /// How many follow, and were heard of within so many seconds.
    #[must_use]
    pub fn good(&self, now_ms: i64, max_lag_s: i64) -> usize {
        self.list
            .iter()
            .filter(|replica| replica.is_online() && replica.lag_s(now_ms) <= max_lag_s)
            .count()
    }
}
