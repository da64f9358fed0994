//! Process tests of the proxy, one executable for all: linking is what a test run waits for.

mod cluster;
mod cluster_sessions;
mod command_table;
mod commands;
mod databases;
mod down;
mod failover;
mod failures;
mod fallback;
mod hash_tags;
mod interop;
mod kept;
mod large_values;
mod load;
mod observe;
mod operators;
mod placement;
mod process;
mod pubsub;
mod reads;
mod scripts;
mod sentinels;
mod sessions;
mod statistics;
mod topology;
mod tracking;
