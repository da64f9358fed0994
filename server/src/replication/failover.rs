//! FAILOVER: this primary changes places with one of its replicas, without losing a write.
//!
//! Writes are paused, a replica that has everything is waited for, this server follows it and asks it by `PSYNC … FAILOVER` to
//! take over. If that goes wrong, this server is the primary again.

use redstart_common::number::parse_i64;
use redstart_common::resp::Args;

use super::door::{Action, Turn};
use super::driver::Replication;
use super::refusal::Refusal;
use super::replicas::Replica;

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failover {
    /// None is under way.
    None,
    /// Writes are paused until a replica has everything.
    WaitForSync { target: Option<(String, i64)>, end_ms: Option<i64>, force: bool },
    /// The replica has been asked to take over.
    InProgress { target: (String, i64), end_ms: Option<i64> },
}

impl Failover {
    pub(super) fn is_under_way(&self) -> bool {
        *self != Self::None
    }

    pub(super) fn is_in_progress(&self) -> bool {
        matches!(self, Self::InProgress { .. })
    }

    /// Whether it ends by itself.
    pub(super) fn has_end(&self) -> bool {
        match self {
            Self::None => false,
            Self::WaitForSync { end_ms, .. } | Self::InProgress { end_ms, .. } => end_ms.is_some(),
        }
    }

    /// `master_failover_state`
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::None => "no-failover",
            Self::WaitForSync { .. } => "waiting-for-sync",
            Self::InProgress { .. } => "failover-in-progress",
        }
    }
}

/// What FAILOVER was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailoverOptions {
    /// ABORT
    Abort,
    /// The rest.
    Begin {
        /// TO
        to: Option<(String, i64)>,
        /// TIMEOUT, in milliseconds.
        timeout_ms: Option<i64>,
        /// FORCE
        force: bool,
    },
}

/// Reads `FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT ms]`.
pub fn parse_failover(args: Args<'_>) -> Result<FailoverOptions, Refusal> {
    if args.len() == 2 && args.at(1).eq_ignore_ascii_case(b"abort") {
        return Ok(FailoverOptions::Abort);
    }
    let (mut to, mut timeout_ms, mut force) = (None, None, false);
    let mut at = 1;
    while at < args.len() {
        let option = args.at(at);
        let more = args.len() - at - 1;
        if option.eq_ignore_ascii_case(b"timeout") && more >= 1 && timeout_ms.is_none() {
            let ms = parse_i64(args.at(at + 1)).ok_or(Refusal::NotAnInteger)?;
            if ms <= 0 {
                return Err(Refusal::FAILOVER_TIMEOUT);
            }
            timeout_ms = Some(ms);
            at += 2;
        } else if option.eq_ignore_ascii_case(b"to") && more >= 2 && to.is_none() {
            let port = parse_i64(args.at(at + 2)).ok_or(Refusal::NotAnInteger)?;
            to = Some((String::from_utf8_lossy(args.at(at + 1)).into_owned(), port));
            at += 3;
        } else if option.eq_ignore_ascii_case(b"force") && !force {
            force = true;
            at += 1;
        } else {
            return Err(Refusal::Syntax);
        }
    }
    Ok(FailoverOptions::Begin { to, timeout_ms, force })
}

impl Replication {
    /// FAILOVER; `+OK` if it is not refused.
    pub fn fail_over(&mut self, options: FailoverOptions, turn: &mut Turn) -> Result<(), Refusal> {
        let FailoverOptions::Begin { to, timeout_ms, force } = options else {
            if !self.failover.is_under_way() {
                return Err(Refusal::NO_FAILOVER);
            }
            self.abort_failover("Failover manually aborted", turn);
            return Ok(());
        };
        if self.failover.is_under_way() {
            return Err(Refusal::FAILOVER_BUSY);
        }
        if self.upstream.is_some() {
            return Err(Refusal::FAILOVER_ON_REPLICA);
        }
        if self.replicas.is_empty() {
            return Err(Refusal::FAILOVER_NO_REPLICAS);
        }
        if force && (timeout_ms.is_none() || to.is_none()) {
            return Err(Refusal::FAILOVER_FORCE);
        }
        match &to {
            Some((host, port)) => {
                let replica = self.replicas.at(host, *port).ok_or(Refusal::FAILOVER_NO_TARGET)?;
                if !replica.is_online() {
                    return Err(Refusal::FAILOVER_NOT_ONLINE);
                }
                turn.notice(format!("FAILOVER requested to {host}:{port}."));
            }
            None => turn.notice("FAILOVER requested to any replica."),
        }
        let end_ms = timeout_ms.map(|ms| turn.now_ms.saturating_add(ms));
        self.failover = Failover::WaitForSync { target: to, end_ms, force };
        turn.act(Action::PauseWrites);
        Ok(())
    }

    /// Looks whether a replica has caught up, or the time is over.
    pub(super) fn update_failover(&mut self, turn: &mut Turn) {
        let Failover::WaitForSync { target, end_ms, force } = &self.failover else { return };
        let (end_ms, force) = (*end_ms, *force);
        if end_ms.is_some_and(|end_ms| end_ms <= turn.now_ms) {
            match target.clone().filter(|_| force) {
                Some(target) => {
                    turn.notice(format!(
                        "FAILOVER to {}:{} time out exceeded, failing over.",
                        target.0, target.1
                    ));
                    self.hand_over(target, end_ms, turn);
                }
                None => self.abort_failover("Replica never caught up before timeout", turn),
            }
            return;
        }
        let has_all = |replica: &&Replica| {
            replica.is_online() && replica.acked == Some(self.history.offset.bytes())
        };
        let ready = match target {
            Some((host, port)) => self.replicas.at(host, *port).filter(has_all),
            None => self.replicas.iter().find(has_all),
        };
        let Some(replica) = ready else { return };
        let target = (replica.ip().to_owned(), replica.profile.port);
        turn.notice(format!("Failover target {}:{} is synced, failing over.", target.0, target.1));
        self.hand_over(target, end_ms, turn);
    }

    fn hand_over(&mut self, target: (String, i64), end_ms: Option<i64>, turn: &mut Turn) {
        let Ok(port) = u16::try_from(target.1) else {
            self.abort_failover("The port of the target cannot be one", turn);
            return;
        };
        self.failover = Failover::InProgress { target: target.clone(), end_ms };
        self.follow(&target.0, port, turn);
    }

    /// The target has taken over.
    pub(super) fn failover_done(&mut self, turn: &mut Turn) {
        self.failover = Failover::None;
        turn.act(Action::ResumeWrites);
    }

    /// It is given up; this server is the primary, or is it again.
    pub(super) fn abort_failover(&mut self, why: &str, turn: &mut Turn) {
        let target = match &self.failover {
            Failover::None => return,
            Failover::WaitForSync { target, .. } => target.clone(),
            Failover::InProgress { target, .. } => Some(target.clone()),
        };
        turn.notice(match target {
            Some((host, port)) => format!("FAILOVER to {host}:{port} aborted: {why}"),
            None => format!("FAILOVER to any replica aborted: {why}"),
        });
        if self.failover.is_in_progress() {
            self.become_primary(turn);
        }
        self.failover_done(turn);
    }
}
