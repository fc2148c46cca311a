//! Whole runs against a small lookupd that can be told to be wrong.
