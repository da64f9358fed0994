//! Process tests of the server, one executable for all: linking is what a test run waits for.

mod aof;
mod busy_scripts;
mod clients;
mod config;
mod crash;
mod differential;
mod disk;
mod docs;
mod effects;
mod functions;
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
mod saving;
mod scripts;
mod snapshots;
mod start;
mod users;
mod waiting;
