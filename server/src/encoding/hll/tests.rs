//! Against redis-server's bytes, against a plain array of registers, and against damage.

use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;

/// The default of `hll-sparse-max-bytes`.
const SPARSE_BYTES_MAX: usize = 3000;

fn add(text: &mut Vec<u8>, element: &str) {
    let (index, number) = offer(element.as_bytes());
    if raise(text, index, number, SPARSE_BYTES_MAX) == Ok(true) {
        forget(text);
    }
}

fn digest(text: &[u8]) -> String {
    Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn registers(text: &[u8]) -> Registers {
    let mut registers = [0; REGISTERS];
    assert_eq!(merge(&mut registers, text), Ok(()));
    registers
}

#[test]
fn the_bytes_are_those_of_redis() {
    // Recorded from redis-server 7.0.15: `PFADD k e0`, `e1` …, and after so many elements `PFCOUNT k`, then the
    // length and the SHA-1 of `GET k`.
    const GOLDEN: &[(usize, u64, usize, &str)] = &[
        (1, 1, 21, "51035499f1dbfe14dcf6698e0c2a96cf70259a4f"),
        (10, 10, 48, "6a449b9f8f4f73ea34153157833b9e4e3ccf50d6"),
        (100, 100, 285, "10284d924957df904fe939f436df8ee09605b6ef"),
        (300, 302, 713, "f3f35a3d2b90deb1db146534a80de8537004c99c"),
        (700, 704, 1403, "53c0c9ff5771890bc0f6f593a97ac8ca0a574f6c"),
        (1000, 1008, 1906, "5b90d5bb9790139af3f5b0b6e8ffc2ab1fcc86da"),
        (1500, 1509, 2719, "d1ae9ec8f8a22624731a839f7841168347bcf657"),
        (3000, 2979, 12304, "dd640a880ffefbaabc92371fff4b1b0974887003"),
        (20000, 19901, 12304, "ffcb2f620f6f5388057b499b27d936438b668ab0"),
        (200000, 200859, 12304, "ebb2a3c7038b4e33a31a904f780d810093989b33"),
    ];
    let mut text = empty();
    let mut added = 0;
    for (elements, cardinality, length, hash) in GOLDEN {
        for element in added..*elements {
            add(&mut text, &format!("e{element}"));
        }
        added = *elements;
        assert_eq!(noted(&text), None);
        assert_eq!(count(&text), Ok(*cardinality));
        note(&mut text, *cardinality);
        assert_eq!(noted(&text), Some(*cardinality));
        assert_eq!((text.len(), digest(&text).as_str()), (*length, *hash), "{elements} elements");
    }
}

#[test]
fn a_header_alone_is_not_enough() {
    assert!(is_valid(&empty()));
    assert_eq!(count(&empty()), Ok(0));
    for damaged in [&b"HYLL"[..], b"", b"hello, this is no HyperLogLog"] {
        assert!(!is_valid(damaged));
    }
    let mut other = empty();
    other[4] = 2;
    assert!(!is_valid(&other));
    other[4] = 0;
    assert!(!is_valid(&other), "a dense one has one length only");
    let hollow = &empty()[..HEADER];
    assert!(is_valid(hollow));
    assert_eq!(count(hollow), Err(Corrupt));
    assert_eq!(raise(&mut hollow.to_vec(), 0, 1, SPARSE_BYTES_MAX), Err(Corrupt));
}

#[test]
fn a_register_too_many_is_one_too_many() {
    for more in [0x84, 0, 0x40] {
        let mut text = empty();
        text.push(more);
        assert_eq!(count(&text), Err(Corrupt));
        assert_eq!(merge(&mut [0; REGISTERS], &text), Err(Corrupt));
        let before = text.clone();
        assert_eq!(to_dense(&mut text), Err(Corrupt));
        assert_eq!(text, before);
    }
}

/// Offers to a few neighbouring registers, so that runs are divided and joined, and to any.
fn offers() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let index = prop_oneof![100_usize..130, 0..REGISTERS, Just(REGISTERS - 1), Just(0)];
    let number = prop_oneof![1_u8..4, 1_u8..=32];
    prop::collection::vec((index, number), 0..400)
}

proptest! {
    #[test]
    fn both_forms_hold_what_an_array_does(offers in offers(), bytes_max in 16_usize..700) {
        let mut model = [0; REGISTERS];
        let mut text = empty();
        let mut packed = empty();
        to_dense(&mut packed).expect("sound");
        for (index, number) in offers {
            let raised = model[index] < number;
            model[index] = model[index].max(number);
            prop_assert_eq!(would_raise(&text, index, number), Ok(raised));
            prop_assert_eq!(would_raise(&packed, index, number), Ok(raised));
            prop_assert_eq!(raise(&mut text, index, number, bytes_max), Ok(raised));
            prop_assert_eq!(raise(&mut packed, index, number, bytes_max), Ok(raised));
            prop_assert!(form(&text) == Form::Dense || text.len() <= bytes_max.max(18 + 3));
        }
        prop_assert_eq!(registers(&text), model);
        prop_assert_eq!(registers(&packed), model);
        prop_assert_eq!(count(&text), Ok(count_registers(&model)));
        prop_assert_eq!(count(&packed), Ok(count_registers(&model)));
        to_dense(&mut text).expect("sound");
        prop_assert_eq!(&text[HEADER..], &packed[HEADER..]);
    }

    #[test]
    fn a_cursor_changes_nothing_but_the_time(offers in offers(), more in offers()) {
        let mut text = empty();
        for (index, number) in offers {
            raise(&mut text, index, number, SPARSE_BYTES_MAX).expect("sound");
        }
        let mut plain = text.clone();
        let mut more = more;
        more.sort_unstable();
        let mut cursor = sparse::Cursor::default();
        for (index, number) in more {
            let one = raise(&mut plain, index, number, SPARSE_BYTES_MAX);
            let other = raise_at(&mut text, &mut cursor, index, number, SPARSE_BYTES_MAX);
            prop_assert_eq!(one, other);
            prop_assert_eq!(&text, &plain);
        }
    }

    #[test]
    fn damage_does_no_harm(
        noise in prop::collection::vec(prop_oneof![any::<u8>(), Just(0x7f), Just(0xff)], 0..60),
        at in any::<prop::sample::Index>(),
        offers in offers(),
    ) {
        let mut text = empty()[..HEADER].to_vec();
        text.extend_from_slice(&noise);
        let at = at.index(text.len());
        text[at] ^= 1;
        if is_valid(&text) {
            prop_assert_eq!(count(&text).is_ok(), merge(&mut [0; REGISTERS], &text).is_ok());
            let _ = sparse::describe(&text);
            for (index, number) in offers {
                let before = text.clone();
                let would = would_raise(&text, index, number);
                match raise(&mut text, index, number, SPARSE_BYTES_MAX) {
                    Err(Corrupt) => prop_assert_eq!(&text, &before),
                    Ok(raised) => prop_assert_eq!(would, Ok(raised)),
                }
            }
        }
    }
}
