//! Test harness: processes on free ports that end with the test, a client that speaks raw bytes, random commands.

pub mod cluster_support;
pub mod faulty_disk;
pub mod generator;
pub mod proxy_support;
pub mod server_support;
pub mod tls_support;
