//! The way in and out, once a turn: connections read, what was read is executed together, and output is sent. The
//! regular work is here as well.

pub mod ahead;
pub mod arrivals;
pub mod bus;
pub mod busy;
pub mod connection;
pub mod cron;
pub mod incoming;
pub mod intake;
pub mod link;
pub mod relay;
pub mod saving;
pub mod sentinel;
pub mod slots;
pub mod spill;
