//! Libraries of functions: loaded, called, listed, and taken to other servers.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, MultiValue, Table, Value};
use redstart_common::resp::split_words;

use super::border::{self, Functions, Raise};
use super::eval::{compiler_words, no_interpreter, run_function};
use super::flags::{ScriptFlags, line_end};
use super::library::{Answer, Arguments, add_function};
use super::run::{Kind, Plan, Run, may_run};
use super::sandbox;
use super::state::{Libraries, Library, LibraryFunction, Vm};
use crate::client::Origin;
use crate::engine::{Call, CommandError, CommandResult, Core};

/// How long a library may take to register its functions.
const LOAD_MOST: Duration = Duration::from_millis(500);

const WRONG_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and \
                          must be at least one character long";

/// What functions see as globals, and what a library sees while it is loaded.
pub(super) struct Globals {
    /// The metatable of what stands for the globals: where its `__index` leads is what is seen.
    pub shown: Table,
    /// The globals.
    pub real: Table,
    /// What a library sees.
    pub loading: Table,
}

impl Globals {
    fn show(&self, lua: &Lua, table: &Table) -> mlua::Result<()> {
        border::set_readonly(lua, &self.shown, false)?;
        self.shown.raw_set("__index", table.clone())?;
        border::set_readonly(lua, &self.shown, true)?;
        Ok(())
    }
}

/// Adds `redis.register_function`.
pub(super) fn add_register(lua: &Lua, functions: &Functions, redis: &Table) -> mlua::Result<()> {
    add_function(lua, functions, redis, "register_function", |lua, args| {
        let function = match args.len() {
            1 => named(lua, &args)?,
            2 => positional(lua, &args)?,
            _ => return Err(fault("wrong number of arguments to redis.register_function")),
        };
        let added = border::with_run(|run| run.is_load().then(|| register(run, function)));
        added.flatten().unwrap_or_else(|| {
            Err(fault("redis.register_function can only be called on FUNCTION LOAD command"))
        })
    })
}

fn fault(text: &str) -> Raise {
    Raise::Redis(format!("ERR {text}").into_bytes())
}

fn register(run: &mut Run<'_>, function: Registered) -> Answer {
    if !is_name(&function.name) {
        return Err(Raise::Redis(WRONG_NAME.into()));
    }
    let name: Rc<str> = String::from_utf8_lossy(&function.name).into();
    if run.registered.iter().any(|known| known.name == name) {
        return Err(fault("Function already exists in the library"));
    }
    run.registered.push(LibraryFunction {
        name,
        description: function.description,
        flags: function.flags,
        function: function.callback,
    });
    Ok(MultiValue::new())
}

/// A function as a library has registered it.
struct Registered {
    name: Vec<u8>,
    description: Option<Vec<u8>>,
    flags: ScriptFlags,
    callback: mlua::Function,
}

fn positional(lua: &Lua, args: &Arguments) -> Result<Registered, Raise> {
    let name = args
        .string(lua, 1)
        .map_err(|_| fault("first argument to redis.register_function must be a string"))?;
    let Some(Value::Function(callback)) = args.get(2) else {
        return Err(fault("second argument to redis.register_function must be a function"));
    };
    Ok(Registered {
        name: name.as_bytes().to_vec(),
        description: None,
        flags: ScriptFlags::default(),
        callback: callback.clone(),
    })
}

/// Reads `{function_name=…, callback=…, flags=…, description=…}`.
fn named(lua: &Lua, args: &Arguments) -> Result<Registered, Raise> {
    let Some(Value::Table(table)) = args.get(1) else {
        return Err(fault(
            "calling redis.register_function with a single argument is only applicable to Lua table \
             (representing named arguments).",
        ));
    };
    let mut pairs: Vec<(Value, Value)> = Vec::new();
    table.for_each(|key: Value, value: Value| {
        pairs.push((key, value));
        Ok(())
    })?;
    let (mut name, mut description, mut callback) = (None, None, None);
    let mut flags = ScriptFlags::default();
    for (key, value) in pairs {
        let pair = Arguments::new(MultiValue::from_vec(vec![key, value.clone()]));
        let key = pair.string(lua, 1).map_err(|_| {
            fault("named argument key given to redis.register_function is not a string")
        })?;
        let text = |wrong: &str| pair.string(lua, 2).map_err(|_| fault(wrong));
        match key.as_bytes().to_ascii_lowercase().as_slice() {
            b"function_name" => {
                let text = text(
                    "function_name argument given to redis.register_function must be a string",
                )?;
                name = Some(text.as_bytes().to_vec());
            }
            b"description" => {
                let text =
                    text("description argument given to redis.register_function must be a string")?;
                description = Some(text.as_bytes().to_vec());
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(fault(
                        "callback argument given to redis.register_function must be a function",
                    ));
                }
            },
            b"flags" => match value {
                Value::Table(list) => flags = read_flags(lua, &list)?,
                _ => {
                    return Err(fault(
                        "flags argument to redis.register_function must be a table representing \
                         function flags",
                    ));
                }
            },
            _ => return Err(fault("unknown argument given to redis.register_function")),
        }
    }
    Ok(Registered {
        name: name
            .ok_or_else(|| fault("redis.register_function must get a function name argument"))?,
        description,
        flags,
        callback: callback
            .ok_or_else(|| fault("redis.register_function must get a callback argument"))?,
    })
}

fn read_flags(lua: &Lua, list: &Table) -> Result<ScriptFlags, Raise> {
    let mut flags = ScriptFlags::default();
    for place in 1_i64.. {
        let value: Value = list.raw_get(place)?;
        if value.is_nil() {
            break;
        }
        let word = Arguments::new(MultiValue::from_vec(vec![value]));
        let flag = word
            .string(lua, 1)
            .ok()
            .and_then(|word| ScriptFlags::named(&word.as_bytes().to_ascii_lowercase()));
        flags = flags.or(flag.ok_or_else(|| fault("unknown flag given"))?);
    }
    Ok(flags)
}

/// Whether a library or function may be called so.
fn is_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(plain)
}

/// What the first line of a library says: its engine and its name, and where the line ends.
struct Metadata {
    engine: Vec<u8>,
    name: Vec<u8>,
    end: usize,
}

fn metadata(code: &[u8]) -> Result<Metadata, CommandError> {
    const INVALID: CommandError = CommandError::new("ERR Invalid library metadata");
    if !code.starts_with(b"#!") {
        return Err(CommandError::new("ERR Missing library metadata"));
    }
    let end = line_end(code).ok_or(INVALID)?;
    let words = split_words(&code[..end]).unwrap_or_default();
    let (first, options) = words.split_first().ok_or(INVALID)?;
    let engine = first.get(2..).unwrap_or_default().to_vec();
    let mut name: Option<Vec<u8>> = None;
    for option in options {
        let is_name = option.len() >= 5 && option[..5].eq_ignore_ascii_case(b"name=");
        if !is_name {
            return Err(CommandError::about("ERR Invalid metadata value given: ", option, ""));
        }
        if name.is_some() {
            return Err(CommandError::new(
                "ERR Invalid metadata value, name argument was given multiple times",
            ));
        }
        name = Some(option[5..].to_vec());
    }
    let name = name.ok_or(CommandError::new("ERR Library name was not given"))?;
    Ok(Metadata { engine, name, end })
}

/// A library that is made, and not among the others yet.
pub struct Loaded {
    /// Its name.
    pub name: Vec<u8>,
    library: Library,
}

/// Makes a library of its text.
///
/// # Errors
/// What is wrong with it.
pub fn load(call: &mut Call<'_>, code: &[u8]) -> Result<Loaded, CommandError> {
    let Metadata { engine, name, end } = metadata(code)?;
    if !is_name(&name) {
        return Err(CommandError::new(WRONG_NAME));
    }
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err(CommandError::about("ERR Engine '", &engine, "' not found"));
    }
    let functions = register_functions(call, &code[end..])?;
    if functions.is_empty() {
        return Err(CommandError::new("ERR No functions registered"));
    }
    let functions: BTreeMap<_, _> = functions
        .into_iter()
        .map(|function| (Rc::clone(&function.name), Rc::new(function)))
        .collect();
    Ok(Loaded { name, library: Library { code: code.to_vec(), functions } })
}

/// Runs the text of a library, which registers its functions.
fn register_functions(
    call: &mut Call<'_>,
    code: &[u8],
) -> Result<Vec<LibraryFunction>, CommandError> {
    let vm = vm(call.core)?;
    let (lua, runner) = (vm.lua.clone(), vm.run.clone());
    let show = |loading: bool| -> mlua::Result<()> {
        let Some(globals) = lua.app_data_ref::<Globals>() else { return Ok(()) };
        globals.show(&lua, if loading { &globals.loading } else { &globals.real })
    };
    show(true).map_err(|error| no_interpreter(&error))?;
    let made = lua.load(code).set_name("@user_function").into_function();
    let made = made.map_err(|error| {
        let reason = compiler_words(&error);
        CommandError::made(format!("ERR Error compiling function: {reason}"))
    });
    let registered = made.and_then(|function| {
        let most = (call.client.origin == Origin::Client).then_some(LOAD_MOST);
        let plan = Plan {
            kind: Kind::Load(most),
            name: "".into(),
            read_only: true,
            allow_oom: false,
            crosses_slots: false,
            keys: 0,
        };
        let mut run = Run::begin(call.within(call.args), plan);
        let outcome = border::enter(&mut run, || runner.call::<()>(function));
        let registered = std::mem::take(&mut run.registered);
        let fault = run.load_fault.take();
        run.end();
        border::resume_panic();
        match (fault, outcome) {
            (Some(fault), _) => {
                Err(CommandError::made([b"ERR Error registering functions: ", &*fault].concat()))
            }
            (None, Err(error)) => Err(no_interpreter(&error)),
            (None, Ok(())) => Ok(registered),
        }
    });
    show(false).map_err(|error| no_interpreter(&error))?;
    registered
}

fn vm(core: &mut Core) -> Result<&mut Vm, CommandError> {
    match &mut core.scripting.functions {
        Some(vm) => Ok(vm),
        none => Ok(none.insert(sandbox::functions_vm().map_err(|error| no_interpreter(&error))?)),
    }
}

/// What happens to libraries whose names are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They are replaced.
    Replaced,
    /// That is an error: `Library 'name' already exists`.
    Refused,
    /// That is an error of RESTORE's, which has other words.
    RefusedByRestore,
}

/// Adds libraries to those that are there: all, or none.
///
/// # Errors
/// When a name is taken.
pub fn add(libraries: &mut Libraries, new: Vec<Loaded>, taken: Taken) -> Result<(), CommandError> {
    let name_taken = |name: &[u8]| match taken {
        Taken::RefusedByRestore => CommandError::about("ERR Library ", name, " already exists"),
        _ => CommandError::about("ERR Library '", name, "' already exists"),
    };
    if taken != Taken::Replaced
        && let Some(known) = new.iter().find(|new| libraries.libraries.contains_key(&new.name))
    {
        return Err(name_taken(&known.name));
    }
    let replaced: Vec<&Library> =
        new.iter().filter_map(|new| libraries.libraries.get(&new.name)).collect();
    let stays = |name: &Rc<str>| {
        let known = libraries.functions.get(&*name.to_ascii_lowercase());
        known.is_some_and(|known| {
            !replaced.iter().any(|old| old.functions.contains_key(&known.name))
        })
    };
    let clash = new.iter().flat_map(|new| new.library.functions.keys()).find(|name| stays(name));
    if let Some(name) = clash {
        return Err(CommandError::made(format!("ERR Function {name} already exists")));
    }
    for new in new {
        remove(libraries, &new.name);
        libraries.bytes += new.name.len() + new.library.code.len();
        for (name, function) in &new.library.functions {
            let name = name.to_ascii_lowercase().into();
            libraries.functions.insert(name, Rc::clone(function));
        }
        libraries.libraries.insert(new.name, new.library);
    }
    Ok(())
}

/// Puts libraries that were loaded beside each other into an empty place. Fails as [`add`] does.
///
/// # Errors
/// When two of them clash.
pub fn join(all: Vec<Loaded>) -> Result<Libraries, CommandError> {
    let mut libraries = Libraries::default();
    for one in all {
        add(&mut libraries, vec![one], Taken::Refused)?;
    }
    Ok(libraries)
}

/// The libraries one by one, to be added to others.
#[must_use]
pub fn take_apart(libraries: Libraries) -> Vec<Loaded> {
    let all = libraries.libraries.into_iter();
    all.map(|(name, library)| Loaded { name, library }).collect()
}

/// Removes a library. Answers whether there was one.
pub fn remove(libraries: &mut Libraries, name: &[u8]) -> bool {
    let Some(old) = libraries.libraries.remove(name) else { return false };
    libraries.bytes -= name.len() + old.code.len();
    for name in old.functions.keys() {
        libraries.functions.remove(&*name.to_ascii_lowercase());
    }
    true
}

/// Runs a function for a call of FCALL or FCALL_RO.
///
/// # Errors
/// When it is not let run.
pub fn run(
    call: &mut Call<'_>,
    function: &LibraryFunction,
    keys: usize,
    read_only: bool,
) -> CommandResult {
    may_run(call, function.flags, read_only)?;
    let plan = Plan {
        kind: Kind::Function,
        name: Rc::clone(&function.name),
        read_only: read_only || function.flags.any(ScriptFlags::NO_WRITES),
        allow_oom: function.flags.any(ScriptFlags::ALLOW_OOM),
        crosses_slots: function.flags.any(ScriptFlags::ALLOW_CROSS_SLOT),
        keys,
    };
    let runner = vm(call.core)?.run.clone();
    run_function(call, plan, &runner, &function.function);
    Ok(())
}
