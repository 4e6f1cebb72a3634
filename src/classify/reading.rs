//! What was read of one ask: all that a grade needs of the ask's own words, and nothing of the conversation around them. No word can be
//! told from it.

use super::lexicon::Class;
use super::model::{Grader, HeadScores, embedded};
use super::pieces::Pieces;
use super::plain::{self, Plain};
use super::scan::{Grams, Pass, Scan, Scanner};
use super::signals;
use std::sync::OnceLock;

/// A reply of at most so many characters that asks for nothing by itself goes on with the ask before it.
const REPLY_CHARS_MAX: u32 = 40;
/// A follow-up question is no longer than this, and has no more lines.
const FOLLOW_CHARS_MAX: u32 = 240;
/// Lines of a follow-up question.
const FOLLOW_LINES_MAX: u32 = 3;

/// What was read of one ask.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The values of all signals, in the order of [`signals::all`].
    pub(super) values: [f32; signals::COUNT],
    /// Words and word pairs.
    pub(super) grams: Grams,
    /// What it is by its form alone.
    pub(super) plain: Option<Plain>,
    /// It is short and yet speaks of work.
    pub(super) work: bool,
    /// It says what might be otherwise.
    pub(super) supposes: bool,
    /// It is so short that it may go on with the ask before it.
    pub(super) may_follow: bool,
    /// A few words that ask for nothing by themselves.
    pub(super) is_reply: bool,
    /// What the grader that is built in says of it; asked once, if anybody asks.
    said: OnceLock<Said>,
}

/// What a grader says of an ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) heads: HeadScores,
    /// The part of the signals that lie where they seldom lay in training.
    pub(super) strangeness: f64,
}

impl Reading {
    /// Reads an ask.
    pub(super) fn of(pieces: &Pieces<'_>) -> Reading {
        let (mut scan, mut pass) = (Scan::default(), Pass::default());
        let whole = pieces.read(Scanner::new(&mut scan, &mut pass));
        let has_code =
            scan.fenced > 0 || scan.identifiers > 0 || scan.near[Class::Code.index()] >= 1.0;
        let form = whole.and_then(|text| plain::of(text, has_code));
        let mut values = [0.0; signals::COUNT];
        for (value, signal) in values.iter_mut().zip(signals::all()) {
            *value = signal.measure(&scan);
        }
        Reading {
            plain: form,
            work: scan.chars <= plain::SHORT && pieces.iter().any(plain::is_work),
            supposes: scan.near[Class::Conditional.index()] >= 1.0,
            may_follow: may_follow(&scan) && form != Some(Plain::Farewell),
            is_reply: is_reply(&scan),
            ..Reading::kept(values, scan.grams)
        }
    }

    /// What the books have kept of one.
    pub(super) fn kept(values: [f32; signals::COUNT], grams: Grams) -> Reading {
        Reading {
            values,
            grams,
            plain: None,
            work: false,
            supposes: false,
            may_follow: false,
            is_reply: false,
            said: OnceLock::new(),
        }
    }

    /// What a grader says of it.
    pub(super) fn said_by(&self, grader: &Grader) -> Said {
        let ask = || Said {
            heads: grader.told(&self.values, &self.grams),
            strangeness: grader.strangeness(&self.values),
        };
        match std::ptr::eq(grader, embedded()) {
            true => *self.said.get_or_init(ask),
            false => ask(),
        }
    }
}

fn may_follow(scan: &Scan) -> bool {
    scan.chars <= FOLLOW_CHARS_MAX && scan.fenced == 0 && scan.full_lines <= FOLLOW_LINES_MAX
}

/// Neither a question nor a word that names a task, nor code, nor sums.
fn is_reply(scan: &Scan) -> bool {
    scan.chars <= REPLY_CHARS_MAX
        && scan.questions == 0
        && scan.fenced == 0
        && scan.binary_operators < 2
        && scan.near[..=Class::MultiStep.index()]
            .iter()
            .all(|cue| *cue < 1.0)
}
