//! Single rules, step by step.

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use redstart_common::log::Level;
use redstart_common::resp::split_words;

use super::*;

const NOW: i64 = 1_000_000_000;

struct System(Vec<(&'static str, &'static str)>);

impl Outside for System {
    fn resolve(&mut self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, ip)| (*ip).to_owned())
    }

    fn is_executable(&mut self, path: &str) -> bool {
        path.starts_with("/bin/")
    }
}

fn words(line: &str) -> Vec<String> {
    let words = split_words(line.as_bytes()).expect("words");
    words.into_iter().skip(1).map(|word| String::from_utf8(word.to_vec()).expect("text")).collect()
}

fn read(text: &str, system: &mut System) -> Result<Sentinel, String> {
    let mut sentinel = Sentinel::new(NOW, SmallRng::seed_from_u64(1));
    let lines: Vec<_> = text.lines().map(words).collect();
    for line in Sentinel::in_order(lines, |line| line[0].as_str()) {
        sentinel.configure(&line, system)?;
    }
    sentinel.begin(|| "b".repeat(40));
    Ok(sentinel)
}

fn sentinel(text: &str) -> Sentinel {
    let mut sentinel = read(text, &mut System(Vec::new())).expect("fine");
    drop(sentinel.take_actions());
    sentinel
}

fn text(sentinel: &Sentinel) -> String {
    sentinel.lines().iter().map(|line| format!("{}\n", line.text)).collect()
}

fn events(actions: &[Action]) -> Vec<String> {
    let said = actions.iter().filter_map(|action| match action {
        Action::Say(level, event, text) if *level > Level::Debug => Some(format!("{event} {text}")),
        _ => None,
    });
    said.collect()
}

#[test]
fn lines_are_read_whatever_their_order_and_written_as_redis_writes_them() {
    let ids = ["1".repeat(40), "2".repeat(40)];
    let written = sentinel(&format!(
        "sentinel known-sentinel m 10.1.0.1 26379 {}\nsentinel parallel-syncs m 2\nsentinel known-slave m 10.0.0.2 6379\n\
         sentinel auth-pass m secret\nsentinel current-epoch 3\nsentinel config-epoch m 7\nsentinel leader-epoch m 6\n\
         sentinel rename-command m CONFIG hidden\nsentinel myid {}\nsentinel monitor m 10.0.0.1 6379 2\n\
         sentinel announce-port 7\nsentinel notification-script m /bin/true",
        ids[0], ids[1]
    ));
    assert_eq!(written.epoch, 7, "no epoch is below that of a configuration");
    assert_eq!(
        text(&written),
        format!(
            "sentinel myid {}\nsentinel deny-scripts-reconfig yes\nsentinel resolve-hostnames no\n\
             sentinel announce-hostnames no\nsentinel monitor m 10.0.0.1 6379 2\nsentinel parallel-syncs m 2\n\
             sentinel notification-script m /bin/true\nsentinel auth-pass m secret\nsentinel config-epoch m 7\n\
             sentinel leader-epoch m 6\nsentinel known-replica m 10.0.0.2 6379\n\
             sentinel known-sentinel m 10.1.0.1 26379 {}\nsentinel rename-command m CONFIG hidden\n\
             sentinel current-epoch 7\nsentinel announce-port 7\n",
            ids[1], ids[0]
        )
    );
    assert_eq!(text(&sentinel(&text(&written))), text(&written));
}

#[test]
fn wrong_lines_are_refused_in_redis_words() {
    let monitor = "sentinel monitor m 10.0.0.1 6379 2\n";
    for (line, reason) in [
        ("sentinel monitor m 10.0.0.1 6379 0", "Quorum must be 1 or greater."),
        ("sentinel monitor m host 6379 1", "Can't resolve instance hostname."),
        ("sentinel monitor m 10.0.0.1 65536 1", "Invalid port number."),
        ("sentinel parallel-syncs other 1", "No such master with specified name."),
        ("sentinel myid x", "Malformed Sentinel id in myid option."),
        ("sentinel what 1", "Unrecognized sentinel configuration statement."),
        ("sentinel what m 1", "Unrecognized sentinel configuration statement."),
        ("sentinel monitor m", "Unrecognized sentinel configuration statement."),
        (
            "sentinel resolve-hostnames 1",
            "Please specify yes or no for the resolve-hostnames option.",
        ),
    ] {
        let error = read(line, &mut System(Vec::new())).err();
        assert_eq!(error.as_deref(), Some(reason), "{line}");
    }
    for (line, reason) in [
        ("sentinel monitor m 10.0.0.2 6379 1", "Duplicate master name."),
        ("sentinel down-after-milliseconds m 0", "negative or zero time parameter."),
        ("sentinel failover-timeout m -5", "negative or zero time parameter."),
        ("sentinel master-reboot-down-after-period m -1", "negative time parameter."),
        (
            "sentinel notification-script m /no",
            "Notification script seems non existing or non executable.",
        ),
    ] {
        let error = read(&format!("{monitor}{line}"), &mut System(Vec::new())).err();
        assert_eq!(error.as_deref(), Some(reason), "{line}");
    }
    // A replica that is named twice is one.
    let twice = format!("{monitor}{}", "sentinel known-replica m 10.0.0.2 6379\n".repeat(2));
    assert_eq!(sentinel(&twice).primary("m").expect("it").replicas.len(), 1);
}

/// redis#14970: a value with a line end was a line of its own when the file was read again.
#[test]
fn no_value_becomes_a_line_of_its_own() {
    let mut it = sentinel("sentinel monitor m 10.0.0.1 6379 2");
    let evil = "x\nsentinel monitor evil 10.6.6.6 6379 1\n# \"'\\ \u{e9}";
    let set = it.set("m", &["auth-pass", evil, "auth-user", ""], &mut System(Vec::new()));
    assert_eq!(set.expect("it is watched").refused, None);
    it.set("m", &["rename-command", "a b", "c\td"], &mut System(Vec::new()))
        .expect("it is watched");
    it.set_global("announce-ip", "1\n2").expect("any text");
    let actions = it.take_actions();
    assert!(events(&actions)[0].ends_with("auth-pass ******"), "{actions:?}");
    let lines = it.lines();
    assert!(lines.iter().all(|line| !line.text.contains('\n')), "{lines:?}");
    let again = sentinel(&text(&it));
    assert_eq!(again.primaries().len(), 1);
    assert_eq!(again.primary("m").expect("it").password.as_deref(), Some(evil));
    assert_eq!(again.globals().announce_ip.as_deref(), Some("1\n2"));
    assert_eq!(text(&again), text(&it));
}

#[test]
fn one_vote_is_given_in_each_epoch_and_is_kept_before_it_is_told() {
    let mut it = sentinel("sentinel monitor m 10.0.0.1 6379 2");
    let ask =
        |it: &mut Sentinel, epoch, who: &str| it.is_primary_down("10.0.0.1", 6379, epoch, who);
    assert_eq!(ask(&mut it, 0, "*"), (false, None, 0));
    assert_eq!(ask(&mut it, 5, "one"), (false, Some("one".to_owned()), 5));
    let actions = it.take_actions();
    assert_eq!(events(&actions), ["+new-epoch 5", "+vote-for-leader one 5"]);
    assert_eq!(actions.iter().filter(|it| **it == Action::Save).count(), 2);
    assert_eq!(ask(&mut it, 5, "other").1.as_deref(), Some("one"));
    assert_eq!(ask(&mut it, 4, "other").1.as_deref(), Some("one"));
    // It is not given again by one that was started again.
    let mut again = sentinel(&text(&it));
    assert_eq!(ask(&mut again, 5, "other"), (false, None, 5));
    assert_eq!(ask(&mut again, 6, "other"), (false, Some("other".to_owned()), 6));
    assert_eq!(ask(&mut again, 6, "10.0.0.9").1.as_deref(), Some("other"));
    assert_eq!(again.is_primary_down("10.9.9.9", 6379, 7, "other"), (false, None, 0));
    assert_eq!(again.epoch, 6);
}

#[test]
fn hellos_bring_sentinels_epochs_and_configurations() {
    let mut it = sentinel("sentinel monitor m 10.0.0.1 6379 2");
    let [one, two] = ["1", "2"].map(|digit| digit.repeat(40));
    it.take_hello(&format!("10.1.0.1,26379,{one},0,m,10.0.0.1,6379,0"));
    let found = format!("sentinel {one} 10.1.0.1 26379 @ m 10.0.0.1 6379");
    assert_eq!(events(&it.take_actions()), [format!("+sentinel {found}")]);
    // The same id elsewhere has moved; another id at its place is another sentinel.
    it.take_hello(&format!("10.1.0.2,26379,{one},0,m,10.0.0.1,6379,0"));
    assert_eq!(
        events(&it.take_actions()),
        [format!(
            "+sentinel-address-switch master m 10.0.0.1 6379 ip 10.1.0.2 port 26379 for {one}"
        )]
    );
    it.take_hello(&format!("10.1.0.2,26379,{two},0,m,10.0.0.1,6379,0"));
    assert_eq!(
        events(&it.take_actions()),
        [
            format!("+sentinel-invalid-addr sentinel {one} 10.1.0.2 26379 @ m 10.0.0.1 6379"),
            format!("+sentinel sentinel {two} 10.1.0.2 26379 @ m 10.0.0.1 6379"),
        ]
    );
    it.take_hello(&format!("10.1.0.2,26379,{two},4,m,10.0.0.7,6379,4"));
    assert_eq!(
        events(&it.take_actions()),
        [
            "+new-epoch 4".to_owned(),
            format!("+config-update-from sentinel {two} 10.1.0.2 26379 @ m 10.0.0.1 6379"),
            "+switch-master m 10.0.0.1 6379 10.0.0.7 6379".to_owned(),
            "+slave slave 10.0.0.1:6379 10.0.0.1 6379 @ m 10.0.0.7 6379".to_owned(),
        ]
    );
    // An older one says nothing, and neither do those of other primaries or of another form.
    for hello in [
        format!("10.1.0.2,26379,{two},3,m,10.0.0.1,6379,3"),
        format!("10.1.0.2,26379,{two},9,other,10.0.0.1,6379,9"),
        "10.1.0.2,26379,x,9,m,10.0.0.1,6379".to_owned(),
        String::new(),
    ] {
        it.take_hello(&hello);
        assert_eq!(events(&it.take_actions()), Vec::<String>::new(), "{hello}");
    }
    assert_eq!(it.primary("m").expect("it").own.at.ip, "10.0.0.7");
}

/// redis#11241, #9103, #9998: names that could not be resolved were all the same, so that the new primary was told to follow
/// itself, and no failover found a replica.
#[test]
fn names_that_cannot_be_resolved_are_not_the_same() {
    let text = "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\nsentinel monitor m primary 6379 1\n\
                sentinel known-replica m replica 6379\nsentinel known-replica m third 6379";
    let mut it =
        read(text, &mut System(vec![("replica", "10.0.0.2")])).expect("names may be unknown");
    let primary = it.primary("m").expect("it");
    assert_eq!((primary.own.at.ip.as_str(), primary.replicas.len()), ("", 3 - 1));
    assert!(!primary.own.at.is_same(&primary.replicas["third:6379"].at));
    drop(it.take_actions());
    // Whether it is written by name or by address, it is there.
    it.set_global("announce-hostnames", "no").expect("a flag");
    let written = self::text(&it);
    assert!(written.contains("\nsentinel monitor m primary 6379 1\n"), "{written}");
    assert!(written.contains("\nsentinel known-replica m 10.0.0.2 6379\n"), "{written}");
    it.set_global("announce-hostnames", "yes").expect("a flag");
    drop(it.take_actions());
    // A hello about a name that is not known yet waits until it is.
    let hello = format!("10.1.0.1,26379,{},1,m,fourth,6379,1", "1".repeat(40));
    it.take_hello(&hello);
    assert_eq!(it.take_actions(), [Action::Resolve("fourth".to_owned())]);
    it.hear(Event::Resolved("fourth".to_owned(), Some("10.0.0.4".to_owned())));
    let said = events(&it.take_actions());
    assert!(said.contains(&"+switch-master m primary 6379 fourth 6379".to_owned()), "{said:?}");
    // What a name stood for is kept when it cannot be resolved any more.
    it.hear(Event::Resolved("fourth".to_owned(), None));
    assert_eq!(it.primary("m").expect("it").own.at.ip, "10.0.0.4");
    assert!(!it.is_unknown_name("fourth") && it.is_unknown_name("fifth"));
}

#[test]
fn scripts_are_queued_run_again_and_given_up() {
    let mut it = sentinel(
        "sentinel monitor m 10.0.0.1 6379 2\nsentinel notification-script m /bin/a\nsentinel client-reconfig-script m /bin/b",
    );
    let runs = |actions: Vec<Action>| {
        let runs = actions.into_iter().filter_map(|action| match action {
            Action::Run(job, words) => Some((job, words)),
            _ => None,
        });
        runs.collect::<Vec<_>>()
    };
    it.tick();
    let began = runs(it.take_actions());
    assert_eq!(began[0].1, ["/bin/a", "+monitor", "master m 10.0.0.1 6379 quorum 2"]);
    it.hear(Event::ScriptStarted(began[0].0, 77));
    assert_eq!((it.scripts_running(), it.scripts()[0].pid), (1, 77));
    // A failure is tried again after 30 s, twice that, …, ten times in all.
    let mut now = NOW;
    for tries in 1..10 {
        it.hear(Event::ScriptEnded(began[0].0, 1, 0));
        assert!(it.scripts()[0].time - now == 30_000 << (tries - 1), "{tries}");
        now += 30_000 << (tries - 1);
        it.set_now(now - 1);
        it.run_scripts();
        assert_eq!(runs(it.take_actions()), []);
        it.set_now(now);
        it.run_scripts();
        assert_eq!(runs(it.take_actions()).len(), 1);
    }
    it.hear(Event::ScriptEnded(began[0].0, 0, 9));
    assert_eq!(events(&it.take_actions()), ["-script-error /bin/a 9 0"]);
    assert_eq!(it.scripts().len(), 0);
    // No more than 16 run, no more than 256 wait, and the oldest that waits goes first.
    for number in 0..300 {
        it.schedule(vec!["/bin/c".to_owned(), number.to_string()]);
    }
    it.run_scripts();
    let began = runs(it.take_actions());
    assert_eq!((began.len(), it.scripts().len(), began[0].1[1].as_str()), (16, 256, "44"));
    it.set_now(now + 60_001);
    it.look_at_slow_scripts();
    let killed = it.take_actions();
    assert_eq!(killed.iter().filter(|it| matches!(it, Action::Kill(_))).count(), 16);
}

#[test]
fn settings_are_taken_up_to_the_first_that_is_wrong() {
    let mut it = sentinel("sentinel monitor m 10.0.0.1 6379 2");
    let mut system = System(Vec::new());
    assert_eq!(it.set("other", &["quorum", "1"], &mut system), Err(Refused::NoSuchPrimary));
    for (words, count, refused) in [
        (
            &["quorum", "3", "quorum", "0"][..],
            1,
            Some("Invalid argument '0' for SENTINEL SET 'quorum'"),
        ),
        (&["quorum"], 0, Some("Unknown option or number of arguments for SENTINEL SET 'quorum'")),
        (&["x", "1"], 0, Some("Unknown option or number of arguments for SENTINEL SET 'x'")),
        (
            &["rename-command", "a"],
            0,
            Some("Unknown option or number of arguments for SENTINEL SET 'rename-command'"),
        ),
        (&["rename-command", "config", "CONFIG"], 1, None),
        (&["Down-After-Milliseconds", "7", "failover-timeout", "8"], 2, None),
    ] {
        let changed = it.set("m", words, &mut system).expect("it is watched");
        assert_eq!((changed.count, changed.refused.as_deref()), (count, refused), "{words:?}");
        let saves = it.take_actions().iter().filter(|it| **it == Action::Save).count();
        assert_eq!(saves, usize::from(count > 0), "{words:?}");
    }
    let primary = it.primary("m").expect("it");
    assert_eq!((primary.quorum, primary.own.down_after, primary.failover_timeout), (3, 7, 8));
    let script = it.set("m", &["notification-script", "/bin/a"], &mut system).expect("it");
    assert!(
        script.refused.expect("denied").starts_with("Reconfiguration of scripts path is denied")
    );
}

proptest! {
    /// Whatever is set is read back as what it is, one line for each thing.
    #[test]
    fn what_is_written_reads_back(name in any::<String>(), values in prop::collection::vec(any::<String>(), 6)) {
        let mut it = Sentinel::new(NOW, SmallRng::seed_from_u64(1));
        it.id = "c".repeat(40);
        it.monitor(&name, "10.0.0.1", 6379, 2).expect("any name");
        let mut system = System(Vec::new());
        for (option, value) in ["auth-pass", "auth-user"].iter().zip(&values) {
            it.set(&name, &[option, value], &mut system).expect("it is watched");
        }
        it.set(&name, &["rename-command", &values[2], &values[3]], &mut system).expect("it is watched");
        it.set_global("sentinel-pass", &values[4]).expect("any text");
        it.set_global("announce-ip", &values[5]).expect("any text");
        let again = read(&text(&it), &mut system).expect("what was written");
        prop_assert_eq!(text(&again), text(&it));
        prop_assert_eq!(again.globals(), it.globals());
    }

    /// No hello, reply or INFO from anywhere does harm.
    #[test]
    fn nonsense_does_no_harm(
        hello in "([0-9a-z.]{0,9},){5,8}[0-9m]{0,3}",
        infos in prop::collection::vec("((slave[0-9]?|role|run_id|master_host|master_link_down_since_seconds):[-0-9a-z.,=:]{0,48}\r\n){0,5}", 4),
        port in any::<i64>(),
        epochs in prop::collection::vec(any::<u64>(), 4),
    ) {
        let mut it = sentinel("sentinel monitor m 10.0.0.1 6379 2\nsentinel known-replica m 10.0.0.2 6379");
        it.take_hello(&hello);
        it.take_hello(&format!("10.0.0.3,{port},x,{},m,10.0.0.2,6379,{}", epochs[0], epochs[1]));
        it.take_hello(&format!("10.0.0.3,5,y,{},m,{hello},{port},{}", epochs[2], epochs[3]));
        it.set_periods(&["publish-period", "9223372036854775807", "info-period", "9223372036854775807"]).expect("numbers");
        it.hurry_hellos("m");
        it.hurry_hellos("m");
        for (number, info) in infos.into_iter().enumerate() {
            it.set_now(NOW + number as i64 * 40_000);
            for key in [Key::primary("m"), Key::beside("m", Kind::Replica, "10.0.0.2:6379")] {
                it.take_info(&key, info.clone());
            }
            it.is_primary_down("10.0.0.1", port, epochs[number], &hello);
            it.tick();
        }
        let again = read(&text(&it), &mut System(Vec::new())).expect("what was written");
        prop_assert_eq!(text(&again), text(&it));
    }
}
