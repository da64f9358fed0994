//! The only code that knows the operating system's sockets: streams, listeners, reused buffers and the
//! turn of an event loop.

pub mod buffer;
pub mod listen;
pub mod stream;
pub mod turn;

pub use listen::{Address, Listener};
pub use stream::Stream;
