//! What stands after `groups:`.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Groups, values};
use crate::route::distribution::SHARDS_MAX;

/// What stands after `groups:`.
#[derive(Debug)]
pub(super) enum GroupList {
    All,
    Named(Vec<(String, Option<String>)>),
}

impl<'de> Deserialize<'de> for GroupList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GroupListVisitor)
    }
}

struct GroupListVisitor;

impl<'de> Visitor<'de> for GroupListVisitor {
    type Value = GroupList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names, or all")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GroupList, E> {
        match text {
            "all" => Ok(GroupList::All),
            _ => Err(E::custom("'groups' is not a list of names, or all")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<GroupList, A::Error> {
        let mut names = Vec::new();
        while let Some(GroupItem(name, weight)) = list.next_element()? {
            names.push((name, weight));
        }
        Ok(GroupList::Named(names))
    }
}

struct GroupItem(String, Option<String>);

impl<'de> Deserialize<'de> for GroupItem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(GroupItemVisitor)
    }
}

struct GroupItemVisitor;

impl<'de> Visitor<'de> for GroupItemVisitor {
    type Value = GroupItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name (in quotes where it looks like a number), or name: weight")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GroupItem, E> {
        Ok(GroupItem(text.to_owned(), None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GroupItem, A::Error> {
        let one = |error: &str| serde::de::Error::custom(error);
        let (name, weight) = map.next_entry()?.ok_or_else(|| one("a group has no name"))?;
        if map.next_entry::<String, String>()?.is_some() {
            return Err(one("a group has several names"));
        }
        Ok(GroupItem(name, Some(weight)))
    }
}

/// The groups of a list, each once.
pub(super) fn group_list(list: &GroupList) -> Result<Groups, String> {
    let GroupList::Named(items) = list else { return Ok(Groups::All) };
    let mut groups: Vec<(Arc<str>, u32)> = Vec::new();
    for (name, weight) in items {
        if name.is_empty() {
            return Err("has a group without a name".to_owned());
        }
        if groups.iter().any(|(other, _)| **other == **name) {
            return Err(format!("has the group '{name}' twice"));
        }
        let weight = match weight {
            None => 1,
            Some(text) => match values::number(text, u64::from(u16::MAX)) {
                Ok(weight) if weight > 0 => weight as u32,
                _ => return Err(format!("has a group '{name}' whose weight is not 1 to 65535")),
            },
        };
        groups.push((name.as_str().into(), weight));
    }
    if groups.is_empty() || groups.len() > SHARDS_MAX {
        return Err(format!("has {} groups; 1 to {SHARDS_MAX} make a pool", groups.len()));
    }
    Ok(Groups::Named(groups))
}
