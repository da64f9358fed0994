//! The same random commands to redis-server and to redstart-server: every reply is the same, byte for byte.
//!
//! Replies whose order is not promised are compared sorted; but where the original's encoding fixes the order (a
//! listpack, an intset), ours has to keep it. Times to live may differ by the moment between the two.

use redstart_common::command::lookup;
use redstart_common::command::spec::Flags;
use redstart_tests::generator::Generator;
use redstart_tests::proxy_support::{Client, PATIENCE, Redis, within};
use redstart_tests::server_support::{Random, Server, elements, readable};

/// A difference that is known and stays for now.
struct Open {
    /// The commands that show it.
    commands: &'static [&'static str],
    /// What the original's reply contains.
    theirs: &'static str,
    /// What ours contains.
    ours: &'static str,
}

/// The known differences, each with the reason above it.
const OPEN: &[Open] = &[
    // The original reads an `errno` that an earlier command may have left, and then refuses what is a number.
    Open { commands: &["SORT", "SORT_RO"], theirs: "scores can't be converted", ours: "" },
    // The original asks for room for as many ids as are wanted, however few there are.
    Open { commands: &["XAUTOCLAIM"], theirs: "Insufficient memory", ours: "" },
];

/// How many differences are gathered before the test gives up.
const ENOUGH: usize = 25;

type Words = Vec<Vec<u8>>;

fn name_of(words: &Words) -> String {
    String::from_utf8_lossy(&words[0]).to_ascii_uppercase()
}

fn is_open(name: &str, theirs: &[u8], ours: &[u8]) -> bool {
    let contains = |text: &[u8], part: &str| {
        String::from_utf8_lossy(text).to_lowercase().contains(&part.to_lowercase())
    };
    OPEN.iter().any(|open| {
        open.commands.contains(&name) && contains(theirs, open.theirs) && contains(ours, open.ours)
    })
}

/// How many neighbours belong together in a reply without order; 0 for replies with one.
fn unordered(name: &str) -> usize {
    match name {
        "KEYS" | "SMEMBERS" | "SUNION" | "SINTER" | "SDIFF" | "HKEYS" | "HVALS" | "SPOP"
        | "SRANDMEMBER" => 1,
        "HGETALL" | "CONFIG" => 2,
        "SORT" | "SORT_RO" => 1,
        _ => 0,
    }
}

fn sorted(reply: &[u8], width: usize) -> Option<Vec<Vec<&[u8]>>> {
    let (marker, parts) = elements(reply)?;
    let mut groups: Vec<Vec<&[u8]>> = parts.chunks(width).map(<[&[u8]]>::to_vec).collect();
    groups.sort();
    groups.push(vec![match marker {
        b'~' => b"set",
        b'%' => b"map",
        _ => b"array",
    }]);
    Some(groups)
}

fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}

/// Whether two replies to XPENDING or XINFO CONSUMERS are the same but for how long something was idle, which is the
/// element `idle` of each row.
fn rows_alike(theirs: &[u8], ours: &[u8], idle: usize) -> bool {
    let rows = |reply| -> Option<Vec<Vec<&[u8]>>> {
        let rows = elements(reply)?.1;
        rows.into_iter().map(|row| elements(row).map(|(_, row)| row)).collect()
    };
    let (Some(theirs), Some(ours)) = (rows(theirs), rows(ours)) else { return false };
    let alike = |(theirs, ours): (&Vec<&[u8]>, &Vec<&[u8]>)| {
        let mut cells = theirs.iter().zip(ours).enumerate();
        let same = |(at, (a, b)): (usize, (&&[u8], &&[u8]))| {
            a == b || (at == idle && integer(a).is_some() && integer(b).is_some())
        };
        theirs.len() == ours.len() && cells.all(same)
    };
    theirs.len() == ours.len() && theirs.iter().zip(&ours).all(alike)
}

/// A command of a transaction, the original's reply to it, and ours.
type Answered<'a> = (&'a Words, &'a [u8], &'a [u8]);

/// The commands of a transaction, each with the replies of both to it; `None` unless there are as many.
fn each_of<'a>(queue: &'a [Words], theirs: &'a [u8], ours: &'a [u8]) -> Option<Vec<Answered<'a>>> {
    let ((_, theirs), (_, ours)) = (elements(theirs)?, elements(ours)?);
    let replies = theirs.iter().zip(&ours);
    (theirs.len() == queue.len() && ours.len() == queue.len())
        .then(|| queue.iter().zip(replies).map(|(words, (a, b))| (words, *a, *b)).collect())
}

/// Whether two replies mean the same to a client that asked `words`.
fn same(words: &Words, queue: &[Words], theirs: &[u8], ours: &[u8]) -> bool {
    if theirs == ours {
        return true;
    }
    let name = name_of(words);
    if is_open(&name, theirs, ours) {
        return true;
    }
    match name.as_str() {
        "TTL" | "PTTL" | "EXPIRETIME" | "PEXPIRETIME" => {
            let slack = if name.starts_with('P') { 5000 } else { 5 };
            matches!((integer(theirs), integer(ours)),
                (Some(a), Some(b)) if a > 0 && b > 0 && (a - b).abs() <= slack)
        }
        "EXEC" => each_of(queue, theirs, ours)
            .is_some_and(|inner| inner.iter().all(|(words, a, b)| same(words, &[], a, b))),
        // Keys that were set past their deadline count until the regular work finds them; see `Pair::step`.
        "DBSIZE" => integer(theirs).is_some() && integer(ours).is_some(),
        "XPENDING" if words.len() > 3 => rows_alike(theirs, ours, 2),
        "XINFO" if words[1].eq_ignore_ascii_case(b"CONSUMERS") => rows_alike(theirs, ours, 5),
        // How long idle; the small numbers that the original shares among keys were so longer.
        "OBJECT" => integer(theirs).is_some() && integer(ours).is_some(),
        "SORT" | "SORT_RO" if words.iter().any(|word| word.eq_ignore_ascii_case(b"LIMIT")) => {
            elements(theirs).map(|(_, all)| all.len()) == elements(ours).map(|(_, all)| all.len())
        }
        // A damaged cursor points into an order that is not promised.
        "SCAN" | "SSCAN" | "HSCAN" | "ZSCAN"
            if theirs.starts_with(b"*")
                && ours.starts_with(b"*")
                && words[if name == "SCAN" { 1 } else { 2 }] != b"0" =>
        {
            true
        }
        "SCAN" | "SSCAN" | "HSCAN" | "ZSCAN" => {
            let width = if name.starts_with(['H', 'Z']) { 2 } else { 1 };
            match (elements(theirs), elements(ours)) {
                (Some((_, theirs)), Some((_, ours))) if theirs.len() == 2 && ours.len() == 2 => {
                    theirs[0] == ours[0] && sorted(theirs[1], width) == sorted(ours[1], width)
                }
                _ => false,
            }
        }
        _ => match unordered(&name) {
            0 => false,
            width => {
                let (theirs, ours) = (sorted(theirs, width), sorted(ours, width));
                theirs.is_some() && theirs == ours
            }
        },
    }
}

/// Whether two replies hold a difference that is known, after which the two may hold different data.
fn parted(words: &Words, queue: &[Words], theirs: &[u8], ours: &[u8]) -> bool {
    if name_of(words) != "EXEC" {
        return is_open(&name_of(words), theirs, ours);
    }
    each_of(queue, theirs, ours)
        .is_some_and(|inner| inner.iter().any(|(words, a, b)| is_open(&name_of(words), a, b)))
}

/// The two servers and what was asked of them.
struct Pair {
    theirs: Client,
    ours: Client,
    /// Another client of each, which does things while the first has begun a transaction or watches keys.
    bystanders: (Client, Client),
    /// Commands queued by MULTI.
    queue: Vec<Words>,
    history: Vec<Words>,
    /// Whether they compress what they dump.
    compressed: bool,
    /// Whether they pack little.
    small: bool,
    differences: Vec<String>,
}

fn ask(client: &mut Client, words: &Words) -> Vec<u8> {
    client.send(words);
    client.try_receive().unwrap_or_else(|| b"(the connection was closed)".to_vec())
}

impl Pair {
    fn both(&mut self, words: &Words) -> (Vec<u8>, Vec<u8>) {
        self.theirs.send(words);
        self.ours.send(words);
        let closed = || b"(the connection was closed)".to_vec();
        (
            self.theirs.try_receive().unwrap_or_else(closed),
            self.ours.try_receive().unwrap_or_else(closed),
        )
    }

    fn step(&mut self, words: Words) {
        let (theirs, ours) = self.both(&words);
        let name = name_of(&words);
        let mut equal = same(&words, &self.queue, &theirs, &ours);
        if name == "DBSIZE" && equal && theirs != ours {
            equal = within(PATIENCE, || {
                let (theirs, ours) = self.both(&words);
                theirs == ours
            });
        }
        let is_parted = theirs != ours && parted(&words, &self.queue, &theirs, &ours);
        let mut remark = "";
        if equal
            && theirs != ours
            && elements(&theirs).is_some()
            && matches!(
                name.as_str(),
                "HGETALL" | "HKEYS" | "HVALS" | "SMEMBERS" | "SORT" | "SORT_RO"
            )
        {
            let encoding = ask(
                &mut self.theirs,
                &vec![b"OBJECT".into(), b"ENCODING".into(), words[1].clone()],
            );
            let by_nosort = words.iter().any(|word| word == b"nosort");
            equal = match encoding.as_slice() {
                b"$9\r\nhashtable\r\n" => true,
                b"$8\r\nskiplist\r\n" => !by_nosort,
                _ => false,
            };
            remark = " (the order is fixed by its encoding)";
        }
        let queue = if name == "EXEC" { std::mem::take(&mut self.queue) } else { Vec::new() };
        if theirs == b"+QUEUED\r\n" {
            self.queue.push(words.clone());
        } else if matches!(name.as_str(), "EXEC" | "DISCARD")
            || (name == "MULTI" && theirs == b"+OK\r\n")
        {
            self.queue.clear();
        }
        self.history.push(words);
        if !equal {
            let mut story =
                format!("theirs {}\nours   {}{remark}", readable(&theirs), readable(&ours));
            let inner = each_of(&queue, &theirs, &ours).unwrap_or_default();
            if let Some((inner, a, b)) = inner.iter().find(|(words, a, b)| !same(words, &[], a, b))
            {
                let words: Vec<String> = inner.iter().map(|word| readable(word)).collect();
                story = format!(
                    "in it {}\ntheirs {}\nours   {}",
                    words.join(" "),
                    readable(a),
                    readable(b)
                );
            }
            self.differ(&story);
        } else if is_parted {
            self.begin();
        }
    }

    /// One step, now and then one of the bystanders, who have no transactions of their own.
    fn step_of_anybody(&mut self, words: Words, bystander: bool) {
        let personal = ["MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "SELECT", "CLIENT"];
        if !bystander || personal.contains(&name_of(&words).as_str()) {
            return self.step(words);
        }
        let swap = |pair: &mut Self| {
            std::mem::swap(&mut pair.theirs, &mut pair.bystanders.0);
            std::mem::swap(&mut pair.ours, &mut pair.bystanders.1);
        };
        swap(self);
        let queue = std::mem::take(&mut self.queue);
        let found = self.differences.len();
        self.step(words);
        swap(self);
        if self.differences.len() == found {
            self.queue = queue;
        } else {
            self.begin();
        }
    }

    /// Notes a difference with the commands that led to it, and begins anew.
    fn differ(&mut self, replies: &str) {
        let last = self.history.last().cloned().unwrap_or_default();
        let print =
            |words: &Words| words.iter().map(|word| readable(word)).collect::<Vec<_>>().join(" ");
        let mut story = String::new();
        let earlier = self.history.iter().rev().skip(1);
        // Those that name the same keys and may have changed them.
        let is_key = |word: &&Vec<u8>| word.len() == 2 && b"slhtzybpq".contains(&word[0]);
        let told = |words: &&Words| {
            name_of(words) != "OBJECT"
                && lookup(&words[0]).is_none_or(|id| !id.spec().flags.contains(Flags::READONLY))
                && words.iter().skip(1).filter(is_key).any(|word| last[1..].contains(word))
        };
        for words in earlier.filter(told).take(12) {
            story = format!("    {}\n{story}", print(words));
        }
        self.differences.push(format!("{}\n{replies}\nafter\n{story}", print(&last)));
        self.begin();
    }

    fn begin(&mut self) {
        self.history.clear();
        self.queue.clear();
        for words in [&["DISCARD"][..], &["UNWATCH"], &["FLUSHALL"], &["SELECT", "0"]] {
            let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            self.both(&words);
        }
    }

    /// Reads every key of both.
    fn compare_contents(&mut self) {
        self.step(vec![b"DISCARD".to_vec()]);
        for db in ["2", "1", "0"] {
            self.step(vec![b"SELECT".to_vec(), db.into()]);
            self.compare_database();
        }
    }

    /// Has each read what the other dumps of a key; `read` are the words that read it.
    fn exchange(&mut self, key: Vec<u8>, read: &[&str]) {
        const COPY: &[u8] = b"s9";
        let dump = vec![b"DUMP".to_vec(), key];
        let (theirs, ours) = self.both(&dump);
        let encoding =
            ask(&mut self.theirs, &vec![b"OBJECT".into(), b"ENCODING".into(), dump[1].clone()]);
        // Compressed texts and tables have no one form.
        let hashed = encoding.ends_with(b"hashtable\r\n");
        // And a list that SORT has stored goes by the usual limits in the original, whatever the configuration says.
        let divided = self.small && encoding.ends_with(b"quicklist\r\n");
        // What is pending was handed out at other times, and consumers were seen at others.
        let timed = encoding.ends_with(b"stream\r\n");
        let one_form = !self.compressed && !hashed && !divided && !timed;
        self.history.push(dump);
        if !theirs.starts_with(b"$") || theirs.starts_with(b"$-1") {
            // A difference was found just before, and all was removed.
            return;
        }
        if one_form && theirs != ours {
            let story = format!("theirs {}\nours   {}", readable(&theirs), readable(&ours));
            return self.differ(&story);
        }
        let restore = |payload: &[u8]| -> Words {
            let start = payload.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let payload = &payload[start..payload.len() - 2];
            vec![b"RESTORE".into(), COPY.into(), b"0".into(), payload.into(), b"REPLACE".into()]
        };
        self.theirs.send(&restore(&ours));
        self.ours.send(&restore(&theirs));
        let (theirs, ours) = (self.theirs.try_receive(), self.ours.try_receive());
        if theirs != ours {
            return self.differ(&format!("theirs {theirs:?}\nours   {ours:?}\nof RESTORE"));
        }
        self.step(vec![b"OBJECT".into(), b"ENCODING".into(), COPY.into()]);
        if hashed {
            // Each has the order of the other's table.
            return;
        }
        let mut words: Words = read.iter().map(|word| word.as_bytes().to_vec()).collect();
        words.insert(1, COPY.into());
        self.step(words);
        if timed {
            self.compare_stream(COPY);
        }
        self.step(vec![b"DEL".into(), COPY.into()]);
    }

    /// Compares what a stream says of itself and of its groups.
    fn compare_stream(&mut self, key: &[u8]) {
        for about in ["STREAM", "GROUPS"] {
            self.step(vec![b"XINFO".into(), about.into(), key.into()]);
        }
        for group in ["g1", "g2"] {
            self.step(vec![b"XPENDING".into(), key.into(), group.into()]);
            let all = ["-", "+", "1000"].map(|word| word.as_bytes().to_vec());
            self.step([vec![b"XPENDING".into(), key.into(), group.into()], all.to_vec()].concat());
            self.step(vec![b"XINFO".into(), b"CONSUMERS".into(), key.into(), group.into()]);
        }
    }

    fn compare_database(&mut self) {
        for kind in ["s", "l", "h", "t", "z", "y", "b", "p", "q"] {
            for number in 0..4 {
                let key = format!("{kind}{number}").into_bytes();
                let (found, _) = self.both(&vec![b"TYPE".to_vec(), key.clone()]);
                self.step(vec![b"OBJECT".to_vec(), b"ENCODING".to_vec(), key.clone()]);
                let read: &[&str] = match found.as_slice() {
                    b"+string\r\n" => &["GET"],
                    b"+list\r\n" => &["LRANGE", "0", "-1"],
                    b"+hash\r\n" => &["HGETALL"],
                    b"+set\r\n" => &["SMEMBERS"],
                    b"+zset\r\n" => &["ZRANGE", "0", "-1", "WITHSCORES"],
                    b"+stream\r\n" => &["XRANGE", "-", "+"],
                    _ => continue,
                };
                let mut words: Words = read.iter().map(|word| word.as_bytes().to_vec()).collect();
                words.insert(1, key.clone());
                self.step(words);
                if found == b"+stream\r\n" {
                    self.compare_stream(&key);
                }
                self.exchange(key, read);
            }
        }
    }
}

fn compare(
    name: &str,
    seeds: std::ops::Range<u64>,
    per_seed: usize,
    options: &[&str],
    resp3: bool,
) {
    let redis = Redis::start_on(redstart_tests::proxy_support::free_port(), options);
    let server = Server::start(options);
    let mut differences = Vec::new();
    let mut compared = 0;
    // More of the same for whoever has the time: so many times the seeds.
    let more: u64 =
        std::env::var("REDSTART_SEEDS_TIMES").map_or(1, |times| times.parse().expect("a number"));
    for seed in seeds.start..seeds.start + (seeds.end - seeds.start) * more {
        let mut pair = Pair {
            theirs: Client::connect(redis.port),
            ours: server.client(),
            bystanders: (Client::connect(redis.port), server.client()),
            queue: Vec::new(),
            history: Vec::new(),
            compressed: !options.contains(&"--rdbcompression"),
            small: options.contains(&"--list-max-listpack-size"),
            differences: Vec::new(),
        };
        if resp3 {
            // The greeting names the server and its version; it is compared elsewhere.
            pair.both(&vec![b"HELLO".to_vec(), b"3".to_vec()]);
        }
        let mut chance = Random::new(seed);
        pair.begin();
        let mut generator = Generator::new(seed);
        for count in 0..per_seed {
            pair.step_of_anybody(generator.next_command(), chance.chance(10));
            compared += 1;
            if count % 200 == 199 {
                pair.compare_contents();
            }
            if pair.differences.len() >= ENOUGH {
                break;
            }
        }
        differences.extend(pair.differences.into_iter().map(|text| format!("seed {seed}: {text}")));
        if differences.len() >= ENOUGH {
            break;
        }
    }
    assert!(
        differences.is_empty(),
        "{name}: {} differences in {compared} commands\n\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Strings short enough for a bit at any offset of the generator's not to take hundreds of megabytes.
const SHORT: &[&str] = &["--proto-max-bulk-len", "1mb"];

/// Limits low enough for random data to cross them.
const SMALL: &[&str] = &[
    "--hash-max-listpack-entries",
    "8",
    "--hash-max-listpack-value",
    "16",
    "--set-max-intset-entries",
    "8",
    "--zset-max-listpack-entries",
    "8",
    "--zset-max-listpack-value",
    "16",
    "--list-max-listpack-size",
    "4",
    "--hll-sparse-max-bytes",
    "80",
    "--stream-node-max-entries",
    "4",
    "--rdbcompression",
    "no",
    "--proto-max-bulk-len",
    "1mb",
];

#[test]
fn random_commands_in_resp2() {
    compare("RESP2", 1..5, 4000, &["--rdbcompression", "no", SHORT[0], SHORT[1]], false);
}

#[test]
fn random_commands_in_resp3() {
    compare("RESP3", 101..105, 4000, SHORT, true);
}

#[test]
fn random_commands_over_small_packed_limits() {
    compare("small limits, RESP2", 201..204, 4000, SMALL, false);
    compare("small limits, RESP3", 301..304, 4000, SMALL, true);
}

/// Starts both servers. What is returned asks both, makes sure that they say the same, and gives that.
fn alike(options: &[&str]) -> impl FnMut(&str) -> String {
    let redis = Redis::start_on(redstart_tests::proxy_support::free_port(), options);
    let server = Server::start(options);
    let (mut theirs, mut ours) = (Client::connect(redis.port), server.client());
    move |line| {
        // They run as long as they are asked.
        let _running = (&redis, &server);
        let found = ours.call(line);
        assert_eq!(found, theirs.call(line), "{line}");
        found
    }
}

/// A packed sorted set knows no negative zero, and a result may be built in either form.
#[test]
fn stored_sorted_sets_keep_the_signs_of_zeros_that_the_original_keeps() {
    let mut call = alike(SMALL);
    let mut negative = 0;
    let mut compare = |line: &str| negative += usize::from(call(line).contains("\r\n-0\r\n"));
    for key in ["z", "y"] {
        for number in 1..=12 {
            compare(&format!("ZADD {key} {number} m{number}"));
        }
        compare(&format!("ZADD {key} -0 none -0 m3"));
    }
    for (first, last) in [(0, 12), (0, 3), (2, 12), (5, 20)] {
        for line in [
            format!("ZRANGESTORE d z {first} {last}"),
            format!("ZRANGESTORE d z {first} {last} REV"),
            format!("ZRANGESTORE d z -0 {last} BYSCORE"),
            format!("ZRANGESTORE d z -5 100 BYSCORE LIMIT {first} {last}"),
            "ZINTERSTORE d 2 z y".to_owned(),
            "ZUNIONSTORE d 2 z y WEIGHTS 1 -0".to_owned(),
            "ZDIFFSTORE d 2 z nothing".to_owned(),
        ] {
            compare(&line);
            compare("OBJECT ENCODING d");
            compare("ZRANGE d 0 -1 WITHSCORES");
        }
        // Fewer and fewer, until the results are packed.
        compare("ZREMRANGEBYRANK z -3 -1");
    }
    assert!(negative > 5, "{negative} replies with a negative zero");
}

#[test]
fn a_scan_removes_what_is_past_its_deadline_only_where_it_was_asked_for() {
    let mut compare = alike(&["--enable-debug-command", "yes"]);
    compare("DEBUG SET-ACTIVE-EXPIRE 0");
    for (scan, left) in [
        ("SCAN 0 MATCH other*", 1),
        ("SCAN 0 MATCH late", 0),
        ("SCAN 0 TYPE list", 0),
        ("SCAN 0", 0),
        ("KEYS *", 1),
        ("RANDOMKEY", 0),
    ] {
        compare("SET late x EXAT 1");
        compare(scan);
        assert_eq!(compare("DBSIZE"), format!(":{left}\r\n"), "after {scan}");
        compare("DEL late");
    }
}

#[test]
fn there_are_no_modules() {
    for allowed in ["yes", "local", "no"] {
        let options = ["--enable-module-command", allowed];
        let mut compare = alike(&options);
        for call in [
            "MODULE LIST",
            "MODULE HELP",
            "MODULE LOAD",
            "MODULE LOAD /nope.so a b",
            "MODULE LOADEX /nope.so",
            "MODULE LOADEX /nope.so CONFIG a b ARGS x",
            "MODULE UNLOAD x",
            "MODULE NOPE",
            "MODULE",
        ] {
            compare(call);
        }
    }
}
