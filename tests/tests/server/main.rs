//! Process tests of the server, one executable for all: linking is what a test run waits for.

mod aof;
mod clients;
mod config;
mod crash;
mod differential;
mod disk;
mod docs;
mod effects;
mod geo;
mod hostile;
mod interop;
mod memory;
mod migrate;
mod open_rows;
mod output;
mod pipelines;
mod process;
mod rdb;
mod replication;
mod reports;
mod saving;
mod snapshots;
mod spill;
mod start;
mod users;
mod waiting;
