//! This server as a replica: the link to its primary, from the first try to the stream.
//!
//! The state is an enum that owns what each stage knows. What a lost link leaves behind is the history itself: with the stream's
//! place and database it is all that is needed to go on, so there is no cached client, only the right to resume.

use bytes::Bytes;

use super::backlog::Backlog;
use super::door::{Action, LinkId, LoadBy, Turn};
use super::driver::Replication;
use super::handshake::{Announced, Handshake, Lines, Next, command};
use super::history::History;
use super::offset::Offset;
use super::options::DisklessLoad;
use super::refusal::Refusal;
use super::transfer::{Framing, Head, head};

/// The primary, and how far it has been reached.
#[derive(Debug)]
pub struct Upstream {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) link: Link,
    /// The history here is one that a primary may let us continue.
    pub(super) can_resume: bool,
    /// Since when a link that stood is down.
    pub(super) down_since_ms: Option<i64>,
}

/// How far it has been reached.
#[derive(Debug)]
pub(super) enum Link {
    /// Not at all; tried at the next round of the regular work.
    Waiting,
    /// It is being tried.
    Connecting { link: LinkId, heard_ms: i64 },
    /// Requests and answers go to and fro.
    Handshake { link: LinkId, heard_ms: i64, lines: Lines, handshake: Handshake },
    /// A snapshot is to come.
    Preparing { link: LinkId, heard_ms: i64, lines: Lines, announced: Announced },
    /// It comes.
    Receiving(Receiving),
    /// All of it is here, and is being loaded.
    Loading(Loading),
    /// The stream runs.
    Streaming(Streaming),
}

#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) link: LinkId,
    pub(super) heard_ms: i64,
    announced: Announced,
    framing: Framing,
    pub(super) by: LoadBy,
    /// Bytes of the snapshot that came.
    pub(super) read: u64,
    pub(super) size: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Loading {
    pub(super) link: LinkId,
    announced: Announced,
    by: LoadBy,
    /// The primary waits for an acknowledgement before it sends the stream.
    by_mark: bool,
    /// What came behind the snapshot already.
    early: Vec<Bytes>,
    /// Why the link is lost meanwhile, if it is.
    lost: Option<String>,
    pub(super) read: u64,
    pub(super) size: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Streaming {
    pub(super) link: LinkId,
    pub(super) heard_ms: i64,
    /// Bytes that were read and not applied.
    unapplied: u64,
    /// The primary told its history, so it is worth acknowledging.
    has_offsets: bool,
    /// It asked for an acknowledgement, and gets one more when what was applied then is on the disk: up to here.
    owes_durable: Option<Offset>,
}

impl Link {
    fn id(&self) -> Option<LinkId> {
        match self {
            Self::Waiting => None,
            Self::Connecting { link, .. }
            | Self::Handshake { link, .. }
            | Self::Preparing { link, .. } => Some(*link),
            Self::Receiving(state) => Some(state.link),
            Self::Loading(state) => Some(state.link),
            Self::Streaming(state) => Some(state.link),
        }
    }
}

impl Upstream {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            link: Link::Waiting,
            can_resume: false,
            down_since_ms: None,
        }
    }

    pub(super) fn is_streaming(&self) -> bool {
        matches!(self.link, Link::Streaming(_))
    }

    pub(super) fn is_streaming_with_offsets(&self) -> bool {
        matches!(self.link, Link::Streaming(Streaming { has_offsets: true, .. }))
    }

    /// Bytes read and not applied, of a stream that runs.
    pub(super) fn unapplied_mut(&mut self) -> Option<&mut u64> {
        match &mut self.link {
            Link::Streaming(state) => Some(&mut state.unapplied),
            _ => None,
        }
    }

    pub(super) fn unapplied(&self) -> u64 {
        match &self.link {
            Link::Streaming(state) => state.unapplied,
            _ => 0,
        }
    }

    /// The words of ROLE.
    pub(super) fn state_name(&self) -> &'static str {
        match self.link {
            Link::Waiting => "connect",
            Link::Connecting { .. } => "connecting",
            Link::Handshake { .. } => "handshake",
            Link::Preparing { .. } | Link::Receiving(_) | Link::Loading(_) => "sync",
            Link::Streaming(_) => "connected",
        }
    }
}

impl Replication {
    /// Makes this server a replica of another, or of another one than before.
    pub(super) fn follow(&mut self, host: &str, port: u16, turn: &mut Turn) {
        let was_primary = self.upstream.is_none();
        self.leave_link(turn);
        let can_resume = self.upstream.as_ref().is_none_or(|upstream| upstream.can_resume);
        turn.act(Action::BecameReplica);
        if was_primary {
            turn.notice(
                "Before turning into a replica, using my own master parameters to synthesize a cached master: I may be able to synchronize with the new master with just a partial transfer.",
            );
        }
        let down_since_ms = self.upstream.as_ref().and_then(|upstream| upstream.down_since_ms);
        self.upstream = Some(Upstream { can_resume, down_since_ms, ..Upstream::new(host, port) });
        turn.notice(format!("Connecting to MASTER {host}:{port}"));
        self.connect(turn);
    }

    pub(super) fn connect(&mut self, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        self.links += 1;
        let link = LinkId(self.links);
        upstream.link = Link::Connecting { link, heard_ms: turn.now_ms };
        turn.act(Action::Connect { link, host: upstream.host.clone(), port: upstream.port });
        turn.notice("MASTER <-> REPLICA sync started");
    }

    fn is_current(&self, link: LinkId) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.link.id() == Some(link))
    }

    pub(super) fn connected(&mut self, link: LinkId, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        if !matches!(upstream.link, Link::Connecting { link: awaited, .. } if awaited == link) {
            return;
        }
        turn.notice("Non blocking connect for SYNC fired the event.");
        let (handshake, ping) = Handshake::begin();
        upstream.link =
            Link::Handshake { link, heard_ms: turn.now_ms, lines: Lines::default(), handshake };
        turn.act(Action::SendPrimary(link, ping));
    }

    pub(super) fn connect_failed(&mut self, link: LinkId, reason: &str, turn: &mut Turn) {
        if self.is_current(link) {
            turn.warn(format!("Error condition on socket for SYNC: {reason}"));
            self.try_later(turn);
        }
    }

    /// Gives the link up until the next round of the regular work.
    fn try_later(&mut self, turn: &mut Turn) {
        self.close_link(turn);
    }

    /// Gives the link up, and tries again at once.
    pub(super) fn try_again(&mut self, turn: &mut Turn) {
        self.close_link(turn);
        let Some(upstream) = &self.upstream else { return };
        turn.notice(format!(
            "Reconnecting to MASTER {}:{} after failure",
            upstream.host, upstream.port
        ));
        self.connect(turn);
    }

    /// Closes the link, whatever its stage, and clears away what was half done.
    fn close_link(&mut self, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        let link = std::mem::replace(&mut upstream.link, Link::Waiting);
        if let Some(id) = link.id() {
            turn.act(Action::CloseLink(id));
        }
        let half_loaded = match link {
            Link::Receiving(state) => Some(state.by).filter(|by| *by != LoadBy::File),
            Link::Loading(state) => Some(state.by),
            _ => None,
        };
        match half_loaded {
            Some(LoadBy::NewDatabases { .. }) => {
                turn.notice("MASTER <-> REPLICA sync: Discarding temporary DB in background");
                turn.act(Action::DropNewDatabases);
            }
            Some(LoadBy::Parser | LoadBy::File) => turn.act(Action::EmptyData),
            None => {}
        }
    }

    /// Closes the link, and keeps in mind where a stream stopped.
    pub(super) fn leave_link(&mut self, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Link::Streaming(state) = &upstream.link {
            upstream.can_resume = state.has_offsets;
            upstream.down_since_ms = Some(turn.now_ms);
            turn.warn("Connection with master lost.");
            turn.notice("Caching the disconnected master state.");
        }
        self.close_link(turn);
    }

    /// CLIENT KILL of the primary's link: it is lost, and made again.
    pub fn cut_stream(&mut self, turn: &mut Turn) {
        if self.is_link_up() {
            self.lost_stream(turn);
        }
    }

    /// The stream stopped: try at once to go on, for the backlog of the primary is finite.
    pub(super) fn lost_stream(&mut self, turn: &mut Turn) {
        self.leave_link(turn);
        let Some(upstream) = &self.upstream else { return };
        turn.notice(format!("Reconnecting to MASTER {}:{}", upstream.host, upstream.port));
        self.connect(turn);
    }

    pub(super) fn forget_resume(&mut self, turn: &mut Turn) {
        if let Some(upstream) = &mut self.upstream
            && std::mem::take(&mut upstream.can_resume)
        {
            turn.notice("Discarding previously cached master state.");
        }
    }

    pub(super) fn link_closed(&mut self, link: LinkId, reason: &str, turn: &mut Turn) {
        if !self.is_current(link) {
            return;
        }
        let Some(upstream) = &mut self.upstream else { return };
        match &mut upstream.link {
            Link::Waiting => {}
            Link::Connecting { .. } => self.connect_failed(link, reason, turn),
            Link::Handshake { handshake, .. } => {
                let in_psync = handshake.awaits_psync();
                turn.warn(format!("Failed to read response from the server: {reason}"));
                if in_psync {
                    turn.warn("Master did not reply to PSYNC, will try later");
                    self.psync_failed(turn);
                } else {
                    turn.warn("Master did not respond to command during SYNC handshake");
                    self.try_later(turn);
                }
            }
            Link::Preparing { .. } => {
                turn.warn(format!("I/O error reading bulk count from MASTER: {reason}"));
                self.try_again(turn);
            }
            Link::Receiving(state) => {
                turn.warn(match state.by {
                    LoadBy::File => format!("I/O error trying to sync with MASTER: {reason}"),
                    _ => format!(
                        "Failed trying to load the MASTER synchronization DB from socket: {reason}"
                    ),
                });
                self.try_again(turn);
            }
            // All that is needed is here: it is of use, and the rest of the stream may be continued.
            Link::Loading(state) => state.lost = Some(reason.to_owned()),
            Link::Streaming(_) => self.lost_stream(turn),
        }
    }

    /// The stream cannot be understood, or what it asks cannot be done. It must not be continued where it is.
    pub fn stream_broken(&mut self, link: LinkId, why: &str, turn: &mut Turn) {
        if !self.is_current(link) {
            return;
        }
        turn.warn(why);
        turn.warn("Connection with master lost.");
        self.close_link(turn);
        let Some(upstream) = &mut self.upstream else { return };
        upstream.can_resume = false;
        upstream.down_since_ms = Some(turn.now_ms);
        turn.notice(format!("Reconnecting to MASTER {}:{}", upstream.host, upstream.port));
        self.connect(turn);
    }

    pub(super) fn received(&mut self, link: LinkId, mut bytes: Bytes, turn: &mut Turn) {
        while !bytes.is_empty() && self.is_current(link) {
            let Some(upstream) = &mut self.upstream else { return };
            match &mut upstream.link {
                Link::Waiting | Link::Connecting { .. } => return,
                Link::Handshake { heard_ms, lines, .. }
                | Link::Preparing { heard_ms, lines, .. } => {
                    *heard_ms = turn.now_ms;
                    match lines.next(&mut bytes) {
                        Ok(Some(line)) => self.line(link, &line, turn),
                        Ok(None) => {}
                        Err(_) => self.link_closed(link, "the line does not end", turn),
                    }
                }
                Link::Receiving(state) => {
                    state.heard_ms = turn.now_ms;
                    let read = &mut state.read;
                    let actions = &mut *turn.actions;
                    let is_complete = state.framing.take(&mut bytes, |piece| {
                        *read += piece.len() as u64;
                        actions.push(Action::SnapshotBytes(link, piece));
                    });
                    if is_complete {
                        self.load(turn);
                    }
                }
                Link::Loading(state) => {
                    state.early.push(std::mem::take(&mut bytes));
                }
                Link::Streaming(state) => {
                    state.heard_ms = turn.now_ms;
                    state.unapplied += bytes.len() as u64;
                    turn.act(Action::Execute(link, std::mem::take(&mut bytes)));
                }
            }
        }
    }

    /// The shell has read so many bytes of the running stream into a buffer of its own. It is [`Event::Received`] without the
    /// way there and back.
    ///
    /// [`Event::Received`]: super::Event::Received
    pub fn stream_received(&mut self, link: LinkId, bytes: usize, now_ms: i64) {
        if let Some(Upstream { link: Link::Streaming(state), .. }) = &mut self.upstream
            && state.link == link
        {
            state.heard_ms = now_ms;
            state.unapplied += bytes as u64;
        }
    }

    fn line(&mut self, link: LinkId, line: &[u8], turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        if let Link::Handshake { handshake, .. } = &mut upstream.link {
            let next = handshake.line(line, &self.options, turn);
            self.go_on_handshake(link, next, turn);
            return;
        }
        let Link::Preparing { announced, .. } = upstream.link else { return };
        match head(line) {
            Head::NotYet => {}
            Head::Refused(text) => {
                turn.warn(text);
                self.try_again(turn);
            }
            Head::Comes(framing) => self.receive(link, announced, framing, turn),
        }
    }

    fn go_on_handshake(&mut self, link: LinkId, next: Next, turn: &mut Turn) {
        let is_answer =
            matches!(next, Next::Continue(_) | Next::Full(_) | Next::NotSupported | Next::TryLater);
        if is_answer && self.failover.is_in_progress() {
            if matches!(next, Next::Continue(_) | Next::Full(_)) {
                self.failover_done(turn);
            } else {
                self.abort_failover("Failover target rejected psync request", turn);
                return;
            }
        }
        match next {
            Next::Wait => {}
            Next::Send(bytes) => turn.act(Action::SendPrimary(link, bytes)),
            Next::AskPsync => self.ask_psync(link, turn),
            Next::Continue(id) => self.continue_stream(link, id, turn),
            Next::Full(announced) => self.prepare(link, announced, turn),
            Next::NotSupported => {
                turn.notice("Retrying with SYNC...");
                turn.act(Action::SendPrimary(link, Bytes::from_static(b"SYNC\r\n")));
                self.prepare(link, None, turn);
            }
            Next::TryLater | Next::Failed => self.try_later(turn),
        }
    }

    /// PSYNC was sent and not answered.
    pub(super) fn psync_failed(&mut self, turn: &mut Turn) {
        if self.failover.is_in_progress() {
            self.abort_failover("Failover target rejected psync request", turn);
        } else {
            self.try_later(turn);
        }
    }

    fn ask_psync(&mut self, link: LinkId, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        let (id, first_byte) = if upstream.can_resume {
            let (id, first_byte) = (self.history.id, self.history.offset.next_byte());
            turn.notice(format!("Trying a partial resynchronization (request {id}:{first_byte})."));
            (id.to_string(), first_byte.to_string())
        } else {
            turn.notice("Partial resynchronization not possible (no cached master)");
            ("?".to_owned(), "-1".to_owned())
        };
        if let Link::Handshake { handshake, .. } = &mut upstream.link {
            handshake.sent_psync();
        }
        let mut args: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), first_byte.as_bytes()];
        if self.failover.is_in_progress() {
            args.push(b"FAILOVER");
        }
        turn.act(Action::SendPrimary(link, command(&args)));
    }

    fn continue_stream(&mut self, link: LinkId, id: Option<super::ReplicationId>, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        if !upstream.can_resume {
            // Nothing was asked that could be continued.
            turn.warn("Unexpected reply to PSYNC from master: +CONTINUE");
            self.try_later(turn);
            return;
        }
        upstream.can_resume = false;
        upstream.down_since_ms = None;
        upstream.link = Link::Streaming(Streaming {
            link,
            heard_ms: turn.now_ms,
            unapplied: 0,
            has_offsets: true,
            owes_durable: None,
        });
        if let Some(id) = id.filter(|id| *id != self.history.id) {
            turn.warn(format!("Master replication ID changed to {id}"));
            self.history.rename(id);
            // They have to learn the new name, and can go on with it.
            self.drop_replicas(turn);
        }
        // After a restart there is none yet.
        let (size, at) = (self.options.backlog_bytes, self.history.offset);
        self.backlog.get_or_insert_with(|| Backlog::new(size, at));
        turn.act(Action::Stream(link, self.stream_db.unwrap_or(0)));
        turn.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
    }

    fn prepare(&mut self, link: LinkId, announced: Announced, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        let lines = Lines::default();
        upstream.link = Link::Preparing { link, heard_ms: turn.now_ms, lines, announced };
    }

    fn load_by(&self, announced: Announced, turn: &Turn) -> LoadBy {
        match self.options.diskless_load {
            DisklessLoad::SwapDb => LoadBy::NewDatabases {
                serve_old: announced.is_some_and(|(id, _)| id == self.history.id),
            },
            DisklessLoad::OnEmptyDb if turn.data_is_empty => LoadBy::Parser,
            DisklessLoad::OnEmptyDb | DisklessLoad::Disabled => LoadBy::File,
        }
    }

    fn receive(&mut self, link: LinkId, announced: Announced, framing: Framing, turn: &mut Turn) {
        let by = self.load_by(announced, turn);
        let size = framing.size();
        let way = if by == LoadBy::File { "to disk" } else { "to parser" };
        turn.notice(match size {
            None => format!(
                "MASTER <-> REPLICA sync: receiving streamed RDB from master with EOF {way}"
            ),
            Some(size) => {
                format!("MASTER <-> REPLICA sync: receiving {size} bytes from master {way}")
            }
        });
        if by == LoadBy::Parser {
            self.empty_data(turn);
        }
        if by != LoadBy::File {
            turn.notice("MASTER <-> REPLICA sync: Loading DB in memory");
        }
        turn.act(Action::Receive { link, size, by });
        let Some(upstream) = &mut self.upstream else { return };
        let heard_ms = turn.now_ms;
        upstream.link =
            Link::Receiving(Receiving { link, heard_ms, announced, framing, by, read: 0, size });
        if size == Some(0) {
            self.load(turn);
        }
    }

    /// What is here will be replaced by something else: nobody can continue it any more.
    fn attach_to_new_history(&mut self, turn: &mut Turn) {
        self.forget_resume(turn);
        self.drop_replicas(turn);
        self.abort_snapshot(turn);
        self.backlog = None;
        self.stream_db = None;
        self.disown_history(turn);
    }

    fn empty_data(&mut self, turn: &mut Turn) {
        self.attach_to_new_history(turn);
        turn.notice("MASTER <-> REPLICA sync: Flushing old data");
        turn.act(Action::EmptyData);
    }

    fn load(&mut self, turn: &mut Turn) {
        let Some(upstream) = &mut self.upstream else { return };
        let state = std::mem::replace(&mut upstream.link, Link::Waiting);
        let Link::Receiving(Receiving { link, announced, framing, by, read, size, .. }) = state
        else {
            upstream.link = state;
            return;
        };
        let by_mark = matches!(framing, Framing::Mark { .. });
        let early = Vec::new();
        upstream.link =
            Link::Loading(Loading { link, announced, by, by_mark, early, lost: None, read, size });
        if by == LoadBy::File {
            self.empty_data(turn);
            turn.notice("MASTER <-> REPLICA sync: Loading DB in memory");
        }
        turn.act(Action::Load(link));
    }

    pub(super) fn loaded(&mut self, link: LinkId, db: u32, turn: &mut Turn) {
        if !self.is_current(link) {
            return;
        }
        let Some(upstream) = &mut self.upstream else { return };
        let state = std::mem::replace(&mut upstream.link, Link::Waiting);
        let Link::Loading(Loading { announced, by, by_mark, early, lost, .. }) = state else {
            upstream.link = state;
            return;
        };
        upstream.down_since_ms = None;
        upstream.link = Link::Streaming(Streaming {
            link,
            heard_ms: turn.now_ms,
            unapplied: 0,
            has_offsets: announced.is_some(),
            owes_durable: None,
        });
        if let LoadBy::NewDatabases { .. } = by {
            self.attach_to_new_history(turn);
            turn.notice("MASTER <-> REPLICA sync: Swapping active DB with loaded DB");
            turn.act(Action::SwapDatabases);
            turn.notice("MASTER <-> REPLICA sync: Discarding old DB in background");
        }
        // Where the primary told no history, what comes is one of our own, for replicas of ours.
        let (id, offset) = announced.unwrap_or((self.history.id, Offset::ZERO));
        self.history = History { id, offset, older: None };
        self.stream_db = Some(db);
        self.backlog = Some(Backlog::new(self.options.backlog_bytes, offset));
        turn.act(Action::Stream(link, db));
        turn.act(Action::Synced);
        turn.notice("MASTER <-> REPLICA sync: Finished with success");
        if by_mark {
            self.send_ack(turn);
        }
        if let Some(reason) = lost {
            // What came early is asked for again: executed now, it would come after the place from which we ask.
            turn.verbose(format!("The link was lost while loading: {reason}"));
            self.link_closed(link, &reason, turn);
            return;
        }
        for bytes in early {
            self.received(link, bytes, turn);
        }
    }

    pub(super) fn load_failed(&mut self, link: LinkId, reason: &str, turn: &mut Turn) {
        if !self.is_current(link) {
            return;
        }
        let by = match self.upstream.as_ref().map(|upstream| &upstream.link) {
            Some(Link::Receiving(state)) => state.by,
            Some(Link::Loading(state)) => state.by,
            _ => return,
        };
        let source = if by == LoadBy::File { "disk" } else { "socket" };
        turn.warn(format!(
            "Failed trying to load the MASTER synchronization DB from {source}: {reason}"
        ));
        self.try_again(turn);
    }

    /// Tells the primary what is applied here, and what of it is on the disk (Redis 7.2): each second, and when it asks.
    pub(super) fn send_ack(&mut self, turn: &mut Turn) {
        let Some(Upstream { link: Link::Streaming(state), .. }) = &self.upstream else { return };
        let offset = self.history.offset.to_string();
        let ack = match turn.durable {
            Some(durable) => {
                let durable = durable.to_string();
                command(&[b"REPLCONF", b"ACK", offset.as_bytes(), b"FACK", durable.as_bytes()])
            }
            None => command(&[b"REPLCONF", b"ACK", offset.as_bytes()]),
        };
        turn.act(Action::SendPrimary(state.link, ack));
    }

    /// The primary asks what is applied here. Where that is not on the disk yet it is told once more when it is, so that
    /// nobody in WAITAOF waits for the next second.
    pub(super) fn answer_getack(&mut self, turn: &mut Turn) {
        self.send_ack(turn);
        let applied = self.history.offset;
        if let Some(Upstream { link: Link::Streaming(state), .. }) = &mut self.upstream
            && turn.durable.is_none_or(|durable| durable < applied)
        {
            state.owes_durable = Some(applied);
        }
    }

    /// A turn is over: the disk may have what the primary was promised to hear of.
    pub(super) fn send_durable_ack(&mut self, turn: &mut Turn) {
        if let Some(Upstream { link: Link::Streaming(state), .. }) = &mut self.upstream
            && let Some(owed) = state.owes_durable
            && turn.durable.is_some_and(|durable| durable >= owed)
        {
            state.owes_durable = None;
            self.send_ack(turn);
        }
    }

    /// The same each second; a primary that told no history does not understand it.
    pub(super) fn send_regular_ack(&mut self, turn: &mut Turn) {
        if self.upstream.as_ref().is_some_and(Upstream::is_streaming_with_offsets) {
            self.send_ack(turn);
        }
    }

    /// Whether REPLICAOF may name a primary now, for commands that do more than that.
    pub fn may_change_primary(&self) -> Result<(), Refusal> {
        if self.failover.is_under_way() { Err(Refusal::REPLICAOF_FAILING_OVER) } else { Ok(()) }
    }
}
