//! Listpacks from outside: refused, or as good as one of our own making, whatever is then done with them.
//!
//! The first byte says how many steps follow, of three bytes each; the rest is the listpack. Its length, count and
//! end are put right where the second byte says so, so that most inputs get past them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_server::encoding::listpack::{Element, Listpack};

const HEADER: usize = 6;

fuzz_target!(|data: &[u8]| {
    let [steps, mend, rest @ ..] = data else { return };
    let Some((steps, bytes)) = rest.split_at_checked(usize::from(*steps % 32) * 3) else { return };
    let mut bytes = bytes.to_vec();
    if mend & 1 == 1 {
        repair(&mut bytes, mend & 2 == 0);
    }
    let Some(mut pack) = Listpack::from_bytes(&bytes) else { return };
    let mut model: Vec<Vec<u8>> = pack.iter().map(Element::to_vec).collect();
    check(&pack, &model);
    for step in steps.chunks_exact(3) {
        apply(&mut pack, &mut model, step);
        check(&pack, &model);
    }
    let again = Listpack::from_bytes(pack.as_bytes()).expect("ours is well formed");
    check(&again, &model);
});

/// Writes the length, a count (of the elements' number if it can be found, else unknown) and the end.
fn repair(bytes: &mut Vec<u8>, counts: bool) {
    bytes.splice(..0, [0; HEADER]);
    bytes.push(0xff);
    let total = (bytes.len() as u32).to_le_bytes();
    bytes[..4].copy_from_slice(&total);
    bytes[4..HEADER].copy_from_slice(&[0xff, 0xff]);
    if counts && let Some(pack) = Listpack::from_bytes(bytes) {
        let count = (pack.len() as u16).to_le_bytes();
        bytes[4..HEADER].copy_from_slice(&count);
    }
}

fn text(choice: u8) -> Vec<u8> {
    match choice % 8 {
        0 => choice.to_string().into_bytes(),
        1 => (i64::from(choice) - 128).to_string().into_bytes(),
        2 => (i64::from(choice) * 1_000_003).to_string().into_bytes(),
        3 => (i64::MAX - i64::from(choice)).to_string().into_bytes(),
        4 => vec![choice; usize::from(choice)],
        5 => vec![choice; usize::from(choice) * 40],
        6 => vec![choice; usize::from(choice) * 400],
        _ => format!("0{choice}").into_bytes(),
    }
}

fn apply(pack: &mut Listpack, model: &mut Vec<Vec<u8>>, step: &[u8]) {
    let text = text(step[2]);
    let index = if model.is_empty() { 0 } else { usize::from(step[1]) % model.len() };
    let position = pack.seek(index).unwrap_or(pack.end());
    match step[0] % 8 {
        0 => {
            pack.push_back(&text);
            model.push(text);
        }
        1 => {
            pack.push_front(&text);
            model.insert(0, text);
        }
        2 => {
            pack.insert(position, &text);
            model.insert(index, text);
        }
        3 if !model.is_empty() => {
            pack.replace(position, &text);
            model[index] = text;
        }
        4 => {
            let count = usize::from(step[2] % 4);
            pack.remove(position, count);
            model.drain(index..(index + count).min(model.len()));
        }
        5 => {
            let tail = pack.split_off(position);
            check(&tail, &model[index..]);
            check(pack, &model[..index]);
            pack.append(&tail);
        }
        6 => {
            let wanted = model.get(index).unwrap_or(&text);
            let found = pack.find(pack.first(), wanted, 0);
            let known = model.iter().position(|held| held == wanted);
            assert_eq!(found, known.and_then(|known| pack.seek(known)));
        }
        _ => {
            pack.push_back_int(i64::from(step[2]) << (step[1] % 56));
            model.push((i64::from(step[2]) << (step[1] % 56)).to_string().into_bytes());
        }
    }
}

fn check(pack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(pack.len(), model.len());
    assert_eq!(pack.is_empty(), model.is_empty());
    assert!(pack.total() <= pack.allocated_bytes());
    assert!(pack.iter().map(Element::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter_back().map(Element::to_vec).eq(model.iter().rev().cloned()));
    assert_eq!(pack.seek(model.len()), None);
    if let Some(last) = model.len().checked_sub(1) {
        assert_eq!(pack.seek(last), pack.last());
    }
}
