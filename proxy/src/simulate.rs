//! A worker among servers that die, hang, load, move and lose connections, from seeds, in virtual time.
//!
//! The worker is the one that serves people: its tasks, its connections, its clock. What is simulated is the other side of its
//! streams: [`servers`] that answer by rule and count what they have run, and [`clients`] that know what they are owed. No
//! reply may be lost, come out of order or be another's; no write may run twice; and once all is quiet every request is served
//! and nothing is left behind.
//!
//! There are three kinds of worlds: in a calm one nothing befalls servers; in a gentle one slots of a cluster move, servers take their
//! time and nodes leave the map and come back, and no client may be told of an error but where nobody knows whether something on a
//! connection of its own has run; in a rough one whatever may happens.
//!
//! Each of these has been seen to fail where the worker was broken so, after so many histories at most:
//!
//! ```text
//!   a write ran twice                           what was sent is sent again, writes too                                  300
//!   another's reply                             a late reply is not swallowed; a task goes on with a place that is       300
//!                                               another's, or takes it for its own when it begins
//!   acknowledged and not run                    a lost write is answered by OK                                           300
//!   denied and run                              a lost write is answered by EXECABORT; with `on_lost_request: close`,    300
//!                                               by an error; EXEC that has run is answered by null
//!   written to a primary known to be deposed    promotions are not taken in                                              300
//!   acknowledged by one                         what a replaced primary says of writes on their way is handed on         300
//!   an element of a deposed primary's list      what it says on a client's own connection is handed on                 1,600
//!   overtaken (a write, or a read of one's own  what was lost, or turned away, is sent again in another order, or by       60
//!   write)                                      another lane
//!                                               redirects are followed, or tried again, in another order                 100
//!                                               HELLO, or a heavy request, does not wait for what is under way             30
//!                                               reads behind what a server turned away are believed                      400
//!                                               what comes next goes to a slot's new owner before what is under way      200
//!                                               what waits for a slot to be served leaves in another order               100
//!                                               the client of what was turned away is listened to                      1,700
//!   an error, or no answer, where nothing may   what waits for a slot to be served is not sent on, or lost                10
//!   be noticed
//!   not found where it is                       replicas of a shard that gives slots away are read, first                200
//!                                               or as the second server that is asked                                    700
//!   read from, and had not said that it is one  connections to groups do not ask for ROLE                                200
//!   said twice, or not heard                    both nodes are listened to while a channel moves; the home of a        1,200
//!                                               channel changes at once; what only one has said by then is forgotten
//!   not heard when all was quiet                a link that is opened again does not ask for all of its channels         300
//!   a place left, a connection left             one that has left is not given up; a place is, and its connection        300
//!                                               stays open
//! ```
//!
//! That a place is another's when its task begins is seen once its connection is open: without a look before that nothing fails,
//! and there is none.

mod answers;
mod asks;
mod befall;
mod bus;
mod clients;
mod data;
mod groups;
mod listeners;
mod servers;
mod settings;
mod wire;

use std::rc::Rc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redstart_common::histories;
use redstart_common::net::{memory, turn};
use tokio::time::{sleep, timeout};

use crate::backend::Duty;
use crate::control::Directory;
use crate::tick;
use crate::topology::PoolId;
use crate::worker::Worker;
use servers::World;

/// How many histories the test suite runs.
const HISTORIES: u64 = 8_000;
/// Whatever was asked for must have been answered by then.
const ANSWERED: Duration = Duration::from_secs(30);
/// Servers that were down are back in the ring by then.
const QUIET: Duration = Duration::from_secs(4);
/// What there is to learn of servers that are well is known by then.
const SETTLED: Duration = Duration::from_millis(300);
/// Looks at servers that are down.
const PROBE_TICK: Duration = Duration::from_millis(100);

/// What histories came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Outcome {
    /// Requests that were answered.
    replies: u64,
    /// Of these, with errors.
    errors: u64,
    /// Writes that ran.
    writes: u64,
    /// Faults that befell servers.
    faults: u64,
    /// Primaries of which the proxy was told that they are deposed.
    deposed: u64,
    /// Connections that clients gave up in the middle.
    given_up: u64,
    /// Connections that ended in the place of a reply to a write that may have run.
    ended: u64,
    /// Writes whose clients have read them back, or what came after them.
    read_back: u64,
    /// What all clients have read, in a number.
    trace: u64,
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.replies += other.replies;
        self.errors += other.errors;
        self.writes += other.writes;
        self.faults += other.faults;
        self.deposed += other.deposed;
        self.given_up += other.given_up;
        self.ended += other.ended;
        self.read_back += other.read_back;
        self.trace ^= other.trace;
    }
}

/// One history, on a thread of its own: the end of a turn is a thread's.
fn history(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
    let body = || {
        let runtime = turn::simulated_runtime().map_err(|error| error.to_string())?;
        runtime.block_on(live(seed, is_verbose))
    };
    std::thread::scope(|scope| scope.spawn(body).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn live(seed: u64, is_verbose: bool) -> Result<Outcome, String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let manner = settings::Manner::choose(&mut random);
    let (pool, global) = manner.settings()?;
    if is_verbose {
        println!("{manner:?}");
    }
    let world = Rc::new(World::new(seed, &manner, is_verbose));
    let id = PoolId::new(0);
    let shared = std::sync::Arc::new(crate::topology::pool::SharedPool::new(id, pool));
    let (directory, receivers) = Directory::new(1, vec![std::sync::Arc::clone(&shared)], global);
    let (dialed, of_pool) = (Rc::clone(&world), directory.clone());
    memory::set_dialer(move |address| {
        befall::may_leave(&dialed, &of_pool, address.port());
        World::connect(&dialed, address.port())
    });
    shared.apply(world.picture());
    let worker = Worker::new(0, &directory.pools, &directory.global, directory.clone(), seed);
    worker.start();
    let (changed, of_pool) = (Rc::downgrade(&world), Rc::downgrade(&worker));
    let changing = std::sync::Arc::downgrade(&directory);
    turn::add_hook(move || {
        if let (Some(world), Some(worker)) = (changed.upgrade(), of_pool.upgrade())
            && let Some(directory) = changing.upgrade()
        {
            befall::may_leave_while_wanted(&world, &directory, &worker);
        }
    });
    for receiver in receivers {
        tokio::task::spawn_local(tick::listen(Rc::clone(&worker), receiver));
    }
    let probing = std::sync::Arc::clone(&directory);
    tokio::task::spawn_local(async move {
        loop {
            sleep(PROBE_TICK).await;
            crate::proxy::probe_those_down(&probing);
        }
    });
    if world.groups.is_some() {
        tokio::task::spawn_local(groups::discover(Rc::clone(&world), directory.clone()));
    } else {
        tokio::task::spawn_local(befall::discover(Rc::clone(&world), directory.clone()));
    }
    if shared.settings.read_from != crate::settings::ReadFrom::Master {
        let (directory, pool) = (directory.clone(), std::sync::Arc::clone(&shared));
        tokio::task::spawn_local(crate::topology::replicas::shell::run(directory, pool));
    }
    tokio::task::spawn_local(bus::carry(Rc::clone(&world)));
    tokio::task::spawn_local(befall::befall(Rc::clone(&world), directory.clone()));

    if manner.fate == settings::Fate::Calm {
        // With `max_lag`, no replica is read from before it has told how far behind it is: whoever is refused nothing comes later.
        sleep(SETTLED).await;
    }
    let count = random.random_range(2..8);
    let mut living = Vec::new();
    for number in 0..count {
        let seed = random.random();
        let (world, worker) = (Rc::clone(&world), Rc::clone(&worker));
        let directory = directory.clone();
        living.push(tokio::task::spawn_local(async move {
            clients::live(&world, &worker, &directory, number, seed).await
        }));
    }
    let mut listening = Vec::new();
    for _ in 0..random.random_range(0..3) {
        let seed = random.random();
        let (world, worker) = (Rc::clone(&world), Rc::clone(&worker));
        let directory = directory.clone();
        listening.push(tokio::task::spawn_local(async move {
            listeners::live(&world, &worker, &directory, seed).await
        }));
    }
    let mut chatting = None;
    if manner.fate == settings::Fate::Gentle && random.random_bool(0.5) {
        let seed = random.random();
        let (world, worker) = (Rc::clone(&world), Rc::clone(&worker));
        let directory = directory.clone();
        chatting = Some(tokio::task::spawn_local(async move {
            clients::chatter(&world, &worker, &directory, seed).await
        }));
    }
    let mut outcome = Outcome::default();
    for client in living {
        outcome.add(&client.await.map_err(|error| error.to_string())??);
    }
    world.calm();
    if let Some(chatting) = chatting {
        chatting.await.map_err(|error| error.to_string())??;
    }
    sleep(QUIET).await;
    if is_verbose {
        for (place, it) in worker.core.borrow_mut().up.iter_mut() {
            println!(
                "connection {place} to {} epoch {} up {}: {} owed, of which {} to nobody, {} bytes to send, {:?}",
                it.server.name,
                it.epoch,
                it.is_up(),
                it.pipeline.len(),
                it.pipeline.tombstones(),
                it.output.len(),
                it.duty
            );
        }
    }
    // What was down has come back: nothing is refused any more.
    let last = clients::look_around(&world, &worker, &directory);
    outcome.add(&timeout(ANSWERED, last).await.map_err(|_| "not all is served at the end")??);
    sleep(Duration::from_secs(1)).await;
    world.is_over.set(true);
    for listener in listening {
        listener.await.map_err(|error| error.to_string())??;
    }
    sleep(Duration::from_secs(1)).await;
    nothing_is_left(&worker)?;
    // Those that learn how far replicas are behind have connections of their own.
    if shared.settings.read_from == crate::settings::ReadFrom::Master {
        nothing_is_open(&worker, &world)?;
    }
    world.judge()?;
    outcome.writes = world.data.writes();
    outcome.faults = world.faults.get();
    outcome.ended = world.ended.get();
    outcome.deposed = world.groups.as_ref().map_or(0, |groups| groups.deposed.get());
    Ok(outcome)
}

/// Without clients nothing is owed and nothing kept for them.
fn nothing_is_left(worker: &Rc<Worker>) -> Result<(), String> {
    let core = &mut *worker.core.borrow_mut();
    if !core.down.clients.is_empty() {
        return Err("clients are left".to_owned());
    }
    if !core.down.gathers.is_empty() {
        return Err("replies are still being put together".to_owned());
    }
    if !core.down.asked_scripts.is_empty() || !core.homeless.is_empty() {
        return Err("something is still kept for clients".to_owned());
    }
    if !core.down.fills.is_empty() || !core.down.hedges.is_empty() || !core.parking.is_empty() {
        return Err("reads or what was turned away are still waited for".to_owned());
    }
    for (place, it) in core.up.iter_mut() {
        if !it.pipeline.is_empty() && it.is_up() {
            return Err(format!("connection {place} is still owed replies"));
        }
    }
    let leaving = (0..core.up.places())
        .find(|place| !core.up.is_free(*place) && core.up.get_mut(*place).duty == Duty::Leaving);
    match leaving {
        Some(place) => Err(format!("connection {place} is not needed any more and still there")),
        None => Ok(()),
    }
}

/// Of the connections that servers have, all are known.
fn nothing_is_open(worker: &Rc<Worker>, world: &World) -> Result<(), String> {
    let core = &mut *worker.core.borrow_mut();
    let places = (0..core.up.places()).filter(|place| core.up.is_free(*place)).collect::<Vec<_>>();
    if let Some(place) = places.iter().find(|place| core.up.get_mut(**place).is_up()) {
        return Err(format!("place {place} was given up, and its connection is open"));
    }
    let known = core.up.iter_mut().filter(|(_, it)| it.is_up()).count();
    let listening = core.hubs[0].links_mut().filter(|(_, link)| link.is_up()).count();
    let open: usize = world.servers.borrow().iter().map(|server| server.connections.len()).sum();
    if open != known + listening {
        return Err(format!(
            "servers have {open} connections, and {known} + {listening} are known"
        ));
    }
    Ok(())
}

#[test]
fn no_reply_is_lost_crossed_or_late_and_no_write_runs_twice() {
    let all = histories::run_all(HISTORIES, history, Outcome::add);
    let Some((histories, total)) = all else { return };
    // Of histories in which nothing happens nothing follows.
    assert!(total.faults > histories && total.writes > histories && total.given_up > 0);
    assert!(total.deposed * 4 > histories && total.ended * 100 > histories);
    assert!(total.read_back > histories);
    assert!(total.errors > 0 && total.errors * 2 < total.replies);
}

#[test]
fn a_seed_tells_all() {
    for seed in 0..12 {
        assert_eq!(history(seed, false), history(seed, false), "seed {seed}");
    }
}
