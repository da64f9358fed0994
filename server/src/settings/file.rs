//! redis.conf and the command line, read into settings.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use redstart_common::resp::split_words;

pub use super::rewrite::{
    ConfigLine, Extent, Special, as_word, rewrite, rewrite_special, rewrite_with, user_line,
};
use super::rows::{Kind, find};
use super::{SentinelLine, Settings};
use crate::settings::renames::Renames;

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
    load_nested(settings, text, 0)?;
    if settings.cluster.enabled && settings.replication.replicaof.is_some() {
        let reason = "replicaof directive not allowed in cluster mode".to_owned();
        return Err(ConfigError { line: None, reason });
    }
    Ok(())
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
        if name.eq_ignore_ascii_case("sentinel")
            && let (Some(lines), [_, ..]) = (&mut settings.sentinel, values.as_slice())
        {
            let words = values.into_iter().map(str::to_owned).collect();
            lines.push(SentinelLine { number: index + 1, text: line.to_owned(), words });
            continue;
        }
        apply(settings, name, &values).map_err(fail)?;
    }
    Ok(())
}

fn apply(settings: &mut Settings, name: &str, values: &[&str]) -> Result<(), String> {
    if name.eq_ignore_ascii_case("user") {
        crate::acl::line::check_line(values, &settings.users)?;
        settings.users.push(values.iter().map(|word| (*word).to_owned()).collect());
        return Ok(());
    }
    if name.eq_ignore_ascii_case("rename-command")
        && let [from, to] = values
    {
        let mut renames = Renames::of(settings.mode(), &settings.renames)?;
        renames.add(from, to)?;
        settings.renames.push(((*from).to_owned(), (*to).to_owned()));
        return Ok(());
    }
    let Some(row) = find(name) else {
        return Err(match name.to_ascii_lowercase().as_str() {
            "loadmodule" => "Redstart does not support modules".to_owned(),
            // Alone it says what the program's mode says already.
            "sentinel" if values.is_empty() => return Ok(()),
            "sentinel" => "sentinel directive while not in sentinel mode".to_owned(),
            _ => "Bad directive or wrong number of arguments".to_owned(),
        });
    };
    match (values, &row.kind) {
        // Without values a list is emptied.
        ([], Kind::Own { .. }) if matches!(row.name, "save" | "bind") => row.parse(settings, &[""]),
        // These say themselves what it means that there is none.
        ([], Kind::Own { .. }) => row.parse(settings, &[]),
        ([], _) => Err("wrong number of arguments".to_owned()),
        _ => row.parse(settings, values),
    }
}

/// Reads a configuration file, or standard input for `-`. A name with wildcards is all files it matches, in
/// alphabetical order, as one; none is an empty configuration, so that an empty folder can be included.
///
/// # Errors
/// When a file cannot be read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).map_err(|error| unreadable(path, &error));
    }
    let mut name = path.to_string_lossy().into_owned();
    if !name.contains(['*', '?', '[']) {
        return read_one(path);
    }
    let options = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    // Two stars are no more than one, as in the C library.
    while name.contains("**") {
        name = name.replace("**", "*");
    }
    let mut text = String::new();
    // A pattern that makes no sense matches nothing.
    for found in glob::glob_with(&name, options).into_iter().flatten() {
        let found = found.map_err(|error| unreadable(error.path(), error.error()))?;
        text.push_str(&read_one(&found)?);
    }
    Ok(text)
}

/// Makes sure that the log can be written: later there is nobody to tell.
///
/// # Errors
/// When it cannot.
pub fn check_log_file(settings: &Settings) -> Result<(), ConfigError> {
    if settings.logfile.is_empty() {
        return Ok(());
    }
    let opened = redstart_common::log::open(&settings.logfile);
    opened.map(drop).map_err(|error| ConfigError {
        line: None,
        reason: format!("Can't open the log file: {}", crate::text::system_words(&error)),
    })
}

fn read_one(path: &Path) -> Result<String, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> ConfigError {
    let reason = crate::text::system_words(error);
    ConfigError {
        line: None,
        reason: format!("Fatal error, can't open config file '{}': {reason}", path.display()),
    }
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
        let next = rest.get(index + 1);
        if complete
            && arg.eq_ignore_ascii_case("--sentinel")
            && next.is_none_or(|next| next.starts_with('-'))
        {
            // It says how the program acts, and takes no value.
        } else if arg == "-" && complete {
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
        // This one says how the program acts, where it is no value.
        assert_eq!(line(&["s.conf", "--sentinel"]).lines, "");
        assert_eq!(line(&["--sentinel", "--port", "1"]).lines, "port \"1\" ");
        assert_eq!(line(&["--requirepass", "--sentinel"]).lines, "requirepass \"--sentinel\" ");
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
    fn lines_of_a_sentinel_are_kept_for_it() {
        let text = "port 1\n  sentinel monitor \"a b\" h 1 2\nSENTINEL\n";
        let mut settings = Settings { sentinel: Some(Vec::new()), ..Settings::default() };
        load(&mut settings, text).expect("fine");
        let lines = settings.sentinel.expect("they are there");
        assert_eq!((lines.len(), lines[0].number), (1, 2));
        assert_eq!(lines[0].text, "sentinel monitor \"a b\" h 1 2");
        assert_eq!(lines[0].words, ["monitor", "a b", "h", "1", "2"]);
        let error = load(&mut Settings::default(), text).expect_err("a server has none");
        assert_eq!(error.reason, "sentinel directive while not in sentinel mode");
    }

    #[test]
    fn addresses_in_one_value_are_several() {
        let mut settings = Settings::default();
        load(&mut settings, "bind \"127.0.0.1 -::1\"").expect("fine");
        assert_eq!(settings.bind, ["127.0.0.1", "-::1"]);
        let many = format!("bind '{}'", ["a"; 17].join(" "));
        assert!(load(&mut settings, &many).is_err());
    }
}
