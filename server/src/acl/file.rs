//! Users in files: the ACL file, and `user` lines of redis.conf.

use std::path::Path;

use super::selector::has_spaces;
use super::user::User;
use super::{RuleError, Users, join_selectors};
use crate::settings::Settings;

/// The users that a start begins with: the default user, and those of the configuration.
///
/// # Errors
/// What is wrong, as the log tells it before the process ends.
pub fn users_at_start(settings: &Settings) -> Result<Users, String> {
    let all_channels = settings.acl_pubsub_all;
    let mut users = Users::new(settings.requirepass.as_bytes(), all_channels);
    if !settings.aclfile.is_empty() && !settings.users.is_empty() {
        return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL \
                    file path is invalid. This setup is very likely to lead to configuration errors \
                    and security holes, please define either an ACL file or declare users directly in \
                    your redis.conf, but not both."
            .to_owned());
    }
    for words in &settings.users {
        let Some((name, rules)) = words.split_first() else { continue };
        if has_spaces(name.as_bytes()) {
            return Err("Spaces not allowed in ACL usernames".to_owned());
        }
        let mut user = User::new(name.as_bytes(), all_channels);
        for rule in join_selectors(rules).unwrap_or_default() {
            user.apply(&rule, all_channels).map_err(|error| {
                format!(
                    "Error loading ACL rule '{}' for the user named '{name}': {}",
                    String::from_utf8_lossy(&rule),
                    error.text()
                )
            })?;
        }
        if !user.enabled {
            redstart_common::log!(
                Notice,
                "The user '{name}' is disabled (there is no 'on' modifier in the user description). \
                 Make sure this is not a configuration error."
            );
        }
        users.put(user);
    }
    if !settings.aclfile.is_empty() {
        users = load(&settings.aclfile, all_channels)
            .map_err(|errors| format!("Aborting Redis startup because of ACL errors: {errors}"))?;
    }
    Ok(users)
}

/// The users of an ACL file. A file without the default user gives the usual one.
///
/// # Errors
/// All that is wrong with the file, in Redis's words.
pub fn load(path: &str, all_channels: bool) -> Result<Users, String> {
    let bytes = std::fs::read(path).map_err(|error| {
        let reason = crate::text::system_words(&error);
        format!("Error loading ACLs, opening file '{path}': {reason}")
    })?;
    let mut users: Vec<User> = Vec::new();
    let mut errors = String::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let (Some(&b"user"), Some(name)) = (words.first(), words.get(1)) else {
            errors += &format!(
                "{path}:{number} should start with user keyword followed by the username. "
            );
            continue;
        };
        let shown = String::from_utf8_lossy(name);
        if has_spaces(name) {
            errors +=
                &format!("'{path}:{number}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if users.iter().any(|known| *known.name == **name) {
            errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
            continue;
        }
        let mut user = User::new(name, all_channels);
        let Ok(rules) = join_selectors(&words[2..]) else {
            errors += &format!("{path}:{number}: Unmatched parenthesis in selector definition.");
            continue;
        };
        let mut told = false;
        for rule in rules {
            let rule = rule.trim_ascii();
            match user.apply(rule, all_channels) {
                Ok(()) => {}
                // A name that is not known is no secret; other rules may be.
                Err(RuleError::Unknown) => {
                    errors += &format!(
                        "{path}:{number}: Error in applying operation '{}': {}. ",
                        String::from_utf8_lossy(rule),
                        RuleError::Unknown.text()
                    );
                }
                Err(error) if !told => {
                    errors += &format!("{path}:{number}: {}. ", error.text());
                    told = true;
                }
                Err(_) => {}
            }
        }
        users.push(user);
    }
    if !errors.is_empty() {
        return Err(errors
            + "WARNING: ACL errors detected, no change to the previously active ACL rules was \
               performed");
    }
    let mut all = Users::new(b"", all_channels);
    users.into_iter().for_each(|user| all.put(user));
    Ok(all)
}

/// Writes all users to a file.
///
/// # Errors
/// What the system says.
pub fn save(users: &Users, path: &str) -> std::io::Result<()> {
    let mut text = Vec::new();
    for user in users.iter() {
        text.extend_from_slice(&user.line());
        text.push(b'\n');
    }
    crate::process::disk::replace(Path::new(path), &text)
}
