//! What Redstart's server and proxy share. Nothing here opens a socket outside [`net`].

pub mod client_filter;
pub mod client_tracking;
pub mod clock;
pub mod command;
pub mod crash;
pub mod glob;
pub mod hash;
pub mod histories;
pub mod log;
pub mod memory;
pub mod metric;
pub mod net;
pub mod number;
pub mod resp;
pub mod slot;
