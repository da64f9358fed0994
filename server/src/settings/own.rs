//! Settings with rules of their own: how each is read and printed.

use redstart_common::number::{parse_i64, parse_memory};

use super::row::{read_bytes, read_number, single};
use super::{OutputLimits, Settings};
use crate::settings::notify::Classes;
use crate::text::system_words;

const INT_MAX: i64 = i32::MAX as i64;

pub(super) fn set_bind(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    // One value may hold several, as CONFIG SET gives them.
    let words: Vec<&str> = words.iter().flat_map(|word| word.split(' ')).collect();
    if words.len() > 16 {
        return Err("Too many bind addresses specified.".to_owned());
    }
    settings.bind =
        words.iter().filter(|word| !word.is_empty()).map(|word| (*word).to_owned()).collect();
    Ok(())
}

pub(super) fn set_socket_mode(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    match words {
        // As strtoll takes it, nothing is nought.
        [word] => match i64::from_str_radix(if word.is_empty() { "0" } else { word }, 8) {
            Ok(mode @ 0..=0o777) => {
                settings.unixsocketperm = mode as u32;
                Ok(())
            }
            Ok(_) => Err("argument must be between 0 and 777 inclusive".to_owned()),
            Err(_) => Err("argument couldn't be parsed as an octal number".to_owned()),
        },
        _ => Err("wrong number of arguments".to_owned()),
    }
}

pub(super) fn set_hz(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let hz = read_number(single(words).ok_or("wrong number of arguments")?)?;
    if !(0..=INT_MAX).contains(&hz) {
        return Err(format!("argument must be between 0 and {INT_MAX} inclusive"));
    }
    // What is no rate is brought near to one, as Redis does.
    settings.hz = hz.clamp(1, 500) as u32;
    Ok(())
}

pub(super) fn current_dir() -> String {
    std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default()
}

pub(super) fn set_dir(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    std::env::set_current_dir(word).map_err(|error| system_words(&error))?;
    settings.dir = word.to_owned();
    Ok(())
}

pub(super) fn set_events(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    settings.notify_keyspace_events = Classes::parse(word.as_bytes())
        .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

pub(super) fn print_output_limits(settings: &Settings) -> String {
    let classes = settings.client_output_buffer_limit;
    [("normal", classes.normal), ("slave", classes.replica), ("pubsub", classes.pubsub)]
        .iter()
        .map(|(name, limits)| {
            format!("{name} {} {} {}", limits.hard_bytes, limits.soft_bytes, limits.soft_seconds)
        })
        .collect::<Vec<_>>()
        .join(" ")
}

pub(super) fn set_output_limits(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut classes = settings.client_output_buffer_limit;
    for part in words.chunks_exact(4) {
        let wrong = || "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
        let limits = OutputLimits {
            hard_bytes: read_bytes(part[1]).map_err(|_| wrong())? as usize,
            soft_bytes: read_bytes(part[2]).map_err(|_| wrong())? as usize,
            soft_seconds: part[3].parse().map_err(|_| wrong())?,
        };
        match part[0].to_ascii_lowercase().as_str() {
            "normal" => classes.normal = limits,
            "slave" | "replica" => classes.replica = limits,
            "pubsub" => classes.pubsub = limits,
            _ => {
                return Err(
                    "Invalid client class specified in buffer limit configuration.".to_owned()
                );
            }
        }
    }
    settings.client_output_buffer_limit = classes;
    Ok(())
}

pub(super) fn print_save(settings: &Settings) -> String {
    let points = settings.save.iter().map(|(seconds, changes)| format!("{seconds} {changes}"));
    points.collect::<Vec<_>>().join(" ")
}

pub(super) fn set_title_template(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let template = single(words).ok_or("wrong number of arguments")?;
    if !super::title::is_valid(template, settings) {
        return Err("template format is invalid or contains unknown variables".to_owned());
    }
    settings.proc_title_template = template.to_owned();
    Ok(())
}

/// The primary as redis.conf names it.
pub(super) fn print_primary(settings: &Settings) -> String {
    let primary = settings.replication.replicaof.as_ref();
    primary.map_or_else(String::new, |(host, port)| format!("{host} {port}"))
}

/// The two words of a primary, or `no one`.
pub(super) fn set_primary(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let [host, port] = words else { return Err("wrong number of arguments".to_owned()) };
    settings.replication.replicaof =
        if host.eq_ignore_ascii_case("no") && port.eq_ignore_ascii_case("one") {
            None
        } else {
            let port = port.parse::<u16>().map_err(|_| "Invalid master port")?;
            Some(((*host).to_owned(), port))
        };
    Ok(())
}

/// The one word of a file's name, without a folder.
fn file_name(words: &[&str], wrong: &str) -> Result<String, String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    if word.contains('/') { Err(wrong.to_owned()) } else { Ok(word.to_owned()) }
}

pub(super) fn set_dbfilename(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let wrong = "dbfilename can't be a path, just a filename";
    settings.saving.dbfilename = file_name(words, wrong)?;
    Ok(())
}

pub(super) fn set_appendfilename(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    if single(words) == Some("") {
        return Err("appendfilename can't be empty".to_owned());
    }
    let wrong = "appendfilename can't be a path, just a filename";
    settings.saving.appendfilename = file_name(words, wrong)?;
    Ok(())
}

pub(super) fn set_appenddirname(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    if single(words) == Some("") {
        return Err("appenddirname can't be empty".to_owned());
    }
    let wrong = "appenddirname can't be a path, just a dirname";
    settings.saving.appenddirname = file_name(words, wrong)?;
    Ok(())
}

/// Several words are a line of a file and add to what is there; one word is the whole, as CONFIG SET gives it.
pub(super) fn set_save(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let parts: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let mut points = Vec::new();
    if !parts.len().is_multiple_of(2) {
        return Err("Invalid save parameters".to_owned());
    }
    for pair in parts.chunks_exact(2) {
        let number = |text: &str, least: i64| {
            parse_i64(text.as_bytes()).filter(|number| *number >= least && *number <= INT_MAX)
        };
        match (number(pair[0], 1), number(pair[1], 0)) {
            (Some(seconds), Some(changes)) => points.push((seconds, changes)),
            _ => return Err("Invalid save parameters".to_owned()),
        }
    }
    // The first line of a file takes the place of the defaults.
    if words.len() == 1 || !settings.save_given {
        settings.save.clear();
    }
    settings.save_given = true;
    settings.save.extend(points);
    Ok(())
}

pub(super) fn print_percentiles(settings: &Settings) -> String {
    let shares = &settings.latency_tracking_info_percentiles;
    shares.iter().map(f64::to_string).collect::<Vec<_>>().join(" ")
}

pub(super) fn set_percentiles(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let mut shares = Vec::new();
    for word in words.iter().flat_map(|word| word.split_ascii_whitespace()) {
        let share: f64 =
            word.parse().map_err(|_| "Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&share) {
            return Err(
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                    .to_owned(),
            );
        }
        shares.push(share);
    }
    settings.latency_tracking_info_percentiles = shares;
    Ok(())
}

/// Bytes, or a share of `maxmemory`, which is kept as a negative number.
pub(super) fn set_clients_limit(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let word = single(words).ok_or("wrong number of arguments")?;
    let wrong = "argument must be a memory or percent value";
    settings.maxmemory_clients = match word.strip_suffix('%') {
        Some(percent) => match percent.parse::<u32>().map_err(|_| wrong)? {
            percent @ 0..=100 => -i64::from(percent),
            _ => return Err("percentage argument must be less or equal to 100".to_owned()),
        },
        // As in Redis, the upper half of the range is the percentages.
        None => match parse_memory(word.as_bytes()).ok_or(wrong)?.cast_signed() {
            ..-100 => return Err("percentage argument must be less or equal to 100".to_owned()),
            bytes => bytes,
        },
    };
    Ok(())
}

pub(super) fn print_clients_limit(settings: &Settings) -> String {
    match settings.maxmemory_clients {
        percent @ ..0 => format!("{}%", -percent),
        bytes => bytes.to_string(),
    }
}

pub(super) fn print_adjustments(settings: &Settings) -> String {
    settings.oom_score_adj_values.map(|value| value.to_string()).join(" ")
}

pub(super) fn set_adjustments(settings: &mut Settings, words: &[&str]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let [first, second, third] = words[..] else {
        return Err("wrong number of arguments".to_owned());
    };
    let read = |word: &str| {
        let value = word.parse::<i32>().ok().filter(|value| (-2000..=2000).contains(value));
        value.ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")
    };
    settings.oom_score_adj_values = [read(first)?, read(second)?, read(third)?];
    Ok(())
}

/// What a signal's shutdown may be told, in the order in which it is shown.
const SHUTDOWN: [&str; 5] = ["save", "nosave", "now", "force", "safe"];

/// Which of them a signal is told: `save`, `nosave`, `now`, `force`, and `safe` of Valkey 9.
pub type Shutdown = [bool; 5];

pub(super) fn print_shutdown(chosen: &Shutdown) -> String {
    let words: Vec<&str> = SHUTDOWN
        .into_iter()
        .zip(chosen)
        .filter(|(_, chosen)| **chosen)
        .map(|(word, _)| word)
        .collect();
    if words.is_empty() { "default".to_owned() } else { words.join(" ") }
}

pub(super) fn read_shutdown(words: &[&str], into: &mut Shutdown) -> Result<(), String> {
    let words: Vec<&str> = words.iter().flat_map(|word| word.split_ascii_whitespace()).collect();
    let mut chosen = Shutdown::default();
    for word in &words {
        match SHUTDOWN.iter().position(|known| known.eq_ignore_ascii_case(word)) {
            Some(place) => chosen[place] = true,
            None if word.eq_ignore_ascii_case("default") => {}
            None => return Err(UNKNOWN_SHUTDOWN.to_owned()),
        }
    }
    match chosen {
        _ if words.is_empty() => Err(UNKNOWN_SHUTDOWN.to_owned()),
        [true, true, ..] => {
            Err("shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned())
        }
        _ => {
            *into = chosen;
            Ok(())
        }
    }
}

/// In the original's words, which know nothing of `safe`.
const UNKNOWN_SHUTDOWN: &str =
    "argument(s) must be one of the following: default, save, nosave, now, force";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_to_shut_down_are_shown_in_order() {
        for (words, shown) in [
            (&["default"][..], "default"),
            (&["FORCE", "nosave"], "nosave force"),
            (&["now default now"], "now"),
            (&["safe", "now"], "now safe"),
        ] {
            let mut chosen = [true; 5];
            read_shutdown(words, &mut chosen).expect("known");
            assert_eq!(print_shutdown(&chosen), shown);
        }
        let refused = |words| read_shutdown(words, &mut Shutdown::default()).err();
        assert_eq!(refused(&[""]).as_deref(), Some(UNKNOWN_SHUTDOWN));
        assert!(refused(&["save nosave"]).is_some() && refused(&["save"]).is_none());
    }
}
