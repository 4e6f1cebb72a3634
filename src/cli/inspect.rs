//! `flyball check`, `explain` and `classify`: what would happen, and why. Nothing is sent anywhere.

use super::house::{AppCall, Asking, House, place, said_by_a_user};
use super::{Common, ServeArgs, joined};
use crate::arm::Objective;
use crate::classify::model::{Grader, embedded};
use crate::classify::overlay::Overlay;
use crate::classify::{self, Difficulty, Features, Graded, grade_by};
use crate::config::{self, Config, Needs, Overrides};
use crate::dialect::{self, Dialect, Place};
use crate::error::Error;
use crate::learn::outcome;
use crate::ledger::books;
use crate::ledger::store::Key;
use crate::private::{Action, Class, Classes, Privacy};
use crate::process::settings_of;
use crate::route::{Decision, Policy, doubts, starter_tier};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use std::io::{BufRead, Write};

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The prompt, or - for standard input (a prompt or a whole request body)
    prompt: String,
    /// The model asked for
    #[arg(long, default_value = "auto")]
    model: String,
    /// cheap, balanced, best or fast
    #[arg(long)]
    objective: Option<String>,
    /// As with the header x-flyball-privacy: local
    #[arg(long)]
    private: bool,
    /// As with the header x-flyball-deadline, e.g. 10m
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// The dialect spoken [default: the one that a request body looks like]
    #[arg(long)]
    dialect: Option<String>,
    /// Model names to intercept
    #[arg(long, value_delimiter = ',')]
    intercept: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct ClassifyArgs {
    /// A prompt
    #[arg(required_unless_present = "jsonl")]
    prompt: Option<String>,
    /// Read one JSON a line from standard input: {"id", "prompt"}, {"id", "messages"} or a whole request body
    #[arg(long)]
    jsonl: bool,
    /// Show the grade of PROMPT as JSON
    #[arg(long, conflicts_with = "jsonl")]
    json: bool,
    /// An overlay that `flyball fit` wrote: "difficulty" and "gain" are then those of your weak and strong model
    #[arg(long, value_name = "FILE")]
    fit: Option<std::path::PathBuf>,
    /// Weights that `flyball train` wrote, instead of the built-in ones
    #[arg(long, value_name = "FILE")]
    weights: Option<std::path::PathBuf>,
}

pub(super) fn check(common: &Common, args: &CheckArgs) -> Result<(), String> {
    let config = load(common, &[], Needs::All)?;
    let house = House::new(&config);
    let policy = &house.policy;
    let mut wrong = Vec::new();
    let mut examples = 0;
    for rule in &policy.rules {
        for example in &rule.examples {
            examples += 1;
            if let Some(other) = caught_by_another(&house, &rule.name, example, rule.when.private) {
                wrong.push(format!(
                    "{}:{}: rule \"{}\": its example {example:?} is decided by \"{other}\"",
                    rule.file, rule.line, rule.name
                ));
            }
        }
    }
    let mut warnings = config.warnings.clone();
    warnings.extend(config.doubts_about_keys(&keys_of(&config)));
    warnings.extend(doubts(&policy.rules, &policy.fleet));
    if args.json {
        println!(
            "{}",
            json!({"models": config.fleet.models.len(), "rules": policy.rules.len(), "examples": examples, "catalogue": config.catalogue.version, "private": policy.privacy.as_ref().map(|p| json!({"detect": names(p.detector.settings().detect), "confidential": names(p.confidential), "words": p.detector.settings().words.len(), "patterns": p.detector.settings().patterns.len(), "action": match p.action { Action::Local => "local", Action::Refuse => "refuse" }})), "warnings": warnings, "wrong": wrong})
        );
    } else {
        println!(
            "providers {}, models {}, rules {}, examples {examples}, price catalogue {}",
            config.fleet.providers.len(),
            config.fleet.models.len(),
            policy.rules.len(),
            config.catalogue.version
        );
        if let Some(privacy) = &policy.privacy {
            println!("{}", looked_for(privacy));
        }
        for warning in &warnings {
            println!("warning: {warning}");
        }
        config
            .providers_note
            .iter()
            .for_each(|note| println!("{note}"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n"))
    }
}

/// The keys of the embedded ledger, if there is one. A shared one is not asked: `check` opens no connection.
fn keys_of(config: &Config) -> Vec<Key> {
    let settings = settings_of(config);
    if settings.shared.is_some() {
        return Vec::new();
    }
    let keys = books::open(&settings).and_then(|mut books| books.keys());
    keys.unwrap_or_default()
}

/// The rule that decides a rule's example, if it is not that rule.
fn caught_by_another(house: &House, name: &str, example: &str, private: bool) -> Option<String> {
    let dialect = dialect::ALL[0];
    let body = said_by_a_user(dialect, "auto", &spoken(example)).ok()?;
    let place = place(dialect.model_in_body(), "auto");
    let asked = Asking {
        dialect,
        body: &body,
        place: &place,
        objective: None,
        private,
        deadline: None,
    };
    let found = house.ask(&asked, |completion| completion.rule().name.clone());
    found.ok().filter(|found| found != name)
}

fn load(common: &Common, intercept: &[String], needs: Needs) -> Result<Config, String> {
    let serve = ServeArgs {
        intercept: intercept.to_vec(),
        ..ServeArgs::default()
    };
    let overrides = Overrides {
        needs,
        ..common.overrides(&serve)
    };
    config::load(&overrides).map_err(|all| joined(&all))
}

pub(super) fn explain(common: &Common, args: &ExplainArgs) -> Result<(), String> {
    // What would happen can be told without a key of any provider.
    let config = load(common, &args.intercept, Needs::Models)?;
    let house = House::new(&config);
    let dialect = args.dialect.as_deref().map(dialect_of).transpose()?;
    let objective = args
        .objective
        .as_deref()
        .map(|o| {
            Objective::parse(o).ok_or_else(|| {
                format!("there is no objective \"{o}\"; there are cheap, balanced, best and fast")
            })
        })
        .transpose()?;
    let (body, dialect, place) = body_of(args, dialect)?;
    let asking = Asking {
        dialect,
        body: &body,
        place: &place,
        objective,
        private: args.private,
        deadline: args.deadline.as_deref(),
    };
    let outcome = house.ask(&asking, |completion| {
        let decided = completion.decide(None);
        // What the first arm would be told, and whether a cap could bound it, is part of the answer: `serve` refuses there too.
        let checked = decided.as_ref().map_or(Ok(()), |routed| routed.check());
        let found = decided.as_ref().ok().map(|routed| &routed.decision);
        let graded = completion.graded();
        let detected = completion.detected();
        show(
            args.json,
            (graded, detected),
            &house.policy,
            found,
            &checked,
        );
        decided.map(drop).and(checked)
    });
    let outcome = outcome.map_err(|e| e.public)?;
    outcome.map_err(|e| format!("refused: {}", e.public))
}

/// A prompt alone.
fn spoken(prompt: &str) -> AppCall<'_> {
    AppCall {
        system: None,
        prompt,
    }
}

fn dialect_of(name: &str) -> Result<&'static dyn Dialect, String> {
    dialect::named(name).ok_or_else(|| {
        let all: Vec<&str> = dialect::ALL.iter().map(|d| d.name()).collect();
        format!(
            "there is no dialect \"{name}\"; there are {}",
            all.join(", ")
        )
    })
}

/// A whole request body as it is, in the dialect asked for or else the one that it looks like, or one made around the prompt.
fn body_of<'a>(
    args: &'a ExplainArgs,
    asked: Option<&'static dyn Dialect>,
) -> Result<(Bytes, &'static dyn Dialect, Place<'a>), String> {
    let prompt = match args.prompt.as_str() {
        "-" => {
            std::io::read_to_string(std::io::stdin()).map_err(|e| format!("standard input: {e}"))?
        }
        prompt => prompt.to_owned(),
    };
    let body = serde_json::from_str::<serde_json::Map<_, _>>(&prompt).ok();
    if let Some((body, guessed)) = body.and_then(|b| dialect::guessed(&b).map(|d| (b, d))) {
        let dialect = asked.unwrap_or(guessed);
        let named = dialect.model_in_body() && body.contains_key("model");
        return Ok((Bytes::from(prompt), dialect, place(named, &args.model)));
    }
    let dialect = asked.unwrap_or(dialect::ALL[0]);
    let body = said_by_a_user(dialect, &args.model, &spoken(&prompt))?;
    Ok((body, dialect, place(dialect.model_in_body(), &args.model)))
}

fn show(
    as_json: bool,
    (graded, detected): (&Graded, Classes),
    policy: &Policy,
    found: Option<&Decision>,
    checked: &Result<(), Error>,
) {
    let Graded {
        features,
        difficulty,
    } = graded;
    let considered: Vec<Value> = found.iter().flat_map(|d| &d.considered).map(|c| json!({"arm": c.arm.to_string(), "expected_usd": c.expected.map(|e| e.now.usd_text()), "with_what_follows_usd": c.expected.map(|e| e.total().usd_text()), "chance": c.chance.map(rounded), "verdict": c.verdict})).collect();
    let attempts: Vec<String> = found
        .iter()
        .flat_map(|d| &d.attempts)
        .map(ToString::to_string)
        .collect();
    let rule = found.and_then(|d| policy.rules.iter().find(|r| r.name == d.rule));
    if as_json {
        let signals: serde_json::Map<String, Value> = features
            .named()
            .filter(|(_, v)| *v != 0.0)
            .map(|(n, v)| (n.to_owned(), json!(rounded(v))))
            .collect();
        println!(
            "{}",
            json!({"task": difficulty.task.name(), "difficulty": rounded(difficulty.difficulty), "failure": rounded(difficulty.failure), "gain": rounded(difficulty.gain), "confidence": rounded(difficulty.confidence), "private": names(detected), "rule": found.map(|d| &d.rule), "attempts": attempts, "asks_first": found.and_then(|d| d.probe.as_ref()).map(|p| json!({"arm": p.arm.to_string(), "goes_on": rounded(p.goes_on), "expected_usd": p.expected.usd_text()})), "baseline": found.map(|d| d.baseline.to_string()), "considered": considered, "model_unknown": found.and_then(|d| d.unknown.as_ref()).map(ToString::to_string), "refused": checked.as_ref().err().map(|e| &e.public), "features": signals})
        );
        return;
    }
    println!(
        "task        {} (confidence {:.2})",
        difficulty.task.name(),
        difficulty.confidence
    );
    println!(
        "difficulty  {:.2} (a stronger model is expected to add {:+.2})",
        difficulty.difficulty, difficulty.gain
    );
    let signals: Vec<String> = features
        .named()
        .filter(|(_, v)| *v != 0.0)
        .map(|(n, v)| format!("{n} {}", rounded(v)))
        .collect();
    println!("signals     {}", signals.join(", "));
    if !detected.is_empty() {
        println!("found       {detected}{}", what_follows(policy, detected));
    }
    if let Some(decision) = found {
        if let Some(unknown) = &decision.unknown {
            println!("unknown     no model of this name is known: {unknown}");
        }
        println!(
            "rule        {}{}",
            decision.rule,
            rule.map_or_else(String::new, |r| format!(
                " ({}:{}): {}",
                r.file, r.line, r.why
            ))
        );
        if let Some(probe) = &decision.probe {
            println!(
                "asks first  {}; about {:.0} % of such answers are gone on from, and both together cost {} on average",
                probe.arm,
                probe.goes_on * 100.0,
                probe.expected
            );
        }
        println!("goes to     {}", attempts.join(", then "));
        println!("baseline    {}", decision.baseline);
        let mut table = super::shown::table(&["arm", "chance", "expected cost", "verdict"]);
        for c in decision.considered.iter().take(ARMS_SHOWN) {
            table.add_row([
                c.arm.to_string(),
                c.chance.map_or_else(String::new, |c| format!("{c:.2}")),
                c.expected.map_or_else(String::new, |e| e.now.to_string()),
                c.verdict.to_owned(),
            ]);
        }
        println!("{table}");
        let more = decision.considered.len().saturating_sub(ARMS_SHOWN);
        if more > 0 {
            println!("and {more} more, which --json shows");
        }
    }
}

/// The names of classes.
fn names(classes: Classes) -> Vec<&'static str> {
    classes.iter().map(Class::name).collect()
}

/// What follows from what was found.
fn what_follows(policy: &Policy, found: Classes) -> &'static str {
    let confidential = policy.privacy.as_ref();
    match confidential.is_some_and(|p| !found.within(p.confidential).is_empty()) {
        true => ": it is confidential and stays on local models",
        false => "",
    }
}

/// What is looked for, in one line.
fn looked_for(privacy: &Privacy) -> String {
    let settings = privacy.detector.settings();
    let action = match privacy.action {
        Action::Local => "stays on local models",
        Action::Refuse => "is refused",
    };
    let confidential = match privacy.confidential.is_empty() {
        true => String::new(),
        false => format!("; what holds {} {action}", privacy.confidential),
    };
    format!(
        "looked for: {}, with {} words and {} patterns of your own{confidential}",
        settings.detect,
        settings.words.len(),
        settings.patterns.len()
    )
}

/// Arms that are shown to people, best first.
const ARMS_SHOWN: usize = 12;

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

pub(super) fn classify(args: &ClassifyArgs) -> Result<(), String> {
    let overlay = args
        .fit
        .as_deref()
        .map(super::grader::overlay_of)
        .transpose()?;
    let trained = args.weights.as_deref().map(weights).transpose()?;
    let by = By {
        grader: trained.as_ref().unwrap_or(embedded()),
        overlay: overlay.as_ref(),
    };
    if let (false, Some(prompt)) = (args.jsonl, &args.prompt) {
        let features = outcome::measured(prompt);
        if args.json {
            println!("{}", by.line(&Value::Null, &features));
        } else {
            by.show(&features);
        }
        return Ok(());
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (number, text) in std::io::stdin().lock().lines().enumerate() {
        let text = text.map_err(|e| format!("line {}: {e}", number + 1))?;
        if text.trim().is_empty() {
            continue;
        }
        let row = one_line(&text, &by).map_err(|why| format!("line {}: {why}", number + 1))?;
        if writeln!(out, "{row}").is_err() {
            // A reader that has seen enough (`| head`) is no mistake.
            return Ok(());
        }
    }
    Ok(())
}

fn one_line(text: &str, by: &By<'_>) -> Result<Value, String> {
    let row: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let id = row.get("id").cloned().unwrap_or(Value::Null);
    if let Some(prompt) = row.get("prompt").and_then(Value::as_str) {
        return Ok(by.line(&id, &outcome::measured(prompt)));
    }
    let mut body = row;
    let object = body.as_object_mut().ok_or("it is no JSON object")?;
    let dialect = dialect::guessed(object)
        .ok_or("it has neither \"prompt\" nor \"messages\", \"input\" or \"contents\"")?;
    object.remove("id");
    object.entry("model").or_insert_with(|| "auto".into());
    if let Some(field) = dialect.needs_limit() {
        object.entry(field).or_insert_with(|| 1024.into());
    }
    let text = body.to_string();
    let request = dialect.decode_at(text.as_bytes(), &place(dialect.model_in_body(), "auto"));
    let request = request.map_err(|e| e.public)?;
    Ok(by.line(&id, &classify::measure(&request.prompt)))
}

/// `tier` is where the starter rules send such a prompt with one model in every tier.
fn weights(path: &std::path::Path) -> Result<Grader, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Grader::read(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// What prompts are graded by.
struct By<'a> {
    grader: &'a Grader,
    overlay: Option<&'a Overlay>,
}

impl By<'_> {
    fn grade(&self, features: &Features) -> Difficulty {
        grade_by(self.grader, features, self.overlay)
    }

    /// A grade for somebody who reads it, with the signals that are not zero.
    fn show(&self, features: &Features) {
        let difficulty = self.grade(features);
        println!(
            "task        {} (confidence {:.2})",
            difficulty.task.name(),
            difficulty.confidence
        );
        println!(
            "difficulty  {:.2} ({:.2} by outcomes alone)",
            difficulty.difficulty, difficulty.failure
        );
        println!("gain        {:+.2}", difficulty.gain);
        println!(
            "tier        {} (by the starter rules)",
            starter_tier(&difficulty, features).name()
        );
        println!("signals");
        for (name, value) in features.named().map(|(n, v)| (n, rounded(v))) {
            if value != 0.0 {
                println!("  {name:<22} {value}");
            }
        }
    }

    fn line(&self, id: &Value, features: &Features) -> Value {
        let difficulty = self.grade(features);
        let values: serde_json::Map<String, Value> = features
            .named()
            .map(|(n, v)| (n.to_owned(), json!(rounded(v))))
            .collect();
        // Not rounded: whoever orders prompts by them should find no ties.
        json!({
            "id": id,
            "difficulty": difficulty.difficulty,
            "failure": difficulty.failure,
            "gain": difficulty.gain,
            "confidence": rounded(difficulty.confidence),
            "task": difficulty.task.name(),
            "tier": starter_tier(&difficulty, features).name(),
            "features": values,
        })
    }
}
