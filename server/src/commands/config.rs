//! `CONFIG`.

use redstart_common::glob;

use super::Handlers;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult, SYNTAX};
use crate::settings::rows::{HIDDEN, ROWS, Row, When, find};
use crate::settings::{Protected, file};

pub(super) const HANDLERS: Handlers = &[
    ("config|get", get),
    ("config|help", help),
    ("config|resetstat", resetstat),
    ("config|rewrite", rewrite),
    ("config|set", set),
];

/// `CONFIG GET parameter [parameter ...]`
pub fn get(call: &mut Call<'_>) -> CommandResult {
    let mut found: Vec<(&str, &Row)> = Vec::new();
    for pattern in call.args.tail(2).iter() {
        for row in ROWS {
            for name in std::iter::once(row.name).chain(row.alias) {
                let known = found.iter().any(|(held, _)| *held == name);
                let hidden =
                    HIDDEN.contains(&name) && !pattern.eq_ignore_ascii_case(name.as_bytes());
                if !known && !hidden && glob::matches(pattern, name.as_bytes(), true) {
                    found.push((name, row));
                }
            }
        }
    }
    call.client.reply.map(found.len());
    for (name, row) in found {
        call.client.reply.bulk(name.as_bytes());
        let value = row.print(&call.core.settings);
        call.client.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn failed(name: &str, reason: &str) -> CommandError {
    CommandError::made(format!(
        "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
    ))
}

/// `CONFIG SET parameter value [parameter value ...]`
pub fn set(call: &mut Call<'_>) -> CommandResult {
    let args = call.args.tail(2);
    if !args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let mut changes: Vec<(&'static Row, String, String)> = Vec::new();
    for at in (0..args.len()).step_by(2) {
        let name = String::from_utf8_lossy(args.at(at)).into_owned();
        let Some(row) = find(&name) else {
            let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err(CommandError::about(before, args.at(at), "'"));
        };
        let guarded = match row.when {
            When::Live => false,
            When::Start => return Err(failed(&name, "can't set immutable config")),
            When::Protected => match call.core.settings.enable_protected_configs {
                Protected::Yes => false,
                Protected::Local => !is_local(call),
                Protected::No => true,
            },
        };
        if guarded {
            return Err(failed(&name, "can't set protected config"));
        }
        const NOT_WHILE_LOADING: [&str; 3] = ["appendonly", "dir", "repl-diskless-load"];
        if call.core.saved.loading.is_some() && NOT_WHILE_LOADING.contains(&row.name) {
            return Err(CommandError::new(redstart_common::resp::error::LOADING));
        }
        if changes.iter().any(|(known, _, _)| std::ptr::eq(*known, row)) {
            return Err(failed(&name, "duplicate parameter"));
        }
        changes.push((row, name, String::from_utf8_lossy(args.at(at + 1)).into_owned()));
    }
    // All or nothing: the new settings take the place of the old once every value is read.
    let mut settings = call.core.settings.clone();
    for (row, name, value) in &changes {
        let words: Vec<&str> =
            if row.name == "bind" { value.split_ascii_whitespace().collect() } else { vec![value] };
        row.parse(&mut settings, &words).map_err(|reason| failed(name, &reason))?;
    }
    // The files may have changed though their names have not. What is asked of clients needs none, and a port only if there was none.
    let mut tls = call.core.tls.clone();
    let reads_files = |name: &str| match name {
        "tls-auth-clients" => false,
        "tls-port" => tls.is_none(),
        _ => name.starts_with("tls-"),
    };
    let tls_row = changes.iter().find(|(row, ..)| reads_files(row.name));
    if let Some((_, name, _)) = tls_row.filter(|_| settings.tls.is_wanted()) {
        tls = Some(settings.tls.load().map_err(|line| {
            redstart_common::log!(Warning, "{line}");
            failed(name, "Unable to update TLS configuration. Check server logs.")
        })?);
    }
    let (new, old) = (&settings, &call.core.settings);
    const TAKEN: &str = "Unable to listen on this port. Check server logs.";
    let moved = if new.port != old.port {
        Some(("port", TAKEN))
    } else if new.tls.port != old.tls.port {
        Some(("tls-port", TAKEN))
    } else if new.bind != old.bind {
        Some(("bind", "Failed to bind to specified addresses."))
    } else {
        None
    };
    if let Some((name, reason)) = moved
        && !call.core.listen_as(&settings)
    {
        return Err(failed(name, reason));
    }
    call.core.tls = tls;
    if settings.maxclients > call.core.settings.maxclients
        && let Err(most) = crate::process::files::allow_clients(settings.maxclients)
    {
        let reason = format!(
            "The operating system is not able to handle the specified number of clients, try with \
             {most}"
        );
        return Err(failed("maxclients", &reason));
    }
    let adjusts = |name: &str| changes.iter().any(|(row, ..)| row.name == name);
    if let Some(name) =
        ["oom-score-adj", "oom-score-adj-values"].into_iter().find(|name| adjusts(name))
        && !crate::process::oom::apply(&settings, call.core.replication.is_replica())
    {
        return Err(failed(name, "Failed to set current oom_score_adj. Check server logs."));
    }
    if adjusts("jemalloc-bg-thread") {
        crate::process::reserve::set_background_thread(settings.jemalloc_bg_thread);
    }
    if adjusts("watchdog-period")
        && let Err(error) = crate::process::watchdog::set(&settings)
    {
        return Err(failed("watchdog-period", &error.to_string()));
    }
    if adjusts("crash-log-enabled") && !call.core.shell.embedded {
        redstart_common::crash::set_enabled(settings.crash_log_enabled);
    }
    redstart_common::log::set_level(settings.loglevel);
    if changes.iter().any(|(row, ..)| row.name == "requirepass") {
        let user = call.core.users.default_user();
        user.set_password(settings.requirepass.as_bytes());
        call.core.users_changed(call.client);
    }
    let titled = moved.is_some() || adjusts("proc-title-template");
    let logs = settings.saving.appendonly;
    let logged = call.core.settings.saving.appendonly;
    call.core.settings = settings;
    call.core.apply_settings(&call.keyspace.shared);
    call.core.apply_log_settings();
    call.core.apply_replication_settings();
    call.core.apply_cluster_settings(call.keyspace);
    if logs && !logged {
        let within = call.client.flags.any(crate::client::Flags::EXECUTING);
        if !call.core.start_log(call.keyspace, within) {
            call.core.settings.saving.appendonly = false;
            return Err(failed("appendonly", "Unable to turn on AOF. Check server logs."));
        }
    } else if logged && !logs {
        call.core.stop_log(call.keyspace);
    }
    if titled {
        call.core.show_title();
    }
    if call.core.out_of_memory() {
        call.core.evict_on();
    }
    call.client.reply.ok();
    Ok(())
}

fn is_local(call: &Call<'_>) -> bool {
    let address = &call.client.address;
    call.client.flags.any(crate::client::Flags::UNIX)
        || address.starts_with("127.")
        || address.starts_with("[::1]")
}

/// `CONFIG RESETSTAT`
pub fn resetstat(call: &mut Call<'_>) -> CommandResult {
    let core = &mut *call.core;
    core.stats.reset();
    core.rates = crate::observe::rates::Rates::default();
    core.replication.reset_counts();
    core.saved.saves = 0;
    core.logging.forget_counts();
    if let Some(costs) = &mut call.core.slot_costs {
        costs.reset();
    }
    let shared = &call.keyspace.shared;
    shared.hits.set(0);
    shared.misses.set(0);
    shared.expired_keys.set(0);
    shared.expired_fields.set(0);
    shared.expiry_cut_short.set(0);
    shared.expiry_time.take();
    shared.stale_percent.set(0.0);
    crate::keyspace::lazyfree::reset_freed();
    call.client.reply.ok();
    Ok(())
}

/// `CONFIG REWRITE`
pub fn rewrite(call: &mut Call<'_>) -> CommandResult {
    rewrite_file(call, file::Extent::Changed)
}

/// Writes the settings of now into the configuration file.
pub(super) fn rewrite_file(call: &mut Call<'_>, extent: file::Extent) -> CommandResult {
    let Some(path) = call.core.shell.config_file.clone() else {
        return Err(CommandError::new("ERR The server is running without a config file"));
    };
    let fail = |error: std::io::Error| {
        redstart_common::log!(Warning, "CONFIG REWRITE failed: {error}");
        let reason = crate::text::system_words(&error);
        CommandError::made(format!("ERR Rewriting config file: {reason}"))
    };
    let old = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        outcome => outcome.map_err(fail)?,
    };
    let users = call.core.user_lines();
    let new = file::rewrite_with(&old, &call.core.settings, &users, extent);
    crate::process::disk::replace(&path, &new).map_err(fail)?;
    redstart_common::log!(Warning, "CONFIG REWRITE executed with success.");
    call.client.reply.ok();
    Ok(())
}

/// `CONFIG HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ],
    );
    Ok(())
}
