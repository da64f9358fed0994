//! The latency monitor: what took longer than `latency-monitor-threshold`, by kind of event.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Instant;

use redstart_common::clock;

/// Samples kept of an event.
const SAMPLES_MAX: usize = 160;
/// Columns of a graph.
const COLUMNS: usize = 80;
/// Rows of a graph's curve.
const ROWS: usize = 4;
/// What fills the topmost cell of a column, from low to high.
const LEVELS: [u8; 3] = *b"_o#";

/// A second in which an event was slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since 1970.
    pub at_s: i64,
    /// The longest duration of that second, in milliseconds.
    pub ms: u64,
}

/// The slow seconds of one kind of event, oldest first.
#[derive(Debug, Default)]
pub struct Series {
    samples: VecDeque<Sample>,
    worst_ms: u64,
}

/// What can be said about a series.
struct Summary {
    count: u64,
    average_ms: u64,
    deviation_ms: u64,
    period_s: i64,
}

impl Series {
    fn add(&mut self, sample: Sample) {
        self.worst_ms = self.worst_ms.max(sample.ms);
        match self.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The latest sample; a series has at least one.
    #[must_use]
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// The longest duration ever, in milliseconds.
    #[must_use]
    pub fn worst_ms(&self) -> u64 {
        self.worst_ms
    }

    fn summary(&self, now_s: i64) -> Summary {
        let count = self.samples.len() as u64;
        let some = count.max(1);
        let average_ms = self.samples.iter().map(|sample| sample.ms).sum::<u64>() / some;
        let distance = |sample: &Sample| sample.ms.abs_diff(average_ms);
        let deviation_ms = self.samples.iter().map(distance).sum::<u64>() / some;
        let oldest = self.samples.front().map_or(now_s, |sample| sample.at_s);
        Summary { count, average_ms, deviation_ms, period_s: (now_s - oldest).max(1) }
    }

    /// The series as a drawing, the ages of its samples below it.
    fn draw(&self, event: &str, now_s: i64) -> String {
        let low = self.samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
        let high = self.samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
        let mut text = format!(
            "{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
            self.worst_ms,
            "-".repeat(COLUMNS)
        );
        let span = (high - low).max(1);
        let steps = (LEVELS.len() * ROWS) as u64;
        let columns: Vec<(u64, String)> = self
            .samples
            .iter()
            .map(|sample| {
                let step = ((sample.ms - low) * steps / span).min(steps - 1);
                (step, age(now_s - sample.at_s))
            })
            .collect();
        for (part, columns) in columns.chunks(COLUMNS).enumerate() {
            if part > 0 {
                text.push('\n');
            }
            for row in (0..ROWS).rev() {
                let floor = (row * LEVELS.len()) as u64;
                text.extend(columns.iter().map(|(step, _)| match step.checked_sub(floor) {
                    None => ' ',
                    Some(level) => LEVELS.get(level as usize).map_or('|', |byte| char::from(*byte)),
                }));
                text.push('\n');
            }
            text.extend(std::iter::repeat_n(' ', columns.len()));
            text.push('\n');
            let deepest = columns.iter().map(|(_, label)| label.len()).max().unwrap_or(0);
            for depth in 0..deepest {
                text.extend(columns.iter().map(|(_, label)| {
                    label.as_bytes().get(depth).map_or(' ', |byte| char::from(*byte))
                }));
                text.push('\n');
            }
        }
        text
    }
}

/// Seconds, minutes, hours or days, whichever is the largest that is not zero.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// What DOCTOR needs to know beside the samples.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// `latency-monitor-threshold`, in milliseconds.
    pub threshold_ms: u64,
    /// `slowlog-log-slower-than`, in microseconds; negative is off.
    pub slowlog_us: i64,
    /// `hz`.
    pub hz: u32,
}

/// All series, by event.
#[derive(Debug, Default)]
pub struct Monitor {
    series: BTreeMap<&'static str, Series>,
}

impl Monitor {
    /// Notes that `event` took `ms` just now.
    #[cold]
    pub fn add(&mut self, event: &'static str, ms: u64) {
        let at_s = clock::unix_ms() / 1000;
        self.series.entry(event).or_default().add(Sample { at_s, ms });
    }

    /// Forgets an event, or all of them. Answers how many there were.
    pub fn reset(&mut self, event: Option<&[u8]>) -> usize {
        let before = self.series.len();
        self.series.retain(|name, _| {
            event.is_some_and(|event| !name.as_bytes().eq_ignore_ascii_case(event))
        });
        before - self.series.len()
    }

    /// All series by event.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.series.iter().map(|(event, series)| (*event, series))
    }

    /// The series of an event.
    #[must_use]
    pub fn of(&self, event: &[u8]) -> Option<(&'static str, &Series)> {
        self.iter().find(|(name, _)| name.as_bytes() == event)
    }

    /// The drawing of an event.
    #[must_use]
    pub fn graph(&self, event: &[u8]) -> Option<String> {
        self.of(event).map(|(name, series)| series.draw(name, clock::unix_ms() / 1000))
    }

    /// What was slow, and what may help, for people to read.
    #[must_use]
    pub fn report(&self, now_s: i64, given: Circumstances) -> String {
        if self.series.is_empty() {
            return if given.threshold_ms == 0 {
                "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> \
                 switches it on.\n"
                    .to_owned()
            } else {
                "No event has taken as long as latency-monitor-threshold since the start or the \
                 last LATENCY RESET.\n"
                    .to_owned()
            };
        }
        let mut text = "Latency spikes by kind of event:\n\n".to_owned();
        let mut advice: Vec<String> = Vec::new();
        for (number, (event, series)) in self.iter().enumerate() {
            let found = series.summary(now_s);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{}. {event}: {} latency spikes (average {}ms, mean deviation {}ms, period {:.2} \
                 sec). Worst all time event {}ms.",
                number + 1,
                found.count,
                found.average_ms,
                found.deviation_ms,
                found.period_s as f64 / found.count.max(1) as f64,
                series.worst_ms
            );
            for line in advise(event, given) {
                if !advice.contains(&line) {
                    advice.push(line);
                }
            }
        }
        if !advice.is_empty() {
            text += "\nWhat may help:\n\n";
            for line in advice {
                let _ = writeln!(text, "- {line}");
            }
        }
        text
    }
}

fn advise(event: &str, given: Circumstances) -> Vec<String> {
    let large =
        "Values with many elements take long to delete, to expire or to evict: the lazyfree-* \
                 settings have them freed in another thread."
            .to_owned();
    match event {
        "command" => {
            let slow_us = given.threshold_ms * 1000;
            let mut lines = Vec::new();
            if given.slowlog_us < 0 || given.slowlog_us as u64 / 1000 > given.threshold_ms {
                lines.push(format!(
                    "The slow log does not show these commands: CONFIG SET slowlog-log-slower-than \
                     {slow_us}."
                ));
            }
            lines.push("SLOWLOG GET names the commands that took longest.".to_owned());
            lines.push(large);
            lines
        }
        "fast-command" => vec![
            "Commands that do little work took long, so the process did not get the processor in \
             time: look for other load on this machine or its host."
                .to_owned(),
        ],
        "expire-cycle" if given.hz < 100 => vec![
            "Many keys expire together: CONFIG SET hz 100 spreads the work over smaller steps."
                .to_owned(),
            large,
        ],
        "expire-cycle" | "expire-del" | "eviction-del" => vec![large],
        "eviction-cycle" => vec![
            "Much had to be evicted at once: maxmemory was lowered, or commands stored much at a \
             time."
                .to_owned(),
        ],
        _ => Vec::new(),
    }
}

/// Microseconds since `start`.
pub fn micros_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        samples.iter().for_each(|(at_s, ms)| series.add(Sample { at_s: *at_s, ms: *ms }));
        series
    }

    #[test]
    fn a_second_has_one_sample_and_old_ones_go() {
        let series = series(&[(10, 5), (10, 9), (10, 3), (11, 4)]);
        assert_eq!(series.samples.pairs(), [(10, 9), (11, 4)]);
        assert_eq!(series.worst_ms(), 9);
        let mut long = Series::default();
        (0..200).for_each(|at_s| long.add(Sample { at_s, ms: 1 }));
        assert_eq!(long.samples().len(), SAMPLES_MAX);
        assert_eq!(long.samples().next().map(|sample| sample.at_s), Some(40));
    }

    trait Contents {
        fn pairs(&self) -> Vec<(i64, u64)>;
    }

    impl Contents for VecDeque<Sample> {
        fn pairs(&self) -> Vec<(i64, u64)> {
            self.iter().map(|sample| (sample.at_s, sample.ms)).collect()
        }
    }

    #[test]
    fn a_summary_counts() {
        let found = series(&[(100, 10), (110, 20), (120, 30)]).summary(130);
        assert_eq!((found.count, found.average_ms, found.deviation_ms), (3, 20, 6));
        assert_eq!(found.period_s, 30);
    }

    #[test]
    fn a_graph_is_drawn_as_the_original_draws_it() {
        let now = 10_000;
        let samples = [(now - 4000, 100), (now - 130, 200), (now - 50, 500), (now - 2, 300)];
        let drawn = series(&samples).draw("command", now);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "command - high 500 ms, low 100 ms (all time high 500 ms)");
        assert_eq!(lines[1], "-".repeat(80));
        assert_eq!(&lines[2..], ["  # ", "  |_", " _||", "_|||", "    ", "1252", "hm0s", "  s "]);
    }

    #[test]
    fn reset_forgets() {
        let mut monitor = Monitor::default();
        monitor.add("command", 3);
        monitor.add("fast-command", 4);
        assert_eq!(monitor.reset(Some(b"nothing")), 0);
        assert_eq!(monitor.reset(Some(b"COMMAND")), 1);
        assert!(monitor.of(b"command").is_none() && monitor.graph(b"fast-command").is_some());
        assert_eq!(monitor.reset(None), 1);
        let given = Circumstances { threshold_ms: 1, slowlog_us: 0, hz: 10 };
        assert!(monitor.report(0, given).starts_with("No event"));
    }
}
