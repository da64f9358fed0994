//! `LATENCY`: how long commands took, and what took too long.

use redstart_common::command::{self, Mode};

use super::Handlers;
use crate::engine::Call;
use crate::engine::{CommandError, CommandResult};
use crate::observe::latency::Circumstances;

pub(super) const HANDLERS: Handlers = &[
    ("latency|doctor", doctor),
    ("latency|graph", graph),
    ("latency|help", help),
    ("latency|histogram", histogram),
    ("latency|history", history),
    ("latency|latest", latest),
    ("latency|reset", reset),
];

/// `LATENCY LATEST`
pub fn latest(call: &mut Call<'_>) -> CommandResult {
    let reply = &mut call.client.reply;
    let events = call.core.latency.iter();
    reply.array(events.len());
    for (event, series) in events {
        let last = series.latest();
        reply.array(4);
        reply.bulk(event.as_bytes());
        reply.integer(last.map_or(0, |sample| sample.at_s));
        reply.integer(last.map_or(0, |sample| sample.ms as i64));
        reply.integer(series.worst_ms() as i64);
    }
    Ok(())
}

/// `LATENCY HISTORY event`
pub fn history(call: &mut Call<'_>) -> CommandResult {
    let reply = &mut call.client.reply;
    match call.core.latency.of(call.args.at(2)) {
        None => reply.array(0),
        Some((_, series)) => {
            let samples = series.samples();
            reply.array(samples.len());
            for sample in samples {
                reply.array(2);
                reply.integer(sample.at_s);
                reply.integer(sample.ms as i64);
            }
        }
    }
    Ok(())
}

/// `LATENCY GRAPH event`
pub fn graph(call: &mut Call<'_>) -> CommandResult {
    let event = call.arg(2);
    let drawn =
        call.core.latency.graph(event).ok_or_else(|| {
            CommandError::about("ERR No samples available for event '", event, "'")
        })?;
    call.client.reply.verbatim(*b"txt", drawn.as_bytes());
    Ok(())
}

/// `LATENCY DOCTOR`
pub fn doctor(call: &mut Call<'_>) -> CommandResult {
    let given = Circumstances {
        threshold_ms: call.core.settings.latency_monitor_threshold,
        slowlog_us: call.core.settings.command_logs.slow.from,
        hz: call.core.settings.hz,
    };
    let report = call.core.latency.report(call.now_ms() / 1000, given);
    call.client.reply.verbatim(*b"txt", report.as_bytes());
    Ok(())
}

/// `LATENCY RESET [event [event ...]]`
pub fn reset(call: &mut Call<'_>) -> CommandResult {
    let named = call.args.tail(2);
    let count = if named.is_empty() {
        call.core.latency.reset(None)
    } else {
        named.iter().map(|event| call.core.latency.reset(Some(event))).sum()
    };
    call.client.reply.count(count);
    Ok(())
}

/// `LATENCY HISTOGRAM [command [command ...]]`
pub fn histogram(call: &mut Call<'_>) -> CommandResult {
    let named = call.args.tail(2);
    let rows: Vec<_> = if named.is_empty() {
        command::all().iter().collect()
    } else {
        named
            .iter()
            .filter_map(|name| command::lookup_full_name(Mode::Server, name))
            .flat_map(|id| std::iter::once(id.spec()).chain(id.spec().subcommands()))
            .collect()
    };
    let open = call.client.reply.begin();
    let mut count = 0;
    for row in rows {
        let stats = call.core.stats.of(row.id);
        let Some(latency) = stats.latency.as_ref().filter(|latency| latency.count() > 0) else {
            continue;
        };
        count += 1;
        let reply = &mut call.client.reply;
        reply.bulk(row.name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(latency.count() as i64);
        reply.bulk(b"histogram_usec");
        // Cumulative counts at powers of two, as Redis prints them.
        let (mut limit, mut sum) = (1_u64, 0);
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for (upper, times) in latency.iter() {
            while limit < upper {
                limit *= 2;
            }
            sum += times;
            match steps.last_mut() {
                Some(last) if last.0 == limit => last.1 = sum,
                _ => steps.push((limit, sum)),
            }
        }
        reply.map(steps.len());
        for (limit, sum) in steps {
            reply.integer(limit as i64);
            reply.integer(sum as i64);
        }
    }
    call.client.reply.end_map(open, count);
    Ok(())
}

/// `LATENCY HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "LATENCY",
        &[
            "DOCTOR",
            "    Return a human readable latency analysis report.",
            "GRAPH <event>",
            "    Return an ASCII latency graph for the <event> class.",
            "HISTORY <event>",
            "    Return time-latency samples for the <event> class.",
            "LATEST",
            "    Return the latest latency samples for all events.",
            "RESET [<event> ...]",
            "    Reset latency data of one or more <event> classes.",
            "    (default: reset all data for all event classes)",
            "HISTOGRAM [COMMAND ...]",
            "    Return a cumulative distribution of latencies in the format of a histogram for the \
             specified command names.",
            "    If no commands are specified then all histograms are replied.",
        ],
    );
    Ok(())
}
