//! `session`: see `tests/fuzzing/checks/session.rs`.
#![no_main]

#[allow(dead_code, unused_imports, reason = "each target runs one of the checks")]
#[path = "../../tests/fuzzing/checks/mod.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::session(data));
