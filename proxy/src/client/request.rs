//! A request as it was read.

use redstart_common::command::CommandSpec;
use redstart_common::resp::{Args, encode};

use crate::output::Output;

/// One request and how it looked on the wire.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its arguments.
    pub args: Args<'a>,
    /// Its bytes as received.
    pub raw: &'a [u8],
    /// Its row.
    pub row: &'static CommandSpec,
    /// When its batch was read.
    pub now_us: u64,
}

impl Request<'_> {
    /// Whether it came as a line of words rather than as an array.
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.raw.first() != Some(&b'*')
    }

    /// Appends it in the form servers are sent.
    #[inline]
    pub fn write(&self, output: &mut Output) {
        if self.is_inline() {
            write_args(self.args, output.tail());
        } else {
            output.push(self.raw);
        }
    }
}

/// Appends arguments as an array of bulk strings.
pub fn write_args(args: Args<'_>, out: &mut Vec<u8>) {
    encode::request(out, args.iter());
}
