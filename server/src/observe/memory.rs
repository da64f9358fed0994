//! Where memory goes: what INFO, MEMORY STATS and MEMORY DOCTOR read.

use redstart_common::memory;
use redstart_common::net::buffer;

use crate::client::Client;
use crate::client::allocated_bytes;
use crate::engine::Core;
use crate::keyspace::Keyspace;
use crate::process::allocator;

/// A look at memory; sizes are in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Overview {
    /// In use.
    pub used: usize,
    /// The most that was ever seen in use.
    pub peak: usize,
    /// In use before there was any data.
    pub startup: usize,
    /// What the process has of the machine's memory.
    pub resident: usize,
    /// What clients take: their state and their buffers.
    pub clients: usize,
    /// All that is not data.
    pub overhead: usize,
    /// Data.
    pub dataset: usize,
    /// Keys in all databases.
    pub keys: usize,
    /// What the allocator says.
    pub allocator: allocator::Statistics,
}

/// A part of a whole: how many times it, and how many bytes more.
#[derive(Debug, Clone, Copy)]
pub struct Excess {
    /// Times.
    pub ratio: f64,
    /// Bytes; negative when it is less.
    pub bytes: i64,
}

impl Excess {
    fn of(more: usize, less: usize) -> Self {
        Self { ratio: more as f64 / less.max(1) as f64, bytes: more as i64 - less as i64 }
    }
}

/// Bytes in use. Spare buffers for replies are free memory that is kept at hand, as the allocator keeps some: they do not
/// count, or a large reply would cost keys after it was sent.
#[must_use]
pub fn used_bytes() -> usize {
    memory::used_bytes().saturating_sub(buffer::spare_bytes())
}

impl Overview {
    /// Looks; `client` is the one that is being served.
    #[must_use]
    pub fn of(keyspace: &Keyspace, core: &Core, client: &Client) -> Self {
        let used = used_bytes();
        let peak = core.memory_peak.get().max(used);
        core.memory_peak.set(peak);
        let clients = core.clients.iter().chain(std::iter::once(client)).map(allocated_bytes).sum();
        let tables: usize = keyspace.dbs.iter().map(crate::keyspace::Db::table_bytes).sum();
        let overhead = core.memory_at_start + tables + clients;
        Self {
            used,
            peak,
            startup: core.memory_at_start,
            resident: resident_bytes(),
            clients,
            overhead,
            dataset: used.saturating_sub(overhead),
            keys: keyspace.len(),
            allocator: allocator::statistics(),
        }
    }

    /// What was added since the start; at least 1.
    fn net(&self) -> usize {
        self.used.saturating_sub(self.startup).max(1)
    }

    /// The share of data in what was added since the start.
    #[must_use]
    pub fn dataset_percent(&self) -> f64 {
        (self.dataset as f64 * 100.0 / self.net() as f64).min(100.0)
    }

    /// What is in use, as a share of the peak.
    #[must_use]
    pub fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak.max(1) as f64
    }

    /// What a key takes, with all that was added since the start.
    #[must_use]
    pub fn bytes_per_key(&self) -> usize {
        self.net().checked_div(self.keys).unwrap_or(0)
    }

    /// Pages in use above bytes in use: fragmentation.
    #[must_use]
    pub fn fragmentation(&self) -> Excess {
        Excess::of(self.allocator.active, self.allocator.allocated)
    }

    /// Pages the allocator keeps above those in use.
    #[must_use]
    pub fn kept_pages(&self) -> Excess {
        Excess::of(self.allocator.resident, self.allocator.active)
    }

    /// What the process has above what the allocator has.
    #[must_use]
    pub fn beside_allocator(&self) -> Excess {
        Excess::of(self.resident, self.allocator.resident)
    }

    /// What the process has above what is in use.
    #[must_use]
    pub fn total(&self) -> Excess {
        Excess::of(self.resident, self.used)
    }

    /// What may be wrong, for people to read.
    #[must_use]
    pub fn report(&self, client_count: usize) -> String {
        const SMALL: usize = 5 << 20;
        const MUCH: i64 = 10 << 20;
        const CLIENT_MUCH: usize = 200 << 10;
        if self.used < SMALL {
            return "This instance holds too little data for its memory to be judged.\n".to_owned();
        }
        let above = |excess: Excess, ratio| excess.ratio > ratio && excess.bytes > MUCH;
        let mut found = Vec::new();
        if self.peak as f64 / self.used as f64 > 1.5 {
            found.push(
                "Peak memory: more than half as much again as now was once in use. The allocator may \
                 keep pages from that time; MEMORY PURGE gives back those that are empty.",
            );
        }
        if above(self.total(), 1.4) {
            found.push(
                "Resident memory: the process has more than 1.4 times what its data takes, after a \
                 peak or by fragmentation.",
            );
        }
        if above(self.fragmentation(), 1.1) {
            found.push(
                "Fragmentation: pages in use are more than 1.1 times the bytes in use, after a peak \
                 or by values of many sizes that come and go.",
            );
        }
        if above(self.kept_pages(), 1.1) {
            found.push(
                "Kept pages: the allocator keeps more than 1.1 times the pages in use; MEMORY PURGE \
                 gives them back.",
            );
        }
        if above(self.beside_allocator(), 1.1) {
            found.push("Other memory: the process has more than 1.1 times what its allocator has.");
        }
        if self.clients / client_count.max(1) > CLIENT_MUCH {
            found.push(
                "Clients: they take more than 200 KB each, for they ask for much or read slowly; see \
                 tot-mem in CLIENT LIST.",
            );
        }
        if found.is_empty() {
            return "Nothing is wrong with the memory of this instance.\n".to_owned();
        }
        let lines: String = found.iter().map(|line| format!(" * {line}\n")).collect();
        format!("What was found about the memory of this instance:\n\n{lines}")
    }
}

/// What the process has of the machine's memory, in bytes.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_ascii_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overview(used: usize, peak: usize, resident: usize) -> Overview {
        let allocator = allocator::Statistics { allocated: used, active: used, resident: used };
        let (startup, clients, overhead) = (1 << 20, 0, 2 << 20);
        let dataset = used.saturating_sub(overhead);
        Overview { used, peak, startup, resident, clients, overhead, dataset, keys: 10, allocator }
    }

    #[test]
    fn shares_and_excesses() {
        let found = overview(11 << 20, 22 << 20, 22 << 20);
        assert_eq!(found.bytes_per_key(), 1 << 20);
        assert!((found.peak_percent() - 50.0).abs() < 1e-9);
        assert!((found.dataset_percent() - 90.0).abs() < 1e-9);
        assert!((found.total().ratio - 2.0).abs() < 1e-9);
        assert_eq!(found.total().bytes, 11 << 20);
    }

    #[test]
    fn the_report_names_what_is_wrong_and_only_that() {
        assert!(overview(1 << 20, 1 << 20, 1 << 20).report(1).contains("too little"));
        assert!(overview(50 << 20, 50 << 20, 50 << 20).report(1).starts_with("Nothing is wrong"));
        let peak = overview(50 << 20, 100 << 20, 51 << 20).report(1);
        assert!(peak.contains("Peak memory") && !peak.contains("Resident"), "{peak}");
        let mut busy = overview(50 << 20, 50 << 20, 50 << 20);
        busy.clients = 1 << 20;
        assert!(busy.report(2).contains("Clients:"));
        assert!(!busy.report(10).contains("Clients:"));
    }
}
