//! Where keys with and without hash tags land, seen at the servers themselves.

use redstart_tests::proxy_support::{Client, Proxy, Redis};

/// Two groups as predixy has them. Their names stand against their order in the file, so that it shows which rules.
const FIRST: &str = "z";
const SECOND: &str = "a";

struct Setup {
    groups: [Redis; 2],
    proxy: Proxy,
}

fn set_up(keys: &str) -> Setup {
    let groups = [Redis::start(), Redis::start()];
    let servers = [(&groups[0], FIRST), (&groups[1], SECOND)]
        .map(|(group, name)| format!("127.0.0.1:{}:1 {name}", group.port));
    let keys = format!("  hash_tag: \"{{}}\"\n  distribution: modula\n{keys}");
    let proxy = Proxy::start_over(&keys, &servers, &["--workers", "1", "-s", "0"]);
    Setup { groups, proxy }
}

impl Setup {
    fn write(&self, conversation: &str) {
        self.proxy.client().play(conversation);
    }

    fn group(&self, number: usize) -> Client {
        Client::connect(self.groups[number].port)
    }
}

const WRITES: &str = "> SET k1 a
    < +OK
    > SET k2 b
    < +OK
    > SET {oo}k1 c
    < +OK
    > SET {oo}k2 d
    < +OK
    > MGET k1 k2 {oo}k1 {oo}k2
    < *4
    < $1
    < a
    < $1
    < b
    < $1
    < c
    < $1
    < d";

const ALONE: &str = "> EXISTS k1
    < :1
    > EXISTS k2
    < :0
    > EXISTS {oo}k1
    < :0
    > EXISTS {oo}k2
    < :0
    > DBSIZE
    < :1";

const TOGETHER: &str = "> EXISTS k1
    < :0
    > EXISTS k2
    < :1
    > EXISTS {oo}k1
    < :1
    > EXISTS {oo}k2
    < :1
    > DBSIZE
    < :3";

#[test]
fn in_the_order_of_the_file_keys_land_as_with_predixy() {
    let setup = set_up("  hash: crc16\n  server_order: file\n");
    setup.write(WRITES);
    setup.group(0).play(ALONE);
    setup.group(1).play(TOGETHER);
}

#[test]
fn in_the_order_of_names_the_groups_change_places() {
    // The same hash; the group that stands second in the file is the first by name.
    let setup = set_up("  hash: crc16_predixy\n  server_order: sorted\n");
    setup.write(WRITES);
    setup.group(1).play(ALONE);
    setup.group(0).play(TOGETHER);
}

#[test]
fn without_a_word_about_it_the_order_is_twemproxys() {
    let setup = set_up("  hash: crc16_predixy\n");
    setup.write(WRITES);
    setup.group(1).play(ALONE);
    setup.group(0).play(TOGETHER);
}

#[test]
fn a_tag_keeps_keys_of_one_request_together() {
    let setup = set_up("  hash: crc16\n  server_order: file\n");
    setup.write(
        "> SADD {oo}k1 x y
         < :2
         > SADD {oo}k2 y
         < :1
         > SINTERCARD 2 {oo}k1 {oo}k2
         < :1
         > RENAME {oo}k1 {oo}k3
         < +OK
         > SINTERCARD 2 k1 k2
         < -CROSSSLOT Keys in request don't hash to the same slot
         > SADD {}k1 z
         < :1
         > EXISTS {}k1
         < :1",
    );
}
