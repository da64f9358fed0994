//! Keys on their way to another server.
//!
//! The values are taken at once and sent by a thread; meanwhile the client that asked waits, and others are served.
//! So that a key is never lost, doubled or changed in between, requests that name a key on its way wait too, as do
//! those that write without naming keys (FLUSHALL, SWAPDB), until the key is gone from here or stays. Redis has
//! everybody wait. What may be seen in between is that KEYS, SCAN or DBSIZE still count a key that has arrived.

pub mod transfer;

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use redstart_common::command::spec::Flags as RowFlags;
use redstart_common::command::{CommandId, keys};
use redstart_common::resp::{Args, OwnedArgs};

use transfer::{Job, Link, Outcome, Target};

/// Connections that are kept, at most.
const LINKS_MAX: usize = 64;
/// How long an unused connection is kept.
const LINK_TTL: Duration = Duration::from_secs(10);

/// Who carries jobs while the engine goes on.
type Carrier = Box<dyn Fn(u64, Job)>;

/// Everything that is on its way, and connections for what comes next.
#[derive(Default)]
pub struct Migrations {
    links: HashMap<Target, (Link, Instant)>,
    pub(crate) moving: Vec<Moving>,
    pub(crate) finished: Vec<(u64, Outcome)>,
    pub(crate) tickets: u64,
    pub(crate) carrier: Option<Carrier>,
}

/// One MIGRATE.
pub(crate) struct Moving {
    pub(crate) ticket: u64,
    pub(crate) client: u64,
    /// The client does not want to hear how it went.
    pub(crate) silent: bool,
    pub(crate) db: usize,
    pub(crate) target: Target,
    pub(crate) keys: Vec<Box<[u8]>>,
    /// Keys stay here as well, so nobody needs to wait for them.
    pub(crate) copy: bool,
    pub(crate) args: OwnedArgs,
    pub(crate) since: Instant,
}

impl Migrations {
    /// Has jobs done by `carrier`, who ends each with [`Engine::finish_migration`]. Without one they are done in
    /// the place of the command.
    pub fn set_carrier(&mut self, carrier: impl Fn(u64, Job) + 'static) {
        self.carrier = Some(Box::new(carrier));
    }

    /// Whether somebody carries jobs while the engine goes on.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.carrier.is_some()
    }

    /// Connections that are kept.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.len()
    }

    /// A kept connection to a target.
    pub fn take_link(&mut self, target: &Target) -> Option<Link> {
        self.links.remove(target).map(|(link, _)| link)
    }

    /// Keeps a connection for later jobs.
    pub fn keep_link(&mut self, target: Target, link: Option<Link>) {
        let Some(link) = link else { return };
        if self.links.len() >= LINKS_MAX
            && let Some(any) = self.links.keys().next().cloned()
        {
            self.links.remove(&any);
        }
        self.links.insert(target, (link, Instant::now()));
    }

    /// Closes connections that nobody has used for a while.
    pub fn close_idle_links(&mut self) {
        self.links.retain(|_, (_, used)| used.elapsed() <= LINK_TTL);
    }

    /// Whether keys are on their way.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moving.is_empty()
    }

    /// Whether a command must wait until keys have arrived.
    #[cold]
    pub fn holds(&self, id: CommandId, args: Args<'_>) -> bool {
        if self.moving.iter().all(|moving| moving.copy) {
            return false;
        }
        let row = id.spec();
        let mut places = keys::positions(row, args).peekable();
        if places.peek().is_none() {
            return row.flags.contains(RowFlags::WRITE);
        }
        // Whatever the database, for some commands name a second one.
        places.any(|place| {
            let key = args.get(place).unwrap_or_default();
            let moving = self.moving.iter().filter(|moving| !moving.copy);
            moving.flat_map(|moving| &moving.keys).any(|held| **held == *key)
        })
    }
}
