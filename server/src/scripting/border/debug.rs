//! The debugger's hold on Lua: it is called as a script goes from line to line, and shows what lies on Lua's stack.
//!
//! A [session](crate::scripting::session) decides when a script stops and hears what its client wants; here is done of it what
//! needs Lua. While the client's own code or commands run, the run is not borrowed, so that they reach it as the script does.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use mlua::ffi::{self, lua_Debug, lua_State};

use super::{HOOK_INSTRUCTIONS, RUN, errors, with_run};
use crate::scripting::session::{Session, Silence, Stop, Wish, human};
use crate::text::quote;

/// The name of a script's code.
const SCRIPT: &CStr = c"user_script";
/// Tables within tables that are shown.
const DEPTH_MAX: c_int = 10;
/// Words of a command that are shown.
const WORDS_SHOWN: usize = 10;

/// Has a script go from line to line under the eyes of its session.
pub(super) unsafe fn set_hook(state: *mut lua_State) {
    let events = ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT;
    // SAFETY: sets a hook that keeps to the rules of the module; it raises no error.
    unsafe { ffi::lua_sethook(state, Some(hook), events, HOOK_INSTRUCTIONS) };
}

fn with_session<R>(body: impl FnOnce(&mut Session) -> R) -> Option<R> {
    with_run(|run| run.core.scripting.session.as_mut().map(body)).flatten()
}

unsafe extern "C-unwind" fn hook(state: *mut lua_State, about: *mut lua_Debug) {
    // SAFETY: a hook is given a place for what is known of where it is called, and may raise errors; that is done over
    // frames without destructors, for what has them has returned.
    unsafe {
        let ending = match catch_unwind(AssertUnwindSafe(|| arrive(state, about))) {
            Ok(ending) => ending,
            Err(panic) => Some(errors::keep(panic)),
        };
        if let Some(text) = ending {
            errors::push_error(state, text.as_bytes(), false);
            ffi::lua_error(state);
        }
    }
}

/// The script arrives at a line, or has run on for a while. Answers with the error that ends it, if it is to end.
unsafe fn arrive(state: *mut lua_State, about: *mut lua_Debug) -> Option<&'static str> {
    // SAFETY: asks for the function that runs, which there is in a hook.
    let (is_script, line, has_run_on) = unsafe {
        ffi::lua_getstack(state, 0, about);
        ffi::lua_getinfo(state, c"Sl".as_ptr(), about);
        let source = CStr::from_ptr((*about).short_src.as_ptr());
        let has_run_on = (*about).event == ffi::LUA_HOOKCOUNT;
        (source == SCRIPT, i64::from((*about).currentline), has_run_on)
    };
    if !is_script {
        return None;
    }
    let stop = with_run(|run| run.arrives(line, has_run_on)).flatten()?;
    with_session(|session| session.tell_stop(stop));
    let ending = loop {
        match with_session(Session::listen)? {
            Err(Silence::Gone) if stop == Stop::Long => {
                break Some("ERR timeout during Lua debugging with client closing connection");
            }
            Err(Silence::Fault(text)) => break Some(text),
            Ok(Wish::Abort) => break Some("ERR script aborted for user request"),
            Ok(Wish::GoOn) | Err(Silence::Gone) => break None,
            // SAFETY: what is called keeps to the rules of the module.
            Ok(wish) => unsafe {
                match wish {
                    Wish::Print(Some(name)) => print(state, &name),
                    Wish::Print(None) => print_all(state),
                    Wish::Eval(code) => eval(state, &code),
                    Wish::Redis(words) => redis(state, &words),
                    _ => trace(state),
                }
            },
        }
        with_session(Session::send);
    };
    with_run(|run| run.restart_clock());
    ending
}

/// The level of the stack as Lua describes it, with what `what` asks for; nothing where there is none.
unsafe fn level(state: *mut lua_State, number: c_int, what: &CStr) -> Option<lua_Debug> {
    let mut about = MaybeUninit::<lua_Debug>::zeroed();
    // SAFETY: all of it may be zero. Lua fills in what it is asked for, if there is such a level.
    unsafe {
        if ffi::lua_getstack(state, number, about.as_mut_ptr()) == 0 {
            return None;
        }
        ffi::lua_getinfo(state, what.as_ptr(), about.as_mut_ptr());
        Some(about.assume_init())
    }
}

/// Tells how the script came here.
unsafe fn trace(state: *mut lua_State) {
    let mut number = 0;
    // SAFETY: the texts are Lua's, and are used at once.
    while let Some(about) = unsafe { level(state, number, c"Snl") } {
        // SAFETY: as above.
        unsafe {
            if CStr::from_ptr(about.short_src.as_ptr()) == SCRIPT {
                let name =
                    if about.name.is_null() { c"top level" } else { CStr::from_ptr(about.name) };
                let preposition = if number == 0 { "In" } else { "From" };
                with_session(|session| {
                    session.tell([preposition.as_bytes(), b" ", name.to_bytes(), b":"].concat());
                    session.tell_line(i64::from(about.currentline));
                });
            }
        }
        number += 1;
    }
    if number == 0 {
        with_session(|session| session.tell("<error> Can't retrieve Lua stack."));
    }
}

/// Calls `body` with the name of each local variable of a level, whose value lies on top of the stack meanwhile, until that
/// answers that it has seen enough. Answers whether it has.
unsafe fn locals(
    state: *mut lua_State,
    number: c_int,
    mut body: impl FnMut(&CStr) -> bool,
) -> bool {
    // SAFETY: a hook has room for a value more. The name is Lua's, and is used while its function runs.
    unsafe {
        let Some(about) = level(state, number, c"l") else { return false };
        for place in 1.. {
            let name = ffi::lua_getlocal(state, &raw const about, place);
            if name.is_null() {
                break;
            }
            let is_enough = body(CStr::from_ptr(name));
            ffi::lua_settop(state, -2);
            if is_enough {
                return true;
            }
        }
        false
    }
}

/// Tells a variable's value: the nearest local one of that name, or KEYS or ARGV.
unsafe fn print(state: *mut lua_State, name: &[u8]) {
    // SAFETY: values are looked at where they lie, and taken away again. The globals are read past their metatable, so that
    // nothing is called, and the name is one that Lua has already, so that nothing is made.
    unsafe {
        let mut number = 0;
        while level(state, number, c"l").is_some() {
            let found = locals(state, number, |local| {
                let is_it = local.to_bytes() == name;
                if is_it {
                    tell_top(state, b"<value> ");
                }
                is_it
            });
            if found {
                return;
            }
            number += 1;
        }
        let global = match name {
            b"KEYS" => c"KEYS",
            b"ARGV" => c"ARGV",
            _ => {
                with_session(|session| session.tell("No such variable."));
                return;
            }
        };
        ffi::lua_pushstring_(state, global.as_ptr());
        ffi::lua_rawget_(state, ffi::LUA_GLOBALSINDEX);
        tell_top(state, b"<value> ");
        ffi::lua_settop(state, -2);
    }
}

/// Tells all variables of the function that runs.
unsafe fn print_all(state: *mut lua_State) {
    let mut count = 0;
    // SAFETY: the values are looked at where they lie.
    unsafe {
        locals(state, 0, |local| {
            if local != c"(*temporary)" {
                tell_top(state, &[b"<value> ", local.to_bytes(), b" = "].concat());
                count += 1;
            }
            false
        });
    }
    if count == 0 {
        with_session(|session| session.tell("No local variables in the current context."));
    }
}

/// Runs code of the client's: an expression, whose value is told, or statements.
unsafe fn eval(state: *mut lua_State, code: &[u8]) {
    let expression = [b"return ", code].concat();
    let load = |code: &[u8]| {
        // SAFETY: the code is compiled in protected mode: an error is a value on the stack.
        unsafe {
            ffi::luaL_loadbuffer(state, code.as_ptr().cast(), code.len(), c"@ldb_eval".as_ptr())
        }
    };
    // SAFETY: what is called, is called in protected mode. A hook has room for a few values, and each is taken away again.
    unsafe {
        let top = ffi::lua_gettop(state);
        let mut status = load(&expression);
        if status != ffi::LUA_OK {
            ffi::lua_settop(state, top);
            status = load(code);
        }
        if status == ffi::LUA_OK {
            status = ffi::lua_pcall(state, 0, 1, 0);
        }
        if status == ffi::LUA_OK {
            tell_top(state, b"<retval> ");
        } else {
            let text = error_text(state);
            with_session(|session| session.tell([b"<error> ", &*text].concat()));
        }
        ffi::lua_settop(state, top);
    }
}

/// The text of the error on top of the stack: of one of Redis's, what it says.
unsafe fn error_text(state: *mut lua_State) -> Vec<u8> {
    // SAFETY: the error lies there; its table is read past what a script may have made. There is room for two values.
    unsafe {
        if ffi::lua_type(state, -1) == ffi::LUA_TTABLE {
            ffi::lua_pushstring_(state, c"err".as_ptr());
            ffi::lua_rawget_(state, -2);
        }
        match errors::text_at(state, -1) {
            Some(text) => text.to_vec(),
            None => b"the error is no text".to_vec(),
        }
    }
}

/// Runs a command as the script would, and shows its reply.
unsafe fn redis(state: *mut lua_State, words: &[Vec<u8>]) {
    with_session(|session| session.show_commands(true));
    // SAFETY: room is asked for. The table `redis` is the host's own and is read past metatables; what is called, is called in
    // protected mode.
    unsafe {
        let top = ffi::lua_gettop(state);
        let count = c_int::try_from(words.len()).unwrap_or(c_int::MAX);
        if ffi::lua_checkstack(state, count.saturating_add(3)) == 0 {
            with_session(|session| session.tell("<error> max lua stack reached"));
        } else {
            ffi::lua_pushstring_(state, c"redis".as_ptr());
            ffi::lua_rawget_(state, ffi::LUA_GLOBALSINDEX);
            ffi::lua_pushstring_(state, c"call".as_ptr());
            ffi::lua_rawget_(state, -2);
            for word in words {
                ffi::lua_pushlstring_(state, word.as_ptr().cast(), word.len());
            }
            ffi::lua_pcall(state, count, 1, 0);
        }
        ffi::lua_settop(state, top);
    }
    with_session(|session| session.show_commands(false));
}

/// `redis.debug(value, …)`: tells the values in a session.
pub(super) unsafe extern "C-unwind" fn debug(state: *mut lua_State) -> c_int {
    // SAFETY: the values lie on the stack from 1 on, and stay there.
    unsafe {
        let Some(line) = with_session(|session| session.line()) else { return 0 };
        let mut text = format!("<debug> line {line}: ").into_bytes();
        for place in 1..=ffi::lua_gettop(state) {
            if place > 1 {
                text.extend_from_slice(b", ");
            }
            value(state, place, 0, &mut text);
        }
        with_session(|session| session.tell(text));
    }
    0
}

/// Tells the value on top of the stack, with `before` before it.
unsafe fn tell_top(state: *mut lua_State, before: &[u8]) {
    let mut text = before.to_vec();
    // SAFETY: the value lies there.
    unsafe { value(state, ffi::lua_gettop(state), 0, &mut text) };
    with_session(|session| session.tell_trimmed(text));
}

/// Adds a value as people read it. `place` counts from the bottom.
unsafe fn value(state: *mut lua_State, place: c_int, depth: c_int, out: &mut Vec<u8>) {
    if depth == DEPTH_MAX {
        out.extend_from_slice(b"<max recursion level reached! Nested table?>");
        return;
    }
    // SAFETY: the value lies there, and nothing in here raises errors: a string is read where it lies, and `lua_next` is given
    // keys of the table's own.
    unsafe {
        match ffi::lua_type(state, place) {
            ffi::LUA_TSTRING => {
                let mut length = 0;
                let text = ffi::lua_tolstring(state, place, &raw mut length);
                quote(slice::from_raw_parts(text.cast(), length), out);
            }
            ffi::LUA_TBOOLEAN => {
                let truth = ffi::lua_toboolean(state, place) != 0;
                out.extend_from_slice(if truth { b"true" } else { b"false" });
            }
            ffi::LUA_TNUMBER => number(ffi::lua_tonumber(state, place), out),
            ffi::LUA_TNIL => out.extend_from_slice(b"nil"),
            ffi::LUA_TTABLE => table(state, place, depth, out),
            kind => {
                let name = match kind {
                    ffi::LUA_TFUNCTION => "function",
                    ffi::LUA_TUSERDATA => "userdata",
                    ffi::LUA_TTHREAD => "thread",
                    _ => "light-userdata",
                };
                let address = ffi::lua_topointer(state, place);
                out.extend_from_slice(format!("\"{name}@{address:p}\"").as_bytes());
            }
        }
    }
}

/// Adds a table: as a list where its keys are 1, 2 and so on in that order, with its keys otherwise.
unsafe fn table(state: *mut lua_State, place: c_int, depth: c_int, out: &mut Vec<u8>) {
    let (mut list, mut map) = (Vec::new(), Vec::new());
    let (mut is_list, mut next) = (true, 1.0);
    // SAFETY: as in `value`; room for what is pushed is asked for.
    unsafe {
        if ffi::lua_checkstack(state, 3) == 0 {
            out.extend_from_slice(b"{...}");
            return;
        }
        let top = ffi::lua_gettop(state);
        ffi::lua_pushnil(state);
        while ffi::lua_next(state, place) != 0 {
            let (key, element) = (top + 1, top + 2);
            is_list &= ffi::lua_type(state, key) == ffi::LUA_TNUMBER
                && ffi::lua_tonumber(state, key).total_cmp(&next).is_eq();
            next += 1.0;
            let mut text = Vec::new();
            value(state, element, depth + 1, &mut text);
            if !list.is_empty() {
                list.extend_from_slice(b"; ");
                map.extend_from_slice(b"; ");
            }
            list.extend_from_slice(&text);
            map.push(b'[');
            value(state, key, depth + 1, &mut map);
            map.extend_from_slice(b"]=");
            map.extend_from_slice(&text);
            ffi::lua_settop(state, key);
        }
    }
    out.push(b'{');
    out.extend_from_slice(if is_list { &list } else { &map });
    out.push(b'}');
}

/// Adds a number as `%g` prints it.
fn number(number: f64, out: &mut Vec<u8>) {
    let mut room = [0_u8; 32];
    // SAFETY: the C library writes no more than there is room for, its end included.
    let length =
        unsafe { libc::snprintf(room.as_mut_ptr().cast(), room.len(), c"%g".as_ptr(), number) };
    let length = usize::try_from(length).unwrap_or(0);
    out.extend_from_slice(room.get(..length).unwrap_or_default());
}

/// Shows an error of the host's, where commands are shown. As in Redis, the commonest code word is left out, and what has
/// another looks as it does in a reply.
pub(super) fn note_error(text: &[u8]) {
    match text.strip_prefix(b"ERR ") {
        Some(words) => note(|session| session.tell([b"<error> ", words].concat())),
        None => note_replied_error(text),
    }
}

/// Shows an error as a reply has it, where commands are shown.
pub fn note_replied_error(text: &[u8]) {
    note(|session| session.tell([b"<error> -", text].concat()));
}

/// Shows a reply, where commands are shown.
pub(super) fn note_reply(reply: &[u8]) {
    note(|session| {
        let mut text = b"<reply> ".to_vec();
        human(reply, &mut text);
        session.tell_trimmed(text);
    });
}

/// Shows the command whose words have been gathered, where commands are shown.
pub(super) fn note_command(run: &mut crate::scripting::run::Run<'_>) {
    let words = run.words.as_args();
    let Some(session) = run.core.scripting.session.as_mut().filter(|it| it.shows_commands()) else {
        return;
    };
    let mut text = b"<redis>".to_vec();
    for (place, word) in words.iter().enumerate() {
        if place == WORDS_SHOWN {
            text.extend_from_slice(format!(" ... ({} more)", words.len() - place - 1).as_bytes());
            break;
        }
        text.push(b' ');
        text.extend_from_slice(word);
    }
    session.tell(text);
}

fn note(body: impl FnOnce(&mut Session)) {
    with_session(|session| {
        if session.shows_commands() {
            body(session);
        }
    });
}

/// Whether there is a session: all that a call costs where there is none.
pub(super) fn is_on() -> bool {
    let run = RUN.get();
    // SAFETY: as in `with_run`: whoever has the run has taken the pointer away.
    !run.is_null() && unsafe { (*run).core.scripting.session.is_some() }
}
