//! The hash type.

/// A hash.
#[derive(Default, Clone)]
pub struct Hash {
    slots: Vec<u64>,
}

impl Hash {
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
