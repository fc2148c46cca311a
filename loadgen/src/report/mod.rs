//! What people are shown: the live view, the table, the files.
//!
//! Must not: measure.

pub(crate) mod table;
