//! Connections that have come and have to agree on TLS before they are clients.

use std::rc::Rc;

use redstart_common::log;
use redstart_common::net::Stream;
use redstart_common::net::arrivals::{Arrival, Disagreement};

use crate::engine::Core;
use crate::server::Server;
use crate::turn::connection::Connection;

/// Begins the handshake of a connection, if there is room for another client.
pub fn begin(server: &Rc<Server>, core: &mut Core, stream: Stream) {
    if core.clients.len() + core.cluster_connections() >= core.settings.maxclients {
        // As in Redis: nothing can be said before the two ends have agreed.
        core.stats.rejected_connections += 1;
        return;
    }
    let auth = core.settings.tls.auth_clients;
    let layer = match core.tls.as_ref().map(|material| material.accepted(auth)) {
        Some(Ok(layer)) => layer,
        Some(Err(error)) => {
            log!(Warning, "A client cannot be accepted by TLS: {error}");
            return;
        }
        None => return,
    };
    let arrival = server.arrivals.enter(stream.under(layer));
    server.arrivals.keep_at_most(core.settings.maxclients - core.clients.len());
    tokio::task::spawn_local(serve(Rc::clone(server), arrival));
}

async fn serve(server: Rc<Server>, arrival: Rc<Arrival>) {
    match server.arrivals.agree(&arrival).await {
        Ok(Some(stream)) => Connection::serve(server, stream).await,
        Ok(None) => {}
        Err(why) => tell(&why),
    }
}

fn tell(why: &Disagreement) {
    // Without it, a script's loop has taken it in, or it is let go while it is being worked out.
    if let Disagreement { error, stream: Some(stream) } = why {
        let peer = stream.peer_name("");
        log!(Verbose, "Error accepting a client connection: {error} (addr={peer})");
    }
}

/// While a script runs: goes on with all of them, and hands those to `take` that are through.
pub fn go_on_while_busy(server: &Server, mut take: impl FnMut(Stream)) {
    for outcome in server.arrivals.go_on_now() {
        match outcome {
            Ok(stream) => take(stream),
            Err(why) => tell(&why),
        }
    }
}
