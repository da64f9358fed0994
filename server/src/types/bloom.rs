//! Scalable Bloom filters (Almeida, Baquero, Preguiça, Hutchison: "Scalable Bloom Filters", 2007) with the sizes, hashes
//! and bits of RedisBloom, so that its files and ours are the same.
//!
//! A filter is a chain of links. When the last is full, one follows that holds more by the growth and errs half as often, so
//! that all together err no more than was asked for.

/// The bits of a link are as many as are needed, not rounded up to a power of two.
pub const OPTION_NO_ROUND: u32 = 1;
/// The size of a link was given in bits.
pub const OPTION_ENTRIES_ARE_BITS: u32 = 2;
/// Hashes have 64 bits.
pub const OPTION_64_BITS: u32 = 4;
/// No link follows the first.
pub const OPTION_NO_SCALING: u32 = 8;

/// A link's share of the error of the one before it.
const TIGHTENING: f64 = 0.5;
#[expect(
    clippy::approx_constant,
    reason = "as many digits as RedisBloom has, so that both round alike"
)]
const LN_2: f64 = 0.693_147_180_559_945;
const LN_2_SQUARED: f64 = 0.480_453_013_918_201;
/// Bytes that a link may take: what one allocation may ask for on behalf of a client.
const LINK_BYTES_MAX: u64 = 8 << 30;
/// Bytes of a chunk of BF.SCANDUMP, at most.
pub const CHUNK_BYTES: usize = 16 << 20;
/// Bytes of a header of BF.SCANDUMP, and of each link in it.
const HEADER_BYTES: usize = 20;
const LINK_HEADER_BYTES: usize = 53;
/// Bytes that count as one part of the value, where its size is told in parts.
const PART_BYTES: usize = 256;

/// One filter of a chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Items for which it was made.
    pub entries: u64,
    /// How often it may err, from 0 to 1.
    pub error: f64,
    /// Bits that an item sets.
    pub hashes: u32,
    /// Bits for each item.
    pub bits_per_entry: f64,
    /// Its size, a multiple of 8.
    pub bits: u64,
    /// The power of two that its size is; 0 if it is none.
    pub power: u8,
    /// The bits.
    pub data: Vec<u8>,
    /// Items that were added.
    pub size: u64,
}

/// A chain of filters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bloom {
    size: u64,
    options: u32,
    growth: u32,
    links: Vec<Link>,
}

/// Why nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// The filter is full and does not scale.
    Full,
    /// A further link would be too large.
    TooLarge,
}

/// Why a chunk is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// It begins behind the last bit.
    Behind,
    /// It goes beyond the link that it begins in.
    TooLong,
}

/// The two hashes of an item, from which all others are made.
#[derive(Clone, Copy)]
struct Hashes(u64, u64);

/// MurmurHash2 in its form of 64 bits (Appleby).
fn murmur(text: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = seed ^ (text.len() as u64).wrapping_mul(M);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(M);
        word ^= word >> 47;
        hash = (hash ^ word.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 47
}

impl Hashes {
    fn of(item: &[u8]) -> Self {
        let first = murmur(item, 0xc6a4_a793_5bd1_e995);
        Self(first, murmur(item, first))
    }
}

fn hashes_for(bits_per_entry: f64) -> f64 {
    (LN_2 * bits_per_entry).ceil()
}

impl Link {
    /// An empty one for so many items; `None` if it would be too large, or is none at all.
    fn new(entries: u64, error: f64) -> Option<Self> {
        if entries < 1 || error <= 0.0 || error >= 1.0 {
            return None;
        }
        let bits_per_entry = (error.ln() / LN_2_SQUARED).abs();
        let bits = ((entries as f64 * bits_per_entry) as u64).max(1);
        let bytes = bits.div_ceil(64).checked_mul(8).filter(|bytes| *bytes <= LINK_BYTES_MAX)?;
        Some(Self {
            entries,
            error,
            hashes: hashes_for(bits_per_entry) as u32,
            bits_per_entry,
            bits: bytes * 8,
            power: 0,
            data: vec![0; usize::try_from(bytes).ok()?],
            size: 0,
        })
    }

    /// Whether facts from outside go together.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_error = self.error > 0.0 && self.error < 1.0;
        let fits_power = self.power == 0
            || (self.power <= 63 && self.bits >= 1 << self.power && self.bits.is_multiple_of(8));
        is_error
            && fits_power
            && self.bits > 0
            && self.bits == self.data.len() as u64 * 8
            && f64::from(self.hashes) == hashes_for(self.bits_per_entry)
    }

    /// The bits of an item, one after the other.
    fn places(&self, hashes: Hashes) -> impl Iterator<Item = (usize, u8)> + use<> {
        let size = if self.power == 0 { self.bits } else { 1 << self.power };
        let mut sum = hashes.0;
        (0..self.hashes).map(move |_| {
            let bit = sum % size;
            sum = sum.wrapping_add(hashes.1);
            ((bit / 8) as usize, 1 << (bit % 8))
        })
    }

    fn holds(&self, hashes: Hashes) -> bool {
        self.places(hashes).all(|(byte, mask)| self.data[byte] & mask != 0)
    }

    /// Answers whether it did not hold the item before.
    fn add(&mut self, hashes: Hashes) -> bool {
        let mut is_new = false;
        for (byte, mask) in self.places(hashes) {
            is_new |= self.data[byte] & mask == 0;
            self.data[byte] |= mask;
        }
        self.size += u64::from(is_new);
        is_new
    }
}

impl Bloom {
    /// An empty filter for so many items, which grows by `growth`, or not at all; `None` if it would be too large.
    #[must_use]
    pub fn new(capacity: u64, error: f64, growth: u32, scales: bool) -> Option<Self> {
        let tightening = if scales { TIGHTENING } else { 1.0 };
        let first = Link::new(capacity, error * tightening)?;
        let scaling = if scales { 0 } else { OPTION_NO_SCALING };
        let options = OPTION_64_BITS | OPTION_NO_ROUND | scaling;
        Some(Self { size: 0, options, growth, links: vec![first] })
    }

    /// A filter from outside, if its facts go together and its hashes are ours.
    #[must_use]
    pub fn from_parts(size: u64, options: u32, growth: u32, links: Vec<Link>) -> Option<Self> {
        const KNOWN: u32 =
            OPTION_NO_ROUND | OPTION_ENTRIES_ARE_BITS | OPTION_64_BITS | OPTION_NO_SCALING;
        let sum = links.iter().try_fold(0_u64, |sum, link| sum.checked_add(link.size))?;
        let is_sound = !links.is_empty()
            && links.iter().all(Link::is_sound)
            && options & !KNOWN == 0
            && options & OPTION_64_BITS != 0
            && sum == size;
        is_sound.then_some(Self { size, options, growth, links })
    }

    /// The links, oldest first.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Items that were added.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the filter was made with.
    #[must_use]
    pub fn options(&self) -> u32 {
        self.options
    }

    /// How many times larger the next link is.
    #[must_use]
    pub fn growth(&self) -> u32 {
        self.growth
    }

    /// Whether a link follows a full one.
    #[must_use]
    pub fn scales(&self) -> bool {
        self.options & OPTION_NO_SCALING == 0
    }

    /// Items for which all links were made.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.links.iter().fold(0, |sum, link| sum.saturating_add(link.entries))
    }

    /// The size of the filter as a count of parts that take time.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.links.iter().map(|link| link.data.len()).sum::<usize>() / PART_BYTES + self.links.len()
    }

    /// Bytes that the filter has allocated.
    #[must_use]
    pub fn allocated_bytes(&self) -> usize {
        let links: usize = self.links.iter().map(|link| link.data.capacity()).sum();
        size_of::<Self>() + self.links.capacity() * size_of::<Link>() + links
    }

    /// Whether the item may have been added; without a doubt not, if it answers so.
    #[must_use]
    pub fn contains(&self, item: &[u8]) -> bool {
        let hashes = Hashes::of(item);
        self.links.iter().rev().any(|link| link.holds(hashes))
    }

    /// Adds an item. Answers whether it was not there before, as far as can be told.
    ///
    /// # Errors
    /// When there is no room, and none can be made.
    pub fn add(&mut self, item: &[u8]) -> Result<bool, NotAdded> {
        let hashes = Hashes::of(item);
        if self.links.iter().rev().any(|link| link.holds(hashes)) {
            return Ok(false);
        }
        let Some(last) = self.links.last() else { return Err(NotAdded::TooLarge) };
        if last.size >= last.entries {
            if !self.scales() {
                return Err(NotAdded::Full);
            }
            let entries = last.entries.checked_mul(u64::from(self.growth));
            let next = entries.and_then(|entries| Link::new(entries, last.error * TIGHTENING));
            self.links.push(next.ok_or(NotAdded::TooLarge)?);
        }
        let is_new = self.links.last_mut().is_some_and(|link| link.add(hashes));
        self.size += u64::from(is_new);
        Ok(is_new)
    }

    /// All but the bits, as BF.SCANDUMP gives it.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES + LINK_HEADER_BYTES * self.links.len());
        out.extend_from_slice(&self.size.to_le_bytes());
        for number in [self.links.len() as u32, self.options, self.growth] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for link in &self.links {
            for number in [link.data.len() as u64, link.bits, link.size] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&link.error.to_le_bytes());
            out.extend_from_slice(&link.bits_per_entry.to_le_bytes());
            out.extend_from_slice(&link.hashes.to_le_bytes());
            out.extend_from_slice(&link.entries.to_le_bytes());
            out.push(link.power);
        }
        out
    }

    /// A filter of a header, with no bit set yet.
    #[must_use]
    pub fn from_header(header: &[u8]) -> Option<Self> {
        let (head, links) = header.split_at_checked(HEADER_BYTES)?;
        let short = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        let size = u64::from_le_bytes(*head.first_chunk()?);
        let (count, options, growth) = (short(8)?, short(12)?, short(16)?);
        if links.len() != (count as usize).checked_mul(LINK_HEADER_BYTES)? {
            return None;
        }
        let mut total = 0_u64;
        let mut all = Vec::new();
        for link in links.chunks_exact(LINK_HEADER_BYTES) {
            let long = |at: usize| Some(u64::from_le_bytes(*link.get(at..)?.first_chunk()?));
            let bytes = long(0)?;
            total = total.checked_add(bytes).filter(|total| *total <= LINK_BYTES_MAX)?;
            let mut made = Link {
                bits: long(8)?,
                size: long(16)?,
                error: f64::from_bits(long(24)?),
                bits_per_entry: f64::from_bits(long(32)?),
                hashes: u32::from_le_bytes(*link.get(40..)?.first_chunk()?),
                entries: long(44)?,
                power: *link.last()?,
                data: Vec::new(),
            };
            if made.bits != bytes.checked_mul(8)? {
                return None;
            }
            made.data = vec![0; usize::try_from(bytes).ok()?];
            all.push(made);
        }
        Self::from_parts(size, options, growth, all)
    }

    fn place(&self, mut offset: usize) -> Option<(usize, usize)> {
        for (at, link) in self.links.iter().enumerate() {
            if offset < link.data.len() {
                return Some((at, offset));
            }
            offset -= link.data.len();
        }
        None
    }

    /// Bits from the byte `offset` of all on, up to `most` bytes and to the end of a link; `None` behind the last.
    #[must_use]
    pub fn chunk(&self, offset: usize, most: usize) -> Option<&[u8]> {
        let (at, from) = self.place(offset)?;
        let data = &self.links[at].data[from..];
        Some(&data[..data.len().min(most)])
    }

    /// Writes bits over those from the byte `offset` of all on.
    ///
    /// # Errors
    /// When they do not lie in one link.
    pub fn load_chunk(&mut self, offset: usize, chunk: &[u8]) -> Result<(), NoPlace> {
        let (at, from) = self.place(offset).ok_or(NoPlace::Behind)?;
        let data = &mut self.links[at].data;
        let place = data.get_mut(from..from + chunk.len()).ok_or(NoPlace::TooLong)?;
        place.copy_from_slice(chunk);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_errs_no_more_than_it_may() {
        let mut filter = Bloom::new(100, 0.01, 2, true).expect("a filter");
        for number in 0..20_000_u32 {
            filter.add(format!("in {number}").as_bytes()).expect("room");
        }
        assert!((0..20_000).all(|number| filter.contains(format!("in {number}").as_bytes())));
        let wrong =
            (0..20_000).filter(|number| filter.contains(format!("out {number}").as_bytes()));
        assert!(wrong.count() <= 300);
        assert_eq!(filter.links().len(), 8);
        assert!(filter.size() > 19_700);
    }

    #[test]
    fn one_that_does_not_scale_is_full_some_time() {
        let mut filter = Bloom::new(10, 0.01, 2, false).expect("a filter");
        let mut added = 0;
        let full = (0..100_u32).find_map(|number| match filter.add(&number.to_le_bytes()) {
            Ok(is_new) => {
                added += u64::from(is_new);
                None
            }
            Err(why) => Some(why),
        });
        assert_eq!((full, added, filter.capacity()), (Some(NotAdded::Full), 10, 10));
    }

    #[test]
    fn the_bits_are_those_of_the_module() {
        // RedisBloom 2.4.23: BF.INSERT key CAPACITY 10 ERROR 0.1 EXPANSION 4 ITEMS a, then BF.SCANDUMP.
        let mut filter = Bloom::new(10, 0.1, 4, true).expect("a filter");
        assert_eq!(filter.add(b"a"), Ok(true));
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let header = "01000000000000000100000005000000040000000800000000000000400000000000000001000000\
            000000009a9999999999a93f4af7d49edef01840050000000a0000000000000000";
        assert_eq!(hex(&filter.header()), header);
        assert_eq!(hex(filter.chunk(0, 100).expect("bits")), "0044000800100020");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Bloom::new(0, 0.01, 2, true).is_none());
        assert!(Bloom::new(1, 1.0, 2, false).is_none());
        assert!(Bloom::new(u64::MAX, 0.01, 2, true).is_none());
        let good = Bloom::new(10, 0.01, 2, true).expect("a filter").header();
        assert!(Bloom::from_header(&good).is_some());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            // Nothing breaks, whatever is taken.
            if let Some(mut filter) = Bloom::from_header(&bad) {
                let _ = (filter.contains(b"x"), filter.add(b"x"), filter.add(b"y"));
            }
            assert!(Bloom::from_header(&good[..at]).is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_apart_is_put_together_again(
            capacity in 1_u64..200,
            error in 0.0001_f64..0.25,
            growth in 1_u32..4,
            items in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..400),
            most in 1_usize..300,
        ) {
            let mut filter = Bloom::new(capacity, error, growth, true).expect("a filter");
            for item in &items {
                filter.add(item).expect("room");
                prop_assert!(filter.contains(item));
                prop_assert_eq!(filter.add(item), Ok(false));
            }
            let mut copy = Bloom::from_header(&filter.header()).expect("sound");
            let mut offset = 0;
            while let Some(chunk) = filter.chunk(offset, most) {
                prop_assert_eq!(copy.load_chunk(offset, chunk), Ok(()));
                offset += chunk.len();
            }
            prop_assert_eq!(&copy, &filter);
            prop_assert_eq!(copy.load_chunk(offset, b"x"), Err(NoPlace::Behind));
            prop_assert_eq!(copy.load_chunk(offset - 1, b"xy"), Err(NoPlace::TooLong));
        }
    }
}
