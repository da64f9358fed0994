//! `CLIENT`: what clients ask and say about clients.

use redstart_common::client_filter::{Command, Filter, Known};
use redstart_common::number;

use super::Handlers;
use super::connection::{NAME_NOT_PLAIN, is_plain};
use crate::client::{Client, Flags, describe, facts};
use crate::engine::Call;
use crate::engine::Pause;
use crate::engine::Unblock;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use redstart_common::resp::error;

pub(super) const HANDLERS: Handlers = &[
    ("client|capa", capa),
    ("client|getname", getname),
    ("client|help", help),
    ("client|id", id),
    ("client|info", info),
    ("client|kill", kill),
    ("client|list", list),
    ("client|no-evict", no_evict),
    ("client|no-touch", no_touch),
    ("client|pause", pause),
    ("client|reply", reply),
    ("client|setinfo", setinfo),
    ("client|setname", setname),
    ("client|unblock", unblock),
    ("client|unpause", unpause),
];

/// `CLIENT ID`
pub fn id(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.integer(call.client.id as i64);
    Ok(())
}

/// `CLIENT GETNAME`
pub fn getname(call: &mut Call<'_>) -> CommandResult {
    if call.client.name.is_empty() {
        call.client.reply.null();
    } else {
        call.client.reply.bulk(&call.client.name);
    }
    Ok(())
}

/// `CLIENT SETNAME connection-name`
pub fn setname(call: &mut Call<'_>) -> CommandResult {
    let name = call.arg(2);
    if !is_plain(name) {
        return Err(NAME_NOT_PLAIN);
    }
    call.client.name = name.to_vec();
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME name | LIB-VER version`, of Redis 7.2
pub fn setinfo(call: &mut Call<'_>) -> CommandResult {
    let (option, text) = (call.arg(2), call.arg(3));
    let names = ["lib-name", "lib-ver"];
    let found = names.iter().position(|name| option.eq_ignore_ascii_case(name.as_bytes()));
    let Some(at) = found else {
        let option = String::from_utf8_lossy(option);
        return Err(CommandError::made(format!("ERR Unrecognized option '{option}'")));
    };
    if !is_plain(text) {
        return Err(CommandError::made(format!(
            "ERR {} cannot contain spaces, newlines or special characters.",
            names[at]
        )));
    }
    call.client.library.get_or_insert_default()[at] = text.to_vec();
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT INFO`
pub fn info(call: &mut Call<'_>) -> CommandResult {
    let line = describe(call.client, call.now_ms()) + "\n";
    call.client.reply.verbatim(*b"txt", line.as_bytes());
    Ok(())
}

/// Reads the filters of CLIENT LIST and CLIENT KILL.
fn filter(call: &Call<'_>, command: Command) -> Result<Filter, CommandError> {
    let users = &call.core.users;
    let known =
        Known { user: &|name| users.get(name).is_some(), databases: call.core.settings.databases };
    Filter::read(call.args, command, &known).map_err(CommandError::made)
}

/// `CLIENT LIST`, with filters: those of Redis 7.0 (`TYPE`, `ID`), or of Valkey 9
pub fn list(call: &mut Call<'_>) -> CommandResult {
    let filter = filter(call, Command::List)?;
    let now = call.now_ms();
    let wanted = |client: &Client| filter.fits(&facts(client, now));
    let own = (filter.skip_me != Some(true)).then_some(&*call.client);
    let mut lines: Vec<(u64, String)> = call
        .core
        .clients
        .iter()
        .chain(own)
        .filter(|client| wanted(client))
        .map(|client| (client.id, describe(client, now) + "\n"))
        .collect();
    if let Some(primary) = call.core.primary_client(now).filter(|primary| wanted(primary)) {
        lines.push((primary.id, describe(primary, now) + "\n"));
    }
    match filter.ids() {
        // In the order in which they were asked for.
        Some(ids) => {
            lines.sort_by_key(|(id, _)| ids.iter().position(|wanted| wanted == id));
        }
        None => lines.sort_by_key(|(id, _)| *id),
    }
    let text: String = lines.into_iter().map(|(_, line)| line).collect();
    call.client.reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// `CLIENT KILL ip:port`, or with filters: those of Redis 7.0 (`ID`, `TYPE`, `USER`, `ADDR`, `LADDR`, `SKIPME`) and 7.4
/// (`MAXAGE`), and of Valkey 9
pub fn kill(call: &mut Call<'_>) -> CommandResult {
    let old_form = call.args.len() == 3;
    let filter = match old_form {
        true => Filter::of_address(call.arg(2)),
        false => filter(call, Command::Kill)?,
    };
    let now = call.now_ms();
    let mut killed = 0;
    for client in call.core.clients.iter_mut() {
        if filter.fits(&facts(client, now)) {
            killed += 1;
            client.close_asap();
        }
    }
    if call.core.primary_client(now).is_some_and(|primary| filter.fits(&facts(primary, now))) {
        killed += 1;
        call.core.replicate(call.keyspace, Some(call.client), |replication, turn| {
            replication.cut_stream(turn);
        });
    }
    if filter.skip_me == Some(false) && filter.fits(&facts(call.client, now)) {
        killed += 1;
        call.client.flags.set(Flags::CLOSE_AFTER_REPLY);
    }
    if !old_form {
        call.client.reply.integer(killed);
        return Ok(());
    }
    if killed == 0 {
        return Err(CommandError::new("ERR No such client"));
    }
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`
pub fn no_evict(call: &mut Call<'_>) -> CommandResult {
    let word = call.arg(2);
    if word.eq_ignore_ascii_case(b"on") {
        call.client.flags.set(Flags::NO_EVICT);
    } else if word.eq_ignore_ascii_case(b"off") {
        call.client.flags.clear(Flags::NO_EVICT);
    } else {
        return Err(SYNTAX);
    }
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT CAPA capability [capability ...]`, of Valkey 8.0. What is not known is passed over, so that newer clients need not ask.
pub fn capa(call: &mut Call<'_>) -> CommandResult {
    if call.args.tail(2).iter().any(|word| word.eq_ignore_ascii_case(b"redirect")) {
        call.client.flags.set(Flags::FOLLOWS);
    }
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`, of Redis 7.2
pub fn no_touch(call: &mut Call<'_>) -> CommandResult {
    let word = call.arg(2);
    if word.eq_ignore_ascii_case(b"on") {
        call.client.flags.set(Flags::NO_TOUCH);
    } else if word.eq_ignore_ascii_case(b"off") {
        call.client.flags.clear(Flags::NO_TOUCH);
    } else {
        return Err(SYNTAX);
    }
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`
pub fn reply(call: &mut Call<'_>) -> CommandResult {
    let word = call.arg(2);
    if word.eq_ignore_ascii_case(b"on") {
        call.client.flags.clear(Flags::REPLY_OFF.or(Flags::REPLY_SKIP));
        call.client.reply.ok();
    } else if word.eq_ignore_ascii_case(b"off") {
        call.client.flags.set(Flags::REPLY_OFF);
    } else if word.eq_ignore_ascii_case(b"skip") {
        if !call.client.flags.any(Flags::REPLY_OFF) {
            call.client.flags.set(Flags::REPLY_SKIP_NEXT);
        }
    } else {
        return Err(SYNTAX);
    }
    Ok(())
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`
pub fn unblock(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let why = match args.get(3) {
        None => Unblock::Timeout,
        Some(word) if word.eq_ignore_ascii_case(b"timeout") => Unblock::Timeout,
        Some(word) if word.eq_ignore_ascii_case(b"error") => Unblock::Error,
        Some(_) => {
            return Err(CommandError::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = super::options::integer(args.at(2))?;
    let done = u64::try_from(id).is_ok_and(|id| call.core.unblock(id, why));
    call.client.reply.integer(i64::from(done));
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
pub fn pause(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let kind = match args.get(3) {
        None => Pause::All,
        Some(word) if word.eq_ignore_ascii_case(b"write") => Pause::Writes,
        Some(word) if word.eq_ignore_ascii_case(b"all") => Pause::All,
        Some(_) => {
            return Err(CommandError::new("ERR CLIENT PAUSE mode must be WRITE or ALL"));
        }
    };
    let timeout =
        number::parse_i64(args.at(2)).ok_or(CommandError::new(error::TIMEOUT_NOT_AN_INTEGER))?;
    if timeout < 0 {
        return Err(CommandError::new(error::TIMEOUT_NEGATIVE));
    }
    let until = call.now_ms().saturating_add(timeout);
    call.core.pause(kind, until, &call.keyspace.shared);
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT UNPAUSE`
pub fn unpause(call: &mut Call<'_>) -> CommandResult {
    call.core.unpause(&call.keyspace.shared);
    call.client.reply.ok();
    Ok(())
}

/// `CLIENT HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "CLIENT",
        &[
            "CACHING (YES|NO)",
            "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
            "GETREDIR",
            "    Return the client ID we are redirecting to when tracking is enabled.",
            "GETNAME",
            "    Return the name of the current connection.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are:",
            "    * ADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made from the specified address",
            "    * LADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made to specified local address",
            "    * TYPE (normal|master|replica|pubsub)",
            "      Kill connections by type.",
            "    * USER <username>",
            "      Kill connections authenticated by <username>.",
            "    * SKIPME (YES|NO)",
            "      Skip killing current connection (default: yes).",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Return clients of specified type.",
            "UNPAUSE",
            "    Stop the current client pause, resuming traffic.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Suspend all, or just write, clients for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "UNBLOCK <clientid> [TIMEOUT|ERROR]",
            "    Unblock the specified blocked client.",
            "NO-EVICT (ON|OFF)",
            "    Protect current client connection from eviction.",
            "NO-TOUCH (ON|OFF)",
            "    Will not touch LRU/LFU stats when this mode is on.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are:",
            "    * LIB-NAME: the client lib name.",
            "    * LIB-VER: the client lib version.",
        ],
    );
    Ok(())
}
