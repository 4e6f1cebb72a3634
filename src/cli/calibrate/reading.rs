//! Where outcomes come from: a file, one JSON a line, or the books.

use super::By;
use crate::classify::{Difficulty, grade};
use crate::cli::grader;
use crate::config::Config;
use crate::fleet::{Arm, Fleet, default_effort, split_arm};
use crate::learn::calibrate::evidence::Judged;
use crate::learn::outcome::{self, Outcome};
use crate::ledger::judged::{JudgedAnswer, JudgedBy};
use crate::ledger::store::Store;
use crate::route::cost::{Forecast, expected};
use crate::route::standing::ConversationStanding;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a line says beside what every reader of outcomes wants to know.
#[derive(Deserialize)]
struct Costs {
    #[serde(default)]
    cost_usd: BTreeMap<String, Option<f64>>,
}

/// The outcomes of a file. An arm whose cost a line does not tell is priced by the configuration, where that has it.
pub(super) fn of_file(path: &Path, by: By, config: Option<&Config>) -> Result<Vec<Judged>, String> {
    let read = |line: &str| -> Result<(Outcome, Costs), String> {
        let line = grader::without_infinities(line);
        let outcome = outcome::read(&line)?;
        let costs: Costs = serde_json::from_str(&line).map_err(|e| e.to_string())?;
        let wrong = |c: &f64| !(c.is_finite() && *c >= 0.0);
        match costs.cost_usd.values().flatten().find(|c| wrong(c)) {
            Some(cost) => Err(format!("the cost {cost} is none")),
            None => Ok((outcome, costs)),
        }
    };
    let overlay = config.and_then(|c| c.overlay.as_deref());
    let mut arms: BTreeMap<String, Option<Arm>> = BTreeMap::new();
    let mut all = Vec::new();
    for (outcome, costs) in grader::lines_of(path, read)? {
        let difficulty = grade(&outcome.features, overlay);
        let group = match by {
            By::Label => [outcome.source.as_str(), outcome.task.as_str()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("/"),
            _ => match by.group(difficulty.task.name(), milli(difficulty.difficulty)) {
                Some(group) => group,
                None => continue,
            },
        };
        for (arm, score) in &outcome.scores {
            let known = arms
                .entry(arm.clone())
                .or_insert_with(|| config.and_then(|c| arm_named(&c.fleet, arm)));
            let told = costs.cost_usd.get(arm).copied().flatten();
            let cost = told.or_else(|| forecast(known.as_ref()?, &outcome, &difficulty));
            all.push(Judged {
                group: group.clone(),
                prompt: format!("{:016x}", outcome.prompt),
                arm: arm.clone(),
                score: *score,
                cost_usd: cost,
                by: JudgedBy::Compare,
                seen: 1.0,
                key: None,
            });
        }
    }
    match all.is_empty() {
        true => Err(format!("{} holds no outcome", path.display())),
        false => Ok(all),
    }
}

/// The arm of this name. The books name every effort, also that of a model that takes none.
pub(in crate::cli) fn arm_named(fleet: &Fleet, name: &str) -> Option<Arm> {
    fleet.arm(name).or_else(|| {
        let (model, effort) = split_arm(name);
        let model = Arc::clone(fleet.named(model)?);
        (effort == Some(default_effort(&model))).then_some(Arm {
            model,
            effort: None,
        })
    })
}

/// What an arm is expected to take for a prompt.
fn forecast(arm: &Arm, outcome: &Outcome, difficulty: &Difficulty) -> Option<f64> {
    let job = Forecast {
        features: &outcome.features,
        difficulty,
        limit: None,
        standing: ConversationStanding::alone(),
    };
    Some(super::traffic::usd(expected(arm, &job)?.now))
}

#[allow(clippy::cast_possible_truncation, reason = "a share is from 0 to 1")]
pub(super) fn milli(share: f64) -> i64 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() as i64
}

/// The outcomes of the books since an instant (milliseconds since 1970).
pub(super) fn of_books(
    store: &mut dyn Store,
    since_ms: i64,
    by: By,
) -> Result<Vec<Judged>, String> {
    let mut all = Vec::new();
    let mut add = |o: JudgedAnswer| {
        if o.at_ms < since_ms {
            return;
        }
        let Some(group) = by.group(&o.task, o.difficulty_milli) else {
            return;
        };
        all.push(Judged {
            group,
            arm: o.arm(),
            score: millionth(o.score_ppm),
            cost_usd: o.cost.map(super::traffic::usd),
            by: o.by,
            seen: millionth(o.seen_ppm),
            key: o.key,
            prompt: o.request,
        });
    };
    store.outcomes(&mut add).map_err(|e| e.detail)?;
    Ok(all)
}

fn millionth(ppm: i64) -> f64 {
    f64::from(i32::try_from(ppm.clamp(0, 1_000_000)).unwrap_or(0)) / 1e6
}

/// The task and the difficulty, in thousandths, of a prompt of these words.
pub(in crate::cli) fn graded(prompt: &str, config: Option<&Config>) -> (String, i64) {
    let features = outcome::measured(prompt);
    let difficulty = grade(&features, config.and_then(|c| c.overlay.as_deref()));
    (
        difficulty.task.name().to_owned(),
        milli(difficulty.difficulty),
    )
}
