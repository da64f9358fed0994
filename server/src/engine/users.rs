//! What the users of connected clients may do.

use std::rc::Rc;

use redstart_common::command::spec::CommandSpec;
use redstart_common::resp::Args;

use super::Core;
use crate::acl::log::{Context, Entry, Reason};
use crate::acl::selector::Denied;
use crate::acl::selector::allows_channel;
use crate::acl::user::User;
use crate::client::{Client, Flags};
use crate::settings::file::user_line;

impl Core {
    /// The lines of users in the configuration file; none where they have a file of their own.
    #[must_use]
    pub fn user_lines(&self) -> Vec<String> {
        let line_of = |user: &User| {
            let line = String::from_utf8_lossy(&user.line()).into_owned();
            user_line(&line.split(' ').skip(1).collect::<Vec<_>>())
        };
        match self.settings.aclfile.as_str() {
            "" => self.users.iter().map(line_of).collect(),
            _ => Vec::new(),
        }
    }

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
            context: if client.flags.any(Flags::SCRIPT) {
                Context::Script
            } else if client.flags.any(Flags::MULTI.or(Flags::EXECUTING)) {
                Context::Transaction
            } else {
                Context::Request
            },
            object,
            user,
            at_ms,
            client: crate::client::describe(client, at_ms),
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
