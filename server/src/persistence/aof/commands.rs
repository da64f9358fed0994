//! Data as the commands that make it: the base of a log that is to hold no RDB (`aof-use-rdb-preamble no`).

use redstart_common::number::FloatText;
use redstart_common::resp::RespWrite;

use super::stream;
use crate::encoding::listpack::Element;
use crate::keyspace::Value;
use crate::types::bloom::CHUNK_BYTES;
use crate::types::list::End;
use crate::types::{Bloom, Hash, Object};

/// Elements that one command adds, at most.
const ELEMENTS_MAX: usize = 64;

/// Writes entries as commands.
#[derive(Debug, Default)]
pub struct Commands {
    selected: Option<usize>,
}

/// One command after another, each with up to [`ELEMENTS_MAX`] elements of `words` words.
struct Batches<'a> {
    out: &'a mut Vec<u8>,
    name: &'static [u8],
    key: &'a [u8],
    left: usize,
    words: usize,
    open: usize,
}

impl Batches<'_> {
    /// Begins an element.
    fn element(&mut self) {
        if self.open == 0 {
            self.open = self.left.min(ELEMENTS_MAX);
            self.out.array_len(2 + self.open * self.words);
            self.out.bulk(self.name);
            self.out.bulk(self.key);
        }
        self.open -= 1;
        self.left -= 1;
    }

    fn word(&mut self, word: Element<'_>) {
        word.with_text(|text| self.out.bulk(text));
    }
}

impl Commands {
    /// Appends what makes an entry.
    pub fn entry(
        &mut self,
        db: usize,
        key: &[u8],
        value: &Value,
        deadline: Option<i64>,
        out: &mut Vec<u8>,
    ) {
        if self.selected != Some(db) {
            command(out, &[b"SELECT", db.to_string().as_bytes()]);
            self.selected = Some(db);
        }
        match value {
            Value::Int(number) => command(out, &[b"SET", key, number.to_string().as_bytes()]),
            Value::Bytes(bytes) | Value::Raw(bytes) => command(out, &[b"SET", key, bytes]),
            Value::Object(object) => {
                collection(out, key, object);
                if let Object::Hash(hash) = object {
                    field_deadlines(out, key, hash);
                }
            }
        }
        if let Some(at) = deadline {
            command(out, &[b"PEXPIREAT", key, at.to_string().as_bytes()]);
        }
    }
}

pub(super) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.array_len(words.len());
    words.iter().for_each(|word| out.bulk(word));
}

fn collection(out: &mut Vec<u8>, key: &[u8], object: &Object) {
    let (name, words): (&[u8], usize) = match object {
        Object::List(_) => (b"RPUSH", 1),
        Object::Set(_) => (b"SADD", 1),
        Object::Hash(_) => (b"HMSET", 2),
        Object::Zset(_) => (b"ZADD", 2),
        Object::Stream(held) => return stream::stream(out, key, held),
        Object::Bloom(filter) => return bloom(out, key, filter),
    };
    let mut batches = Batches { out, name, key, left: object.stored_len(), words, open: 0 };
    match object {
        Object::List(list) => {
            list.walk(End::Front, |_, element| {
                batches.element();
                batches.word(element);
                true
            });
        }
        Object::Set(set) => set.for_each(|member| {
            batches.element();
            batches.word(member);
        }),
        Object::Hash(hash) => hash.for_each_stored(|field, value, _| {
            batches.element();
            batches.word(field);
            batches.word(value);
        }),
        Object::Zset(zset) => {
            zset.walk(0, false, |member, score| {
                batches.element();
                batches.out.bulk(FloatText::new().format_17g(score).as_bytes());
                batches.word(member);
                true
            });
        }
        Object::Stream(_) | Object::Bloom(_) => {}
    }
}

/// A filter in the pieces that BF.SCANDUMP would give.
fn bloom(out: &mut Vec<u8>, key: &[u8], filter: &Bloom) {
    command(out, &[b"BF.LOADCHUNK", key, b"1", &filter.header()]);
    let mut offset = 0;
    while let Some(chunk) = filter.chunk(offset, CHUNK_BYTES) {
        offset += chunk.len();
        command(out, &[b"BF.LOADCHUNK", key, (offset + 1).to_string().as_bytes(), chunk]);
    }
}

fn field_deadlines(out: &mut Vec<u8>, key: &[u8], hash: &Hash) {
    hash.for_each_stored(|field, _, deadline| {
        if let Some(at) = deadline {
            field.with_text(|field| {
                let at = at.to_string();
                command(out, &[b"HPEXPIREAT", key, at.as_bytes(), b"FIELDS", b"1", field]);
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Limits, Set, Zset};

    #[test]
    fn entries_become_commands() {
        let limits = Limits::default();
        let (mut set, mut zset) = (Set::default(), Zset::default());
        for number in 0..65 {
            set.insert(number.to_string().as_bytes(), &limits);
        }
        zset.set(b"m", 1.5, &limits);
        let mut out = Vec::new();
        let mut commands = Commands::default();
        commands.entry(0, b"n", &Value::Int(7), Some(99), &mut out);
        commands.entry(0, b"s", &Value::Object(Object::Set(set)), None, &mut out);
        commands.entry(2, b"z", &Value::Object(Object::Zset(zset)), None, &mut out);
        let text = String::from_utf8(out).expect("text");
        let lines: Vec<&str> = text
            .split("\r\n")
            .filter(|line| !line.starts_with(['$']) && !line.is_empty())
            .collect();
        assert_eq!(
            lines[..10],
            ["*2", "SELECT", "0", "*3", "SET", "n", "7", "*3", "PEXPIREAT", "n"]
        );
        assert!(text.contains("*66\r\n$4\r\nSADD\r\n$1\r\ns\r\n"), "64 members in the first");
        assert!(text.contains("*3\r\n$4\r\nSADD\r\n$1\r\ns\r\n"), "one in the second");
        assert!(text.ends_with(
            "SELECT\r\n$1\r\n2\r\n*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$3\r\n1.5\r\n$1\r\nm\r\n"
        ));
    }
}
