//! The command logs: the latest commands that took long, and those whose requests or replies were large.

use std::collections::VecDeque;

use redstart_common::resp::Args;

/// What a log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// Time, in microseconds: the slow log.
    Slow,
    /// Bytes of the request.
    LargeRequest,
    /// Bytes of the reply.
    LargeReply,
}

impl About {
    /// All logs, by their names in COMMANDLOG.
    pub const NAMES: [(&'static str, Self); 3] = [
        ("slow", Self::Slow),
        ("large-request", Self::LargeRequest),
        ("large-reply", Self::LargeReply),
    ];
}

/// One command of a log.
pub struct Noted {
    /// Unique in its log, ever growing.
    pub id: u64,
    /// When it ran, in seconds since 1970.
    pub at_s: i64,
    /// What it is noted for: microseconds or bytes.
    pub amount: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// Who asked.
    pub address: String,
    /// The name of who asked.
    pub name: Vec<u8>,
}

/// From which amounts on commands are noted; what nothing is noted for has no amount that reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Microseconds.
    pub us: u64,
    /// Bytes of a request.
    pub request_bytes: u64,
    /// Bytes of a reply.
    pub reply_bytes: u64,
}

impl Limits {
    /// Nothing is noted.
    pub const NONE: Self = Self { us: u64::MAX, request_bytes: u64::MAX, reply_bytes: u64::MAX };
}

/// All logs.
#[derive(Default)]
pub struct CommandLogs([CommandLog; 3]);

impl CommandLogs {
    /// A log.
    #[must_use]
    pub fn of(&self, about: About) -> &CommandLog {
        &self.0[about as usize]
    }

    /// A log, to change it.
    pub fn of_mut(&mut self, about: About) -> &mut CommandLog {
        &mut self.0[about as usize]
    }
}

/// The latest commands that are noted for one reason, newest first.
#[derive(Default)]
pub struct CommandLog {
    entries: VecDeque<Noted>,
    next_id: u64,
    length_max: usize,
    /// Arguments kept of an entry; the last says how many more there were.
    args_max: usize,
    /// Bytes kept of an argument.
    arg_bytes_max: usize,
}

fn shorten(arg: &[u8], most: usize) -> Vec<u8> {
    if arg.len() <= most {
        return arg.to_vec();
    }
    let mut text = arg[..most].to_vec();
    let more = arg.len() - most;
    text.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
    text
}

impl CommandLog {
    /// Adds a command, forgetting the oldest beyond the length. Arguments at the places of `secrets` are not shown.
    pub fn add(
        &mut self,
        amount: u64,
        args: Args<'_>,
        secrets: &[usize],
        address: &str,
        name: &[u8],
    ) {
        let (most, bytes) = (self.args_max, self.arg_bytes_max);
        let mut kept: Vec<Vec<u8>> =
            args.iter().take(most).map(|arg| shorten(arg, bytes)).collect();
        for place in secrets {
            if let Some(secret) = kept.get_mut(*place) {
                *secret = crate::observe::redact::REDACTED.to_vec();
            }
        }
        if args.len() > most
            && let Some(last) = kept.last_mut()
        {
            let more = args.len() - most + 1;
            *last = format!("... ({more} more arguments)").into_bytes();
        }
        self.entries.push_front(Noted {
            id: self.next_id,
            at_s: redstart_common::clock::unix_ms() / 1000,
            amount,
            args: kept,
            address: address.to_owned(),
            name: name.to_vec(),
        });
        self.next_id += 1;
        self.entries.truncate(self.length_max);
    }

    /// Sets how many arguments of an entry are kept, and how many bytes of each.
    pub fn set_extent(&mut self, args_max: usize, arg_bytes_max: usize) {
        (self.args_max, self.arg_bytes_max) = (args_max, arg_bytes_max);
    }

    /// Sets how many entries are kept.
    pub fn set_length(&mut self, length_max: usize) {
        self.length_max = length_max;
        self.entries.truncate(length_max);
    }

    /// The entries, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Noted> {
        self.entries.iter()
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
