//! Counting on the hot path: plain per-thread counters and fixed-bucket histograms that cost a memory write,
//! read by INFO, the JSON stats port and Prometheus alike.

mod histogram;

pub use histogram::Histogram;
