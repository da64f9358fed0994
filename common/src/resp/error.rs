//! The words of errors that clients match on, spelled once.
//!
//! Texts begin with their code and have neither the leading `-` nor a line end; [`RespWrite::error`] adds both.
//! Taken from redis-server 7.0.15.
//!
//! [`RespWrite::error`]: super::encode::RespWrite::error

/// The key holds another type.
pub const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
/// The client has to authenticate first.
pub const NO_AUTH: &str = "NOAUTH Authentication required.";
/// `AUTH` or `HELLO … AUTH` with wrong credentials.
pub const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
/// `AUTH password` where the default user has none.
pub const AUTH_WITHOUT_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
/// `HELLO` before authentication.
pub const HELLO_NO_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";
/// `HELLO` with a version other than 2 and 3.
pub const NO_PROTO: &str = "NOPROTO unsupported protocol version";
/// `HELLO` with a version that is no number.
pub const PROTO_NOT_AN_INTEGER: &str = "ERR Protocol version is not an integer or out of range";
/// An option or option value that the command does not take.
pub const SYNTAX: &str = "ERR syntax error";
/// The key must exist.
pub const NO_SUCH_KEY: &str = "ERR no such key";
/// Source and destination are one.
pub const SAME_OBJECT: &str = "ERR source and destination objects are the same";
/// An index beyond the end.
pub const INDEX_OUT_OF_RANGE: &str = "ERR index out of range";
/// An argument that should be an integer of 64 bits.
pub const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
/// An integer that the command does not accept.
pub const OUT_OF_RANGE: &str = "ERR value is out of range";
/// A negative number where none is accepted.
pub const MUST_BE_POSITIVE: &str = "ERR value is out of range, must be positive";
/// An argument that should be a float.
pub const NOT_A_FLOAT: &str = "ERR value is not a valid float";
/// A score range that is no range.
pub const RANGE_NOT_A_FLOAT: &str = "ERR min or max is not a float";
/// A lexicographic range that is no range.
pub const RANGE_NOT_A_STRING: &str = "ERR min or max not valid string range item";
/// A weight of `ZUNIONSTORE` and its kin.
pub const WEIGHT_NOT_A_FLOAT: &str = "ERR weight value is not a float";
/// A blocking command's timeout.
pub const TIMEOUT_NOT_A_FLOAT: &str = "ERR timeout is not a float or out of range";
/// A blocking command's timeout in whole units.
pub const TIMEOUT_NOT_AN_INTEGER: &str = "ERR timeout is not an integer or out of range";
/// A blocking command's timeout below zero.
pub const TIMEOUT_NEGATIVE: &str = "ERR timeout is negative";
/// Of WAIT and WAITAOF, in versions after 7.0.15.
pub const TIMEOUT_OUT_OF_RANGE: &str = "ERR timeout is out of range";
/// To who waits for a stream, for a group, and the stream goes.
pub const STREAM_GONE: &str = "UNBLOCKED the stream key no longer exists";
/// `INCR` and its kin would pass 64 bits.
pub const INCREMENT_OVERFLOW: &str = "ERR increment or decrement would overflow";
/// `DECRBY` with the one number that has no negative.
pub const DECREMENT_OVERFLOW: &str = "ERR decrement would overflow";
/// `INCRBYFLOAT` would leave the finite numbers.
pub const INCREMENT_NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
/// `ZADD … INCR` and `ZINCRBY` with infinities that cancel.
pub const SCORE_NOT_A_NUMBER: &str = "ERR resulting score is not a number (NaN)";
/// `HINCRBY` on a field that is no integer.
pub const HASH_NOT_AN_INTEGER: &str = "ERR hash value is not an integer";
/// `HINCRBYFLOAT` on a field that is no float.
pub const HASH_NOT_A_FLOAT: &str = "ERR hash value is not a float";
/// `SETRANGE` with a negative offset.
pub const OFFSET_OUT_OF_RANGE: &str = "ERR offset is out of range";
/// A string would pass `proto-max-bulk-len`.
pub const STRING_TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
/// A bit offset that is none.
pub const BIT_OFFSET: &str = "ERR bit offset is not an integer or out of range";
/// A bit that is neither 0 nor 1.
pub const BIT_VALUE: &str = "ERR bit is not an integer or out of range";
/// `SELECT` and its kin with a database that does not exist.
pub const DB_INDEX_OUT_OF_RANGE: &str = "ERR DB index is out of range";
/// `SCAN` with a cursor that is no number.
pub const INVALID_CURSOR: &str = "ERR invalid cursor";
/// `EXEC` after a command that could not be queued.
pub const EXEC_ABORT: &str = "EXECABORT Transaction discarded because of previous errors.";
/// `MULTI` within `MULTI`.
pub const NESTED_MULTI: &str = "ERR MULTI calls can not be nested";
/// `EXEC` alone.
pub const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
/// `DISCARD` alone.
pub const DISCARD_WITHOUT_MULTI: &str = "ERR DISCARD without MULTI";
/// `WATCH` within `MULTI`.
pub const WATCH_INSIDE_MULTI: &str = "ERR WATCH inside MULTI is not allowed";
/// `RESTORE` onto a key that exists.
pub const BUSY_KEY: &str = "BUSYKEY Target key name already exists.";
/// A write while memory is exhausted.
pub const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// A write while snapshots fail.
pub const MISCONF_RDB: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.";
/// Data is being loaded.
pub const LOADING: &str = "LOADING Redis is loading the dataset in memory";
/// A write to a read-only replica.
pub const READ_ONLY: &str = "READONLY You can't write against a read only replica.";
/// A replica without its primary, told not to serve old data.
pub const MASTER_DOWN: &str =
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
/// A write with fewer replicas than `min-replicas-to-write`.
pub const NO_REPLICAS: &str = "NOREPLICAS Not enough good replicas to write.";
/// `EVALSHA` of an unknown script.
pub const NO_SCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// A script runs over time.
pub const BUSY_SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// A function runs over time.
pub const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
/// Keys of one request in several slots.
pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// Some keys of one request have gone to another node of the cluster, and some have not.
pub const TRY_AGAIN: &str = "TRYAGAIN Multiple keys request during rehashing of slot";
/// The cluster is down.
pub const CLUSTER_DOWN: &str = "CLUSTERDOWN The cluster is down";
/// The cluster is down, and reads are served.
pub const CLUSTER_DOWN_FOR_WRITES: &str =
    "CLUSTERDOWN The cluster is down and only accepts read commands";
/// No node owns the slot.
pub const SLOT_UNBOUND: &str = "CLUSTERDOWN Hash slot not served";
/// `CLUSTER` and its kind where there is no cluster. Libraries that look for one match on these words.
pub const CLUSTER_DISABLED: &str = "ERR This instance has cluster support disabled";
/// `COMMAND GETKEYS` of a command that does not exist.
pub const GETKEYS_NO_COMMAND: &str = "ERR Invalid command specified";
/// `COMMAND GETKEYS` of a command that takes no keys.
pub const GETKEYS_NO_KEYS: &str = "ERR The command has no key arguments";
/// `COMMAND GETKEYS` of a call with a wrong number of arguments.
pub const GETKEYS_ARITY: &str = "ERR Invalid number of arguments specified for command";
/// `COMMAND GETKEYS` of a call in which no key is found.
pub const GETKEYS_INVALID: &str = "ERR Invalid arguments specified for command";
/// `maxclients` reached.
pub const MAX_CLIENTS: &str = "ERR max number of clients reached";

/// Bytes of a name or of the argument list that an error repeats.
const QUOTED_BYTES_MAX: usize = 128;

/// The reply to a command that does not exist: its name, and its first arguments up to 128 bytes.
///
/// `args` begins with the command's name. The result may hold any byte but line ends.
#[must_use]
pub fn unknown_command<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut args = args.into_iter();
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(as_c_string(args.next().unwrap_or_default(), QUOTED_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in args {
        // The quotes and blanks of what is there already count, those of the next one do not.
        let used = text.len() - start;
        if used >= QUOTED_BYTES_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(as_c_string(arg, QUOTED_BYTES_MAX - used));
        text.extend_from_slice(b"' ");
    }
    without_line_ends(text)
}

/// The reply to `container sub` when `container` has no such sub-command.
#[must_use]
pub fn unknown_subcommand(container: &[u8], sub: &[u8]) -> Vec<u8> {
    with_help("ERR unknown subcommand '", "'. Try ", container, sub)
}

/// The reply of a container command to arguments that none of its sub-commands takes.
#[must_use]
pub fn subcommand_syntax(container: &[u8], sub: &[u8]) -> Vec<u8> {
    with_help(
        "ERR unknown subcommand or wrong number of arguments for '",
        "'. Try ",
        container,
        sub,
    )
}

/// The reply to a wrong number of arguments. `full_name` is lower case, sub-commands as `config|get`.
#[must_use]
pub fn wrong_arity(full_name: &str) -> String {
    format!("ERR wrong number of arguments for '{full_name}' command")
}

/// A write while the append-only file cannot be written; `reason` is the system's text.
#[must_use]
pub fn misconf_aof(reason: &str) -> String {
    format!("MISCONF Errors writing to the AOF file: {reason}")
}

/// The reply to an expiry that is not positive or does not fit.
#[must_use]
pub fn invalid_expire(full_name: &str) -> String {
    format!("ERR invalid expire time in '{full_name}' command")
}

/// The reply to an integer outside `min..=max`, where the bounds are worth telling.
#[must_use]
pub fn out_of_range_between(min: i64, max: i64) -> String {
    format!("ERR value is out of range, value must between {min} and {max}")
}

/// A text that repeats a word of the client's between `before` and `after`, as C's `%s` prints it: up to its first NUL.
/// Line ends at the end of the text go, others become blanks.
#[must_use]
pub fn about(before: &str, word: &[u8], after: &str) -> Vec<u8> {
    let mut text = before.as_bytes().to_vec();
    text.extend_from_slice(as_c_string(word, usize::MAX));
    text.extend_from_slice(after.as_bytes());
    let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
    text.truncate(end);
    without_line_ends(text)
}

fn with_help(before: &str, after: &str, container: &[u8], sub: &[u8]) -> Vec<u8> {
    let mut text = before.as_bytes().to_vec();
    text.extend_from_slice(as_c_string(sub, QUOTED_BYTES_MAX));
    text.extend_from_slice(after.as_bytes());
    text.extend_from_slice(as_c_string(&container.to_ascii_uppercase(), usize::MAX));
    text.extend_from_slice(b" HELP.");
    without_line_ends(text)
}

/// What C's `%.*s` would print: up to the first NUL.
fn as_c_string(bytes: &[u8], len_max: usize) -> &[u8] {
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    &bytes[..end.min(len_max)]
}

fn without_line_ends(mut text: Vec<u8>) -> Vec<u8> {
    for byte in &mut text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(args: &[&[u8]]) -> String {
        String::from_utf8(unknown_command(args.iter().copied())).unwrap()
    }

    #[test]
    fn an_unknown_command_is_shown_with_its_arguments() {
        assert_eq!(unknown(&[b"foo"]), "ERR unknown command 'foo', with args beginning with: ");
        assert_eq!(
            unknown(&[b"Foo", b"a\r\nb", b"", b"c\0d"]),
            "ERR unknown command 'Foo', with args beginning with: 'a  b' '' 'c' "
        );
    }

    #[test]
    fn what_is_shown_of_an_unknown_command_is_bounded() {
        let long = [b'x'; 200];
        let shown = unknown(&[&long, &long, b"b"]);
        let x128 = "x".repeat(128);
        assert_eq!(
            shown,
            format!("ERR unknown command '{x128}', with args beginning with: '{x128}' ")
        );
        let x120 = "x".repeat(120);
        // 120 bytes and their quotes leave room for five more.
        assert_eq!(
            unknown(&[b"f", x120.as_bytes(), b"abcdefgh", b"c"]),
            format!("ERR unknown command 'f', with args beginning with: '{x120}' 'abcde' ")
        );
    }

    #[test]
    fn a_word_of_the_client_is_repeated_as_it_came() {
        assert_eq!(about("ERR no ", b"a\xffb", ""), b"ERR no a\xffb");
        assert_eq!(about("ERR no '", b"a\r\nb\0c", "' here"), b"ERR no 'a  b' here");
        assert_eq!(about("ERR no ", b"\ra\n\r", ""), b"ERR no  a");
    }

    #[test]
    fn unknown_subcommands_point_to_help() {
        assert_eq!(
            unknown_subcommand(b"config", b"Foo"),
            b"ERR unknown subcommand 'Foo'. Try CONFIG HELP."
        );
        assert_eq!(
            subcommand_syntax(b"Object", b"freq"),
            b"ERR unknown subcommand or wrong number of arguments for 'freq'. Try OBJECT HELP."
        );
        assert_eq!(
            wrong_arity("config|get"),
            "ERR wrong number of arguments for 'config|get' command"
        );
    }
}
