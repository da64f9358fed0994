//! `redis.call` and `redis.pcall`: the arguments are taken from Lua's stack, and the reply is put there.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use mlua::ffi::{self, lua_State};
use redstart_common::number::FloatText;

use super::{RUN, debug, errors, reply};
use crate::scripting::run::Run;

/// Bytes that the arguments of one command may have together: what a [`Span`](redstart_common::resp::Span) can point at.
const ARGUMENT_BYTES_MAX: usize = u32::MAX as usize;

const NOT_RUNNING: &[u8] = b"ERR redis.call/pcall can only be called inside a script invocation";
const NO_ARGUMENTS: &[u8] = b"ERR Please specify at least one argument for this redis lib call";
const WRONG_ARGUMENTS: &[u8] = b"ERR Lua redis lib command arguments must be strings or integers";
const TOO_LARGE: &[u8] = b"ERR The arguments of a command are too large";

/// `redis.call(command, …)`
pub(super) unsafe extern "C-unwind" fn call(state: *mut lua_State) -> c_int {
    // SAFETY: as the rules of the module want.
    unsafe { call_command(state, true) }
}

/// `redis.pcall(command, …)`
pub(super) unsafe extern "C-unwind" fn protected_call(state: *mut lua_State) -> c_int {
    // SAFETY: as the rules of the module want.
    unsafe { call_command(state, false) }
}

/// How a call went. Texts and replies lie in the run.
#[derive(Clone, Copy)]
enum Outcome {
    /// The script has called it wrongly.
    Refused(&'static [u8]),
    /// It was not let run.
    Denied(*const [u8]),
    /// It has answered.
    Replied(*const [u8]),
}

unsafe fn call_command(state: *mut lua_State, raises: bool) -> c_int {
    // SAFETY: the arguments lie on the stack from 1 on. Between here and Lua no frame has destructors when `reply` and
    // `errors` allocate: `execute` has returned. Its pointers are to what the run holds, which nothing changes before the
    // next call.
    unsafe {
        let count = ffi::lua_gettop(state);
        let outcome = execute(state, count);
        ffi::lua_settop(state, 0);
        let failed = match outcome {
            Outcome::Refused(text) => {
                errors::push_error(state, text, false);
                true
            }
            Outcome::Denied(text) => {
                errors::push_error(state, &*text, true);
                true
            }
            Outcome::Replied(bytes) => {
                reply::push(state, &*bytes);
                if debug::is_on() {
                    debug::note_reply(&*bytes);
                }
                (*bytes).first() == Some(&b'-')
            }
        };
        if failed && (raises || matches!(outcome, Outcome::Refused(NOT_RUNNING))) {
            ffi::lua_error(state);
        }
        1
    }
}

/// Runs the command whose words are the `count` values on the stack.
unsafe fn execute(state: *mut lua_State, count: c_int) -> Outcome {
    let run = RUN.replace(ptr::null_mut());
    if run.is_null() {
        return Outcome::Refused(NOT_RUNNING);
    }
    // SAFETY: as in `with_run`: the pointer was taken away, and is put back below.
    let run = unsafe { &mut *run };
    // SAFETY: reads values of the stack, which stay there.
    let outcome = match unsafe { gather(state, count, run) } {
        Err(refused) => Outcome::Refused(refused),
        Ok(()) => match catch_unwind(AssertUnwindSafe(|| {
            if run.core.scripting.session.is_some() {
                debug::note_command(run);
            }
            run.command()
        })) {
            Ok(Ok(bytes)) => Outcome::Replied(bytes),
            Ok(Err(text)) => Outcome::Denied(text),
            Err(panic) => Outcome::Refused(errors::keep(panic).as_bytes()),
        },
    };
    RUN.set(ptr::from_mut(run));
    outcome
}

/// Copies the words of a command to where the run keeps them.
pub(super) unsafe fn gather(
    state: *mut lua_State,
    count: c_int,
    run: &mut Run<'_>,
) -> Result<(), &'static [u8]> {
    if count == 0 {
        return Err(NO_ARGUMENTS);
    }
    run.words.clear();
    let mut total = 0_usize;
    for index in 1..=count {
        // SAFETY: the index lies on the stack. A string stays where it is as long as it lies there, and to read it as one
        // changes nothing, so that no error is raised.
        unsafe {
            match ffi::lua_type(state, index) {
                ffi::LUA_TNUMBER => push_number(run, ffi::lua_tonumber(state, index)),
                ffi::LUA_TSTRING => {
                    let mut length = 0;
                    let text = ffi::lua_tolstring(state, index, &raw mut length);
                    total = total.saturating_add(length);
                    if total > ARGUMENT_BYTES_MAX - (1 << 20) {
                        return Err(TOO_LARGE);
                    }
                    run.words.push(std::slice::from_raw_parts(text.cast(), length));
                }
                _ => return Err(WRONG_ARGUMENTS),
            }
        }
    }
    Ok(())
}

/// Adds a number as `%.17g` prints it.
fn push_number(run: &mut Run<'_>, number: f64) {
    const EXACT: f64 = 1e15;
    if number.abs() < EXACT
        && number.fract() == 0.0
        && !(number == 0.0 && number.is_sign_negative())
    {
        run.words.push(itoa::Buffer::new().format(number as i64).as_bytes());
    } else {
        run.words.push(FloatText::new().format_17g(number).as_bytes());
    }
}
