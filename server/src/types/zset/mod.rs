//! Sorted sets: members with scores, in the order of scores and then of bytes.
//!
//! Small ones are a listpack of member, score, member, score …, in order; larger ones a bag, which finds a member's
//! score, and a [`Tree`], which knows the order.

mod tree;

use std::ops::Range;

use rand::Rng;
use redstart_common::number::{FloatText, parse_f64};

use super::Limits;
use crate::encoding::bag::Bag;
use crate::encoding::choice::some_of;
use crate::encoding::listpack::{Element, Listpack};
use tree::{Key, Tree};

/// A sorted set.
pub enum Zset {
    /// Member, score, member, score …
    Packed(Listpack),
    /// Found by hashing, ordered by the tree.
    Tree(Box<Large>),
}

/// A sorted set that is not packed.
#[derive(Default)]
pub struct Large {
    // Dropped after the tree, whose keys lead to its items.
    tree: Tree,
    bag: Bag<f64>,
}

impl Default for Zset {
    fn default() -> Self {
        Self::Packed(Listpack::new())
    }
}

impl Clone for Zset {
    fn clone(&self) -> Self {
        match self {
            Self::Packed(pack) => Self::Packed(pack.clone()),
            Self::Tree(_) => {
                let mut large = Large::default();
                self.walk(0, false, |member, score| {
                    member.with_text(|member| large.add(member, score));
                    true
                });
                Self::Tree(Box::new(large))
            }
        }
    }
}

impl Zset {
    /// Buckets and overflow buckets of its table, if it has one.
    #[must_use]
    pub fn bucket_counts(&self) -> Option<(usize, usize)> {
        match self {
            Self::Packed(_) => None,
            Self::Tree(large) => Some(large.bag.bucket_counts()),
        }
    }
}

impl Large {
    /// Asks the processor to fetch the bucket of a member's hash.
    #[inline]
    pub(super) fn prefetch(&self, member: u64) {
        self.bag.prefetch(member);
    }

    /// Asks the processor to fetch the item of a member's hash; the bucket should be there already.
    #[inline]
    pub(super) fn prefetch_item(&self, member: u64) {
        self.bag.prefetch_item(member);
    }

    fn add(&mut self, member: &[u8], score: f64) {
        let item = self.bag.insert_at(member, score);
        // SAFETY: the item lives until `remove` or `change` takes its key out of the tree first.
        self.tree.insert(unsafe { Key::new(score, item) });
    }

    fn change(&mut self, member: &[u8], score: f64) {
        let Some(item) = self.bag.address(member) else { return };
        // SAFETY: the item is the bag's and lives; its old key leaves the tree before the new one enters.
        unsafe {
            let old = item.as_ref().extra();
            self.tree.remove(&Key::new(old, item));
            self.bag.set_number(item, score);
            self.tree.insert(Key::new(score, item));
        }
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let item = self.bag.address(member)?;
        // SAFETY: the item is the bag's and lives; it is freed after its key has left the tree.
        let score = unsafe {
            let score = item.as_ref().extra();
            self.tree.remove(&Key::new(score, item));
            score
        };
        self.bag.remove(member);
        Some(score)
    }

    fn key_of(&self, member: &[u8]) -> Option<Key> {
        let item = self.bag.address(member)?;
        // SAFETY: the item lives while the set is borrowed.
        Some(unsafe { Key::new(item.as_ref().extra(), item) })
    }
}

/// The number a score in a listpack stands for, if it is one.
fn read_score(element: Element<'_>) -> Option<f64> {
    match element {
        Element::Int(number) => Some(number as f64),
        Element::Bytes(bytes) => parse_f64(bytes),
    }
}

/// The number a score in a listpack of ours stands for.
fn score_of(element: Element<'_>) -> f64 {
    read_score(element).unwrap_or(0.0)
}

/// The integer that a packed set keeps for a score, if it keeps one. A zero has no sign then.
#[must_use]
pub fn whole(score: f64) -> Option<i64> {
    const LARGEST: f64 = (i64::MAX / 2) as f64;
    let number = score as i64;
    ((-LARGEST..=LARGEST).contains(&score) && number as f64 == score).then_some(number)
}

/// Room for the text of a score in a listpack.
struct ScoreText {
    digits: itoa::Buffer,
    float: FloatText,
}

impl Default for ScoreText {
    fn default() -> Self {
        Self { digits: itoa::Buffer::new(), float: FloatText::new() }
    }
}

impl ScoreText {
    fn with<T>(&mut self, score: f64, take: impl FnOnce(&[u8]) -> T) -> T {
        take(match whole(score) {
            Some(number) => self.digits.format(number).as_bytes(),
            None => self.float.format_17g(score).as_bytes(),
        })
    }
}

/// Pairs of a packed set, in order, each with the member's position.
fn pairs(pack: &Listpack) -> impl Iterator<Item = (usize, Element<'_>, f64)> {
    pairs_from(pack, pack.first())
}

/// As [`pairs`], from the one at a position on.
fn pairs_from(
    pack: &Listpack,
    mut position: usize,
) -> impl Iterator<Item = (usize, Element<'_>, f64)> {
    std::iter::from_fn(move || {
        let here = position;
        let member = pack.get(here)?;
        let score_at = pack.after(here);
        let score = score_of(pack.get(score_at)?);
        position = pack.after(score_at);
        Some((here, member, score))
    })
}

/// The positions of the first of `items` that is not `below` and of the first behind it that is not `within`, or `most`
/// behind it.
fn span<T: Copy>(
    items: impl Iterator<Item = T>,
    below: impl Fn(T) -> bool,
    within: impl Fn(T) -> bool,
    most: usize,
) -> Range<usize> {
    let mut start = 0;
    let rest = items.skip_while(|item| {
        let is_below = below(*item);
        start += usize::from(is_below);
        is_below
    });
    let count = rest.take(most).take_while(|item| within(*item)).count();
    start..start + count
}

impl Zset {
    /// The sorted set of members and scores that lie in a listpack from outside; `None` if a score is missing or none,
    /// or a member there twice. As in Redis it is not asked how long they are.
    #[must_use]
    pub fn from_listpack(pack: Listpack, limits: &Limits) -> Option<Self> {
        let pack = pack.normalized();
        if !pack.is_map() {
            return None;
        }
        let mut is_sorted = true;
        let mut last: Option<(Element<'_>, f64)> = None;
        for (member, score) in pack.pairs() {
            let score = read_score(score)?;
            is_sorted &= last.is_none_or(|(before, lower)| {
                lower < score
                    || (lower == score
                        && before.with_text(|before| member.with_text(|member| before < member)))
            });
            last = Some((member, score));
        }
        let mut zset = Self::Packed(pack);
        if !is_sorted || zset.len() > limits.zset_entries {
            zset.spread();
            zset.shrink(limits);
        }
        Some(zset)
    }

    /// Members.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Packed(pack) => pack.len() / 2,
            Self::Tree(large) => large.bag.len(),
        }
    }

    /// Bytes that the sorted set has allocated, told from `samples` of its members when it is a large one.
    #[must_use]
    pub fn allocated_bytes(&self, samples: usize) -> usize {
        match self {
            Self::Packed(pack) => pack.allocated_bytes(),
            Self::Tree(large) => {
                large.bag.allocated_bytes(samples) + large.tree.allocated_bytes(samples)
            }
        }
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        match self {
            Self::Packed(_) => "listpack",
            Self::Tree(_) => "skiplist",
        }
    }

    /// A member's score.
    #[must_use]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(pack) => {
                let position = pack.find(pack.first(), member, 1)?;
                pack.get(pack.after(position)).map(score_of)
            }
            Self::Tree(large) => large.bag.get(member).map(|item| item.extra()),
        }
    }

    /// Gives a member a score, adding it if it is new. Answers whether it is.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &Limits) -> bool {
        match self {
            Self::Packed(pack) => {
                let old = pack.find(pack.first(), member, 1);
                let grows = old.is_none()
                    && (pack.len() / 2 + 1 > limits.zset_entries
                        || member.len() > limits.zset_value
                        || !pack.has_room_for(member.len()));
                if grows {
                    self.spread();
                    return self.set(member, score, limits);
                }
                if let Some(position) = old {
                    pack.remove(position, 2);
                }
                let place = pairs(pack)
                    .find(|(_, held, held_score)| {
                        *held_score > score
                            || (*held_score == score && held.with_text(|held| held > member))
                    })
                    .map_or(pack.end(), |(position, _, _)| position);
                pack.insert(place, member);
                let behind = pack.after(place);
                ScoreText::default().with(score, |text| pack.insert(behind, text));
                old.is_none()
            }
            Self::Tree(large) => match large.bag.get(member).map(|item| item.extra()) {
                Some(old) => {
                    if old != score {
                        large.change(member, score);
                    }
                    false
                }
                None => {
                    large.add(member, score);
                    true
                }
            },
        }
    }

    /// An empty one in its large form, in which zeros keep their signs: what is built here may be packed at the end, by
    /// [`Zset::shrink`].
    #[must_use]
    pub fn large() -> Self {
        Self::Tree(Box::default())
    }

    /// Takes its large form, whatever its size.
    pub fn spread(&mut self) {
        if let Self::Packed(pack) = self {
            let mut large = Large::default();
            for (_, member, score) in pairs(pack) {
                member.with_text(|member| large.add(member, score));
            }
            *self = Self::Tree(Box::new(large));
        }
    }

    /// Becomes a tree at once if `members` of up to `longest` bytes are to come that a packed set cannot hold.
    pub fn expect(&mut self, members: usize, longest: usize, limits: &Limits) {
        if members > limits.zset_entries || longest > limits.zset_value {
            self.spread();
        }
    }

    /// Becomes packed again if it is small enough, as the results of set operations do.
    pub fn shrink(&mut self, limits: &Limits) {
        let Self::Tree(large) = self else { return };
        let longest = large.bag.iter().map(|item| item.key().len()).max().unwrap_or(0);
        if large.bag.len() > limits.zset_entries || longest > limits.zset_value {
            return;
        }
        let mut pack = Listpack::new();
        let mut score = ScoreText::default();
        large.tree.walk(0, |key| {
            pack.push_back(key.member());
            score.with(key.score, |text| pack.push_back(text));
            true
        });
        *self = Self::Packed(pack);
    }

    /// Removes a member and answers its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(pack) => {
                let position = pack.find(pack.first(), member, 1)?;
                let score = pack.get(pack.after(position)).map(score_of);
                pack.remove(position, 2);
                score
            }
            Self::Tree(large) => large.remove(member),
        }
    }

    /// A member's position, from the lowest score or (`reverse`) the highest.
    #[must_use]
    pub fn rank(&self, member: &[u8], reverse: bool) -> Option<usize> {
        let rank = match self {
            Self::Packed(pack) => pack.find_nth(pack.first(), member, 1)?.1,
            Self::Tree(large) => large.tree.rank(&large.key_of(member)?),
        };
        Some(if reverse { self.len() - 1 - rank } else { rank })
    }

    /// The positions from the first member whose score is not `below` to that of the first behind it which is not
    /// `within`. Both must hold for a beginning of the order only. A packed set is not looked at further than `most`
    /// positions.
    pub fn span_of_scores(
        &self,
        below: impl Fn(f64) -> bool,
        within: impl Fn(f64) -> bool,
        most: usize,
    ) -> Range<usize> {
        match self {
            Self::Packed(pack) => {
                span(pack.iter().skip(1).step_by(2).map(score_of), below, within, most)
            }
            Self::Tree(large) => {
                let start = large.tree.count_before(|key| below(key.score));
                start..large.tree.count_before(|key| within(key.score)).max(start)
            }
        }
    }

    /// As [`Zset::span_of_scores`], by members, which must be in order themselves.
    pub fn span_of_members(
        &self,
        below: impl Fn(&[u8]) -> bool,
        within: impl Fn(&[u8]) -> bool,
        most: usize,
    ) -> Range<usize> {
        match self {
            Self::Packed(pack) => {
                let below = |member: Element<'_>| member.with_text(&below);
                let within = |member: Element<'_>| member.with_text(&within);
                span(pack.iter().step_by(2), below, within, most)
            }
            Self::Tree(large) => {
                let start = large.tree.count_before(|key| below(key.member()));
                start..large.tree.count_before(|key| within(key.member())).max(start)
            }
        }
    }

    /// Calls `visit` with members in order (or backwards) from a position on, until it answers `false`. Backwards,
    /// position 0 is the last member.
    pub fn walk(
        &self,
        start: usize,
        reverse: bool,
        mut visit: impl FnMut(Element<'_>, f64) -> bool,
    ) {
        match self {
            Self::Packed(pack) if !reverse => {
                let Some(position) = pack.seek(start * 2) else { return };
                for (_, member, score) in pairs_from(pack, position) {
                    if !visit(member, score) {
                        return;
                    }
                }
            }
            Self::Packed(pack) => {
                let Some(index) = pack.len().checked_sub(start * 2 + 1) else { return };
                let mut backwards = pack.iter_back_from(pack.seek(index));
                while let (Some(score), Some(member)) = (backwards.next(), backwards.next()) {
                    if !visit(member, score_of(score)) {
                        return;
                    }
                }
            }
            Self::Tree(large) => {
                let visit = |key: &Key| visit(Element::Bytes(key.member()), key.score);
                if reverse {
                    large.tree.walk_back(start, visit);
                } else {
                    large.tree.walk(start, visit);
                }
            }
        }
    }

    /// Removes `count` members from a position on.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        match self {
            Self::Packed(pack) => {
                if let Some(position) = pack.seek(start * 2) {
                    pack.remove(position, count * 2);
                }
            }
            Self::Tree(large) => {
                let mut members = Vec::with_capacity(count);
                large.tree.walk(start, |key| {
                    if members.len() < count {
                        members.push(key.member().to_vec());
                    }
                    members.len() < count
                });
                for member in members.iter().take(count) {
                    large.remove(member);
                }
            }
        }
    }

    /// Visits some members and answers the next cursor, 0 at the end; a packed set is visited whole.
    pub fn scan(&self, cursor: u64, mut visit: impl FnMut(Element<'_>, f64)) -> u64 {
        match self {
            Self::Packed(pack) => {
                pairs(pack).for_each(|(_, member, score)| visit(member, score));
                0
            }
            Self::Tree(large) => {
                large.bag.scan(cursor, |item| visit(Element::Bytes(item.key()), item.extra()))
            }
        }
    }

    /// Calls `visit` with `wanted` different members chosen at random, or all when there are no more.
    pub fn with_some(&self, wanted: usize, mut visit: impl FnMut(Element<'_>, f64)) {
        match self {
            Self::Packed(pack) => {
                some_of(pack.pairs(), self.len(), wanted, |(member, score)| {
                    visit(member, score_of(score));
                });
            }
            Self::Tree(large) => large.bag.with_some(wanted, |item| {
                visit(Element::Bytes(item.key()), item.extra());
            }),
        }
    }

    /// Calls `visit` with a random member.
    pub fn with_random(&self, visit: impl FnOnce(Element<'_>, f64)) {
        match self {
            Self::Packed(pack) => {
                let members = pack.len() / 2;
                if members > 0 {
                    let index = rand::rng().random_range(0..members);
                    let pair = pack.seek(index * 2).and_then(|at| pairs_from(pack, at).next());
                    if let Some((_, member, score)) = pair {
                        visit(member, score);
                    }
                }
            }
            Self::Tree(large) => {
                if let Some(item) = large.bag.random() {
                    visit(Element::Bytes(item.key()), item.extra());
                }
            }
        }
    }

    /// Checks the whole structure. For tests.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        if let Self::Tree(large) = self {
            large.tree.check();
            assert_eq!(large.tree.len(), large.bag.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn ordered(model: &BTreeMap<Vec<u8>, i64>) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> =
            model.iter().map(|(member, score)| (member.clone(), *score as f64 / 2.0)).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    fn all(zset: &Zset, reverse: bool) -> Vec<(Vec<u8>, f64)> {
        let mut all = Vec::new();
        zset.walk(0, reverse, |member, score| {
            all.push((member.to_vec(), score));
            true
        });
        all
    }

    #[test]
    fn a_large_set_stays_in_order_through_growth_and_decay() {
        let limits = Limits::default();
        let mut zset = Zset::default();
        let count = 20_000_u64;
        for n in 0..count {
            let member = (n * 7919 % count).to_string();
            assert!(zset.set(member.as_bytes(), (n * 31 % 1000) as f64, &limits));
        }
        zset.check();
        assert_eq!(zset.span_of_scores(|_| false, |score| score < 500.0, 1), 0..10_000);
        for n in (0..count).filter(|n| n % 10 != 3) {
            assert!(zset.remove(n.to_string().as_bytes()).is_some());
        }
        zset.check();
        let members = all(&zset, false);
        assert_eq!(members.len(), 2000);
        for (rank, (member, _)) in members.iter().enumerate() {
            assert_eq!(zset.rank(member, false), Some(rank));
        }
        zset.remove_range(0, 2000);
        zset.check();
        assert!(zset.is_empty());
    }

    fn walked(zset: &Zset, start: usize, reverse: bool) -> Vec<(Vec<u8>, f64)> {
        let mut members = Vec::new();
        zset.walk(start, reverse, |member, score| {
            members.push((member.to_vec(), score));
            members.len() < 5
        });
        members
    }

    proptest! {
        #[test]
        fn both_forms_answer_alike(
            members in prop::collection::btree_map("[a-c]{1,3}|[0-9]{1,3}", -5_i64..5, 0..60),
            (low, high) in (-6_i64..6, -6_i64..6), (first, last) in ("[0-9a-d]{0,3}", "[0-9a-d]{0,3}"),
            most in prop_oneof![Just(usize::MAX), 1_usize..9],
        ) {
            let mut packed = Zset::default();
            for (member, score) in &members {
                packed.set(member.as_bytes(), *score as f64 / 2.0, &Limits::default());
            }
            let mut large = packed.clone();
            large.spread();
            prop_assert!(matches!((&packed, &large), (Zset::Packed(_), Zset::Tree(_))));
            for start in 0..members.len() + 2 {
                for reverse in [false, true] {
                    prop_assert_eq!(walked(&packed, start, reverse), walked(&large, start, reverse));
                }
            }
            for member in members.keys().map(String::as_bytes).chain([&b"none"[..], b"7", b""]) {
                for reverse in [false, true] {
                    prop_assert_eq!(packed.rank(member, reverse), large.rank(member, reverse));
                }
            }
            let (low, high) = (low as f64 / 2.0, high as f64 / 2.0);
            let whole = large.span_of_scores(|score| score < low, |score| score <= high, most);
            let found = packed.span_of_scores(|score| score < low, |score| score <= high, most);
            prop_assert_eq!(found, whole.start..whole.end.min(whole.start.saturating_add(most)));
            // Members are in order themselves only where all scores are the same.
            if members.values().all(|score| Some(score) == members.values().next()) {
                let (first, last) = (first.as_bytes(), last.as_bytes());
                let whole = large.span_of_members(|held| held < first, |held| held <= last, most);
                let found = packed.span_of_members(|held| held < first, |held| held <= last, most);
                prop_assert_eq!(found, whole.start..whole.end.min(whole.start.saturating_add(most)));
            }
        }

        #[test]
        fn some_are_members_and_each_but_once(
            members in prop::collection::btree_set("[a-c]{1,3}|[0-9]{1,3}", 0..60), wanted in 0_usize..70,
        ) {
            let mut zset = Zset::default();
            for (nth, member) in members.iter().enumerate() {
                zset.set(member.as_bytes(), nth as f64 / 3.0, &Limits::default());
            }
            for _ in 0..2 {
                let mut seen = BTreeMap::new();
                zset.with_some(wanted, |member, score| {
                    assert_eq!(zset.score(&member.to_vec()), Some(score));
                    *seen.entry(member.to_vec()).or_insert(0) += 1;
                });
                prop_assert_eq!(seen.len(), wanted.min(members.len()));
                prop_assert!(seen.values().all(|times| *times == 1));
                zset.spread();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_sorted_map(
            steps in prop::collection::vec((0_u8..4, 0_u16..500, -20_i64..20), 1..1500),
            entries in prop_oneof![Just(128_usize), Just(10)],
        ) {
            let limits = Limits { zset_entries: entries, ..Limits::default() };
            let mut zset = Zset::default();
            let mut model = BTreeMap::new();
            for (what, member, score) in steps {
                let member = member.to_string().into_bytes();
                if what < 3 {
                    let new = model.insert(member.clone(), score).is_none();
                    prop_assert_eq!(zset.set(&member, score as f64 / 2.0, &limits), new);
                } else {
                    let gone = zset.remove(&member);
                    prop_assert_eq!(gone, model.remove(&member).map(|score| score as f64 / 2.0));
                }
            }
            zset.check();
            let mut expected = ordered(&model);
            prop_assert_eq!(all(&zset, false), expected.clone());
            for (rank, (member, score)) in expected.iter().enumerate() {
                prop_assert_eq!(zset.rank(member, false), Some(rank));
                prop_assert_eq!(zset.score(member), Some(*score));
            }
            let mut copy = zset.clone();
            copy.check();
            let (start, count) = (expected.len() / 3, expected.len() / 4);
            copy.remove_range(start, count);
            copy.check();
            let mut rest = expected.clone();
            rest.drain(start..start + count);
            prop_assert_eq!(all(&copy, false), rest);
            expected.reverse();
            prop_assert_eq!(all(&zset, true), expected);
        }
    }
}
