//! TLS for tests: certificates that are made for them, and a client that speaks it.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use redstart_common::net::Layer;
use redstart_common::net::tls::{Files, Material, Peer};
use redstart_common::resp::{ReplyLimits, ReplyScanner, encode};

use crate::proxy_support::Folder;

/// How long a client waits for what is said to it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authority and what it vouches for, in a folder: `ca.crt`, `own.crt` and `own.key`.
#[derive(Debug)]
pub struct Papers {
    folder: Folder,
}

impl Papers {
    /// Makes them.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let papers = Self { folder: Folder::new() };
        papers.write_again();
        papers
    }

    /// Makes other ones, of another authority, in their places.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write_again(&self) {
        let write = |name: &str, text: String| {
            std::fs::write(self.folder.join(name), text).expect("written");
        };
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of the same name as what it vouches for, OpenSSL would take that to vouch for itself.
        params.distinguished_name.push(DnType::CommonName, "authority");
        write("ca.crt", params.self_signed(&key).expect("a certificate").pem());
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("parameters");
        let own = params.signed_by(&key, &issuer).expect("a certificate");
        write("own.crt", own.pem());
        write("own.key", key.serialize_pem());
    }

    /// The path of one of the files.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// The options by which a server, ours or the original, serves TLS on a port.
    #[must_use]
    pub fn options(&self, port: u16) -> Vec<String> {
        let pairs = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", self.path("own.crt")),
            ("--tls-key-file", self.path("own.key")),
            ("--tls-ca-cert-file", self.path("ca.crt")),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// What a client needs: with a certificate to show, or without.
    ///
    /// # Panics
    /// When they are no good.
    #[must_use]
    pub fn material(&self, shows: bool) -> Material {
        let [cert, key, ca] = ["own.crt", "own.key", "ca.crt"].map(|name| self.path(name));
        let files = Files { ca: &ca, ..Files::default() };
        let files = if shows { Files { cert: &cert, key: &key, ..files } } else { files };
        Material::load(&files).expect("good papers")
    }
}

impl Default for Papers {
    fn default() -> Self {
        Self::new()
    }
}

/// A client by TLS: it waits for what it asks for.
#[derive(Debug)]
pub struct TlsClient {
    stream: TcpStream,
    layer: Box<dyn Layer>,
    input: Vec<u8>,
    scanner: ReplyScanner,
}

impl TlsClient {
    /// Connects and agrees.
    ///
    /// # Errors
    /// That the server refuses; with TLS 1.3 that may show at the first reply only.
    pub fn connect(port: u16, material: &Material) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let layer = material.connected(Peer::Named("localhost")).map_err(io::Error::other)?;
        let mut client =
            Self { stream, layer, input: Vec::new(), scanner: ReplyScanner::default() };
        while client.layer.is_handshaking() {
            client.flush()?;
            if client.layer.is_handshaking() {
                client.take_in()?;
            }
        }
        client.flush()?;
        Ok(client)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.layer.has_to_send() {
            self.layer.send(&mut self.stream)?;
        }
        Ok(())
    }

    fn take_in(&mut self) -> io::Result<()> {
        let mut raw = [0; 32 * 1024];
        match self.stream.read(&mut raw)? {
            0 if self.layer.is_handshaking() => return Err(io::ErrorKind::UnexpectedEof.into()),
            0 => self.layer.take_end(),
            count => self.layer.take_in(&raw[..count])?,
        }
        Ok(())
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The connection's.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += self.layer.write(&[IoSlice::new(&bytes[sent..])]);
            self.flush()?;
        }
        Ok(())
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection's.
    pub fn send<A: AsRef<[u8]>>(&mut self, words: &[A]) -> io::Result<()> {
        let mut request = Vec::new();
        encode::request(&mut request, words.iter().map(AsRef::as_ref));
        self.send_raw(&request)
    }

    /// The next reply.
    ///
    /// # Errors
    /// The connection's: `UnexpectedEof` when it ended without a word, `ConnectionAborted` when it was ended.
    ///
    /// # Panics
    /// When what comes is no reply.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) =
                self.scanner.scan(&self.input, &ReplyLimits::default()).expect("a reply")
            {
                return Ok(self.input.drain(..length).collect());
            }
            let mut room = vec![0; 64 * 1024];
            match self.layer.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Ok(count) => self.input.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.take_in()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request of words and gives the reply as text.
    ///
    /// # Errors
    /// The connection's.
    pub fn call(&mut self, words: &str) -> io::Result<String> {
        self.send(&words.split_whitespace().collect::<Vec<_>>())?;
        self.receive().map(|reply| String::from_utf8_lossy(&reply).into_owned())
    }

    /// Ends it without a word, as a client that dies does.
    ///
    /// # Panics
    /// Never: what is cut off is cut off.
    pub fn cut(self) {
        drop(self.stream);
    }
}

/// Writes nothing more than a greeting that is never ended, as whoever means ill does.
///
/// # Panics
/// When there is no connection.
#[must_use]
pub fn silent(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    // The head of a record of 512 bytes, of which no more comes.
    stream.write_all(&[22, 3, 1, 2, 0, 1]).expect("sent");
    stream
}
