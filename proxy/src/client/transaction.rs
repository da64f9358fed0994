//! `MULTI` … `EXEC`: composed here, sent whole to the one server that owns all its keys.
//!
//! The commands are kept as bytes until EXEC. They then travel as one block on the shared connection, MULTI first
//! and EXEC last, so that nothing of another client can come between; the `+OK` and `+QUEUED` in between are
//! swallowed and the reply to EXEC is the client's. Commands that the proxy answers itself are kept beside the block with their
//! places in it: [`exec`](super::exec) carries them out once the server has run its part.
//!
//! SELECT and HELLO are the proxy's, yet decide how the commands behind them are to be understood: where the server has to be
//! told, hidden requests in the block do so. Such a block goes on a connection of its client's own, which is then told to go
//! back.

use redstart_common::command::CommandSpec;
use redstart_common::resp::{RespWrite, encode, error};

use super::ClientId;
use super::choose::{Place, place, slot_of_first};
use super::dispatch::{Next, reject};
use super::request::{Request, write_args};
use super::{databases, exec, script, watch};
use crate::backend::Refusal;
use crate::backend::pipeline::Kind;
use crate::gather::Merge;
use crate::local;
use crate::output::Output;
use crate::route::distribution::Wants;
use crate::route::lane::Manner;
use crate::route::plan::{Local, Plan, Script};
use crate::topology::ShardId;
use crate::worker::Core;

/// Bytes a transaction may gather.
const BYTES_MAX: usize = 1 << 30;
/// Said where it would gather more.
const TOO_LARGE: &[u8] = b"ERR the transaction is too large";

/// A command of a transaction that the proxy carries out.
#[derive(Debug)]
pub struct Own {
    /// Replies of the server that stand before its own.
    pub before: usize,
    /// Its row.
    pub row: &'static CommandSpec,
    /// The request, as an array.
    pub request: Vec<u8>,
}

/// What of a transaction's reply is not the server's to give.
#[derive(Debug, Default)]
pub struct Beside {
    /// The commands that the proxy carries out, in their order.
    pub own: Vec<Own>,
    /// The places of replies of the server that nobody asked for.
    pub hidden: Vec<usize>,
    /// Replies that the server gives within EXEC's.
    pub asked: usize,
}

impl Beside {
    /// Whether the server's reply is the client's as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.hidden.is_empty()
    }
}

/// A transaction being composed.
#[derive(Debug, Default)]
pub struct Transaction {
    commands: Vec<u8>,
    beside: Beside,
    own_bytes: usize,
    writes: bool,
    shard: Option<ShardId>,
    /// In a cluster, where the slot of its keys counts rather than the shard.
    slot: Option<u16>,
    failed: bool,
    /// How its client asks.
    home: Manner,
    /// How the next command is to be understood.
    manner: Manner,
    /// How the server will understand what comes next in the block.
    told: Manner,
}

impl Transaction {
    fn new(home: Manner) -> Self {
        Self { home, manner: home, told: home, ..Self::default() }
    }

    /// A command in it was refused: EXEC will do nothing.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether EXEC will do nothing.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether it changes anything.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.writes { Kind::Write } else { Kind::Read }
    }

    /// Appends what its server is sent, whole, from MULTI to EXEC.
    pub fn write(self, output: &mut Output) {
        output.push(b"*1\r\n$5\r\nMULTI\r\n");
        output.push_owned(self.commands);
        output.push(b"*1\r\n$4\r\nEXEC\r\n");
    }

    /// What the server is to be told behind EXEC, so that it understands others as before.
    #[must_use]
    pub fn way_back(&self) -> Vec<Vec<u8>> {
        switch(self.told, self.home)
    }

    /// Where its keys lie: the slot of the first in a cluster, else the shard, if it has keys.
    #[must_use]
    pub fn home_of_keys(&self) -> (Option<u16>, Option<ShardId>) {
        (self.slot, self.shard)
    }

    /// What of its reply is not the server's to give.
    #[must_use]
    pub fn take_beside(&mut self) -> Beside {
        let asked = self.beside.asked;
        let beside = std::mem::take(&mut self.beside);
        self.beside.asked = asked;
        beside
    }

    /// Whether the reply of its server is its client's as it is.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.beside.is_empty()
    }

    /// Whether its server is to understand parts of it in another manner.
    #[must_use]
    pub fn wanders(&self) -> bool {
        !self.beside.hidden.is_empty()
    }

    /// Commands so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.beside.asked - self.beside.hidden.len() + self.beside.own.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Requests for its server.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.beside.asked
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.commands.len() + self.own_bytes
    }

    /// Adds a command for its server; `write` appends it.
    fn ask(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        for hidden in switch(self.told, self.manner) {
            self.commands.extend_from_slice(&hidden);
            self.beside.hidden.push(self.beside.asked);
            self.beside.asked += 1;
        }
        self.told = self.manner;
        self.beside.asked += 1;
        write(&mut self.commands);
    }

    /// Adds a command that the proxy carries out.
    fn keep(&mut self, request: Request<'_>) {
        let mut bytes = Vec::new();
        write_args(request.args, &mut bytes);
        self.own_bytes += bytes.len();
        let before = self.beside.asked;
        self.beside.own.push(Own { before, row: request.row, request: bytes });
    }
}

/// What a server is told so that it understands what comes next in another manner.
fn switch(from: Manner, to: Manner) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut add = |words: [&[u8]; 2]| {
        let mut request = Vec::new();
        encode::request(&mut request, words.into_iter());
        requests.push(request);
    };
    if from.resp3 != to.resp3 {
        add([b"HELLO", if to.resp3 { b"3" } else { b"2" }]);
    }
    if from.db != to.db {
        add([b"SELECT", to.db.to_string().as_bytes()]);
    }
    requests
}

/// `MULTI` outside a transaction.
pub fn begin(core: &mut Core, id: ClientId, now_us: u64) {
    if let Some(client) = core.down.clients.get_mut(id) {
        client.transaction = Some(Box::new(Transaction::new(client.manner())));
    }
    core.down.clients.reply(id, now_us, |out| out.simple("OK"));
}

/// Whether a command that the proxy answers itself may wait for EXEC.
fn may_wait(local: Local, row: &CommandSpec) -> bool {
    match local {
        // Whoever monitors gets more than one reply.
        Local::Monitor => false,
        // A reply that is not given would be missed in that of EXEC, and what is read was noted when it was queued.
        Local::Client => !matches!(row.name, "client|reply" | "client|caching"),
        Local::Config => local::serves_config(row),
        _ => true,
    }
}

/// Who carries out a command of a transaction.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// The server of these keys, if it has any.
    Server(Option<ShardId>),
    /// The proxy, once the server has run its part.
    Own,
    /// Nobody.
    Refused(Vec<u8>),
}

/// A command inside a transaction. `None` is for one that takes its usual way.
pub fn take(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Option<Next> {
    let now_us = request.now_us;
    let Some(client) = core.down.clients.get_mut(id) else { return Some(Next::Taken) };
    let pool = client.pool;
    let has_one_server = core.pools[pool].topology.shards.len() == 1;
    let mut slot = None;
    let whose = match plan {
        Plan::Local(Local::Exec) => {
            return Some(exec::exec(core, id, now_us));
        }
        Plan::Local(Local::Discard) => {
            client.transaction = None;
            watch::end(core, id);
            core.down.clients.reply(id, now_us, |out| out.simple("OK"));
            return Some(Next::Taken);
        }
        Plan::Local(Local::Quit | Local::Reset) => return None,
        Plan::Local(Local::Multi) => {
            core.down.clients.reply(id, now_us, |out| out.error(error::NESTED_MULTI));
            return Some(Next::Taken);
        }
        Plan::Watch => {
            core.down.clients.reply(id, now_us, |out| out.error(error::WATCH_INSIDE_MULTI));
            return Some(Next::Taken);
        }
        // Within a transaction nothing waits: the server says how things are.
        Plan::Local(Local::Wait) | Plan::Anywhere => Whose::Server(None),
        Plan::Local(local) if may_wait(local, request.row) => Whose::Own,
        Plan::Key(_)
        | Plan::Fill(_)
        | Plan::Keys
        | Plan::Block
        | Plan::KeysUnlessBlocking
        | Plan::Split { .. }
        | Plan::ToDatabase
        | Plan::Script(Script::Eval | Script::EvalSha) => {
            if plan == Plan::ToDatabase && databases::refuse_beyond(core, id, request) {
                return Some(Next::Taken);
            }
            slot = slot_of_first(core, pool, request);
            by_keys(core, id, request, slot)
        }
        Plan::Script(Script::Exists) | Plan::Scan => Whose::Own,
        Plan::Every(_) | Plan::Script(_) if has_one_server => Whose::Server(None),
        Plan::SwapDatabases if has_one_server && databases::may_swap(core, pool, request) => {
            Whose::Server(None)
        }
        // What is wrong with it is said in its place.
        Plan::SwapDatabases if has_one_server && databases::are_the_servers(core, pool) => {
            Whose::Own
        }
        // What all servers say together is asked when the one of the keys has run its part. What changes all of them cannot
        // take its place among other changes.
        Plan::Every(Merge::Least) => Whose::Own,
        Plan::Every(_) if Kind::of(request.row) != Kind::Write => Whose::Own,
        Plan::Every(_)
        | Plan::Subscribe(_)
        | Plan::Unsubscribe(_)
        | Plan::Script(_)
        | Plan::SwapDatabases
        | Plan::Local(_)
        | Plan::Refuse => {
            let name = request.row.name.replace('|', " ");
            Whose::Refused(
                format!(
                    "ERR command '{name}' is not supported inside a transaction through the proxy"
                )
                .into_bytes(),
            )
        }
    };
    let with_body = match plan {
        Plan::Script(what) => script::within_transaction(core, id, request, what),
        _ => None,
    };
    let after = match whose {
        Whose::Own => manner_after(core, id, request, plan),
        _ => None,
    };
    let Some(client) = core.down.clients.get_mut(id) else { return Some(Next::Taken) };
    let settings = &core.pools[pool].shared.settings;
    // Where any server is as good as another, or the first key decides, all goes where the first went.
    let wants = core.pools[pool].topology.distribution.wants();
    let is_tied = wants != Wants::Chance && !settings.first_key_decides;
    let watched = client.watch.as_ref().map(|watch| watch.shard);
    let Some(transaction) = &mut client.transaction else { return None };
    let tied_to = transaction.shard.or(watched);
    let is_elsewhere = |shard| is_tied && tied_to.is_some_and(|other| other != shard);
    let is_other_slot = slot.is_some() && transaction.slot.is_some_and(|other| slot != Some(other));
    let bytes = with_body.as_ref().map_or(request.raw.len(), Vec::len);
    let problem = match whose {
        Whose::Refused(text) => Some(text),
        Whose::Server(_) if is_other_slot => Some(error::CROSS_SLOT.into()),
        Whose::Server(Some(shard)) if is_elsewhere(shard) => Some(error::CROSS_SLOT.into()),
        _ if transaction.bytes() + bytes > BYTES_MAX => Some(TOO_LARGE.to_vec()),
        // They are all under way at once when their turn has come.
        Whose::Own if transaction.beside.own.len() >= core.limits.in_flight_max => {
            Some(TOO_LARGE.to_vec())
        }
        Whose::Own => {
            transaction.keep(request);
            transaction.manner = after.unwrap_or(transaction.manner);
            None
        }
        Whose::Server(shard) => {
            transaction.shard = transaction.shard.or(shard);
            transaction.slot = transaction.slot.or(slot);
            transaction.writes |= Kind::of(request.row) == Kind::Write;
            transaction.ask(|out| match with_body {
                Some(with_body) => out.extend_from_slice(&with_body),
                None if request.is_inline() => write_args(request.args, out),
                None => out.extend_from_slice(request.raw),
            });
            None
        }
    };
    match problem {
        None => core.down.clients.reply(id, now_us, |out| out.simple("QUEUED")),
        Some(text) => reject(core, id, now_us, |out| out.error(&text)),
    }
    Some(Next::Taken)
}

/// Who carries out a command with keys, of which the first has this slot.
fn by_keys(core: &mut Core, id: ClientId, request: Request<'_>, slot: Option<u16>) -> Whose {
    let Some(client) = core.down.clients.get_mut(id) else { return Whose::Server(None) };
    let pool = client.pool;
    let watched = client.watch.as_ref().map(|watch| watch.slot);
    let is_heard_anywhere = core.pools[pool].shared.settings.subscribe_everywhere
        && matches!(request.row.name, "publish" | "spublish");
    match place(core, pool, request) {
        _ if is_heard_anywhere => Whose::Server(None),
        Place::NoKeys => Whose::Server(None),
        // What is watched is watched on one node, which may have the slot only in part.
        Place::Shard(_) if slot.is_some() && watched.is_none_or(|it| it == slot) => {
            Whose::Server(None)
        }
        Place::Shard(Some(shard)) => {
            Whose::Server(Some(core.pools[pool].topology.shards[usize::from(shard)].id))
        }
        Place::Shard(None) => Whose::Refused(Refusal::nobody().text().to_vec()),
        Place::Several => Whose::Refused(error::CROSS_SLOT.into()),
    }
}

/// How what comes behind a command of the proxy's own is to be understood, if that changes it.
fn manner_after(core: &mut Core, id: ClientId, request: Request<'_>, plan: Plan) -> Option<Manner> {
    let client = core.down.clients.get_mut(id)?;
    let (pool, manner) = (client.pool, client.transaction.as_ref()?.manner);
    match plan {
        Plan::Local(Local::Select) => {
            let settings = &core.pools[pool].shared.settings;
            let db = databases::selected(settings, request.args).ok()?;
            Some(Manner { db, ..manner })
        }
        Plan::Local(Local::Hello) => {
            let resp3 = local::would_speak(&core.pools[pool].shared.settings, request.args)?;
            Some(Manner { resp3, ..manner })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use redstart_common::command::lookup;
    use redstart_common::resp::OwnedArgs;

    use super::*;

    fn ask(transaction: &mut Transaction, words: &str) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        transaction.ask(|out| encode::request(out, words.into_iter()));
    }

    fn keep(transaction: &mut Transaction, words: &str) {
        let words: Vec<&str> = words.split(' ').collect();
        let args = OwnedArgs::from_slices(&words);
        let row = lookup(words[0].as_bytes()).expect("a command").spec();
        transaction.keep(Request { args: args.as_args(), raw: b"", row, now_us: 0 });
    }

    /// The words that a server is sent.
    fn words(bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let words = text.split("\r\n").filter(|it| !it.is_empty() && !it.starts_with('$'));
        words
            .map(|word| if word.starts_with('*') { "|" } else { word })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn what_is_the_proxys_has_its_place_among_what_is_the_servers() {
        let mut transaction = Transaction::new(Manner::default());
        keep(&mut transaction, "ping");
        ask(&mut transaction, "SET a 1");
        ask(&mut transaction, "GET a");
        keep(&mut transaction, "info server");
        assert_eq!((transaction.len(), transaction.asked()), (4, 2));
        assert!(!transaction.is_plain() && !transaction.wanders());
        assert_eq!(transaction.way_back(), Vec::<Vec<u8>>::new());
        let beside = transaction.take_beside();
        let places: Vec<usize> = beside.own.iter().map(|own| own.before).collect();
        assert_eq!((places.as_slice(), beside.asked), (&[0, 2][..], 2));
        assert_eq!(words(&beside.own[1].request), "| info server");
        let mut output = Output::default();
        transaction.write(&mut output);
        let mut sent = Vec::new();
        output.drain_into(&mut sent);
        assert_eq!(words(&sent), "| MULTI | SET a 1 | GET a | EXEC");
    }

    #[test]
    fn a_server_is_told_of_another_database_when_it_has_to_know() {
        let home = Manner { resp3: true, db: 2 };
        let mut transaction = Transaction::new(home);
        ask(&mut transaction, "SET a 1");
        for manner in [Manner { db: 7, ..home }, Manner { resp3: false, db: 5 }] {
            keep(&mut transaction, "select 7");
            transaction.manner = manner;
        }
        ask(&mut transaction, "SET b 1");
        ask(&mut transaction, "SET c 1");
        keep(&mut transaction, "select 2");
        transaction.manner = home;
        assert!(transaction.wanders());
        let back: Vec<String> = transaction.way_back().iter().map(|it| words(it)).collect();
        assert_eq!(back, ["| HELLO 3", "| SELECT 2"]);
        assert_eq!((transaction.len(), transaction.asked()), (6, 5));
        assert_eq!(
            words(&transaction.commands),
            "| SET a 1 | HELLO 2 | SELECT 5 | SET b 1 | SET c 1"
        );
        let beside = transaction.take_beside();
        assert_eq!(beside.hidden, [1, 2]);
        let places: Vec<usize> = beside.own.iter().map(|own| own.before).collect();
        assert_eq!(places, [1, 1, 5]);
    }
}
