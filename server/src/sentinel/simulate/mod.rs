//! Sentinels in one process.
