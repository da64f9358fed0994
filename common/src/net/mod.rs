//! The only code that knows the operating system's sockets: streams, listeners, reused buffers, the turn of an event
//! loop, the crowd of clients it serves, sockets that are rarely used, and timers.

pub mod arrivals;
pub mod blocking;
pub mod buffer;
pub mod crowd;
mod descriptor;
pub mod layered;
pub mod link;
pub mod listen;
pub mod memory;
pub mod outward;
pub mod stream;
pub mod timer;
pub mod tls;
pub mod turn;
pub mod watch;

pub use layered::Layer;
pub use link::Link;
pub use listen::{Address, Listener};
pub use stream::Stream;
