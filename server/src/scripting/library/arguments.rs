//! What a function of a library was given, and the words with which Lua refuses it.

use mlua::{Lua, LuaString, MultiValue, Value};

use super::Raise;

/// The arguments of a call. They are counted from 1.
pub struct Arguments(MultiValue);

impl Arguments {
    /// These arguments.
    #[must_use]
    pub fn new(values: MultiValue) -> Self {
        Self(values)
    }

    /// Adds one.
    pub fn push(&mut self, value: Value) {
        self.0.push_back(value);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them; nothing where there are fewer.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&Value> {
        self.0.get(place - 1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Value> {
        self.0.iter()
    }

    fn wrong(&self, place: usize, wanted: &str) -> Raise {
        let got = self.get(place).map_or("no value", type_name);
        Raise::argument(place, format!("{wanted} expected, got {got}"))
    }

    /// A number, or a string that is one.
    pub fn number(&self, lua: &Lua, place: usize) -> Result<f64, Raise> {
        match self.get(place) {
            Some(Value::Integer(number)) => Ok(*number as f64),
            Some(Value::Number(number)) => Ok(*number),
            Some(text @ Value::String(_)) => {
                lua.coerce_number(text.clone())?.ok_or_else(|| self.wrong(place, "number"))
            }
            _ => Err(self.wrong(place, "number")),
        }
    }

    /// A number as C makes an integer of it.
    pub fn integer(&self, lua: &Lua, place: usize) -> Result<i64, Raise> {
        Ok(self.number(lua, place)? as i64)
    }

    /// An integer that may be left out.
    pub fn integer_or(&self, lua: &Lua, place: usize, default: i64) -> Result<i64, Raise> {
        match self.get(place) {
            None | Some(Value::Nil) => Ok(default),
            Some(_) => self.integer(lua, place),
        }
    }

    /// A string, or a number as one.
    pub fn string(&self, lua: &Lua, place: usize) -> Result<LuaString, Raise> {
        match self.get(place) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(number @ (Value::Integer(_) | Value::Number(_))) => {
                lua.coerce_string(number.clone())?.ok_or_else(|| self.wrong(place, "string"))
            }
            _ => Err(self.wrong(place, "string")),
        }
    }
}

/// What Lua calls the type of a value.
#[must_use]
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// Whether a value is a number, or a string that is one.
#[must_use]
pub fn is_number(lua: &Lua, value: &Value) -> bool {
    match value {
        Value::Integer(_) | Value::Number(_) => true,
        Value::String(_) => lua.coerce_number(value.clone()).is_ok_and(|number| number.is_some()),
        _ => false,
    }
}

/// A value as a number; 0 where it is none, as Lua has it.
#[must_use]
pub fn to_number(lua: &Lua, value: Option<&Value>) -> f64 {
    match value {
        Some(Value::Integer(number)) => *number as f64,
        Some(Value::Number(number)) => *number,
        Some(text @ Value::String(_)) => {
            lua.coerce_number(text.clone()).ok().flatten().unwrap_or(0.0)
        }
        _ => 0.0,
    }
}
