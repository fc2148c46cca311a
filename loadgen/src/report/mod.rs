//! The output for people and programs: the live view, the final table, the result files.
//!
//! Must not: measure.

pub(crate) mod comparison;
pub(crate) mod files;
pub(crate) mod hostile;
pub(crate) mod html;
pub(crate) mod live;
pub(crate) mod soak;
pub(crate) mod svg;
pub(crate) mod table;
