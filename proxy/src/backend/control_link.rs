//! A connection of the proxy's own to a server or sentinel: questions are asked one by one or in a row, and replies are
//! taken as values. It carries no client's requests.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use redstart_common::net::Stream;
use redstart_common::resp::encode::{self, Proto};
use redstart_common::resp::owned::{self, Frame};
use redstart_common::resp::{ReplyLimits, ReplyScanner};
use tokio::io::ReadBuf;

use super::resolve;
use crate::settings::{ServerAddress, ServerTls};

/// Most bytes of a reply: INFO and a list of many groups are the longest.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// The link.
#[derive(Debug)]
pub struct ControlLink {
    stream: Stream,
    proto: Proto,
    input: Vec<u8>,
}

impl ControlLink {
    /// Connects, over TCP by TLS where `tls` is given; it speaks RESP2 at first.
    ///
    /// # Errors
    /// What the resolver or connect(2) says, or that the two ends do not agree.
    pub async fn connect(address: &ServerAddress, tls: Option<&ServerTls>) -> io::Result<Self> {
        let stream = match address {
            ServerAddress::Unix(path) => Stream::connect_unix(path).await?,
            ServerAddress::Tcp { host, port } => {
                let stream = resolve::connect_tcp(host, *port).await?;
                match tls {
                    Some(tls) => tls.agree(stream).await?,
                    None => stream,
                }
            }
        };
        Ok(Self { stream, proto: Proto::Resp2, input: Vec::new() })
    }

    /// Reads replies as of this protocol from now on.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send(&mut self, words: &[&[u8]]) -> io::Result<()> {
        let mut request = Vec::new();
        encode::request(&mut request, words.iter().copied());
        self.send_raw(&request).await
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn send_raw(&mut self, request: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < request.len() {
            sent += poll_fn(|cx| self.stream.poll_write(cx, &request[sent..])).await?;
        }
        poll_fn(|cx| self.stream.poll_flush(cx)).await
    }

    /// The next reply. Nothing is lost when this is given up halfway.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no reply.
    pub async fn receive(&mut self) -> io::Result<Frame> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Frame>> {
        let limits = ReplyLimits::default();
        loop {
            match owned::decode_within(&self.input, self.proto, &limits) {
                Ok(Some((frame, len))) => {
                    self.input.drain(..len);
                    return Poll::Ready(Ok(frame));
                }
                Ok(None) if self.input.len() <= REPLY_BYTES_MAX => {}
                _ => return Poll::Ready(Err(nonsense())),
            }
            ready!(self.poll_more(cx))?;
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 4096];
        let mut space = ReadBuf::new(&mut piece);
        ready!(self.stream.poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.input.extend_from_slice(space.filled());
        Poll::Ready(Ok(()))
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// As [`ControlLink::send`] and [`ControlLink::receive`].
    pub async fn ask(&mut self, words: &[&[u8]]) -> io::Result<Frame> {
        self.send(words).await?;
        self.receive().await
    }

    /// The next reply as it came. Nothing is lost when this is given up halfway.
    ///
    /// # Errors
    /// When the connection ends, or what comes is no reply.
    pub async fn receive_raw(&mut self) -> io::Result<Vec<u8>> {
        let mut scanner = ReplyScanner::default();
        loop {
            match scanner.scan(&self.input, &ReplyLimits::default()) {
                Ok(Some(len)) => return Ok(self.input.drain(..len).collect()),
                Ok(None) if self.input.len() <= REPLY_BYTES_MAX => {}
                _ => return Err(nonsense()),
            }
            poll_fn(|cx| self.poll_more(cx)).await?;
        }
    }

    /// Gives the user and password that are wanted, if any.
    ///
    /// # Errors
    /// When they are refused, or as [`ControlLink::ask`].
    pub async fn authenticate(
        &mut self,
        user: Option<&str>,
        password: Option<&str>,
    ) -> io::Result<()> {
        let Some(password) = password else { return Ok(()) };
        let words = [Some(&b"AUTH"[..]), user.map(str::as_bytes), Some(password.as_bytes())];
        let words: Vec<&[u8]> = words.into_iter().flatten().collect();
        self.expect_ok(&words).await
    }

    /// Asks for something that is answered by OK.
    ///
    /// # Errors
    /// When it is answered by anything else, or as [`ControlLink::ask`].
    pub async fn expect_ok(&mut self, words: &[&[u8]]) -> io::Result<()> {
        let reply = self.ask(words).await?;
        if is_simple(&reply, b"OK") { Ok(()) } else { Err(refused(&reply)) }
    }

    /// Hands the connection on to whoever listens on it, with what has come already.
    #[must_use]
    pub fn into_listener(self) -> (Stream, Vec<u8>) {
        (self.stream, self.input)
    }

    /// Hands the connection on to whoever carries requests on it.
    ///
    /// # Errors
    /// When the server has sent something that nobody asked for.
    pub fn into_stream(self) -> io::Result<Stream> {
        if self.input.is_empty() {
            return Ok(self.stream);
        }
        Err(io::Error::other("the server sent a reply that nobody asked for"))
    }
}

fn nonsense() -> io::Error {
    io::Error::other("the server does not speak Redis's protocol")
}

/// Whether a reply is a simple string of this text.
#[must_use]
pub fn is_simple(reply: &Frame, text: &[u8]) -> bool {
    use redis_protocol::{resp2, resp3};
    match reply {
        Frame::Resp2(resp2::types::OwnedFrame::SimpleString(said)) => said == text,
        Frame::Resp3(resp3::types::OwnedFrame::SimpleString { data, .. }) => data == text,
        _ => false,
    }
}

/// The text of a reply that is an error.
#[must_use]
pub fn error_of(reply: &Frame) -> Option<&str> {
    use redis_protocol::{resp2, resp3};
    match reply {
        Frame::Resp2(resp2::types::OwnedFrame::Error(text)) => Some(text),
        Frame::Resp3(resp3::types::OwnedFrame::SimpleError { data, .. }) => Some(data),
        _ => None,
    }
}

/// The bytes of a reply that is a string.
#[must_use]
pub fn text_of(reply: &Frame) -> Option<&[u8]> {
    use redis_protocol::{resp2, resp3};
    match reply {
        Frame::Resp2(
            resp2::types::OwnedFrame::BulkString(text)
            | resp2::types::OwnedFrame::SimpleString(text),
        ) => Some(text),
        Frame::Resp3(
            resp3::types::OwnedFrame::BlobString { data, .. }
            | resp3::types::OwnedFrame::SimpleString { data, .. }
            | resp3::types::OwnedFrame::VerbatimString { data, .. },
        ) => Some(data),
        _ => None,
    }
}

/// The number of a reply that is an integer.
#[must_use]
pub fn integer_of(reply: &Frame) -> Option<i64> {
    use redis_protocol::{resp2, resp3};
    match reply {
        Frame::Resp2(resp2::types::OwnedFrame::Integer(number)) => Some(*number),
        Frame::Resp3(resp3::types::OwnedFrame::Number { data, .. }) => Some(*data),
        _ => None,
    }
}

/// The first element of a reply that is an array, where that is a string.
#[must_use]
pub fn first_of(reply: &Frame) -> Option<Vec<u8>> {
    use redis_protocol::{resp2, resp3};
    match reply {
        Frame::Resp2(resp2::types::OwnedFrame::Array(items)) => {
            items.first().and_then(|item| text_of(&Frame::Resp2(item.clone())).map(<[u8]>::to_vec))
        }
        Frame::Resp3(resp3::types::OwnedFrame::Array { data, .. }) => {
            data.first().and_then(|item| text_of(&Frame::Resp3(item.clone())).map(<[u8]>::to_vec))
        }
        _ => None,
    }
}

/// The error that a server has refused a connection with this reply.
#[must_use]
pub fn refused(reply: &Frame) -> io::Error {
    let text = error_of(reply).map_or_else(|| format!("{reply:?}"), str::to_owned);
    io::Error::other(format!("the server refused the connection: {text}"))
}
