//! What a node says of its cluster.
//!
//! CLUSTER NODES is the reply that counts: every version has it, it names nodes without slots, and it alone tells the
//! configuration epochs, by which nodes that disagree can be told apart; CLUSTER SLOTS and CLUSTER SHARDS lack them. CLUSTER
//! SLOTS is asked besides for the addresses that clients are meant to use: host names, or none, which means the host that
//! was asked.

use std::collections::HashMap;
use std::sync::Arc;

use redis_protocol::resp2::types::OwnedFrame;
use redstart_common::slot::SLOT_COUNT;

use crate::settings::ServerAddress;

/// A node's own name: 40 letters that it keeps for ever.
pub type NodeId = Arc<str>;

/// What is said of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which one.
    pub id: NodeId,
    /// Where clients find it, if that is known.
    pub address: Option<ServerAddress>,
    /// It is the one that was asked.
    pub is_myself: bool,
    /// Whose replica it is; `None` for a primary.
    pub replica_of: Option<NodeId>,
    /// A majority has agreed that it has failed.
    pub is_failed: bool,
    /// The one that was asked has a link to it, and no doubts.
    pub is_connected: bool,
    /// The epoch at which it came to its slots.
    pub epoch: u64,
    /// Its slots, both ends of each range included.
    pub slots: Vec<(u16, u16)>,
    /// It says itself that some of them are on their way to other nodes: keys of these may have gone.
    pub is_parting: bool,
}

impl Row {
    /// Whether a slot is said to be its own.
    #[must_use]
    pub fn claims(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// Everything that a node says. `asked` is where it was asked.
///
/// # Errors
/// In words, when it says nothing that can be used.
pub fn read(
    nodes: &OwnedFrame,
    slots: &OwnedFrame,
    asked: &ServerAddress,
) -> Result<Vec<Row>, String> {
    let text = match nodes {
        OwnedFrame::BulkString(text) | OwnedFrame::SimpleString(text) => text,
        OwnedFrame::Error(text) => return Err(text.clone()),
        _ => return Err("its reply to CLUSTER NODES has an unexpected shape".to_owned()),
    };
    let text = String::from_utf8_lossy(text);
    let endpoints = endpoints(slots);
    let lines = || text.lines().filter_map(Line::of);
    // Where one node is to be found by its name, all that have one are.
    let by_name = lines().any(|line| {
        let told = endpoints.get(line.id).and_then(Option::as_deref);
        !line.hostname.is_empty() && told == Some(line.hostname) && line.hostname != line.ip
    });
    let rows: Vec<Row> = lines().filter_map(|line| line.row(&endpoints, by_name, asked)).collect();
    if rows.iter().any(|row| row.is_myself) {
        Ok(rows)
    } else {
        Err("its reply to CLUSTER NODES does not name itself".to_owned())
    }
}

/// A line of CLUSTER NODES.
struct Line<'a> {
    id: &'a str,
    ip: &'a str,
    port: u16,
    hostname: &'a str,
    flags: &'a str,
    primary: &'a str,
    epoch: u64,
    is_connected: bool,
    slots: Vec<(u16, u16)>,
    is_parting: bool,
}

impl<'a> Line<'a> {
    /// `id ip:port@bus[,hostname[,…]] flags primary ping pong epoch link [slot …]`
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (id, place) = (words.next()?, words.next()?);
        let (flags, primary) = (words.next()?, words.next()?);
        let epoch = words.nth(2)?.parse().ok()?;
        let is_connected = words.next()? == "connected";
        let mut facts = place.split(',');
        let address = facts.next()?;
        // What comes behind the name has a name of its own, such as `shard-id=`.
        let hostname = facts.next().filter(|fact| !fact.contains('=')).unwrap_or_default();
        let address = address.split_once('@').map_or(address, |(address, _)| address);
        let (ip, port) = address.rsplit_once(':')?;
        // What is in brackets is on its way in (`[slot-<-node]`) or out (`[slot->-node]`), and said by its owner alone.
        let (mut slots, mut is_parting) = (Vec::new(), false);
        for word in words {
            if word.starts_with('[') {
                is_parting |= word.contains("->-");
            } else {
                slots.push(range(word)?);
            }
        }
        let port = port.parse().ok()?;
        Some(Self {
            id,
            ip,
            port,
            hostname,
            flags,
            primary,
            epoch,
            is_connected,
            slots,
            is_parting,
        })
    }

    fn row(
        self,
        endpoints: &HashMap<String, Option<String>>,
        by_name: bool,
        asked: &ServerAddress,
    ) -> Option<Row> {
        let has = |flag: &str| self.flags.split(',').any(|other| other == flag);
        if has("handshake") {
            return None;
        }
        let is_myself = has("myself");
        let host = match endpoints.get(self.id) {
            Some(Some(told)) if told != "?" => told.as_str(),
            Some(None) => "",
            _ if by_name && !self.hostname.is_empty() => self.hostname,
            _ => self.ip,
        };
        let address = match (host, self.port) {
            (_, 0) => None,
            _ if has("noaddr") && !is_myself => None,
            // It means the host that was asked, which is a hint only for others than itself.
            ("", port) => match asked {
                ServerAddress::Tcp { host, .. } => {
                    Some(ServerAddress::Tcp { host: host.clone(), port })
                }
                ServerAddress::Unix(_) => None,
            },
            (host, port) => Some(address(host, port)),
        };
        let is_replica = has("slave") || has("replica");
        Some(Row {
            id: self.id.into(),
            address,
            is_myself,
            replica_of: is_replica.then(|| self.primary.into()),
            is_failed: has("fail"),
            is_connected: is_myself || (self.is_connected && !has("fail") && !has("fail?")),
            epoch: self.epoch,
            slots: if is_replica { Vec::new() } else { self.slots },
            is_parting: is_myself && !is_replica && self.is_parting,
        })
    }
}

/// Host and port as nodes write them: a name, or an address without brackets.
#[must_use]
pub fn address(host: &str, port: u16) -> ServerAddress {
    let is_bare = host.contains(':') && !host.starts_with('[');
    let host = if is_bare { format!("[{host}]") } else { host.to_owned() };
    ServerAddress::Tcp { host, port }
}

/// `slot` or `first-last`.
fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < SLOT_COUNT).then_some((first, last))
}

/// The hosts that CLUSTER SLOTS tells, by node; `None` stands for the host that was asked.
fn endpoints(reply: &OwnedFrame) -> HashMap<String, Option<String>> {
    let text = |frame: &OwnedFrame| match frame {
        OwnedFrame::BulkString(text) | OwnedFrame::SimpleString(text) => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    };
    let mut found = HashMap::new();
    let OwnedFrame::Array(ranges) = reply else { return found };
    for range in ranges {
        let OwnedFrame::Array(parts) = range else { continue };
        for node in parts.iter().skip(2) {
            let OwnedFrame::Array(facts) = node else { continue };
            // Servers before version 4 tell no identity.
            let (Some(host), Some(id)) = (facts.first(), facts.get(2).and_then(text)) else {
                continue;
            };
            found.insert(id, text(host).filter(|host| !host.is_empty()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> OwnedFrame {
        OwnedFrame::BulkString(text.as_bytes().to_vec())
    }

    fn at(host: &str, port: u16) -> ServerAddress {
        ServerAddress::Tcp { host: host.to_owned(), port }
    }

    fn view(nodes: &str, slots: &[(&str, Option<&str>)]) -> Vec<Row> {
        let node = |(id, host): &(&str, Option<&str>)| {
            let host = host.map_or(OwnedFrame::Null, bulk);
            OwnedFrame::Array(vec![host, OwnedFrame::Integer(1), bulk(id)])
        };
        let mut range = vec![OwnedFrame::Integer(0), OwnedFrame::Integer(1)];
        range.extend(slots.iter().map(node));
        let slots = OwnedFrame::Array(vec![OwnedFrame::Array(range)]);
        read(&bulk(nodes), &slots, &at("seed", 7000)).expect("a view")
    }

    #[test]
    fn nodes_of_all_ages_are_understood() {
        let rows = view(
            "a 10.0.0.1:7000@17000,node-a,shard-id=69bc myself,master - 0 1426 3 connected 0-5 7 [93->-b] [9-<-c]\n\
             b 10.0.0.2:7001@17001, slave a 5 6 3 connected\n\
             c 10.0.0.3:7002 master,fail? - 5 6 2 connected 6 8-16383\n\
             d ::1:7003@17003 master,fail - 5 6 1 disconnected\n\
             e :0@0 master,noaddr - 5 6 1 disconnected 100-101\n\
             f 10.0.0.9:7009@17009 handshake - 5 6 0 connected\n",
            &[],
        );
        let names: Vec<&str> = rows.iter().map(|row| &*row.id).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        assert_eq!(rows[0].address, Some(at("10.0.0.1", 7000)));
        assert_eq!((rows[0].slots.as_slice(), rows[0].epoch), (&[(0, 5), (7, 7)][..], 3));
        assert!(rows[0].is_myself && rows[0].is_connected);
        assert_eq!(rows[1].replica_of.as_deref(), Some("a"));
        assert!(!rows[2].is_failed && !rows[2].is_connected, "one suspicion is no failure");
        assert!(rows[3].is_failed);
        assert_eq!(rows[3].address, Some(at("[::1]", 7003)));
        assert_eq!(rows[4].address, None);
    }

    #[test]
    fn clients_are_sent_where_the_cluster_wants_them() {
        let nodes = "a 10.0.0.1:7000@17000,node-a myself,master - 0 0 1 connected 0-8191\n\
                     b 10.0.0.2:7001@17001,node-b master - 0 0 2 connected 8192-16383\n\
                     c 10.0.0.3:7002@17002,node-c master - 0 0 0 connected\n\
                     d 10.0.0.4:7003@17003, slave a 0 0 1 connected\n";
        let addresses = |slots: &[(&str, Option<&str>)]| -> Vec<ServerAddress> {
            view(nodes, slots).into_iter().filter_map(|row| row.address).collect()
        };
        let ips = [("a", Some("10.0.0.1")), ("b", Some("10.0.0.2"))];
        assert_eq!(addresses(&ips)[0], at("10.0.0.1", 7000));
        assert_eq!(addresses(&ips)[2], at("10.0.0.3", 7002));
        let names = [("a", Some("node-a")), ("b", Some("node-b")), ("d", Some("?"))];
        let expected =
            [at("node-a", 7000), at("node-b", 7001), at("node-c", 7002), at("10.0.0.4", 7003)];
        assert_eq!(addresses(&names), expected);
        let unknown = [("a", None), ("b", Some("")), ("c", None), ("d", None)];
        let expected = [7000, 7001, 7002, 7003].map(|port| at("seed", port));
        assert_eq!(addresses(&unknown), expected);
        // A node that has met nobody does not know its own address.
        let alone = view("a :7000@17000 myself,master - 0 0 0 connected\n", &[]);
        assert_eq!(alone[0].address, Some(at("seed", 7000)));
    }

    #[test]
    fn what_is_no_view_is_refused() {
        let asked = at("h", 1);
        let none = OwnedFrame::Array(Vec::new());
        let error = OwnedFrame::Error("ERR This instance has cluster support disabled".to_owned());
        assert!(read(&error, &none, &asked).is_err());
        assert!(read(&bulk("a h:1@2 master - 0 0 0 connected\n"), &none, &asked).is_err());
        assert!(read(&OwnedFrame::Null, &none, &asked).is_err());
    }

    proptest! {
        #[test]
        fn no_reply_is_too_strange(text in "[a-c0-9:@, \\[\\]<>\n-]{0,300}", tail in any::<String>()) {
            let text = format!("{text}\na h:1@2 myself,master - 0 0 0 connected {tail}");
            let _ = read(&bulk(&text), &OwnedFrame::Array(vec![bulk(&tail)]), &at("h", 1));
        }
    }
}
