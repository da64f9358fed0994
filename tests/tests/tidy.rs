//! Reads the tree: layers, leftovers, and where `unsafe` may stand.

use std::path::{Path, PathBuf};

use redstart_tests::server_support::workspace;

/// The only files with `unsafe` code. Each says why, beside it.
const UNSAFE: &[&str] = &[
    "common/src/clock/stopwatch.rs",
    "common/src/crash/mod.rs",
    "common/src/crash/registers.rs",
    "common/src/memory.rs",
    "common/src/net/descriptor.rs",
    "common/src/number/float.rs",
    "proxy/src/main.rs",
    "server/src/main.rs",
    "server/src/process/allocator.rs",
    "server/src/encoding/bag.rs",
    "server/src/encoding/bits.rs",
    "server/src/encoding/listpack.rs",
    "server/src/encoding/listpack/node.rs",
    "server/src/encoding/table.rs",
    "server/src/encoding/table/draw.rs",
    "server/src/encoding/table/growth.rs",
    "server/src/encoding/table/visit.rs",
    "server/src/process/environment.rs",
    "server/src/process/fork.rs",
    "server/src/process/watchdog.rs",
    "server/src/keyspace/db.rs",
    "server/src/keyspace/db/held.rs",
    "server/src/keyspace/db/fields.rs",
    "server/src/keyspace/db/names.rs",
    "server/src/keyspace/db/slots.rs",
    "server/src/keyspace/db/visit.rs",
    "server/src/keyspace/db/write.rs",
    "server/src/keyspace/detached.rs",
    "server/src/keyspace/entry.rs",
    "server/src/keyspace/lazyfree.rs",
    "server/src/persistence/rdb/batch.rs",
    "server/src/scripting/border/command.rs",
    "server/src/scripting/border/debug.rs",
    "server/src/scripting/border/errors.rs",
    "server/src/scripting/border/mod.rs",
    "server/src/scripting/border/reply.rs",
    "server/src/scripting/border/result.rs",
    "server/src/scripting/library/stack.rs",
    "server/src/types/zset/mod.rs",
    "server/src/types/zset/tree.rs",
    "server/src/uninit.rs",
];

fn rust_files(under: &str) -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                // What was built of the fuzz crates is no source of ours.
                if !path.ends_with("target") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = workspace();
    let mut found = Vec::new();
    walk(&root.join(under), &mut found);
    found.sort();
    assert!(!found.is_empty(), "nothing under {under}");
    found
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("text");
            let name = path.strip_prefix(&root).expect("under the root").display().to_string();
            (name, text)
        })
        .collect()
}

/// The lines of code: comments left out.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"))
}

fn assert_absent(under: &str, words: &[&str], except: &[&str]) {
    let mut found = Vec::new();
    for (name, text) in rust_files(under) {
        if except.contains(&name.as_str()) {
            continue;
        }
        for line in code(&text) {
            for word in words.iter().filter(|word| line.contains(**word)) {
                found.push(format!("{name}: {word}: {line}"));
            }
        }
    }
    assert!(found.is_empty(), "not wanted here:\n{}", found.join("\n"));
}

/// The layers of `server/src`, lowest first: a module may use those of its own line and of lines above it in this table.
/// The longest name that fits a module counts.
const LAYERS: &[&[&str]] = &[
    &["cluster", "processors", "text", "uninit"],
    &["encoding"],
    &["types"],
    &["keyspace"],
    &["acl::rule", "acl::user", "acl::selector", "acl::line"],
    &["client", "settings"],
    &[
        "observe::latency",
        "observe::rates",
        "observe::redact",
        "observe::command_log",
        "observe::slot_costs",
        "observe::stats",
        "process::allocator",
        "process::disk",
        "process::oom",
        "process::supervised",
    ],
    &[
        "acl",
        "clustering::state",
        "eviction::candidates",
        "migrate",
        "pause",
        "persistence",
        "pubsub",
        "replicating::awaited",
        "replicating::state",
        "replication",
        "saving::ending",
        "scripting::flags",
        "scripting::session",
        "scripting::state",
        "sentinel",
        "tracking",
    ],
    &["engine"],
    &["clustering", "eviction", "observe", "process", "replicating", "saving"],
    &["dispatch"],
    &["scripting"],
    &["commands"],
    &["turn", "server"],
    &["embedded"],
];

/// The layer of a module of the server, by the longest name in the table that fits.
fn layer(module: &str) -> Option<usize> {
    let fits = |name: &&str| {
        module.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let layers = LAYERS.iter().enumerate();
    let named = layers.flat_map(|(place, names)| names.iter().map(move |name| (name, place)));
    named.filter(|(name, _)| fits(name)).max_by_key(|(name, _)| name.len()).map(|(_, place)| place)
}

/// What a file of the server uses of its crate, tests left out: paths behind `crate::`.
fn uses(text: &str) -> Vec<String> {
    let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let body = code(body).collect::<Vec<_>>().join("\n");
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for part in body.split("crate::").skip(1) {
        let path = &part[..part.find(|c| !word(c)).unwrap_or(part.len())];
        match part[path.len()..].strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                found.extend(list.split(',').map(|name| format!("{path}{}", name.trim())));
            }
            None => found.push(path.to_owned()),
        }
    }
    found
}

#[test]
fn arrows_between_the_servers_modules_run_down() {
    let mut wrong = Vec::new();
    for (name, text) in rust_files("server/src") {
        let module = name.trim_start_matches("server/src/").trim_end_matches(".rs");
        let module = module.trim_end_matches("/mod").replace('/', "::");
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let Some(own) = layer(&module) else {
            wrong.push(format!("{module} is in no layer"));
            continue;
        };
        for used in uses(&text) {
            match layer(&used) {
                Some(other) if other <= own => {}
                Some(_) => wrong.push(format!("{module} uses {used}, which lies above it")),
                // What stands in the crate's root lies below everything.
                None if used.starts_with(char::is_uppercase) => {}
                None => wrong.push(format!("{module} uses {used}, which is in no layer")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_proxy_knows_the_server_through_one_door() {
    assert_absent("proxy/src", &["redstart_server"], &["proxy/src/embedded.rs"]);
    assert_absent("server/src", &["redstart_proxy"], &[]);
    assert_absent("common/src", &["redstart_server", "redstart_proxy"], &[]);
}

#[test]
fn nothing_is_left_over() {
    // Put together so that this file does not contain them.
    let words: Vec<String> =
        ["todo", "unimplemented", "dbg"].iter().map(|name| format!("{name}!(")).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let paths = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    words.extend(paths.iter().map(String::as_str));
    for folder in ["common", "server", "proxy", "tests"] {
        assert_absent(folder, &words, &[]);
    }
}

#[test]
fn unsafe_code_stands_in_few_named_files_with_a_reason() {
    let word = ["un", "safe"].concat();
    let mut found = Vec::new();
    for folder in ["common/src", "server/src", "proxy/src"] {
        for (name, text) in rust_files(folder) {
            let has = code(&text).any(|line| {
                ["{", " {", " fn", " impl", "(", " extern"]
                    .iter()
                    .any(|after| line.contains(&format!("{word}{after}")))
            });
            if has {
                assert!(text.contains("SAFETY"), "{name} does not say why");
                found.push(name);
            }
        }
    }
    let new: Vec<_> = found.iter().filter(|name| !UNSAFE.contains(&name.as_str())).collect();
    assert!(new.is_empty(), "{word} in {new:?}");
    let gone: Vec<_> =
        UNSAFE.iter().filter(|name| !found.iter().any(|file| file == *name)).collect();
    assert!(gone.is_empty(), "no longer {word}, to be taken off the list: {gone:?}");
}

/// The names of what a manifest depends on, as code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut within = false;
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            within = line.trim_end_matches(']').ends_with("dependencies");
        } else if within && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let end = line.find([' ', '.', '=']).unwrap_or(line.len());
            found.push(line[..end].replace('-', "_"));
        }
    }
    found
}

/// Whether a line of code names something of a crate: `name::…` that is not a part of another path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && !"_:".contains(before))
    })
}

#[test]
fn every_dependency_is_used_by_its_crate() {
    let manifest =
        "[package]\nname = 1\n[dependencies]\na-b.workspace = true\nc = \"1\"\n[lints]\nd = 1\n";
    assert_eq!(dependencies(manifest), ["a_b", "c"]);
    assert!(names_crate("use a::b;", "a") && names_crate("x(a::b)", "a"));
    assert!(
        !names_crate("crate::a::b", "a") && !names_crate("ba::b", "a") && !names_crate("a.b", "a")
    );
    let mut unused = Vec::new();
    for folder in ["common", "server", "proxy", "tests"] {
        let manifest = workspace().join(folder).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).expect("a manifest");
        let files = rust_files(folder);
        for name in dependencies(&manifest) {
            let used =
                files.iter().any(|(_, text)| code(text).any(|line| names_crate(line, &name)));
            if !used {
                unused.push(format!("{folder}: {name}"));
            }
        }
    }
    assert!(unused.is_empty(), "depends on what it does not use: {unused:?}");
}
