use std::cell::RefCell;
use std::io;

use proptest::prelude::*;

use super::words::{Parsed, number, parse};
use super::*;

/// A connection that gives what it was filled with, and keeps what is sent.
#[derive(Default)]
struct Wire {
    input: RefCell<Vec<u8>>,
    sent: RefCell<Vec<u8>>,
}

impl Connection for Wire {
    fn mark(self: Rc<Self>) {}
    fn wake(&self) {}
    fn input_bytes(&self) -> usize {
        0
    }
    fn transport_bytes(&self) -> usize {
        0
    }

    fn input_capacity(&self) -> usize {
        0
    }
    fn descriptor(&self) -> i32 {
        -1
    }
    fn gather_packets(&self) {}
    fn read_waiting(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut input = self.input.borrow_mut();
        // In pieces, so that a request comes in several.
        let length = input.len().min(room.len()).min(7);
        room[..length].copy_from_slice(&input[..length]);
        input.drain(..length);
        Ok(length)
    }
    fn write_waiting(&self, bytes: &[u8], _most: Duration) -> io::Result<()> {
        self.sent.borrow_mut().extend_from_slice(bytes);
        Ok(())
    }
    fn let_go(&self) {}
    fn as_any(self: Rc<Self>) -> Rc<dyn std::any::Any> {
        self
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

fn session(script: &str) -> (Session, Rc<Wire>) {
    let wire = Rc::new(Wire::default());
    (Session::new(Rc::clone(&wire) as Rc<dyn Connection>, script.as_bytes()), wire)
}

/// What the words are answered with, where they need nothing of Lua.
fn answer(session: &mut Session, wire: &Wire, words: &[&str]) -> String {
    wire.input.borrow_mut().extend(request(words));
    wire.sent.borrow_mut().clear();
    assert_eq!(session.listen(), Err(Silence::Gone), "{words:?} was a wish");
    String::from_utf8(wire.sent.borrow().clone()).expect("text")
}

#[test]
fn a_script_stops_at_its_first_line_and_then_where_it_is_to() {
    let (mut session, wire) = session("a\nb\nc\n\r\n");
    let stop = session.arrives(1, false).expect("a stop");
    assert_eq!(stop, Stop::Step);
    session.tell_stop(stop);
    let told = String::from_utf8(wire.sent.borrow().clone()).expect("text");
    assert_eq!(told, "*2\r\n+* Stopped at 1, stop reason = step over\r\n+-> 1   a\r\n");
    assert_eq!(session.arrives(2, false), None);
    assert_eq!(session.arrives(2, true), Some(Stop::Long));
    session.add_breakpoint(3);
    assert_eq!(session.arrives(3, false), Some(Stop::Breakpoint));
    session.ask_to_stop();
    assert_eq!(session.arrives(2, false), Some(Stop::Asked));
    session.tell_stop(Stop::Asked);
    assert_eq!(session.arrives(2, false), None);
}

#[test]
fn breakpoints_are_listed_added_and_removed() {
    let (mut session, wire) = session("one\ntwo\nthree\nfour");
    session.line = 1;
    let none = "*1\r\n+No breakpoints set. Use 'b <line>' to add one.\r\n";
    assert_eq!(answer(&mut session, &wire, &["b"]), none);
    let set = "*5\r\n+   2   two\r\n+  #3   three\r\n+   4   four\r\n+Wrong line number.\r\n\
               +Invalid argument:'x'\r\n";
    assert_eq!(answer(&mut session, &wire, &["break", "3", "5", "x"]), set);
    // Who is gone has taken the breakpoints along: the script is to go on.
    assert_eq!(answer(&mut session, &wire, &["b"]), none);
    for line in 0..=BREAKPOINTS_MAX as i64 {
        session.breakpoints.push(line + 100);
    }
    session.breakpoints.pop();
    assert_eq!(answer(&mut session, &wire, &["b", "2"]), "*1\r\n+Too many breakpoints set.\r\n");
    session.breakpoints = vec![1, 2, 3];
    let removed = "*2\r\n+Breakpoint removed.\r\n+No breakpoint in the specified line.\r\n";
    assert_eq!(answer(&mut session, &wire, &["b", "-1", "-1"]), removed);
    assert_eq!(
        answer(&mut session, &wire, &["b", "-9223372036854775808"]).matches("No break").count(),
        1
    );
}

#[test]
fn the_source_is_shown_around_a_line() {
    let (mut session, wire) = session("1\n2\n3\n4\n5\n6\n7\n8\n9");
    session.line = 4;
    let lines =
        |text: &str| text.lines().skip(1).map(|line| line[8..].to_owned()).collect::<String>();
    assert_eq!(lines(&answer(&mut session, &wire, &["l"])), "123456789");
    assert_eq!(lines(&answer(&mut session, &wire, &["l", "0", "1"])), "345");
    assert_eq!(lines(&answer(&mut session, &wire, &["list", "9", "2"])), "789");
    assert_eq!(lines(&answer(&mut session, &wire, &["w"])), "123456789");
    assert_eq!(answer(&mut session, &wire, &["l", "2", "-1"]), "*1\r\n+   2   2\r\n");
}

#[test]
fn long_values_are_trimmed_and_a_hint_is_given_once() {
    let (mut session, wire) = session("x");
    session.tell_trimmed(vec![b'x'; SHOWN_BYTES + 1]);
    session.tell_trimmed(vec![b'y'; SHOWN_BYTES + 1]);
    session.tell_trimmed(vec![b'z'; SHOWN_BYTES]);
    session.send();
    let sent = String::from_utf8(wire.sent.borrow().clone()).expect("text");
    assert_eq!((sent.matches(" ...").count(), sent.matches("<hint>").count()), (2, 1));
    let set = |session: &mut Session, size| answer(session, &wire, &["m", size]);
    assert!(set(&mut session, "20").contains("at 60 bytes"));
    assert!(set(&mut session, "0").contains("unlimited"));
    assert!(set(&mut session, "61").contains("at 61 bytes"));
}

#[test]
fn what_needs_lua_is_a_wish() {
    let (mut session, wire) = session("x");
    let mut wish = |words: &[&str]| {
        wire.input.borrow_mut().extend(request(words));
        session.listen()
    };
    assert_eq!(wish(&["s"]), Ok(Wish::GoOn));
    assert_eq!(wish(&["CONTINUE"]), Ok(Wish::GoOn));
    assert_eq!(wish(&["a"]), Ok(Wish::Abort));
    assert_eq!(wish(&["t"]), Ok(Wish::Trace));
    assert_eq!(wish(&["p", "x"]), Ok(Wish::Print(Some(b"x".to_vec()))));
    assert_eq!(wish(&["p", "x", "y"]), Ok(Wish::Print(None)));
    assert_eq!(wish(&["e", "1", "+", "1"]), Ok(Wish::Eval(b"1 + 1".to_vec())));
    assert_eq!(wish(&["r", "get", "k"]), Ok(Wish::Redis(vec![b"get".to_vec(), b"k".to_vec()])));
    wire.input.borrow_mut().extend_from_slice(b"no request");
    assert_eq!(session.listen(), Err(Silence::Fault("protocol error")));
}

#[test]
fn requests_come_whole_in_part_or_broken() {
    let whole = request(&["r", "get", "key"]);
    for end in 0..whole.len() {
        assert_eq!(parse(&whole[..end]), Parsed::Part, "{end}");
    }
    let words = vec![b"r".to_vec(), b"get".to_vec(), b"key".to_vec()];
    assert_eq!(parse(&whole), Parsed::Whole(words, whole.len()));
    for broken in [
        "x",
        "*0\r\n",
        "*-1\r\n",
        "*1025\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n$0\r\n\r\n",
        "*1\r\n$1\r\nxyz",
    ] {
        assert_eq!(parse(broken.as_bytes()), Parsed::Broken, "{broken:?}");
    }
    assert_eq!((number(b" -12x"), number(b"+7"), number(b"x")), (-12, 7, 0));
    assert_eq!(number(b"99999999999999999999"), i64::MAX);
}

#[test]
fn replies_are_told_for_people() {
    let told = |reply: &str| {
        let mut out = Vec::new();
        human(reply.as_bytes(), &mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(told(":12\r\n"), "12");
    assert_eq!(told("$3\r\na\"b\r\n"), "\"a\\\"b\"");
    assert_eq!(told("*3\r\n$-1\r\n+OK\r\n*-1\r\n"), "[NULL,\"+OK\",NULL]");
    assert_eq!(told("%1\r\n#t\r\n~1\r\n,1.5\r\n"), "{#true => ~((double) 1.5)}");
    assert_eq!(told("_\r\n"), "(null)");
    // What is cut off is told as far as it goes.
    assert_eq!(told("*2\r\n:1\r\n"), "[1,");
}

proptest! {
    #[test]
    fn nothing_that_a_client_sends_does_harm(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&input);
        let mut out = Vec::new();
        human(&input, &mut out);
    }
}
