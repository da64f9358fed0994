//! How long nobody tries a connection that has failed. Pure: the time is given.
//!
//! Whoever is refused meanwhile is told the reason of the last failure. The waits are short, so that a server that comes back
//! is served at once, and grow little: an attempt that is refused costs some 50 microseconds on either side.

/// The wait after the first failure, in microseconds; doubled up to [`MAX_US`].
const FIRST_US: u64 = 10_000;
/// The longest wait, in microseconds.
pub const MAX_US: u64 = 40_000;

/// How long a server may listen again before requests reach it: the longest wait, and what it takes to connect.
pub const BACK_WITHIN_US: u64 = 50_000;

const _: () = assert!(FIRST_US <= MAX_US && MAX_US < BACK_WITHIN_US);

/// The waits of one connection.
#[derive(Debug, Default)]
pub struct Backoff {
    wait_us: u64,
}

impl Backoff {
    /// The connection has failed, or could not be made. Says until when it is not tried again.
    pub fn failed(&mut self, now_us: u64) -> u64 {
        self.wait_us = (self.wait_us * 2).clamp(FIRST_US, MAX_US);
        now_us + self.wait_us
    }

    /// The server has answered.
    pub fn succeeded(&mut self) {
        self.wait_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client that asks every `every_us`, of a server that refuses connections until `back_us`. Says when the first request
    /// was served, and how many attempts were made.
    fn play(every_us: u64, back_us: u64) -> (u64, u64) {
        let mut backoff = Backoff::default();
        let (mut now_us, mut until_us, mut attempts) = (0, 0, 0);
        loop {
            if now_us >= until_us {
                attempts += 1;
                if now_us >= back_us {
                    backoff.succeeded();
                    return (now_us, attempts);
                }
                until_us = backoff.failed(now_us);
            }
            now_us += every_us;
        }
    }

    #[test]
    fn waits_grow_and_begin_again_after_a_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..4).map(|_| backoff.failed(7) - 7).collect();
        assert_eq!(waits, [10_000, 20_000, 40_000, 40_000]);
        backoff.succeeded();
        assert_eq!(backoff.failed(0), FIRST_US);
    }

    proptest! {
        /// However long a server was away, requests reach it soon after it listens again, and it is not stormed meanwhile.
        #[test]
        fn who_is_back_is_found_soon_and_not_stormed(
            every_us in 1u64..5_000,
            back_us in 0u64..20_000_000,
        ) {
            let (served_us, attempts) = play(every_us, back_us);
            prop_assert!(served_us < back_us + MAX_US + every_us);
            prop_assert!(attempts <= 4 + back_us / MAX_US, "{attempts} in {back_us} us");
        }
    }
}
