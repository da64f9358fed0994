//! Some of many: by chance, or to tell from them about all.

use rand::seq::index;

/// Whether `wanted` of `count` are so few that it is cheaper to draw one after the other, some of them in vain because
/// they were drawn before, than to pass all.
#[must_use]
pub fn are_few(wanted: usize, count: usize) -> bool {
    wanted < count / 3
}

/// Calls `visit` with `wanted` of the `count` items, or all when there are no more, in their order. Every choice has the
/// same chance.
pub fn some_of<T>(
    mut items: impl Iterator<Item = T>,
    count: usize,
    wanted: usize,
    mut visit: impl FnMut(T),
) {
    if wanted >= count {
        return items.for_each(visit);
    }
    let mut places = index::sample(&mut rand::rng(), count, wanted).into_vec();
    places.sort_unstable();
    let mut next = 0;
    for place in places {
        let Some(item) = items.nth(place - next) else { return };
        visit(item);
        next = place + 1;
    }
}

/// The sum of `count` sizes, told from the first `samples` of them. Exact when those are all.
pub fn sum_by_samples(sizes: impl Iterator<Item = usize>, count: usize, samples: usize) -> usize {
    let (mut seen, mut sum) = (0, 0);
    for size in sizes.take(samples) {
        seen += 1;
        sum += size;
    }
    scale(sum, seen, count)
}

/// What `count` come to when `seen` of them come to `sum`.
pub fn scale(sum: usize, seen: usize, count: usize) -> usize {
    if seen == count || seen == 0 {
        sum
    } else {
        (sum as f64 / seen as f64 * count as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_tell_about_all() {
        assert_eq!(sum_by_samples([3, 4, 5].into_iter(), 3, usize::MAX), 12);
        assert_eq!(sum_by_samples([3, 4, 5].into_iter(), 3, 3), 12);
        assert_eq!(sum_by_samples([3, 4, 500].into_iter(), 3, 2), 10);
        assert_eq!(sum_by_samples(std::iter::empty(), 0, 5), 0);
    }

    #[test]
    fn each_is_chosen_as_often_as_another() {
        let mut times = [0_i32; 10];
        for _ in 0..10_000 {
            let mut last = None;
            some_of(0..10_usize, 10, 3, |item| {
                assert!(last < Some(item), "in order, and each but once");
                last = Some(item);
                times[item] += 1;
            });
        }
        assert!(times.iter().all(|times| (times - 3000).abs() < 300), "{times:?}");
        let mut seen = Vec::new();
        some_of(0..4, 4, 9, |item| seen.push(item));
        assert_eq!(seen, [0, 1, 2, 3]);
    }
}
