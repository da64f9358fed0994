//! What is known of a server or sentinel.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::links::LinkId;
use super::{Address, Sentinel};

/// What an instance is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A primary that is watched.
    Primary,
    /// A replica of it.
    Replica,
    /// Another sentinel that watches it.
    Sentinel,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Primary => "master",
            Self::Replica => "slave",
            Self::Sentinel => "sentinel",
        }
    }
}

/// Which instance is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The primary that is watched, by its name.
    pub primary: Rc<str>,
    /// What the instance is to it.
    pub kind: Kind,
    /// Its own name: a replica's address and port, a sentinel's id.
    pub name: Rc<str>,
}

impl Key {
    /// The primary of that name.
    #[must_use]
    pub fn primary(name: &str) -> Self {
        let name: Rc<str> = name.into();
        Self { primary: Rc::clone(&name), kind: Kind::Primary, name }
    }

    pub(super) fn beside(primary: &str, kind: Kind, name: &str) -> Self {
        Self { primary: primary.into(), kind, name: name.into() }
    }
}

/// What a server says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `role:master`
    Primary,
    /// `role:slave`
    Replica,
    /// It has not said.
    Unknown,
}

/// How far a replica is on its way to the new primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reconfigured {
    /// It was not told.
    #[default]
    No,
    /// It was told.
    Sent,
    /// It says that it follows the new primary.
    InProgress,
    /// It is connected to it, or was given up.
    Done,
}

/// Where a failover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// There is none.
    #[default]
    None,
    /// Votes are gathered.
    WaitStart,
    /// A replica is chosen.
    SelectReplica,
    /// It is told.
    SendPromotion,
    /// It has to say that it is a primary.
    WaitPromotion,
    /// The others are told.
    ReconfigureReplicas,
    /// The new primary takes the old one's place here.
    UpdateConfig,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::WaitStart => "wait_start",
            Self::SelectReplica => "select_slave",
            Self::SendPromotion => "send_slaveof_noone",
            Self::WaitPromotion => "wait_promotion",
            Self::ReconfigureReplicas => "reconf_slaves",
            Self::UpdateConfig => "update_config",
        }
    }
}

/// A server or sentinel. Times are in milliseconds since 1970; 0 is never.
#[derive(Debug, Clone)]
pub struct Instance {
    /// How it is found.
    pub(super) key: Key,
    /// Its name.
    pub name: String,
    /// What it says identifies it.
    pub run_id: Option<String>,
    /// Where it is.
    pub at: Address,
    pub(super) link: LinkId,
    /// It does not answer us.
    pub is_down: bool,
    /// Enough sentinels say so.
    pub is_objectively_down: bool,
    pub(super) down_since: i64,
    pub(super) objectively_down_since: i64,
    /// How long it may be silent, in milliseconds.
    pub down_after: i64,
    pub(super) published_at: i64,
    pub(super) hello_at: i64,
    pub(super) vote_reply_at: i64,
    /// When INFO came last.
    pub info_at: i64,
    /// What it said.
    pub info: Option<String>,
    /// What it said it is.
    pub role: Role,
    pub(super) role_at: i64,
    pub(super) primary_changed_at: i64,
    pub(super) script_kill_sent: bool,
    /// A sentinel's: it says that the primary is down.
    pub says_down: bool,
    /// A sentinel's: whom it voted for. A primary's: whom we voted for.
    pub leader: Option<String>,
    /// In which epoch.
    pub leader_epoch: u64,
    /// A replica's priority; 0 is never to be promoted.
    pub priority: i64,
    /// Whether a replica is to be shown to others.
    pub is_announced: bool,
    /// Since when a replica's link is down, as it says, in milliseconds.
    pub link_down_ms: i64,
    /// Whether a replica's link is up.
    pub link_is_up: bool,
    /// Whom a replica says it follows.
    pub follows: Option<String>,
    /// The port of that.
    pub follows_port: i64,
    /// Up to where a replica's data goes.
    pub offset: u64,
    /// It is the one that was chosen.
    pub is_promoted: bool,
    /// How far it is on its way to the new primary.
    pub reconfigured: Reconfigured,
    pub(super) reconfigure_sent_at: i64,
}

/// A failover of a primary.
#[derive(Debug, Clone, Default)]
pub struct Failover {
    /// Where it is.
    pub state: State,
    /// It is under way.
    pub in_progress: bool,
    /// It was asked for, and needs no votes.
    pub is_forced: bool,
    /// Its epoch.
    pub epoch: u64,
    pub(super) changed_at: i64,
    pub(super) started_at: i64,
    pub(super) delay_logged: i64,
    /// The replica that was chosen.
    pub promoted: Option<Rc<str>>,
}

/// Another sentinel has another primary, at the same epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conflict {
    pub since: i64,
    pub last: i64,
}

/// A primary that is watched.
#[derive(Debug, Clone)]
pub struct Primary {
    /// Itself.
    pub own: Instance,
    /// The epoch of the configuration that is known.
    pub config_epoch: u64,
    /// How many sentinels have to say that it is down.
    pub quorum: u32,
    /// How many replicas are sent to the new primary at the same time.
    pub parallel_syncs: i64,
    /// Milliseconds that a failover may take.
    pub failover_timeout: i64,
    /// The failover.
    pub failover: Failover,
    /// The password of it and its replicas.
    pub password: Option<String>,
    /// The user of it and its replicas.
    pub user: Option<String>,
    /// What is run for each event that warns.
    pub notification_script: Option<String>,
    /// What is run when the primary is another.
    pub reconfig_script: Option<String>,
    /// Milliseconds that it may take to come back with another run id; 0 is any.
    pub reboot_down_after: i64,
    pub(super) rebooted_at: Option<i64>,
    pub(super) conflict: Option<Conflict>,
    /// Other names of commands, by their own in lower case with the name as it was given.
    pub renames: BTreeMap<String, (String, String)>,
    /// Its replicas.
    pub replicas: BTreeMap<String, Instance>,
    /// The other sentinels that watch it.
    pub sentinels: BTreeMap<String, Instance>,
}

impl Primary {
    pub(super) fn replica_keys(&self) -> Vec<Key> {
        self.replicas.values().map(|it| it.key.clone()).collect()
    }

    pub(super) fn sentinel_keys(&self) -> Vec<Key> {
        self.sentinels.values().map(|it| it.key.clone()).collect()
    }

    /// The replica that was chosen.
    #[must_use]
    pub fn promoted(&self) -> Option<&Instance> {
        self.failover.promoted.as_ref().and_then(|name| self.replicas.get(&**name))
    }

    /// Where the primary is, for those who ask: where the promoted replica is once it says that it is one.
    #[must_use]
    pub fn current_address(&self) -> &Address {
        match self.promoted() {
            Some(promoted)
                if self.failover.in_progress
                    && self.failover.state >= State::ReconfigureReplicas =>
            {
                &promoted.at
            }
            _ => &self.own.at,
        }
    }

    /// All instances but the primary itself.
    pub(super) fn others_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.replicas.values_mut().chain(self.sentinels.values_mut())
    }
}

impl Sentinel {
    /// An instance.
    #[must_use]
    pub fn instance(&self, key: &Key) -> Option<&Instance> {
        let primary = self.primaries.get(&*key.primary)?;
        match key.kind {
            Kind::Primary => Some(&primary.own),
            Kind::Replica => primary.replicas.get(&*key.name),
            Kind::Sentinel => primary.sentinels.get(&*key.name),
        }
    }

    pub(super) fn instance_mut(&mut self, key: &Key) -> Option<&mut Instance> {
        let primary = self.primaries.get_mut(&*key.primary)?;
        match key.kind {
            Kind::Primary => Some(&mut primary.own),
            Kind::Replica => primary.replicas.get_mut(&*key.name),
            Kind::Sentinel => primary.sentinels.get_mut(&*key.name),
        }
    }

    /// A new instance of which nothing is known yet.
    pub(super) fn fresh(&mut self, key: Key, at: Address, down_after: i64) -> Instance {
        let (now, kind) = (self.now, key.kind);
        Instance {
            name: key.name.to_string(),
            key,
            run_id: None,
            at,
            link: self.new_link(),
            is_down: false,
            is_objectively_down: false,
            down_since: 0,
            objectively_down_since: 0,
            down_after,
            published_at: now,
            hello_at: now,
            vote_reply_at: now,
            info_at: 0,
            info: None,
            role: match kind {
                Kind::Primary => Role::Primary,
                Kind::Replica => Role::Replica,
                Kind::Sentinel => Role::Unknown,
            },
            role_at: now,
            primary_changed_at: now,
            script_kill_sent: false,
            says_down: false,
            leader: None,
            leader_epoch: 0,
            priority: 100,
            is_announced: true,
            link_down_ms: 0,
            link_is_up: false,
            follows: None,
            follows_port: 0,
            offset: 0,
            is_promoted: false,
            reconfigured: Reconfigured::No,
            reconfigure_sent_at: 0,
        }
    }

    /// Adds a replica. `None` if it is there already.
    pub(super) fn add_replica(&mut self, primary: &str, at: Address) -> Option<Key> {
        let name = self.announced_with_port(&at);
        let known = self.primaries.get(primary)?;
        if known.replicas.contains_key(&name) {
            return None;
        }
        let down_after = known.own.down_after;
        let key = Key::beside(primary, Kind::Replica, &name);
        let replica = self.fresh(key.clone(), at, down_after);
        self.primaries.get_mut(primary)?.replicas.insert(name, replica);
        Some(key)
    }

    /// Adds a sentinel. `None` if one of that id is there already.
    pub(super) fn add_sentinel(&mut self, primary: &str, id: &str, at: Address) -> Option<Key> {
        let known = self.primaries.get(primary)?;
        if known.sentinels.contains_key(id) {
            return None;
        }
        let down_after = known.own.down_after;
        let key = Key::beside(primary, Kind::Sentinel, id);
        let mut sentinel = self.fresh(key.clone(), at, down_after);
        sentinel.run_id = Some(id.to_owned());
        self.primaries.get_mut(primary)?.sentinels.insert(id.to_owned(), sentinel);
        Some(key)
    }
}
