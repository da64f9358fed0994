//! What a file says of reads: priorities, data centers, load and second servers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::file::Seen;
use super::{DataCenter, DataCenters, PoolSettings, ReadFrom, values};

/// predixy's priority of primaries, where only that of replicas is given.
const MASTER_PRIORITY: u8 = 50;
/// Reads of a hundred that may be asked twice, unless the file says otherwise.
const HEDGE_PERCENT: u8 = 5;
/// Highest weight of a data center.
const WEIGHT_MAX: u64 = 65_535;

/// A priority, 0 to 100.
pub(super) fn priority(text: &str) -> Result<u8, String> {
    values::number(text, 100).map(|number| number as u8)
}

/// A data center as written.
#[derive(Debug)]
pub(super) struct CenterItem {
    name: String,
    prefixes: Vec<String>,
    reads: Vec<(String, String)>,
}

/// The data centers as written, in their order.
#[derive(Debug)]
pub(super) struct CenterList(pub(super) Vec<CenterItem>);

impl<'de> Deserialize<'de> for CenterList {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = CenterList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("data centers by name, each with 'prefixes' and 'reads'")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CenterList, A::Error> {
                let mut found = Vec::new();
                while let Some((name, Body { prefixes, reads })) = map.next_entry()? {
                    found.push(CenterItem { name, prefixes, reads });
                }
                Ok(CenterList(found))
            }
        }
        from.deserialize_map(List)
    }
}

#[derive(Default)]
struct Body {
    prefixes: Vec<String>,
    reads: Vec<(String, String)>,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("'prefixes', a list of address prefixes, and 'reads', a priority by data center")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let mut body = Body::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "prefixes" => body.prefixes = map.next_value()?,
                        "reads" => body.reads = map.next_value::<Texts>()?.0,
                        other => {
                            let problem =
                                format!("a data center has 'prefixes' and 'reads', not '{other}'");
                            return Err(A::Error::custom(problem));
                        }
                    }
                }
                Ok(body)
            }
        }
        from.deserialize_map(Keys)
    }
}

/// A mapping of texts, in its order.
struct Texts(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a priority, or priority:weight, by data center")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut found = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    found.push(entry);
                }
                Ok(Texts(found))
            }
        }
        from.deserialize_map(Entries)
    }
}

/// The data centers as the one called `local` sees them.
fn centers(list: Vec<CenterItem>, local: &str) -> Result<DataCenters, String> {
    for (place, item) in list.iter().enumerate() {
        if list[..place].iter().any(|other| other.name == item.name) {
            return Err(format!("has '{}' twice", item.name));
        }
        if item.prefixes.iter().any(String::is_empty) {
            return Err(format!("has an empty prefix in '{}'", item.name));
        }
    }
    let mut all = Vec::with_capacity(list.len());
    for of in &list {
        for (name, text) in &of.reads {
            if !list.iter().any(|other| other.name == *name) {
                return Err(format!(
                    "has reads of '{name}' in '{}', which is none of them",
                    of.name
                ));
            }
            let problem = || {
                format!(
                    "'{text}' for '{name}' in '{}' is not a priority of 0 to 100, with :weight if any",
                    of.name
                )
            };
            let (priority_text, weight) = text.split_once(':').unwrap_or((text, "1"));
            let weight = values::number(weight, WEIGHT_MAX).ok().filter(|weight| *weight > 0);
            let weight = weight.ok_or_else(problem)? as u32;
            let priority = priority(priority_text).map_err(|_| problem())?;
            if of.name == local {
                all.push((name.clone(), priority, weight));
            }
        }
    }
    if !list.iter().any(|item| item.name == local) {
        return Err(format!("does not have '{local}', which is 'local_dc'"));
    }
    let centers = list.into_iter().map(|item| {
        let said = all.iter().find(|(name, ..)| *name == item.name);
        let (priority, weight) = said.map_or((0, 1), |(_, priority, weight)| (*priority, *weight));
        DataCenter { name: item.name, prefixes: item.prefixes, priority, weight }
    });
    let centers = DataCenters(centers.collect());
    if centers.0.iter().all(|center| center.priority == 0) {
        return Err(format!("has no reads of any data center in '{local}'"));
    }
    Ok(centers)
}

/// Puts together what is said of reads, and sees whether it has a meaning.
///
/// # Errors
/// The key that does not fit, and why.
pub(super) fn reads(
    pool: &mut PoolSettings,
    seen: &mut Seen,
    is_discovered: bool,
) -> Result<(), (&'static str, String)> {
    let refuse = |key, problem: &str| Err((key, problem.to_owned()));
    if seen.master_priority.is_some() || seen.replica_priority.is_some() {
        let key = match seen.master_priority {
            Some(_) => "master_read_priority",
            None => "replica_read_priority",
        };
        if seen.has_read_from {
            return refuse(key, "does not go with 'read_from', which says the same in a word");
        }
        let master = seen.master_priority.unwrap_or(MASTER_PRIORITY);
        let replica = seen.replica_priority.unwrap_or(0);
        pool.read_from = match (master, replica) {
            (0, 0) => {
                return refuse(key, "is 0 for primaries and replicas: nobody may be read from");
            }
            (_, 0) => ReadFrom::Master,
            (master, replica) => ReadFrom::Priorities { master, replica },
        };
        if !is_discovered {
            return refuse(key, "needs 'sentinels' or 'cluster', which tell the replicas");
        }
    }
    let splits = pool.read_from != ReadFrom::Master;
    if splits && !is_discovered {
        return refuse("read_from", "needs 'sentinels' or 'cluster', which tell the replicas");
    }
    let needing = [
        ("max_lag", pool.max_lag.is_some()),
        ("max_load", pool.max_load.is_some()),
        ("read_after_write", pool.read_after_write_ms > 0),
        ("data_centers", seen.centers.is_some()),
        ("local_dc", seen.local_center.is_some()),
        ("hedge_after", pool.hedge_after_ms.is_some()),
    ];
    if let Some((key, _)) = needing.into_iter().find(|(_, is_given)| *is_given && !splits) {
        return refuse(key, "needs 'read_from' with replicas, or 'replica_read_priority'");
    }
    match (seen.centers.take(), &seen.local_center) {
        (None, None) => {}
        (Some(_), None) => {
            return refuse("data_centers", "needs 'local_dc', the one the proxy is in");
        }
        (None, Some(_)) => return refuse("local_dc", "needs 'data_centers'"),
        (Some(_), Some(_)) if pool.read_from == ReadFrom::Nearest => {
            return refuse("data_centers", "does not go with 'read_from: nearest', which measures");
        }
        (Some(CenterList(list)), Some(local)) => {
            let centers = centers(list, local).map_err(|problem| ("data_centers", problem))?;
            pool.data_centers = Some(centers);
        }
    }
    if pool.hedge_after_ms.is_some() && !pool.keeps() {
        return refuse("hedge_after", "needs 'failover_hold', with which requests are kept");
    }
    if seen.hedge_percent.is_some() && pool.hedge_after_ms.is_none() {
        return refuse("hedge_budget", "needs 'hedge_after'");
    }
    pool.hedge_percent = seen.hedge_percent.unwrap_or(HEDGE_PERCENT);
    Ok(())
}
