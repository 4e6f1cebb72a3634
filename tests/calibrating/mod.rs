//! `flyball calibrate`, the outcomes that it reads, and feedback, from which some of them come.

mod command;
mod feedback;
mod resampled;
