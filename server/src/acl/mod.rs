//! Users and what they may do.
//!
//! A client of a user who may do everything carries no mark, and costs nothing to check; any other is marked
//! [`Flags::RESTRICTED`], and each of its calls is looked at. Marks are set anew whenever a user changes.

pub mod describe;
pub mod file;
pub mod line;
pub mod log;
mod rule;
pub mod selector;
#[cfg(test)]
mod tests;
pub mod user;

use std::collections::BTreeMap;

use log::Log;
use user::User;

pub use rule::{RuleError, join_selectors};

/// All users by name, and what they were refused.
#[derive(Debug)]
pub struct Users {
    by_name: BTreeMap<Box<[u8]>, User>,
    /// What was refused lately.
    pub log: Log,
}

impl Users {
    /// The default user alone, with this password; none lets everybody in.
    #[must_use]
    pub fn new(password: &[u8], all_channels: bool) -> Self {
        let mut user = User::default_user(all_channels);
        user.set_password(password);
        Self { by_name: BTreeMap::from([(user.name.clone(), user)]), log: Log::default() }
    }

    /// The user with a name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&User> {
        self.by_name.get(name)
    }

    /// The user of connections that have not logged in.
    pub fn default_user(&mut self) -> &mut User {
        self.by_name.entry(b"default"[..].into()).or_insert_with(|| User::default_user(false))
    }

    /// Whether connections need not log in.
    #[must_use]
    pub fn open_to_all(&self) -> bool {
        self.get(b"default").is_some_and(|user| user.enabled && user.no_password)
    }

    /// All users by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &User> {
        self.by_name.values()
    }

    /// Adds a user, or puts it in the place of the one with its name.
    pub fn put(&mut self, user: User) {
        self.by_name.insert(user.name.clone(), user);
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }
}
