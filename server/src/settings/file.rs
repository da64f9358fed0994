//! redis.conf and the command line: read into settings, and written back by CONFIG REWRITE.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use redstart_common::resp::split_words;

use super::Settings;
use super::rows::{Kind, ROWS, find};

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The line's number and text, when it is a line's fault.
    pub line: Option<(usize, String)>,
    /// What is wrong.
    pub reason: String,
}

impl ConfigError {
    /// The text that goes to standard error before the process ends with status 1.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text =
            format!("\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n", crate::REDIS_VERSION);
        if let Some((number, line)) = &self.line {
            // Writing to a string does not fail.
            let _ =
                write!(text, "Reading the configuration file, at line {number}\n>>> '{line}'\n");
        }
        text + &self.reason + "\n"
    }
}

/// Files may include files; not without end.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Reads the lines of a configuration into `settings`.
///
/// # Errors
/// The first line that is wrong.
pub fn load(settings: &mut Settings, text: &str) -> Result<(), ConfigError> {
    load_nested(settings, text, 0)
}

fn load_nested(settings: &mut Settings, text: &str, depth: usize) -> Result<(), ConfigError> {
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_matches([' ', '\t', '\r', '\n']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail =
            |reason: String| ConfigError { line: Some((index + 1, line.to_owned())), reason };
        let words = split_words(line.as_bytes())
            .ok_or_else(|| fail("Unbalanced quotes in configuration line".to_owned()))?;
        let words: Vec<String> =
            words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
        let Some((name, values)) = words.split_first() else { continue };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        if name.eq_ignore_ascii_case("include") && values.len() == 1 {
            if depth == INCLUDE_DEPTH_MAX {
                return Err(fail("Too many nested includes".to_owned()));
            }
            let included = read(Path::new(values[0]))?;
            load_nested(settings, &included, depth + 1)?;
            continue;
        }
        apply(settings, name, &values).map_err(fail)?;
    }
    Ok(())
}

fn apply(settings: &mut Settings, name: &str, values: &[&str]) -> Result<(), String> {
    if name.eq_ignore_ascii_case("user") {
        crate::acl::file::check_line(values, &settings.users)?;
        settings.users.push(values.iter().map(|word| (*word).to_owned()).collect());
        return Ok(());
    }
    let Some(row) = find(name) else {
        return Err(match name.to_ascii_lowercase().as_str() {
            "rename-command" => "Redstart does not support renaming commands yet".to_owned(),
            "loadmodule" => "Redstart does not support modules".to_owned(),
            "sentinel" => "sentinel directive while not in sentinel mode".to_owned(),
            _ => "Bad directive or wrong number of arguments".to_owned(),
        });
    };
    match (values, &row.kind) {
        // Without values a list is emptied.
        ([], Kind::Own { .. }) if matches!(row.name, "save" | "bind") => row.parse(settings, &[""]),
        ([], _) => Err("wrong number of arguments".to_owned()),
        _ => row.parse(settings, values),
    }
}

/// Reads a configuration file; `-` is standard input.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    let outcome = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    outcome.map_err(|error| {
        let text = error.to_string();
        let reason = text.split(" (os error").next().unwrap_or_default();
        ConfigError {
            line: None,
            reason: format!("Fatal error, can't open config file '{}': {reason}", path.display()),
        }
    })
}

/// What a command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Whether the configuration goes on at standard input.
    pub stdin: bool,
    /// The options, as lines of a configuration.
    pub lines: String,
}

/// Reads `[file] [-] [--name value ...]` as redis-server does.
#[must_use]
pub fn command_line(args: &[String]) -> CommandLine {
    let mut found = CommandLine::default();
    let mut rest = args;
    if let Some((first, others)) = rest.split_first()
        && !first.starts_with("--")
        && first != "-"
    {
        found.file = Some(PathBuf::from(first));
        rest = others;
    }
    // A name waits for its value: a word with two dashes behind it is one, too.
    let mut complete = true;
    let mut index = 0;
    while let Some(arg) = rest.get(index) {
        let last = index + 1 == rest.len();
        if arg == "-" && complete {
            found.stdin = true;
        } else if complete && arg.starts_with("--") {
            if !found.lines.is_empty() {
                found.lines.push('\n');
            }
            found.lines.push_str(&arg[2..]);
            found.lines.push(' ');
            complete = arg.split_ascii_whitespace().count() != 1;
            let option_next = rest.get(index + 1).is_some_and(|next| next.starts_with("--"));
            if arg.trim_ascii().eq_ignore_ascii_case("--save") && (last || option_next) {
                found.lines.push_str("\"\"");
                complete = true;
            }
        } else {
            let mut quoted = Vec::new();
            crate::text::quote(arg.as_bytes(), &mut quoted);
            found.lines.push_str(&String::from_utf8_lossy(&quoted));
            found.lines.push(' ');
            complete = true;
        }
        index += 1;
    }
    found
}

/// Quotes a value where redis.conf needs it.
fn quoted(value: &str, is_list: bool) -> String {
    let plain = !value.is_empty()
        && value.bytes().all(|byte| {
            (byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#'))
                || (is_list && byte == b' ')
        });
    if plain {
        return value.to_owned();
    }
    let mut out = Vec::new();
    crate::text::quote(value.as_bytes(), &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The line of a user: words that a reader of the file would take apart are quoted.
#[must_use]
pub fn user_line<S: AsRef<str>>(words: &[S]) -> String {
    let special = |word: &str| {
        word.is_empty() || word.contains(|letter: char| "\"'\\".contains(letter) || letter <= ' ')
    };
    let words = words.iter().map(AsRef::as_ref);
    let words = words.map(|word| if special(word) { quoted(word, false) } else { word.to_owned() });
    std::iter::once("user".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// As [`rewrite_with`], with the users that the configuration began with.
#[must_use]
pub fn rewrite(old: &str, settings: &Settings) -> String {
    let users: Vec<String> = settings.users.iter().map(|words| user_line(words)).collect();
    rewrite_with(old, settings, &users, Extent::Changed)
}

/// Which settings a rewritten file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Those it named before, and those that differ from their defaults.
    Changed,
    /// All.
    All,
}

const GENERATED: &str = "# Generated by CONFIG REWRITE";

/// The configuration file's text with the settings of now: lines stay where they are, changed ones are written over,
/// what differs from its default and stands nowhere is added at the end. `users` are the lines of users, which take
/// the place of those that are there; with an ACL file there are none.
#[must_use]
pub fn rewrite_with(old: &str, settings: &Settings, users: &[String], extent: Extent) -> String {
    let defaults = Settings::default();
    let mut lines: Vec<String> = Vec::new();
    let mut written: Vec<&str> = Vec::new();
    let mut generated = false;
    let mut users = users.iter();
    for line in old.lines() {
        let trimmed = line.trim_matches([' ', '\t', '\r', '\n']);
        generated |= trimmed == GENERATED;
        // Read as `load` reads it: quotes and rarer blanks hide no name.
        let words = split_words(trimmed.as_bytes()).unwrap_or_default();
        let name = words.first().map(|word| String::from_utf8_lossy(word)).unwrap_or_default();
        let name = if trimmed.starts_with('#') { "" } else { &*name };
        if name.eq_ignore_ascii_case("user") {
            lines.extend(users.next().cloned());
            continue;
        }
        let Some(row) = find(name) else {
            lines.push(trimmed.to_owned());
            continue;
        };
        if written.contains(&row.name) {
            continue;
        }
        written.push(row.name);
        let is_list = matches!(row.kind, Kind::Own { .. });
        if row.name == "client-output-buffer-limit" {
            lines.extend(output_limit_lines(settings));
        } else {
            lines.push(format!("{} {}", row.name, quoted(&row.print(settings), is_list)));
        }
    }
    for row in ROWS {
        let value = row.print(settings);
        let by_default =
            extent == Extent::Changed && row.print(&defaults) == value && row.name != "dir";
        if written.contains(&row.name) || by_default || matches!(row.kind, Kind::Only(..)) {
            continue;
        }
        if !generated {
            lines.push(GENERATED.to_owned());
            generated = true;
        }
        let is_list = matches!(row.kind, Kind::Own { .. });
        if row.name == "client-output-buffer-limit" {
            lines.extend(output_limit_lines(settings));
        } else {
            lines.push(format!("{} {}", row.name, quoted(&value, is_list)));
        }
    }
    if !generated && users.len() > 0 {
        lines.push(GENERATED.to_owned());
    }
    lines.extend(users.cloned());
    lines.join("\n") + "\n"
}

/// A line for each class, as Redis writes them.
fn output_limit_lines(settings: &Settings) -> impl Iterator<Item = String> {
    let classes = settings.client_output_buffer_limit;
    [("normal", classes.normal), ("slave", classes.replica), ("pubsub", classes.pubsub)]
        .into_iter()
        .map(|(name, limits)| {
            format!(
                "client-output-buffer-limit {name} {} {} {}",
                limits.hard_bytes, limits.soft_bytes, limits.soft_seconds
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(args: &[&str]) -> CommandLine {
        command_line(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_command_line_is_lines_of_a_file() {
        let found = line(&["my.conf", "--port", "7000", "--save", "--loglevel", "debug"]);
        assert_eq!(found.file, Some(PathBuf::from("my.conf")));
        assert_eq!(found.lines, "port \"7000\" \nsave \"\"\nloglevel \"debug\" ");
        let found = line(&["--port 7000", "--bind", "a", "b"]);
        assert_eq!(found.lines, "port 7000 \nbind \"a\" \"b\" ");
        assert_eq!(line(&["--requirepass", "--secret"]).lines, "requirepass \"--secret\" ");
    }

    #[test]
    fn a_file_is_read_and_its_faults_are_placed() {
        let mut settings = Settings::default();
        let text = "# a comment\nport 7001\n\nrequirepass \"a b\"\nlist-max-ziplist-size 5\n";
        load(&mut settings, text).expect("fine");
        assert_eq!((settings.port, settings.requirepass.as_str()), (7001, "a b"));
        assert_eq!(settings.packed.list_node, 5);
        let error = load(&mut settings, "port 1\nnonsense 1").expect_err("unknown");
        assert_eq!(error.line, Some((2, "nonsense 1".to_owned())));
        assert_eq!(error.reason, "Bad directive or wrong number of arguments");
    }

    #[test]
    fn rewriting_knows_a_name_however_it_is_written() {
        let mut settings = Settings::default();
        let old = "\x0b\x0cuser bob on\n\"port\" 7001\r\n# user nobody\n\r";
        load(&mut settings, old).expect("fine");
        let new = rewrite(old, &settings);
        assert!(new.starts_with("user bob on\nport 7001\n# user nobody\n\n#"), "{new}");
        let mut again = Settings::default();
        load(&mut again, &new).expect("what was written reads back");
        assert_eq!(rewrite(&new, &again), new);
    }

    #[test]
    fn addresses_in_one_value_are_several() {
        let mut settings = Settings::default();
        load(&mut settings, "bind \"127.0.0.1 -::1\"").expect("fine");
        assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
        let many = format!("bind '{}'", ["a"; 17].join(" "));
        assert!(load(&mut settings, &many).is_err());
    }

    #[test]
    fn rewriting_keeps_lines_and_reads_back() {
        let mut settings = Settings::default();
        load(&mut settings, "port 7001\nrequirepass x").expect("fine");
        let old = "# mine\nport 6379\n\n# about nothing\ntimeout 0\n";
        let new = rewrite(old, &settings);
        assert!(new.starts_with("# mine\nport 7001\n\n# about nothing\ntimeout 0\n"), "{new}");
        assert!(new.contains(&format!("{GENERATED}\n")) && new.contains("requirepass x\n"));
        let mut again = Settings::default();
        load(&mut again, &new).expect("what was written reads back");
        assert_eq!(again.port, 7001);
        assert_eq!(rewrite(&new, &again), new);
    }
}
