//! The answer tells: a cheap arm answers first, what its answer shows of itself is looked at, and only where that speaks against it a
//! dearer arm answers too. Pure: [`evidence`] says what an answer shows ([`error_text`]: that it is
//! a server's error), [`calibration`] how much that is worth, [`value`] whether a
//! probe pays, and whether the dearer arm is asked.

pub mod calibration;
pub mod error_text;
pub mod evidence;
pub mod value;
