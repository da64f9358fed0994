//! The registers at the moment of a signal, where their names are known here.

use std::ffi::c_void;
use std::fmt::{self, Write};

/// The address of the instruction that was being run.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn instruction(context: *mut c_void) -> Option<u64> {
    Some(read(context)[libc::REG_RIP as usize] as u64)
}

/// Not known here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn instruction(_context: *mut c_void) -> Option<u64> {
    None
}

/// All of them, four a line, and the top of the stack is left out: it holds data of clients.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) fn tell(out: &mut impl Write, context: *mut c_void) -> fmt::Result {
    const NAMES: [(&str, i32); 18] = [
        ("RAX", libc::REG_RAX),
        ("RBX", libc::REG_RBX),
        ("RCX", libc::REG_RCX),
        ("RDX", libc::REG_RDX),
        ("RDI", libc::REG_RDI),
        ("RSI", libc::REG_RSI),
        ("RBP", libc::REG_RBP),
        ("RSP", libc::REG_RSP),
        ("R8", libc::REG_R8),
        ("R9", libc::REG_R9),
        ("R10", libc::REG_R10),
        ("R11", libc::REG_R11),
        ("R12", libc::REG_R12),
        ("R13", libc::REG_R13),
        ("R14", libc::REG_R14),
        ("R15", libc::REG_R15),
        ("RIP", libc::REG_RIP),
        ("EFL", libc::REG_EFL),
    ];
    let registers = read(context);
    for (number, (name, place)) in NAMES.iter().enumerate() {
        let end = if number % 4 == 3 { '\n' } else { ' ' };
        write!(out, "{name}:{:016x}{end}", registers[*place as usize])?;
    }
    out.write_str("\n")
}

/// Their names are not known here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn tell(out: &mut impl Write, _context: *mut c_void) -> fmt::Result {
    out.write_str("Dumping of registers not supported for this OS/arch\n")
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn read(context: *mut c_void) -> [libc::greg_t; 23] {
    // SAFETY: the system hands a `ucontext_t` to a handler with SA_SIGINFO, which is where `context` comes from.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs }
}
