//! How good a grader is: the table of the docs. Every figure is of rows that the heads had not seen.

use super::boost::{self, Binned, Terms};
use super::fit::{self, Label};
use super::folds;
use super::metrics::{self, Pair, Point};
use super::outcome::JudgedAsk;
use super::recipe::{Labelled, Recipe};
use super::train::{self, Apart, Calibrated};
use super::{mean, moments};
use crate::classify::model::{Everyday, Grader, Raw};
use crate::classify::{Features, signals};
use serde::Serialize;
use std::collections::BTreeMap;

/// Rows of each source in the mix of sources.
pub const MIX_ROWS: usize = 1_400;
/// Folds.
pub const FOLDS: usize = 5;
/// Bins of the calibration error.
pub const BINS: u32 = 15;
/// Draws for the limits of an APGR.
pub const DRAWS: u64 = 100;
/// The signals of the plain baseline: counts, shares and cues that need no thought.
const BASELINE: [&str; 47] = [
    "chars",
    "words",
    "lines",
    "sentences",
    "longest_word",
    "word_variety",
    "digit_share",
    "numbers",
    "questions",
    "commas",
    "operators",
    "dollars",
    "latex",
    "parens",
    "code_share",
    "options",
    "upper_share",
    "foreign_share",
    "cue_summarise",
    "cue_translate",
    "cue_creative",
    "cue_simple_question",
    "cue_extract",
    "cue_code",
    "cue_debug",
    "cue_maths",
    "cue_logic",
    "cue_multi_step",
    "negation_share",
    "quantifier_share",
    "conditional_share",
    "comparison_share",
    "sequence_share",
    "time_share",
    "format_share",
    "example_share",
    "constraint_share",
    "claim_share",
    "unit_share",
    "grid_share",
    "text_share",
    "graph_share",
    "list_share",
    "game_share",
    "rule_share",
    "choice_share",
    "explain_share",
];

/// The figures of one router on one set of questions.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Average share of the gap recovered; 0.5 by chance.
    pub apgr: f64,
    /// Between these lie 95 of 100 bootstrap draws.
    pub limits: (f64, f64),
    /// Share of strong calls that recovers half of the gap.
    pub cpt50: f64,
    /// That recovers 80 %.
    pub cpt80: f64,
    /// That recovers 95 %.
    pub cpt95: f64,
    /// The curve itself.
    pub curve: Vec<Point>,
}

impl Figures {
    /// The figures of a router.
    #[must_use]
    pub fn of(router: &[f64], pairs: &[Pair], draws: u64) -> Figures {
        Figures {
            apgr: metrics::apgr(router, pairs),
            limits: metrics::apgr_limits(router, pairs, draws),
            cpt50: metrics::cpt(router, pairs, 0.5),
            cpt80: metrics::cpt(router, pairs, 0.8),
            cpt95: metrics::cpt(router, pairs, 0.95),
            curve: metrics::curve(router, pairs),
        }
    }

    /// The mean of figures that were measured alike.
    fn average(all: &[Figures]) -> Figures {
        let of = |what: fn(&Figures) -> f64| mean(all.iter().map(what));
        Figures {
            apgr: of(|f| f.apgr),
            limits: (of(|f| f.limits.0), of(|f| f.limits.1)),
            cpt50: of(|f| f.cpt50),
            cpt80: of(|f| f.cpt80),
            cpt95: of(|f| f.cpt95),
            curve: all.first().map_or_else(Vec::new, |f| f.curve.clone()),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct EvalLine {
    /// What was kept apart, and whose questions these are.
    pub slice: String,
    /// Questions.
    pub rows: usize,
    /// Mean score of the weak and of the strong model, 0 to 1.
    pub weak: f64,
    /// Of the strong model.
    pub strong: f64,
    /// By router.
    pub routers: BTreeMap<&'static str, Figures>,
    /// Calibration error of the difficulty.
    pub calibration_error: Option<f64>,
}

/// What routers are called.
pub const ROUTERS: [&str; 7] = [
    "gain",
    "difficulty",
    "failure",
    "baseline",
    "length",
    "random",
    "oracle",
];

/// The rows, and what every grader knows besides.
pub struct Data<'a> {
    /// Rows of real outcomes.
    pub rows: &'a [Labelled],
    /// What people call hard; it has seen no outcome.
    pub everyday: &'a Everyday,
    /// What it was learned from.
    pub asks: &'a [JudgedAsk],
    /// What they are.
    pub recipe: &'a Recipe,
    /// Blends difficulty.
    pub grade: &'a dyn Fn(&Raw, &Features) -> f32,
}

struct Tested {
    raws: Vec<Raw>,
    baseline: Vec<f64>,
    chances: Option<Vec<f64>>,
}

impl Data<'_> {
    fn of_source(&self, source: usize) -> Vec<&Labelled> {
        self.rows.iter().filter(|r| r.source == source).collect()
    }

    /// The same number of rows of each source.
    fn mix(&self, seed: u64) -> Vec<&Labelled> {
        let mut rows = Vec::new();
        for source in 0..self.recipe.sources.len() {
            let places: Vec<usize> = (0..self.rows.len())
                .filter(|at| self.rows[*at].source == source)
                .collect();
            rows.extend(
                folds::sample(&places, MIX_ROWS, seed)
                    .into_iter()
                    .map(|at| &self.rows[at]),
            );
        }
        rows
    }

    /// In-domain lines, one a source and the mix. `told` hears of each line as it is done.
    #[must_use]
    pub fn in_domain(&self, told: &dyn Fn(&str)) -> Vec<EvalLine> {
        let mut lines: Vec<EvalLine> = (0..self.recipe.sources.len())
            .map(|source| {
                let rows = self.of_source(source);
                let name = format!("in-domain: {}", self.recipe.sources[source].name);
                told(&name);
                line(
                    &name,
                    &rows,
                    &self.tested(&rows, &by_prompt(&rows, 1), None),
                    self.grade,
                )
            })
            .collect();
        told("in-domain: mix");
        lines.push(self.mixed("in-domain: mix", Apart::Prompts));
        lines
    }

    /// The mix with whole tasks kept apart.
    #[must_use]
    pub fn unseen_tasks(&self, told: &dyn Fn(&str)) -> Vec<EvalLine> {
        told("unseen tasks: mix");
        let mut lines = vec![self.mixed("unseen tasks: mix", Apart::Tasks)];
        for source in 0..self.recipe.sources.len() {
            let rows: Vec<&Labelled> = self.rows.iter().collect();
            let name = format!("unseen tasks: {}", self.recipe.sources[source].name);
            if source == 0 {
                told("unseen tasks: by source");
            }
            lines.push(EvalLine {
                slice: name,
                ..line(
                    "",
                    &rows[..0],
                    &Tested {
                        raws: Vec::new(),
                        baseline: Vec::new(),
                        chances: None,
                    },
                    self.grade,
                )
            });
        }
        let rows: Vec<&Labelled> = self.rows.iter().collect();
        let tested = self.tested(&rows, &by_group(&rows), None);
        for (source, into) in lines.iter_mut().skip(1).enumerate() {
            let places: Vec<usize> = (0..rows.len())
                .filter(|at| rows[*at].source == source)
                .collect();
            *into = line(
                &into.slice.clone(),
                &pick(&rows, &places),
                &tested.picked(&places),
                self.grade,
            );
        }
        lines
    }

    fn mixed(&self, name: &str, apart: Apart) -> EvalLine {
        let lines: Vec<EvalLine> = [1, 2, 3]
            .map(|seed| {
                let rows = self.mix(seed);
                let fold = match apart {
                    Apart::Prompts => by_prompt(&rows, seed),
                    Apart::Tasks => by_group(&rows),
                };
                line(
                    name,
                    &rows,
                    &self.tested(&rows, &fold, (seed == 1).then_some(apart)),
                    self.grade,
                )
            })
            .to_vec();
        EvalLine {
            routers: ROUTERS
                .iter()
                .map(|r| {
                    (
                        *r,
                        Figures::average(
                            &lines
                                .iter()
                                .map(|l| l.routers[r].clone())
                                .collect::<Vec<_>>(),
                        ),
                    )
                })
                .collect(),
            weak: mean(lines.iter().map(|l| l.weak)),
            strong: mean(lines.iter().map(|l| l.strong)),
            ..lines[0].clone()
        }
    }

    /// Each source by heads that have seen only the others.
    #[must_use]
    pub fn unseen_sources(&self, told: &dyn Fn(&str)) -> Vec<EvalLine> {
        (0..self.recipe.sources.len())
            .map(|source| {
                let name = format!("unseen source: {}", self.recipe.sources[source].name);
                told(&name);
                let rows = self.of_source(source);
                line(&name, &rows, &self.by_others(source, &rows), self.grade)
            })
            .collect()
    }

    fn by_others(&self, source: usize, rows: &[&Labelled]) -> Tested {
        let others: Vec<&Labelled> = self.rows.iter().filter(|r| r.source != source).collect();
        let heads = train::scores(&others, self.everyday, self.recipe.seed);
        let plain = baseline(&others);
        Tested {
            raws: rows.iter().map(|r| heads.raw(&r.features)).collect(),
            baseline: rows.iter().map(|r| plain(r)).collect(),
            chances: None,
        }
    }

    fn tested(&self, rows: &[&Labelled], fold: &[usize], calibrate: Option<Apart>) -> Tested {
        let mut plain = vec![0.0; rows.len()];
        let mut chances = vec![0.0; rows.len()];
        let raws = train::crossed(rows, self.everyday, fold, self.recipe.seed);
        for f in 0..FOLDS {
            let learn: Vec<&Labelled> = rows
                .iter()
                .zip(fold)
                .filter(|(_, x)| **x != f)
                .map(|(r, _)| *r)
                .collect();
            let says = baseline(&learn);
            let curve: Option<Calibrated> = calibrate.map(|apart| {
                train::calibrate(
                    &learn,
                    self.everyday,
                    self.asks,
                    self.grade,
                    apart,
                    self.recipe.seed,
                )
            });
            for at in (0..rows.len()).filter(|at| fold[*at] == f) {
                plain[at] = says(rows[at]);
                chances[at] = curve.as_ref().map_or(0.0, |c| {
                    let score = (self.grade)(&raws[at], &rows[at].features);
                    c.difficulty.chance(f64::from(score))
                });
            }
        }
        Tested {
            raws,
            baseline: plain,
            chances: calibrate.is_some().then_some(chances),
        }
    }

    /// What an overlay adds on tasks that the grader has not seen.
    #[must_use]
    pub fn fitted(&self, grader: &Grader, told: &dyn Fn(&str)) -> Vec<Lift> {
        let rows: Vec<&Labelled> = self.rows.iter().collect();
        told("after fit: heads that have not seen the tasks");
        let fold = by_group(&rows);
        let raws = train::crossed(&rows, self.everyday, &fold, self.recipe.seed);
        let mut lifts = Vec::new();
        for (labels, draws) in [(100, 10), (300, 6), (1_500, 2)] {
            told(&format!("after fit on {labels} labels"));
            let families = (0..FOLDS).map(|f| {
                (0..rows.len())
                    .filter(|at| fold[*at] == f)
                    .collect::<Vec<_>>()
            });
            let found: Vec<Lifted> = families
                .flat_map(|places| (0..draws).map(move |d| (places.clone(), d)))
                .map(|(places, d)| lifted(grader, &rows, &raws, &places, labels, d))
                .collect();
            lifts.push(Lift::mean_of(
                format!("a fifth of all tasks, {labels} labels"),
                labels,
                &found,
            ));
        }
        lifts.extend(self.fitted_sources(grader, &rows, told));
        told("harm by fit, family by family");
        lifts.extend(self.harm(grader, &rows, &raws));
        lifts
    }

    /// What an overlay adds on a source of which the grader has seen nothing.
    fn fitted_sources(
        &self,
        grader: &Grader,
        rows: &[&Labelled],
        told: &dyn Fn(&str),
    ) -> Vec<Lift> {
        let source: Vec<usize> = rows.iter().map(|r| r.source).collect();
        told("after fit: heads that have not seen the source");
        let raws = train::crossed(rows, self.everyday, &source, self.recipe.seed);
        let mut lifts = Vec::new();
        for (at, name) in self.recipe.sources.iter().map(|s| &s.name).enumerate() {
            let places: Vec<usize> = (0..rows.len()).filter(|row| source[*row] == at).collect();
            for (labels, draws) in [(100, 20), (300, 10), (1_500, 3)] {
                let slice = format!("unseen source {name}, {labels} labels");
                told(&slice);
                let found: Vec<Lifted> = (0..draws)
                    .map(|d| lifted(grader, rows, &raws, &places, labels, d))
                    .collect();
                lifts.push(Lift::mean_of(slice, labels, &found));
            }
        }
        lifts
    }

    /// Families with enough rows to draw 100 labels and test on others, and with a gap that can be recovered.
    fn harm(&self, grader: &Grader, rows: &[&Labelled], raws: &[Raw]) -> Vec<Lift> {
        let mut families: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            families.entry(&row.group).or_default().push(at);
        }
        let mut lifts = Vec::new();
        for (name, places) in families {
            let pairs = pairs(&pick(rows, &places));
            let ends = metrics::ends(&pairs);
            if places.len() < HARM_ROWS || ends.strong - ends.weak < HARM_GAP {
                continue;
            }
            let found: Vec<Lifted> = (0..HARM_DRAWS)
                .map(|d| lifted(grader, rows, raws, &places, 100, d))
                .collect();
            lifts.push(Lift::mean_of(
                format!("family {name}, 100 labels"),
                100,
                &found,
            ));
        }
        lifts
    }
}

/// A family must have so many rows for its harm to be told.
const HARM_ROWS: usize = 175;
/// And a gap between strong and weak of so much: APGR divides by it.
const HARM_GAP: f64 = 0.05;
const HARM_DRAWS: u64 = 50;

/// What fitting added, on average over draws of labels.
#[derive(Clone, Debug, Serialize)]
pub struct Lift {
    /// Whose questions these are.
    pub slice: String,
    /// Labels drawn.
    pub labels: usize,
    /// APGR before, on the questions that were not drawn.
    pub before: f64,
    /// APGR after less before.
    pub lift: f64,
    /// The same of the difficulty.
    pub difficulty_lift: f64,
    /// The share of draws in which the correction was used.
    pub used: f64,
    /// Calibration error of the difficulty after fitting.
    pub calibration_error: f64,
}

struct Lifted {
    before: f64,
    after: f64,
    difficulty_before: f64,
    difficulty_after: f64,
    used: bool,
    calibration_error: f64,
}

impl Lift {
    fn mean_of(slice: String, labels: usize, found: &[Lifted]) -> Lift {
        Lift {
            slice,
            labels,
            before: mean(found.iter().map(|l| l.before)),
            lift: mean(found.iter().map(|l| l.after - l.before)),
            difficulty_lift: mean(
                found
                    .iter()
                    .map(|l| l.difficulty_after - l.difficulty_before),
            ),
            used: mean(found.iter().map(|l| f64::from(u8::from(l.used)))),
            calibration_error: mean(found.iter().map(|l| l.calibration_error)),
        }
    }
}

fn lifted(
    grader: &Grader,
    rows: &[&Labelled],
    raws: &[Raw],
    places: &[usize],
    labels: usize,
    draw: u64,
) -> Lifted {
    let drawn = folds::sample(places, labels, draw + 1_000);
    let rest: Vec<usize> = places
        .iter()
        .copied()
        .filter(|at| drawn.binary_search(at).is_err())
        .collect();
    let told: Vec<(Label<'_>, Raw)> = drawn
        .iter()
        .map(|at| {
            let row = rows[*at];
            let label = Label {
                features: &row.features,
                weak: Some(row.weak),
                strong: Some(row.strong),
            };
            (label, raws[*at])
        })
        .collect();
    let overlay = fit::fit_said(grader, &told, "weak", "strong").expect("enough labels");
    let truth = pairs(&pick(rows, &rest));
    let before: Vec<f64> = rest.iter().map(|at| f64::from(raws[*at].gain())).collect();
    let after: Vec<f64> = rest
        .iter()
        .map(|at| overlay.score(&raws[*at], &rows[*at].features))
        .collect();
    let graded: Vec<f64> = rest
        .iter()
        .map(|at| {
            let task = grader.task(&rows[*at].features).0;
            f64::from(grader.blend.score(&raws[*at], task))
        })
        .collect();
    let chances: Vec<f64> = rest
        .iter()
        .map(|at| overlay.chance(grader.failure.chance(f64::from(raws[*at].failure()))))
        .collect();
    let failed: Vec<f64> = truth.iter().map(|p| 1.0 - p.weak).collect();
    Lifted {
        before: metrics::apgr(&before, &truth),
        after: metrics::apgr(&after, &truth),
        difficulty_before: metrics::apgr(&graded, &truth),
        difficulty_after: metrics::apgr(&chances, &truth),
        used: overlay.used,
        calibration_error: metrics::calibration_error(&chances, &failed, BINS),
    }
}

impl Tested {
    fn picked(&self, places: &[usize]) -> Tested {
        Tested {
            raws: places.iter().map(|at| self.raws[*at]).collect(),
            baseline: places.iter().map(|at| self.baseline[*at]).collect(),
            chances: self
                .chances
                .as_ref()
                .map(|c| places.iter().map(|at| c[*at]).collect()),
        }
    }
}

fn pick<'a>(rows: &[&'a Labelled], places: &[usize]) -> Vec<&'a Labelled> {
    places.iter().map(|at| rows[*at]).collect()
}

fn by_prompt(rows: &[&Labelled], seed: u64) -> Vec<usize> {
    folds::by_chance(
        &rows.iter().map(|r| r.prompt).collect::<Vec<_>>(),
        FOLDS,
        seed,
    )
}

fn by_group(rows: &[&Labelled]) -> Vec<usize> {
    folds::whole_groups(
        &rows.iter().map(|r| r.group.as_str()).collect::<Vec<_>>(),
        FOLDS,
    )
}

fn pairs(rows: &[&Labelled]) -> Vec<Pair> {
    let pair = |r: &&Labelled| Pair {
        weak: r.weak,
        strong: r.strong,
    };
    rows.iter().map(pair).collect()
}

fn line(
    slice: &str,
    rows: &[&Labelled],
    tested: &Tested,
    grade: &dyn Fn(&Raw, &Features) -> f32,
) -> EvalLine {
    let pairs = pairs(rows);
    let ends = metrics::ends(&pairs);
    let failed: Vec<f64> = pairs.iter().map(|p| 1.0 - p.weak).collect();
    let of = |scores: Vec<f64>| {
        if pairs.is_empty() {
            Figures::default()
        } else {
            Figures::of(&scores, &pairs, DRAWS)
        }
    };
    EvalLine {
        slice: slice.to_owned(),
        rows: rows.len(),
        weak: ends.weak,
        strong: ends.strong,
        routers: BTreeMap::from([
            (
                "gain",
                of(tested.raws.iter().map(|r| f64::from(r.gain())).collect()),
            ),
            (
                "difficulty",
                of(tested
                    .raws
                    .iter()
                    .zip(rows)
                    .map(|(raw, row)| f64::from(grade(raw, &row.features)))
                    .collect()),
            ),
            (
                "failure",
                of(tested.raws.iter().map(|r| f64::from(r.failure())).collect()),
            ),
            ("baseline", of(tested.baseline.clone())),
            ("length", of(rows.iter().map(|r| r.chars as f64).collect())),
            ("random", of(metrics::random(rows.len(), 3))),
            ("oracle", of(metrics::oracle(&pairs))),
        ]),
        calibration_error: tested
            .chances
            .as_ref()
            .map(|c| metrics::calibration_error(c, &failed, BINS)),
    }
}

/// The plain baseline of the data's description: boosted trees of what the strong model gains, on 47 hand-made signals.
fn baseline(rows: &[&Labelled]) -> impl Fn(&Labelled) -> f64 + use<> {
    let kept: Vec<bool> = signals::all().map(|s| BASELINE.contains(&s.name)).collect();
    let masked = move |r: &Labelled| -> Vec<f32> {
        r.features
            .values()
            .iter()
            .zip(&kept)
            .map(|(v, k)| if *k { *v } else { 0.0 })
            .collect()
    };
    let values: Vec<Vec<f32>> = rows.iter().map(|r| masked(r)).collect();
    let table = Binned::of(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let target: Vec<f64> = rows.iter().map(|r| r.gain()).collect();
    let terms = Terms {
        signal_share: 1.0,
        row_share: 1.0,
        ..Terms::default()
    };
    let forest = boost::grow(&table, &target, &vec![1.0; rows.len()], &terms);
    move |row| f64::from(forest.predict(&masked(row)))
}

/// Mean and spread over lines, e.g. of the unseen sources.
#[must_use]
pub fn over(lines: &[EvalLine], router: &str) -> (f64, f64) {
    moments(
        &lines
            .iter()
            .filter_map(|l| Some(l.routers.get(router)?.apgr))
            .collect::<Vec<_>>(),
    )
}
