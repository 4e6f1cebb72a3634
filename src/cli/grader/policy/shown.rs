//! What `flyball eval --policy` shows: a table, JSON and a chart.

use super::{KEPT, Replay, Source, floors};
use crate::cli::shown;
use crate::learn::chart;
use crate::learn::metrics::{Pair, Point};
use crate::learn::policy::{self, Report, Tried, Worth};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What all sources together are called.
const ALL: &str = "all";

/// A source's name for people.
pub(super) fn source(name: &str) -> &str {
    if name.is_empty() { "(no source)" } else { name }
}

/// All sources together, each counting the same; `None` where there is only one.
fn pooled(replay: &Replay) -> Option<Report> {
    let reports: Vec<&Report> = replay.sources.iter().map(|s| &s.report).collect();
    policy::pooled(&reports).filter(|_| reports.len() > 1)
}

/// The curve of floors, and the setting of it that keeps enough for the least money.
struct Curve<'a> {
    tried: &'a [Tried],
    enough: Option<(f64, Worth)>,
}

impl<'a> Curve<'a> {
    fn of(replay: &Replay, report: &'a Report) -> Curve<'a> {
        let tried = &report.tried[replay.objectives.len()..];
        let at = policy::cheapest_that_keeps(tried, KEPT);
        let enough = at.and_then(|at| Some((floors().nth(at)?, tried[at].worth)));
        Curve { tried, enough }
    }
}

pub(super) fn table(replay: &Replay) {
    let mut figures = shown::table(&[
        "questions",
        "n",
        "decided by",
        "quality",
        "of strong's",
        "cost of 1,000",
        "of strong's",
        "random*",
        "length*",
        "chosen",
    ]);
    for s in &replay.sources {
        let strong = &replay.entrants[s.ends.strong].outcome;
        let weak = &replay.entrants[s.ends.weak].outcome;
        let ends = (
            format!("always-strong: {strong}"),
            format!("always-weak: {weak}"),
        );
        lines(&mut figures, replay, source(&s.name), (&s.report, &ends));
    }
    let all = pooled(replay);
    if let Some(all) = &all {
        let ends = ("always-strong".to_owned(), "always-weak".to_owned());
        lines(&mut figures, replay, ALL, (all, &ends));
    }
    println!("{figures}");
    for s in &replay.sources {
        println!("{}", kept(replay, source(&s.name), &s.report));
    }
    if let Some(all) = &all {
        println!("{}", kept(replay, ALL, all));
    }
    remarks(replay).iter().for_each(|said| println!("{said}"));
}

fn lines(
    shown: &mut comfy_table::Table,
    replay: &Replay,
    name: &str,
    (report, ends): (&Report, &(String, String)),
) {
    let mut first = Some([name.to_owned(), report.counted.to_string()]);
    let mut row = |by: String, worth: &Worth, more: [String; 3]| {
        let mut cells = first.take().unwrap_or_default().to_vec();
        cells.push(by);
        cells.extend(figures(worth));
        cells.extend(more);
        shown.add_row(cells);
    };
    for (objective, tried) in replay.objectives.iter().zip(&report.tried) {
        let own = match *objective == replay.objective {
            true => " (its own)",
            false => "",
        };
        let more = [
            percent(tried.random_at_equal_cost),
            percent(tried.length_at_equal_cost),
            chosen(replay, tried),
        ];
        row(
            format!("policy, {}{own}", objective.name()),
            &tried.worth,
            more,
        );
    }
    row(ends.0.clone(), &report.always_strong, Default::default());
    row(ends.1.clone(), &report.always_weak, Default::default());
    row("oracle".to_owned(), &report.oracle, Default::default());
}

fn figures(worth: &Worth) -> [String; 4] {
    let share = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), percent);
    [
        percent(worth.quality),
        share(worth.quality_share),
        format!("${:.4}", worth.cost_usd * 1000.0),
        share(worth.cost_share),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Models that are named in a cell at most.
const CHOSEN_SHOWN: usize = 3;

/// `llama-3.1-8b 80 %, gpt-4o 20 %`.
fn chosen(replay: &Replay, tried: &Tried) -> String {
    let mut shares: Vec<_> = tried.shares.iter().zip(&replay.entrants).collect();
    shares.retain(|(share, _)| **share > 0.0);
    shares.sort_by(|a, b| b.0.total_cmp(a.0));
    let shares = shares.iter().take(CHOSEN_SHOWN);
    let shares = shares.map(|(share, e)| format!("{} {:.0} %", e.outcome, **share * 100.0));
    shares.collect::<Vec<_>>().join(", ")
}

fn kept(replay: &Replay, name: &str, report: &Report) -> String {
    let part = KEPT * 100.0;
    match Curve::of(replay, report).enough {
        Some((floor, worth)) => format!(
            "{name}: the least cost of {part} % of always-strong's quality is {} of its cost, at floor {floor:.2} ({} of its quality).",
            worth.cost_share.map_or_else(|| "-".to_owned(), percent),
            worth.quality_share.map_or_else(|| "-".to_owned(), percent),
        ),
        None => format!("{name}: no floor keeps {part} % of always-strong's quality."),
    }
}

/// What has to be known to read the figures.
fn remarks(replay: &Replay) -> Vec<String> {
    let mut said = vec![format!(
        "Floors are those of a rule, from 0 to 1 under the objective {}. *Random and length: the quality where chance or the length of prompts chooses between weak and strong at equal cost.",
        replay.objective.name()
    )];
    if replay.sources.len() > 1 {
        said.push(format!(
            "\"{ALL}\" is the mean of the sources, each weighed the same; weak and strong are those of each source."
        ));
    }
    let any: Vec<String> = (replay.entrants.iter())
        .filter(|e| e.arm.effort.is_none() && e.arm.model.accepts.efforts.len() > 1)
        .map(|e| e.arm.model.name.clone())
        .collect();
    if !any.is_empty() {
        said.push(format!(
            "One name in the outcomes stands for every effort of {}; --as MODEL@EFFORT=OUTCOME_NAME keeps it to one.",
            any.join(", ")
        ));
    }
    if !replay.left_out.is_empty() {
        said.push(format!(
            "Left out, since there are no outcomes of them: {}. --as names them if the outcomes call them otherwise.",
            replay.left_out.join(", ")
        ));
    }
    for (name, rows) in &replay.unmatched {
        said.push(format!(
            "{}: none of its rows ({rows}) is counted, since fewer than two models of the policy have outcomes there.",
            source(name)
        ));
    }
    for s in &replay.sources {
        said.extend(uncounted(s));
        let [told, tokens, expected] = s.basis;
        said.push(format!(
            "{}: rows whose costs the outcomes tell: {told}; whose tokens they tell, at the policy's prices: {tokens}; whose costs are what flyball expects: {expected}.",
            source(&s.name)
        ));
    }
    said
}

fn uncounted(s: &Source) -> Vec<String> {
    let mut said = Vec::new();
    if s.report.unanswered > 0 {
        said.push(format!(
            "{}: rows that are not counted, since a model that was chosen has no score there, or always-weak or always-strong has none: {}.",
            source(&s.name),
            s.report.unanswered
        ));
    }
    if let Some(why) = &s.refused.why {
        said.push(format!(
            "{}: rows that are not counted, since the policy refuses them: {}. The first: {why}",
            source(&s.name),
            s.refused.rows
        ));
    }
    said
}

pub(super) fn json(replay: &Replay) -> Value {
    let sources = replay.sources.iter().map(|s| {
        let models = s.entrants.iter().map(|at| &replay.entrants[*at].outcome);
        let mut told = told(replay, &s.report);
        told["source"] = json!(s.name);
        told["models"] = json!(models.collect::<Vec<_>>());
        told["weak"] = json!(replay.entrants[s.ends.weak].outcome);
        told["strong"] = json!(replay.entrants[s.ends.strong].outcome);
        told["refused"] = json!({"rows": s.refused.rows, "why": s.refused.why});
        let [row, tokens, expected] = s.basis;
        told["cost_from"] = json!({"cost_usd": row, "tokens": tokens, "expected": expected});
        told
    });
    let entrants = replay.entrants.iter();
    let models = entrants.map(|e| json!({"outcome": e.outcome, "model": e.arm.model.name, "effort": e.arm.effort.map(|e| e.name())}));
    let unmatched = replay.unmatched.iter();
    json!({
        "objective": replay.objective.name(),
        "models": models.collect::<Vec<_>>(),
        "left_out": replay.left_out,
        "unmatched_sources": unmatched.map(|(name, rows)| json!({"source": name, "rows": rows})).collect::<Vec<_>>(),
        "sources": sources.collect::<Vec<_>>(),
        "all": pooled(replay).map(|all| told(replay, &all)),
    })
}

/// The figures of one source, or of all.
fn told(replay: &Replay, report: &Report) -> Value {
    let tried = |tried: &Tried| {
        let mut told = json!(tried);
        let shares = tried.shares.iter().zip(&replay.entrants);
        let shares = shares.filter(|(share, _)| **share > 0.0);
        told["chosen"] = shares
            .map(|(share, e)| (e.outcome.clone(), json!(share)))
            .collect();
        told
    };
    let objectives = replay.objectives.iter().zip(&report.tried);
    let objectives = objectives.map(|(objective, way)| (objective.name().to_owned(), tried(way)));
    let curve = Curve::of(replay, report);
    let floors = floors().zip(curve.tried).map(|(floor, way)| {
        let mut told = tried(way);
        told["floor"] = json!(floor);
        told
    });
    let enough = curve.enough.map(|(floor, worth)| {
        let mut told = json!(worth);
        told["floor"] = json!(floor);
        told
    });
    json!({
        "rows": report.counted,
        "without_score": report.unanswered,
        "objectives": objectives.collect::<serde_json::Map<_, _>>(),
        "always_strong": report.always_strong,
        "always_weak": report.always_weak,
        "oracle": report.oracle,
        "floors": floors.collect::<Vec<_>>(),
        "cost_of_95_percent": enough,
    })
}

/// The curve of floors between chance and length; the objectives and the oracle as dots.
pub(super) fn chart(path: &Path, replay: &Replay) -> Result<(), String> {
    let all = pooled(replay);
    let report = all.as_ref().unwrap_or(&replay.sources[0].report);
    let point = |worth: &Worth| Point {
        strong_share: worth.cost_share.unwrap_or_default(),
        quality: worth.quality,
    };
    let floors = Curve::of(replay, report).tried.iter();
    let random = vec![point(&report.always_weak), point(&report.always_strong)];
    let mut curves = vec![
        ("policy by floor", floors.map(|t| point(&t.worth)).collect()),
        ("length", report.length.iter().map(point).collect()),
        ("random", random),
    ];
    for (objective, tried) in replay.objectives.iter().zip(&report.tried) {
        curves.push((objective.name(), vec![point(&tried.worth)]));
    }
    curves.push(("oracle", vec![point(&report.oracle)]));
    let ends = Pair {
        weak: report.always_weak.quality,
        strong: report.always_strong.quality,
    };
    let names: Vec<&str> = replay.sources.iter().map(|s| source(&s.name)).collect();
    let title = format!("{}, {} questions", names.join(", "), report.counted);
    fs::write(path, chart::svg_of_costs(&title, ends, &curves))
        .map_err(|e| format!("{}: {e}", path.display()))
}
