//! Growing and shrinking, one bucket at a time.
//!
//! The `unsafe` here rests on the invariant of the parent module.

use super::{ADDRESS, Item, SEGMENT_BUCKETS, SLOTS, Table, allocate, release, tag_of};

impl<T: Item> Table<T> {
    /// Adds one bucket and splits the one whose turn it is.
    pub(super) fn grow(&mut self) {
        let new = self.buckets;
        if new < SEGMENT_BUCKETS {
            if new == self.first_capacity {
                // A quarter more: as fine as the allocator's sizes, so that small tables take little more than they use.
                let capacity = new + (1_usize << new.ilog2() >> 2).max(1);
                let larger = allocate(capacity);
                // SAFETY: both hold at least `new` buckets and do not overlap; the old one is released after.
                unsafe {
                    std::ptr::copy_nonoverlapping(self.segments[0].as_ptr(), larger.as_ptr(), new);
                    release(self.segments[0], self.first_capacity);
                }
                self.segments[0] = larger;
                self.first_capacity = capacity;
            }
        } else if new & (SEGMENT_BUCKETS - 1) == 0 {
            self.segments.push(allocate(SEGMENT_BUCKETS));
        }
        let old_bits = self.level;
        let split = new - (1 << old_bits);
        self.buckets += 1;
        if self.buckets == 1 << (old_bits + 1) {
            self.level += 1;
        }
        let new_bits = old_bits + 1;
        let rehash = new_bits.is_multiple_of(8);
        let mut words = Vec::with_capacity(2 * SLOTS);
        self.drain_chain(split, &mut words);
        for word in words {
            let (goes, word) = if rehash {
                // SAFETY: drained words hold live items.
                let hash = unsafe { Self::hash_of_word(word) };
                (hash >> old_bits & 1, tag_of(hash, new_bits) | word & ADDRESS)
            } else {
                (word >> 48 >> (old_bits % 8) & 1, word)
            };
            self.put(if goes == 1 { new } else { split }, word);
        }
    }

    /// Merges the last bucket into the one it was split from.
    pub(super) fn shrink(&mut self) {
        let last = self.buckets - 1;
        let bits = self.bits_of(last);
        let old_bits = bits - 1;
        let into = last - (1 << old_bits);
        let rehash = bits.is_multiple_of(8);
        let mut words = Vec::with_capacity(2 * SLOTS);
        self.drain_chain(last, &mut words);
        if rehash {
            self.drain_chain(into, &mut words);
        }
        self.buckets -= 1;
        self.level = self.buckets.ilog2();
        for word in words {
            let word = if rehash {
                // SAFETY: drained words hold live items.
                tag_of(unsafe { Self::hash_of_word(word) }, old_bits) | word & ADDRESS
            } else {
                word
            };
            self.put(into, word);
        }
        if self.buckets <= SEGMENT_BUCKETS {
            // Halve the first segment when a quarter of it is used.
            if self.segments.len() > 1 {
                let unused = self.segments.pop().expect("checked");
                // SAFETY: no bucket of that segment is named any more; segments after the first have this size.
                unsafe { release(unused, SEGMENT_BUCKETS) };
            }
            if self.buckets * 4 <= self.first_capacity && self.first_capacity > 1 {
                let smaller = allocate(self.first_capacity / 2);
                // SAFETY: as in `grow`; the smaller segment still holds twice the buckets in use.
                unsafe {
                    std::ptr::copy_nonoverlapping(
                        self.segments[0].as_ptr(),
                        smaller.as_ptr(),
                        self.buckets,
                    );
                    release(self.segments[0], self.first_capacity);
                }
                self.segments[0] = smaller;
                self.first_capacity /= 2;
            }
        } else if (self.segments.len() - 1) * SEGMENT_BUCKETS >= self.buckets {
            let unused = self.segments.pop().expect("more than one segment");
            // SAFETY: as above.
            unsafe { release(unused, SEGMENT_BUCKETS) };
        }
    }
}
