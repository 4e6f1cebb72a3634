//! `flyball calibrate`: for each task the cheapest arm that is good enough, with a stated confidence; what it would save on the logged
//! traffic; rules to look at. Where the evidence does not reach, how much more is needed and what that costs.

mod reading;
mod rules;
mod traffic;

use super::shown::table;
use super::{Common, books_at, reading as configured};
use crate::config::{Config, Needs};
use crate::fleet::Arm;
use crate::learn::calibrate::bound::More;
use crate::learn::calibrate::choose::{Candidate, Demand, choose};
use crate::learn::calibrate::evidence::{self, Group, Judged};
use crate::ledger::judged::JudgedBy;
use crate::ledger::rollup::DAY_MS;
use crate::ledger::{books, now_ms};
use clap::{Args, ValueEnum};
pub(super) use reading::{arm_named, graded};
use serde_json::{Value, json};
use std::path::PathBuf;
use traffic::{Logged, MONTH_DAYS, number_of};

#[derive(Args, Debug)]
pub(super) struct CalibrateArgs {
    /// Outcomes, one JSON a line: {"prompt", "scores": {ARM: 0..1}, "cost_usd": {ARM: dollars}}; .gz too [default: those in the books]
    #[arg(long, value_name = "FILE")]
    outcomes: Option<PathBuf>,
    /// The share of the strong arm's chance of a good answer that an arm must have; with --of absolute the chance itself
    #[arg(long, default_value_t = 0.9, value_name = "SHARE")]
    target: f64,
    /// What arms are held against
    #[arg(long, value_enum, default_value_t = Of::Strong)]
    of: Of,
    /// How sure it must be, for each task
    #[arg(long, default_value_t = 0.95, value_name = "SHARE")]
    confidence: f64,
    /// By what outcomes are told apart
    #[arg(long, value_enum, default_value_t = By::Task)]
    by: By,
    /// The arms to look at, by comma; the cheapest first where no costs are known, and the strong one last [default: all that have outcomes]
    #[arg(long, value_delimiter = ',', value_name = "ARM,ARM")]
    arms: Vec<String>,
    /// The arm that others are held against [default: the last of --arms, else the dearest]
    #[arg(long, value_name = "ARM")]
    strong: Option<String>,
    /// Whose word counts: compare, explored, escalated, shadow, feedback, by comma [default: compare,explored,escalated,shadow; with --of absolute compare]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    judged_by: Vec<String>,
    /// Over how many days back traffic, and outcomes in the books, count
    #[arg(long, default_value_t = 90, value_name = "DAYS")]
    days: u32,
    /// Write the rules that follow to this file, and show what changed in it
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What arms are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    /// The strong arm's answers to the same prompts
    Strong,
    /// Nothing: the chance of a good answer itself
    Absolute,
}

/// By what outcomes are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum By {
    /// flyball's own task
    Task,
    /// The task and three bands of difficulty
    Difficulty,
    /// The source and task that the file of outcomes names; no rules can be made of it
    Label,
    /// Nothing
    All,
}

/// Where bands of difficulty end, in thousandths.
const BANDS: [(i64, &str); 3] = [(330, "..0.33"), (660, "0.33..0.66"), (1_001, "0.66..")];

impl By {
    /// The group of a prompt of this task and difficulty, in thousandths; `None` for what was not graded.
    fn group(self, task: &str, difficulty_milli: i64) -> Option<String> {
        if task == crate::exchange::completion::UNGRADED {
            return None;
        }
        Some(match self {
            By::Task | By::Label => task.to_owned(),
            By::All => "all".to_owned(),
            By::Difficulty => {
                let band = BANDS.iter().find(|(end, _)| difficulty_milli < *end);
                format!("{task} {}", band.map_or("0.66..", |(_, span)| span))
            }
        })
    }

    /// The task and the span of difficulty that a rule has to ask for.
    fn condition(self, group: &str) -> (&str, Option<&str>) {
        match self {
            By::Difficulty => group
                .split_once(' ')
                .map_or((group, None), |(t, s)| (t, Some(s))),
            _ => (group, None),
        }
    }

    /// Rules can ask for its groups.
    fn makes_rules(self) -> bool {
        matches!(self, By::Task | By::Difficulty)
    }
}

/// Everything that is told.
struct Calibrated {
    demand: Demand,
    of: Of,
    by: By,
    strong: String,
    found: Vec<Found>,
    days: Option<f64>,
    notes: Vec<String>,
}

/// What was found for one group.
struct Found {
    group: String,
    prompts: usize,
    arms: Vec<ArmFound>,
    named: Option<usize>,
    /// What an answer of the strong arm costs.
    strong_cost_usd: Option<f64>,
    /// Dollars a month, where the books have traffic of it: what was paid, and what would be saved.
    month: Option<(f64, Option<f64>)>,
}

/// How one arm stands in a group; the cheapest first.
struct ArmFound {
    name: String,
    pairs: usize,
    cost_usd: Option<f64>,
    /// It costs less than the strong arm, or nobody is held against it.
    cheaper: bool,
    standing: crate::learn::calibrate::choose::ArmStanding,
}

impl Found {
    fn named(&self) -> Option<&ArmFound> {
        self.named.map(|n| &self.arms[n])
    }

    /// The cheapest arm of which more outcomes would probably tell that it is good enough.
    fn next(&self) -> Option<(&ArmFound, u64, bool)> {
        let before = self.named.unwrap_or(self.arms.len());
        let cheaper = self.arms[..before].iter().filter(|arm| arm.cheaper);
        let hope = cheaper.filter_map(|arm| match arm.standing.more? {
            More::About(n) => Some((arm, n, true)),
            More::AtLeast(n) => Some((arm, n, false)),
            More::Unlikely => None,
        });
        // What is likely goes before what nobody knows anything of.
        hope.min_by_key(|(_, _, likely)| !likely)
    }
}

impl ArmFound {
    /// What was found of it, in a sentence's beginning.
    fn claim(&self, told: &Calibrated) -> String {
        let least = percent(self.standing.least);
        let sure = percent(told.demand.confidence);
        match told.of {
            Of::Strong => format!(
                "With {sure} confidence {} has at least {least} of the chance of a good answer that {} has; seen {} and {}",
                self.name,
                told.strong,
                percent(self.standing.means.0),
                percent(self.standing.means.1)
            ),
            Of::Absolute => format!(
                "With {sure} confidence {} has at least a {least} chance of a good answer; seen {}",
                self.name,
                percent(self.standing.means.0)
            ),
        }
    }

    /// What so many outcomes of it would cost where it answers beside live traffic.
    fn shadow_usd(&self, outcomes: u64) -> Option<f64> {
        Some(self.cost_usd? * number_of(outcomes))
    }
}

pub(super) fn run(common: &Common, args: &CalibrateArgs) -> Result<(), String> {
    let demand = demand(args)?;
    let judges = judges(args)?;
    let config = configuration(common)?;
    let now = now_ms();
    let since_ms = now.saturating_sub(i64::from(args.days).saturating_mul(DAY_MS));
    // With a file of outcomes the books are looked at only for what would be saved.
    let wanted = args.outcomes.is_none() || common.config.is_some() || common.data_dir.is_some();
    let opened =
        wanted.then(|| books_at(common).and_then(|at| books::open(&at).map_err(|e| e.detail)));
    let mut store = match (opened, &args.outcomes) {
        (Some(Ok(store)), _) => Some(store),
        (Some(Err(why)), None) => return Err(why),
        (Some(Err(_)) | None, _) => None,
    };
    let all = match (&args.outcomes, &mut store) {
        (Some(path), _) => reading::of_file(path, args.by, config.as_ref())?,
        (None, Some(store)) => reading::of_books(store.as_mut(), since_ms, args.by)?,
        (None, None) => Vec::new(),
    };
    if all.is_empty() {
        return Err(NOTHING.to_owned());
    }
    let names = names(args, &judges, &all)?;
    let logged = match &mut store {
        Some(store) if args.by != By::Label => {
            let fleet = config.as_ref().map(|c| &c.fleet);
            let arm = |name: &String| Some((name.clone(), arm_named(fleet?, name)?));
            let arms: Vec<(String, Arm)> = names.iter().filter_map(arm).collect();
            let logged = traffic::read(store.as_mut(), (args.days, now), args.by, &arms)?;
            Some(logged)
        }
        _ => None,
    };
    let calibration = Calibration {
        args,
        demand,
        names,
        logged,
    };
    let mut told = calibration.told(&all, &judges)?;
    if let Some(path) = &args.rules {
        if !args.by.makes_rules() {
            return Err(
                "--rules needs --by task or --by difficulty: a rule can ask for nothing else"
                    .to_owned(),
            );
        }
        let said = rules::write(path, &told, config.as_ref().map(|c| &c.fleet))?;
        told.notes.extend(said.lines().map(str::to_owned));
    }
    match args.json {
        true => println!("{}", told.as_json()),
        false => told.print(),
    }
    Ok(())
}

const NOTHING: &str = "There are no outcomes yet: nobody has said how good answers were. `flyball compare --file questions.jsonl --arms CHEAP,STRONG --grade exact --keep` makes some, `probe_explore` and `POST /flyball/feedback` gather them from traffic, --outcomes FILE reads a file.";

/// The configuration, if there is one that can be read. One that was named must be readable.
fn configuration(common: &Common) -> Result<Option<Config>, String> {
    match configured(common, Needs::Models) {
        Ok(config) => Ok(Some(config)),
        Err(why) if common.config.is_some() => Err(why),
        Err(_) => Ok(None),
    }
}

fn demand(args: &CalibrateArgs) -> Result<Demand, String> {
    let most = match args.of {
        Of::Strong => 1.5,
        Of::Absolute => 0.999,
    };
    if !(args.target > 0.0 && args.target <= most) {
        return Err(format!(
            "--target {}: a share above 0, up to {most}, like 0.9",
            args.target
        ));
    }
    if !(0.5..=0.9999).contains(&args.confidence) {
        return Err(format!(
            "--confidence {}: a share from 0.5 to 0.9999, like 0.95",
            args.confidence
        ));
    }
    Ok(Demand {
        target: args.target,
        confidence: args.confidence,
    })
}

fn judges(args: &CalibrateArgs) -> Result<Vec<JudgedBy>, String> {
    if args.judged_by.is_empty() {
        return Ok(match args.of {
            Of::Strong => {
                let relative = [JudgedBy::Explored, JudgedBy::Escalated, JudgedBy::Shadow];
                [JudgedBy::Compare].into_iter().chain(relative).collect()
            }
            // What agrees with another arm is as good as that one, which says nothing of how good that is.
            Of::Absolute => vec![JudgedBy::Compare],
        });
    }
    let read = |name: &String| {
        JudgedBy::parse(name.trim()).ok_or_else(|| {
            let known = JudgedBy::ALL.map(JudgedBy::name).join(", ");
            format!("--judged-by {name}: there are {known}")
        })
    };
    let judges: Vec<JudgedBy> = args.judged_by.iter().map(read).collect::<Result<_, _>>()?;
    match (args.of, judges.iter().find(|by| !by.is_absolute())) {
        (Of::Absolute, Some(judge)) => Err(format!(
            "--judged-by {}: these outcomes say whether an arm agrees with a better one, not how good either is; leave --of absolute out",
            judge.name()
        )),
        _ => Ok(judges),
    }
}

/// So many of something.
fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The arm with its effort, as outcomes name it. A model may be named alone where there are outcomes of it at one effort only.
fn full_name(arm: &str, known: &[String]) -> Result<String, String> {
    let arm = arm.trim();
    if known.iter().any(|k| k == arm) {
        return Ok(arm.to_owned());
    }
    let efforts = format!("{arm}@");
    let mut of_model = known.iter().filter(|known| known.starts_with(&efforts));
    if let (Some(only), None) = (of_model.next(), of_model.next()) {
        return Ok(only.clone());
    }
    let shown: Vec<&str> = known.iter().take(20).map(String::as_str).collect();
    Err(format!(
        "no outcome is of \"{arm}\"; there are outcomes of {}",
        shown.join(", ")
    ))
}

/// The arms that are looked at.
fn names(args: &CalibrateArgs, judges: &[JudgedBy], all: &[Judged]) -> Result<Vec<String>, String> {
    let heard = all.iter().filter(|j| judges.contains(&j.by));
    let mut known: Vec<String> = heard.map(|j| j.arm.clone()).collect();
    if known.is_empty() {
        let words: Vec<&str> = judges.iter().map(|j| j.name()).collect();
        return Err(format!(
            "there are outcomes, but none by {}; --judged-by says whose word counts",
            words.join(", ")
        ));
    }
    known.sort_unstable();
    known.dedup();
    let strong = args.strong.as_ref().map(|arm| full_name(arm, &known));
    let strong = strong.transpose()?;
    let names = args.arms.iter().map(|arm| full_name(arm, &known));
    let mut names = names.collect::<Result<Vec<String>, String>>()?;
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find(|(n, a)| names[..*n].contains(a))
    {
        return Err(format!("--arms: \"{}\" stands twice", twice.1));
    }
    if names.is_empty() {
        names = known;
    }
    if let Some(strong) = strong {
        names.retain(|n| *n != strong);
        names.push(strong);
    }
    match (args.of, names.len()) {
        (Of::Strong, 0 | 1) => Err(format!(
            "there are outcomes of {} alone; an arm is held against another one, or --of absolute",
            names.first().map_or("nobody", String::as_str)
        )),
        _ => Ok(names),
    }
}

/// What is calculated from.
struct Calibration<'a> {
    args: &'a CalibrateArgs,
    demand: Demand,
    names: Vec<String>,
    logged: Option<Logged>,
}

impl Calibration<'_> {
    fn told(&self, all: &[Judged], judges: &[JudgedBy]) -> Result<Calibrated, String> {
        let groups = evidence::gather(all, judges);
        let strong = self.strong(&groups.values().collect::<Vec<_>>())?;
        let mut notes = Vec::new();
        let mut found = Vec::new();
        for (name, group) in &groups {
            let answered = group.arms();
            let held = self.args.of == Of::Absolute || answered.contains(&strong);
            match held {
                true => found.push(self.found(name, group, &strong)?),
                false => notes.push(format!(
                    "{name}: no outcome of {strong}, so nothing can be held against it."
                )),
            }
        }
        let unheard = all.iter().filter(|j| !judges.contains(&j.by)).count();
        if unheard > 0 {
            notes.push(format!(
                "{} by others {} not count (--judged-by): who votes, and on what, is no sample of the traffic.",
                many(unheard, "outcome"),
                if unheard == 1 { "does" } else { "do" }
            ));
        }
        Ok(Calibrated {
            demand: self.demand,
            of: self.args.of,
            by: self.args.by,
            strong,
            found,
            days: self.logged.as_ref().map(|l| l.days),
            notes,
        })
    }

    /// The arm that others are held against: the one that is named, the last of the arms that are, or the dearest over all groups.
    fn strong(&self, groups: &[&Group]) -> Result<String, String> {
        if self.args.strong.is_some() || !self.args.arms.is_empty() {
            return Ok(self.names.last().cloned().unwrap_or_default());
        }
        let cost = |arm: &String| {
            let costs: Vec<f64> = groups.iter().filter_map(|g| g.cost_usd(arm)).collect();
            let priced = self.logged.as_ref().and_then(|l| l.mean_cost_usd(arm));
            match costs.is_empty() {
                true => priced,
                false => Some(crate::learn::mean(costs)),
            }
        };
        let costs: Option<Vec<(f64, &String)>> = self
            .names
            .iter()
            .map(|arm| Some((cost(arm)?, arm)))
            .collect();
        let dearest = costs.and_then(|costs| costs.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)));
        dearest.map(|(_, arm)| arm.clone()).ok_or_else(|| {
            let unknown: Vec<&str> = self.names.iter().filter(|a| cost(a).is_none()).map(String::as_str).collect();
            format!(
                "what an answer of {} costs is not known, so nobody can say which arm is the cheapest: name the arms with --arms, the cheapest first and the strong one last, or put \"cost_usd\" into the outcomes",
                unknown.join(", ")
            )
        })
    }

    fn found(&self, name: &str, group: &Group, strong: &str) -> Result<Found, String> {
        let traffic = self.logged.as_ref().and_then(|l| l.of(name));
        let cost = |arm: &str| group.cost_usd(arm).or_else(|| traffic?.cost_usd(arm));
        let held = (self.args.of == Of::Strong).then_some(strong);
        let mut arms: Vec<(String, Option<f64>)> = self
            .names
            .iter()
            .filter(|arm| Some(arm.as_str()) != held)
            .map(|arm| (arm.clone(), cost(arm)))
            .collect();
        let limit = cost(strong);
        if arms.iter().all(|(_, cost)| cost.is_some()) {
            arms.sort_by(|a, b| a.1.unwrap_or(0.0).total_cmp(&b.1.unwrap_or(0.0)));
        } else if self.args.arms.is_empty() {
            return Err(format!(
                "{name}: what an answer of some arm costs is not known; name the arms with --arms, the cheapest first and the strong one last, or put \"cost_usd\" into the outcomes"
            ));
        }
        let cheaper = |cost: &Option<f64>| match (cost, limit) {
            (Some(cost), Some(limit)) => held.is_none() || *cost < limit,
            // Their order was given.
            _ => true,
        };
        let candidates: Vec<Candidate> = arms
            .iter()
            .map(|(arm, cost)| Candidate {
                pairs: group.pairs(arm, held),
                cheaper: cheaper(cost),
            })
            .collect();
        let choice = choose(&candidates, self.demand);
        let all = arms.into_iter().zip(&candidates).zip(choice.standings);
        let arms: Vec<ArmFound> = all
            .map(|(((name, cost_usd), candidate), standing)| ArmFound {
                name,
                pairs: candidate.pairs.len(),
                cost_usd,
                cheaper: candidate.cheaper,
                standing,
            })
            .collect();
        let named = choice.named.map(|n| arms[n].name.clone());
        let month = self.logged.as_ref().zip(traffic).map(|(logged, traffic)| {
            let would = named.as_ref().and_then(|arm| {
                traffic
                    .would_usd(arm)
                    .or_else(|| Some(cost(arm)? * number_of(traffic.requests)))
            });
            let paid = traffic.paid_usd();
            (
                logged.a_month(paid),
                would.map(|would| logged.a_month(paid - would)),
            )
        });
        Ok(Found {
            group: name.to_owned(),
            prompts: group.prompts(),
            arms,
            named: choice.named,
            strong_cost_usd: limit,
            month,
        })
    }
}

impl Calibrated {
    fn print(&self) {
        let against = match self.of {
            Of::Strong => format!("good: arm / {}", self.strong),
            Of::Absolute => "good".to_owned(),
        };
        let mut all = table(&[
            "task",
            "outcomes",
            "cheapest arm that holds",
            &against,
            "at least",
            "saves a month",
        ]);
        for found in &self.found {
            all.add_row(self.cells(found));
        }
        println!("{all}");
        for found in &self.found {
            if let Some(said) = self.missing(found) {
                println!("{said}");
            }
        }
        let of = match self.of {
            Of::Strong => format!(
                "at least {} of {}'s chance of a good answer",
                percent(self.demand.target),
                self.strong
            ),
            Of::Absolute => format!(
                "at least a {} chance of a good answer",
                percent(self.demand.target)
            ),
        };
        println!(
            "Asked: {of}. Each line holds with {} confidence by itself, however many arms stand here and however often you look (betting confidence sequence, closed test of averaged e-values; docs/calibrate.md).",
            percent(self.demand.confidence)
        );
        let months: Vec<(f64, f64)> = self
            .found
            .iter()
            .filter_map(|f| f.month)
            .map(|(paid, saves)| (paid, saves.unwrap_or(0.0)))
            .collect();
        if let (Some(days), false) = (self.days, months.is_empty()) {
            let (paid, saves) = months
                .iter()
                .fold((0.0, 0.0), |(p, s), (a, b)| (p + a, s + b));
            println!(
                "The traffic of {days:.0} {} comes to {} in {MONTH_DAYS:.0} days; these arms would save {} of it.",
                if days < 1.5 { "day" } else { "days" },
                dollars(paid),
                dollars(saves)
            );
        }
        self.notes.iter().for_each(|note| println!("{note}"));
    }

    fn cells(&self, found: &Found) -> [String; 6] {
        let dash = || "-".to_owned();
        let seen = |arm: &ArmFound| match self.of {
            Of::Strong => format!(
                "{} / {}",
                percent(arm.standing.means.0),
                percent(arm.standing.means.1)
            ),
            Of::Absolute => percent(arm.standing.means.0),
        };
        let saves = match (found.month, found.named()) {
            (Some((_, Some(saves))), _) => dollars(saves),
            (None, Some(arm)) => self.share(found, arm).unwrap_or_else(dash),
            _ => dash(),
        };
        let named = found.named();
        [
            found.group.clone(),
            named.map_or(found.prompts, |a| a.pairs).to_string(),
            named.map_or_else(dash, |a| a.name.clone()),
            named.map_or_else(dash, seen),
            named.map_or_else(dash, |a| percent(a.standing.least)),
            saves,
        ]
    }

    /// Where no traffic is known: the part of the dearest arm's cost.
    fn share(&self, found: &Found, arm: &ArmFound) -> Option<String> {
        let strong = found.strong_cost_usd?;
        (strong > 0.0).then(|| {
            format!(
                "{} of {}",
                percent(1.0 - arm.cost_usd.unwrap_or(0.0) / strong),
                self.strong
            )
        })
    }

    /// What would have to be known.
    fn missing(&self, found: &Found) -> Option<String> {
        let begin = match found.named {
            Some(_) => format!("{}: a cheaper arm may do:", found.group),
            None => format!("{}: not enough evidence.", found.group),
        };
        match (found.next(), found.named) {
            (Some((arm, more, likely)), _) => {
                let many = if likely { "about" } else { "at least" };
                let cost = arm.shadow_usd(more).map_or(String::new(), |usd| {
                    format!(
                        ", which cost {} where it answers beside live traffic",
                        dollars(usd)
                    )
                });
                Some(format!(
                    "{begin} {} needs {many} {more} more outcomes{cost}.",
                    arm.name
                ))
            }
            (None, Some(_)) => None,
            (None, None) => Some(format!(
                "{} By what is here no cheaper arm is good enough; more outcomes would hardly change that.",
                begin
            )),
        }
    }

    fn as_json(&self) -> Value {
        let arm = |a: &ArmFound| {
            let (about, least) = match a.standing.more {
                Some(More::About(n)) => (Some(n), None),
                Some(More::AtLeast(n)) => (None, Some(n)),
                Some(More::Unlikely) | None => (None, None),
            };
            json!({
                "arm": a.name, "outcomes": a.pairs, "good": a.standing.means.0,
                "strong_good": (self.of == Of::Strong).then_some(a.standing.means.1),
                "at_least": a.standing.least, "e_value": a.standing.e_value, "holds": a.standing.passes, "cost_usd": a.cost_usd,
                "more_about": about, "more_at_least": least,
                "shadow_usd": about.or(least).and_then(|n| a.shadow_usd(n)),
            })
        };
        let found = |f: &Found| {
            json!({
                "task": f.group, "outcomes": f.prompts, "arm": f.named().map(|a| &a.name),
                "paid_usd_month": f.month.map(|m| m.0), "saves_usd_month": f.month.and_then(|m| m.1),
                "arms": f.arms.iter().map(arm).collect::<Vec<_>>(),
            })
        };
        json!({
            "target": self.demand.target, "confidence": self.demand.confidence,
            "of": if self.of == Of::Strong { "strong" } else { "absolute" },
            "strong": self.strong, "traffic_days": self.days,
            "tasks": self.found.iter().map(found).collect::<Vec<_>>(), "notes": self.notes,
        })
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn dollars(usd: f64) -> String {
    let sign = if usd < 0.0 { "-" } else { "" };
    match usd.abs() {
        small if small > 0.0 && small < 0.01 => format!("{sign}${small:.4}"),
        usd => format!("{sign}${usd:.2}"),
    }
}
