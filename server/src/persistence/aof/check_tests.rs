use std::fs;

use super::*;

const GOOD: &str = "*1\r\n$4\r\nPING\r\n";

/// Runs a check on a file with this text; gives the exit code, what was said, and the file afterwards.
fn check(name: &str, text: &[u8], options: &[&str], answer: &str) -> (i32, String, Vec<u8>) {
    let path = std::env::temp_dir().join(format!("redstart-check-{name}-{}", std::process::id()));
    fs::write(&path, text).expect("written");
    let shown = path.display().to_string();
    let args: Vec<String> = ["check"]
        .iter()
        .chain(options)
        .map(|word| (*word).to_owned())
        .chain([shown.clone()])
        .collect();
    let mut out = Vec::new();
    let code = run(&args, &mut answer.as_bytes(), &mut out, &mut |_, _, out| {
        out.write_all(b"(rdb)\n").expect("written");
        Some(10)
    });
    let after = fs::read(&path).expect("there");
    fs::remove_file(&path).expect("removed");
    (code, String::from_utf8_lossy(&out).replace(&shown, "FILE"), after)
}

#[test]
fn a_good_file() {
    let (code, said, _) = check("good", GOOD.as_bytes(), &[], "");
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "Start checking Old-Style AOF\n\
         AOF analyzed: filename=FILE, size=14, ok_up_to=14, ok_up_to_line=4, diff=0\n\
         AOF FILE is valid\n"
    );
}

#[test]
fn a_cut_file_is_fixed_when_that_is_wanted() {
    let text = format!("{GOOD}*2\r\n$3\r\nab");
    let (code, said, after) = check("cut", text.as_bytes(), &["--fix"], "y\n");
    assert_eq!(code, 0);
    assert_eq!(
        said,
        "Start checking Old-Style AOF\n\
         0x              16: Expected to read 5 bytes, got 2 bytes\n\
         AOF analyzed: filename=FILE, size=24, ok_up_to=14, ok_up_to_line=6, diff=10\n\
         This will shrink the AOF FILE from 24 bytes, with 10 bytes, to 14 bytes\n\
         Continue? [y/N]: Successfully truncated AOF FILE\n"
    );
    assert_eq!(after, GOOD.as_bytes());
    let (code, said, after) = check("cut-no", text.as_bytes(), &["--fix"], "");
    assert_eq!((code, after.len()), (1, 24));
    assert!(said.ends_with("Continue? [y/N]: Aborting...\n"), "{said}");
}

#[test]
fn an_rdb_before_the_commands_is_checked_by_another() {
    let text = format!("REDIS0010\n{GOOD}");
    let (code, said, _) = check("rdb", text.as_bytes(), &[], "");
    assert_eq!(code, 0);
    assert!(said.contains("(rdb)\nRDB preamble is OK, proceeding with AOF tail...\n"), "{said}");
}

#[test]
fn a_value_that_begins_like_a_manifest_is_none() {
    let (code, said, _) = check("file", b"*1\r\n$4\r\nfile\r\n", &[], "");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn lengths_allocate_nothing() {
    let (code, said, _) = check("claim", b"*1\r\n$9000000000000000000\r\nx", &[], "");
    assert_eq!(code, 1);
    assert!(said.contains("Expected to read 9000000000000000002 bytes, got 1 bytes"), "{said}");
}
