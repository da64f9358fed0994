//! A server of the simulation: what replication decides, and the little around it that does as it says.

use std::collections::VecDeque;

use bytes::BytesMut;
use hashbrown::HashMap;
use redstart_common::resp::{Args, RequestScanner};

use super::super::*;
use super::data::Data;

/// A snapshot that is being made for replicas.
pub struct Making {
    pub id: SnapshotId,
    pub target: Target,
    pub bytes: Vec<u8>,
}

/// The primary's stream, as it is executed.
#[derive(Default)]
pub struct Session {
    pub stream: Stream,
    pub db: u32,
    pub queue: Option<Vec<u32>>,
}

/// Requests of a replica.
pub struct Inbound {
    pub buffer: BytesMut,
    pub scanner: RequestScanner,
    /// It may be sent the stream.
    pub streams: bool,
}

/// A client in WAIT.
pub struct Waiting {
    pub offset: Offset,
    pub write: u32,
}

pub struct Node {
    pub life: u32,
    pub is_up: bool,
    pub clock_skew_ms: i64,
    pub replication: Replication,
    pub data: Data,
    /// Changes when the data is replaced.
    pub epoch: u64,
    /// After how many bytes of the history the data was what.
    pub marks: Vec<(i64, u64)>,
    pub todo: VecDeque<Action>,
    /// The current link and its connection.
    pub link: Option<(LinkId, Option<usize>)>,
    pub session: Session,
    pub receiving: Vec<u8>,
    pub new_data: Option<Data>,
    pub is_loading: bool,
    pub inbound: HashMap<usize, Inbound>,
    pub making: Option<Making>,
    pub files: HashMap<SnapshotId, Vec<u8>>,
    pub is_paused: bool,
    pub waiting: Vec<Waiting>,
    /// What the configuration says at the next start.
    pub configured: Option<usize>,
    /// What replicas have yet to be sent, by the numbers of its files; and when the disk is done with what it was told last.
    pub spilled: HashMap<u64, Vec<u8>>,
    pub disk_busy_until: i64,
    /// What was saved last.
    pub disk: Option<(Data, Option<SavedHistory>)>,
}

impl Node {
    pub fn new(replication: Replication, clock_skew_ms: i64) -> Self {
        let mut node = Self {
            life: 0,
            is_up: true,
            clock_skew_ms,
            replication,
            data: Data::default(),
            epoch: 0,
            marks: Vec::new(),
            todo: VecDeque::new(),
            link: None,
            session: Session::default(),
            receiving: Vec::new(),
            new_data: None,
            is_loading: false,
            inbound: HashMap::new(),
            making: None,
            files: HashMap::new(),
            is_paused: false,
            waiting: Vec::new(),
            configured: None,
            spilled: HashMap::new(),
            disk_busy_until: 0,
            disk: None,
        };
        node.replace(Data::default());
        node
    }

    /// Other data takes the place of what is here.
    pub fn replace(&mut self, data: Data) {
        self.data = data;
        self.epoch += 1;
        self.marks.clear();
        self.mark();
    }

    /// Notes what the data is at this offset.
    pub fn mark(&mut self) {
        let offset = self.replication.history().offset.bytes();
        while self.marks.last().is_some_and(|(at, _)| *at >= offset) {
            self.marks.pop();
        }
        self.marks.push((offset, self.data.digest()));
    }

    /// What the data was at that offset, if that is known.
    pub fn digest_at(&self, offset: i64) -> Option<u64> {
        self.marks.iter().rev().find(|(at, _)| *at <= offset).map(|(_, digest)| *digest)
    }

    /// Executes one request of the primary's stream. Returns whether it asks for an acknowledgement.
    pub fn execute(
        data: &mut Data,
        db: &mut u32,
        queue: &mut Option<Vec<u32>>,
        args: &Args,
    ) -> bool {
        let number = |at: usize| std::str::from_utf8(args.at(at)).unwrap().parse::<u32>().unwrap();
        match args.get(0) {
            Some(b"SELECT") => *db = number(1),
            Some(b"MULTI") => *queue = Some(Vec::new()),
            Some(b"EXEC") => {
                for write in queue.take().expect("a MULTI before EXEC") {
                    data.write(*db, write);
                }
            }
            Some(b"MIX") => match queue {
                Some(queue) => queue.push(number(1)),
                None => data.write(*db, number(1)),
            },
            Some(b"ping") | None => {}
            Some(b"REPLCONF") => return true,
            other => panic!("an unknown request in the stream: {other:?}"),
        }
        false
    }
}
