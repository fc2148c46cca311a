//! What people are shown: the live view, the table, the files.
//!
//! Must not: measure.

pub(crate) mod files;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod soak;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod versus;
