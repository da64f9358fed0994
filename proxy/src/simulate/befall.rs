//! What befalls the servers of a history, and how the proxy learns of a cluster.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::slot::SLOT_COUNT;
use tokio::time::{Instant, sleep};

use super::groups::TAKEN_IN;
use super::servers::{PIECE, PORT, World, address};
use crate::backend::{Backend, Duty};
use crate::control::Directory;
use crate::settings::ServerAddress;
use crate::topology::PoolId;
use crate::topology::roster::Change;
use crate::worker::Worker;

/// Between two times at which a server leaves while it is wanted.
const REST: Duration = Duration::from_millis(500);

/// Tells the proxy of the cluster as it is, late.
pub async fn discover(world: Rc<World>, directory: Arc<Directory>) {
    let pool = PoolId::new(0);
    loop {
        let strange = tokio::time::timeout(
            Duration::from_millis(200 + world.up_to(800)),
            directory.pool(pool).strange.notified(),
        );
        // Somebody has noticed something, or it is time to look.
        let _ = strange.await;
        sleep(Duration::from_millis(world.up_to(60))).await;
        directory.pool(pool).take_moved();
        let moving = world.moving.get();
        directory.change(pool, world.picture());
        sleep(TAKEN_IN).await;
        if world.moving.get() == moving {
            world.knows_of_moving();
        }
    }
}

/// A server leaves the pool, and comes back; a node of a cluster when it is told of next.
async fn leave_for_a_while(world: &World, directory: &Directory, place: usize) {
    let pool = PoolId::new(0);
    let count = world.servers.borrow().len();
    let shard = shard_at(world, place);
    if count > 1 && directory.change(pool, [Change::Leave { shard: shard.clone() }]) {
        sleep(Duration::from_millis(world.up_to(100))).await;
        if !world.is_cluster {
            let primary = Some(address(place));
            directory.change(pool, [Change::Join { shard, weight: 1, primary }]);
        }
    }
}

/// Somebody connects to a server: it may leave while that is under way, or is just done.
pub fn may_leave(world: &Rc<World>, directory: &Arc<Directory>, port: u16) {
    if !world.is_eventful() || !world.leaves || world.groups.is_some() || !world.chance(0.03) {
        return;
    }
    let (world, directory) = (Rc::clone(world), Arc::clone(directory));
    tokio::task::spawn_local(async move {
        sleep(Duration::from_micros(world.up_to(5000))).await;
        world.faults.set(world.faults.get() + 1);
        leave_for_a_while(&world, &directory, usize::from(port - PORT)).await;
    });
}

/// The end of a turn at which a connection has been asked for that nobody has begun to open: its server may leave just then, come
/// back, and have another connection in the same place.
pub fn may_leave_while_wanted(world: &World, directory: &Directory, worker: &Worker) {
    if !world.is_eventful() || !world.leaves || world.groups.is_some() {
        return;
    }
    let wanted = |(_, it): (usize, &mut Backend)| {
        let is_shared = matches!(it.duty, Duty::Shared { .. });
        (it.is_connecting() && is_shared).then(|| it.server.address.clone())?
    };
    let Ok(mut core) = worker.core.try_borrow_mut() else { return };
    let Some(ServerAddress::Tcp { port, .. }) = core.up.iter_mut().find_map(wanted) else { return };
    let (pool, place) = (PoolId::new(0), usize::from(port - PORT));
    let place = if world.has_replicas { place & !1 } else { place };
    // Who waits for it would wait for ever, if it left whenever it is wanted.
    let has_rested = world.left_wanted.get().is_none_or(|at| at.elapsed() > REST);
    if !has_rested || !world.chance(0.1) || world.servers.borrow().len() < 2 {
        return;
    }
    world.faults.set(world.faults.get() + 1);
    world.left_wanted.set(Some(Instant::now()));
    let shard = shard_at(world, place);
    if directory.change(pool, [Change::Leave { shard: Arc::clone(&shard) }]) {
        core.refresh(pool);
        if world.is_cluster {
            directory.change(pool, world.picture());
        } else {
            let primary = Some(address(place));
            directory.change(pool, [Change::Join { shard, weight: 1, primary }]);
        }
        core.refresh(pool);
    }
}

fn shard_at(world: &World, place: usize) -> Arc<str> {
    match world.is_cluster {
        true => format!("node-{place}").into(),
        false => format!("127.0.0.1:{}", PORT + place as u16).into(),
    }
}

/// What befalls the servers.
pub async fn befall(world: Rc<World>, directory: Arc<Directory>) {
    loop {
        sleep(Duration::from_millis(5 + world.up_to(120))).await;
        if !world.is_eventful() {
            return;
        }
        world.faults.set(world.faults.get() + 1);
        let count = world.servers.borrow().len();
        let place = world.up_to(count as u64 - 1) as usize;
        let for_ms = |most| Duration::from_millis(world.up_to(most));
        let what =
            if world.is_rough() { world.up_to(9) } else { [1, 5, 6][world.up_to(2) as usize] };
        if !world.is_rough() && what == 1 {
            // Half of the time the one that gives something away, which then takes its time to say so.
            let moving = world.moving.get().filter(|_| world.chance(0.5));
            let place = moving.map_or(place, |(piece, _)| world.owners.borrow()[piece]);
            world.servers.borrow_mut()[place].hangs_until = Instant::now() + for_ms(300);
            continue;
        }
        if world.is_verbose {
            println!("{:?} {what} befalls server {place}", world.began.elapsed());
        }
        match what {
            0 => {
                world.kill(place);
                let until = for_ms(600);
                let world = Rc::clone(&world);
                tokio::task::spawn_local(async move {
                    sleep(until).await;
                    let most = if world.chance(0.3) { 8 } else { 300 };
                    let loads = Duration::from_millis(world.up_to(most));
                    let server = &mut world.servers.borrow_mut()[place];
                    server.is_up = true;
                    server.loads_until = Instant::now() + loads;
                });
            }
            1 => {
                let until = Instant::now() + for_ms(2500);
                world.servers.borrow_mut()[place].hangs_until = until;
            }
            2 | 3 => {
                let connections = world.servers.borrow()[place].connections.clone();
                if let Some(one) = connections.get(world.up_to(7) as usize) {
                    one.0.reset();
                }
            }
            4 => {
                // The server ends a connection as one that has been idle for long.
                let connections = world.servers.borrow()[place].connections.clone();
                if let Some(one) = connections.get(world.up_to(3) as usize) {
                    one.0.shut_down();
                }
            }
            5.. if world.groups.is_some() => super::groups::fail_over(&world, place / 2),
            5.. if world.is_cluster => match world.moving.get() {
                Some((piece, to)) => {
                    world.set_moving(None);
                    let before = std::mem::replace(&mut world.owners.borrow_mut()[piece], to);
                    world.part_with(piece, before);
                    if world.chance(0.4) {
                        // Who has given it away says so late.
                        world.servers.borrow_mut()[before].hangs_until =
                            Instant::now() + for_ms(600);
                    }
                }
                None if world.leaves && world.chance(0.2) => {
                    leave_for_a_while(&world, &directory, place).await
                }
                None => {
                    let piece = world.up_to(u64::from(SLOT_COUNT / PIECE) - 1) as usize;
                    let to = if world.has_replicas { place & !1 } else { place };
                    if world.owners.borrow()[piece] != to {
                        world.set_moving(Some((piece, to)));
                    }
                }
            },
            5 | 6 => leave_for_a_while(&world, &directory, place).await,
            _ => {
                let shard: Arc<str> = format!("127.0.0.1:{}", PORT + place as u16).into();
                let weight = 1 + world.up_to(3) as u32;
                directory.change(PoolId::new(0), [Change::Reweigh { shard, weight }]);
            }
        }
    }
}
