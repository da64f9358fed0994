//! What befalls the servers of a history, and how the proxy learns of a cluster.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use redstart_common::slot::SLOT_COUNT;
use tokio::time::{Instant, sleep};

use super::servers::{PIECE, PORT, World, address};
use crate::control::Directory;
use crate::topology::PoolId;
use crate::topology::roster::Change;

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
        directory.change(pool, world.picture());
    }
}

/// What befalls the servers.
pub async fn befall(world: Rc<World>, directory: Arc<Directory>) {
    loop {
        sleep(Duration::from_millis(5 + world.up_to(120))).await;
        if !world.is_rough() {
            return;
        }
        world.faults.set(world.faults.get() + 1);
        let count = world.servers.borrow().len();
        let place = world.up_to(count as u64 - 1) as usize;
        let for_ms = |most| Duration::from_millis(world.up_to(most));
        let what = world.up_to(9);
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
                    let loads = Duration::from_millis(world.up_to(300));
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
            5.. if world.is_cluster => match world.moving.take() {
                Some((piece, to)) => {
                    let before = std::mem::replace(&mut world.owners.borrow_mut()[piece], to);
                    world.part_with(piece, before);
                }
                None => {
                    let piece = world.up_to(u64::from(SLOT_COUNT / PIECE) - 1) as usize;
                    let to = if world.has_replicas { place & !1 } else { place };
                    if world.owners.borrow()[piece] != to {
                        world.moving.set(Some((piece, to)));
                    }
                }
            },
            5 | 6 => {
                // A server leaves the ring, and comes back.
                let shard: Arc<str> = format!("127.0.0.1:{}", PORT + place as u16).into();
                let pool = PoolId::new(0);
                if count > 1 && directory.change(pool, [Change::Leave { shard: shard.clone() }]) {
                    sleep(for_ms(100)).await;
                    let primary = Some(address(place));
                    directory.change(pool, [Change::Join { shard, weight: 1, primary }]);
                }
            }
            _ => {
                let shard: Arc<str> = format!("127.0.0.1:{}", PORT + place as u16).into();
                let weight = 1 + world.up_to(3) as u32;
                directory.change(PoolId::new(0), [Change::Reweigh { shard, weight }]);
            }
        }
    }
}
