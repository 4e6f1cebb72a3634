//! `flyball learn`: what was learned of the models' evidence, and from outcomes.

use super::shown::table;
use super::{Common, books_at, noted, reading};
use crate::affinity::LearnedArm;
use crate::config::Needs;
use crate::learn::overnight::Arms;
use crate::learn::shelf::{self, MadeAbilities};
use crate::ledger::books;
use crate::ledger::judged::JudgedBy;
use crate::ledger::now_ms;
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
    /// Learn now from the outcomes in the books; what comes of it is used only where it is better on outcomes that it has not seen
    #[command(after_help = "Example:\n  flyball learn run")]
    Run {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to what was in force before the last overlay that was learned
    #[command(after_help = "Examples:\n  flyball learn undo\n  flyball learn undo --abilities")]
    Undo {
        /// Back to what is known of models without outcomes, instead
        #[arg(long)]
        abilities: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the last ten overlays that were learned, with their figures
    #[command(after_help = "Example:\n  flyball learn list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget all of it, overlays too; a flyball that runs goes on with what it knows until it is started anew
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
        LearnCommand::Run { json } => learn_now(common, books.as_mut(), *json),
        LearnCommand::Undo {
            abilities: true,
            json,
        } => undo_abilities(books.as_mut(), *json),
        LearnCommand::Undo { json, .. } => undo(books.as_mut(), *json),
        LearnCommand::List { json } => list(books.as_mut(), *json),
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
    if let Some(id) = shelf::in_force(books).map_err(|e| e.detail)?.id {
        println!(
            "Overlay {id}, learned from outcomes, is in force where flyball.toml has [learn]; `flyball learn list` shows its figures."
        );
    }
    if let Some(made) = shelf::abilities_in_force(books).map_err(|e| e.detail)? {
        println!(
            "Abilities of models, learned from outcomes, are in force where flyball.toml has [learn]. {}",
            made.learned.because
        );
        println!("{}", arms_shown(&made));
    }
    if arms.is_empty() {
        println!(
            "Nothing was learned so far of models that are asked first: no model was asked first. `probe = \"pays\"` in flyball.toml lets cheaper models answer first where that pays."
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

fn learn_now(common: &Common, books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    let config = reading(common, Needs::Models).ok();
    let known = config.as_ref().map(|config| config.fleet.abilities());
    let learning = config.and_then(|config| config.learning);
    let arms = learning.as_ref().and_then(|l| l.arms.clone());
    let arms = arms.map(|(weak, strong)| Arms { weak, strong });
    let known = known.unwrap_or_default();
    let both = shelf::learn_all(books, arms.as_ref(), &known, now_ms()).map_err(|e| e.detail)?;
    let told = shelf::all_told(&both)?;
    let (made, abilities) = both;
    if let Ok(made) = &made {
        let used = json!({"used": made.used});
        noted(books, "overlay learned", &made.id.to_string(), used)?;
    }
    if let Ok(made) = &abilities {
        let used = json!({"used": made.learned.used});
        noted(books, "abilities learned", "of models", used)?;
    }
    if as_json {
        println!("{told}");
        return Ok(());
    }
    match made {
        Ok(made) => println!(
            "Overlay {} of {} and {}. {}",
            made.id, made.arms.weak, made.arms.strong, made.because
        ),
        Err(why) => println!("No overlay was learned: {why}."),
    }
    match abilities {
        Ok(made) => {
            println!("Abilities of models. {}", made.learned.because);
            println!("{}", arms_shown(&made));
        }
        Err(why) => println!("No abilities of models were learned: {why}."),
    }
    match learning {
        None => println!("flyball.toml has no [learn], so no flyball goes by it."),
        Some(l) if l.own_fit => println!("[grader] overlay names a fit of your own, which wins."),
        Some(_) => {}
    }
    Ok(())
}

fn undo(books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    let now = shelf::undo(books).map_err(|e| e.detail)??;
    noted(
        books,
        "overlay undone",
        "the last",
        json!({"in_force": now.id}),
    )?;
    match (as_json, now.id) {
        (true, id) => println!("{}", json!({"in_force": id})),
        (false, Some(id)) => println!("Overlay {id} is in force again."),
        (false, None) => println!("The grader stands alone again."),
    }
    Ok(())
}

fn undo_abilities(books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    if !shelf::undo_abilities(books).map_err(|e| e.detail)? {
        return Err(
            "no abilities that were learned are in force, so there is nothing to undo".into(),
        );
    }
    noted(books, "abilities undone", "of models", json!({}))?;
    match as_json {
        true => println!("{}", json!({"abilities": {"in_force": null}})),
        false => {
            println!("Models are as able again as they were before anything was learned of them.")
        }
    }
    Ok(())
}

/// What the answers of each arm were worth that nothing was learned from.
fn arms_shown(made: &MadeAbilities) -> comfy_table::Table {
    let mut shown = table(&["arm", "answers held out", "expected", "was"]);
    for (arm, (answers, expected, was)) in &made.learned.figures.arms {
        let percent = |share: &f64| format!("{:.1} %", share * 100.0);
        shown.add_row([
            arm.clone(),
            answers.to_string(),
            percent(expected),
            percent(was),
        ]);
    }
    shown
}

fn list(books: &mut dyn Store, as_json: bool) -> Result<(), String> {
    let in_force = shelf::in_force(books).map_err(|e| e.detail)?.id;
    let made = shelf::list(books).map_err(|e| e.detail)?;
    if as_json {
        let made: Vec<Value> = made.iter().map(shelf::told).collect();
        println!("{}", json!({"in_force": in_force, "made": made}));
        return Ok(());
    }
    if made.is_empty() {
        println!(
            "No overlay was learned so far: `flyball learn run`, or `nightly = true` in [learn] of flyball.toml."
        );
        return Ok(());
    }
    let mut shown = table(&[
        "", "weak", "strong", "pairs", "votes", "held out", "APGR", "why",
    ]);
    for m in &made {
        let figures = &m.figures;
        shown.add_row([
            format!(
                "{}{}",
                m.id,
                if in_force == Some(m.id) {
                    " in force"
                } else {
                    ""
                }
            ),
            m.arms.weak.clone(),
            m.arms.strong.clone(),
            figures.learned.to_string(),
            figures.votes.to_string(),
            figures.held.to_string(),
            format!("{:.3} → {:.3}", figures.apgr.0, figures.apgr.1),
            m.because.clone(),
        ]);
    }
    println!("{shown}");
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
