//! The way of a request through the server: any bytes are read as requests and executed, scripts and streams among them.
//!
//! Each reply is one whole reply. What was written is handed on as to a log, and an engine that executes that has the same
//! data: of keys, of databases, of functions. Two clients take turns, the second where the first waits.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use redstart_common::resp::{Args, Limits, OwnedArgs, ReplyLimits, ReplyScanner, RequestScanner};
use redstart_server::client::{Client, Flags, Origin};
use redstart_server::commands;
use redstart_server::engine::Engine;
use redstart_server::engine::feed::{Audience, Batch, Part};
use redstart_server::settings::{Protected, Settings};

/// What a text may grow to, and a request hold.
const TEXT_MAX: usize = 1 << 20;
/// More digits than this are not taken where a number says how much is to be made or answered.
const DIGITS_MAX: usize = 4;
/// Commands of one input.
const COMMANDS_MAX: usize = 200;

fuzz_target!(|data: &[u8]| {
    let mut engine = new_engine();
    let mut written = Vec::new();
    let mut clients = [add_client(&mut engine), add_client(&mut engine)];
    let limits = Limits { proto_max_bulk_len: TEXT_MAX, ..Limits::default() };
    let (mut scanner, mut at) = (RequestScanner::new(), 0);
    for _ in 0..COMMANDS_MAX {
        let Ok(Some(used)) = scanner.scan(&data[at..], &limits) else { break };
        let args = scanner.args(&data[at..]);
        if !args.is_empty() && !goes_beyond(args) {
            let place = usize::from(is_waiting(&mut engine, clients[0]));
            if place == 1 && is_waiting(&mut engine, clients[1]) {
                break;
            }
            written.extend(execute(&mut engine, &mut clients[place], args));
        }
        at += used;
    }

    let mut other = new_engine();
    repeat(&written, &engine, &mut other);
    for command in [&[&b"DEBUG"[..], b"DIGEST"][..], &[b"FUNCTION", b"LIST"]] {
        assert_eq!(ask(&mut engine, command), ask(&mut other, command), "what was written");
    }
});

/// An engine that keeps to itself: nothing is saved, and what would take longest is bounded.
fn new_engine() -> Engine {
    static HANDLERS: OnceLock<&redstart_server::engine::Handlers> = OnceLock::new();
    let settings = Settings {
        enable_debug_command: Protected::Yes,
        proto_max_bulk_len: TEXT_MAX,
        ..Settings::default()
    };
    let mut engine = Engine::new(settings, HANDLERS.get_or_init(commands::handlers));
    engine.core.settings.save.clear();
    engine.apply_settings();
    engine.refresh();
    engine
}

/// A client in its place; answers which.
fn add_client(engine: &mut Engine) -> usize {
    let id = engine.core.clients.new_id();
    engine.core.clients.add(Box::new(Client::new(id, 0)))
}

fn is_waiting(engine: &mut Engine, slot: usize) -> bool {
    engine.core.clients.at(slot).is_none_or(|client| client.flags.any(Flags::BLOCKED))
}

/// Executes a request as a connection would, and looks at the reply. Answers what it has written.
fn execute(engine: &mut Engine, slot: &mut usize, args: Args<'_>) -> Option<Batch> {
    let mut client = engine.core.clients.take(*slot)?;
    let is_quiet = client.flags.any(Flags::REPLY_OFF.or(Flags::REPLY_SKIP_NEXT));
    let before = replies(&client.reply.output.waiting());
    // There is neither a log nor a replica, so nobody would be written for.
    engine.core.feed.set_audience(Audience::ALL);
    engine.execute(&mut client, args);
    let written = engine.core.feed.take();
    let after = replies(&client.reply.output.waiting());
    let may_say_more = is_quiet || has_messages(&client) || client.flags.any(Flags::BLOCKED);
    let ends = client.flags.any(Flags::CLOSE_ASAP.or(Flags::CLOSE_AFTER_REPLY));
    if !may_say_more && !ends && !says_nothing(args) {
        assert_eq!(after, before + 1, "{}", text_of(args));
    }
    if after > 64 {
        client.reply.output.clear();
    }
    engine.core.clients.put_back(client);
    if ends {
        engine.forget_client(*slot);
        *slot = add_client(engine);
    }
    Some(written)
}

/// Whether messages may come between replies, or several be one reply.
fn has_messages(client: &Client) -> bool {
    client.tracking.is_some()
        || client.flags.any(Flags::MONITOR)
        || client.channels.count() > 0
        || client.last_command.is_some_and(|id| id.spec().name.ends_with("subscribe"))
}

/// What is answered by nothing, or later.
fn says_nothing(args: Args<'_>) -> bool {
    const NAMES: [&str; 4] = ["client", "replconf", "monitor", "reset"];
    NAMES.iter().any(|name| args.at(0).eq_ignore_ascii_case(name.as_bytes()))
}

/// How many whole replies there are, and nothing else.
fn replies(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let used = ReplyScanner::new().scan(bytes, &ReplyLimits::default());
        let Ok(Some(used)) = used else {
            panic!("no whole reply: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
        };
        bytes = &bytes[used..];
        count += 1;
    }
    count
}

/// Has `other` execute what `engine` has handed on.
fn repeat(written: &[Batch], engine: &Engine, other: &mut Engine) {
    let mut reader = Box::new(Client::new(0, 0));
    reader.origin = Origin::Log;
    reader.flags.set(Flags::DENY_BLOCKING);
    // What has a deadline was alive when it was handed on.
    let now = engine.keyspace.shared.now_ms.get();
    other.keyspace.shared.now_ms.set(now);
    for part in written.iter().flat_map(|batch| batch.parts(Audience::LOG)) {
        let Part::Command { db, bytes } = part else { continue };
        let mut scanner = RequestScanner::new();
        let limits = Limits::default();
        let used = scanner.scan(bytes, &limits).expect("a request").expect("a whole one");
        assert_eq!(used, bytes.len());
        reader.db = db;
        let args = scanner.args(bytes);
        let errors = other.core.stats.total_errors;
        assert!(other.replay(&mut reader, args), "unknown: {}", text_of(args));
        assert_eq!(other.core.stats.total_errors, errors, "failed: {}", text_of(args));
    }
}

/// The reply to a command of a client of its own.
fn ask(engine: &mut Engine, words: &[&[u8]]) -> String {
    let args = OwnedArgs::from_slices(words);
    let mut client = Box::new(Client::new(0, 0));
    engine.execute(&mut client, args.as_args());
    String::from_utf8_lossy(&client.reply.output.waiting()).into_owned()
}

/// What would leave the engine, end the process, or take longer than is of use here.
fn goes_beyond(args: Args<'_>) -> bool {
    // They reach files, other servers or the process, or stop the engine.
    const NAMES: [&str; 21] = [
        "debug",
        "config",
        "acl",
        "shutdown",
        "save",
        "bgsave",
        "bgrewriteaof",
        "replicaof",
        "slaveof",
        "psync",
        "sync",
        "migrate",
        "failover",
        "monitor",
        "wait",
        "waitaof",
        "latency",
        "memory",
        "module",
        "script",
        "flushall",
    ];
    // Numbers that say how much is made or answered.
    const AMOUNTS: [&str; 7] =
        ["srandmember", "hrandfield", "zrandmember", "bf.reserve", "bf.insert", "lmpop", "pfdebug"];
    let is = |name: &&str| args.at(0).eq_ignore_ascii_case(name.as_bytes());
    let second = args.get(1).unwrap_or_default();
    let is_second = |word: &str| second.eq_ignore_ascii_case(word.as_bytes());
    if NAMES.iter().any(|name| is(&name)) {
        let is_harmless = is(&"script") && (is_second("load") || is_second("exists"))
            || is(&"memory") && is_second("usage")
            || is(&"config") && is_second("get")
            || is(&"flushall") && args.len() == 1;
        return !is_harmless;
    }
    if is(&"client") && (is_second("pause") || is_second("kill") || is_second("unblock")) {
        return true;
    }
    let many_digits =
        |arg: &[u8]| arg.iter().filter(|byte| byte.is_ascii_digit()).count() > DIGITS_MAX;
    if AMOUNTS.iter().any(|name| is(&name)) && args.iter().skip(2).any(many_digits) {
        return true;
    }
    // A script that does not end is ended by an operator, and there is none.
    let is_script = ["eval", "eval_ro", "function"].iter().any(|name| is(&name)) || is(&"script");
    let loops = |arg: &[u8]| {
        const WORDS: [&str; 8] =
            ["while", "repeat", "for", "rep", "gsub", "find", "match", "collectgarbage"];
        WORDS.iter().any(|word| arg.windows(word.len()).any(|part| part == word.as_bytes()))
    };
    is_script && args.iter().any(loops)
}

fn text_of(args: Args<'_>) -> String {
    args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect::<Vec<_>>().join(" ")
}
