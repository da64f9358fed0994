//! The program under the names of its checkers: `redis-check-rdb` and `redis-check-aof`, as redis-server has it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::persistence::{aof, rdb};

/// Runs the checker by whose name the program was started, and answers its exit code; nothing if the name is none.
/// `args` are the program's, its own name first.
#[must_use]
pub fn by_name(args: &[OsString]) -> Option<i32> {
    let path = Path::new(args.first()?);
    let name = path.file_name().and_then(OsStr::to_str)?;
    let is = |what: &str| name.contains(&format!("-check-{what}"));
    if is("rdb") {
        Some(rdb::check::run(args))
    } else if is("aof") {
        Some(check_log(args))
    } else {
        None
    }
}

fn check_log(args: &[OsString]) -> i32 {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (mut answers, mut out) = (io::stdin().lock(), io::stdout().lock());
    aof::check::run(&args, &mut answers, &mut out, &mut |name, file, mut out| {
        rdb::check::report_open(OsStr::new(name), file, &mut out)
    })
}
