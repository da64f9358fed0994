//! What holds at each step, and what holds after quiet.

use std::collections::BTreeMap;

use redstart_common::slot::SLOT_COUNT;

use super::super::{Cluster, Name};
use super::node::Said;
use super::world::World;

/// How long it may take until all agree, and how long they are watched then.
const CONVERGENCE_S: usize = 120;
const WATCHED_S: usize = 2;

impl World {
    /// What a node's log says of elections.
    pub fn note(&mut self, number: usize, line: &str) -> Result<(), String> {
        let Some(cluster) = &self.nodes[number].cluster else { return Ok(()) };
        let won = line.strip_prefix("configEpoch set to ");
        if let Some(epoch) = won.and_then(|won| won.strip_suffix(" after successful failover")) {
            self.outcome.elections_won += 1;
            let epoch = epoch.parse().map_err(|_| format!("no epoch: {line}"))?;
            let other = self.winners.insert(epoch, number);
            // With primaries that come and go there is no fixed number that would be most of them.
            if !self.is_loose && other.is_some_and(|other| other != number) {
                return Err(format!("{other:?} and {number} have both won epoch {epoch}"));
            }
        }
        let losing =
            ["after successful failover", "taking the slots back", "Taking over the master"];
        self.may_lose |= losing.iter().any(|words| line.contains(words));
        self.may_lose |= line.contains("Reconfiguring myself");
        if let Some(granted) = line.strip_prefix("Failover auth granted to ") {
            let key = (cluster.myself().name, cluster.last_vote_epoch());
            let candidate = granted.split(' ').next().unwrap_or_default().to_owned();
            let other = self.votes.insert(key, candidate.clone());
            if !self.has_amnesia && other.as_ref().is_some_and(|other| *other != candidate) {
                return Err(format!("{number} has voted for {other:?} and {candidate}: {key:?}"));
            }
        }
        Ok(())
    }

    /// What holds at each step of a node.
    pub fn check_node(&mut self, number: usize) -> Result<(), String> {
        let Some(cluster) = &self.nodes[number].cluster else { return Ok(()) };
        let myself = cluster.myself();
        let said: Said = (
            self.nodes[number].life,
            myself.name,
            myself.flags,
            myself.config_epoch,
            cluster.changes(),
        );
        if self.nodes[number].looked_at.replace(said) == Some(said) {
            return Ok(());
        }
        let Some(cluster) = &self.nodes[number].cluster else { return Ok(()) };
        let myself = cluster.myself();
        if myself.is_replica() && !myself.slots.is_empty() {
            return Err(format!("{number} is a replica with slots"));
        }
        if myself.config_epoch > cluster.current_epoch() {
            return Err(format!("{number} is ahead of the cluster's epoch"));
        }
        let fell = self.nodes[number].newest_epoch.is_some_and(|(name, epoch)| {
            name == myself.name && myself.is_primary() && myself.config_epoch < epoch
        });
        if fell && !self.has_amnesia {
            return Err(format!("the epoch of {number} fell to {}", myself.config_epoch));
        }
        let newest = myself.is_primary().then_some((myself.name, myself.config_epoch));
        if self.is_loose || myself.slots.is_empty() {
            self.nodes[number].newest_epoch = newest;
            return Ok(());
        }
        // Nobody else holds the same slots by the same epoch.
        for (other, node) in self.nodes.iter().enumerate().filter(|(other, _)| *other != number) {
            let Some(theirs) = node.cluster.as_ref().map(Cluster::myself) else { continue };
            if !theirs.is_primary() || theirs.config_epoch != myself.config_epoch {
                continue;
            }
            if myself.slots.without(&theirs.slots).len() < myself.slots.len() {
                return Err(format!(
                    "{number} and {other} own the same slots by epoch {}",
                    myself.config_epoch
                ));
            }
        }
        self.nodes[number].newest_epoch = newest;
        Ok(())
    }

    /// After quiet all agree, and it stays so.
    pub fn converge(&mut self) -> Result<(), String> {
        let mut good = 0;
        let mut why = String::new();
        for _ in 0..CONVERGENCE_S {
            self.run(1000)?;
            match self.disagreement().or_else(|| self.check_moves()) {
                None => good += 1,
                Some(reason) => (good, why) = (0, reason),
            }
            if good > WATCHED_S {
                return Ok(());
            }
        }
        if self.is_verbose {
            for (number, node) in self.nodes.iter().enumerate() {
                if let Some(cluster) = &node.cluster {
                    println!("{number}, up: {}\n{}", cluster.is_up(), cluster.to_file(0));
                }
            }
        }
        Err(format!("no agreement: {why}"))
    }

    /// What the nodes do not agree about.
    fn disagreement(&self) -> Option<String> {
        let clusters: Vec<(usize, &Cluster)> = (0..self.nodes.len())
            .filter_map(|number| Some((number, self.nodes[number].cluster.as_ref()?)))
            .collect();
        let by_name: BTreeMap<Name, (usize, &Cluster)> = clusters
            .iter()
            .map(|(number, cluster)| (cluster.myself().name, (*number, *cluster)))
            .collect();
        let (_, first) = clusters.first()?;
        // Whoever comes new does not hear of nodes without address.
        let owners = |cluster: &'_ Cluster| -> Vec<(Name, Vec<(u16, u16)>)> {
            let owners = cluster.nodes().filter(|node| !node.slots.is_empty());
            let owners = owners.filter(|node| !self.gone.contains(&node.name));
            owners.map(|node| (node.name, node.slots.ranges().collect())).collect()
        };
        let agreed = owners(first);
        if let Some((number, other)) =
            clusters.iter().find(|(_, cluster)| owners(cluster) != agreed)
        {
            return Some(format!("{number} sees other owners: {:?} != {agreed:?}", owners(other)));
        }
        let mut owned = 0;
        for (name, slots) in &agreed {
            owned += slots.iter().map(|(start, end)| usize::from(end - start) + 1).sum::<usize>();
            match by_name.get(name) {
                Some((_, cluster))
                    if cluster.myself().is_primary()
                        && cluster.myself().slots.ranges().eq(slots.iter().copied()) => {}
                Some((number, _)) => return Some(format!("{number} does not know what it owns")),
                None => return Some(format!("{name}, which is gone, owns slots")),
            }
        }
        let is_whole = owned == usize::from(SLOT_COUNT);
        // What was lost with a file may stay so: a replica that began again meanwhile does not know how old its data is. That it
        // is replaced where nothing else is broken is a story of its own.
        if !is_whole && self.gone.is_empty() {
            return Some(format!("only {owned} slots have owners"));
        }
        for (number, cluster) in &clusters {
            if is_whole && !cluster.is_up() {
                return Some(format!("{number} is down"));
            }
            let myself = cluster.myself();
            let primary = myself.primary.and_then(|primary| cluster.at(primary));
            let is_led = primary.is_none_or(|primary| {
                let lost = self.gone.contains(&primary.name);
                lost || by_name.get(&primary.name).is_some_and(|(_, its)| its.myself().is_primary())
            });
            if myself.is_replica() && !is_led {
                return Some(format!("{number} replicates a node that is no primary"));
            }
            if let Some(failed) = cluster.nodes().find(|node| {
                by_name.contains_key(&node.name) && node.flags.any(super::super::Flags::FAILED)
            }) {
                return Some(format!("{number} holds {} to have failed", failed.name));
            }
        }
        None
    }
}
