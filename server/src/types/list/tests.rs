//! Lists beside a plain deque.

use proptest::prelude::*;

use super::*;

fn texts(list: &List) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    list.walk(End::Front, |_, element| {
        all.push(element.to_vec());
        true
    });
    all
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (0_i64..30).prop_map(|n| n.to_string().into_bytes()),
        prop::collection::vec(b'a'..b'c', 0..3),
        (100_usize..300).prop_map(|n| vec![b'x'; n]),
    ]
}

proptest! {
    #[test]
    fn behaves_like_a_deque(
        steps in prop::collection::vec((0_u8..10, any::<u16>(), text()), 1..200),
        node in prop_oneof![Just(-1_i64), Just(3), Just(1), Just(7)],
            list_compress_depth in 0_usize..3,
    ) {
        let limits = Limits { list_node: node, list_compress_depth, ..Limits::default() };
        let mut list = List::default();
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        for (what, place, text) in steps {
            let index = if model.is_empty() { 0 } else { place as usize % model.len() };
            match what {
                0 | 1 => {
                    list.push(End::Back, &text, &limits);
                    model.push_back(text);
                }
                2 | 3 => {
                    list.push(End::Front, &text, &limits);
                    model.push_front(text);
                }
                4 => {
                    let end = if place % 2 == 0 { End::Front } else { End::Back };
                    let mut popped = None;
                    list.pop(end, |element| popped = Some(element.to_vec()));
                    let expected = if end == End::Front { model.pop_front() } else { model.pop_back() };
                    prop_assert_eq!(popped, expected);
                }
                5 => {
                    let done = list.set(index, &text, &limits);
                    prop_assert_eq!(done, !model.is_empty());
                    if done {
                        model[index] = text;
                    }
                }
                6 if !model.is_empty() => {
                    let pivot = model[index].clone();
                    let at = model.iter().position(|held| *held == pivot).expect("there");
                    let before = place % 2 == 0;
                    prop_assert!(list.insert(&pivot, before, &text, &limits));
                    model.insert(if before { at } else { at + 1 }, text);
                }
                7 => {
                    let limit = place as usize % 3;
                    let removed = list.remove(&text, if place % 2 == 0 { End::Front } else { End::Back }, limit);
                    let mut expected = 0;
                    let mut places: Vec<usize> = (0..model.len()).filter(|at| model[*at] == text).collect();
                    if place % 2 == 1 {
                        places.reverse();
                    }
                    if limit > 0 {
                        places.truncate(limit);
                    }
                    places.sort_unstable();
                    for at in places.into_iter().rev() {
                        model.remove(at);
                        expected += 1;
                    }
                    prop_assert_eq!(removed, expected);
                }
                8 => {
                    let count = place as usize % (model.len() + 1).min(5);
                    if place % 2 == 0 {
                        list.cut(End::Front, count);
                        model.drain(..count);
                    } else {
                        list.cut(End::Back, count);
                        model.truncate(model.len() - count);
                    }
                }
                _ if !model.is_empty() => {
                    prop_assert_eq!(list.with(index, |element| element.to_vec()), Some(model[index].clone()));
                    let end = (index + 3).min(model.len() - 1);
                    let mut range = Vec::new();
                    list.range(index, end, |element| range.push(element.to_vec()));
                    prop_assert_eq!(range, model.range(index..=end).cloned().collect::<Vec<_>>());
                }
                _ => {}
            }
            prop_assert_eq!(list.len(), model.len());
        }
        prop_assert_eq!(texts(&list), Vec::from(model));
    }
}
