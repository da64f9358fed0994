//! The RDB format: the data of a server as one file or stream.
//!
//! ```text
//!   engine:  begin, select, entry …, end ─▶ Draft ─▶ writer thread:  Finisher ─▶ SaveFile, socket
//!            (bytes as they lie)                     (LZF, checksum)
//!   file, socket ─▶ Decoder ─▶ Item
//! ```
//!
//! What is written is version 10, which redis-server 7.0 reads. What is read is every version up to 12 and Valkey's 80,
//! with all forms that values ever had; what this server has no type for is refused by its name ([`Feature`]).

pub mod batch;
mod bloom;
pub mod check;
mod decode;
mod encode;
mod error;
mod file;
mod finish;
mod foreign;
mod format;
mod input;
mod slicer;
mod stream;
pub(super) mod value;

#[cfg(test)]
mod tests;

pub use decode::{Checksum, Decoded, Decoder, Item, Options, Usage};
pub use encode::{
    About, Draft, Replication, SLOTS_ASIDE, Text, aux, begin, end, entry, function, select,
};
pub use error::{Feature, LoadError, Problem};
pub use file::{SaveError, SaveFile, SaveStep};
pub use finish::{Finisher, compressed};
pub use format::{VERSION, VERSION_FIELD_DEADLINES, VERSION_MAX, VERSION_NAMES};
pub use slicer::{Content, Slicer};

pub(super) use error::Fault;
pub(super) use format::{CRC, kind, opcode};
pub(super) use input::Slice;
