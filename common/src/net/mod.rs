//! The only code that knows the operating system's sockets: streams, listeners, reused buffers, the turn of an event
//! loop, and the crowd of clients it serves.

pub mod buffer;
pub mod crowd;
pub mod listen;
pub mod memory;
pub mod outward;
pub mod stream;
pub mod turn;

pub use listen::{Address, Listener};
pub use stream::Stream;
