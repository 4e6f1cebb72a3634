//! What becomes of an answer that was looked at: it stands, or it is kept while a better arm answers, in case that one fails.

use super::returned;
use super::work::{Reply, Unserved, Work};
use crate::affinity::{DeliveredAnswer, Evidences};
use crate::dialect::Answer as Read;
use crate::judge;
use crate::ledger::judged::{JudgedAnswer, JudgedBy, SCORE_WHOLE};
use crate::ledger::record::{Opening, Shown};
use crate::probe::evidence::{Evidence, Witness};
use crate::relay::{AnswerBody, Relay, bill_headers};
use crate::route::Probe;
use crate::settle::Settlement;
use http::Response;
use http::response::Parts as Head;
use std::sync::Mutex;

/// An answer is to be looked at.
pub(super) enum Look<'p> {
    /// To see whether it stands.
    Judge {
        work: &'p dyn Work,
        probe: &'p Probe,
        witness: Witness,
    },
    /// To hear what it says of another answer.
    Hear(&'p Mutex<Option<Evidence>>, Witness),
}

/// A witness that has seen a whole answer.
pub(super) fn seen(mut witness: Witness, answer: &Read) -> Witness {
    for event in answer.clone().into_events() {
        witness.saw(&event);
    }
    witness
}

/// How a probe ended. A closed set: a header and a metric rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeOutcome {
    /// The cheap answer stands.
    Stands,
    /// The better arm has answered.
    Escalated,
    /// The better arm has failed, or is left alone since it has failed before, and the cheap answer was delivered.
    StrongFailed,
    /// The cheap arm has failed, or refuses what it was asked for.
    Failed,
    /// A cap has no room for both, and no probe was made.
    NoRoom,
}

impl ProbeOutcome {
    /// The name in the header and the metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            ProbeOutcome::Stands => "stands",
            ProbeOutcome::Escalated => "escalated",
            ProbeOutcome::StrongFailed => "strong_failed",
            ProbeOutcome::Failed => "failed",
            ProbeOutcome::NoRoom => "no_room",
        }
    }
}

/// What a probe led to.
pub(super) enum Probed {
    /// None was made.
    Not,
    /// The request is answered.
    Answered(Box<Reply>),
    /// The better arm has not answered either.
    Unserved(Unserved),
    /// The cheap arm has failed, and the better one is down by now, or is being tried by another request.
    PassedOver,
}

impl Probed {
    pub(super) fn answered(reply: Reply) -> Probed {
        Probed::Answered(Box::new(reply))
    }
}

/// What an attempt has brought.
pub(super) enum Answered {
    /// An answer for the client, and its text where it came as a whole.
    Stands(Response<AnswerBody>, Option<String>),
    /// An answer that speaks against itself.
    GoesOn(Small),
    /// A whole answer that stands, and is held against the better arm's all the same.
    Checked(Small),
}

impl Answered {
    /// The text of a whole answer.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Answered::Stands(_, text) => text.as_deref(),
            Answered::GoesOn(_) | Answered::Checked(_) => None,
        }
    }

    /// The answer, whatever it shows.
    pub(super) fn answer(self) -> Response<AnswerBody> {
        match self {
            Answered::Stands(answer, _) => answer,
            Answered::GoesOn(small) => small.delivered(ProbeOutcome::StrongFailed),
            Answered::Checked(small) => small.delivered(ProbeOutcome::Stands),
        }
    }
}

/// What was found when an answer was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub(super) shown: Shown,
    pub(super) goes_on: bool,
    evidence: Evidence,
}

impl Verdict {
    pub(super) fn of(probe: &Probe, evidence: Evidence) -> Verdict {
        let stands = probe.judged(evidence);
        let chance = match evidence.sign.is_fault() {
            true => 0.0,
            false => stands.map_or(probe.promise.weak, |stands| stands.chance),
        };
        Verdict {
            shown: Shown {
                sign: evidence.sign,
                probability_ppm: evidence.logprob.map(|p| parts(p.exp(), 1_000_000.0)),
                chance_milli: parts(chance, 1_000.0),
            },
            goes_on: probe.goes_on(evidence),
            evidence,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a million is between 0 and a million"
)]
fn parts(share: f64, whole: f64) -> u64 {
    (share.clamp(0.0, 1.0) * whole).round() as u64
}

/// Learns what an arm's answer has shown.
pub(super) fn learn(evidences: &Evidences, probe: &Probe, verdict: Verdict) {
    let Evidence { sign, logprob } = verdict.evidence;
    if let (Some(signal), Some(logprob)) = (sign.signal(), logprob) {
        let model = probe.arm.model.name.as_str();
        let arm = (model, probe.arm.effort_or(None), signal.scale());
        evidences.saw(arm, logprob, probe.promise);
    }
}

/// Keeps what the caller may judge: an answer with a probability, that is delivered to the key of this row.
pub(super) fn remember(
    evidences: &Evidences,
    probe: &Probe,
    verdict: Verdict,
    (request, key): (&str, Option<i64>),
) {
    let Evidence { sign, logprob } = verdict.evidence;
    let stands = probe.judged(verdict.evidence);
    if let (Some(signal), Some(logprob), Some(stands)) = (sign.signal(), logprob, stands) {
        let effort = probe.arm.effort_or(None);
        let answer = DeliveredAnswer {
            key,
            arm: (probe.arm.model.name.clone(), effort, signal.scale()),
            logprob,
            promise: probe.promise,
            better: stands.better,
        };
        evidences.delivered(request, answer);
    }
}

/// Whether this request is among the so many of a million that are explored, by its id, whose end is random.
pub(super) fn explores(id: &str, ppm: u32) -> bool {
    let end = id.get(id.len().saturating_sub(8)..).unwrap_or_default();
    let drawn = u32::from_str_radix(end, 16).unwrap_or(u32::MAX);
    u64::from(drawn) * 1_000_000 < u64::from(ppm) << 32
}

/// The better arm has answered too, with this: whether it agrees tells how good the first answer was.
pub(super) fn compare(evidences: &Evidences, probe: &Probe, small: &Small, better: &str) {
    let (verdict, first) = match small {
        Small::Whole { verdict, text, .. } | Small::Stream { verdict, text, .. } => (verdict, text),
    };
    let Evidence { sign, logprob } = verdict.evidence;
    let same = judge::says_the_same(first, better);
    // An answer that is too long to be compared may say the same in more words.
    let (Some(same), true) = (same, judge::is_short(first)) else {
        return;
    };
    let stands = probe.judged(verdict.evidence);
    if let (Some(signal), Some(logprob), Some(stands)) = (sign.signal(), logprob, stands) {
        let arm = (
            probe.arm.model.name.as_str(),
            probe.arm.effort_or(None),
            signal.scale(),
        );
        let added = stands.added_where(!same);
        evidences.judge(arm, logprob, probe.promise, added);
    }
}

/// Whether a cheap answer, which was held against the better arm's, says the same; `None` where the better arm's is too long to be compared
/// word for word, or the cheap one was a stream, of which those that stand are held against nothing. Which answers are compared hangs on the
/// better arm alone, so that what is told of the cheap one is told of its good and bad answers alike.
pub(super) fn agrees(small: &Small, better: &str) -> Option<bool> {
    let Small::Whole { verdict, text, .. } = small else {
        return None;
    };
    let same = judge::says_the_same(text, better)?;
    Some(!verdict.shown.sign.is_fault() && same)
}

/// What the books keep of two answers to one request, of which the better arm's is taken for good. `seen_ppm`: of so many of a million
/// requests like this one that is known.
pub(super) fn outcomes(
    (cheap, better): (&Opening, &Opening),
    agrees: bool,
    (by, seen_ppm): (JudgedBy, u32),
) -> Vec<JudgedAnswer> {
    let outcome = |arm: &Opening, good: bool| JudgedAnswer {
        request: arm.request.clone(),
        model: arm.model.clone(),
        effort: arm.effort,
        by,
        task: arm.task.clone(),
        difficulty_milli: arm.difficulty_milli,
        score_ppm: if good { SCORE_WHOLE } else { 0 },
        cost: None,
        seen_ppm: i64::from(seen_ppm),
        at_ms: arm.at_ms,
        key: arm.key,
    };
    vec![outcome(cheap, agrees), outcome(better, true)]
}

/// An answer of the cheap arm whose delivery is not decided. Dropped, it is booked as what it has used so far, of no use to anybody.
pub(super) enum Small {
    /// It is all here.
    Whole {
        answer: Box<Response<AnswerBody>>,
        settlement: Box<Settlement>,
        verdict: Verdict,
        text: String,
    },
    /// More of it may come.
    Stream {
        head: Box<Head>,
        relay: Box<Relay>,
        verdict: Verdict,
        text: String,
    },
}

impl Small {
    /// What was found when it was looked at.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Small::Whole { verdict, .. } | Small::Stream { verdict, .. } => *verdict,
        }
    }

    /// What it has shown.
    pub(super) fn shown(&self) -> Shown {
        self.verdict().shown
    }

    /// It has broken off before it was complete.
    pub(super) fn is_cut(&self) -> bool {
        match self {
            Small::Whole { .. } => false,
            Small::Stream { relay, .. } => relay.is_cut(),
        }
    }

    /// Reads on for as long as another arm is asked, so that the answer is there should that one fail.
    pub(super) async fn kept_while(
        mut self,
        other: impl Future<Output = Result<Answered, Unserved>>,
    ) -> (Result<Answered, Unserved>, Option<Small>) {
        let answer = match &mut self {
            Small::Whole { .. } => other.await,
            Small::Stream { relay, .. } => tokio::select! {
                answer = other => answer,
                () = relay.keep_reading() => std::future::pending().await,
            },
        };
        (answer, Some(self))
    }

    /// The answer goes to the client.
    pub(super) fn delivered(self, outcome: ProbeOutcome) -> Response<AnswerBody> {
        let (mut answer, verdict) = match self {
            Small::Whole {
                answer,
                mut settlement,
                verdict,
                ..
            } => {
                settlement.looked_at(verdict.shown, false);
                let mut answer = *answer;
                if let Some(bill) = settlement.ended() {
                    answer.headers_mut().extend(bill_headers(bill));
                }
                (answer, verdict)
            }
            Small::Stream {
                head,
                mut relay,
                verdict,
                ..
            } => {
                relay.looked_at(verdict.shown, false);
                let answer = Response::from_parts(*head, AnswerBody::Relayed(relay));
                (answer, verdict)
            }
        };
        let headers = answer.headers_mut();
        returned::set(headers, "x-flyball-probe", outcome.name());
        returned::set(headers, "x-flyball-evidence", &said(&verdict.shown));
        let chance = format!("0.{:03}", verdict.shown.chance_milli.min(999));
        returned::set(headers, "x-flyball-chance", &chance);
        answer
    }
}

/// What was shown, for a header: `answer 0.9312`, `empty`.
fn said(shown: &Shown) -> String {
    match shown.probability_ppm {
        Some(ppm) => format!(
            "{} {}.{:06}",
            shown.sign.name(),
            ppm / 1_000_000,
            ppm % 1_000_000
        ),
        None => shown.sign.name().to_owned(),
    }
}

/// Says in an answer's head what became of the probe.
pub(super) fn note(answer: &mut Response<AnswerBody>, outcome: ProbeOutcome) {
    returned::set(answer.headers_mut(), "x-flyball-probe", outcome.name());
}

/// The better arm's answer, with what was asked before it and what that has shown, if it has answered.
pub(super) fn told(
    mut answer: Response<AnswerBody>,
    probe: &Probe,
    shown: Option<Shown>,
) -> Response<AnswerBody> {
    let headers = answer.headers_mut();
    let outcome = match shown {
        Some(shown) => {
            returned::set(headers, "x-flyball-evidence", &said(&shown));
            ProbeOutcome::Escalated
        }
        None => ProbeOutcome::Failed,
    };
    let before = format!(
        "{}@{}",
        probe.arm.model.name,
        probe.arm.effort_or(None).name()
    );
    returned::set(headers, "x-flyball-probe", outcome.name());
    returned::set(headers, "x-flyball-escalated-from", &before);
    answer
}
