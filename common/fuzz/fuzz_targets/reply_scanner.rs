//! Any bytes in any pieces: the scanner finds the same reply as when it is given everything at once, the reader walks
//! it to the same end, and the owned decoder never sees the end elsewhere.
//!
//! The first byte chooses the limits, the second how the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_common::resp::owned;
use redstart_common::resp::{Proto, Reader, ReplyLimits, ReplyScanner};

fuzz_target!(|data: &[u8]| {
    let [choice, step, input @ ..] = data else { return };
    let limits = if choice & 1 == 0 {
        ReplyLimits::default()
    } else {
        ReplyLimits { bulk_max: 40, values_max: 20, line_max: 30, depth_max: 5 }
    };
    let step = usize::from(*step % 16) + 1;

    let (mut scanner, mut seen) = (ReplyScanner::new(), 0);
    while seen < input.len() {
        seen = (seen + step).min(input.len());
        let outcome = scanner.scan(&input[..seen], &limits);
        assert_eq!(ReplyScanner::new().scan(&input[..seen], &limits), outcome);
        match outcome {
            Ok(None) => continue,
            Ok(Some(used)) => check_complete(&input[..seen], used),
            Err(_) => {}
        }
        break;
    }

    // The reader takes anything without complaint.
    let mut reader = Reader::new(input);
    while reader.read().is_some() {}
    if let Some(elements) = Reader::new(input).elements() {
        elements.take(1000).for_each(drop);
    }
});

fn check_complete(input: &[u8], used: usize) {
    assert!(used > 0 && used <= input.len());
    let reply = &input[..used];
    assert_eq!(Reader::new(input).take_raw(), Some(reply));
    for proto in [Proto::Resp2, Proto::Resp3] {
        match owned::decode(input, proto) {
            Ok(Some((_, len))) => assert_eq!(len, used),
            Ok(None) => panic!("complete, but not to be decoded"),
            // The values of redis-protocol are fewer than RESP's.
            Err(_) => {}
        }
    }
}
