//! What a script returns, as a reply to its client.

use std::ffi::{CStr, c_int};
use std::slice;

use mlua::ffi::{self, lua_State};

use crate::scripting::run::{Level, Run};

/// Values of Lua's stack that one level of a result takes at most.
const LEVEL_SLOTS: c_int = 4;

/// What became of a value.
enum Step {
    /// It is written, and gone from the stack.
    Written,
    /// It is a table whose parts follow.
    Opened(Level),
}

/// Writes the value on top of the stack to the client, and takes it off. Tables within tables need no stack but Lua's.
pub(super) unsafe fn convert(state: *mut lua_State, run: *mut Run<'static>) {
    // SAFETY: the run is this function's, for its pointer was taken away. Tables are read without calling what a script
    // has made. An error for want of memory passes over frames without destructors: the levels are the run's.
    unsafe {
        let run = &mut *run;
        run.levels.clear();
        loop {
            if let Step::Opened(level) = step(state, run) {
                run.levels.push(level);
            }
            if !go_on(state, run) {
                return;
            }
        }
    }
}

/// Puts the next value that is to be written on top of the stack. Answers whether there is one.
unsafe fn go_on(state: *mut lua_State, run: &mut Run<'static>) -> bool {
    // SAFETY: each level has its table on the stack, and behind it what its kind says.
    unsafe {
        while let Some(level) = run.levels.last_mut() {
            match level {
                Level::Array(place) => {
                    *place += 1;
                    ffi::lua_rawgeti_(state, -1, *place);
                    if ffi::lua_type(state, -1) != ffi::LUA_TNIL {
                        return true;
                    }
                    ffi::lua_pop(state, 2);
                }
                // The key was written; its value lies behind its copy.
                Level::Value => {
                    *level = Level::Key;
                    return true;
                }
                Level::Key => {
                    if ffi::lua_next(state, -2) != 0 {
                        *level = Level::Value;
                        ffi::lua_pushvalue(state, -2);
                        return true;
                    }
                    // The map, and the table that it is a field of.
                    ffi::lua_pop(state, 2);
                }
                Level::Member => {
                    if ffi::lua_next(state, -2) != 0 {
                        ffi::lua_pop(state, 1);
                        ffi::lua_pushvalue(state, -1);
                        return true;
                    }
                    ffi::lua_pop(state, 2);
                }
            }
            run.levels.pop();
        }
        false
    }
}

/// Writes the value on top of the stack, or the head of what it is.
unsafe fn step(state: *mut lua_State, run: &mut Run<'static>) -> Step {
    // SAFETY: as in `convert`; there is room for what is pushed.
    unsafe {
        if ffi::lua_checkstack(state, LEVEL_SLOTS) == 0 {
            run.reply_error(b"ERR reached lua stack limit", false);
            ffi::lua_pop(state, 1);
            return Step::Written;
        }
        match ffi::lua_type(state, -1) {
            ffi::LUA_TSTRING => run.own.bulk(text(state)),
            ffi::LUA_TBOOLEAN => run.reply_boolean(ffi::lua_toboolean(state, -1) != 0),
            ffi::LUA_TNUMBER => run.own.integer(whole(ffi::lua_tonumber(state, -1))),
            ffi::LUA_TTABLE => return step_table(state, run),
            _ => run.own.null(),
        }
        ffi::lua_pop(state, 1);
        Step::Written
    }
}

/// A number as C makes an integer of it on x86: those that are none are the least.
fn whole(number: f64) -> i64 {
    const MOST: f64 = 9_223_372_036_854_775_808.0;
    if (-MOST..MOST).contains(&number) { number as i64 } else { i64::MIN }
}

/// The string on top of the stack.
unsafe fn text<'a>(state: *mut lua_State) -> &'a [u8] {
    // SAFETY: it stays there until it is written; those who call see to it.
    unsafe {
        let mut length = 0;
        let text = ffi::lua_tolstring(state, -1, &raw mut length);
        slice::from_raw_parts(text.cast(), length)
    }
}

/// Pushes a field of the table on top of the stack, if it is of this kind. Answers whether it is.
unsafe fn has(state: *mut lua_State, name: &CStr, kind: c_int) -> bool {
    // SAFETY: there is room for it; the table is read without calling anything.
    unsafe {
        ffi::lua_pushstring_(state, name.as_ptr());
        ffi::lua_rawget_(state, -2);
        let is = ffi::lua_type(state, -1) == kind;
        if !is {
            ffi::lua_pop(state, 1);
        }
        is
    }
}

unsafe fn step_table(state: *mut lua_State, run: &mut Run<'static>) -> Step {
    // SAFETY: as in `step`.
    unsafe {
        if has(state, c"err", ffi::LUA_TSTRING) {
            // That it was counted stands beside it.
            ffi::lua_pushstring_(state, c"ignore_error_stats_update".as_ptr());
            ffi::lua_rawget_(state, -3);
            let counted = ffi::lua_toboolean(state, -1) != 0;
            ffi::lua_pop(state, 1);
            run.reply_error(text(state), counted);
            ffi::lua_pop(state, 2);
            return Step::Written;
        }
        if has(state, c"ok", ffi::LUA_TSTRING) {
            run.reply_status(text(state));
            ffi::lua_pop(state, 2);
            return Step::Written;
        }
        if has(state, c"double", ffi::LUA_TNUMBER) {
            run.own.double(ffi::lua_tonumber(state, -1));
            ffi::lua_pop(state, 2);
            return Step::Written;
        }
        if has(state, c"big_number", ffi::LUA_TSTRING) {
            run.reply_big_number(text(state));
            ffi::lua_pop(state, 2);
            return Step::Written;
        }
        if has(state, c"verbatim_string", ffi::LUA_TTABLE) {
            if has(state, c"format", ffi::LUA_TSTRING) {
                let format = text(state);
                // Behind the format lies the table.
                ffi::lua_pushstring_(state, c"string".as_ptr());
                ffi::lua_rawget_(state, -3);
                if ffi::lua_type(state, -1) == ffi::LUA_TSTRING {
                    run.reply_verbatim(format, text(state));
                    ffi::lua_pop(state, 4);
                    return Step::Written;
                }
                ffi::lua_pop(state, 2);
            }
            ffi::lua_pop(state, 1);
        }
        if has(state, c"map", ffi::LUA_TTABLE) {
            run.own.map(count_pairs(state));
            ffi::lua_pushnil(state);
            return Step::Opened(Level::Key);
        }
        if has(state, c"set", ffi::LUA_TTABLE) {
            run.own.set(count_pairs(state));
            ffi::lua_pushnil(state);
            return Step::Opened(Level::Member);
        }
        run.own.array(count_elements(state));
        Step::Opened(Level::Array(0))
    }
}

/// How many pairs the table on top of the stack has.
unsafe fn count_pairs(state: *mut lua_State) -> usize {
    // SAFETY: there is room for a key and a value; nothing is changed meanwhile.
    unsafe {
        let mut count = 0;
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, -2) != 0 {
            ffi::lua_pop(state, 1);
            count += 1;
        }
        count
    }
}

/// How many elements the table on top of the stack has before the first that is nil.
unsafe fn count_elements(state: *mut lua_State) -> usize {
    // SAFETY: there is room for one value.
    unsafe {
        let mut count = 0;
        loop {
            ffi::lua_rawgeti_(state, -1, count + 1);
            let kind = ffi::lua_type(state, -1);
            ffi::lua_pop(state, 1);
            if kind == ffi::LUA_TNIL || count == c_int::MAX - 1 {
                return usize::try_from(count).unwrap_or(0);
            }
            count += 1;
        }
    }
}
