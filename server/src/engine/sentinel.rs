//! What a sentinel decides, carried out as far as the log, channels and the configuration file are concerned. The rest is asked
//! of the shell.

use std::io;

use redstart_common::{clock, log};

use super::Core;
use super::asks::Ask;
use crate::client::Client;
use crate::pubsub::Channel;
use crate::sentinel::{ALIASES, Action, OPTIONS, Sentinel};
use crate::settings::file::{self, Extent, Special};
use crate::text::system_words;

/// The status of a process that ends because that was to be simulated.
const CRASH_STATUS: i32 = 99;

impl Core {
    /// Has the sentinel do something, and carries out what follows. `current` is the client that is being served, if any.
    /// Answers what `act` does, and whether the configuration is on the disk if it had to be written.
    pub fn with_sentinel<R>(
        &mut self,
        now_ms: i64,
        mut current: Option<&mut Client>,
        act: impl FnOnce(&mut Sentinel) -> R,
    ) -> Option<(R, bool)> {
        let mut sentinel = self.sentinel.take()?;
        sentinel.set_now(now_ms);
        let result = act(&mut sentinel);
        let mut is_saved = true;
        for action in sentinel.take_actions() {
            match action {
                Action::Say(level, event, text) => {
                    log::line(level, format_args!("{event} {text}"));
                    if level > log::Level::Debug {
                        let (event, text) = (event.as_bytes(), text.as_bytes());
                        let current = current.as_deref_mut();
                        let clients = &mut self.clients;
                        self.pubsub.publish(clients, current, Channel::Plain, event, text);
                    }
                }
                Action::Log(level, text) => log::line(level, format_args!("{text}")),
                Action::LogDelay(until_ms) => {
                    let until = clock::local_words(until_ms / 1000);
                    log!(
                        Warning,
                        "Next failover delay: I will not start a failover before {until}"
                    );
                }
                Action::Save => is_saved = self.save_sentinel(&sentinel),
                Action::Crash => std::process::exit(CRASH_STATUS),
                action => self.asks.push(Ask::Sentinel(action)),
            }
        }
        self.sentinel = Some(sentinel);
        Some((result, is_saved))
    }

    /// Writes the configuration file with what the sentinel knows now.
    fn save_sentinel(&self, sentinel: &Sentinel) -> bool {
        match self.write_sentinel(sentinel) {
            Ok(()) => {
                log!(Notice, "Sentinel new configuration saved on disk");
                true
            }
            Err(error) => {
                log!(
                    Warning,
                    "WARNING: Sentinel was not able to save the new configuration on disk!!!: {}",
                    system_words(&error)
                );
                false
            }
        }
    }

    fn write_sentinel(&self, sentinel: &Sentinel) -> io::Result<()> {
        let path = self.shell.config_file.as_deref().ok_or(io::ErrorKind::NotFound)?;
        let old = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            outcome => outcome?,
        };
        let lines = sentinel.lines();
        let special = Special { options: &OPTIONS, aliases: &ALIASES, lines: &lines };
        let users = self.user_lines();
        let new =
            file::rewrite_special(&old, &self.settings, &users, Some(special), Extent::Changed);
        crate::process::disk::replace(path, &new)
    }
}
