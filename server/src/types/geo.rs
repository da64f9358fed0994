//! Places on the earth as scores of a sorted set, and which of them lie near another.
//!
//! A place is put into a grid of 2^26 by 2^26 cells, whose column and row, interleaved bit by bit, are the score: 52 bits,
//! which a double holds exactly. Cells that lie together have scores that begin alike, so the cells of a coarser grid are
//! ranges of scores, and what lies near a place is found in nine such ranges. Numbers are those of Redis to the last digit.

/// Metres, as Redis has it.
const EARTH_RADIUS_M: f64 = 6_372_797.560_856;
/// Half of the earth's girth on the map, in metres.
const MERCATOR_MAX: f64 = 20_037_726.37;
const RADIANS: f64 = std::f64::consts::PI / 180.0;
/// The finest grid has 2^26 columns and rows.
const FINEST: u8 = 26;
/// The share by which a bound that is only an estimate is widened.
const MARGIN: f64 = 1.0 + 1e-9;

/// A place, in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// East of Greenwich, or west with a minus.
    pub longitude: f64,
    /// North of the equator, or south with a minus.
    pub latitude: f64,
}

/// What a grid covers: from where to where, in degrees.
#[derive(Debug, Clone, Copy)]
struct Extent {
    longitude: (f64, f64),
    latitude: (f64, f64),
}

/// What can be shown on a square map, EPSG:3857: the poles cannot.
const MAP: Extent = Extent { longitude: (-180.0, 180.0), latitude: (-85.05112878, 85.05112878) };
/// What geohashes of the usual kind cover.
const GLOBE: Extent = Extent { longitude: (-180.0, 180.0), latitude: (-90.0, 90.0) };

impl Place {
    /// Whether it is on the map.
    #[must_use]
    pub fn is_on_map(self) -> bool {
        let (west, east) = MAP.longitude;
        let (south, north) = MAP.latitude;
        (west..=east).contains(&self.longitude) && (south..=north).contains(&self.latitude)
    }

    /// The middle of some places: where their mean within the earth lies below.
    #[must_use]
    pub fn middle_of(places: &[Self]) -> Self {
        let (mut x, mut y, mut z) = (0.0, 0.0, 0.0);
        for place in places {
            let (longitude, latitude) = (place.longitude * RADIANS, place.latitude * RADIANS);
            x += latitude.cos() * longitude.cos();
            y += latitude.cos() * longitude.sin();
            z += latitude.sin();
        }
        Self { longitude: y.atan2(x) / RADIANS, latitude: z.atan2(x.hypot(y)) / RADIANS }
    }

    /// The score that stands for it, of a place on the map.
    #[must_use]
    pub fn score(self) -> u64 {
        Cell::of(self, FINEST, MAP).bits()
    }

    /// The middle of the cell that a score stands for. A score that is none of a place gives one on the edge of the map,
    /// or anywhere.
    #[must_use]
    pub fn of_score(score: f64) -> Self {
        // As compilers for x86 turn doubles into unsigned integers: below zero they wrap around, what is too large is 0.
        const HALF: f64 = 9_223_372_036_854_775_808.0;
        let bits = match score {
            _ if score < HALF => (score as i64).cast_unsigned(),
            _ if score < 2.0 * HALF => score as u64,
            _ => 0,
        };
        let area = Cell::of_bits(bits, FINEST).area(MAP);
        let middle = |(low, high): (f64, f64), (min, max): (f64, f64)| {
            f64::midpoint(low, high).clamp(min, max)
        };
        Self {
            longitude: middle(area.longitude, MAP.longitude),
            latitude: middle(area.latitude, MAP.latitude),
        }
    }

    /// The geohash of the usual kind, of eleven letters, the last of which says nothing.
    #[must_use]
    pub fn geohash(self) -> [u8; 11] {
        const LETTERS: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
        let bits = Cell::of(self, FINEST, GLOBE).bits();
        std::array::from_fn(|at| match at {
            10 => b'0',
            _ => LETTERS[(bits >> (47 - at * 5)) as usize & 31],
        })
    }

    /// Metres to another place along the surface of a ball.
    #[must_use]
    pub fn distance(self, other: Self) -> f64 {
        let (from, to) = (self.longitude * RADIANS, other.longitude * RADIANS);
        let v = ((to - from) / 2.0).sin();
        if v == 0.0 {
            return self.distance_north(other);
        }
        let (from, to) = (self.latitude * RADIANS, other.latitude * RADIANS);
        let u = ((to - from) / 2.0).sin();
        let a = u * u + from.cos() * to.cos() * v * v;
        2.0 * EARTH_RADIUS_M * a.sqrt().asin()
    }

    /// Metres to the parallel of another place.
    fn distance_north(self, other: Self) -> f64 {
        EARTH_RADIUS_M * (other.latitude * RADIANS - self.latitude * RADIANS).abs()
    }
}

/// A cell of a grid of 2^`step` columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    column: u32,
    row: u32,
    step: u8,
}

impl Cell {
    fn of(place: Place, step: u8, extent: Extent) -> Self {
        let index = |at: f64, (min, max): (f64, f64)| {
            ((at - min) / (max - min) * f64::from(1_u32 << step)) as u32
        };
        Self {
            column: index(place.longitude, extent.longitude),
            row: index(place.latitude, extent.latitude),
            step,
        }
    }

    fn of_bits(bits: u64, step: u8) -> Self {
        Self { column: gather(bits >> 1), row: gather(bits), step }
    }

    /// Its column and row, bit by bit, the column's before the row's.
    fn bits(self) -> u64 {
        spread(self.column) << 1 | spread(self.row)
    }

    /// The scores of all places in it: from the first up to below the second.
    fn scores(self) -> (f64, f64) {
        let shift = 2 * (FINEST - self.step);
        ((self.bits() << shift) as f64, ((self.bits() + 1) << shift) as f64)
    }

    fn area(self, extent: Extent) -> Extent {
        let cells = f64::from(1_u32 << self.step);
        let side = |index: u32, (min, max): (f64, f64)| {
            let edge = |index: f64| min + index / cells * (max - min);
            (edge(f64::from(index)), edge(f64::from(index) + 1.0))
        };
        Extent {
            longitude: side(self.column, extent.longitude),
            latitude: side(self.row, extent.latitude),
        }
    }

    /// The cell so many columns to the east and rows to the north; the map is round.
    fn neighbor(self, east: i32, north: i32) -> Self {
        let mask = u32::MAX >> (32 - u32::from(self.step));
        let moved = |index: u32, by: i32| match by {
            0 => index,
            _ => index.wrapping_add_signed(by) & mask,
        };
        Self { column: moved(self.column, east), row: moved(self.row, north), ..self }
    }
}

/// The bits of a number in the even places of another.
fn spread(number: u32) -> u64 {
    let mut bits = u64::from(number);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// The bits in the even places.
fn gather(bits: u64) -> u32 {
    let mut bits = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        bits = (bits | bits >> shift) & mask;
    }
    bits as u32
}

/// What is looked for around a place, in metres.
#[derive(Debug, Clone)]
pub enum Shape {
    /// All that is at most so far away.
    Circle(f64),
    /// All within a box, which the place is the middle of.
    Box {
        /// From west to east.
        width: f64,
        /// From south to north.
        height: f64,
    },
    /// All within a polygon of these corners, by longitude and latitude as if the map was flat. Its middle is
    /// [`Place::middle_of`] them.
    Polygon(Vec<Place>),
}

/// Whether a place lies within a polygon: a line from it to the east crosses an odd number of its sides.
fn is_within(corners: &[Place], place: Place) -> bool {
    let mut within = false;
    let mut last = corners.last();
    for corner in corners {
        if let Some(last) = last
            && (corner.latitude > place.latitude) != (last.latitude > place.latitude)
        {
            let slope = (last.longitude - corner.longitude) / (last.latitude - corner.latitude);
            let crossing = slope * (place.latitude - corner.latitude) + corner.longitude;
            within ^= place.longitude < crossing;
        }
        last = Some(corner);
    }
    within
}

/// The least that covers all corners.
fn extent_of(corners: &[Place]) -> Extent {
    let first = Extent {
        longitude: (f64::INFINITY, f64::NEG_INFINITY),
        latitude: (f64::INFINITY, f64::NEG_INFINITY),
    };
    corners.iter().fold(first, |covered, corner| Extent {
        longitude: (
            covered.longitude.0.min(corner.longitude),
            covered.longitude.1.max(corner.longitude),
        ),
        latitude: (
            covered.latitude.0.min(corner.latitude),
            covered.latitude.1.max(corner.latitude),
        ),
    })
}

impl Shape {
    /// How far away a place is from the middle, if it is within.
    #[must_use]
    pub fn distance_within(&self, middle: Place, place: Place) -> Option<f64> {
        let north = place.distance_north(middle);
        match *self {
            Self::Circle(radius) => {
                // Nothing is nearer than its parallel, and that costs little to find out.
                if north > radius * MARGIN {
                    return None;
                }
                Some(middle.distance(place)).filter(|distance| *distance <= radius)
            }
            Self::Box { width, height } => {
                let below = Place { longitude: middle.longitude, latitude: place.latitude };
                let is_within = north <= height / 2.0 && place.distance(below) <= width / 2.0;
                is_within.then(|| middle.distance(place))
            }
            Self::Polygon(ref corners) => is_within(corners, place).then(|| middle.distance(place)),
        }
    }

    /// How far its farthest corner is from the middle.
    fn reach(&self, middle: Place) -> f64 {
        match *self {
            Self::Circle(radius) => radius,
            Self::Box { width, height } => {
                ((width / 2.0) * (width / 2.0) + (height / 2.0) * (height / 2.0)).sqrt()
            }
            Self::Polygon(ref corners) => {
                let Extent { longitude, latitude } = extent_of(corners);
                let ends = [longitude.0, longitude.1].into_iter().flat_map(|longitude| {
                    [latitude.0, latitude.1].map(|latitude| Place { longitude, latitude })
                });
                ends.map(|end| middle.distance(end)).fold(0.0, f64::max)
            }
        }
    }

    /// What it covers, about.
    fn extent(&self, middle: Place) -> Extent {
        let (width, height) = match *self {
            Self::Circle(radius) => (radius, radius),
            Self::Box { width, height } => (width / 2.0, height / 2.0),
            Self::Polygon(ref corners) => return extent_of(corners),
        };
        let Place { longitude, latitude } = middle;
        let north = height / EARTH_RADIUS_M / RADIANS;
        // It is widest in degrees where it is nearest to a pole.
        let edge = if latitude < 0.0 { latitude - north } else { latitude + north };
        let east = width / EARTH_RADIUS_M / (edge * RADIANS).cos() / RADIANS;
        Extent {
            longitude: (longitude - east, longitude + east),
            latitude: (latitude - north, latitude + north),
        }
    }

    /// The ranges of scores in which everything lies that is within, in the order in which Redis looks through them.
    #[must_use]
    pub fn ranges(&self, middle: Place) -> Vec<(f64, f64)> {
        const EAST_NORTH: [(i32, i32); 9] =
            [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)];
        let covered = self.extent(middle);
        let mut step = step_of(self.reach(middle), middle.latitude);
        let mut cell = Cell::of(middle, step, MAP);
        // Redis tries once, and so misses some near the edges of the map; nobody compares polygons with it.
        let mut tries = if matches!(self, Self::Polygon(_)) { step } else { 1 };
        while step > 1 && tries > 0 && !is_enough(cell, covered) {
            step -= 1;
            tries -= 1;
            cell = Cell::of(middle, step, MAP);
        }
        let area = cell.area(MAP);
        let is_needed = |east: i32, north: i32| {
            step < 2
                || !(north < 0 && area.latitude.0 < covered.latitude.0
                    || north > 0 && area.latitude.1 > covered.latitude.1
                    || east < 0 && area.longitude.0 < covered.longitude.0
                    || east > 0 && area.longitude.1 > covered.longitude.1)
        };
        let mut cells: Vec<Cell> = Vec::with_capacity(EAST_NORTH.len());
        for (east, north) in EAST_NORTH {
            let next = cell.neighbor(east, north);
            // In a coarse grid the neighbours on both sides are the same.
            if is_needed(east, north) && (cells.len() < 2 || cells.last() != Some(&next)) {
                cells.push(next);
            }
        }
        cells.into_iter().map(Cell::scores).collect()
    }
}

/// How fine a grid may be for nine of its cells to cover so many metres around a place.
fn step_of(mut metres: f64, latitude: f64) -> u8 {
    if metres == 0.0 {
        return FINEST;
    }
    let mut step = 1;
    while metres < MERCATOR_MAX {
        metres *= 2.0;
        step += 1;
    }
    step -= 2;
    // Meridians lie closer to each other near the poles.
    for limit in [66.0, 80.0] {
        step -= i32::from(latitude.abs() > limit);
    }
    step.clamp(1, FINEST.into()) as u8
}

/// Whether the cells around this one reach as far as what is to be covered.
fn is_enough(cell: Cell, covered: Extent) -> bool {
    let area = |east, north| cell.neighbor(east, north).area(MAP);
    area(0, 1).latitude.1 >= covered.latitude.1
        && area(0, -1).latitude.0 <= covered.latitude.0
        && area(1, 0).longitude.1 >= covered.longitude.1
        && area(-1, 0).longitude.0 <= covered.longitude.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PALERMO: Place = Place { longitude: 13.361389, latitude: 38.115556 };
    const CATANIA: Place = Place { longitude: 15.087269, latitude: 37.502669 };

    #[test]
    fn places_have_the_scores_hashes_and_distances_of_redis() {
        assert_eq!(PALERMO.score(), 3_479_099_956_230_698);
        assert_eq!(CATANIA.score(), 3_479_447_370_796_909);
        let [palermo, catania] = [PALERMO, CATANIA].map(|it| Place::of_score(it.score() as f64));
        assert_eq!(palermo.geohash(), *b"sqc8b49rny0");
        assert_eq!(catania.geohash(), *b"sqdtr74hyu0");
        assert_eq!(format!("{:.4}", palermo.distance(catania)), "166274.1516");
        assert_eq!(palermo.distance(palermo), 0.0);
    }

    #[test]
    fn whatever_score_stands_for_some_place_on_the_map() {
        for score in [0.0, -1.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, 0.5, 9e18, -9e18] {
            assert!(Place::of_score(score).is_on_map(), "{score}");
        }
    }

    fn place() -> impl Strategy<Value = Place> {
        (-180.0..=180.0, -85.05..=85.05)
            .prop_map(|(longitude, latitude)| Place { longitude, latitude })
    }

    proptest! {
        #[test]
        fn bits_are_spread_and_gathered(number: u32) {
            prop_assert_eq!(gather(spread(number)), number);
            prop_assert_eq!(spread(number) & 0xaaaa_aaaa_aaaa_aaaa, 0);
        }

        #[test]
        fn a_score_brings_back_its_place(place in place()) {
            let back = Place::of_score(place.score() as f64);
            prop_assert!((back.longitude - place.longitude).abs() < 6e-6);
            prop_assert!((back.latitude - place.latitude).abs() < 3e-6);
            prop_assert_eq!(back.score(), place.score());
        }

        #[test]
        fn what_is_within_a_circle_lies_in_its_ranges(
            // Near the poles and the edge of the map Redis misses some, and so is it here.
            longitude in -120.0..120.0,
            latitude in -60.0..60.0,
            east in -10.0..10.0,
            north in -10.0..10.0,
            wider in 1.0..1.2_f64,
        ) {
            let middle = Place { longitude, latitude };
            let other = Place { longitude: longitude + east, latitude: latitude + north };
            let other = Place::of_score(other.score() as f64);
            let radius = middle.distance(other) * wider;
            let score = other.score() as f64;
            let shape = Shape::Circle(radius);
            prop_assert!(shape.distance_within(middle, other).is_some());
            let ranges = shape.ranges(middle);
            prop_assert!(ranges.iter().any(|(low, high)| (*low..*high).contains(&score)));
        }

        #[test]
        fn what_is_within_a_polygon_lies_in_one_of_its_ranges(
            corners in proptest::collection::vec(place(), 3..8),
            other in place(),
        ) {
            let other = Place::of_score(other.score() as f64);
            let middle = Place::middle_of(&corners);
            let shape = Shape::Polygon(corners);
            let within = shape.distance_within(middle, other);
            let score = other.score() as f64;
            let ranges = shape.ranges(middle);
            let found = ranges.iter().filter(|(low, high)| (*low..*high).contains(&score)).count();
            prop_assert!(found <= 1, "{ranges:?}");
            prop_assert!(within.is_none() || found == 1, "{within:?}");
        }

        #[test]
        fn a_polygon_that_is_a_rectangle_holds_what_is_between_its_sides(
            one in place(),
            other in place(),
            place in place(),
            turn in 0_usize..4,
        ) {
            let (west, east) = (one.longitude.min(other.longitude), one.longitude.max(other.longitude));
            let (south, north) = (one.latitude.min(other.latitude), one.latitude.max(other.latitude));
            let corner = |longitude, latitude| Place { longitude, latitude };
            let mut corners =
                vec![corner(west, south), corner(east, south), corner(east, north), corner(west, north)];
            corners.rotate_left(turn);
            let between = (west..east).contains(&place.longitude)
                && (south..north).contains(&place.latitude);
            prop_assert_eq!(is_within(&corners, place), between);
            corners.reverse();
            prop_assert_eq!(is_within(&corners, place), between);
        }
    }
}
