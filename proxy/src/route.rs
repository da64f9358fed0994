//! Where a request goes.

pub mod distribution;
pub mod lane;
pub mod plan;
pub mod pool;
pub mod scan;
pub mod table;
