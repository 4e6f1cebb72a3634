//! Learning to grade from outcomes: `train` makes the grader that is built in, `fit` an operator's overlay, `evaluate` tells how
//! good both are. Rows in, weights and figures out: opens no files, prints nothing, knows no prices.
//!
//! | file | what it does |
//! |---|---|
//! | [`outcome`], [`recipe`] | rows of real outcomes, and which models of which source count as weak and strong |
//! | [`boost`], [`words`] | the two learners: boosted trees over signals, ridge regression over words |
//! | [`train`] | all heads of a grader, calibrated on folds that the heads have not seen |
//! | [`fit`] | an overlay from the operator's own outcomes, used only if it proves itself |
//! | [`metrics`], [`folds`], [`evaluate`] | APGR, CPT, calibration; how rows are kept apart; the table of the docs |
//! | [`replay`] | recorded answers of two models, with what the weak one shows of itself, through the decision |
//! | [`policy`] | what a policy's decisions were worth on outcomes, beside what costs the same and decides nothing |
//! | [`calibrate`] | which arm is good enough for a task, with a stated confidence |
//! | [`overnight`] | an overlay from the outcomes in the books, with a guard |
//! | [`abilities`] | how able models are, corrected by the outcomes in the books, likewise with a guard |
//! | [`shelf`] | the overlays and abilities that were made so, and which are in force |
//! | [`chart`] | the cost–quality curve as a picture |

pub mod abilities;
pub mod boost;
pub mod calibrate;
pub mod chance;
pub mod chart;
pub mod disturb;
pub mod evaluate;
pub mod fit;
pub mod folds;
pub mod metrics;
pub mod outcome;
pub mod overnight;
pub mod policy;
pub mod recipe;
pub mod replay;
pub mod shelf;
pub mod train;
pub mod words;

/// The mean; 0 of nothing.
pub(crate) fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, count) = values
        .into_iter()
        .fold((0.0, 0.0), |(s, n), v| (s + v, n + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Mean and standard deviation; a spread of nothing is 1.
pub(crate) fn moments(values: &[f64]) -> (f64, f64) {
    let centre = mean(values.iter().copied());
    let spread = mean(values.iter().map(|v| (v - centre) * (v - centre))).sqrt();
    (centre, if spread > 1e-9 { spread } else { 1.0 })
}
