//! `oom-score-adj`: how gladly the kernel ends this process when memory runs out.

use std::sync::{Mutex, PoisonError};

use redstart_common::log;

use crate::settings::Settings;
use crate::settings::process::Adjustment;

const PATH: &str = "/proc/self/oom_score_adj";

/// The score that was found, while it is another. It is the process's, as the score is.
static FOUND: Mutex<Option<i32>> = Mutex::new(None);

/// The score to set, and what to remember as found, of the score of now and what was found.
fn plan(
    settings: &Settings,
    is_replica: bool,
    now: i32,
    found: Option<i32>,
) -> Option<(i32, Option<i32>)> {
    let base = found.unwrap_or(now);
    // The third is that of a process that saves, and there is none.
    let [primary, replica, _] = settings.oom_score_adj_values;
    let value = if is_replica { replica } else { primary };
    match settings.oom_score_adj {
        Adjustment::No => found.map(|found| (found, None)),
        Adjustment::Relative => Some(((base + value).clamp(-1000, 1000), Some(base))),
        Adjustment::Absolute => Some((value.clamp(-1000, 1000), Some(base))),
    }
}

/// Sets the score as the settings want it of a primary or a replica. Answers whether that worked; if not, the log says why.
pub fn apply(settings: &Settings, is_replica: bool) -> bool {
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if settings.oom_score_adj == Adjustment::No && found.is_none() {
        return true;
    }
    let now = match std::fs::read_to_string(PATH).map(|text| text.trim().parse()) {
        Ok(Ok(now)) => now,
        Ok(Err(error)) => {
            log!(Warning, "Unable to read oom_score_adj: {error}");
            return false;
        }
        Err(error) => {
            log!(Warning, "Unable to read oom_score_adj: {}", crate::text::system_words(&error));
            return false;
        }
    };
    let Some((score, remembered)) = plan(settings, is_replica, now, *found) else { return true };
    if let Err(error) = std::fs::write(PATH, format!("{score}\n")) {
        log!(Warning, "Unable to write oom_score_adj: {}", crate::text::system_words(&error));
        return false;
    }
    *found = remembered;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_the_base_and_comes_back() {
        let mut settings = Settings { oom_score_adj_values: [7, 0, 0], ..Settings::default() };
        assert_eq!(plan(&settings, false, 100, None), None);
        settings.oom_score_adj = Adjustment::Relative;
        assert_eq!(plan(&settings, false, 100, None), Some((107, Some(100))));
        assert_eq!(plan(&settings, false, 107, Some(100)), Some((107, Some(100))));
        settings.oom_score_adj_values = [2000, 3, 0];
        assert_eq!(plan(&settings, false, 107, Some(100)), Some((1000, Some(100))));
        assert_eq!(plan(&settings, true, 1000, Some(100)), Some((103, Some(100))));
        settings.oom_score_adj_values = [-5, 0, 0];
        settings.oom_score_adj = Adjustment::Absolute;
        assert_eq!(plan(&settings, false, 1000, Some(100)), Some((-5, Some(100))));
        settings.oom_score_adj = Adjustment::No;
        assert_eq!(plan(&settings, false, -5, Some(100)), Some((100, None)));
    }
}
