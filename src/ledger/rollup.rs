//! What attempts add up to, by everything that they have in common and that reports tell apart: a *group* of them, and its sums over
//! an hour or a day. Pure; the stores keep them beside the attempts, so that a month is read without reading its attempts.

use super::cap::{Counter, Dim, Dims, Measure, Pick};
use super::record::{Basis, Cause, Closed};
use crate::chat::ServiceTier;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a day of UTC.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// What attempts of one group have in common. Sessions and end users are not among it: there may be one for each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Group<'a> {
    /// The virtual key's row; 0 in open mode.
    pub key: i64,
    /// The organisation of the key's team, or nothing.
    pub organisation: Cow<'a, str>,
    /// The key's team, or nothing.
    pub team: Cow<'a, str>,
    /// The tags that count.
    pub tags: Cow<'a, [(String, String)]>,
    /// The provider's name.
    pub provider: Cow<'a, str>,
    /// The model.
    pub model: Cow<'a, str>,
    /// The effort asked of it.
    pub effort: Cow<'a, str>,
    /// The model's tier.
    pub tier: Cow<'a, str>,
    /// The task.
    pub task: Cow<'a, str>,
    /// The rule that decided.
    pub rule: Cow<'a, str>,
    /// No money was spent.
    pub simulated: bool,
    /// The service tier that priced it, or nothing.
    pub service_tier: Cow<'a, str>,
    /// How it ended.
    pub outcome: Cow<'a, str>,
    /// Why it saved or lost what it did, or nothing.
    pub cause: Cow<'a, str>,
}

impl Group<'_> {
    /// The same with texts of its own.
    #[must_use]
    pub fn owned(&self) -> Group<'static> {
        fn own(text: &str) -> Cow<'static, str> {
            Cow::Owned(text.to_owned())
        }
        Group {
            key: self.key,
            organisation: own(&self.organisation),
            team: own(&self.team),
            tags: Cow::Owned(self.tags.to_vec()),
            provider: own(&self.provider),
            model: own(&self.model),
            effort: own(&self.effort),
            tier: own(&self.tier),
            task: own(&self.task),
            rule: own(&self.rule),
            simulated: self.simulated,
            service_tier: own(&self.service_tier),
            outcome: own(&self.outcome),
            cause: own(&self.cause),
        }
    }

    /// Its text in the books.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }

    /// The group of this text.
    #[must_use]
    pub fn read(text: &str) -> Option<Group<'static>> {
        serde_json::from_str(text).ok()
    }

    /// Its attempts as caps see them, but for their sessions and users.
    #[must_use]
    pub fn dims(&self) -> Dims<'_> {
        Dims {
            organisation: &self.organisation,
            team: &self.team,
            key: self.key.to_string().into(),
            session: "",
            user: "",
            user_name: "",
            provider: &self.provider,
            model: &self.model,
            tier: &self.tier,
            tags: &self.tags,
        }
    }
}

/// What attempts add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Requests: attempts whose answer, or failure, the client was told.
    pub requests: i128,
    /// Attempts.
    pub attempts: i128,
    /// Input tokens that no prompt cache was involved in.
    pub input: i128,
    /// Those read from one.
    pub cached: i128,
    /// Those written to one.
    pub cache_write: i128,
    /// Output tokens, reasoning included.
    pub output: i128,
    /// Reasoning tokens.
    pub reasoning: i128,
    /// What is booked, in pico-dollars, as all money here.
    pub cost: i128,
    /// What the baseline would have cost.
    pub baseline: i128,
    /// What it may have cost beyond that.
    pub baseline_extra: i128,
    /// What prompt caches took off.
    pub cache_discount: i128,
    /// What is booked at the bound and not known better.
    pub provisional: i128,
    /// Tokens that count in caps.
    pub cap_tokens: i128,
    /// Attempts that count in caps.
    pub cap_requests: i128,
}

impl Amounts {
    /// The names of all of them in the books, in the order of [`Amounts::values`].
    pub const NAMES: [&str; 14] = [
        "requests",
        "attempts",
        "input",
        "cached",
        "cache_write",
        "output",
        "reasoning",
        "cost",
        "baseline",
        "baseline_extra",
        "cache_discount",
        "provisional",
        "cap_tokens",
        "cap_requests",
    ];

    /// All of them in a row.
    #[must_use]
    pub fn values(&self) -> [i128; 14] {
        [
            self.requests,
            self.attempts,
            self.input,
            self.cached,
            self.cache_write,
            self.output,
            self.reasoning,
            self.cost,
            self.baseline,
            self.baseline_extra,
            self.cache_discount,
            self.provisional,
            self.cap_tokens,
            self.cap_requests,
        ]
    }

    /// Those of a row.
    #[must_use]
    pub fn of_values(values: [i128; 14]) -> Amounts {
        let [
            requests,
            attempts,
            input,
            cached,
            cache_write,
            output,
            reasoning,
            cost,
            baseline,
            baseline_extra,
            cache_discount,
            provisional,
            cap_tokens,
            cap_requests,
        ] = values;
        Amounts {
            requests,
            attempts,
            input,
            cached,
            cache_write,
            output,
            reasoning,
            cost,
            baseline,
            baseline_extra,
            cache_discount,
            provisional,
            cap_tokens,
            cap_requests,
        }
    }

    /// Adds others.
    pub fn add(&mut self, other: &Amounts) {
        let (mut sums, others) = (self.values(), other.values());
        for (sum, other) in sums.iter_mut().zip(others) {
            *sum = sum.saturating_add(other);
        }
        *self = Amounts::of_values(sums);
    }

    /// The same taken off.
    #[must_use]
    pub fn negative(&self) -> Amounts {
        Amounts::of_values(self.values().map(|v| -v))
    }

    /// What of them a cap on this measure counts.
    #[must_use]
    pub fn of(&self, measure: Measure) -> i128 {
        match measure {
            Measure::Usd => self.cost,
            Measure::Tokens => self.cap_tokens,
            Measure::Requests => self.cap_requests,
        }
    }

    /// Nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Amounts::default()
    }

    /// One request less: another attempt has taken the place of one of them.
    #[must_use]
    pub fn one_request_less() -> Amounts {
        Amounts {
            requests: -1,
            ..Amounts::default()
        }
    }
}

/// Whether groups say all that decides whether an attempt counts in a counter: all but sessions and users.
#[must_use]
pub fn tells(counter: &Counter) -> bool {
    [Dim::Session, Dim::User]
        .iter()
        .all(|dim| *counter.scope.pick(*dim) == Pick::Any)
}

/// The group and the amounts of one attempt.
#[must_use]
pub fn of<'a>(closed: &Closed<'a>) -> (Group<'a>, Amounts) {
    let (opening, closing) = (closed.opening, closed.closing);
    let usage = &closing.usage;
    let group = Group {
        key: opening.key.unwrap_or(0),
        organisation: Cow::Borrowed(&opening.organisation),
        team: Cow::Borrowed(&opening.team),
        tags: Cow::Borrowed(&opening.tags),
        provider: Cow::Borrowed(&opening.provider),
        model: Cow::Borrowed(&opening.model),
        effort: Cow::Borrowed(opening.effort.name()),
        tier: Cow::Borrowed(opening.tier.name()),
        task: Cow::Borrowed(&opening.task),
        rule: Cow::Borrowed(&opening.rule),
        simulated: opening.simulated,
        service_tier: Cow::Borrowed(closing.service_tier.map_or("", ServiceTier::name)),
        outcome: Cow::Borrowed(closing.outcome.name()),
        cause: Cow::Borrowed(closed.cause().map_or("", Cause::name)),
    };
    let written = i128::from(usage.cache_write) + i128::from(usage.cache_write_long);
    let amounts = Amounts {
        requests: i128::from(closed.is_final()),
        attempts: 1,
        input: usage.input.into(),
        cached: usage.cached.into(),
        cache_write: written,
        output: usage.output.into(),
        reasoning: usage.reasoning.into(),
        cost: closed.booked().0,
        baseline: closed.baseline().0,
        baseline_extra: closing.baseline_extra.0,
        cache_discount: closing.cache_discount.0,
        provisional: closed.provisional().0,
        cap_tokens: closing.tokens.into(),
        cap_requests: i128::from(closing.basis != Basis::Void),
    };
    (group, amounts)
}

/// Over how long attempts are added up. Both are of UTC, and numbered since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grain {
    /// An hour.
    Hour,
    /// A day.
    Day,
}

impl Grain {
    /// Both.
    pub const ALL: [Grain; 2] = [Grain::Hour, Grain::Day];

    /// How long it is.
    #[must_use]
    pub fn ms(self) -> i64 {
        match self {
            Grain::Hour => HOUR_MS,
            Grain::Day => DAY_MS,
        }
    }

    /// Which one an instant lies in, milliseconds since 1970.
    #[must_use]
    pub fn of(self, at_ms: i64) -> i64 {
        at_ms.div_euclid(self.ms())
    }

    /// The last beginning of one at or before an instant.
    #[must_use]
    pub fn floor(self, at_ms: i64) -> i64 {
        at_ms.saturating_sub(at_ms.rem_euclid(self.ms()))
    }

    /// The first beginning of one at or after an instant.
    #[must_use]
    pub fn ceil(self, at_ms: i64) -> i64 {
        self.floor(at_ms.saturating_add(self.ms() - 1))
    }
}
