//! `[learn]`: whether flyball learns from the outcomes in its books, when, and about which arms.

use super::Reading;
use crate::fleet::Fleet;
use crate::reader::Table;
use crate::route::Learning;
use crate::route::policy;
use std::sync::Arc;

/// Three at night.
const AT: u32 = 180;

/// The settings; nothing where nothing is learned. `own_fit`: `[grader] overlay` names one, which wins.
pub(super) fn learn(
    reading: &Reading<'_>,
    top: &Table<'_>,
    fleet: Option<&Fleet>,
    own_fit: bool,
) -> Option<Arc<Learning>> {
    let mut table = top.table("learn")?;
    table.call("[learn]".to_owned());
    let nightly = table.flag("nightly").unwrap_or(false);
    let at = at(&table);
    let implicit = table.flag("implicit").unwrap_or(false);
    let arm = |key: &'static str| {
        let text = table.text(key)?;
        let fleet = fleet?;
        match fleet.arm(text) {
            Some(arm) => Some(format!("{}@{}", arm.model.name, arm.effort_or(None).name())),
            None => {
                let (why, help) = policy::no_arm(fleet, text);
                table.complain(key, format_args!("{key}: {why}"), help);
                None
            }
        }
    };
    let (weak, strong) = (arm("weak"), arm("strong"));
    if table.has("weak") != table.has("strong") {
        let key = if table.has("weak") { "weak" } else { "strong" };
        let help =
            "name both arms, or none: then those are taken whose answers were compared most often"
                .to_owned();
        table.complain(key, "weak and strong belong together", Some(help));
    }
    if nightly && own_fit {
        let place = table.place("nightly");
        reading.warn(format!(
            "{place}: [learn] nightly does nothing: [grader] overlay names a fit of your own, which wins"
        ));
    }
    table.finish();
    Some(Arc::new(Learning {
        nightly_at: nightly.then_some(at),
        arms: weak.zip(strong),
        implicit,
        own_fit,
    }))
}

/// `"03:00"` in minutes after midnight.
fn at(table: &Table<'_>) -> u32 {
    let Some(text) = table.text("at") else {
        return AT;
    };
    let read = |text: &str, most: u32| {
        let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|n| two && *n < most)
    };
    let time = text
        .split_once(':')
        .and_then(|(hour, minute)| Some(read(hour, 24)? * 60 + read(minute, 60)?));
    if time.is_none() {
        let help = "write hours and minutes, like \"03:00\"".to_owned();
        table.complain(
            "at",
            format_args!("at: \"{text}\" is no time of day"),
            Some(help),
        );
    }
    time.unwrap_or(AT)
}
