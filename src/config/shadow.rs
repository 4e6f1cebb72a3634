//! `[shadow]`: the share of live traffic that another arm is asked as well, what that may cost, and who judges.

use super::Reading;
use super::caps::own_cap;
use crate::fleet::Fleet;
use crate::ledger::cap::Cap;
use crate::ledger::cap::SHADOWING;
use crate::ledger::window::{Window, Zone};
use crate::money::PicoUsd;
use crate::reader::Table;
use crate::route::Shadowing;
use crate::route::policy;
use std::sync::Arc;

/// What a shadow may cost a day where the operator says nothing: a dollar.
const USD: PicoUsd = PicoUsd(1_000_000_000_000);

/// The settings, with the cap that holds them; nothing where nothing is shadowed.
pub(super) fn shadow(
    reading: &Reading<'_>,
    top: &Table<'_>,
    zone: &Zone,
    fleet: Option<&Fleet>,
) -> Option<(Arc<Shadowing>, Cap)> {
    let mut table = top.table("shadow")?;
    table.call("[shadow]".to_owned());
    let share_ppm = share(&table);
    let arms = arms(&table, fleet);
    let judge = table.text("judge").map(str::to_owned);
    if let (Some(judge), Some(fleet)) = (&judge, fleet) {
        known(&table, "judge", judge, fleet);
    }
    let keep_prompts = table.flag("keep_prompts").unwrap_or(false);
    let most = table.money("cap_usd").unwrap_or(USD);
    let windows = Window::ALL.map(|w| (w.name(), w));
    let window = table.choice("cap_window", "window", &windows);
    if share_ppm > 0 && most == PicoUsd::ZERO {
        let place = table.place("cap_usd");
        reading.warn(format!(
            "{place}: [shadow] cap_usd is 0, so only arms that cost nothing are asked"
        ));
    }
    table.finish();
    if arms.is_empty() {
        return None;
    }
    let settings = Shadowing {
        share_ppm,
        arms,
        judge,
        keep_prompts,
    };
    let cap = own_cap(SHADOWING, window.unwrap_or(Window::Day), zone, most);
    Some((Arc::new(settings), cap))
}

/// The share of requests, in millionths.
fn share(table: &Table<'_>) -> u32 {
    let share = table.number("share").unwrap_or(0.01);
    if !(0.0..=1.0).contains(&share) {
        let text = format_args!("share {share} is not from 0 to 1");
        let help = "0.01 is one request of a hundred".to_owned();
        table.complain("share", text, Some(help));
        return 0;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to a million"
    )]
    let ppm = (share * 1e6).round() as u32;
    ppm
}

fn arms(table: &Table<'_>, fleet: Option<&Fleet>) -> Vec<String> {
    let several = table.words("arms").unwrap_or_default();
    let one = table.text("arm").map(str::to_owned);
    let arms: Vec<String> = one
        .into_iter()
        .chain(several.into_iter().map(|word| word.text))
        .collect();
    if arms.is_empty() {
        let help = "say which arm is asked as well: arm = \"gpt-5-nano\"".to_owned();
        table.complain("arm", "arm is missing", Some(help));
    }
    let key = if table.has("arms") { "arms" } else { "arm" };
    for arm in &arms {
        if let Some(fleet) = fleet {
            known(table, key, arm, fleet);
        }
    }
    arms
}

fn known(table: &Table<'_>, key: &str, arm: &str, fleet: &Fleet) {
    match fleet.arm(arm) {
        None => {
            let (why, help) = policy::no_arm(fleet, arm);
            table.complain(key, format_args!("{key}: {why}"), help);
        }
        Some(arm) if arm.model.embeds => {
            let name = &arm.model.name;
            let text = format_args!("{key}: \"{name}\" makes embeddings only");
            table.complain(key, text, None);
        }
        Some(_) => {}
    }
}
