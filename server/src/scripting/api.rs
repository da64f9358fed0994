//! What scripts find in `redis`, beside the calls themselves.

use mlua::{Lua, MultiValue, Table, Value};
use redstart_common::command::Resolved;
use redstart_common::log;
use redstart_common::resp::{OwnedArgs, Proto};

use super::border::{self, Functions, Raise};
use super::library::{Answer, Arguments, add_function};
use super::run::Run;
use super::session::Session;
use super::state;
use crate::engine::feed::Audience;

/// The version of Redis as `0x00MMmmpp`.
const VERSION_NUMBER: i64 = {
    let text = crate::REDIS_VERSION.as_bytes();
    let (mut number, mut part, mut at) = (0, 0, 0);
    while at < text.len() {
        if text[at] == b'.' {
            number = (number + part) << 8;
            part = 0;
        } else {
            part = part * 10 + (text[at] - b'0') as i64;
        }
        at += 1;
    }
    number + part
};

const REPEATED_BY_LOG: i64 = 1;
const REPEATED_BY_REPLICAS: i64 = 2;

/// What all scripts have, libraries of functions while they are loaded included: the log and the version.
///
/// # Errors
/// Lua's: out of memory.
pub fn add_basics(lua: &Lua, functions: &Functions, redis: &Table) -> mlua::Result<()> {
    add_function(lua, functions, redis, "log", write_log)?;
    for (place, name) in
        ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"].iter().enumerate()
    {
        redis.raw_set(*name, place as i64)?;
    }
    redis.raw_set("REDIS_VERSION", crate::REDIS_VERSION)?;
    redis.raw_set("REDIS_VERSION_NUM", VERSION_NUMBER)
}

/// What running scripts have.
///
/// # Errors
/// Lua's: out of memory.
pub fn add_all(lua: &Lua, functions: &Functions, redis: &Table) -> mlua::Result<()> {
    redis.raw_set("call", functions.call.clone())?;
    redis.raw_set("pcall", functions.protected_call.clone())?;
    add_basics(lua, functions, redis)?;
    let add = |name: &str, body: fn(&Lua, Arguments) -> Answer| {
        add_function(lua, functions, redis, name, body)
    };
    add("setresp", set_resp)?;
    add("sha1hex", sha1hex)?;
    add("error_reply", error_reply)?;
    add("status_reply", status_reply)?;
    add("set_repl", set_repl)?;
    add("acl_check_cmd", acl_check_cmd)?;
    for (name, number) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", REPEATED_BY_LOG),
        ("REPL_SLAVE", REPEATED_BY_REPLICAS),
        ("REPL_REPLICA", REPEATED_BY_REPLICAS),
        ("REPL_ALL", REPEATED_BY_LOG | REPEATED_BY_REPLICAS),
    ] {
        redis.raw_set(name, number)?;
    }
    Ok(())
}

/// What only scripts of EVAL have.
///
/// # Errors
/// Lua's: out of memory.
pub fn add_of_eval(lua: &Lua, functions: &Functions, redis: &Table) -> mlua::Result<()> {
    let truth = |truth: bool| MultiValue::from_vec(vec![Value::Boolean(truth)]);
    redis.raw_set("debug", functions.debug.clone())?;
    add_function(lua, functions, redis, "breakpoint", move |_, _| {
        let asked = border::with_run(|run| {
            run.core.scripting.session.as_mut().map(Session::ask_to_stop).is_some()
        });
        Ok(truth(asked == Some(true)))
    })?;
    add_function(lua, functions, redis, "replicate_commands", move |_, _| Ok(truth(true)))
}

/// `math.random` and `math.randomseed` of Redis: the same numbers on every machine.
///
/// # Errors
/// Lua's: out of memory.
pub fn add_random(lua: &Lua, functions: &Functions, math: &Table) -> mlua::Result<()> {
    add_function(lua, functions, math, "random", random)?;
    add_function(lua, functions, math, "randomseed", |lua, args| {
        within("math.randomseed", |run| {
            let seed = args.integer(lua, 1)? as i32;
            run.core.scripting.seed(seed);
            Ok(MultiValue::new())
        })
    })
}

fn redis_error(text: &str) -> Raise {
    Raise::Redis(format!("ERR {text}").into_bytes())
}

/// Lends the run to a function of Lua's own that needs one.
fn within(name: &str, body: impl FnOnce(&mut Run<'_>) -> Answer) -> Answer {
    border::with_run(body).unwrap_or_else(|| {
        Err(Raise::text(format!("{name} can only be called inside a script invocation")))
    })
}

/// Lends the run to a function of Redis's that needs one.
fn within_script(name: &str, body: impl FnOnce(&mut Run<'_>) -> Answer) -> Answer {
    border::with_run(body).unwrap_or_else(|| {
        Err(redis_error(&format!("redis.{name} can only be called inside a script invocation")))
    })
}

/// `math.random([least,] [most])`
fn random(lua: &Lua, args: Arguments) -> Answer {
    const MOST: u32 = 0x7fff_ffff;
    let empty = |place| Raise::argument(place, "interval is empty");
    within("math.random", |run| {
        let share = f64::from(run.core.scripting.next_random() % MOST) / f64::from(MOST);
        let number = match args.len() {
            0 => share,
            1 => {
                let most = args.integer(lua, 1)? as i32;
                if most < 1 {
                    return Err(empty(1));
                }
                (share * f64::from(most)).floor() + 1.0
            }
            2 => {
                let (least, most) = (args.integer(lua, 1)? as i32, args.integer(lua, 2)? as i32);
                if least > most {
                    return Err(empty(2));
                }
                // As in C, a range beyond 32 bits wraps.
                let range = most.wrapping_sub(least).wrapping_add(1);
                (share * f64::from(range)).floor() + f64::from(least)
            }
            _ => return Err(Raise::text("wrong number of arguments")),
        };
        Ok(MultiValue::from_vec(vec![Value::Number(number)]))
    })
}

/// `redis.log(level, text, …)`
fn write_log(lua: &Lua, args: Arguments) -> Answer {
    use redstart_common::log::Level;
    if args.len() < 2 {
        return Err(redis_error("redis.log() requires two arguments or more."));
    }
    let Ok(level) = args.number(lua, 1) else {
        return Err(redis_error("First argument must be a number (log level)."));
    };
    let level = match level as i32 {
        0 => Level::Debug,
        1 => Level::Verbose,
        2 => Level::Notice,
        3 => Level::Warning,
        _ => return Err(redis_error("Invalid debug level.")),
    };
    let mut text = Vec::new();
    for place in 2..=args.len() {
        // What is no text is left out.
        if let Ok(word) = args.string(lua, place) {
            if place != 2 {
                text.push(b' ');
            }
            text.extend_from_slice(&word.as_bytes());
        }
    }
    if level >= log::level() {
        log::line(level, format_args!("{}", String::from_utf8_lossy(&text)));
    }
    Ok(MultiValue::new())
}

/// `redis.setresp(version)`
fn set_resp(lua: &Lua, args: Arguments) -> Answer {
    within_script("setresp", |run| {
        if args.len() != 1 {
            return Err(redis_error("redis.setresp() requires one argument."));
        }
        let proto = match args.number(lua, 1).map_or(0, |version| version as i32) {
            2 => Proto::Resp2,
            3 => Proto::Resp3,
            _ => return Err(redis_error("RESP version must be 2 or 3.")),
        };
        run.set_proto(proto);
        Ok(MultiValue::new())
    })
}

/// `redis.sha1hex(text)`
fn sha1hex(lua: &Lua, args: Arguments) -> Answer {
    if args.len() != 1 {
        return Err(redis_error("wrong number of arguments"));
    }
    // As in C, what is no text is an empty one.
    let sha = match args.string(lua, 1) {
        Ok(text) => state::sha_of(&text.as_bytes()),
        Err(_) => state::sha_of(b""),
    };
    Ok(MultiValue::from_vec(vec![Value::String(lua.create_string(sha)?)]))
}

/// A table with one field, or an error in one where the argument is not one string.
fn reply_table(lua: &Lua, args: &Arguments, field: &str) -> Result<Table, Raise> {
    let table = lua.create_table()?;
    match (args.len(), args.get(1)) {
        (1, Some(text @ Value::String(_))) => table.raw_set(field, text.clone())?,
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(table)
}

/// `redis.status_reply(text)`
fn status_reply(lua: &Lua, args: Arguments) -> Answer {
    Ok(MultiValue::from_vec(vec![Value::Table(reply_table(lua, &args, "ok")?)]))
}

/// `redis.error_reply(text)`: the text begins with its code word, or gets one where it has no blank.
fn error_reply(lua: &Lua, args: Arguments) -> Answer {
    let table = reply_table(lua, &args, "err")?;
    if let (1, Some(Value::String(text))) = (args.len(), args.get(1)) {
        let text = text.as_bytes();
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let text = text.strip_prefix(b"-").unwrap_or(text);
        border::note_replied_error(text);
        let coded = match memchr::memchr(b' ', text) {
            None => [b"ERR ", crate::text::trim_line_ends(text)].concat(),
            Some(blank) => {
                let (code, rest) = text.split_at(blank);
                [code, b" ", crate::text::trim_line_ends(&rest[1..])].concat()
            }
        };
        table.raw_set("err", lua.create_string(coded)?)?;
    }
    Ok(MultiValue::from_vec(vec![Value::Table(table)]))
}

/// `redis.set_repl(who)`
fn set_repl(lua: &Lua, args: Arguments) -> Answer {
    within_script("set_repl", |run| {
        if args.len() != 1 {
            return Err(redis_error("redis.set_repl() requires two arguments."));
        }
        let who = args.number(lua, 1).map_or(0, |who| i64::from(who as i32));
        if who & !(REPEATED_BY_LOG | REPEATED_BY_REPLICAS) != 0 {
            return Err(redis_error(
                "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
            ));
        }
        let part = |flag: i64, part| if who & flag != 0 { part } else { Audience::NOBODY };
        let log = part(REPEATED_BY_LOG, Audience::LOG);
        run.set_audience(log.or(part(REPEATED_BY_REPLICAS, Audience::REPLICAS)));
        Ok(MultiValue::new())
    })
}

/// `redis.acl_check_cmd(command, …)`
fn acl_check_cmd(lua: &Lua, args: Arguments) -> Answer {
    within_script("acl_check_cmd", |run| {
        if args.len() == 0 {
            return Err(redis_error(
                "Please specify at least one argument for this redis lib call",
            ));
        }
        let mut words = OwnedArgs::new();
        for (place, value) in args.iter().enumerate() {
            let mut text = Vec::new();
            match value {
                Value::String(string) => text.extend_from_slice(&string.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    let number = args.number(lua, place + 1)?;
                    let mut room = redstart_common::number::FloatText::new();
                    text.extend_from_slice(room.format_17g(number).as_bytes());
                }
                _ => {
                    return Err(redis_error(
                        "Lua redis lib command arguments must be strings or integers",
                    ));
                }
            }
            words.push(&text);
        }
        let words = words.as_args();
        let found = run.core.renames.resolve(words.at(0), words.get(1));
        let known = match found {
            Resolved::Command(id) => Some(id.spec()).filter(|row| run.core.runs(row)),
            _ => None,
        };
        let Some(row) = known else {
            return Err(redis_error("Invalid command passed to redis.acl_check_cmd()"));
        };
        let user = run.core.users.get(&run.client.user);
        let allowed = user.is_some_and(|user| user.check(row, words).is_ok());
        Ok(MultiValue::from_vec(vec![Value::Boolean(allowed)]))
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_one_number() {
        assert_eq!(super::VERSION_NUMBER, 0x0007_000f);
    }
}
