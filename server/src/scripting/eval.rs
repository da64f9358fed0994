//! Scripts of EVAL: compiled once, cached by their SHA-1, run.

use std::rc::Rc;

use super::border;
use super::flags::{ScriptFlags, shebang};
use super::run::{Kind, Plan, Run, may_run};
use super::sandbox;
use super::state::{Script, Sha, sha_of};
use crate::engine::{Call, CommandError, CommandResult, Core};

/// Lua has not what it needs to begin.
pub(super) fn no_interpreter(error: &mlua::Error) -> CommandError {
    CommandError::made(format!("ERR The Lua interpreter cannot be made: {error}"))
}

/// A script that is cached, made of its text if need be.
///
/// # Errors
/// When it cannot be compiled.
pub fn cache(core: &mut Core, body: &[u8]) -> Result<Rc<Script>, CommandError> {
    let sha = sha_of(body);
    if let Some(script) = core.scripting.scripts.get(&sha) {
        return Ok(Rc::clone(script));
    }
    let said = shebang(body).map_err(CommandError::made)?;
    let vm = match &mut core.scripting.eval {
        Some(vm) => vm,
        none => none.insert(sandbox::eval_vm().map_err(|error| no_interpreter(&error))?),
    };
    let code = &body[said.length..];
    let function = vm.lua.load(code).set_name("@user_script").into_function().map_err(|error| {
        let reason = compiler_words(&error);
        CommandError::made(format!("ERR Error compiling script (new function): {reason}"))
    })?;
    let script = Rc::new(Script {
        body: body.into(),
        flags: said.flags,
        function,
        name: String::from_utf8_lossy(&sha).into(),
    });
    core.scripting.scripts_bytes += body.len() + sha.len();
    core.scripting.scripts.insert(sha, Rc::clone(&script));
    Ok(script)
}

/// What the compiler says, without words of `mlua`'s own.
pub(super) fn compiler_words(error: &mlua::Error) -> String {
    match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// The name of a script, as EVALSHA takes it in any case of letters.
#[must_use]
pub fn sha(word: &[u8]) -> Option<Sha> {
    let sha: Sha = word.try_into().ok()?;
    Some(sha.map(|byte| byte.to_ascii_lowercase()))
}

/// Forgets all scripts, and the interpreter with all that they have left there.
pub fn forget_all(core: &mut Core) {
    core.scripting.scripts.clear();
    core.scripting.scripts_bytes = 0;
    core.scripting.eval = None;
}

/// Runs a script for a call of EVAL or its kin.
///
/// # Errors
/// When it is not let run.
pub fn run(call: &mut Call<'_>, script: &Script, keys: usize, read_only: bool) -> CommandResult {
    may_run(call, script.flags, read_only)?;
    let is_silent = script.flags.any(ScriptFlags::SILENT);
    let plan = Plan {
        kind: Kind::Eval,
        name: Rc::clone(&script.name),
        read_only: read_only || (!is_silent && script.flags.any(ScriptFlags::NO_WRITES)),
        allow_oom: !is_silent && script.flags.any(ScriptFlags::ALLOW_OOM),
        crosses_slots: is_silent || script.flags.any(ScriptFlags::ALLOW_CROSS_SLOT),
        keys,
    };
    let Some(vm) = &call.core.scripting.eval else {
        return Err(CommandError::new("ERR The Lua interpreter is gone"));
    };
    let runner = vm.run.clone();
    run_function(call, plan, &runner, &script.function);
    Ok(())
}

/// Runs a function of Lua as a script, and has its result or error be the client's reply.
pub(super) fn run_function(
    call: &mut Call<'_>,
    plan: Plan,
    runner: &mlua::Function,
    function: &mlua::Function,
) {
    let mut run = Run::begin(call.within(call.args), plan);
    let outcome = border::enter(&mut run, || runner.call::<()>(function));
    if let Err(error) = outcome {
        run.report_unusual(error.to_string().lines().next().unwrap_or_default().as_bytes());
    }
    run.end();
    border::resume_panic();
    call.propagate_nothing();
}
