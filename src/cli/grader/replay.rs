//! `flyball eval --replay`: what looking at the weak model's answer is worth, on answers that were recorded.

use super::super::shown::table;
use super::super::{Common, ServeArgs, joined};
use super::{EvalArgs, lines_of};
use crate::arm::Objective;
use crate::config::{self, Needs, Overrides};
use crate::learn::replay::{Replay, ReplayPoint, ReplayedPair, replay};
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Replay recorded answers of two models, one JSON a line: {"prompt", "system", "scores": {MODEL: 0..1}, "logprob": {MODEL: <= 0},
    /// "cost_usd": {MODEL: dollars}, "signal": "answer_logprob" or "asked"}; .gz too
    #[arg(long, value_name = "FILE", requires = "pair", conflicts_with_all = ["outcomes", "weak", "strong", "fit", "cross_validate", "robustness", "asks", "recipe", "chart"])]
    replay: Option<PathBuf>,
    /// With --replay: the model that is asked first, and the one that is asked where its answer shows that it should be
    #[arg(long, num_args = 2, value_names = ["WEAK", "STRONG"], requires = "replay")]
    pair: Vec<String>,
    /// With --replay: calibrate on so many of the rows, and measure on the others
    #[arg(long, value_name = "N", default_value_t = 0, requires = "replay")]
    labels: usize,
}

impl ReplayArgs {
    /// It is a replay.
    pub(super) fn asked(&self) -> bool {
        self.replay.is_some()
    }
}

pub(super) fn eval(common: &Common, args: &EvalArgs) -> Result<(), String> {
    let asked = &args.replay;
    let (Some(file), [weak, strong]) = (&asked.replay, &asked.pair[..]) else {
        return Err("--replay needs --pair WEAK STRONG".into());
    };
    let pair = ReplayedPair::named(weak, strong);
    let rows: Vec<_> = lines_of(file, |line| pair.read(line))?
        .into_iter()
        .flatten()
        .collect();
    if rows.is_empty() {
        return Err(format!(
            "{}: no row has scores of both \"{weak}\" and \"{strong}\"",
            file.display()
        ));
    }
    let objective = objective(common)?;
    let told = replay(&pair, rows, asked.labels, objective)?;
    if args.json {
        println!(
            "{}",
            serde_json::to_string(&told).expect("figures are JSON")
        );
        return Ok(());
    }
    print(&told, objective);
    Ok(())
}

/// The objective of the configuration that is named with `--config`; without one the usual.
fn objective(common: &Common) -> Result<Objective, String> {
    if common.config.is_none() {
        return Ok(Objective::default());
    }
    let overrides = Overrides {
        needs: Needs::Models,
        ..common.overrides(&ServeArgs::default())
    };
    let config = config::load(&overrides).map_err(|all| joined(&all))?;
    Ok(config.objective)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn print(told: &Replay, objective: Objective) {
    println!(
        "{} questions{}; {} is right in {} of them, {} in {}, and costs {} of it.",
        told.rows,
        match told.labels {
            0 => String::new(),
            labels => format!(" after {labels} labels"),
        },
        told.weak,
        percent(told.weak_quality),
        told.strong,
        percent(told.strong_quality),
        percent(told.weak_cost_share),
    );
    let mut ranks = table(&["chosen by", "APGR", "CPT80"]);
    for (name, ranking) in [
        ("the prompt's difficulty", told.prompt),
        ("the answer's evidence", told.evidence),
    ] {
        ranks.add_row([
            name.to_owned(),
            format!("{:.3}", ranking.apgr),
            format!("{:.1}", ranking.cpt80),
        ]);
    }
    println!("{ranks}");
    let kept = |quality: f64| percent(quality / told.strong_quality.max(f64::MIN_POSITIVE));
    let mut curve = table(&[
        "threshold",
        "quality kept",
        "cost of always strong",
        "escalated",
    ]);
    let row = |name: String, quality, cost_share, escalated| {
        [name, kept(quality), percent(cost_share), percent(escalated)]
    };
    let default = &told.default;
    curve.add_row(row(
        format!("by itself ({})", objective.name()),
        default.quality,
        default.cost_share,
        default.escalated,
    ));
    for point in &told.points {
        let ReplayPoint {
            threshold,
            quality,
            cost_share,
            escalated,
        } = *point;
        curve.add_row(row(
            format!("{threshold:.3}"),
            quality,
            cost_share,
            escalated,
        ));
    }
    println!("{curve}");
    if default.probed < 1.0 {
        println!(
            "The weak model was asked first on {} of the questions; elsewhere checking first would have cost more than it saves, and the strong model was asked at once.",
            percent(default.probed)
        );
    }
}
