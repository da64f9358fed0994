//! The filters of CLIENT LIST and CLIENT KILL: those of Redis 7.0, and those that Redis 7.4 and Valkey 8.1 and 9 have added.
//!
//! Reading them and comparing a client with them is one thing for server and proxy. Who a client is, each of them says by
//! [`Facts`]; nothing here knows more of clients. All filters that are given must hold. One that is given twice counts as it
//! was given last, but for ids, which add up.

use crate::number::parse_i64;
use crate::resp::{Args, error};

/// What kind of connection a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An ordinary client, or one that watches what others ask.
    Normal,
    /// A replica of this server.
    Replica,
    /// This server's primary.
    Primary,
    /// It listens to channels.
    Pubsub,
}

impl Kind {
    /// The words for each; the older and the newer ones.
    const WORDS: [(&'static str, Self); 6] = [
        ("normal", Self::Normal),
        ("slave", Self::Replica),
        ("replica", Self::Replica),
        ("pubsub", Self::Pubsub),
        ("master", Self::Primary),
        ("primary", Self::Primary),
    ];

    fn named(word: &[u8]) -> Result<Self, Vec<u8>> {
        let found = Self::WORDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        found
            .map(|(_, kind)| *kind)
            .ok_or_else(|| error::about("ERR Unknown client type '", word, "'"))
    }
}

/// What is known of one client.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Its number.
    pub id: u64,
    /// Its kind.
    pub kind: Kind,
    /// Its user.
    pub user: &'a [u8],
    /// Where it comes from: `ip:port`, or a path and `:0`.
    pub address: &'a [u8],
    /// Where it came in.
    pub local_address: &'a [u8],
    /// Milliseconds since it came.
    pub age_ms: i64,
    /// Milliseconds since it last asked.
    pub idle_ms: i64,
    /// Its name; empty is none.
    pub name: &'a [u8],
    /// The letters that CLIENT LIST shows.
    pub flags: String,
    /// Its library's name and version; empty is none.
    pub library: [&'a [u8]; 2],
    /// Its database.
    pub db: usize,
    /// The letters of what it says it can do.
    pub capabilities: &'static str,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Ids(Vec<u64>),
    Kind(Kind),
    User(Box<[u8]>),
    Address(Box<[u8]>),
    LocalAddress(Box<[u8]>),
    /// At least so many seconds.
    Age(i64),
    /// At least so many seconds.
    Idle(i64),
    Name(Box<[u8]>),
    Flags(Box<[u8]>),
    LibraryName(Box<[u8]>),
    LibraryVersion(Box<[u8]>),
    Db(usize),
    Capabilities(Box<[u8]>),
    Ip(Box<[u8]>),
}

impl Test {
    fn holds(&self, facts: &Facts<'_>) -> bool {
        // What a client has not, no text equals, the empty one neither.
        let is = |has: &[u8], wanted: &[u8]| !has.is_empty() && has == wanted;
        let has_all =
            |has: &str, wanted: &[u8]| wanted.iter().all(|it| has.as_bytes().contains(it));
        let at_least = |ms: i64, seconds: i64| ms / 1000 >= seconds;
        match self {
            Self::Ids(ids) => ids.contains(&facts.id),
            Self::Kind(kind) => facts.kind == *kind,
            Self::User(user) => facts.user == &**user,
            Self::Address(address) => facts.address == &**address,
            Self::LocalAddress(address) => facts.local_address == &**address,
            Self::Age(seconds) => at_least(facts.age_ms, *seconds),
            Self::Idle(seconds) => at_least(facts.idle_ms, *seconds),
            Self::Name(name) => is(facts.name, name),
            Self::Flags(flags) => has_all(&facts.flags, flags),
            Self::LibraryName(name) => is(facts.library[0], name),
            Self::LibraryVersion(version) => is(facts.library[1], version),
            Self::Db(db) => facts.db == *db,
            Self::Capabilities(letters) => has_all(facts.capabilities, letters),
            Self::Ip(ip) => ip_of(facts.address) == Some(ip),
        }
    }

    fn is_alike(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The IP address of `ip:port`; none of a Unix socket's path.
fn ip_of(address: &[u8]) -> Option<&[u8]> {
    let colon = address.iter().rposition(|byte| *byte == b':')?;
    let (ip, port) = (&address[..colon], &address[colon + 1..]);
    if port.first() == Some(&b'0') {
        return None;
    }
    Some(ip.strip_prefix(b"[").and_then(|ip| ip.strip_suffix(b"]")).unwrap_or(ip))
}

/// Which of the two commands is read; they word one refusal differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// CLIENT LIST.
    List,
    /// CLIENT KILL in its form with filters.
    Kill,
}

/// What filters may name.
pub struct Known<'a> {
    /// Whether there is a user of this name.
    pub user: &'a dyn Fn(&[u8]) -> bool,
    /// How many databases there are.
    pub databases: usize,
}

/// Conditions on clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Each with whether it must hold, or must not.
    tests: Vec<(bool, Test)>,
    /// Whether the client that asks is left out, where it was said.
    pub skip_me: Option<bool>,
}

/// Reads a filter's value; the last argument is whether the condition must hold, which two refusals tell.
type Read = fn(&[u8], &Known<'_>, bool) -> Result<Test, Vec<u8>>;

/// A filter's name and what its value is read into.
struct Word {
    name: &'static str,
    read: Read,
    /// Whether there is a form with `NOT-` in front.
    negates: bool,
}

const fn text(name: &'static str, read: Read) -> Word {
    Word { name, read, negates: true }
}

/// The filters with one value, but for SKIPME.
const WORDS: &[Word] = &[
    text("TYPE", |value, _, _| Kind::named(value).map(Test::Kind)),
    text("USER", |value, known, _| {
        if (known.user)(value) {
            Ok(Test::User(value.into()))
        } else {
            Err(error::about("ERR No such user '", value, "'"))
        }
    }),
    text("ADDR", |value, _, _| Ok(Test::Address(value.into()))),
    text("LADDR", |value, _, _| Ok(Test::LocalAddress(value.into()))),
    Word {
        name: "MAXAGE",
        negates: false,
        read: |value, _, _| seconds("maxage", value).map(Test::Age),
    },
    Word {
        name: "IDLE",
        negates: false,
        read: |value, _, _| seconds("idle", value).map(Test::Idle),
    },
    text("NAME", |value, _, _| Ok(Test::Name(value.into()))),
    text("FLAGS", |value, _, wanted| {
        letters("flags", b"OSMPxbtRBdcuAUreTIN", value, wanted, "NOT-FLAGS").map(Test::Flags)
    }),
    text("LIB-NAME", |value, _, _| Ok(Test::LibraryName(value.into()))),
    text("LIB-VER", |value, _, _| Ok(Test::LibraryVersion(value.into()))),
    text("DB", |value, known, wanted| {
        let name = if wanted { "DB" } else { "NOT-DB" };
        let number = parse_i64(value).filter(|number| i32::try_from(*number).is_ok());
        let number =
            number.ok_or_else(|| format!("ERR {name} is not an integer or out of range"))?;
        let db = usize::try_from(number).ok().filter(|db| *db < known.databases);
        let last = known.databases.saturating_sub(1);
        let out = || format!("ERR {name} number should be between 0 and {last}").into();
        db.map(Test::Db).ok_or_else(out)
    }),
    text("CAPA", |value, _, wanted| {
        letters("capa", b"r", value, wanted, "NOT-CAPA").map(Test::Capabilities)
    }),
    text("IP", |value, _, _| Ok(Test::Ip(value.into()))),
];

fn seconds(what: &str, value: &[u8]) -> Result<i64, Vec<u8>> {
    let number =
        parse_i64(value).ok_or_else(|| format!("ERR {what} is not an integer or out of range"))?;
    if number <= 0 {
        return Err(format!("ERR {what} should be greater than 0").into());
    }
    Ok(number)
}

/// Letters, each of which is known.
fn letters(
    what: &str,
    known: &[u8],
    value: &[u8],
    wanted: bool,
    negated: &str,
) -> Result<Box<[u8]>, Vec<u8>> {
    if value.iter().all(|letter| known.contains(letter)) {
        return Ok(value.into());
    }
    let place = if wanted { "provided" } else { negated };
    Err(error::about(&format!("ERR Unknown {what} found in the {place} filter: "), value, ""))
}

/// The filter of this name, and whether it must hold.
fn word(name: &[u8]) -> Option<(&'static Word, bool)> {
    let is = |word: &&Word, name: &[u8]| name.eq_ignore_ascii_case(word.name.as_bytes());
    if let Some(word) = WORDS.iter().find(|word| is(word, name)) {
        return Some((word, true));
    }
    let (not, rest) = name.split_at_checked(4)?;
    let word = WORDS.iter().find(|word| word.negates && is(word, rest))?;
    not.eq_ignore_ascii_case(b"NOT-").then_some((word, false))
}

/// Whether a name is that of ids, and if so whether they are wanted.
fn ids_wanted(name: &[u8]) -> Option<bool> {
    match name {
        _ if name.eq_ignore_ascii_case(b"ID") => Some(true),
        _ if name.eq_ignore_ascii_case(b"NOT-ID") => Some(false),
        _ => None,
    }
}

impl Filter {
    /// The filter of CLIENT KILL's old form: an address.
    #[must_use]
    pub fn of_address(address: &[u8]) -> Self {
        Self { tests: vec![(true, Test::Address(address.into()))], skip_me: Some(false) }
    }

    /// Reads what stands behind `CLIENT LIST` or `CLIENT KILL`.
    ///
    /// # Errors
    /// With the text of the refusal.
    pub fn read(args: Args<'_>, command: Command, known: &Known<'_>) -> Result<Self, Vec<u8>> {
        let mut filter = Self::default();
        let mut at = 2;
        while let Some(name) = args.get(at) {
            at += 1;
            if let Some(wanted) = ids_wanted(name) {
                at = filter.read_ids(args, at, wanted, command)?;
                continue;
            }
            let value = args.get(at).ok_or(error::SYNTAX)?;
            at += 1;
            if name.eq_ignore_ascii_case(b"SKIPME") {
                filter.skip_me = match value {
                    _ if value.eq_ignore_ascii_case(b"yes") => Some(true),
                    _ if value.eq_ignore_ascii_case(b"no") => Some(false),
                    _ => return Err(error::SYNTAX.into()),
                };
                continue;
            }
            let (word, wanted) = word(name).ok_or(error::SYNTAX)?;
            let test = (word.read)(value, known, wanted)?;
            filter.tests.retain(|(was_wanted, old)| *was_wanted != wanted || !old.is_alike(&test));
            filter.tests.push((wanted, test));
        }
        Ok(filter)
    }

    /// Reads ids up to the next filter, and answers where that begins.
    fn read_ids(
        &mut self,
        args: Args<'_>,
        first: usize,
        wanted: bool,
        command: Command,
    ) -> Result<usize, Vec<u8>> {
        let wrong = match command {
            Command::List => "ERR Invalid client ID",
            Command::Kill => "ERR client-id should be greater than 0",
        };
        let mut ids = Vec::new();
        let mut at = first;
        while let Some(text) = args.get(at) {
            let next = || {
                let is_skip_me = text.eq_ignore_ascii_case(b"SKIPME");
                is_skip_me || word(text).is_some() || ids_wanted(text).is_some()
            };
            match parse_i64(text) {
                Some(id) if id > 0 => ids.push(id.unsigned_abs()),
                None if !ids.is_empty() && next() => break,
                // Where ids were always many, the word is a wrong one; else it is a wrong filter.
                None if !ids.is_empty() && command == Command::Kill => {
                    return Err(error::SYNTAX.into());
                }
                _ => return Err(wrong.into()),
            }
            at += 1;
        }
        if ids.is_empty() {
            return Err(error::SYNTAX.into());
        }
        let old = self.tests.iter_mut().find_map(|(was_wanted, test)| match test {
            Test::Ids(old) if *was_wanted == wanted => Some(old),
            _ => None,
        });
        match old {
            Some(old) => old.append(&mut ids),
            None => self.tests.push((wanted, Test::Ids(ids))),
        }
        Ok(at)
    }

    /// The ids that are wanted, in the order in which they were given; none where any is.
    #[must_use]
    pub fn ids(&self) -> Option<&[u64]> {
        self.tests.iter().find_map(|(wanted, test)| match test {
            Test::Ids(ids) if *wanted => Some(&**ids),
            _ => None,
        })
    }

    /// Whether all conditions hold for a client. Who asks is another matter.
    #[must_use]
    pub fn fits(&self, facts: &Facts<'_>) -> bool {
        self.tests.iter().all(|(wanted, test)| test.holds(facts) == *wanted)
    }
}

#[cfg(test)]
#[path = "client_filter_tests.rs"]
mod tests;
