use super::*;

/// A folder for a chain; removed at the end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("redstart-chain-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn chain(&self) -> Chain {
        Chain::read(&self.0, "dir", Names::new("a.aof")).expect("readable")
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.join("dir"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn opened(chain: &mut Chain) -> Opened {
    chain.open(true, |path| fs::write(path, "base")).expect("opened")
}

#[test]
fn the_first_start_makes_a_base_and_an_increment() {
    let place = Place::new("first");
    let mut chain = place.chain();
    assert!(chain.manifest().is_empty());
    assert_eq!(opened(&mut chain).size, 0);
    assert_eq!(place.names(), ["a.aof.1.base.rdb", "a.aof.1.incr.aof", "a.aof.manifest"]);
    assert_eq!(
        place.text("dir/a.aof.manifest"),
        "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n"
    );
    // The next one goes on where the first ended.
    place.write("dir/a.aof.1.incr.aof", "data");
    let mut chain = place.chain();
    let opened = chain.open(true, |_| panic!("there is a base")).expect("opened");
    assert_eq!(opened.size, 4);
    Write::write_all(&mut { opened.file }, b" more").expect("written");
    assert_eq!(place.text("dir/a.aof.1.incr.aof"), "data more");
    assert_eq!(chain.bytes_total().expect("there"), 4 + 9);
}

#[test]
fn a_rewrite_replaces_what_was_before_it() {
    let place = Place::new("rewrite");
    let mut chain = place.chain();
    opened(&mut chain);
    chain.begin_rewrite(State::On).expect("begun").expect("a file");
    assert_eq!(
        place.text("dir/a.aof.manifest"),
        "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n\
         file a.aof.2.incr.aof seq 2 type i\n"
    );
    let written = place.write("temp", "new base");
    let done = chain.finish_rewrite(State::On, false, &written).expect("done");
    assert_eq!(done, Rewritten { base_bytes: 8 });
    assert_eq!(
        place.text("dir/a.aof.manifest"),
        "file a.aof.2.base.aof seq 2 type b\nfile a.aof.1.incr.aof seq 1 type h\n\
         file a.aof.1.base.rdb seq 1 type h\nfile a.aof.2.incr.aof seq 2 type i\n"
    );
    // A crash before history is gone: the next start does it.
    let mut chain = place.chain();
    chain.remove_history().expect("removed");
    assert_eq!(place.names(), ["a.aof.2.base.aof", "a.aof.2.incr.aof", "a.aof.manifest"]);
    assert_eq!(chain.manifest().print(), place.text("dir/a.aof.manifest").into_bytes());
}

#[test]
fn rewrites_that_fail_leave_increments_one_after_another() {
    let place = Place::new("failed");
    let mut chain = place.chain();
    opened(&mut chain);
    for _ in 0..2 {
        chain.begin_rewrite(State::On).expect("begun");
        assert!(chain.finish_rewrite(State::On, true, &place.0.join("nowhere")).is_err());
        chain.fail_rewrite(State::On);
    }
    let seqs: Vec<_> = chain.manifest().incrs.iter().map(|entry| entry.seq).collect();
    assert_eq!(seqs, [1, 2, 3]);
    chain.begin_rewrite(State::On).expect("begun");
    let written = place.write("temp", "base");
    chain.finish_rewrite(State::On, true, &written).expect("done");
    chain.remove_history().expect("removed");
    assert_eq!(place.names(), ["a.aof.2.base.rdb", "a.aof.4.incr.aof", "a.aof.manifest"]);
}

#[test]
fn a_log_that_is_switched_on_counts_when_its_first_rewrite_is_done() {
    let place = Place::new("await");
    let mut chain = place.chain();
    let state = State::AwaitRewrite;
    let mut file = chain.begin_rewrite(state).expect("begun").expect("a file").file;
    file.write_all(b"meanwhile").expect("written");
    assert_eq!(place.names(), ["temp-a.aof.incr"]);
    chain.fail_rewrite(state);
    assert_eq!(place.names(), [""; 0]);
    let mut file = chain.begin_rewrite(state).expect("begun").expect("a file").file;
    file.write_all(b"meanwhile").expect("written");
    let written = place.write("temp", "base");
    chain.finish_rewrite(state, true, &written).expect("done");
    assert_eq!(
        place.text("dir/a.aof.manifest"),
        "file a.aof.1.base.rdb seq 1 type b\nfile a.aof.1.incr.aof seq 1 type i\n"
    );
    file.write_all(b" and later").expect("written");
    assert_eq!(place.text("dir/a.aof.1.incr.aof"), "meanwhile and later");
}

#[test]
fn without_a_log_a_rewrite_makes_a_base_alone() {
    let place = Place::new("off");
    let mut chain = place.chain();
    opened(&mut chain);
    assert!(chain.begin_rewrite(State::Off).expect("begun").is_none());
    let written = place.write("temp", "base");
    chain.finish_rewrite(State::Off, true, &written).expect("done");
    chain.remove_history().expect("removed");
    assert_eq!(place.names(), ["a.aof.2.base.rdb", "a.aof.manifest"]);
}

#[test]
fn the_single_file_of_old_is_moved() {
    let place = Place::new("single");
    place.write("a.aof", "old data");
    let mut chain = place.chain();
    chain.take_over_single().expect("moved");
    assert_eq!(place.text("dir/a.aof"), "old data");
    assert_eq!(place.text("dir/a.aof.manifest"), "file a.aof seq 1 type b\n");
    opened(&mut chain);
    assert_eq!(place.names(), ["a.aof", "a.aof.1.incr.aof", "a.aof.manifest"]);
    // Another file of the old name is not ours any more.
    place.write("a.aof", "something else");
    place.chain().take_over_single().expect("nothing to do");
    assert_eq!(place.text("dir/a.aof"), "old data");
}

#[test]
fn a_move_that_a_crash_interrupted_is_done_at_the_next_start() {
    let place = Place::new("interrupted");
    place.write("a.aof", "old data");
    fs::create_dir(place.0.join("dir")).expect("a folder");
    place.write("dir/a.aof.manifest", "file a.aof seq 1 type b\n");
    place.chain().take_over_single().expect("moved");
    assert_eq!(place.text("dir/a.aof"), "old data");
}

#[test]
fn errors_name_the_file_and_lose_nothing() {
    let place = Place::new("errors");
    place.write("dir", "a file in the folder's place");
    let mut chain = place.chain();
    let error = chain.begin_rewrite(State::On).expect_err("no folder");
    assert_eq!(error.report(), ["Can't open or create append-only dir dir: File exists"]);
    fs::remove_file(place.0.join("dir")).expect("removed");
    opened(&mut chain);
    let before = chain.manifest().clone();
    // A folder where the manifest is to be written.
    fs::create_dir(place.0.join("dir/temp-a.aof.manifest")).expect("a folder");
    let error = chain.begin_rewrite(State::On).expect_err("no manifest");
    assert_eq!(
        error.report(),
        ["Can't open the AOF manifest file temp-a.aof.manifest: Is a directory"]
    );
    assert_eq!(chain.manifest(), &before);
    let written = place.write("temp", "base");
    chain.finish_rewrite(State::On, true, &written).expect_err("no manifest");
    assert_eq!(chain.manifest(), &before);
    assert!(!place.names().contains(&"a.aof.2.base.rdb".to_owned()), "{:?}", place.names());
    place.write("dir/a.aof.manifest", "nonsense\n");
    let error = Chain::read(&place.0, "dir", Names::new("a.aof")).expect_err("refused");
    assert_eq!(error.report()[3], "Invalid AOF manifest file format\n");
}
