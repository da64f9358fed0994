//! What a client told about itself, and what `CLIENT INFO` and `CLIENT LIST` show of it.

use std::fmt::Write;
use std::time::Instant;

use redstart_common::client_filter::{Facts, Kind};

use super::Client;

/// One client's facts.
#[derive(Debug)]
pub struct Session {
    /// Its number, unique in the process.
    pub number: u64,
    /// Its address as Redis prints it.
    pub address: String,
    /// The proxy's end of the connection.
    pub local_address: String,
    /// The name it chose.
    pub name: Option<Box<str>>,
    /// The library it uses, as that says.
    pub library: Option<Box<str>>,
    /// The library's version.
    pub library_version: Option<Box<str>>,
    /// When it connected.
    pub since: Instant,
    /// Whether it asked not to be evicted.
    pub no_evict: bool,
    /// Whether it asked not to touch the keys it reads.
    pub no_touch: bool,
}

impl Session {
    /// A client that has just connected.
    #[must_use]
    pub fn new(number: u64, address: String, local_address: String) -> Self {
        Self {
            number,
            address,
            local_address,
            name: None,
            library: None,
            library_version: None,
            since: Instant::now(),
            no_evict: false,
            no_touch: false,
        }
    }
}

/// How many channels, patterns and shard channels it listens to.
fn listens(client: &Client) -> [usize; 3] {
    client.subscriptions.as_ref().map_or([0; 3], |it| it.counts())
}

/// The letters for a client's states.
fn flags_of(client: &Client) -> String {
    let session = &client.session;
    let mut flags = String::new();
    if listens(client) != [0; 3] {
        flags.push('P');
    }
    if client.transaction.is_some() {
        flags.push('x');
    }
    if client.subscriptions.as_ref().is_some_and(|it| it.is_monitor) {
        flags.insert(0, 'O');
    }
    if client.is_blocked() {
        flags.push('b');
    }
    if client.closing.is_some() {
        flags.push('c');
    }
    if client.stream.is_unix() {
        flags.push('U');
    }
    if session.no_evict {
        flags.push('e');
    }
    flags.push_str(&client.tracking_shown().0);
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

/// What the filters of CLIENT LIST and CLIENT KILL ask of a client.
#[must_use]
pub fn facts(client: &Client, now_us: u64) -> Facts<'_> {
    let session = &client.session;
    fn text(text: &Option<Box<str>>) -> &[u8] {
        text.as_deref().unwrap_or_default().as_bytes()
    }
    Facts {
        id: session.number,
        kind: if client.is_listening() { Kind::Pubsub } else { Kind::Normal },
        user: b"default",
        address: session.address.as_bytes(),
        local_address: session.local_address.as_bytes(),
        age_ms: session.since.elapsed().as_millis() as i64,
        idle_ms: (now_us.saturating_sub(client.active_us) / 1000) as i64,
        name: text(&session.name),
        flags: flags_of(client),
        library: [text(&session.library), text(&session.library_version)],
        db: client.db as usize,
        capabilities: "",
    }
}

/// Appends a client's line, in the order of Redis's fields.
pub fn describe(client: &Client, now_us: u64, out: &mut String) {
    let session = &client.session;
    let flags = flags_of(client);
    let listens = listens(client);
    let redirect = client.tracking_shown().1;
    let queued = client.transaction.as_ref().map_or(-1, |queue| queue.len() as i64);
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={} psub={} ssub={} \
         multi={queued} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} rbs=0 rbp=0 obl={} oll={} omem={} \
         tot-mem={} events={} cmd={} user=default redir={redirect} resp={} lib-name={} lib-ver={}",
        session.number,
        session.address,
        session.local_address,
        std::os::fd::AsRawFd::as_raw_fd(&client.stream),
        session.name.as_deref().unwrap_or(""),
        session.since.elapsed().as_secs(),
        now_us.saturating_sub(client.active_us) / 1_000_000,
        client.db,
        listens[0],
        listens[1],
        listens[2],
        client.input.len(),
        client.input.capacity() - client.input.len(),
        client.transaction.as_ref().map_or(0, |queue| queue.bytes()),
        client.output.len(),
        client.pending.len(),
        client.unsent_bytes(),
        size_of::<Client>() + client.input.capacity() + client.output.len(),
        if client.blocked { "rw" } else { "r" },
        client.command.map_or("NULL", |command| command.spec().name),
        if client.resp3 { 3 } else { 2 },
        session.library.as_deref().unwrap_or(""),
        session.library_version.as_deref().unwrap_or(""),
    );
}
