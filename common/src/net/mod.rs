//! The only code that knows the operating system's sockets: streams, listeners, reused buffers, the turn of an event
//! loop, and the crowd of clients it serves.

pub mod arrivals;
pub mod buffer;
pub mod crowd;
pub mod layered;
pub mod link;
pub mod listen;
pub mod memory;
pub mod outward;
pub mod stream;
pub mod tls;
pub mod turn;

pub use layered::Layer;
pub use link::Link;
pub use listen::{Address, Listener};
pub use stream::Stream;
