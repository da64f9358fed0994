//! A node of a list as it is held: open, or compressed (`list-compress-depth`).

use std::cell::RefCell;

use crate::encoding::listpack::{Listpack, Node};
use crate::encoding::lzf::{Compressor, decompress_onto};

/// A node of fewer bytes is not worth the work.
const COMPRESSED_FROM: usize = 48;
/// Bytes that it must save.
const SAVED_AT_LEAST: usize = 8;

/// A node.
#[derive(Clone)]
pub(super) enum Held {
    /// As it is read and changed.
    Open(Node),
    /// Compressed.
    Shut(Box<Shut>),
}

/// The bytes of a listpack, compressed by LZF.
#[derive(Clone)]
pub(super) struct Shut {
    bytes: Box<[u8]>,
    /// Bytes that they become.
    total: usize,
    /// Elements in them.
    length: usize,
}

impl Shut {
    fn open(&self) -> Listpack {
        let mut bytes = Vec::new();
        // They are our own, so that they give what they were made of.
        let done = decompress_onto(&self.bytes, self.total, &mut bytes);
        let pack = if done { Listpack::from_bytes(&bytes) } else { None };
        pack.expect("a compressed node is a listpack")
    }
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::default();
}

impl Held {
    /// Elements.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Open(node) => node.len(),
            Self::Shut(shut) => shut.length,
        }
    }

    /// Bytes of the listpack, however it is held.
    pub(super) fn total(&self) -> usize {
        match self {
            Self::Open(node) => node.total(),
            Self::Shut(shut) => shut.total,
        }
    }

    /// Whether it is compressed.
    pub(super) fn is_shut(&self) -> bool {
        matches!(self, Self::Shut(_))
    }

    /// Bytes that it has allocated.
    pub(super) fn allocated_bytes(&self) -> usize {
        match self {
            Self::Open(node) => node.allocated_bytes(),
            Self::Shut(shut) => size_of::<Shut>() + shut.bytes.len(),
        }
    }

    /// Calls `body` with the listpack; of a compressed node with a copy.
    pub(super) fn with<R>(&self, body: impl FnOnce(&Listpack) -> R) -> R {
        match self {
            Self::Open(node) => body(node),
            Self::Shut(shut) => body(&shut.open()),
        }
    }

    /// The node, open from now on.
    #[inline]
    pub(super) fn open(&mut self) -> &mut Node {
        if let Self::Shut(shut) = self {
            *self = Self::Open(shut.open().into());
        }
        match self {
            Self::Open(node) => node,
            Self::Shut(_) => unreachable!("opened above"),
        }
    }

    /// Compresses it, where that saves anything.
    pub(super) fn shut(&mut self) {
        let Self::Open(node) = self else { return };
        let total = node.total();
        if total < COMPRESSED_FROM {
            return;
        }
        let mut bytes = Vec::new();
        let packed = COMPRESSOR.with_borrow_mut(|compressor| {
            compressor.compress(node.as_bytes(), total - SAVED_AT_LEAST, &mut bytes)
        });
        if packed {
            let length = node.len();
            *self = Self::Shut(Box::new(Shut { bytes: bytes.into(), total, length }));
        }
    }

    /// The listpack.
    pub(super) fn into_pack(mut self) -> Listpack {
        self.open();
        match self {
            Self::Open(node) => node.into_pack(),
            Self::Shut(_) => unreachable!("opened above"),
        }
    }
}
