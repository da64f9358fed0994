//! A user: who may say that it is him, and what he may do then.

use redstart_common::command::keys::KeyRef;
use redstart_common::command::spec::CommandSpec;
use redstart_common::resp::{Args, split_words};
use sha2::{Digest, Sha256};

use super::rule::RuleError;
use super::selector::{Denied, Selector};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: Box<[u8]>,
    /// Whether anybody may log in as it.
    pub enabled: bool,
    /// Whether any password will do.
    pub no_password: bool,
    /// Whether payloads of RESTORE are checked in depth, if that was ever said.
    pub sanitize: Option<bool>,
    /// SHA-256 of its passwords, in hexadecimal digits.
    pub passwords: Vec<String>,
    /// The rules at the root.
    pub root: Selector,
    /// Further sets of rules.
    pub selectors: Vec<Selector>,
}

/// SHA-256 in lower-case hexadecimal digits.
fn hash(password: &[u8]) -> String {
    Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_hash(text: &[u8]) -> Result<String, RuleError> {
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match std::str::from_utf8(text) {
        Ok(hash) if text.len() == 64 && text.iter().all(plain) => Ok(hash.to_owned()),
        _ => Err(RuleError::BadHash),
    }
}

/// Compares without telling by its duration where the two differ.
fn same(one: &str, other: &str) -> bool {
    let differs = one.bytes().zip(other.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b));
    one.len() == other.len() && differs == 0
}

impl User {
    /// A user who may do nothing, and who nobody can be.
    #[must_use]
    pub fn new(name: &[u8], all_channels: bool) -> Self {
        Self {
            name: name.into(),
            enabled: false,
            no_password: false,
            sanitize: None,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
        }
    }

    /// The user of connections that have not logged in: may do everything.
    #[must_use]
    pub fn default_user(all_channels: bool) -> Self {
        let mut user = Self::new(b"default", all_channels);
        user.enabled = true;
        user.no_password = true;
        for rule in [&b"+@all"[..], b"~*", b"&*"] {
            // These are rules.
            let _ = user.root.apply(rule);
        }
        user
    }

    /// Whether nothing is forbidden.
    #[must_use]
    pub fn allows_all(&self) -> bool {
        self.root.allows_all() || self.selectors.iter().any(Selector::allows_all)
    }

    /// All sets of rules.
    pub fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// The user's flags as words of rules.
    #[must_use]
    pub fn flag_words(&self) -> Vec<&'static str> {
        let mut words = vec![if self.enabled { "on" } else { "off" }];
        words.extend(self.no_password.then_some("nopass"));
        words.extend(self.sanitize.map(|deep| match deep {
            true => "sanitize-payload",
            false => "skip-sanitize-payload",
        }));
        words
    }

    /// Whether somebody who gives this password may be this user.
    #[must_use]
    pub fn accepts(&self, password: &[u8]) -> bool {
        if !self.enabled {
            return false;
        }
        let given = hash(password);
        let fits = self.passwords.iter().filter(|known| same(known, &given)).count();
        self.no_password || fits > 0
    }

    /// Sets the one password of the user; none lets everybody in.
    pub fn set_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.no_password = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }

    /// Applies one rule. `all_channels` says whether new sets of rules allow all channels (`acl-pubsub-default`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn apply(&mut self, rule: &[u8], all_channels: bool) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.enabled = true,
            _ if is("off") => self.enabled = false,
            _ if is("skip-sanitize-payload") => self.sanitize = Some(false),
            _ if is("sanitize-payload") => self.sanitize = Some(true),
            _ if is("nopass") => {
                self.no_password = true;
                self.passwords.clear();
            }
            _ if is("resetpass") => {
                self.no_password = false;
                self.passwords.clear();
            }
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', text @ ..] => self.add_password(read_hash(text)?),
            [b'<', password @ ..] => self.drop_password(&hash(password))?,
            [b'!', text @ ..] => self.drop_password(&read_hash(text)?)?,
            [b'(', rules @ .., b')'] => {
                let mut selector = Selector::new(all_channels);
                for rule in split_words(rules).unwrap_or_default() {
                    selector.apply(&rule)?;
                }
                self.selectors.push(selector);
            }
            _ if is("clearselectors") => self.selectors.clear(),
            _ if is("reset") => {
                *self = Self::new(&self.name, all_channels);
                self.sanitize = Some(true);
            }
            _ => self.root.apply(rule)?,
        }
        Ok(())
    }

    fn add_password(&mut self, hash: String) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.no_password = false;
    }

    fn drop_password(&mut self, hash: &str) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|known| known == hash);
        self.passwords.remove(place.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Whether one set of rules allows a call, and to read every key.
    #[must_use]
    pub fn reads_all_keys(&self, row: &CommandSpec, args: Args<'_>) -> bool {
        let mut keys = None;
        self.all_selectors().any(|selector| {
            selector.reads_all_keys() && selector.check(row, args, &mut keys).is_ok()
        })
    }

    /// Whether the user may make a call.
    ///
    /// # Errors
    /// What is forbidden about it: of all selectors' refusals the one that came farthest.
    pub fn check(&self, row: &CommandSpec, args: Args<'_>) -> Result<(), Denied> {
        let mut keys: Option<Vec<KeyRef>> = None;
        let mut refusal = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(row, args, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) => refusal = refusal.max(denied),
            }
        }
        Err(refusal)
    }
}
