//! A session of the debugger of scripts (`SCRIPT DEBUG`): what the client's words do that need nothing of Lua.
//!
//! Words, texts and marks are those of Redis's debugger, which redis-cli `--ldb` speaks with: a request is an array of words,
//! an answer an array of lines. While a script has stopped, only its client is listened to; what of Lua the client wants to see
//! is done by the border (`border::debug`), which is called as the script goes from line to line.

mod reply;
mod words;

use std::rc::Rc;
use std::time::Duration;

pub use self::reply::human;
use self::words::Parsed;
use crate::client::Connection;

/// Lines at which a script can be made to stop.
const BREAKPOINTS_MAX: usize = 64;
/// Bytes of a value or reply that are shown, where the client has not chosen.
const SHOWN_BYTES: usize = 256;
/// The least that a client can choose.
const SHOWN_BYTES_MIN: usize = 60;
/// Lines around the current one that `list` shows.
const AROUND: i64 = 5;
/// What a client may have sent before a whole request is there, in bytes.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// How long a client may not take what is sent to it.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

const HELP: [&str; 30] = [
    "Redis Lua debugger help:",
    "[h]elp               Show this help.",
    "[s]tep               Run current line and stop again.",
    "[n]ext               Alias for step.",
    "[c]ontinue           Run till next breakpoint.",
    "[l]ist               List source code around current line.",
    "[l]ist [line]        List source code around [line].",
    "                     line = 0 means: current position.",
    "[l]ist [line] [ctx]  In this form [ctx] specifies how many lines",
    "                     to show before/after [line].",
    "[w]hole              List all source code. Alias for 'list 1 1000000'.",
    "[p]rint              Show all the local variables.",
    "[p]rint <var>        Show the value of the specified variable.",
    "                     Can also show global vars KEYS and ARGV.",
    "[b]reak              Show all breakpoints.",
    "[b]reak <line>       Add a breakpoint to the specified line.",
    "[b]reak -<line>      Remove breakpoint from the specified line.",
    "[b]reak 0            Remove all breakpoints.",
    "[t]race              Show a backtrace.",
    "[e]val <code>        Execute some Lua code (in a different callframe).",
    "[r]edis <cmd>        Execute a Redis command.",
    "[m]axlen [len]       Trim logged Redis replies and Lua var dumps to len.",
    "                     Specifying zero as <len> means unlimited.",
    "[a]bort              Stop the execution of the script. In sync",
    "                     mode dataset changes will be retained.",
    "",
    "Debugger functions you can call from Lua scripts:",
    "redis.debug()        Produce logs in the debugger console.",
    "redis.breakpoint()   Stop execution like if there was a breakpoint in the",
    "                     next line of code.",
];

/// Why a script stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The client steps from line to line.
    Step,
    /// A line at which it was to stop.
    Breakpoint,
    /// The script has asked for it.
    Asked,
    /// It has run for long.
    Long,
}

impl Stop {
    fn text(self) -> &'static str {
        match self {
            Self::Step => "step over",
            Self::Breakpoint => "break point",
            Self::Asked => "redis.breakpoint() called",
            Self::Long => "timeout reached, infinite loop?",
        }
    }
}

/// What a client wants of a script that has stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// That it goes on.
    GoOn,
    /// That it ends.
    Abort,
    /// To see how it came here.
    Trace,
    /// To see a variable, or all of this function.
    Print(Option<Vec<u8>>),
    /// To have code of its own run.
    Eval(Vec<u8>),
    /// To have a command run.
    Redis(Vec<Vec<u8>>),
}

/// Why no more can be heard of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// It is gone: the script goes on without it.
    Gone,
    /// It says what cannot be understood: the script ends with this error.
    Fault(&'static str),
}

/// A session.
pub struct Session {
    connection: Rc<dyn Connection>,
    source: Vec<Box<[u8]>>,
    line: i64,
    breakpoints: Vec<i64>,
    steps: bool,
    asked_to_stop: bool,
    lines: Vec<Vec<u8>>,
    /// Bytes of a value that are shown; 0 when all are.
    shown_bytes: usize,
    hinted: bool,
    input: Vec<u8>,
}

impl Session {
    /// A session about a script, which stops at its first line.
    #[must_use]
    pub fn new(connection: Rc<dyn Connection>, script: &[u8]) -> Self {
        let end = script.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |at| at + 1);
        Self {
            connection,
            source: script[..end].split(|byte| *byte == b'\n').map(Into::into).collect(),
            line: 0,
            breakpoints: Vec::new(),
            steps: true,
            asked_to_stop: false,
            lines: Vec::new(),
            shown_bytes: SHOWN_BYTES,
            hinted: false,
            input: Vec::new(),
        }
    }

    /// Whether commands and their replies are shown.
    #[must_use]
    pub fn shows_commands(&self) -> bool {
        self.steps
    }

    /// Has commands and their replies shown, or not.
    pub fn show_commands(&mut self, shown: bool) {
        self.steps = shown;
    }

    /// Has the script stop at its next line.
    pub fn ask_to_stop(&mut self) {
        self.asked_to_stop = true;
    }

    /// The line that runs.
    #[must_use]
    pub fn line(&self) -> i64 {
        self.line
    }

    /// The script is about to run a line, or has run for long (`is_long`) since it last stopped. Answers why it stops there, if
    /// it does.
    pub fn arrives(&mut self, line: i64, is_long: bool) -> Option<Stop> {
        self.line = line;
        if self.asked_to_stop {
            Some(Stop::Asked)
        } else if self.breakpoints.contains(&line) {
            Some(Stop::Breakpoint)
        } else if is_long {
            Some(Stop::Long)
        } else {
            self.steps.then_some(Stop::Step)
        }
    }

    /// Tells the client where the script has stopped, and why.
    pub fn tell_stop(&mut self, stop: Stop) {
        self.steps = false;
        self.asked_to_stop = false;
        self.tell(format!("* Stopped at {}, stop reason = {}", self.line, stop.text()));
        self.tell_line(self.line);
        self.send();
    }

    /// Adds a line to the answer.
    pub fn tell(&mut self, line: impl Into<Vec<u8>>) {
        self.lines.push(line.into());
    }

    /// Adds a value or reply, of which no more is shown than the client wants.
    pub fn tell_trimmed(&mut self, mut line: Vec<u8>) {
        let is_trimmed = self.shown_bytes > 0 && line.len() > self.shown_bytes;
        if is_trimmed {
            line.truncate(self.shown_bytes);
            line.extend_from_slice(b" ...");
        }
        self.tell(line);
        if is_trimmed && !std::mem::replace(&mut self.hinted, true) {
            self.tell("<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming.");
        }
    }

    /// Adds a line of the script.
    pub fn tell_line(&mut self, line: i64) {
        let text = usize::try_from(line - 1).ok().and_then(|place| self.source.get(place));
        let text = text.map_or(&b"<out of range source code line>"[..], |text| text);
        let is_breakpoint = self.breakpoints.contains(&line);
        let mark = match (line == self.line, is_breakpoint) {
            (true, true) => "->#",
            (true, false) => "-> ",
            (false, true) => "  #",
            (false, false) => "   ",
        };
        let told = [format!("{mark}{line:<3} ").as_bytes(), text].concat();
        self.tell(told);
    }

    /// Sends the answer.
    pub fn send(&mut self) {
        let mut bytes = format!("*{}\r\n", self.lines.len()).into_bytes();
        for line in self.lines.drain(..) {
            bytes.push(b'+');
            bytes.extend(
                line.into_iter().map(|byte| if b"\r\n".contains(&byte) { b' ' } else { byte }),
            );
            bytes.extend_from_slice(b"\r\n");
        }
        // Who is gone is noticed when it is listened to.
        let _ = self.connection.write_waiting(&bytes, SEND_TIMEOUT);
    }

    /// Ends the session.
    pub fn end(mut self) {
        self.tell("<endsession>");
        self.send();
    }

    /// Waits for what the client wants that needs Lua, and answers by itself what does not.
    ///
    /// # Errors
    /// When nothing more is to be heard of it.
    pub fn listen(&mut self) -> Result<Wish, Silence> {
        loop {
            let words = self.read_words()?;
            if let Some(wish) = self.obey(&words) {
                return Ok(wish);
            }
            self.send();
        }
    }

    fn read_words(&mut self) -> Result<Vec<Vec<u8>>, Silence> {
        loop {
            match words::parse(&self.input) {
                Parsed::Whole(words, length) => {
                    self.input.drain(..length);
                    return Ok(words);
                }
                Parsed::Broken => return Err(Silence::Fault("protocol error")),
                Parsed::Part if self.input.len() > INPUT_BYTES_MAX => {
                    self.input = Vec::new();
                    return Err(Silence::Fault("max client buffer reached"));
                }
                Parsed::Part => {}
            }
            let mut room = [0; 4096];
            match self.connection.read_waiting(&mut room) {
                Ok(length) if length > 0 => self.input.extend_from_slice(&room[..length]),
                _ => {
                    // Nobody is there to have it go on.
                    self.steps = false;
                    self.breakpoints.clear();
                    return Err(Silence::Gone);
                }
            }
        }
    }

    /// Does what the words want, or answers with it where it needs Lua.
    fn obey(&mut self, words: &[Vec<u8>]) -> Option<Wish> {
        let (word, rest) = words.split_first()?;
        match &*word.to_ascii_lowercase() {
            b"h" | b"help" => {
                HELP.iter().for_each(|line| self.tell(*line));
            }
            b"s" | b"step" | b"n" | b"next" => {
                self.steps = true;
                return Some(Wish::GoOn);
            }
            b"c" | b"continue" => return Some(Wish::GoOn),
            b"a" | b"abort" => return Some(Wish::Abort),
            b"t" | b"trace" => return Some(Wish::Trace),
            b"e" | b"eval" => return Some(Wish::Eval(rest.join(&b' '))),
            b"r" | b"redis" if !rest.is_empty() => return Some(Wish::Redis(rest.to_vec())),
            b"p" | b"print" => {
                let name = if let [name] = rest { Some(name.clone()) } else { None };
                return Some(Wish::Print(name));
            }
            b"m" | b"maxlen" => self.set_shown_bytes(rest),
            b"b" | b"break" => self.set_breakpoints(rest),
            b"l" | b"list" => {
                let around = rest.first().map(|word| words::number(word)).filter(|line| *line > 0);
                let context = rest.get(1).map_or(AROUND, |word| words::number(word));
                self.tell_lines(around.unwrap_or(self.line), context);
            }
            b"w" | b"whole" => self.tell_lines(1, i64::MAX),
            _ => self
                .tell("<error> Unknown Redis Lua debugger command or wrong number of arguments."),
        }
        None
    }

    /// Adds the lines of the script around one.
    fn tell_lines(&mut self, around: i64, context: i64) {
        let context = context.unsigned_abs() * u64::from(context >= 0);
        for line in 1..=self.source.len() as i64 {
            if line.abs_diff(around) <= context {
                self.tell_line(line);
            }
        }
    }

    fn set_shown_bytes(&mut self, words: &[Vec<u8>]) {
        if let [word] = words {
            self.hinted = true;
            let bytes = usize::try_from(words::number(word)).unwrap_or(SHOWN_BYTES_MIN);
            self.shown_bytes = if bytes == 0 { 0 } else { bytes.max(SHOWN_BYTES_MIN) };
        }
        self.tell(match self.shown_bytes {
            0 => "<value> replies are unlimited.".to_owned(),
            bytes => format!("<value> replies are truncated at {bytes} bytes."),
        });
    }

    fn set_breakpoints(&mut self, words: &[Vec<u8>]) {
        if words.is_empty() {
            if self.breakpoints.is_empty() {
                self.tell("No breakpoints set. Use 'b <line>' to add one.");
                return;
            }
            self.tell(format!("{} breakpoints set:", self.breakpoints.len()));
            for line in self.breakpoints.clone() {
                self.tell_line(line);
            }
        }
        for word in words {
            match redstart_common::number::parse_i64(word) {
                None => self.tell([b"Invalid argument:'", &**word, b"'"].concat()),
                Some(0) => {
                    self.breakpoints.clear();
                    self.tell("All breakpoints removed.");
                }
                Some(line) if line > 0 => self.add_breakpoint(line),
                Some(line) => {
                    let place =
                        self.breakpoints.iter().position(|it| it.checked_neg() == Some(line));
                    if let Some(place) = place {
                        self.breakpoints.remove(place);
                        self.tell("Breakpoint removed.");
                    } else {
                        self.tell("No breakpoint in the specified line.");
                    }
                }
            }
        }
    }

    fn add_breakpoint(&mut self, line: i64) {
        if self.breakpoints.len() == BREAKPOINTS_MAX {
            self.tell("Too many breakpoints set.");
        } else if line > self.source.len() as i64 {
            self.tell("Wrong line number.");
        } else {
            if !self.breakpoints.contains(&line) {
                self.breakpoints.push(line);
            }
            self.tell_lines(line, 1);
        }
    }
}

#[cfg(test)]
mod tests;
