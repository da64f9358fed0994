//! Bloom filters as RDB bytes, both ways: a value of the module type that RedisBloom registers, in its version 4.

use super::encode::Draft;
use super::error::{Fault, corrupt};
use super::format::module;
use super::input::Input;
use super::value::{Reader, array, number};
use crate::types::Bloom;
use crate::types::bloom::Link;

/// The id of RedisBloom's type: nine letters of six bits, "MBbloom--", and ten bits of a version.
pub(super) const ID: u64 = {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let name = b"MBbloom--";
    let (mut id, mut at) = (0, 0);
    while at < name.len() {
        let mut letter = 0;
        while LETTERS[letter] != name[at] {
            letter += 1;
        }
        id = id << 6 | letter as u64;
        at += 1;
    }
    id << 10 | 4
};

/// Bits of more bytes are written as they are and in slices.
const SLICED_FROM: usize = 1 << 20;

/// Where the writing of a filter stands.
#[derive(Debug, Clone, Default)]
pub(super) struct BloomSlicer {
    is_begun: bool,
    /// The link, and how many of its bytes are written.
    place: (usize, usize),
}

fn put_number(draft: &mut Draft, number: u64) {
    draft.put_length(module::UINT);
    draft.put_length(number);
}

fn put_double(draft: &mut Draft, number: f64) {
    draft.put_length(module::DOUBLE);
    draft.bytes.extend_from_slice(&number.to_le_bytes());
}

impl BloomSlicer {
    /// Writes more, until the draft has about `most` bytes. Answers whether that was the end.
    pub(super) fn advance(&mut self, draft: &mut Draft, filter: &Bloom, most: usize) -> bool {
        if !std::mem::replace(&mut self.is_begun, true) {
            draft.put_length(ID);
            put_number(draft, filter.size());
            put_number(draft, filter.links().len() as u64);
            put_number(draft, u64::from(filter.options()));
            put_number(draft, u64::from(filter.growth()));
        }
        while let Some(link) = filter.links().get(self.place.0) {
            if draft.bytes.len() >= most {
                return false;
            }
            self.link(draft, link, most);
        }
        draft.put_length(module::END);
        true
    }

    fn link(&mut self, draft: &mut Draft, link: &Link, most: usize) {
        let (at, written) = self.place;
        if written == 0 {
            put_number(draft, link.entries);
            put_double(draft, link.error);
            put_number(draft, u64::from(link.hashes));
            put_double(draft, link.bits_per_entry);
            put_number(draft, link.bits);
            put_number(draft, u64::from(link.power));
            draft.put_length(module::STRING);
            if link.data.len() <= SLICED_FROM {
                draft.put_plain(&link.data);
                put_number(draft, link.size);
                self.place = (at + 1, 0);
                return;
            }
            draft.put_length(link.data.len() as u64);
        }
        let room = most.saturating_sub(draft.bytes.len()).max(1);
        let end = written.saturating_add(room).min(link.data.len());
        draft.bytes.extend_from_slice(&link.data[written..end]);
        self.place = (at, end);
        if end == link.data.len() {
            put_number(draft, link.size);
            self.place = (at + 1, 0);
        }
    }
}

impl<I: Input> Reader<'_, I> {
    fn expect(&mut self, part: u64) -> Result<(), Fault> {
        if number(self.input)? == part { Ok(()) } else { Err(damage()) }
    }

    fn module_number(&mut self) -> Result<u64, Fault> {
        self.expect(module::UINT)?;
        number(self.input)
    }

    fn module_double(&mut self) -> Result<f64, Fault> {
        self.expect(module::DOUBLE)?;
        array(self.input).map(f64::from_le_bytes)
    }

    /// A filter, whose id was read.
    pub(super) fn bloom(&mut self) -> Result<Bloom, Fault> {
        let size = self.module_number()?;
        let count = self.module_number()?;
        let options = u32::try_from(self.module_number()?).map_err(|_| damage())?;
        let growth = u32::try_from(self.module_number()?).map_err(|_| damage())?;
        let mut links = Vec::new();
        for _ in 0..count {
            let entries = self.module_number()?;
            let error = self.module_double()?;
            let hashes = u32::try_from(self.module_number()?).map_err(|_| damage())?;
            let bits_per_entry = self.module_double()?;
            let bits = self.module_number()?;
            let power = u8::try_from(self.module_number()?).map_err(|_| damage())?;
            self.expect(module::STRING)?;
            let mut data = Vec::new();
            self.text_into(&mut data)?;
            let size = self.module_number()?;
            let link = Link { entries, error, hashes, bits_per_entry, bits, power, data, size };
            // One by one, so that a count that cannot be true ends at the first that is wrong.
            if !link.is_sound() {
                return Err(damage());
            }
            links.push(link);
        }
        self.expect(module::END)?;
        Bloom::from_parts(size, options, growth, links).ok_or_else(damage)
    }
}

fn damage() -> Fault {
    corrupt("Bloom filter integrity check failed.", 2767)
}
