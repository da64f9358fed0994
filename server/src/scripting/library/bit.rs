//! `bit`: operations on 32 bits.

use mlua::{Lua, Table, Value};

use super::arguments::{is_number, to_number};
use super::{Answer, Arguments, Functions, Raise, add_function, one};

/// The library.
pub(super) fn library(lua: &Lua, functions: &Functions) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let add = |name: &str, body: fn(&Lua, Arguments) -> Answer| {
        add_function(lua, functions, &library, name, body)
    };
    add("tobit", |lua, args| signed(bits(lua, &args, 1)?))?;
    add("bnot", |lua, args| signed(!bits(lua, &args, 1)?))?;
    add("band", |lua, args| fold(lua, &args, |all, next| all & next))?;
    add("bor", |lua, args| fold(lua, &args, |all, next| all | next))?;
    add("bxor", |lua, args| fold(lua, &args, |all, next| all ^ next))?;
    add("lshift", |lua, args| shift(lua, &args, |bits, by| bits << by))?;
    add("rshift", |lua, args| shift(lua, &args, |bits, by| bits >> by))?;
    add("arshift", |lua, args| {
        shift(lua, &args, |bits, by| (bits.cast_signed() >> by).cast_unsigned())
    })?;
    add("rol", |lua, args| shift(lua, &args, u32::rotate_left))?;
    add("ror", |lua, args| shift(lua, &args, u32::rotate_right))?;
    add("bswap", |lua, args| signed(bits(lua, &args, 1)?.swap_bytes()))?;
    add("tohex", to_hex)?;
    Ok(library)
}

/// The low 32 bits of an argument, rounded to the nearest integer.
fn bits(lua: &Lua, args: &Arguments, place: usize) -> Result<u32, Raise> {
    /// 2^52 + 2^51: behind it a number has its integer in its low bits.
    const SHIFTED: f64 = 6_755_399_441_055_744.0;
    let number = to_number(lua, args.get(place));
    let bits = (number + SHIFTED).to_bits() as u32;
    if bits == 0 && !args.get(place).is_some_and(|value| is_number(lua, value)) {
        args.number(lua, place)?;
    }
    Ok(bits)
}

fn signed(bits: u32) -> Answer {
    Ok(one(Value::Integer(i64::from(bits.cast_signed()))))
}

fn fold(lua: &Lua, args: &Arguments, with: fn(u32, u32) -> u32) -> Answer {
    let mut all = bits(lua, args, 1)?;
    for place in (2..=args.len()).rev() {
        all = with(all, bits(lua, args, place)?);
    }
    signed(all)
}

fn shift(lua: &Lua, args: &Arguments, with: fn(u32, u32) -> u32) -> Answer {
    let number = bits(lua, args, 1)?;
    signed(with(number, bits(lua, args, 2)? & 31))
}

/// `bit.tohex(number [, digits])`: as many digits; capitals where that is negative.
fn to_hex(lua: &Lua, args: Arguments) -> Answer {
    let number = bits(lua, &args, 1)?;
    let wanted = match args.get(2) {
        None => 8,
        Some(_) => bits(lua, &args, 2)?.cast_signed(),
    };
    // The least number has no counterpart above zero (CVE-2024-31449).
    let digits = wanted.unsigned_abs().min(8) as usize;
    let all = if wanted < 0 { format!("{number:08X}") } else { format!("{number:08x}") };
    let text = &all.as_bytes()[8 - digits..];
    Ok(one(Value::String(lua.create_string(text)?)))
}
