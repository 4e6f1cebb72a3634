//! What has become of the arms of a request that were tried so far: barred by a full cap of their own, or since they cannot do what is
//! asked; passed over, since they have failed again and again lately; or asked, and failed. And so who may be asked next.

use super::returned;
use super::work::{Bar, Failing, Reply, Unserved};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::price::Price;
use crate::provider::Provider;
use crate::relay::AnswerBody;
use crate::route::AfterFailure;
use http::Response;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// A provider that is busy for longer is not waited for.
const WAITS_MAX: Duration = Duration::from_secs(2);

/// What has become of the arms that were tried so far, none of which has answered.
pub(super) struct Tried {
    after_failure: AfterFailure,
    /// How the first of them ended, which is the answer if there is no other.
    first: Option<Reply>,
    /// Each that could not serve, by its model, with the reason.
    barred: Vec<(String, Bar)>,
    /// Those that were not asked, since they are down.
    passed_over: Vec<Arm>,
    /// The first one that has failed and left no bill, and how.
    failed: Option<(Arm, Failing)>,
    /// Those that cannot be reached, or do not let us in: none of their models can answer.
    closed: Vec<Arc<Provider>>,
    /// One has failed, and may have done some work.
    unsure: bool,
    /// One that costs nothing has failed or is down: what costs does not take its place in silence.
    only_free: bool,
}

impl Tried {
    /// Nobody was tried yet. `thrifty`: the caller says what it wants to spend at most, so that no second answer is paid for.
    pub(super) fn none(after_failure: AfterFailure, thrifty: bool) -> Tried {
        Tried {
            after_failure: match after_failure {
                AfterFailure::Always if thrifty => AfterFailure::Unbilled,
                other => other,
            },
            first: None,
            barred: Vec::new(),
            passed_over: Vec::new(),
            failed: None,
            closed: Vec::new(),
            unsure: false,
            only_free: false,
        }
    }

    /// An arm has not answered. Gives what ends the exchange, if that does.
    pub(super) fn note(&mut self, arm: &Arm, unserved: Unserved) -> Option<Ended> {
        let reply = match unserved.of(arm) {
            Unserved::Final(reply) => return Some(Ended::With(reply)),
            Unserved::LocalInstead(refusal) => return Some(Ended::LocalInstead(refusal)),
            Unserved::NextArm(reply, failing) => {
                self.fails(arm, failing);
                reply
            }
            Unserved::Barred(reply, bar) => {
                self.barred.push((arm.model.name.clone(), bar));
                reply
            }
        };
        self.first.get_or_insert(*reply);
        None
    }

    fn fails(&mut self, arm: &Arm, failing: Failing) {
        self.only_free |= is_free(arm);
        if matches!(failing, Failing::NotSent | Failing::Untaken) {
            self.closed.push(Arc::clone(&arm.model.provider));
        }
        if matches!(failing, Failing::Unsure | Failing::Elsewhere) {
            self.unsure = true;
        } else {
            self.failed.get_or_insert((arm.clone(), failing));
        }
        if !self
            .barred
            .iter()
            .any(|(model, _)| *model == arm.model.name)
        {
            self.barred.push((arm.model.name.clone(), Bar::Failed));
        }
    }

    /// An arm is not asked, since it is down or nearly out of its rate limit, and others may answer.
    pub(super) fn passes_over(&mut self, arm: &Arm, bar: Bar) {
        self.only_free |= is_free(arm);
        self.barred.push((arm.model.name.clone(), bar));
        self.passed_over.push(arm.clone());
    }

    /// Whether an arm that no rule has named may be asked now: nobody is billed for the same request twice, and what is free does not
    /// become paid in silence.
    /// `billed`: an attempt of this exchange, which may be one that only looked, has failed and may be billed.
    pub(super) fn goes_on_to(&self, arm: &Arm, billed: bool) -> bool {
        let failed = self.unsure || self.failed.is_some() || !self.passed_over.is_empty();
        if !failed {
            return !self.barred.is_empty();
        }
        let may = match self.after_failure {
            AfterFailure::Stop => false,
            AfterFailure::Unbilled => !self.unsure && !billed,
            AfterFailure::Always => true,
        };
        let closed = |p: &Arc<Provider>| Arc::ptr_eq(p, &arm.model.provider);
        may && (!self.only_free || is_free(arm)) && !self.closed.iter().any(closed)
    }

    /// Those that were passed over, now that nobody else has answered.
    pub(super) fn last_resorts(&mut self) -> Vec<Arm> {
        let passed_over = std::mem::take(&mut self.passed_over);
        match self.unsure || self.failed.is_some() {
            true => Vec::new(),
            false => passed_over,
        }
    }

    /// Who may be asked once more, and after which time at least. `routed`: an app that has named its model hears itself that it is busy.
    pub(super) fn again(&self, routed: bool) -> Option<(Arm, Duration)> {
        let (arm, failing) = self.failed.as_ref().filter(|_| !self.unsure)?;
        match failing {
            Failing::NotSent => Some((arm.clone(), Duration::ZERO)),
            Failing::Busy(asks) if routed => {
                let wait = asks.unwrap_or_default();
                (wait <= WAITS_MAX).then(|| (arm.clone(), wait))
            }
            Failing::Busy(_) | Failing::Untaken | Failing::Elsewhere | Failing::Unsure => None,
        }
    }

    /// Says in an answer's head which arms would have been better.
    pub(super) fn told(&self, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        let mut text = String::new();
        for (model, bar) in &self.barred {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{model}: {}", bar.name());
        }
        if !text.is_empty() {
            returned::set(answer.headers_mut(), "x-flyball-barred", &text);
        }
        answer
    }

    /// How it ends where nobody has answered.
    pub(super) fn reply(self) -> Reply {
        let none = || Err(Error::new(Kind::Internal, "no arm was tried"));
        self.first.unwrap_or_else(none)
    }
}

fn is_free(arm: &Arm) -> bool {
    arm.model.price.as_ref().is_some_and(Price::is_free)
}

/// An exchange is over.
pub(super) enum Ended {
    /// With this.
    With(Box<Reply>),
    /// A cap has no room, and says that a local model may answer instead.
    LocalInstead(Error),
}
