use proptest::prelude::*;

use super::*;

fn names() -> Names {
    Names::new("appendonly.aof")
}

fn shown(manifest: &Manifest) -> String {
    String::from_utf8(manifest.print()).expect("text")
}

fn refusal(text: &str) -> (Option<(usize, String)>, &'static str) {
    let error = Manifest::parse(text.as_bytes()).expect_err("refused");
    let at = error.at.map(|(number, line)| (number, String::from_utf8_lossy(&line).into_owned()));
    (at, error.what)
}

#[test]
fn a_manifest_is_read_and_written_as_it_was() {
    let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                file appendonly.aof.1.incr.aof seq 1 type h\n\
                file appendonly.aof.4.incr.aof seq 4 type i\n\
                file appendonly.aof.5.incr.aof seq 5 type i\n";
    let manifest = Manifest::parse(text.as_bytes()).expect("good");
    assert_eq!(shown(&manifest), text);
    assert_eq!(manifest.parts().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 4, 5]);
    assert_eq!(manifest.last_incr().map(|entry| entry.seq), Some(5));
}

#[test]
fn comments_unknown_pairs_order_and_case_do_not_matter() {
    let text = "# a remark\nTYPE b SEQ 7x FILE base color red\r\n \tfile i seq 1 type incr \n#\n";
    let manifest = Manifest::parse(text.as_bytes()).expect("good");
    assert_eq!(shown(&manifest), "file base seq 7 type b\nfile i seq 1 type i\n");
    // Remarks alone are a manifest of no files.
    assert!(Manifest::parse(b"# nothing yet\n").expect("good").is_empty());
}

#[test]
fn names_with_blanks_stand_in_quotes() {
    let mut manifest = Manifest::default();
    manifest.next_base(&Names::new("a b\"\u{e9}"), true);
    manifest.next_incr(&Names::new("it's"));
    assert_eq!(
        shown(&manifest),
        "file \"a b\\\"\\xc3\\xa9.1.base.rdb\" seq 1 type b\nfile \"it's.1.incr.aof\" seq 1 type i\n"
    );
    assert_eq!(Manifest::parse(&manifest.print()), Ok(manifest));
}

#[test]
fn what_redis_refuses_is_refused_in_its_words() {
    let at = |number, line: &str| Some((number, line.to_owned()));
    let invalid = "Invalid AOF manifest file format";
    for (text, place, what) in [
        ("", None, "Found an empty AOF manifest"),
        ("file a seq 1 type b", None, "The AOF manifest file contains too long line"),
        ("file a\0b seq 1 type b\n", None, "The AOF manifest file contains too long line"),
        (" \n", at(1, ""), invalid),
        ("# x\n\n", at(2, ""), invalid),
        ("file a seq 1\n", at(1, "file a seq 1"), invalid),
        ("file a seq 1 type b x\n", at(1, "file a seq 1 type b x"), invalid),
        ("file \"a seq 1 type b\n", at(1, "file \"a seq 1 type b"), invalid),
        ("file a seq 0 type b\n", at(1, "file a seq 0 type b"), invalid),
        ("file a seq x type b\n", at(1, "file a seq x type b"), invalid),
        ("fil a seq 1 type b\n", at(1, "fil a seq 1 type b"), invalid),
        ("file a seq 1 type \"\"\n", at(1, "file a seq 1 type \"\""), invalid),
        (
            "file ../a seq 1 type b\n",
            at(1, "file ../a seq 1 type b"),
            "File can't be a path, just a filename",
        ),
        ("file a seq 1 type z\n", at(1, "file a seq 1 type z"), "Unknown AOF file type"),
        (
            "file a seq 1 type b\nfile b seq 2 type b\n",
            at(2, "file b seq 2 type b"),
            "Found duplicate base file information",
        ),
        (
            "file a seq 2 type i\nfile b seq 2 type i\n",
            at(2, "file b seq 2 type i"),
            "Found a non-monotonic sequence number",
        ),
        (
            "file a seq -1 type i\n",
            at(1, "file a seq -1 type i"),
            "Found a non-monotonic sequence number",
        ),
    ] {
        assert_eq!(refusal(text), (place, what), "{text:?}");
    }
    let long = format!("file {} seq 1 type b\n", "a".repeat(1024 - 18));
    assert_eq!(long.len(), 1025);
    assert_eq!(refusal(&long), (None, "The AOF manifest file contains too long line"));
    assert!(Manifest::parse(long.replacen('a', "", 1).as_bytes()).is_ok());
}

#[test]
fn a_refusal_says_where() {
    let error = Manifest::parse(b"file a seq 1 type z\n").expect_err("refused");
    assert_eq!(
        error.report(),
        [
            "\n*** FATAL AOF MANIFEST FILE ERROR ***\n",
            "Reading the manifest file, at line 1\n",
            ">>> 'file a seq 1 type z'\n",
            "Unknown AOF file type\n"
        ]
    );
}

#[test]
fn a_rewrite_makes_history_of_what_it_replaces() {
    let mut manifest = Manifest::default();
    manifest.next_base(&names(), true);
    manifest.next_incr(&names());
    manifest.next_incr(&names());
    manifest.next_incr(&names());
    manifest.next_base(&names(), false);
    manifest.retire_incrs(true);
    assert_eq!(
        shown(&manifest),
        "file appendonly.aof.2.base.aof seq 2 type b\n\
         file appendonly.aof.1.incr.aof seq 1 type h\n\
         file appendonly.aof.2.incr.aof seq 2 type h\n\
         file appendonly.aof.1.base.rdb seq 1 type h\n\
         file appendonly.aof.3.incr.aof seq 3 type i\n"
    );
    // Without a log that is open, all increments are in the new base.
    manifest.retire_incrs(false);
    assert!(manifest.incrs.is_empty());
    assert_eq!(manifest.history[0].seq, 3);
    assert_eq!(manifest.next_incr(&names()).seq, 4);
}

#[test]
fn the_single_file_of_old_is_taken_over_once() {
    let mut manifest = Manifest::default();
    assert!(manifest.wants_single(&names(), true, false));
    manifest.adopt_single(&names());
    assert_eq!(shown(&manifest), "file appendonly.aof seq 1 type b\n");
    // A crash between the manifest and the move is mended at the next start.
    assert!(manifest.wants_single(&names(), true, false));
    assert!(!manifest.wants_single(&names(), true, true));
    manifest.next_incr(&names());
    assert!(!manifest.wants_single(&names(), true, false));
    assert!(manifest.wants_single(&names(), false, false));
}

proptest! {
    #[test]
    fn noise_is_refused_or_settles(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let Ok(manifest) = Manifest::parse(&text) else { return Ok(()) };
        let printed = manifest.print();
        if !printed.is_empty() {
            prop_assert_eq!(Manifest::parse(&printed).expect("what was printed").print(), printed);
        }
    }

    #[test]
    fn any_name_survives(stem in "[^/\\\\\0]{0,40}", bases in 1_usize..4, incrs in 1_usize..4) {
        let names = Names::new(&stem);
        let mut manifest = Manifest::default();
        for _ in 0..bases {
            manifest.next_base(&names, true);
        }
        for _ in 0..incrs {
            manifest.next_incr(&names);
        }
        prop_assert_eq!(Manifest::parse(&manifest.print()), Ok(manifest));
    }
}
