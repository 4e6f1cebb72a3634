//! `flyball eval --policy`: recorded outcomes, replayed through the decision that `serve` makes with a configuration. Opens no ledger and
//! sends nothing.

mod names;
mod shown;

use super::super::house::{AppCall, Asking, House, place, said_by_a_user};
use super::super::{Common, reading};
use super::{EvalArgs, lines_of, outcome};
use crate::arm::Objective;
use crate::chat::Usage;
use crate::config::{Config, Needs};
use crate::dialect;
use crate::exchange::completion::Completion;
use crate::fleet::Arm;
use crate::learn::policy::{self, Answer, Choice, Ends, Question, Report};
use crate::money::{PICO_PER_USD, PicoUsd};
use crate::route::cost::{self, Forecast};
use crate::route::policy::{Rule, Target};
use crate::route::standing::ConversationStanding;
use crate::route::{Decision, Policy};
use clap::Args;
use names::{Entrant, Names, fleet_of, place_of};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args, Debug)]
pub(super) struct PolicyArgs {
    /// A flyball.toml: decide every outcome's prompt as "auto" would with its models, prices, rules and overlay, and tell quality and cost
    /// beside always one model, chance and length; --weak and --strong pin the models of those [default: the cheapest and the best]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cross_validate", "robustness", "fit", "asks", "recipe"])]
    policy: Option<PathBuf>,
    /// With --policy: what the outcomes call a model of the policy, or one of its efforts; once for each model whose names differ
    #[arg(
        long = "as",
        requires = "policy",
        value_name = "POLICY_MODEL[@EFFORT]=OUTCOME_NAME"
    )]
    named: Vec<String>,
}

impl PolicyArgs {
    pub(super) fn file(&self) -> Option<&Path> {
        self.policy.as_deref()
    }
}

/// The floors of the curve are so many equal steps from 0 to 1.
const FLOOR_STEPS: u32 = 50;
/// The part of always-strong's quality whose cost is told.
const KEPT: f64 = 0.95;

/// A row of the outcomes with what a request and its cost are made of.
struct Row {
    prompt: String,
    system: Option<String>,
    source: String,
    chars: usize,
    scores: BTreeMap<String, f64>,
    tokens: BTreeMap<String, (u64, u64)>,
    cost_usd: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct RowLine {
    prompt: String,
    #[serde(default)]
    system: Option<String>,
    #[serde(default)]
    tokens: BTreeMap<String, Option<(u64, u64)>>,
    #[serde(default)]
    cost_usd: BTreeMap<String, Option<f64>>,
}

impl Row {
    fn read(text: &str) -> Result<Row, String> {
        let text = &*without_infinities(text);
        let outcome = outcome::read(text)?;
        let line: RowLine = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let cost_usd = told(line.cost_usd);
        if let Some((model, cost)) = cost_usd.iter().find(|(_, c)| **c < 0.0) {
            return Err(format!("the cost of {model} is below 0: {cost}"));
        }
        Ok(Row {
            prompt: line.prompt,
            system: line.system.filter(|s| !s.is_empty()),
            source: outcome.source,
            chars: outcome.chars,
            scores: outcome.scores,
            tokens: told(line.tokens),
            cost_usd,
        })
    }

    /// What this row's costs are told from: one of them for all of its models, so that no two are compared by different measures.
    fn basis(&self, entrants: &[Entrant]) -> Basis {
        let names = || entrants.iter().map(|e| &e.outcome);
        let mut scored = names().filter(|n| self.scores.contains_key(*n));
        if scored.clone().all(|n| self.cost_usd.contains_key(n)) {
            return Basis::Told;
        }
        match scored.all(|n| self.tokens.contains_key(n)) {
            true => Basis::Tokens,
            false => Basis::Expected,
        }
    }
}

/// Numbers that Python writes and JSON does not have, such as the log-probability of what cannot be, as null. No figure is made of them.
pub(in crate::cli) fn without_infinities(text: &str) -> Cow<'_, str> {
    const FOREIGN: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    if !FOREIGN.iter().any(|word| text.contains(word)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quoted = false;
    while let Some(letter) = rest.chars().next() {
        let foreign = FOREIGN.iter().find(|word| rest.starts_with(**word));
        if let (Some(word), false) = (foreign, quoted) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        quoted ^= letter == '"';
        let escape = quoted && letter == '\\';
        let taken = rest.chars().take(1 + usize::from(escape));
        let taken = taken.map(char::len_utf8).sum();
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(out)
}

fn told<T>(values: BTreeMap<String, Option<T>>) -> BTreeMap<String, T> {
    let told = |(model, value): (String, Option<T>)| Some((model, value?));
    values.into_iter().filter_map(told).collect()
}

/// What a cost is told from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// The row says it.
    Told,
    /// The row says the tokens, the policy their price.
    Tokens,
    /// It is what flyball expects before the answer.
    Expected,
}

/// The objectives that are told: the policy's own too, whichever it is.
fn objectives(own: Objective) -> Vec<Objective> {
    let told = [Objective::Cheap, Objective::Balanced, Objective::Best];
    let own = Some(own).filter(|own| !told.contains(own));
    told.into_iter().chain(own).collect()
}

/// The policy, once for every way of deciding that is told: by objective, then by floor.
fn ways(policy: &Policy) -> Vec<Policy> {
    let by_objective = objectives(policy.objective).into_iter();
    let by_objective = by_objective.map(|objective| Policy {
        objective,
        ..policy.clone()
    });
    let by_floor = floors().map(|floor| floored(policy, floor));
    by_objective.chain(by_floor).collect()
}

/// The floors of the curve.
fn floors() -> impl Iterator<Item = f64> {
    (0..=FLOOR_STEPS).map(|step| f64::from(step) / f64::from(FLOOR_STEPS))
}

/// The same policy where every rule that leaves the arm to worth and cost says this floor.
fn floored(policy: &Policy, floor: f64) -> Policy {
    let rule = |rule: &Arc<Rule>| {
        let mut rule = Rule::clone(rule);
        if let Target::Within(..) = rule.route.to {
            rule.route.floor = Some(floor);
        }
        Arc::new(rule)
    };
    Policy {
        rules: policy.rules.iter().map(rule).collect(),
        ..policy.clone()
    }
}

/// One source of the outcomes, decided and weighed.
struct Source {
    name: String,
    /// Places of the entrants that have outcomes here.
    entrants: Vec<usize>,
    ends: Ends,
    report: Report,
    refused: Refused,
    /// Rows by what their costs are told from: the row, its tokens, what is expected.
    basis: [usize; 3],
}

/// Rows for which the policy has no arm.
#[derive(Default)]
struct Refused {
    rows: usize,
    why: Option<String>,
}

/// Everything that is shown.
struct Replay {
    objective: Objective,
    objectives: Vec<Objective>,
    entrants: Vec<Entrant>,
    /// Models of the policy without outcomes.
    left_out: Vec<String>,
    sources: Vec<Source>,
    /// Sources with fewer than two of the models, and their rows.
    unmatched: Vec<(String, usize)>,
}

pub(super) fn eval(common: &Common, args: &EvalArgs, file: &Path) -> Result<(), String> {
    let common = Common {
        config: Some(file.to_owned()),
        ..common.clone()
    };
    // What would be decided can be told without a key of any provider.
    let config = reading(&common, Needs::Models)?;
    let rows = lines_of(args.outcomes(), Row::read)?;
    let replay = replayed(args, &config, &rows)?;
    if let Some(path) = &args.chart {
        shown::chart(path, &replay)?;
    }
    match args.json {
        true => println!("{}", shown::json(&replay)),
        false => shown::table(&replay),
    }
    Ok(())
}

fn replayed(args: &EvalArgs, config: &Config, rows: &[Row]) -> Result<Replay, String> {
    let known: BTreeSet<String> = rows.iter().flat_map(|r| r.scores.keys().cloned()).collect();
    let names = Names {
        fleet: &config.fleet,
        known: &known,
    };
    let entrants = names.matched(&args.policy.named)?;
    let pinned = Pinned {
        weak: named(&entrants, args.weak.as_deref())?,
        strong: named(&entrants, args.strong.as_deref())?,
    };
    let mut replay = Replay {
        objective: config.objective,
        objectives: objectives(config.objective),
        left_out: left_out(config, &entrants),
        entrants,
        sources: Vec::new(),
        unmatched: Vec::new(),
    };
    for (name, rows) in by_source(rows) {
        let scored = |e: &Entrant| rows.iter().any(|r| r.scores.contains_key(&e.outcome));
        let here = replay.entrants.iter().enumerate();
        let here: Vec<usize> = here.filter(|(_, e)| scored(e)).map(|(at, _)| at).collect();
        match here.len() {
            0 | 1 => replay.unmatched.push((name.to_owned(), rows.len())),
            _ => {
                let source = trial(config, &replay.entrants, here, pinned, (name, &rows))?;
                replay.sources.push(source);
            }
        }
    }
    match replay.sources.is_empty() {
        true => Err(names.too_few(&replay.entrants)),
        false => Ok(replay),
    }
}

fn by_source(rows: &[Row]) -> BTreeMap<&str, Vec<&Row>> {
    let mut sources: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        sources.entry(&row.source).or_default().push(row);
    }
    sources
}

/// The ends that the command line names, by place.
#[derive(Clone, Copy)]
struct Pinned {
    weak: Option<usize>,
    strong: Option<usize>,
}

/// The entrant that the outcomes or the policy call so.
fn named(entrants: &[Entrant], name: Option<&str>) -> Result<Option<usize>, String> {
    let Some(name) = name else {
        return Ok(None);
    };
    let called = |e: &Entrant| e.outcome == name || e.arm.to_string() == name;
    let place = entrants.iter().position(called).ok_or_else(|| {
        let all: Vec<&str> = entrants.iter().map(|e| e.outcome.as_str()).collect();
        format!(
            "\"{name}\" is no model of the policy that has outcomes; there are {}",
            all.join(", ")
        )
    });
    place.map(Some)
}

fn left_out(config: &Config, entrants: &[Entrant]) -> Vec<String> {
    let has = |name: &str| entrants.iter().any(|e| e.arm.model.name == name);
    let models = config.fleet.models.iter().filter(|m| !m.embeds);
    let left = models.filter(|m| !has(&m.name));
    left.map(|m| m.name.clone()).collect()
}

/// Decides every row of a source in every way, with the models alone that have outcomes in it.
fn trial(
    config: &Config,
    entrants: &[Entrant],
    here: Vec<usize>,
    pinned: Pinned,
    (name, rows): (&str, &[&Row]),
) -> Result<Source, String> {
    let present: Vec<&Entrant> = here.iter().map(|at| &entrants[*at]).collect();
    let house = House::new(&Config {
        fleet: fleet_of(&config.fleet, &present),
        ..config.clone()
    });
    let ways = ways(&house.policy);
    let mut questions = Vec::with_capacity(rows.len());
    let mut refused = Refused::default();
    let mut basis = [0; 3];
    for row in rows {
        let from = row.basis(entrants);
        priced(entrants, row, from)?;
        match question(&house, &ways, entrants, (row, from))? {
            Ok(question) => {
                basis[from as usize] += 1;
                questions.push(question);
            }
            Err(why) => {
                refused.rows += 1;
                refused.why.get_or_insert(why);
            }
        }
    }
    let uncounted = || {
        let why = refused.why.as_deref();
        let why = why.unwrap_or("none has scores of all models that were chosen");
        format!("no row of {} can be counted: {why}", shown::source(name))
    };
    let found = policy::ends(&questions).ok_or_else(uncounted)?;
    let ends = Ends {
        weak: pinned
            .weak
            .filter(|at| here.contains(at))
            .unwrap_or(found.weak),
        strong: pinned
            .strong
            .filter(|at| here.contains(at))
            .unwrap_or(found.strong),
    };
    let report = policy::report(&questions, ends).ok_or_else(uncounted)?;
    Ok(Source {
        name: name.to_owned(),
        entrants: here,
        ends,
        report,
        refused,
        basis,
    })
}

/// Whether every cost of this row can be told.
fn priced(entrants: &[Entrant], row: &Row, from: Basis) -> Result<(), String> {
    let scored = |e: &&Entrant| row.scores.contains_key(&e.outcome);
    let unpriced = |e: &&Entrant| e.arm.model.price.is_none();
    match entrants.iter().filter(scored).find(unpriced) {
        Some(e) if from != Basis::Told => Err(format!(
            "No price of {} is known, and the outcomes do not say what each answer cost. Set input_usd_per_mtok and output_usd_per_mtok in its [[model]] of the policy, or add \"cost_usd\" to the outcomes.",
            e.arm.model.name
        )),
        _ => Ok(()),
    }
}

/// A row as a request, decided in every way; the inner error says why no arm may answer it.
fn question(
    house: &House,
    ways: &[Policy],
    entrants: &[Entrant],
    (row, from): (&Row, Basis),
) -> Result<Result<Question, String>, String> {
    let dialect = dialect::ALL[0];
    let said = AppCall {
        system: row.system.as_deref(),
        prompt: &row.prompt,
    };
    let body = said_by_a_user(dialect, "auto", &said)?;
    let place = place(dialect.model_in_body(), "auto");
    let asking = Asking {
        dialect,
        body: &body,
        place: &place,
        objective: None,
        private: false,
        deadline: None,
    };
    let asked = house.ask(&asking, |completion| {
        let weighed = Weighed {
            row,
            from,
            entrants,
            completion,
        };
        let decided = ways.iter().map(|way| completion.decide_by(way));
        let choices = decided.map(|d| d.map(|decision| weighed.choice(&decision)));
        let answers = entrants.iter().enumerate();
        Ok(Question {
            chars: row.chars,
            answers: answers.map(|(at, e)| weighed.answer(at, &e.arm)).collect(),
            choices: choices.collect::<Result<_, _>>()?,
        })
    });
    Ok(asked.and_then(|found| found).map_err(|e| e.public))
}

/// A row beside its request, measured and graded.
struct Weighed<'a> {
    row: &'a Row,
    from: Basis,
    entrants: &'a [Entrant],
    completion: &'a Completion<'a>,
}

impl Weighed<'_> {
    /// What came of a decision; `None` where there is no score of the chosen arm.
    fn choice(&self, decision: &Decision) -> Option<Choice> {
        let arm = &decision.attempts[0];
        let model = place_of(self.entrants, arm)?;
        let answer = self.answer(model, arm)?;
        Some(Choice { model, answer })
    }

    fn answer(&self, place: usize, arm: &Arm) -> Option<Answer> {
        let name = &self.entrants[place].outcome;
        Some(Answer {
            score: *self.row.scores.get(name)?,
            cost: self.cost(name, arm)?,
        })
    }

    /// What an arm's answer cost, in dollars; `None` where that is not known.
    fn cost(&self, name: &str, arm: &Arm) -> Option<f64> {
        let cost = match self.from {
            Basis::Told => return self.row.cost_usd.get(name).copied(),
            Basis::Tokens => {
                let (input, output) = *self.row.tokens.get(name)?;
                arm.model.price.as_ref()?.cost(&Usage {
                    input,
                    output,
                    ..Usage::default()
                })
            }
            Basis::Expected => self.expected(arm)?,
        };
        Some(cost.0 as f64 / PICO_PER_USD as f64)
    }

    /// What flyball expects of a request that stands alone.
    fn expected(&self, arm: &Arm) -> Option<PicoUsd> {
        let job = Forecast {
            features: &self.completion.graded().features,
            difficulty: &self.completion.graded().difficulty,
            limit: None,
            standing: ConversationStanding::alone(),
        };
        cost::expected(arm, &job).map(|expected| expected.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_for_infinity_is_read_and_words_of_a_prompt_stay() {
        let line = r#"{"prompt": "Is \"NaN: -Infinity\" a number?", "scores": {"a": 1}, "logprob": {"a": -Infinity}, "cost_usd": {"a": NaN}}"#;
        let row = Row::read(line).expect("it is read");
        assert_eq!(row.prompt, "Is \"NaN: -Infinity\" a number?");
        assert!(row.cost_usd.is_empty() && row.scores["a"] > 0.9);
    }
}
