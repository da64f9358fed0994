//! Lua's stack, for what looks at or makes many values at once: each costs a few instructions there, where one that `mlua`
//! holds costs a hundred.
//!
//! What is done here keeps to the first rule of [`super::super::border`]: Lua raises an error (for want of memory) as a long
//! jump, from any of the functions that push or store something. So whoever is called by [`run`] keeps what has to be dropped
//! outside, and holds references to it.

use std::ffi::c_int;
use std::marker::PhantomData;

use mlua::ffi::{self, lua_State};
use mlua::{FromLuaMulti, IntoLuaMulti, Lua};

/// A value on the stack.
#[derive(Clone, Copy)]
pub(super) enum Seen<'s> {
    Nil,
    Boolean(bool),
    Number(f64),
    /// It is there for as long as it stays on the stack.
    Text(&'s [u8]),
    Table,
    /// `cjson.null`: a pointer to nothing.
    Null,
    /// Anything else, by the name of its type.
    Other(&'static str),
}

impl Seen<'_> {
    /// What Lua calls its type.
    pub(super) fn type_name(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Boolean(_) => "boolean",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::Table => "table",
            Self::Null => "userdata",
            Self::Other(name) => name,
        }
    }
}

/// The stack of a call. Values are counted from its top: -1 is the topmost.
pub(super) struct Stack<'s> {
    state: *mut lua_State,
    call: PhantomData<&'s ()>,
}

/// Calls `body` with a stack on which `args` lie, and answers with what it leaves there.
///
/// # Errors
/// Lua's: out of memory.
pub(super) fn run<R: FromLuaMulti>(
    lua: &Lua,
    args: impl IntoLuaMulti,
    body: impl FnOnce(&mut Stack<'_>),
) -> mlua::Result<R> {
    // SAFETY: the stack is the call's own, and `body` has it for no longer than the call; errors that pass over `body` find
    // nothing to drop there, as this module asks of those who give it one.
    unsafe { lua.exec_raw(args, |state| body(&mut Stack { state, call: PhantomData })) }
}

impl Stack<'_> {
    /// Makes room for `count` more values. Answers whether there is any.
    #[must_use]
    pub(super) fn reserve(&mut self, count: c_int) -> bool {
        // SAFETY: the state is that of the call at hand.
        unsafe { ffi::lua_checkstack(self.state, count) != 0 }
    }

    /// The value at a place. A text is that of the stack, which must not be changed while it is looked at.
    pub(super) fn see(&self, place: c_int) -> Seen<'_> {
        // SAFETY: the places that are asked for hold values; nothing here allocates or raises: only strings are asked for
        // their bytes, and numbers are not made strings.
        unsafe {
            match ffi::lua_type(self.state, place) {
                ffi::LUA_TNIL => Seen::Nil,
                ffi::LUA_TBOOLEAN => Seen::Boolean(ffi::lua_toboolean(self.state, place) != 0),
                ffi::LUA_TNUMBER => Seen::Number(ffi::lua_tonumber(self.state, place)),
                ffi::LUA_TSTRING => {
                    let mut length = 0;
                    let text = ffi::lua_tolstring(self.state, place, &mut length);
                    Seen::Text(std::slice::from_raw_parts(text.cast(), length))
                }
                ffi::LUA_TTABLE => Seen::Table,
                ffi::LUA_TLIGHTUSERDATA if ffi::lua_touserdata(self.state, place).is_null() => {
                    Seen::Null
                }
                ffi::LUA_TFUNCTION => Seen::Other("function"),
                ffi::LUA_TTHREAD => Seen::Other("thread"),
                _ => Seen::Other("userdata"),
            }
        }
    }

    /// Takes values off the top.
    pub(super) fn pop(&mut self, count: c_int) {
        // SAFETY: those who call have pushed as many.
        unsafe { ffi::lua_pop(self.state, count) }
    }

    /// Puts a copy of the value at a place on top.
    pub(super) fn push_copy(&mut self, place: c_int) {
        // SAFETY: as for `see`; there is room.
        unsafe { ffi::lua_pushvalue(self.state, place) }
    }

    pub(super) fn push_nil(&mut self) {
        // SAFETY: there is room, here and below: those who call have reserved it.
        unsafe { ffi::lua_pushnil(self.state) }
    }

    pub(super) fn push_boolean(&mut self, truth: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.state, c_int::from(truth)) }
    }

    pub(super) fn push_number(&mut self, number: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.state, number) }
    }

    /// Pushes `cjson.null`.
    pub(super) fn push_null(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushlightuserdata(self.state, std::ptr::null_mut()) }
    }

    pub(super) fn push_text(&mut self, text: &[u8]) {
        // SAFETY: as above; Lua copies the bytes.
        unsafe { ffi::lua_pushlstring_(self.state, text.as_ptr().cast(), text.len()) };
    }

    /// Pushes a table with room for so many elements and pairs.
    pub(super) fn push_table(&mut self, elements: c_int, pairs: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_createtable(self.state, elements, pairs) }
    }

    /// Pushes the element of a number of the table at a place.
    pub(super) fn push_element(&mut self, table: c_int, number: c_int) {
        debug_assert!(matches!(self.see(table), Seen::Table));
        // SAFETY: a table lies there, and there is room.
        unsafe {
            ffi::lua_rawgeti_(self.state, table, number);
        }
    }

    /// Takes the value on top, and makes it the element of a number of the table at a place.
    pub(super) fn set_element(&mut self, table: c_int, number: c_int) {
        debug_assert!(matches!(self.see(table), Seen::Table));
        // SAFETY: a table lies there, and a value on top.
        unsafe { ffi::lua_rawseti_(self.state, table, number) }
    }

    /// Takes the key and the value on top, and stores them in the table at a place. The key is neither nil nor NaN.
    pub(super) fn set_pair(&mut self, table: c_int) {
        debug_assert!(matches!(self.see(table), Seen::Table));
        // SAFETY: a table lies there, and two values on top, the first of which may be a key.
        unsafe { ffi::lua_rawset(self.state, table) }
    }

    /// Takes the key on top, and pushes the next pair of the table at a place, if there is one. A nil comes before the first.
    #[must_use]
    pub(super) fn next(&mut self, table: c_int) -> bool {
        debug_assert!(matches!(self.see(table), Seen::Table));
        // SAFETY: a table lies there, and on top a key that came from it, so that no error is raised.
        unsafe { ffi::lua_next(self.state, table) != 0 }
    }

    /// Moves the value on top below all others of the call.
    pub(super) fn sink(&mut self) {
        // SAFETY: a value lies there.
        unsafe { ffi::lua_insert(self.state, 1) }
    }

    /// Forgets all values of the call.
    pub(super) fn clear(&mut self) {
        // SAFETY: the stack is the call's own.
        unsafe { ffi::lua_settop(self.state, 0) }
    }
}
