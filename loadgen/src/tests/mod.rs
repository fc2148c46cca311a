//! Whole runs against a small lookupd with an optional fault: tests of the oracle, the corrected
//! latencies, the check of the generator and the result files.

mod fake_lookupd;
mod oracle;
mod result_files;
