//! `flyball train`, `fit` and `eval`: the grader from outcomes, an operator's overlay, and how good both are.

mod policy;
mod replay;
mod tables;

use super::Common;
use crate::classify::model::{self, Grader};
use crate::classify::overlay::Overlay;
use crate::learn::evaluate::{self, Data, Figures};
use crate::learn::fit::{self, Label};
use crate::learn::metrics::{self, Pair};
use crate::learn::outcome::{self, JudgedAsk, Outcome};
use crate::learn::recipe::{self, Labelled, Recipe};
use crate::learn::{chart, train};
use clap::Args;
pub(super) use policy::without_infinities;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Draws for the limits of an APGR.
const DRAWS: u64 = 100;

#[derive(Args, Debug)]
pub(super) struct TrainArgs {
    /// Outcome files, one JSON a line: {"source", "task", "prompt", "scores": {MODEL: 0..1}, "outchars": {MODEL: characters}}; .gz too
    #[arg(long, required = true, value_name = "FILE")]
    outcomes: Vec<PathBuf>,
    /// Prompts that somebody has judged, one JSON a line: {"prompt", "task", "hard": 0 or 1}
    #[arg(long, value_name = "FILE")]
    asks: Vec<PathBuf>,
    /// Which models of which source count as weak and strong [default: the one of the grader that is built in]
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Where to write the weights
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct FitArgs {
    /// Your outcomes, one JSON a line: {"prompt", "scores": {MODEL: 0..1}}, {"prompt", "preferred": MODEL or "tie", "models": [A, B]} or
    /// {"prompt", "model", "thumb": "up" or "down"}; .gz too
    #[arg(long, value_name = "FILE")]
    outcomes: PathBuf,
    /// The weak model's name in the outcomes
    #[arg(long, value_name = "NAME")]
    weak: String,
    /// The strong model's name in the outcomes
    #[arg(long, value_name = "NAME")]
    strong: String,
    /// Where to write the overlay; `[grader] overlay` in flyball.toml and `classify --fit` use it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The report as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub(super) struct EvalArgs {
    /// Outcomes, one JSON a line as for `fit`; .gz too
    #[arg(long, value_name = "FILE", required_unless_present = "replay")]
    outcomes: Option<PathBuf>,
    /// The weak model's name in the outcomes
    #[arg(long, value_name = "NAME", required_unless_present_any = ["cross_validate", "robustness", "policy", "replay"])]
    weak: Option<String>,
    /// The strong model's name in the outcomes
    #[arg(long, value_name = "NAME", required_unless_present_any = ["cross_validate", "robustness", "policy", "replay"])]
    strong: Option<String>,
    /// An overlay that `flyball fit` wrote
    #[arg(long, value_name = "FILE")]
    fit: Option<PathBuf>,
    /// Train anew on parts of the outcomes and test on the others: the table of docs/grader.md
    #[arg(long)]
    cross_validate: bool,
    /// How many decisions stay the same when the prompts are said a little differently
    #[arg(long)]
    robustness: bool,
    #[command(flatten)]
    replay: replay::ReplayArgs,
    #[command(flatten)]
    policy: policy::PolicyArgs,
    /// With --cross-validate: prompts that somebody has judged
    #[arg(long, value_name = "FILE")]
    asks: Vec<PathBuf>,
    /// With --cross-validate: the recipe [default: the one of the grader that is built in]
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Write the cost–quality curve as SVG
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl EvalArgs {
    /// The file of outcomes. Only a replay has none.
    fn outcomes(&self) -> &Path {
        self.outcomes.as_deref().unwrap_or(Path::new(""))
    }
}

/// A file's text, unpacked where its name ends in .gz.
fn text_of(path: &Path) -> Result<String, String> {
    let broken = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = String::new();
    let file = fs::File::open(path).map_err(broken)?;
    if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .map_err(broken)?;
    } else {
        std::io::BufReader::new(file)
            .read_to_string(&mut text)
            .map_err(broken)?;
    }
    Ok(text)
}

/// Every line of a file, read; the first mistakes with their lines.
pub(super) fn lines_of<T>(
    path: &Path,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let text = text_of(path)?;
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        match read(line) {
            Ok(row) => rows.push(row),
            Err(why) => wrong.push(format!("{}:{}: {why}", path.display(), number + 1)),
        }
    }
    if wrong.is_empty() {
        return Ok(rows);
    }
    let more = wrong.len().saturating_sub(5);
    wrong.truncate(5);
    if more > 0 {
        wrong.push(format!("and {more} lines more"));
    }
    Err(wrong.join("\n"))
}

fn recipe_of(path: Option<&Path>) -> Result<Recipe, String> {
    match path {
        None => Recipe::read(recipe::EMBEDDED),
        Some(path) => Recipe::read(&text_of(path)?).map_err(|e| format!("{}: {e}", path.display())),
    }
}

struct Rows {
    rows: Vec<Labelled>,
    asks: Vec<JudgedAsk>,
    recipe: Recipe,
    inputs: BTreeMap<String, String>,
}

fn rows_of(outcomes: &[PathBuf], asks: &[PathBuf], recipe: Option<&Path>) -> Result<Rows, String> {
    let recipe = recipe_of(recipe)?;
    let mut rows = Vec::new();
    let mut inputs = BTreeMap::new();
    for path in outcomes {
        rows.extend(
            lines_of(path, outcome::read)?
                .iter()
                .filter_map(|o| recipe.label(o)),
        );
        inputs.insert(name_of(path), sha256(path)?);
    }
    if rows.is_empty() {
        let names: Vec<&str> = recipe.sources.iter().map(|s| s.name.as_str()).collect();
        return Err(format!(
            "no outcome is of a source that the recipe names ({}), with both of its models",
            names.join(", ")
        ));
    }
    let mut named = Vec::new();
    for path in asks {
        named.extend(lines_of(path, outcome::read_ask)?);
        inputs.insert(name_of(path), sha256(path)?);
    }
    Ok(Rows {
        rows,
        asks: named,
        recipe,
        inputs,
    })
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

fn sha256(path: &Path) -> Result<String, String> {
    use sha2::{Digest, Sha256};
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(Sha256::digest(&bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect())
}

pub(super) fn train(args: &TrainArgs) -> Result<(), String> {
    let data = rows_of(&args.outcomes, &args.asks, args.recipe.as_deref())?;
    eprintln!(
        "learning from {} outcomes and {} judged asks ...",
        data.rows.len(),
        data.asks.len()
    );
    let sources: BTreeMap<&str, usize> = data
        .recipe
        .sources
        .iter()
        .enumerate()
        .map(|(at, s)| {
            (
                s.name.as_str(),
                data.rows.iter().filter(|r| r.source == at).count(),
            )
        })
        .collect();
    let card = json!({
        "about": data.recipe.about,
        "seed": data.recipe.seed,
        "inputs_sha256": data.inputs,
        "outcomes_by_source": sources,
        "judged_asks": data.asks.len(),
        "flyball": env!("CARGO_PKG_VERSION"),
    });
    let grader = train::grader(&data.recipe, &data.rows, &data.asks, card.to_string());
    let bytes = grader.bytes();
    Grader::read(&bytes).map_err(|e| format!("the weights cannot be read back: {e}"))?;
    fs::write(&args.out, &bytes).map_err(|e| format!("{}: {e}", args.out.display()))?;
    println!("{}: {} bytes", args.out.display(), bytes.len());
    println!(
        "{}",
        serde_json::to_string_pretty(&card).expect("a card is JSON")
    );
    Ok(())
}

/// Outcomes of two models.
struct Compared {
    outcomes: Vec<Outcome>,
    weak: String,
    strong: String,
}

impl Compared {
    fn read(path: &Path, weak: &str, strong: &str) -> Result<Compared, String> {
        let outcomes = lines_of(path, outcome::read)?;
        for name in [weak, strong] {
            if !outcomes.iter().any(|o| o.scores.contains_key(name)) {
                let mut known: Vec<&str> = outcomes
                    .iter()
                    .flat_map(|o| o.scores.keys().map(String::as_str))
                    .collect();
                known.sort_unstable();
                known.dedup();
                known.truncate(20);
                return Err(format!(
                    "no outcome has a score of \"{name}\"; there are scores of {}",
                    known.join(", ")
                ));
            }
        }
        Ok(Compared {
            outcomes,
            weak: weak.to_owned(),
            strong: strong.to_owned(),
        })
    }

    fn labels(&self) -> Vec<Label<'_>> {
        let label = |o: &'_ Outcome| {
            (
                o.scores.get(&self.weak).copied(),
                o.scores.get(&self.strong).copied(),
            )
        };
        self.outcomes
            .iter()
            .map(|o| {
                let (weak, strong) = label(o);
                Label {
                    features: &o.features,
                    weak,
                    strong,
                }
            })
            .collect()
    }

    /// Outcomes in which both models have a score.
    fn pairs(&self) -> Vec<(&Outcome, Pair)> {
        let pair = |o: &Outcome| {
            Some(Pair {
                weak: *o.scores.get(&self.weak)?,
                strong: *o.scores.get(&self.strong)?,
            })
        };
        self.outcomes
            .iter()
            .filter_map(|o| Some((o, pair(o)?)))
            .collect()
    }
}

pub(super) fn fit(args: &FitArgs) -> Result<(), String> {
    let compared = Compared::read(&args.outcomes, &args.weak, &args.strong)?;
    let overlay = fit::fit(
        model::embedded(),
        &compared.labels(),
        &args.weak,
        &args.strong,
    )?;
    let text = serde_json::to_string(&overlay).expect("an overlay is JSON");
    fs::write(&args.out, &text).map_err(|e| format!("{}: {e}", args.out.display()))?;
    if args.json {
        println!(
            "{}",
            json!({"used": overlay.used, "because": overlay.because, "labels": overlay.labels, "bytes": text.len(), "out": args.out})
        );
        return Ok(());
    }
    println!("{}", overlay.because);
    println!(
        "{}: {} bytes, from {} outcomes of {} and {}",
        args.out.display(),
        text.len(),
        overlay.labels,
        overlay.weak,
        overlay.strong
    );
    println!(
        "To use it, put this into flyball.toml:\n[grader]\noverlay = \"{}\"",
        args.out.display()
    );
    Ok(())
}

/// Reads an overlay's file.
pub(super) fn overlay_of(path: &Path) -> Result<Overlay, String> {
    Overlay::read(&text_of(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

pub(super) fn eval(common: &Common, args: &EvalArgs) -> Result<(), String> {
    if args.replay.asked() {
        return replay::eval(common, args);
    }
    if args.cross_validate {
        return tables::cross_validated(args);
    }
    if args.robustness {
        return tables::robust(args);
    }
    if let Some(file) = args.policy.file() {
        return policy::eval(common, args, file);
    }
    let (weak, strong) = (
        args.weak.as_deref().unwrap_or_default(),
        args.strong.as_deref().unwrap_or_default(),
    );
    let compared = Compared::read(args.outcomes(), weak, strong)?;
    let overlay = args.fit.as_deref().map(overlay_of).transpose()?;
    let pairs = compared.pairs();
    if pairs.len() < 2 {
        return Err("fewer than two outcomes have scores of both models".into());
    }
    tables::compared(args, &pairs, overlay.as_ref())
}

/// The routers that are set side by side, over outcomes.
fn routers(rows: &[(&Outcome, Pair)], overlay: Option<&Overlay>) -> Vec<(&'static str, Vec<f64>)> {
    let grader = model::embedded();
    let pairs: Vec<Pair> = rows.iter().map(|(_, p)| *p).collect();
    let raws: Vec<_> = rows
        .iter()
        .map(|(o, _)| grader.scores.raw(&o.features))
        .collect();
    let mut routers = Vec::new();
    if let Some(own) = overlay {
        routers.push((
            "after fit",
            rows.iter()
                .zip(&raws)
                .map(|((o, _), raw)| own.score(raw, &o.features))
                .collect(),
        ));
    }
    routers.push(("gain", raws.iter().map(|r| f64::from(r.gain())).collect()));
    routers.push((
        "difficulty",
        raws.iter()
            .zip(rows)
            .map(|(raw, (o, _))| f64::from(grader.blend.score(raw, grader.task(&o.features).0)))
            .collect(),
    ));
    routers.push((
        "failure",
        raws.iter().map(|r| f64::from(r.failure())).collect(),
    ));
    routers.push(("length", rows.iter().map(|(o, _)| o.chars as f64).collect()));
    routers.push(("random", metrics::random(rows.len(), 3)));
    routers.push(("oracle", metrics::oracle(&pairs)));
    routers
}
