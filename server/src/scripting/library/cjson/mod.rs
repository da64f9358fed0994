//! `cjson`: JSON, as version 2.1.0 of the library of that name reads and writes it.

mod decode;
mod encode;

use std::cell::Cell;
use std::rc::Rc;

use mlua::{Lua, Table, Value};

use super::{Answer, Arguments, Functions, Raise, add_function, one};

/// How numbers that JSON does not know are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Invalid {
    /// That is an error.
    Refused,
    /// As C prints them.
    Printed,
    /// As null.
    Null,
}

/// What a script has set for a copy of the library; it holds for all scripts that use it.
#[derive(Debug)]
struct Config {
    sparse_converted: Cell<bool>,
    sparse_ratio: Cell<i32>,
    sparse_safe: Cell<i32>,
    encode_depth: Cell<i32>,
    decode_depth: Cell<i32>,
    encode_invalid: Cell<Invalid>,
    decode_invalid: Cell<bool>,
    precision: Cell<i32>,
    keeps_buffer: Cell<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sparse_converted: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth: Cell::new(1000),
            decode_depth: Cell::new(1000),
            encode_invalid: Cell::new(Invalid::Refused),
            decode_invalid: Cell::new(true),
            precision: Cell::new(14),
            keeps_buffer: Cell::new(true),
        }
    }
}

/// A copy of the library.
pub(super) fn library(lua: &Lua, functions: &Functions) -> mlua::Result<Table> {
    let functions = Rc::new(functions.clone());
    copy(lua, &functions)
}

fn copy(lua: &Lua, functions: &Rc<Functions>) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let config = Rc::new(Config::default());
    let add = |name: &str, body: fn(&Lua, &Arguments, &Config) -> Answer| {
        let config = Rc::clone(&config);
        let body = move |lua: &Lua, args: Arguments| body(lua, &args, &config);
        add_function(lua, functions, &library, name, body)
    };
    add("encode", encode::encode)?;
    add("decode", decode::decode)?;
    add("encode_sparse_array", |lua, args, config| {
        at_most(args, 3)?;
        let converted = switch(lua, args, 1, &config.sparse_converted)?;
        let ratio = number(lua, args, 2, &config.sparse_ratio, [0, i32::MAX])?;
        let safe = number(lua, args, 3, &config.sparse_safe, [0, i32::MAX])?;
        Ok(mlua::MultiValue::from_vec(vec![converted, ratio, safe]))
    })?;
    add("encode_max_depth", |lua, args, config| {
        at_most(args, 1)?;
        Ok(one(number(lua, args, 1, &config.encode_depth, [1, i32::MAX])?))
    })?;
    add("decode_max_depth", |lua, args, config| {
        at_most(args, 1)?;
        Ok(one(number(lua, args, 1, &config.decode_depth, [1, i32::MAX])?))
    })?;
    add("encode_number_precision", |lua, args, config| {
        at_most(args, 1)?;
        Ok(one(number(lua, args, 1, &config.precision, [1, 14])?))
    })?;
    // No buffer is kept from one call to the next; the setting is there to be read.
    add("encode_keep_buffer", |lua, args, config| {
        at_most(args, 1)?;
        Ok(one(switch(lua, args, 1, &config.keeps_buffer)?))
    })?;
    add("encode_invalid_numbers", encode_invalid_numbers)?;
    add("decode_invalid_numbers", |lua, args, config| {
        at_most(args, 1)?;
        Ok(one(switch(lua, args, 1, &config.decode_invalid)?))
    })?;
    let again = Rc::clone(functions);
    add_function(lua, functions, &library, "new", move |lua, _| {
        Ok(one(Value::Table(copy(lua, &again)?)))
    })?;
    library.raw_set("null", Value::NULL)?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    Ok(library)
}

fn at_most(args: &Arguments, most: usize) -> Result<(), Raise> {
    if args.len() > most {
        return Err(Raise::argument(most + 1, "found too many arguments"));
    }
    Ok(())
}

fn number(
    lua: &Lua,
    args: &Arguments,
    place: usize,
    setting: &Cell<i32>,
    [least, most]: [i32; 2],
) -> Result<Value, Raise> {
    if !matches!(args.get(place), None | Some(Value::Nil)) {
        // As C makes one of it.
        let number = args.integer(lua, place)? as i32;
        if !(least..=most).contains(&number) {
            let text = format!("expected integer between {least} and {most}");
            return Err(Raise::argument(1, text));
        }
        setting.set(number);
    }
    Ok(Value::Integer(i64::from(setting.get())))
}

fn switch(lua: &Lua, args: &Arguments, place: usize, setting: &Cell<bool>) -> Result<Value, Raise> {
    match args.get(place) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(truth)) => setting.set(*truth),
        Some(_) => setting.set(choice(lua, args, place, &["off", "on"])? == 1),
    }
    Ok(Value::Boolean(setting.get()))
}

/// Which of the options an argument names.
fn choice(lua: &Lua, args: &Arguments, place: usize, options: &[&str]) -> Result<usize, Raise> {
    let word = args.string(lua, place)?;
    let word = word.as_bytes();
    options.iter().position(|option| option.as_bytes() == &*word).ok_or_else(|| {
        let text = [b"invalid option '", &*word, b"'"].concat();
        Raise::argument(place, text)
    })
}

fn encode_invalid_numbers(lua: &Lua, args: &Arguments, config: &Config) -> Answer {
    at_most(args, 1)?;
    match args.get(1) {
        None | Some(Value::Nil) => {}
        Some(Value::Boolean(true)) => config.encode_invalid.set(Invalid::Printed),
        Some(Value::Boolean(false)) => config.encode_invalid.set(Invalid::Refused),
        Some(_) => {
            const ALL: [Invalid; 3] = [Invalid::Refused, Invalid::Printed, Invalid::Null];
            config.encode_invalid.set(ALL[choice(lua, args, 1, &["off", "on", "null"])?]);
        }
    }
    Ok(one(match config.encode_invalid.get() {
        Invalid::Refused => Value::Boolean(false),
        Invalid::Printed => Value::Boolean(true),
        Invalid::Null => Value::String(lua.create_string("null")?),
    }))
}
