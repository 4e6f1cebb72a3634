//! See `flyball::dialect::fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball::dialect::fuzz::request("cohere_chat", bytes));
