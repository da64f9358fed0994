//! Links: the connections to an instance, what is sent on them regularly, and what their replies mean.
//!
//! Servers have two connections, one for commands and one that listens to the hello channel; sentinels have the first only,
//! and all instances that stand for the same sentinel share one link.

use std::collections::VecDeque;

use redstart_common::log::Level;

use super::instance::Reconfigured;
use super::{Action, ConnId, HELLO_CHANNEL, Instance, Key, Kind, Reply, Sentinel};

/// Requests that may wait for a reply, for each owner of a link.
const PENDING_MAX: i64 = 100;

/// A link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(u64);

/// What a reply is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// Nobody.
    Nothing,
    Ping,
    Info,
    Publish,
    /// Whether the primary is down, and a vote.
    Vote,
}

/// The connection for commands.
#[derive(Debug)]
struct Commands {
    conn: ConnId,
    opened_at: i64,
    /// Our own address on it, once it is made.
    local: Option<String>,
    /// Who waits for which reply.
    expected: VecDeque<(Key, Expect)>,
}

/// The connection that listens.
#[derive(Debug)]
struct Hellos {
    conn: ConnId,
    opened_at: i64,
    /// Replies before those to the subscription.
    expected: usize,
}

/// A link. Times are in milliseconds since 1970; 0 is never.
#[derive(Debug)]
pub(super) struct Link {
    /// Instances that share it.
    pub owners: usize,
    /// A connection that there should be is missing.
    pub is_disconnected: bool,
    /// Requests without a reply.
    pub pending: i64,
    commands: Option<Commands>,
    hellos: Option<Hellos>,
    hello_activity_at: i64,
    /// The last good reply to PING.
    pub last_ok: i64,
    /// Since when a PING is without a reply; 0 if none is.
    pub waits_since: i64,
    pub last_ping: i64,
    /// The last reply to PING, good or not.
    pub last_pong: i64,
    last_reconnect: i64,
}

/// What is due to be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Due {
    info: bool,
    ping: bool,
    hello: bool,
}

fn words(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|part| (*part).to_owned()).collect()
}

impl Sentinel {
    pub(super) fn new_link(&mut self) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let link = Link {
            owners: 1,
            is_disconnected: true,
            pending: 0,
            commands: None,
            hellos: None,
            hello_activity_at: 0,
            last_ok: self.now,
            waits_since: self.now,
            last_ping: 0,
            last_pong: self.now,
            last_reconnect: 0,
        };
        self.links.insert(id, link);
        id
    }

    pub(super) fn link(&self, key: &Key) -> Option<&Link> {
        self.links.get(&self.instance(key)?.link)
    }

    /// An instance and its link.
    pub(super) fn with_link(&self, key: &Key) -> Option<(&Instance, &Link)> {
        let it = self.instance(key)?;
        Some((it, self.links.get(&it.link)?))
    }

    pub(super) fn link_mut(&mut self, key: &Key) -> Option<&mut Link> {
        let id = self.instance(key)?.link;
        self.links.get_mut(&id)
    }

    /// One owner less; the last takes the link along.
    pub(super) fn release_link(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.owners -= 1;
        if link.owners == 0 {
            self.close_both(id);
            self.links.remove(&id);
        }
    }

    /// Has a sentinel share the link of another instance that stands for the same one.
    pub(super) fn share_link(&mut self, key: &Key) {
        let Some(own) = self.instance(key).map(|it| it.link) else { return };
        if self.links.get(&own).is_none_or(|link| link.owners > 1) {
            return;
        }
        let others = self.primaries.iter().filter(|(name, _)| ***name != *key.primary);
        let other = others.filter_map(|(_, primary)| primary.sentinels.get(&*key.name)).next();
        let Some(other) = other.map(|it| it.link).filter(|link| *link != own) else { return };
        self.release_link(own);
        if let Some(link) = self.links.get_mut(&other) {
            link.owners += 1;
        }
        if let Some(it) = self.instance_mut(key) {
            it.link = other;
        }
    }

    fn close_commands(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(commands) = link.commands.take() else { return };
        link.pending = 0;
        link.is_disconnected = true;
        self.conns.remove(&commands.conn);
        self.actions.push(Action::Close(commands.conn));
    }

    fn close_hellos(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(hellos) = link.hellos.take() else { return };
        link.is_disconnected = true;
        self.conns.remove(&hellos.conn);
        self.actions.push(Action::Close(hellos.conn));
    }

    pub(super) fn close_both(&mut self, id: LinkId) {
        self.close_commands(id);
        self.close_hellos(id);
    }

    /// Closes the connections of an instance.
    pub(super) fn close_links(&mut self, key: &Key) {
        if let Some(id) = self.instance(key).map(|it| it.link) {
            self.close_both(id);
        }
    }

    fn open(&mut self, link: LinkId, ip: &str, port: u16) -> ConnId {
        let conn = ConnId(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, link);
        self.actions.push(Action::Connect(conn, ip.to_owned(), port));
        conn
    }

    fn reconnects(&self, it: &Instance, link: &Link) -> bool {
        let waited = self.now - link.last_reconnect;
        link.is_disconnected && it.at.port != 0 && waited >= self.periods.ping_period
    }

    /// Whether the regular work has nothing to do with the connections of an instance, and finds nothing new about it.
    pub(super) fn is_quiet(&self, key: &Key) -> bool {
        self.with_link(key).is_some_and(|(it, link)| {
            !self.reconnects(it, link)
                && self.due(key, it, link) == Due::default()
                && self.stale(it, link) == (false, false)
                && self.is_found_down(key, it, link) == it.is_down
        })
    }

    /// Makes the connections that an instance lacks, once a second at most.
    pub(super) fn reconnect(&mut self, key: &Key) {
        let now = self.now;
        let Some((it, link)) = self.with_link(key) else { return };
        if !self.reconnects(it, link) {
            return;
        }
        let (id, host, port) = (it.link, it.at.host.clone(), it.at.port);
        let (lacks_commands, lacks_hellos) = (link.commands.is_none(), link.hellos.is_none());
        if let Some(link) = self.links.get_mut(&id) {
            link.last_reconnect = now;
        }
        if lacks_commands
            && self.globals.resolve_hostnames
            && super::address::as_ip(&host).is_none()
        {
            // The name may stand for another address by now; what is found serves the next try.
            if let Some(Some(ip)) = self.names.get(&host).cloned()
                && let Some(it) = self.instance_mut(key)
            {
                it.at.ip = ip;
            }
            self.actions.push(Action::Resolve(host));
        }
        let Some(ip) = self.instance(key).map(|it| it.at.ip.clone()) else { return };
        if ip.is_empty() {
            self.say_more(Level::Debug, "-cmd-link-reconnection", key, " #Can't resolve the host");
            return;
        }
        if lacks_commands {
            let conn = self.open(id, &ip, port);
            if let Some(link) = self.links.get_mut(&id) {
                link.pending = 0;
                link.commands =
                    Some(Commands { conn, opened_at: now, local: None, expected: VecDeque::new() });
            }
            if let Some(request) = self.authentication(key) {
                self.send(key, request, Expect::Nothing);
            }
            let name = self.client_name(key, "cmd");
            self.send(key, name, Expect::Nothing);
            self.send_ping(key);
        }
        if key.kind != Kind::Sentinel && lacks_hellos {
            let conn = self.open(id, &ip, port);
            let mut requests: Vec<_> = self.authentication(key).into_iter().collect();
            requests.push(self.client_name(key, "pubsub"));
            let expected = requests.len();
            requests.push(vec![self.renamed(key, "SUBSCRIBE"), HELLO_CHANNEL.to_owned()]);
            self.actions.extend(requests.into_iter().map(|request| Action::Send(conn, request)));
            if let Some(link) = self.links.get_mut(&id) {
                link.pending += expected as i64;
                link.hellos = Some(Hellos { conn, opened_at: now, expected });
            }
        }
        if let Some(link) = self.links.get_mut(&id) {
            let complete = key.kind == Kind::Sentinel || link.hellos.is_some();
            link.is_disconnected = !(link.commands.is_some() && complete);
        }
    }

    /// The name by which an instance's primary has a command known.
    fn renamed(&self, key: &Key, command: &str) -> String {
        let renames = self.primaries.get(&*key.primary).map(|it| &it.renames);
        let found = renames.and_then(|renames| renames.get(&command.to_ascii_lowercase()));
        found.map_or_else(|| command.to_owned(), |(_, to)| to.clone())
    }

    fn authentication(&self, key: &Key) -> Option<Vec<String>> {
        let (user, password) = match key.kind {
            Kind::Sentinel if self.globals.password.is_some() => {
                (self.globals.user.clone(), self.globals.password.clone())
            }
            Kind::Sentinel => (None, self.own_password.clone()),
            _ => {
                let primary = self.primaries.get(&*key.primary)?;
                (primary.user.clone(), primary.password.clone())
            }
        };
        let password = password?;
        Some(
            [Some(self.renamed(key, "AUTH")), user, Some(password)].into_iter().flatten().collect(),
        )
    }

    fn client_name(&self, key: &Key, what: &str) -> Vec<String> {
        let id: String = self.id.chars().take(8).collect();
        let name = format!("sentinel-{id}-{what}");
        vec![self.renamed(key, "CLIENT"), "SETNAME".to_owned(), name]
    }

    /// Sends a request on the connection for commands. Answers whether there is one.
    pub(super) fn send(&mut self, key: &Key, request: Vec<String>, expect: Expect) -> bool {
        let Some(link) = self.link_mut(key) else { return false };
        let Some(commands) = &mut link.commands else { return false };
        commands.expected.push_back((key.clone(), expect));
        link.pending += 1;
        let conn = commands.conn;
        self.actions.push(Action::Send(conn, request));
        true
    }

    /// Sends a command under the name that it has there.
    pub(super) fn send_command(&mut self, key: &Key, parts: &[&str], expect: Expect) -> bool {
        let mut request = words(parts);
        request[0] = self.renamed(key, parts[0]);
        self.send(key, request, expect)
    }

    fn send_ping(&mut self, key: &Key) {
        let now = self.now;
        if !self.send_command(key, &["PING"], Expect::Ping) {
            return;
        }
        if let Some(link) = self.link_mut(key) {
            link.last_ping = now;
            if link.waits_since == 0 {
                link.waits_since = now;
            }
        }
    }

    /// What is due to be sent to an instance.
    fn due(&self, key: &Key, it: &Instance, link: &Link) -> Due {
        let now = self.now;
        if link.is_disconnected || link.pending >= PENDING_MAX * link.owners as i64 {
            return Due::default();
        }
        let in_trouble = || {
            self.primaries.get(&*key.primary).is_some_and(|primary| {
                primary.own.is_objectively_down || primary.failover.in_progress
            })
        };
        let hurried = key.kind == Kind::Replica && (it.link_down_ms != 0 || in_trouble());
        let info_period = if hurried { 1000 } else { self.periods.info_period };
        let ping_period = it.down_after.min(self.periods.ping_period);
        Due {
            info: key.kind != Kind::Sentinel && (it.info_at == 0 || now - it.info_at > info_period),
            ping: now - link.last_pong > ping_period && now - link.last_ping > ping_period / 2,
            hello: now - it.published_at > self.periods.publish_period,
        }
    }

    /// Sends INFO, PING and a hello where they are due.
    pub(super) fn send_regular(&mut self, key: &Key) {
        let Some((it, link)) = self.with_link(key) else { return };
        let due = self.due(key, it, link);
        if due.info {
            self.send_command(key, &["INFO"], Expect::Info);
        }
        if due.ping {
            self.send_ping(key);
        }
        if due.hello {
            self.send_hello(key);
        }
    }

    fn send_hello(&mut self, key: &Key) {
        let Some(link) = self.link(key) else { return };
        let local = link.commands.as_ref().and_then(|commands| commands.local.clone());
        let Some(ip) = self.globals.announce_ip.clone().or(local) else { return };
        let Some(primary) = self.primaries.get(&*key.primary) else { return };
        let port = match self.globals.announce_port {
            0 => self.port,
            port => port,
        };
        let at = primary.current_address();
        let hello = format!(
            "{ip},{port},{},{},{},{},{},{}",
            self.id,
            self.epoch,
            primary.own.name,
            self.announced(at),
            at.port,
            primary.config_epoch
        );
        self.send_command(key, &["PUBLISH", HELLO_CHANNEL, &hello], Expect::Publish);
    }

    /// Has all instances of a primary be told of the configuration at the next opportunity.
    pub(super) fn hurry_hellos(&mut self, primary: &str) {
        let back = self.periods.publish_period.saturating_add(1);
        let Some(primary) = self.primaries.get_mut(primary) else { return };
        let earlier = |at: i64| at.saturating_sub(back).max(0);
        primary.own.published_at = earlier(primary.own.published_at);
        primary.others_mut().for_each(|it| it.published_at = earlier(it.published_at));
    }

    // === what comes back ===

    pub(super) fn connected(&mut self, conn: ConnId, local: String) {
        let Some(link) = self.conns.get(&conn).and_then(|id| self.links.get_mut(id)) else {
            return;
        };
        if let Some(commands) = link.commands.as_mut().filter(|it| it.conn == conn) {
            commands.local = Some(local);
        }
    }

    pub(super) fn closed(&mut self, conn: ConnId) {
        let Some(link) = self.conns.remove(&conn).and_then(|id| self.links.get_mut(&id)) else {
            return;
        };
        link.is_disconnected = true;
        if link.commands.as_ref().is_some_and(|it| it.conn == conn) {
            link.commands = None;
        } else {
            link.hellos = None;
        }
    }

    pub(super) fn replied(&mut self, conn: ConnId, reply: Reply) {
        let now = self.now;
        let Some(link) = self.conns.get(&conn).and_then(|id| self.links.get_mut(id)) else {
            return;
        };
        if let Some(hellos) = link.hellos.as_mut().filter(|it| it.conn == conn) {
            if hellos.expected > 0 {
                hellos.expected -= 1;
                link.pending -= 1;
                return;
            }
            if matches!(reply, Reply::Error(_)) {
                // The subscription was refused: nothing will ever come here.
                if let Some(id) = self.conns.get(&conn).copied() {
                    self.close_hellos(id);
                }
                return;
            }
            link.hello_activity_at = now;
            if let Reply::Array(parts) = reply
                && let [Reply::Bulk(Some(kind)), Reply::Bulk(Some(_)), Reply::Bulk(Some(hello))] =
                    parts.as_slice()
                && kind == "message"
                && !hello.contains(&self.id)
            {
                self.take_hello(hello);
            }
            return;
        }
        let Some(commands) = &mut link.commands else { return };
        let Some((key, expect)) = commands.expected.pop_front() else { return };
        link.pending -= 1;
        match (expect, reply) {
            (Expect::Ping, reply) => self.take_pong(&key, &reply),
            (Expect::Info, Reply::Bulk(Some(info))) => self.take_info(&key, info),
            (Expect::Publish, reply) => {
                if !matches!(reply, Reply::Error(_))
                    && let Some(it) = self.instance_mut(&key)
                {
                    it.published_at = now;
                }
            }
            (Expect::Vote, Reply::Array(parts)) => self.take_vote(&key, &parts),
            _ => {}
        }
    }

    fn take_pong(&mut self, key: &Key, reply: &Reply) {
        let now = self.now;
        let Some(link) = self.link_mut(key) else { return };
        link.last_pong = now;
        let (Reply::Simple(text) | Reply::Error(text)) = reply else { return };
        if ["PONG", "LOADING", "MASTERDOWN"].iter().any(|good| text.starts_with(good)) {
            link.last_ok = now;
            link.waits_since = 0;
            if key.kind == Kind::Primary
                && text.starts_with("PONG")
                && let Some(primary) = self.primaries.get_mut(&*key.primary)
            {
                primary.rebooted_at = None;
            }
        } else if text.starts_with("BUSY")
            && let Some(it) = self.instance_mut(key)
            && it.is_down
            && !it.script_kill_sent
        {
            it.script_kill_sent = true;
            self.send_command(key, &["SCRIPT", "KILL"], Expect::Nothing);
        }
    }

    /// Has a server follow `to`, or nobody, keep that in its file, and send its clients away. Answers whether it was sent.
    pub(super) fn send_replicaof(&mut self, key: &Key, to: Option<(&str, u16)>) -> bool {
        let port = to.map(|(_, port)| port.to_string());
        let (host, port) = match (to, &port) {
            (Some((host, _)), Some(port)) => (host, port.as_str()),
            _ => ("NO", "ONE"),
        };
        let steps: [&[&str]; 6] = [
            &["MULTI"],
            &["SLAVEOF", host, port],
            &["CONFIG", "REWRITE"],
            &["CLIENT", "KILL", "TYPE", "normal"],
            &["CLIENT", "KILL", "TYPE", "pubsub"],
            &["EXEC"],
        ];
        steps.iter().all(|step| self.send_command(key, step, Expect::Nothing))
    }

    /// The same for a replica that is to follow an address. It is marked as told.
    pub(super) fn send_to_new_primary(&mut self, key: &Key, to: (&str, u16)) -> bool {
        let sent = self.send_replicaof(key, Some(to));
        if sent && let Some(it) = self.instance_mut(key) {
            it.reconfigured = Reconfigured::Sent;
        }
        sent
    }

    /// Whether the connections for commands and for hellos bring no answers though they seem to be there.
    fn stale(&self, it: &Instance, link: &Link) -> (bool, bool) {
        let (now, least) = (self.now, self.periods.min_link_reconnect_period);
        let half = it.down_after / 2;
        let commands_are_old =
            link.commands.as_ref().is_some_and(|open| now - open.opened_at > least);
        let waits =
            link.waits_since != 0 && now - link.waits_since > half && now - link.last_pong > half;
        let hellos_are_old = link.hellos.as_ref().is_some_and(|open| now - open.opened_at > least);
        let is_deaf = now - link.hello_activity_at > self.periods.publish_period.saturating_mul(3);
        (commands_are_old && waits, hellos_are_old && is_deaf)
    }

    /// Gives connections up that bring no answers.
    pub(super) fn close_stale(&mut self, key: &Key) {
        let Some((it, link)) = self.with_link(key) else { return };
        let (id, (commands, hellos)) = (it.link, self.stale(it, link));
        if commands {
            self.close_commands(id);
        }
        if hellos {
            self.close_hellos(id);
        }
    }

    /// Closes the connections to all other sentinels. A link that several share is closed once.
    pub(super) fn drop_sentinel_links(&mut self) {
        let links = self.primaries.values().flat_map(|it| it.sentinels.values());
        let links: Vec<LinkId> = links.map(|it| it.link).collect();
        for id in links {
            if self.links.get(&id).is_some_and(|link| !link.is_disconnected) {
                self.close_both(id);
            }
        }
    }
}
