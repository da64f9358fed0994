//! Sentinels of ours and the original's: in one group through failovers, with the same answers, and with each other's files.

use std::process::Command;
use std::time::Duration;

use redstart_server::settings::{Settings, file};
use redstart_server::turn::sentinel::configured;
use redstart_tests::proxy_support::{
    Client, Folder, Listening, Process, eventually, free_port, free_ports, within,
};
use redstart_tests::server_support::{server_binary, workspace};

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ours,
    Original,
}

use Kind::{Original, Ours};

impl Kind {
    fn program(self) -> Command {
        match self {
            Ours => Command::new(server_binary()),
            Original => Command::new("redis-server"),
        }
    }

    fn server(self, port: u16, options: &[&str]) -> Listening {
        let mut command = self.program();
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--repl-diskless-sync-delay", "0"]).args(options);
        Listening::start(command, port, Folder::new())
    }

    /// A sentinel with a file of this text, to which the port is added.
    fn sentinel(self, folder: Folder, port: u16, text: &str) -> Listening {
        let file = folder.join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{text}")).expect("written");
        self.sentinel_again(folder, port)
    }

    /// One with the file that is in the folder.
    fn sentinel_again(self, folder: Folder, port: u16) -> Listening {
        let mut command = self.program();
        command.arg(folder.join("sentinel.conf")).arg("--sentinel");
        Listening::start(command, port, folder)
    }
}

fn configuration(it: &Listening) -> String {
    std::fs::read_to_string(it.folder.join("sentinel.conf")).expect("the file")
}

/// A fact of `SENTINEL MASTER`.
fn fact(client: &mut Client, name: &str) -> String {
    let facts = client.call("SENTINEL MASTER m");
    let mut lines = facts.lines().skip_while(|line| *line != name);
    lines.nth(2).unwrap_or_default().to_owned()
}

fn primary_port(client: &mut Client) -> u16 {
    let reply = client.call("SENTINEL GET-MASTER-ADDR-BY-NAME m");
    reply.lines().nth(4).and_then(|port| port.parse().ok()).unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(40);
/// Signals of Linux.
const SIGSTOP: i32 = 19;
const SIGCONT: i32 = 18;

/// How a primary goes.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It ends, and is started again.
    Kill,
    /// It stands still, and goes on.
    Stop,
    /// Somebody asks a sentinel for a failover.
    Asked,
}

/// Three servers of both kinds, watched by three sentinels, through failovers: all agree after each.
fn agree_through_failovers(sentinel_kinds: [Kind; 3], server_kinds: [Kind; 3]) {
    let ports = free_ports(3);
    let first = ports[0].to_string();
    let mut servers: Vec<Option<Listening>> = Vec::new();
    for (number, kind) in server_kinds.iter().enumerate() {
        let follow: &[&str] = if number == 0 { &[] } else { &["--replicaof", "127.0.0.1", &first] };
        servers.push(Some(kind.server(ports[number], follow)));
    }
    let text = format!(
        "sentinel monitor m 127.0.0.1 {first} 2\nsentinel down-after-milliseconds m 1000\nsentinel failover-timeout m 4000\n"
    );
    let sentinels: Vec<Listening> = sentinel_kinds
        .iter()
        .map(|kind| kind.sentinel(Folder::new(), free_port(), &text))
        .collect();
    let mut clients: Vec<Client> = sentinels.iter().map(Listening::client).collect();
    for client in &mut clients {
        // Replicas are found sooner.
        assert_eq!(client.call("SENTINEL DEBUG info-period 1000 publish-period 500"), "+OK\r\n");
    }
    let logs = || sentinels.iter().map(Listening::log).collect::<Vec<_>>().join("\n");
    for (round, fault) in [Fault::Kill, Fault::Stop, Fault::Asked].into_iter().enumerate() {
        let before = settled_primary(&mut clients, &ports);
        let before = before.unwrap_or_else(|| panic!("all is well before {fault:?}: {}", logs()));
        let place = ports.iter().position(|port| *port == before).expect("a server");
        match fault {
            Fault::Kill => drop(servers[place].take()),
            Fault::Stop => servers[place].as_ref().expect("it runs").process.signal(SIGSTOP),
            Fault::Asked => {
                let sentinel = &mut clients[round % 3];
                let asked = within(PATIENCE, || sentinel.call("SENTINEL FAILOVER m") == "+OK\r\n");
                assert!(asked, "{}", logs());
            }
        }
        let has_moved = within(PATIENCE, || {
            let now: Vec<u16> = clients.iter_mut().map(primary_port).collect();
            now[0] != before && now.iter().all(|port| *port == now[0])
        });
        assert!(has_moved, "all agree after {fault:?}: {}", logs());
        match fault {
            Fault::Kill => servers[place] = Some(server_kinds[place].server(before, &[])),
            Fault::Stop => servers[place].as_ref().expect("it runs").process.signal(SIGCONT),
            Fault::Asked => {}
        }
    }
    assert!(settled_primary(&mut clients, &ports).is_some(), "all is well at the end: {}", logs());
}

/// Waits until all sentinels name the same primary, find nothing wrong, and all other servers follow it. Where both processors
/// are busy a failover may come by itself, so that everything is asked again each time.
fn settled_primary(clients: &mut [Client], ports: &[u16]) -> Option<u16> {
    let mut found = None;
    let is_settled = within(PATIENCE, || {
        let primary = primary_port(&mut clients[0]);
        let epoch = fact(&mut clients[0], "config-epoch");
        found = Some(primary);
        let agree = clients.iter_mut().all(|client| {
            let replicas = client.call("SENTINEL REPLICAS m");
            primary_port(client) == primary
                && fact(client, "flags") == "master"
                && fact(client, "num-other-sentinels") == "2"
                && fact(client, "config-epoch") == epoch
                && replicas.matches("\r\nflags\r\n$5\r\nslave\r\n").count() == 2
                && replicas.matches("\r\nmaster-link-status\r\n$2\r\nok\r\n").count() == 2
        });
        // A server that is told whom it follows sends its clients away.
        let role = |port: u16| {
            let mut client = Client::connect(port);
            client.send(&["ROLE"]);
            let reply = client.try_receive().unwrap_or_default();
            String::from_utf8_lossy(&reply).into_owned()
        };
        agree
            && ports.iter().all(|port| match role(*port) {
                role if *port == primary => role.contains("\r\nmaster\r\n"),
                role => role.contains("\r\nslave\r\n") && role.contains(&format!(":{primary}\r\n")),
            })
    });
    found.filter(|_| is_settled)
}

#[test]
fn one_of_ours_among_real_sentinels_agrees_through_failovers() {
    agree_through_failovers([Original, Ours, Original], [Original, Ours, Original]);
}

#[test]
fn a_real_sentinel_among_ours_agrees_through_failovers() {
    agree_through_failovers([Ours, Original, Ours], [Ours, Original, Ours]);
}

/// Without what differs from one run to the next.
fn without_times(reply: &str, port: u16) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut is_time = false;
    for line in reply.replace(&port.to_string(), "PORT").lines() {
        let is_id = line.len() == 40 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shown = match line {
            _ if is_id => "ID",
            // The length of a number that is no more the same.
            _ if is_time && line.starts_with('$') => continue,
            _ if is_time => "TIME",
            _ => line,
        };
        is_time = is_time && line.starts_with('$')
            || ["last-", "info-refresh", "role-reported-time", "s-down", "o-down", "link-pending"]
                .iter()
                .any(|name| line.starts_with(name))
            || ["runid", "run-time", "pid", "flags"].contains(&line);
        lines.push(shown.to_owned());
    }
    lines.join("\n")
}

#[test]
fn commands_answer_and_the_file_is_written_as_by_the_original() {
    // Nobody is there: what is told does not depend on when.
    let nobody = free_port();
    let text = format!(
        "# first\nsentinel monitor m 127.0.0.1 {nobody} 2\nsentinel down-after-milliseconds m 60000\n# last\n\
         sentinel deny-scripts-reconfig no\nuser who on >secret ~* &* +@all -sentinel|masters\n"
    );
    let both = [Ours, Original].map(|kind| {
        let it = kind.sentinel(Folder::new(), free_port(), &text);
        eventually("it has begun", || it.log().contains("+monitor master m"));
        it
    });
    // Of several primaries the original tells in an order that differs from run to run.
    let commands = [
        "PING",
        "ROLE",
        "SENTINEL",
        "SENTINEL nothing",
        "SENTINEL MASTER",
        "SENTINEL MASTER other",
        "SENTINEL MASTER m",
        "SENTINEL MASTERS",
        "INFO sentinel",
        "SENTINEL REPLICAS m",
        "SENTINEL SLAVES other",
        "SENTINEL SENTINELS m",
        "SENTINEL GET-MASTER-ADDR-BY-NAME m",
        "SENTINEL GET-MASTER-ADDR-BY-NAME other",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 PORT 0 *",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 PORT 3 someone",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 PORT 3 another",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 x 3 another",
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 1 9 another",
        "SENTINEL CKQUORUM m",
        "SENTINEL CKQUORUM other",
        "SENTINEL FAILOVER m",
        "SENTINEL FAILOVER other",
        "SENTINEL MONITOR two 10.0.0.1 6379 1",
        "SENTINEL MONITOR two 10.0.0.1 6379 1",
        "SENTINEL MONITOR three 10.0.0.1 70000 1",
        "SENTINEL MONITOR three host 6379 1",
        "SENTINEL MONITOR three 10.0.0.1 x 1",
        "SENTINEL MONITOR three 10.0.0.1 6379 0",
        "SENTINEL SET two quorum 3 failover-timeout 5000 parallel-syncs 2 auth-pass secret auth-user me",
        "SENTINEL SET two down-after-milliseconds 500 quorum 0",
        "SENTINEL SET two rename-command CONFIG hidden",
        "SENTINEL SET two rename-command config CONFIG",
        "SENTINEL SET two rename-command PING pong",
        "SENTINEL SET two master-reboot-down-after-period 7",
        "SENTINEL SET two notification-script /nowhere",
        "SENTINEL SET two client-reconfig-script /bin/true",
        "SENTINEL SET two quorum",
        "SENTINEL SET two what 1",
        "SENTINEL SET other quorum 1",
        "SENTINEL CONFIG GET *",
        "SENTINEL CONFIG SET announce-port 7000",
        "SENTINEL CONFIG SET announce-port 70000",
        "SENTINEL CONFIG SET announce-ip 192.0.2.1",
        "SENTINEL CONFIG SET sentinel-user me",
        "SENTINEL CONFIG SET sentinel-pass secret",
        "SENTINEL CONFIG SET resolve-hostnames maybe",
        "SENTINEL CONFIG SET what 1",
        "SENTINEL CONFIG GET a*",
        "SENTINEL CONFIG what",
        "SENTINEL DEBUG",
        "SENTINEL DEBUG ping-period 500 info-period x",
        "SENTINEL DEBUG what 1",
        "SENTINEL DEBUG ping-period",
        "SENTINEL PENDING-SCRIPTS",
        "SENTINEL INFO-CACHE two other",
        "SENTINEL INFO-CACHE",
        "SENTINEL SIMULATE-FAILURE help",
        "SENTINEL SIMULATE-FAILURE what",
        "SENTINEL SIMULATE-FAILURE crash-after-election crash-after-promotion",
        "INFO memory",
        "SENTINEL RESET t*",
        "SENTINEL RESET nobody",
        "SENTINEL MASTER two",
        "SENTINEL HELP",
        "SENTINEL FLUSHCONFIG",
        "PUBLISH news x",
        "PUBLISH __sentinel__:hello nonsense",
        "PUBLISH __sentinel__:hello 10.1.0.1,26379,aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,7,m,10.0.0.9,6379,7",
        "SENTINEL GET-MASTER-ADDR-BY-NAME m",
        "SENTINEL REPLICAS m",
        "GET k",
        "CONFIG GET port",
        "MULTI",
        "RESET",
        "QUIT x",
        "COMMAND COUNT",
        "COMMAND INFO get publish role",
        "COMMAND DOCS get",
        "ACL CAT sentinel",
        "ACL SETUSER x +get",
        "ACL SETUSER x on >p +sentinel|master -sentinel|slaves +@slow",
        "ACL GETUSER who",
        "ACL WHOAMI",
        "AUTH x p",
        "SENTINEL SLAVES m",
        "HELLO 3 AUTH who secret",
        "SENTINEL MASTERS",
        "SENTINEL CONFIG GET *",
        "INFO nothing",
        "CLIENT GETNAME",
        "SUBSCRIBE +sdown",
        "SENTINEL REMOVE two",
        "SENTINEL REMOVE two",
    ];
    let mut clients = both.each_ref().map(Listening::client);
    for command in commands {
        let command = command.replace("PORT", &nobody.to_string());
        let replies = [0, 1].map(|at| without_times(&clients[at].call(&command), nobody));
        // HELLO tells the client's number, and of CLIENT LIST's kin nothing is asked.
        if command.starts_with("HELLO") {
            assert!(replies.iter().all(|reply| reply.contains("sentinel")), "{replies:?}");
            continue;
        }
        assert_eq!(replies[0], replies[1], "{command}");
    }
    // What is written has the same lines, but for the order of those that were added, with the empty ones between them.
    let lines = |it: &Listening| {
        let text = configuration(it).replace(&it.port.to_string(), "PORT");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("sentinel myid") && !line.starts_with("dir "));
        lines
    };
    let [ours, theirs] = both.each_ref().map(lines);
    assert_eq!(ours[..7], theirs[..7], "what stood there stays where it was");
    let sorted = |mut lines: Vec<String>| {
        lines.retain(|line| !line.is_empty());
        lines.sort();
        lines
    };
    assert_eq!(sorted(ours), sorted(theirs));
    // Each starts with the other's file, and knows what the other knew.
    let settings = |it: &Listening| {
        let mut client = it.client();
        client.call("SENTINEL MYID") + &client.call("SENTINEL CONFIG GET *")
    };
    let before = both.each_ref().map(settings);
    let [ours, theirs] = both;
    for (it, kind, before) in [(ours, Original, &before[0]), (theirs, Ours, &before[1])] {
        let Listening { process, folder, port } = it;
        drop(process);
        let again = kind.sentinel_again(folder, port);
        assert_eq!(&settings(&again), before, "{kind:?}");
        let mut client = again.client();
        let replicas = client.call("SENTINEL REPLICAS m");
        assert!(replicas.contains(&format!("\r\n127.0.0.1:{nobody}\r\n")), "{kind:?}: {replicas}");
        let sentinels = client.call("SENTINEL SENTINELS m");
        assert!(sentinels.contains(&"a".repeat(40)), "{kind:?}: {sentinels}");
        assert_eq!(fact(&mut client, "ip"), "10.0.0.9", "{kind:?}");
        assert_eq!(fact(&mut client, "config-epoch"), "7", "{kind:?}");
    }
}

#[test]
fn wrong_configurations_end_the_start_as_with_the_original() {
    let monitor = "sentinel monitor m 127.0.0.1 1 1\n";
    for text in [
        "sentinel monitor m 127.0.0.1 1 0\n".to_owned(),
        "port 0\nsentinel monitor m nowhere.invalid 1 1\n".to_owned(),
        format!("{monitor}sentinel parallel-syncs other 1\n"),
        format!("sentinel failover-timeout m -1\n{monitor}"),
        format!("{monitor}sentinel notification-script m /nowhere\n"),
        format!("{monitor}{monitor}"),
        "sentinel what 1\n".to_owned(),
        "sentinel myid short\n".to_owned(),
    ] {
        let outputs = [Ours, Original].map(|kind| {
            let folder = Folder::new();
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, &text).expect("written");
            let output = kind.program().arg(&file).arg("--sentinel").output().expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        });
        assert_eq!(outputs[0], outputs[1], "{text}");
        assert_eq!(outputs[0].0, Some(1), "{text}");
    }
    let outputs = [Ours, Original].map(|kind| {
        let output = kind.program().arg("--sentinel").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said =
            said.split_once(" # ").map(|(head, line)| (head.contains(":X "), line.to_owned()));
        (output.status.code(), said)
    });
    assert_eq!(outputs[0], outputs[1]);
}

/// A script is told of an event, and its process has no more open than it should.
#[test]
fn scripts_are_run() {
    let folder = Folder::new();
    let (script, told) = (folder.join("notify.sh"), folder.join("told"));
    const COUNT: &str = "ls /proc/self/fd | wc -l";
    let text = format!("#!/bin/sh\necho \"$@\" $({COUNT}) >> {}\n", told.display());
    std::fs::write(&script, text).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it may be run");
    let nobody = free_port();
    let text = format!(
        "sentinel monitor m 127.0.0.1 {nobody} 1\nsentinel notification-script m {}\n",
        script.display()
    );
    let it = Ours.sentinel(folder, free_port(), &text);
    let read = || std::fs::read_to_string(it.folder.join("told")).unwrap_or_default();
    eventually("the script is told", || read().ends_with('\n'));
    // As many as a child of this test has.
    let own =
        Command::new("sh").args(["-c", &format!("echo $({COUNT})")]).output().expect("it runs");
    let own = String::from_utf8_lossy(&own.stdout).into_owned();
    assert_eq!(read(), format!("+monitor master m 127.0.0.1 {nobody} quorum 1 {own}"));
    eventually("it is done", || it.client().call("SENTINEL PENDING-SCRIPTS") == "*0\r\n");
}

/// Whatever happens, the file is a whole one.
#[test]
fn a_sentinel_that_is_killed_at_any_time_starts_again() {
    let nobody = free_port();
    let text = format!("sentinel monitor m 127.0.0.1 {nobody} 1\n");
    let mut it = Ours.sentinel(Folder::new(), free_port(), &text);
    let mut epoch = 0;
    for round in 0..4u64 {
        let mut client = it.client();
        for _ in 0..20 + round * 7 {
            epoch += 1;
            client.send(&[
                "SENTINEL".to_owned(),
                "is-master-down-by-addr".to_owned(),
                "127.0.0.1".to_owned(),
                nobody.to_string(),
                epoch.to_string(),
                "b".repeat(40),
            ]);
        }
        let first = client.receive();
        assert!(first.starts_with("*3\r\n"), "{first}");
        it.process.kill();
        let Listening { process, folder, port } = it;
        drop::<Process>(process);
        it = Ours.sentinel_again(folder, port);
        let text = configuration(&it);
        let kept = text.lines().find_map(|line| line.strip_prefix("sentinel leader-epoch m "));
        let kept: u64 = kept.expect("it is there").parse().expect("a number");
        assert!(kept > epoch - 20 - round * 7, "{kept} of {epoch}: a vote that was told is kept");
        assert!(!text.contains(".tmp"));
    }
}

/// The annotated sample says nothing that is not understood, be it in its comments.
#[test]
fn the_sample_is_read() {
    let sample = workspace().join("config/sentinel.conf");
    let sample = std::fs::read_to_string(sample).expect("the sample");
    let lines = sample.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with("sentinel ") => rest,
        _ => line,
    });
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = text.replace("/usr/local/bin/notify.sh", "/bin/true");
    let text = text.replace("/usr/local/bin/reconfigure.sh", "/bin/true");
    let mut settings = Settings { sentinel: Some(Vec::new()), ..Settings::default() };
    file::load(&mut settings, &text).expect("settings");
    let sentinel = configured(&settings).unwrap_or_else(|error| panic!("{}", error.report()));
    let lines = sentinel.lines();
    for option in
        ["auth-pass", "rename-command", "announce-ip", "sentinel-user", "notification-script"]
    {
        let option = format!("sentinel {option}");
        assert!(lines.iter().any(|line| line.option == option), "{option}");
    }
}
