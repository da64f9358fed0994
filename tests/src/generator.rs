//! Random commands, from templates.
//!
//! A template is a line of words. `<x>` is something made up, of the kind the letter says (see [`Generator::fill`]);
//! `[a b]` is left out half of the time; `(a|b)` is one of them; `{a b}` stands one to four times. A line that begins
//! with `~` is taken seldom. Now and then a finished command is damaged: an argument too few or too many, one twice or
//! in another's place, or one that is nonsense.

use redstart_common::command::lookup;
use redstart_server::commands::handlers;

use crate::server_support::Random;

/// What is generated, a command a line.
const TEMPLATES: &str = include_str!("templates.txt");

/// A generator of commands.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    templates: Vec<&'static str>,
    /// The time in the last id that was made for an entry of a stream.
    id: usize,
}

impl Generator {
    /// One that gives the same commands for the same seed, of those that the server has handlers for.
    ///
    /// # Panics
    /// When a template names no command.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let templates = TEMPLATES
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .filter(|line| {
                let name = line.trim_start_matches('~').split(' ').next().unwrap_or_default();
                let id = lookup(name.as_bytes()).unwrap_or_else(|| panic!("no command {name}"));
                handlers().of(id).is_some() || !id.spec().subcommands().is_empty()
            })
            .collect();
        Self { random: Random::new(seed), templates, id: 0 }
    }

    /// The next command.
    pub fn next_command(&mut self) -> Vec<Vec<u8>> {
        let mut template = self.templates[self.random.below(self.templates.len())];
        while template.starts_with('~') && !self.random.chance(10) {
            template = self.templates[self.random.below(self.templates.len())];
        }
        let mut args = Vec::new();
        let mut rest = template.trim_start_matches('~');
        self.expand(&mut rest, &mut args, true);
        // A damaged timeout would have both servers wait for ever, a damaged count of members would ask for chance,
        // and the others' faults show in what comes after. ZRANK takes more words than the original's.
        let name = args[0].to_ascii_uppercase();
        let spared = (name.starts_with(b"B") && !name.starts_with(b"BIT"))
            || [
                &b"SPOP"[..],
                b"SRANDMEMBER",
                b"HRANDFIELD",
                b"ZRANDMEMBER",
                b"SORT",
                b"ZADD",
                b"ZRANK",
                b"ZREVRANK",
            ]
            .contains(&name.as_slice());
        if !spared && self.random.chance(6) {
            self.damage(&mut args);
        }
        args
    }

    /// Expands words up to the end of the group `rest` is in; writes them if they are `wanted`.
    fn expand<'t>(&mut self, rest: &mut &'t str, args: &mut Vec<Vec<u8>>, wanted: bool) {
        loop {
            *rest = rest.trim_start();
            let Some(first) = rest.chars().next() else { return };
            match first {
                ']' | ')' | '}' | '|' => return,
                '[' => {
                    *rest = &rest[1..];
                    let wanted = wanted && self.random.chance(50);
                    self.expand(rest, args, wanted);
                    *rest = &rest[1..];
                }
                '{' => {
                    let inside = &rest[1..];
                    let times = 1 + self.random.below(4);
                    for _ in 0..times {
                        *rest = inside;
                        self.expand(rest, args, wanted);
                    }
                    *rest = &rest[1..];
                }
                '(' => {
                    let mut branches = Vec::new();
                    loop {
                        *rest = &rest[1..];
                        branches.push(*rest);
                        self.expand(rest, &mut Vec::new(), false);
                        if rest.starts_with(')') {
                            break;
                        }
                    }
                    *rest = &rest[1..];
                    if wanted {
                        let mut branch: &'t str = branches[self.random.below(branches.len())];
                        self.expand(&mut branch, args, true);
                    }
                }
                _ => {
                    let end = rest.find([' ', ']', ')', '}', '|']).unwrap_or(rest.len());
                    let (word, after) = rest.split_at(end);
                    *rest = after;
                    if wanted {
                        let filled = self.fill(word);
                        args.push(filled);
                    }
                }
            }
        }
    }

    fn fill(&mut self, word: &str) -> Vec<u8> {
        let random = &mut self.random;
        match word {
            // Keys: of strings, lists, hashes, sets (t), sorted sets, bitmaps, HyperLogLogs (p), streams (q); some of
            // them of another type than expected.
            "<s>" | "<l>" | "<h>" | "<t>" | "<z>" | "<b>" | "<q>" | "<hll>" | "<k>" => {
                let own = if word == "<hll>" { "p" } else { &word[1..2] };
                let kind = if own == "k" || random.chance(7) {
                    random.pick(&["s", "l", "h", "t", "z", "b", "p", "q"])
                } else {
                    own
                };
                format!("{kind}{}", random.below(4)).into_bytes()
            }
            // Sorted sets whose members have the same score.
            "<y>" => format!("y{}", random.below(2)).into_bytes(),
            // Ids of entries: of one that is added, of one that may be there, and where a range begins or ends.
            "<next>" => {
                self.id += 1 + random.below(2) * random.below(3);
                format!("{}-{}", self.id, random.pick(&["*", "0", "1", "300"])).into_bytes()
            }
            "<id>" => {
                let ms = self.id.saturating_sub(random.below(40));
                let seq = ["", "-0", "-0", "-1", "-300"][random.below(5)];
                format!("{ms}{seq}").into_bytes()
            }
            "<from>" => match random.below(4) {
                0 => random
                    .pick(&["-", "+", "(0-0", "(18446744073709551615", "(-"])
                    .as_bytes()
                    .to_vec(),
                1 => [&b"("[..], &self.fill("<id>")].concat(),
                _ => self.fill("<id>"),
            },
            "<g>" => random.pick(&["g1", "g1", "g2"]).as_bytes().to_vec(),
            "<v>" => self.value(),
            "<m>" => self.member(),
            "<i>" => random
                .pick(&[
                    "0",
                    "1",
                    "2",
                    "3",
                    "-1",
                    "-2",
                    "10",
                    "100",
                    "-100",
                    "1000000",
                    "9223372036854775807",
                    "-9223372036854775808",
                    "9223372036854775808",
                    "+5",
                    "007",
                    "3.0",
                    "",
                    " 1",
                ])
                .as_bytes()
                .to_vec(),
            "<f>" => random
                .pick(&[
                    "0",
                    "1",
                    "-1",
                    "2.5",
                    "3.14159",
                    "1e3",
                    "1.5e-7",
                    "0.1",
                    "0.2",
                    "100",
                    "17",
                    "1e17",
                    "12345678901234567890",
                    "inf",
                    "-inf",
                    "1e400",
                    "nan",
                    "0x10",
                    "5e-324",
                    "abc",
                    "",
                ])
                .as_bytes()
                .to_vec(),
            // Scores that are numbers, so that sorted sets grow.
            "<n>" => match random.below(4) {
                0 => format!("{}.5", random.below(20)).into_bytes(),
                1 => random.pick(&["inf", "-inf", "1e15", "0.1", "-3"]).as_bytes().to_vec(),
                _ => random.below(20).to_string().into_bytes(),
            },
            "<x>" => random
                .pick(&["0", "1", "2", "3", "5", "-1", "-2", "-3", "-5", "100", "-100", "a"])
                .as_bytes()
                .to_vec(),
            "<c>" => {
                random.pick(&["0", "1", "2", "3", "5", "10", "100", "-1", "x"]).as_bytes().to_vec()
            }
            // Seconds of life, long enough to outlast the test; equal ones are unlikely.
            "<e>" => match random.below(12) {
                0 => b"0".to_vec(),
                1 => b"-5".to_vec(),
                2 => b"9223372036854775807".to_vec(),
                3 => b"x".to_vec(),
                _ => (100_000 + random.below(1_000_000_000)).to_string().into_bytes(),
            },
            // Points in time, in seconds and in milliseconds.
            "<at>" => match random.below(8) {
                0 => b"1".to_vec(),
                1 => b"-1".to_vec(),
                _ => (20_000_000_000_u64 + random.below(1_000_000) as u64).to_string().into_bytes(),
            },
            "<pat>" => match random.below(8) {
                0 => b"1".to_vec(),
                _ => (20_000_000_000_000_u64 + random.below(1_000_000) as u64)
                    .to_string()
                    .into_bytes(),
            },
            "<p>" => random
                .pick(&["*", "s*", "?1", "[a-m]*", "*3", "m?", "[^s]*", "\\*", "z[0-2]", ""])
                .as_bytes()
                .to_vec(),
            "<bound>" => random
                .pick(&[
                    "-inf", "+inf", "0", "(0", "5", "(5", "10", "(10.5", "20", "inf", "(-inf", "x",
                ])
                .as_bytes()
                .to_vec(),
            "<lex>" => random
                .pick(&["-", "+", "[a", "(a", "[m", "(m3", "[z", "[", "(", "x", ""])
                .as_bytes()
                .to_vec(),
            // Bits: of the first bytes, and about the longest string.
            "<o>" => match random.below(6) {
                0 => random
                    .pick(&["0", "7", "8", "63", "64", "5000", "8388608", "-1", "x", "", "+1"])
                    .as_bytes()
                    .to_vec(),
                _ => random.below(200).to_string().into_bytes(),
            },
            // The same in steps of an integer's width.
            "<step>" => match random.below(8) {
                0 => random
                    .pick(&["#", "#-1", "##1", "#9223372036854775807", "#8388608", "#x", "# 1"])
                    .as_bytes()
                    .to_vec(),
                _ => format!("#{}", random.below(20)).into_bytes(),
            },
            // Widths of integers.
            "<w>" => match random.below(8) {
                0 => random
                    .pick(&["u64", "i65", "i0", "u-1", "I8", "i08", "u", "x", "", "i8 ", "i8\0x"])
                    .as_bytes()
                    .to_vec(),
                1 => random.pick(&["i64", "i63", "u63", "i1", "u1"]).as_bytes().to_vec(),
                _ => format!("{}{}", random.pick(&["i", "u"]), 1 + random.below(34)).into_bytes(),
            },
            // One of many elements.
            "<u>" => format!("e{}", random.below(100_000)).into_bytes(),
            "<bad>" => self.bad(),
            "<wait>" => random.pick(&["0.01", "0.02", "-1", "x"]).as_bytes().to_vec(),
            "<db>" => random.pick(&["0", "0", "0", "1", "2", "99", "-1", "x"]).as_bytes().to_vec(),
            _ => word.as_bytes().to_vec(),
        }
    }

    /// A word that is seldom what is expected: numbers at the edges, texts with bytes that are no letters. No small
    /// number is among them, which would be a short time to live.
    fn bad(&mut self) -> Vec<u8> {
        const WORDS: &[&[u8]] = &[
            b"0",
            b"-0",
            b"-1",
            b"-2",
            b"9223372036854775807",
            b"9223372036854775808",
            b"-9223372036854775807",
            b"-9223372036854775808",
            b"4611686018427387904",
            b"9223372036854775",
            b"18446744073709551616",
            b"2147483647",
            b"2147483648",
            b"-2147483649",
            b"",
            b"x",
            b" 1",
            b"1 ",
            b"+1",
            b"01",
            b"1.5",
            b"1e3",
            b"1e400",
            b"1e5000",
            b"nan",
            b"inf",
            b"-inf",
            b"0x10",
            b"\xff\xfe",
            b"a\0b",
            b"1\0b",
            b"a\r\nb",
            b"\r\n",
            b"nonsense",
            b"count",
            b"LIMIT",
            b"withscores",
            b"GET",
            b"NX",
        ];
        self.random.pick(WORDS).to_vec()
    }

    fn value(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        match random.below(8) {
            0 | 1 => random.below(1000).to_string().into_bytes(),
            2 => random
                .pick(&[
                    "",
                    "9223372036854775807",
                    "-1",
                    "3.5",
                    "1e2",
                    "+1",
                    "01",
                    " 1",
                    "10000",
                    "9999",
                ])
                .as_bytes()
                .to_vec(),
            3 => {
                let len = [43, 44, 45, 63, 64, 65, 300][random.below(7)];
                vec![b'a' + u8::try_from(random.below(26)).expect("a letter"); len]
            }
            4 => (0..random.below(30)).map(|_| random.number().to_le_bytes()[0]).collect(),
            _ => {
                let len = random.below(12);
                (0..len).map(|_| b"abcdem019 "[random.below(10)]).collect()
            }
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.random.below(12) {
            0 => self.value(),
            1 | 2 => self.random.below(40).to_string().into_bytes(),
            3..=7 => format!("m{}", self.random.below(12)).into_bytes(),
            _ => vec![b'a' + u8::try_from(self.random.below(26)).expect("a letter")],
        }
    }

    fn damage(&mut self, args: &mut Vec<Vec<u8>>) {
        let at = 1 + self.random.below(args.len());
        match self.random.below(30) {
            0..4 if args.len() > 1 => {
                args.remove(at.min(args.len() - 1));
            }
            4..8 => args.insert(at, b"nonsense".to_vec()),
            8..12 if args.len() > 1 => {
                let at = at.min(args.len() - 1);
                args[at] = self.value();
            }
            12..16 => args.insert(at, self.bad()),
            16..20 if args.len() > 1 => {
                let at = at.min(args.len() - 1);
                args[at] = self.bad();
            }
            20..24 if args.len() > 2 => {
                let other = 1 + self.random.below(args.len() - 1);
                let at = at.min(args.len() - 1);
                args.swap(at, other);
            }
            24 => args[0] = self.bad(),
            _ => {
                let copy = args[at.min(args.len() - 1)].clone();
                args.push(copy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Generator, TEMPLATES};

    #[test]
    fn the_same_seed_gives_the_same_commands_and_another_does_not() {
        let some = |seed| {
            let mut generator = Generator::new(seed);
            (0..500).map(|_| generator.next_command()).collect::<Vec<_>>()
        };
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn groups_are_expanded() {
        let mut generator = Generator::new(3);
        for _ in 0..5000 {
            for word in generator.next_command() {
                let of_template = std::str::from_utf8(&word)
                    .is_ok_and(|word| TEMPLATES.split_whitespace().any(|token| token == word));
                let grouped = word.len() > 1 && word.iter().any(|byte| b"[](){}|<>".contains(byte));
                assert!(!(of_template && grouped), "left over: {}", word.escape_ascii());
            }
        }
    }
}
