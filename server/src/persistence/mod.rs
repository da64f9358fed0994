//! Values as bytes on disk and on the wire.

pub mod aof;
pub mod lzf;
pub mod value;
mod ziplist;
