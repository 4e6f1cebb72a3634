//! The books: reserve, then post, void or expire, then close.
#![deny(clippy::float_arithmetic)]

pub mod price;
