//! See `flyball_fuzz::dialect::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flyball_fuzz::dialect::stream("openai_chat", bytes));
