//! `flyball learn`: what was learned of the models' evidence.

use super::shown::table;
use super::{Common, books_at};
use crate::affinity::LearnedArm;
use crate::ledger::books;
use crate::ledger::judged::JudgedBy;
use crate::ledger::store::Store;
use clap::Subcommand;
use serde_json::{Value, json};

#[derive(Subcommand, Debug)]
pub(super) enum LearnCommand {
    /// Show what was learned of each model that was asked first: how often its answers were looked at, and what they are worth
    #[command(after_help = "Example:\n  flyball learn status --json")]
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget all of it; a flyball that runs goes on with what it knows until it is started anew
    #[command(after_help = "Examples:\n  flyball learn forget\n  flyball learn forget --outcomes")]
    Forget {
        /// The outcomes instead: what feedback, comparisons and explored requests have said of answers
        #[arg(long)]
        outcomes: bool,
    },
}

pub(super) fn run(common: &Common, command: &LearnCommand) -> Result<(), String> {
    let mut books = books::open(&books_at(common)?).map_err(|e| e.detail)?;
    match command {
        LearnCommand::Status { json } => status(books.as_mut(), *json),
        LearnCommand::Forget { outcomes: true } => {
            let gone = books.forget_outcomes().map_err(|e| e.detail)?;
            println!("{gone} outcomes forgotten");
            Ok(())
        }
        LearnCommand::Forget { outcomes: false } => {
            let gone = books.forget_learned().map_err(|e| e.detail)?;
            super::noted(
                books.as_mut(),
                "learned forgotten",
                "everything",
                json!({"entries": gone}),
            )?;
            println!("{gone} entries forgotten");
            Ok(())
        }
    }
}

fn status(books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    let kept = books.learned().map_err(|e| e.detail)?;
    let arms: Vec<LearnedArm> = kept
        .iter()
        .filter_map(|(_, value)| serde_json::from_str(value).ok())
        .collect();
    if as_json {
        println!("{}", Value::Array(arms.iter().map(one).collect()));
        return Ok(());
    }
    outcomes(books)?;
    if arms.is_empty() {
        println!(
            "Nothing was learned so far: no model was asked first. `probe = \"pays\"` in flyball.toml lets cheaper models answer first where that pays."
        );
        return Ok(());
    }
    let mut shown = table(&[
        "model", "effort", "evidence", "answers", "labels", "it says", "shift", "drifts",
    ]);
    for arm in &arms {
        let calibration = &arm.calibration;
        shown.add_row([
            arm.model.clone(),
            arm.effort.clone(),
            arm.scale.name().to_owned(),
            format!("{:.0}", calibration.answers()),
            calibration.labels().to_string(),
            format!("{:.1} %", calibration.said() * 100.0),
            format!("{:+.2}", calibration.curve().shift()),
            calibration.drifts().to_string(),
        ]);
    }
    println!("{shown}");
    println!(
        "It says: how likely the model takes its own answers to be right, on average. Shift: what is added to the log-odds that are left of it. Labels: answers that a better model's answer was compared with. Drifts: how often its answers were found to have become those of another model, and it was learned anew."
    );
    Ok(())
}

/// How many outcomes there are, by who says so.
fn outcomes(books: &mut dyn Store) -> Result<(), String> {
    let mut counts = [0_u64; JudgedBy::ALL.len()];
    books
        .outcomes(&mut |o| {
            let place = JudgedBy::ALL.iter().position(|by| *by == o.by);
            counts[place.unwrap_or_default()] += 1;
        })
        .map_err(|e| e.detail)?;
    let told = JudgedBy::ALL.iter().zip(counts).filter(|(_, n)| *n > 0);
    let told: Vec<String> = told
        .map(|(by, n)| format!("{n} by {}", by.name()))
        .collect();
    if !told.is_empty() {
        println!(
            "Outcomes, from which `flyball calibrate` tells which arm is good enough: {}.",
            told.join(", ")
        );
    }
    Ok(())
}

fn one(arm: &LearnedArm) -> Value {
    let calibration = &arm.calibration;
    json!({
        "model": arm.model, "effort": arm.effort, "evidence": arm.scale.name(),
        "answers": calibration.answers().round(), "labels": calibration.labels(),
        "says": calibration.said(), "shift": calibration.curve().shift(),
        "drifts": calibration.drifts(),
    })
}
