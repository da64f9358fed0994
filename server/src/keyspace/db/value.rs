//! Values on their way between databases.

use crate::types::Object;

/// A value outside of any database.
pub enum Value {
    /// A string that is a number.
    Int(i64),
    /// Any other string.
    Bytes(Vec<u8>),
    /// A string that OBJECT ENCODING calls `raw` whatever its length.
    Raw(Vec<u8>),
    /// A collection.
    Object(Object),
}

/// A value taken from a database, with its deadline in milliseconds since 1970.
pub struct Taken {
    /// The value.
    pub value: Value,
    /// Its deadline.
    pub deadline: Option<i64>,
}
