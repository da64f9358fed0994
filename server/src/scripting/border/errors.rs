//! Lua's errors: raised, caught and told.
//!
//! An error of Redis's is a table with the text, code word included, in its field `err`.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::slice;

use mlua::ffi::{self, lua_State};
use mlua::{Lua, MultiValue, Value};

use super::debug;
use crate::scripting::run::Run;
use crate::text::trim_line_ends;

/// An error that a function of Rust answers with, to be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raise {
    /// An argument is wrong: its place, from 1, and what is wrong with it.
    Argument(i32, Vec<u8>),
    /// Something else is, with the place in the script before it.
    Text(Vec<u8>),
    /// Something else is, and nothing is said of the place.
    Plain(Vec<u8>),
    /// An error of Redis's: its text, with the code word.
    Redis(Vec<u8>),
}

/// How a function of Rust tells which error it is: the first value it answers with.
const RAISE_REDIS: i64 = -1;
const RAISE_PLAIN: i64 = -2;

impl Raise {
    /// An error with this text.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(text.into())
    }

    /// A wrong argument.
    pub fn argument(place: usize, text: impl Into<Vec<u8>>) -> Self {
        Self::Argument(i32::try_from(place).unwrap_or(i32::MAX), text.into())
    }

    /// What a function answers to have it raised.
    pub(super) fn into_values(self, lua: &Lua) -> mlua::Result<MultiValue> {
        let (kind, mut text) = match self {
            Self::Argument(place, text) => (i64::from(place), text),
            Self::Text(text) => (0, text),
            Self::Plain(text) => (RAISE_PLAIN, text),
            Self::Redis(text) => (RAISE_REDIS, text),
        };
        // It is read as C does.
        if let Some(end) = memchr::memchr(0, &text) {
            text.truncate(end);
        }
        let text = Value::String(lua.create_string(&text)?);
        Ok(MultiValue::from_vec(vec![Value::Integer(kind), text]))
    }
}

impl From<mlua::Error> for Raise {
    fn from(error: mlua::Error) -> Self {
        let text = error.to_string();
        Self::text(text.lines().next().unwrap_or_default())
    }
}

thread_local! {
    static PANIC: RefCell<Option<Box<dyn Any + Send>>> = const { RefCell::new(None) };
}

/// Keeps a panic until Lua has returned. Answers with the text of the error that ends the script.
pub(super) fn keep(panic: Box<dyn Any + Send>) -> &'static str {
    PANIC.with_borrow_mut(|kept| *kept = Some(panic));
    "ERR The server has failed"
}

/// Goes on with a panic that was kept.
pub(super) fn resume() {
    if let Some(panic) = PANIC.with_borrow_mut(Option::take) {
        std::panic::resume_unwind(panic);
    }
}

/// Pushes an error of the host's, and shows it where a script is debugged.
pub(super) unsafe fn push_error(state: *mut lua_State, text: &[u8], counted: bool) {
    if debug::is_on() {
        debug::note_error(text);
    }
    // SAFETY: as in `make_error`.
    unsafe { make_error(state, text, counted) }
}

/// Pushes an error: a table with the text, without line ends around it. One whose text is without a blank has no code
/// word, and gets one. `counted` says that it has been counted.
pub(super) unsafe fn make_error(state: *mut lua_State, text: &[u8], counted: bool) {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let is_coded = memchr::memchr(b' ', text).is_some();
    // SAFETY: what is pushed has room: those who call have asked for it, or have a call's twenty values. An error that is
    // raised for want of memory passes over frames without destructors.
    unsafe {
        ffi::lua_createtable(state, 0, 2);
        let message = trim_line_ends(text);
        if is_coded {
            ffi::lua_pushlstring_(state, message.as_ptr().cast(), message.len());
        } else {
            ffi::lua_pushlstring_(state, c"ERR ".as_ptr(), 4);
            ffi::lua_pushlstring_(state, message.as_ptr().cast(), message.len());
            ffi::lua_concat(state, 2);
        }
        ffi::lua_setfield(state, -2, c"err".as_ptr());
        if counted {
            ffi::lua_pushboolean(state, 1);
            ffi::lua_setfield(state, -2, c"ignore_error_stats_update".as_ptr());
        }
    }
}

/// `pcall(function, …)`: as Lua's, but an error of Redis's is given as its text, as before Redis 7.
pub(super) unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: as the rules of the module want; there is room for one value more.
    unsafe {
        ffi::luaL_checkany(state, 1);
        let arguments = ffi::lua_gettop(state) - 1;
        ffi::lua_pushboolean(state, 1);
        ffi::lua_insert(state, 1);
        if ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0) != ffi::LUA_OK {
            ffi::lua_remove(state, 1);
            if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
                ffi::lua_getfield_(state, -1, c"err".as_ptr());
                if ffi::lua_isstring(state, -1) != 0 {
                    ffi::lua_replace(state, -2);
                }
            }
            ffi::lua_pushboolean(state, 0);
            ffi::lua_insert(state, 1);
        }
        ffi::lua_gettop(state)
    }
}

/// Makes the function at 1 one that raises what it answers with: see [`Raise`].
pub(super) unsafe extern "C-unwind" fn make_raising(state: *mut lua_State) -> c_int {
    // SAFETY: the function lies on the stack.
    unsafe {
        ffi::lua_settop(state, 1);
        ffi::lua_pushcclosure(state, raising, 1);
    }
    1
}

unsafe extern "C-unwind" fn raising(state: *mut lua_State) -> c_int {
    // SAFETY: as the rules of the module want. The function that is called has been made by `Functions::function`: it
    // answers with a value that says how it went, and is the first.
    unsafe {
        let arguments = ffi::lua_gettop(state);
        ffi::luaL_checkstack(state, 2, c"too many arguments".as_ptr());
        ffi::lua_pushvalue(state, ffi::lua_upvalueindex(1));
        ffi::lua_insert(state, 1);
        ffi::lua_call(state, arguments, ffi::LUA_MULTRET);
        if ffi::lua_type(state, 1) == ffi::LUA_TBOOLEAN {
            return ffi::lua_gettop(state) - 1;
        }
        let kind = ffi::lua_tonumber(state, 1) as i64;
        let text = ffi::lua_tolstring(state, 2, std::ptr::null_mut());
        match c_int::try_from(kind) {
            Ok(place) if place > 0 => ffi::luaL_argerror(state, place, text),
            Ok(0) => ffi::luaL_error(state, c"%s".as_ptr(), text),
            _ if kind == RAISE_PLAIN => {
                ffi::lua_settop(state, 2);
                ffi::lua_error(state)
            }
            _ => {
                push_error(state, CStr::from_ptr(text).to_bytes(), false);
                ffi::lua_error(state)
            }
        }
    }
}

/// Gives an error the place in the script where it was raised; one that is no table becomes one.
pub(super) unsafe extern "C-unwind" fn handler(state: *mut lua_State) -> c_int {
    // SAFETY: the error lies at 1. As Redis's, it writes to the table that a script may have made: what is called by that
    // may raise errors, which end the handling.
    unsafe {
        ffi::lua_settop(state, 1);
        let mut about = MaybeUninit::<ffi::lua_Debug>::zeroed();
        let about = about.as_mut_ptr();
        let mut found = ffi::lua_getstack(state, 1, about) != 0;
        if found {
            ffi::lua_getinfo(state, c"Sl".as_ptr(), about);
            if CStr::from_ptr((*about).what) == c"C" {
                // A function of the host's: where it was called.
                found = ffi::lua_getstack(state, 2, about) != 0;
                if found {
                    ffi::lua_getinfo(state, c"Sl".as_ptr(), about);
                }
            }
        }
        if ffi::lua_type(state, 1) != ffi::LUA_TTABLE {
            ffi::lua_createtable(state, 0, 3);
            ffi::lua_pushlstring_(state, c"ERR ".as_ptr(), 4);
            push_as_text(state);
            ffi::lua_concat(state, 2);
            ffi::lua_setfield(state, -2, c"err".as_ptr());
            ffi::lua_replace(state, 1);
        }
        if found {
            ffi::lua_pushstring_(state, (*about).source);
            ffi::lua_setfield(state, 1, c"source".as_ptr());
            ffi::lua_pushnumber(state, f64::from((*about).currentline));
            ffi::lua_setfield(state, 1, c"line".as_ptr());
        }
        1
    }
}

/// Pushes the text of the value at 1, which is no table, as `tostring` has it.
unsafe fn push_as_text(state: *mut lua_State) {
    // SAFETY: the value lies at 1; a call has room for what is pushed.
    unsafe {
        match ffi::lua_type(state, 1) {
            ffi::LUA_TSTRING | ffi::LUA_TNUMBER => {
                ffi::lua_pushvalue(state, 1);
                ffi::lua_tolstring(state, -1, std::ptr::null_mut());
            }
            ffi::LUA_TBOOLEAN => {
                let text = if ffi::lua_toboolean(state, 1) != 0 { c"true" } else { c"false" };
                ffi::lua_pushstring_(state, text.as_ptr());
            }
            ffi::LUA_TNIL => ffi::lua_pushstring_(state, c"nil".as_ptr()),
            _ => {
                let kind = ffi::luaL_typename(state, 1);
                let place = ffi::lua_topointer(state, 1);
                ffi::lua_pushfstring(state, c"%s: %p".as_ptr(), kind, place);
            }
        }
    }
}

/// The text of a string or number on the stack.
pub(super) unsafe fn text_at<'a>(state: *mut lua_State, index: c_int) -> Option<&'a [u8]> {
    // SAFETY: the value stays on the stack for as long as the text is used; those who call see to it.
    unsafe {
        if ffi::lua_isstring(state, index) == 0 {
            return None;
        }
        let mut length = 0;
        let text = ffi::lua_tolstring(state, index, &raw mut length);
        Some(slice::from_raw_parts(text.cast(), length))
    }
}

/// Answers the client with the error on top of the stack, which has ended the script.
pub(super) unsafe fn report(state: *mut lua_State, run: *mut Run<'static>) {
    // SAFETY: the run is this function's, for its pointer was taken away. The texts lie on the stack until the answer is
    // written. Reading fields of a table of a script's may call what the script has made, and raise errors: no frame has
    // destructors then, and whoever has called Lua answers instead.
    unsafe {
        let run = &mut *run;
        if ffi::lua_type(state, -1) != ffi::LUA_TTABLE {
            run.report_unusual(text_at(state, -1).unwrap_or(b"execution failure"));
            return;
        }
        let error = ffi::lua_gettop(state);
        for name in [c"err", c"source", c"line", c"ignore_error_stats_update"] {
            ffi::lua_getfield_(state, error, name.as_ptr());
        }
        let counted =
            ffi::lua_type(state, -1) == ffi::LUA_TBOOLEAN && ffi::lua_toboolean(state, -1) != 0;
        let text = text_at(state, error + 1).unwrap_or(b"ERR unknown error");
        let place = text_at(state, error + 2).zip(text_at(state, error + 3));
        run.report(text, place, counted);
    }
}

/// Keeps the error on top of the stack, for which a library could not be loaded.
pub(super) unsafe fn report_load(state: *mut lua_State, run: *mut Run<'static>) {
    // SAFETY: as in `report`.
    unsafe {
        let run = &mut *run;
        if let Some(text) = text_at(state, -1) {
            run.load_fault = Some([b"ERR ", text].concat());
            return;
        }
        let fault = &mut run.load_fault;
        *fault = Some(b"ERR unknown error".to_vec());
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushstring_(state, c"err".as_ptr());
            ffi::lua_rawget_(state, -2);
            if let Some(text) = text_at(state, -1) {
                *fault = Some(text.to_vec());
            }
        }
    }
}
