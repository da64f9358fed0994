//! How large a message may be before its sender is refused.

/// Arguments an unauthenticated client may send in one request.
pub const UNAUTHENTICATED_ARGS_MAX: usize = 10;
/// Bytes an unauthenticated client may send in one argument.
pub const UNAUTHENTICATED_BULK_MAX: usize = 16 * 1024;

/// Bounds of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one argument: Redis's `proto-max-bulk-len`. A link from a primary has no such limit there:
    /// give it `usize::MAX`.
    pub proto_max_bulk_len: usize,
    /// Arguments of one request. Redis 7 stops at `INT_MAX`; its predecessors at 1024 * 1024.
    pub multibulk_max: usize,
    /// Bytes that may wait for their line end: an inline request, or the line of a length.
    pub inline_max: usize,
    /// The client has yet to authenticate where it must: small requests only.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            proto_max_bulk_len: 512 * 1024 * 1024,
            multibulk_max: i32::MAX as usize,
            inline_max: 64 * 1024,
            unauthenticated: false,
        }
    }
}

/// Bounds of a server's reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Bytes of one bulk string.
    pub bulk_max: usize,
    /// Values in one reply, aggregates and what they hold counted alike.
    pub values_max: usize,
    /// Bytes of one line: a simple string, an error, a number.
    pub line_max: usize,
    /// Aggregates within aggregates.
    pub depth_max: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self {
            bulk_max: 512 * 1024 * 1024,
            values_max: i32::MAX as usize,
            line_max: 1024 * 1024,
            depth_max: 128,
        }
    }
}
