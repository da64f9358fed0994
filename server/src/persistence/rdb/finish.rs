//! The last steps of writing, for the thread that writes: compression and checksum.

use crc::{Digest, Table};

use super::encode::{Draft, length_bytes, put_length};
use super::format::{CRC, special};
use crate::encoding::lzf::Compressor;

/// What compression must save, in bytes, to be worth it.
const SAVED_MIN: usize = 4;

/// Makes the bytes of a file of one [`Draft`] after the other.
pub struct Finisher {
    compressor: Option<Compressor>,
    digest: Option<Digest<'static, u64, Table<16>>>,
    packed: Vec<u8>,
    output: Vec<u8>,
}

impl Finisher {
    /// One for a new file. `compresses` is `rdbcompression`, `checksums` is `rdbchecksum`: without, the checksum in the
    /// file is zero, which says that there is none.
    #[must_use]
    pub fn new(compresses: bool, checksums: bool) -> Self {
        Self {
            compressor: compresses.then(Compressor::default),
            digest: checksums.then(|| CRC.digest()),
            packed: Vec::new(),
            output: Vec::new(),
        }
    }

    /// Appends the bytes of a draft to the output, and the checksum when it is the last.
    pub fn finish(&mut self, draft: &Draft) {
        let begin = self.output.len();
        match &mut self.compressor {
            Some(compressor) => compress(compressor, draft, &mut self.packed, &mut self.output),
            None => self.output.extend_from_slice(&draft.bytes),
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&self.output[begin..]);
        }
        if draft.is_last {
            let sum = self.digest.take().map_or(0, |digest| digest.finalize());
            self.output.extend_from_slice(&sum.to_le_bytes());
        }
    }

    /// What is ready to be written. The writer takes from it what it has written.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }
}

/// The bytes of a draft, its texts compressed where that makes them shorter.
#[must_use]
pub fn compressed(draft: Draft) -> Vec<u8> {
    if draft.texts.is_empty() {
        return draft.bytes;
    }
    let mut out = Vec::new();
    compress(&mut Compressor::default(), &draft, &mut Vec::new(), &mut out);
    out
}

fn compress(compressor: &mut Compressor, draft: &Draft, packed: &mut Vec<u8>, out: &mut Vec<u8>) {
    out.reserve(draft.bytes.len());
    let mut done = 0;
    for text in &draft.texts {
        let start = text.at + length_bytes(text.length);
        let Some(bytes) = draft.bytes.get(start..start + text.length) else { break };
        packed.clear();
        if compressor.compress(bytes, text.length - SAVED_MIN.min(text.length), packed) {
            out.extend_from_slice(&draft.bytes[done..text.at]);
            out.push(0xc0 | special::LZF);
            put_length(out, packed.len() as u64);
            put_length(out, text.length as u64);
            out.extend_from_slice(packed);
            done = start + text.length;
        }
    }
    out.extend_from_slice(&draft.bytes[done..]);
}
