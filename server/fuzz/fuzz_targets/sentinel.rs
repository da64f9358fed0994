//! A sentinel told anything: lines of its configuration, hellos, INFO and other replies, questions, settings, and time that
//! passes or jumps. It does not panic, and what it would write is read again as the same.
//!
//! Each line of the text is one thing; its first byte says which.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use redstart_common::resp::split_words;
use redstart_server::sentinel::{Action, ConnId, Event, Outside, Reply, Sentinel};

const BEGIN_MS: i64 = 1_000_000_000;

struct System;

impl Outside for System {
    fn resolve(&mut self, name: &str) -> Option<String> {
        name.len().is_multiple_of(2).then(|| "10.0.0.9".to_owned())
    }

    fn is_executable(&mut self, path: &str) -> bool {
        path.starts_with('/')
    }
}

fn words(text: &str) -> Vec<String> {
    let words = split_words(text.as_bytes()).unwrap_or_default().into_iter();
    words.map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
}

fn new() -> Sentinel {
    Sentinel::new(BEGIN_MS, SmallRng::seed_from_u64(1))
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut it = new();
    it.id = "a".repeat(40);
    let (mut now, mut open): (i64, Vec<ConnId>) = (BEGIN_MS, Vec::new());
    for line in text.lines() {
        let Some(kind) = line.chars().next() else { continue };
        let rest = &line[kind.len_utf8()..];
        let said = words(rest);
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        it.set_now(now);
        match kind {
            'c' => drop(it.configure(&words(rest), &mut System)),
            'h' => it.take_hello(rest),
            'm' => drop(it.monitor(rest, "10.0.0.1", 6379, 1)),
            's' => drop(said.split_first().map(|(name, rest)| it.set(name, rest, &mut System))),
            'g' => {
                drop(said.first().zip(said.get(1)).map(|(name, value)| it.set_global(name, value)))
            }
            'p' => drop(it.set_periods(&said)),
            'f' => drop(it.force_failover(rest)),
            'r' => drop(it.reset_matching(rest)),
            'q' => {
                if let [host, port, epoch, candidate] = said.as_slice() {
                    let (port, epoch) = (port.parse().unwrap_or(0), epoch.parse().unwrap_or(0));
                    it.is_primary_down(host, port, epoch, candidate);
                }
            }
            // A reply on one of the connections.
            'i' | 'o' | 'e' | 'v' => {
                let place = rest.bytes().next().unwrap_or(0);
                let text = rest.get(1..).unwrap_or_default().replace(';', "\r\n");
                let reply = match kind {
                    'i' => Reply::Bulk(Some(text)),
                    'o' => Reply::Simple(text),
                    'e' => Reply::Error(text),
                    _ => Reply::Array(vec![
                        Reply::Integer(1),
                        Reply::Bulk(Some(text)),
                        Reply::Integer(i64::from(place)),
                    ]),
                };
                if !open.is_empty() {
                    it.hear(Event::Replied(open[usize::from(place) % open.len()], reply));
                }
            }
            'n' => it.hear(Event::Resolved(rest.to_owned(), Some("10.0.0.8".to_owned()))),
            _ => {
                now = now.saturating_add(rest.parse::<i32>().unwrap_or(100).into());
                it.set_now(now);
                it.tick();
            }
        }
        for action in it.take_actions() {
            match action {
                Action::Connect(conn, ..) => {
                    open.push(conn);
                    it.hear(Event::Connected(conn, "10.1.0.1".to_owned()));
                }
                Action::Close(conn) => open.retain(|known| *known != conn),
                _ => {}
            }
        }
    }
    let lines = it.lines();
    let mut again = new();
    let read = lines.iter().map(|line| words(&line.text)[1..].to_vec()).collect();
    for line in Sentinel::in_order(read, |line: &Vec<String>| line[0].as_str()) {
        assert_eq!(again.configure(&line, &mut System), Ok(()), "{line:?}");
    }
    assert_eq!(again.lines(), lines);
});
