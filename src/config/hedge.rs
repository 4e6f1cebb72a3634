//! `[hedge]`: when a request that waits long for its answer is sent a second time.

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

/// Percent as thousandths, from 1 to 1,000.
fn permille(percent: f64) -> u32 {
    let tenths = (percent * 10.0).round();
    (1..=1_000_u32)
        .find(|n| f64::from(*n) >= tenths)
        .unwrap_or(SHARE_PERMILLE)
}
