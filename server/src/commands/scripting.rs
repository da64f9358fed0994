//! `EVAL`, `SCRIPT`, `FCALL` and `FUNCTION`: what they mean is in [`crate::scripting`].

use std::rc::Rc;

use redstart_common::glob;
use redstart_common::resp::{Args, error};

use super::Handlers;
use super::options::{Options, integer};
use crate::client::Flags;
use crate::engine::{Call, CommandError, CommandResult};
use crate::persistence;
use crate::persistence::value::PayloadError;
use crate::scripting::flags::ScriptFlags;
use crate::scripting::state::{Library, LibraryFunction, Running, Script};
use crate::scripting::{debug, eval, functions};

pub(super) const HANDLERS: Handlers = &[
    ("eval", |call| eval_text(call, false)),
    ("eval_ro", |call| eval_text(call, true)),
    ("evalsha", |call| eval_cached(call, false)),
    ("evalsha_ro", |call| eval_cached(call, true)),
    ("fcall", |call| call_function(call, false)),
    ("fcall_ro", |call| call_function(call, true)),
    ("function|delete", function_delete),
    ("function|dump", function_dump),
    ("function|flush", function_flush),
    ("function|help", function_help),
    ("function|kill", |call| kill(call, false)),
    ("function|list", function_list),
    ("function|load", function_load),
    ("function|restore", function_restore),
    ("function|stats", function_stats),
    ("script|debug", script_debug),
    ("script|exists", script_exists),
    ("script|flush", script_flush),
    ("script|help", script_help),
    ("script|kill", |call| kill(call, true)),
    ("script|load", script_load),
    ("script|show", script_show),
];

const NO_SCRIPT: CommandError = CommandError::new(error::NO_SCRIPT);
const TOO_MANY_KEYS: CommandError =
    CommandError::new("ERR Number of keys can't be greater than number of args");
const TOO_FEW_KEYS: CommandError = CommandError::new("ERR Number of keys can't be negative");

/// How many of the arguments behind the number are keys.
fn keys(args: Args<'_>, number: i64) -> Result<usize, CommandError> {
    if number > args.len() as i64 - 3 {
        return Err(TOO_MANY_KEYS);
    }
    usize::try_from(number).map_err(|_| TOO_FEW_KEYS)
}

/// Shows the call to monitors before the commands that it makes.
fn show(call: &mut Call<'_>) {
    if call.core.has_monitors() {
        call.core.show_to_monitors(call.client, call.row, call.args);
    }
}

/// `EVAL script numkeys [key ...] [arg ...]`
fn eval_text(call: &mut Call<'_>, read_only: bool) -> CommandResult {
    show(call);
    let eval = |call: &mut Call<'_>| {
        let keys = keys(call.args, integer(call.arg(2))?)?;
        let script = eval::cache(call.core, call.arg(1))?;
        eval::run(call, &script, keys, read_only)
    };
    if call.client.flags.any(Flags::DEBUGS) { debug::run(call, eval) } else { eval(call) }
}

/// `EVALSHA sha1 numkeys [key ...] [arg ...]`
fn eval_cached(call: &mut Call<'_>, read_only: bool) -> CommandResult {
    show(call);
    let sha = eval::sha(call.arg(1)).ok_or(NO_SCRIPT)?;
    if call.client.flags.any(Flags::DEBUGS) {
        return Err(CommandError::new("ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    let keys = keys(call.args, integer(call.arg(2))?)?;
    let script: Rc<Script> = call.core.scripting.scripts.get(&sha).cloned().ok_or(NO_SCRIPT)?;
    eval::run(call, &script, keys, read_only)
}

/// `SCRIPT LOAD script`
fn script_load(call: &mut Call<'_>) -> CommandResult {
    let script = eval::cache(call.core, call.arg(2))?;
    call.client.reply.bulk(script.name.as_bytes());
    Ok(())
}

/// `SCRIPT EXISTS sha1 [sha1 ...]`
fn script_exists(call: &mut Call<'_>) -> CommandResult {
    let names = call.args.tail(2);
    call.client.reply.array(names.len());
    for name in names.iter() {
        let sha = eval::sha(name);
        let there = sha.is_some_and(|sha| call.core.scripting.scripts.contains_key(&sha));
        call.client.reply.integer(i64::from(there));
    }
    Ok(())
}

/// `SCRIPT SHOW sha1`, of Valkey 8.0
fn script_show(call: &mut Call<'_>) -> CommandResult {
    let sha = eval::sha(call.arg(2)).ok_or(NO_SCRIPT)?;
    let script = call.core.scripting.scripts.get(&sha).ok_or(NO_SCRIPT)?;
    call.client.reply.bulk(&script.body);
    Ok(())
}

/// Whether the third argument is one of the ways to empty something. An interpreter cannot be given to another thread, so
/// that it is emptied at once in any case.
fn is_way_to_flush(args: Args<'_>) -> bool {
    match args.get(2) {
        None => true,
        Some(word) => {
            args.len() == 3
                && (word.eq_ignore_ascii_case(b"sync") || word.eq_ignore_ascii_case(b"async"))
        }
    }
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`
fn script_flush(call: &mut Call<'_>) -> CommandResult {
    if !is_way_to_flush(call.args) {
        return Err(CommandError::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    eval::forget_all(call.core);
    call.client.reply.ok();
    Ok(())
}

/// `SCRIPT DEBUG YES | SYNC | NO`
fn script_debug(call: &mut Call<'_>) -> CommandResult {
    if call.client.reply.pending() > 0 {
        return Err(CommandError::new("ERR SCRIPT DEBUG must be called outside a pipeline"));
    }
    let flags = &mut call.client.flags;
    match &*call.args.at(2).to_ascii_lowercase() {
        b"no" => flags.clear(Flags::DEBUGS.or(Flags::DEBUGS_HERE)),
        b"yes" => flags.set(Flags::DEBUGS),
        b"sync" => flags.set(Flags::DEBUGS.or(Flags::DEBUGS_HERE)),
        _ => return Err(CommandError::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    }
    call.client.reply.ok();
    Ok(())
}

/// `SCRIPT KILL` and `FUNCTION KILL`
fn kill(call: &mut Call<'_>, scripts: bool) -> CommandResult {
    let running: &mut Running = call
        .core
        .scripting
        .running
        .as_mut()
        .ok_or(CommandError::new("NOTBUSY No scripts in execution right now."))?;
    if running.of_primary {
        return Err(CommandError::new(
            "UNKILLABLE The busy script was sent by a master instance in the context of replication and \
             cannot be killed.",
        ));
    }
    if running.wrote {
        return Err(CommandError::new(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
             either wait the script termination or kill the server in a hard way using the SHUTDOWN \
             NOSAVE command.",
        ));
    }
    if running.is_eval != scripts {
        return Err(CommandError::new(if scripts {
            error::BUSY_FUNCTION
        } else {
            error::BUSY_SCRIPT
        }));
    }
    running.killed = true;
    call.client.reply.ok();
    Ok(())
}

/// `FCALL function numkeys [key ...] [arg ...]`
fn call_function(call: &mut Call<'_>, read_only: bool) -> CommandResult {
    show(call);
    let function = call.core.scripting.function(call.arg(1)).cloned();
    let function: Rc<LibraryFunction> =
        function.ok_or(CommandError::new("ERR Function not found"))?;
    let number =
        integer(call.arg(2)).map_err(|_| CommandError::new("ERR Bad number of keys provided"))?;
    let keys = keys(call.args, number)?;
    functions::run(call, &function, keys, read_only)
}

/// `FUNCTION LOAD [REPLACE] function-code`
fn function_load(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut taken = functions::Taken::Refused;
    let mut options = Options::new(args, 2);
    while options.left() > 1 {
        let word = options.need()?;
        if !word.eq_ignore_ascii_case(b"replace") {
            return Err(CommandError::about("ERR Unknown option given: ", word, ""));
        }
        taken = functions::Taken::Replaced;
    }
    let code = options.word().ok_or(CommandError::new("ERR Function code is missing"))?;
    let loaded = functions::load(call, code)?;
    let name = loaded.name.clone();
    functions::add(&mut call.core.scripting.libraries, vec![loaded], taken)?;
    call.dirty(1);
    call.client.reply.bulk(&name);
    Ok(())
}

/// `FUNCTION DELETE library-name`
fn function_delete(call: &mut Call<'_>) -> CommandResult {
    let name = call.arg(2);
    if !functions::remove(&mut call.core.scripting.libraries, name) {
        return Err(CommandError::new("ERR Library not found"));
    }
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`
fn function_flush(call: &mut Call<'_>) -> CommandResult {
    if call.args.len() > 3 {
        return Err(CommandError::made(error::subcommand_syntax(call.arg(0), call.arg(1))));
    }
    if !is_way_to_flush(call.args) {
        return Err(CommandError::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    call.core.scripting.forget_libraries();
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// `FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`
fn function_list(call: &mut Call<'_>) -> CommandResult {
    let mut options = Options::new(call.args, 2);
    let (mut pattern, mut with_code) = (None, false);
    while let Some(word) = options.word() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            let text = options
                .word()
                .ok_or(CommandError::new("ERR library name argument was not given"))?;
            pattern = Some(text);
        } else {
            return Err(CommandError::about("ERR Unknown argument ", word, ""));
        }
    }
    let libraries = &call.core.scripting.libraries.libraries;
    let fits = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name, true));
    let shown: Vec<(&Vec<u8>, &Library)> =
        libraries.iter().filter(|(name, _)| fits(name)).collect();
    let reply = &mut call.client.reply;
    reply.array(shown.len());
    for (name, library) in shown {
        reply.map(if with_code { 4 } else { 3 });
        reply.bulk(b"library_name");
        reply.bulk(name);
        reply.bulk(b"engine");
        reply.bulk(b"LUA");
        reply.bulk(b"functions");
        reply.array(library.functions.len());
        for function in library.functions.values() {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(function.name.as_bytes());
            reply.bulk(b"description");
            match &function.description {
                Some(text) => reply.bulk(text),
                None => reply.null(),
            }
            reply.bulk(b"flags");
            let said = ScriptFlags::NAMES.iter().filter(|(_, flag)| function.flags.any(*flag));
            reply.set(said.clone().count());
            said.for_each(|(name, _)| reply.simple(name));
        }
        if with_code {
            reply.bulk(b"library_code");
            reply.bulk(&library.code);
        }
    }
    Ok(())
}

/// `FUNCTION STATS`
fn function_stats(call: &mut Call<'_>) -> CommandResult {
    let scripting = &call.core.scripting;
    if scripting.running.as_ref().is_some_and(|running| running.is_eval) {
        return Err(CommandError::new(error::BUSY_SCRIPT));
    }
    let reply = &mut call.client.reply;
    reply.map(2);
    reply.bulk(b"running_script");
    match &scripting.running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.name.as_bytes());
            reply.bulk(b"command");
            let words = running.slow.as_ref().map(|words| words.as_args());
            reply.array(words.map_or(0, |words| words.len()));
            words.into_iter().flatten().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(running.since.elapsed().as_millis() as i64);
        }
    }
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.count(scripting.libraries.libraries.len());
    reply.bulk(b"functions_count");
    reply.count(scripting.libraries.functions.len());
    Ok(())
}

/// `FUNCTION DUMP`
fn function_dump(call: &mut Call<'_>) -> CommandResult {
    let libraries = call.core.scripting.libraries.libraries.values();
    let payload = persistence::functions::dump(libraries.map(|library| &*library.code));
    call.client.reply.bulk(&payload);
    Ok(())
}

/// `FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]`
fn function_restore(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    if args.len() > 4 {
        return Err(CommandError::made(error::subcommand_syntax(args.at(0), args.at(1))));
    }
    let word = args.get(3).unwrap_or(b"append").to_ascii_lowercase();
    let (flushes, taken) = match word.as_slice() {
        b"append" => (false, functions::Taken::RefusedByRestore),
        b"replace" => (false, functions::Taken::Replaced),
        b"flush" => (true, functions::Taken::Refused),
        _ => {
            return Err(CommandError::new(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let codes = persistence::functions::restore(args.at(2)).map_err(|error| match error {
        PayloadError::Checksum => {
            CommandError::new("ERR DUMP payload version or checksum are wrong")
        }
        PayloadError::Format(reason) => {
            CommandError::made(format!("ERR {}", reason.unwrap_or_default()))
        }
    })?;
    let loaded: Vec<_> =
        codes.iter().map(|code| functions::load(call, code)).collect::<Result<_, _>>()?;
    let libraries = functions::join(loaded)?;
    let own = &mut call.core.scripting.libraries;
    if flushes {
        *own = libraries;
    } else {
        functions::add(own, functions::take_apart(libraries), taken)?;
    }
    call.dirty(1);
    call.client.reply.ok();
    Ok(())
}

/// `SCRIPT HELP`
fn script_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Set the debug mode for subsequent scripts executed.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
        ],
    );
    Ok(())
}

/// `FUNCTION HELP`
fn function_help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "FUNCTION",
        &[
            "LOAD [REPLACE] <FUNCTION CODE>",
            "    Create a new library with the given library name and code.",
            "DELETE <LIBRARY NAME>",
            "    Delete the given library.",
            "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
            "    Return general information on all the libraries:",
            "    * Library name",
            "    * The engine used to run the Library",
            "    * Library description",
            "    * Functions list",
            "    * Library code (if WITHCODE is given)",
            "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
            "STATS",
            "    Return information about the current function running:",
            "    * Function name",
            "    * Command used to run the function",
            "    * Duration in MS that the function is running",
            "    If no function is running, return nil",
            "    In addition, returns a list of available engines.",
            "KILL",
            "    Kill the current running function.",
            "FLUSH [ASYNC|SYNC]",
            "    Delete all the libraries.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the libraries.",
            "    * SYNC: Synchronously flush the libraries.",
            "DUMP",
            "    Return a serialized payload representing the current libraries, can be restored using \
             FUNCTION RESTORE command",
            "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
            "    Restore the libraries represented by the given payload, it is possible to give a restore \
             policy to",
            "    control how to handle existing libraries (default APPEND):",
            "    * FLUSH: delete all existing libraries.",
            "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
            "    * REPLACE: appends the restored libraries to the existing libraries, On collision, \
             replace the old",
            "      libraries with the new libraries (notice that even on this option there is a chance of \
             failure",
            "      in case of functions name collision with another library).",
        ],
    );
    Ok(())
}
