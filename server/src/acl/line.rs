//! `user` lines of redis.conf.

use super::rule::{RuleError, join_selectors};
use super::user::User;

/// Checks the words of a `user` line of redis.conf, without the first. Commands that do not exist are told later.
///
/// # Errors
/// What is wrong, as the configuration's reader tells it.
pub fn check_line(words: &[&str], known: &[Vec<String>]) -> Result<(), String> {
    let wrong = |word: &str, error: RuleError| {
        format!("Error in user declaration '{word}': {}", error.text())
    };
    let Some((name, rules)) = words.split_first() else {
        return Err(wrong("user", RuleError::Syntax));
    };
    if known.iter().any(|line| line.first().is_some_and(|it| it == name)) {
        return Err(wrong(name, RuleError::Duplicate));
    }
    let rules = join_selectors(rules).map_err(|place| wrong(rules[place], RuleError::Syntax))?;
    let mut user = User::new(name.as_bytes(), false);
    for rule in rules {
        match user.apply(&rule, false) {
            Ok(()) | Err(RuleError::Unknown) => {}
            Err(error) => return Err(wrong(&String::from_utf8_lossy(&rule), error)),
        }
    }
    Ok(())
}
