//! See `flyball::json::fuzz::edit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball::json::fuzz::edit(bytes));
