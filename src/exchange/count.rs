//! How many tokens a prompt has: asked of the provider whose model is named, where it counts in the client's dialect for nothing;
//! else counted here. A routed request has no model yet whose own tokenizer could be asked.

use super::admission::Admission;
use super::bound::Bound;
use super::outgoing;
use super::reply;
use super::returned;
use super::work::{Booked, Hold, Longer, Order, Outgoing, Reply, Unserved, Way, Wording, Work};
use crate::chat::Part;
use crate::counting;
use crate::dialect::{Answer as Read, Dialect, Place, Request, unseal};
use crate::error::{Error, Kind};
use crate::fleet::{Arm, Model};
use crate::ledger::record::Opening;
use crate::provider::Side;
use crate::provider::channel::Channel;
use crate::relay::AnswerBody;
use crate::route;
use crate::settle::Job;
use crate::tokens;
use crate::upstream::Begins;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// A count that takes longer is made here: its only use is to be had before the request itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A request for a count.
pub(super) struct CountCall<'a> {
    admission: &'a Admission<'a>,
    request: Request<'a>,
    body: &'a Bytes,
    /// The model whose provider counts; empty where none does.
    arms: Vec<Arm>,
}

impl<'a> CountCall<'a> {
    /// # Errors
    /// It is no request of the client's dialect, or the caller may not use the model that it names.
    pub(super) fn read(
        admission: &'a Admission<'a>,
        body: &'a Bytes,
        place: &'a Place<'a>,
    ) -> Result<CountCall<'a>, Error> {
        let request = admission.dialect.decode_at(body, place)?;
        let model = counter(admission, &request)?;
        let arm = model.map(|model| Arm {
            model,
            effort: None,
        });
        Ok(CountCall {
            admission,
            request,
            body,
            arms: arm.into_iter().collect(),
        })
    }

    /// Whether this is what the provider has counted, or its word that the request is wrong, which is an answer too.
    pub(super) fn is_told(&self, answer: &Response<AnswerBody>) -> bool {
        let status = answer.status().as_u16();
        // A local server that does not know the path says 404 as well.
        let missing = || self.arms.iter().any(|arm| !arm.model.provider.kind.free);
        matches!(status, 200 | 400 | 413 | 422) || (status == 404 && missing())
    }

    /// Counted here.
    pub(super) async fn here(&self) -> Response<AnswerBody> {
        counted(self.admission.dialect, &self.request, self.body.len()).await
    }
}

impl Work for CountCall<'_> {
    fn arms(&self) -> &[Arm] {
        &self.arms
    }

    fn moves(&self) -> bool {
        true
    }

    fn told(&self, _arm: &Arm) -> Result<Wording, Unserved> {
        Ok(Wording::own(self.admission.dialect, self.body.clone()))
    }

    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        Ok(Box::new(CountOrder {
            count: self,
            arm,
            told,
        }))
    }
}

/// One attempt before it goes out.
struct CountOrder<'a> {
    count: &'a CountCall<'a>,
    arm: &'a Arm,
    told: &'a Wording,
}

impl Order for CountOrder<'_> {
    /// Counting is free.
    fn bound(&mut self) -> Option<Bound> {
        None
    }

    fn opening(&self) -> Opening {
        Opening::default()
    }

    fn outgoing(&mut self, _granted: u64, channel: &Channel) -> Result<Outgoing, Error> {
        let (name, provider) = (&self.arm.model.name, &self.arm.model.provider);
        let side = Side::Count(self.count.admission.dialect.name());
        let url = provider.side(channel, side, name, "").ok_or_else(|| {
            Error::new(
                Kind::Internal,
                "the model's provider does not count in this dialect",
            )
        })?;
        Ok(Outgoing {
            method: Method::POST,
            url,
            body: outgoing::naming(self.told.body.clone(), name, channel).into(),
            begins: Begins::AtOnce,
            bodiless: false,
            header: None,
        })
    }

    fn job(&self) -> Job {
        Job::of(self.arm, self.count.admission.dialect)
    }

    fn announce(&self, headers: &mut HeaderMap) {
        returned::set(headers, "x-flyball-model", &self.arm.model.name);
        returned::set(headers, "x-flyball-provider", &self.arm.model.provider.name);
    }

    fn reading(&mut self, _head: &mut Parts, _ended: bool) -> Way {
        Way::Held(Hold {
            bytes_max: reply::HELD_MAX,
            read: Box::new(|_| Read::default()),
            books: Booked::Passed,
            longer: Longer::Refused("the provider's count is too long"),
        })
    }

    fn answer(&self, mut head: Parts, bytes: Bytes, _read: Read) -> Reply {
        if head.status != StatusCode::OK {
            return Err(Error::new(
                Kind::UpstreamFailed,
                "the provider counted nothing",
            ));
        }
        returned::set(&mut head.headers, "x-flyball-basis", "reported");
        let channels = self.arm.model.provider.channels();
        let bytes = channels.fold(bytes, reply::redacted);
        Ok(Response::from_parts(head, AnswerBody::whole(bytes)))
    }
}

/// The model whose provider counts.
///
/// # Errors
/// The caller may not use that model.
fn counter(admission: &Admission<'_>, request: &Request<'_>) -> Result<Option<Arc<Model>>, Error> {
    let policy = &admission.policy;
    let dialect = admission.dialect.name();
    // What came from another model is taken out of a request only when its arm is known, and never leaves as it is.
    let sealed = unseal::may_hold(request.fields.text(), true);
    if admission.wishes.private || sealed || route::is_routed(policy, &request.model) {
        return Ok(None);
    }
    let fleet = &policy.fleet;
    let Ok(model) = fleet.resolve(&request.model, dialect, &policy.catalogue) else {
        return Ok(None);
    };
    admission.permitted(&model)?;
    let (provider, side) = (&model.provider, Side::Count(dialect));
    let counts = provider
        .side(&provider.home, side, &model.name, "")
        .is_some();
    Ok((counts && !model.simulated).then_some(model))
}

/// Counted here, in o200k_base.
async fn counted(
    dialect: &dyn Dialect,
    request: &Request<'_>,
    bytes: usize,
) -> Response<AnswerBody> {
    let bound = tokens::bound(bytes);
    // Tool schemas are a part of the prompt too; their JSON stands for them.
    let tools = request.fields.some("tools").unwrap_or_default();
    let mut texts = vec![tools.to_owned()];
    texts.extend(request.prompt.system.iter().map(|t| t.clone().into_owned()));
    let parts = request.prompt.turns.iter().flat_map(|t| &t.parts);
    texts.extend(parts.filter_map(|part| match part {
        Part::Text(text) | Part::ToolResult(text) => Some(text.clone().into_owned()),
        _ => None,
    }));
    let turns = u64::try_from(request.prompt.turns.len()).unwrap_or(u64::MAX);
    let counting = counting::now(move || texts.iter().map(|text| tokens::count(text)).sum::<u64>());
    // Chat templates wrap every message in about four tokens.
    let counted = counting
        .await
        .map_or(bound, |n| n.saturating_add(turns.saturating_mul(4)));
    let mut answer = reply::json(StatusCode::OK, dialect.counted(counted));
    let basis = HeaderValue::from_static("counted");
    answer.headers_mut().insert("x-flyball-basis", basis);
    answer
}
