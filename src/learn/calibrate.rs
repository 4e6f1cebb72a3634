//! Which arm is good enough for a task, with a stated confidence: from outcomes in which it and a reference arm answered the same
//! prompts.
//!
//! *Good enough* is a share of the reference's chance of a good answer, or a chance of its own where nothing is held against it. [`bound`]
//! says how sure a row of outcomes makes that, for one arm; [`choose`] what may be said of several arms together; [`evidence`] which
//! outcomes count.

pub mod bound;
pub mod choose;
pub mod evidence;
