//! What stands in the list after `servers:`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A server as written: a text, or a mapping with the text under `server`, and its credentials.
#[derive(Debug, Default)]
pub(super) struct ServerItem {
    pub(super) text: String,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl<'de> Deserialize<'de> for ServerItem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ServerItemVisitor)
    }
}

struct ServerItemVisitor;

impl<'de> Visitor<'de> for ServerItemVisitor {
    type Value = ServerItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server, or a mapping with 'server', 'server_user' and 'server_password'")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ServerItem, E> {
        Ok(ServerItem { text: text.to_owned(), ..ServerItem::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ServerItem, A::Error> {
        let mut item = ServerItem::default();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            match key.as_str() {
                "server" => item.text = value,
                "server_user" => item.user = Some(value),
                "server_password" => item.password = Some(value),
                _ => {
                    let known = "'server', 'server_user' and 'server_password'";
                    return Err(Error::custom(format!(
                        "'{key}' of a server is unknown; known are {known}"
                    )));
                }
            }
        }
        if item.text.is_empty() {
            return Err(Error::custom("a server lacks 'server', which says where it is"));
        }
        if item.user.is_some() && item.password.is_none() {
            let text = &item.text;
            return Err(Error::custom(format!(
                "server '{text}' has a 'server_user', which needs 'server_password'"
            )));
        }
        Ok(item)
    }
}
