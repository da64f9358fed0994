//! What to do with each command, worked out once from its row.
//!
//! Most rows speak for themselves: a command with keys goes where its keys lie. What a row cannot say is listed
//! here: commands the proxy answers itself, those that are cut by key or sent to every server, and those that
//! have no place on a connection that many clients share.

use redstart_common::command::spec::{
    CommandSpec, Extractor, Flags, RequestPolicy, ResponsePolicy,
};
use redstart_common::command::{self, CommandId, Mode};

use crate::client::fill;
use crate::gather::Merge;
use crate::pubsub::Kind;

/// What to do with a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Forward to the server of the key at this argument.
    Key(u8),
    /// As [`Plan::Key`]; where it misses, the next servers of the ring are asked.
    Fill(u8),
    /// Forward to the server that owns all keys; refuse if there are several.
    Keys,
    /// Cut by key: an argument group of `step` arguments per key, from the first on.
    Split {
        /// How replies become one.
        merge: Merge,
        /// Arguments per key.
        step: u8,
    },
    /// Send to every server.
    Every(Merge),
    /// About scripts.
    Script(Script),
    /// Walk from server to server.
    Scan,
    /// Send to one server, whichever.
    Anywhere,
    /// Wait at the server that owns all keys, on a connection of the client's own.
    Block,
    /// Forward by keys, or, if it asks to wait, as [`Plan::Block`].
    KeysUnlessBlocking,
    /// Listen to channels.
    Subscribe(Kind),
    /// Listen to them no more.
    Unsubscribe(Kind),
    /// Forward by keys, if the database that it names is one of the pool's.
    ToDatabase,
    /// Exchange two databases, where there is one server.
    SwapDatabases,
    /// Watch keys, on a connection of the client's own.
    Watch,
    /// Answered here.
    Local(Local),
    /// Not through a proxy.
    Refuse,
}

/// What a command has to do with scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// It carries a body.
    Eval,
    /// It names one by its digest.
    EvalSha,
    /// It asks which of them may be called.
    Exists,
    /// It gives all servers a body.
    Load,
    /// It takes all bodies from all servers.
    Flush,
}

/// Commands answered by the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the command of its name")]
pub enum Local {
    Auth,
    /// Asked of all servers on connections of their own: a busy script must not stand in the way.
    Beside,
    Client,
    Cluster,
    Command,
    Config,
    Discard,
    Echo,
    Exec,
    Hello,
    Info,
    Modules,
    Monitor,
    Multi,
    Ping,
    PubSub,
    Quit,
    ReadMode,
    Reset,
    Role,
    Select,
    Time,
    Unwatch,
    Wait,
    WhoAmI,
}

/// By the name of a command, which stands for its sub-commands as well, or of a sub-command.
const LOCAL: &[(&str, Local)] = &[
    ("acl|whoami", Local::WhoAmI),
    ("asking", Local::Cluster),
    ("auth", Local::Auth),
    ("client", Local::Client),
    ("cluster", Local::Cluster),
    ("command", Local::Command),
    ("config", Local::Config),
    ("discard", Local::Discard),
    ("echo", Local::Echo),
    ("exec", Local::Exec),
    ("function|kill", Local::Beside),
    ("function|stats", Local::Beside),
    ("hello", Local::Hello),
    ("info", Local::Info),
    ("module|list", Local::Modules),
    ("monitor", Local::Monitor),
    ("multi", Local::Multi),
    ("ping", Local::Ping),
    ("pubsub", Local::PubSub),
    ("quit", Local::Quit),
    ("readonly", Local::ReadMode),
    ("readwrite", Local::ReadMode),
    ("reset", Local::Reset),
    ("role", Local::Role),
    ("script|kill", Local::Beside),
    ("select", Local::Select),
    ("time", Local::Time),
    ("unwatch", Local::Unwatch),
    ("wait", Local::Wait),
    ("waitaof", Local::Wait),
];

/// Forwarded to one server although they name no key.
const ANYWHERE: &[&str] = &[
    "lolwut",
    "function|dump",
    "function|help",
    "function|list",
    "memory|help",
    "object|help",
    "script|help",
    "xgroup|help",
    "xinfo|help",
];

/// The row of a command by its name: those that only other servers have are among them.
#[must_use]
#[inline]
pub fn command_named(name: &[u8]) -> Option<CommandId> {
    command::lookup_in(Mode::Proxy, name)
}

/// The plans of all rows, in a pool in which reads that miss are asked of other servers (`fills`), or are not.
#[must_use]
pub fn plans(fills: bool) -> Box<[Plan]> {
    let of = |row: &CommandSpec| match plan(row) {
        Plan::Key(place) if fills && fill::is_filled(row.name) => Plan::Fill(place),
        plan => plan,
    };
    command::all().iter().map(of).collect()
}

/// The plan of a row.
#[must_use]
pub fn plan(spec: &CommandSpec) -> Plan {
    let top = spec.name.split('|').next().unwrap_or(spec.name);
    if let Some((_, local)) = LOCAL.iter().find(|(name, _)| *name == top || *name == spec.name) {
        return Plan::Local(*local);
    }
    if ANYWHERE.contains(&spec.name) {
        return Plan::Anywhere;
    }
    match spec.name {
        "mget" => return Plan::Split { merge: Merge::Values, step: 1 },
        "scan" => return Plan::Scan,
        "lastsave" => return Plan::Every(Merge::Least),
        "randomkey" => return Plan::Every(Merge::Any(0)),
        "eval" | "eval_ro" => return Plan::Script(Script::Eval),
        "evalsha" | "evalsha_ro" => return Plan::Script(Script::EvalSha),
        "script|exists" => return Plan::Script(Script::Exists),
        "script|load" => return Plan::Script(Script::Load),
        "script|flush" => return Plan::Script(Script::Flush),
        "xread" | "xreadgroup" => return Plan::KeysUnlessBlocking,
        "watch" => return Plan::Watch,
        "move" | "copy" => return Plan::ToDatabase,
        "swapdb" => return Plan::SwapDatabases,
        // A channel lies where a key of that name would, and whoever listens does so there.
        "publish" | "spublish" => return Plan::Key(1),
        "subscribe" => return Plan::Subscribe(Kind::Channel),
        "psubscribe" => return Plan::Subscribe(Kind::Pattern),
        "ssubscribe" => return Plan::Subscribe(Kind::Shard),
        "unsubscribe" => return Plan::Unsubscribe(Kind::Channel),
        "punsubscribe" => return Plan::Unsubscribe(Kind::Pattern),
        "sunsubscribe" => return Plan::Unsubscribe(Kind::Shard),
        // These move data behind the proxy's back, or ask one of several servers that may know more or less.
        "migrate" | "pfdebug" | "script|debug" | "script|show" => {
            return Plan::Refuse;
        }
        // These change the state of the connection, which all clients share.
        "restore-asking" | "replconf" | "failover" => {
            return Plan::Refuse;
        }
        "msetnx" => return Plan::Keys,
        _ => {}
    }
    if spec.flags.contains(Flags::BLOCKING) {
        return Plan::Block;
    }
    if spec.flags.contains(Flags::ONLY_SENTINEL) {
        return Plan::Refuse;
    }
    match spec.tips.request {
        RequestPolicy::MultiShard => {
            let step = u8::try_from(spec.keys.step.max(1)).unwrap_or(1);
            if let Some(merge) = merge_of(spec.tips.response) {
                return Plan::Split { merge, step };
            }
        }
        RequestPolicy::AllShards | RequestPolicy::AllNodes => {
            let is_admin = spec.flags.contains(Flags::ADMIN);
            let is_for_one =
                matches!(top, "latency" | "slowlog" | "config" | "wait" | "waitaof" | "memory");
            if !is_admin && !is_for_one {
                return Plan::Every(merge_of(spec.tips.response).unwrap_or(Merge::Concatenate));
            }
            return Plan::Refuse;
        }
        RequestPolicy::ByKey | RequestPolicy::Special => {}
    }
    let keys = &spec.keys;
    if !keys.has_real && keys.extractor == Extractor::None {
        return Plan::Refuse;
    }
    let simple = matches!(keys.extractor, Extractor::None | Extractor::Set | Extractor::BitField);
    match u8::try_from(keys.first) {
        Ok(first) if simple && first > 0 && keys.last == keys.first && keys.specs.len() == 1 => {
            Plan::Key(first)
        }
        _ => Plan::Keys,
    }
}

fn merge_of(policy: ResponsePolicy) -> Option<Merge> {
    match policy {
        ResponsePolicy::Sum => Some(Merge::Sum),
        ResponsePolicy::AllSucceeded | ResponsePolicy::OneSucceeded => Some(Merge::First),
        ResponsePolicy::LogicalAnd => Some(Merge::And),
        ResponsePolicy::Concatenate => Some(Merge::Concatenate),
        ResponsePolicy::LogicalOr
        | ResponsePolicy::Min
        | ResponsePolicy::Max
        | ResponsePolicy::Special => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Plan {
        let id = command::lookup_full_name(Mode::Proxy, name.as_bytes()).expect("a command");
        plan(id.spec())
    }

    #[test]
    fn commands_go_where_they_should() {
        for name in ["get", "set", "zadd", "hgetall", "getex", "bitfield", "xadd", "geosearch"] {
            assert_eq!(named(name), Plan::Key(1), "{name}");
        }
        for name in ["object|encoding", "memory|usage", "xinfo|stream", "xgroup|create"] {
            assert_eq!(named(name), Plan::Key(2), "{name}");
        }
        for name in [
            "rename",
            "sinterstore",
            "zunionstore",
            "fcall",
            "sort",
            "bitop",
            "lmove",
            "msetnx",
            "zunion",
            "georadius",
            "pfmerge",
            "lmpop",
        ] {
            assert_eq!(named(name), Plan::Keys, "{name}");
        }
        for name in ["del", "unlink", "exists", "touch"] {
            assert_eq!(named(name), Plan::Split { merge: Merge::Sum, step: 1 }, "{name}");
        }
        assert_eq!(named("mset"), Plan::Split { merge: Merge::First, step: 2 });
        assert_eq!(named("mget"), Plan::Split { merge: Merge::Values, step: 1 });
        for name in ["flushall", "flushdb", "function|load", "function|flush"] {
            assert_eq!(named(name), Plan::Every(Merge::First), "{name}");
        }
        assert_eq!(named("evalsha_ro"), Plan::Script(Script::EvalSha));
        assert_eq!(named("script|load"), Plan::Script(Script::Load));
        assert_eq!(named("dbsize"), Plan::Every(Merge::Sum));
        assert_eq!(named("keys"), Plan::Every(Merge::Concatenate));
        for name in [
            "shutdown",
            "replicaof",
            "psync",
            "debug",
            "save",
            "acl|list",
            "slowlog|get",
            "commandlog|get",
            "migrate",
            "memory|stats",
        ] {
            assert_eq!(named(name), Plan::Refuse, "{name}");
        }
        for name in ["blpop", "blmove", "brpoplpush", "blmpop", "bzmpop", "bzpopmin"] {
            assert_eq!(named(name), Plan::Block, "{name}");
        }
        assert_eq!(named("xread"), Plan::KeysUnlessBlocking);
        assert_eq!(named("watch"), Plan::Watch);
        assert_eq!(named("copy"), Plan::ToDatabase);
        assert_eq!(named("publish"), Plan::Key(1));
        assert_eq!(named("psubscribe"), Plan::Subscribe(Kind::Pattern));
        assert_eq!(named("sunsubscribe"), Plan::Unsubscribe(Kind::Shard));
        for name in ["json.get", "vadd", "ts.add", "arset", "xackdel"] {
            assert_eq!(named(name), Plan::Key(1), "{name}");
        }
        assert_eq!(named("json.debug"), Plan::Key(2));
        for name in ["json.mget", "json.mset", "cms.merge", "ts.createrule"] {
            assert_eq!(named(name), Plan::Keys, "{name}");
        }
        assert_eq!(named("hotkeys"), Plan::Refuse);
        assert_eq!(named("config|get"), Plan::Local(Local::Config));
        assert_eq!(named("acl|whoami"), Plan::Local(Local::WhoAmI));
        for name in ["cluster|slots", "cluster|help", "asking"] {
            assert_eq!(named(name), Plan::Local(Local::Cluster), "{name}");
        }
    }
}
