//! Places: GEOADD and the searches over sorted sets whose scores stand for places (see [`crate::types::geo`]).

use std::ops::Range;

use redstart_common::number::{self, format_human};
use redstart_common::resp::{Args, OwnedArgs, Proto};

use super::options::{Options, float};
use super::{Handlers, store_result, zset};
use crate::client::Reply;
use crate::engine::{Call, CommandError, CommandResult, SYNTAX};
use crate::settings::notify::Classes;
use crate::types::geo::{Place, Shape};
use crate::types::{Object, Zset};

pub(super) const HANDLERS: Handlers = &[
    ("geoadd", geoadd),
    ("geodist", geodist),
    ("geohash", geohash),
    ("geopos", geopos),
    ("georadius", georadius),
    ("georadius_ro", georadius_ro),
    ("georadiusbymember", georadiusbymember),
    ("georadiusbymember_ro", georadiusbymember_ro),
    ("geosearch", geosearch),
    ("geosearchstore", geosearchstore),
];

const NOT_A_PLACE: CommandError = CommandError::new("ERR could not decode requested zset member");

/// `longitude latitude`
fn place(args: Args<'_>, at: usize) -> Result<Place, CommandError> {
    let place = Place { longitude: float(args.at(at))?, latitude: float(args.at(at + 1))? };
    if !place.is_on_map() {
        let Place { longitude, latitude } = place;
        return Err(CommandError::made(format!(
            "ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}"
        )));
    }
    Ok(place)
}

/// Metres that a unit has.
fn unit(word: &[u8]) -> Result<f64, CommandError> {
    const UNITS: [(&[u8], f64); 4] =
        [(b"m", 1.0), (b"km", 1000.0), (b"ft", 0.3048), (b"mi", 1609.34)];
    let found = UNITS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    found
        .map(|(_, metres)| *metres)
        .ok_or(CommandError::new("ERR unsupported unit provided. please use M, KM, FT, MI"))
}

fn length(word: &[u8], wrong: &'static str) -> Result<f64, CommandError> {
    float(word).map_err(|_| CommandError::new(wrong))
}

/// `radius unit`: the shape, and the metres of the unit.
fn circle(args: Args<'_>, at: usize) -> Result<(Shape, f64), CommandError> {
    let radius = length(args.at(at), "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::new("ERR radius cannot be negative"));
    }
    let metres = unit(args.at(at + 1))?;
    Ok((Shape::Circle(radius * metres), metres))
}

/// `width height unit`
fn rectangle(args: Args<'_>, at: usize) -> Result<(Shape, f64), CommandError> {
    let width = length(args.at(at), "ERR need numeric width")?;
    let height = length(args.at(at + 1), "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::new("ERR height or width cannot be negative"));
    }
    let metres = unit(args.at(at + 2))?;
    Ok((Shape::Box { width: width * metres, height: height * metres }, metres))
}

/// `count longitude latitude [longitude latitude ...]`, of Valkey 9.0: the shape, and how many words it takes.
fn polygon(args: Args<'_>, at: usize) -> Result<(Shape, usize), CommandError> {
    let wrong = CommandError::new("ERR invalid number of vertices");
    let count = number::parse_i64(args.at(at)).filter(|count| i32::try_from(*count).is_ok());
    let count = usize::try_from(count.ok_or(wrong)?).unwrap_or(0);
    let most = (args.len() - at - 1) / 2;
    if !(3..=most).contains(&count) {
        return Err(CommandError::new("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"));
    }
    let corners: Result<Vec<_>, _> =
        (0..count).map(|corner| place(args, at + 1 + 2 * corner)).collect();
    Ok((Shape::Polygon(corners?), 1 + 2 * count))
}

/// A distance with four decimals, as a string.
fn reply_distance(reply: &mut Reply, distance: f64) {
    // The tenth of a millimetre is rounded to even, and what a number of 64 bits does not hold is its least.
    let scaled = (distance * 10_000.0).round_ties_even();
    let scaled = if scaled.abs() < i64::MAX as f64 { scaled as i64 } else { i64::MIN };
    let (whole, rest) = (scaled.unsigned_abs() / 10_000, scaled.unsigned_abs() % 10_000);
    let sign = if scaled < 0 { "-" } else { "" };
    reply.bulk(format!("{sign}{whole}.{rest:04}").as_bytes());
}

fn reply_place(reply: &mut Reply, place: Place) {
    reply.array(2);
    for degrees in [place.longitude, place.latitude] {
        let text = format_human(degrees);
        if reply.proto == Proto::Resp3 {
            reply.raw(format!(",{text}\r\n").as_bytes());
        } else {
            reply.bulk(text.as_bytes());
        }
    }
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
fn geoadd(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let mut options = Options::new(args, 2);
    let (mut only_new, mut only_old) = (false, false);
    loop {
        if options.take("NX") {
            only_new = true;
        } else if options.take("XX") {
            only_old = true;
        } else if !options.take("CH") {
            break;
        }
    }
    let from = options.position();
    let places = args.tail(from);
    if !places.len().is_multiple_of(3) || only_new && only_old {
        return Err(SYNTAX);
    }
    let mut words: Vec<Vec<u8>> = vec![b"zadd".to_vec()];
    words.extend((1..from).map(|at| args.at(at).to_vec()));
    for at in (0..places.len()).step_by(3) {
        words.push(place(places, at)?.score().to_string().into_bytes());
        words.push(places.at(at + 2).to_vec());
    }
    let owned = OwnedArgs::from_slices(&words);
    let dirty = call.core.feed.dirty;
    zset::zadd(&mut call.within(owned.as_args()))?;
    if call.core.feed.dirty != dirty {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        call.propagate_instead(&words);
    }
    Ok(())
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(call: &mut Call<'_>) -> CommandResult {
    let args = call.args;
    let metres = match args.len() {
        4 => 1.0,
        5 => unit(args.at(4))?,
        _ => return Err(SYNTAX),
    };
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let place = |member| zset?.score(member).map(Place::of_score);
    match (place(args.at(2)), place(args.at(3))) {
        (Some(one), Some(other)) => {
            reply_distance(&mut call.client.reply, one.distance(other) / metres);
        }
        _ => call.client.reply.null(),
    }
    Ok(())
}

/// Answers for each member with its place.
fn each_place(
    call: &mut Call<'_>,
    mut answer: impl FnMut(&mut Reply, Option<Place>),
) -> CommandResult {
    let args = call.args;
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(args.at(1))?;
    let reply = &mut call.client.reply;
    reply.array(args.len() - 2);
    for member in args.tail(2).iter() {
        let score = zset.and_then(|zset| zset.score(member));
        answer(reply, score.map(Place::of_score));
    }
    Ok(())
}

/// `GEOHASH key [member [member ...]]`
fn geohash(call: &mut Call<'_>) -> CommandResult {
    each_place(call, |reply, place| match place {
        Some(place) => reply.bulk(&place.geohash()),
        None => reply.null(),
    })
}

/// `GEOPOS key [member [member ...]]`
fn geopos(call: &mut Call<'_>) -> CommandResult {
    each_place(call, |reply, place| match place {
        Some(place) => reply_place(reply, place),
        None => reply.null_array(),
    })
}

/// Which of the searches.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// GEORADIUS, GEORADIUS_RO
    Around { stores: bool },
    /// GEORADIUSBYMEMBER, GEORADIUSBYMEMBER_RO
    AroundMember { stores: bool },
    /// GEOSEARCH
    Search,
    /// GEOSEARCHSTORE
    SearchStore,
}

impl Form {
    fn is_search(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn stores(self) -> bool {
        matches!(self, Self::Around { stores: true } | Self::AroundMember { stores: true })
    }
}

/// What is looked for, and what is said of it.
#[derive(Default)]
struct Wanted<'a> {
    middle: Option<Place>,
    /// The shape, and the metres of its unit.
    shape: Option<(Shape, f64)>,
    distances: bool,
    scores: bool,
    places: bool,
    order: Option<Order>,
    /// 0 is all.
    count: usize,
    any: bool,
    target: Option<&'a [u8]>,
    /// Distances become the scores of what is stored.
    stores_distances: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Nearest,
    Farthest,
}

/// Reads a search. `zset` is where it looks; without one a member's place is not known, nor needed.
fn wanted<'a>(args: Args<'a>, form: Form, zset: Option<&Zset>) -> Result<Wanted<'a>, CommandError> {
    let mut wanted = Wanted::default();
    let of_member = |member: &[u8]| match zset {
        Some(zset) => zset.score(member).map(Place::of_score).map(Some).ok_or(NOT_A_PLACE),
        None => Ok(None),
    };
    let (mut has_middle, mut has_shape) = (!form.is_search(), !form.is_search());
    let (mut by_member, mut by_place) = (false, false);
    let (mut is_circle, mut is_box, mut is_polygon) = (false, false, false);
    let first = match form {
        Form::Around { .. } => {
            wanted.middle = Some(place(args, 2)?);
            wanted.shape = Some(circle(args, 4)?);
            6
        }
        Form::AroundMember { .. } => {
            if zset.is_some() {
                wanted.middle = of_member(args.at(2))?;
                wanted.shape = Some(circle(args, 3)?);
            }
            5
        }
        Form::Search => 2,
        Form::SearchStore => {
            wanted.target = Some(args.at(1));
            3
        }
    };
    let mut options = Options::new(args, first);
    while let Some(word) = options.word() {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let (left, at) = (options.left(), options.position());
        if is("WITHDIST") {
            wanted.distances = true;
        } else if is("WITHHASH") {
            wanted.scores = true;
        } else if is("WITHCOORD") {
            wanted.places = true;
        } else if is("ANY") {
            wanted.any = true;
        } else if is("ASC") {
            wanted.order = Some(Order::Nearest);
        } else if is("DESC") {
            wanted.order = Some(Order::Farthest);
        } else if is("COUNT") && left >= 1 {
            wanted.count = usize::try_from(options.integer()?)
                .ok()
                .filter(|count| *count > 0)
                .ok_or(CommandError::new("ERR COUNT must be > 0"))?;
        } else if (is("STORE") || is("STOREDIST")) && left >= 1 && form.stores() {
            wanted.target = options.word();
            wanted.stores_distances = is("STOREDIST");
        } else if is("STOREDIST") && form == Form::SearchStore {
            wanted.stores_distances = true;
        } else if is("FROMMEMBER") && left >= 1 && form.is_search() && !by_place && !is_polygon {
            wanted.middle = of_member(args.at(at))?;
            (has_middle, by_member) = (true, true);
            options.skip(1);
        } else if is("FROMLONLAT") && left >= 2 && form.is_search() && !by_member && !is_polygon {
            wanted.middle = Some(place(args, at)?);
            (has_middle, by_place) = (true, true);
            options.skip(2);
        } else if is("BYRADIUS") && left >= 2 && form.is_search() && !is_box && !is_polygon {
            wanted.shape = Some(circle(args, at)?);
            (has_shape, is_circle) = (true, true);
            options.skip(2);
        } else if is("BYBOX") && left >= 3 && form.is_search() && !is_circle && !is_polygon {
            wanted.shape = Some(rectangle(args, at)?);
            (has_shape, is_box) = (true, true);
            options.skip(3);
        } else if is("BYPOLYGON") && left >= 2 && form.is_search() && !has_middle && !has_shape {
            let (shape, words) = polygon(args, at)?;
            if let Shape::Polygon(corners) = &shape {
                wanted.middle = Some(Place::middle_of(corners));
            }
            wanted.shape = Some((shape, 1.0));
            (has_middle, has_shape, is_polygon) = (true, true, true);
            options.skip(words);
        } else {
            return Err(SYNTAX);
        }
    }
    if wanted.target.is_some() && (wanted.distances || wanted.scores || wanted.places) {
        let what = match form {
            Form::SearchStore => "GEOSEARCHSTORE",
            _ => "STORE option in GEORADIUS",
        };
        return Err(CommandError::made(format!(
            "ERR {what} is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
        )));
    }
    let name = || String::from_utf8_lossy(args.at(0)).into_owned();
    if !has_middle {
        return Err(CommandError::made(format!(
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for {}",
            name()
        )));
    }
    if !has_shape {
        return Err(CommandError::made(format!(
            "ERR exactly one of BYRADIUS and BYBOX can be specified for {}",
            name()
        )));
    }
    if wanted.any && wanted.count == 0 {
        return Err(CommandError::new("ERR the ANY argument requires COUNT argument"));
    }
    Ok(wanted)
}

/// Something that was found.
struct Point {
    /// Where its name stands among those of all.
    name: Range<usize>,
    score: f64,
    place: Place,
    /// Metres.
    distance: f64,
}

/// What was found, in the order in which Redis comes upon it.
#[derive(Default)]
struct Found {
    names: Vec<u8>,
    points: Vec<Point>,
}

impl Found {
    /// All within the shape, or so many of them (0 is all).
    fn search(zset: &Zset, middle: Place, shape: &Shape, most: usize) -> Self {
        let mut found = Self::default();
        for (low, high) in shape.ranges(middle) {
            if most > 0 && found.points.len() >= most {
                break;
            }
            let span = zset.span_of_scores(|score| score < low, |score| score < high, usize::MAX);
            let mut left = span.len();
            if left == 0 {
                continue;
            }
            zset.walk(span.start, false, |member, score| {
                let place = Place::of_score(score);
                if let Some(distance) = shape.distance_within(middle, place) {
                    let start = found.names.len();
                    member.with_text(|text| found.names.extend_from_slice(text));
                    let name = start..found.names.len();
                    found.points.push(Point { name, score, place, distance });
                }
                left -= 1;
                left > 0 && (most == 0 || found.points.len() < most)
            });
        }
        found
    }

    /// Puts the nearest or the farthest `most` in front, in order, and forgets the others. What is equally far keeps its
    /// order.
    fn sort(&mut self, order: Order, most: usize) {
        let by = |one: &Point, other: &Point| {
            let distances = match order {
                Order::Nearest => one.distance.total_cmp(&other.distance),
                Order::Farthest => other.distance.total_cmp(&one.distance),
            };
            // Names lie in the order in which they were found.
            distances.then_with(|| one.name.start.cmp(&other.name.start))
        };
        if most < self.points.len() {
            self.points.select_nth_unstable_by(most, by);
            self.points.truncate(most);
        }
        self.points.sort_unstable_by(by);
    }
}

fn search(call: &mut Call<'_>, form: Form) -> CommandResult {
    let args = call.args;
    let source = args.at(if form == Form::SearchStore { 2 } else { 1 });
    let zset = call.keyspace.db(call.client.db).read_as::<Zset>(source)?;
    let wanted = wanted(args, form, zset)?;
    let event = if form.is_search() { "geosearchstore" } else { "georadiusstore" };
    let (found, metres) = match (zset, wanted.middle, &wanted.shape) {
        (Some(zset), Some(middle), Some((shape, metres))) => {
            let most = if wanted.any { wanted.count } else { 0 };
            let mut found = Found::search(zset, middle, shape, most);
            let most = match wanted.count {
                0 => found.points.len(),
                count => count.min(found.points.len()),
            };
            // The nearest are meant where nothing is said of it.
            let nearest = (wanted.count > 0 && !wanted.any).then_some(Order::Nearest);
            match wanted.order.or(nearest) {
                Some(order) => found.sort(order, most),
                None => found.points.truncate(most),
            }
            (found, *metres)
        }
        _ => (Found::default(), 1.0),
    };
    let Some(target) = wanted.target else {
        answer(&mut call.client.reply, &wanted, &found, metres);
        return Ok(());
    };
    let limits = &call.core.settings.packed;
    let mut result = Zset::default();
    for point in &found.points {
        let score = if wanted.stores_distances { point.distance / metres } else { point.score };
        result.set(&found.names[point.name.clone()], score, limits);
    }
    let count = found.points.len();
    // Older servers do not know polygons.
    let is_newer = matches!(wanted.shape, Some((Shape::Polygon(_), _)));
    let repeated = (is_newer && call.core.feed.wanted()).then(|| result.clone());
    let dirty = call.core.feed.dirty;
    store_result(call, target, Object::Zset(result), Classes::ZSET, event, count);
    if is_newer && call.core.feed.dirty != dirty {
        zset::propagate_result(call, target, repeated.as_ref());
    }
    call.client.reply.count(count);
    Ok(())
}

fn answer(reply: &mut Reply, wanted: &Wanted<'_>, found: &Found, metres: f64) {
    let details = [wanted.distances, wanted.scores, wanted.places];
    let details = details.into_iter().filter(|wanted| *wanted).count();
    reply.array(found.points.len());
    for point in &found.points {
        if details > 0 {
            reply.array(1 + details);
        }
        reply.bulk(&found.names[point.name.clone()]);
        if wanted.distances {
            reply_distance(reply, point.distance / metres);
        }
        if wanted.scores {
            reply.integer(point.score as i64);
        }
        if wanted.places {
            reply_place(reply, point.place);
        }
    }
}

/// `GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]
/// [STORE key] [STOREDIST key]`
fn georadius(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::Around { stores: true })
}

/// `GEORADIUS_RO`: the same, which stores nothing.
fn georadius_ro(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::Around { stores: false })
}

/// `GEORADIUSBYMEMBER key member radius unit …`
fn georadiusbymember(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::AroundMember { stores: true })
}

/// `GEORADIUSBYMEMBER_RO`: the same, which stores nothing.
fn georadiusbymember_ro(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::AroundMember { stores: false })
}

/// `GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit …`, or
/// `GEOSEARCH key BYPOLYGON count longitude latitude [longitude latitude ...] …` (Valkey 9.0)
fn geosearch(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::Search)
}

/// `GEOSEARCHSTORE destination source … [STOREDIST]`
fn geosearchstore(call: &mut Call<'_>) -> CommandResult {
    search(call, Form::SearchStore)
}
