//! What a command answers, as values of Lua.

use std::ffi::{CStr, c_int};

use mlua::ffi::{self, lua_State};
use redstart_common::number;
use redstart_common::resp::{Reader, Value};

use super::{debug, errors};

/// Values of Lua's stack that one level of a reply takes at most.
const LEVEL_SLOTS: c_int = 6;

/// Pushes a reply of the engine's.
pub(super) unsafe fn push(state: *mut lua_State, reply: &[u8]) {
    let mut reader = Reader::new(reply);
    // SAFETY: no frame from here on has destructors.
    unsafe { push_value(state, &mut reader) }
}

unsafe fn set_field(state: *mut lua_State, name: &CStr) {
    // SAFETY: the value lies on the stack, and a new table behind it.
    unsafe { ffi::lua_setfield(state, -2, name.as_ptr()) }
}

unsafe fn push_text(state: *mut lua_State, text: &[u8]) {
    // SAFETY: there is room for it, and the text is copied.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) }
}

/// Pushes one value. It goes as deep as replies of commands do, which is a few levels.
unsafe fn push_value(state: *mut lua_State, reader: &mut Reader<'_>) {
    // SAFETY: what is pushed has room, which is asked for first; what allocates may raise an error over frames without
    // destructors. Tables that are written to are new, so that nothing of a script's is called.
    unsafe {
        if ffi::lua_checkstack(state, LEVEL_SLOTS) == 0 {
            errors::push_error(state, b"ERR reached lua stack limit", false);
            ffi::lua_error(state);
        }
        let is_typed_null = reader.rest().first() == Some(&b'_');
        match reader.read() {
            Some(Value::Integer(number)) => ffi::lua_pushnumber(state, number as f64),
            Some(Value::Bulk(text)) => push_text(state, text),
            Some(Value::Simple(text)) => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, text);
                set_field(state, c"ok");
            }
            Some(Value::Error(text)) => {
                if debug::is_on() {
                    debug::note_replied_error(text);
                }
                errors::make_error(state, text, true);
            }
            Some(Value::Null) if is_typed_null => ffi::lua_pushnil(state),
            Some(Value::Null) | None => ffi::lua_pushboolean(state, 0),
            Some(Value::Array(count) | Value::Push(count)) => push_array(state, reader, count),
            Some(Value::Map(pairs)) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_createtable(state, 0, c_int::try_from(pairs).unwrap_or(0));
                for _ in 0..pairs {
                    push_value(state, reader);
                    push_value(state, reader);
                    ffi::lua_settable(state, -3);
                }
                set_field(state, c"map");
            }
            Some(Value::Set(count)) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_createtable(state, 0, c_int::try_from(count).unwrap_or(0));
                for _ in 0..count {
                    push_value(state, reader);
                    ffi::lua_pushboolean(state, 1);
                    ffi::lua_settable(state, -3);
                }
                set_field(state, c"set");
            }
            Some(Value::Boolean(truth)) => ffi::lua_pushboolean(state, c_int::from(truth)),
            Some(Value::Double(text)) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_pushnumber(state, number::parse_f64(text).unwrap_or(f64::NAN));
                set_field(state, c"double");
            }
            Some(Value::BigNumber(digits)) => {
                ffi::lua_createtable(state, 0, 1);
                push_text(state, digits);
                set_field(state, c"big_number");
            }
            Some(Value::Verbatim(format, text)) => {
                ffi::lua_createtable(state, 0, 1);
                ffi::lua_createtable(state, 0, 2);
                push_text(state, text);
                set_field(state, c"string");
                push_text(state, &format);
                set_field(state, c"format");
                set_field(state, c"verbatim_string");
            }
            // What describes a value is not shown to scripts.
            Some(Value::Attribute(pairs)) => {
                for _ in 0..pairs * 2 {
                    reader.take_raw();
                }
                push_value(state, reader);
            }
        }
    }
}

unsafe fn push_array(state: *mut lua_State, reader: &mut Reader<'_>, count: usize) {
    // SAFETY: as in `push_value`.
    unsafe {
        ffi::lua_createtable(state, c_int::try_from(count).unwrap_or(0), 0);
        for place in 1..=count {
            push_value(state, reader);
            ffi::lua_rawseti(state, -2, place as ffi::lua_Integer);
        }
    }
}
