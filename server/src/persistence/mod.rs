//! Values and whole data sets as bytes on disk and on the wire.

pub mod aof;
pub mod functions;
pub mod logging;
pub mod rdb;
pub mod save;
pub mod saver;
pub mod snapshot;
pub mod spill;
pub mod state;
pub mod value;
mod ziplist;
mod zipmap;
