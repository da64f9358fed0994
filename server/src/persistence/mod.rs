//! Values as bytes on disk and on the wire.

pub mod lzf;
pub mod rdb;
pub mod value;
mod ziplist;
mod zipmap;
