//! Who is in a pool, by identity: changes in, pictures out. It decides and does no more: no clock, no lock, no socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Endpoint, Member, Role, ServerId, Shard, ShardId, State, Topology};
use crate::backend::health::{Health, Rules};
use crate::clock::Moment;
use crate::route::distribution::slots::SlotTable;
use crate::route::distribution::{Distribution, SHARDS_MAX, ShardIndex};
use crate::settings::{DistributionKind, OnServerDown, ServerAddress, ServerOrder};

/// What discovery tells of a pool. Shards are meant by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A shard joins.
    Join {
        /// Its name.
        shard: Arc<str>,
        /// Its share of the keys; 0 is taken as 1.
        weight: u32,
        /// Where its primary is, if that is known.
        primary: Option<ServerAddress>,
    },
    /// A shard leaves, with all its servers. What was sent to them is still answered.
    Leave {
        /// Its name.
        shard: Arc<str>,
    },
    /// A shard's share of the keys is another; 0 is taken as 1.
    Reweigh {
        /// Its name.
        shard: Arc<str>,
        /// Its share from now on.
        weight: u32,
    },
    /// A shard's server is at another address. The one before is as good until it is let go: what was sent to it is
    /// still answered.
    Move {
        /// The shard.
        shard: Arc<str>,
        /// Where its server is from now on.
        to: ServerAddress,
    },
    /// Another server is the shard's primary. The one before is a replica, and must not be written to any more.
    Promote {
        /// The shard.
        shard: Arc<str>,
        /// Where the new primary is.
        primary: ServerAddress,
    },
    /// Whether slots of a shard are on their way to others: keys of theirs may have gone, and only the primary can say where.
    Parting {
        /// The shard.
        shard: Arc<str>,
        /// Whether any are.
        is_parting: bool,
    },
    /// Whether those who watch a shard's primary can reach it.
    PrimaryState {
        /// The shard.
        shard: Arc<str>,
        /// Whether they cannot.
        is_down: bool,
    },
    /// The replicas of a shard: all that there are, each with whether it is down.
    Replicas {
        /// The shard.
        shard: Arc<str>,
        /// Addresses, and whether those who watch it cannot reach it.
        replicas: Vec<(ServerAddress, bool)>,
    },
    /// Whether a server is fit to be read from, and how near it is.
    Fitness {
        /// The server.
        server: ServerId,
        /// Whether it is fit.
        fitness: Fitness,
        /// How long it takes to answer, in microseconds; 0 where that does not count.
        distance_us: u32,
    },
    /// Which slots of a cluster lie in which shard: all of them. What names no shard of the pool counts as served by
    /// nobody.
    Slots(Vec<SlotRange>),
}

/// Whether a server is fit to be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fitness {
    /// It is.
    #[default]
    Fit,
    /// It is further behind than it may be.
    Lagging,
    /// It loads its data.
    Loading,
    /// It cannot be asked.
    Unreachable,
}

/// Slots in a row that lie in one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotRange {
    /// The first of them.
    pub first: u16,
    /// The last of them.
    pub last: u16,
    /// The name of the shard.
    pub shard: Arc<str>,
}

#[derive(Debug)]
struct Server {
    endpoint: Arc<Endpoint>,
    health: Health,
    is_down: bool,
    fitness: Fitness,
    distance_us: u32,
}

#[derive(Debug)]
struct Group {
    id: ShardId,
    name: Arc<str>,
    weight: u32,
    primary: Server,
    replicas: Vec<Server>,
    failovers: u64,
    is_parting: bool,
}

/// The servers of a pool.
#[derive(Debug)]
pub struct Roster {
    groups: Vec<Group>,
    distribution: DistributionKind,
    order: ServerOrder,
    rules: Rules,
    /// Servers are called by their address rather than by their shard's name.
    named_by_address: bool,
    slots: Vec<SlotRange>,
    epoch: u64,
    ids: u32,
}

impl Roster {
    /// Nobody yet.
    #[must_use]
    pub fn new(
        distribution: DistributionKind,
        order: ServerOrder,
        rules: Rules,
        named_by_address: bool,
    ) -> Self {
        Self {
            groups: Vec::new(),
            distribution,
            order,
            rules,
            named_by_address,
            slots: Vec::new(),
            epoch: 0,
            ids: 0,
        }
    }

    fn next_id(&mut self) -> u32 {
        self.ids += 1;
        self.ids
    }

    fn server(&mut self, shard: &str, address: Option<ServerAddress>) -> Server {
        let id = ServerId::new(self.next_id());
        let name = match &address {
            Some(address) if self.named_by_address => address.to_string(),
            _ => shard.to_owned(),
        };
        let endpoint = Arc::new(Endpoint {
            id,
            name: name.into(),
            address,
            is_told_down: AtomicBool::new(false),
            is_told_silent: AtomicBool::new(false),
        });
        Server {
            endpoint,
            health: Health::default(),
            is_down: false,
            fitness: Fitness::Fit,
            distance_us: 0,
        }
    }

    fn find(&mut self, shard: &str) -> Option<usize> {
        self.groups.iter().position(|group| *group.name == *shard)
    }

    /// Takes a change in. Says whether it changed anything.
    pub fn apply(&mut self, change: Change) -> bool {
        match change {
            Change::Join { shard, weight, primary } => self.join(shard, weight, primary),
            Change::Leave { shard } => {
                let before = self.groups.len();
                self.groups.retain(|group| group.name != shard);
                self.groups.len() != before
            }
            Change::Reweigh { shard, weight } => {
                let Some(at) = self.find(&shard) else { return false };
                let before = std::mem::replace(&mut self.groups[at].weight, weight.max(1));
                before != self.groups[at].weight
            }
            Change::Move { shard, to } => {
                let Some(at) = self.find(&shard) else { return false };
                if self.groups[at].primary.endpoint.address.as_ref() == Some(&to) {
                    return false;
                }
                self.groups[at].primary = self.server(&shard, Some(to));
                true
            }
            Change::Promote { shard, primary } => self.promote(&shard, primary),
            Change::Parting { shard, is_parting } => {
                let Some(at) = self.find(&shard) else { return false };
                let before = std::mem::replace(&mut self.groups[at].is_parting, is_parting);
                before != is_parting
            }
            Change::PrimaryState { shard, is_down } => {
                let Some(at) = self.find(&shard) else { return false };
                let before = std::mem::replace(&mut self.groups[at].primary.is_down, is_down);
                before != is_down
            }
            Change::Replicas { shard, replicas } => self.replicas(&shard, replicas),
            Change::Fitness { server, fitness, distance_us } => {
                let Some(server) = self.anyone(server) else { return false };
                let before = (server.fitness, server.distance_us);
                (server.fitness, server.distance_us) = (fitness, distance_us);
                before != (fitness, distance_us)
            }
            Change::Slots(slots) => std::mem::replace(&mut self.slots, slots) != self.slots,
        }
    }

    fn join(&mut self, shard: Arc<str>, weight: u32, primary: Option<ServerAddress>) -> bool {
        if self.find(&shard).is_some() || self.groups.len() >= SHARDS_MAX {
            return false;
        }
        let id = ShardId(self.next_id());
        let primary = self.server(&shard, primary);
        let group = Group {
            id,
            name: shard,
            weight: weight.max(1),
            primary,
            replicas: Vec::new(),
            failovers: 0,
            is_parting: false,
        };
        let own = (group.name.len(), group.name.as_bytes());
        let place = match self.order {
            ServerOrder::File => self.groups.len(),
            ServerOrder::Sorted => {
                self.groups.partition_point(|other| (other.name.len(), other.name.as_bytes()) < own)
            }
        };
        self.groups.insert(place, group);
        true
    }

    fn promote(&mut self, shard: &str, primary: ServerAddress) -> bool {
        let Some(at) = self.find(shard) else { return false };
        if self.groups[at].primary.endpoint.address.as_ref() == Some(&primary) {
            return false;
        }
        let known = self.groups[at]
            .replicas
            .iter()
            .position(|replica| replica.endpoint.address.as_ref() == Some(&primary));
        let mut new = match known {
            Some(place) => self.groups[at].replicas.remove(place),
            None => self.server(shard, Some(primary)),
        };
        new.is_down = false;
        let group = &mut self.groups[at];
        let old = std::mem::replace(&mut group.primary, new);
        if old.endpoint.address.is_some() {
            group.replicas.push(old);
            group.failovers += 1;
        }
        true
    }

    fn replicas(&mut self, shard: &str, replicas: Vec<(ServerAddress, bool)>) -> bool {
        let Some(at) = self.find(shard) else { return false };
        let mut before = std::mem::take(&mut self.groups[at].replicas);
        let mut changed = before.len() != replicas.len();
        let mut after = Vec::with_capacity(replicas.len());
        for (address, is_down) in replicas {
            if self.groups[at].primary.endpoint.address.as_ref() == Some(&address) {
                continue;
            }
            let known =
                before.iter().position(|server| server.endpoint.address.as_ref() == Some(&address));
            let mut server = match known {
                Some(place) => before.remove(place),
                None => {
                    changed = true;
                    self.server(shard, Some(address))
                }
            };
            changed |= server.is_down != is_down;
            server.is_down = is_down;
            after.push(server);
        }
        changed |= !before.is_empty();
        self.groups[at].replicas = after;
        changed
    }

    fn anyone(&mut self, server: ServerId) -> Option<&mut Server> {
        let all = self
            .groups
            .iter_mut()
            .flat_map(|group| std::iter::once(&mut group.primary).chain(&mut group.replicas));
        all.into_iter().find(|it| it.endpoint.id == server)
    }

    fn primary(&mut self, server: ServerId) -> Option<&mut Server> {
        self.groups.iter_mut().map(|group| &mut group.primary).find(|it| it.endpoint.id == server)
    }

    /// Something that had begun at `since_us` failed. Says whether the server is taken to be down for it.
    pub fn failed(&mut self, server: ServerId, since_us: u64, now: Moment) -> bool {
        let rules = self.rules;
        self.primary(server).is_some_and(|it| it.health.failed(&rules, since_us, now))
    }

    /// A good reply came.
    pub fn succeeded(&mut self, server: ServerId) {
        if let Some(server) = self.primary(server) {
            server.health.succeeded();
        }
    }

    /// The servers that are down and due for a probe. Each is given out once until the probe's end is told.
    pub fn due_for_probe(&mut self, now: Moment) -> Vec<Arc<Endpoint>> {
        let primaries = self.groups.iter_mut().map(|group| &mut group.primary);
        primaries
            .filter_map(|server| {
                server.health.is_due_for_probe(now).then(|| Arc::clone(&server.endpoint))
            })
            .collect()
    }

    /// The probe of a server that was down has ended. Says whether the server is back.
    pub fn probed(&mut self, server: ServerId, is_well: bool, now: Moment) -> bool {
        let rules = self.rules;
        self.primary(server).is_some_and(|it| it.health.probed(&rules, is_well, now))
    }

    /// The present picture.
    pub fn picture(&mut self) -> Topology {
        let epoch = self.epoch;
        let on_down = self.rules.on_down;
        self.epoch += 1;
        let mut members = Vec::new();
        let mut shards = Vec::with_capacity(self.groups.len());
        let mut live = Vec::with_capacity(self.groups.len());
        for (place, group) in self.groups.iter().enumerate() {
            let place = place as ShardIndex;
            // Where keys stay with a server that is down, it takes part as before.
            if group.primary.health.is_live() || on_down == OnServerDown::Fail {
                live.push(place);
            }
            shards.push(Shard {
                id: group.id,
                name: Arc::clone(&group.name),
                weight: group.weight,
                primary: members.len(),
                failovers: group.failovers,
                slots: 0,
                is_parting: group.is_parting,
            });
            members.push(member(&group.primary, place, Role::Primary, on_down));
            let replicas = group.replicas.iter();
            members.extend(replicas.map(|it| member(it, place, Role::Replica, on_down)));
        }
        let distribution = match self.distribution {
            DistributionKind::Slots => self.slot_table(&mut shards),
            kind if on_down == OnServerDown::Next => {
                Distribution::build_with_next(kind, &shards, &live)
            }
            kind => Distribution::build(kind, &shards, &live),
        };
        Topology {
            epoch,
            distribution,
            members: members.into_boxed_slice(),
            shards: shards.into_boxed_slice(),
            live: live.into_boxed_slice(),
        }
    }
}

impl Roster {
    /// The slots as they are told, and how many of them each shard has.
    fn slot_table(&self, shards: &mut [Shard]) -> Distribution {
        let place_of: HashMap<Arc<str>, ShardIndex> =
            shards.iter().zip(0..).map(|(shard, place)| (Arc::clone(&shard.name), place)).collect();
        let table = SlotTable::build(self.slots.iter().filter_map(|range| {
            let shard = place_of.get(&range.shard)?;
            Some((range.first, range.last, *shard))
        }));
        for shard in table.iter().flatten() {
            shards[usize::from(shard)].slots += 1;
        }
        Distribution::Slots(table)
    }
}

fn member(server: &Server, shard: ShardIndex, role: Role, on_down: OnServerDown) -> Member {
    let state = match server {
        Server { is_down: true, .. } => State::Down,
        _ if server.endpoint.address.is_none() => State::Unknown,
        _ if !server.health.is_live() && on_down == OnServerDown::Eject => State::Ejected,
        _ if !server.health.is_live() => State::Down,
        _ if role == Role::Primary => State::Live,
        Server { fitness: Fitness::Lagging, .. } => State::Lagging,
        Server { fitness: Fitness::Loading, .. } => State::Loading,
        Server { fitness: Fitness::Unreachable, .. } => State::Down,
        _ => State::Live,
    };
    let (ejections, ejected_at_us) = server.health.ejections();
    Member {
        endpoint: Arc::clone(&server.endpoint),
        shard,
        role,
        state,
        ejections,
        ejected_at_us,
        distance_us: server.distance_us,
    }
}

/// A shard's identity, for tests of other modules.
#[cfg(test)]
pub(crate) fn shard_of_tests() -> ShardId {
    ShardId(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = rules(OnServerDown::Eject);

    const fn rules(on_down: OnServerDown) -> Rules {
        Rules { on_down, failure_limit: 1, retry_ms: 1 }
    }

    fn at(port: u16) -> ServerAddress {
        ServerAddress::Tcp { host: "h".to_owned(), port }
    }

    fn join(name: &str, port: u16) -> Change {
        Change::Join { shard: name.into(), weight: 1, primary: Some(at(port)) }
    }

    fn roster(order: ServerOrder) -> Roster {
        Roster::new(DistributionKind::Modula, order, RULES, false)
    }

    fn names(picture: &Topology) -> Vec<&str> {
        picture.shards.iter().map(|shard| &*shard.name).collect()
    }

    fn primary(picture: &Topology, shard: usize) -> ServerId {
        picture.primary(&picture.shards[shard]).endpoint.id
    }

    #[test]
    fn shards_keep_their_order_and_their_identity() {
        let mut sorted = roster(ServerOrder::Sorted);
        let mut written = roster(ServerOrder::File);
        for roster in [&mut sorted, &mut written] {
            for (name, port) in [("bb", 1), ("c", 2), ("a", 3)] {
                assert!(roster.apply(join(name, port)));
            }
            assert!(!roster.apply(join("a", 9)), "it is there already");
        }
        assert_eq!(names(&sorted.picture()), ["a", "c", "bb"]);
        let before = written.picture();
        assert_eq!(names(&before), ["bb", "c", "a"]);
        assert!(written.apply(Change::Leave { shard: "c".into() }));
        assert!(!written.apply(Change::Leave { shard: "c".into() }));
        assert!(written.apply(join("c", 2)));
        let after = written.picture();
        assert_eq!(names(&after), ["bb", "a", "c"]);
        assert_eq!(after.epoch, before.epoch + 1);
        assert_eq!(
            (primary(&after, 0), primary(&after, 1)),
            (primary(&before, 0), primary(&before, 2))
        );
        assert_ne!(primary(&after, 2), primary(&before, 1), "who comes back is somebody else");
        assert_eq!(after.place_of(before.shards[1].id), None);
        assert_eq!(after.place_of(before.shards[2].id), Some(1));
    }

    #[test]
    fn a_server_that_moves_is_another_server_of_the_same_shard() {
        let mut roster = roster(ServerOrder::File);
        roster.apply(join("a", 1));
        let before = roster.picture();
        let to = |port| Change::Move { shard: "a".into(), to: at(port) };
        assert!(!roster.apply(to(1)));
        assert!(roster.apply(to(2)));
        let after = roster.picture();
        assert_eq!(after.shards[0].id, before.shards[0].id);
        assert_ne!(primary(&after, 0), primary(&before, 0));
        assert!(after.member(primary(&before, 0)).is_none());
        assert_eq!(after.shards[0].failovers, 0);
    }

    #[test]
    fn a_promoted_replica_changes_places_with_the_primary() {
        let mut roster = Roster::new(DistributionKind::Modula, ServerOrder::File, RULES, true);
        roster.apply(Change::Join { shard: "a".into(), weight: 2, primary: None });
        let unknown = roster.picture();
        assert_eq!(unknown.members[0].state, State::Unknown);
        let promote = |port| Change::Promote { shard: "a".into(), primary: at(port) };
        assert!(roster.apply(promote(1)));
        assert!(!roster.apply(promote(1)));
        let replicas = |list: &[(u16, bool)]| Change::Replicas {
            shard: "a".into(),
            replicas: list.iter().map(|(port, is_down)| (at(*port), *is_down)).collect(),
        };
        assert!(roster.apply(replicas(&[(2, false), (3, false)])));
        assert!(!roster.apply(replicas(&[(2, false), (3, false)])));
        let before = roster.picture();
        assert_eq!(before.shards[0].failovers, 0, "the first primary is no failover");
        assert!(roster.apply(promote(3)));
        let after = roster.picture();
        assert_eq!(after.shards[0].failovers, 1);
        assert_eq!(primary(&after, 0), before.members[2].endpoint.id);
        let old = after.member(primary(&before, 0)).expect("it stays");
        assert_eq!(old.role, Role::Replica);
        assert_eq!(&*old.endpoint.name, "h:1");
        assert!(roster.apply(replicas(&[(1, true), (2, false)])));
        let picture = roster.picture();
        let states: Vec<_> = picture.members.iter().map(|member| member.state).collect();
        assert_eq!(states, [State::Live, State::Down, State::Live]);
        assert!(roster.apply(replicas(&[(2, false)])));
        assert_eq!(roster.picture().members.len(), 2);
    }

    #[test]
    fn slots_lie_in_the_shards_that_are_there() {
        let mut roster = Roster::new(DistributionKind::Slots, ServerOrder::File, RULES, true);
        let range = |first, last, shard: &str| SlotRange { first, last, shard: shard.into() };
        let slots = || vec![range(0, 99, "b"), range(100, 16_383, "a")];
        assert!(roster.apply(Change::Slots(slots())));
        assert!(!roster.apply(Change::Slots(slots())));
        roster.apply(join("a", 1));
        let picture = roster.picture();
        assert_eq!(
            (picture.distribution.shard(5), picture.distribution.shard(100)),
            (None, Some(0))
        );
        roster.apply(join("b", 2));
        let parting = |is_parting| Change::Parting { shard: "b".into(), is_parting };
        assert!(!roster.apply(parting(false)) && roster.apply(parting(true)));
        let picture = roster.picture();
        assert!(picture.shards[1].is_parting && !picture.shards[0].is_parting);
        assert_eq!(picture.distribution.shard(5), Some(1));
        assert_eq!(
            picture.shards.iter().map(|shard| shard.slots).collect::<Vec<_>>(),
            [16_284, 100]
        );
        roster.apply(Change::Leave { shard: "a".into() });
        let picture = roster.picture();
        assert_eq!(
            (picture.distribution.shard(5), picture.distribution.shard(100)),
            (Some(0), None)
        );
    }

    #[test]
    fn an_ejected_server_takes_its_shard_along_until_it_is_well() {
        let mut roster = roster(ServerOrder::File);
        roster.apply(join("a", 1));
        roster.apply(join("b", 2));
        let server = primary(&roster.picture(), 1);
        let now = |ms: u64| Moment { us: ms * 1000, unix_us: 0 };
        assert!(roster.failed(server, 1, now(1)));
        let picture = roster.picture();
        assert_eq!((&*picture.live, picture.members[1].state), (&[0][..], State::Ejected));
        assert_eq!(roster.due_for_probe(now(5)).len(), 1);
        assert!(roster.probed(server, true, now(6)));
        assert_eq!(&*roster.picture().live, [0, 1]);
    }

    #[test]
    fn keys_of_a_server_that_is_down_go_where_the_pool_says() {
        for kind in [DistributionKind::Ketama, DistributionKind::Modula] {
            for down in [OnServerDown::Eject, OnServerDown::Fail, OnServerDown::Next] {
                let mut roster = Roster::new(kind, ServerOrder::File, rules(down), false);
                for (name, weight) in [("a", 1), ("b", 3), ("c", 2), ("d", 1)] {
                    let (shard, primary) = (name.into(), Some(at(1)));
                    roster.apply(Change::Join { shard, weight, primary });
                }
                let before = roster.picture();
                let now = Moment { us: 1000, unix_us: 0 };
                assert!(roster.failed(primary(&before, 1), 1, now));
                let after = roster.picture();
                let state = match down {
                    OnServerDown::Eject => State::Ejected,
                    _ => State::Down,
                };
                assert_eq!(after.members[1].state, state);
                let (mut own, mut others) = (0, 0);
                let hashes = (0..4000_u64).map(|number| number * 0x9e37_79b9 % (1 << 32));
                for hash in hashes {
                    let places = (before.distribution.shard(hash), after.distribution.shard(hash));
                    match places {
                        (Some(1), now) => own += usize::from(now != Some(1)),
                        (old, now) => others += usize::from(old != now),
                    }
                }
                match down {
                    OnServerDown::Fail => assert_eq!((own, others), (0, 0)),
                    OnServerDown::Next => assert!(own > 1000 && others == 0, "{own} {others}"),
                    _ => assert!(own > 1000 && others > 0, "{own} {others}"),
                }
                assert_eq!(after.is_live(1), down == OnServerDown::Fail);
                // All down: nobody has the keys, or everybody their own.
                for shard in [0, 2, 3] {
                    assert!(roster.failed(primary(&before, shard), 1, now));
                }
                let nobody = roster.picture().distribution.shard(7).is_none();
                assert_eq!(nobody, down != OnServerDown::Fail);
            }
        }
    }
}
