//! What this server has no type for, passed over: a check of a file wants to know whether it is whole.

use super::error::{Fault, Problem, corrupt};
use super::format::{kind, module};
use super::input::Input;
use super::value::{Rooms, array, number, text};
use crate::encoding::listpack::Listpack;

/// Bytes of the id of an entry of a stream.
const STREAM_ID_BYTES: usize = 16;

/// The name of a module that is packed into the id of its type, six bits a letter; ten bits beside are a version.
pub(super) fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|place| LETTERS[(id >> (58 - 6 * place)) as usize & 63] as char).collect()
}

/// A file that ends here is told by what was being read.
fn told<T>(result: Result<T, Fault>, reason: &str, line: u16) -> Result<T, Fault> {
    match result {
        Err(Fault::Problem(Problem::Short)) => Err(corrupt(reason.to_owned(), line)),
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
                told(number(input), &error("integer"), 1540)?;
            }
            module::STRING => {
                told(skip_text(input, rooms), &error("string"), 1546)?;
            }
            module::FLOAT => {
                told(array::<4>(input), &error("float"), 1553)?;
            }
            module::DOUBLE => {
                told(array::<8>(input), &error("double"), 1559)?;
            }
            // As redis-server, which takes the next number for a part then.
            _ => {}
        }
    }
}

fn skip_text(input: &mut impl Input, rooms: &mut Rooms) -> Result<(), Fault> {
    rooms.skip_text(input)
}

/// Passes over a stream of a type, with its groups.
pub(super) fn skip_stream(
    input: &mut impl Input,
    rooms: &mut Rooms,
    kind: u8,
) -> Result<(), Fault> {
    let nodes = told(number(input), "Stream listpacks len loading failed.", 2327)?;
    for _ in 0..nodes {
        skip_stream_node(input, rooms)?;
    }
    // Entries and the last id; then the first id, the highest that was deleted, and entries ever added.
    let numbers = if kind == kind::STREAM { 3 } else { 8 };
    let mut entries = None;
    for _ in 0..numbers {
        let read = told(number(input), "Stream object metadata loading failed.", 2424)?;
        entries.get_or_insert(read);
    }
    if entries != Some(0) && nodes == 0 {
        return Err(corrupt("Stream length inconsistent with rax entries", 2430));
    }
    for _ in 0..told(number(input), "Stream cgroup count loading failed.", 2438)? {
        skip_group(input, rooms, kind)?;
    }
    Ok(())
}

fn skip_stream_node(input: &mut impl Input, rooms: &mut Rooms) -> Result<(), Fault> {
    let id = rooms.text(input);
    let id = told(id, "Stream master ID loading failed: invalid encoding or I/O error.", 2338)?;
    if id.len() != STREAM_ID_BYTES {
        return Err(corrupt("Stream node key entry is not the size of a stream ID", 2343));
    }
    let pack = told(rooms.text(input), "Stream listpacks loading failed.", 2355)?;
    match Listpack::from_bytes(pack) {
        None => Err(corrupt("Stream listpack integrity check failed.", 2362)),
        Some(pack) if pack.is_empty() => Err(corrupt("Empty listpack inside stream", 2374)),
        Some(_) => Ok(()),
    }
}

fn skip_group(input: &mut impl Input, rooms: &mut Rooms, kind: u8) -> Result<(), Fault> {
    told(skip_text(input, rooms), "Error reading the consumer group name from Stream", 2449)?;
    for _ in 0..2 {
        told(number(input), "Stream cgroup ID loading failed.", 2458)?;
    }
    if kind != kind::STREAM {
        told(number(input), "Stream cgroup offset loading failed.", 2469)?;
    }
    for _ in 0..told(number(input), "Stream PEL size loading failed.", 2495)? {
        told(array::<STREAM_ID_BYTES>(input), "Stream PEL ID loading failed.", 2502)?;
        // When it was handed out, and how often.
        told(array::<8>(input), "Stream PEL NACK loading failed.", 2510)?;
        told(number(input), "Stream PEL NACK loading failed.", 2510)?;
    }
    for _ in 0..told(number(input), "Stream consumers num loading failed.", 2527)? {
        let name = skip_text(input, rooms);
        told(name, "Error reading the consumer name from Stream group.", 2534)?;
        // When it was seen last, and when it did something last.
        for _ in 0..if kind == kind::STREAM_3 { 2 } else { 1 } {
            told(array::<8>(input), "Stream short read reading seen time.", 2549)?;
        }
        for _ in 0..told(number(input), "Stream consumer PEL num loading failed.", 2558)? {
            let id = array::<STREAM_ID_BYTES>(input);
            told(id, "Stream short read reading PEL streamID.", 2566)?;
        }
    }
    Ok(())
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
