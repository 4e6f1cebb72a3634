//! Any bytes as a request of any dialect; see `flyball::dialect::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball::dialect::fuzz::request(bytes));
