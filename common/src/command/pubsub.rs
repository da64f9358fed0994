//! Publish and subscribe.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, pattern, string};
use super::spec::{Channels, CommandSpec, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::PubSub);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "psubscribe",
        arity: -2,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![PUBSUB, SLOW],
        channels: Channels::SubscribePatterns,
        summary: "Listen for messages published to channels matching the given patterns",
        complexity: "O(N) where N is the number of patterns the client is already subscribed to.",
        since: "2.0.0",
        arguments: &[block("pattern", &[pattern("pattern")]).multiple()],
        ..ROW
    },
    CommandSpec {
        name: "publish",
        arity: 3,
        flags: flags![PUBSUB, LOADING, STALE, FAST, MAY_REPLICATE, SENTINEL],
        categories: categories![PUBSUB, FAST],
        channels: Channels::Publish,
        summary: "Post a message to a channel",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel \
            and M is the total number of subscribed patterns (by any client).",
        since: "2.0.0",
        arguments: &[string("channel"), string("message")],
        ..ROW
    },
    CommandSpec {
        name: "pubsub",
        arity: -2,
        flags: flags![],
        categories: categories![SLOW],
        summary: "A container for Pub/Sub commands",
        complexity: "Depends on subcommand.",
        since: "2.8.0",
        declared: PUBSUB,
        ..ROW
    },
    CommandSpec {
        name: "punsubscribe",
        arity: -1,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![PUBSUB, SLOW],
        channels: Channels::UnsubscribePatterns,
        summary: "Stop listening for messages posted to channels matching the given patterns",
        complexity: "O(N+M) where N is the number of patterns the client is already subscribed and \
            M is the number of total patterns subscribed in the system (by any client).",
        since: "2.0.0",
        arguments: &[pattern("pattern").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "spublish",
        arity: 3,
        flags: flags![PUBSUB, LOADING, STALE, FAST, MAY_REPLICATE],
        categories: categories![PUBSUB, FAST],
        keys: Keys::of(&[KeySpec::at(1, key_flags![NOT_KEY])]),
        channels: Channels::Publish,
        summary: "Post a message to a shard channel",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard \
            channel.",
        since: "7.0.0",
        arguments: &[string("shardchannel"), string("message")],
        ..ROW
    },
    CommandSpec {
        name: "ssubscribe",
        arity: -2,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![NOT_KEY]).range(-1, 1, 0)]),
        channels: Channels::Subscribe,
        summary: "Listen for messages published to the given shard channels",
        complexity: "O(N) where N is the number of shard channels to subscribe to.",
        since: "7.0.0",
        arguments: &[string("shardchannel").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "subscribe",
        arity: -2,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![PUBSUB, SLOW],
        channels: Channels::Subscribe,
        summary: "Listen for messages published to the given channels",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        since: "2.0.0",
        arguments: &[string("channel").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "sunsubscribe",
        arity: -1,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![NOT_KEY]).range(-1, 1, 0)]),
        channels: Channels::Unsubscribe,
        summary: "Stop listening for messages posted to the given shard channels",
        complexity: "O(N) where N is the number of clients already subscribed to a shard channel.",
        since: "7.0.0",
        arguments: &[string("shardchannel").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "unsubscribe",
        arity: -1,
        flags: flags![PUBSUB, NOSCRIPT, LOADING, STALE, SENTINEL],
        categories: categories![PUBSUB, SLOW],
        channels: Channels::Unsubscribe,
        summary: "Stop listening for messages posted to the given channels",
        complexity: "O(N) where N is the number of clients already subscribed to a channel.",
        since: "2.0.0",
        arguments: &[string("channel").optional().multiple()],
        ..ROW
    },
];

/// Sub-commands of PUBSUB.
const PUBSUB: &[CommandSpec] = &[
    CommandSpec {
        name: "pubsub|channels",
        arity: -2,
        flags: flags![PUBSUB, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        summary: "List active channels",
        complexity: "O(N) where N is the number of active channels, and assuming constant time \
            pattern matching (relatively short channels and patterns)",
        since: "2.8.0",
        arguments: &[pattern("pattern").optional()],
        ..ROW
    },
    CommandSpec {
        name: "pubsub|help",
        arity: 2,
        flags: flags![LOADING, STALE],
        categories: categories![SLOW],
        summary: "Show helpful text about the different subcommands",
        complexity: "O(1)",
        since: "6.2.0",
        ..ROW
    },
    CommandSpec {
        name: "pubsub|numpat",
        arity: 2,
        flags: flags![PUBSUB, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        summary: "Get the count of unique patterns pattern subscriptions",
        complexity: "O(1)",
        since: "2.8.0",
        ..ROW
    },
    CommandSpec {
        name: "pubsub|numsub",
        arity: -2,
        flags: flags![PUBSUB, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        summary: "Get the count of subscribers for channels",
        complexity: "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
        since: "2.8.0",
        arguments: &[string("channel").optional().multiple()],
        ..ROW
    },
    CommandSpec {
        name: "pubsub|shardchannels",
        arity: -2,
        flags: flags![PUBSUB, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        summary: "List active shard channels",
        complexity: "O(N) where N is the number of active shard channels, and assuming constant \
            time pattern matching (relatively short shard channels).",
        since: "7.0.0",
        arguments: &[pattern("pattern").optional()],
        ..ROW
    },
    CommandSpec {
        name: "pubsub|shardnumsub",
        arity: -2,
        flags: flags![PUBSUB, LOADING, STALE],
        categories: categories![PUBSUB, SLOW],
        summary: "Get the count of subscribers for shard channels",
        complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard \
            channels",
        since: "7.0.0",
        arguments: &[string("shardchannel").optional().multiple()],
        ..ROW
    },
];
