//! The same random commands to redis-server and to redstart-server: every reply is the same, byte for byte.
//!
//! Replies whose order is not promised are compared sorted; but where the original's encoding fixes the order (a
//! listpack, an intset), ours has to keep it. Times to live may differ by the moment between the two.

use redstart_tests::generator::Generator;
use redstart_tests::proxy_support::{Client, Redis};
use redstart_tests::server_support::{Server, elements, readable};

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
    // Which of two faults of a call is told: the original reads numkeys and the rest before the timeout.
    Open { commands: &["BLMPOP", "BZMPOP"], theirs: "-ERR", ours: "-ERR timeout" },
    // A wait in vain is a null array to the original in RESP2, though an element would be a bulk.
    Open { commands: &["BRPOPLPUSH", "BLMOVE"], theirs: "*-1", ours: "$-1" },
    // The original makes a fresh embstr of a sum.
    Open { commands: &["OBJECT"], theirs: "embstr", ours: "raw" },
    // Which of two faults is told.
    Open { commands: &["HRANDFIELD"], theirs: "-ERR value is not an int", ours: "-ERR syntax" },
    Open {
        commands: &["ZUNION", "ZINTER", "ZUNIONSTORE", "ZINTERSTORE"],
        theirs: "-WRONGTYPE",
        ours: "-ERR weight",
    },
    Open {
        commands: &["LPOP", "RPOP", "ZPOPMIN", "ZPOPMAX"],
        theirs: "must be positive",
        ours: "not an integer",
    },
    Open { commands: &["SELECT"], theirs: "-ERR value is not an int", ours: "-ERR invalid DB" },
    Open { commands: &["SPOP"], theirs: "must be positive", ours: "not an integer" },
    Open {
        commands: &[
            "ZINTERCARD",
            "ZINTERSTORE",
            "ZUNIONSTORE",
            "ZDIFF",
            "ZDIFFSTORE",
            "ZUNION",
            "ZINTER",
        ],
        theirs: "-WRONGTYPE",
        ours: "-ERR syntax",
    },
    // LIMIT x -1 is no limit at all to the original, so it needs neither BYSCORE nor BYLEX.
    Open { commands: &["ZRANGE"], theirs: "", ours: "LIMIT is only supported" },
    // A bound of "(" or "" is the number 0 to the original, for strtod is content with nothing.
    Open {
        commands: &["ZRANGE", "ZCOUNT", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"],
        theirs: "",
        ours: "min or max is not a float",
    },
    // Sorted sets that were built packed and those that were built by *STORE.
    Open { commands: &["OBJECT"], theirs: "skiplist", ours: "listpack" },
    Open { commands: &["HSCAN", "SSCAN", "ZSCAN"], theirs: "*2", ours: "-ERR value is not an int" },
    Open { commands: &["EXEC"], theirs: "EXECABORT", ours: "wrong number" },
    // The original looks for the key before it reads the options.
    Open { commands: &["HSCAN", "SSCAN", "ZSCAN"], theirs: "*2", ours: "-ERR syntax" },
    Open {
        commands: &["CLIENT", "OBJECT", "CONFIG"],
        theirs: "wrong number",
        ours: "unknown command",
    },
    Open { commands: &["HSCAN", "SSCAN", "ZSCAN"], theirs: "-WRONGTYPE", ours: "-ERR syntax" },
    // The empty string is the number 0 to the original's strtod.
    Open { commands: &["SORT", "SORT_RO"], theirs: "", ours: "scores can't be converted" },
    // The original reads an `errno` that an earlier command may have left, and then refuses what is a number.
    Open { commands: &["SORT", "SORT_RO"], theirs: "scores can't be converted", ours: "" },
    // The original writes scores of a skiplist out in full here.
    Open { commands: &["ZSCAN"], theirs: "00000", ours: "e+" },
    // The original's packed scores know no negative zero.
    Open {
        commands: &[
            "ZPOPMIN",
            "ZPOPMAX",
            "ZSCORE",
            "ZMSCORE",
            "ZRANGE",
            "ZINCRBY",
            "ZUNION",
            "ZINTER",
            "ZREVRANGE",
            "ZRANGEBYSCORE",
            "ZREVRANGEBYSCORE",
            "ZSCAN",
            "ZDIFF",
            "ZMPOP",
            "BZMPOP",
            "BZPOPMIN",
            "BZPOPMAX",
        ],
        theirs: "",
        ours: "\n-0\r",
    },
    // Words of the client in an error pass through UTF-8 in ours.
    Open {
        commands: &["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "CLIENT", "OBJECT", "CONFIG"],
        theirs: "-ERR un",
        ours: "\u{fffd}",
    },
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
        "EXEC" => match (elements(theirs), elements(ours)) {
            (Some((_, theirs)), Some((_, ours))) => {
                theirs.len() == ours.len()
                    && theirs.len() == queue.len()
                    && queue
                        .iter()
                        .zip(theirs.iter().zip(ours))
                        .all(|(words, (a, b))| same(words, &[], a, b))
            }
            _ => false,
        },
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

/// The two servers and what was asked of them.
struct Pair {
    theirs: Client,
    ours: Client,
    /// Commands queued by MULTI.
    queue: Vec<Words>,
    history: Vec<Words>,
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
        let mut remark = "";
        if equal
            && theirs != ours
            && matches!(name.as_str(), "HGETALL" | "HKEYS" | "HVALS" | "SMEMBERS")
        {
            let encoding = ask(
                &mut self.theirs,
                &vec![b"OBJECT".into(), b"ENCODING".into(), words[1].clone()],
            );
            let fixed = encoding.ends_with(b"listpack\r\n") || encoding.ends_with(b"intset\r\n");
            equal = !fixed;
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
            if let (Some((_, theirs)), Some((_, ours))) = (elements(&theirs), elements(&ours)) {
                for (inner, (a, b)) in queue.iter().zip(theirs.iter().zip(&ours)) {
                    if !same(inner, &[], a, b) {
                        let words: Vec<String> = inner.iter().map(|word| readable(word)).collect();
                        story = format!(
                            "in it {}\ntheirs {}\nours   {}",
                            words.join(" "),
                            readable(a),
                            readable(b)
                        );
                        break;
                    }
                }
            }
            self.differ(&story);
        }
    }

    /// Notes a difference with the commands that led to it, and begins anew.
    fn differ(&mut self, replies: &str) {
        let last = self.history.last().cloned().unwrap_or_default();
        let print =
            |words: &Words| words.iter().map(|word| readable(word)).collect::<Vec<_>>().join(" ");
        let mut story = String::new();
        let earlier = self.history.iter().rev().skip(1);
        for words in
            earlier.filter(|words| words.iter().skip(1).any(|word| last.contains(word))).take(6)
        {
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
        for kind in ["s", "l", "h", "t", "z", "y"] {
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
                    _ => continue,
                };
                let mut words: Words = read.iter().map(|word| word.as_bytes().to_vec()).collect();
                words.insert(1, key);
                self.step(words);
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
    for seed in seeds {
        let mut pair = Pair {
            theirs: Client::connect(redis.port),
            ours: server.client(),
            queue: Vec::new(),
            history: Vec::new(),
            differences: Vec::new(),
        };
        if resp3 {
            // The greeting names the server and its version; it is compared elsewhere.
            pair.both(&vec![b"HELLO".to_vec(), b"3".to_vec()]);
        }
        pair.begin();
        let mut generator = Generator::new(seed);
        for count in 0..per_seed {
            pair.step(generator.next_command());
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
];

#[test]
fn random_commands_in_resp2() {
    compare("RESP2", 1..5, 4000, &[], false);
}

#[test]
fn random_commands_in_resp3() {
    compare("RESP3", 101..105, 4000, &[], true);
}

#[test]
fn random_commands_over_small_packed_limits() {
    compare("small limits, RESP2", 201..204, 4000, SMALL, false);
    compare("small limits, RESP3", 301..304, 4000, SMALL, true);
}
