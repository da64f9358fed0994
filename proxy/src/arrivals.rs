//! How connections of clients come in: at once, or once both ends have agreed on TLS.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::Stream;
use redstart_common::net::arrivals::{Arrival, Disagreement};
use redstart_common::resp::{RespWrite, error};

use crate::control::Directory;
use crate::topology::PoolId;
use crate::worker::Worker;

/// How long a client that is turned away may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);

/// Whether a connection may come in: there is a descriptor for it, and a place in the pool. Where clients speak TLS, places are
/// given to those only that have agreed on it, so that a silent crowd takes none.
#[must_use]
pub fn may_come(directory: &Directory, pool: PoolId) -> bool {
    let shared = directory.pool(pool);
    !directory.is_full() && (shared.settings.client_tls.is_some() || shared.admit_client())
}

/// Gives a place back that [`may_come`] has given to a connection which did not come in.
pub fn give_place_back(directory: &Directory, pool: PoolId) {
    let shared = directory.pool(pool);
    if shared.settings.client_tls.is_none() {
        shared.release_client();
    }
}

/// Tells a client that the pool is full or the process out of descriptors.
pub async fn refuse(directory: &Directory, pool: PoolId, mut stream: Stream) {
    let shared = directory.pool(pool);
    let is_full = directory.is_full();
    if let Some(count) = shared.rejected.count(is_full, directory.clock.seconds()) {
        let why = if is_full { "descriptors" } else { "client_connections" };
        let name = &shared.settings.name;
        log!(Warning, "pool '{name}': clients are refused ({why}), {count} so far");
    }
    if shared.settings.client_tls.is_some() && !stream.is_layered() {
        // Nothing can be said before the two ends have agreed.
        return;
    }
    let mut text = Vec::new();
    text.error(error::MAX_CLIENTS);
    // The first readiness may not be known yet: wait for it, but not for a peer that does not read.
    let send = async {
        poll_fn(|cx| stream.poll_write(cx, &text)).await?;
        poll_fn(|cx| stream.poll_flush(cx)).await
    };
    let _ = tokio::time::timeout(REFUSAL_TIMEOUT, send).await;
}

/// Takes a connection in that [may come](may_come). Its worker has counted it already.
pub fn arrive(worker: &Rc<Worker>, stream: Stream, pool: PoolId) {
    let layer = {
        let core = worker.core.borrow();
        let tls = core.pools[pool].shared.settings.client_tls.as_ref();
        tls.map(|tls| tls.material.accepted(tls.auth))
    };
    match layer {
        None => worker.accept(stream, pool),
        Some(Ok(layer)) => {
            let arrival = worker.arrivals.enter(stream.under(layer));
            tokio::task::spawn_local(agree(Rc::clone(worker), arrival, pool));
        }
        Some(Err(error)) => {
            log!(Warning, "a client cannot be accepted by TLS: {error}");
            leave(worker);
        }
    }
}

async fn agree(worker: Rc<Worker>, arrival: Rc<Arrival>, pool: PoolId) {
    let agreed = worker.arrivals.agree(&arrival).await;
    let directory = std::sync::Arc::clone(&worker.core.borrow().directory);
    match agreed {
        Ok(Some(stream)) if directory.pool(pool).admit_client() => {
            return worker.accept(stream, pool);
        }
        Ok(Some(stream)) => refuse(&directory, pool, stream).await,
        Err(Disagreement { error, stream }) => {
            let peer = stream.map_or_else(String::new, |stream| stream.peer_name(""));
            let name = &directory.pool(pool).settings.name;
            log!(Verbose, "pool '{name}': a client does not agree on TLS: {error} (addr={peer})");
        }
        Ok(None) => {}
    }
    leave(&worker);
}

fn leave(worker: &Worker) {
    let core = worker.core.borrow();
    core.directory.client_left(core.number);
}
