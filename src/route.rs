//! Which arms may answer, in which order, and why. Pure: no IO, no clock.

pub mod arm;
pub mod effort;
pub mod fleet;
pub mod policy;
