//! The named faults of the past, as scripts.
