//! What is asked of sentinels, and what their replies say.

use std::sync::Arc;

use redis_protocol::resp2::types::OwnedFrame;

use crate::settings::ServerAddress;

/// A question to a sentinel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Who it is.
    Id,
    /// The names of all groups it watches.
    Groups,
    /// What it knows of a group's primary.
    Primary(Arc<str>),
    /// Where clients are to find a group's primary.
    Address(Arc<str>),
    /// A group's replicas.
    Replicas(Arc<str>),
    /// The other sentinels of a group.
    Sentinels(Arc<str>),
}

impl Ask {
    /// The words of the request.
    #[must_use]
    pub fn words(&self) -> Vec<&[u8]> {
        let (name, group): (&[u8], _) = match self {
            Self::Id => (b"MYID", None),
            Self::Groups => (b"MASTERS", None),
            Self::Primary(group) => (b"MASTER", Some(group)),
            Self::Address(group) => (b"GET-MASTER-ADDR-BY-NAME", Some(group)),
            // By the name that sentinels of every age know.
            Self::Replicas(group) => (b"SLAVES", Some(group)),
            Self::Sentinels(group) => (b"SENTINELS", Some(group)),
        };
        let mut words: Vec<&[u8]> = vec![b"SENTINEL", name];
        words.extend(group.map(|group| group.as_bytes()));
        words
    }
}

/// Another sentinel, as one lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its run id; empty when that is not known.
    pub run_id: String,
    /// Where it is.
    pub address: ServerAddress,
}

/// The reply to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its run id.
    Id(String),
    /// The names of groups.
    Groups(Vec<Arc<str>>),
    /// A group's configuration epoch, and whether the primary is down.
    Primary {
        /// Counted up by every failover.
        epoch: u64,
        /// Subjectively or objectively.
        is_down: bool,
    },
    /// Where a group's primary is; `None` where the sentinel does not know the group.
    Address(Option<ServerAddress>),
    /// A group's replicas, and whether each is down.
    Replicas(Vec<(ServerAddress, bool)>),
    /// Other sentinels.
    Sentinels(Vec<Listed>),
    /// An error, or what is no reply to the question.
    Refused(String),
}

/// What a reply to a question says.
#[must_use]
pub fn read(ask: &Ask, reply: &OwnedFrame) -> Answer {
    if let OwnedFrame::Error(text) = reply {
        return Answer::Refused(text.clone());
    }
    let read = match ask {
        Ask::Id => text(reply).map(Answer::Id),
        Ask::Groups => rows(reply).map(|rows| {
            let names = rows.iter().filter_map(|row| row.get("name"));
            Answer::Groups(names.map(Arc::from).collect())
        }),
        Ask::Primary(_) => Row::of(reply).and_then(|row| {
            let epoch = row.get("config-epoch")?.parse().ok()?;
            Some(Answer::Primary { epoch, is_down: row.is_down() })
        }),
        Ask::Address(_) => match reply {
            OwnedFrame::Null => Some(Answer::Address(None)),
            OwnedFrame::Array(parts) => match parts.as_slice() {
                [host, port] => {
                    address(&text(host).unwrap_or_default(), &text(port).unwrap_or_default())
                        .map(|address| Answer::Address(Some(address)))
                }
                _ => None,
            },
            _ => None,
        },
        Ask::Replicas(_) => rows(reply).map(|rows| {
            let replicas = rows.iter().filter_map(|row| Some((row.address()?, row.is_down())));
            Answer::Replicas(replicas.collect())
        }),
        Ask::Sentinels(_) => rows(reply).map(|rows| {
            let listed = rows.iter().filter_map(|row| {
                let run_id = row.get("runid").unwrap_or_default().to_owned();
                Some(Listed { run_id, address: row.address()? })
            });
            Answer::Sentinels(listed.collect())
        }),
    };
    read.unwrap_or_else(|| Answer::Refused("its reply has an unexpected shape".to_owned()))
}

/// Host and port as a sentinel writes them: a name, or an address without brackets.
#[must_use]
pub fn address(host: &str, port: &str) -> Option<ServerAddress> {
    let port = port.parse().ok().filter(|port| *port != 0)?;
    if host.is_empty() {
        return None;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(ServerAddress::Tcp { host, port })
}

fn text(frame: &OwnedFrame) -> Option<String> {
    match frame {
        OwnedFrame::BulkString(bytes) | OwnedFrame::SimpleString(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        OwnedFrame::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Names and values in turn.
struct Row(Vec<(String, String)>);

impl Row {
    fn of(frame: &OwnedFrame) -> Option<Self> {
        let OwnedFrame::Array(fields) = frame else { return None };
        let pairs = fields.chunks_exact(2).map(|pair| Some((text(&pair[0])?, text(&pair[1])?)));
        pairs.collect::<Option<_>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn address(&self) -> Option<ServerAddress> {
        address(self.get("ip")?, self.get("port")?)
    }

    fn is_down(&self) -> bool {
        let flags = self.get("flags").unwrap_or_default();
        flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"))
    }
}

fn rows(frame: &OwnedFrame) -> Option<Vec<Row>> {
    let OwnedFrame::Array(rows) = frame else { return None };
    rows.iter().map(Row::of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(text: &str) -> OwnedFrame {
        OwnedFrame::BulkString(text.as_bytes().to_vec())
    }

    fn array(words: &str) -> OwnedFrame {
        OwnedFrame::Array(words.split(' ').map(bulk).collect())
    }

    fn at(host: &str, port: u16) -> ServerAddress {
        ServerAddress::Tcp { host: host.to_owned(), port }
    }

    #[test]
    fn replies_are_understood() {
        let group: Arc<str> = "g".into();
        let ask = Ask::Primary(Arc::clone(&group));
        assert_eq!(ask.words(), [&b"SENTINEL"[..], b"MASTER", b"g"]);
        let row = array("name g ip 10.0.0.1 port 6379 flags s_down,o_down,master config-epoch 7");
        assert_eq!(read(&ask, &row), Answer::Primary { epoch: 7, is_down: true });
        let ask = Ask::Address(Arc::clone(&group));
        assert_eq!(read(&ask, &array("::1 6379")), Answer::Address(Some(at("[::1]", 6379))));
        assert_eq!(read(&ask, &OwnedFrame::Null), Answer::Address(None));
        let ask = Ask::Replicas(Arc::clone(&group));
        let rows = OwnedFrame::Array(vec![
            array("ip redis-2.local port 1 flags slave"),
            array("ip 10.0.0.3 port 2 flags slave,disconnected"),
        ]);
        let replicas = vec![(at("redis-2.local", 1), false), (at("10.0.0.3", 2), true)];
        assert_eq!(read(&ask, &rows), Answer::Replicas(replicas));
        let rows = OwnedFrame::Array(vec![array("runid abc ip 1.2.3.4 port 26379")]);
        let listed = Listed { run_id: "abc".to_owned(), address: at("1.2.3.4", 26379) };
        assert_eq!(read(&Ask::Sentinels(group), &rows), Answer::Sentinels(vec![listed]));
        let rows = OwnedFrame::Array(vec![array("name b"), array("name a")]);
        assert_eq!(read(&Ask::Groups, &rows), Answer::Groups(vec!["b".into(), "a".into()]));
        let error = OwnedFrame::Error("ERR No such master with that name".to_owned());
        assert!(matches!(read(&Ask::Groups, &error), Answer::Refused(_)));
    }

    fn frames() -> impl Strategy<Value = OwnedFrame> {
        let leaf = prop_oneof![
            "[a-z:.,0-9-]{0,12}".prop_map(|text| OwnedFrame::BulkString(text.into_bytes())),
            Just(OwnedFrame::Null),
            any::<i64>().prop_map(OwnedFrame::Integer),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop::collection::vec(inner, 0..6).prop_map(OwnedFrame::Array)
        })
    }

    proptest! {
        #[test]
        fn no_reply_is_too_strange(frame in frames()) {
            let group: Arc<str> = "g".into();
            for ask in [Ask::Id, Ask::Groups, Ask::Primary(group.clone()), Ask::Address(group.clone()),
                        Ask::Replicas(group.clone()), Ask::Sentinels(group.clone())] {
                let _ = read(&ask, &frame);
            }
        }
    }
}
