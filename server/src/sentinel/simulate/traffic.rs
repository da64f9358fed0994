//! What travels between sentinels and servers, and what servers answer.

use rand::Rng;

use super::super::{Event, HELLO_CHANNEL, Reply};
use super::network::{BACK, Node, Packet, THERE};
use super::world::{Due, World};

impl World {
    pub fn lag(&mut self) -> i64 {
        if self.has_faults && self.rng.random_bool(0.002) {
            self.rng.random_range(100..4000)
        } else {
            self.rng.random_range(1..12)
        }
    }

    pub fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cut[self.index(from)][self.index(to)] > 0
    }

    pub fn push(&mut self, connection: usize, way: usize, packet: Packet) {
        let lag = self.lag();
        let now = self.now;
        let it = &mut self.connections[connection];
        if it.is_over || it.ways[way].is_lost {
            return;
        }
        let line = &mut it.ways[way];
        line.last = line.last.max(now + lag);
        line.packets.push_back((line.last, packet));
        let wait = line.last - now;
        self.later(wait, Due::Pump(connection, way));
    }

    pub fn arrive(&mut self, connection: usize) {
        let it = &self.connections[connection];
        if it.is_over {
            return;
        }
        let (from, to) = (Node::Sentinel(it.from), it.to);
        if self.is_cut(from, to) || self.is_cut(to, from) {
            return self.later(1000, Due::Arrive(connection));
        }
        let (is_up, life, _) = self.life_of(to);
        self.connections[connection].to_life = life;
        if !is_up {
            return self.push(connection, BACK, Packet::End);
        }
        self.connections[connection].is_open = true;
        let lag = self.lag();
        self.later(lag, Due::Opened(connection));
        self.later(lag, Due::Pump(connection, THERE));
    }

    pub fn opened(&mut self, connection: usize) {
        let it = &self.connections[connection];
        if it.is_over || !self.lives(it.from, it.life) {
            return;
        }
        let (number, id) = (it.from, it.id);
        let paused_until = self.sentinels[number].paused_until;
        if paused_until > self.now {
            return self.later(paused_until - self.now, Due::Opened(connection));
        }
        let ip = self.sentinels[number].ip.clone();
        self.act(number, |core| core.hear(Event::Connected(id, ip)));
    }

    /// What has arrived is read.
    pub fn pump(&mut self, connection: usize, way: usize) {
        loop {
            let it = &self.connections[connection];
            if it.is_over || way == THERE && !it.is_open {
                return;
            }
            let Some((at, _)) = it.ways[way].packets.front() else { return };
            if *at > self.now {
                return;
            }
            let (sentinel, other) = (Node::Sentinel(it.from), it.to);
            let (sender, reader) = if way == THERE { (sentinel, other) } else { (other, sentinel) };
            if self.is_cut(sender, reader) {
                return self.later(250, Due::Pump(connection, way));
            }
            let (is_up, life, paused_until) = self.life_of(reader);
            if paused_until > self.now {
                return self.later(paused_until - self.now, Due::Pump(connection, way));
            }
            let it = &mut self.connections[connection];
            let Some((_, packet)) = it.ways[way].packets.pop_front() else { return };
            if way == THERE {
                if !is_up || life != it.to_life {
                    it.ways[BACK].packets.clear();
                    self.push(connection, BACK, Packet::End);
                } else if let Packet::Request(words) = packet {
                    self.answer(connection, words);
                }
                continue;
            }
            let (number, id) = (it.from, it.id);
            if !is_up || life != it.life {
                it.is_over = true;
                return;
            }
            match packet {
                Packet::Reply(reply) => {
                    self.note_info(number, connection, &reply);
                    self.act(number, |core| core.hear(Event::Replied(id, reply)));
                }
                _ => {
                    self.connections[connection].is_over = true;
                    self.sentinels[number].conns.remove(&id);
                    self.act(number, |core| core.hear(Event::Closed(id)));
                }
            }
        }
    }

    /// Remembers what a sentinel is told of a replica.
    fn note_info(&mut self, number: usize, connection: usize, reply: &Reply) {
        let Reply::Bulk(Some(info)) = reply else { return };
        let Node::Server(server) = self.connections[connection].to else { return };
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.parse::<i64>().ok())
        };
        let priority = field("slave_priority:");
        let link_down = field("master_link_down_since_seconds:").unwrap_or(0) * 1000;
        let at = self.now + self.sentinels[number].skew;
        self.told.insert((number, server), (at, priority, link_down));
    }

    // === servers answer ===

    fn answer(&mut self, connection: usize, words: Vec<String>) {
        match self.connections[connection].to {
            Node::Sentinel(number) => {
                let reply = self.ask_sentinel(number, &words);
                self.push(connection, BACK, Packet::Reply(reply));
            }
            Node::Server(number) => self.ask_server(connection, number, words),
        }
    }

    fn ask_sentinel(&mut self, number: usize, words: &[String]) -> Reply {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["PING"] => Reply::Simple("PONG".to_owned()),
            ["PUBLISH", _, hello] => {
                self.act(number, |core| core.take_hello(hello));
                Reply::Integer(1)
            }
            ["SENTINEL", "is-master-down-by-addr", ip, port, epoch, candidate] => {
                let (port, epoch) = (port.parse().expect("a port"), epoch.parse().expect("one"));
                let answer =
                    self.act(number, |core| core.is_primary_down(ip, port, epoch, candidate));
                let (is_down, leader, epoch) = answer;
                Reply::Array(vec![
                    Reply::Integer(i64::from(is_down)),
                    Reply::Bulk(Some(leader.unwrap_or_else(|| "*".to_owned()))),
                    Reply::Integer(epoch.cast_signed()),
                ])
            }
            _ => Reply::Simple("OK".to_owned()),
        }
    }

    fn ask_server(&mut self, connection: usize, number: usize, words: Vec<String>) {
        let loading = self.servers[number].loads_until > self.now;
        let queues = self.connections[connection].queued.is_some() && words[0] != "EXEC";
        let reply = if loading {
            Reply::Error("LOADING Redis is loading the dataset in memory".to_owned())
        } else if queues {
            self.connections[connection].queued.iter_mut().for_each(|all| all.push(words.clone()));
            Reply::Simple("QUEUED".to_owned())
        } else {
            self.run_command(connection, number, &words)
        };
        self.push(connection, BACK, Packet::Reply(reply));
    }

    fn run_command(&mut self, connection: usize, number: usize, words: &[String]) -> Reply {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ok = Reply::Simple("OK".to_owned());
        match words.as_slice() {
            ["PING"] => Reply::Simple("PONG".to_owned()),
            ["INFO"] => {
                let ip = &self.servers[number].ip;
                let replicas = self
                    .servers
                    .iter()
                    .filter(|it| it.is_up && it.link_is_up && it.follows.as_deref() == Some(ip));
                let replicas: Vec<String> = replicas.map(|it| it.ip.clone()).collect();
                Reply::Bulk(Some(self.servers[number].info(self.now, &replicas)))
            }
            ["SUBSCRIBE", channel] => {
                self.connections[connection].is_subscribed = true;
                let channel = Reply::Bulk(Some((*channel).to_owned()));
                Reply::Array(vec![
                    Reply::Bulk(Some("subscribe".to_owned())),
                    channel,
                    Reply::Integer(1),
                ])
            }
            ["PUBLISH", _, hello] => {
                self.publish(number, hello, 0);
                Reply::Integer(1)
            }
            ["MULTI"] => {
                self.connections[connection].queued = Some(Vec::new());
                ok
            }
            ["EXEC"] => {
                let queued = self.connections[connection].queued.take().unwrap_or_default();
                for words in &queued {
                    self.run_command(connection, number, words);
                }
                Reply::Array(Vec::new())
            }
            ["SLAVEOF", host, _] => {
                let host = (*host != "NO").then(|| (*host).to_owned());
                self.say(|| format!("server {number} follows {host:?}"));
                self.servers[number].follow(host, self.now);
                ok
            }
            ["CONFIG", "REWRITE"] => {
                let it = &mut self.servers[number];
                it.file_follows = it.follows.clone();
                ok
            }
            ["CLIENT", "KILL", ..] => {
                for other in self.live.clone() {
                    let it = &self.connections[other];
                    let is_here = it.to == Node::Server(number) && it.is_open && !it.is_over;
                    if other != connection && is_here {
                        self.push(other, BACK, Packet::End);
                    }
                }
                ok
            }
            _ => ok,
        }
    }

    /// A hello reaches all who listen, at this server and at its replicas.
    fn publish(&mut self, number: usize, hello: &str, depth: usize) {
        for place in 0..self.live.len() {
            let index = self.live[place];
            let it = &self.connections[index];
            if !it.is_subscribed || it.is_over || it.to != Node::Server(number) {
                continue;
            }
            if self.has_faults && self.rng.random_bool(0.01) {
                let late = self.rng.random_range(10..20_000);
                self.later(late, Due::LateHello(index, hello.to_owned()));
            }
            self.push(index, BACK, Packet::Reply(message(hello)));
        }
        let ip = self.servers[number].ip.clone();
        for other in 0..self.servers.len() {
            let it = &self.servers[other];
            if depth < 3 && it.is_up && it.link_is_up && it.follows.as_deref() == Some(&ip) {
                self.publish(other, hello, depth + 1);
            }
        }
    }

    /// Replicas follow, as far as they can.
    pub fn replicate(&mut self) {
        let now = self.now;
        self.live.retain(|index| !self.connections[*index].is_over);
        for number in 0..self.servers.len() {
            let it = &self.servers[number];
            if !it.is_up || it.paused_until > now || it.loads_until > now {
                continue;
            }
            let Some(host) = it.follows.clone() else {
                let more = self.rng.random_range(0..50);
                self.servers[number].offset += more;
                continue;
            };
            let (own, to) = (Node::Server(number), self.server_at(&host));
            let reachable = to.filter(|to| {
                let other = &self.servers[*to];
                let theirs = Node::Server(*to);
                other.is_up
                    && other.paused_until <= now
                    && other.loads_until <= now
                    && (other.follows.is_none() || other.link_is_up)
                    && !self.is_cut(own, theirs)
                    && !self.is_cut(theirs, own)
            });
            let sync_ms = self.rng.random_range(100..2500);
            let offset = reachable.map(|to| self.servers[to].offset);
            let it = &mut self.servers[number];
            match (offset, it.synced_at) {
                (None, _) => {
                    if it.link_is_up {
                        it.link_is_up = false;
                        it.link_down_since = now;
                    }
                    it.synced_at = None;
                }
                (Some(offset), _) if it.link_is_up => it.offset = offset,
                (Some(_), None) => it.synced_at = Some(now + sync_ms),
                (Some(offset), Some(at)) if at <= now => {
                    it.link_is_up = true;
                    it.offset = offset;
                    it.synced_at = None;
                }
                (Some(_), Some(_)) => {}
            }
        }
    }
}

/// A hello as it comes on a channel.
pub fn message(hello: &str) -> Reply {
    let texts = ["message", HELLO_CHANNEL, hello];
    Reply::Array(texts.map(|text| Reply::Bulk(Some(text.to_owned()))).into())
}
