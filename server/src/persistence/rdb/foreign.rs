//! What this server has no type for, passed over: a check of a file wants to know whether it is whole.

use std::borrow::Cow;

use super::error::{Fault, Problem, corrupt};
use super::format::module;
use super::input::Input;
use super::value::{Rooms, array, number, text};

/// The name of a module that is packed into the id of its type, six bits a letter; ten bits beside are a version.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|place| LETTERS[(id >> (58 - 6 * place)) as usize & 63] as char).collect()
}

/// A file that ends here is told by what was being read.
pub(super) fn told<T>(
    result: Result<T, Fault>,
    reason: impl Into<Cow<'static, str>>,
    line: u16,
) -> Result<T, Fault> {
    match result {
        Err(Fault::Problem(Problem::Short)) => Err(corrupt(reason, line)),
        other => other,
    }
}

/// Passes over the parts of a value of a module, whose name is known.
pub(super) fn skip_module(
    input: &mut impl Input,
    rooms: &mut Rooms,
    name: &str,
) -> Result<(), Fault> {
    let error = |what: &str| format!("Error reading {what} from module {name} value");
    loop {
        match number(input)? {
            module::END => return Ok(()),
            module::SINT | module::UINT => {
                told(number(input), error("integer"), 1540)?;
            }
            module::STRING => {
                told(skip_text(input, rooms), error("string"), 1546)?;
            }
            module::FLOAT => {
                told(array::<4>(input), error("float"), 1553)?;
            }
            module::DOUBLE => {
                told(array::<8>(input), error("double"), 1559)?;
            }
            // As redis-server, which takes the next number for a part then.
            _ => {}
        }
    }
}

fn skip_text(input: &mut impl Input, rooms: &mut Rooms) -> Result<(), Fault> {
    rooms.skip_text(input)
}

impl Rooms {
    fn text<'a>(&'a mut self, input: &'a mut impl Input) -> Result<&'a [u8], Fault> {
        let (room, packed) = self.for_text();
        text(input, room, packed)
    }

    fn skip_text(&mut self, input: &mut impl Input) -> Result<(), Fault> {
        self.text(input).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules_are_unpacked() {
        // "ReJSON-RL" with version 3, as RedisJSON registers it.
        let letters = b"ReJSON-RL";
        let all = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let id = letters.iter().fold(0, |id, letter| {
            id << 6 | all.iter().position(|other| other == letter).expect("a letter") as u64
        });
        assert_eq!(module_name(id << 10 | 3), "ReJSON-RL");
    }
}
