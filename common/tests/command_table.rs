//! The command table against the original: what we print for COMMAND and its sub-commands, and the keys we find in
//! calls, must be what redis-server 7.0.15 answers, in RESP2 and RESP3, as a server and as a sentinel.
//!
//! Needs `redis-server` 7.0.15 in PATH (Debian: package `redis-server`).

use redstart_common::command::reply;
use redstart_common::command::{Mode, Resolved, all, commands, resolve_in};
use redstart_common::resp::encode::RespWrite;
use redstart_common::resp::{Args, OwnedArgs, Proto, error};
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

// === replies as trees ===

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tree {
    Simple(String),
    Error(String),
    Bulk(Vec<u8>),
    Integer(i64),
    Null(String),
    Verbatim(Vec<u8>),
    Array(Vec<Tree>),
    Set(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::Bulk(bytes) | Self::Verbatim(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Null(text) => write!(f, "null({text})"),
            Self::Array(values) => f.debug_list().entries(values).finish(),
            Self::Set(values) => f.debug_set().entries(values).finish(),
            Self::Map(pairs) => {
                f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish()
            }
        }
    }
}

impl Tree {
    fn read(from: &mut impl BufRead, raw: &mut Vec<u8>) -> Self {
        let start = raw.len();
        from.read_until(b'\n', raw).expect("a reply in time");
        let line =
            std::str::from_utf8(&raw[start..]).expect("text").trim_end_matches("\r\n").to_owned();
        let (kind, rest) =
            line.split_at_checked(1).expect("a reply, not the end of the connection");
        let count = || rest.parse::<i64>().expect("a length");
        let mut many = |count: i64| (0..count).map(|_| Self::read(from, raw)).collect::<Vec<_>>();
        match kind {
            "+" => Self::Simple(rest.into()),
            "-" => Self::Error(rest.into()),
            ":" => Self::Integer(count()),
            "_" => Self::Null(line.clone()),
            "$" | "*" if rest == "-1" => Self::Null(line.clone()),
            "*" => Self::Array(many(count())),
            "~" => Self::Set(many(count())),
            "%" => {
                let mut values = many(count() * 2).into_iter();
                let mut pairs = Vec::new();
                while let (Some(key), Some(value)) = (values.next(), values.next()) {
                    pairs.push((key, value));
                }
                Self::Map(pairs)
            }
            "$" | "=" => {
                let mut bytes = vec![0; count() as usize + 2];
                from.read_exact(&mut bytes).expect("the rest of a string in time");
                raw.extend_from_slice(&bytes);
                bytes.truncate(bytes.len() - 2);
                if kind == "$" { Self::Bulk(bytes) } else { Self::Verbatim(bytes) }
            }
            _ => panic!("unexpected reply {line:?}"),
        }
    }

    fn parse(raw: &[u8]) -> Self {
        let mut rest = raw;
        let mut copy = Vec::new();
        let tree = Self::read(&mut rest, &mut copy);
        assert!(rest.is_empty(), "{} bytes after the reply", rest.len());
        tree
    }

    /// The members of an array or set.
    fn members(&self) -> &[Tree] {
        match self {
            Self::Array(values) | Self::Set(values) => values,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Keys and values of a map, or of the flat array that RESP2 has in its place, by key.
    fn sorted_pairs(&self) -> Vec<(Tree, Tree)> {
        let mut pairs = match self {
            Self::Map(pairs) => pairs.clone(),
            flat => {
                flat.members().chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
            }
        };
        pairs.sort();
        pairs
    }

    fn sorted_members(&self) -> Vec<Tree> {
        let mut members = self.members().to_vec();
        members.sort();
        members
    }
}

/// Whether a reply is the name of a command that came after the original.
fn is_newer(name: &Tree) -> bool {
    let Tree::Bulk(name) = name else { return false };
    all().iter().any(|row| row.is_newer() && row.name.as_bytes() == name)
}

/// A row of COMMAND INFO as the original has it, whose commands take fewer arguments.
fn with_arity_of_original(row: &[Tree]) -> Vec<Tree> {
    let mut row = row.to_vec();
    if let [Tree::Bulk(name), Tree::Integer(arity), ..] = &mut row[..]
        && let Some(spec) = all().iter().find(|spec| spec.name.as_bytes() == &name[..])
        && *arity == i64::from(spec.arity)
    {
        *arity = i64::from(spec.arity_of_original());
    }
    row
}

/// What we answer, without the commands that came after the original: names, rows that begin with one, and pairs.
fn without_newer(tree: &Tree) -> Tree {
    let list = |members: &[Tree]| {
        let mut kept = Vec::new();
        let mut members = members.iter().peekable();
        while let Some(member) = members.next() {
            match member {
                name if is_newer(name) => {
                    // In RESP2 its row comes behind the name.
                    members.next_if(|row| matches!(row, Tree::Array(_)));
                }
                Tree::Array(row) if row.first().is_some_and(is_newer) => {}
                other => kept.push(without_newer(other)),
            }
        }
        kept
    };
    match tree {
        Tree::Array(members) => Tree::Array(list(&with_arity_of_original(members))),
        Tree::Set(members) => Tree::Set(list(members)),
        Tree::Map(pairs) => {
            let pairs = pairs.iter().filter(|(name, _)| !is_newer(name));
            Tree::Map(pairs.map(|(name, value)| (name.clone(), without_newer(value))).collect())
        }
        other => other.clone(),
    }
}

/// A row of COMMAND INFO with its sub-commands in a fixed order; all else stays as it came.
fn info_row(row: &Tree) -> Tree {
    let Tree::Array(fields) = row else { return row.clone() };
    let mut fields = fields.clone();
    if let Some(Tree::Array(subs)) = fields.last_mut() {
        *subs = subs.iter().map(info_row).collect();
        subs.sort();
    }
    Tree::Array(fields)
}

/// A row of COMMAND DOCS with its sub-commands in a fixed order; all else stays as it came.
fn docs_row(row: &Tree) -> Tree {
    let name = Tree::Bulk(b"subcommands".to_vec());
    let subs = |value: &Tree| {
        let subs =
            value.sorted_pairs().into_iter().map(|(name, row)| (name, docs_row(&row))).collect();
        match value {
            Tree::Map(_) => Tree::Map(subs),
            _ => Tree::Array(subs.into_iter().flat_map(|(name, row)| [name, row]).collect()),
        }
    };
    match row {
        Tree::Map(pairs) => {
            let value =
                |key: &Tree, value: &Tree| if *key == name { subs(value) } else { value.clone() };
            Tree::Map(pairs.iter().map(|(key, each)| (key.clone(), value(key, each))).collect())
        }
        flat => {
            let pairs = flat.members().chunks(2);
            Tree::Array(
                pairs
                    .flat_map(|pair| {
                        let value = if pair[0] == name { subs(&pair[1]) } else { pair[1].clone() };
                        [pair[0].clone(), value]
                    })
                    .collect(),
            )
        }
    }
}

// === the original ===

/// A redis-server of our own, in a folder of its own, behind a socket in that folder.
struct Original {
    child: Child,
    folder: PathBuf,
}

impl Original {
    fn start(mode: Mode) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir()
            .join(format!("redstart-command-table-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server");
        let config = folder.join("redis.conf");
        let lines = format!("port 0\nunixsocket {0}/socket\ndir {0}\n", folder.display());
        std::fs::write(&config, lines).expect("the server's settings");
        let mut command = Command::new("redis-server");
        command.arg(&config).stdout(Stdio::null()).stdin(Stdio::null());
        if mode == Mode::Sentinel {
            command.arg("--sentinel");
        }
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("this test compares with redis-server, which did not start ({error}); on Debian: apt install redis-server")
        });
        let mut original = Self { child, folder };
        original.connect(Proto::Resp2).require_version();
        original
    }

    fn connect(&mut self, proto: Proto) -> Wire {
        let begin = Instant::now();
        let stream = loop {
            match UnixStream::connect(self.folder.join("socket")) {
                Ok(stream) => break stream,
                Err(error) => {
                    if let Some(status) = self.child.try_wait().expect("the server's state") {
                        panic!("redis-server ended: {status}");
                    }
                    assert!(begin.elapsed() < DEADLINE, "redis-server does not listen: {error}");
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        };
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let mut wire = Wire { stream: BufReader::with_capacity(1 << 16, stream) };
        if proto == Proto::Resp3 {
            wire.ask(&["hello", "3"]);
        }
        wire
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

struct Wire {
    stream: BufReader<UnixStream>,
}

impl Wire {
    fn ask<S: AsRef<[u8]>>(&mut self, words: &[S]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            request.extend_from_slice(word);
            request.extend_from_slice(b"\r\n");
        }
        self.stream.get_mut().write_all(&request).expect("the server listens");
        let mut raw = Vec::new();
        Tree::read(&mut self.stream, &mut raw);
        raw
    }

    fn require_version(&mut self) {
        let info = self.ask(&["info", "server"]);
        let info = String::from_utf8_lossy(&info);
        assert!(
            info.contains("redis_version:7.0.15\r\n"),
            "the table is that of 7.0.15, this server is not:\n{info}"
        );
    }
}

/// What we answer.
fn ours<S: AsRef<[u8]>>(mode: Mode, proto: Proto, words: &[S]) -> Vec<u8> {
    let owned = OwnedArgs::from_slices(words);
    let args: Args<'_> = owned.as_args();
    let Resolved::Command(id) = resolve_in(mode, args.at(0), args.get(1)) else {
        panic!("not a command: {args:?}");
    };
    let mut out = Vec::new();
    if !id.spec().accepts_count(args.len()) {
        // The gate in front of every command.
        out.error(error::wrong_arity(id.spec().name));
        return out;
    }
    assert!(reply::answer(&mode, id, args, proto, &mut out), "no COMMAND: {args:?}");
    out
}

/// Runs a comparison against both kinds of server in both protocols.
fn with_each(check: impl Fn(Mode, Proto, &mut Wire)) {
    for mode in [Mode::Server, Mode::Sentinel] {
        let mut original = Original::start(mode);
        for proto in [Proto::Resp2, Proto::Resp3] {
            check(mode, proto, &mut original.connect(proto));
        }
    }
}

fn assert_rows_equal(ours: Vec<Tree>, theirs: Vec<Tree>) {
    for row in &ours {
        assert!(theirs.contains(row), "a row of ours that the original does not have:\n{row:#?}");
    }
    for row in &theirs {
        assert!(ours.contains(row), "a row of the original that we do not have:\n{row:#?}");
    }
    assert_eq!(ours.len(), theirs.len());
}

fn assert_same_bytes(words: &[impl AsRef<[u8]>], proto: Proto, ours: &[u8], theirs: &[u8]) {
    if ours != theirs {
        let words: Vec<_> =
            words.iter().map(|word| word.as_ref().escape_ascii().to_string()).collect();
        panic!(
            "{words:?} ({proto:?})\nours:   {:?}\ntheirs: {:?}",
            Tree::parse(ours),
            Tree::parse(theirs)
        );
    }
}

// === COMMAND, INFO, DOCS, LIST ===

#[test]
fn command_prints_the_rows_of_the_original() {
    with_each(|mode, proto, wire| {
        for words in [&["command"][..], &["command", "info"]] {
            let theirs = Tree::parse(&wire.ask(words));
            let rows = |tree: &Tree| tree.members().iter().map(info_row).collect();
            let ours = without_newer(&Tree::parse(&ours(mode, proto, words)));
            assert_rows_equal(rows(&ours), rows(&theirs));
        }
    });
}

#[test]
fn command_docs_prints_the_rows_of_the_original() {
    with_each(|mode, proto, wire| {
        let words = ["command", "docs"];
        let rows = |raw: &[u8]| {
            let pairs = without_newer(&Tree::parse(raw)).sorted_pairs().into_iter();
            pairs.map(|(name, row)| Tree::Array(vec![name, docs_row(&row)])).collect()
        };
        assert_rows_equal(rows(&ours(mode, proto, &words)), rows(&wire.ask(&words)));
    });
}

#[test]
fn info_and_docs_by_name_are_equal_to_the_byte() {
    with_each(|mode, proto, wire| {
        // A container prints its sub-commands in an order that is Redis's accident; the tests above compare those.
        let leaves = all()
            .iter()
            .filter(|row| !row.is_container() && !row.is_newer())
            .filter(|row| row.arity == row.arity_of_original());
        let names = leaves.flat_map(|row| [row.name.to_owned(), row.name.to_ascii_uppercase()]);
        let strange =
            ["", "|", "get|", "nosuch", "config|nosuch", "config|get|x", "get|get", "|config"];
        for name in names.chain(strange.map(str::to_owned)) {
            for sub in ["info", "docs"] {
                let words = ["command", sub, &name];
                assert_same_bytes(&words, proto, &ours(mode, proto, &words), &wire.ask(&words));
            }
        }
        for sub in ["info", "docs"] {
            let words = ["command", sub, "get", "nosuch", "SET", "config|get", "get", "ping"];
            assert_same_bytes(&words, proto, &ours(mode, proto, &words), &wire.ask(&words));
        }
    });
}

#[test]
fn command_list_count_and_help() {
    with_each(|mode, proto, wire| {
        let newer = all().iter().filter(|row| row.is_newer() && row.container.is_none());
        let newer = newer.filter(|row| row.exists_in(mode)).count();
        let number = |raw: &[u8]| match Tree::parse(raw) {
            Tree::Integer(number) => number,
            other => panic!("no number: {other:?}"),
        };
        let words = ["command", "count"];
        let count = number(&ours(mode, proto, &words));
        assert_eq!(count, number(&wire.ask(&words)) + newer as i64);
        for words in [&["command", "help"][..], &["command", "list", "filterby"]] {
            assert_same_bytes(words, proto, &ours(mode, proto, words), &wire.ask(words));
        }
        let categories = "keyspace read write set sortedset list hash string bitmap hyperloglog geo stream pubsub admin \
             fast slow blocking dangerous connection transaction scripting all @read nosuch";
        let lists = categories
            .split_whitespace()
            .map(|name| vec!["command", "list", "FilterBy", "aclcat", name]);
        let patterns =
            ["*", "z*", "*|*", "?et", "CONFIG|*", "[gs]et", "x[^r]*", "nosuch", "", "\\*", "get"];
        let lists =
            lists.chain(patterns.map(|glob| vec!["command", "list", "filterby", "Pattern", glob]));
        let lists = lists.chain([
            vec!["command", "list"],
            vec!["command", "list", "filterby", "module", "x"],
            vec!["command", "list", "filterby", "nosuch", "x"],
            vec!["command", "list", "filterby", "pattern"],
            vec!["command", "list", "filterby", "pattern", "*", "x"],
            vec!["command", "list", "nosuch"],
        ]);
        for words in lists {
            let (ours, theirs) = (
                without_newer(&Tree::parse(&ours(mode, proto, &words))),
                Tree::parse(&wire.ask(&words)),
            );
            match (&ours, &theirs) {
                (Tree::Array(_), Tree::Array(_)) => {
                    assert_eq!(ours.sorted_members(), theirs.sorted_members(), "{words:?}");
                }
                _ => assert_eq!(ours, theirs, "{words:?}"),
            }
        }
    });
}

// === COMMAND GETKEYS ===

/// Calls of every special way to find keys, whole and broken; `''` stands for an empty argument.
const CALLS: &str = "
    get k
    GET k
    get
    get a b
    nosuch a b
    ping
    ping a
    config
    config get x
    config nosuch x
    client list
    client nosuch
    set k v
    set k v get
    set k v GET EX 10
    set k get
    set k v getx
    set k v ex get
    mget a b c
    mset a 1 b 2
    mset a 1 b
    msetnx a 1
    del a b
    append k v
    incr k
    getex k persist
    lcs a b
    lcs a b idx
    substr k 0 1
    blpop a b c 0
    brpoplpush a b 0
    lmove a b left right
    blmove a b left right 0
    rpoplpush a b
    lmpop 2 a b left
    lmpop 0 a left
    lmpop 3 a left
    lmpop x a left
    blmpop 0 2 a b left
    blmpop 0 9 a b left
    zmpop 1 a min
    bzmpop 0 1 a min
    bzmpop 0 -1 a min
    smove a b m
    sinterstore d a b
    sintercard 2 a b
    sintercard 2 a b limit 1
    sintercard 5 a b
    sdiff a b
    sunionstore d a
    zadd k 1 m
    zunion 2 a b weights 1 2
    zinter 2 a b
    zdiff 1 a
    zintercard 2 a b limit 3
    zunionstore d 2 a b
    zunionstore d 3 a b
    zunionstore d 0 a
    zunionstore d 2x a b
    zinterstore d 1 a aggregate max
    zdiffstore d 02 a b
    zrangestore d s 0 -1
    zrange k 0 -1
    pfadd k a
    pfcount a b
    pfmerge d
    pfmerge d a b
    geoadd k 1 2 m
    geosearchstore d s frommember m byradius 1 m
    georadius k 1 2 3 m
    georadius k 1 2 3 m store d
    georadius k 1 2 3 m storedist d
    georadius k 1 2 3 m store d storedist e
    georadius k 1 2 3 m storedist d store e
    georadius k 1 2 3 m store
    georadiusbymember k m 1 m store d
    georadiusbymember k m 1 m STORE STORE x
    georadius_ro k 1 2 3 m
    geodist k a b
    bitop and d a b
    bitop not d a
    bitfield k
    bitfield k get u8 0
    bitfield k get u8 0 set u8 0 1
    bitfield k overflow fail incrby u8 0 1
    bitfield k get u8
    bitfield k overflow
    bitfield k nonsense
    bitfield_ro k get u8 0
    sort k
    sort k store d
    sort k store d store e
    sort k by store get store store d
    sort k limit 0 store store d
    sort k store
    sort k get
    sort_ro k by w*
    eval script 2 a b c
    eval script 0
    eval script 0 a
    eval script 5 a
    eval script -1 a
    eval script x a
    eval script 1x a
    eval script 4294967297 a b
    eval script +1 a
    eval_ro script 1 a
    evalsha sha 1 a
    evalsha_ro sha 1 a
    fcall f 1 a b
    fcall_ro f 2 a b
    fcall f 0
    migrate h 1 k 0 9
    migrate h 1 k 0 9 copy replace
    migrate h 1 '' 0 9 keys a b
    migrate h 1 '' 0 9 copy keys a b
    migrate h 1 '' 0 9 auth keys keys a
    migrate h 1 '' 0 9 auth2 keys keys keys a
    migrate h 1 k 0 9 keys a b
    migrate h 1 '' 0 9 keys
    migrate h 1 '' 0 9
    xread streams a b 0 0
    xread count 1 block 0 streams a 0
    xread streams a b 0
    xread streams a
    xread count streams streams a 0
    xread nonsense streams a 0
    xreadgroup group g c streams a >
    xreadgroup group streams streams noack streams a b > >
    xadd k * f v
    xgroup create k g $
    xgroup help
    xinfo stream k
    xinfo help
    xautoclaim k g c 0 0
    xsetid k 1-1
    object encoding k
    object help
    memory usage k
    memory usage k samples 5
    memory doctor
    debug object k
    copy a b
    rename a b
    renamenx a b
    dump k
    restore k 0 x
    exists a b
    expire k 1
    touch a
    unlink a b
    type k
    wait 0 0
    keys *
    scan 0
    hset k f v
    hscan k 0
    hrandfield k
    pexpiretime k
    watch a b
    multi
    subscribe a
    publish c m
    spublish c m
    ssubscribe a b
    sunsubscribe
    pfdebug encoding k
    restore-asking k 0 x
    cluster keyslot k
    command getkeys get k
    acl dryrun u get k
    script load x
    latency doctor
    sentinel masters
";

fn assert_same_keys(mode: Mode, proto: Proto, wire: &mut Wire, call: &[&str]) {
    for sub in ["getkeys", "GetKeysAndFlags"] {
        let words: Vec<&str> = ["command", sub].into_iter().chain(call.iter().copied()).collect();
        assert_same_bytes(&words, proto, &ours(mode, proto, &words), &wire.ask(&words));
    }
}

#[test]
fn getkeys_finds_the_keys_of_the_original() {
    with_each(|mode, proto, wire| {
        let calls: Vec<Vec<&str>> = CALLS
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| {
                line.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect()
            })
            .collect();
        assert!(calls.len() > 150);
        for call in calls {
            assert_same_keys(mode, proto, wire, &call);
        }
    });
}

/// Calls of all rows with arguments that mean something to some of them, thrown together.
#[test]
fn getkeys_agrees_on_calls_thrown_together() {
    const WORDS: [&str; 36] = [
        "a",
        "b",
        "c",
        "",
        "store",
        "STOREDIST",
        "get",
        "GET",
        "by",
        "limit",
        "keys",
        "auth",
        "auth2",
        "copy",
        "streams",
        "group",
        "count",
        "block",
        "noack",
        "set",
        "incrby",
        "overflow",
        "store\0x",
        "keys\0",
        "0",
        "1",
        "2",
        "3",
        "4",
        "02",
        "-1",
        " 2",
        "2x",
        "4294967298",
        "-99999999999999999999",
        "9223372036854775807",
    ];
    let mut original = Original::start(Mode::Server);
    let mut wire = original.connect(Proto::Resp2);
    let mut state: u64 = 0x2545_f491_4f6c_dd1d;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    let rows: Vec<_> = commands(Mode::Server)
        .flat_map(
            |row| if row.is_container() { row.subcommands().iter().collect() } else { vec![row] },
        )
        .filter(|row| row.keys.may_have_keys() && row.exists_in(Mode::Server))
        .filter(|row| !row.is_newer() && row.arity == row.arity_of_original())
        .collect();
    let special: Vec<_> = rows.iter().filter(|row| row.arity < 0).copied().collect();
    for round in 0..20_000 {
        let row = if round < rows.len() { rows[round] } else { special[random(special.len())] };
        let mut call: Vec<&str> = row.name.split('|').collect();
        let fewest = usize::from(row.arity.unsigned_abs());
        let more = if row.arity < 0 { random(9) } else { 0 };
        call.resize_with(fewest + more, || WORDS[random(WORDS.len())]);
        assert_same_keys(Mode::Server, Proto::Resp2, &mut wire, &call);
    }
}
