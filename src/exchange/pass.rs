//! `/p/{provider}/…`: a call goes to a configured provider as it is, with its key put in and the client's taken out. What its answer
//! tells of usage is priced and booked; nothing bounds its cost beforehand, so it is refused where a cap would have to hold it.

use super::headers::{self, Words};
use super::single::{Going, Single};
use super::{Inbound, ask, embed, read_body, reply};
use crate::caller::Caller;
use crate::dialect::embed as embed_wire;
use crate::dialect::{self, Answer as Read, Dialect, UsageRule, Work, envelope};
use crate::error::{Error, Kind};
use crate::fleet::Model;
use crate::json::{self, Object};
use crate::ledger::balance::{Ask, Capped};
use crate::ledger::record::Outcome;
use crate::provider::{Provider, Side, simulated};
use crate::relay::{Answer, ReadWhole, Watch, bill_headers};
use crate::route::Policy;
use crate::settle::{Input, Settlement};
use bytes::Bytes;
use http::{Method, Response};
use hyper::body::{Body, Incoming};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Longer paths are refused; no vendor's comes near.
const PATH_BYTES_MAX: usize = 2_048;
/// Longer names are no model's.
const NAME_BYTES_MAX: usize = 256;
/// The model in the books where a call names none.
pub(super) const UNNAMED: &str = "unknown";
/// The rule in the books and the answer's head.
pub(super) const RULE: &str = "passed";

/// The methods that are passed on.
pub(super) const METHODS: [Method; 6] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
];

/// The provider and the path that follows it.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/p/")?;
    let end = rest.find('/').unwrap_or(rest.len());
    Some(rest.split_at(end))
}

pub(super) async fn pass(
    inbound: &Inbound<'_>,
    body: Incoming,
    name: &str,
    rest: &str,
) -> Result<Response<Answer>, Error> {
    let policy = inbound.state.policy.load_full();
    let provider = provider(&policy, &inbound.caller, name)?;
    check_path(rest)?;
    let body = read_body(inbound, body).await?;
    let asked = Asked {
        policy: &policy,
        provider: &provider,
        rest,
        body: &body,
        field: &format!("/p/{name}"),
    };
    carry(inbound, asked).await
}

/// Carries a call to its provider and the answer back.
pub(super) async fn carry(
    inbound: &Inbound<'_>,
    asked: Asked<'_>,
) -> Result<Response<Answer>, Error> {
    let Inbound { head, caller, .. } = inbound;
    let read = inbound.arrived.elapsed();
    let Asked {
        policy,
        provider,
        rest,
        body,
        field,
    } = asked;
    let wishes = headers::wishes(head, caller)?;
    let tags = caller.counted_tags(&wishes.tags)?;
    let models = models(&asked, wishes.private || caller.is_limited())?;
    let spoken = Spoken::of(&asked, &head.method, head.uri.query(), !models.is_empty());
    let read_models = match spoken.names_its_model(asked.rest) {
        true => Models::All(&models),
        false => Models::Perhaps(&models),
    };
    permitted(&asked, caller, wishes.private, read_models)?;
    let single = Single {
        inbound,
        policy,
        wishes: &wishes,
        tags: &tags,
        read,
        dialect: spoken.dialect().unwrap_or(inbound.dialect),
        model: first(&asked, &models),
        task: UNNAMED,
        rule: RULE,
        input: spoken.input(body),
    };
    let settlement = admit(&single, read_models, field).await?;
    let going = Going {
        method: head.method.clone(),
        url: with_query(format!("{}{rest}", provider.base_url), head.uri.query()),
        words: Words {
            bodiless: body.is_empty(),
            ..Words::default()
        },
        body: body.clone().into(),
    };
    let kept = asked.kept(head.uri.query());
    through(&single, going, settlement, spoken, kept).await
}

/// A call, once its body is read.
pub(super) struct Asked<'a> {
    pub(super) policy: &'a Policy,
    pub(super) provider: &'a Arc<Provider>,
    /// The path at the provider.
    pub(super) rest: &'a str,
    pub(super) body: &'a Bytes,
    /// What a refusal under a cap names.
    pub(super) field: &'a str,
}

impl Asked<'_> {
    fn kept(&self, query: Option<&str>) -> Kept {
        Kept {
            streams: dialect::at(self.rest, query).is_some_and(|(_, place)| place.stream),
            here: envelope::here(self.rest),
        }
    }
}

/// What the path says of a JSON answer.
struct Kept {
    /// It comes bit by bit, and is passed on so.
    streams: bool,
    /// It is about batches, and tells addresses at the vendor.
    here: Option<fn(Bytes) -> Bytes>,
}

/// What is known of the models that a call names.
#[derive(Clone, Copy)]
pub(super) enum Models<'a> {
    /// These, and no other.
    All(&'a [Arc<Model>]),
    /// These, and perhaps others, where flyball does not know how such a call names its models.
    Perhaps(&'a [Arc<Model>]),
}

/// The provider of this name, if the caller may use any model of it.
fn provider(policy: &Policy, caller: &Caller, name: &str) -> Result<Arc<Provider>, Error> {
    let usable = usable(policy, caller);
    if let Some(found) = usable.iter().find(|p| p.name == name) {
        return Ok(Arc::clone(found));
    }
    let names: Vec<&str> = usable.iter().map(|p| p.name.as_str()).collect();
    let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
    let public = format!(
        "There is no provider named \"{shown}\" that this key may use. There is: {}.",
        if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        }
    );
    Err(Error::new(Kind::NotFound, public).code("provider_not_found"))
}

/// The providers of which the caller may use a model.
fn usable(policy: &Policy, caller: &Caller) -> Vec<Arc<Provider>> {
    let models = &policy.fleet.models;
    let serves = |p: &&Arc<Provider>| {
        let mut own = models.iter().filter(|m| m.provider.name == p.name);
        !caller.is_limited() || own.any(|m| caller.may_use(&m.name))
    };
    policy
        .fleet
        .providers
        .iter()
        .filter(serves)
        .cloned()
        .collect()
}

/// A path that stays where it is put: it climbs nowhere and hides nothing.
pub(super) fn check_path(rest: &str) -> Result<(), Error> {
    let lower = rest.to_ascii_lowercase();
    let hidden = ["%2f", "%5c", "%00", "\\"];
    let climbs = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
    let mut segments = lower.split('/').skip(1);
    let fits = rest.len() <= PATH_BYTES_MAX
        && !hidden.iter().any(|h| lower.contains(h))
        && !segments.any(climbs)
        && !rest.contains("//");
    let public = "The path after the provider's name must be a plain one: without \"..\", empty segments and encoded slashes, of at most 2048 bytes.";
    fits.then_some(())
        .ok_or_else(|| Error::new(Kind::BadRequest, public))
}

/// An address with the client's query, without a credential that a client may have put there.
pub(super) fn with_query(url: String, query: Option<&str>) -> String {
    let kept = query.unwrap_or_default().split('&');
    let kept: Vec<&str> = kept
        .filter(|pair| !pair.is_empty() && !pair.starts_with("key="))
        .collect();
    match kept.is_empty() {
        true => url,
        false => format!("{url}?{}", kept.join("&")),
    }
}

/// Every model that a call names, in its path or its body: whichever the provider goes by, all must be allowed.
///
/// # Errors
/// A caller is held to some models, and which ones the body names cannot be read; or a name is too long to be one.
fn models(asked: &Asked<'_>, restricted: bool) -> Result<Vec<Arc<Model>>, Error> {
    let mut names = in_path(asked.rest);
    if asked.body.trim_ascii_start().first() == Some(&b'{') {
        match Object::read(asked.body) {
            Ok(fields) => names.extend(in_body(&fields, asked.provider)),
            Err(flaw) if restricted => {
                let public = format!("The body cannot be read: {flaw}.");
                return Err(Error::new(Kind::BadRequest, public));
            }
            Err(_) => {}
        }
    }
    names.retain(|name| !name.is_empty());
    if names.iter().any(|name| name.len() > NAME_BYTES_MAX) {
        let public = "A model's name has at most 256 bytes.";
        return Err(Error::bad_field("model", public));
    }
    let (fleet, catalogue) = (&asked.policy.fleet, &asked.policy.catalogue);
    let model = |name: &String| fleet.at(asked.provider, name, catalogue);
    Ok(names.iter().map(model).collect())
}

fn in_path(rest: &str) -> Vec<String> {
    let mut segments = rest.split('/');
    let mut names = Vec::new();
    while let Some(segment) = segments.next() {
        if matches!(segment, "models" | "deployments") {
            let name = segments.next().unwrap_or_default();
            // Gemini's verb.
            let name = match name.rsplit_once(':') {
                Some((name, verb)) if verb.bytes().all(|b| b.is_ascii_alphabetic()) => name,
                _ => name,
            };
            names.push(dialect::unescaped(name).into_owned());
        }
    }
    names
}

/// Servers written in Go take a key in any case, the last one of several: each counts.
fn in_body(fields: &Object<'_>, provider: &Provider) -> Vec<String> {
    let speaks = provider.kind.speaks.iter();
    let dialects = speaks.filter_map(|(name, _)| dialect::named(name));
    let naming: Vec<&str> = dialects.flat_map(|d| d.model_fields()).copied().collect();
    let own = |key: &str| naming.iter().any(|field| key.eq_ignore_ascii_case(field));
    let mut names = Vec::new();
    for (key, raw) in fields.iter() {
        if own(key) {
            names.extend(json::text(raw).map(Cow::into_owned));
        } else if ask::OTHERS.iter().any(|o| key.eq_ignore_ascii_case(o)) {
            names.extend(others(raw));
        }
    }
    for name in &mut names {
        if let Some(short) = name.strip_prefix("models/") {
            *name = short.to_owned();
        }
    }
    names
}

fn others(raw: &str) -> Vec<String> {
    let listed: Vec<Value> = serde_json::from_str(raw).unwrap_or_default();
    let name = |one: Value| match one {
        Value::String(name) => Some(name),
        other => other["model"].as_str().map(str::to_owned),
    };
    listed.into_iter().filter_map(name).collect()
}

/// The model that the books name.
fn first(asked: &Asked<'_>, models: &[Arc<Model>]) -> Arc<Model> {
    let unnamed = || unnamed(asked.policy, asked.provider);
    models.first().cloned().unwrap_or_else(unnamed)
}

/// A provider's call in which no model is named.
pub(super) fn unnamed(policy: &Policy, provider: &Arc<Provider>) -> Arc<Model> {
    policy.fleet.at(provider, UNNAMED, &policy.catalogue)
}

/// The gates: every model that is named must be allowed; a caller that may use only some must name one, and so must what is private
/// and says anything: a local server may have ways out that no model stands for.
fn permitted(
    asked: &Asked<'_>,
    caller: &Caller,
    private: bool,
    models: Models<'_>,
) -> Result<(), Error> {
    let (Models::All(named) | Models::Perhaps(named)) = models;
    for model in named {
        embed::permitted(caller, private, model)?;
    }
    let provider = asked.provider;
    if private && (!provider.local || provider.kind.name == simulated::KIND.name) {
        let public = "This request is confidential and must stay on local models, and this provider is not local.";
        return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
    }
    let sure = matches!(models, Models::All([_, ..]));
    if private && !sure && !asked.body.is_empty() {
        let public = "This request is confidential and must stay on local models, and which ones this call uses cannot be told.";
        return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
    }
    if caller.is_limited() && !sure {
        let public =
            "This key may use only some models, and which ones this call uses cannot be told.";
        return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
    }
    Ok(())
}

/// No cap must count its cost, since nothing bounds it.
///
/// # Errors
/// A cap counts it, or may count it, or has no room for one more request.
pub(super) async fn admit(
    single: &Single<'_>,
    models: Models<'_>,
    field: &str,
) -> Result<Settlement, Error> {
    let (Models::All(named) | Models::Perhaps(named)) = models;
    for model in named.iter().chain([&single.model]) {
        let capped = single.capped_on(model)?;
        if capped.usd || capped.tokens {
            return Err(unbounded(field));
        }
    }
    let sure = matches!(models, Models::All([_, ..]));
    if !sure && single.perhaps_capped().any() {
        return Err(unbounded(field));
    }
    // Caps on requests hold by the reservation; of cost it promises nothing.
    single
        .reserve(Ask::default(), Capped::default(), None)
        .await
}

/// What is only passed on is refused under a cap.
fn unbounded(field: &str) -> Error {
    Error::bad_field(
        field,
        "The cost of what is only passed on has no bound that flyball knows, so it cannot be used under a spend cap. Use the endpoints that flyball serves itself.",
    )
    .code("flyball_unbounded")
}

/// In which words the answer tells what it used.
enum Spoken {
    /// A completion of this dialect.
    Completion(&'static dyn Dialect),
    /// Embeddings.
    Embeddings(embed_wire::Call),
    /// Any other call that a model may answer: in one of these dialects, if at all.
    Perhaps(Vec<&'static dyn Dialect>),
    /// Nothing of it is work of a model.
    Nothing,
}

impl Spoken {
    fn of(asked: &Asked<'_>, method: &Method, query: Option<&str>, named: bool) -> Spoken {
        let (kind, rest) = (asked.provider.kind, asked.rest);
        if method != Method::POST || !named {
            return Spoken::Nothing;
        }
        if let Some((dialect, place)) = dialect::at(rest, query) {
            return match place.work {
                Work::Complete => Spoken::Completion(dialect),
                Work::CountTokens => Spoken::Nothing,
            };
        }
        let own = kind.speaks.iter().find(|(_, path)| *path == rest);
        if let Some(dialect) = own.and_then(|(name, _)| dialect::named(name)) {
            return Spoken::Completion(dialect);
        }
        let served = kind.sides.iter().find(|(_, path)| *path == rest);
        match (embed_wire::at(rest), served) {
            (Some(place), _) => Spoken::Embeddings(place.call),
            (None, Some((Side::Embed(_), _))) => Spoken::Embeddings(embed_wire::Call::OpenAi),
            _ => {
                let speaks = kind.speaks.iter();
                Spoken::Perhaps(
                    speaks
                        .filter_map(|(name, _)| dialect::named(name))
                        .collect(),
                )
            }
        }
    }

    fn dialect(&self) -> Option<&'static dyn Dialect> {
        match self {
            Spoken::Completion(dialect) => Some(*dialect),
            Spoken::Perhaps(dialects) => dialects.first().copied(),
            Spoken::Embeddings(_) | Spoken::Nothing => None,
        }
    }

    fn input(&self, body: &Bytes) -> Input {
        match self {
            Spoken::Completion(_) => Input::Conversation(body.clone()),
            Spoken::Embeddings(call) => Input::Embed(*call, body.clone()),
            Spoken::Perhaps(_) => legacy_prompt(body),
            Spoken::Nothing => Input::Unknown,
        }
    }

    /// Where such a call names its model is known, and nowhere else does it name one.
    fn names_its_model(&self, rest: &str) -> bool {
        !matches!(self, Spoken::Perhaps(_)) || rest.ends_with("/completions")
    }

    /// Reads a whole answer.
    fn reader(self, rule: UsageRule) -> ReadWhole {
        match self {
            Spoken::Completion(dialect) => Box::new(move |bytes| dialect.answer(bytes, rule)),
            Spoken::Embeddings(call) => Box::new(move |b| embed_wire::meter(call, b, rule)),
            Spoken::Perhaps(dialects) => Box::new(move |bytes| {
                let mut answers = dialects.iter().map(|d| d.answer(bytes, rule));
                answers.find(|a| a.usage.is_some()).unwrap_or_default()
            }),
            Spoken::Nothing => Box::new(|_| Read::default()),
        }
    }
}

/// A legacy completion's prompt.
fn legacy_prompt(body: &Bytes) -> Input {
    let fields = Object::read(body).ok();
    let prompt = fields.as_ref().and_then(|fields| fields.get("prompt"));
    prompt.map_or(Input::Unknown, |prompt| {
        Input::Prompt(Bytes::copy_from_slice(prompt.as_bytes()))
    })
}

/// Sends the call and passes its answer on, metered.
async fn through(
    single: &Single<'_>,
    going: Going,
    settlement: Settlement,
    spoken: Spoken,
    kept: Kept,
) -> Result<Response<Answer>, Error> {
    let (mut head, body, settlement) = match single.send(going, settlement).await {
        Ok(answered) => answered,
        Err(refused) => return refused,
    };
    let rule = single.model.provider.kind.usage;
    if body.is_end_stream() {
        // An answer to HEAD, or of a status that has no body: nobody will read it to its end.
        let _ = settlement.passed(&Read::default(), true);
        return Ok(Response::from_parts(head, Answer::whole("")));
    }
    if headers::is_event_stream(&head.headers) {
        let watch = match spoken.dialect() {
            Some(dialect) => Watch::Events(dialect.stream(rule)),
            None => Watch::Nothing,
        };
        return Ok(single.watched(head, None, body, watch, settlement));
    }
    let json = headers::is_json(&head.headers);
    if json && kept.streams {
        let kept = Some(Vec::new());
        let read = spoken.reader(rule);
        return Ok(single.watched(head, None, body, Watch::Whole { kept, read }, settlement));
    }
    if !json || (matches!(spoken, Spoken::Nothing) && kept.here.is_none()) {
        return Ok(single.watched(head, None, body, Watch::Nothing, settlement));
    }
    let read = spoken.reader(rule);
    match reply::read_up_to(body, reply::HELD_MAX, single.inbound.state.limits.total).await {
        reply::Held::Whole(bytes) => {
            let bill = settlement.passed(&read(&bytes), true);
            head.headers
                .extend(bill.map(bill_headers).unwrap_or_default());
            let bytes = match kept.here {
                Some(here) => here(bytes),
                None => bytes,
            };
            Ok(Response::from_parts(head, Answer::whole(bytes)))
        }
        reply::Held::Longer(first, rest) => {
            let kept = Some(first.to_vec());
            let watch = Watch::Whole { kept, read };
            Ok(single.watched(head, Some(first), rest, watch, settlement))
        }
        reply::Held::Broken(error) => {
            settlement.unknown(Outcome::StreamCut);
            Err(error)
        }
    }
}
