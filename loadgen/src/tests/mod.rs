//! Whole runs against a small lookupd with an optional fault: tests of the oracle, the corrected
//! latencies, the check of the generator and the result files; and every fault of every answer.

mod altered;
mod fake_lookupd;
mod hostile;
mod mutations;
mod oracle;
mod result_files;
