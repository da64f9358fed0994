use proptest::prelude::*;

use super::*;

fn waiting(output: &Output) -> Vec<u8> {
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    let count = output.pieces(&mut pieces);
    pieces[..count].iter().flat_map(|piece| piece.to_vec()).collect()
}

fn write(output: &mut Output, bytes: &[u8]) {
    output.room(bytes.len()).extend_from_slice(bytes);
}

#[test]
fn only_what_is_released_may_leave() {
    let mut output = Output::default();
    write(&mut output, b"+OK\r\n");
    assert_eq!((output.single(), output.may_send()), (Some(&b""[..]), false));
    output.release();
    write(&mut output, b"+later\r\n");
    assert_eq!((output.single(), output.may_send()), (Some(&b"+OK\r\n"[..]), true));
    assert!(!output.took(4));
    assert_eq!(output.single(), Some(&b"\n"[..]));
    assert!(!output.took(1));
    assert_eq!((output.single(), output.pending()), (Some(&b""[..]), 8));
    output.release();
    assert!(output.took(8));
    assert_eq!((output.end(), output.may_send(), output.allocated()), (0, false, 0));
}

#[test]
fn what_waits_takes_little_more_memory_than_its_bytes() {
    let sizes = [10, 1000, 5000, 17_000, 40_000, 70_000, 100_000, 3 << 20];
    for (size, headed) in sizes.into_iter().flat_map(|size| [(size, false), (size, true)]) {
        let mut output = Output::default();
        let value = vec![b'v'; size];
        while output.pending() < 20 << 20 {
            if headed {
                write(&mut output, b"*1\r\n");
            }
            write(&mut output, &value);
        }
        let (allocated, pending) = (output.allocated(), output.pending());
        assert!(allocated < pending + pending * 3 / 10, "{size}: {allocated} for {pending}");
        // As much as is sent is given back.
        output.release();
        output.took(pending / 2);
        // The first block is sent in part, and the last has room left.
        assert!(
            output.allocated() < allocated / 2 + 2 * size.max(BLOCK_BYTES),
            "{size}: {} of {allocated}",
            output.allocated()
        );
    }
}

#[test]
fn a_lent_value_is_not_copied_and_let_go_when_it_is_sent() {
    let value = Bytes::from(vec![b'v'; 100_000]);
    let mut output = Output::default();
    write(&mut output, b"before");
    output.lend(value.clone());
    write(&mut output, b"after");
    output.release();
    let mut pieces = [IoSlice::new(&[]); PIECES_MAX];
    assert_eq!(output.pieces(&mut pieces), 3);
    assert_eq!(pieces[1].as_ptr(), value.as_ptr());
    assert!(!value.is_unique());
    assert!(!output.took(6 + value.len()));
    assert!(value.is_unique());
    assert!(output.took(5));
}

/// What is done to an output.
#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Lend(usize),
    /// The end of a command that failed: what it wrote is taken back.
    TakeBack,
    /// The head of an aggregate that began with the command.
    Head,
    /// The end of a turn.
    Release,
    /// The kernel takes a part, in thousandths of what may leave.
    Send(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..200).prop_map(Step::Write),
        2 => (0_usize..90_000).prop_map(Step::Write),
        1 => (0_usize..90_000).prop_map(Step::Lend),
        1 => Just(Step::TakeBack),
        1 => Just(Step::Head),
        2 => Just(Step::Release),
        2 => (0_usize..=1000).prop_map(Step::Send),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn what_leaves_is_what_was_written(steps in prop::collection::vec(step(), 0..60)) {
        let mut output = Output::default();
        // Everything that was written and not taken back; how much of it has left and how much may; where the command began.
        let (mut model, mut sent, mut released, mut mark) = (Vec::new(), 0, 0, 0);
        let mut next = 0_u8;
        for step in steps {
            match step {
                Step::Write(length) | Step::Lend(length) => {
                    let bytes: Vec<u8> = (0..length).map(|_| { next = next.wrapping_add(7); next }).collect();
                    model.extend_from_slice(&bytes);
                    if matches!(step, Step::Lend(_)) {
                        output.lend(Bytes::from(bytes));
                    } else {
                        write(&mut output, &bytes);
                    }
                    continue;
                }
                Step::TakeBack => {
                    output.truncate(output.end() - (model.len() - mark));
                    model.truncate(mark);
                }
                Step::Head => {
                    output.insert(output.end() - (model.len() - mark), b"*123\r\n");
                    model.splice(mark..mark, *b"*123\r\n");
                }
                Step::Release => {
                    output.release();
                    released = model.len();
                }
                Step::Send(part) => {
                    let may_leave = waiting(&output);
                    prop_assert!(model[sent..released].starts_with(&may_leave));
                    prop_assert_eq!(may_leave.is_empty(), sent == released);
                    let count = may_leave.len() * part / 1000;
                    sent += count;
                    let all = output.took(count);
                    prop_assert_eq!(all, sent == model.len());
                }
            }
            mark = model.len();
            prop_assert!(output.waiting() == model[sent..]);
            prop_assert_eq!(output.pending(), model.len() - sent);
            prop_assert_eq!(output.may_send(), sent < released);
        }
        output.release();
        while output.may_send() {
            let left = waiting(&output);
            prop_assert!(model[sent..].starts_with(&left));
            sent += left.len();
            output.took(left.len());
        }
        prop_assert_eq!(sent, model.len());
    }
}
