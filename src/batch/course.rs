//! How a batch goes on: whether its parts are to end, what becomes of lines that wait, and how it ends. Pure.

use super::{Late, LineState};
use crate::dialect::batch::{BatchState, Counts};

/// How a batch goes on at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// Its parts at vendors are to come to an end.
    pub stops: bool,
    /// What becomes of lines of which nothing has gone out.
    pub waiting: Waiting,
}

/// What becomes of lines of which nothing has gone out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Those that are in no part run by themselves.
    RunsAlone,
    /// All of them do.
    AllRunAlone,
    /// They end so.
    Ends(LineState),
}

/// How a batch goes on that was passed on unread: its provider works on it, and its client ends it.
pub const OF_PASSED: Course = Course {
    stops: false,
    waiting: Waiting::RunsAlone,
};

/// How a batch goes on that stands so; `late`: its time is over.
#[must_use]
pub fn course(state: BatchState, late: bool, rule: Late) -> Course {
    let cancelled = state == BatchState::Cancelling;
    Course {
        stops: late || cancelled,
        waiting: match (cancelled, late, rule) {
            (true, _, _) => Waiting::Ends(LineState::Cancelled),
            (false, true, Late::Report) => Waiting::Ends(LineState::Expired),
            (false, true, Late::Run) => Waiting::AllRunAlone,
            (false, false, _) => Waiting::RunsAlone,
        },
    }
}

/// How a batch ends; nothing while one of its lines is open.
#[must_use]
pub fn end(state: BatchState, counts: &Counts) -> Option<BatchState> {
    match (counts.open() > 0, state) {
        (true, _) => None,
        (false, BatchState::Cancelling) => Some(BatchState::Cancelled),
        (false, _) if counts.expired > 0 => Some(BatchState::Expired),
        (false, _) => Some(BatchState::Completed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_cancelled_reported_or_run_as_the_operator_says() {
        use BatchState::{Cancelling, InProgress};
        for (state, late, rule, stops, waiting) in [
            (InProgress, false, Late::Report, false, Waiting::RunsAlone),
            (InProgress, true, Late::Run, true, Waiting::AllRunAlone),
            (
                InProgress,
                true,
                Late::Report,
                true,
                Waiting::Ends(LineState::Expired),
            ),
            (
                Cancelling,
                true,
                Late::Run,
                true,
                Waiting::Ends(LineState::Cancelled),
            ),
        ] {
            assert_eq!(course(state, late, rule), Course { stops, waiting });
        }
    }

    #[test]
    fn a_batch_ends_when_its_last_line_does() {
        let counts = |done, expired| Counts {
            total: 3,
            done,
            expired,
            ..Counts::default()
        };
        let running = BatchState::InProgress;
        assert_eq!(end(running, &counts(2, 0)), None);
        assert_eq!(end(running, &counts(3, 0)), Some(BatchState::Completed));
        assert_eq!(end(running, &counts(2, 1)), Some(BatchState::Expired));
        let cancelling = BatchState::Cancelling;
        assert_eq!(end(cancelling, &counts(2, 1)), Some(BatchState::Cancelled));
    }
}
