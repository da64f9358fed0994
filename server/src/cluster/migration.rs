//! Replicas that move to a primary that has lost all of its own.

use super::Cluster;
use super::door::Turn;
use super::node::Flags;

/// How long a primary is without replicas before one moves to it, in milliseconds.
const ORPHANED_MS: i64 = 5000;

impl Cluster {
    /// Moves this replica to a primary without any, if it is the one to do so. `most` is the most replicas that any primary has.
    pub(super) fn migrate_if_chosen(&mut self, most: usize, turn: &mut Turn<'_>) {
        let Some(primary) = self.nodes[self.myself].primary.filter(|_| self.is_up) else { return };
        let works = |node: &super::Node| !node.flags.any(Flags::FAILED.or(Flags::MAYBE_FAILED));
        let replicas = &self.nodes[primary].replicas;
        let working = replicas.iter().filter(|replica| works(&self.nodes[**replica])).count();
        if working <= self.options.migration_barrier {
            return;
        }
        let (mut target, mut candidate) = (None, self.myself);
        for handle in self.nodes.handles() {
            let node = &self.nodes[handle];
            let working = if node.is_primary() { self.working_replicas(node) } else { 0 };
            let is_orphaned = !node.is_replica()
                && !node.has_failed()
                && node.flags.any(Flags::MIGRATE_TO)
                && working == 0;
            if is_orphaned && target.is_none() && !node.slots.is_empty() {
                target = Some(handle);
            }
            if working == most {
                let first = node.replicas.iter().min_by_key(|replica| self.nodes[**replica].name);
                candidate = first
                    .copied()
                    .into_iter()
                    .chain([candidate])
                    .min_by_key(|replica| self.nodes[*replica].name)
                    .unwrap_or(candidate);
            }
            let node = &mut self.nodes[handle];
            if !is_orphaned {
                node.orphaned_ms = 0;
            } else if node.orphaned_ms == 0 {
                node.orphaned_ms = turn.now_ms;
            }
        }
        if let Some(target) = target
            && candidate == self.myself
            && turn.now_ms - self.nodes[target].orphaned_ms > ORPHANED_MS
        {
            turn.warn(format!("Migrating to orphaned master {}", self.nodes[target].name));
            self.follow(target, turn);
            self.todo.save = true;
        }
    }
}
