//! The libraries that scripts have beside Lua's own: `bit`, `cjson`, `cmsgpack` and `struct`, as Redis's behave.
//!
//! They are written anew, over values that `mlua` holds or over Lua's [`stack`], and nothing in them goes deeper into itself
//! the deeper a value is.

mod arguments;
mod bit;
mod cjson;
mod cmsgpack;
mod numbers;
mod stack;
mod structs;

use mlua::{Lua, MultiValue, Table, Value};

use super::border::{Functions, Raise};

pub use self::arguments::Arguments;

/// What a function of a library answers with.
pub type Answer = Result<MultiValue, Raise>;

/// Adds the libraries to the globals.
///
/// # Errors
/// Lua's: out of memory.
pub fn add(lua: &Lua, functions: &Functions) -> mlua::Result<()> {
    let globals = lua.globals();
    globals.raw_set("bit", bit::library(lua, functions)?)?;
    globals.raw_set("cjson", cjson::library(lua, functions)?)?;
    globals.raw_set("cmsgpack", cmsgpack::library(lua, functions)?)?;
    globals.raw_set("struct", structs::library(lua, functions)?)
}

/// Adds a function to a library.
///
/// # Errors
/// Lua's: out of memory.
pub fn add_function(
    lua: &Lua,
    functions: &Functions,
    library: &Table,
    name: &str,
    body: impl Fn(&Lua, Arguments) -> Answer + 'static,
) -> mlua::Result<()> {
    let body = move |lua: &Lua, values: MultiValue| body(lua, Arguments::new(values));
    library.raw_set(name, functions.function(lua, body)?)
}

/// One value to answer with.
fn one(value: Value) -> MultiValue {
    MultiValue::from_vec(vec![value])
}
