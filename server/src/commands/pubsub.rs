//! Publish and subscribe.

use redstart_common::glob;

use super::Handlers;
use crate::client::Flags;
use crate::engine::Call;
use crate::engine::feed::Audience;
use crate::engine::{CommandError, CommandResult};
use crate::pubsub::Channel;

pub(super) const HANDLERS: Handlers = &[
    ("psubscribe", psubscribe),
    ("publish", publish),
    ("pubsub|channels", channels),
    ("pubsub|help", help),
    ("pubsub|numpat", numpat),
    ("pubsub|numsub", numsub),
    ("pubsub|shardchannels", shard_channels),
    ("pubsub|shardnumsub", shard_numsub),
    ("punsubscribe", punsubscribe),
    ("spublish", spublish),
    ("ssubscribe", ssubscribe),
    ("subscribe", subscribe),
    ("sunsubscribe", sunsubscribe),
    ("unsubscribe", unsubscribe),
];

fn words(kind: Channel) -> (&'static [u8], &'static [u8]) {
    match kind {
        Channel::Plain => (b"subscribe", b"unsubscribe"),
        Channel::Pattern => (b"psubscribe", b"punsubscribe"),
        Channel::Shard => (b"ssubscribe", b"sunsubscribe"),
    }
}

fn count(call: &Call<'_>, kind: Channel) -> usize {
    match kind {
        Channel::Shard => call.client.channels.shards.len(),
        _ => call.client.channels.count(),
    }
}

fn listen(call: &mut Call<'_>, kind: Channel) -> CommandResult {
    if call.client.flags.any(Flags::DENY_BLOCKING) && !call.client.flags.any(Flags::EXECUTING) {
        return Err(CommandError::new("ERR SUBSCRIBE isn't allowed for a DENY BLOCKING client"));
    }
    for channel in call.args.tail(1).iter() {
        call.core.pubsub.subscribe(call.client, kind, channel);
        let count = count(call, kind);
        let reply = &mut call.client.reply;
        reply.push(3);
        reply.bulk(words(kind).0);
        reply.bulk(channel);
        reply.count(count);
    }
    Ok(())
}

fn stop_listening(call: &mut Call<'_>, kind: Channel) -> CommandResult {
    let named: Vec<Box<[u8]>> = if call.args.len() > 1 {
        call.args.tail(1).iter().map(Box::from).collect()
    } else {
        call.client.channels.of(kind).iter().cloned().collect()
    };
    for channel in &named {
        call.core.pubsub.unsubscribe(call.client, kind, channel);
        let count = count(call, kind);
        let reply = &mut call.client.reply;
        reply.push(3);
        reply.bulk(words(kind).1);
        reply.bulk(channel);
        reply.count(count);
    }
    if named.is_empty() {
        let count = count(call, kind);
        let reply = &mut call.client.reply;
        reply.push(3);
        reply.bulk(words(kind).1);
        reply.null();
        reply.count(count);
    }
    Ok(())
}

/// `SUBSCRIBE channel [channel ...]`
pub fn subscribe(call: &mut Call<'_>) -> CommandResult {
    listen(call, Channel::Plain)
}

/// `PSUBSCRIBE pattern [pattern ...]`
pub fn psubscribe(call: &mut Call<'_>) -> CommandResult {
    listen(call, Channel::Pattern)
}

/// `SSUBSCRIBE shardchannel [shardchannel ...]`
pub fn ssubscribe(call: &mut Call<'_>) -> CommandResult {
    listen(call, Channel::Shard)
}

/// `UNSUBSCRIBE [channel [channel ...]]`
pub fn unsubscribe(call: &mut Call<'_>) -> CommandResult {
    stop_listening(call, Channel::Plain)
}

/// `PUNSUBSCRIBE [pattern [pattern ...]]`
pub fn punsubscribe(call: &mut Call<'_>) -> CommandResult {
    stop_listening(call, Channel::Pattern)
}

/// `SUNSUBSCRIBE [shardchannel [shardchannel ...]]`
pub fn sunsubscribe(call: &mut Call<'_>) -> CommandResult {
    stop_listening(call, Channel::Shard)
}

fn send(call: &mut Call<'_>, kind: Channel) -> CommandResult {
    let args = call.args;
    let core = &mut *call.core;
    let receivers = core.pubsub.publish(
        &mut core.clients,
        Some(&mut *call.client),
        kind,
        args.at(1),
        args.at(2),
    );
    if call.core.cluster.is_some() {
        // The bus brings it to replicas, too.
        let sharded = kind == Channel::Shard;
        call.core.cluster_step(call.keyspace, Some(call.client), |cluster, turn| {
            cluster.publish(args.at(1), args.at(2), sharded, turn);
        });
    } else {
        call.core.feed.push_to(Audience::REPLICAS, 0, &args.iter().collect::<Vec<_>>());
    }
    call.client.reply.count(receivers);
    Ok(())
}

/// `PUBLISH channel message`
pub fn publish(call: &mut Call<'_>) -> CommandResult {
    if call.core.sentinel.is_some() {
        return super::sentinel::publish(call);
    }
    send(call, Channel::Plain)
}

/// `SPUBLISH shardchannel message`
pub fn spublish(call: &mut Call<'_>) -> CommandResult {
    send(call, Channel::Shard)
}

fn list(call: &mut Call<'_>, kind: Channel) -> CommandResult {
    let args = call.args;
    super::options::at_most(call, 3)?;
    let pattern = args.get(2);
    let open = call.client.reply.begin();
    let mut count = 0;
    for channel in call.core.pubsub.active(kind) {
        if pattern.is_none_or(|pattern| glob::matches(pattern, channel, false)) {
            call.client.reply.bulk(channel);
            count += 1;
        }
    }
    call.client.reply.end_array(open, count);
    Ok(())
}

/// `PUBSUB CHANNELS [pattern]`
pub fn channels(call: &mut Call<'_>) -> CommandResult {
    list(call, Channel::Plain)
}

/// `PUBSUB SHARDCHANNELS [pattern]`
pub fn shard_channels(call: &mut Call<'_>) -> CommandResult {
    list(call, Channel::Shard)
}

fn subscribers(call: &mut Call<'_>, kind: Channel) -> CommandResult {
    let named = call.args.tail(2);
    call.client.reply.array(named.len() * 2);
    for channel in named.iter() {
        call.client.reply.bulk(channel);
        call.client.reply.count(call.core.pubsub.listeners(kind, channel));
    }
    Ok(())
}

/// `PUBSUB NUMSUB [channel [channel ...]]`
pub fn numsub(call: &mut Call<'_>) -> CommandResult {
    subscribers(call, Channel::Plain)
}

/// `PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]`
pub fn shard_numsub(call: &mut Call<'_>) -> CommandResult {
    subscribers(call, Channel::Shard)
}

/// `PUBSUB NUMPAT`
pub fn numpat(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.count(call.core.pubsub.pattern_count());
    Ok(())
}

/// `PUBSUB HELP`
pub fn help(call: &mut Call<'_>) -> CommandResult {
    call.client.reply.help(
        "PUBSUB",
        &[
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            "    Return the currently active shard level channels matching a <pattern> (default: \
             '*').",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ],
    );
    Ok(())
}
