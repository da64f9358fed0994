//! Any bytes in any pieces: the scanner finds the same requests as when it is given everything at once, its
//! arguments lie where it says, and what they say survives being written and read again.
//!
//! The first byte chooses the limits, the second how the rest is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redstart_common::resp::encode;
use redstart_common::resp::{Limits, OwnedArgs, RequestError, RequestScanner};

fuzz_target!(|data: &[u8]| {
    let [choice, step, input @ ..] = data else { return };
    let limits = limits(*choice);
    let step = usize::from(*step % 16) + 1;

    let (mut scanner, mut at) = (RequestScanner::new(), 0);
    while at < input.len() {
        let rest = &input[at..];
        let stepped = scan_in_steps(&mut scanner, rest, step, &limits);
        let Ok(Some((seen, used))) = stepped else { break };
        let mut whole = RequestScanner::new();
        assert_eq!(whole.scan(&rest[..seen], &limits), Ok(Some(used)));
        assert_eq!(whole.spans(), scanner.spans());
        assert!(used > 0 && used <= seen);
        check_arguments(&scanner, &rest[..used]);
        at += used;
    }
});

fn limits(choice: u8) -> Limits {
    if choice & 1 == 0 {
        return Limits { unauthenticated: choice & 2 != 0, ..Limits::default() };
    }
    Limits {
        proto_max_bulk_len: 40,
        multibulk_max: 12,
        inline_max: 48,
        unauthenticated: choice & 2 != 0,
    }
}

/// Feeds ever longer prefixes of `input`; answers the length of the one that completed a request, and the request's.
fn scan_in_steps(
    scanner: &mut RequestScanner,
    input: &[u8],
    step: usize,
    limits: &Limits,
) -> Result<Option<(usize, usize)>, RequestError> {
    let mut seen = 0;
    while seen < input.len() {
        seen = (seen + step).min(input.len());
        match scanner.scan(&input[..seen], limits) {
            Ok(Some(used)) => return Ok(Some((seen, used))),
            Ok(None) => assert!(scanner.is_inside()),
            Err(error) => {
                assert_eq!(RequestScanner::new().scan(&input[..seen], limits), Err(error));
                assert!(!error.wire().contains(&b'\n'));
                return Err(error);
            }
        }
    }
    Ok(None)
}

fn check_arguments(scanner: &RequestScanner, request: &[u8]) {
    let args = scanner.args(request);
    for index in 0..args.len() {
        assert!(args.get(index).is_some(), "argument {index} lies outside");
    }
    if args.is_empty() {
        return;
    }
    let owned = OwnedArgs::from_args(args);
    let mut written = Vec::new();
    encode::request(&mut written, args.iter());
    let mut again = RequestScanner::new();
    assert_eq!(again.scan(&written, &Limits::default()), Ok(Some(written.len())));
    assert!(again.args(&written).iter().eq(owned.as_args().iter()));
}
