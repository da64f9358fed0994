//! What becomes of a request that had a connection of its own, when that connection or its server is lost. It decides and
//! does no more.
//!
//! ```text
//!                     not sent, or the server     its keys lie at       sent, and no reply
//!                     said that it has not run    another node
//!   WATCH             again, elsewhere            again, there          again, elsewhere
//!   a further WATCH   an error                    OK, and EXEC          an error
//!                                                 answers nil
//!   EXEC after WATCH  nil: what was watched       nil                   an error: it may have run
//!                     may have changed
//!   another EXEC      an error                    an error              an error: it may have run
//!   waiting, reads    again, elsewhere            again, there          again, elsewhere; an error where it asked
//!                                                                       for what is new only
//!   waiting, takes    again, elsewhere            again, there          an error: it may have taken
//! ```
//!
//! Again is only where the pool lets requests wait for a server (`failover_hold`), or a node of a cluster says where; else
//! the client is told.

use redstart_common::command::CommandSpec;
use redstart_common::command::spec::Flags;
use redstart_common::resp::Args;

/// What a client does on a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// WATCH.
    Watch {
        /// Whether it is the first since the last transaction: what others watch is lost with their connection.
        first: bool,
    },
    /// EXEC of a transaction.
    Exec {
        /// Whether it watches keys.
        watches: bool,
    },
    /// It waits for something to happen.
    Wait {
        /// Whether it only reads, and would find later what it missed.
        repeatable: bool,
    },
}

impl Doing {
    /// A command that may wait.
    #[must_use]
    pub fn waiting(row: &CommandSpec, args: Args<'_>) -> Self {
        let reads = row.flags.contains(Flags::READONLY);
        Self::Wait { repeatable: reads && !args.iter().skip(1).any(|word| word == b"$") }
    }
}

/// How far a request had come when its connection or server was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It never left.
    Unsent,
    /// The server said that it has not run and will not.
    Refused,
    /// A node of a cluster said that its keys lie elsewhere, or nowhere: it has not run.
    Redirected,
    /// It was sent, and nobody knows.
    Sent,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is sent again, to whoever serves its keys then.
    Again,
    /// It is answered by null, as EXEC is when a watched key has changed.
    Nil,
    /// It is answered as if it had run: EXEC will tell that what was watched before may have changed.
    Void,
    /// Its client is told what happened.
    Told,
}

/// Decides.
#[must_use]
pub fn fate(doing: Doing, loss: Loss, may_wait: bool) -> Fate {
    match (doing, loss) {
        // What a server says itself of a transaction is the client's to hear.
        (Doing::Exec { watches: true }, Loss::Unsent | Loss::Redirected) => Fate::Nil,
        (Doing::Watch { first: false }, Loss::Redirected) => Fate::Void,
        (Doing::Watch { first: true } | Doing::Wait { .. }, Loss::Redirected) => Fate::Again,
        (Doing::Exec { .. }, _) => Fate::Told,
        (Doing::Wait { repeatable: false }, Loss::Sent) => Fate::Told,
        (Doing::Watch { first: true } | Doing::Wait { .. }, _) if may_wait => Fate::Again,
        (Doing::Watch { .. } | Doing::Wait { .. }, _) => Fate::Told,
    }
}

/// Whether a reply to a request that waits says that it has not run, for its server is no primary (any more), not ready, or a
/// node of a cluster on which the keys do not lie.
#[must_use]
pub fn has_not_run(reply: &[u8]) -> bool {
    reply.first() == Some(&b'-')
        && (crate::backend::again::is_turned_away(reply)
            || reply.starts_with(b"-UNBLOCKED force unblock")
            || crate::backend::redirect::read(reply).is_some())
}

/// How long a request waits at most, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Until something happens.
    Endless,
    /// So long.
    Limited(u64),
    /// It does not say so in a way that is understood: its server refuses it at once.
    Unknown,
}

/// The place of the argument that says how long a command waits, and whether it counts in milliseconds rather than
/// seconds.
fn timeout_place(row: &CommandSpec, args: Args<'_>) -> Option<(usize, bool)> {
    match row.name {
        "blmpop" | "bzmpop" => Some((1, false)),
        "xread" | "xreadgroup" => {
            let options =
                (1..args.len()).take_while(|at| !args.at(*at).eq_ignore_ascii_case(b"STREAMS"));
            let mut found = options.filter(|at| args.at(*at).eq_ignore_ascii_case(b"BLOCK"));
            found.next().map(|at| (at + 1, true))
        }
        _ => Some((args.len() - 1, false)),
    }
}

/// How long a command waits.
#[must_use]
pub fn patience(row: &CommandSpec, args: Args<'_>) -> Patience {
    let Some((place, in_ms)) = timeout_place(row, args) else { return Patience::Unknown };
    let text = args.get(place).and_then(|text| std::str::from_utf8(text).ok());
    let number = text.and_then(|text| text.parse::<f64>().ok());
    let us = number.map(|number| number * if in_ms { 1e3 } else { 1e6 });
    match us {
        Some(0.0) => Patience::Endless,
        Some(us) if us > 0.0 && us < 1e17 => Patience::Limited((us as u64).max(1)),
        _ => Patience::Unknown,
    }
}

/// The arguments of a command that goes on waiting: for `left_us` microseconds, at least one millisecond.
#[must_use]
pub fn still_waiting(row: &CommandSpec, args: Args<'_>, left_us: u64) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
    let left_ms = left_us.div_ceil(1000).max(1);
    if let Some((place, in_ms)) = timeout_place(row, args)
        && let Some(word) = words.get_mut(place)
    {
        *word = if in_ms {
            left_ms.to_string().into_bytes()
        } else {
            format!("{}.{:03}", left_ms / 1000, left_ms % 1000).into_bytes()
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use redstart_common::command::lookup;
    use redstart_common::resp::OwnedArgs;

    use super::*;

    fn with<R>(words: &str, body: impl FnOnce(&CommandSpec, Args<'_>) -> R) -> R {
        let words: Vec<&str> = words.split(' ').collect();
        let args = OwnedArgs::from_slices(&words);
        let row = lookup(words[0].as_bytes()).expect("a command").spec();
        body(row, args.as_args())
    }

    #[test]
    fn nothing_that_may_have_run_is_sent_again() {
        let takes = Doing::Wait { repeatable: false };
        let reads = Doing::Wait { repeatable: true };
        for (doing, unsent, refused, redirected, sent) in [
            (Doing::Watch { first: true }, Fate::Again, Fate::Again, Fate::Again, Fate::Again),
            (Doing::Watch { first: false }, Fate::Told, Fate::Told, Fate::Void, Fate::Told),
            (Doing::Exec { watches: true }, Fate::Nil, Fate::Told, Fate::Nil, Fate::Told),
            (Doing::Exec { watches: false }, Fate::Told, Fate::Told, Fate::Told, Fate::Told),
            (takes, Fate::Again, Fate::Again, Fate::Again, Fate::Told),
            (reads, Fate::Again, Fate::Again, Fate::Again, Fate::Again),
        ] {
            assert_eq!(fate(doing, Loss::Unsent, true), unsent, "{doing:?}");
            assert_eq!(fate(doing, Loss::Refused, true), refused, "{doing:?}");
            assert_eq!(fate(doing, Loss::Sent, true), sent, "{doing:?}");
            for may_wait in [false, true] {
                assert_eq!(fate(doing, Loss::Redirected, may_wait), redirected, "{doing:?}");
            }
            for loss in [Loss::Unsent, Loss::Refused, Loss::Sent] {
                assert_ne!(fate(doing, loss, false), Fate::Again, "{doing:?}");
            }
        }
    }

    #[test]
    fn a_read_of_what_is_new_misses_what_came_in_between() {
        let doing = |words| with(words, Doing::waiting);
        let repeatable = |yes| Doing::Wait { repeatable: yes };
        assert_eq!(doing("xread BLOCK 0 STREAMS s 5-0"), repeatable(true));
        assert_eq!(doing("xread BLOCK 0 STREAMS s $"), repeatable(false));
        assert_eq!(doing("xreadgroup GROUP g c BLOCK 0 STREAMS s >"), repeatable(false));
        assert_eq!(doing("blpop k 0"), repeatable(false));
    }

    #[test]
    fn every_form_of_a_timeout_is_read_and_shortened() {
        for (words, expected, left) in [
            ("blpop a b 0", Patience::Endless, "blpop a b 1.500"),
            ("blpop a 2.5", Patience::Limited(2_500_000), "blpop a 1.500"),
            (
                "blmove a b LEFT RIGHT 3",
                Patience::Limited(3_000_000),
                "blmove a b LEFT RIGHT 1.500",
            ),
            ("blmpop 7 1 a LEFT", Patience::Limited(7_000_000), "blmpop 1.500 1 a LEFT"),
            ("bzmpop 0 1 a MIN", Patience::Endless, "bzmpop 1.500 1 a MIN"),
            (
                "xread COUNT 2 block 250 STREAMS s 0",
                Patience::Limited(250_000),
                "xread COUNT 2 block 1500 STREAMS s 0",
            ),
            ("xread BLOCK x STREAMS s 0", Patience::Unknown, "xread BLOCK 1500 STREAMS s 0"),
            ("bzpopmin k -1", Patience::Unknown, "bzpopmin k 1.500"),
            ("brpop k nan", Patience::Unknown, "brpop k 1.500"),
            ("xread STREAMS s 0", Patience::Unknown, "xread STREAMS s 0"),
        ] {
            assert_eq!(with(words, patience), expected, "{words}");
            let words = with(words, |row, args| still_waiting(row, args, 1_499_001));
            let words: Vec<&str> =
                words.iter().map(|word| std::str::from_utf8(word).expect("text")).collect();
            assert_eq!(words.join(" "), left);
        }
        let least = with("blpop k 1", |row, args| still_waiting(row, args, 0));
        assert_eq!(least[2], b"0.001");
    }

    #[test]
    fn only_the_server_says_that_nothing_has_run() {
        assert!(has_not_run(
            b"-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)\r\n"
        ));
        assert!(has_not_run(b"-READONLY You can't write against a read only replica.\r\n"));
        assert!(!has_not_run(b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"));
        assert!(!has_not_run(b"*-1\r\n"));
    }
}
