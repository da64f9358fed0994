use std::fs;

use super::super::chain::Chain;
use super::super::manifest::Names;
use super::*;

const SET_A: &str = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
const SET_B: &str = "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n";
const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
const EXEC: &str = "*1\r\n$4\r\nEXEC\r\n";

/// A folder with files of a log; removed at the end.
struct Files(PathBuf);

/// All commands, or what is said instead.
type Outcome = Result<(Vec<String>, Loaded), Vec<String>>;

impl Files {
    /// `base` and then the increments; a base that begins with `REDIS` is called so.
    fn new(name: &str, base: &str, incrs: &[&str]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("redstart-load-{name}-{}", std::process::id()));
        let files = Self(folder);
        fs::create_dir_all(files.0.join("d")).expect("a folder");
        let mut manifest = "file base seq 1 type b\n".to_owned();
        fs::write(files.path("base"), base).expect("written");
        for (number, text) in (1..).zip(incrs) {
            manifest += &format!("file incr{number} seq {number} type i\n");
            fs::write(files.path(&format!("incr{number}")), text).expect("written");
        }
        fs::write(files.path("a.manifest"), manifest).expect("written");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("d").join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("there")
    }

    fn contents(&self, may_truncate: bool) -> Result<Contents, LoadError> {
        let chain = Chain::read(&self.0, "d", Names::new("a")).expect("a manifest");
        Loader::open(&chain, may_truncate)
    }

    fn load(&self, may_truncate: bool) -> Outcome {
        let mut commands = Vec::new();
        let contents = self.contents(may_truncate).map_err(|error| error.report().to_vec())?;
        let Contents::Some(mut loader) = contents else { panic!("nothing to load") };
        loop {
            match loader.next().map_err(|error| error.report().to_vec())? {
                Step::Command => {
                    let words: Vec<_> = loader
                        .args()
                        .iter()
                        .map(|arg| String::from_utf8_lossy(arg).into_owned())
                        .collect();
                    let range = loader.range();
                    assert_eq!(
                        range.end - range.start,
                        loader.args().iter().map(encoded_bytes).sum::<u64>() + 4
                    );
                    commands.push(words.join(" "));
                }
                Step::Time(time) => commands.push(format!("#{time}")),
                Step::Rdb => {
                    commands.push("RDB".into());
                    // The tests' RDB is one line.
                    let file = fs::read(loader.path().expect("a file")).expect("there");
                    let end = file.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
                    loader.rdb_loaded(end as u64).expect("goes on");
                }
                Step::Done => return Ok((commands, loader.loaded())),
            }
        }
    }

    fn load_both(&self) -> [Outcome; 2] {
        [self.load(false), self.load(true)]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a short argument takes in a file.
fn encoded_bytes(arg: &[u8]) -> u64 {
    (5 + arg.len() + arg.len().to_string().len()) as u64
}

fn unexpected(name: &str) -> Vec<String> {
    vec![unexpected_end(name)]
}

#[test]
fn a_chain_is_read_in_its_order() {
    let files = Files::new(
        "chain",
        SET_A,
        &["", &format!("#TS:5\r\n{SET_B}"), &format!("{MULTI}{SET_A}{EXEC}")],
    );
    for found in files.load_both() {
        let (commands, loaded) = found.expect("good");
        assert_eq!(commands, ["SET a 1", "#5", "SET b 2", "MULTI", "SET a 1", "EXEC"]);
        assert_eq!(loaded.base_bytes, SET_A.len() as u64);
        assert!(!loaded.is_truncated);
    }
}

#[test]
fn an_rdb_may_stand_before_the_commands() {
    for magic in ["REDIS0010", "VALKEY080"] {
        let files = Files::new(magic, &format!("{magic} data\n{SET_A}"), &[SET_B]);
        assert_eq!(files.load(true).expect("good").0, ["RDB", "SET a 1", "SET b 2"]);
    }
    let files = Files::new("short-rdb", "REDI", &[]);
    let said = files.load(true).expect_err("no RDB");
    assert!(said.last().is_some_and(|line| line.starts_with("Bad file format")), "{said:?}");
}

#[test]
fn nothing_to_load() {
    let files = Files::new("nothing", "", &["", ""]);
    assert!(matches!(files.contents(true), Ok(Contents::Empty)));
    fs::remove_file(files.path("a.manifest")).expect("removed");
    assert!(matches!(files.contents(true), Ok(Contents::Absent)));
}

#[test]
fn a_missing_file_is_fatal() {
    let files = Files::new("missing", SET_A, &[SET_B]);
    fs::remove_file(files.path("incr1")).expect("removed");
    assert_eq!(
        files.load(true).expect_err("missing"),
        ["Unable to obtain the AOF file incr1 length. stat: No such file or directory"]
    );
}

#[test]
fn a_cut_end_is_cut_off_where_that_is_allowed() {
    for end in 1..SET_B.len() {
        let torn = format!("{SET_A}{}", &SET_B[..end]);
        let files = Files::new("cut", SET_A, &[&torn]);
        assert_eq!(files.load(false), Err(unexpected("incr1")));
        assert_eq!(files.text("incr1"), torn, "left as it was");
        let (commands, loaded) = files.load(true).expect("loaded");
        assert_eq!(commands, ["SET a 1", "SET a 1"]);
        assert!(loaded.is_truncated);
        assert_eq!(files.text("incr1"), SET_A);
        assert!(!files.load(false).expect("whole now").1.is_truncated);
    }
}

#[test]
fn a_transaction_without_its_end_goes_as_a_whole() {
    for tail in [SET_B, "*3\r\n$3\r\nSE", "", "#TS:12"] {
        let torn = format!("{SET_A}{MULTI}{SET_B}{tail}");
        let files = Files::new("multi", SET_A, &[&torn]);
        assert_eq!(files.load(false), Err(unexpected("incr1")));
        assert!(files.load(true).expect("loaded").1.is_truncated);
        assert_eq!(files.text("incr1"), SET_A);
    }
    let files = Files::new("discard", SET_A, &[&format!("{MULTI}{SET_B}*1\r\n$7\r\nDISCARD\r\n")]);
    assert!(!files.load(false).expect("whole").1.is_truncated);
}

#[test]
fn a_torn_remark_does_not_swallow_what_is_logged_behind_it() {
    let files = Files::new("remark", SET_A, &[&format!("{SET_B}#TS:16")]);
    assert_eq!(files.load(false), Err(unexpected("incr1")));
    files.load(true).expect("loaded");
    assert_eq!(files.text("incr1"), SET_B);
}

#[test]
fn an_rdb_is_never_cut_away() {
    let files = Files::new("preamble", "REDIS0010\n*1\r\n", &[]);
    files.load(true).expect("loaded");
    assert_eq!(files.text("base"), "REDIS0010\n");
}

#[test]
fn only_the_last_file_with_data_may_be_cut() {
    let files = Files::new("middle", SET_A, &["*3\r\n", SET_B]);
    assert_eq!(
        files.load(true).expect_err("in the middle"),
        ["Fatal error: the truncated file is not the last file"]
    );
    assert_eq!(files.text("incr1"), "*3\r\n", "left as it was");
    fs::write(files.path("incr2"), "").expect("written");
    assert!(files.load(true).expect("the rest is empty").1.is_truncated);
}

#[test]
fn damage_is_refused_and_left_as_it_is() {
    let bad = format!("{SET_A}{}", "\0".repeat(4096));
    let files = Files::new("damage", SET_A, &[&bad]);
    for found in files.load_both() {
        assert_eq!(
            found.expect_err("damaged"),
            [
                "At offset 27, in the command at offset 27: expected '*' or '#', got '\\x00'",
                "Bad file format reading the append only file incr1: make a backup of your AOF file, then use \
                 ./redis-check-aof --fix <filename.manifest>"
            ]
        );
    }
    assert_eq!(files.text("incr1"), bad);
}

#[test]
fn a_length_beyond_the_file_reads_nothing_into_memory() {
    let files = Files::new("claim", SET_A, &["*2\r\n$3\r\nSET\r\n$4000000000\r\nabc"]);
    let Ok(Contents::Some(mut loader)) = files.contents(false) else { panic!("something") };
    assert_eq!(loader.next().expect("the base"), Step::Command);
    assert!(loader.next().is_err());
    let reading = loader.current.take();
    assert!(reading.is_none_or(|reading| reading.buf.capacity() <= 2 * READ_BYTES));
}

#[test]
fn commands_longer_than_the_buffer() {
    let value = "v".repeat(3 * READ_BYTES);
    let large = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    let files = Files::new("large", SET_A, &[&format!("{large}{}{large}", SET_B.repeat(50_000))]);
    let (commands, _) = files.load(false).expect("good");
    assert_eq!(commands.len(), 50_003);
    assert_eq!(commands[50_002].len(), value.len() + 6);
}

#[test]
fn what_the_engine_says_has_the_file_in_it() {
    let files = Files::new("unknown", "*1\r\n$3\r\nFOO\r\n", &[]);
    let Ok(Contents::Some(mut loader)) = files.contents(false) else { panic!("something") };
    assert_eq!(loader.next().expect("a command"), Step::Command);
    assert_eq!(
        loader.unknown_command().report(),
        ["Unknown command 'FOO' reading the append only file base"]
    );
    assert_eq!(loader.progress(), (13, 0));
}
