//! Bob Jenkins's lookup3 in its little-endian form, begun at 13.

const INITIAL: u32 = 13;

pub(super) fn jenkins(key: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(key.len() as u32).wrapping_add(INITIAL);
    let (mut a, mut b, mut c) = (start, start, start);
    let mut rest = key;
    while rest.len() > 12 {
        let (block, after) = rest.split_at(12);
        add(block, &mut a, &mut b, &mut c);
        mix(&mut a, &mut b, &mut c);
        rest = after;
    }
    if rest.is_empty() {
        return c;
    }
    let mut block = [0; 12];
    block[..rest.len()].copy_from_slice(rest);
    add(&block, &mut a, &mut b, &mut c);
    finish(a, b, c)
}

fn add(block: &[u8], a: &mut u32, b: &mut u32, c: &mut u32) {
    for (word, bytes) in [a, b, c].into_iter().zip(block.chunks_exact(4)) {
        *word = word.wrapping_add(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    for (first, second, third) in [(4, 6, 8), (16, 19, 4)] {
        *a = a.wrapping_sub(*c) ^ c.rotate_left(first);
        *c = c.wrapping_add(*b);
        *b = b.wrapping_sub(*a) ^ a.rotate_left(second);
        *a = a.wrapping_add(*c);
        *c = c.wrapping_sub(*b) ^ b.rotate_left(third);
        *b = b.wrapping_add(*a);
    }
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    let step = |x: u32, y: u32, turn: u32| (x ^ y).wrapping_sub(y.rotate_left(turn));
    c = step(c, b, 14);
    a = step(a, c, 11);
    b = step(b, a, 25);
    c = step(c, b, 16);
    a = step(a, c, 4);
    b = step(b, a, 14);
    step(c, b, 24)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::check_golden;

    #[test]
    fn equals_twemproxy() {
        check_golden(
            jenkins,
            [3768813200, 2583187353, 1442444624, 76303748, 1698333883, 3412207021, 3801980525],
        );
    }
}
