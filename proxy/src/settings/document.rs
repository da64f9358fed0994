//! The sections of a file as written: keys and values, of which nothing is understood yet.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::groups::GroupList;
use super::reads::CenterList;
use super::server_list::ServerItem;
use super::{cluster, rows};

const GLOBAL_SECTION: &str = "global";
pub(super) const LIST_KEY: &str = "servers";
pub(super) const SENTINELS_KEY: &str = "sentinels";
pub(super) const GROUPS_KEY: &str = "groups";
const CENTERS_KEY: &str = "data_centers";

/// A section as written: its keys in order.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) entries: Vec<(String, Entry)>,
}

/// What stands behind a key.
#[derive(Debug)]
pub(super) enum Entry {
    Text(String),
    List(Vec<String>),
    Servers(Vec<ServerItem>),
    Groups(GroupList),
    Centers(CenterList),
    /// The value of a key that nobody knows.
    Unknown,
}

impl Section {
    /// Whether it is the process's own section. A pool may be called `global` as well: a file of twemproxy's may
    /// have one, and it tells itself by what only a pool has.
    pub(super) fn is_global(&self) -> bool {
        let is_of_pool =
            |key: &str| ["listen", LIST_KEY, SENTINELS_KEY, cluster::KEY].contains(&key);
        self.name == GLOBAL_SECTION && !self.entries.iter().any(|(key, _)| is_of_pool(key))
    }

    /// Whether it is a pool of twemproxy's that speaks memcached's protocol.
    pub(super) fn is_of_memcached(&self) -> bool {
        let has = |key: &str| self.entries.iter().find(|(other, _)| other == key);
        let is_redis = has("redis")
            .is_some_and(|(_, entry)| matches!(entry, Entry::Text(text) if text == "true"));
        has("listen").is_some() && has(LIST_KEY).is_some() && !is_redis
    }

    /// A key that is given twice.
    pub(super) fn repeated(&self) -> Option<&str> {
        let mut keys = self.entries.iter().map(|(key, _)| key.as_str()).enumerate();
        keys.find(|(place, key)| self.entries[..*place].iter().any(|(known, _)| known == key))
            .map(|(_, key)| key)
    }
}

/// The sections of a file.
pub(super) struct Document(pub(super) Vec<Section>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of pools")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut sections: Vec<Section> = Vec::new();
        // What is given twice is found later, where its line is known.
        while let Some(name) = map.next_key::<String>()? {
            sections.push(map.next_value_seed(SectionSeed(name))?);
        }
        Ok(Document(sections))
    }
}

pub(super) struct SectionSeed(String);

impl<'de> DeserializeSeed<'de> for SectionSeed {
    type Value = Section;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Section, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for SectionSeed {
    type Value = Section;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys and values under '{}'", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Section, A::Error> {
        let mut entries: Vec<(String, Entry)> = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let is_known = rows::GLOBAL.iter().chain(rows::POOL).any(|row| row.name == key);
            let entry = match key.as_str() {
                LIST_KEY => Entry::Servers(map.next_value()?),
                SENTINELS_KEY | cluster::KEY => Entry::List(map.next_value()?),
                GROUPS_KEY => Entry::Groups(map.next_value()?),
                CENTERS_KEY => Entry::Centers(map.next_value()?),
                _ if is_known => Entry::Text(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    Entry::Unknown
                }
            };
            entries.push((key, entry));
        }
        Ok(Section { name: self.0, entries })
    }
}
