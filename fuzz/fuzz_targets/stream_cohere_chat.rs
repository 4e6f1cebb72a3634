//! See `flyball::dialect::fuzz::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball::dialect::fuzz::stream("cohere_chat", bytes));
