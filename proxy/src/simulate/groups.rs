//! Groups of a primary and a replica as sentinels watch them: failovers, and how the proxy learns of them, late.
//!
//! The servers `2n` and `2n + 1` are group `n`. What a server takes itself for, what the sentinels have agreed to and what the
//! proxy was told are three things, and may differ for a while.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::servers::{World, address};
use crate::control::Directory;
use crate::topology::PoolId;
use crate::topology::roster::Change;

/// What the proxy is told it has taken in by then.
pub const TAKEN_IN: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct Group {
    /// Whom the sentinels have agreed to.
    primary: usize,
    /// Whom the proxy was told last.
    told: usize,
    /// A failover is under way.
    is_busy: bool,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// What it takes itself for.
    is_primary: bool,
    /// Since when the proxy knows that it is to be written to no more.
    deposed: Option<Instant>,
}

/// Who is a primary, and who is taken for one.
#[derive(Debug)]
pub struct Groups {
    groups: RefCell<Vec<Group>>,
    members: RefCell<Vec<Member>>,
    /// Writes that ran on a server of which the proxy knew already that it was deposed: they were on their way.
    ran_late: RefCell<HashSet<u64>>,
    /// Of these, one that was asked for when that was known.
    sent_late: RefCell<Option<(u64, usize)>>,
    /// How often the proxy was told that a primary is one no more.
    pub deposed: Cell<u64>,
}

/// What a group is called.
pub fn name(group: usize) -> Arc<str> {
    format!("group-{group}").into()
}

impl Groups {
    /// Groups whose first servers are the primaries.
    pub fn new(count: usize) -> Self {
        let group = |number| Group { primary: 2 * number, told: 2 * number, is_busy: false };
        let member = |place| Member { is_primary: place % 2 == 0, deposed: None };
        Self {
            groups: RefCell::new((0..count).map(group).collect()),
            members: RefCell::new((0..2 * count).map(member).collect()),
            ran_late: RefCell::default(),
            sent_late: RefCell::default(),
            deposed: Cell::new(0),
        }
    }

    /// Whether a server takes itself for a primary.
    pub fn is_primary(&self, place: usize) -> bool {
        self.members.borrow()[place].is_primary
    }

    fn becomes(&self, place: usize, is_primary: bool) {
        self.members.borrow_mut()[place].is_primary = is_primary;
    }

    /// What the sentinels tell when they are asked first.
    pub fn told_at_first(&self) -> Vec<Change> {
        let groups = self.groups.borrow();
        let told = groups.iter().enumerate().flat_map(|(number, group)| {
            let (shard, primary) = (name(number), address(group.primary));
            let replicas = vec![(address(group.primary ^ 1), false)];
            [
                Change::Promote { shard: Arc::clone(&shard), primary },
                Change::Replicas { shard, replicas },
            ]
        });
        told.collect()
    }

    /// A server runs a write that was asked for at this time.
    pub fn ran(&self, place: usize, id: u64, asked: Instant) {
        let Some(since) = self.members.borrow()[place].deposed else { return };
        self.ran_late.borrow_mut().insert(id);
        if asked > since {
            self.sent_late.borrow_mut().get_or_insert((id, place));
        }
    }

    /// Whether the proxy knows that a server is to be asked for nothing more.
    pub fn is_deposed(&self, place: usize) -> bool {
        self.members.borrow()[place].deposed.is_some()
    }

    /// Every server knows who it is.
    pub fn calm(&self) {
        for group in self.groups.borrow().iter() {
            self.becomes(group.primary, true);
            self.becomes(group.primary ^ 1, false);
        }
    }

    /// Nothing was written to a server that was known to be deposed, and nobody was told that what it ran by then has run.
    pub fn judge(&self, told: &[u64]) -> Result<(), String> {
        if let Some((id, place)) = *self.sent_late.borrow() {
            return Err(format!(
                "write {id} went to server {place}, which was known to be deposed"
            ));
        }
        let ran_late = self.ran_late.borrow();
        match told.iter().find(|id| ran_late.contains(id)) {
            Some(id) => Err(format!("write {id} was acknowledged by a server that was deposed")),
            None => Ok(()),
        }
    }
}

/// The other server of a group becomes its primary, if nothing speaks against it.
pub fn fail_over(world: &Rc<World>, number: usize) {
    let Some(groups) = &world.groups else { return };
    let old = {
        let group = &mut groups.groups.borrow_mut()[number];
        let new = &world.servers.borrow()[group.primary ^ 1];
        if group.is_busy || !new.is_up || new.hangs_until > Instant::now() {
            return;
        }
        group.is_busy = true;
        group.primary
    };
    let world = Rc::clone(world);
    tokio::task::spawn_local(async move {
        let for_ms = |most| Duration::from_millis(world.up_to(most));
        let Some(groups) = &world.groups else { return };
        let is_demoted = match world.up_to(2) {
            0 => {
                world.kill(old);
                false
            }
            1 => {
                world.servers.borrow_mut()[old].hangs_until = Instant::now() + for_ms(2500);
                false
            }
            // An operator has asked for it: it knows at once, or when the other has taken over.
            _ => true,
        };
        if is_demoted && world.chance(0.5) {
            groups.becomes(old, false);
        }
        sleep(for_ms(500)).await;
        if world.is_rough() && world.servers.borrow()[old ^ 1].is_up {
            groups.becomes(old ^ 1, true);
            groups.groups.borrow_mut()[number].primary = old ^ 1;
            if !is_demoted {
                sleep(for_ms(600)).await;
                world.servers.borrow_mut()[old].is_up = true;
            }
            // It takes itself for the primary until it is told otherwise; clients that it has then it sends away, or not.
            sleep(for_ms(400)).await;
            groups.becomes(old, false);
            if world.chance(0.5) {
                world.drop_connections(old);
            }
        } else {
            // It was all for nothing.
            world.servers.borrow_mut()[old].is_up = true;
            groups.becomes(old, true);
        }
        groups.groups.borrow_mut()[number].is_busy = false;
    });
}

/// Tells the proxy of the groups as the sentinels see them, late, and in the pieces in which they learn of it.
pub async fn discover(world: Rc<World>, directory: Arc<Directory>) {
    let pool = PoolId::new(0);
    let Some(groups) = &world.groups else { return };
    loop {
        let longest = Duration::from_millis(100 + world.up_to(900));
        // Somebody has noticed something, or it is time to look.
        let _ = tokio::time::timeout(longest, directory.pool(pool).strange.notified()).await;
        sleep(Duration::from_millis(world.up_to(60))).await;
        let mut changes = Vec::new();
        let mut deposed = Vec::new();
        for (number, group) in groups.groups.borrow_mut().iter_mut().enumerate() {
            let is_silent = |place: usize| {
                let server = &world.servers.borrow()[place];
                !server.is_up || server.hangs_until > Instant::now()
            };
            let (primary, replica) = (group.primary, group.primary ^ 1);
            if group.told != primary {
                group.told = primary;
                deposed.push(replica);
                groups.deposed.set(groups.deposed.get() + 1);
                groups.members.borrow_mut()[primary].deposed = None;
                let primary = address(primary);
                changes.push(Change::Promote { shard: name(number), primary });
            }
            let is_down = is_silent(primary);
            changes.push(Change::PrimaryState { shard: name(number), is_down });
            // Which replicas the new primary has is asked behind who it is. Once all is quiet, all is told.
            if !world.is_rough() || world.chance(0.7) {
                let replicas = vec![(address(replica), is_silent(replica))];
                changes.push(Change::Replicas { shard: name(number), replicas });
            }
        }
        if world.is_verbose {
            println!("{:?} the proxy is told {changes:?}", world.began.elapsed());
        }
        directory.change(pool, changes);
        sleep(TAKEN_IN).await;
        for place in deposed {
            groups.members.borrow_mut()[place].deposed = Some(Instant::now());
        }
    }
}
