//! Whatever the bytes: the codec keeps its laws.
#![no_main]

#[path = "../checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::all(bytes));
