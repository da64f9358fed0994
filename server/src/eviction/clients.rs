//! `maxmemory-clients`: the largest clients are closed while all together take too much.

use redstart_common::log;

use crate::client::allocated_bytes;
use crate::client::{Client, Flags};
use crate::engine::Core;

/// A lower limit would close everybody who asks anything.
const LIMIT_MIN: usize = 128 << 10;
/// With more clients than these, adding up what they take at every turn costs too much: once a tick must do.
const CLIENTS_EACH_TURN: usize = 1000;

impl Core {
    /// What all clients together may take, in bytes.
    fn clients_limit(&self) -> Option<usize> {
        let bytes = match self.settings.maxmemory_clients {
            0 => return None,
            // A share of no limit is none.
            ..0 if self.settings.maxmemory == 0 => return None,
            percent @ ..0 => {
                (self.settings.maxmemory as f64 * percent.unsigned_abs() as f64 / 100.0) as usize
            }
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        };
        Some(bytes.max(LIMIT_MIN))
    }

    /// The end of a turn: closes clients that take too much, if it is not too much to look.
    pub fn evict_clients_each_turn(&mut self) {
        if self.settings.maxmemory_clients != 0 && self.clients.len() <= CLIENTS_EACH_TURN {
            self.evict_clients(None);
        }
    }

    /// Closes the largest clients until the others take less than they may. `current` is being served and counts too.
    pub fn evict_clients(&mut self, current: Option<&mut Client>) {
        let Some(limit) = self.clients_limit() else { return };
        let counted = |client: &Client| !client.flags.any(Flags::CLOSE_ASAP);
        let all = || {
            let others = self.clients.iter().chain(current.as_deref());
            others.filter(|client| counted(client)).map(|client| (allocated_bytes(client), client))
        };
        let mut total: usize = all().map(|(bytes, _)| bytes).sum();
        if total < limit {
            return;
        }
        let mut largest: Vec<(usize, u64)> = all()
            .filter(|(_, client)| !client.flags.any(Flags::NO_EVICT))
            .map(|(bytes, client)| (bytes, client.id))
            .collect();
        largest.sort_unstable_by(|one, other| other.cmp(one));
        let now = redstart_common::clock::unix_ms();
        let mut current = current;
        for (bytes, id) in largest {
            if total < limit {
                return;
            }
            let served = current.as_deref_mut().filter(|client| client.id == id);
            if let Some(client) = served.or_else(|| self.clients.by_id(id)) {
                log!(Notice, "Evicting client: {}", crate::client::describe(client, now));
                client.close_asap();
                // Its memory is needed now, not once its task has ended.
                client.reply.output.clear();
                client.multi = None;
                self.stats.evicted_clients += 1;
                total -= bytes;
            }
        }
        if total >= limit {
            log!(Warning, "Over client maxmemory after evicting all evictable clients");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::settings::Settings;

    fn add(core: &mut Core, bytes: usize) -> u64 {
        let id = core.clients.new_id();
        let mut client = Box::new(Client::new(id, 0));
        client.reply.output.room(bytes);
        core.clients.add(client);
        id
    }

    #[test]
    fn the_largest_go_until_the_rest_fits() {
        let settings = Settings { maxmemory_clients: 1 << 20, ..Settings::default() };
        let mut engine = Engine::new(settings, crate::commands::handlers());
        let core = &mut engine.core;
        let ids: Vec<u64> =
            [600, 200, 500, 300, 900].iter().map(|kib| add(core, kib << 10)).collect();
        core.clients.by_id(ids[4]).expect("there").flags.set(Flags::MONITOR);
        core.clients.by_id(ids[0]).expect("there").flags.set(Flags::NO_EVICT);
        core.evict_clients_each_turn();
        let closed: Vec<u64> = core
            .clients
            .iter()
            .filter(|client| client.flags.any(Flags::CLOSE_ASAP))
            .map(|client| client.id)
            .collect();
        // A monitor is a client like others, and the largest here.
        assert_eq!(closed, [ids[2], ids[3], ids[4]]);
        assert_eq!(core.stats.evicted_clients, 3);
    }

    #[test]
    fn the_client_that_is_served_counts_and_may_be_the_one_to_go() {
        let settings = Settings { maxmemory_clients: 1 << 20, ..Settings::default() };
        let mut engine = Engine::new(settings, crate::commands::handlers());
        let core = &mut engine.core;
        let other = add(core, 600 << 10);
        let mut served = Client::new(core.clients.new_id(), 0);
        served.reply.output.room(300 << 10);
        core.evict_clients(Some(&mut served));
        assert_eq!(core.stats.evicted_clients, 0);
        served.reply.output.room(900 << 10);
        core.evict_clients(Some(&mut served));
        assert!(served.flags.any(Flags::CLOSE_ASAP) && served.reply.output.allocated() == 0);
        assert!(!core.clients.look(other).expect("there").flags.any(Flags::CLOSE_ASAP));
    }

    #[test]
    fn a_share_of_maxmemory_is_a_limit_only_with_it() {
        let settings = Settings { maxmemory_clients: -10, ..Settings::default() };
        let mut core = Engine::new(settings, crate::commands::handlers()).core;
        assert_eq!(core.clients_limit(), None);
        core.settings.maxmemory = 100 << 20;
        assert_eq!(core.clients_limit(), Some(10 << 20));
        core.settings.maxmemory_clients = 1;
        assert_eq!(core.clients_limit(), Some(LIMIT_MIN));
    }
}
