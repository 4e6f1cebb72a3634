//! `/p/{provider}/…`, and what else goes to a configured provider as it is, with its key put in and the client's taken out. What its
//! answer tells of usage is priced and booked; nothing bounds its cost beforehand, so it is refused where a cap would have to hold it.

use super::admission::{Admission, AttemptLabel};
use super::batches::passed::{self, MadeBatch, NewBatch, Whose};
use super::bound::{Bound, names_others};
use super::outgoing;
use super::reply;
use super::returned::{self, ServedBy};
use super::work::{
    Booked, Hold, Longer, Order, Outgoing, Reply, UNNAMED, Unserved, Way, Wording, Work,
};
use crate::arm::Effort;
use crate::caller::Caller;
use crate::dialect::embed as embed_wire;
use crate::dialect::{self, Answer as Read, Dialect, PlaceWork, UsageRule, envelope};
use crate::error::{Error, Kind};
use crate::fleet::{Arm, Model};
use crate::json::{self, Object};
use crate::ledger::balance::Requirement;
use crate::ledger::record::Opening;
use crate::provider::channel::{Channel, Stickiness};
use crate::provider::{Provider, Side, simulated};
use crate::relay::{AnswerBody, ReadWhole, Reading, Watch};
use crate::route::Policy;
use crate::settle::{Input, Job};
use crate::upstream::Begins;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Response};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;
/// The rule in the books and the answer's head.
const RULE: &str = "passed";
/// Longer paths are refused; no vendor's comes near.
const PATH_BYTES_MAX: usize = 2_048;
/// Longer names are no model's.
const NAME_BYTES_MAX: usize = 256;

/// A call that goes to a provider as it is.
pub(super) struct Passthrough<'a> {
    admission: &'a Admission<'a>,
    call: PlainCall<'a>,
    /// Every model that it names.
    models: Vec<Arc<Model>>,
    /// In which words its answer tells what it used.
    spoken: AnswerForm,
    /// The first model that it names is the one in the books.
    arms: [Arm; 1],
    /// The batch that the call has made.
    making: NewBatch,
}

/// What goes to a provider as it is.
pub(super) struct PlainCall<'a> {
    pub(super) provider: Arc<Provider>,
    /// The path at the provider.
    pub(super) rest: Cow<'a, str>,
    pub(super) body: Bytes,
    /// What a refusal under a cap names.
    pub(super) field: String,
}

impl<'a> Passthrough<'a> {
    /// A call to `/p/{name}{rest}`.
    ///
    /// # Errors
    /// There is no such provider, or this caller may not use what is named.
    pub(super) fn to(
        admission: &'a Admission<'a>,
        provider: Arc<Provider>,
        rest: &'a str,
        body: Bytes,
    ) -> Result<Passthrough<'a>, Error> {
        let field = format!("/p/{}", provider.name);
        let call = PlainCall {
            provider,
            rest: rest.into(),
            body,
            field,
        };
        Passthrough::new(admission, call)
    }

    /// # Errors
    /// This caller may not use what is named.
    pub(super) fn new(
        admission: &'a Admission<'a>,
        call: PlainCall<'a>,
    ) -> Result<Passthrough<'a>, Error> {
        let (policy, head) = (&admission.policy, admission.head);
        let restricted = admission.wishes.private || admission.caller.is_limited();
        let models = models(policy, &call, restricted)?;
        let spoken = AnswerForm::of(&call, &head.method, head.uri.query(), !models.is_empty());
        let arm = match models.first() {
            Some(model) => Arm {
                model: Arc::clone(model),
                effort: None,
            },
            None => unnamed(policy, &call.provider),
        };
        let passthrough = Passthrough {
            admission,
            call,
            models,
            spoken,
            arms: [arm],
            making: NewBatch::default(),
        };
        passthrough.permitted()?;
        Ok(passthrough)
    }

    /// The batch that the call has made, and whose it is.
    pub(super) fn made(&self) -> Option<(Whose, MadeBatch)> {
        let made = self.making.take()?;
        let whose = Whose::of(self.admission);
        Some((whose, made))
    }

    /// The batch to which the call adds requests, and whose it is if nobody knows it yet.
    pub(super) fn adds(&self) -> Option<(Whose, MadeBatch)> {
        let (provider, path) = self.at();
        let added = self
            .making
            .added(provider, &self.admission.head.method, path)?;
        Some((Whose::of(self.admission), added))
    }

    /// The provider, and the path there.
    pub(super) fn at(&self) -> (&Arc<Provider>, &str) {
        (&self.call.provider, &self.call.rest)
    }

    fn named(&self) -> NamedModels<'_> {
        match self.spoken.names_its_model(&self.call.rest) {
            true => NamedModels::All(&self.models),
            false => NamedModels::Perhaps(&self.models),
        }
    }

    /// The gates: every model that is named must be allowed; a caller that may use only some must name one, and so must what is
    /// private and says anything: a local server may have ways out that no model stands for.
    fn permitted(&self) -> Result<(), Error> {
        let (admission, provider) = (self.admission, &self.call.provider);
        let private = admission.wishes.private;
        for model in &self.models {
            admission.permitted(model)?;
        }
        if private && (!provider.local || provider.kind.name == simulated::KIND.name) {
            let public = "This request is confidential and must stay on local models, and this provider is not local.";
            return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
        }
        let sure = matches!(self.named(), NamedModels::All([_, ..]));
        if private && !sure && !self.call.body.is_empty() {
            let public = "This request is confidential and must stay on local models, and which ones this call uses cannot be told.";
            return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
        }
        if admission.caller.is_limited() && !sure {
            let public =
                "This key may use only some models, and which ones this call uses cannot be told.";
            return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
        }
        Ok(())
    }
}

impl Work for Passthrough<'_> {
    fn arms(&self) -> &[Arm] {
        &self.arms
    }

    fn moves(&self) -> bool {
        true
    }

    /// What it names may be kept by the account that a call before it has made it with.
    fn sticks(&self, _arm: &Arm) -> Stickiness {
        self.admission.sticks_to_caller()
    }

    fn told(&self, _arm: &Arm) -> Result<Wording, Unserved> {
        Ok(Wording::own(self.admission.dialect, self.call.body.clone()))
    }

    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        _told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        check_uncapped(self.admission, arm, self.named(), &self.call.field)
            .map_err(Unserved::error)?;
        Ok(Box::new(PassOrder {
            passthrough: self,
            passed: Passed {
                admission: self.admission,
                arm,
                dialect: self.spoken.dialect().unwrap_or(self.admission.dialect),
            },
        }))
    }
}

/// What every attempt has in common whose request is only passed on.
pub(super) struct Passed<'a> {
    pub(super) admission: &'a Admission<'a>,
    pub(super) arm: &'a Arm,
    /// In whose words it speaks.
    pub(super) dialect: &'static dyn Dialect,
}

impl Passed<'_> {
    /// Caps on requests hold by the reservation; of cost it promises nothing.
    pub(super) fn bound() -> Bound {
        Bound::from(Requirement::default())
    }

    pub(super) fn opening(&self) -> Opening {
        self.admission.opening(&AttemptLabel {
            arm: self.arm,
            effort: Effort::None,
            task: UNNAMED,
            rule: RULE,
            difficulty: None,
            dialect: self.dialect,
        })
    }

    pub(super) fn job(&self, input: Input) -> Job {
        Job {
            input,
            ..Job::of(self.arm, self.dialect)
        }
    }

    pub(super) fn announce(&self, headers: &mut HeaderMap) {
        let served = ServedBy {
            model: &self.arm.model,
            effort: Effort::None,
            task: UNNAMED,
            rule: RULE,
        };
        returned::served(headers, &served);
    }
}

/// One attempt before it goes out.
struct PassOrder<'a> {
    passthrough: &'a Passthrough<'a>,
    passed: Passed<'a>,
}

impl PassOrder<'_> {
    /// A stream is asked for by the path or by the body.
    fn begins(&self) -> Begins {
        let Passthrough {
            call, admission, ..
        } = self.passthrough;
        let query = admission.head.uri.query();
        let by_path = dialect::at(&call.rest, query).is_some_and(|(_, place)| place.stream);
        let by_body = || {
            let fields = Object::read(&call.body).ok();
            fields.is_some_and(|fields| fields.get("stream") == Some("true"))
        };
        match by_path || by_body() {
            true => Begins::AtOnce,
            false => Begins::AtItsEnd,
        }
    }

    /// Turns the addresses at the vendor that an answer about batches tells into addresses here.
    fn here(&self) -> Option<fn(Bytes) -> Bytes> {
        envelope::here(&self.passthrough.call.rest)
    }
}

impl Order for PassOrder<'_> {
    fn bound(&mut self) -> Option<Bound> {
        Some(Passed::bound())
    }

    fn opening(&self) -> Opening {
        self.passed.opening()
    }

    fn outgoing(&mut self, _granted: u64, channel: &Channel) -> Result<Outgoing, Error> {
        let call = &self.passthrough.call;
        let head = self.passthrough.admission.head;
        self.passthrough.making.goes_out_on(channel);
        let url = format!("{}{}", channel.base_url, call.rest);
        let name = &self.passed.arm.model.name;
        Ok(Outgoing {
            method: head.method.clone(),
            url: with_query(url, head.uri.query()),
            bodiless: call.body.is_empty(),
            header: None,
            begins: self.begins(),
            body: outgoing::naming(call.body.clone(), name, channel).into(),
        })
    }

    fn job(&self) -> Job {
        let Passthrough { spoken, call, .. } = self.passthrough;
        self.passed.job(spoken.input(&call.body))
    }

    fn announce(&self, headers: &mut HeaderMap) {
        self.passed.announce(headers);
    }

    fn reading(&mut self, head: &mut Parts, ended: bool) -> Way {
        let Passthrough {
            admission,
            call,
            spoken,
            ..
        } = self.passthrough;
        let rule = call.provider.kind.usage;
        if ended {
            // An answer to HEAD, or of a status that has no body: nobody will read it to its end.
            return Way::Empty;
        }
        if returned::is_event_stream(&head.headers) {
            let watch = match spoken.dialect() {
                Some(dialect) => Watch::Events(dialect.stream(rule)),
                None => Watch::Nothing,
            };
            return Way::Relayed(Reading::Passed(watch));
        }
        let json = returned::is_json(&head.headers);
        let query = admission.head.uri.query();
        // A JSON answer that comes bit by bit is passed on so.
        if json && dialect::at(&call.rest, query).is_some_and(|(_, place)| place.stream) {
            let kept = Some(Vec::new());
            let read = spoken.reader(rule);
            return Way::Relayed(Reading::Passed(Watch::Whole { kept, read }));
        }
        let makes = passed::makes(&call.provider, &admission.head.method, &call.rest);
        let unread = matches!(spoken, AnswerForm::Nothing) && self.here().is_none() && !makes;
        if !json || unread {
            return Way::Relayed(Reading::Passed(Watch::Nothing));
        }
        Way::Held(Hold {
            bytes_max: match self.here() {
                Some(_) => reply::LISTED_MAX,
                None => reply::HELD_MAX,
            },
            read: spoken.reader(rule),
            books: Booked::Passed,
            longer: Longer::Relayed,
        })
    }

    fn answer(&self, head: Parts, bytes: Bytes, _read: Read) -> Reply {
        let Passthrough {
            admission,
            call,
            making,
            ..
        } = self.passthrough;
        let path = (&admission.head.method, call.rest.as_ref());
        making.look(&call.provider, path, (head.status, &bytes));
        let bytes = match self.here() {
            Some(here) => here(bytes),
            None => bytes,
        };
        Ok(Response::from_parts(head, AnswerBody::whole(bytes)))
    }
}

/// What is known of the models that a call names.
#[derive(Clone, Copy)]
pub(super) enum NamedModels<'a> {
    /// These, and no other.
    All(&'a [Arc<Model>]),
    /// These, and perhaps others, where flyball does not know how such a call names its models.
    Perhaps(&'a [Arc<Model>]),
}

/// The provider of this name, if the caller may use any model of it.
///
/// # Errors
/// There is none; the error lists those that there are.
pub(super) fn provider(
    policy: &Policy,
    caller: &Caller,
    name: &str,
) -> Result<Arc<Provider>, Error> {
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
fn models(
    policy: &Policy,
    call: &PlainCall<'_>,
    restricted: bool,
) -> Result<Vec<Arc<Model>>, Error> {
    let mut names = in_path(&call.rest);
    if call.body.trim_ascii_start().first() == Some(&b'{') {
        match Object::read(&call.body) {
            Ok(fields) => names.extend(in_body(&fields, &call.provider)),
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
    let model = |name: &String| policy.fleet.at(&call.provider, name, &policy.catalogue);
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
        } else if names_others(key) {
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

/// A provider's call in which no model is named.
pub(super) fn unnamed(policy: &Policy, provider: &Arc<Provider>) -> Arm {
    Arm {
        model: policy.fleet.at(provider, UNNAMED, &policy.catalogue),
        effort: None,
    }
}

/// No cap must count its cost, since nothing bounds it.
///
/// # Errors
/// A cap counts it, or may count it.
pub(super) fn check_uncapped(
    admission: &Admission<'_>,
    arm: &Arm,
    models: NamedModels<'_>,
    field: &str,
) -> Result<(), Error> {
    let (NamedModels::All(named) | NamedModels::Perhaps(named)) = models;
    let named = named.iter().map(|model| Arm {
        model: Arc::clone(model),
        effort: None,
    });
    for arm in named.chain([arm.clone()]) {
        let capped = admission.capped(&arm)?;
        if capped.usd || capped.tokens {
            return Err(unbounded(field));
        }
    }
    let sure = matches!(models, NamedModels::All([_, ..]));
    if !sure && admission.perhaps_capped_at(&arm.model.provider).any() {
        return Err(unbounded(field));
    }
    Ok(())
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
enum AnswerForm {
    /// A completion of this dialect.
    Completion(&'static dyn Dialect),
    /// Embeddings.
    Embeddings(embed_wire::Call),
    /// Any other call that a model may answer: in one of these dialects, if at all.
    Perhaps(Vec<&'static dyn Dialect>),
    /// Nothing of it is work of a model.
    Nothing,
}

impl AnswerForm {
    fn of(call: &PlainCall<'_>, method: &Method, query: Option<&str>, named: bool) -> AnswerForm {
        let (kind, rest) = (call.provider.kind, call.rest.as_ref());
        if method != Method::POST || !named {
            return AnswerForm::Nothing;
        }
        if let Some((dialect, place)) = dialect::at(rest, query) {
            return match place.work {
                PlaceWork::Complete => AnswerForm::Completion(dialect),
                PlaceWork::CountTokens => AnswerForm::Nothing,
            };
        }
        let own = kind.speaks.iter().find(|(_, path)| *path == rest);
        if let Some(dialect) = own.and_then(|(name, _)| dialect::named(name)) {
            return AnswerForm::Completion(dialect);
        }
        let served = kind.sides.iter().find(|(_, path)| *path == rest);
        match (embed_wire::at(rest), served) {
            (Some(place), _) => AnswerForm::Embeddings(place.call),
            (None, Some((Side::Embed(_), _))) => AnswerForm::Embeddings(embed_wire::Call::OpenAi),
            _ => {
                let speaks = kind.speaks.iter();
                AnswerForm::Perhaps(
                    speaks
                        .filter_map(|(name, _)| dialect::named(name))
                        .collect(),
                )
            }
        }
    }

    fn dialect(&self) -> Option<&'static dyn Dialect> {
        match self {
            AnswerForm::Completion(dialect) => Some(*dialect),
            AnswerForm::Perhaps(dialects) => dialects.first().copied(),
            AnswerForm::Embeddings(_) | AnswerForm::Nothing => None,
        }
    }

    fn input(&self, body: &Bytes) -> Input {
        match self {
            AnswerForm::Completion(_) => Input::Conversation(body.clone()),
            AnswerForm::Embeddings(call) => Input::Embed(*call, body.clone()),
            AnswerForm::Perhaps(_) => legacy_prompt(body),
            AnswerForm::Nothing => Input::Unknown,
        }
    }

    /// Where such a call names its model is known, and nowhere else does it name one.
    fn names_its_model(&self, rest: &str) -> bool {
        !matches!(self, AnswerForm::Perhaps(_)) || rest.ends_with("/completions")
    }

    /// Reads a whole answer.
    fn reader(&self, rule: UsageRule) -> ReadWhole {
        match self {
            AnswerForm::Completion(dialect) => {
                let dialect = *dialect;
                Box::new(move |bytes| dialect.answer(bytes, rule))
            }
            AnswerForm::Embeddings(call) => {
                let call = *call;
                Box::new(move |bytes| embed_wire::meter(call, bytes, rule))
            }
            AnswerForm::Perhaps(dialects) => {
                let dialects = dialects.clone();
                Box::new(move |bytes| {
                    let answers: Vec<Read> =
                        dialects.iter().map(|d| d.answer(bytes, rule)).collect();
                    // One that tells no usage is counted by its words.
                    let told = answers.iter().position(|a| a.usage.is_some());
                    let said = || answers.iter().position(|a| !a.words().is_empty());
                    let found = told.or_else(said);
                    found
                        .and_then(|at| answers.into_iter().nth(at))
                        .unwrap_or_default()
                })
            }
            AnswerForm::Nothing => Box::new(|_| Read::default()),
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
