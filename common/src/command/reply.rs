//! What `COMMAND` and its sub-commands answer, byte for byte as Redis 7.0.15 prints it. Only the order of the
//! commands is ours (Redis walks a hash table, so its own order changes from start to start).
//!
//! Which commands there are, and by what name, is asked of a [`Directory`]: the table as it is for a [`Mode`], or
//! what `rename-command` or a proxy made of it.

use super::keys::{self, KeyRef};
use super::spec::{
    Argument, ArgumentFlags, ArgumentKind, BeginSearch, Categories, CommandSpec, DocFlags,
    FindKeys, Flags, KeyFlags, KeySpec,
};
use super::{CommandId, Mode, lookup_in, lookup_sub};
use crate::glob;
use crate::resp::encode::{Proto, RespWrite};
use crate::resp::{Args, error};

/// The top-level commands that exist for a client, under the names it may use.
pub trait Directory {
    /// The mode, which decides about sub-commands.
    fn mode(&self) -> Mode;

    /// The command of that name, in any case of letters.
    fn find(&self, name: &[u8]) -> Option<CommandId>;

    /// All of them.
    fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> + Clone;
}

/// The table as it is.
impl Directory for Mode {
    fn mode(&self) -> Mode {
        *self
    }

    fn find(&self, name: &[u8]) -> Option<CommandId> {
        lookup_in(*self, name)
    }

    fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> + Clone {
        super::commands(*self)
    }
}

/// Answers `COMMAND` or one of its sub-commands into `out`. `id` is what the call resolved to and its arity is
/// settled; false, with nothing written, if it is another command.
pub fn answer(
    directory: &impl Directory,
    id: CommandId,
    args: Args<'_>,
    proto: Proto,
    out: &mut Vec<u8>,
) -> bool {
    let names = args.tail(2);
    match id.spec().name {
        "command" => info_all(directory, proto, out),
        "command|info" if names.is_empty() => info_all(directory, proto, out),
        "command|info" => info(directory, names, proto, out),
        "command|docs" if names.is_empty() => docs_all(directory, proto, out),
        "command|docs" => docs(directory, names, proto, out),
        "command|count" => out.integer(directory.commands().count() as i64),
        "command|list" => list(directory, names, out),
        "command|getkeys" => get_keys(directory, names, proto, false, out),
        "command|getkeysandflags" => get_keys(directory, names, proto, true, out),
        "command|help" => help(out),
        _ => return false,
    }
    true
}

fn find_full_name(directory: &impl Directory, name: &[u8]) -> Option<CommandId> {
    match memchr::memchr(b'|', name) {
        None => directory.find(name),
        Some(bar) => lookup_sub(directory.mode(), directory.find(&name[..bar])?, &name[bar + 1..]),
    }
}

/// The sub-commands of a mode.
fn subcommands(
    spec: &CommandSpec,
    mode: Mode,
) -> impl Iterator<Item = &'static CommandSpec> + Clone {
    spec.subcommands().iter().filter(move |sub| sub.exists_in(mode))
}

// === COMMAND, COMMAND INFO ===

fn info_all(directory: &impl Directory, proto: Proto, out: &mut Vec<u8>) {
    let commands = directory.commands();
    out.array_len(commands.clone().count());
    for spec in commands {
        info_row(spec, directory.mode(), proto, out);
    }
}

fn info(directory: &impl Directory, names: Args<'_>, proto: Proto, out: &mut Vec<u8>) {
    out.array_len(names.len());
    for name in names {
        match find_full_name(directory, name) {
            Some(id) => info_row(id.spec(), directory.mode(), proto, out),
            None => out.null(proto),
        }
    }
}

/// One row as `COMMAND INFO` prints it.
pub fn info_row(spec: &CommandSpec, mode: Mode, proto: Proto, out: &mut Vec<u8>) {
    out.array_len(10);
    out.bulk(spec.name.as_bytes());
    out.integer(spec.arity.into());
    words(spec.flags.words(), proto, out);
    for place in [spec.keys.first, spec.keys.last, spec.keys.step] {
        out.integer(place.into());
    }
    categories(spec.categories, proto, out);
    out.set_reply_len(spec.tips.words.len(), proto);
    for tip in spec.tips.words {
        out.bulk(tip.as_bytes());
    }
    out.set_reply_len(spec.keys.specs.len(), proto);
    for key_spec in spec.keys.specs {
        key_spec_row(key_spec, proto, out);
    }
    let subs = subcommands(spec, mode);
    match subs.clone().count() {
        0 => out.set_reply_len(0, proto),
        count => out.array_len(count),
    }
    for sub in subs {
        info_row(sub, mode, proto, out);
    }
}

/// A set of words as simple strings.
fn words(words: impl Iterator<Item = &'static str> + Clone, proto: Proto, out: &mut Vec<u8>) {
    out.set_reply_len(words.clone().count(), proto);
    for word in words {
        out.simple(word);
    }
}

fn categories(categories: Categories, proto: Proto, out: &mut Vec<u8>) {
    out.set_reply_len(categories.words().count(), proto);
    for word in categories.words() {
        out.push(b'+');
        out.push(b'@');
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn field(name: &str, out: &mut Vec<u8>) {
    out.bulk(name.as_bytes());
}

fn text_field(name: &str, value: &str, out: &mut Vec<u8>) {
    field(name, out);
    out.bulk(value.as_bytes());
}

fn number_field(name: &str, value: i16, out: &mut Vec<u8>) {
    field(name, out);
    out.integer(value.into());
}

fn key_spec_row(spec: &KeySpec, proto: Proto, out: &mut Vec<u8>) {
    out.map_len(3 + usize::from(!spec.notes.is_empty()), proto);
    if !spec.notes.is_empty() {
        text_field("notes", spec.notes, out);
    }
    field("flags", out);
    words(spec.flags.words(), proto, out);

    field("begin_search", out);
    let typed = |name: &str, fields: usize, out: &mut Vec<u8>| {
        out.map_len(2, proto);
        text_field("type", name, out);
        field("spec", out);
        out.map_len(fields, proto);
    };
    match spec.begin {
        BeginSearch::Index(at) => {
            typed("index", 1, out);
            number_field("index", at, out);
        }
        BeginSearch::Keyword { keyword, start_from } => {
            typed("keyword", 2, out);
            text_field("keyword", keyword, out);
            number_field("startfrom", start_from, out);
        }
        BeginSearch::Unknown => typed("unknown", 0, out),
    }

    field("find_keys", out);
    match spec.find {
        FindKeys::Range { last, step, limit } => {
            typed("range", 3, out);
            number_field("lastkey", last, out);
            number_field("keystep", step, out);
            number_field("limit", limit, out);
        }
        FindKeys::KeyNumber { count_at, first, step } => {
            typed("keynum", 3, out);
            number_field("keynumidx", count_at, out);
            number_field("firstkey", first, out);
            number_field("keystep", step, out);
        }
        FindKeys::Unknown => typed("unknown", 0, out),
    }
}

// === COMMAND DOCS ===

fn docs_all(directory: &impl Directory, proto: Proto, out: &mut Vec<u8>) {
    let commands = directory.commands();
    out.map_len(commands.clone().count(), proto);
    for spec in commands {
        out.bulk(spec.name.as_bytes());
        docs_row(spec, directory.mode(), proto, out);
    }
}

/// Unknown names are left out.
fn docs(directory: &impl Directory, names: Args<'_>, proto: Proto, out: &mut Vec<u8>) {
    let found = names.iter().filter_map(|name| find_full_name(directory, name));
    out.map_len(found.clone().count(), proto);
    for id in found {
        out.bulk(id.spec().name.as_bytes());
        docs_row(id.spec(), directory.mode(), proto, out);
    }
}

/// One row as `COMMAND DOCS` prints it, without its name.
pub fn docs_row(spec: &CommandSpec, mode: Mode, proto: Proto, out: &mut Vec<u8>) {
    let subs = subcommands(spec, mode);
    let texts = [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
        ("complexity", spec.complexity),
    ];
    let later_texts =
        [("deprecated_since", spec.deprecated_since), ("replaced_by", spec.replaced_by)];
    let present =
        |texts: &[(&str, &str)]| texts.iter().filter(|(_, text)| !text.is_empty()).count();
    let has_docs = spec.doc_flags != DocFlags::NONE;
    let has_subs = subs.clone().next().is_some();
    out.map_len(
        present(&texts)
            + usize::from(has_docs)
            + present(&later_texts)
            + usize::from(!spec.history.is_empty())
            + usize::from(!spec.arguments.is_empty())
            + usize::from(has_subs),
        proto,
    );

    for (name, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        text_field(name, text, out);
    }
    if has_docs {
        field("doc_flags", out);
        words(spec.doc_flags.words(), proto, out);
    }
    for (name, text) in later_texts.iter().filter(|(_, text)| !text.is_empty()) {
        text_field(name, text, out);
    }
    if !spec.history.is_empty() {
        field("history", out);
        out.set_reply_len(spec.history.len(), proto);
        for (since, change) in spec.history {
            out.array_len(2);
            out.bulk(since.as_bytes());
            out.bulk(change.as_bytes());
        }
    }
    if !spec.arguments.is_empty() {
        field("arguments", out);
        arguments(spec.arguments, proto, out);
    }
    if has_subs {
        field("subcommands", out);
        out.map_len(subs.clone().count(), proto);
        for sub in subs {
            out.bulk(sub.name.as_bytes());
            docs_row(sub, mode, proto, out);
        }
    }
}

fn arguments(arguments: &[Argument], proto: Proto, out: &mut Vec<u8>) {
    out.array_len(arguments.len());
    for argument in arguments {
        argument_row(argument, proto, out);
    }
}

fn argument_row(argument: &Argument, proto: Proto, out: &mut Vec<u8>) {
    let nests = matches!(argument.kind, ArgumentKind::OneOf | ArgumentKind::Block);
    let versions = [("since", argument.since), ("deprecated_since", argument.deprecated_since)];
    let versions = versions.iter().filter(|(_, version)| !version.is_empty());
    let has_flags = argument.flags != ArgumentFlags::NONE;
    out.map_len(
        2 + usize::from(argument.key_spec.is_some())
            + usize::from(argument.token.is_some())
            + versions.clone().count()
            + usize::from(has_flags)
            + usize::from(nests),
        proto,
    );

    text_field("name", argument.name, out);
    text_field("type", argument.kind.name(), out);
    if let Some(index) = argument.key_spec {
        number_field("key_spec_index", index.into(), out);
    }
    if let Some(token) = argument.token {
        text_field("token", token, out);
    }
    for (name, version) in versions {
        text_field(name, version, out);
    }
    if has_flags {
        field("flags", out);
        words(argument.flags.words(), proto, out);
    }
    if nests {
        field("arguments", out);
        self::arguments(argument.arguments, proto, out);
    }
}

// === COMMAND LIST ===

/// Which names `COMMAND LIST` keeps.
enum Filter<'a> {
    All,
    /// There are no modules, so nothing.
    Module,
    /// `None` for a category that does not exist.
    Category(Option<Categories>),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn keeps(&self, spec: &CommandSpec) -> bool {
        match self {
            Self::All => true,
            Self::Module => false,
            Self::Category(category) => {
                category.is_some_and(|category| spec.categories.contains(category))
            }
            Self::Pattern(pattern) => glob::matches(pattern, spec.name.as_bytes(), true),
        }
    }
}

fn list(directory: &impl Directory, options: Args<'_>, out: &mut Vec<u8>) {
    let word = |at, word: &str| {
        options.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let filter = match (options.len(), options.get(2)) {
        (0, _) => Filter::All,
        (3, Some(value)) if word(0, "filterby") => {
            if word(1, "module") {
                Filter::Module
            } else if word(1, "aclcat") {
                Filter::Category(Categories::of_word(value))
            } else if word(1, "pattern") {
                Filter::Pattern(value)
            } else {
                return out.error(error::SYNTAX);
            }
        }
        _ => return out.error(error::SYNTAX),
    };
    let mode = directory.mode();
    let kept = directory
        .commands()
        .flat_map(|spec| std::iter::once(spec).chain(subcommands(spec, mode)))
        .filter(|spec| filter.keeps(spec));
    out.array_len(kept.clone().count());
    for spec in kept {
        out.bulk(spec.name.as_bytes());
    }
}

// === COMMAND GETKEYS, COMMAND GETKEYSANDFLAGS ===

fn get_keys(
    directory: &impl Directory,
    call: Args<'_>,
    proto: Proto,
    with_flags: bool,
    out: &mut Vec<u8>,
) {
    let found =
        call.get(0).and_then(|name| directory.find(name)).and_then(|id| match call.get(1) {
            Some(sub) if subcommands(id.spec(), directory.mode()).next().is_some() => {
                lookup_sub(directory.mode(), id, sub)
            }
            _ => Some(id),
        });
    let Some(spec) = found.map(CommandId::spec) else {
        return out.error(error::GETKEYS_NO_COMMAND);
    };
    if !spec.keys.may_have_keys() {
        return out.error(error::GETKEYS_NO_KEYS);
    }
    if !spec.accepts_count(call.len()) {
        return out.error(error::GETKEYS_ARITY);
    }
    let mut found = Vec::new();
    keys::with_flags(spec, call, &mut found);
    if found.is_empty() && !spec.flags.contains(Flags::NO_MANDATORY_KEYS) {
        return out.error(error::GETKEYS_INVALID);
    }
    out.array_len(found.len());
    for KeyRef { position, flags } in found {
        let key = call.get(position as usize).unwrap_or_default();
        if with_flags {
            out.array_len(2);
            out.bulk(key);
            key_flags(flags, proto, out);
        } else {
            out.bulk(key);
        }
    }
}

fn key_flags(flags: KeyFlags, proto: Proto, out: &mut Vec<u8>) {
    words(flags.words(), proto, out);
}

// === COMMAND HELP ===

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
    "HELP",
    "    Prints this help.",
];

fn help(out: &mut Vec<u8>) {
    out.array_len(HELP.len());
    for line in HELP {
        out.simple(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Resolved, id_of, resolve};
    use crate::resp::OwnedArgs;

    /// A server with two commands, one of them renamed.
    struct Renamed;

    impl Directory for Renamed {
        fn mode(&self) -> Mode {
            Mode::Server
        }

        fn find(&self, name: &[u8]) -> Option<CommandId> {
            match name.to_ascii_lowercase().as_slice() {
                b"get" => Some(id_of("get")),
                b"hidden" => Some(id_of("config")),
                _ => None,
            }
        }

        fn commands(&self) -> impl Iterator<Item = &'static CommandSpec> + Clone {
            [id_of("get"), id_of("config")].into_iter().map(CommandId::spec)
        }
    }

    fn answered(words: &str, proto: Proto) -> String {
        let words: Vec<_> = words.split(' ').collect();
        let owned = OwnedArgs::from_slices(&words);
        let args = owned.as_args();
        let Resolved::Command(id) = resolve(args.at(0), args.get(1)) else { panic!("no command") };
        let mut out = Vec::new();
        assert!(answer(&Renamed, id, args, proto, &mut out));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_directory_decides_what_there_is_and_by_what_name() {
        assert_eq!(answered("command count", Proto::Resp2), ":2\r\n");
        assert_eq!(answered("command info set config", Proto::Resp2), "*2\r\n$-1\r\n$-1\r\n");
        assert_eq!(answered("command info set", Proto::Resp3), "*1\r\n_\r\n");
        assert!(
            answered("command info hidden|get", Proto::Resp2)
                .starts_with("*1\r\n*10\r\n$10\r\nconfig|get\r\n")
        );
        assert_eq!(answered("command docs set", Proto::Resp3), "%0\r\n");
        assert_eq!(
            answered("command list filterby aclcat String", Proto::Resp2),
            "*1\r\n$3\r\nget\r\n"
        );
        assert_eq!(
            answered("command getkeys set k v", Proto::Resp2),
            "-ERR Invalid command specified\r\n"
        );
        assert_eq!(answered("command getkeys get k", Proto::Resp2), "*1\r\n$1\r\nk\r\n");
        assert_eq!(
            answered("command getkeysandflags get k", Proto::Resp3),
            "*1\r\n*2\r\n$1\r\nk\r\n~2\r\n+RO\r\n+access\r\n"
        );
    }

    #[test]
    fn other_commands_are_not_answered() {
        let owned = OwnedArgs::from_slices(&["get", "k"]);
        let mut out = Vec::new();
        assert!(!answer(&Mode::Server, id_of("get"), owned.as_args(), Proto::Resp2, &mut out));
        assert!(out.is_empty());
    }
}
