//! Interpreters with what scripts may have, and nothing else. Tables that all scripts share cannot be changed.

use mlua::{Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value};

use super::border::{self, Functions, Raise};
use super::library::{self, Arguments};
use super::state::Vm;
use super::{api, functions};

/// What of Lua's own globals scripts have. Left out are what reads files, what takes compiled code, what reaches the
/// environments of others, and `newproxy`, whose values are called by the collector (CVE-2024-46981).
const KEPT: [&str; 27] = [
    "_G",
    "_VERSION",
    "assert",
    "collectgarbage",
    "coroutine",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "load",
    "loadstring",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// An interpreter for EVAL.
///
/// # Errors
/// Lua's: out of memory.
pub fn eval_vm() -> mlua::Result<Vm> {
    let (lua, functions, redis) = begin()?;
    api::add_of_eval(&lua, &functions, &redis)?;
    let globals = lua.globals();
    globals.raw_set("__redis__err__handler", functions.error_handler.clone())?;
    refuse_unknown(&lua, &functions, &globals)?;
    end(&lua, &globals)?;
    Ok(Vm { lua, run: functions.run })
}

/// An interpreter for functions.
///
/// Functions see the globals through the metatable of an empty table that stands in their place; while a library is
/// loaded, that shows what it may have then.
///
/// # Errors
/// Lua's: out of memory.
pub fn functions_vm() -> mlua::Result<Vm> {
    let (lua, functions, _) = begin()?;
    let real = lua.globals();
    let loading = lua.create_table()?;
    let redis = lua.create_table()?;
    functions::add_register(&lua, &functions, &redis)?;
    api::add_basics(&lua, &functions, &redis)?;
    refuse_unknown(&lua, &functions, &redis)?;
    loading.raw_set("redis", redis.clone())?;
    loading.raw_set("server", redis)?;
    refuse_unknown(&lua, &functions, &loading)?;
    protect(&lua, &loading)?;
    refuse_unknown(&lua, &functions, &real)?;
    end(&lua, &real)?;
    let shown = lua.create_table()?;
    shown.raw_set("__index", real.clone())?;
    let globals = lua.create_table()?;
    globals.set_metatable(Some(shown.clone()))?;
    border::set_readonly(&lua, &globals, true)?;
    border::set_readonly(&lua, &shown, true)?;
    lua.set_globals(globals)?;
    lua.set_app_data(functions::Globals { shown, real, loading });
    Ok(Vm { lua, run: functions.run })
}

/// An interpreter with all that both have, not protected yet, and its table `redis`.
fn begin() -> mlua::Result<(Lua, Functions, Table)> {
    let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
    // Errors are values of Lua, and pass through `pcall` as Lua has it.
    let lua = Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(true))?;
    // There is no limit of memory for Lua alone, and the allocator ends the process where the machine's is over: each
    // operation need not be guarded against that, which would cost more than most of them do.
    lua.set_memory_limit(0)?;
    let globals = lua.globals();
    let mut others = Vec::new();
    globals.for_each(|name: Value, _: Value| {
        let kept = matches!(&name, Value::String(name) if is_kept(&name.as_bytes()));
        if !kept {
            others.push(name);
        }
        Ok(())
    })?;
    for name in others {
        globals.raw_set(name, Value::Nil)?;
    }
    let functions = Functions::new(&lua)?;
    globals.raw_set("pcall", functions.pcall.clone())?;
    library::add(&lua, &functions)?;
    let redis = lua.create_table()?;
    api::add_all(&lua, &functions, &redis)?;
    globals.raw_set("redis", redis.clone())?;
    // Its name in Valkey 8.
    globals.raw_set("server", redis.clone())?;
    let math: Table = globals.raw_get("math")?;
    api::add_random(&lua, &functions, &math)?;
    Ok((lua, functions, redis))
}

fn is_kept(name: &[u8]) -> bool {
    KEPT.iter().any(|kept| kept.as_bytes() == name)
}

/// Protects what can be reached from the globals, and the metatable of all strings (CVE-2025-46818), and has the clock
/// looked at from now on.
fn end(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    protect(lua, globals)?;
    if let Some(strings) = lua.type_metatable::<LuaString>() {
        protect(lua, &strings)?;
    }
    border::set_hook(lua)
}

/// Has neither a table nor those that can be reached from it changed any more.
fn protect(lua: &Lua, table: &Table) -> mlua::Result<()> {
    if border::set_readonly(lua, table, true)? {
        return Ok(());
    }
    let mut inner = Vec::new();
    table.for_each(|_: Value, value: Value| {
        if let Value::Table(table) = value {
            inner.push(table);
        }
        Ok(())
    })?;
    inner.extend(table.metatable());
    inner.iter().try_for_each(|table| protect(lua, table))
}

/// Has it raise an error to read what is not in a table.
fn refuse_unknown(lua: &Lua, functions: &Functions, table: &Table) -> mlua::Result<()> {
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", functions.function(lua, unknown)?)?;
    table.set_metatable(Some(metatable))
}

fn unknown(lua: &Lua, values: MultiValue) -> Result<MultiValue, Raise> {
    let args = Arguments::new(values);
    if args.len() != 2 {
        return Err(Raise::text("Wrong number of arguments to luaProtectedTableError"));
    }
    let name = args.string(lua, 2).map_err(|_| {
        Raise::text("Second argument to luaProtectedTableError must be a string or number")
    })?;
    let text = b"Script attempted to access nonexistent global variable '";
    Err(Raise::text([text, &*name.as_bytes(), b"'"].concat()))
}
