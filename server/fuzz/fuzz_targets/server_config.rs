//! redis.conf, the command line, and what CONFIG REWRITE makes of them: an error, or settings that are written and
//! read again as the same.
//!
//! In the text, 0xff and another byte stand for the name of a setting. Lines that would touch files are left out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_server::settings::Settings;
use redstart_server::settings::file::{command_line, load, rewrite};
use redstart_server::settings::rows::{ROWS, Row};

/// Times that a file may change when it is written again and again.
const REWRITES_MAX: usize = 4;

fuzz_target!(|data: &[u8]| {
    let text = expand(data);
    let found = command_line(&text.split('\n').map(str::to_owned).collect::<Vec<_>>());
    try_text(&found.lines);
    try_text(&text);
});

fn expand(data: &[u8]) -> String {
    let mut text = Vec::with_capacity(data.len());
    let mut bytes = data.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == 0xff {
            let number = usize::from(bytes.next().unwrap_or(0)) % ROWS.len();
            text.extend_from_slice(ROWS[number].name.as_bytes());
        } else {
            text.push(byte);
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn try_text(text: &str) {
    // `include` reads files and `dir` changes the folder of this very process; quotes may hide both names.
    let text: Vec<&str> = text.split('\n').filter(|line| !touches_files(line)).collect();
    let text = text.join("\n");
    let mut settings = Settings::default();
    if let Err(error) = load(&mut settings, &text) {
        assert!(!error.report().is_empty());
        return;
    }
    let mut same = settings.clone();
    // CONFIG SET does not take `replicaof`, and no file holds it without two words.
    for row in ROWS.iter().filter(|row| !["dir", "replicaof"].contains(&row.name)) {
        reads_back(row, &settings, &mut same);
    }
    let mut written = rewrite(&text, &settings);
    // Where lines may be used for another class of clients, as in Redis, it takes a few times until all have their own.
    for _ in 0..REWRITES_MAX {
        let mut again = Settings::default();
        let outcome = load(&mut again, &without_dir(&written));
        assert_eq!(outcome, Ok(()), "what was written is refused: {written}");
        for row in ROWS.iter().filter(|row| row.name != "dir") {
            assert_eq!(row.print(&again), row.print(&settings), "{}: {written}", row.name);
        }
        let next = rewrite(&written, &again);
        if next == written {
            return;
        }
        written = next;
    }
    panic!("rewriting does not settle: {written}");
}

/// CONFIG SET takes what CONFIG GET says, and nothing changes.
fn reads_back(row: &Row, settings: &Settings, same: &mut Settings) {
    let said = row.print(settings);
    let words: Vec<&str> = if row.name == "client-output-buffer-limit" || row.name == "save" {
        said.split(' ').collect()
    } else {
        vec![&said]
    };
    assert_eq!(row.parse(same, &words), Ok(()), "{}", row.name);
    assert_eq!(row.print(same), said, "{}", row.name);
}

fn touches_files(line: &str) -> bool {
    let letters: String =
        line.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    letters.contains("include") || letters.contains("dir") || line.contains("\\x")
}

fn without_dir(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("dir ")).map(|line| format!("{line}\n")).collect()
}
