//! For who watches: INFO, memory, slow commands, latency, counters.

pub mod command_log;
pub mod info;
pub mod latency;
pub mod memory;
pub mod rates;
pub mod redact;
pub mod slot_costs;
pub mod stats;
