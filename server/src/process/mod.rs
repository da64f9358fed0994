//! The process and its surroundings: what it prints at its start, its title, who supervises it, its memory and disk.

pub mod allocator;
pub mod banner;
pub mod checker;
pub mod disk;
pub mod environment;
pub mod files;
pub mod fork;
pub mod oom;
pub mod reserve;
pub mod supervised;
pub mod title;
pub mod watchdog;
