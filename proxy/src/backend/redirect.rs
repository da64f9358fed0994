//! What a node of a cluster answers to a request that it does not serve. None of these has run: it may be sent again.

use redstart_common::slot::SLOT_COUNT;

use crate::settings::ServerAddress;
use crate::topology::cluster::view;

/// Where the request belongs, or when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// The slot lies at this node; without a host at that of the node that says so.
    Moved(u16, Told),
    /// The slot is on its way to this node, and the keys are there, or will be: it is to be asked once, with ASKING.
    Ask(Told),
    /// The keys are on their way, some here and some there.
    TryAgain,
    /// The cluster, or the slot, is served by nobody at present.
    Down,
}

/// An address as a redirect tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    host: String,
    port: u16,
}

impl Told {
    /// The address, as told by a node that is at `by`.
    #[must_use]
    pub fn address(&self, by: Option<&ServerAddress>) -> Option<ServerAddress> {
        // A node that is to be known by its name and has none is written like this.
        if self.host == "?" {
            return None;
        }
        if !self.host.is_empty() {
            return Some(view::address(&self.host, self.port));
        }
        match by {
            Some(ServerAddress::Tcp { host, .. }) => {
                Some(ServerAddress::Tcp { host: host.clone(), port: self.port })
            }
            _ => None,
        }
    }
}

/// Reads an error reply; `None` for one that is no redirect.
#[must_use]
pub fn read(reply: &[u8]) -> Option<Redirect> {
    let text = reply.strip_prefix(b"-")?.strip_suffix(b"\r\n")?;
    if text.starts_with(b"TRYAGAIN ") {
        return Some(Redirect::TryAgain);
    }
    if text.starts_with(b"CLUSTERDOWN ") {
        return Some(Redirect::Down);
    }
    let (is_moved, rest) = match (text.strip_prefix(b"MOVED "), text.strip_prefix(b"ASK ")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return None,
    };
    let (slot, place) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
    let slot: u16 = slot.parse().ok().filter(|slot| *slot < SLOT_COUNT)?;
    let (host, port) = place.rsplit_once(':')?;
    let told = Told { host: host.to_owned(), port: port.parse().ok().filter(|port| *port != 0)? };
    Some(if is_moved { Redirect::Moved(slot, told) } else { Redirect::Ask(told) })
}

/// What goes before a request that a node is to serve though the slot is not its own yet.
pub const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn redirects_are_told_from_other_errors() {
        let by = ServerAddress::Tcp { host: "own".to_owned(), port: 1 };
        let address = |told: &Told| told.address(Some(&by)).map(|address| address.to_string());
        let Some(Redirect::Moved(3999, told)) = read(b"-MOVED 3999 127.0.0.1:6381\r\n") else {
            panic!("it is one");
        };
        assert_eq!(address(&told).as_deref(), Some("127.0.0.1:6381"));
        let Some(Redirect::Ask(told)) = read(b"-ASK 1 ::1:6381\r\n") else { panic!("it is one") };
        assert_eq!(address(&told).as_deref(), Some("[::1]:6381"));
        let Some(Redirect::Moved(0, told)) = read(b"-MOVED 0 :7\r\n") else { panic!("it is one") };
        assert_eq!(address(&told).as_deref(), Some("own:7"));
        assert_eq!(told.address(None), None);
        let Some(Redirect::Ask(told)) = read(b"-ASK 1 ?:6381\r\n") else { panic!("it is one") };
        assert_eq!(address(&told), None);
        let try_again = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
        assert_eq!(read(try_again), Some(Redirect::TryAgain));
        assert_eq!(read(b"-CLUSTERDOWN Hash slot not served\r\n"), Some(Redirect::Down));
        for other in [
            "-MOVED 16384 h:1\r\n",
            "-MOVED 1 h:0\r\n",
            "-MOVED 1 h\r\n",
            "-MOVED 1\r\n",
            "-MOVEDX 1 h:1\r\n",
            "-ERR MOVED 1 h:1\r\n",
            "+MOVED 1 h:1\r\n",
            "-CLUSTERDOWN\r\n",
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_error_is_too_strange(reply in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&reply);
            let _ = read(&[b"-MOVED ", &reply[..], b"\r\n"].concat());
        }
    }
}
