//! Packed layouts and the table: how values lie in memory, with no word of commands or replies.

pub mod bag;
pub mod bits;
pub mod choice;
pub mod hll;
pub mod intset;
pub mod listpack;
pub mod lzf;
pub mod table;
