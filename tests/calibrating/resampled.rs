//! The promise of `flyball calibrate`, on outcomes whose truth is known: thousands of resampled runs, each looked at every 50 outcomes.
//!
//! A run draws outcomes of each task with replacement, and names at each look the cheapest arm that holds. It is wrong where the named arm's
//! true share of the strong one's chance, over all outcomes of the task, is below the target. `cargo test` runs made-up worlds. With
//! `FLYBALL_CALIBRATE=long` and `FLYBALL_SHARED` it runs the recorded ones a thousand times each and prints the table of docs/calibrate.md;
//! `FLYBALL_CALIBRATE_FIGURE=FILE` writes the figure.

use flyball::learn::calibrate::bound::{Capital, Pair};
use flyball::learn::calibrate::choose::passing;
use flyball::learn::chance::Chance;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

const TARGET: f64 = 0.9;
const CONFIDENCE: f64 = 0.95;
/// How many outcomes lie between two looks.
const LOOK: usize = 50;

/// Outcomes of one task: the scores of each arm, the cheapest first and the strong one last.
struct Population {
    name: String,
    rows: Vec<Vec<f64>>,
    /// Dollars of an answer, by arm.
    costs: Vec<f64>,
}

impl Population {
    fn arms(&self) -> usize {
        self.costs.len() - 1
    }

    fn mean(&self, arm: usize) -> f64 {
        let sum: f64 = self.rows.iter().map(|row| row[arm]).sum();
        sum / count(self.rows.len())
    }

    /// What of the strong arm's chance this one has.
    fn share(&self, arm: usize) -> f64 {
        self.mean(arm) / self.mean(self.arms())
    }
}

/// What became of the runs on one world.
#[derive(Default)]
struct Tally {
    runs: usize,
    /// Tasks over all runs; those in which an arm was named at some look; and wrongly at some look.
    tasks: usize,
    named: usize,
    wrong: usize,
    /// The same where one looks once, at the end.
    named_at_end: usize,
    wrong_at_end: usize,
    /// Runs in which some task's arm was wrong at some look.
    runs_wrong: usize,
    /// Runs in which an arm was named for some task.
    runs_named: usize,
    /// By look: the cost and the quality of doing what is named, of always strong's.
    kept: Vec<(f64, f64)>,
}

/// Runs a world so often.
fn run(world: &[Population], runs: usize, outcomes: usize) -> Tally {
    let looks = outcomes / LOOK;
    let mut tally = Tally {
        runs,
        kept: vec![(0.0, 0.0); looks],
        ..Tally::default()
    };
    let strong_cost: f64 = world.iter().map(|p| p.costs[p.arms()]).sum();
    let strong_mean: f64 = world.iter().map(|p| p.mean(p.arms())).sum();
    let truths: Vec<Vec<(f64, f64)>> = world
        .iter()
        .map(|p| (0..=p.arms()).map(|a| (p.share(a), p.mean(a))).collect())
        .collect();
    for seed in 0..runs {
        let mut chance = Chance::new(u64::try_from(seed).expect("few") + 1);
        let (mut some_named, mut some_wrong) = (false, false);
        for (population, truth) in world.iter().zip(&truths) {
            let arms = population.arms();
            let mut all = vec![Capital::new(TARGET); arms];
            let (mut named, mut wrong) = (false, false);
            for look in 0..looks {
                for _ in 0..LOOK {
                    let row = &population.rows[chance.below(population.rows.len())];
                    for (capital, score) in all.iter_mut().zip(row) {
                        capital.saw(&Pair::of(*score, row[arms]));
                    }
                }
                let evidence: Vec<f64> = all.iter().map(Capital::e_value).collect();
                let passes = passing(&evidence, CONFIDENCE);
                let cheaper = |a: &usize| population.costs[*a] < population.costs[arms];
                let arm = (0..arms).filter(cheaper).find(|a| passes[*a]);
                let served = arm.unwrap_or(arms);
                tally.kept[look].0 += population.costs[served] / strong_cost;
                tally.kept[look].1 += truth[served].1 / strong_mean;
                let is_wrong = arm.is_some_and(|a| truth[a].0 < TARGET);
                (named, wrong) = (named || arm.is_some(), wrong || is_wrong);
                if look + 1 == looks {
                    tally.named_at_end += usize::from(arm.is_some());
                    tally.wrong_at_end += usize::from(is_wrong);
                }
            }
            tally.tasks += 1;
            tally.named += usize::from(named);
            tally.wrong += usize::from(wrong);
            (some_named, some_wrong) = (some_named || named, some_wrong || wrong);
        }
        tally.runs_named += usize::from(some_named);
        tally.runs_wrong += usize::from(some_wrong);
    }
    for kept in &mut tally.kept {
        *kept = (kept.0 / count(runs), kept.1 / count(runs));
    }
    tally
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}

/// A task of which each arm answers exactly this share well, and those that it does not much the same for all.
fn made_up(name: &str, shares: &[f64], seed: u64) -> Population {
    const ROWS: u32 = 5_000;
    let mut chance = Chance::new(seed);
    let luck: Vec<f64> = (0..ROWS).map(|_| chance.unit()).collect();
    let mut rows = vec![vec![0.0; shares.len()]; luck.len()];
    for (arm, share) in shares.iter().enumerate() {
        let own = luck.iter().map(|luck| luck + chance.unit());
        let mut order: Vec<(f64, usize)> = own.zip(0..).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        for ((_, row), n) in order.iter().zip(0_u32..) {
            rows[*row][arm] = f64::from(u8::from(f64::from(n) < share * f64::from(ROWS)));
        }
    }
    Population {
        name: name.to_owned(),
        rows,
        costs: (1..=shares.len()).map(count).collect(),
    }
}

#[test]
fn arms_that_just_miss_the_target_are_named_in_no_more_runs_than_the_confidence_allows() {
    // A strong arm that is good in 80 of 100; .90 of that are 72. All of the others miss it by a hair.
    let world = [made_up("hair", &[0.7198, 0.7198, 0.7198, 0.8], 3)];
    assert!((0..3).all(|arm| world[0].share(arm) < TARGET));
    let tally = run(&world, 300, 1_000);
    assert_eq!(tally.wrong, tally.named);
    // 15 of 300 are 5 %; three standard deviations more are 26.
    assert!(tally.wrong <= 26, "{}", tally.wrong);
}

#[test]
fn of_the_runs_that_name_an_arm_hardly_any_is_wrong_and_arms_that_are_good_enough_are_found() {
    let world = [
        made_up("clear", &[0.40, 0.79, 0.80, 0.80], 4),
        made_up("near", &[0.70, 0.755, 0.78, 0.80], 5),
        made_up("none", &[0.30, 0.50, 0.69, 0.80], 6),
        made_up("better", &[0.70, 0.60, 0.85, 0.75], 7),
    ];
    let tally = run(&world, 60, 1_000);
    assert!(tally.named >= 150, "{} of 240 found", tally.named);
    let wrong = count(tally.wrong) / count(tally.named);
    assert!(wrong <= 0.05, "{} of {}", tally.wrong, tally.named);
    let (cost, quality) = tally.kept[tally.kept.len() - 1];
    assert!(cost < 0.8 && quality > 0.93, "{cost} {quality}");
}

#[test]
fn without_a_correction_for_looking_again_the_promise_would_not_hold() {
    // The yardstick itself: a bound for one look (normal, one-sided), looked at every 50 outcomes, is wrong far more often than 5 %.
    let world = made_up("hair", &[0.7198, 0.8], 8);
    let mut wrong = 0;
    for seed in 0..300 {
        let mut chance = Chance::new(seed + 1);
        let (mut sum, mut squares, mut n) = (0.0, 0.0, 0.0);
        wrong += u32::from((0..20).any(|_| {
            for _ in 0..LOOK {
                let row = &world.rows[chance.below(world.rows.len())];
                let gain = row[0] - TARGET * row[1];
                (sum, squares, n) = (sum + gain, squares + gain * gain, n + 1.0);
            }
            let mean: f64 = sum / n;
            mean - 1.645 * ((squares / n - mean * mean) / n).sqrt() > 0.0
        }));
    }
    assert!(wrong > 30, "{wrong} of 300");
}

#[derive(Deserialize)]
struct Line {
    source: String,
    task: Option<String>,
    scores: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    cost_usd: BTreeMap<String, f64>,
}

/// A recorded world: its name, its arms with list prices of a million tokens of input and output, and the output of an answer.
type Recorded = (
    &'static str,
    &'static str,
    &'static [(&'static str, f64, f64, f64)],
);

/// The prices are those of the models' time; the costs of the last one are in its rows.
const RECORDED: [Recorded; 5] = [
    (
        "dev",
        "mmlu_pro",
        &[
            ("gemini-1.5-flash-002", 0.075, 0.30, 300.0),
            ("Meta-Llama-3_1-8B-Instruct", 0.20, 0.20, 300.0),
            ("Meta-Llama-3_1-70B-Instruct", 0.90, 0.90, 300.0),
            ("gemini-1.5-pro-002", 1.25, 5.0, 300.0),
        ],
    ),
    (
        "dev",
        "ulab",
        &[
            ("mistral-7b-instruct-v0.3", 0.20, 0.20, 300.0),
            ("llama-3.1-8b-instruct", 0.20, 0.20, 300.0),
            ("gemma-2-9b-it", 0.20, 0.20, 300.0),
            ("qwen2.5-7b-instruct", 0.30, 0.30, 300.0),
            ("llama-3.1-nemotron-51b-instruct", 0.90, 0.90, 300.0),
        ],
    ),
    (
        "dev",
        "bbh_codex",
        &[
            ("codex-direct", 2.0, 8.0, 20.0),
            ("codex-cot", 2.0, 8.0, 200.0),
        ],
    ),
    (
        "dev",
        "reasoning_gym",
        &[
            ("google_gemma-3-27b-it", 0.10, 0.20, 300.0),
            (
                "mistralai_mistral-small-3.1-24b-instruct",
                0.10,
                0.30,
                300.0,
            ),
            ("meta-llama_llama-4-scout", 0.11, 0.34, 300.0),
            ("meta-llama_llama-4-maverick", 0.20, 0.60, 300.0),
            ("meta-llama_llama-3.3-70b-instruct", 0.59, 0.79, 300.0),
            ("anthropic_claude-3.5-sonnet", 3.0, 15.0, 300.0),
            ("openai_o3-mini", 1.10, 4.40, 2_000.0),
        ],
    ),
    (
        "cascade-dev",
        "",
        &[
            ("llama3.2-1b", 0.0, 0.0, 0.0),
            ("llama3.2-3b", 0.0, 0.0, 0.0),
            ("gpt-4o-mini", 0.0, 0.0, 0.0),
            ("llama3.1-8b", 0.0, 0.0, 0.0),
            ("llama3.1-70b", 0.0, 0.0, 0.0),
            ("gpt-4o", 0.0, 0.0, 0.0),
            ("llama3.1-405b", 0.0, 0.0, 0.0),
        ],
    ),
];

/// The tasks of a recorded world, those with at least 30 outcomes in which all arms have a score.
fn recorded(shared: &Path, (file, source, arms): Recorded) -> Vec<Population> {
    let path = shared.join(format!("routing/{file}.jsonl.gz"));
    let file = std::fs::File::open(&path).expect("the outcomes");
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("unpacked");
    let mut tasks: BTreeMap<String, (Vec<Vec<f64>>, Vec<f64>)> = BTreeMap::new();
    for line in text.lines() {
        // Python writes what is no JSON where a probability is 0.
        let line = line.replace("-Infinity", "null");
        let line: Line = serde_json::from_str(&line).expect("an outcome");
        if !source.is_empty() && line.source != source {
            continue;
        }
        let scores = arms
            .iter()
            .map(|arm| line.scores.get(arm.0).copied().flatten());
        let Some(scores) = scores.collect::<Option<Vec<f64>>>() else {
            continue;
        };
        let task = tasks.entry(line.task.unwrap_or(line.source)).or_default();
        task.0
            .push(scores.iter().map(|s| s.clamp(0.0, 1.0)).collect());
        task.1.resize(arms.len(), 0.0);
        for (sum, arm) in task.1.iter_mut().zip(arms) {
            *sum += line.cost_usd.get(arm.0).copied().unwrap_or(0.0);
        }
    }
    let population = |(name, (rows, told)): (String, (Vec<Vec<f64>>, Vec<f64>))| {
        let listed = |arm: &(&str, f64, f64, f64)| (500.0 * arm.1 + arm.3 * arm.2) / 1e6;
        let costs = told.iter().zip(arms).map(|(told, arm)| match *told > 0.0 {
            true => told / count(rows.len()),
            false => listed(arm),
        });
        let costs: Vec<f64> = costs.collect();
        // The cheapest first; the strong one stays the last.
        let mut order: Vec<usize> = (0..arms.len() - 1).collect();
        order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]));
        order.push(arms.len() - 1);
        Population {
            name,
            rows: rows
                .iter()
                .map(|row| order.iter().map(|n| row[*n]).collect())
                .collect(),
            costs: order.iter().map(|n| costs[*n]).collect(),
        }
    };
    let all = tasks.into_iter().map(population);
    all.filter(|p| p.rows.len() >= 30 && p.mean(p.arms()) > 0.0)
        .collect()
}

#[test]
fn on_recorded_outcomes_a_thousand_runs_keep_the_promise() {
    let shared = std::env::var_os("FLYBALL_SHARED").map(PathBuf::from);
    let long = std::env::var("FLYBALL_CALIBRATE").as_deref() == Ok("long");
    let (Some(shared), true) = (shared, long) else {
        println!("skipped: FLYBALL_CALIBRATE is not \"long\", or FLYBALL_SHARED names no outcomes");
        return;
    };
    println!(
        "| outcomes | tasks | tasks × runs that name an arm | of them wrong, a look every {LOOK} | one look | runs with a wrong arm in any task | cost at 200 / 500 / 1,000 outcomes a task | quality at 1,000 |"
    );
    let mut curves = Vec::new();
    for world in RECORDED {
        let tasks = recorded(&shared, world);
        assert!(
            tasks.len() >= 3,
            "{}: {:?}",
            world.0,
            tasks.iter().map(|t| &t.name).collect::<Vec<_>>()
        );
        let tally = run(&tasks, 1_000, 1_000);
        let wrong = |wrong: usize, of: usize| 100.0 * count(wrong) / count(of.max(1));
        let cost = |outcomes: usize| 100.0 * tally.kept[outcomes / LOOK - 1].0;
        let name = if world.1.is_empty() { world.0 } else { world.1 };
        println!(
            "| {name} | {} | {} of {} | {} ({:.2} %) | {} ({:.2} %) | {} of {} ({:.1} %) | {:.0} / {:.0} / {:.0} % | {:.1} % |",
            tasks.len(),
            tally.named,
            tally.tasks,
            tally.wrong,
            wrong(tally.wrong, tally.named),
            tally.wrong_at_end,
            wrong(tally.wrong_at_end, tally.named_at_end),
            tally.runs_wrong,
            tally.runs_named,
            wrong(tally.runs_wrong, tally.runs_named),
            cost(200),
            cost(500),
            cost(1_000),
            100.0 * tally.kept[tally.kept.len() - 1].1
        );
        assert!(wrong(tally.wrong, tally.named) <= 5.0, "{name}");
        assert!(wrong(tally.runs_wrong, tally.runs) <= 5.0, "{name}");
        curves.push((name, tally.kept));
    }
    if let Some(path) = std::env::var_os("FLYBALL_CALIBRATE_FIGURE") {
        std::fs::write(path, figure(&curves)).expect("written");
    }
}

/// What doing what is named costs of always strong, by how many outcomes of each task there are.
fn figure(curves: &[(&str, Vec<(f64, f64)>)]) -> String {
    const COLOURS: [&str; 5] = ["#1b6ca8", "#c2571a", "#2e8b57", "#8e44ad", "#555555"];
    let (left, top, width, height) = (60.0, 40.0, 520.0, 300.0);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"400\" font-family=\"sans-serif\" font-size=\"12\"><rect width=\"760\" height=\"400\" fill=\"#ffffff\"/>\n",
    );
    let _ = writeln!(
        svg,
        "<text x=\"{left}\" y=\"22\" font-size=\"14\">Cost of doing what is named, of always the strong arm (target .90, confidence .95)</text>"
    );
    for tick in 0..=5 {
        let (y, share) = (top + height * (1.0 - f64::from(tick) / 5.0), tick * 20);
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\" stroke=\"#dddddd\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{share} %</text>",
            left + width,
            left - 6.0,
            y + 4.0
        );
        let (x, outcomes) = (left + width * f64::from(tick) / 5.0, tick * 200);
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{outcomes}</text>",
            top + height + 18.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">outcomes of each task</text>",
        left + width / 2.0,
        top + height + 38.0
    );
    for ((name, kept), colour) in curves.iter().zip(COLOURS) {
        let mut points = format!("{left},{top}");
        for (n, (cost, _)) in kept.iter().enumerate() {
            let x = left + width * count((n + 1) * LOOK) / 1_000.0;
            let _ = write!(points, " {x:.1},{:.1}", top + height * (1.0 - cost));
        }
        let last = kept.last().map_or(1.0, |k| k.0);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{:.1}\" fill=\"{colour}\">{name}, {:.0} %</text>",
            left + width + 8.0,
            top + height * (1.0 - last) + 4.0,
            last * 100.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}
