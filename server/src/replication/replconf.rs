//! REPLCONF: what replicas say about themselves, and what they have applied.

use redstart_common::number::parse_i64;
use redstart_common::resp::Args;
use redstart_common::resp::split_words;

use super::door::{Action, ClientId, Filter, Turn};
use super::driver::Replication;
use super::refusal::Refusal;
use super::replicas::{Profile, Replica, Stage};

/// Bytes of an address, from which on it is too long.
const ADDRESS_BYTES: usize = 256;

/// What is replied to REPLCONF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replconf {
    /// `+OK`
    Ok,
    /// Nothing at all.
    Silent,
}

impl Replication {
    /// `REPLCONF option value …`, all of it. Options before one that is refused have acted, as in Redis.
    pub fn replconf(
        &mut self,
        client: ClientId,
        args: Args<'_>,
        turn: &mut Turn,
    ) -> Result<Replconf, Refusal> {
        if args.len().is_multiple_of(2) {
            return Err(Refusal::Syntax);
        }
        for at in (1..args.len()).step_by(2) {
            let (option, value) = (args.at(at), args.at(at + 1));
            if option.eq_ignore_ascii_case(b"ack") {
                let fsynced = match args.get(at + 2) {
                    Some(word) if word.eq_ignore_ascii_case(b"fack") => args.get(at + 3),
                    _ => None,
                };
                self.acknowledge(client, value, fsynced, turn);
                return Ok(Replconf::Silent);
            }
            if option.eq_ignore_ascii_case(b"getack") {
                self.answer_getack(turn);
                return Ok(Replconf::Silent);
            }
            let profile = match self.replicas.get_mut(client) {
                Some(replica) => &mut replica.profile,
                None => self.profiles.entry(client).or_default(),
            };
            profile.set(option, value)?;
        }
        Ok(Replconf::Ok)
    }

    /// A newline came from a replica: it lives, and loads.
    pub fn heard_of(&mut self, client: ClientId, now_ms: i64) {
        if let Some(replica) = self.replicas.get_mut(client) {
            replica.acked_ms = now_ms;
        }
    }

    /// A replica has applied the stream up to `offset`, and has it on its disk up to `fsynced`.
    fn acknowledge(
        &mut self,
        client: ClientId,
        offset: &[u8],
        fsynced: Option<&[u8]>,
        turn: &mut Turn,
    ) {
        let Some(offset) = parse_i64(offset) else { return };
        let Some(replica) = self.replicas.get_mut(client) else { return };
        replica.acked_ms = turn.now_ms;
        let before = (replica.acked, replica.fsynced);
        replica.acked = replica.acked.max(Some(offset));
        replica.fsynced = replica.fsynced.max(fsynced.and_then(parse_i64));
        let has_moved = before != (replica.acked, replica.fsynced);
        match replica.stage {
            // It has found the end of its snapshot: nothing that follows can be taken for a part of it.
            Stage::AwaitAck { from } => {
                replica.stage = Stage::Online { next: from };
                turn.act(Action::StreamTo(client));
            }
            Stage::WaitEnd { .. } => replica.acked_early = true,
            _ => {}
        }
        if has_moved {
            turn.act(Action::AcksMoved);
        }
    }
}

impl Profile {
    fn set(&mut self, option: &[u8], value: &[u8]) -> Result<(), Refusal> {
        match option.to_ascii_lowercase().as_slice() {
            b"listening-port" => self.port = parse_i64(value).ok_or(Refusal::NotAnInteger)?,
            b"ip-address" if value.len() >= ADDRESS_BYTES => {
                return Err(Refusal::LongAddress(value.len()));
            }
            b"ip-address" => self.ip = Some(String::from_utf8_lossy(value).into_owned()),
            b"capa" => {
                self.eof |= value.eq_ignore_ascii_case(b"eof");
                self.psync2 |= value.eq_ignore_ascii_case(b"psync2");
            }
            b"rdb-only" => match parse_i64(value).ok_or(Refusal::NotAnInteger)? {
                choice @ 0..=1 => self.rdb_only = choice == 1,
                _ => return Err(Refusal::OutOfRange(0, 1)),
            },
            b"rdb-filter-only" => return self.keep_only(value),
            b"version" => self.version = Some(version(value)?),
            _ => return Err(Refusal::UnknownReplconf(option.to_vec())),
        }
        Ok(())
    }

    fn keep_only(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let words = split_words(value).ok_or(Refusal::MissingFilter)?;
        self.filter = Filter { no_data: true, no_functions: true };
        for word in words {
            if !word.eq_ignore_ascii_case(b"functions") {
                return Err(Refusal::UnknownFilter(word));
            }
            self.filter.no_functions = false;
        }
        Ok(())
    }
}

/// `X.Y.Z`
fn version(value: &[u8]) -> Result<(u32, u32, u32), Refusal> {
    let bad = || Refusal::BadVersion(value.to_vec());
    let text = std::str::from_utf8(value).map_err(|_| bad())?;
    let mut parts = text.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
            Ok((major, minor, patch))
        }
        _ => Err(bad()),
    }
}

impl Replica {
    /// Whether it can share a snapshot that was begun for others: it understands what they do, and wants the same.
    pub(super) fn may_join(&self, eof: bool, psync2: bool, filter: Filter) -> bool {
        (self.profile.eof || !eof)
            && (self.profile.psync2 || !psync2)
            && self.profile.filter == filter
    }
}
