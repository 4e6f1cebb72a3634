//! One attempt on one arm: the edits of the body that goes out, the token limit, the bound, and how the answer comes back.

use super::super::admission::AttemptLabel;
use super::super::bound::{self, Bound, InputBound, input_and_answer, must_be_bounded};
use super::super::work::{Booked, Hold, Longer, Order, Outgoing, Reply, Way, Wording};
use super::super::{
    reply,
    returned::{self, ServedBy},
};
use super::{Completion, Routed, UNGRADED, check, shadow, unix_seconds};
use crate::affinity::Use;
use crate::arm::Effort;
use crate::chat::{Manner, Part, ServiceTier};
use crate::classify;
use crate::dialect::keep::Keeper;
use crate::dialect::unasked::{self, Filters, HideLogprobs, WithoutLogprobs};
use crate::dialect::{
    self, Answer as Read, AskedTier, Frame, Request, StreamFilter, bend, steps, unseal,
};
use crate::effort::{self, Family, Written};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::json::Edit;
use crate::ledger::balance::{Capped, Requirement};
use crate::ledger::record::{Cause, Opening};
use crate::money::PicoUsd;
use crate::price::Price;
use crate::probe::evidence::Witness;
use crate::provider::channel::Channel;
use crate::relay::{AnswerBody, Passes, Reading};
use crate::route::cost;
use crate::settle::{self, InConversation, Job, Lesson};
use crate::telemetry::otlp::SaidToModel;
use crate::tokens;
use crate::upstream::Begins;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Response};
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// What an attempt is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To answer.
    Answer,
    /// To be compared with an answer that stands.
    Exploring,
    /// To answer at the rates of the vendor's flex tier, which this field of the body asks for.
    Waiting(&'static str),
    /// To answer within a batch of the vendor's.
    Batch,
}

/// One attempt before it goes out.
pub(super) struct CompletionOrder<'a> {
    purpose: Purpose,
    routed: &'a Routed<'a>,
    arm: &'a Arm,
    told: &'a Wording,
    /// What the arm is told, as its dialect reads it.
    request: Cow<'a, Request<'a>>,
    /// How the effort is asked for; `None` leaves the client's own words as they are.
    written: Option<Written>,
    /// The effort for header, metric and ledger.
    effort: Effort,
    /// A cap, or the caller's own limit of cost, counts what this attempt uses.
    capped: Capped,
    /// The most input.
    input: InputBound,
    /// The part of it that are pictures, sound and documents; 0 where one of them has no maximum of its own.
    attached: u64,
    /// AnswerBody tokens wanted, and the least that are still worth an answer.
    tokens: (u64, u64),
    /// What its machine's time costs at most.
    time: PicoUsd,
    /// The longest answer that is wanted of the model: the operator's figure, or the vendor's maximum.
    model_max: Option<u64>,
    /// The limit that is written into the body, once it is granted.
    limit: Option<u64>,
    /// What becomes of the conversation.
    history: OnceLock<History>,
    /// The answer is looked at.
    looks: bool,
    /// The answer tells how likely its tokens were, and the client has not asked for that.
    hides: bool,
}

/// What becomes of a conversation on its way to an arm.
#[derive(Default)]
struct History {
    /// The edit that mends it; `None` where it can go as it is.
    edit: Option<Edit>,
    /// It lacks thinking without which the arm must not think.
    bare: bool,
}

impl<'a> CompletionOrder<'a> {
    /// # Errors
    /// What it costs has no bound where a cap needs one, or its model is frozen.
    pub(super) fn new(
        routed: &'a Routed<'a>,
        arm: &'a Arm,
        told: &'a Wording,
        purpose: Purpose,
    ) -> Result<CompletionOrder<'a>, Error> {
        let completion = routed.completion;
        let admission = completion.admission;
        let request = read(completion, told)?;
        let price = arm.model.price.as_ref();
        let capped = match purpose {
            Purpose::Answer | Purpose::Waiting(_) | Purpose::Batch => admission.capped(arm)?,
            Purpose::Exploring => admission.capped_to_explore(arm)?,
        };
        bound::check_bounded(&request.unbounded, &arm.model, capped)?;
        if admission.caller.is_limited() || admission.perhaps_capped(arm).any() {
            bound::check_others(request.unbounded.iter().map(String::as_str))?;
        }
        let asked = match told.translated {
            true => &completion.request.media[..],
            false => &[],
        };
        let attached = bound::attached(
            &request.media,
            asked,
            &arm.model,
            &admission.head.headers,
            must_be_bounded(capped, price),
        )?;
        check_tier(asked_tier(purpose, &request), arm, capped)?;
        check_manner(request.manner, arm, capped)?;
        let mut attempt = CompletionOrder {
            purpose,
            routed,
            arm,
            told,
            effort: arm.effort_or(completion.request.effort),
            capped,
            input: InputBound::of(&told.body, &request, attached).with_entries(
                routed.in_band(arm, told.dialect).map_or(0, |_| {
                    let said = routed.efforts_said(&arm.model);
                    said.map_or(1, |said| said.changes.len() + 1)
                }),
            ),
            attached: attached.window.map_or(attached.tokens, |_| 0),
            time: price.map_or(PicoUsd::ZERO, |p| p.time_cost(admission.limits.longest())),
            model_max: arm
                .model
                .answer_tokens_max
                .or_else(|| price.and_then(|p| p.output_tokens_max)),
            request,
            written: None,
            tokens: (0, 0),
            limit: None,
            history: OnceLock::new(),
            looks: false,
            hides: false,
        };
        attempt.write_effort(attempt.client_limit());
        attempt.tokens = attempt.wanted();
        Ok(attempt)
    }

    fn completion(&self) -> &'a Completion<'a> {
        self.routed.completion
    }

    fn client_limit(&self) -> Option<u64> {
        self.request.limit.map(|l| l.tokens)
    }

    /// AnswerBody tokens wanted, and the least that are worth a request.
    fn wanted(&self) -> (u64, u64) {
        let policy = &self.completion().admission.policy;
        let (least_reasoning, allowance) = match &self.written {
            Some(w) => (w.least_reasoning_tokens, w.reasoning_allowance),
            None => (0, effort::reasoning_allowance(self.effort)),
        };
        let default_limit = policy
            .answer_tokens_max
            .saturating_add(allowance)
            .min(self.model_max.unwrap_or(u64::MAX));
        let wanted = self.client_limit().unwrap_or(default_limit);
        let least = policy
            .answer_tokens_min
            .saturating_add(least_reasoning)
            .min(wanted);
        (wanted, if policy.lower_limits { least } else { wanted })
    }

    /// Asks for the effort that was decided, or for the client's own where its words were translated, within a limit of tokens.
    fn write_effort(&mut self, limit: Option<u64>) {
        let (arm, told) = (self.arm, self.told);
        let decided = arm.effort.filter(|_| !self.routed.decision.untouched);
        let version = told.dialect.envelope().version;
        let headers = &self.completion().admission.head.headers;
        let own = |name| headers.get(name)?.to_str().ok();
        let target = effort::Target {
            family: arm.model.provider.kind.family,
            model: &arm.model.name,
            words: told.dialect.effort(),
            asked: &self.request.fields,
            limit_tokens: limit,
            version: version.and_then(|(name, ours)| match told.translated {
                true => Some(ours),
                false => own(name),
            }),
        };
        // A translated body says nothing of effort yet: what the client asked for has to be said again.
        let asked = self.completion().request.effort;
        let wanted = decided.or_else(|| asked.filter(|_| told.translated));
        let thinks = match wanted {
            Some(effort) => effort != Effort::None,
            None => told.translated && arm.model.accepts.on_by_default,
        };
        let demand = arm.model.accepts.loops;
        let off = thinks && demand.is_some_and(|d| !d.has_stand_in()) && self.history().bare;
        let wanted = match off {
            true => Some(Effort::None),
            false => wanted,
        };
        self.written = match wanted {
            Some(wanted) => Some(effort::write_as(&target, &arm.model.accepts, wanted)),
            None if told.translated => Some(effort::fit(&target, &arm.model.accepts)),
            None => None,
        };
        if let Some(written) = &self.written {
            self.effort = written.effort;
        }
    }

    /// The service tier that it asks for.
    fn tier(&self) -> Option<AskedTier> {
        asked_tier(self.purpose, &self.request)
    }

    /// The price that bounds it.
    fn price(&self) -> Option<Cow<'a, Price>> {
        let named = self.tier().map(|asked| asked.tier);
        let batch = match self.purpose {
            Purpose::Batch => batch_price(self.arm, &self.request),
            Purpose::Answer | Purpose::Exploring | Purpose::Waiting(_) => None,
        };
        let batch = batch.map(Cow::Owned);
        batch.or_else(|| dearest_price(self.arm, (&self.request, named), &self.told.body))
    }

    /// What is asked of the ledger for so much input.
    fn ask(&self, input: InputBound) -> Requirement {
        let (tokens, tokens_min) = self.tokens;
        let price = self.price();
        let mut ask = input_and_answer(price.as_deref(), input, self.request.choices);
        (ask.tokens, ask.tokens_min) = (tokens, tokens_min);
        ask.fixed += self.time;
        ask
    }

    /// Counts its words, in the model's own encoding, where that is known. Tool schemas are in the body too, so the whole body is
    /// counted: its JSON is never shorter in tokens than the prompt made of it.
    fn exact(&self, how: HowCounted) -> Option<bound::Exact> {
        let known = self.arm.model.provider.kind.family == Family::OpenAi;
        if !(known && self.input.countable) {
            return None;
        }
        let words = bound::words(&self.told.body, &self.request.media);
        let (model, input) = (Arc::clone(&self.arm.model), self.input);
        let price = self.price().map(Cow::into_owned);
        let (choices, tokens, time) = (self.request.choices, self.tokens, self.time);
        Some(Box::new(move || {
            let count = |text: &str| match how {
                HowCounted::Counted => tokens::count_for(&model.name, text),
                HowCounted::AtLeast => tokens::least(text),
                HowCounted::ByLength => tokens::least_of(text.len()),
            };
            let counted = |piece: &Bytes| std::str::from_utf8(piece).map_or(u64::MAX, count);
            let words = words.iter().map(counted).fold(0, u64::saturating_add);
            let mut ask = input_and_answer(price.as_ref(), input.counted(words), choices);
            (ask.tokens, ask.tokens_min) = tokens;
            ask.fixed += time;
            ask
        }))
    }

    /// The limit to write into the body: none where the client's own says the same, or what the vendor itself holds to is no more. The
    /// operator's `answer_tokens_max` says what is wanted and not what the provider would stop at.
    fn limit_to_send(&self, granted: u64) -> Option<u64> {
        let price = self.arm.model.price.as_ref();
        let free = price.is_some_and(Price::is_free);
        let vendors = price.and_then(|p| p.output_tokens_max).unwrap_or(u64::MAX);
        let forced = self.capped.tokens || (self.capped.usd && !free);
        match self.client_limit() {
            Some(limit) => (granted < limit).then_some(granted),
            None => (forced && granted < vendors).then_some(granted),
        }
    }

    /// flyball asks for usage and the client did not.
    fn usage_added(&self) -> bool {
        self.request.stream && !self.request.usage_asked
    }

    /// The body that goes out: the client's own bytes where nothing is to be changed.
    fn body(&self, channel: &Channel) -> Bytes {
        let (told, request) = (self.told, &self.request);
        let name = channel.called(&self.arm.model.name);
        let mut edits = Vec::new();
        if told.dialect.model_in_body() && request.model_in_body.as_deref() != Some(name) {
            edits.push(Edit::set_text(&["model"], name));
        }
        if let Some(written) = &self.written {
            edits.extend(written.edits.iter().cloned());
        }
        edits.extend(self.history().edit.clone());
        if self.usage_added() {
            edits.extend(told.dialect.ask_usage());
        }
        if let Purpose::Waiting(field) = self.purpose {
            edits.push(Edit::set_text(&[field], ServiceTier::Flex.name()));
        }
        if self.looks {
            edits.extend(told.dialect.ask_logprobs(&request.fields));
        }
        if let Some(limit) = self.limit {
            edits.extend(self.limit_edits(limit));
        }
        match request.fields.edited(&edits) {
            Some(text) => Bytes::from(text),
            None => told.body.clone(),
        }
    }

    fn limit_edits(&self, limit: u64) -> Vec<Edit> {
        let own = self.request.limit.map(|l| l.field);
        let own = own.filter(|_| self.written.is_none());
        let model = &self.arm.model;
        let words = self.told.dialect.effort();
        let (family, fields) = (model.provider.kind.family, &self.request.fields);
        let field = own.unwrap_or_else(|| words.limit_field(family, &model.accepts, fields));
        // A body may hold several names of the limit; another one must not say something else.
        let others = words.limit_fields().iter().filter(|f| **f != field);
        let mut edits: Vec<Edit> = others.map(|f| Edit::remove(&[f])).collect();
        let path: Vec<&str> = field.split('.').collect();
        edits.push(Edit::set(&path, limit.to_string()));
        edits
    }

    fn history(&self) -> &History {
        self.history
            .get_or_init(|| self.read_history().unwrap_or_default())
    }

    /// The conversation without other models' sealed reasoning, for a request that stays in its dialect, and with what stands for
    /// thinking that was lost, where the model demands it; `None` where it can go as it is. A request for a real name keeps whatever
    /// its app put there, but for what came from elsewhere.
    fn read_history(&self) -> Option<History> {
        let (fields, dialect) = (&self.request.fields, self.told.dialect);
        let (own, translated) = (self.routed.decision.untouched, self.told.translated);
        let sealed = !translated && unseal::may_hold(fields.text(), own);
        let mut parts = self.request.prompt.turns.iter().flat_map(|t| &t.parts);
        let demand = self.arm.model.accepts.loops;
        let demand = demand.filter(|_| translated || !own);
        let demand = demand.filter(|_| parts.any(|part| matches!(part, Part::ToolCall)));
        if !sealed && demand.is_none() {
            return None;
        }
        let field = dialect.turns_field();
        let raw = fields.some(field)?;
        // Google's one turn may stand without a list.
        let before: Vec<serde_json::Value> = match raw.starts_with('{') {
            true => vec![serde_json::from_str(raw).ok()?],
            false => serde_json::from_str(raw).ok()?,
        };
        let makers = self.completion().admission.makers;
        let reader = unseal::Reader {
            model: &self.arm.model.name,
            maker: &|signature| makers.of(signature).filter(|_| !own),
        };
        let mut turns = before.clone();
        if sealed {
            dialect.unseal(&mut turns, &reader);
        }
        let mut bare = false;
        if let Some(demand) = demand {
            let steps = dialect.steps(&turns, demand);
            bare = steps::lack(&steps, demand);
            for at in steps::to_mend(&steps, demand) {
                dialect.mend_step(&mut turns[at], demand);
            }
        }
        let edit = (turns != before)
            .then(|| Edit::set(&[field], serde_json::Value::Array(turns).to_string()));
        Some(History { edit, bare })
    }

    /// What a translated answer is framed with.
    fn frame(&self) -> Frame {
        let completion = self.completion();
        Frame {
            id: completion.admission.id.replace('-', ""),
            model: self.arm.model.name.clone(),
            maker: self.arm.model.name.clone(),
            from: self.told.dialect.name(),
            created: unix_seconds(),
            usage: completion.request.usage_asked,
            array: completion.place.array,
            hides_thoughts: completion
                .admission
                .dialect
                .hides_thoughts(&completion.request),
            old_calls: completion.request.old_calls,
            renamed: completion.admission.dialect.renamed(&completion.request),
            input_estimate: classify::tokens_estimate(&completion.request.prompt),
            keeper: match completion.admission.dialect.is_kept(&completion.request) {
                true => {
                    let admission = completion.admission;
                    admission
                        .items
                        .keeper(admission.caller.name(), completion.body)
                }
                false => Keeper::default(),
            },
        }
    }

    /// What is said to the model, where traces are sent it. They never are what is confidential.
    fn said(&self) -> Option<Box<SaidToModel>> {
        let completion = self.completion();
        let found = !completion.detected().is_empty();
        let private = self.routed.private || completion.admission.wishes.private || found;
        let trace = &completion.admission.trace;
        match private {
            true => None,
            false => trace.said(&completion.request.prompt),
        }
    }

    /// The conversation that it is in.
    fn conversation(&self) -> Option<InConversation> {
        Some(InConversation {
            warmth: self.completion().admission.warmth.clone(),
            turn: self.routed.turn.as_ref()?.turn,
        })
    }

    /// What is learned from the usage of its answer, where it is known what was expected.
    fn lesson(&self) -> Option<Lesson> {
        let completion = self.completion();
        let difficulty = completion.noted_difficulty()?;
        let features = &completion.graded().features;
        Some(Lesson {
            habits: completion.admission.habits.clone(),
            task: difficulty.task,
            expected: Use {
                answer: cost::answer_tokens(features, difficulty),
                reasoning: cost::reasoning_tokens(&self.arm.model, self.effort, difficulty),
            },
        })
    }

    /// What of the provider's stream goes on to the client.
    fn passes(&self, head: &mut HeaderMap) -> Passes {
        let (client, place) = (self.completion().admission.dialect, self.completion().place);
        if self.told.translated {
            returned::set_type(head, client.stream_type(place.array));
            let writer = client.stream_writer(self.frame());
            let writer = bend::with_own_names(writer, &self.told.renamed);
            return Passes::Translated(match self.hides {
                true => Box::new(WithoutLogprobs(writer)),
                false => writer,
            });
        }
        let dialect = self.told.dialect;
        let mut filters: Vec<Box<dyn StreamFilter>> = Vec::new();
        if self.hides {
            filters.push(Box::new(HideLogprobs::new(dialect)));
        }
        let hide = self.usage_added().then(|| dialect.hide_usage()).flatten();
        filters.extend(hide.or_else(|| {
            let filter = dialect.reframe(place)?;
            returned::set_type(head, dialect.stream_type(place.array));
            Some(filter)
        }));
        match filters.len() {
            0 | 1 => filters.pop().map_or(Passes::Untouched, Passes::Filtered),
            _ => Passes::Filtered(Box::new(Filters(filters))),
        }
    }
}

impl Order for CompletionOrder<'_> {
    fn bound(&mut self) -> Option<Bound> {
        Some(Bound {
            rough: self.ask(self.input),
            exact: self.exact(HowCounted::Counted),
            least: [HowCounted::ByLength, HowCounted::AtLeast]
                .into_iter()
                .filter_map(|how| self.exact(how))
                .collect(),
            why_much: bound::why_much(&self.request.media, &self.arm.model, self.input),
        })
    }

    fn opening(&self) -> Opening {
        let completion = self.completion();
        let opening = completion.admission.opening(&AttemptLabel {
            arm: self.arm,
            effort: self.effort,
            task: completion.task_name(),
            rule: &self.routed.decision.rule,
            difficulty: completion.noted_difficulty().map(|d| d.difficulty),
            dialect: completion.admission.dialect,
        });
        match self.purpose {
            Purpose::Answer | Purpose::Waiting(_) | Purpose::Batch => opening,
            Purpose::Exploring => Opening {
                tags: completion.admission.tags_of_exploring().to_vec(),
                ..opening
            },
        }
    }

    fn outgoing(&mut self, granted: u64, channel: &Channel) -> Result<Outgoing, Error> {
        self.limit = self.limit_to_send(granted);
        // A lowered limit may leave less room to think.
        if self.limit.is_some() {
            self.write_effort(self.limit);
        }
        let (model, stream) = (&self.arm.model, self.request.stream);
        let url = model
            .provider
            .endpoint(channel, self.told.dialect.name(), &model.name, stream);
        let url = url.ok_or_else(|| {
            Error::new(
                Kind::Internal,
                "the chosen model does not speak this dialect",
            )
        })?;
        let admission = self.completion().admission;
        let none = HeaderMap::new();
        let headers = match self.told.translated {
            true => &none,
            false => &admission.head.headers,
        };
        let said = self.routed.with_effort_in_band(
            (self.arm, self.effort),
            self.told.dialect,
            self.body(channel),
            headers,
        );
        Ok(Outgoing {
            method: Method::POST,
            url,
            body: said.body.into(),
            begins: match (self.purpose, stream) {
                (Purpose::Waiting(_), _) => Begins::Within(self.completion().waits_for()),
                (_, true) => Begins::AtOnce,
                (_, false) => Begins::AtItsEnd,
            },
            bodiless: false,
            header: said.header,
        })
    }

    fn look(&mut self) -> Option<Witness> {
        let completion = self.completion();
        let (model, evidence) = (&self.arm.model, completion.admission.habits.evidence());
        let can = model.logprobs && self.told.dialect.can_ask_logprobs();
        self.looks = can && evidence.tells(&model.name, completion.manner());
        let asked = self.told.dialect.ask_logprobs(&self.request.fields);
        self.hides = self.looks && !asked.is_empty();
        Some(Witness::new(completion.wanted(self.told, self.looks)))
    }

    fn job(&self) -> Job {
        let completion = self.completion();
        Job {
            arm: self.arm.clone(),
            channel: String::new(),
            effort: self.effort,
            tier: match self.purpose {
                Purpose::Batch => Some(ServiceTier::Batch),
                _ => self.tier().map(|asked| asked.tier),
            },
            slowed: matches!(self.purpose, Purpose::Waiting(_)),
            manner: self.request.manner,
            baseline: self.routed.decision.baseline.clone(),
            stayed: self.routed.stayed(self.arm, self.effort),
            conversation: self.conversation(),
            lesson: self.lesson(),
            graded: completion.noted_difficulty().is_some(),
            capped: self.capped.any(),
            aside: match self.routed.decision.rule.as_str() {
                check::RULE => Some(Cause::Check),
                shadow::RULE => Some(Cause::Shadow),
                _ => None,
            },
            dialect: completion.admission.dialect,
            attached: self.attached,
            held: self.request.media.len(),
            input: settle::Input::Conversation(completion.body.clone()),
            stream: completion.request.stream,
            said: self.said(),
        }
    }

    fn announce(&self, headers: &mut HeaderMap) {
        let completion = self.completion();
        returned::make_room(headers);
        let difficulty = match completion.noted_difficulty() {
            Some(difficulty) => Cow::Owned(format!("{:.2}", difficulty.difficulty)),
            None => Cow::Borrowed(UNGRADED),
        };
        returned::say(headers, returned::name::DIFFICULTY, &difficulty);
        if let Some(weighed) = self.routed.decision.weighed(self.arm) {
            if let Some(chance) = weighed.chance {
                returned::say(headers, returned::name::CHANCE, &format!("{chance:.2}"));
            }
            if let Some(expected) = weighed.expected {
                let expected = expected.now.usd_text();
                returned::say(headers, returned::name::EXPECTED, &expected);
            }
        }
        if matches!(self.purpose, Purpose::Waiting(_)) {
            returned::set(headers, "x-flyball-service-tier", ServiceTier::Flex.name());
        }
        if let Some(limit) = self.limit {
            returned::set(headers, "x-flyball-limit-tokens", &limit.to_string());
        }
        if let Some(unknown) = &self.routed.decision.unknown {
            returned::set(headers, "x-flyball-model-unknown", &unknown.to_string());
        }
        // Parameters that the arm rejects and that were taken out.
        if let Some(written) = self.written.as_ref().filter(|w| !w.removed.is_empty()) {
            returned::set(headers, "x-flyball-removed", &written.removed.join(", "));
        }
        let served = ServedBy {
            model: &self.arm.model,
            effort: self.effort,
            task: completion.task_name(),
            rule: &self.routed.decision.rule,
        };
        returned::served(headers, &served);
        returned::dropped(headers, &self.told.lost);
    }

    fn reading(&mut self, head: &mut Parts, _ended: bool) -> Way {
        let (dialect, rule) = (self.told.dialect, self.arm.model.provider.kind.usage);
        if returned::is_event_stream(&head.headers) {
            return Way::Relayed(Reading::Events {
                decoder: dialect.stream(rule),
                passes: self.passes(&mut head.headers),
            });
        }
        let (bytes_max, longer) = match self.told.translated {
            true => (
                reply::TRANSLATED_MAX,
                Longer::Refused(
                    "the model's answer is too long to be translated; ask for a stream",
                ),
            ),
            // Probabilities make an answer thirty times as long.
            false if self.looks => (reply::TRANSLATED_MAX, Longer::Relayed),
            false => (reply::HELD_MAX, Longer::Relayed),
        };
        Way::Held(Hold {
            bytes_max,
            read: Box::new(move |bytes| dialect.answer(bytes, rule)),
            books: Booked::Answered,
            longer,
        })
    }

    fn answer(&self, head: Parts, bytes: Bytes, read: Read) -> Reply {
        if !self.told.translated {
            let bytes = match self.hides {
                true => unasked::stripped(self.told.dialect, bytes),
                false => bytes,
            };
            return Ok(Response::from_parts(head, AnswerBody::whole(bytes)));
        }
        if read.is_unread() {
            let why = "the model's server answered in a form that cannot be translated";
            return Err(Error::new(Kind::UpstreamFailed, why));
        }
        if let Some(fault) = read.error {
            return Err(fault.error());
        }
        let mut read = read;
        if self.hides {
            read.first.logprobs.clear();
        }
        bend::own_names(&mut read, &self.told.renamed);
        let completion = self.completion();
        let (dialect, stream) = (completion.admission.dialect, completion.request.stream);
        Ok(reply::translated(head, dialect, stream, read, self.frame()))
    }
}

/// How the words of a request are made tokens.
#[derive(Clone, Copy)]
enum HowCounted {
    /// By the model's own tokenizer.
    Counted,
    /// By a lower bound of what that says.
    AtLeast,
    /// By one that looks at nothing but its length.
    ByLength,
}

/// What an arm is told, as its dialect reads it.
///
/// # Errors
/// A defect: what one dialect writes it cannot read.
fn read<'a>(
    completion: &'a Completion<'a>,
    told: &'a Wording,
) -> Result<Cow<'a, Request<'a>>, Error> {
    if told.bent {
        let request = told.dialect.decode_at(&told.body, completion.place)?;
        return Ok(Cow::Owned(request));
    }
    if !told.translated {
        return Ok(Cow::Borrowed(&completion.request));
    }
    let place = dialect::Place {
        // The path alone names the model where the body does not.
        model: (!told.dialect.model_in_body()).then(|| "?".into()),
        ..dialect::Place::default()
    };
    Ok(Cow::Owned(Request {
        stream: completion.request.stream,
        ..told.dialect.decode_at(&told.body, &place)?
    }))
}

/// The price that bounds the request: the dearest of the tiers in which it may be served, of the hours, and of the manners. Anthropic writes
/// its prompt cache for those alone who ask for it.
fn dearest_price<'p>(
    arm: &'p Arm,
    (request, named): (&Request<'_>, Option<ServiceTier>),
    body: &[u8],
) -> Option<Cow<'p, Price>> {
    let tiers = arm.model.provider.may_serve(named);
    let price = arm.model.price.as_ref()?;
    // Without a known multiple it is refused where a cap counts its cost.
    let price = price.dearest_so(&tiers, price.dearest_manner(request.manner));
    let anthropic = arm.model.provider.kind.family == Family::Anthropic;
    Some(match anthropic && !bound::may_ask_for_cache(body) {
        true => Cow::Owned(price.without_cache_writes()),
        false => price,
    })
}

/// The service tier that an attempt asks for.
fn asked_tier(purpose: Purpose, request: &Request<'_>) -> Option<AskedTier> {
    match purpose {
        Purpose::Waiting(field) => Some(AskedTier {
            field,
            tier: ServiceTier::Flex,
        }),
        Purpose::Answer | Purpose::Exploring | Purpose::Batch => request.tier,
    }
}

/// The price that bounds the request in a batch, where that is known.
fn batch_price(arm: &Arm, request: &Request<'_>) -> Option<Price> {
    let price = arm.model.price?;
    let manner = price.dearest_manner(request.manner);
    let made = price.made(manner).unwrap_or(price);
    made.served(ServiceTier::Batch, 0)
}

/// A tier without a price would make the cap a guess.
fn check_tier(asked: Option<AskedTier>, arm: &Arm, capped: Capped) -> Result<(), Error> {
    let price = arm.model.price.as_ref();
    let (true, Some(price), Some(asked)) = (capped.usd, price, asked) else {
        return Ok(());
    };
    if price.served(asked.tier, 0).is_some() {
        return Ok(());
    }
    let (model, field) = (&arm.model.name, asked.field);
    Err(Error::bad_field(
        field,
        format!("The price of \"{model}\" in the service tier that \"{field}\" asks for is not known, so a spend cap cannot count it."),
    )
    .code("flyball_no_price"))
}

/// A place or a speed whose multiple is not known would make the cap a guess.
fn check_manner(asked: Manner, arm: &Arm, capped: Capped) -> Result<(), Error> {
    let (true, Some(price)) = (capped.usd, arm.model.price.as_ref()) else {
        return Ok(());
    };
    let place = Manner {
        us_only: asked.us_only,
        ..Manner::default()
    };
    let field = match (price.made(asked), price.made(place)) {
        (Some(_), _) => return Ok(()),
        (None, None) => "inference_geo",
        (None, Some(_)) => "speed",
    };
    Err(Error::bad_field(
        field,
        format!("What \"{}\" costs more for this \"{field}\" is not known, so a spend cap cannot count it.", arm.model.name),
    )
    .code("flyball_no_price"))
}
