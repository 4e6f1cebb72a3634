//! The registry of signals: what is measured of an ask. Each is a number; most say nothing about language.
//!
//! A new signal is one line in a file under `signals`, or a file and one line in [`GROUPS`]. A grader that was trained
//! before it was added does not look at it.

mod marks;
mod shape;
mod size;
mod words;

use super::lexicon::Class;
use super::scan::Scan;

/// One measurement.
#[derive(Clone, Copy)]
pub struct Signal {
    /// Its name in `flyball classify`.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Of(fn(&Scan) -> f32),
    /// The weighed cues near either end.
    Near(Class),
    /// The words of a class among all words.
    Share(Class),
}

impl Signal {
    /// Measures.
    pub(super) fn measure(&self, scan: &Scan) -> f32 {
        match self.what {
            What::Of(measure) => measure(scan),
            What::Near(class) => scan.near[class.index()].min(99.0),
            What::Share(class) => share(scan.class[class.index()], scan.words),
        }
    }
}

/// Every group of signals, in the order of their values.
static GROUPS: [&[Signal]; 4] = [
    size::SIGNALS,
    marks::SIGNALS,
    shape::SIGNALS,
    words::SIGNALS,
];

/// How many signals there are.
pub const COUNT: usize =
    size::SIGNALS.len() + marks::SIGNALS.len() + shape::SIGNALS.len() + words::SIGNALS.len();

/// Every signal.
pub fn all() -> impl Iterator<Item = &'static Signal> {
    GROUPS.iter().flat_map(|group| group.iter())
}

const fn of(name: &'static str, help: &'static str, measure: fn(&Scan) -> f32) -> Signal {
    Signal {
        name,
        help,
        what: What::Of(measure),
    }
}

const fn near(name: &'static str, help: &'static str, class: Class) -> Signal {
    Signal {
        name,
        help,
        what: What::Near(class),
    }
}

const fn share_of(name: &'static str, help: &'static str, class: Class) -> Signal {
    Signal {
        name,
        help,
        what: What::Share(class),
    }
}

/// A part of a whole; 0 of nothing.
fn share(part: u32, whole: u32) -> f32 {
    part as f32 / whole.max(1) as f32
}

/// Counts grow by their logarithm: the step from 1 to 10 says as much as the one from 10 to 100.
fn log(count: u32) -> f32 {
    (1.0 + count as f32).ln()
}
