//! Embeddings: the model that is named makes them, or nobody does. Vectors of two models cannot be compared, so nothing is
//! routed and nothing falls back; gates, caps and books are those of every other call.

use super::admission::{Admission, AttemptLabel};
use super::bound::{self, Bound, Exact};
use super::outgoing;
use super::reply;
use super::returned::{self, ServedBy};
use super::work::{Booked, Hold, Longer, Order, Outgoing, Reply, Unserved, Way, Wording, Work};
use crate::arm::Effort;
use crate::chat::ServiceTier;
use crate::dialect::Answer as Read;
use crate::dialect::embed::{self, Call, Place, Request, Shape};
use crate::effort::Family;
use crate::error::{Error, Kind};
use crate::fleet::{Arm, Model, Unresolved};
use crate::json::{Edit, Object};
use crate::ledger::balance::{Capped, Requirement};
use crate::ledger::record::Opening;
use crate::money::PicoUsd;
use crate::price::Price;
use crate::provider::Side;
use crate::provider::channel::Channel;
use crate::provider::simulated::EMBEDDER;
use crate::relay::AnswerBody;
use crate::route::{self, Policy};
use crate::settle::{Input, Job};
use crate::tokens;
use crate::upstream::Begins;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Response};
use std::sync::Arc;
use std::time::Duration;

/// The task and the rule in the books and in the answer's head.
const TASK: &str = "embed";
const RULE: &str = "asked";

/// A request for embeddings, on the model that it names.
pub(super) struct Embeddings<'a> {
    admission: &'a Admission<'a>,
    request: Request<'a>,
    body: &'a Bytes,
    arms: [Arm; 1],
    /// The call that is made of the provider.
    call: Call,
    side: Side,
    /// What is embedded, where the provider is told it in another shape.
    translated: Option<embed::EmbeddingAsk>,
    told: Wording,
}

impl<'a> Embeddings<'a> {
    /// # Errors
    /// It is no such request, or no model that may be used makes them.
    pub(super) fn read(
        admission: &'a Admission<'a>,
        body: &'a Bytes,
        place: &Place<'a>,
    ) -> Result<Embeddings<'a>, Error> {
        let request = embed::read(body, place)?;
        let model = named(&admission.policy, &request)?;
        admission.permitted(&model)?;
        let provider = &model.provider;
        let shapes: Vec<Shape> = provider.embeds().collect();
        let shape = match shapes.contains(&request.call.shape()) {
            true => request.call.shape(),
            false => *shapes.first().ok_or_else(|| none(&model))?,
        };
        // The client's own bytes where its provider answers the client's shape, else the same in another.
        let (call, told, translated) = match shape == request.call.shape() {
            true => (request.call, own(&request, body, &model), None),
            false => {
                let said = request.said()?;
                let (call, text) = embed::write(&said, shape, &model.name);
                (call, Bytes::from(text), Some(said))
            }
        };
        let side = Side::Embed(shape);
        provider
            .side(&provider.home, side, &model.name, call.verb())
            .ok_or_else(|| none(&model))?;
        Ok(Embeddings {
            admission,
            side,
            told: Wording {
                dialect: call.dialect(),
                body: told,
                translated: translated.is_some(),
                bent: false,
                renamed: Vec::new(),
                lost: translated
                    .as_ref()
                    .map_or(Vec::new(), |said| said.lost.clone()),
            },
            request,
            body,
            arms: [Arm {
                model,
                effort: None,
            }],
            call,
            translated,
        })
    }

    /// Reads what an answer has used, in the words in which its provider was asked.
    pub(super) fn metered(&self, body: &[u8]) -> Read {
        embed::meter(self.call, body, self.model().provider.kind.usage)
    }

    /// The shape in which its provider is asked.
    pub(super) fn shape(&self) -> Shape {
        self.call.shape()
    }

    fn model(&self) -> &Arc<Model> {
        &self.arms[0].model
    }
}

impl Work for Embeddings<'_> {
    fn arms(&self) -> &[Arm] {
        &self.arms
    }

    fn moves(&self) -> bool {
        true
    }

    fn asked(&self) -> Option<&str> {
        Some(&self.request.model)
    }

    fn told(&self, _arm: &Arm) -> Result<Wording, Unserved> {
        Ok(self.told.clone())
    }

    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        _told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        self.ordered(arm, None)
    }

    fn order_in_batch<'o>(
        &'o self,
        arm: &'o Arm,
        _told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        self.ordered(arm, Some(ServiceTier::Batch))
    }
}

impl Embeddings<'_> {
    /// The attempt, where this tier is asked for one that is priced in it.
    fn ordered<'o>(
        &'o self,
        arm: &'o Arm,
        tier: Option<ServiceTier>,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        let admission = self.admission;
        let capped = admission.capped(arm).map_err(Unserved::error)?;
        bound::check_bounded(&self.request.unbounded, &arm.model, capped)
            .map_err(Unserved::error)?;
        let perhaps = admission.perhaps_capped_at(&arm.model.provider);
        if admission.caller.is_limited() || capped.any() || perhaps.any() {
            let fields = Object::read(self.body);
            let keys = fields.iter().flat_map(|f| f.iter().map(|(key, _)| key));
            bound::check_others(keys).map_err(Unserved::error)?;
        }
        Ok(Box::new(EmbeddingsOrder {
            embeddings: self,
            capped,
            tier,
        }))
    }
}

/// One attempt before it goes out.
struct EmbeddingsOrder<'a> {
    embeddings: &'a Embeddings<'a>,
    capped: Capped,
    /// The service tier in which it is made, where that is not the usual one.
    tier: Option<ServiceTier>,
}

impl Order for EmbeddingsOrder<'_> {
    fn bound(&mut self) -> Option<Bound> {
        let Embeddings { told, .. } = self.embeddings;
        let price = self.price();
        let time = self.embeddings.admission.limits.longest();
        Some(Bound {
            // One token a byte at most; the quotes and commas around each text stand for what a tokenizer puts around it.
            rough: ask(price, time, tokens::bound(told.body.len())),
            exact: self.exact(price, time, tokens::count_embedded),
            least: self.exact(price, time, tokens::least).into_iter().collect(),
            why_much: None,
        })
    }

    fn opening(&self) -> Opening {
        let admission = self.embeddings.admission;
        admission.opening(&AttemptLabel {
            arm: &self.embeddings.arms[0],
            effort: Effort::None,
            task: TASK,
            rule: RULE,
            difficulty: None,
            dialect: admission.dialect,
        })
    }

    fn outgoing(&mut self, _granted: u64, channel: &Channel) -> Result<Outgoing, Error> {
        let Embeddings {
            call, side, told, ..
        } = self.embeddings;
        let model = self.embeddings.model();
        let provider = &model.provider;
        let url = provider.side(channel, *side, &model.name, call.verb());
        Ok(Outgoing {
            method: Method::POST,
            url: url.ok_or_else(|| none(model))?,
            body: outgoing::naming(told.body.clone(), &model.name, channel).into(),
            begins: Begins::AtItsEnd,
            bodiless: false,
            header: None,
        })
    }

    fn job(&self) -> Job {
        let Embeddings {
            admission, request, ..
        } = self.embeddings;
        Job {
            input: Input::Embed(request.call, self.embeddings.body.clone()),
            tier: self.tier,
            capped: self.capped.any(),
            ..Job::of(&self.embeddings.arms[0], admission.dialect)
        }
    }

    fn announce(&self, headers: &mut HeaderMap) {
        let served = ServedBy {
            model: self.embeddings.model(),
            effort: Effort::None,
            task: TASK,
            rule: RULE,
        };
        returned::served(headers, &served);
        returned::dropped(headers, &self.embeddings.told.lost);
    }

    fn reading(&mut self, _head: &mut Parts, _ended: bool) -> Way {
        let (call, rule) = (
            self.embeddings.call,
            self.embeddings.model().provider.kind.usage,
        );
        let (bytes_max, longer) = match self.embeddings.translated {
            Some(_) => (
                reply::TRANSLATED_MAX,
                Longer::Refused(
                    "the model's answer is too long to be translated; embed fewer texts at once",
                ),
            ),
            None => (reply::HELD_MAX, Longer::Relayed),
        };
        Way::Held(Hold {
            bytes_max,
            read: Box::new(move |bytes| embed::meter(call, bytes, rule)),
            books: Booked::Answered,
            longer,
        })
    }

    fn answer(&self, mut head: Parts, bytes: Bytes, _read: Read) -> Reply {
        let Embeddings {
            translated,
            call,
            request,
            ..
        } = self.embeddings;
        let Some(said) = translated else {
            return Ok(Response::from_parts(head, AnswerBody::whole(bytes)));
        };
        let why = "the model's server answered in a form that cannot be translated";
        let vectors = embed::vectors(*call, &bytes);
        let vectors = vectors.filter(|v| v.all.len() == said.texts.len());
        let vectors = vectors.ok_or_else(|| Error::new(Kind::UpstreamFailed, why))?;
        returned::set_type(&mut head.headers, "application/json");
        let text = vectors.body(request.call, said, &self.embeddings.model().name);
        Ok(Response::from_parts(head, AnswerBody::whole(text)))
    }
}

impl EmbeddingsOrder<'_> {
    /// The price that bounds it: that of its tier, where the model has one.
    fn price(&self) -> Option<Price> {
        let price = self.embeddings.model().price?;
        let served = self.tier.and_then(|tier| price.served(tier, 0));
        Some(served.unwrap_or(price))
    }

    /// Counts its tokens, where it is known how the model counts them.
    fn exact(&self, price: Option<Price>, time: Duration, count: fn(&str) -> u64) -> Option<Exact> {
        let (model, call) = (self.embeddings.model(), self.embeddings.request.call);
        let known = model.provider.kind.family == Family::OpenAi
            && model.name.starts_with("text-embedding-")
            && call == Call::OpenAi;
        let body = self.embeddings.body.clone();
        known.then(|| {
            let counted = move || {
                let input = embed::texts(call, &body, count);
                ask(price, time, input.unwrap_or(u64::MAX))
            };
            Box::new(counted) as Exact
        })
    }
}

/// The model of this name.
fn named(policy: &Policy, request: &Request<'_>) -> Result<Arc<Model>, Error> {
    let name = request.model.as_ref();
    if name == "auto" || name.starts_with("auto:") {
        return Err(Error::bad_field(
            "model",
            "Embeddings are not routed, since vectors of two models cannot be compared: name a model that makes them.",
        ));
    }
    let shape = request.call.shape();
    let find = |name| policy.fleet.embedder(name, shape, &policy.catalogue);
    let models = &policy.fleet.models;
    let only_simulated = !models.is_empty() && models.iter().all(|m| m.simulated);
    let found = match only_simulated {
        // There every name is one of theirs.
        true => find(EMBEDDER),
        false => find(name),
    };
    found.map_err(|why| match why {
        Unresolved::Several(_) => route::unresolved(name, &why, ""),
        Unresolved::Nobody => Error {
            field: Some("model".into()),
            ..Error::new(Kind::NotFound, format!("No configured provider has a model named \"{name}\" for embeddings. List it as a [[model]] with embeddings = true.")).code("model_not_found")
        },
    })
}

/// The most that so much input can cost, and nothing else.
fn ask(price: Option<Price>, time: Duration, input: u64) -> Requirement {
    let cost = |p: Price| p.bound_input(input).times(input) + p.time_cost(time);
    Requirement {
        fixed: price.map_or(PicoUsd::ZERO, cost),
        input_tokens: input,
        choices: 1,
        ..Requirement::default()
    }
}

/// The client's own bytes; the model's name is flyball's.
fn own(asked: &Request<'_>, body: &Bytes, model: &Model) -> Bytes {
    let named = asked.model_in_body.as_deref();
    let edits = match asked.call.shape() {
        Shape::Gemini => Vec::new(),
        _ if named == Some(model.name.as_str()) => Vec::new(),
        Shape::OpenAi | Shape::Ollama => vec![Edit::set_text(&["model"], &model.name)],
    };
    match asked.fields.edited(&edits) {
        Some(text) => Bytes::from(text),
        None => body.clone(),
    }
}

fn none(model: &Model) -> Error {
    let public = format!(
        "The provider of \"{}\" makes no embeddings that flyball knows of.",
        model.name
    );
    Error::bad_field("model", public)
}
