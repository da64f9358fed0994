//! Where a request goes.

pub mod distribution;
pub mod heavy;
pub mod lane;
pub mod plan;
pub mod pool;
pub mod scan;
pub mod table;
