//! TLS as a [`Layer`]: rustls does the protocol, the stream below carries it.
//!
//! [`Material`] is what the files say (certificates, keys, authorities, choices); it makes the layers of both sides. What a
//! configuration asks for and rustls does not do is an [`Error`], never left out in silence.

mod material;
mod sessions;
mod suites;
#[cfg(test)]
mod tests;
mod verify;

use std::io::{self, IoSlice, Read, Write};

pub use material::{ClientAuth, Error, Files, Material, Peer, Sessions};
use rustls::Connection;

use super::Layer;

/// Plain bytes that rustls holds before it takes more of what has come.
const PLAIN_MAX: usize = 16 * 1024;

/// One connection's TLS.
#[derive(Debug)]
pub struct Tls {
    connection: Connection,
    /// What has come and rustls had no room for.
    raw: Vec<u8>,
    /// Plain bytes that rustls holds.
    plain: usize,
    /// Bytes that rustls has taken to be sent since it last had nothing to send.
    unsent: usize,
    /// What has come made no sense; what came before it can still be read.
    failure: Option<io::Error>,
    /// Nothing has come.
    is_fresh: bool,
}

/// What the first record of either end may begin with: an alert, or a handshake.
const KINDS: [u8; 2] = [21, 22];

impl Tls {
    fn new(connection: Connection) -> Self {
        Self { connection, raw: Vec::new(), plain: 0, unsent: 0, failure: None, is_fresh: true }
    }

    /// Hands on as many of `bytes` as rustls has room for. Answers how many that are.
    fn digest(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut rest = bytes;
        while !rest.is_empty() && self.plain <= PLAIN_MAX {
            if self.connection.read_tls(&mut rest)? == 0 {
                // The other end has said that nothing more comes: this is nothing.
                return Ok(bytes.len());
            }
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.plain = state.plaintext_bytes_to_read();
        }
        Ok(bytes.len() - rest.len())
    }

    fn go_on(&mut self) {
        let mut raw = std::mem::take(&mut self.raw);
        match self.digest(&raw) {
            Ok(taken) if taken == raw.len() => {}
            Ok(taken) => {
                raw.drain(..taken);
                self.raw = raw;
            }
            Err(error) => self.failure = Some(error),
        }
    }
}

impl Layer for Tls {
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        if std::mem::take(&mut self.is_fresh)
            && bytes.first().is_some_and(|kind| !KINDS.contains(kind))
        {
            // Who does not speak TLS is not told in TLS why the connection ends, as by OpenSSL.
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS"));
        }
        if !self.raw.is_empty() {
            self.raw.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = self.digest(bytes)?;
        self.raw.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn take_end(&mut self) {
        // It takes note of an end; there is nothing that could fail.
        let _ = self.connection.read_tls(&mut io::empty());
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.plain == 0
            && let Some(failure) = self.failure.take()
        {
            return Err(failure);
        }
        let count = self.connection.reader().read(room)?;
        self.plain -= count.min(self.plain);
        if !self.raw.is_empty() {
            self.go_on();
        }
        Ok(count)
    }

    fn unread(&self) -> usize {
        self.plain + self.raw.len() + usize::from(self.failure.is_some())
    }

    fn held(&self) -> usize {
        self.plain + self.raw.capacity() + self.unsent
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> usize {
        if self.connection.is_handshaking() {
            return 0;
        }
        // It has a bound, and nothing else that could fail.
        let taken = self.connection.writer().write_vectored(slices).unwrap_or(0);
        self.unsent += taken;
        taken
    }

    fn has_to_send(&self) -> bool {
        self.connection.wants_write()
    }

    fn send(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        let mut to = to;
        let sent = self.connection.write_tls(&mut to);
        if !self.connection.wants_write() {
            self.unsent = 0;
        }
        sent
    }

    fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn agreed(&self) -> String {
        let version = match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "no version",
        };
        let suite = self.connection.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("no suite");
        format!("{version} with {suite}")
    }
}
