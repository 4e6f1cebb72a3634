//! Any bytes as a stream of any dialect; see `flyball::dialect::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball::dialect::fuzz::stream(bytes));
