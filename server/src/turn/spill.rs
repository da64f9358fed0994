//! News of the files in which lies what replicas have yet to be sent.

use std::rc::Rc;

use redstart_common::net::turn;
use tokio::sync::mpsc::UnboundedReceiver;

use super::link::tell;
use crate::persistence::spill::SpillReport;
use crate::replication::Event;
use crate::server::Server;
use crate::text::system_words;

/// Tells replication what its thread has written and read. The end of the turn has replicas sent what there is now, and the
/// thread told what to do next.
pub async fn hear(server: Rc<Server>, mut reports: UnboundedReceiver<SpillReport>) {
    while let Some(report) = reports.recv().await {
        match report {
            SpillReport::Written(id, Ok(())) => tell(&server, Event::Spilled(id)),
            SpillReport::Written(id, Err(error)) => {
                tell(&server, Event::SpillFailed(id, &system_words(&error)));
            }
            SpillReport::Read(id, Ok(bytes)) => tell(&server, Event::ReadBack(id, bytes)),
            SpillReport::Read(id, Err(error)) => {
                tell(&server, Event::ReadBackFailed(id, &system_words(&error)));
            }
        }
        turn::end();
    }
}
