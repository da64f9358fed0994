//! Places, beside the original: digits, orders and errors are the same.

use redstart_tests::server_support::{Peer, Random};

const FIXED: &[&str] = &[
    "GEOADD Sicily 13.361389 38.115556 Palermo 15.087269 37.502669 Catania",
    "GEOADD Sicily CH XX 13.5 38 Palermo 1 1 nobody",
    "GEOADD Sicily NX CH 1 1 Palermo 12.758489 38.788135 edge1 17.241510 38.788135 edge2",
    "GEOADD Sicily NX XX 1 1 a",
    "GEOADD Sicily NX XX CH",
    "GEOADD Sicily CH CH CH",
    "GEOADD Sicily 1 1",
    "GEOADD Sicily 1 1 a 2",
    "GEOADD Sicily 181 1 a",
    "GEOADD Sicily 180 85.05112878 corner -180 -85.05112878 other 0 0 zero",
    "GEOADD Sicily 1 85.06 a",
    "GEOADD Sicily x 1 a",
    "GEOADD Sicily 1 1 a 1 1e3 b",
    "ZRANGE Sicily 0 -1 WITHSCORES",
    "GEODIST Sicily Palermo Catania",
    "GEODIST Sicily Palermo Catania km",
    "GEODIST Sicily Palermo Catania MI",
    "GEODIST Sicily Palermo Catania ft",
    "GEODIST Sicily Palermo Catania yd",
    "GEODIST Sicily Palermo Catania m m",
    "GEODIST Sicily Palermo Palermo",
    "GEODIST Sicily corner other",
    "GEODIST Sicily Palermo nobody",
    "GEODIST none Palermo Catania",
    "GEOHASH Sicily Palermo nobody Catania corner other zero",
    "GEOHASH none a b",
    "GEOHASH Sicily",
    "GEOPOS Sicily Palermo nobody Catania corner other zero",
    "GEOPOS none a",
    "SET text 1",
    "GEOADD text 1 1 a",
    "GEOPOS text a",
    "GEODIST text a b",
    "GEORADIUS text 1 1 1 km",
    "GEORADIUS Sicily 15 37 200 km WITHDIST WITHCOORD WITHHASH",
    "GEORADIUS Sicily 15 37 200 km ASC COUNT 2 ANY",
    "GEORADIUS Sicily 15 37 200 km ANY",
    "GEORADIUS Sicily 15 37 200 km COUNT 0",
    "GEORADIUS Sicily 15 37 200 km COUNT",
    "GEORADIUS Sicily 15 37 200 km COUNT x",
    "GEORADIUS Sicily 15 37 -1 km",
    "GEORADIUS Sicily 15 37 x km",
    "GEORADIUS Sicily 15 37 1 yard",
    "GEORADIUS Sicily 15 37 200 km STORE there STOREDIST far",
    "ZRANGE there 0 -1 WITHSCORES",
    "ZRANGE far 0 -1 WITHSCORES",
    "GEORADIUS Sicily 15 37 200 km STORE there WITHDIST",
    "GEORADIUS_RO Sicily 15 37 200 km STORE there",
    "GEORADIUS Sicily 100 50 1 m STORE far",
    "EXISTS far",
    "GEORADIUSBYMEMBER Sicily Palermo 200 km DESC WITHDIST",
    "GEORADIUSBYMEMBER Sicily nobody 200 km",
    "GEORADIUSBYMEMBER none nobody 200 yards",
    "GEORADIUSBYMEMBER none nobody 200 km STORE there",
    "EXISTS there",
    "GEORADIUSBYMEMBER_RO Sicily Palermo 200 km STOREDIST far",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYBOX 400 400 km ASC WITHDIST",
    "GEOSEARCH Sicily FROMMEMBER Palermo FROMLONLAT 1 1 BYRADIUS 1 km",
    "GEOSEARCH Sicily FROMLONLAT 1 1 FROMMEMBER Palermo BYRADIUS 1 km",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYRADIUS 1 km BYBOX 1 1 km",
    "GEOSEARCH Sicily FROMMEMBER Palermo",
    "geoSearch Sicily BYRADIUS 1 km",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYBOX 1 -1 km",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYBOX x 1 km",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYBOX 1 x km",
    "GEOSEARCH Sicily FROMMEMBER Palermo BYRADIUS 1 km STOREDIST",
    "GEOSEARCH none FROMMEMBER Palermo BYRADIUS 1 km",
    "GEOSEARCHSTORE there Sicily FROMMEMBER Palermo BYRADIUS 1000 km COUNT 3 STOREDIST",
    "ZRANGE there 0 -1 WITHSCORES",
    "OBJECT ENCODING there",
    "GEOSEARCHSTORE there Sicily FROMMEMBER Palermo BYRADIUS 1000 km WITHDIST",
    "GEOSEARCHSTORE there none FROMMEMBER Palermo BYRADIUS 1000 km",
    "EXISTS there",
    // Scores that stand for no place.
    "ZADD odd -5 a 1e300 b inf c -inf d 0.5 e 9007199254740993 f",
    "GEOPOS odd a b c d e f",
    "GEOHASH odd a b c d e f",
    "GEODIST odd a f",
    "GEORADIUS odd 0 0 20000 km ASC",
    "GEORADIUS odd 0 0 1e300 km",
    "COMMAND GETKEYS GEORADIUS a 1 1 1 km STORE b",
    "COMMAND GETKEYS GEOSEARCHSTORE a b FROMMEMBER c BYRADIUS 1 m",
];

#[test]
fn what_there_is_of_places_is_answered_alike() {
    let peers = Peer::both(&["--save", ""]);
    for protocol in ["2", "3"] {
        let [mut theirs, mut ours] = peers.each_ref().map(Peer::client);
        for client in [&mut theirs, &mut ours] {
            client.call(&format!("HELLO {protocol}"));
            client.call("FLUSHALL");
        }
        for call in FIXED {
            assert_eq!(ours.call(call), theirs.call(call), "{call}");
        }
    }
}

fn number(random: &mut Random, from: f64, to: f64) -> f64 {
    from + (to - from) * (random.below(1_000_001) as f64 / 1_000_000.0)
}

#[test]
fn searches_at_random_find_the_same_in_the_same_order() {
    let peers = Peer::both(&["--save", ""]);
    let [mut theirs, mut ours] = peers.each_ref().map(Peer::client);
    let mut random = Random::new(52);
    for round in 0..40 {
        // All over the world, at one place, or near a corner of it; packed, and large.
        let (middle, spread) = match round % 4 {
            0 => ((0.0, 0.0), (180.0, 85.0)),
            1 => ((13.0, 38.0), (1.0, 1.0)),
            2 => ((179.0, 84.0), (1.0, 1.0)),
            _ => ((-120.0, -50.0), (30.0, 30.0)),
        };
        let key = format!("places{round}");
        let at = |random: &mut Random| {
            let longitude = number(random, middle.0 - spread.0, middle.0 + spread.0);
            let latitude = number(random, middle.1 - spread.1, middle.1 + spread.1);
            format!("{:.6} {:.6}", longitude.clamp(-180.0, 180.0), latitude.clamp(-85.05, 85.05))
        };
        let count = [20, 100, 600][round % 3];
        for member in 0..count {
            let call = format!("GEOADD {key} {} m{member}", at(&mut random));
            assert_eq!(ours.call(&call), theirs.call(&call), "{call}");
        }
        for _ in 0..60 {
            let from = match random.below(2) {
                0 => format!("FROMMEMBER m{}", random.below(count)),
                _ => format!("FROMLONLAT {}", at(&mut random)),
            };
            let unit = ["m", "km", "mi", "ft"][random.below(4)];
            let mut size = || {
                let scale = [10.0, 1000.0, 100_000.0, 10_000_000.0][random.below(4)];
                number(&mut random, 0.0, scale)
            };
            let by = format!("{:.3} {:.3}", size(), size());
            let by = match random.below(2) {
                0 => format!("BYRADIUS {} {unit}", by.split(' ').next().expect("a number")),
                _ => format!("BYBOX {by} {unit}"),
            };
            let order = ["", "ASC", "DESC"][random.below(3)];
            let some = match random.below(4) {
                0 => format!("COUNT {}", 1 + random.below(30)),
                1 => format!("COUNT {} ANY", 1 + random.below(30)),
                _ => String::new(),
            };
            let call = format!("GEOSEARCH {key} {from} {by} {order} {some} WITHDIST WITHCOORD");
            assert_eq!(ours.call(&call), theirs.call(&call), "{call}");
        }
    }
}
