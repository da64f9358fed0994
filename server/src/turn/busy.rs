//! Clients while a script runs long: the loop stands still, but they are heard, and told that the server is busy. So the one
//! who ends the script is heard as well.
//!
//! Their sockets are read and written past the runtime. As in Redis nothing else goes on: no timer, no save, no stream of a
//! primary. What a client has sent before is answered first. What was written before the script goes to the log and to
//! replicas, and replies leave behind it as at the end of any turn.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use redstart_common::log;
use redstart_common::net::Stream;

use crate::client::Flags;
use crate::engine::Core;
use crate::keyspace::Keyspace;
use crate::server::Server;
use crate::turn::arrivals;
use crate::turn::connection::Connection;

/// Between two looks at the sockets.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// When the sockets were last looked at.
#[derive(Default)]
pub struct Looks(Cell<Option<Instant>>);

/// Hears those who have something to say, and answers them.
pub fn serve(server: &Rc<Server>, looks: &Looks, keyspace: &mut Keyspace, core: &mut Core) {
    let now = Instant::now();
    if looks.0.get().is_some_and(|last| now.saturating_duration_since(last) < LOOK_EVERY) {
        return;
    }
    looks.0.set(Some(now));
    // The log says why. No reply to what was not logged may leave.
    if core.deliver(keyspace).is_err() {
        std::process::exit(1);
    }
    // Time stands still for the script.
    let now_ms = keyspace.shared.now_ms.get();
    // The commands here are no part of what the script changes, and change nothing.
    let form = core.feed.form;
    server.intake.answer_waiting(|connection, bytes| {
        let hears = connection.is_in_place(core) && !connection.imports(core);
        if hears {
            connection.serve_while_busy(keyspace, core, bytes);
        }
        hears
    });
    server.accept_now(|stream, tls| match tls {
        true => arrivals::begin(server, core, stream),
        false => take_in(server, core, keyspace, stream),
    });
    arrivals::go_on_while_busy(server, |stream| take_in(server, core, keyspace, stream));
    for connection in connections(core) {
        connection.serve_while_busy(keyspace, core, &[]);
    }
    core.look_at_held();
    for connection in connections(core) {
        connection.send_while_busy(core);
    }
    core.feed.form = form;
    keyspace.shared.now_ms.set(now_ms);
}

/// Those who may be heard: not the one whose script runs, which is out of its place.
fn connections(core: &Core) -> Vec<Rc<Connection>> {
    core.clients
        .iter()
        // A source that hands slots over is executed, not answered: it waits.
        .filter(|client| !client.flags.any(Flags::CLOSE_ASAP.or(Flags::IMPORT)))
        .filter_map(|client| client.connection.clone())
        .filter_map(|connection| connection.as_any().downcast::<Connection>().ok())
        .collect()
}

/// Takes a new client in.
fn take_in(server: &Rc<Server>, core: &mut Core, keyspace: &Keyspace, stream: Stream) {
    let connection = Connection::new(Rc::clone(server), stream);
    if server.admit_to(core, keyspace.shared.now_ms.get(), &connection) {
        tokio::task::spawn_local(connection.go_through());
    } else {
        log!(Verbose, "A client was not taken in while a script runs");
    }
}
