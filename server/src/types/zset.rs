//! The zset type.

/// A zset.
#[derive(Default, Clone)]
pub struct Zset {
    slots: Vec<u64>,
}

impl Zset {
    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// The name OBJECT ENCODING answers.
    #[must_use]
    pub fn encoding_name(&self) -> &'static str {
        "listpack"
    }
}
