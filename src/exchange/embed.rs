//! Embeddings: the model that is named makes them, or nobody does. Vectors of two models cannot be compared, so nothing is
//! routed and nothing falls back; gates, caps and books are those of every other exchange.

use super::headers::{self, Words};
use super::single::{Exact, Going, Single};
use super::{Inbound, ask, read_body, reply};
use crate::caller::Caller;
use crate::dialect::embed::{self, Call, Place, Request, Shape};
use crate::effort::Family;
use crate::error::{Error, Kind};
use crate::fleet::Model;
use crate::json::{Edit, Object};
use crate::ledger::balance::Ask;
use crate::ledger::record::Outcome;
use crate::limits::Limits;
use crate::money::PicoUsd;
use crate::price::Price;
use crate::provider::Side;
use crate::provider::simulated::EMBEDDER;
use crate::relay::Answer;
use crate::route::Policy;
use crate::settle::{Input, Settlement};
use crate::tokens;
use bytes::Bytes;
use http::{Method, Response};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn embed(
    inbound: &Inbound<'_>,
    body: Incoming,
    place: &Place<'_>,
) -> Result<Response<Answer>, Error> {
    let Inbound { state, caller, .. } = inbound;
    let body = read_body(inbound, body).await?;
    let read = inbound.arrived.elapsed();
    let policy = state.policy.load_full();
    let wishes = headers::wishes(inbound.head, caller)?;
    let tags = caller.counted_tags(&wishes.tags)?;
    let request = embed::read(&body, place)?;
    let model = named(&policy, &request)?;
    permitted(caller, wishes.private, &model)?;
    let single = Single {
        inbound,
        policy: &policy,
        wishes: &wishes,
        tags: &tags,
        read,
        dialect: inbound.dialect,
        task: "embed",
        rule: "asked",
        input: Input::Embed(place.call, body.clone()),
        model,
    };
    let said = Said::new(&request, &body, &single.model, &state.limits)?;
    let capped = single.capped()?;
    let price = single.model.price.as_ref();
    ask::check_bounded(&request.unbounded, &single.model.name, capped, price)?;
    let held_to_some = caller.is_limited() || capped.any() || single.perhaps_capped().any();
    if held_to_some {
        let fields = Object::read(&body);
        let keys = fields.iter().flat_map(|f| f.iter().map(|(key, _)| key));
        ask::check_others(keys, held_to_some)?;
    }
    // One token a byte at most; the quotes and commas around each text stand for what a tokenizer puts around it.
    let bound = bound(
        single.model.price,
        said.time,
        tokens::bound(said.body.len()),
    );
    let exact = exact(&single.model, said.time, &body, place.call);
    let settlement = single.reserve(bound, capped, exact).await?;
    said.send(&single, settlement).await
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
    found.ok_or_else(|| Error {
        field: Some("model".into()),
        ..Error::new(Kind::NotFound, format!("No configured provider has a model named \"{name}\" for embeddings. List it as a [[model]] with embeddings = true.")).code("model_not_found")
    })
}

/// The gates that every model stands behind.
pub(super) fn permitted(caller: &Caller, private: bool, model: &Model) -> Result<(), Error> {
    if !caller.may_use(&model.name) {
        let public = format!("This key may not use the model \"{}\".", model.name);
        return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
    }
    if private && (!model.local || model.simulated) {
        let public =
            "This request is confidential and must stay on local models, and this one is not.";
        return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
    }
    Ok(())
}

/// The most that so much input can cost, and nothing else.
fn bound(price: Option<Price>, time: Duration, input: u64) -> Ask {
    let cost = |p: Price| p.bound_input(input).times(input) + p.time_cost(time);
    Ask {
        fixed: price.map_or(PicoUsd::ZERO, cost),
        per_token: PicoUsd::ZERO,
        tokens: 0,
        tokens_min: 0,
        input_tokens: input,
        choices: 1,
    }
}

/// The same with its tokens counted, where it is known how the model counts them.
fn exact(model: &Model, time: Duration, body: &Bytes, call: Call) -> Option<Exact> {
    let known = model.provider.kind.family == Family::OpenAi
        && model.name.starts_with("text-embedding-")
        && call == Call::OpenAi;
    let (price, body) = (model.price, body.clone());
    known.then(|| {
        let count = move || {
            let input = embed::texts(call, &body, tokens::count_embedded);
            bound(price, time, input.unwrap_or(u64::MAX))
        };
        Box::new(count) as Exact
    })
}

/// What the model is told: the client's own bytes where its provider answers the client's shape, else the same in another.
struct Said<'a> {
    /// The call that is made of the provider.
    call: Call,
    url: String,
    body: Bytes,
    /// How long its machine may work for it at most.
    time: Duration,
    asked: &'a Request<'a>,
    translated: Option<embed::Said>,
}

impl<'a> Said<'a> {
    fn new(
        asked: &'a Request<'a>,
        body: &Bytes,
        model: &Model,
        limits: &Limits,
    ) -> Result<Said<'a>, Error> {
        let provider = &model.provider;
        let shapes: Vec<Shape> = provider.embeds().collect();
        let shape = match shapes.contains(&asked.call.shape()) {
            true => asked.call.shape(),
            false => *shapes.first().ok_or_else(|| none(model))?,
        };
        let (call, body, translated) = match shape == asked.call.shape() {
            true => (asked.call, own(asked, body, model), None),
            false => {
                let said = asked.said()?;
                let (call, text) = embed::write(&said, shape, &model.name);
                (call, Bytes::from(text), Some(said))
            }
        };
        let url = provider.side(Side::Embed(shape), &model.name, call.verb());
        Ok(Said {
            call,
            url: url.ok_or_else(|| none(model))?,
            body,
            time: limits.connect + limits.first_byte + limits.total,
            asked,
            translated,
        })
    }

    async fn send(
        self,
        single: &Single<'_>,
        settlement: Settlement,
    ) -> Result<Response<Answer>, Error> {
        let going = Going {
            method: Method::POST,
            url: self.url.clone(),
            words: Words {
                translated: self.translated.is_some().then_some(self.call.dialect()),
                bodiless: false,
            },
            body: self.body.clone().into(),
        };
        let (mut head, body, settlement) = match single.send(going, settlement).await {
            Ok(answered) => answered,
            Err(refused) => return refused,
        };
        let lost = self.translated.as_ref().map_or(&[][..], |said| &said.lost);
        headers::dropped(&mut head.headers, lost);
        let most = match self.translated {
            Some(_) => reply::TRANSLATED_MAX,
            None => reply::HELD_MAX,
        };
        let (call, rule) = (self.call, single.model.provider.kind.usage);
        match reply::read_up_to(body, most, single.inbound.state.limits.total).await {
            reply::Held::Whole(bytes) => {
                let answer = embed::meter(call, &bytes, rule);
                single.settled(&mut head, &answer, settlement);
                self.told(head, bytes, &single.model)
            }
            reply::Held::Longer(..) if self.translated.is_some() => {
                settlement.unknown(Outcome::StreamCut);
                let why =
                    "the model's answer is too long to be translated; embed fewer texts at once";
                Err(Error::new(Kind::UpstreamFailed, why))
            }
            reply::Held::Longer(first, rest) => {
                let read = Box::new(move |bytes: &[u8]| embed::meter(call, bytes, rule));
                Ok(single.relayed(head, first, rest, read, settlement))
            }
            reply::Held::Broken(error) => {
                settlement.unknown(Outcome::StreamCut);
                Err(error)
            }
        }
    }

    /// The answer as the client reads it.
    fn told(
        &self,
        mut head: http::response::Parts,
        bytes: Bytes,
        model: &Model,
    ) -> Result<Response<Answer>, Error> {
        let Some(said) = &self.translated else {
            return Ok(Response::from_parts(head, Answer::whole(bytes)));
        };
        let why = "the model's server answered in a form that cannot be translated";
        let vectors = embed::vectors(self.call, &bytes);
        let vectors = vectors.filter(|v| v.all.len() == said.texts.len());
        let vectors = vectors.ok_or_else(|| Error::new(Kind::UpstreamFailed, why))?;
        headers::set_type(&mut head.headers, "application/json");
        let text = vectors.body(self.asked.call, said, &model.name);
        Ok(Response::from_parts(head, Answer::whole(text)))
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
