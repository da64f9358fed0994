//! What a write leaves behind to be repeated: the same commands, in the same form, as redis-server writes to its
//! append-only file.

use redstart_common::resp::OwnedArgs;
use redstart_server::client::Client as Caller;
use redstart_server::engine::Engine;
use redstart_server::engine::feed::{Audience, Part};
use redstart_server::settings::Settings;
use redstart_tests::proxy_support::{Client, Redis, eventually, free_port};

/// Commands as the lines of a conversation. `{ms}` is a moment a quarter of an hour from now, `{s}` the same in
/// seconds; `!` waits until the key that follows has expired.
const CONVERSATION: &[&str] = &[
    "SET a 1",
    "SET a 2 EX 1000",
    "SET a 3 PX 1000000",
    "SET a 4 EXAT {s}",
    "SET a 5 PXAT {ms}",
    "SET a 6 KEEPTTL",
    "SET a 7 XX GET",
    "SET a 8 NX",
    "SET fresh 8 NX EX 1000",
    "SETEX b 1000 1",
    "PSETEX b 1000000 1",
    "SETNX b 2",
    "SETNX c 2",
    "GETSET c 3",
    "GETDEL c",
    "GETDEL c",
    "SET c 1",
    "GETEX c",
    "GETEX c EX 1000",
    "GETEX c PXAT {ms}",
    "GETEX c PERSIST",
    "GETEX c PERSIST",
    "GETEX c PXAT 1",
    "INCR n",
    "INCRBYFLOAT n 1.5",
    "APPEND s hello",
    "APPEND s xx",
    "SETRANGE s 2 y",
    "SETBIT bits 7 1",
    "BITOP NOT bits2 bits",
    "BITFIELD bits SET u8 0 255 INCRBY u8 0 1",
    "PFADD hll a b c",
    "PFADD hll a",
    "PFMERGE hll2 hll",
    "MSET x 1 y 2",
    "MSETNX x 1 z 2",
    "MSETNX w 1 z 2",
    "EXPIRE x 1000",
    "PEXPIRE x 1000000",
    "EXPIREAT x {s}",
    "PEXPIREAT x {ms}",
    "EXPIRE x 1 GT",
    "PERSIST x",
    "PERSIST x",
    "EXPIRE x -1",
    "COPY y y2",
    "COPY y y2",
    "COPY y y2 REPLACE",
    "RENAME y2 y3",
    "RENAMENX y3 y",
    "RENAMENX y3 y4",
    "MOVE y4 1",
    "DEL none",
    "DEL y none",
    "UNLINK z w",
    "RPUSH l 1 2 3 4 5 6",
    "LPUSHX l 0",
    "LPUSHX none 0",
    "RPOP l",
    "LPOP l 2",
    "LPOP l 0",
    "LPOP none",
    "LMPOP 2 none l LEFT COUNT 1",
    "BLPOP none l 0",
    "BLMPOP 0 1 l RIGHT",
    "RPUSH l 1 2 3 4 5 6",
    "LMOVE l l2 LEFT RIGHT",
    "RPOPLPUSH l l2",
    "BLMOVE l l2 LEFT LEFT 0",
    "BRPOPLPUSH l l2 0",
    "LREM l2 0 none",
    "LREM l2 0 1",
    "LSET l2 0 9",
    "LINSERT l2 BEFORE 9 8",
    "LTRIM l2 0 1",
    "SORT l2 STORE l3",
    "SORT none STORE l3",
    "SADD set a",
    "SADD set a",
    "SPOP set",
    "SADD set a b",
    "SPOP set 5",
    "SADD set a b",
    "SADD set2 b c",
    "SMOVE set set2 a",
    "SMOVE set set2 none",
    "SREM set none",
    "SUNIONSTORE set3 set set2",
    "SINTERSTORE set3 set none",
    "HSET h a 1 b 2",
    "HSETNX h a 2",
    "HINCRBY h a 5",
    "HINCRBYFLOAT h a 0.5",
    "HDEL h none",
    "HDEL h a b",
    "GEOADD places CH NX 13.361389 38.115556 a 15.087269 37.502669 b",
    "GEOADD places 13.361389 38.115556 a",
    "GEOSEARCHSTORE near places FROMMEMBER a BYRADIUS 200 km STOREDIST",
    "GEORADIUS places 15 37 200 km STORE near",
    "GEORADIUSBYMEMBER places a 1 km STORE near",
    "GEOSEARCHSTORE near none FROMMEMBER a BYRADIUS 200 km",
    "ZADD z 1 a 2 b 3 c",
    "ZADD z XX CH 1 a",
    "ZADD z INCR 5 a",
    "ZADD z NX 5 a",
    "ZINCRBY z 1 b",
    "ZPOPMIN z",
    "ZPOPMAX z 1",
    "ZADD z 1 a 2 b 3 c",
    "BZPOPMIN none z 0",
    "ZMPOP 2 none z MAX COUNT 1",
    "BZMPOP 0 1 z MIN",
    "ZPOPMIN none",
    "ZADD z 1 a 2 b 3 c",
    "ZRANGESTORE z2 z 0 1",
    "ZREMRANGEBYRANK z 0 0",
    "ZUNIONSTORE z3 1 z",
    "ZREM z none",
    "XADD q 1-* f v",
    "XADD q 2-1 f v g w",
    "XADD q NOMKSTREAM MAXLEN = 10 3-* f v",
    "XADD none NOMKSTREAM 1-1 f v",
    "XADD q MAXLEN ~ 1 LIMIT 100 4-* f v",
    "XADD q MINID ~ 2 5-1 f v",
    "XADD q MAXLEN 3 6-1 f v",
    "XADD q 7 f v",
    "XTRIM q MAXLEN ~ 2",
    "XTRIM q MAXLEN 3",
    "XTRIM q MAXLEN 3",
    "XDEL q 5-1 9-9",
    "XDEL q 9-9",
    "XSETID q 9-9 ENTRIESADDED 50 MAXDELETEDID 8-8",
    "XGROUP CREATE q g 0",
    "XGROUP CREATE made g $ MKSTREAM ENTRIESREAD 3",
    "XGROUP CREATECONSUMER q g c",
    "XGROUP CREATECONSUMER q g c",
    "XREADGROUP GROUP g c COUNT 1 STREAMS q >",
    "XREADGROUP GROUP g other STREAMS q >",
    "XREADGROUP GROUP g c STREAMS q >",
    "XREADGROUP GROUP g c STREAMS q 0",
    "XADD q 10-1 f v",
    "XADD q 10-2 f v",
    "XREADGROUP GROUP g late NOACK COUNT 1 STREAMS q >",
    "XREADGROUP GROUP g late NOACK STREAMS q made 0 0",
    "XREADGROUP GROUP g third STREAMS q made > >",
    "XCLAIM q g c 0 6-1 10-2 8-8 JUSTID",
    "XCLAIM q g c 1000000 6-1",
    "XCLAIM q g fourth 0 10-1 FORCE TIME 1 RETRYCOUNT 9 LASTID 10-9",
    "XCLAIM q g c 0 99-99 LASTID 11-1",
    "XDEL q 6-1 10-2",
    "XCLAIM q g c 0 6-1",
    "XAUTOCLAIM q g c 0 - COUNT 1",
    "XAUTOCLAIM q g fifth 0 - COUNT 10 JUSTID",
    "XAUTOCLAIM q g c 0 -",
    "XACK q g 7-0 99-1",
    "XACK q g 99-1",
    "XGROUP SETID q g 7 ENTRIESREAD 5",
    "XGROUP DELCONSUMER q g c",
    "XGROUP DELCONSUMER q g none",
    "XGROUP DESTROY q g",
    "XGROUP DESTROY q g",
    "EVAL redis.call('xadd','q','20-*','f','v')redis.call('xadd','q','20-*','f','v') 0",
    "MULTI",
    "XADD q 30-* f v",
    "XGROUP CREATE q g 0",
    "XREADGROUP GROUP g c COUNT 2 STREAMS q >",
    "EXEC",
    "MULTI",
    "SET in 1 EX 1000",
    "GET in",
    "INCR in",
    "SELECT 1",
    "SET other 1",
    "SELECT 0",
    "EXEC",
    "MULTI",
    "GET in",
    "EXEC",
    "MULTI",
    "INCR in",
    "DISCARD",
    "SELECT 1",
    "SET in 2",
    "SWAPDB 0 1",
    "SELECT 0",
    "SET short 1 PX 1",
    "! short",
    "SET short 1 PX 1",
    "! short",
    "INCR short",
    "PUBLISH channel message",
    "EVAL redis.call('set','sc','1')redis.call('incr','sc') 0",
    "EVAL return{redis.call('set','sc','1')} 0",
    "EVAL redis.call('select','3')redis.call('set','x','1')redis.call('set','y','2') 0",
    "EVAL redis.set_repl(redis.REPL_NONE)redis.call('set','gone','1') 0",
    "EVAL redis.call('expire','sc',1000)redis.call('hset','sh','f','1') 0",
    "EVAL redis.call('set','p','1','px','1000000')error('x') 0",
    "EVAL return(redis.call('get','sc')) 0",
    "SCRIPT LOAD return(1)",
    "MULTI",
    "EVAL redis.call('incr','sc')redis.call('incr','sc') 0",
    "INCR in",
    "EXEC",
    "FUNCTION FLUSH",
    "GET a",
    "INCR s",
    "FLUSHDB",
    "FLUSHDB ASYNC",
    "SET last 1",
    "FLUSHALL",
];

/// A command's database and words.
type Command = (usize, Vec<String>);

/// What has left an engine, as far as it is meant for `reader`.
fn taken(engine: &mut Engine) -> (Vec<Command>, Vec<Command>) {
    let batch = engine.core.feed.take();
    let of = |reader| {
        let command = |part| match part {
            Part::Begin => vec![(0, vec!["MULTI".to_owned()])],
            Part::End => vec![(0, vec!["EXEC".to_owned()])],
            Part::Command { db, bytes } => {
                commands_of(bytes).into_iter().map(|(_, words)| (db, words)).collect()
            }
        };
        batch.parts(reader).flat_map(command).collect()
    };
    (of(Audience::LOG), of(Audience::REPLICAS))
}

/// The commands of an append-only file, each with its database.
fn commands_of(file: &[u8]) -> Vec<Command> {
    let text = String::from_utf8_lossy(file);
    let mut lines = text.split("\r\n");
    let (mut db, mut all) = (0, Vec::new());
    while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
        let count: usize = count.parse().expect("a count");
        let words: Vec<String> =
            (0..count).map(|_| lines.nth(1).expect("a word").to_owned()).collect();
        if words[0].eq_ignore_ascii_case("select") {
            db = words[1].parse().expect("a number");
        } else {
            all.push((db, words));
        }
    }
    all
}

/// A command on one line, with its database.
fn shown((db, words): &Command) -> String {
    let name = words[0].to_uppercase();
    // A group's own words belong to no database.
    let db = if ["MULTI", "EXEC"].contains(&name.as_str()) { 0 } else { *db };
    format!("{db}: {name} {}", words[1..].join(" "))
}

/// Whether two commands are the same, but for moments a few seconds apart.
fn same(found: &str, wanted: &str) -> bool {
    let moment = |word: &str| word.parse::<u64>().ok().filter(|ms| *ms > 1_000_000_000_000);
    found.split(' ').count() == wanted.split(' ').count()
        && found.split(' ').zip(wanted.split(' ')).all(|(found, wanted)| {
            let close = |(a, b): (u64, u64)| a.abs_diff(b) <= 5000;
            found == wanted || moment(found).zip(moment(wanted)).is_some_and(close)
        })
}

#[test]
fn writes_leave_in_the_form_of_the_original() {
    let redis = Redis::start_on(
        free_port(),
        &["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"],
    );
    let mut theirs = Client::connect(redis.port);
    assert_eq!(theirs.call("DEBUG SET-ACTIVE-EXPIRE 0"), "+OK\r\n");
    let mut engine = Engine::new(Settings::default(), redstart_server::commands::handlers());
    engine.core.feed.set_audience(Audience::ALL);
    let mut ours = Caller::new(1, 0);
    let mut run = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        engine.refresh();
        ours.reply.truncate(0);
        engine.execute(&mut ours, OwnedArgs::from_slices(&words).as_args());
        String::from_utf8_lossy(&ours.reply.output.waiting()).into_owned()
    };
    // Rounded up, so that moments compare though they are read twice.
    let second = redstart_common::clock::unix_ms() / 1000 + 900;
    for line in CONVERSATION {
        let line =
            line.replace("{ms}", &(second * 1000).to_string()).replace("{s}", &second.to_string());
        if let Some(key) = line.strip_prefix("! ") {
            // Both expire on this look at the latest, and have it to tell.
            let look = format!("EXISTS {key}");
            eventually("the key expires in redis-server", || theirs.call(&look) == ":0\r\n");
            eventually("the key expires in the engine", || run(&look) == ":0\r\n");
            continue;
        }
        let (wanted, found) = (theirs.call(&line), run(&line));
        // Members come in no particular order.
        assert!(found == wanted || line == "SPOP set 5", "{line}: {found:?} for {wanted:?}");
    }
    let file = redis.folder.join("appendonlydir").join("appendonly.aof.1.incr.aof");
    let file = std::fs::read(file).expect("the append-only file");
    let theirs: Vec<String> = commands_of(&file).iter().map(shown).collect();
    assert!(theirs.len() > 80, "{theirs:#?}");
    let (ours, replicas) = taken(&mut engine);
    let ours: Vec<String> = ours.iter().map(shown).collect();
    // Messages are for replicas alone; a file leaves them out.
    let (messages, others): (Vec<_>, Vec<_>) =
        replicas.iter().map(shown).partition(|command| command.contains(": PUBLISH"));
    assert_eq!(messages, ["0: PUBLISH channel message"]);
    assert_eq!(others, ours);
    for (place, (found, wanted)) in ours.iter().zip(&theirs).enumerate() {
        let before = &theirs[place.saturating_sub(3)..place];
        assert!(same(found, wanted), "{found} for {wanted} after {before:#?}");
    }
    assert_eq!(ours.len(), theirs.len());
}
