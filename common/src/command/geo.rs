//! Places on Earth, kept in sorted sets.

use super::bits::{categories, flags, key_flags};
use super::spec::arguments::{block, double, integer, key, one_of, string, word};
use super::spec::{CommandSpec, DocFlags, Extractor, Group, KeySpec, Keys};

/// What the rows of this file have in common.
const ROW: CommandSpec = CommandSpec::of(Group::Geo);

/// Rows of the group, by name.
pub(super) const COMMANDS: &[CommandSpec] = &[
    CommandSpec {
        name: "geoadd",
        arity: -5,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RW, UPDATE])]),
        summary: "Add one or more geospatial items in the geospatial index represented using a \
            sorted set",
        complexity: "O(log(N)) for each item added, where N is the number of elements in the \
            sorted set.",
        since: "3.2.0",
        history: &[("6.2.0", "Added the `CH`, `NX` and `XX` options.")],
        arguments: &[
            key("key", 0),
            one_of("condition", &[word("nx", "NX"), word("xx", "XX")]).since("6.2.0").optional(),
            word("change", "CH").since("6.2.0").optional(),
            block(
                "longitude_latitude_member",
                &[double("longitude"), double("latitude"), string("member")],
            )
            .multiple(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "geodist",
        arity: -4,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns the distance between two members of a geospatial index",
        complexity: "O(log(N))",
        since: "3.2.0",
        arguments: &[
            key("key", 0),
            string("member1"),
            string("member2"),
            one_of("unit", &[word("m", "M"), word("km", "KM"), word("ft", "FT"), word("mi", "MI")])
                .optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "geohash",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns members of a geospatial index as standard geohash strings",
        complexity: "O(log(N)) for each member requested, where N is the number of elements in the \
            sorted set.",
        since: "3.2.0",
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "geopos",
        arity: -2,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Returns longitude and latitude of members of a geospatial index",
        complexity: "O(N) where N is the number of members requested.",
        since: "3.2.0",
        arguments: &[key("key", 0), string("member").multiple()],
        ..ROW
    },
    CommandSpec {
        name: "georadius",
        arity: -6,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, GEO, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RO, ACCESS]),
            KeySpec::after("STORE", 6, key_flags![OW, UPDATE]),
            KeySpec::after("STOREDIST", 6, key_flags![OW, UPDATE]),
        ])
        .by(Extractor::GeoRadius),
        summary: "Query a sorted set representing a geospatial index to fetch members matching a \
            given maximum distance from a point",
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the \
            circular area delimited by center and radius and M is the number of items inside the \
            index.",
        since: "3.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument",
        history: &[
            ("6.2.0", "Added the `ANY` option for `COUNT`."),
            ("7.0.0", "Added support for uppercase unit names."),
        ],
        arguments: &[
            key("key", 0),
            double("longitude"),
            double("latitude"),
            double("radius"),
            one_of("unit", &[word("m", "M"), word("km", "KM"), word("ft", "FT"), word("mi", "MI")]),
            word("withcoord", "WITHCOORD").optional(),
            word("withdist", "WITHDIST").optional(),
            word("withhash", "WITHHASH").optional(),
            block(
                "count",
                &[integer("count").token("COUNT"), word("any", "ANY").since("6.2.0").optional()],
            )
            .optional(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            key("key", 1).token("STORE").optional(),
            key("key", 2).token("STOREDIST").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "georadius_ro",
        arity: -6,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "A read-only variant for GEORADIUS",
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the \
            circular area delimited by center and radius and M is the number of items inside the \
            index.",
        since: "3.2.10",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` argument",
        history: &[("6.2.0", "Added the `ANY` option for `COUNT`.")],
        arguments: &[
            key("key", 0),
            double("longitude"),
            double("latitude"),
            double("radius"),
            one_of("unit", &[word("m", "M"), word("km", "KM"), word("ft", "FT"), word("mi", "MI")]),
            word("withcoord", "WITHCOORD").optional(),
            word("withdist", "WITHDIST").optional(),
            word("withhash", "WITHHASH").optional(),
            block(
                "count",
                &[integer("count").token("COUNT"), word("any", "ANY").since("6.2.0").optional()],
            )
            .optional(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "georadiusbymember",
        arity: -5,
        flags: flags![WRITE, DENYOOM, MOVABLEKEYS],
        categories: categories![WRITE, GEO, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![RO, ACCESS]),
            KeySpec::after("STORE", 5, key_flags![OW, UPDATE]),
            KeySpec::after("STOREDIST", 5, key_flags![OW, UPDATE]),
        ])
        .by(Extractor::GeoRadius),
        summary: "Query a sorted set representing a geospatial index to fetch members matching a \
            given maximum distance from a member",
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the \
            circular area delimited by center and radius and M is the number of items inside the \
            index.",
        since: "3.2.0",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` \
            arguments",
        history: &[("7.0.0", "Added support for uppercase unit names.")],
        arguments: &[
            key("key", 0),
            string("member"),
            double("radius"),
            one_of("unit", &[word("m", "M"), word("km", "KM"), word("ft", "FT"), word("mi", "MI")]),
            word("withcoord", "WITHCOORD").optional(),
            word("withdist", "WITHDIST").optional(),
            word("withhash", "WITHHASH").optional(),
            block("count", &[integer("count").token("COUNT"), word("any", "ANY").optional()])
                .optional(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            key("key", 1).token("STORE").optional(),
            key("key", 2).token("STOREDIST").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "georadiusbymember_ro",
        arity: -5,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "A read-only variant for GEORADIUSBYMEMBER",
        complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of the \
            circular area delimited by center and radius and M is the number of items inside the \
            index.",
        since: "3.2.10",
        doc_flags: DocFlags::DEPRECATED,
        deprecated_since: "6.2.0",
        replaced_by: "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments",
        arguments: &[
            key("key", 0),
            string("member"),
            double("radius"),
            one_of("unit", &[word("m", "M"), word("km", "KM"), word("ft", "FT"), word("mi", "MI")]),
            word("withcoord", "WITHCOORD").optional(),
            word("withdist", "WITHDIST").optional(),
            word("withhash", "WITHHASH").optional(),
            block("count", &[integer("count").token("COUNT"), word("any", "ANY").optional()])
                .optional(),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "geosearch",
        arity: -7,
        flags: flags![READONLY],
        categories: categories![READ, GEO, SLOW],
        keys: Keys::of(&[KeySpec::at(1, key_flags![RO, ACCESS])]),
        summary: "Query a sorted set representing a geospatial index to fetch members inside an \
            area of a box or a circle.",
        complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding \
            box area around the shape provided as the filter and M is the number of items inside \
            the shape",
        since: "6.2.0",
        history: &[("7.0.0", "Added support for uppercase unit names.")],
        arguments: &[
            key("key", 0),
            one_of(
                "from",
                &[
                    string("member").token("FROMMEMBER"),
                    block("longitude_latitude", &[double("longitude"), double("latitude")])
                        .token("FROMLONLAT"),
                ],
            ),
            one_of(
                "by",
                &[
                    block(
                        "circle",
                        &[
                            double("radius").token("BYRADIUS"),
                            one_of(
                                "unit",
                                &[
                                    word("m", "M"),
                                    word("km", "KM"),
                                    word("ft", "FT"),
                                    word("mi", "MI"),
                                ],
                            ),
                        ],
                    ),
                    block(
                        "box",
                        &[
                            double("width").token("BYBOX"),
                            double("height"),
                            one_of(
                                "unit",
                                &[
                                    word("m", "M"),
                                    word("km", "KM"),
                                    word("ft", "FT"),
                                    word("mi", "MI"),
                                ],
                            ),
                        ],
                    ),
                ],
            ),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            block("count", &[integer("count").token("COUNT"), word("any", "ANY").optional()])
                .optional(),
            word("withcoord", "WITHCOORD").optional(),
            word("withdist", "WITHDIST").optional(),
            word("withhash", "WITHHASH").optional(),
        ],
        ..ROW
    },
    CommandSpec {
        name: "geosearchstore",
        arity: -8,
        flags: flags![WRITE, DENYOOM],
        categories: categories![WRITE, GEO, SLOW],
        keys: Keys::of(&[
            KeySpec::at(1, key_flags![OW, UPDATE]),
            KeySpec::at(2, key_flags![RO, ACCESS]),
        ]),
        summary: "Query a sorted set representing a geospatial index to fetch members inside an \
            area of a box or a circle, and store the result in another key.",
        complexity: "O(N+log(M)) where N is the number of elements in the grid-aligned bounding \
            box area around the shape provided as the filter and M is the number of items inside \
            the shape",
        since: "6.2.0",
        history: &[("7.0.0", "Added support for uppercase unit names.")],
        arguments: &[
            key("destination", 0),
            key("source", 1),
            one_of(
                "from",
                &[
                    string("member").token("FROMMEMBER"),
                    block("longitude_latitude", &[double("longitude"), double("latitude")])
                        .token("FROMLONLAT"),
                ],
            ),
            one_of(
                "by",
                &[
                    block(
                        "circle",
                        &[
                            double("radius").token("BYRADIUS"),
                            one_of(
                                "unit",
                                &[
                                    word("m", "M"),
                                    word("km", "KM"),
                                    word("ft", "FT"),
                                    word("mi", "MI"),
                                ],
                            ),
                        ],
                    ),
                    block(
                        "box",
                        &[
                            double("width").token("BYBOX"),
                            double("height"),
                            one_of(
                                "unit",
                                &[
                                    word("m", "M"),
                                    word("km", "KM"),
                                    word("ft", "FT"),
                                    word("mi", "MI"),
                                ],
                            ),
                        ],
                    ),
                ],
            ),
            one_of("order", &[word("asc", "ASC"), word("desc", "DESC")]).optional(),
            block("count", &[integer("count").token("COUNT"), word("any", "ANY").optional()])
                .optional(),
            word("storedist", "STOREDIST").optional(),
        ],
        ..ROW
    },
];
