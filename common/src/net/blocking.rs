//! A connection of a thread that may wait for the other end: plain, or with a [`Layer`] over it.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::Layer;
use super::layered::READ_BYTES;

/// Such a connection. What it does ends, with [`TimedOut`](ErrorKind::TimedOut) or [`WouldBlock`](ErrorKind::WouldBlock), at the
/// moment that is given with it.
#[derive(Debug)]
pub struct Blocking {
    stream: TcpStream,
    over: Option<Over>,
}

#[derive(Debug)]
struct Over {
    layer: Box<dyn Layer>,
    /// What is read of the transport, before the layer takes it in.
    raw: Vec<u8>,
}

/// The time until `until`; an error once it is over, for a socket takes no timeout of zero.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn read_plain(mut stream: &TcpStream, room: &mut [u8], until: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl Over {
    /// Sends all that waits for it.
    fn flush(&mut self, mut stream: &TcpStream, until: Instant) -> io::Result<()> {
        while self.layer.has_to_send() {
            stream.set_write_timeout(Some(left(until)?))?;
            match self.layer.send(&mut stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads of the transport once.
    fn receive(&mut self, stream: &TcpStream, until: Instant) -> io::Result<()> {
        self.raw.resize(READ_BYTES, 0);
        match read_plain(stream, &mut self.raw, until)? {
            0 if self.layer.is_handshaking() => return Err(ErrorKind::UnexpectedEof.into()),
            0 => self.layer.take_end(),
            count => {
                if let Err(error) = self.layer.take_in(&self.raw[..count]) {
                    // The other end is told why, if it still hears.
                    let _ = self.flush(stream, until);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, stream: &TcpStream, room: &mut [u8], until: Instant) -> io::Result<usize> {
        loop {
            match self.layer.read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            self.flush(stream, until)?;
            self.receive(stream, until)?;
        }
    }

    fn write(&mut self, stream: &TcpStream, bytes: &[u8], until: Instant) -> io::Result<usize> {
        loop {
            self.flush(stream, until)?;
            let taken = self.layer.write(&[IoSlice::new(bytes)]);
            if taken > 0 || bytes.is_empty() {
                self.flush(stream, until)?;
                return Ok(taken);
            }
            // It has to hear from the other end before it takes more.
            self.receive(stream, until)?;
        }
    }
}

impl Blocking {
    /// A plain connection.
    #[must_use]
    pub fn plain(stream: TcpStream) -> Self {
        Self { stream, over: None }
    }

    /// A connection with a layer over it, on which both ends agree first.
    ///
    /// # Errors
    /// When they do not, not in time, or the connection ends.
    pub fn under(stream: TcpStream, layer: Box<dyn Layer>, until: Instant) -> io::Result<Self> {
        let mut over = Over { layer, raw: Vec::new() };
        while over.layer.is_handshaking() {
            over.flush(&stream, until)?;
            if over.layer.is_handshaking() {
                over.receive(&stream, until)?;
            }
        }
        over.flush(&stream, until)?;
        Ok(Self { stream, over: Some(over) })
    }

    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// The connection's, or that time is over.
    pub fn read(&mut self, room: &mut [u8], until: Instant) -> io::Result<usize> {
        match &mut self.over {
            Some(over) => over.read(&self.stream, room, until),
            None => read_plain(&self.stream, room, until),
        }
    }

    /// Sends some bytes.
    ///
    /// # Errors
    /// The connection's, or that time is over.
    pub fn write(&mut self, bytes: &[u8], until: Instant) -> io::Result<usize> {
        let Some(over) = &mut self.over else {
            loop {
                self.stream.set_write_timeout(Some(left(until)?))?;
                match self.stream.write(bytes) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    outcome => return outcome,
                }
            }
        };
        over.write(&self.stream, bytes, until)
    }
}

impl Drop for Blocking {
    fn drop(&mut self) {
        if let Some(over) = &mut self.over
            && !over.layer.is_handshaking()
        {
            over.layer.close();
            // Without it the other end takes the connection for broken off, which it may be. It waits for nothing.
            let _ = over.flush(&self.stream, Instant::now() + GOODBYE);
        }
    }
}

/// How long the last word may take: there is room for it, or nobody reads.
const GOODBYE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::net::layered::tests::awkward_layer;

    fn pair() -> [TcpStream; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("a port")).expect("connected");
        [near, listener.accept().expect("accepted").0]
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    fn layered(stream: TcpStream) -> Blocking {
        Blocking::under(stream, awkward_layer(2, 100, 7), soon()).expect("they agree")
    }

    /// Sends everything, and then hears as much.
    fn exchange(mut connection: Blocking, said: &[u8]) -> Vec<u8> {
        let mut sent = 0;
        while sent < said.len() {
            sent += connection.write(&said[sent..], soon()).expect("it is taken");
        }
        let mut heard = Vec::new();
        let mut room = [0; 100];
        while heard.len() < said.len() {
            match connection.read(&mut room, soon()).expect("it goes on") {
                0 => break,
                count => heard.extend_from_slice(&room[..count]),
            }
        }
        heard
    }

    #[test]
    fn what_is_said_is_heard_with_a_layer_and_without() {
        for make in [Blocking::plain, layered] {
            let [near, far] = pair();
            let said: [Vec<u8>; 2] =
                [0, 7].map(|more| (0..5000u32).map(|byte| (byte + more) as u8).collect());
            let told = said[1].clone();
            let other = thread::spawn(move || exchange(make(far), &told));
            assert_eq!(exchange(make(near), &said[0]), said[1]);
            assert_eq!(other.join().expect("it ends"), said[0]);
        }
    }

    #[test]
    fn the_end_is_told_and_a_cut_is_none() {
        let [near, far] = pair();
        let other = thread::spawn(move || drop(layered(far)));
        let mut near = layered(near);
        assert_eq!(near.read(&mut [0; 10], soon()).expect("an end"), 0);
        other.join().expect("it ends");
        let [near, far] = pair();
        let other = thread::spawn(move || {
            let Blocking { stream, .. } = &layered(far);
            stream.shutdown(std::net::Shutdown::Both).expect("shut down");
        });
        let cut = layered(near).read(&mut [0; 10], soon()).expect_err("nothing was said");
        assert_eq!(cut.kind(), ErrorKind::UnexpectedEof);
        other.join().expect("it ends");
    }

    #[test]
    fn nobody_waits_for_ever() {
        let [near, _far] = pair();
        let until = Instant::now() + Duration::from_millis(20);
        let late = Blocking::under(near, awkward_layer(1, 1, 1), until).expect_err("no answer");
        assert!(matches!(late.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{late}");
        let [near, _far] = pair();
        let until = Instant::now() + Duration::from_millis(20);
        let late = Blocking::plain(near).read(&mut [0], until).expect_err("nothing was said");
        assert!(matches!(late.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock), "{late}");
    }
}
