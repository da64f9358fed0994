//! RESP2 and RESP3 over slices: what clients send, what servers answer, and the exact words of both.
//!
//! Nothing here reads a socket. [`request`] and [`reply`] find where a message ends in a buffer that grows
//! between calls and never look at a byte twice; [`reader`] walks a reply that is complete; [`encode`] writes.
//! All of them are bounded by [`limits`]. [`owned`] turns complete replies into `redis-protocol` values for
//! links where convenience matters more than cost. [`error`] holds the texts that clients match on.

pub mod args;
pub mod encode;
pub mod error;
mod header;
mod inline;
pub mod limits;
pub mod owned;
pub mod reader;
pub mod reply;
pub mod request;

pub use args::{Args, OwnedArgs, Span};
pub use encode::{Proto, RespWrite};
pub use inline::split_words;
pub use limits::{Limits, ReplyLimits};
pub use reader::{Reader, Value};
pub use reply::{ReplyError, ReplyScanner};
pub use request::{RequestError, RequestScanner};
