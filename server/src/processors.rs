//! Which processors the threads of the process run on: `server_cpulist` and its kin. Whoever begins a thread has it say what
//! it works at; where nothing is configured that costs nothing.

use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What a thread works at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Clients: `server_cpulist`.
    Serving,
    /// What may wait, such as syncing files and freeing memory: `bio_cpulist`.
    Background,
    /// Rewriting the append-only file: `aof_rewrite_cpulist`.
    LogBase,
    /// Writing snapshots: `bgsave_cpulist`.
    Dump,
}

/// The lists as they are configured, by [`Work`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lists(pub [String; 4]);

struct Pinning {
    /// Where the process may run as a whole.
    all: CpuSet,
    of: [Option<CpuSet>; 4],
}

static PINNING: OnceLock<Pinning> = OnceLock::new();

/// Reads a list as Redis does: `0,2,4-7,8-14:2`, with blanks or commas between; numbers, ranges, and ranges with a step.
/// Processors that cannot be are left out.
#[must_use]
pub fn parse(list: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.split([' ', ',']).filter(|part| !part.is_empty()) {
        let (range, step) = match part.split_once(':') {
            Some((range, step)) => (range, step.parse().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?),
            None if step != 1 => return None,
            None => (range.parse().ok()?, range.parse().ok()?),
        };
        let last = last.min(CpuSet::MAX_CPU - 1);
        found.extend((first..=last).step_by(step));
    }
    (!found.is_empty()).then_some(found)
}

/// Takes the lists over, before there are threads. Answers the lists that cannot be read, which do not count.
pub fn configure(lists: &Lists) -> Vec<&str> {
    if lists.0.iter().all(String::is_empty) {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    let of = [0, 1, 2, 3].map(|at| {
        let list = lists.0[at].as_str();
        let cpus = parse(list);
        if cpus.is_none() && !list.is_empty() {
            wrong.push(list);
        }
        cpus.map(|cpus| {
            let mut set = CpuSet::new();
            cpus.into_iter().for_each(|cpu| set.set(cpu));
            set
        })
    });
    if let Ok(all) = sched_getaffinity(None) {
        // It is set once, at the start.
        let _ = PINNING.set(Pinning { all, of });
    }
    wrong
}

/// The thread that calls works at this from now on. Threads without a list of their own run where the process may, not where the
/// thread does that began them.
pub fn enter(work: Work) {
    let Some(pinning) = PINNING.get() else { return };
    let set = pinning.of[work as usize].as_ref().unwrap_or(&pinning.all);
    // A list of processors that are not there is refused by the system, as in Redis without a word.
    let _ = sched_setaffinity(None, set);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_redis_reads_them() {
        for (list, cpus) in [
            ("0", &[0][..]),
            ("0,2,3", &[0, 2, 3]),
            ("0-3", &[0, 1, 2, 3]),
            ("1 3-4,8-14:3", &[1, 3, 4, 8, 11, 14]),
            (", 7,", &[7]),
        ] {
            assert_eq!(parse(list).as_deref(), Some(cpus), "{list}");
        }
        for list in ["", " ", "a", "1-", "-1", "1-b", "1:2", "1-3:0", "1-3:x"] {
            assert_eq!(parse(list), None, "{list}");
        }
        assert_eq!(parse("5-3"), None);
        assert_eq!(parse("0-99999999").map(|all| all.len()), Some(CpuSet::MAX_CPU));
    }
}
