//! What is due next with a part of a batch at its vendor, and with each of its lines: decided from how far it has come, from what the vendor
//! says and from the time. Pure: whoever calls does it.

use super::{Late, LineState, PartRow, PartState};
use crate::dialect::batch::{BatchState, Found, LineEnd, VendorEnd, VendorTold};
use std::time::{Duration, Instant};

/// A vendor that was asked to cancel and does not come to an end is given up after so many seconds.
const CANCEL_MAX: i64 = 3_600;
/// So often a batch must not be found, one look after the other, before it is taken not to exist.
const LOOKS: u32 = 2;
/// What was made may be listed late: looks count from so many times `[batch] poll` after its making on (two minutes by default), each as long
/// after the one before it as a look at a batch is.
const SETTLES: u32 = 4;
/// So often it may be unclear whether it exists before its lines are given up.
const UNCLEAR_MAX: u32 = 5;

/// When it is, for the batch that a part belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds since 1970.
    pub now: i64,
    /// When the batch's time is over, or was to be when it was cancelled.
    pub expires: i64,
    /// When it was asked to be cancelled.
    pub cancelling: Option<i64>,
    /// The part is to be ended: its batch is cancelled, or its time is over.
    pub stops: bool,
    /// The batch was passed on unread: it bears no mark of ours, and nobody but its client ends it.
    pub passed: bool,
}

/// What is due with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing any more.
    Nothing,
    /// Nothing of it was made, and nothing will be: its lines wait for whoever ends them.
    Drop,
    /// It is made.
    Make,
    /// It is looked for at its vendor: nobody knows whether it was made.
    Find,
    /// Its vendor is asked how it stands, after this.
    Look(Cancel),
    /// Its vendor does not end it: its lines are charged at their bounds.
    GiveUp,
}

/// What the vendor is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Nothing.
    Nothing,
    /// To cancel the part.
    Asked,
    /// Nothing, since the part may be another's; it is waited for as long as for one that was asked to be cancelled.
    Spared,
}

/// What is due with this part.
#[must_use]
pub fn due(part: &PartRow, moment: Moment) -> Due {
    let overdue = moment.expires.max(moment.cancelling.unwrap_or(0)) + CANCEL_MAX;
    match part.state {
        PartState::Ended => Due::Nothing,
        PartState::Planned if moment.passed => Due::Drop,
        PartState::Sending if moment.passed => Due::GiveUp,
        PartState::Sent if moment.passed && moment.now > moment.expires => Due::GiveUp,
        PartState::Sent if moment.passed => Due::Look(Cancel::Nothing),
        PartState::Planned if moment.stops => Due::Drop,
        PartState::Planned => Due::Make,
        PartState::Sending => Due::Find,
        PartState::Sent if !moment.stops => Due::Look(Cancel::Nothing),
        PartState::Sent if part.cancelled && moment.now > overdue => Due::GiveUp,
        PartState::Sent if part.cancelled => Due::Look(Cancel::Nothing),
        PartState::Sent if part.guessed => Due::Look(Cancel::Spared),
        PartState::Sent => Due::Look(Cancel::Asked),
    }
}

/// What is known of a call to a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It was answered well.
    Done,
    /// It was refused: nothing was done.
    Refused,
    /// Nothing was done: the vendor is busy, or nothing has reached it.
    NotTaken,
    /// Nobody knows.
    Unknown,
}

/// What follows from a call that makes something at a vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterCall {
    /// It goes on.
    GoOn,
    /// The vendor does not take the part: its lines end so.
    Refuse,
    /// Nothing was made: the part is begun anew.
    BeginAnew,
    /// It is looked for at the vendor.
    Find,
}

/// What follows from handing the lines in, before the part is made. That may be done again: it costs nothing.
#[must_use]
pub fn after_upload(reached: Reached) -> AfterCall {
    match reached {
        Reached::Done => AfterCall::GoOn,
        Reached::Refused => AfterCall::Refuse,
        Reached::NotTaken | Reached::Unknown => AfterCall::BeginAnew,
    }
}

/// What follows from the call that makes the part; `named`: its answer says what the vendor calls it.
#[must_use]
pub fn after_create(reached: Reached, named: bool) -> AfterCall {
    match reached {
        Reached::Done if named => AfterCall::GoOn,
        // It was made, or may have been, and nobody has heard its id.
        Reached::Done | Reached::Unknown => AfterCall::Find,
        Reached::Refused => AfterCall::Refuse,
        Reached::NotTaken => AfterCall::BeginAnew,
    }
}

/// The search for a part of which nobody knows whether it was made.
#[derive(Debug, Default)]
pub struct Search {
    not_found: u32,
    unclear: u32,
    /// When it was looked for last, as far as that counts.
    looked: Option<Instant>,
}

/// One look of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchLook {
    /// When it was.
    pub at: Instant,
    /// Seconds since the call that may have made the part.
    pub since_made: i64,
    /// How often at most a vendor is asked.
    pub poll: Duration,
}

/// What follows from a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Searched {
    /// It is this one.
    There(String),
    /// It is looked for again later.
    Later,
    /// It was never made, and is made now.
    Remake,
    /// Nobody will find out: its lines are charged at their bounds and not sent again.
    GiveUp,
}

impl Search {
    /// What follows from what was found.
    pub fn heard(&mut self, found: Found, look: SearchLook) -> Searched {
        if let Found::Yes(id) = found {
            return Searched::There(id);
        }
        if !self.counts(look) {
            return Searched::Later;
        }
        let (looks, most, end) = match found {
            Found::No => (&mut self.not_found, LOOKS, Searched::Remake),
            Found::Yes(_) | Found::Further(_) | Found::Unclear => {
                (&mut self.unclear, UNCLEAR_MAX, Searched::GiveUp)
            }
        };
        *looks += 1;
        match *looks >= most {
            true => end,
            false => Searched::Later,
        }
    }

    /// Whether a look that has not found it says anything: it is long enough ago that it was made, and that it was looked for.
    fn counts(&mut self, look: SearchLook) -> bool {
        let settles = look.poll.saturating_mul(SETTLES).as_secs();
        let settles = i64::try_from(settles).unwrap_or(i64::MAX);
        let apart = self
            .looked
            .is_none_or(|before| look.at.saturating_duration_since(before) >= look.poll);
        let counts = apart && look.since_made >= settles;
        if counts {
            self.looked = Some(look.at);
        }
        counts
    }
}

/// Whether this part is over, by what its vendor says. Where the vendor takes lines one after the other, all of them must be there.
#[must_use]
pub fn is_over(part: &PartRow, told: &VendorTold) -> bool {
    let lines = u64::try_from(part.lines).unwrap_or(0);
    told.end.is_some() && told.lines.is_none_or(|there| there >= lines)
}

/// What becomes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultUse {
    /// It is booked and kept.
    Settle,
    /// It says that its line was not done: that line may be run by itself, once everything else has been read.
    Undone,
    /// Its line has an end already, or is in another part.
    Ignore,
}

/// What becomes of a result of this part whose line stands so: the part it is in, and how far it has come.
#[must_use]
pub fn of_result(part: &PartRow, line: (i64, LineState), end: LineEnd) -> ResultUse {
    match (line, end) {
        ((n, LineState::Sent), LineEnd::Expired | LineEnd::Cancelled) if n == part.n => {
            ResultUse::Undone
        }
        ((n, LineState::Sent), LineEnd::Done | LineEnd::Failed) if n == part.n => ResultUse::Settle,
        _ => ResultUse::Ignore,
    }
}

/// What becomes of a line of which the vendor's batch, now over, has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// It was to have one: it is charged at its bound, and reported.
    Lost,
    /// It was not done, and ends so.
    Ends(LineState),
    /// It was not done, and is run by itself.
    RunsAlone,
}

/// What becomes of it. `undone`: the vendor says that it was not done. What flyball itself has cancelled because its time was over has expired
/// for the client.
#[must_use]
pub fn unanswered(end: &VendorEnd, undone: bool, batch: BatchState, late: Late) -> Unanswered {
    let done = matches!(end, VendorEnd::Completed | VendorEnd::Refused(_));
    match (done && !undone, batch, late) {
        (true, _, _) => Unanswered::Lost,
        (false, BatchState::Cancelling, _) => Unanswered::Ends(LineState::Cancelled),
        (false, _, Late::Run) => Unanswered::RunsAlone,
        (false, _, Late::Report) => Unanswered::Ends(LineState::Expired),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(state: PartState) -> PartRow {
        PartRow {
            state,
            ..PartRow::default()
        }
    }

    fn moment(now: i64, stops: bool) -> Moment {
        Moment {
            now,
            expires: 1_000,
            cancelling: None,
            stops,
            passed: false,
        }
    }

    #[test]
    fn what_was_passed_on_is_only_looked_at_and_forgotten_in_the_end() {
        let passed = |now| Moment {
            passed: true,
            ..moment(now, true)
        };
        let look = Due::Look(Cancel::Nothing);
        assert_eq!(due(&part(PartState::Sent), passed(1_000)), look);
        assert_eq!(due(&part(PartState::Sent), passed(1_001)), Due::GiveUp);
        // Nobody heard whether it was made, and it cannot be looked for.
        assert_eq!(due(&part(PartState::Sending), passed(10)), Due::GiveUp);
        assert_eq!(due(&part(PartState::Planned), passed(10)), Due::Drop);
    }

    #[test]
    fn what_was_not_made_is_dropped_when_its_batch_ends_and_what_may_have_been_is_looked_for() {
        for (state, stops, expected) in [
            (PartState::Planned, false, Due::Make),
            (PartState::Planned, true, Due::Drop),
            (PartState::Sending, false, Due::Find),
            (PartState::Sending, true, Due::Find),
            (PartState::Sent, false, Due::Look(Cancel::Nothing)),
            (PartState::Sent, true, Due::Look(Cancel::Asked)),
            (PartState::Ended, true, Due::Nothing),
        ] {
            assert_eq!(due(&part(state), moment(10, stops)), expected, "{state:?}");
        }
    }

    #[test]
    fn a_part_that_may_be_anothers_is_not_cancelled_and_one_that_does_not_end_is_given_up() {
        let guessed = PartRow {
            guessed: true,
            ..part(PartState::Sent)
        };
        assert_eq!(due(&guessed, moment(10, true)), Due::Look(Cancel::Spared));
        let cancelled = PartRow {
            cancelled: true,
            ..part(PartState::Sent)
        };
        let look = Due::Look(Cancel::Nothing);
        assert_eq!(due(&cancelled, moment(1_000 + CANCEL_MAX, true)), look);
        assert_eq!(
            due(&cancelled, moment(1_001 + CANCEL_MAX, true)),
            Due::GiveUp
        );
        let later = Moment {
            cancelling: Some(5_000),
            ..moment(1_001 + CANCEL_MAX, true)
        };
        assert_eq!(due(&cancelled, later), look, "counted from its cancelling");
    }

    #[test]
    fn only_what_surely_was_not_made_is_made_again() {
        assert_eq!(after_upload(Reached::Unknown), AfterCall::BeginAnew);
        assert_eq!(after_create(Reached::Unknown, false), AfterCall::Find);
        assert_eq!(after_create(Reached::Done, false), AfterCall::Find);
        assert_eq!(after_create(Reached::Done, true), AfterCall::GoOn);
        assert_eq!(after_create(Reached::NotTaken, false), AfterCall::BeginAnew);
        assert_eq!(after_create(Reached::Refused, false), AfterCall::Refuse);
    }

    #[test]
    fn a_search_takes_its_time_before_it_says_that_there_is_nothing() {
        let poll = Duration::from_secs(30);
        let start = Instant::now();
        let look = |seconds: u64| SearchLook {
            at: start + Duration::from_secs(seconds),
            since_made: i64::try_from(seconds).expect("small"),
            poll,
        };
        let mut search = Search::default();
        // Too early to say anything, then the first look that counts, one too soon after it, and the second.
        for (seconds, expected) in [
            (60, Searched::Later),
            (119, Searched::Later),
            (120, Searched::Later),
            (149, Searched::Later),
            (150, Searched::Remake),
        ] {
            assert_eq!(
                search.heard(Found::No, look(seconds)),
                expected,
                "{seconds}"
            );
        }
        let found = Found::Yes("b".into());
        let there = Searched::There("b".into());
        assert_eq!(Search::default().heard(found, look(0)), there);
    }

    #[test]
    fn what_stays_unclear_is_given_up_and_never_made_again() {
        let poll = Duration::from_secs(1);
        let start = Instant::now();
        let mut search = Search::default();
        let heard: Vec<Searched> = (4..9)
            .map(|seconds| {
                let look = SearchLook {
                    at: start + Duration::from_secs(seconds),
                    since_made: i64::try_from(seconds).expect("small"),
                    poll,
                };
                search.heard(Found::Unclear, look)
            })
            .collect();
        assert_eq!(heard[..4], vec![Searched::Later; 4]);
        assert_eq!(heard[4], Searched::GiveUp);
    }

    #[test]
    fn a_result_counts_once_and_only_in_its_own_part() {
        let own = PartRow {
            n: 3,
            ..part(PartState::Sent)
        };
        for (line, end, expected) in [
            ((3, LineState::Sent), LineEnd::Done, ResultUse::Settle),
            ((3, LineState::Sent), LineEnd::Failed, ResultUse::Settle),
            ((3, LineState::Sent), LineEnd::Expired, ResultUse::Undone),
            ((3, LineState::Done), LineEnd::Done, ResultUse::Ignore),
            ((2, LineState::Sent), LineEnd::Done, ResultUse::Ignore),
            (
                (3, LineState::Waiting),
                LineEnd::Cancelled,
                ResultUse::Ignore,
            ),
        ] {
            assert_eq!(of_result(&own, line, end), expected, "{line:?} {end:?}");
        }
    }

    #[test]
    fn a_line_without_an_answer_is_lost_late_or_run_alone() {
        use BatchState::{Cancelling, InProgress};
        let (run, report) = (Late::Run, Late::Report);
        for (end, undone, batch, late, expected) in [
            (
                VendorEnd::Completed,
                false,
                InProgress,
                run,
                Unanswered::Lost,
            ),
            (
                VendorEnd::Completed,
                true,
                InProgress,
                run,
                Unanswered::RunsAlone,
            ),
            (
                VendorEnd::Expired,
                false,
                InProgress,
                report,
                Unanswered::Ends(LineState::Expired),
            ),
            (
                VendorEnd::Cancelled,
                false,
                InProgress,
                report,
                Unanswered::Ends(LineState::Expired),
            ),
            (
                VendorEnd::Cancelled,
                false,
                Cancelling,
                run,
                Unanswered::Ends(LineState::Cancelled),
            ),
        ] {
            assert_eq!(unanswered(&end, undone, batch, late), expected, "{end:?}");
        }
    }
}
