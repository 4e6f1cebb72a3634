//! `[hedge]`: when a request that waits long for its answer is sent a second time.

use super::Reading;
use super::names::KnownNames;
use crate::fleet::Model;
use crate::pattern::like;
use crate::provider::Provider;
use crate::reader::Table;
use crate::route::{HedgeTo, Hedging};
use std::time::Duration;

/// Below the median most requests would be sent twice.
const AFTER_MIN: u64 = 50;
const AFTER_MAX: u64 = 99;
const AFTER: u32 = 95;
/// Requests that are sent twice cost twice: a larger share is no insurance any more.
const SHARE_MAX: f64 = 20.0;
const SHARE_PERMILLE: u32 = 50;
const NOT_BEFORE: Duration = Duration::from_secs(1);
const NOT_BEFORE_MAX: Duration = Duration::from_secs(600);

/// What the file says of hedging; nothing where it has no `[hedge]`.
pub(super) fn hedging(top: &Table<'_>) -> Option<Hedging> {
    let mut table = top.table("hedge")?;
    table.call("[hedge]".to_owned());
    let after = table.count("after_percent");
    if let Some(after) = after.filter(|n| !(AFTER_MIN..=AFTER_MAX).contains(n)) {
        let text = format!("after_percent {after} is not from {AFTER_MIN} to {AFTER_MAX}");
        let help = "write after_percent = 95: the slowest twentieth of requests may be sent twice";
        table.complain("after_percent", text, Some(help.to_owned()));
    }
    let not_before = table.duration("not_before");
    if let Some(time) = not_before.filter(|time| *time > NOT_BEFORE_MAX) {
        let text = format!("not_before {time:?} is more than {NOT_BEFORE_MAX:?}");
        let help =
            "write not_before = \"1s\": no request is sent twice before it has waited so long";
        table.complain("not_before", text, Some(help.to_owned()));
    }
    let share = table.number("share_percent");
    if let Some(share) = share.filter(|share| !(0.1..=SHARE_MAX).contains(share)) {
        let text = format!("share_percent {share} is not from 0.1 to {SHARE_MAX}");
        let help = "write share_percent = 5: so many of a hundred requests are sent twice at most; leave [hedge] out to send none";
        table.complain("share_percent", text, Some(help.to_owned()));
    }
    let to = table.choice("to", "place", &HedgeTo::ALL);
    let models: Vec<String> = table
        .words("models")
        .unwrap_or_default()
        .into_iter()
        .map(|word| word.text)
        .collect();
    table.finish();
    Some(Hedging {
        after_percent: after.and_then(|n| u32::try_from(n).ok()).unwrap_or(AFTER),
        not_before: not_before.unwrap_or(NOT_BEFORE),
        share_permille: share.map_or(SHARE_PERMILLE, permille),
        to: to.unwrap_or(HedgeTo::Any),
        models,
    })
}

/// Warns of what `[hedge]` says to no effect, with the models and providers that there are.
pub(super) fn doubt(
    reading: &Reading<'_>,
    top: &Table<'_>,
    known: &KnownNames<'_>,
    total: Duration,
) {
    let Some(table) = top.table("hedge") else {
        return;
    };
    let warn = |key: &str, text: String| {
        reading.warn(format!("{}: [hedge]: {text}", table.place(key)));
    };
    let words = table.words("models").unwrap_or_default();
    let patterns: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    for doubt in patterns.iter().filter_map(|name| known.model(name)) {
        warn("models", doubt.to_string());
    }
    let not_before = table.duration("not_before").unwrap_or(NOT_BEFORE);
    if not_before >= total {
        warn(
            "not_before",
            format!(
                "nothing is sent twice, since an answer that takes {total:?} ([limits] total) has failed before; write not_before = \"1s\""
            ),
        );
    }
    // Where providers are looked for, or one takes every name, others may be there tomorrow.
    let fleet = known.fleet;
    let lists = |p: &Provider| fleet.models.iter().any(|m| m.provider.name == p.name);
    if known.found || !fleet.providers.iter().all(|p| lists(p)) {
        return;
    }
    let is_for = |m: &Model| patterns.is_empty() || patterns.iter().any(|p| like(p, &m.name));
    let mut models = fleet.models.iter().filter(|m| is_for(m)).peekable();
    // That no model is meant is told already.
    if models.peek().is_none() {
        return;
    }
    let channel = models.any(|m| m.provider.has_several_channels());
    let arm = fleet.models.len() > 1;
    let to = table.text("to").unwrap_or("any");
    let more = "give its provider another [[provider.credential]] or [[provider.deployment]]";
    match (to, channel, arm) {
        ("channel", false, _) => warn(
            "to",
            format!(
                "to = \"channel\" sends nothing twice, since no provider of these models has a second channel; {more}, or write to = \"any\""
            ),
        ),
        ("arm", _, false) => warn(
            "to",
            "to = \"arm\" sends nothing twice, since there is one model alone; add another [[model]], or write to = \"any\"".to_owned(),
        ),
        ("any", false, false) => warn(
            "to",
            format!(
                "nothing is sent twice, since there is one model alone and its provider has no second channel; {more}, or take [hedge] out"
            ),
        ),
        _ => {}
    }
}

/// Percent as thousandths, from 1 to 1,000.
fn permille(percent: f64) -> u32 {
    let tenths = (percent * 10.0).round();
    (1..=1_000_u32)
        .find(|n| f64::from(*n) >= tenths)
        .unwrap_or(SHARE_PERMILLE)
}
