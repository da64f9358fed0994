//! The options of CLIENT TRACKING: what may be said, what fits together, and what fits to what a client does already. Server
//! and proxy read and refuse them alike.

use crate::number::parse_i64;
use crate::resp::{Args, error};

/// Which of the keys that a client reads it is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// Those that it reads right after CLIENT CACHING YES.
    OptIn,
    /// All but those that it reads right after CLIENT CACHING NO.
    OptOut,
}

impl Choice {
    /// What CLIENT TRACKINGINFO calls it; `caching` says that CLIENT CACHING stands for the next command.
    #[must_use]
    pub fn flags(self, caching: bool) -> &'static [&'static str] {
        match (self, caching) {
            (Self::All, _) => &[],
            (Self::OptIn, false) => &["optin"],
            (Self::OptIn, true) => &["optin", "caching-yes"],
            (Self::OptOut, false) => &["optout"],
            (Self::OptOut, true) => &["optout", "caching-no"],
        }
    }
}

/// The options as they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The client that is told in this one's place. Whether there is one, whoever reads the options finds out.
    pub redirect: Option<i64>,
    /// Keys are told by prefixes, not by what was read.
    pub broadcast: bool,
    opt_in: bool,
    opt_out: bool,
    /// The client is not told of its own changes.
    pub no_loop: bool,
    /// The prefixes.
    pub prefixes: Vec<Box<[u8]>>,
}

/// What a client that tracks has asked for before.
pub struct Before<P> {
    /// Its prefixes, if keys are told by prefixes.
    pub prefixes: Option<P>,
    /// Which keys it is told of.
    pub choice: Choice,
}

fn overlapping(prefix: &[u8], which: &str, other: &[u8]) -> Vec<u8> {
    let mut text = b"ERR Prefix '".to_vec();
    text.extend_from_slice(prefix);
    text.extend_from_slice(format!("' overlaps with {which} prefix '").as_bytes());
    text.extend_from_slice(other);
    text.extend_from_slice(b"'. Prefixes for a single client must not overlap.");
    text
}

impl Options {
    /// Reads what stands behind `CLIENT TRACKING ON`. `redirects` refuses a client that cannot be told in this one's place, if
    /// that is known at once: before what else may be wrong behind it.
    ///
    /// # Errors
    /// With the text of the refusal.
    pub fn read(
        args: Args<'_>,
        mut redirects: impl FnMut(i64) -> Result<(), Vec<u8>>,
    ) -> Result<Self, Vec<u8>> {
        let mut found = Self::default();
        let mut at = 3;
        while let Some(word) = args.get(at) {
            let value = args.get(at + 1);
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            at += 1;
            match value {
                Some(value) if is("REDIRECT") => {
                    if found.redirect.is_some() {
                        return Err(
                            b"ERR A client can only redirect to a single other client".into()
                        );
                    }
                    let id = parse_i64(value).ok_or(error::NOT_AN_INTEGER)?;
                    redirects(id)?;
                    found.redirect = Some(id);
                    at += 1;
                }
                Some(value) if is("PREFIX") => {
                    found.prefixes.push(value.into());
                    at += 1;
                }
                _ if is("BCAST") => found.broadcast = true,
                _ if is("OPTIN") => found.opt_in = true,
                _ if is("OPTOUT") => found.opt_out = true,
                _ if is("NOLOOP") => found.no_loop = true,
                _ => return Err(error::SYNTAX.into()),
            }
        }
        Ok(found)
    }

    /// Which keys the client is to be told of.
    #[must_use]
    pub fn choice(&self) -> Choice {
        match (self.opt_in, self.opt_out) {
            (true, _) => Choice::OptIn,
            (_, true) => Choice::OptOut,
            _ => Choice::All,
        }
    }

    /// Whether the options fit together, and to what the client does already.
    ///
    /// # Errors
    /// With the text of the refusal.
    pub fn check<'p, P>(&self, before: Option<Before<P>>) -> Result<(), Vec<u8>>
    where
        P: IntoIterator<Item = &'p Box<[u8]>> + Clone,
    {
        let refuse = |text: &str| Err(text.into());
        if !self.broadcast && !self.prefixes.is_empty() {
            return refuse("ERR PREFIX option requires BCAST mode to be enabled");
        }
        if before.as_ref().is_some_and(|old| old.prefixes.is_some() != self.broadcast) {
            return refuse(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            );
        }
        if self.broadcast && (self.opt_in || self.opt_out) {
            return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
        }
        if self.opt_in && self.opt_out {
            return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
        }
        if before.as_ref().is_some_and(|old| match old.choice {
            Choice::All => false,
            Choice::OptIn => self.opt_out,
            Choice::OptOut => self.opt_in,
        }) {
            return refuse(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, \
                 and then re-enabling it with a different mode.",
            );
        }
        // A change of some key would have to be told for both.
        let overlap = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
        let held = before.and_then(|old| old.prefixes);
        for (place, prefix) in self.prefixes.iter().enumerate() {
            let mut held = held.clone().into_iter().flatten();
            if let Some(held) = held.find(|held| overlap(held, prefix)) {
                return Err(overlapping(prefix, "an existing", held));
            }
            let mut rest = self.prefixes[place + 1..].iter();
            if let Some(other) = rest.find(|other| overlap(other, prefix)) {
                return Err(overlapping(prefix, "another provided", other));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn read(words: &str) -> Result<Options, Vec<u8>> {
        let words: Vec<&str> = words.split(' ').collect();
        let known = |id: i64| if id == 9 { Err(b"ERR nobody".to_vec()) } else { Ok(()) };
        Options::read(OwnedArgs::from_slices(&words).as_args(), known)
    }

    fn said(words: &str, old: Option<(Choice, Option<&[&str]>)>) -> String {
        let held: Option<Vec<Box<[u8]>>> = old.and_then(|(_, prefixes)| {
            Some(prefixes?.iter().map(|prefix| Box::from(prefix.as_bytes())).collect())
        });
        let before =
            old.map(|(choice, _)| Before { prefixes: held.as_ref().map(|it| it.iter()), choice });
        let checked = read(words).and_then(|options| options.check(before));
        checked.map_or_else(|text| String::from_utf8(text).expect("text"), |()| "OK".to_owned())
    }

    #[test]
    fn options_are_read_and_fit_together() {
        let it =
            read("client tracking on bcast Prefix a PREFIX b redirect 7 NOLOOP").expect("good");
        assert_eq!((it.redirect, it.broadcast, it.no_loop), (Some(7), true, true));
        assert_eq!(it.prefixes, [Box::from(*b"a"), Box::from(*b"b")]);
        assert_eq!(it.choice(), Choice::All);
        assert_eq!(read("client tracking on optin").expect("good").choice(), Choice::OptIn);
        assert_eq!(read("client tracking on optout").expect("good").choice(), Choice::OptOut);
        let broadcasts = Some((Choice::All, Some(&["ab"][..])));
        let switched = "ERR You can't switch BCAST mode on/off before disabling tracking for this \
             client, and then re-enabling it with a different mode.";
        let turned = "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this \
             client, and then re-enabling it with a different mode.";
        for (words, old, wanted) in [
            ("", None, "OK"),
            (" optin", None, "OK"),
            (" optin", Some((Choice::OptIn, None)), "OK"),
            (" optin", Some((Choice::All, None)), "OK"),
            (" prefix", None, "ERR syntax error"),
            (" redirect", None, "ERR syntax error"),
            (" what", None, "ERR syntax error"),
            (" redirect x", None, error::NOT_AN_INTEGER),
            (" redirect 9 what", None, "ERR nobody"),
            (
                " redirect 1 redirect 2",
                None,
                "ERR A client can only redirect to a single other client",
            ),
            (" prefix a", None, "ERR PREFIX option requires BCAST mode to be enabled"),
            (" bcast optin", None, "ERR OPTIN and OPTOUT are not compatible with BCAST"),
            (" optout optin", None, "ERR You can't specify both OPTIN mode and OPTOUT mode"),
            (
                " bcast prefix a prefix ab",
                None,
                "ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single \
                 client must not overlap.",
            ),
            (
                " bcast prefix a",
                broadcasts,
                "ERR Prefix 'a' overlaps with an existing prefix 'ab'. Prefixes for a single \
                 client must not overlap.",
            ),
            (" bcast prefix b", broadcasts, "OK"),
            ("", broadcasts, switched),
            (" bcast", Some((Choice::All, None)), switched),
            (" optout", Some((Choice::OptIn, None)), turned),
            (" optin", Some((Choice::OptOut, None)), turned),
        ] {
            assert_eq!(said(&format!("client tracking on{words}"), old), wanted, "{words}");
        }
    }
}
