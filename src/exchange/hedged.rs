//! A request whose answer does not begin is sent a second time, to another channel or arm; whoever answers first is heard, and the other one is
//! cancelled. Each has a reservation of its own, and what the loser costs is in the books by its own cause.

use super::work::{Failing, Unserved, Work};
use super::{Exchange, can_be_asked, returned};
use crate::fleet::Arm;
use crate::price::Price;
use crate::provider::channel::Channel;
use crate::relay::AnswerBody;
use crate::route::{HedgeEnd, HedgeTo, Hedging};
use http::Response;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Fewer answers of the last five minutes do not say how long an answer takes.
const ANSWERS_MIN: u64 = 20;

/// An attempt that runs against another one.
#[derive(Clone, Debug, Default)]
pub(super) struct Runner {
    /// The other one has answered first.
    pub(super) lost: Arc<AtomicBool>,
    /// It is the second one: it waits for no room under a cap.
    pub(super) second: bool,
    /// It has gone out.
    pub(super) sent: Arc<Notify>,
    /// Somebody runs against it.
    rivalled: Arc<AtomicBool>,
}

impl Runner {
    /// Whether somebody runs against it.
    pub(super) fn is_rivalled(&self) -> bool {
        self.rivalled.load(Ordering::Relaxed)
    }
}

/// How an attempt ended, and the arm whose it was.
pub(super) type Raced<'a> = (Result<Response<AnswerBody>, Unserved>, &'a Arm);

/// How a race ends in which both have failed: as the first one did, unless the second one alone may have been billed; then nothing is
/// asked again.
fn worse<'a>(first: (Unserved, &'a Arm), second: (Unserved, &'a Arm)) -> Raced<'a> {
    let unsure = |failed: &Unserved| matches!(failed, Unserved::NextArm(_, Failing::Unsure));
    let (failed, arm) = match !unsure(&first.0) && unsure(&second.0) {
        true => second,
        false => first,
    };
    (Err(failed), arm)
}

impl Exchange<'_> {
    /// One attempt on one arm; where the operator wants that, and its answer does not begin, a second one elsewhere.
    pub(super) async fn hedged<'a>(
        &self,
        work: &'a dyn Work,
        (arm, channel): (&'a Arm, &'a Channel),
    ) -> Raced<'a> {
        let hedging = self.admission.policy.hedging.as_deref();
        let hedge = hedging.and_then(|h| Some((h, self.hedges_after(h, work, arm)?)));
        match hedge {
            None => (self.attempt(work, (arm, channel), None).await, arm),
            // On the heap, as a probe is.
            Some(hedge) => Box::pin(self.race(work, (arm, channel), hedge)).await,
        }
    }

    /// After which time a request is sent a second time, should it wait for so long; `None` where it is not.
    fn hedges_after(&self, hedging: &Hedging, work: &dyn Work, arm: &Arm) -> Option<Duration> {
        let (provider, model) = (&arm.model.provider.name, &arm.model.name);
        // Whoever says what it wants to spend at most wants no second answer, and whoever can wait needs none.
        let wishes = &self.admission.wishes;
        let patient = wishes.max_cost.is_some() || wishes.deadline.is_some();
        // What its vendor keeps for it, or does beside answering, would be there twice.
        let kept = work.sticks(arm).kept;
        if patient || kept || !work.repeats() || !hedging.is_for(model) {
            return None;
        }
        let channels = &self.state.channels;
        // Once for each request, however many arms it tries.
        if !self.has_earned.swap(true, Ordering::Relaxed) {
            channels.hedges.earns(hedging.share_permille);
        }
        let percent = hedging.after_percent;
        let load = &channels.load;
        let answers = (provider.as_str(), model.as_str(), work.streams());
        let measured = load.first_byte(answers, percent, ANSWERS_MIN)?;
        Some(measured.max(hedging.not_before))
    }

    async fn race<'a>(
        &self,
        work: &'a dyn Work,
        (arm, channel): (&'a Arm, &'a Channel),
        (hedging, after): (&Hedging, Duration),
    ) -> Raced<'a> {
        let (one, two) = (
            Runner::default(),
            Runner {
                second: true,
                rivalled: Arc::new(AtomicBool::new(true)),
                ..Runner::default()
            },
        );
        let mut first = Box::pin(self.attempt(work, (arm, channel), Some(&one)));
        tokio::select! {
            outcome = &mut first => return (outcome, arm),
            // What still waits for room has not gone out.
            () = async {
                one.sent.notified().await;
                tokio::time::sleep(after).await;
            } => {}
        }
        let Some((other, on)) = self.hedge(hedging, work, (arm, channel)) else {
            return (first.await, arm);
        };
        one.rivalled.store(true, Ordering::Relaxed);
        let mut second = Box::pin(self.attempt(work, (other, on), Some(&two)));
        let telemetry = &self.state.telemetry;
        let mut told = false;
        let (end, raced) = tokio::select! {
            outcome = &mut first => match outcome {
                Ok(answer) => {
                    two.lost.store(true, Ordering::Relaxed);
                    (HedgeEnd::Lost, (Ok(answer), arm))
                }
                Err(failed) => match second.as_mut().await {
                    Ok(answer) => (HedgeEnd::Won, (Ok(answer), other)),
                    Err(after) => (HedgeEnd::Failed, worse((failed, arm), (after, other))),
                },
            },
            outcome = &mut second => match outcome {
                Ok(answer) => {
                    one.lost.store(true, Ordering::Relaxed);
                    (HedgeEnd::Won, (Ok(answer), other))
                }
                Err(failed) => {
                    one.rivalled.store(false, Ordering::Relaxed);
                    // It is known now, however long the first one takes.
                    telemetry.hedged(HedgeEnd::Failed.name());
                    let raced = match first.as_mut().await {
                        Ok(answer) => (Ok(answer), arm),
                        Err(after) => worse((after, arm), (failed, other)),
                    };
                    told = true;
                    (HedgeEnd::Failed, raced)
                }
            },
        };
        // Dropped, whoever has lost is cancelled at its provider and booked.
        drop((first, second));
        if !told {
            telemetry.hedged(end.name());
        }
        let (mut outcome, served) = raced;
        if let Ok(answer) = &mut outcome {
            returned::set(answer.headers_mut(), "x-flyball-hedge", end.name());
        }
        (outcome, served)
    }

    /// Who is asked as well; `None` where nobody can be, or too many requests were sent twice already.
    fn hedge<'a>(
        &self,
        hedging: &Hedging,
        work: &'a dyn Work,
        (arm, channel): (&'a Arm, &'a Channel),
    ) -> Option<(&'a Arm, &'a Channel)> {
        let telemetry = &self.state.telemetry;
        if !self.state.channels.hedges.spends() {
            telemetry.hedged(HedgeEnd::OverBudget.name());
            return None;
        }
        let by_channel = || Some((arm, self.other_channel(work, arm, channel)?));
        let by_arm = || self.other_arm(work, arm);
        let found = match hedging.to {
            HedgeTo::Channel => by_channel(),
            HedgeTo::Arm => by_arm(),
            HedgeTo::Any => by_channel().or_else(by_arm),
        };
        if found.is_none() {
            self.state.channels.hedges.gives_back();
            telemetry.hedged(HedgeEnd::Nobody.name());
        }
        found
    }

    /// The next arm of the decision that may be asked at the same time: what is confidential stays on local models, and what is free does not
    /// become paid in silence.
    fn other_arm<'a>(&self, work: &'a dyn Work, arm: &Arm) -> Option<(&'a Arm, &'a Channel)> {
        let free = |arm: &Arm| arm.model.price.as_ref().is_some_and(Price::is_free);
        let private = self.admission.wishes.private;
        let mut others = work.arms().iter().chain(work.further()).filter(|other| {
            other.model.name != arm.model.name
                && (other.model.local || !private)
                && (free(other) || !free(arm))
                && can_be_asked(work, other)
        });
        others.find_map(|other| Some((other, self.admits(work, other)?)))
    }
}
