//! Values as bytes on disk and on the wire.

pub mod lzf;
pub mod state;
pub mod value;
mod ziplist;
