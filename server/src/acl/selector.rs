//! What a user may do: one set of rules. A user has one at the root, and may have more; one that allows a call is
//! enough.

use std::sync::atomic::{AtomicBool, Ordering};

use redstart_common::command::keys::{self, KeyRef};
use redstart_common::command::spec::Channels;
use redstart_common::command::spec::{Categories, CommandSpec, Flags as RowFlags, KeyFlags};
use redstart_common::command::{CommandId, Mode, commands, lookup_full_name};
use redstart_common::glob;
use redstart_common::resp::Args;

use super::rule::RuleError;

/// Whether the rules of this process are about a sentinel's commands.
static IS_SENTINEL: AtomicBool = AtomicBool::new(false);

/// Has all rules be about a sentinel's commands from now on: for a process that acts as one, before it has users.
pub fn be_about_sentinels() {
    IS_SENTINEL.store(true, Ordering::Relaxed);
}

fn mode() -> Mode {
    if IS_SENTINEL.load(Ordering::Relaxed) { Mode::Sentinel } else { Mode::Server }
}

/// All rows that rules may be about, sub-commands included.
pub fn rows() -> impl Iterator<Item = &'static CommandSpec> + Clone {
    commands(mode()).flat_map(|row| std::iter::once(row).chain(row.subcommands()))
}

/// A set of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSet(Vec<u64>);

impl CommandSet {
    /// None, or all that there are.
    #[must_use]
    pub fn filled(with_all: bool) -> Self {
        let words = redstart_common::command::count().div_ceil(64);
        Self(vec![if with_all { u64::MAX } else { 0 }; words])
    }

    /// Whether a command is in it.
    #[must_use]
    pub fn has(&self, id: CommandId) -> bool {
        self.0[id.index() / 64] & (1 << (id.index() % 64)) != 0
    }

    fn put(&mut self, id: CommandId, there: bool) {
        let (word, bit) = (&mut self.0[id.index() / 64], 1 << (id.index() % 64));
        if there {
            *word |= bit;
        } else {
            *word &= !bit;
        }
    }

    /// Adds or takes out a command, and its sub-commands with it.
    pub fn change(&mut self, row: &CommandSpec, there: bool) {
        self.put(row.id, there);
        row.subcommands().iter().for_each(|sub| self.put(sub.id, there));
    }

    /// Adds or takes out a category.
    pub fn change_category(&mut self, category: Categories, there: bool) {
        for row in rows().filter(|row| row.categories.intersects(category)) {
            self.change(row, there);
        }
    }
}

/// Keys that may be read, written or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    /// The pattern.
    pub glob: Box<[u8]>,
    /// Keys that fit may be read.
    pub read: bool,
    /// Keys that fit may be written.
    pub write: bool,
}

impl KeyPattern {
    /// As a rule.
    #[must_use]
    pub fn rule(&self) -> Vec<u8> {
        let head: &[u8] = match (self.read, self.write) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        };
        [head, &self.glob].concat()
    }
}

/// Why a call is refused, and by which argument. The order is that of Redis: the last kind is told first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command itself.
    Command,
    /// The key at this place.
    Key(usize),
    /// The channel at this place.
    Channel(usize),
}

/// A set of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// All keys, for reading and writing.
    pub all_keys: bool,
    /// All channels.
    pub all_channels: bool,
    /// All commands: none has been taken away since `+@all`.
    pub all_commands: bool,
    /// Commands that do not exist yet as well.
    pub future_commands: bool,
    /// Commands.
    pub commands: CommandSet,
    /// Commands that are allowed with certain first arguments only.
    pub first_args: Vec<(CommandId, Vec<Box<[u8]>>)>,
    /// Keys.
    pub patterns: Vec<KeyPattern>,
    /// Channels.
    pub channels: Vec<Box<[u8]>>,
}

/// Whether a name or pattern holds what ends words.
#[must_use]
pub fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, 0 | b' ' | b'\t'..=b'\r'))
}

impl Selector {
    /// Nothing is allowed, but for all channels if so wished.
    #[must_use]
    pub fn new(all_channels: bool) -> Self {
        Self {
            all_keys: false,
            all_channels,
            all_commands: false,
            future_commands: false,
            commands: CommandSet::filled(false),
            first_args: Vec::new(),
            patterns: Vec::new(),
            channels: Vec::new(),
        }
    }

    /// Whether nothing is forbidden.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Applies one rule.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || is("~*") {
            self.all_keys = true;
            self.patterns.clear();
        } else if is("resetkeys") {
            self.all_keys = false;
            self.patterns.clear();
        } else if is("allchannels") || is("&*") {
            self.all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(false);
        } else {
            match rule {
                [b'~', glob @ ..] => self.add_pattern(glob, true, true)?,
                [b'%', rest @ ..] => self.add_limited_pattern(rest)?,
                [b'&', glob @ ..] => self.add_channel(glob)?,
                [b'+', b'@', category @ ..] => self.change_category(category, true)?,
                [b'-', b'@', category @ ..] => self.change_category(category, false)?,
                [b'+', name @ ..] => self.allow(name)?,
                [b'-', name @ ..] => {
                    let id = lookup_full_name(mode(), name).ok_or(RuleError::Unknown)?;
                    self.change(id, false);
                }
                _ => return Err(RuleError::Syntax),
            }
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allowed: bool) {
        self.commands = CommandSet::filled(allowed);
        self.all_commands = allowed;
        self.future_commands = allowed;
        self.first_args.clear();
    }

    fn add_pattern(&mut self, glob: &[u8], read: bool, write: bool) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        if has_spaces(glob) {
            return Err(RuleError::Syntax);
        }
        match self.patterns.iter_mut().find(|known| *known.glob == *glob) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.patterns.push(KeyPattern { glob: glob.into(), read, write }),
        }
        Ok(())
    }

    /// `%R~pattern`, `%W~pattern`, `%RW~pattern`, without the `%`.
    fn add_limited_pattern(&mut self, rest: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        // Without a pattern it is the empty one.
        let end = rest.iter().position(|byte| *byte == b'~').unwrap_or(rest.len());
        let (mut read, mut write) = (false, false);
        for letter in &rest[..end] {
            match letter.to_ascii_uppercase() {
                b'R' if !read => read = true,
                b'W' if !write => write = true,
                _ => return Err(RuleError::Syntax),
            }
        }
        if !read && !write {
            return Err(RuleError::Syntax);
        }
        self.add_pattern(rest.get(end + 1..).unwrap_or_default(), read, write)
    }

    fn add_channel(&mut self, glob: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(glob) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| **known == *glob) {
            self.channels.push(glob.into());
        }
        Ok(())
    }

    fn change_category(&mut self, name: &[u8], allowed: bool) -> Result<(), RuleError> {
        let category = Categories::of_word(name).ok_or(RuleError::Unknown)?;
        for row in rows().filter(|row| row.categories.intersects(category)) {
            self.change(row.id, allowed);
        }
        Ok(())
    }

    fn change(&mut self, id: CommandId, allowed: bool) {
        self.commands.change(id.spec(), allowed);
        self.all_commands &= allowed;
        self.first_args.retain(|(known, _)| *known != id);
    }

    /// `+command`, `+container|sub` or `+command|first-argument`, without the `+`.
    fn allow(&mut self, name: &[u8]) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|byte| *byte == b'|') else {
            let id = lookup_full_name(mode(), name).ok_or(RuleError::Unknown)?;
            self.change(id, true);
            return Ok(());
        };
        let (command, sub) = (&name[..bar], &name[bar + 1..]);
        let id = lookup_full_name(mode(), command).ok_or(RuleError::Unknown)?;
        if id.spec().container.is_some() {
            return Err(RuleError::FirstArgOfSub);
        }
        if sub.is_empty() {
            return Err(RuleError::Syntax);
        }
        if !id.spec().subcommands().is_empty() {
            let id = lookup_full_name(mode(), name).ok_or(RuleError::Unknown)?;
            self.change(id, true);
            return Ok(());
        }
        redstart_common::log!(
            Warning,
            "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse \
             of ACL and may get disabled in the future (offender: +{})",
            String::from_utf8_lossy(name)
        );
        let place = match self.first_args.iter().position(|(known, _)| *known == id) {
            Some(place) => place,
            None => {
                self.first_args.push((id, Vec::new()));
                self.first_args.len() - 1
            }
        };
        let args = &mut self.first_args[place].1;
        if !args.iter().any(|known| known.eq_ignore_ascii_case(sub)) {
            args.push(sub.into());
        }
        Ok(())
    }

    /// Whether every key may be read.
    #[must_use]
    pub fn reads_all_keys(&self) -> bool {
        self.all_keys || self.patterns.iter().any(|it| it.read && *it.glob == *b"*")
    }

    /// Whether a call is allowed. `keys` keeps the call's keys from one selector to the next.
    ///
    /// # Errors
    /// What is forbidden about it.
    pub fn check(
        &self,
        row: &CommandSpec,
        args: Args<'_>,
        keys: &mut Option<Vec<KeyRef>>,
    ) -> Result<(), Denied> {
        let free = self.all_commands || row.flags.contains(RowFlags::NO_AUTH);
        if !free && !self.commands.has(row.id) && !self.allows_first_arg(row, args) {
            return Err(Denied::Command);
        }
        if !self.all_keys {
            let keys = keys.get_or_insert_with(|| {
                let mut found = Vec::new();
                keys::with_flags(row, args, &mut found);
                found
            });
            for key in keys {
                let place = key.position as usize;
                if !self.allows_key(args.get(place).unwrap_or_default(), key.flags) {
                    return Err(Denied::Key(place));
                }
            }
        }
        if !self.all_channels {
            let literal = row.channels == Channels::SubscribePatterns;
            if literal || matches!(row.channels, Channels::Subscribe | Channels::Publish) {
                for place in keys::channels(row, args) {
                    let channel = args.get(place).unwrap_or_default();
                    if !allows_channel(&self.channels, channel, literal) {
                        return Err(Denied::Channel(place));
                    }
                }
            }
        }
        Ok(())
    }

    fn allows_first_arg(&self, row: &CommandSpec, args: Args<'_>) -> bool {
        let place = if row.container.is_some() { 2 } else { 1 };
        let Some(given) = args.get(place) else { return false };
        let known = self.first_args.iter().find(|(id, _)| *id == row.id);
        known.is_some_and(|(_, args)| args.iter().any(|arg| arg.eq_ignore_ascii_case(given)))
    }

    fn allows_key(&self, key: &[u8], done: KeyFlags) -> bool {
        let writing = KeyFlags::INSERT.or(KeyFlags::DELETE).or(KeyFlags::UPDATE);
        let reads = done.contains(KeyFlags::ACCESS);
        let writes = done.intersects(writing);
        self.patterns.iter().any(|pattern| {
            (pattern.read || !reads)
                && (pattern.write || !writes)
                && glob::matches(&pattern.glob, key, false)
        })
    }
}

/// Whether a channel, or a pattern of channels, is among those allowed. Patterns must be allowed word for word.
#[must_use]
pub fn allows_channel(allowed: &[Box<[u8]>], channel: &[u8], literal: bool) -> bool {
    allowed.iter().any(|pattern| {
        if literal { **pattern == *channel } else { glob::matches(pattern, channel, false) }
    })
}
