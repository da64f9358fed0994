//! The proxy as a library.
