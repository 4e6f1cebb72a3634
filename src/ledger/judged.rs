//! Outcomes: how good the answer of an arm was, and who says so. From feedback, comparisons, and answers that were held against another
//! arm's; one table of the books for all of them, from which `flyball calibrate` tells which arm is good enough. No words of a request or
//! an answer are in it.

use crate::arm::Effort;
use crate::money::PicoUsd;

/// A score of 1.
pub const SCORE_WHOLE: i64 = 1_000_000;
/// So many outcomes are kept at most, the latest: some 150 MB.
pub const OUTCOMES_MAX: i64 = 1_000_000;

/// What was measured of so many requests is kept at most, the latest: some 25 MB.
pub const ASKS_MAX: i64 = 50_000;

/// What was measured of a request whose answers may be judged. No word of it can be read from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredAsk {
    /// The request, as its outcomes call it.
    pub request: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// As the grader has packed it.
    pub features: Vec<u8>,
}

/// Who says how good an answer was. A closed set: the books and the export rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JudgedBy {
    /// The key that made the request.
    Feedback,
    /// A comparison's grader.
    Compare,
    /// The better arm's answer, where the cheap one stood and was explored.
    Explored,
    /// The better arm's answer, where the cheap one spoke against itself.
    Escalated,
    /// The caller's next turn: it says that the answer was wrong, takes it back, or asks again.
    Implicit,
    /// Off the path: another arm's answer to the same request, or a judge of both.
    Shadow,
}

impl JudgedBy {
    /// All of them.
    pub const ALL: [JudgedBy; 6] = [
        JudgedBy::Feedback,
        JudgedBy::Compare,
        JudgedBy::Explored,
        JudgedBy::Escalated,
        JudgedBy::Shadow,
        JudgedBy::Implicit,
    ];

    /// The name in the books and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JudgedBy::Feedback => "feedback",
            JudgedBy::Compare => "compare",
            JudgedBy::Explored => "explored",
            JudgedBy::Escalated => "escalated",
            JudgedBy::Shadow => "shadow",
            JudgedBy::Implicit => "implicit",
        }
    }

    /// The answer was judged by itself, and not by whether it agrees with another arm's, which says nothing of how good that is.
    #[must_use]
    pub fn is_absolute(self) -> bool {
        match self {
            JudgedBy::Compare | JudgedBy::Feedback | JudgedBy::Implicit => true,
            JudgedBy::Explored | JudgedBy::Escalated | JudgedBy::Shadow => false,
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<JudgedBy> {
        JudgedBy::ALL.into_iter().find(|by| by.name() == name)
    }
}

/// One outcome. There is one for each request, arm and judge; a later one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedAnswer {
    /// The request, or the prompt of a comparison: what has answered the same one can be compared.
    pub request: String,
    /// The model that has answered.
    pub model: String,
    /// Its effort.
    pub effort: Effort,
    /// Who says so.
    pub by: JudgedBy,
    /// The task that the prompt was graded as.
    pub task: String,
    /// Its difficulty in thousandths.
    pub difficulty_milli: i64,
    /// How good the answer was, in millionths: 0 to [`SCORE_WHOLE`].
    pub score_ppm: i64,
    /// What it cost, where that was known.
    pub cost: Option<PicoUsd>,
    /// How many of a million such prompts are judged: those that are judged always say more by each than their share of the traffic is.
    pub seen_ppm: i64,
    /// When it was said, milliseconds since 1970.
    pub at_ms: i64,
    /// The key that made the request, or none in open mode and of comparisons.
    pub key: Option<i64>,
}

impl JudgedAnswer {
    /// The arm, as it is written.
    #[must_use]
    pub fn arm(&self) -> String {
        format!("{}@{}", self.model, self.effort.name())
    }
}
