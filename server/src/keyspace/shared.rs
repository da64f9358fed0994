//! What all databases of one engine share: the time of the turn, eviction clocks, counters, and the events that a
//! look-up causes on the side (a key found expired, a miss), which wait here until the dispatcher takes them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::detached::{Detached, DetachedTable};
use super::entry::{Entry, Payload, Str};
use super::own::OwnVolatile;

/// Something a look-up or an insertion caused, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// What happened.
    pub what: IncidentKind,
    /// The database's number.
    pub db: usize,
    /// The key.
    pub key: Box<[u8]>,
    /// The fields, where it happened to some of a hash's.
    pub fields: Vec<Box<[u8]>>,
}

/// What can happen on the side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentKind {
    /// The key was past its deadline and has been removed.
    Expired,
    /// Fields of the key were past their deadline and have been removed.
    FieldsExpired {
        /// The key went with the last of them.
        emptied: bool,
    },
    /// A read found no key.
    Missed,
    /// A key was added that was not there.
    Added,
}

/// Sees old values before they are gone: once for each entry and epoch.
///
/// A snapshot without fork is one: it walks the table in steps and is handed here what it has not reached yet.
pub trait Witness {
    /// `entry` is about to change. `home` is the number that its database had when the epoch began.
    fn before_change(&self, home: usize, entry: &Entry);

    /// An entry was removed that is too large to be looked at in one go.
    fn removed(&self, home: usize, entry: Detached);

    /// A database was emptied. Answers what it held, if that is of no interest.
    fn emptied(&self, home: usize, entries: DetachedTable) -> Option<DetachedTable>;
}

/// Elements, or bytes of a string, from which on a value is large: it is read in slices, and its writers wait.
pub const LARGE_ELEMENTS: usize = 4096;
/// See [`LARGE_ELEMENTS`].
pub const LARGE_BYTES: usize = 1 << 20;

/// Whether reading all of an entry takes long.
#[must_use]
pub fn is_large(entry: &Entry) -> bool {
    match (entry.object(), entry.string()) {
        (Some(object), _) => object.stored_len() > LARGE_ELEMENTS,
        (None, Some(Str::Bytes(bytes))) => bytes.len() > LARGE_BYTES,
        _ => false,
    }
}

/// Bytes from which on a string may lie in the buffer that it was received in.
const KEPT_FROM: usize = 64 << 10;

/// A large request that is being executed, in a buffer of its own.
pub struct Arriving {
    /// The request.
    pub bytes: Bytes,
    /// Bytes of memory that the buffer takes.
    pub allocated: usize,
}

impl Arriving {
    /// The part of the buffer that `value` is, if it is most of it: so that a value never keeps much more than itself.
    fn part(&self, value: &[u8]) -> Option<Bytes> {
        let within = self.bytes.as_ptr_range();
        let part = value.as_ptr_range();
        let fits = within.start <= part.start && part.end <= within.end;
        let is_most = self.allocated - value.len().min(self.allocated) <= self.allocated / 8;
        (fits && is_most).then(|| self.bytes.slice_ref(value))
    }
}

/// State that all databases of an engine share. Cheap to read on every look-up.
#[derive(Default)]
pub struct Shared {
    /// The wall clock of this turn, in milliseconds since 1970.
    pub now_ms: Cell<i64>,
    /// What a touched entry gets as eviction data under LRU: seconds, in 24 bits.
    pub lru_clock: Cell<u32>,
    /// Whether databases have a table for each slot of a cluster.
    pub by_slot: Cell<bool>,
    /// Whether entries keep LFU counters instead of LRU clocks.
    pub lfu: Cell<bool>,
    /// LFU's `lfu-log-factor`.
    pub lfu_log_factor: Cell<u32>,
    /// LFU's `lfu-decay-time`, in minutes.
    pub lfu_decay_minutes: Cell<u32>,
    /// Reads that found their key.
    pub hits: Cell<u64>,
    /// Reads that did not.
    pub misses: Cell<u64>,
    /// Keys removed for being past their deadline.
    pub expired_keys: Cell<u64>,
    /// Fields of hashes removed for being past their deadline.
    pub expired_fields: Cell<u64>,
    /// The large request that is being executed, if there is one: a value that is most of it is kept where it lies.
    pub arriving: RefCell<Option<Arriving>>,
    /// Cycles of active expiry that ended because their time was over.
    pub expiry_cut_short: Cell<u64>,
    /// The time that cycles of active expiry took.
    pub expiry_time: Cell<Duration>,
    /// A running estimate of the share of keys with a deadline that are past it, in percent.
    pub stale_percent: Cell<f64>,
    /// Whether reads leave the eviction data alone (CLIENT NO-TOUCH).
    pub no_touch: Cell<bool>,
    /// A change of an entry is its use, and a look-up is none.
    pub change_is_use: Cell<bool>,
    /// Whether keys past their deadline stay where they are, though nobody sees them (while writes are paused).
    pub keep_expired: Cell<bool>,
    /// Keys with a deadline that clients of a writable replica wrote: no primary removes them.
    pub own_volatile: OwnVolatile,
    /// Whether deadlines do not count: while data is loaded, or a primary's writes are repeated.
    pub ignore_expiry: Cell<bool>,
    /// Whether misses are wanted as incidents.
    pub watch_misses: Cell<bool>,
    /// Whether added keys are wanted as incidents.
    pub watch_added: Cell<bool>,
    /// Incidents not yet taken.
    pub incidents: RefCell<Vec<Incident>>,
    /// The snapshot epoch; entries of another epoch have not been seen by the witness.
    pub epoch: Cell<u8>,
    /// Epochs there have been.
    pub(super) epochs: Cell<u64>,
    /// Epochs that were begun since all entries were last of the same one.
    pub(super) unsettled: Cell<u8>,
    /// Who wants old values, if anybody.
    pub witness: RefCell<Option<Rc<dyn Witness>>>,
    has_incidents: Cell<bool>,
}

impl Shared {
    /// Has a long string that was just received stay where it lies.
    #[inline]
    pub(super) fn keep<'p>(&self, payload: Payload<'p>) -> Payload<'p> {
        match payload {
            Payload::Bytes(bytes) | Payload::Raw(bytes) if bytes.len() >= KEPT_FROM => {
                self.part_of_arriving(bytes).map_or(payload, Payload::Shared)
            }
            payload => payload,
        }
    }

    #[cold]
    fn part_of_arriving(&self, bytes: &[u8]) -> Option<Bytes> {
        self.arriving.borrow().as_ref()?.part(bytes)
    }

    /// Notes an incident.
    pub fn note(&self, what: IncidentKind, db: usize, key: &[u8]) {
        self.note_fields(what, db, key, Vec::new());
    }

    /// Notes an incident of some fields of a hash.
    pub fn note_fields(&self, what: IncidentKind, db: usize, key: &[u8], fields: Vec<Box<[u8]>>) {
        self.has_incidents.set(true);
        self.incidents.borrow_mut().push(Incident { what, db, key: key.into(), fields });
    }

    /// Whether incidents wait to be taken.
    #[inline]
    #[must_use]
    pub fn has_incidents(&self) -> bool {
        self.has_incidents.get()
    }

    /// Takes the incidents that wait.
    pub fn take_incidents(&self) -> Vec<Incident> {
        self.has_incidents.set(false);
        self.incidents.take()
    }

    /// Begins or ends watching.
    pub fn set_witness(&self, witness: Option<Rc<dyn Witness>>) {
        *self.witness.borrow_mut() = witness;
    }

    /// Whether a deadline that a command names is past, so that the key goes at once. What is loaded, or a primary's, is
    /// removed by its own commands.
    #[must_use]
    pub fn is_past(&self, deadline: i64) -> bool {
        deadline <= self.now_ms.get() && !self.ignore_expiry.get()
    }

    /// Whether somebody wants old values.
    #[inline]
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.witness.borrow().is_some()
    }

    /// The eviction data a new entry starts with.
    #[inline]
    #[must_use]
    pub fn fresh_lru(&self) -> u32 {
        if self.lfu.get() { super::lfu::fresh(self.now_ms.get()) } else { self.lru_clock.get() }
    }

    /// Touches an entry that is being read or written.
    #[inline]
    pub fn touch(&self, entry: &mut Entry) {
        if self.no_touch.get() | self.change_is_use.get() {
            return;
        }
        if self.lfu.get() {
            let decayed =
                super::lfu::decay(entry.lru(), self.now_ms.get(), self.lfu_decay_minutes.get());
            entry.set_lru(super::lfu::touch(decayed, self.now_ms.get(), self.lfu_log_factor.get()));
        } else {
            entry.set_lru(self.lru_clock.get());
        }
    }
}
