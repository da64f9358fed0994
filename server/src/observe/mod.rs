//! For who watches: INFO, memory, slow commands, latency, counters.

pub mod info;
pub mod latency;
pub mod memory;
pub mod rates;
pub mod redact;
pub mod slowlog;
pub mod stats;
