//! The connections of the bus, as far as they are not sockets: whose they are, and what waits to be sent.

use redstart_common::log::Level;

use super::Cluster;
use super::by_id::ById;
use super::door::{Action, Turn};
use super::node::{Flags, Handle, LinkId};
use super::packet::{Frames, Kind};

/// A connection.
#[derive(Debug)]
pub struct Link {
    /// When it was made.
    pub created_ms: i64,
    /// Whose it is, if that is known.
    pub node: Option<Handle>,
    /// Whether the other side made it.
    pub is_inbound: bool,
    /// Whether it stands.
    pub is_connected: bool,
    /// The address of the other side.
    pub(super) peer_ip: Box<str>,
    /// The address of this side.
    pub(super) local_ip: Box<str>,
    /// When anything came by it.
    pub(super) heard_ms: i64,
    pub(super) out: Vec<u8>,
    pub(super) input: Frames,
}

impl Link {
    fn new(node: Option<Handle>, now_ms: i64) -> Self {
        Self {
            created_ms: now_ms,
            node,
            is_inbound: node.is_none(),
            is_connected: node.is_none(),
            peer_ip: Box::default(),
            local_ip: Box::default(),
            heard_ms: now_ms,
            out: Vec::new(),
            input: Frames::default(),
        }
    }

    /// Bytes that wait to be sent, and those that there is room for.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.out.len(), self.out.capacity())
    }

    /// Memory that it takes, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>()
            + self.out.capacity()
            + self.input.held()
            + self.peer_ip.len()
            + self.local_ip.len()
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: ById<Box<Link>>,
    last: u64,
    /// Links with output that is to leave at the end of the turn.
    ready: Vec<LinkId>,
    /// Room for output that nothing waits in.
    spare: Vec<Vec<u8>>,
}

/// Rooms for output that are kept, and bytes of each at most: thousands of links say little, one after the other.
const SPARE_MAX: usize = 2;
const SPARE_BYTES_MAX: usize = 16 << 10;

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.open.get(id).map(|link| &**link)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.open.get_mut(id).map(|link| &mut **link)
    }

    fn add(&mut self, id: LinkId, link: Link) {
        self.open.insert(id, Box::new(link));
    }

    /// What waits to be sent on a link, to be appended to; [`end_output`](Self::end_output) puts it back.
    pub(super) fn begin_output(&mut self, id: LinkId) -> Vec<u8> {
        let Some(link) = self.open.get_mut(id) else { return Vec::new() };
        if link.out.is_empty() {
            self.ready.push(id);
            if let Some(room) = self.spare.pop() {
                return room;
            }
        }
        std::mem::take(&mut link.out)
    }

    pub(super) fn end_output(&mut self, id: LinkId, out: Vec<u8>) {
        if let Some(link) = self.open.get_mut(id) {
            link.out = out;
        }
    }

    fn sent(&mut self, id: LinkId, count: usize) {
        let Some(link) = self.open.get_mut(id) else { return };
        if count < link.out.len() {
            link.out.drain(..count);
            return;
        }
        let mut room = std::mem::take(&mut link.out);
        if self.spare.len() < SPARE_MAX && room.capacity() <= SPARE_BYTES_MAX {
            room.clear();
            self.spare.push(room);
        }
    }

    fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.open.iter().map(|(id, link)| (id, &**link))
    }
}

impl Cluster {
    /// The number of a connection that another node has made.
    pub fn new_link(&mut self) -> LinkId {
        self.links.last += 1;
        LinkId(std::num::NonZeroU64::MIN.saturating_add(self.links.last - 1))
    }

    /// What all connections take, in bytes.
    #[must_use]
    pub fn links_bytes(&self) -> usize {
        self.links.iter().map(|(_, link)| link.memory()).sum()
    }

    /// A connection.
    #[must_use]
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id)
    }

    /// All connections, in the order in which they were made.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter()
    }

    /// Links that have something to send: call it at the end of the turn, and send what [`output`](Self::output) has.
    pub fn take_ready(&mut self, into: &mut Vec<LinkId>) {
        into.append(&mut self.links.ready);
    }

    /// What waits to be sent on a link that stands. Of what was sent [`sent`](Self::sent) is to be told.
    #[must_use]
    pub fn output(&self, id: LinkId) -> Option<&[u8]> {
        self.links.get(id).filter(|link| link.is_connected).map(|link| link.out.as_slice())
    }

    /// So many bytes of what waited on a link were sent.
    pub fn sent(&mut self, id: LinkId, count: usize) {
        self.links.sent(id, count);
    }

    pub(super) fn accept(&mut self, id: LinkId, peer_ip: String, local_ip: String, now_ms: i64) {
        let (peer_ip, local_ip) = (peer_ip.into(), local_ip.into());
        self.links.add(id, Link { peer_ip, local_ip, ..Link::new(None, now_ms) });
    }

    /// Asks for a connection to a node.
    pub(super) fn connect(&mut self, node: Handle, turn: &mut Turn<'_>) {
        let id = self.new_link();
        self.links.add(id, Link::new(Some(node), turn.now_ms));
        let node = &mut self.nodes[node];
        node.link = Some(id);
        turn.act(Action::Connect { link: id, ip: node.ip.to_string(), port: node.bus_port });
    }

    /// A link that was asked for stands.
    pub(super) fn connected(
        &mut self,
        id: LinkId,
        peer_ip: String,
        local_ip: String,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get_mut(id) else { return };
        (link.peer_ip, link.local_ip, link.is_connected) = (peer_ip.into(), local_ip.into(), true);
        if !link.out.is_empty() {
            self.links.ready.push(id);
        }
        let Some(node) = self.links.get(id).and_then(|link| link.node) else { return };
        let ping_sent_ms = self.nodes[node].ping_sent_ms;
        let meets = self.nodes[node].flags.any(Flags::MEET);
        // At once: whoever cannot be reached is seen by what is not answered.
        self.send_heartbeat(id, if meets { Kind::Meet } else { Kind::Ping }, turn);
        let node = &mut self.nodes[node];
        if ping_sent_ms != 0 {
            node.ping_sent_ms = ping_sent_ms;
        }
    }

    /// The other side has closed a link, or it broke, or it could not be made.
    pub(super) fn link_lost(&mut self, id: LinkId, reason: &str, turn: &mut Turn<'_>) {
        let Some(link) = self.links.get(id) else { return };
        if let Some(node) = link.node.filter(|_| !link.is_connected) {
            let node = &mut self.nodes[node];
            // Nothing will answer: as if a ping had been sent now, so that the node is missed.
            if node.ping_sent_ms == 0 {
                node.ping_sent_ms = turn.now_ms;
            }
            let line = format!(
                "Connection with Node {} at {}:{} failed: {reason}",
                node.name, node.ip, node.bus_port
            );
            turn.verbose(line);
        }
        self.drop_link(id);
    }

    /// Forgets a link without closing it.
    fn drop_link(&mut self, id: LinkId) {
        let Some(link) = self.links.open.remove(id) else { return };
        if let Some(node) = link.node.and_then(|node| self.nodes.get_mut(node)) {
            node.link.take_if(|link| *link == id);
            node.inbound.take_if(|link| *link == id);
        }
    }

    /// Closes a link.
    pub(super) fn close_link(&mut self, id: Option<LinkId>, turn: &mut Turn<'_>) {
        let Some(id) = id.filter(|id| self.links.get(*id).is_some()) else { return };
        self.drop_link(id);
        turn.act(Action::Close(id));
    }

    /// A link that was made by the other side turns out to be a node's.
    pub(super) fn claim_link(&mut self, node: Handle, id: LinkId, turn: &mut Turn<'_>) {
        // The one that was there is likely to be older.
        self.close_link(self.nodes[node].inbound, turn);
        self.nodes[node].inbound = Some(id);
        if let Some(link) = self.links.get_mut(id) {
            link.node = Some(node);
        }
    }

    /// Puts a packet where it waits to be sent.
    pub(super) fn send(&mut self, id: Option<LinkId>, kind: Kind, packet: &[u8]) {
        let Some(id) = id.filter(|id| self.links.get(*id).is_some()) else { return };
        let mut out = self.links.begin_output(id);
        out.extend_from_slice(packet);
        self.links.end_output(id, out);
        self.stats.sent[kind as usize] += 1;
    }

    /// Sends a packet to all nodes that there is a link to.
    pub(super) fn broadcast(&mut self, kind: Kind, packet: &[u8]) {
        for node in self.nodes.handles() {
            let node = &self.nodes[node];
            if !node.flags.any(Flags::MYSELF.or(Flags::HANDSHAKE)) {
                self.send(node.link, kind, packet);
            }
        }
    }

    /// Closes links that hold more than they may, and gives back room that they do not need.
    pub(super) fn look_after_links(&mut self, turn: &mut Turn<'_>) {
        let limit = self.options.link_limit;
        // Links of nodes that nobody knows are closed when they have said nothing for long: each holds a descriptor.
        let patience_ms = self.options.node_timeout_ms.saturating_mul(2).max(2000);
        let (mut over, mut silent) = (Vec::new(), Vec::new());
        for (id, link) in self.links.open.iter_mut() {
            if link.node.is_none() && turn.now_ms - link.heard_ms > patience_ms {
                silent.push(id);
            }
            let (used, room) = link.waiting();
            if room == 0 {
                continue;
            }
            if (room - used) / 4 > used {
                link.out.shrink_to_fit();
            }
            let room = link.out.capacity();
            if limit != 0 && room as u64 > limit && link.node.is_some() {
                over.push((id, room));
            }
        }
        for (id, room) in over {
            let Some(link) = self.links.get(id) else { continue };
            let way = if link.is_inbound { "from" } else { "to" };
            let name = link.node.map(|node| self.nodes[node].name);
            let name = name.as_ref().map_or("", |name| name.as_str());
            turn.log(
                Level::Warning,
                format!(
                    "Freeing cluster link({way} node {name}, used memory: {room}) due to exceeding \
                     send buffer memory limit."
                ),
            );
            self.close_link(Some(id), turn);
            self.stats.links_over_limit += 1;
        }
        for id in silent {
            self.close_link(Some(id), turn);
        }
    }

    /// DEBUG CLUSTERLINK KILL: closes the links to a node, from it, or both.
    pub fn kill_links(&mut self, node: Handle, to: bool, from: bool, turn: &mut Turn<'_>) {
        let Some((link, inbound)) = self.nodes.get(node).map(|node| (node.link, node.inbound))
        else {
            return;
        };
        if to {
            self.close_link(link, turn);
        }
        if from {
            self.close_link(inbound, turn);
        }
    }
}
