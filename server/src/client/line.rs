//! A client as CLIENT LIST and the log show it.

use redstart_common::client_filter::{Facts, Kind};

use super::caching::Mode;
use super::{Client, Flags, Origin};

/// The letters for a client's states.
fn flags_of(client: &Client) -> String {
    let mut flags = String::new();
    flags.extend((client.origin == Origin::Primary).then_some('M'));
    for (flag, letter) in [
        (Flags::REPLICA, 'S'),
        (Flags::MONITOR, 'O'),
        (Flags::SUBSCRIBED, 'P'),
        (Flags::MULTI, 'x'),
        (Flags::BLOCKED.or(Flags::PAUSED), 'b'),
        (Flags::TRACKING, 't'),
        (Flags::DIRTY_CAS, 'd'),
        (Flags::CLOSE_AFTER_REPLY, 'c'),
        (Flags::CLOSE_ASAP, 'A'),
        (Flags::UNIX, 'U'),
        (Flags::READS_REPLICA, 'r'),
        (Flags::NO_EVICT, 'e'),
        (Flags::NO_TOUCH, 'T'),
        (Flags::IMPORT, 'i'),
    ] {
        if client.flags.any(flag) {
            flags.push(letter);
        }
        if let (Flags::TRACKING, Some(mode)) = (flag, &client.tracking) {
            flags.extend(mode.broken.then_some('R'));
            flags.extend(mode.prefixes.as_ref().map(|_| 'B'));
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    flags
}

/// A client's kind. A monitor is an ordinary client, as in Redis.
#[must_use]
pub fn kind_of(client: &Client) -> Kind {
    if client.origin == Origin::Primary {
        Kind::Primary
    } else if client.flags.any(Flags::REPLICA) {
        Kind::Replica
    } else if client.flags.any(Flags::SUBSCRIBED) {
        Kind::Pubsub
    } else {
        Kind::Normal
    }
}

/// What the filters of CLIENT LIST and CLIENT KILL ask of a client.
#[must_use]
pub fn facts(client: &Client, now_ms: i64) -> Facts<'_> {
    Facts {
        id: client.id,
        kind: kind_of(client),
        user: &client.user,
        address: client.address.as_bytes(),
        local_address: client.local_address.as_bytes(),
        age_ms: now_ms - client.created_ms,
        idle_ms: now_ms - client.active_ms,
        name: &client.name,
        flags: flags_of(client),
        library: client
            .library
            .as_ref()
            .map_or([b"", b""], |library| library.each_ref().map(Vec::as_slice)),
        db: client.db,
        capabilities: if client.flags.any(Flags::FOLLOWS) { "r" } else { "" },
    }
}

/// One line of CLIENT LIST, without its line end.
#[must_use]
pub fn describe(client: &Client, now_ms: i64) -> String {
    let flags = flags_of(client);
    let (input, capacity, descriptor) = match &client.connection {
        Some(connection) => {
            (connection.input_bytes(), connection.input_capacity(), connection.descriptor())
        }
        None => (0, 0, -1),
    };
    let output = &client.reply.output;
    let waiting = output.pending();
    let (queued, queued_bytes) = match &client.multi {
        Some(multi) => (multi.queue.len() as i64, multi.bytes),
        None => (-1, 0),
    };
    let memory = allocated_bytes(client);
    let mut line = format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} \
         multi={} qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} \
         tot-mem={} events={} cmd={} user={} redir={} resp={}",
        client.id,
        client.address,
        client.local_address,
        descriptor,
        String::from_utf8_lossy(&client.name),
        (now_ms - client.created_ms) / 1000,
        (now_ms - client.active_ms) / 1000,
        flags,
        client.db,
        client.channels.channels.len(),
        client.channels.patterns.len(),
        client.channels.shards.len(),
        queued,
        input,
        capacity - input,
        input,
        queued_bytes,
        output.allocated(),
        output.allocated(),
        output.tail_bytes(),
        output.blocks(),
        if waiting > 0 { output.allocated() } else { 0 },
        memory,
        if waiting > 0 { "rw" } else { "r" },
        client.last_command.map_or("NULL", |id| id.spec().name),
        String::from_utf8_lossy(&client.user),
        Mode::redirection(client.tracking.as_deref()),
        client.reply.proto.number(),
    );
    // 7.0.15 ends here; later versions go on, and so does this one for clients that say what they are.
    if let Some(library) = &client.library {
        let [name, version] = library.each_ref().map(|text| String::from_utf8_lossy(text));
        line += &format!(" lib-name={name} lib-ver={version}");
    }
    line
}

/// Bytes that a client takes, its output included.
#[must_use]
pub fn allocated_bytes(client: &Client) -> usize {
    let input = client
        .connection
        .as_ref()
        .map_or(0, |connection| connection.input_capacity() + connection.transport_bytes());
    let queued = client
        .multi
        .as_ref()
        .map_or(0, |multi| multi.bytes + multi.queue.len() * size_of::<super::multi::Queued>());
    // A key or channel is known here and where its listeners are looked up.
    const PLACE: usize = 64;
    let watched: usize = client.watched.iter().map(|(_, key)| key.len() * 2 + PLACE).sum();
    let heard = &client.channels;
    let heard = heard.channels.iter().chain(&heard.patterns).chain(&heard.shards);
    let prefixes = client.tracking.iter().flat_map(|mode| mode.prefixes.iter().flatten());
    let named: usize = heard.chain(prefixes).map(|name| name.len() * 2 + PLACE).sum();
    size_of::<Client>() + client.reply.output.allocated() + input + queued + watched + named
}
