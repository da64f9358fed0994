//! One endpoint over many Redis servers.
//!
//! ```text
//!   socket ─▶ client::task ─▶ client::dispatch ─▶ route ─▶ client::forward ─▶ backend::pipeline ─▶ server ─┐
//!   socket ◀─ output ◀─ client::pending ◀─ gather ◀─ backend::connection ◀─────────────────────────────────┘
//! ```

#![forbid(unsafe_code)]

pub mod arrivals;
pub mod backend;
pub mod cli;
pub mod client;
pub mod clock;
pub mod control;
pub mod data_folder;
pub mod downstream;
pub mod embedded;
pub mod gather;
pub mod local;
pub mod metrics;
pub mod output;
pub mod proxy;
pub mod pubsub;
pub mod reconcile;
pub mod route;
pub mod scripts;
pub mod settings;
#[cfg(test)]
mod simulate;
pub mod stats;
pub mod stats_page;
pub mod tally;
pub mod texts;
mod tick;
pub mod topology;
pub mod tracking;
pub mod worker;
