//! Reading a file or a stream, item by item, with no more of it in memory than the value at hand.

use std::io::Read;

use super::error::{Fault, Feature, LoadError, Problem, corrupt};
use super::foreign;
use super::format::{
    MAGIC_BYTES, VERSION_CHECKSUM, VERSION_MAX, VERSION_VALKEY, kind, module, opcode,
};
use super::input::{Input, Stream};
use super::stream;
use super::value::{Reader, Rooms, array, number, string_value, text_into};
use crate::keyspace::Value;
use crate::types::{Limits, Object};

/// How much a key was used, for eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Usage {
    /// Not told.
    #[default]
    Unknown,
    /// Seconds since the last use.
    IdleSeconds(u64),
    /// The counter of least-frequently-used eviction.
    Frequency(u8),
}

/// How a file is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// How large packed forms may be.
    pub limits: Limits,
    /// Whether the checksum is looked at: `rdbchecksum`.
    pub verifies: bool,
    /// Bytes of the file, if that is known: then a string is read into an allocation of its size at once.
    pub length: Option<u64>,
    /// Whether values of types that this server has not are passed over instead of refused.
    pub passes_over: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { limits: Limits::default(), verifies: true, length: None, passes_over: false }
    }
}

/// What became of the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// It is that of the bytes.
    Right,
    /// The writer made none.
    NotMade,
    /// It was not looked at, or files of this version have none.
    NotLookedAt,
}

/// A value that was read.
pub enum Decoded<'d> {
    /// A short string, which is still the decoder's; it may be the text of a number.
    Short(&'d [u8]),
    /// Any other value.
    Value(Value),
    /// A value of a type that this server has not; see [`Options::passes_over`].
    PassedOver,
}

impl Decoded<'_> {
    /// The value, if this server has its type.
    #[must_use]
    pub fn into_value(self) -> Option<Value> {
        match self {
            Self::Short(text) => Some(string_value(text)),
            Self::Value(value) => Some(value),
            Self::PassedOver => None,
        }
    }
}

/// What a file consists of.
pub enum Item<'d> {
    /// Something that the writer says of itself or the data.
    Aux {
        /// What it is about.
        name: &'d [u8],
        /// What is said.
        value: &'d [u8],
    },
    /// The entries that follow belong to this database.
    Select(u64),
    /// How many entries and deadlines the database has: a hint, which may be a lie.
    Resize {
        /// Entries.
        keys: u64,
        /// Those with a deadline.
        volatile: u64,
    },
    /// The code of a library of functions, with its first line `#!engine name=library`.
    Function(Vec<u8>),
    /// Data of a module beside the entries, which was passed over. redis-server refuses the file then, for want of the
    /// module.
    ModuleAux {
        /// The module's name.
        module: String,
    },
    /// An entry.
    Entry {
        /// Its key.
        key: &'d [u8],
        /// Its value.
        value: Decoded<'d>,
        /// When it dies, in milliseconds since 1970.
        deadline: Option<i64>,
        /// How much it was used.
        usage: Usage,
    },
    /// A key with a collection of nothing, to be left out.
    EmptyKey(&'d [u8]),
    /// The end.
    End(Checksum),
}

/// What is being read, as `redis-check-rdb` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Start,
    Type,
    Expire,
    Key,
    Value,
    Checksum,
    Length,
    Aux,
    ModuleAux,
    Functions,
}

/// Reads items. After an error or [`Item::End`] there is nothing more to be had.
pub struct Decoder<R> {
    input: Stream<R>,
    options: Options,
    version: Option<u16>,
    is_valkey: bool,
    rooms: Rooms,
    key: Vec<u8>,
    writer: Option<String>,
    /// What was said of the producers of the stream that follows.
    names: Option<Vec<u8>>,
    checked: u64,
    pub(super) doing: Doing,
    pub(super) kind: Option<u8>,
    pub(super) has_key: bool,
    /// What is missing where a library of functions is cut off.
    pub(super) missing_of_function: &'static str,
}

/// What was read up to where something is to be lent.
enum Step {
    Aux,
    Select(u64),
    Resize { keys: u64, volatile: u64 },
    Function(Vec<u8>),
    ModuleAux(String),
    Entry { kind: u8, deadline: Option<i64>, usage: Usage },
    End(Checksum),
}

impl<R: Read> Decoder<R> {
    /// Reads what `reader` gives. It need not be buffered.
    pub fn new(reader: R, options: Options) -> Self {
        Self {
            input: Stream::new(reader, options.verifies, options.length),
            options,
            version: None,
            is_valkey: false,
            rooms: Rooms::default(),
            key: Vec::new(),
            writer: None,
            names: None,
            checked: 0,
            doing: Doing::Start,
            kind: None,
            has_key: false,
            missing_of_function: "",
        }
    }

    /// Bytes that were read.
    pub fn offset(&self) -> u64 {
        self.input.offset()
    }

    /// Packed values that were checked, for `dump_payload_sanitizations`.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// What was read from the reader but lies behind the last item, and the reader: a log goes on there.
    pub fn into_parts(self) -> (Vec<u8>, R) {
        self.input.into_parts()
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The next item.
    ///
    /// # Errors
    /// When the file is damaged, needs what this server has not, or cannot be read.
    #[allow(clippy::should_implement_trait, reason = "items are lent")]
    pub fn next(&mut self) -> Result<Item<'_>, LoadError> {
        let step = self.step().map_err(|fault| self.error(fault))?;
        Ok(match step {
            Step::Aux => Item::Aux { name: &self.key, value: &self.rooms.text },
            Step::Select(db) => Item::Select(db),
            Step::Resize { keys, volatile } => Item::Resize { keys, volatile },
            Step::Function(code) => Item::Function(code),
            Step::ModuleAux(module) => Item::ModuleAux { module },
            Step::End(checksum) => Item::End(checksum),
            Step::Entry { kind, deadline, usage } => {
                self.doing = Doing::Value;
                let names = self.names.take();
                let value = match self.value_with(kind, names.as_deref()) {
                    Ok(Some(value)) => Decoded::Value(value),
                    Ok(None) if kind == kind::STRING => Decoded::Short(&self.rooms.text),
                    Ok(None) => Decoded::PassedOver,
                    Err(Fault::Empty) => return Ok(Item::EmptyKey(&self.key)),
                    Err(fault) => return Err(self.error(fault)),
                };
                Item::Entry { key: &self.key, value, deadline, usage }
            }
        })
    }

    fn error(&self, fault: Fault) -> LoadError {
        LoadError {
            offset: self.offset(),
            key: (self.has_key && self.doing == Doing::Value).then(|| self.key.clone()),
            writer: self.writer.clone(),
            problem: match fault {
                Fault::Problem(problem) => problem,
                Fault::Empty => Problem::Short,
            },
        }
    }

    /// The value of a type, with what was said before it of the producers of a stream.
    fn value_with(&mut self, kind: u8, names: Option<&[u8]>) -> Result<Option<Value>, Fault> {
        let mut value = self.value(kind)?;
        if let (Some(Value::Object(Object::Stream(held))), Some(names)) = (&mut value, names) {
            stream::names_of_field(names, &self.options.limits, held)?;
        }
        Ok(value)
    }

    /// The version; reads the beginning of the file when it is not read yet.
    fn version(&mut self) -> Result<u16, Fault> {
        if let Some(version) = self.version {
            return Ok(version);
        }
        let magic: [u8; MAGIC_BYTES] = array(&mut self.input)?;
        let digits = match &magic {
            [b'R', b'E', b'D', b'I', b'S', digits @ ..] => &digits[..],
            [b'V', b'A', b'L', b'K', b'E', b'Y', digits @ ..] => {
                self.is_valkey = true;
                &digits[..]
            }
            _ => return Err(Problem::Signature.into()),
        };
        // As `atoi`: what are no digits at the end is not looked at.
        let number = digits
            .iter()
            .take_while(|digit| digit.is_ascii_digit())
            .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        let is_known = match self.is_valkey {
            false => (1..=VERSION_MAX).contains(&number),
            true => number == VERSION_VALKEY,
        };
        if !is_known {
            return Err(Problem::Version(i64::from(number)).into());
        }
        self.version = Some(number);
        Ok(number)
    }

    fn step(&mut self) -> Result<Step, Fault> {
        let version = self.version()?;
        self.rooms.settle();
        (self.kind, self.has_key) = (None, false);
        let (mut deadline, mut usage) = (None, Usage::Unknown);
        loop {
            self.doing = Doing::Type;
            let kind = self.input.piece(1)?[0];
            if kind < opcode::LOWEST {
                if !kind::is_known(kind) {
                    return Err(Feature::Type(kind).into());
                }
                self.kind = Some(self.own_kind(kind));
                self.doing = Doing::Key;
                text_into_key(&mut self.input, &mut self.key, &mut self.rooms)?;
                self.has_key = true;
                return Ok(Step::Entry { kind: self.own_kind(kind), deadline, usage });
            }
            match kind {
                opcode::EXPIRETIME => {
                    self.doing = Doing::Expire;
                    let seconds = i32::from_le_bytes(array(&mut self.input)?);
                    deadline = Some(i64::from(seconds) * 1000);
                }
                opcode::EXPIRETIME_MS => {
                    self.doing = Doing::Expire;
                    deadline = Some(i64::from_le_bytes(array(&mut self.input)?));
                }
                opcode::FREQ => usage = Usage::Frequency(self.input.piece(1)?[0]),
                opcode::IDLE => usage = Usage::IdleSeconds(number(&mut self.input)?),
                opcode::SLOT_INFO => {
                    // A slot of a cluster, its keys, and those with a deadline: a hint as well.
                    for _ in 0..3 {
                        number(&mut self.input)?;
                    }
                }
                opcode::SLOT_IMPORT => return Err(Feature::SlotImport.into()),
                other => return self.beside(other, version),
            }
        }
    }

    /// The type of a value; Valkey has given one number to another form.
    fn own_kind(&self, kind: u8) -> u8 {
        if self.is_valkey && kind == kind::HASH_DEADLINES_EARLY {
            kind::HASH_DEADLINES_VALKEY
        } else {
            kind
        }
    }

    /// What stands beside the entries.
    fn beside(&mut self, kind: u8, version: u16) -> Result<Step, Fault> {
        Ok(match kind {
            opcode::SELECTDB => {
                self.doing = Doing::Length;
                Step::Select(number(&mut self.input)?)
            }
            opcode::RESIZEDB => {
                self.doing = Doing::Length;
                let keys = number(&mut self.input)?;
                Step::Resize { keys, volatile: number(&mut self.input)? }
            }
            opcode::AUX => {
                self.doing = Doing::Aux;
                self.aux()?;
                Step::Aux
            }
            opcode::FUNCTION | opcode::FUNCTION2 => {
                self.doing = Doing::Functions;
                Step::Function(self.function(kind == opcode::FUNCTION)?)
            }
            opcode::MODULE_AUX => {
                self.doing = Doing::ModuleAux;
                Step::ModuleAux(self.module_aux()?)
            }
            _ => {
                self.doing = Doing::Checksum;
                Step::End(self.end(version)?)
            }
        })
    }

    fn aux(&mut self) -> Result<(), Fault> {
        text_into_key(&mut self.input, &mut self.key, &mut self.rooms)?;
        let (room, packed) = self.rooms.for_text();
        text_into(&mut self.input, room, packed)?;
        if self.key == stream::NAMES.as_bytes() {
            self.names = Some(room.clone());
        }
        if self.key == b"redis-ver" || self.key == b"valkey-ver" {
            let (name, version) = (self.key.escape_ascii(), room.escape_ascii());
            self.writer = Some(format!("{name} {version}"));
        }
        Ok(())
    }

    fn owned_text(&mut self) -> Result<Vec<u8>, Fault> {
        let (_, packed) = self.rooms.for_text();
        let mut text = Vec::new();
        text_into(&mut self.input, &mut text, packed)?;
        Ok(text)
    }

    /// A library; the release candidates of Redis 7.0 wrote name and engine beside the code.
    fn function(&mut self, is_early: bool) -> Result<Vec<u8>, Fault> {
        if !is_early {
            self.missing_of_function = "library payload";
            return self.owned_text();
        }
        self.missing_of_function = "library name";
        let name = self.owned_text()?;
        self.missing_of_function = "engine name";
        let engine = self.owned_text()?;
        self.missing_of_function = "library description indicator";
        if number(&mut self.input)? != 0 {
            self.missing_of_function = "library description";
            self.owned_text()?;
        }
        self.missing_of_function = "library blob";
        let code = self.owned_text()?;
        Ok([b"#!", &engine[..], b" name=", &name, b"\n", &code].concat())
    }

    fn module_aux(&mut self) -> Result<String, Fault> {
        let name = foreign::module_name(number(&mut self.input)?);
        let is_number = number(&mut self.input)? == module::UINT;
        // Whether it was written before the entries or behind them.
        number(&mut self.input)?;
        if !is_number {
            return Err(corrupt("bad when_opcode", 3066));
        }
        foreign::skip_module(&mut self.input, &mut self.rooms, &name)?;
        Ok(name)
    }

    fn end(&mut self, version: u16) -> Result<Checksum, Fault> {
        if version < VERSION_CHECKSUM {
            return Ok(Checksum::NotLookedAt);
        }
        let expected = self.input.checksum();
        let found = u64::from_le_bytes(array(&mut self.input)?);
        match expected {
            None => Ok(Checksum::NotLookedAt),
            Some(_) if found == 0 => Ok(Checksum::NotMade),
            Some(expected) if found == expected => Ok(Checksum::Right),
            Some(expected) => Err(Problem::Checksum { expected, found }.into()),
        }
    }

    /// The value of a type; `None` is a short string in its room, or what was passed over.
    fn value(&mut self, kind: u8) -> Result<Option<Value>, Fault> {
        if self.options.passes_over && kind == kind::MODULE_2 {
            let name = foreign::module_name(number(&mut self.input)?);
            foreign::skip_module(&mut self.input, &mut self.rooms, &name)?;
            return Ok(None);
        }
        let mut reader = Reader {
            input: &mut self.input,
            rooms: &mut self.rooms,
            limits: &self.options.limits,
            checked: 0,
        };
        if kind == kind::STRING {
            return reader.string();
        }
        let object = reader.object(kind)?;
        self.checked += reader.checked;
        Ok(Some(Value::Object(object)))
    }
}

fn text_into_key(
    input: &mut impl Input,
    key: &mut Vec<u8>,
    rooms: &mut Rooms,
) -> Result<(), Fault> {
    let (_, packed) = rooms.for_text();
    text_into(input, key, packed)
}
