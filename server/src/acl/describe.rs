//! Rules as text, such that applying the text gives the rules again.

use redstart_common::command::spec::Categories;

use super::selector::{CommandSet, Selector, rows};
use super::user::User;

/// How many commands of a category are in a set, and how many are not.
fn count(set: &CommandSet, category: Categories) -> (usize, usize) {
    let all = rows().filter(|row| row.categories.intersects(category));
    all.fold((0, 0), |(on, off), row| if set.has(row.id) { (on + 1, off) } else { (on, off + 1) })
}

/// The rules about commands: all or none first, then categories that fit better than they miss, best first, then
/// single commands.
#[must_use]
pub fn command_rules(selector: &Selector) -> Vec<u8> {
    let adding = !selector.future_commands;
    let sign = if adding { '+' } else { '-' };
    let mut text = if adding { "-@all" } else { "+@all" }.to_owned();
    // What the text gives so far, and what of the selector is not told yet.
    let mut told = CommandSet::filled(!adding);
    let mut left = selector.commands.clone();
    let mut used: Vec<&str> = Vec::new();
    loop {
        let mut best: Option<(usize, usize, Categories, &str)> = None;
        for (category, name) in Categories::WORDS.iter().filter(|(_, name)| !name.is_empty()) {
            if used.contains(name) {
                continue;
            }
            let (on, off) = count(&left, *category);
            let (same, other) = if adding { (on, off) } else { (off, on) };
            let better = best.is_none_or(|(others, sames, ..)| {
                other < others || (other == others && same > sames)
            });
            if same > other && better {
                best = Some((other, same, *category, name));
            }
        }
        let Some((_, _, category, name)) = best else { break };
        text += &format!(" {sign}@{name}");
        told.change_category(category, adding);
        left.change_category(category, !adding);
        used.push(name);
    }
    let mut text = text.into_bytes();
    for row in rows() {
        let allowed = selector.commands.has(row.id);
        if allowed != told.has(row.id) {
            text.extend_from_slice(if allowed { b" +" } else { b" -" });
            text.extend_from_slice(row.name.as_bytes());
            told.change(row, allowed);
        }
        let first_args = selector.first_args.iter().filter(|(id, _)| *id == row.id && !allowed);
        for arg in first_args.flat_map(|(_, args)| args) {
            text.extend_from_slice(format!(" +{}|", row.name).as_bytes());
            text.extend_from_slice(arg);
        }
    }
    text
}

/// The rules about keys, apart by spaces.
#[must_use]
pub fn key_rules(selector: &Selector) -> Vec<u8> {
    if selector.all_keys {
        return b"~*".to_vec();
    }
    selector.patterns.iter().map(super::selector::KeyPattern::rule).collect::<Vec<_>>().join(&b' ')
}

/// The rules about channels, apart by spaces.
#[must_use]
pub fn channel_rules(selector: &Selector) -> Vec<u8> {
    if selector.all_channels {
        return b"&*".to_vec();
    }
    let rules = selector.channels.iter().map(|channel| [b"&", &**channel].concat());
    rules.collect::<Vec<_>>().join(&b' ')
}

fn selector_rules(selector: &Selector) -> Vec<u8> {
    let mut words = vec![key_rules(selector)];
    if !selector.all_channels {
        words.push(b"resetchannels".to_vec());
    }
    words.push(channel_rules(selector));
    words.push(command_rules(selector));
    words.retain(|word| !word.is_empty());
    words.join(&b' ')
}

impl User {
    /// All rules of the user, as ACL LIST shows them after its name.
    #[must_use]
    pub fn rules(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> =
            self.flag_words().into_iter().map(|word| word.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{hash}").into_bytes()));
        words.push(selector_rules(&self.root));
        let more = self.selectors.iter().map(selector_rules);
        words.extend(more.map(|rules| [b"(", rules.as_slice(), b")"].concat()));
        words.join(&b' ')
    }

    /// The line of a configuration file that makes the user.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.rules()].concat()
    }
}
