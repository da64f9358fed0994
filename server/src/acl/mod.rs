//! Users and what they may do.
//!
//! A client of a user who may do everything carries no mark, and costs nothing to check; any other is marked
//! [`Flags::RESTRICTED`], and each of its calls is looked at. Marks are set anew whenever a user changes.

pub mod describe;
pub mod file;
pub mod log;
pub mod selector;
#[cfg(test)]
mod tests;
pub mod user;

use std::collections::BTreeMap;
use std::rc::Rc;

use redstart_common::command::spec::CommandSpec;
use redstart_common::resp::Args;

use crate::client::{Client, Flags};
use crate::engine::Core;
use log::{Entry, Log, Reason};
use selector::{Denied, allows_channel};
use user::User;

/// What is wrong with a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleError {
    /// It is none.
    Syntax,
    /// No command or category has that name.
    Unknown,
    /// A pattern of keys where all are allowed.
    AfterAllKeys,
    /// A pattern of channels where all are allowed.
    AfterAllChannels,
    /// The user has no such password.
    NoSuchPassword,
    /// A hash is 64 hexadecimal digits.
    BadHash,
    /// A user is declared twice.
    Duplicate,
    /// Sub-commands are not told apart by their first argument.
    FirstArgOfSub,
}

impl RuleError {
    /// Redis's words for it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Syntax => "Syntax error",
            Self::Unknown => "Unknown command or category name in ACL",
            Self::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does \
                 not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and \
                 does not have any effect. Try 'resetchannels' to start with an empty list of \
                 channels"
            }
            Self::NoSuchPassword => {
                "The password you are trying to remove from the user does not exist"
            }
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase \
                 hexadecimal characters"
            }
            Self::Duplicate => {
                "Duplicate user found. A user can only be defined once in config files"
            }
            Self::FirstArgOfSub => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

/// Puts the words of a selector that was cut at its blanks together again.
///
/// # Errors
/// The place of a parenthesis that is not closed.
pub fn join_selectors<S: AsRef<[u8]>>(words: &[S]) -> Result<Vec<Vec<u8>>, usize> {
    let mut joined: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (place, word) in words.iter().enumerate() {
        let word = word.as_ref();
        let closes = word.last() == Some(&b')');
        if word.first() == Some(&b'(') && !closes {
            open = Some((place, word.to_vec()));
            continue;
        }
        match open.take() {
            None => joined.push(word.to_vec()),
            Some((start, mut rules)) => {
                rules.push(b' ');
                rules.extend_from_slice(word);
                if closes {
                    joined.push(rules);
                } else {
                    open = Some((start, rules));
                }
            }
        }
    }
    match open {
        None => Ok(joined),
        Some((place, _)) => Err(place),
    }
}

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

    fn remove(&mut self, name: &[u8]) -> bool {
        self.by_name.remove(name).is_some()
    }
}

impl Core {
    /// Makes a client one of a user.
    pub fn become_user(&self, client: &mut Client, name: &[u8]) {
        if *client.user != *name {
            client.user = Rc::from(name);
        }
        self.mark_restricted(client);
    }

    fn mark_restricted(&self, client: &mut Client) {
        if self.users.get(&client.user).is_some_and(User::allows_all) {
            client.flags.clear(Flags::RESTRICTED);
        } else {
            client.flags.set(Flags::RESTRICTED);
        }
    }

    /// Sets the marks of all clients anew. Where nobody needs to log in any more, those who have not are let in.
    pub fn users_changed(&mut self, current: &mut Client) {
        let Self { clients, users, .. } = self;
        let open = users.open_to_all();
        for client in clients.iter_mut().chain(std::iter::once(current)) {
            client.authenticated |= open && *client.user == *b"default";
            if users.get(&client.user).is_some_and(User::allows_all) {
                client.flags.clear(Flags::RESTRICTED);
            } else {
                client.flags.set(Flags::RESTRICTED);
            }
        }
    }

    /// Removes a user; its clients are closed. Answers whether there was one.
    pub fn remove_user(&mut self, name: &[u8], current: &mut Client) -> bool {
        if !self.users.remove(name) {
            return false;
        }
        for client in self.clients.iter_mut().filter(|client| *client.user == *name) {
            client.authenticated = false;
            client.close_asap();
        }
        if *current.user == *name {
            current.authenticated = false;
            current.flags.set(Flags::CLOSE_AFTER_REPLY);
        }
        true
    }

    /// Puts a changed user in its place; listeners to what it may hear no more are closed.
    pub fn change_user(&mut self, user: User, current: &mut Client) {
        if let Some(old) = self.users.get(&user.name) {
            let allowed: Vec<Box<[u8]>> = user
                .all_selectors()
                .flat_map(|selector| selector.channels.iter().cloned())
                .collect();
            let all = user.all_selectors().any(|selector| selector.all_channels);
            let kept = old.all_selectors().all(|selector| {
                !selector.all_channels && selector.channels.iter().all(|it| allowed.contains(it))
            });
            if !all && !kept {
                self.close_listeners(&user.name, &allowed, current);
            }
        }
        self.users.put(user);
        self.users_changed(current);
    }

    fn close_listeners(&mut self, name: &[u8], allowed: &[Box<[u8]>], current: &mut Client) {
        let forbidden = |client: &Client| {
            let heard = &client.channels;
            let plain = heard.channels.iter().chain(&heard.shards);
            heard.patterns.iter().any(|it| !allows_channel(allowed, it, true)) || { plain }
                .any(|it| !allows_channel(allowed, it, false))
        };
        for client in self.clients.iter_mut().filter(|client| *client.user == *name) {
            if client.flags.any(Flags::SUBSCRIBED) && forbidden(client) {
                client.close_asap();
            }
        }
        if *current.user == *name && current.flags.any(Flags::SUBSCRIBED) && forbidden(current) {
            current.flags.set(Flags::CLOSE_AFTER_REPLY);
        }
    }

    /// Logs a client in; wrong credentials are noted.
    pub fn log_in(&mut self, client: &mut Client, name: &[u8], password: &[u8], by: &[u8]) -> bool {
        if self.users.get(name).is_some_and(|user| user.accepts(password)) {
            client.authenticated = true;
            self.become_user(client, name);
            return true;
        }
        self.note_refusal(client, Reason::Auth, by.to_vec(), name.to_vec());
        false
    }

    fn note_refusal(&mut self, client: &Client, reason: Reason, object: Vec<u8>, user: Vec<u8>) {
        let at_ms = redstart_common::clock::unix_ms();
        let entry = Entry {
            count: 1,
            reason,
            in_multi: client.flags.any(Flags::MULTI.or(Flags::EXECUTING)),
            object,
            user,
            at_ms,
            client: crate::commands::client::describe(client, at_ms),
        };
        self.users.log.add(entry, self.settings.acllog_max_len);
    }

    /// Whether a client may read every key in a call that it may make.
    #[must_use]
    pub fn reads_all_keys(&self, client: &Client, row: &CommandSpec, args: Args<'_>) -> bool {
        !client.flags.any(Flags::RESTRICTED)
            || self.users.get(&client.user).is_some_and(|user| user.reads_all_keys(row, args))
    }

    /// Whether a marked client may make a call; a refusal is noted.
    ///
    /// # Errors
    /// What is forbidden about it.
    #[cold]
    pub fn check_user(
        &mut self,
        client: &Client,
        row: &'static CommandSpec,
        args: Args<'_>,
    ) -> Result<(), Denied> {
        // A client whose user is gone is about to be closed.
        let checked =
            self.users.get(&client.user).map_or(Err(Denied::Command), |user| user.check(row, args));
        if let Err(denied) = checked {
            let arg = |place: usize| args.get(place).unwrap_or_default().to_vec();
            let (reason, object) = match denied {
                Denied::Command => (Reason::Command, row.name.as_bytes().to_vec()),
                Denied::Key(place) => (Reason::Key, arg(place)),
                Denied::Channel(place) => (Reason::Channel, arg(place)),
            };
            self.note_refusal(client, reason, object, client.user.to_vec());
        }
        checked
    }
}
