//! A layer that is as awkward as one may be, tried against a plain pipe.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::ReadBuf;
use tokio::sync::Barrier;

use super::{Handshake, Layer};
use crate::net::memory::{self, MemoryStream};
use crate::net::{Link, Stream, link};

/// Bytes of a record's head: its kind, and the length of what follows.
const HEAD: usize = 3;
/// Sealed bytes that are held before no more is taken.
const SEALED_MAX: usize = 64;

const HELLO: u8 = 1;
const DATA: u8 = 2;
const ASK: u8 = 3;
const ANSWER: u8 = 4;
const END: u8 = 5;

/// Records whose bytes are turned around. Its handshake takes hellos both ways, as many as it was told; behind so many bytes
/// written it asks the other end whether it may go on, and writes nothing until that is answered.
#[derive(Debug)]
struct Awkward {
    /// Hellos that are still to be heard.
    hellos: u32,
    /// Plain bytes until it asks.
    until_ask: usize,
    ask_every: usize,
    awaits_answer: bool,
    /// Bytes that it sends at once.
    piece: usize,
    raw: Vec<u8>,
    plain: VecDeque<u8>,
    sealed: Vec<u8>,
    has_ended: bool,
    is_cut: bool,
}

impl Awkward {
    fn new(hellos: u32, ask_every: usize, piece: usize) -> Box<Self> {
        let mut layer = Self {
            hellos,
            until_ask: ask_every,
            ask_every,
            awaits_answer: false,
            piece,
            raw: Vec::new(),
            plain: VecDeque::new(),
            sealed: Vec::new(),
            has_ended: false,
            is_cut: false,
        };
        if hellos > 0 {
            layer.seal(HELLO, b"hello");
        }
        Box::new(layer)
    }

    fn seal(&mut self, kind: u8, bytes: &[u8]) {
        let length = u16::try_from(bytes.len()).expect("a short record");
        self.sealed.push(kind);
        self.sealed.extend(length.to_be_bytes());
        self.sealed.extend(bytes.iter().map(|byte| !byte));
    }
}

impl Layer for Awkward {
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.raw.extend_from_slice(bytes);
        while self.raw.len() >= HEAD {
            let length = HEAD + usize::from(u16::from_be_bytes([self.raw[1], self.raw[2]]));
            if self.raw.len() < length {
                break;
            }
            let record: Vec<u8> = self.raw.drain(..length).collect();
            match record[0] {
                HELLO if self.hellos > 0 => {
                    self.hellos -= 1;
                    if self.hellos > 0 {
                        self.seal(HELLO, b"hello again");
                    }
                }
                DATA => self.plain.extend(record[HEAD..].iter().map(|byte| !byte)),
                ASK => self.seal(ANSWER, b""),
                ANSWER => self.awaits_answer = false,
                END => self.has_ended = true,
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }

    fn take_end(&mut self) {
        self.is_cut = !self.has_ended;
        self.has_ended = true;
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = room.len().min(self.plain.len());
        if count > 0 {
            room.iter_mut().zip(self.plain.drain(..count)).for_each(|(to, byte)| *to = byte);
            return Ok(count);
        }
        match (self.has_ended, self.is_cut) {
            (false, _) => Err(io::ErrorKind::WouldBlock.into()),
            (true, false) => Ok(0),
            (true, true) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn unread(&self) -> usize {
        self.plain.len()
    }

    fn held(&self) -> usize {
        self.raw.len() + self.plain.len() + self.sealed.len()
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> usize {
        if self.is_handshaking() || self.awaits_answer || self.sealed.len() >= SEALED_MAX {
            return 0;
        }
        let most = self.until_ask.min(SEALED_MAX);
        let bytes: Vec<u8> =
            slices.iter().flat_map(|slice| slice.iter()).copied().take(most).collect();
        if bytes.is_empty() {
            return 0;
        }
        self.seal(DATA, &bytes);
        self.until_ask -= bytes.len();
        if self.until_ask == 0 {
            self.until_ask = self.ask_every;
            self.awaits_answer = true;
            self.seal(ASK, b"may I?");
        }
        bytes.len()
    }

    fn has_to_send(&self) -> bool {
        !self.sealed.is_empty()
    }

    fn send(&mut self, to: &mut dyn Write) -> io::Result<usize> {
        let count = to.write(&self.sealed[..self.sealed.len().min(self.piece)])?;
        self.sealed.drain(..count);
        Ok(count)
    }

    fn is_handshaking(&self) -> bool {
        self.hellos > 0
    }

    fn close(&mut self) {
        self.seal(END, b"");
    }

    fn agreed(&self) -> String {
        "nothing".to_owned()
    }
}

pub(crate) fn awkward(stream: MemoryStream, hellos: u32, ask_every: usize, piece: usize) -> Stream {
    Stream::Memory(stream).under(Awkward::new(hellos, ask_every, piece))
}

pub(crate) fn awkward_layer(hellos: u32, ask_every: usize, piece: usize) -> Box<dyn Layer> {
    Awkward::new(hellos, ask_every, piece)
}

pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        // Nobody waits for the clock: a side that is not woken would wait for ever.
        tokio::time::timeout(Duration::from_secs(10), future).await.expect("nobody is forgotten")
    })
}

/// One end's part in an exchange: what it writes in which pieces, and in how small pieces it reads.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    writes: Vec<Vec<u8>>,
    room: usize,
    /// It writes as at the end of a turn: without waiting, and has its task do the rest.
    tries: bool,
}

pub(crate) fn part() -> impl Strategy<Value = Part> {
    let writes = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20);
    (writes, 1usize..100, any::<bool>()).prop_map(|(writes, room, tries)| Part {
        writes,
        room,
        tries,
    })
}

struct Side {
    stream: Stream,
    part: Part,
    at: usize,
    written: usize,
    expects: usize,
    read: Vec<u8>,
}

impl Side {
    fn new(stream: Stream, part: Part, expects: usize) -> Self {
        Self { stream, part, at: 0, written: 0, expects, read: Vec::new() }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(piece) = self.part.writes.get(self.at) {
            if self.written == piece.len() {
                self.at += 1;
                self.written = 0;
                continue;
            }
            let rest = &piece[self.written..];
            let (first, second) = rest.split_at(rest.len() / 2);
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let tried = if self.part.tries {
                self.stream.try_write_vectored(&slices)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            };
            let written = match tried {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.poll_write_vectored(cx, &slices)
                }
                outcome => Poll::Ready(outcome),
            };
            match written {
                Poll::Ready(count) => self.written += count.expect("it is open"),
                Poll::Pending => return false,
            }
        }
        matches!(self.stream.poll_flush(cx), Poll::Ready(Ok(())))
    }

    /// Reads until nothing is there.
    fn read(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut room = vec![0; self.part.room];
            let mut space = ReadBuf::new(&mut room);
            match self.stream.poll_read(cx, &mut space) {
                Poll::Pending => return,
                Poll::Ready(outcome) => outcome.expect("it is open"),
            }
            assert!(!space.filled().is_empty(), "an end in the middle");
            self.read.extend_from_slice(space.filled());
        }
    }

    async fn exchange(mut self, both: &Barrier) -> (Stream, Vec<u8>) {
        self.stream.handshake().await.expect("they agree");
        poll_fn(|cx| {
            self.read(cx);
            let is_written = self.write(cx);
            // What was taken in while it wrote.
            self.read(cx);
            if is_written && self.read.len() >= self.expects {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
        assert!(!self.stream.is_behind(), "all was flushed");
        // The other end may still have something to say that it is not asked for.
        let go_on = poll_fn(|cx| {
            self.read(cx);
            Poll::<()>::Pending
        });
        tokio::select! {
            () = go_on => {}
            _ = both.wait() => {}
        }
        // What is left unread makes an end a reset, as with TCP.
        for _ in 0..100 {
            tokio::task::yield_now().await;
            poll_fn(|cx| {
                self.read(cx);
                Poll::Ready(())
            })
            .await;
        }
        (self.stream, self.read)
    }
}

/// Polls a future only when it has asked for it itself, whatever its neighbours ask for.
async fn apart<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let own = Arc::new(Own::default());
    let waker = Waker::from(Arc::clone(&own));
    own.is_woken.store(true, Ordering::Relaxed);
    poll_fn(move |cx| {
        *own.outer.lock().expect("nobody panics with it") = Some(cx.waker().clone());
        while own.is_woken.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Poll::Ready(outcome);
            }
        }
        Poll::Pending
    })
    .await
}

#[derive(Default)]
struct Own {
    is_woken: AtomicBool,
    outer: Mutex<Option<Waker>>,
}

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        if let Some(outer) = self.outer.lock().expect("nobody panics with it").as_ref() {
            outer.wake_by_ref();
        }
    }
}

pub(crate) async fn read_all(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut found = Vec::new();
    loop {
        let mut room = [0; 64];
        let mut space = ReadBuf::new(&mut room);
        poll_fn(|cx| stream.poll_read(cx, &mut space)).await?;
        if space.filled().is_empty() {
            return Ok(found);
        }
        found.extend_from_slice(space.filled());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_layered_stream_carries_what_a_plain_one_does(
        near in part(),
        far in part(),
        room in 1usize..200,
        hellos in 1u32..4,
        ask_every in 1usize..150,
        piece in 1usize..40,
    ) {
        let (ours, theirs) = memory::pair(room);
        let ends = [ours, theirs].map(|end| awkward(end, hellos, ask_every, piece));
        carry(ends, [near, far], room > HEAD);
    }
}

/// Has two ends exchange what they have to say, and the first end the connection, where there is room to tell that.
pub(crate) fn carry(ends: [Stream; 2], parts: [Part; 2], has_room: bool) {
    let said = [parts[0].writes.concat(), parts[1].writes.concat()];
    let ([near, far], [near_part, far_part]) = (ends, parts);
    let near = Side::new(near, near_part, said[1].len());
    let far = Side::new(far, far_part, said[0].len());
    run(async {
        let both = Barrier::new(2);
        let ((near, heard_near), (mut far, heard_far)) =
            tokio::join!(apart(near.exchange(&both)), apart(far.exchange(&both)));
        assert_eq!(heard_near, said[1]);
        assert_eq!(heard_far, said[0]);
        // Its end is told, and is no accident.
        if has_room {
            drop(near);
            assert_eq!(read_all(&mut far).await.expect("a clean end"), b"");
        }
    });
}

/// Two ends that have agreed, and what the first travels over.
async fn agreed(room: usize) -> (Stream, Stream) {
    let (ours, theirs) = memory::pair(room);
    let (mut near, mut far) = (awkward(ours, 2, 1000, 1000), awkward(theirs, 2, 1000, 1000));
    let (one, other) = tokio::join!(near.handshake(), far.handshake());
    one.and(other).expect("they agree");
    (near, far)
}

#[test]
fn an_end_in_the_middle_is_told_from_a_clean_one() {
    run(async {
        let (mut near, mut far) = agreed(1000).await;
        near.try_write(b"abc").expect("room");
        near.shut_down();
        assert_eq!(read_all(&mut far).await.expect("a clean end"), b"abc");

        let (mut near, mut far) = agreed(1000).await;
        near.try_write(b"abc").expect("room");
        // Another process goes on with it, which here ends it without a word.
        near.fall_silent();
        drop(near);
        let mut found = [0; 8];
        let mut space = ReadBuf::new(&mut found);
        poll_fn(|cx| far.poll_read(cx, &mut space)).await.expect("what came before");
        assert_eq!(space.filled(), b"abc");
        let cut = read_all(&mut far).await.expect_err("no end was told");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    });
}

#[test]
fn nonsense_is_an_error_and_nothing_is_said_after_it() {
    run(async {
        let (ours, theirs) = memory::pair(1000);
        let mut near = awkward(ours, 1, 1000, 1000);
        theirs.try_write(b"\x09\x00\x01x").expect("room");
        let refused = near.handshake().await.expect_err("no record is of this kind");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert_eq!(near.try_write(b"x").expect_err("mute").kind(), io::ErrorKind::BrokenPipe);
        assert!(!near.is_behind());
    });
}

#[test]
fn past_the_runtime_it_goes_on_too() {
    let (ours, theirs) = memory::pair(1000);
    let (mut near, mut far) = (awkward(ours, 2, 4, 1000), awkward(theirs, 2, 4, 1000));
    let mut agreed = [false; 2];
    for _ in 0..8 {
        for (done, end) in agreed.iter_mut().zip([&mut near, &mut far]) {
            match end.handshake_now() {
                Ok(Handshake::Done) => *done = true,
                Ok(Handshake::Came(bytes)) => end.work_out(&bytes).expect("it makes sense"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }
    assert_eq!(agreed, [true; 2]);
    let mut room = [0; 16];
    assert_eq!(far.read_now(&mut room).expect_err("nothing").kind(), io::ErrorKind::WouldBlock);
    assert_eq!(near.write_now(b"abcdefgh").expect("room"), 4, "then it asks");
    assert_eq!(near.write_now(b"efgh").expect_err("no answer").kind(), io::ErrorKind::WouldBlock);
    assert_eq!(far.read_now(&mut room[..2]).expect("read"), 2);
    assert!(far.has_unread(), "what the kernel does not announce");
    assert_eq!(far.read_now(&mut room).expect("read"), 2);
    assert!(!far.has_unread());
    far.flush_now().expect("the answer");
    assert_eq!(near.write_now(b"efgh").expect("answered"), 4);
    assert_eq!(far.read_now(&mut room).expect("read"), 4);
    assert_eq!(&room[..4], b"efgh");
}

#[test]
fn a_link_is_told_when_there_is_room_again() {
    run(async {
        for layered in [false, true] {
            let (ours, theirs) = memory::pair(16);
            let (near, mut far) = match layered {
                false => (Stream::Memory(ours), Stream::Memory(theirs)),
                true => (awkward(ours, 0, 1000, 1000), awkward(theirs, 0, 1000, 1000)),
            };
            let wire = Link::default();
            let buffer = std::cell::RefCell::new(vec![0; 8]);
            let none = wire.event(&buffer).await.expect_err("there is none");
            assert_eq!(none.kind(), io::ErrorKind::NotConnected);
            wire.open(near);
            let said: Vec<u8> = (0..200).collect();
            let talk = async {
                let mut sent = wire.send(&said);
                assert!(sent < said.len() && wire.is_stuck());
                while sent < said.len() || wire.is_stuck() {
                    let event = wire.event(&buffer).await.expect("it is open");
                    assert_eq!(event, link::Event::Room);
                    sent += wire.send(&said[sent..]);
                }
                // An end is told as far as there is room for it.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                wire.close();
            };
            let (heard, ()) = tokio::join!(read_all(&mut far), talk);
            assert_eq!(heard.expect("a clean end"), said, "layered: {layered}");
        }
    });
}
