//! Test harness.

pub mod proxy_support;
