#!/usr/bin/env python3
"""Records the command table from a real redis-server 7.0.15 as rows of common/src/command.

    tests/golden/record_commands.py common/src/command

starts the `redis-server` of PATH twice (as a server and with --sentinel), asks each for COMMAND and COMMAND DOCS
over RESP3, and writes one file of rows a group (two levels where a group is long). Nothing else in that folder is
touched. rustfmt must be in PATH. What the server knows but hides from COMMAND stands in this file as HIDDEN_FLAGS,
EXTRACTORS and CHANNELS.
"""

import argparse
import os
import re
import socket
import subprocess
import tempfile
import time

VERSION = "7.0.15"
WIDTH = 100

# Flags which COMMAND does not print. SENTINEL and ONLY_SENTINEL are found by asking both kinds of server.
HIDDEN_FLAGS = {
    "MAY_REPLICATE": ["eval", "evalsha", "fcall", "pfcount", "publish", "spublish"],
    "PROTECTED": ["debug", "module|load", "module|loadex", "module|unload"],
    "TOUCHES_ARBITRARY_KEYS": ["randomkey", "scan"],
}

# Commands with a way of their own to find keys, beside their key specs.
EXTRACTORS = {
    "Extractor::Counted { count_at: 1, store: false }": [
        "lmpop", "sintercard", "zdiff", "zinter", "zintercard", "zmpop", "zunion"],
    "Extractor::Counted { count_at: 2, store: false }": [
        "blmpop", "bzmpop", "eval", "eval_ro", "evalsha", "evalsha_ro", "fcall", "fcall_ro"],
    "Extractor::Counted { count_at: 2, store: true }": ["zdiffstore", "zinterstore", "zunionstore"],
    "Extractor::Sort": ["sort"],
    "Extractor::SortRo": ["sort_ro"],
    "Extractor::Migrate": ["migrate"],
    "Extractor::GeoRadius": ["georadius", "georadiusbymember"],
    "Extractor::XRead": ["xread", "xreadgroup"],
    "Extractor::Set": ["set"],
    "Extractor::BitField": ["bitfield"],
}

# Commands whose arguments are channels.
CHANNELS = {
    "Channels::Subscribe": ["subscribe", "ssubscribe"],
    "Channels::SubscribePatterns": ["psubscribe"],
    "Channels::Unsubscribe": ["unsubscribe", "sunsubscribe"],
    "Channels::UnsubscribePatterns": ["punsubscribe"],
    "Channels::Publish": ["publish", "spublish"],
}

# group on the wire -> (variant of Group, file, what the file says about itself)
GROUPS = {
    "string": ("String", "string", "Strings: bytes and counters."),
    "hash": ("Hash", "hash", "Hashes: fields and values under one key."),
    "list": ("List", "list", "Lists: pushed and popped at both ends, blocking forms included."),
    "set": ("Set", "set", "Sets: members without order."),
    "sorted-set": ("SortedSet", "sorted_set", "Sorted sets: members ordered by score."),
    "stream": ("Stream", "stream", "Streams: logs of entries, and groups of consumers."),
    "bitmap": ("Bitmap", "bitmap", "Bitmaps: strings seen as bits and small integers."),
    "hyperloglog": ("HyperLogLog", "hyperloglog", "HyperLogLogs: approximate counting of distinct elements."),
    "geo": ("Geo", "geo", "Places on Earth, kept in sorted sets."),
    "generic": ("Generic", "generic", "Keys of any type."),
    "connection": ("Connection", "connection", "The connection itself: who it is, what it speaks."),
    "pubsub": ("PubSub", "pubsub", "Publish and subscribe."),
    "transactions": ("Transactions", "transactions", "MULTI and what belongs to it."),
    "scripting": ("Scripting", "scripting", "Lua scripts and functions."),
    "server": ("Server", "server", "The server itself: settings, persistence, replication, users, figures."),
    "cluster": ("Cluster", "cluster", "Redis Cluster."),
    "sentinel": ("Sentinel", "sentinel", "Redis Sentinel. These rows exist in sentinel mode only."),
}

# Containers whose sub-commands get a file of their own: `server` is by far the longest group.
OWN_FILE = ["acl", "client", "command", "config", "latency", "memory", "module", "slowlog"]

MAIN_FIELDS = {"summary", "since", "group", "complexity", "doc_flags", "deprecated_since", "replaced_by", "history",
               "arguments", "subcommands"}
ARGUMENT_FIELDS = {"name", "type", "key_spec_index", "token", "summary", "since", "deprecated_since", "flags",
                   "arguments"}


# --- asking the server -------------------------------------------------------------------------------------------

class Client:
    """A connection that speaks RESP3."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")
        self.ask("HELLO", "3")

    def ask(self, *words):
        request = b"*%d\r\n" % len(words)
        for word in words:
            request += b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode())
        self.socket.sendall(request)
        return self.read()

    def read(self):
        line = self.lines.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            data = self.lines.read(int(rest) + 2)[:-2]
            return data.decode()
        if kind == b"=":
            return self.lines.read(int(rest) + 2)[4:-2].decode()
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind in b"*~":
            return [self.read() for _ in range(int(rest))]
        if kind == b"%":
            pairs = [(self.read(), self.read()) for _ in range(int(rest))]
            assert len(dict(pairs)) == len(pairs)
            return dict(pairs)
        raise RuntimeError(f"unexpected reply {line!r}")


class Server:
    """A redis-server of our own in a folder of its own."""

    def __init__(self, folder, sentinel):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        name = os.path.join(folder, "sentinel.conf" if sentinel else "server.conf")
        with open(name, "w", encoding="utf8") as conf:
            conf.write(f"port {self.port}\ndir {folder}\nbind 127.0.0.1\n")
            if not sentinel:
                conf.write('save ""\n')
        words = ["redis-server", name] + (["--sentinel"] if sentinel else [])
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL)

    def connect(self):
        deadline = time.monotonic() + 10
        while True:
            try:
                return Client(self.port)
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def record(client):
    """{name: row} with COMMAND's facts and COMMAND DOCS's facts in one dictionary, sub-commands nested."""
    docs = client.ask("COMMAND", "DOCS")

    def row(info, doc):
        # First, last and step of the legacy range are derived by `Keys::of`.
        name, arity, flags, _first, _last, _step, categories, tips, keys, subs = info
        assert set(doc) <= MAIN_FIELDS, doc
        sub_docs = doc.get("subcommands", {})
        return dict(doc, name=name, arity=arity, flags=flags, categories=categories, tips=tips,
                    keys=keys, subcommands={sub[0]: row(sub, sub_docs[sub[0]]) for sub in subs})

    return {info[0]: row(info, docs[info[0]]) for info in client.ask("COMMAND")}


def merge(server, sentinel):
    """Both tables in one; rows of the same name must say the same."""

    def mark(row, words):
        row.setdefault("hidden", []).extend(words)
        for sub in row["subcommands"].values():
            mark(sub, words)

    def without_subs(row):
        return {key: value for key, value in row.items() if key not in ("subcommands", "hidden")}

    def join(ours, theirs):
        for name, row in theirs.items():
            if name not in ours:
                ours[name] = row
                mark(row, ["SENTINEL", "ONLY_SENTINEL"])
                continue
            assert without_subs(ours[name]) == without_subs(row), name
            ours[name].setdefault("hidden", []).append("SENTINEL")
            join(ours[name]["subcommands"], row["subcommands"])

    join(server, sentinel)
    return server


# --- writing rows ------------------------------------------------------------------------------------------------

LONG_LITERALS = []


def text(value, may_be_empty=False):
    """A Rust string literal, or a stand-in for a long one: rustfmt gives up where a literal does not fit its line."""
    assert value or may_be_empty, "an empty word would read as an absent one"
    literal = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if len(literal) <= 50:
        return f'"{literal}"'
    LONG_LITERALS.append(literal)
    return f"LONG_{len(LONG_LITERALS) - 1}_".ljust(50, "_")


def layout(source):
    """Formats, then puts the long literals in place of their stand-ins, broken at spaces where they do not fit."""
    lines = []
    for line in rustfmt(source).split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        while found := re.search(r"LONG_(\d+)_+", line):
            before, after = line[: found.start()], line[found.end():]
            literal = '"' + LONG_LITERALS[int(found.group(1))] + '"'
            if len(before + literal + after) > WIDTH:
                # A backslash eats the line's end and the next line's indentation, so the space stays before it.
                room = WIDTH - 1 - len(before)
                while len(literal) > room:
                    cut = literal.rfind(" ", 1, room) + 1
                    assert cut > 0, literal
                    lines.append(before + literal[:cut] + "\\")
                    before, literal = indent + "    ", literal[cut:]
                    room = WIDTH - 1 - len(before)
            line = before + literal + after
        lines.append(line)
    return rustfmt("\n".join(lines))


def words(macro, values):
    return f"{macro}![{', '.join(value.upper() for value in values)}]"


def key_spec(spec):
    flags = words("key_flags", spec["flags"])
    begin, find = spec["begin_search"], spec["find_keys"]
    if begin["type"] == "index":
        out = f"KeySpec::at({begin['spec']['index']}, {flags})"
    elif begin["type"] == "keyword":
        out = f"KeySpec::after({text(begin['spec']['keyword'])}, {begin['spec']['startfrom']}, {flags})"
    else:
        assert begin["type"] == "unknown" == find["type"], spec
        out = f"KeySpec::unknown({flags})"
    if find["type"] == "range":
        last, step, limit = (find["spec"][word] for word in ("lastkey", "keystep", "limit"))
        if (last, step, limit) != (0, 1, 0):
            out += f".range({last}, {step}, {limit})"
    elif find["type"] == "keynum":
        out += ".counted({keynumidx}, {firstkey}, {keystep})".format(**find["spec"])
    else:
        assert find["type"] == "unknown" == begin["type"], spec
    if "notes" in spec:
        out += f".notes({text(spec['notes'])})"
    return out


def argument(entry):
    assert set(entry) <= ARGUMENT_FIELDS, entry
    assert "summary" not in entry, "7.0.15 has none: teach the rows to say it"
    name, kind = text(entry["name"]), entry["type"]
    rest = dict(entry)
    if kind == "key":
        out = f"key({name}, {rest.pop('key_spec_index')})"
    elif kind == "pure-token":
        token = rest.pop("token", None)
        out = f"bare({name})" if token is None else f"word({name}, {text(token, may_be_empty=True)})"
    elif kind in ("oneof", "block"):
        inner = ", ".join(argument(each) for each in entry["arguments"])
        out = f"{'one_of' if kind == 'oneof' else 'block'}({name}, &[{inner}])"
    else:
        out = f"{kind.replace('-', '_')}({name})"
    if "key_spec_index" in rest:
        out += f".by_key_spec({rest['key_spec_index']})"
    if "token" in rest:
        out += f".token({text(rest['token'])})"
    for field in ("since", "deprecated_since"):
        if field in rest:
            out += f".{field}({text(rest[field])})"
    return out + "".join(f".{flag}()" for flag in rest.get("flags", []))


def find(table, name):
    return [key for key, names in table.items() if name in names]


def spec(row, group):
    name = row["name"]
    hidden = find(HIDDEN_FLAGS, name) + row.get("hidden", [])
    fields = [("name", text(name)), ("arity", row["arity"]),
              ("flags", words("flags", row["flags"] + sorted(hidden))),
              ("categories", words("categories", [word.lstrip("@") for word in row["categories"]]))]
    if row["keys"]:
        keys = f"Keys::of(&[{', '.join(key_spec(each) for each in row['keys'])}])"
        for extractor in find(EXTRACTORS, name):
            keys += f".by({extractor})"
        fields.append(("keys", keys))
    for channels in find(CHANNELS, name):
        fields.append(("channels", channels))
    if row["group"] != group:
        fields.append(("group", f"Group::{GROUPS[row['group']][0]}"))
    if row["tips"]:
        fields.append(("tips", f"Tips::of(&[{', '.join(text(tip) for tip in row['tips'])}])"))
    fields.append(("summary", text(row["summary"])))
    if "complexity" in row:
        fields.append(("complexity", text(row["complexity"])))
    fields.append(("since", text(row["since"])))
    if "doc_flags" in row:
        first, *more = [f"DocFlags::{flag.upper()}" for flag in row["doc_flags"]]
        fields.append(("doc_flags", first + "".join(f".or({flag})" for flag in more)))
    for field in ("deprecated_since", "replaced_by"):
        if field in row:
            fields.append((field, text(row[field])))
    if "history" in row:
        assert row["history"]
        fields.append(("history", f"&[{', '.join(f'({text(a)}, {text(b)})' for a, b in row['history'])}]"))
    if "arguments" in row:
        assert row["arguments"]
        fields.append(("arguments", f"&[{', '.join(argument(each) for each in row['arguments'])}]"))
    if row["subcommands"]:
        fields.append(("declared", subcommands_name(name)))
    body = ", ".join(f"{field}: {value}" for field, value in fields)
    return f"CommandSpec {{ {body}, ..ROW }}"


def subcommands_name(container):
    name = container.upper().replace("-", "_")
    return f"{container}::{name}" if container in OWN_FILE else name


def table(name, visibility, rows, group):
    body = ", ".join(spec(row, group) for row in sorted(rows, key=lambda row: row["name"]))
    return f"{visibility}const {name}: &[CommandSpec] = &[{body}];\n"


def file(title, group, uses, items, level):
    source = "\n".join(items)
    path = "super::" * level
    macros = [macro for macro in ("categories", "flags", "key_flags") if f"{macro}!" in source]
    imports = [f"use {path}bits::{{{', '.join(macros)}}};"]
    constructors = ("string", "integer", "double", "key", "pattern", "unix_time", "word", "bare", "one_of", "block")
    kinds = [kind for kind in constructors if re.search(rf"(?<![\w.]){kind}\(", source)]
    if kinds:
        imports.append(f"use {path}spec::arguments::{{{', '.join(kinds)}}};")
    types = [word for word in ("Channels", "CommandSpec", "DocFlags", "Extractor", "Group", "KeySpec", "Keys", "Tips")
             if re.search(rf"\b{word}\b", source) or word == "Group"]
    imports.append(f"use {path}spec::{{{', '.join(types)}}};")
    row = f"/// What the rows of this file have in common.\nconst ROW: CommandSpec = CommandSpec::of(Group::{group});\n"
    return f"//! {title}\n\n" + "\n".join(imports) + "\n\n" + "".join(uses) + row + "\n" + source


def rustfmt(source):
    command = ["rustfmt", "--edition", "2024", "--emit", "stdout", "--quiet"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def write(path, source):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf8") as out:
        out.write(source)
    print(f"{source.count(chr(10)):5} lines  {path}")


def write_tables(commands, folder):
    for group, (variant, name, title) in GROUPS.items():
        rows = [row for row in commands.values() if row["group"] == group]
        assert rows, group
        items = ["/// Rows of the group, by name.\n" + table("COMMANDS", "pub(super) ", rows, group)]
        modules = []
        for row in sorted(rows, key=lambda row: row["name"]):
            if not row["subcommands"]:
                continue
            subs, sub_name = row["subcommands"].values(), row["name"]
            if sub_name in OWN_FILE:
                modules.append(f"mod {sub_name};\n")
                upper = subcommands_name(sub_name).split("::")[1]
                inner = ["/// Rows by name.\n" + table(upper, "pub(super) ", subs, group)]
                write(os.path.join(folder, name, f"{sub_name}.rs"),
                      layout(file(f"Sub-commands of {sub_name.upper()}.", variant, "", inner, 2)))
            else:
                items.append(f"/// Sub-commands of {sub_name.upper()}.\n"
                             + table(subcommands_name(sub_name), "", subs, group))
        uses = ["".join(modules) + "\n"] if modules else []
        write(os.path.join(folder, f"{name}.rs"), layout(file(title, variant, uses, items, 1)))
    assert {row["group"] for row in commands.values()} == set(GROUPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="common/src/command")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        servers = [Server(scratch, False), Server(scratch, True)]
        try:
            clients = [server.connect() for server in servers]
            version = re.search(r"redis_version:(\S+)", clients[0].ask("INFO", "server")).group(1)
            assert version == VERSION, f"redis-server is {version}; the table is that of {VERSION}"
            write_tables(merge(*(record(client) for client in clients)), folder)
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
