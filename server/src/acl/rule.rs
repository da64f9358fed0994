//! Rules of users: what may be wrong with one, and putting together those that were cut.

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
