//! What the log is told when the process crashes or panics: which signal, where, and the stack, in Redis's form.
//!
//! A report has two parts. The first needs no memory and takes no lock, so that it can be written whatever state the process is
//! in: the signal, the registers, the stack as addresses. The second names the functions, for which it has to read the
//! executable; if that gets stuck, an alarm ends the process. The data is left alone: the handler runs in the middle of a
//! change, and there is no way to read an engine that would be safe.

use std::backtrace::Backtrace;
use std::ffi::{CString, c_int, c_void};
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::log;

mod registers;

/// Signals that mean a fault of the program.
const SIGNALS: [c_int; 5] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT];
/// Seconds that a report may take before the process is ended without the rest of it.
const PATIENCE_S: u32 = 10;
/// Bytes of the stack that the report is made on.
const STACK_BYTES: usize = 1 << 20;
/// Frames that are told.
const FRAMES_MAX: usize = 100;

/// The last lines of a report, behind its title.
const END: &str = " END. Make sure to include from START to END. ===\n\n\
                   \x20      Please report the crash to the makers of Redstart, with the lines above.\n\
                   \x20      It was a fault of the program, or of this machine's memory.\n\n";

/// What reports call the program.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// The title of a report: `REDIS BUG REPORT`, for which tools look.
    pub title: &'static str,
    /// Who has crashed: `Redis`.
    pub name: &'static str,
    /// The version of that.
    pub version: &'static str,
    /// Redstart's version.
    pub build: &'static str,
}

impl Program {
    fn begin(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "\n\n=== {} START: Cut & paste starting from here ===\n", self.title)
    }

    fn end(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "\n=== {}{END}", self.title)
    }
}

static PROGRAM: OnceLock<Program> = OnceLock::new();

fn program() -> Program {
    const UNKNOWN: Program =
        Program { title: "BUG REPORT", name: "The program", version: "?", build: "?" };
    PROGRAM.get().copied().unwrap_or(UNKNOWN)
}

static LOG_FILE: OnceLock<Option<CString>> = OnceLock::new();
static IS_REPORTING: AtomicBool = AtomicBool::new(false);
static EXITS_ON_PANIC: AtomicBool = AtomicBool::new(false);

/// Has panics end the process with a report: what a panic has left half done is not gone on with. `exits`: with exit code 1 and
/// not by SIGABRT (`use-exit-on-panic`). Reports of crashes go to `log_file`, or to standard output.
///
/// Call it once, before there are other threads; each of those that are to tell of a stack that is used up
/// [gives itself a stack](give_stack) for that.
pub fn prepare(program: Program, log_file: Option<&Path>, exits: bool) {
    let _ = PROGRAM.set(program);
    // A path with a NUL could not have been opened.
    let path = log_file.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok());
    let _ = LOG_FILE.set(path);
    EXITS_ON_PANIC.store(exits, Ordering::Relaxed);
    give_stack();
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without words")
            .replace('\n', " ");
        let (file, line) = panic.location().map_or(("?", 0), |at| (at.file(), at.line()));
        if IS_REPORTING.swap(true, Ordering::SeqCst) {
            // The report itself has panicked, or another thread reports already.
            std::process::abort();
        }
        let mut frame = String::new();
        let _ = self::program().begin(&mut frame);
        log::raw(log::Level::Warning, &frame);
        log!(Warning, "------------------------------------------------");
        log!(Warning, "!!! Software Failure. Press left mouse button to continue");
        log!(Warning, "Guru Meditation: {message} #{file}:{line}");
        log!(Warning, "------------------------------------------------");
        log::raw(log::Level::Warning, "\n------ STACK TRACE ------\n");
        log::raw(log::Level::Warning, &format!("{}\n", Backtrace::force_capture()));
        frame.clear();
        let _ = self::program().end(&mut frame);
        log::raw(log::Level::Warning, &frame);
        if EXITS_ON_PANIC.load(Ordering::Relaxed) {
            std::process::exit(1);
        }
        set_default(&SIGNALS);
        std::process::abort();
    }));
}

/// Turns reports of crashes on or off: `crash-log-enabled`.
pub fn set_enabled(enabled: bool) {
    if !enabled {
        set_default(&SIGNALS);
        return;
    }
    load_unwinder();
    for signal in SIGNALS {
        // SAFETY: all fields of the action are set or zero, which is a valid value for each; `report` has the signature
        // that SA_SIGINFO asks for, and what it does is bounded (see there).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = report as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// The first look at a stack may load a library, which a handler could not.
pub fn load_unwinder() {
    #[cfg(target_env = "gnu")]
    {
        let mut frame = std::ptr::null_mut::<c_void>();
        // SAFETY: there is room for the one frame that is asked for.
        unsafe {
            libc::backtrace(&raw mut frame, 1);
        }
    }
}

/// Writes to an address that nobody may write to: `DEBUG SEGFAULT`, which asks for a crash.
pub fn crash() -> ! {
    // SAFETY: none; the fault is what is wanted. Page zero is mapped in no process.
    unsafe { std::ptr::write_volatile(std::ptr::without_provenance_mut::<u8>(8), b'x') };
    std::process::abort();
}

/// Gives this thread a stack for handlers: its own may be what is used up, and the one that std has set is small.
pub fn give_stack() {
    let memory: &'static mut [u8] = Box::leak(vec![0; STACK_BYTES].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: STACK_BYTES };
    // SAFETY: the memory is never freed, and nobody else uses it.
    unsafe {
        libc::sigaltstack(&raw const stack, std::ptr::null_mut());
    }
}

fn set_default(signals: &[c_int]) {
    for signal in signals {
        // SAFETY: SIG_DFL is valid for each of them.
        unsafe {
            libc::signal(*signal, libc::SIG_DFL);
        }
    }
}

/// Where a report goes, line by line, without a buffer.
pub struct Out(c_int);

impl Out {
    /// Opens the log.
    #[must_use]
    pub fn open() -> Self {
        let Some(Some(path)) = LOG_FILE.get() else { return Self(1) };
        let flags = libc::O_WRONLY | libc::O_APPEND | libc::O_CREAT | libc::O_CLOEXEC;
        // SAFETY: the path ends with a NUL.
        let file = unsafe { libc::open(path.as_ptr(), flags, 0o644) };
        Self(if file < 0 { 1 } else { file })
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            // SAFETY: the bytes are readable.
            let written = unsafe { libc::write(self.0, bytes.as_ptr().cast(), bytes.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => bytes = &bytes[written..],
                _ => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}

/// The handler.
extern "C" fn report(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // A crash while this one is told, and on whatever thread, ends the process at once.
    set_default(&SIGNALS);
    if IS_REPORTING.swap(true, Ordering::SeqCst) {
        // SAFETY: the handler is the default one by now.
        unsafe { libc::raise(signal) };
        return;
    }
    // SAFETY: the default action of SIGALRM ends the process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(PATIENCE_S);
    }
    let mut out = Out::open();
    // What cannot be written has nowhere to say so.
    let _ = tell(&mut out, signal, info, context);
    let _ = write!(out, "\n------ STACK TRACE WITH NAMES ------\n{}\n", Backtrace::force_capture());
    let _ = program().end(&mut out);
    // SAFETY: the handler is the default one by now, which ends the process as the signal would have.
    unsafe { libc::raise(signal) };
}

/// The part that needs no memory.
fn tell(
    out: &mut Out,
    signal: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) -> fmt::Result {
    let program = program();
    program.begin(out)?;
    // SAFETY: the system hands a valid `info` to a handler with SA_SIGINFO; the fields that are read are those that the
    // signal's code says are there.
    let (code, address, sender) = unsafe {
        let is_sent = (*info).si_code <= 0;
        let sender = is_sent.then(|| ((*info).si_pid(), (*info).si_uid()));
        ((*info).si_code, (*info).si_addr(), sender)
    };
    let Program { name, version, build, .. } = program;
    writeln!(out, "{name} {version} crashed by signal: {signal}, si_code: {code}")?;
    match sender {
        Some((pid, uid)) => writeln!(out, "Killed by PID: {pid}, UID: {uid}")?,
        None => writeln!(out, "Accessing address: {address:p}")?,
    }
    let place = registers::instruction(context);
    if let Some(place) = place {
        writeln!(out, "Crashed running the instruction at: {place:#x}")?;
    }
    out.write_str("\n------ STACK TRACE ------\n")?;
    if let Some(place) = place {
        writeln!(out, "EIP:\n[{place:#x}]\n\nBacktrace:")?;
    }
    out.stack();
    out.write_str("\n------ REGISTERS ------\n")?;
    registers::tell(out, context)?;
    writeln!(out, "\n------ PROCESS ------")?;
    writeln!(out, "version:redstart {build}")?;
    writeln!(out, "process_id:{}", std::process::id())?;
    writeln!(out, "used_memory:{}", crate::memory::used_bytes())
}

impl Out {
    /// The stack of this thread, as addresses, and as names where the executable tells them to others.
    pub fn stack(&self) {
        #[cfg(target_env = "gnu")]
        {
            let mut frames = [std::ptr::null_mut::<c_void>(); FRAMES_MAX];
            // SAFETY: there is room for as many frames as are asked for, and the second call reads as many as were found.
            unsafe {
                let count = libc::backtrace(frames.as_mut_ptr(), FRAMES_MAX as c_int);
                libc::backtrace_symbols_fd(frames.as_ptr(), count, self.0);
            }
        }
    }
}
