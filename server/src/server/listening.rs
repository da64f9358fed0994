//! The ports that connections come by, who is let in, and connections to other servers.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use redstart_common::log;
use redstart_common::net::listen::Bound;
use redstart_common::net::tls::Peer;
use redstart_common::net::{Listener, Stream, outward};

use super::{Server, bind};
use crate::client::{Client, Flags};
use crate::engine::Core;
use crate::settings::Settings;
use crate::settings::tls::Tls;
use crate::turn::arrivals;
use crate::turn::connection::Connection;

/// A TCP socket that takes connections, and the task that does it.
pub(super) struct Listening {
    socket: std::net::TcpListener,
    tls: bool,
    task: tokio::task::JoinHandle<()>,
}

/// Which of the server's ports are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Plain,
    Tls,
    Both,
}

impl Server {
    /// Takes connections from a socket from now on.
    pub(super) fn listen(self: &Rc<Self>, socket: Bound, tls: bool) -> io::Result<()> {
        let copy = match &socket {
            Bound::Tcp(socket) => Some(socket.try_clone()?),
            Bound::Unix(_) => None,
        };
        let listener = socket.into_listener()?;
        let task = tokio::task::spawn_local(accept(Rc::clone(self), listener, tls));
        if let Some(socket) = copy {
            self.listening.borrow_mut().push(Listening { socket, tls, task });
        }
        Ok(())
    }

    /// Takes the connections that wait for it, past the runtime, and hands them to `take`, with whether they speak TLS.
    pub(crate) fn accept_now(&self, mut take: impl FnMut(Stream, bool)) {
        for listening in self.listening.borrow().iter() {
            while let Ok((stream, _)) = listening.socket.accept() {
                let stream = stream
                    .set_nonblocking(true)
                    .and_then(|()| stream.set_nodelay(true))
                    .and_then(|()| tokio::net::TcpStream::from_std(stream));
                match stream {
                    Ok(stream) => take(Stream::Tcp(stream), listening.tls),
                    Err(error) => log!(Warning, "Accepting client connection: {error}"),
                }
            }
        }
    }

    /// Closes the TCP sockets that take connections.
    pub(super) fn close_listeners(&self, listeners: Vec<Listening>) {
        for Listening { socket, task, .. } in listeners {
            // At once, so that the address is free; the task lets go of its own handle a little later.
            if let Err(error) = socket2::SockRef::from(&socket).shutdown(std::net::Shutdown::Both) {
                log!(Warning, "Closing a listening socket: {error}");
            }
            task.abort();
        }
    }

    /// Binds the addresses of `settings` and takes connections there: those of the plain port, of that for TLS, or of both.
    /// Answers whether it does; if not, nothing has changed.
    fn listen_as(self: &Rc<Self>, settings: &Settings, which: Which) -> bool {
        let mut wanted = Settings { unixsocket: String::new(), ..settings.clone() };
        if which == Which::Tls {
            (wanted.port, wanted.ephemeral_port) = (0, false);
        } else if which == Which::Plain {
            wanted.tls.port = 0;
        }
        let bound = match bind(&wanted) {
            Ok(bound) => bound,
            Err(error) => {
                log!(Warning, "{}", error.warning());
                return false;
            }
        };
        for (socket, tls) in bound.all() {
            if let Err(error) = self.listen(socket, tls) {
                log!(Warning, "Listening: {error}");
            }
        }
        true
    }

    /// Takes connections where `new` says instead of where `old` did. Those that are there stay. Answers the port.
    pub(super) fn rebind(self: &Rc<Self>, old: &Settings, new: &Settings) -> Option<u16> {
        if new.bind != old.bind {
            // The new addresses may be part of those of now, on the same port: these have to go first.
            let before = std::mem::take(&mut *self.listening.borrow_mut());
            self.close_listeners(before);
            let listens = self.listen_as(new, Which::Both);
            if !listens && !self.listen_as(old, Which::Both) {
                log!(Warning, "The addresses of before could not be bound again either.");
            }
            return listens.then(|| self.port());
        }
        let which = match (new.port != old.port, new.tls.port != old.tls.port) {
            (true, true) => Which::Both,
            (false, true) => Which::Tls,
            _ => Which::Plain,
        };
        let goes = |listening: &Listening| match which {
            Which::Both => true,
            Which::Tls => listening.tls,
            Which::Plain => !listening.tls,
        };
        let before = std::mem::take(&mut *self.listening.borrow_mut());
        let (before, kept): (Vec<_>, Vec<_>) = before.into_iter().partition(goes);
        self.listening.borrow_mut().extend(kept);
        if self.listen_as(new, which) {
            self.close_listeners(before);
            return Some(self.port());
        }
        self.listening.borrow_mut().extend(before);
        None
    }

    /// The port that clients are told: the plain one, or that for TLS where there is no other; 0 where there is none.
    pub(super) fn port(&self) -> u16 {
        let listening = self.listening.borrow();
        let plain = listening.iter().find(|listening| !listening.tls);
        let at = plain.or(listening.first()).and_then(|it| it.socket.local_addr().ok());
        at.map_or(0, |at| at.port())
    }

    /// Connects to another server: from the address that the settings name, and by TLS where `goes_by_tls` finds that in the
    /// settings.
    ///
    /// # Errors
    /// What connecting says, or that the two ends do not agree. This waits for the other end.
    pub(crate) async fn reach(
        &self,
        host: &str,
        port: u16,
        goes_by_tls: fn(&Tls) -> bool,
    ) -> io::Result<Stream> {
        let (source, tls) = {
            let engine = self.engine.borrow();
            let core = &engine.core;
            let tls = core.tls.clone().filter(|_| goes_by_tls(&core.settings.tls));
            (core.settings.bind_source_addr.clone(), tls)
        };
        let stream = outward::connect(host, port, &source).await?;
        let Some(material) = tls else { return Ok(stream) };
        let mut stream = stream.under(material.connected(Peer::Trusted).map_err(io::Error::other)?);
        stream.handshake().await?;
        Ok(stream)
    }

    /// Takes a connection in as a client, if there is room and the protected mode lets it. Answers whether it did.
    pub(crate) fn admit(&self, connection: &Rc<Connection>) -> bool {
        let mut engine = self.engine.borrow_mut();
        engine.refresh();
        let now = engine.keyspace.shared.now_ms.get();
        self.admit_to(&mut engine.core, now, connection)
    }

    /// As [`admit`](Self::admit), where the engine is borrowed.
    pub(crate) fn admit_to(&self, core: &mut Core, now: i64, connection: &Rc<Connection>) -> bool {
        let mut stream = connection.stream();
        if core.clients.len() + core.cluster_connections() >= core.settings.maxclients {
            core.stats.rejected_connections += 1;
            // As in Redis, a best effort: the client may not read it.
            let text: &[u8] = match core.cluster {
                Some(_) => b"-ERR max number of clients + cluster connections reached\r\n",
                None => b"-ERR max number of clients reached\r\n",
            };
            let _ = stream.try_write(text);
            return false;
        }
        if core.users.open_to_all() && core.settings.protects_from(&stream) {
            core.stats.rejected_connections += 1;
            let _ = stream.try_write(PROTECTED);
            return false;
        }
        // Those who have not agreed yet give way to those who have.
        self.arrivals.keep_at_most(core.settings.maxclients - core.clients.len());
        if core.settings.tcp_keepalive > 0 {
            // A socket without keepalive still serves.
            let _ = stream.set_keepalive(Duration::from_secs(core.settings.tcp_keepalive));
        }
        core.stats.connections += 1;
        let mut client = Box::new(Client::new(core.clients.new_id(), now));
        client.address = stream.peer_name(&core.settings.unixsocket);
        client.local_address = stream.local_name(&core.settings.unixsocket);
        client.authenticated = core.users.open_to_all();
        core.become_user(&mut client, b"default");
        if stream.is_unix() {
            client.flags.set(Flags::UNIX);
        }
        if stream.is_layered() {
            client.flags.set(Flags::BY_TLS);
        }
        client.connection = Some(Rc::clone(connection) as Rc<dyn crate::client::Connection>);
        connection.set_slot(core.clients.add(client));
        true
    }
}

const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is \
enabled and no password is set for the default user. In this mode connections are only accepted from \
the loopback interface. If you want to connect from external computers to Redis you may adopt one of \
the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode \
no' from the loopback interface by connecting to Redis from the same host the server is running, \
however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to \
make this change permanent. 2) Alternatively you can just disable the protected mode by editing the \
Redis configuration file, and setting the protected mode option to 'no', and then restarting the \
server. 3) If you started the server manually just for testing, restart it with the '--protected-mode \
no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one \
of the above things in order for the server to start accepting connections from the outside.\r\n";

async fn accept(server: Rc<Server>, listener: Listener, tls: bool) {
    loop {
        match listener.accept().await {
            Ok(stream) if tls => {
                arrivals::begin(&server, &mut server.engine.borrow_mut().core, stream);
            }
            Ok(stream) => {
                tokio::task::spawn_local(Connection::serve(Rc::clone(&server), stream));
            }
            Err(error) => {
                log!(Warning, "Accepting client connection: {error}");
                // Out of descriptors, most likely: the kernel keeps the queue meanwhile.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
