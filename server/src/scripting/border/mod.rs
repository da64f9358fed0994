//! The border to Lua: what is called by Lua's own code, with nothing between them.
//!
//! `mlua` makes the interpreters and holds their values; what a script does a hundred thousand times, calling a command and
//! taking its reply, goes over Lua's stack directly, and so does what needs Lua's own errors, which are values and pass
//! over the frames of those who are called.
//!
//! Three rules keep that sound, and each function here keeps to them:
//!
//! 1. Lua's errors are long jumps. Where a function of Lua may raise one (it allocates, or calls what scripts have made), no
//!    value with a destructor lives in the frames between it and Lua's protected call.
//! 2. Nothing of Rust unwinds into Lua: what runs commands catches panics, which go on once Lua has returned.
//! 3. The run is reached through one pointer of the thread, which [`enter`] sets for as long as it borrows the run, and which
//!    whoever uses it takes away meanwhile, so that there is never a second way to it.

mod command;
mod debug;
mod errors;
mod reply;
mod result;

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use mlua::ffi::{self, lua_State};
use mlua::{Function, Lua, Table, Value};

use super::run::Run;

pub use self::debug::note_replied_error;
pub use self::errors::Raise;

/// Instructions between two looks at the clock.
const HOOK_INSTRUCTIONS: c_int = 100_000;

thread_local! {
    static RUN: Cell<*mut Run<'static>> = const { Cell::new(ptr::null_mut()) };
}

// One of Redstart's own additions to Lua: see server/lua/README.md.
unsafe extern "C-unwind" {
    fn lua_setreadonly(state: *mut lua_State, index: c_int, enabled: c_int) -> c_int;
}

/// Has functions of Lua that `body` calls reach `run`.
pub fn enter<R>(run: &mut Run<'_>, body: impl FnOnce() -> R) -> R {
    struct Back(*mut Run<'static>);
    impl Drop for Back {
        fn drop(&mut self) {
            RUN.set(self.0);
        }
    }
    let _back = Back(RUN.replace(ptr::from_mut(run).cast()));
    body()
}

/// Lends the run to `body`; nothing when none is entered, or somebody has it.
pub fn with_run<R>(body: impl FnOnce(&mut Run<'_>) -> R) -> Option<R> {
    struct Back(*mut Run<'static>);
    impl Drop for Back {
        fn drop(&mut self) {
            RUN.set(self.0);
        }
    }
    let run = RUN.replace(ptr::null_mut());
    if run.is_null() {
        return None;
    }
    let back = Back(run);
    // SAFETY: `enter` has put the pointer there and borrows the run until it has taken it away again, which it does before
    // it returns. Whoever has the run has taken the pointer away, so that this is the only way to it now. The lifetimes
    // that were forgotten are those of the caller of `enter`, and `body` takes any.
    let answer = body(unsafe { &mut *run });
    drop(back);
    Some(answer)
}

/// Has nothing stored in a table any more, or lets it be changed again. Answers whether it was read-only.
///
/// # Errors
/// Lua's: out of memory.
pub fn set_readonly(lua: &Lua, table: &Table, readonly: bool) -> mlua::Result<bool> {
    // SAFETY: the only argument lies on the stack and is a table; nothing in here raises an error.
    unsafe {
        lua.exec_raw(table, |state| {
            let before = lua_setreadonly(state, 1, c_int::from(readonly));
            ffi::lua_settop(state, 0);
            ffi::lua_pushboolean(state, before);
        })
    }
}

/// Has the clock looked at while Lua runs: see [`Run::interrupt`].
///
/// # Errors
/// Lua's: out of memory.
pub fn set_hook(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: sets a hook that keeps to the rules of this module; it raises no error.
    unsafe {
        lua.exec_raw((), |state| {
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
        })
    }
}

/// The functions that are called over Lua's stack.
#[derive(Clone)]
pub struct Functions {
    /// Runs a function as a script, with what [`enter`] has entered: its result or error becomes the client's reply.
    pub run: Function,
    /// `redis.call`
    pub call: Function,
    /// `redis.pcall`
    pub protected_call: Function,
    /// `pcall`, which gives the text of errors that are tables.
    pub pcall: Function,
    /// `redis.debug`
    pub debug: Function,
    /// Gives an error a source and a line.
    pub error_handler: Function,
    /// Makes a function raise an error when another that it calls answers with one: see [`Raise`].
    raising: Function,
}

impl Functions {
    /// The functions, for an interpreter.
    ///
    /// # Errors
    /// Lua's: out of memory.
    pub fn new(lua: &Lua) -> mlua::Result<Self> {
        // SAFETY: each of the functions keeps to the rules of this module.
        unsafe {
            Ok(Self {
                run: lua.create_c_function(run)?,
                call: lua.create_c_function(command::call)?,
                protected_call: lua.create_c_function(command::protected_call)?,
                pcall: lua.create_c_function(errors::pcall)?,
                debug: lua.create_c_function(debug::debug)?,
                error_handler: lua.create_c_function(errors::handler)?,
                raising: lua.create_c_function(errors::make_raising)?,
            })
        }
    }

    /// A function of Lua that does what `body` does, and raises the errors that it answers with.
    ///
    /// # Errors
    /// Lua's: out of memory.
    pub fn function(
        &self,
        lua: &Lua,
        body: impl Fn(&Lua, mlua::MultiValue) -> Result<mlua::MultiValue, Raise> + 'static,
    ) -> mlua::Result<Function> {
        let inner = lua.create_function(move |lua, arguments| {
            Ok(match body(lua, arguments) {
                Ok(mut values) => {
                    values.push_front(Value::Boolean(true));
                    values
                }
                Err(raise) => raise.into_values(lua)?,
            })
        })?;
        self.raising.call(inner)
    }
}

/// Runs the function at the bottom of the stack as a script; see [`Functions::run`]. Answers whether it has returned.
unsafe extern "C-unwind" fn run(state: *mut lua_State) -> c_int {
    // SAFETY: the stack holds the function alone, and a call has room for twenty values. What raises errors here (for want
    // of memory) passes over frames without destructors.
    unsafe {
        if debug::is_on() {
            debug::set_hook(state);
        } else {
            // The hook may have been set closer to end the script before, or to debug it.
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
        }
        ffi::lua_pushcclosure(state, errors::handler, 0);
        ffi::lua_insert(state, 1);
        let is_load = is_load();
        let arguments = if is_load { 0 } else { push_arguments(state) };
        let status = ffi::lua_pcall(state, arguments, 1, if is_load { 0 } else { 1 });
        // The error or the value lies behind the handler.
        let run = RUN.replace(ptr::null_mut());
        if !run.is_null() {
            if is_load {
                if status != ffi::LUA_OK {
                    errors::report_load(state, run);
                }
            } else if status == ffi::LUA_OK {
                result::convert(state, run);
            } else {
                errors::report(state, run);
            }
            RUN.set(run);
        }
        ffi::lua_settop(state, 0);
        0
    }
}

/// Whether what is entered is a library that registers its functions.
fn is_load() -> bool {
    with_run(|run| run.is_load()).unwrap_or(false)
}

/// Pushes the keys and arguments of the call: as the arguments of a function, or as globals. Answers how many were pushed.
unsafe fn push_arguments(state: *mut lua_State) -> c_int {
    // SAFETY: the run is entered, and what is read of it here are references to the request, which outlives the script.
    unsafe {
        let run = RUN.get();
        if run.is_null() {
            return 0;
        }
        let (keys, args, is_eval) = ((*run).keys(), (*run).arguments(), (*run).is_eval());
        if is_eval {
            lua_setreadonly(state, ffi::LUA_GLOBALSINDEX, 0);
        }
        for (list, name) in [(keys, c"KEYS"), (args, c"ARGV")] {
            ffi::lua_createtable(state, c_int::try_from(list.len()).unwrap_or(0), 0);
            let mut place = 0;
            for arg in list.iter() {
                place += 1;
                ffi::lua_pushlstring_(state, arg.as_ptr().cast(), arg.len());
                ffi::lua_rawseti(state, -2, place);
            }
            if is_eval {
                ffi::lua_setfield(state, ffi::LUA_GLOBALSINDEX, name.as_ptr());
            }
        }
        if is_eval {
            lua_setreadonly(state, ffi::LUA_GLOBALSINDEX, 1);
        }
        if is_eval { 0 } else { 2 }
    }
}

/// Looks at the clock every so many instructions: others may have to be served, or the script may have to end.
unsafe extern "C-unwind" fn hook(state: *mut lua_State, _event: *mut ffi::lua_Debug) {
    // The borrow ends before anything is raised.
    let ending = match std::panic::catch_unwind(|| with_run(|run| run.interrupt())) {
        Ok(ending) => ending.flatten(),
        Err(panic) => Some(errors::keep(panic)),
    };
    if let Some(text) = ending {
        // SAFETY: a hook may raise errors. From here on it is called at each line, so that a script cannot go on in spite
        // of it.
        unsafe {
            ffi::lua_sethook(state, Some(hook), ffi::LUA_MASKLINE, 0);
            errors::push_error(state, text.as_bytes(), false);
            ffi::lua_error(state);
        }
    }
}

/// Goes on with a panic that was caught on the way through Lua, if there was one.
pub fn resume_panic() {
    errors::resume();
}
