//! `rename-command`: commands that answer to another name, or to none.
//!
//! The table of commands is made at compile time and knows their own names. Where something is renamed, a second
//! table of handlers lacks the commands that lost their names, so that a request by its own name costs what it costs
//! without any of this; a name that the first look-up does not serve is looked up here.

use std::collections::BTreeMap;

use redstart_common::command::{
    self, CommandId, CommandSpec, Mode, Resolved, lookup_in, lookup_sub,
};

/// What is renamed. Names are in lower case.
pub struct Renames {
    /// Whose table is served. Only a server's is what the first look-up knows.
    mode: Mode,
    /// The new names.
    names: BTreeMap<Vec<u8>, CommandId>,
    /// The commands that lost their own names.
    nameless: Vec<CommandId>,
}

impl Default for Renames {
    fn default() -> Self {
        Self::none(Mode::Server)
    }
}

impl Renames {
    /// Every command of a mode has its own name.
    #[must_use]
    pub fn none(mode: Mode) -> Self {
        Self { mode, names: BTreeMap::new(), nameless: Vec::new() }
    }

    /// Whose table is served.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Renames a command; an empty `to` takes its name away.
    ///
    /// # Errors
    /// When there is no such command by now, or the new name is taken. The words are Redis's.
    pub fn add(&mut self, from: &str, to: &str) -> Result<(), &'static str> {
        let id = self.find(from.as_bytes()).ok_or("No such command in rename-command")?;
        if self.names.remove(&from.to_ascii_lowercase().into_bytes()).is_none() {
            self.nameless.push(id);
        }
        if to.is_empty() {
            return Ok(());
        }
        if self.find(to.as_bytes()).is_some() {
            return Err("Target command name already exists");
        }
        self.names.insert(to.to_ascii_lowercase().into_bytes(), id);
        Ok(())
    }

    /// The renames of a configuration's lines, in their order.
    ///
    /// # Errors
    /// As [`Renames::add`].
    pub fn of(mode: Mode, lines: &[(String, String)]) -> Result<Self, &'static str> {
        let mut renames = Self::none(mode);
        for (from, to) in lines {
            renames.add(from, to)?;
        }
        Ok(renames)
    }

    /// Whether the first look-up finds every command: all have their own names, and they are a server's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nameless.is_empty() && self.mode == Mode::Server
    }

    /// The command that a name stands for, in any case of letters.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        match self.names.get(&name.to_ascii_lowercase()) {
            Some(id) => Some(*id),
            None => lookup_in(self.mode, name).filter(|id| !self.nameless.contains(id)),
        }
    }

    /// The row that decides about a request, from its first two arguments.
    #[must_use]
    pub fn resolve(&self, name: &[u8], second: Option<&[u8]>) -> Resolved {
        if self.is_empty() {
            return command::resolve(name, second);
        }
        let Some(id) = self.find(name) else { return Resolved::UnknownCommand };
        match second.filter(|_| id.spec().is_container()) {
            None => Resolved::Command(id),
            Some(sub) => lookup_sub(self.mode, id, sub)
                .map_or(Resolved::UnknownSubcommand(id), Resolved::Command),
        }
    }

    /// Whether a row, or its container, answers to its own name.
    #[must_use]
    pub fn keeps_name(&self, row: &CommandSpec) -> bool {
        let top = row.container.unwrap_or(row.id);
        if self.mode != Mode::Server {
            return false;
        }
        !self.nameless.contains(&top) || self.names.get(top.spec().name.as_bytes()) == Some(&top)
    }

    /// Whether a row of the top level answers to any name.
    #[must_use]
    pub fn has_name(&self, row: &CommandSpec) -> bool {
        !self.nameless.contains(&row.id) || self.names.values().any(|id| *id == row.id)
    }
}

#[cfg(test)]
mod tests {
    use redstart_common::command::id_of;

    use super::*;

    fn renames(lines: &[(&str, &str)]) -> Result<Renames, &'static str> {
        let lines: Vec<_> =
            lines.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        Renames::of(Mode::Server, &lines)
    }

    #[test]
    fn names_are_given_taken_and_exchanged() {
        let found =
            renames(&[("CONFIG", "Secret"), ("flushall", ""), ("get", "tmp"), ("set", "GET")])
                .expect("fine");
        assert_eq!(found.find(b"config"), None);
        assert_eq!(found.find(b"SECRET"), Some(id_of("config")));
        assert_eq!(found.resolve(b"secret", Some(b"get")), Resolved::Command(id_of("config|get")));
        assert_eq!(
            found.resolve(b"secret", Some(b"no")),
            Resolved::UnknownSubcommand(id_of("config"))
        );
        assert_eq!(found.find(b"get"), Some(id_of("set")));
        assert_eq!(found.find(b"set"), None);
        assert!(!found.has_name(id_of("flushall").spec()) && found.has_name(id_of("get").spec()));
        assert!(!found.keeps_name(id_of("config|get").spec()));
        let back = renames(&[("get", "x"), ("x", "get")]).expect("fine");
        assert_eq!(back.find(b"get"), Some(id_of("get")));
        assert!(back.keeps_name(id_of("get").spec()));
    }

    #[test]
    fn faults_are_told_in_redis_words() {
        let no_such = Some("No such command in rename-command");
        assert_eq!(renames(&[("nope", "x")]).err(), no_such);
        assert_eq!(renames(&[("get", ""), ("get", "x")]).err(), no_such);
        assert_eq!(renames(&[("config|get", "x")]).err(), no_such);
        assert_eq!(renames(&[("get", "set")]).err(), Some("Target command name already exists"));
        assert_eq!(renames(&[("get", "get")]).err(), None);
    }
}
