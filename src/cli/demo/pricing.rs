//! What the attempts of the month of `flyball demo --days` cost, by the same rules as those of real traffic: its charge, its baseline, its cause.

use super::traffic::{BASELINE, Try};
use super::world::{AppManner, MODELS, PlayedModel};
use crate::chat::{Manner, ServiceTier};
use crate::config::Config;
use crate::fleet::Arm;
use crate::ledger::balance::Requirement;
use crate::ledger::record::{Basis, Cause, Closing, Opening, Outcome};
use crate::money::PicoUsd;
use crate::price::Price;
use crate::route::cost::{self, BaselineThinking, Stayed};
use crate::settle::charge::{ChargeTerms, Charged};
use crate::telemetry::ProbePart;
use std::collections::HashMap;
use std::time::Duration;

/// The longest answer that an app allows, thinking aside.
const ANSWER_TOKENS_MAX: u64 = 2_048;

/// The prices, and what everything is held against.
pub(super) struct Pricing {
    prices: HashMap<&'static str, Price>,
    baseline: Arm,
}

/// What an attempt is charged.
pub(super) struct Priced {
    pub(super) closing: Closing,
    /// What its hidden reasoning cost.
    pub(super) reasoning: PicoUsd,
    pub(super) charged: Option<Charged>,
}

impl Pricing {
    /// The prices of this configuration, which has the simulated models.
    pub(super) fn of(config: &Config) -> Result<Pricing, String> {
        let price = |model: &PlayedModel| {
            let known = config.fleet.named(model.name).and_then(|m| m.price);
            (model.name, model.price(known))
        };
        let (model, effort) = BASELINE;
        let baseline = config.fleet.arm(&format!("{model}@{effort}"));
        Ok(Pricing {
            prices: MODELS.iter().map(price).collect(),
            baseline: baseline.ok_or("the simulated models are not in the configuration")?,
        })
    }

    fn price(&self, model: &PlayedModel) -> &Price {
        &self.prices[model.name]
    }

    /// What an attempt needs before it goes out.
    pub(super) fn requirement(&self, one: &Try) -> Requirement {
        let price = self.price(one.model);
        let input = one.usage.input_total();
        let rates = &price.rates;
        let tokens = (one.usage.reasoning * 2 + ANSWER_TOKENS_MAX).max(one.usage.output);
        Requirement {
            fixed: rates.input.times(input),
            per_token: rates.output.max(rates.reasoning),
            tokens,
            tokens_min: one.usage.output.max(1),
            input_tokens: input,
            choices: 1,
            ..Requirement::default()
        }
    }

    /// How an attempt that was opened so is closed.
    pub(super) fn close(
        &self,
        opening: &Opening,
        one: &Try,
        manner: AppManner,
        capped: bool,
    ) -> Priced {
        if one.basis == Basis::Void {
            return Priced {
                closing: Closing::void(&opening.attempt, one.outcome),
                reasoning: PicoUsd::ZERO,
                charged: None,
            };
        }
        let terms = ChargeTerms {
            price: Some(self.price(one.model)),
            asked: one.tier,
            told: None,
            manner: Manner::default(),
            capped,
            bound: opening.bound,
            at: opening.at_ms.div_euclid(1_000),
            media_tokens_max: 0,
            took: Duration::from_millis(one.took_ms),
        };
        let charged = terms.charge(&one.usage, one.basis);
        let used = one.usage.input_total() + one.usage.output;
        let mut closing = Closing {
            cost: charged.cost,
            cache_discount: charged.cache_discount,
            usage: one.usage,
            basis: charged.basis,
            excess: charged.excess,
            service_tier: Some(charged.tier),
            tokens: match charged.basis {
                Basis::Bound => opening.bound_tokens.max(used),
                _ => used,
            },
            ..Closing::void(&opening.attempt, one.outcome)
        };
        self.compare(opening, &mut closing, one, manner);
        Priced {
            closing,
            reasoning: charged.reasoning,
            charged: Some(charged),
        }
    }

    /// Holds it against the baseline.
    fn compare(&self, opening: &Opening, closing: &mut Closing, one: &Try, manner: AppManner) {
        let is_baseline = one.baseline_thinks.is_none();
        if manner == AppManner::ByName || is_baseline {
            closing.baseline_model.clone_from(&opening.model);
            closing.baseline_effort = opening.effort;
        } else {
            closing.baseline_model.clone_from(&self.baseline.model.name);
            closing.baseline_effort = BASELINE.1;
        }
        let for_another = match (one.outcome, one.part) {
            (Outcome::Escalated, _) => Some(Cause::Escalated),
            (_, Some(ProbePart::Check)) => Some(Cause::Check),
            _ => None,
        };
        closing.baseline = match (for_another, manner) {
            (Some(_), _) => PicoUsd::ZERO,
            (None, AppManner::ByName) => closing.cost,
            (None, _) => self.on_baseline(opening, closing, one),
        };
        closing.cause = for_another.or_else(|| self.cause(opening, closing, one));
    }

    fn on_baseline(&self, opening: &Opening, closing: &Closing, one: &Try) -> PicoUsd {
        let stayed = Stayed {
            warm: one.warm,
            writes: false,
            thinking: one.baseline_thinks.map(BaselineThinking::Seen),
        };
        let tier = closing.service_tier.unwrap_or(ServiceTier::Standard);
        let at = opening.at_ms.div_euclid(1_000);
        cost::on_baseline(&self.baseline, &closing.usage, stayed, (tier, at))
            .unwrap_or(closing.cost)
    }

    fn cause(&self, opening: &Opening, closing: &Closing, one: &Try) -> Option<Cause> {
        let saved = closing.baseline - closing.cost;
        let batch = one.tier == Some(ServiceTier::Batch);
        match Cause::told(opening, closing, opening.effort, saved)? {
            Cause::Dearer if one.warm > closing.usage.cached => Some(Cause::Cold),
            Cause::Route if batch => Some(Cause::Batch),
            cause => Some(cause),
        }
    }
}
