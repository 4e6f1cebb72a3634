//! What `flyball eval` prints: figures of routers side by side, the cross-validated table of the docs, and robustness.

use super::super::shown::table;
use super::*;
use crate::classify;
use crate::learn::disturb;
use crate::learn::evaluate::{EvalLine, Lift, ROUTERS};
use crate::route::starter_tier;

/// Prompts that robustness is told from, at most.
const ROBUST_ROWS: usize = 4_000;

pub(super) fn compared(
    args: &EvalArgs,
    rows: &[(&Outcome, Pair)],
    overlay: Option<&Overlay>,
) -> Result<(), String> {
    let mut slices: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, (outcome, _)) in rows.iter().enumerate() {
        let task = format!("{}/{}", outcome.source, outcome.task);
        let named = [
            ("all", true),
            (outcome.source.as_str(), !outcome.source.is_empty()),
            (task.as_str(), !outcome.task.is_empty()),
        ];
        for (name, _) in named.iter().filter(|(_, told)| *told) {
            slices.entry((*name).to_owned()).or_default().push(at);
        }
    }
    let routers = routers(rows, overlay);
    let mut out = Vec::new();
    for (name, places) in slices.iter().filter(|(_, places)| places.len() >= 2) {
        let pairs: Vec<Pair> = places.iter().map(|at| rows[*at].1).collect();
        let failed: Vec<f64> = pairs.iter().map(|p| 1.0 - p.weak).collect();
        let chances: Vec<f64> = places
            .iter()
            .map(|at| classify::grade(&rows[*at].0.features, overlay).difficulty)
            .collect();
        let figures: Vec<(&str, Figures)> = routers
            .iter()
            .map(|(router, scores)| {
                (
                    *router,
                    Figures::of(
                        &places.iter().map(|at| scores[*at]).collect::<Vec<_>>(),
                        &pairs,
                        DRAWS,
                    ),
                )
            })
            .collect();
        out.push((
            name.as_str(),
            places.len(),
            metrics::ends(&pairs),
            figures,
            metrics::calibration_error(&chances, &failed, evaluate::BINS),
        ));
    }
    if let Some(path) = &args.chart {
        let pairs: Vec<Pair> = rows.iter().map(|(_, p)| *p).collect();
        let curves: Vec<_> = routers
            .iter()
            .map(|(name, scores)| (*name, metrics::curve(scores, &pairs)))
            .collect();
        write_chart(
            path,
            &format!(
                "{} or {}, {} questions",
                args.weak.as_deref().unwrap_or("weak"),
                args.strong.as_deref().unwrap_or("strong"),
                rows.len()
            ),
            metrics::ends(&pairs),
            &curves,
        )?;
    }
    if args.json {
        let json: Vec<_> = out
            .iter()
            .map(|(slice, rows, ends, figures, ece)| {
                let by_router: BTreeMap<&str, &Figures> = figures.iter().map(|(r, f)| (*r, f)).collect();
                json!({"slice": slice, "rows": rows, "weak": ends.weak, "strong": ends.strong, "routers": by_router, "calibration_error": ece})
            })
            .collect();
        println!("{}", json!(json));
        return Ok(());
    }
    let mut shown = table(&[
        "questions",
        "n",
        "weak → strong",
        "router",
        "APGR (95 % limits)",
        "CPT50",
        "CPT80",
        "CPT95",
        "calibration error",
    ]);
    for (slice, rows, ends, figures, ece) in &out {
        for (at, (router, f)) in figures.iter().enumerate() {
            let first = |text: String| if at == 0 { text } else { String::new() };
            shown.add_row([
                first((*slice).to_owned()),
                first(rows.to_string()),
                first(format!(
                    "{:.1} → {:.1}",
                    ends.weak * 100.0,
                    ends.strong * 100.0
                )),
                (*router).to_owned(),
                format!("{:.3} ({:.3}–{:.3})", f.apgr, f.limits.0, f.limits.1),
                format!("{:.1} %", f.cpt50 * 100.0),
                format!("{:.1} %", f.cpt80 * 100.0),
                format!("{:.1} %", f.cpt95 * 100.0),
                first(format!("{ece:.3}")),
            ]);
        }
    }
    println!("{shown}");
    println!(
        "APGR: the average share of the strong model's advantage that is kept; 0.5 by chance. CPT80: the share of calls to the strong model that keeps 80 % of it."
    );
    Ok(())
}

fn write_chart(
    path: &Path,
    title: &str,
    ends: Pair,
    curves: &[(&str, Vec<metrics::Point>)],
) -> Result<(), String> {
    fs::write(path, chart::svg(title, ends, curves)).map_err(|e| format!("{}: {e}", path.display()))
}

pub(super) fn cross_validated(args: &EvalArgs) -> Result<(), String> {
    let data = rows_of(
        &[args.outcomes().to_path_buf()],
        &args.asks,
        args.recipe.as_deref(),
    )?;
    let began = std::time::Instant::now();
    let told = |what: &str| eprintln!("{:>4} s  {what}", began.elapsed().as_secs());
    let everyday = train::everyday(&data.asks, &data.rows, data.recipe.seed);
    // A task's name is told by the grader that is built in; it knows no outcome.
    let blend = data.recipe.blended();
    let grade =
        |raw: &model::Raw, f: &classify::Features| blend.score(raw, model::embedded().task(f).0);
    let rows = Data {
        rows: &data.rows,
        everyday: &everyday,
        asks: &data.asks,
        recipe: &data.recipe,
        grade: &grade,
    };
    let mut lines = rows.in_domain(&told);
    lines.extend(rows.unseen_tasks(&told));
    let sources = rows.unseen_sources(&told);
    lines.extend(sources.iter().cloned());
    told("the grader of all rows");
    let grader = train::grader(&data.recipe, &data.rows, &data.asks, String::new());
    let lifts = rows.fitted(&grader, &told);
    if let (Some(path), Some(line)) = (
        &args.chart,
        lines.iter().find(|l| l.slice == "unseen tasks: mix"),
    ) {
        let ends = Pair {
            weak: line.weak,
            strong: line.strong,
        };
        let curves: Vec<_> = ROUTERS
            .iter()
            .map(|r| (*r, line.routers[r].curve.clone()))
            .collect();
        write_chart(
            path,
            &format!("{}, {} questions", line.slice, line.rows),
            ends,
            &curves,
        )?;
    }
    if args.json {
        println!("{}", json!({"lines": lines, "fit": lifts}));
        return Ok(());
    }
    markdown(&lines, &sources, &lifts);
    Ok(())
}

/// The table of docs/grader.md.
fn markdown(lines: &[EvalLine], sources: &[EvalLine], lifts: &[Lift]) {
    println!(
        "| questions | n | weak → strong | gain: APGR (95 % limits) / CPT50 / CPT80 | difficulty | failure | baseline | length | random | oracle | calibration error |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for line in lines {
        let gain = &line.routers["gain"];
        let apgr = |r: &str| format!("{:.3}", line.routers[r].apgr);
        println!(
            "| {} | {} | {:.1} → {:.1} | {:.3} ({:.3}–{:.3}) / {:.1} / {:.1} | {} | {} | {} | {} | {} | {} | {} |",
            line.slice,
            line.rows,
            line.weak * 100.0,
            line.strong * 100.0,
            gain.apgr,
            gain.limits.0,
            gain.limits.1,
            gain.cpt50 * 100.0,
            gain.cpt80 * 100.0,
            apgr("difficulty"),
            apgr("failure"),
            apgr("baseline"),
            apgr("length"),
            apgr("random"),
            apgr("oracle"),
            line.calibration_error
                .map_or_else(String::new, |e| format!("{e:.3}")),
        );
    }
    let mean = |router| format!("{:.3}", evaluate::over(sources, router).0);
    println!(
        "| unseen source: mean | | | {} | {} | {} | {} | {} | | {} | |",
        mean("gain"),
        mean("difficulty"),
        mean("failure"),
        mean("baseline"),
        mean("length"),
        mean("oracle")
    );
    println!(
        "\n| after `fit` on unseen tasks | APGR before | lift | lift of the difficulty | correction used in | calibration error after |\n|---|---|---|---|---|---|"
    );
    for lift in lifts {
        println!(
            "| {} | {:.3} | {:+.3} | {:+.3} | {:.0} % of draws | {:.3} |",
            lift.slice,
            lift.before,
            lift.lift,
            lift.difficulty_lift,
            lift.used * 100.0,
            lift.calibration_error
        );
    }
    let worst = lifts
        .iter()
        .filter(|l| l.slice.starts_with("family"))
        .min_by(|a, b| a.lift.total_cmp(&b.lift));
    if let Some(worst) = worst {
        println!(
            "\nWorst family at 100 labels: {} ({:+.3}).",
            worst.slice, worst.lift
        );
    }
}

/// How many decisions on tiers stay the same under each disturbance.
pub(super) fn robust(args: &EvalArgs) -> Result<(), String> {
    let prompts: Vec<String> = lines_of(args.outcomes(), |line| {
        let row: serde_json::Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
        row["prompt"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "it has no \"prompt\"".to_owned())
    })?;
    let places =
        crate::learn::folds::sample(&(0..prompts.len()).collect::<Vec<_>>(), ROBUST_ROWS, 1);
    let tier = |prompt: &str| {
        let features = outcome::measured(prompt);
        let difficulty = classify::grade(&features, None);
        (starter_tier(&difficulty, &features), difficulty.difficulty)
    };
    let before: Vec<_> = places.iter().map(|at| tier(&prompts[*at])).collect();
    let mut shown = table(&[
        "said differently",
        "same tier",
        "difficulty moves by, on average",
    ]);
    let mut out = Vec::new();
    for disturbance in disturb::ALL {
        let after: Vec<_> = places
            .iter()
            .map(|at| tier(&(disturbance.apply)(&prompts[*at])))
            .collect();
        let both = || before.iter().zip(&after);
        let same = crate::learn::mean(both().map(|(a, b)| f64::from(u8::from(a.0 == b.0))));
        let moved = crate::learn::mean(both().map(|(a, b)| (a.1 - b.1).abs()));
        shown.add_row([
            disturbance.name.to_owned(),
            format!("{:.1} %", same * 100.0),
            format!("{moved:.3}"),
        ]);
        out.push(json!({"said_differently": disturbance.name, "same_tier": same, "moved": moved}));
    }
    if args.json {
        println!("{}", json!(out));
    } else {
        println!(
            "{shown}\n{} prompts of {}",
            places.len(),
            args.outcomes().display()
        );
    }
    Ok(())
}
