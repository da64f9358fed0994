//! Integer sets from outside: refused, or as good as one of our own making, whatever is then done with them.
//!
//! The first byte says how many steps follow, of nine bytes each; the rest is the set.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use redstart_server::encoding::intset::IntSet;

fuzz_target!(|data: &[u8]| {
    let [steps, rest @ ..] = data else { return };
    let Some((steps, bytes)) = rest.split_at_checked(usize::from(*steps % 32) * 9) else { return };
    let Some(mut set) = IntSet::from_bytes(bytes) else { return };
    let mut model: BTreeSet<i64> = set.iter().collect();
    check(&set, &model);
    for step in steps.chunks_exact(9) {
        let mut number = [0; 8];
        number.copy_from_slice(&step[1..]);
        // Of every width, and now and then one that is there.
        let number = i64::from_le_bytes(number) >> (step[0] & 0x38);
        let number = match model.iter().nth(usize::from(step[0] >> 2)) {
            Some(held) if step[0] & 4 != 0 => *held,
            _ => number,
        };
        match step[0] & 3 {
            0 => assert_eq!(set.remove(number), model.remove(&number)),
            1 => assert_eq!(set.contains(number), model.contains(&number)),
            _ => assert_eq!(set.insert(number), model.insert(number)),
        }
        check(&set, &model);
    }
    let again = IntSet::from_bytes(set.as_bytes()).expect("ours is well formed");
    check(&again, &model);
});

fn check(set: &IntSet, model: &BTreeSet<i64>) {
    assert_eq!(set.len(), model.len());
    assert_eq!(set.is_empty(), model.is_empty());
    assert!(set.iter().eq(model.iter().copied()));
}
