//! See `flyball_fuzz::dialect::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball_fuzz::dialect::request("anthropic_messages", bytes));
