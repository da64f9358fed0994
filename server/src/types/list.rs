//! The list type.

/// A list.
#[derive(Default, Clone)]
pub struct List {
    slots: Vec<u64>,
}

impl List {
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
