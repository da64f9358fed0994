//! Which of the views of a group counts, and what is new in it.

use std::sync::Arc;

use redstart_common::log::Level;

use super::Action;
use crate::settings::ServerAddress;
use crate::topology::roster::Change;

/// How long a majority must contradict a higher epoch before it is believed.
pub(super) const CONTRADICTED_MS: u64 = 10_000;
/// What a sentinel says of a group.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) primary: ServerAddress,
    pub(super) epoch: u64,
    pub(super) is_down: bool,
    pub(super) at_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    /// Told before the address, in the same round.
    pub(super) epoch: Option<(u64, bool)>,
    pub(super) view: Option<View>,
    /// The replicas, and whose they are.
    pub(super) replicas: Option<(ServerAddress, Vec<(ServerAddress, bool)>)>,
}

/// A group and what was decided of it.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) primary: Option<ServerAddress>,
    pub(super) epoch: u64,
    pub(super) is_down: bool,
    pub(super) replicas: Vec<(ServerAddress, bool)>,
    /// Since when a majority contradicts.
    pub(super) contradicted: Option<(ServerAddress, u64)>,
    pub(super) told_unknown: bool,
}

/// The view that counts; `None` when what was accepted before still does.
pub(super) fn choose<'v>(
    views: &[(&'v View, &'v Known)],
    group: &mut Group,
    majority: usize,
    now_ms: u64,
) -> Option<(&'v View, &'v Known)> {
    let count =
        |primary: &ServerAddress| views.iter().filter(|(view, _)| view.primary == *primary).count();
    let newest = views.iter().map(|(view, _)| view.epoch).max()?;
    let of_newest = views.iter().filter(|(view, _)| view.epoch == newest);
    // Of those with most votes the present one, else the first.
    let best = of_newest.max_by_key(|(view, _)| {
        let votes = views
            .iter()
            .filter(|(other, _)| other.epoch == newest && other.primary == view.primary)
            .count();
        (votes, group.primary.as_ref() == Some(&view.primary), std::cmp::Reverse(&view.primary))
    })?;
    let is_accepted = newest >= group.epoch;
    let leader = if is_accepted { Some(&best.0.primary) } else { group.primary.as_ref() };
    // A majority that says something else, at a lower epoch.
    let other = views.iter().find(|(view, _)| {
        let is_lower = Some(&view.primary) != leader && view.epoch < newest;
        count(&view.primary) >= majority && (!is_accepted || is_lower)
    });
    match other {
        None => group.contradicted = None,
        Some((view, known)) => {
            let since_ms = match &group.contradicted {
                Some((primary, since_ms)) if *primary == view.primary => *since_ms,
                _ => now_ms,
            };
            group.contradicted = Some((view.primary.clone(), since_ms));
            if now_ms >= since_ms + CONTRADICTED_MS {
                return Some((view, known));
            }
        }
    }
    is_accepted.then_some(*best)
}

/// Takes a view for the truth, and tells what is new in it.
pub(super) fn settle(
    name: &Arc<str>,
    group: &mut Group,
    view: &View,
    known: &Known,
    actions: &mut Vec<Action>,
) {
    group.epoch = view.epoch;
    group.told_unknown = false;
    if group.primary.as_ref() != Some(&view.primary) {
        let text = match &group.primary {
            None => format!("group '{name}': the primary is {}", view.primary),
            Some(before) => format!(
                "group '{name}': {} is the primary now, in the place of {before} (epoch {})",
                view.primary, view.epoch
            ),
        };
        actions.push(Action::Log(Level::Notice, text));
        actions.push(Action::Change(Change::Promote {
            shard: Arc::clone(name),
            primary: view.primary.clone(),
        }));
        group.primary = Some(view.primary.clone());
        group.is_down = false;
    }
    if group.is_down != view.is_down {
        group.is_down = view.is_down;
        let shard = Arc::clone(name);
        actions.push(Action::Change(Change::PrimaryState { shard, is_down: view.is_down }));
    }
    // Those it told before the switch belong to the primary before.
    let Some((_, replicas)) = known.replicas.as_ref().filter(|(of, _)| *of == view.primary) else {
        return;
    };
    let mut replicas = replicas.clone();
    replicas.retain(|(address, _)| *address != view.primary);
    replicas.sort();
    if group.replicas != replicas {
        group.replicas.clone_from(&replicas);
        actions.push(Action::Change(Change::Replicas { shard: Arc::clone(name), replicas }));
    }
}
