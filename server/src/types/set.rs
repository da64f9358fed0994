//! The set type.

/// A set.
#[derive(Default, Clone)]
pub struct Set {
    slots: Vec<u64>,
}

impl Set {
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
