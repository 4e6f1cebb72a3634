//! What a line of a batch asks for: a completion or embeddings, decided now or as it was decided before.

use super::super::admission::Admission;
use super::super::completion::{Completion, Routed};
use super::super::embeddings::Embeddings;
use super::super::router::CallKind;
use super::super::work::{Unserved, Wording, Work};
use super::seat::{Seat, noted};
use crate::batch::LineDoc;
use crate::batch::wire::Wire;
use crate::dialect::embed::Shape;
use crate::dialect::{Answer, Dialect};
use crate::error::Error;
use crate::fleet::Arm;

/// The rule in the books of what is asked of the model that is named.
const ASKED: &str = "asked";

/// A line that was read.
pub(super) enum AskedLine<'a> {
    /// It asks for a completion.
    Completion(Box<Completion<'a>>),
    /// It asks for embeddings.
    Embeddings(Box<Embeddings<'a>>),
}

/// A line for which it is decided who answers it.
pub(super) enum DecidedLine<'a> {
    /// It asks for a completion.
    Completion(Box<Routed<'a>>),
    /// It asks for embeddings, of the model that it names.
    Embeddings(&'a Embeddings<'a>),
}

impl<'a> AskedLine<'a> {
    /// # Errors
    /// It is no request that a batch may hold.
    pub(super) fn read(
        seat: &'a Seat,
        admission: &'a Admission<'a>,
        call: &'a Result<CallKind<'a>, Error>,
    ) -> Result<AskedLine<'a>, Error> {
        match call {
            Ok(CallKind::Complete(place)) => {
                let completion = Completion::read(admission, &seat.body, place)?;
                if completion.request.stream {
                    let why = "A request of a batch cannot be streamed.";
                    return Err(Error::bad_field("stream", why));
                }
                Ok(AskedLine::Completion(Box::new(completion)))
            }
            Ok(CallKind::Embed(place)) => {
                let embeddings = Embeddings::read(admission, &seat.body, place)?;
                Ok(AskedLine::Embeddings(Box::new(embeddings)))
            }
            _ => Err(Error::bad_field(
                "url",
                format!("A batch cannot ask for {}.", seat.head.uri.path()),
            )),
        }
    }

    /// Decides now who answers it.
    ///
    /// # Errors
    /// Nobody may.
    pub(super) fn decide(&self) -> Result<DecidedLine<'_>, Error> {
        Ok(match self {
            AskedLine::Completion(completion) => {
                DecidedLine::Completion(Box::new(completion.decide(None)?))
            }
            AskedLine::Embeddings(embeddings) => DecidedLine::Embeddings(embeddings),
        })
    }

    /// As it was decided before.
    ///
    /// # Errors
    /// The configuration has its model no more.
    pub(super) fn decided(&self, seat: &Seat, doc: &LineDoc) -> Result<DecidedLine<'_>, Error> {
        Ok(match self {
            AskedLine::Completion(completion) => {
                DecidedLine::Completion(Box::new(seat.decided(completion, doc)?))
            }
            AskedLine::Embeddings(embeddings) => DecidedLine::Embeddings(embeddings),
        })
    }
}

impl DecidedLine<'_> {
    pub(super) fn work(&self) -> &dyn Work {
        match self {
            DecidedLine::Completion(routed) => &**routed,
            DecidedLine::Embeddings(embeddings) => *embeddings,
        }
    }

    /// What is kept of the decision for this arm.
    pub(super) fn noted(&self, arm: &Arm) -> LineDoc {
        match self {
            DecidedLine::Completion(routed) => noted(&routed.decision, arm),
            DecidedLine::Embeddings(_) => LineDoc {
                provider: arm.model.provider.name.clone(),
                model: arm.model.name.clone(),
                rule: ASKED.to_owned(),
                untouched: true,
                baseline: (arm.model.name.clone(), None),
                ..LineDoc::default()
            },
        }
    }

    /// What an arm is told within a batch, where it can be told it in words that its vendor's batches are in; else by itself.
    pub(super) fn in_batch(
        &self,
        arm: &Arm,
        wire: Option<Wire>,
        told: Wording,
    ) -> (Option<Wire>, Wording) {
        let Some(wire) = wire else {
            return (None, told);
        };
        match self {
            DecidedLine::Embeddings(embeddings) => {
                let fits = wire.batches.embeds() && embeddings.shape() == Shape::OpenAi;
                (fits.then_some(wire), told)
            }
            DecidedLine::Completion(routed) => match routed.told_in_batch(&wire, arm, &told) {
                Some(told) => (Some(wire), told),
                None => (None, told),
            },
        }
    }

    /// What an arm is told in this dialect.
    pub(super) fn told_as(
        &self,
        dialect: &'static dyn Dialect,
        arm: &Arm,
        told: Wording,
    ) -> Result<Wording, Unserved> {
        match self {
            DecidedLine::Completion(routed) if told.dialect.name() != dialect.name() => {
                routed.told_as(dialect, arm)
            }
            DecidedLine::Completion(_) | DecidedLine::Embeddings(_) => Ok(told),
        }
    }

    /// Reads the answer to what the arm was told.
    pub(super) fn answer(&self, arm: &Arm, told: &Wording, body: &[u8]) -> Answer {
        match self {
            DecidedLine::Completion(_) => told.dialect.answer(body, arm.model.provider.kind.usage),
            DecidedLine::Embeddings(embeddings) => embeddings.metered(body),
        }
    }
}
