//! What is known of scripts: the interpreters, the cached scripts, the libraries of functions, and what runs now.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use hashbrown::HashMap;
use mlua::{Function, Lua};
use redstart_common::command::CommandSpec;
use redstart_common::command::spec::{Flags as RowFlags, Group};
use redstart_common::resp::{Args, OwnedArgs};

use super::flags::{ScriptFlags, shebang};
use super::session::Session;
use crate::client::Reply;

/// The SHA-1 of a script in lower-case hexadecimal digits: its name.
pub type Sha = [u8; 40];

/// An interpreter.
pub struct Vm {
    /// Lua.
    pub lua: Lua,
    /// Runs a function as a script: see `raw::enter`.
    pub run: Function,
}

/// A script that is cached.
pub struct Script {
    /// Its text.
    pub body: Box<[u8]>,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// What Lua has made of it.
    pub function: Function,
    /// Its SHA-1, as errors name it.
    pub name: Rc<str>,
}

/// A function of a library.
pub struct LibraryFunction {
    /// Its name.
    pub name: Rc<str>,
    /// What it is good for, if its library says so.
    pub description: Option<Vec<u8>>,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// What is called.
    pub function: Function,
}

/// A library of functions.
pub struct Library {
    /// Its text, the first line included.
    pub code: Vec<u8>,
    /// Its functions, in the order of their names.
    pub functions: BTreeMap<Rc<str>, Rc<LibraryFunction>>,
}

/// The libraries, and their functions by name.
#[derive(Default)]
pub struct Libraries {
    /// The libraries, in the order of their names.
    pub libraries: BTreeMap<Vec<u8>, Library>,
    /// All functions, by their names in lower case.
    pub functions: HashMap<Rc<str>, Rc<LibraryFunction>>,
    /// Bytes of their texts and names.
    pub bytes: usize,
}

/// A script that runs.
pub struct Running {
    /// Its SHA-1, or the function's name.
    pub name: Rc<str>,
    /// Whether EVAL runs it, not FCALL.
    pub is_eval: bool,
    /// Since when.
    pub since: Instant,
    /// Whether a primary has sent it.
    pub of_primary: bool,
    /// Whether it has called a command that writes.
    pub wrote: bool,
    /// Whether somebody wants it to end.
    pub killed: bool,
    /// What it has changed is not repeated by anybody, for the server ends with it.
    pub forgotten: bool,
    /// The call, from when on it is slow: others are served meanwhile.
    pub slow: Option<OwnedArgs>,
}

/// What is used again by the next script, so that none allocates it.
#[derive(Default)]
pub struct Spare {
    /// The arguments of a command that a script calls.
    pub args: OwnedArgs,
    /// What such a command answers.
    pub reply: Reply,
}

/// Everything about scripts.
pub struct Scripting {
    /// The interpreter of EVAL, from its first use on.
    pub eval: Option<Vm>,
    /// The cached scripts.
    pub scripts: HashMap<Sha, Rc<Script>>,
    /// Bytes of their texts.
    pub scripts_bytes: usize,
    /// The interpreter of functions, from its first use on.
    pub functions: Option<Vm>,
    /// The libraries of functions.
    pub libraries: Libraries,
    /// What runs now.
    pub running: Option<Running>,
    /// The debugger's session with what runs now.
    pub session: Option<Session>,
    /// Children of the process in which scripts are debugged: their numbers.
    pub children: Vec<i32>,
    /// What is used again.
    pub spare: Spare,
    /// The state of `math.random`: 48 bits.
    pub random: u64,
    /// Whether scripts may call anything (DEBUG SET-DISABLE-DENY-SCRIPTS).
    pub may_call_all: bool,
}

impl Default for Scripting {
    fn default() -> Self {
        Self {
            eval: None,
            scripts: HashMap::new(),
            scripts_bytes: 0,
            functions: None,
            libraries: Libraries::default(),
            running: None,
            session: None,
            children: Vec::new(),
            spare: Spare::default(),
            random: FIRST_RANDOM,
            may_call_all: false,
        }
    }
}

/// Where `math.random` begins, as `drand48` does.
const FIRST_RANDOM: u64 = 0x1234_abcd_330e;

/// What a cached script or function takes beside its text: its place and its names.
const PLACE_BYTES: usize = 128;

impl Scripting {
    /// Bytes of memory of EVAL's interpreter.
    #[must_use]
    pub fn eval_vm_bytes(&self) -> usize {
        self.eval.as_ref().map_or(0, |vm| vm.lua.used_memory())
    }

    /// Bytes of memory of the interpreter of functions.
    #[must_use]
    pub fn functions_vm_bytes(&self) -> usize {
        self.functions.as_ref().map_or(0, |vm| vm.lua.used_memory())
    }

    /// Bytes that cached scripts take beside what Lua has made of them.
    #[must_use]
    pub fn scripts_overhead(&self) -> usize {
        self.scripts_bytes + self.scripts.capacity() * PLACE_BYTES
    }

    /// Bytes that libraries take beside what Lua has made of them.
    #[must_use]
    pub fn libraries_overhead(&self) -> usize {
        let places = self.libraries.libraries.len() + self.libraries.functions.len();
        self.libraries.bytes + places * PLACE_BYTES
    }

    /// Removes all libraries of functions.
    pub fn forget_libraries(&mut self) {
        self.libraries = Libraries::default();
    }

    /// The function of this name, in any case of letters.
    #[must_use]
    pub fn function(&self, name: &[u8]) -> Option<&Rc<LibraryFunction>> {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        self.libraries.functions.get(&*name)
    }

    /// The next number of `math.random`, of 31 bits: that of `lrand48`.
    pub fn next_random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        (self.random >> 17) as u32
    }

    /// Has `math.random` begin anew, as `srand48` does.
    pub fn seed(&mut self, seed: i32) {
        self.random = u64::from(seed.cast_unsigned()) << 16 | 0x330e;
    }

    /// What a call does: what its row says, or what the script says that it would run.
    #[must_use]
    pub fn flags_of(&self, row: &CommandSpec, args: Args<'_>) -> RowFlags {
        if row.group != Group::Scripting {
            return row.flags;
        }
        let word = args.get(1).unwrap_or_default();
        let said = match row.name {
            "eval" | "eval_ro" => match self.scripts.get(&sha_of(word)) {
                Some(script) => Some(script.flags),
                None => shebang(word).ok().map(|said| said.flags),
            },
            "evalsha" | "evalsha_ro" => {
                let sha = Sha::try_from(word).ok().map(|sha| sha.map(|it| it.to_ascii_lowercase()));
                sha.and_then(|sha| self.scripts.get(&sha)).map(|script| script.flags)
            }
            "fcall" | "fcall_ro" => self.function(word).map(|function| function.flags),
            _ => None,
        };
        said.map_or(row.flags, |said| said.of_call(row.flags))
    }

    /// Whether others are served while a script runs.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.slow.is_some())
    }
}

/// The name under which a script is cached.
#[must_use]
pub fn sha_of(script: &[u8]) -> Sha {
    use sha1::{Digest, Sha1};
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut sha = [0; 40];
    for (pair, byte) in sha.chunks_exact_mut(2).zip(Sha1::digest(script)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    sha
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_the_c_library() {
        let mut scripting = Scripting::default();
        // What lrand48 gives at first and behind srand48(42), by the system's C library.
        assert_eq!(scripting.next_random(), 851_401_618);
        scripting.seed(42);
        assert_eq!(
            [scripting.next_random(), scripting.next_random()],
            [1_598_855_263, 735_945_821]
        );
    }

    #[test]
    fn names_are_sha1_in_lower_case() {
        assert_eq!(&sha_of(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
