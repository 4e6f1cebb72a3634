//! What goes to the provider, and what it may cost at most: the body's edits, the token limit, the bound.

use super::bound::{self, Input, ask, must_be_bounded};
use super::headers::Wishes;
use super::translate::{self, Said};
use super::{Attempted, Exchange, Inbound, final_error};
use crate::arm::Effort;
use crate::caller::Caller;
use crate::dialect::AskedTier;
use crate::effort::{self, Family, Written};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::json::Edit;
use crate::ledger::balance::{Ask, Capped};
use crate::ledger::cap::{AtCap, Dims};
use crate::ledger::record::Opening;
use crate::ledger::{Refused, Reservation, now_ms};
use crate::money::PicoUsd;
use crate::price::Price;
use crate::route::Policy;
use crate::settle::{self, Job};
use crate::tokens;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// One attempt before its money is reserved.
pub(super) struct Plan {
    /// How the effort is asked for; `None` leaves the client's own words as they are.
    written: Option<Written>,
    /// The effort for header, metric and ledger.
    pub(super) effort: Effort,
    /// The client's fields that the arm's dialect does not have and that were let go.
    pub(super) lost: Vec<String>,
    /// flyball asks for usage and the client did not.
    pub(super) usage_added: bool,
    /// A cap, or the caller's own limit of cost, counts what this attempt uses.
    capped: Capped,
    /// Nothing that it does costs anything.
    free: bool,
    /// The bound: input fixed, so much per answer token, so many tokens.
    ask: Ask,
    /// The most input.
    input: Input,
    /// Why a refusal has to say that it is so much, and what makes it less.
    why_much: Option<&'static str>,
    /// The part of it that are pictures, sound and documents; 0 where one of them has no maximum of its own.
    attached: u64,
    /// What its machine's time costs at most.
    time: PicoUsd,
    /// The model's own maximum.
    model_max: Option<u64>,
    client_limit: Option<u64>,
}

/// The request as caps see it, before or after its arm is chosen.
pub(super) fn dims<'a>(
    policy: &'a Policy,
    caller: &'a Caller,
    wishes: &'a Wishes,
    tags: &'a [(String, String)],
    arm: Option<&'a Arm>,
) -> Dims<'a> {
    let team = caller.team();
    Dims {
        organisation: policy.teams.get(team).map_or("", String::as_str),
        team,
        key: caller.key.as_ref().map_or(0, |k| k.id).to_string(),
        session: wishes.session.as_deref().unwrap_or_default(),
        provider: arm.map_or("", |a| &a.model.provider.name),
        model: arm.map_or("", |a| &a.model.name),
        tier: arm.map_or("", |a| a.model.tier.name()),
        tags,
    }
}

/// How an attempt came to be.
pub(super) struct Cause<'a> {
    /// The request id.
    pub(super) request: &'a str,
    /// The rule that decided.
    pub(super) rule: &'a str,
    /// The task that the prompt was graded as.
    pub(super) task: &'static str,
    /// Its difficulty, where it was graded.
    pub(super) difficulty: Option<f64>,
}

/// The row that opens an attempt.
pub(super) fn facts(
    policy: &Policy,
    caller: &Caller,
    wishes: &Wishes,
    tags: &[(String, String)],
    job: &Job,
    cause: &Cause<'_>,
) -> Opening {
    let model = &job.arm.model;
    let dims = dims(policy, caller, wishes, tags, Some(&job.arm));
    Opening {
        request: cause.request.to_owned(),
        attempt: uuid::Uuid::now_v7().to_string(),
        at_ms: now_ms(),
        key: caller.key.as_ref().map(|k| k.id),
        organisation: dims.organisation.to_owned(),
        team: dims.team.to_owned(),
        session: dims.session.to_owned(),
        tags: tags.to_vec(),
        provider: model.provider.name.clone(),
        model: model.name.clone(),
        effort: job.effort,
        tier: model.tier,
        task: cause.task.to_owned(),
        rule: cause.rule.to_owned(),
        difficulty_milli: cause.difficulty.map_or(0, milli),
        dialect: job.dialect.name().into(),
        simulated: model.simulated,
        catalogue: policy.catalogue.version.clone(),
        ..Opening::default()
    }
}

pub(super) fn plan(exchange: &Exchange<'_>, arm: &Arm, said: &Said<'_>) -> Result<Plan, Error> {
    let Inbound { state, caller, .. } = exchange.inbound;
    let request = &said.request;
    let client_limit = request.limit.map(|l| l.tokens);
    let policy = exchange.policy;
    let dims = dims(policy, caller, exchange.wishes, exchange.tags, Some(arm));
    let mut capped = state.ledger.capped(&dims);
    if capped.any() && state.ledger.is_frozen(dims.provider, dims.model) {
        return Err(frozen(dims.model));
    }
    capped.usd |= exchange.wishes.max_cost.is_some();
    let price = arm.model.price.as_ref();
    check_bounded(&request.unbounded, &arm.model.name, capped, price)?;
    let held_to_some = caller.is_limited() || state.ledger.perhaps_capped(&dims).any();
    check_others(request.unbounded.iter().map(String::as_str), held_to_some)?;
    let attached = bound::attached(
        said,
        &exchange.request.media,
        &arm.model,
        &exchange.inbound.head.headers,
        must_be_bounded(capped, price),
    )?;
    let input = Input::of(said, attached);
    check_tier(request.tier, &arm.model.name, capped, price)?;
    let written = write_effort(exchange, arm, said, client_limit);
    let effort = written
        .as_ref()
        .map_or_else(|| arm.effort_or(exchange.request.effort), |w| w.effort);
    let (least_reasoning, allowance) = match &written {
        Some(w) => (w.least_reasoning_tokens, w.reasoning_allowance),
        None => (0, effort::reasoning_allowance(effort)),
    };
    let model_max = arm
        .model
        .answer_tokens_max
        .or_else(|| price.and_then(|p| p.output_tokens_max));
    let default_limit = policy
        .answer_tokens_max
        .saturating_add(allowance)
        .min(model_max.unwrap_or(u64::MAX));
    let wanted = client_limit.unwrap_or(default_limit);
    let least = policy
        .answer_tokens_min
        .saturating_add(least_reasoning)
        .min(wanted);
    let tokens_min = if policy.lower_limits { least } else { wanted };
    let dearest = dearest_price(arm, said);
    let mut ask = ask(dearest.as_ref(), input, request.choices, wanted, tokens_min);
    let limits = &state.limits;
    let time_bound = limits.connect + limits.first_byte + limits.total;
    let time = price.map_or(PicoUsd::ZERO, |p| p.time_cost(time_bound));
    ask.fixed += time;
    let why_much = bound::why_much(said, &arm.model, input);
    if let Some(most) = exchange.wishes.max_cost {
        hold_to_cost(&mut ask, most).map_err(|error| error.also(why_much))?;
    }
    let usage_added = request.stream && !request.usage_asked;
    Ok(Plan {
        written,
        effort,
        lost: Vec::new(),
        usage_added,
        capped,
        free: price.is_some_and(Price::is_free),
        ask,
        input,
        why_much,
        attached: attached.window.map_or(attached.tokens, |_| 0),
        time,
        model_max,
        client_limit,
    })
}

fn write_effort(
    exchange: &Exchange<'_>,
    arm: &Arm,
    said: &Said<'_>,
    limit: Option<u64>,
) -> Option<Written> {
    let decided = arm.effort.filter(|_| !exchange.decision.untouched);
    let version = said.dialect.envelope().version;
    let own = |name| exchange.inbound.head.headers.get(name)?.to_str().ok();
    let target = effort::Target {
        family: arm.model.provider.kind.family,
        model: &arm.model.name,
        words: said.dialect.effort(),
        asked: &said.request.fields,
        limit_tokens: limit,
        version: version.and_then(|(name, ours)| match said.translated {
            true => Some(ours),
            false => own(name),
        }),
    };
    // A translated body says nothing of effort yet: what the client asked for has to be said again.
    let wanted = decided.or_else(|| exchange.request.effort.filter(|_| said.translated));
    match wanted {
        Some(wanted) => Some(effort::write_as(&target, &arm.model.accepts, wanted)),
        None if said.translated => Some(effort::fit(&target, &arm.model.accepts)),
        None => None,
    }
}

/// The price that bounds the request: the dearest of the tiers in which it may be served, and of the hours. Anthropic writes
/// its prompt cache for those alone who ask for it.
fn dearest_price(arm: &Arm, said: &Said<'_>) -> Option<Price> {
    let named = said.request.tier.map(|asked| asked.tier);
    let tiers = arm.model.provider.may_serve(named);
    let price = arm.model.price?.dearest_of(&tiers);
    let anthropic = arm.model.provider.kind.family == Family::Anthropic;
    Some(match anthropic && !bound::may_ask_for_cache(said.body) {
        true => price.without_cache_writes(),
        false => price,
    })
}

/// On a capped key everything must have a price and a bound, or the cap would be a guess.
pub(super) fn check_bounded(
    unbounded: &[String],
    model: &str,
    capped: Capped,
    price: Option<&Price>,
) -> Result<(), Error> {
    if capped.usd && price.is_none() {
        return Err(Error::bad_field(
            "model",
            format!("The price of \"{model}\" is not known, so a spend cap cannot count it. Set input_usd_per_mtok and output_usd_per_mtok for it."),
        )
        .code("flyball_no_price"));
    }
    if !must_be_bounded(capped, price) {
        return Ok(());
    }
    match unbounded.first() {
        None => Ok(()),
        Some(field) => Err(Error::bad_field(
            field.clone(),
            format!("The cost of \"{field}\" has no bound that flyball knows, so it cannot be used under a spend cap."),
        )
        .code("flyball_unbounded")),
    }
}

/// Routers take a list of models that may answer in the named one's place.
pub(super) const OTHERS: [&str; 2] = ["models", "fallbacks"];

/// Where a key may use some models only, or some models have a cap of their own, no other may answer in the named one's place.
pub(super) fn check_others<'a>(
    mut fields: impl Iterator<Item = &'a str>,
    held_to_some: bool,
) -> Result<(), Error> {
    let other = fields.find(|field| OTHERS.iter().any(|o| field.eq_ignore_ascii_case(o)));
    match other {
        Some(field) if held_to_some => Err(Error::bad_field(
            field,
            format!("\"{field}\" lets other models answer than the one that is named, which this key's models or caps do not allow."),
        )
        .code("flyball_unbounded")),
        _ => Ok(()),
    }
}

/// A tier without a price would make the cap a guess too.
fn check_tier(
    asked: Option<AskedTier>,
    model: &str,
    capped: Capped,
    price: Option<&Price>,
) -> Result<(), Error> {
    let (true, Some(price), Some(asked)) = (capped.usd, price, asked) else {
        return Ok(());
    };
    if price.served(asked.tier, 0).is_some() {
        return Ok(());
    }
    let field = asked.field;
    Err(Error::bad_field(
        field,
        format!("The price of \"{model}\" in the service tier that \"{field}\" asks for is not known, so a spend cap cannot count it."),
    )
    .code("flyball_no_price"))
}

pub(super) fn frozen(model: &str) -> Error {
    Error::new(
        Kind::CapReached,
        format!("Answers of \"{model}\" have cost more than was reserved for them, so it is not used under a cap until the operator allows it again."),
    )
    .code("flyball_frozen")
    .detail(format!("{model} is frozen; `flyball caps` says why, `flyball caps unfreeze {model}` allows it again"))
}

/// The caller's own `x-flyball-max-cost-usd`: lowers the limit, or refuses.
pub(super) fn hold_to_cost(ask: &mut Ask, most: PicoUsd) -> Result<(), Error> {
    let room = most - ask.fixed;
    let tokens = if ask.per_token > PicoUsd::ZERO {
        u64::try_from(room.0.max(0) / ask.per_token.0).unwrap_or(u64::MAX)
    } else {
        ask.tokens
    };
    if room < PicoUsd::ZERO || tokens < ask.tokens_min {
        let needed = ask.fixed + ask.per_token.times(ask.tokens_min);
        return Err(Error::new(Kind::CapReached, format!("This request may cost up to {needed}, more than its x-flyball-max-cost-usd of {most}.")).code("flyball_cap"));
    }
    ask.tokens = ask.tokens.min(tokens);
    Ok(())
}

/// Reserves the bound. Where only the rough bound of the input is in the way, its tokens are counted exactly and it is tried once more.
pub(super) async fn reserve(
    exchange: &Exchange<'_>,
    arm: &Arm,
    plan: &Plan,
    said: &Said<'_>,
    facts: Opening,
) -> Result<Reservation, Attempted> {
    let countable = arm.model.provider.kind.family == Family::OpenAi && plan.input.countable;
    let patience = exchange.policy.cap_wait;
    let first = if countable { Duration::ZERO } else { patience };
    let ledger = &exchange.inbound.state.ledger;
    let refused = match ledger.reserve(plan.ask, facts.clone(), first).await {
        Ok(reservation) => return Ok(reservation),
        Err(refused) => refused,
    };
    if !(matches!(refused, Refused::Full(_)) && countable) {
        return Err(refusal(exchange, &refused, plan.why_much));
    }
    let words = bound::words(said.body, &said.request.media);
    let model = Arc::clone(&arm.model);
    // Tool schemas are in the body too, so the whole body is counted: its JSON is never shorter in tokens than the prompt made of it.
    let counted = tokio::task::spawn_blocking(move || {
        let count = |text: &str| tokens::count_for(&model.name, text);
        let counted = |piece: &Bytes| std::str::from_utf8(piece).map_or(u64::MAX, count);
        words.iter().map(counted).fold(0, u64::saturating_add)
    })
    .await
    .unwrap_or(u64::MAX);
    let dearest = dearest_price(arm, said);
    let mut exact = ask(
        dearest.as_ref(),
        plan.input.counted(counted),
        said.request.choices,
        plan.ask.tokens,
        plan.ask.tokens_min,
    );
    exact.fixed += plan.time;
    ledger
        .reserve(exact, facts, patience)
        .await
        .map_err(|refused| refusal(exchange, &refused, plan.why_much))
}

/// What a refusal leads to: a local model where the cap says so, another arm where the cap is on this one only.
fn refusal(
    exchange: &Exchange<'_>,
    refused: &Refused,
    why_much: Option<&'static str>,
) -> Attempted {
    let error = refused.error();
    let Refused::Full(full) = refused else {
        return final_error(error);
    };
    let error = error.also(why_much);
    let scope = &full.counter.scope;
    exchange
        .inbound
        .state
        .telemetry
        .cap_refused(scope.class(), full.only_reserved());
    if full.at_cap == AtCap::Local {
        Attempted::LocalInstead(error)
    } else if scope.by_arm() {
        Attempted::MayFallBack(Err(error))
    } else {
        final_error(error)
    }
}

impl Plan {
    /// The limit to write into the body: none where the client's own, or the model's own, says the same.
    pub(super) fn limit_to_send(&self, granted: u64) -> Option<u64> {
        match self.client_limit {
            Some(limit) => (granted < limit).then_some(granted),
            None => (self.forces_limit() && granted < self.model_max.unwrap_or(u64::MAX))
                .then_some(granted),
        }
    }

    fn forces_limit(&self) -> bool {
        self.capped.tokens || (self.capped.usd && !self.free)
    }

    /// The body that goes out: the client's own bytes where nothing is to be changed. A lowered limit may leave less room to think.
    pub(super) fn body(
        &mut self,
        exchange: &Exchange<'_>,
        arm: &Arm,
        said: &Said<'_>,
        limit: Option<u64>,
    ) -> Bytes {
        let request = &said.request;
        let mut edits = Vec::new();
        if said.dialect.model_in_body()
            && request.model_in_body.as_deref() != Some(arm.model.name.as_str())
        {
            edits.push(Edit::set_text(&["model"], &arm.model.name));
        }
        if limit.is_some() {
            self.written = write_effort(exchange, arm, said, limit);
        }
        if let Some(written) = &self.written {
            self.effort = written.effort;
            edits.extend(written.edits.iter().cloned());
        }
        edits.extend(translate::unsealed(exchange, arm, said));
        if self.usage_added {
            edits.extend(said.dialect.ask_usage());
        }
        if let Some(limit) = limit {
            edits.extend(self.limit_edits(arm, said, limit));
        }
        match request.fields.edited(&edits) {
            Some(text) => Bytes::from(text),
            None => said.body.clone(),
        }
    }

    fn limit_edits(&self, arm: &Arm, said: &Said<'_>, limit: u64) -> Vec<Edit> {
        let own = said
            .request
            .limit
            .map(|l| l.field)
            .filter(|_| self.written.is_none());
        let (family, words) = (arm.model.provider.kind.family, said.dialect.effort());
        let fields = &said.request.fields;
        let field = own.unwrap_or_else(|| words.limit_field(family, &arm.model.accepts, fields));
        // A body may hold several names of the limit; another one must not say something else.
        let others = words.limit_fields().iter().filter(|f| **f != field);
        let mut edits: Vec<Edit> = others.map(|f| Edit::remove(&[f])).collect();
        let path: Vec<&str> = field.split('.').collect();
        edits.push(Edit::set(&path, limit.to_string()));
        edits
    }

    /// Parameters that the arm rejects and that were taken out.
    pub(super) fn removed(&self) -> &[String] {
        self.written.as_ref().map_or(&[], |w| &w.removed)
    }

    /// What the settlement needs.
    pub(super) fn job(&self, exchange: &Exchange<'_>, arm: &Arm, said: &Said<'_>) -> Job {
        Job {
            arm: arm.clone(),
            effort: self.effort,
            tier: said.request.tier.map(|asked| asked.tier),
            baseline: exchange.decision.baseline.clone(),
            capped: self.capped.any(),
            dialect: exchange.inbound.dialect,
            attached: self.attached,
            held: said.request.media.len(),
            input: settle::Input::Conversation(exchange.body.clone()),
            stream: exchange.request.stream,
            arrived: exchange.inbound.arrived,
            phases: Vec::new(),
            alive: Arc::clone(&exchange.inbound.state.alive),
        }
    }
}

/// Thousandths, for the ledger.
pub(super) fn milli(difficulty: f64) -> i64 {
    // Counting avoids a float-to-integer cast, which the lints forbid; ten comparisons find the place.
    let (mut low, mut high) = (0_i32, 1_000_i32);
    while low < high {
        let middle = (low + high + 1) / 2;
        if f64::from(middle) <= difficulty * 1_000.0 + 0.5 {
            low = middle
        } else {
            high = middle - 1
        }
    }
    i64::from(low)
}
