//! JSON as values. What is nested waits on a list and on Lua's stack, not on the processor's.

use mlua::{Lua, Value};

use super::super::numbers::read_prefix;
use super::super::stack::{self, Stack};
use super::{Answer, Arguments, Config, Raise, one};

/// Arrays and objects that may lie in each other whatever has been set: as many as have room on the stack of Redis's own
/// library.
const DEPTH_MAX: i32 = 2_660;

/// A word of JSON.
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// What is wrong.
    Error(&'static str),
}

impl Token {
    /// What errors call it.
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(what) => what,
        }
    }
}

/// A text that is being read.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Where the last token begins.
    token_at: usize,
    /// What the last text was.
    string: Vec<u8>,
    takes_invalid: bool,
}

/// An array or object that is being read. It lies on the stack, and above an object the key whose value comes next.
enum Open {
    /// The elements are counted.
    Array(i32),
    Object,
}

impl Reader<'_> {
    /// The byte so far ahead; zero behind the end, as in C.
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn begins_with(&self, word: &[u8]) -> bool {
        self.text[self.at.min(self.text.len())..].starts_with(word)
    }

    fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.token_at = self.at;
        let single = match self.peek(0) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string(),
            b'-' | b'0'..=b'9' => {
                if !self.takes_invalid && self.is_invalid_number() {
                    return self.error("invalid number");
                }
                return self.number();
            }
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => return self.word(),
            _ => return self.error("invalid token"),
        };
        self.at += 1;
        single
    }

    fn error(&mut self, what: &'static str) -> Token {
        self.token_at = self.at;
        Token::Error(what)
    }

    fn word(&mut self) -> Token {
        let words = [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ];
        for (word, token) in words {
            if self.begins_with(word) {
                self.at += word.len();
                return token;
            }
        }
        if self.takes_invalid && self.is_invalid_number() {
            return self.number();
        }
        self.error("invalid token")
    }

    /// Whether what follows is a number that JSON does not know.
    fn is_invalid_number(&self) -> bool {
        if self.peek(0) == b'+' {
            return true;
        }
        let sign = usize::from(self.peek(0) == b'-');
        match self.peek(sign) {
            b'0' => self.peek(sign + 1) | 0x20 == b'x' || self.peek(sign + 1).is_ascii_digit(),
            ..=b'9' => false,
            _ => {
                let word = [self.peek(sign), self.peek(sign + 1), self.peek(sign + 2)];
                word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
            }
        }
    }

    fn number(&mut self) -> Token {
        match read_prefix(&self.text[self.at..]) {
            Some((number, length)) => {
                self.at += length;
                Token::Number(number)
            }
            None => self.error("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        self.at += 1;
        self.string.clear();
        loop {
            let plain = self.text[self.at.min(self.text.len())..]
                .iter()
                .take_while(|byte| !matches!(byte, b'"' | b'\\' | 0))
                .count();
            self.string.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek(0) {
                b'"' => {
                    self.at += 1;
                    return Token::Text;
                }
                0 => return self.error("unexpected end of string"),
                _ => {}
            }
            let byte = match self.peek(1) {
                byte @ (b'"' | b'\\' | b'/') => byte,
                b'b' => 0x08,
                b't' => b'\t',
                b'n' => b'\n',
                b'f' => 0x0c,
                b'r' => b'\r',
                b'u' => {
                    if !self.unicode() {
                        return self.error("invalid unicode escape code");
                    }
                    continue;
                }
                _ => return self.error("invalid escape code"),
            };
            self.string.push(byte);
            self.at += 2;
        }
    }

    fn hex4(&self, ahead: usize) -> Option<u32> {
        let digit = |place: usize| char::from(self.peek(ahead + place)).to_digit(16);
        Some(digit(0)? << 12 | digit(1)? << 8 | digit(2)? << 4 | digit(3)?)
    }

    /// Takes `\uXXXX`, or two that are one character.
    fn unicode(&mut self) -> bool {
        const LENGTH: usize = 6;
        let Some(first) = self.hex4(2) else { return false };
        let (point, length) = if first & 0xf800 == 0xd800 {
            let second = self.hex4(LENGTH + 2);
            let is_pair = first & 0x400 == 0
                && self.peek(LENGTH) == b'\\'
                && self.peek(LENGTH + 1) == b'u'
                && second.is_some_and(|second| second & 0xfc00 == 0xdc00);
            if !is_pair {
                return false;
            }
            let low = second.unwrap_or(0) & 0x3ff;
            (((first & 0x3ff) << 10 | low) + 0x1_0000, LENGTH * 2)
        } else {
            (first, LENGTH)
        };
        let Some(character) = char::from_u32(point) else { return false };
        let mut bytes = [0; 4];
        self.string.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        self.at += length;
        true
    }

    fn unexpected(&self, wanted: &str, found: &Token) -> Raise {
        let at = self.token_at + 1;
        Raise::text(format!("Expected {wanted} but found {} at character {at}", found.name()))
    }
}

/// `cjson.decode(text)`
pub(super) fn decode(lua: &Lua, args: &Arguments, config: &Config) -> Answer {
    if args.len() != 1 {
        return Err(Raise::argument(1, "expected 1 argument"));
    }
    let text = args.string(lua, 1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raise::text("JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut reader = Reader {
        text: &text,
        at: 0,
        token_at: 0,
        string: Vec::new(),
        takes_invalid: config.decode_invalid.get(),
    };
    let depth_max = config.decode_depth.get().min(DEPTH_MAX);
    // What has to be dropped lies here, not in the frames that an error of Lua's may pass over.
    let mut open: Vec<Open> = Vec::new();
    let mut refused = None;
    let whole = stack::run::<Value>(lua, (), |stack| {
        refused = read(stack, &mut reader, &mut open, depth_max).err();
        if refused.is_some() {
            stack.clear();
            stack.push_nil();
        }
    })?;
    refused.map_or_else(|| Ok(one(whole)), Err)
}

/// Reads a text, whose value is pushed.
fn read(
    stack: &mut Stack<'_>,
    reader: &mut Reader<'_>,
    open: &mut Vec<Open>,
    depth_max: i32,
) -> Result<(), Raise> {
    let mut token = reader.next();
    loop {
        let is_whole = match token {
            Token::ArrayBegin | Token::ObjectBegin => {
                begin(stack, reader, open, &token, depth_max)?
            }
            _ => {
                push(stack, reader, &token)?;
                true
            }
        };
        if !is_whole {
            // What was begun has a first element.
            token = match open.last() {
                Some(Open::Array(_)) => reader.next(),
                _ => key(stack, reader)?,
            };
            continue;
        }
        // A value is whole: it goes where it belongs, and may complete what is around it.
        loop {
            let Some(around) = open.last_mut() else {
                return match reader.next() {
                    Token::End => Ok(()),
                    other => Err(reader.unexpected("the end", &other)),
                };
            };
            let (is_end, wanted) = match around {
                Open::Array(count) => {
                    *count += 1;
                    stack.set_element(-2, *count);
                    token = reader.next();
                    (matches!(token, Token::ArrayEnd), "comma or array end")
                }
                Open::Object => {
                    stack.set_pair(-3);
                    token = reader.next();
                    (matches!(token, Token::ObjectEnd), "comma or object end")
                }
            };
            if is_end {
                open.pop();
                continue;
            }
            if !matches!(token, Token::Comma) {
                return Err(reader.unexpected(wanted, &token));
            }
            token = match open.last() {
                Some(Open::Array(_)) => reader.next(),
                _ => key(stack, reader)?,
            };
            break;
        }
    }
}

/// Begins an array or object, which is pushed. Answers whether it is whole, as an empty one is.
fn begin(
    stack: &mut Stack<'_>,
    reader: &mut Reader<'_>,
    open: &mut Vec<Open>,
    token: &Token,
    depth_max: i32,
) -> Result<bool, Raise> {
    let depth = open.len() as i32 + 1;
    // The table, a key and a value.
    if depth > depth_max || !stack.reserve(3) {
        return Err(Raise::text(format!(
            "Found too many nested data structures ({depth}) at character {}",
            reader.at
        )));
    }
    stack.push_table(0, 0);
    let before = reader.at;
    let is_array = matches!(token, Token::ArrayBegin);
    let next = reader.next();
    let is_empty = match next {
        Token::ArrayEnd => is_array,
        Token::ObjectEnd => !is_array,
        _ => false,
    };
    if !is_empty {
        reader.at = before;
        open.push(if is_array { Open::Array(0) } else { Open::Object });
    }
    Ok(is_empty)
}

/// Reads the key of an object's next value, which is pushed, and the colon. Answers with the value's first token.
fn key(stack: &mut Stack<'_>, reader: &mut Reader<'_>) -> Result<Token, Raise> {
    let token = reader.next();
    if !matches!(token, Token::Text) {
        return Err(reader.unexpected("object key string", &token));
    }
    stack.push_text(&reader.string);
    match reader.next() {
        Token::Colon => Ok(reader.next()),
        other => Err(reader.unexpected("colon", &other)),
    }
}

/// Pushes a value that is one token.
fn push(stack: &mut Stack<'_>, reader: &Reader<'_>, token: &Token) -> Result<(), Raise> {
    match token {
        Token::Text => stack.push_text(&reader.string),
        Token::Number(number) => stack.push_number(*number),
        Token::Boolean(truth) => stack.push_boolean(*truth),
        Token::Null => stack.push_null(),
        other => return Err(reader.unexpected("value", other)),
    }
    Ok(())
}
