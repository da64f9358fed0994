//! The software watchdog: where the engine's thread stands still for longer than `watchdog-period`, the log is told where.
//!
//! A timer of the thread sends it SIGALRM unless the regular work winds it up in time. The handler writes the stack and the
//! thread goes on; as in Redis this is a tool to find out why a server is slow, not for every day.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::fmt::Write;
use std::time::Duration;

use redstart_common::crash::{self, Out};

use crate::settings::Settings;

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<Watchdog>> = const { RefCell::new(None) };
}

/// Watches the thread that calls as the settings say, or no longer.
///
/// # Errors
/// When the system gives no timer.
pub fn set(settings: &Settings) -> std::io::Result<()> {
    OF_THIS_THREAD.take();
    if settings.watchdog_period > 0 {
        // The regular work must have come twice in the meantime.
        let shortest = 1000 / settings.hz.max(1) as u64 * 2;
        let period = Duration::from_millis(settings.watchdog_period.max(shortest));
        OF_THIS_THREAD.set(Some(Watchdog::start(period)?));
    }
    Ok(())
}

/// The thread is alive: the time counts from now.
pub fn wind_up() {
    OF_THIS_THREAD.with_borrow(|watchdog| {
        if let Some(watchdog) = watchdog {
            watchdog.wind_up();
        }
    });
}

/// A timer that has to be wound up again and again.
struct Watchdog {
    timer: libc::timer_t,
    period: Duration,
}

impl Watchdog {
    /// Begins to watch the thread that calls.
    fn start(period: Duration) -> std::io::Result<Self> {
        crash::load_unwinder();
        // SAFETY: all fields of the action and of the event are set or zero, which is a valid value for each; `expired` has
        // the signature that SA_SIGINFO asks for, and writes without memory or locks.
        let timer = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = expired as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = std::ptr::null_mut();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            timer
        };
        let watchdog = Self { timer, period };
        watchdog.wind_up();
        Ok(watchdog)
    }

    fn wind_up(&self) {
        let time = libc::timespec {
            tv_sec: self.period.as_secs() as libc::time_t,
            tv_nsec: self.period.subsec_nanos().into(),
        };
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let times = libc::itimerspec { it_interval: none, it_value: time };
        // SAFETY: the timer is this watchdog's and is there until it is dropped. It cannot fail with valid times.
        unsafe {
            libc::timer_settime(self.timer, 0, &raw const times, std::ptr::null_mut());
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // SAFETY: the timer is this watchdog's, and not used after this. A signal that is on its way already finds a
        // handler that ignores it.
        unsafe {
            libc::timer_delete(self.timer);
            libc::signal(libc::SIGALRM, libc::SIG_IGN);
        }
    }
}

extern "C" fn expired(_signal: c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    let mut out = Out::open();
    // What cannot be written has nowhere to say so.
    let _ = out.write_str("\n--- WATCHDOG TIMER EXPIRED ---\n");
    out.stack();
    let _ = out.write_str("--------\n");
}
