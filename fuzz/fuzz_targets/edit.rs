//! See `flyball_fuzz::json::edit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball_fuzz::json::edit(bytes));
