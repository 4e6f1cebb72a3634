//! Attempts as rows of FOCUS 1.x, the FinOps Open Cost and Usage Specification (<https://focus.finops.org/focus-specification/>), which
//! finance tools read. Its mandatory columns are all there; what is flyball's own begins with `x_`, as the specification wants it.

use super::csv;
use crate::ledger::record::{Attempt, Cause, Closed};
use crate::money::PicoUsd;
use serde_json::json;

/// The head: the specification's columns, then flyball's own.
pub(super) const COLUMNS: [&str; 52] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Request",
    "x_Key",
    "x_Organisation",
    "x_Session",
    "x_Effort",
    "x_Tier",
    "x_Task",
    "x_Rule",
    "x_Outcome",
    "x_Basis",
    "x_BaselineCost",
    "x_SavedCost",
    "x_Cause",
    "x_CacheDiscount",
    "x_InputTokens",
    "x_CachedTokens",
    "x_CacheWriteTokens",
    "x_OutputTokens",
    "x_ReasoningTokens",
    "x_SimulatedCost",
    "x_PriceCatalogue",
];

/// The row of an attempt; none of one that is open, of which nothing is charged yet.
pub(super) fn row(attempt: &Attempt) -> Option<[String; COLUMNS.len()]> {
    let closed = attempt.closed()?;
    let (opening, usage) = (closed.opening, &closed.closing.usage);
    let (cost, pretended) = match opening.simulated {
        true => (PicoUsd::ZERO, closed.booked()),
        false => (closed.booked(), PicoUsd::ZERO),
    };
    let cost = cost.usd_text();
    let tokens = usage.input_total().saturating_add(usage.output).to_string();
    let (month, next_month) = month_of(opening.at_ms);
    let words = csv::words;
    let effort = opening.effort.name();
    let tier = closed.closing.service_tier.map_or("standard", |t| t.name());
    let written = usage.cache_write.saturating_add(usage.cache_write_long);
    let saved = closed.baseline() - closed.booked();
    Some([
        cost.clone(),
        words(&opening.provider),
        words(&opening.provider),
        "USD".into(),
        next_month,
        month,
        "Usage".into(),
        String::new(),
        words(&description(&closed)),
        "Usage-Based".into(),
        second(opening.at_ms, 1),
        second(opening.at_ms, 0),
        tokens.clone(),
        "Tokens".into(),
        cost.clone(),
        cost.clone(),
        words(&opening.provider),
        cost,
        tokens,
        "Tokens".into(),
        words(&opening.provider),
        words(&opening.provider),
        words(&opening.attempt),
        words(&opening.model),
        "Model".into(),
        "AI and Machine Learning".into(),
        words(&opening.model),
        words(&format!(
            "{}/{}/{effort}/{tier}",
            opening.provider, opening.model
        )),
        words(&opening.team),
        words(&opening.team),
        tags(attempt),
        words(&opening.request),
        words(&attempt.key_name),
        words(&opening.organisation),
        words(&opening.session),
        effort.into(),
        opening.tier.name().into(),
        words(&opening.task),
        words(&opening.rule),
        closed.closing.outcome.name().into(),
        closed.closing.basis.name().into(),
        closed.baseline().usd_text(),
        saved.usd_text(),
        closed.cause().map_or("", Cause::name).into(),
        closed.closing.cache_discount.usd_text(),
        usage.input.to_string(),
        usage.cached.to_string(),
        written.to_string(),
        usage.output.to_string(),
        usage.reasoning.to_string(),
        pretended.usd_text(),
        words(&opening.catalogue),
    ])
}

fn description(closed: &Closed<'_>) -> String {
    let opening = closed.opening;
    let simulated = if opening.simulated { "simulated " } else { "" };
    format!(
        "{simulated}answer of {} at effort {}, {}",
        opening.model,
        opening.effort.name(),
        closed.closing.outcome.name()
    )
}

/// The tags as JSON, as the specification wants them.
fn tags(attempt: &Attempt) -> String {
    let tags = attempt.opening.tags.iter();
    let map: serde_json::Map<_, _> = tags.map(|(k, v)| (k.clone(), json!(v))).collect();
    serde_json::Value::Object(map).to_string()
}

/// The second in which an instant lies, or one so much later.
fn second(at_ms: i64, later: i64) -> String {
    let at = jiff::Timestamp::from_second(at_ms.div_euclid(1_000).saturating_add(later));
    at.unwrap_or_default().to_string()
}

/// The beginnings of the calendar month (UTC) in which an instant lies, and of the next.
fn month_of(at_ms: i64) -> (String, String) {
    use crate::ledger::window::{Window, Zone};
    let zone = Zone::utc();
    let id = Window::Month.id(&zone, at_ms.div_euclid(1_000));
    let text = |at: Option<i64>| second(at.unwrap_or(0).saturating_mul(1_000), 0);
    (
        text(Window::Month.begins_at(&zone, id)),
        text(Window::Month.ends_at(&zone, id)),
    )
}
