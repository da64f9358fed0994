//! `ACL`: users and their rights.

use rand::Rng;
use redstart_common::command::Resolved;
use redstart_common::command::spec::Categories;

use super::Handlers;
use super::options::{at_most, integer};
use crate::acl::selector::{Denied, Selector, has_spaces, rows};
use crate::acl::user::User;
use crate::acl::{describe, file, join_selectors};
use crate::client::Reply;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};

pub(super) const HANDLERS: Handlers = &[
    ("acl|cat", cat),
    ("acl|deluser", deluser),
    ("acl|dryrun", dryrun),
    ("acl|genpass", genpass),
    ("acl|getuser", getuser),
    ("acl|help", help),
    ("acl|list", list),
    ("acl|load", load),
    ("acl|log", log),
    ("acl|save", save),
    ("acl|setuser", setuser),
    ("acl|users", users),
    ("acl|whoami", whoami),
];

/// `ACL WHOAMI`
pub fn whoami(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.bulk(&call.client.user);
    Ok(())
}

/// `ACL USERS`
pub fn users(call: &mut Call<'_>) -> CommandResult {
    let users = call.core.users.iter();
    call.client.reply.array(users.len());
    users.for_each(|user| call.client.reply.bulk(&user.name));
    Ok(())
}

/// `ACL LIST`
pub fn list(call: &mut Call<'_>) -> CommandResult {
    let users = call.core.users.iter();
    call.client.reply.array(users.len());
    users.for_each(|user| call.client.reply.bulk(&user.line()));
    Ok(())
}

/// `ACL SETUSER username [rule [rule ...]]`
pub fn setuser(call: &mut Call<'_>) -> CommandResult {
    let name = call.arg(2);
    if has_spaces(name) {
        return Err(CommandError::new("ERR Usernames can't contain spaces or null characters"));
    }
    let words: Vec<&[u8]> = call.args.tail(3).iter().collect();
    let rules = join_selectors(&words).map_err(|place| {
        let before = "ERR Unmatched parenthesis in acl selector starting at '";
        CommandError::about(before, words[place], "'.")
    })?;
    let all_channels = call.core.settings.acl_pubsub_all;
    let known = call.core.users.get(name).cloned();
    let mut user = known.unwrap_or_else(|| User::new(name, all_channels));
    for rule in rules {
        user.apply(&rule, all_channels).map_err(|error| {
            let mut text = b"ERR Error in ACL SETUSER modifier '".to_vec();
            text.extend_from_slice(&rule);
            text.extend_from_slice(format!("': {}", error.text()).as_bytes());
            CommandError::made(text)
        })?;
    }
    call.core.change_user(user, call.client);
    call.client.reply.ok();
    Ok(())
}

/// `ACL DELUSER username [username ...]`
pub fn deluser(call: &mut Call<'_>) -> CommandResult {
    let names = call.args.tail(2);
    if names.iter().any(|name| name == b"default") {
        return Err(CommandError::new("ERR The 'default' user cannot be removed"));
    }
    let count = names.iter().filter(|name| call.core.remove_user(name, call.client)).count();
    call.client.reply.count(count);
    Ok(())
}

fn describe_selector(reply: &mut Reply, selector: &Selector) {
    reply.bulk(b"commands");
    reply.bulk(&describe::command_rules(selector));
    reply.bulk(b"keys");
    reply.bulk(&describe::key_rules(selector));
    reply.bulk(b"channels");
    reply.bulk(&describe::channel_rules(selector));
}

/// `ACL GETUSER username`
pub fn getuser(call: &mut Call<'_>) -> CommandResult {
    let reply = &mut call.client.reply;
    let Some(user) = call.core.users.get(call.args.at(2)) else {
        reply.null();
        return Ok(());
    };
    reply.map(6);
    reply.bulk(b"flags");
    let flags = user.flag_words();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords.len());
    user.passwords.iter().for_each(|hash| reply.bulk(hash.as_bytes()));
    describe_selector(reply, &user.root);
    reply.bulk(b"selectors");
    reply.array(user.selectors.len());
    for selector in &user.selectors {
        reply.map(3);
        describe_selector(reply, selector);
    }
    Ok(())
}

/// `ACL CAT [category]`
pub fn cat(call: &mut Call<'_>) -> CommandResult {
    at_most(call, 3)?;
    let names: Vec<&str> = match call.args.get(2) {
        None => {
            Categories::WORDS.iter().map(|(_, name)| *name).filter(|it| !it.is_empty()).collect()
        }
        Some(name) => {
            let category = Categories::of_word(name).ok_or_else(|| {
                let shown = &name[..name.len().min(128)];
                CommandError::about("ERR Unknown category '", shown, "'")
            })?;
            let fits = rows().filter(|row| row.categories.intersects(category));
            fits.map(|row| row.name).collect()
        }
    };
    call.client.reply.array(names.len());
    names.iter().for_each(|name| call.client.reply.bulk(name.as_bytes()));
    Ok(())
}

/// `ACL GENPASS [bits]`
pub fn genpass(call: &mut Call<'_>) -> CommandResult {
    at_most(call, 3)?;
    const BITS_MAX: i64 = 4096;
    let bits = call.args.get(2).map_or(Ok(256), integer)?;
    if !(1..=BITS_MAX).contains(&bits) {
        return Err(CommandError::new(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive \
             number up to 4096",
        ));
    }
    let mut rng = rand::rng();
    let digits: Vec<u8> =
        (0..(bits + 3) / 4).map(|_| b"0123456789abcdef"[rng.random_range(0..16)]).collect();
    call.client.reply.bulk(&digits);
    Ok(())
}

/// `ACL LOG [count | RESET]`
pub fn log(call: &mut Call<'_>) -> CommandResult {
    at_most(call, 3)?;
    let count = match call.args.get(2) {
        Some(word) if word.eq_ignore_ascii_case(b"RESET") => {
            call.core.users.log.clear();
            call.client.reply.ok();
            return Ok(());
        }
        Some(word) => usize::try_from(integer(word)?).unwrap_or(0),
        None => 10,
    };
    let now = call.now_ms();
    let reply = &mut call.client.reply;
    let entries = call.core.users.log.iter();
    reply.array(count.min(entries.len()));
    for entry in entries.take(count) {
        reply.map(7);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        reply.bulk(b"reason");
        reply.bulk(entry.reason.word().as_bytes());
        reply.bulk(b"context");
        reply.bulk(entry.context.word().as_bytes());
        reply.bulk(b"object");
        reply.bulk(&entry.object);
        reply.bulk(b"username");
        reply.bulk(&entry.user);
        reply.bulk(b"age-seconds");
        reply.double((now - entry.at_ms).max(0) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(entry.client.as_bytes());
    }
    Ok(())
}

/// `ACL DRYRUN username command [argument ...]`
pub fn dryrun(call: &mut Call<'_>) -> CommandResult {
    let name = call.arg(2);
    let user = call
        .core
        .users
        .get(name)
        .ok_or_else(|| CommandError::about("ERR User '", name, "' not found"))?;
    let args = call.args.tail(3);
    let found = call.core.renames.resolve(args.at(0), args.get(1));
    let Resolved::Command(id) = found else {
        return Err(CommandError::about("ERR Command '", args.at(0), "' not found"));
    };
    let row = id.spec();
    if !row.accepts_count(args.len()) {
        return Err(CommandError::arity(row.name));
    }
    let refusal = |what: &str, name: &[u8], kind: &str| {
        let head = format!("This user has no permissions to {what} the '");
        [head.as_bytes(), name, b"' ", kind.as_bytes()].concat()
    };
    match user.check(row, args) {
        Ok(()) => call.client.reply.ok(),
        Err(denied) => call.client.reply.bulk(&match denied {
            Denied::Command => refusal("run", row.name.as_bytes(), "command"),
            Denied::Key(place) => refusal("access", args.at(place), "key"),
            Denied::Channel(place) => refusal("access", args.at(place), "channel"),
        }),
    }
    Ok(())
}

fn acl_file(call: &Call<'_>) -> Result<String, CommandError> {
    let path = call.core.settings.aclfile.clone();
    if path.is_empty() {
        return Err(CommandError::new(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify \
             users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a \
             Redis configuration file set) in order to store users in the Redis configuration.",
        ));
    }
    Ok(path)
}

/// `ACL LOAD`: all users but the default one are made anew, so their clients are closed.
pub fn load(call: &mut Call<'_>) -> CommandResult {
    let path = acl_file(call)?;
    let loaded = file::load(&path, call.core.settings.acl_pubsub_all)
        .map_err(|errors| CommandError::made(format!("ERR {errors}")))?;
    let old: Vec<Box<[u8]>> = call
        .core
        .users
        .iter()
        .map(|user| user.name.clone())
        .filter(|it| **it != *b"default")
        .collect();
    for name in old {
        call.core.remove_user(&name, call.client);
    }
    for user in loaded.iter() {
        call.core.users.put(user.clone());
    }
    call.core.users_changed(call.client);
    call.client.reply.ok();
    Ok(())
}

/// `ACL SAVE`
pub fn save(call: &mut Call<'_>) -> CommandResult {
    let path = acl_file(call)?;
    if let Err(error) = file::save(&call.core.users, &path) {
        redstart_common::log!(Warning, "Writing ACL file for ACL SAVE: {error}");
        return Err(CommandError::new(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more \
             information",
        ));
    }
    call.client.reply.ok();
    Ok(())
}

/// `ACL HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "ACL",
        &[
            "CAT [<category>]",
            "    List all commands that belong to <category>, or all command categories",
            "    when no category is specified.",
            "DELUSER <username> [<username> ...]",
            "    Delete a list of users.",
            "DRYRUN <username> <command> [<arg> ...]",
            "    Returns whether the user can execute the given command without executing the command.",
            "GETUSER <username>",
            "    Get the user's details.",
            "GENPASS [<bits>]",
            "    Generate a secure 256-bit user password. The optional `bits` argument can",
            "    be used to specify a different size.",
            "LIST",
            "    Show users details in config file format.",
            "LOAD",
            "    Reload users from the ACL file.",
            "LOG [<count> | RESET]",
            "    Show the ACL log entries.",
            "SAVE",
            "    Save the current config to the ACL file.",
            "SETUSER <username> <attribute> [<attribute> ...]",
            "    Create or modify a user with the specified attributes.",
            "USERS",
            "    List all the registered usernames.",
            "WHOAMI",
            "    Return the current connection username.",
        ],
    );
    Ok(())
}
