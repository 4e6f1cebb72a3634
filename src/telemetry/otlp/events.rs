//! What has ended, with all that a span or a measurement of it needs. Handed from the request path to the task that exports it.

use super::content::SaidToModel;
use super::context::TraceContext;
use super::settings::Names;
use crate::arm::{Effort, Tier};
use crate::ledger::record::{Closing, Opening, Outcome};
use crate::money::PicoUsd;
use crate::telemetry::metrics::Labels;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// Something has ended.
pub(super) enum Event {
    Exchange(Box<ExchangeEnded>),
    Attempt(Box<AttemptEnded>),
    /// The process ends: whatever waits is sent now, and the sender is told once that is over.
    Stop(oneshot::Sender<()>),
}

/// What was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) id: String,
    pub(super) client: Option<SocketAddr>,
    pub(super) method: &'static str,
    /// The kind of call.
    pub(super) call: &'static str,
    pub(super) dialect: &'static str,
}

/// What became known of an exchange on its way.
#[derive(Debug, Default)]
pub(super) struct ExchangeNotes {
    pub(super) decided: Option<DecidedHere>,
    /// The status that the client was answered with; `None` where it has gone away before.
    pub(super) status: Option<u16>,
    /// Why it was refused.
    pub(super) refused: Option<&'static str>,
    /// How long it took from the arrival to the end, where that is known.
    pub(super) took: Option<Duration>,
    /// How long it took until the last attempt has ended.
    pub(super) last: Option<Duration>,
    /// Attempts that have ended.
    pub(super) attempts: u32,
    /// How the last of them ended that was not gone on from.
    pub(super) outcome: Option<Outcome>,
    /// Its model and provider.
    pub(super) model: String,
    pub(super) provider: String,
    /// Of all attempts.
    pub(super) cost: PicoUsd,
    pub(super) baseline: PicoUsd,
}

/// What was decided.
#[derive(Debug)]
pub(super) struct DecidedHere {
    /// The model as the client calls it.
    pub(super) asked: String,
    pub(super) rule: String,
    pub(super) task: &'static str,
    pub(super) tier: Tier,
    /// Where it was graded.
    pub(super) difficulty: Option<f64>,
}

/// An exchange has ended.
pub(super) struct ExchangeEnded {
    pub(super) context: TraceContext,
    pub(super) asked: Asked,
    pub(super) told: ExchangeNotes,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) took: Duration,
}

impl ExchangeEnded {
    /// What went wrong, in one word.
    pub(super) fn error(&self) -> Option<&'static str> {
        if let Some(refused) = self.told.refused {
            return Some(refused);
        }
        let Some(status) = self.told.status else {
            return Some(Outcome::ClientGone.name());
        };
        let outcome = self.told.outcome.unwrap_or(Outcome::Ok);
        match outcome {
            Outcome::Ok | Outcome::Length | Outcome::Escalated if status < 400 => None,
            // Another arm may have been asked and have said why not.
            Outcome::Ok | Outcome::Length | Outcome::Escalated => {
                Some(Outcome::RefusedUpstream.name())
            }
            failed => Some(failed.name()),
        }
    }
}

/// An attempt has ended.
pub(super) struct AttemptEnded {
    pub(super) context: TraceContext,
    pub(super) opening: Opening,
    pub(super) closing: Closing,
    pub(super) effort: Effort,
    pub(super) stream: bool,
    /// The provider's status; 0 if it never answered.
    pub(super) status: u16,
    pub(super) ttft: Option<Duration>,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    /// Since it was sent.
    pub(super) took: Duration,
    /// `gen_ai.operation.name`.
    pub(super) operation: &'static str,
    /// `gen_ai.provider.name`.
    pub(super) vendor: &'static str,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The model that answered, as it calls itself.
    pub(super) model: String,
    pub(super) finish: Option<String>,
    /// What was said to it, where that may be sent.
    pub(super) said: Option<Box<SaidToModel>>,
    pub(super) answer: String,
    pub(super) names: Names,
    /// Model and provider as labels: names that nobody knows are `other`.
    pub(super) labels: Labels,
}

impl AttemptEnded {
    /// What went wrong, in one word: the provider's status where it refused, else how the attempt ended.
    pub(super) fn error(&self) -> Option<Cow<'static, str>> {
        match self.closing.outcome {
            Outcome::Ok | Outcome::Length | Outcome::ClientGone | Outcome::Escalated => None,
            _ if self.status >= 400 => Some(self.status.to_string().into()),
            outcome => Some(outcome.name().into()),
        }
    }
}
