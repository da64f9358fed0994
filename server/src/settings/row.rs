//! What a setting is: its name, when it may change, and how its text is read and printed.

use redstart_common::number::{parse_i64, parse_memory};

use super::Settings;

/// When a setting may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At any time.
    Live,
    /// Before the start only.
    Start,
    /// Before the start, and later where `enable-protected-configs` allows.
    Protected,
}

/// A setting's value: how to find, read and print it.
pub enum Kind {
    /// `yes` or `no`.
    Bool { get: fn(&Settings) -> bool, set: fn(&mut Settings, bool) },
    /// A whole number within bounds.
    Number { get: fn(&Settings) -> i64, set: fn(&mut Settings, i64), min: i64, max: i64 },
    /// Bytes, with an optional unit.
    Bytes { get: fn(&Settings) -> usize, set: fn(&mut Settings, usize), min: usize, max: usize },
    /// Text as it is.
    Text { get: fn(&Settings) -> &str, set: fn(&mut Settings, String) },
    /// One of some words.
    Word {
        words: &'static [&'static str],
        get: fn(&Settings) -> &'static str,
        set: fn(&mut Settings, &str),
    },
    /// Anything that has rules of its own.
    Own { get: fn(&Settings) -> String, set: fn(&mut Settings, &[&str]) -> Result<(), String> },
    /// A parameter of a feature that is off: kept and shown. The text is its default.
    Dormant(&'static str, Shape),
    /// A switch of a feature that is not built yet: only this value is taken.
    Only(&'static str, &'static str),
}

/// A setting.
pub struct Row {
    /// Its name in redis.conf.
    pub name: &'static str,
    /// Its older name.
    pub alias: Option<&'static str>,
    /// When it may change.
    pub when: When,
    /// Its value.
    pub kind: Kind,
}

/// What values a parameter of a feature that is off may have.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// `yes` or `no`.
    Flag,
    /// A whole number within bounds.
    Number(i64, i64),
    /// Bytes within bounds, with an optional unit.
    Bytes(i64, i64),
    /// One of some words.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

impl Shape {
    /// The text to keep of the words of a configuration line.
    fn read(self, words: &[&str]) -> Result<String, String> {
        let only = || single(words).ok_or_else(|| "wrong number of arguments".to_owned());
        let within = |value: i64, min: i64, max: i64| {
            if (min..=max).contains(&value) {
                Ok(value.to_string())
            } else {
                Err(format!("argument must be between {min} and {max} inclusive"))
            }
        };
        match self {
            Self::Text => Ok(only()?.to_owned()),
            Self::Flag => Ok(if read_flag(only()?)? { "yes" } else { "no" }.to_owned()),
            Self::Number(min, max) => within(read_number(only()?)?, min, max),
            Self::Bytes(min, max) => {
                let bytes = read_bytes(only()?)?;
                // No parameter that takes more than fits is among these.
                within(i64::try_from(bytes).unwrap_or(-1), min, max)
            }
            Self::Words(known) => read_word(only()?, known),
        }
    }
}

fn read_flag(word: &str) -> Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".to_owned()),
    }
}

pub(super) fn read_number(word: &str) -> Result<i64, String> {
    parse_i64(word.as_bytes())
        .ok_or_else(|| "argument couldn't be parsed into an integer".to_owned())
}

fn read_word(word: &str, known: &[&str]) -> Result<String, String> {
    let word = word.to_ascii_lowercase();
    if known.contains(&word.as_str()) {
        Ok(word)
    } else {
        Err(format!("argument(s) must be one of the following: {}", known.join(", ")))
    }
}

/// The one word, where there is but one.
pub(super) fn single<'w>(words: &[&'w str]) -> Option<&'w str> {
    match words {
        [word] => Some(word),
        _ => None,
    }
}

/// Bytes with an optional unit, as redis.conf has them.
pub(super) fn read_bytes(word: &str) -> Result<u64, String> {
    parse_memory(word.as_bytes()).ok_or_else(|| "argument must be a memory value".to_owned())
}

impl Row {
    /// The value as CONFIG GET prints it.
    #[must_use]
    pub fn print(&self, settings: &Settings) -> String {
        match &self.kind {
            Kind::Bool { get, .. } => if get(settings) { "yes" } else { "no" }.to_owned(),
            Kind::Number { get, .. } => get(settings).to_string(),
            Kind::Bytes { get, .. } => get(settings).to_string(),
            Kind::Text { get, .. } => get(settings).to_owned(),
            Kind::Word { get, .. } => get(settings).to_owned(),
            Kind::Own { get, .. } => get(settings),
            Kind::Dormant(default, _) => {
                settings.dormant.get(self.name).cloned().unwrap_or_else(|| (*default).to_owned())
            }
            Kind::Only(value, _) => (*value).to_owned(),
        }
    }

    /// Reads the value from the words of a configuration line or the value of CONFIG SET.
    ///
    /// # Errors
    /// What is wrong with it, in Redis's words where Redis has them.
    pub fn parse(&self, settings: &mut Settings, words: &[&str]) -> Result<(), String> {
        let only = || single(words).ok_or_else(|| "wrong number of arguments".to_owned());
        match &self.kind {
            Kind::Bool { set, .. } => set(settings, read_flag(only()?)?),
            Kind::Number { set, min, max, .. } => {
                let value = read_number(only()?)?;
                if value < *min || value > *max {
                    return Err(format!("argument must be between {min} and {max} inclusive"));
                }
                set(settings, value);
            }
            Kind::Bytes { set, min, max, .. } => {
                let value = read_bytes(only()?)? as usize;
                if value < *min || value > *max {
                    return Err(format!("argument must be between {min} and {max} inclusive"));
                }
                set(settings, value);
            }
            Kind::Text { set, .. } => set(settings, only()?.to_owned()),
            Kind::Word { words: known, set, .. } => {
                set(settings, &read_word(only()?, known)?);
            }
            Kind::Own { set, .. } => set(settings, words)?,
            Kind::Dormant(_, shape) => {
                settings.dormant.insert(self.name, shape.read(words)?);
            }
            Kind::Only(value, what) => {
                if !only()?.eq_ignore_ascii_case(value) {
                    return Err(format!("Redstart does not support {what} yet"));
                }
            }
        }
        Ok(())
    }
}
