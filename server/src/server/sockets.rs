//! The sockets that take connections, bound as the settings say.

use std::io;

use redstart_common::log;
use redstart_common::net::Address;
use redstart_common::net::listen::{self, Bound, Options};

use crate::settings::Settings;

/// Sockets that take connections.
#[derive(Debug, Default)]
pub struct Sockets {
    /// For clients without TLS.
    pub plain: Vec<Bound>,
    /// For those with it.
    pub tls: Vec<Bound>,
}

impl Sockets {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.tls.is_empty()
    }

    /// The port that clients are told: the plain one, or that for TLS where there is no other; 0 where there is none.
    #[must_use]
    pub fn port(&self) -> u16 {
        let all = self.plain.iter().chain(&self.tls);
        all.filter_map(Bound::local_address).next().map_or(0, |at| at.port())
    }

    /// Each, with whether it is for TLS.
    pub(super) fn all(self) -> impl Iterator<Item = (Bound, bool)> {
        let plain = self.plain.into_iter().map(|socket| (socket, false));
        plain.chain(self.tls.into_iter().map(|socket| (socket, true)))
    }
}

/// An address that could not be bound.
#[derive(Debug)]
pub struct BindError {
    address: String,
    port: u16,
    unix: bool,
    tls: bool,
    error: io::Error,
}

impl BindError {
    /// The log line that says what failed.
    #[must_use]
    pub fn warning(&self) -> String {
        let reason = crate::text::system_words(&self.error);
        if self.unix {
            format!("Failed opening Unix socket: bind: {reason}")
        } else {
            format!(
                "Warning: Could not create server TCP listening socket {}:{}: bind: {reason}",
                self.address, self.port
            )
        }
    }

    /// The log line that says what follows.
    #[must_use]
    pub fn verdict(&self) -> String {
        if self.unix {
            "Failed listening on the Unix socket, aborting.".to_owned()
        } else {
            let kind = if self.tls { "TLS" } else { "TCP" };
            format!("Failed listening on port {} ({kind}), aborting.", self.port)
        }
    }
}

/// Binds what the settings name. An address with `-` in front may be missing on this machine.
///
/// # Errors
/// The first address that could not be bound.
pub fn bind(settings: &Settings) -> Result<Sockets, BindError> {
    let mut bound = Sockets::default();
    if settings.listens_plainly() {
        bound.plain = bind_port(settings, settings.port, false)?;
    }
    if settings.tls.port != 0 {
        bound.tls = bind_port(settings, settings.tls.port, true)?;
    }
    if !settings.unixsocket.is_empty() {
        let address = Address::Unix {
            path: settings.unixsocket.clone().into(),
            mode: (settings.unixsocketperm != 0).then_some(settings.unixsocketperm),
        };
        let socket = listen::bind(&address, options(settings)).map_err(|error| BindError {
            address: settings.unixsocket.clone(),
            port: 0,
            unix: true,
            tls: false,
            error,
        })?;
        bound.plain.push(socket);
    }
    Ok(bound)
}

fn options(settings: &Settings) -> Options {
    Options { backlog: settings.tcp_backlog, reuse_port: false }
}

/// Binds a port on all addresses.
fn bind_port(settings: &Settings, port: u16, tls: bool) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    for (name, optional) in settings.bind_addresses() {
        let fail = |error| BindError { address: name.clone(), port, unix: false, tls, error };
        let addresses = match crate::settings::resolve(&name, port) {
            Ok(addresses) => addresses,
            Err(_) if optional => continue,
            Err(error) => return Err(fail(error)),
        };
        for address in addresses {
            match listen::bind(&Address::Tcp(address), options(settings)) {
                Ok(socket) => {
                    mark(&socket, settings);
                    bound.push(socket);
                }
                Err(error) if optional && is_missing(&error) => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
    Ok(bound)
}

/// Marks what goes out over a socket as the settings say. Without the right to do so the server serves all the same, as Redis
/// does, and says that nothing is marked.
fn mark(socket: &Bound, settings: &Settings) {
    let id = settings.socket_mark_id;
    if id != 0
        && let Err(error) = socket.set_mark(id)
    {
        let reason = crate::text::system_words(&error);
        log!(Warning, "socket-mark-id {id} has no effect: setsockopt: {reason}");
    }
}

/// Whether the machine has no such address or protocol.
fn is_missing(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT, libc::EPROTONOSUPPORT]
        .into_iter()
        .any(|known| code == Some(known))
}
