//! A timer that wakes a task once for each wait. The runtime's own timers lie in a wheel, which wakes the thread a second time for each
//! that is more than 64 ms away, only to put it in a finer ring: for an idle server that is a third of its work.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::descriptor;

/// A timer, of one task.
#[derive(Debug)]
pub struct Timer {
    /// Where there was no descriptor for it, the runtime's timers do.
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Default for Timer {
    /// A timer of the runtime that this is called in.
    fn default() -> Self {
        let made = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        );
        let timer = made.ok().and_then(|timer| descriptor::readable(timer).ok());
        Self { timer }
    }
}

impl Timer {
    /// Waits for so long.
    pub async fn sleep(&self, pause: Duration) {
        if let Some(timer) = &self.timer
            && wait(timer, pause).await.is_ok()
        {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn wait(timer: &AsyncFd<OwnedFd>, pause: Duration) -> io::Result<()> {
    let until = Instant::now() + pause;
    // No time at all would stop it.
    let pause = pause.max(Duration::from_nanos(1));
    let never = Timespec { tv_sec: 0, tv_nsec: 0 };
    let pause = Timespec {
        tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: pause.subsec_nanos().into(),
    };
    let setting = Itimerspec { it_interval: never, it_value: pause };
    // It also forgets that the last wait is over, so that nothing has to be read.
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
    loop {
        timer.readable().await?.clear_ready();
        // A wait that was given up may have ended before.
        if Instant::now() >= until {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::turn;

    #[test]
    fn each_wait_takes_its_time() {
        turn::runtime().expect("a runtime").block_on(async {
            let timer = Timer::default();
            assert!(timer.timer.is_some());
            for ms in [0, 1, 30, 1, 70] {
                let pause = Duration::from_millis(ms);
                let begun = Instant::now();
                timer.sleep(pause).await;
                let took = begun.elapsed();
                assert!(took >= pause && took < pause + Duration::from_secs(5), "{ms}: {took:?}");
            }
            // One that was given up leaves nothing behind.
            tokio::select! {
                biased;
                () = timer.sleep(Duration::from_millis(5)) => panic!("it waits"),
                () = std::future::ready(()) => {}
            }
            std::thread::sleep(Duration::from_millis(10));
            tokio::task::yield_now().await;
            let begun = Instant::now();
            timer.sleep(Duration::from_millis(30)).await;
            assert!(begun.elapsed() >= Duration::from_millis(30));
        });
    }
}
