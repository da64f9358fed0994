//! Process tests of the proxy, one executable for all: linking is what a test run waits for.

mod commands;
mod failover;
mod failures;
mod hash_tags;
mod interop;
mod kept;
mod large_values;
mod observe;
mod placement;
mod process;
mod pubsub;
mod scripts;
mod sentinels;
mod sessions;
mod statistics;
mod topology;
