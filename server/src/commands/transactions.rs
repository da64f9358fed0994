//! Transactions: the rows; what they do is in [`crate::dispatch::transaction`].

use super::Handlers;
use crate::dispatch::transaction::{discard, exec, multi, unwatch, watch};

pub(super) const HANDLERS: Handlers = &[
    ("discard", discard),
    ("exec", exec),
    ("multi", multi),
    ("unwatch", unwatch),
    ("watch", watch),
];
