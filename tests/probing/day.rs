//! A day of 20,000 requests whose truth is known, through the code that learns what evidence is worth. It begins without a label.

use flyball::affinity::Evidences;
use flyball::arm::{Effort, Objective};
use flyball::learn::chance::Chance;
use flyball::probe::calibration::{Promise, Scale, chance_of};
use flyball::probe::value::Demand;

const REQUESTS: usize = 20_000;
/// The strong model's price is 1.
const WEAK_PRICE: f64 = 0.08;

/// Two models, and how the weaker one speaks of its answers. Abilities are log-odds on a request of middling difficulty.
#[derive(Clone, Copy, Debug)]
struct World {
    weak: f64,
    strong: f64,
    /// The log-odds that it tells are so many times those that hold, and so much more.
    scale: f64,
    bias: f64,
    /// How far off they are besides, before they are scaled.
    noise: f64,
}

/// What changes in the middle of the day.
#[derive(Clone, Copy, Debug)]
struct Drift {
    scale: f64,
    bias: f64,
}

/// One request: what is known of it, and what holds.
#[derive(Clone, Copy, Debug)]
struct Asked {
    promise: Promise,
    logprob: f64,
    weak: f64,
    strong: f64,
    /// The answers differ, as far as words tell.
    differ: bool,
}

fn normal(chance: &mut Chance) -> f64 {
    (0..12).map(|_| chance.unit()).sum::<f64>() - 6.0
}

fn asked(world: World, drift: Option<Drift>, chance: &mut Chance) -> Asked {
    let hard = 1.6 * normal(chance);
    let (weak, strong) = (world.weak - hard, world.strong - 0.7 * hard);
    let graded = 0.3 * hard + 0.5 * normal(chance);
    let promise = Promise {
        weak: chance_of(0.9 - graded),
        strong: chance_of(2.0 - 0.7 * graded),
    };
    let mut said = world.scale * (weak + world.noise * normal(chance)) + world.bias;
    if let Some(drift) = drift {
        said = drift.scale * said + drift.bias;
    }
    let (weak, strong) = (chance_of(weak), chance_of(strong));
    let right = (chance.unit() < weak, chance.unit() < strong);
    let same_mistake = chance.unit() < 0.3;
    Asked {
        promise,
        logprob: chance_of(said).ln(),
        weak,
        strong,
        differ: right.0 != right.1 || (!right.0 && !same_mistake),
    }
}

/// What a label says that is not true.
#[derive(Clone, Copy, Debug)]
enum Lie {
    Opposite,
    /// The weak answers are as good, whatever they are.
    AsGood,
    /// They never are.
    Worse,
}

/// Who judges, and how much of it is a lie.
#[derive(Clone, Copy, Debug)]
struct Labels {
    /// The share of answers that stand and are compared all the same.
    explored: f64,
    /// The share of labels that are not true, and what those say.
    lies: f64,
    lie: Lie,
}

/// What a part of the day came to.
#[derive(Clone, Copy, Debug)]
struct Came {
    quality: f64,
    cost: f64,
    escalated: f64,
    /// The cost of the best fixed threshold of the same quality.
    best_cost: f64,
    /// Quality and cost of the threshold that knows the truth and asks for the same.
    told: (f64, f64),
    labels: usize,
}

impl Came {
    fn over(&self) -> f64 {
        self.cost / self.best_cost - 1.0
    }
}

const ARM: (&str, Effort, Scale) = ("weak", Effort::None, Scale::Whole);

struct Day {
    world: World,
    drift: Option<Drift>,
    labels: Labels,
    demand: Demand,
    chance: Chance,
    evidences: Evidences,
    labelled: usize,
    /// Requests so far, and at which of them the model was found to have changed.
    passed: usize,
    noticed: Vec<usize>,
}

impl Day {
    fn new(world: World, labels: Labels) -> Day {
        Day {
            world,
            drift: None,
            labels,
            demand: Demand::of(Objective::Balanced),
            chance: Chance::new(20),
            evidences: Evidences::default(),
            labelled: 0,
            passed: 0,
            noticed: Vec::new(),
        }
    }

    /// The same as far as it has gone, with nothing in common from here on.
    fn forked(&self) -> Day {
        let evidences = Evidences::default();
        evidences.restore(self.evidences.learned(false));
        Day {
            evidences,
            chance: self.chance.clone(),
            passed: 0,
            noticed: Vec::new(),
            ..*self
        }
    }

    /// So many requests, and what they came to.
    fn pass(&mut self, requests: usize) -> Came {
        let mut seen: Vec<(Asked, bool)> = Vec::new();
        let mut explored = 0.0;
        for _ in 0..requests {
            let asked = asked(self.world, self.drift, &mut self.chance);
            self.evidences.saw(ARM, asked.logprob, asked.promise);
            self.passed += 1;
            if self.passed.is_multiple_of(50) {
                let drifts = self.evidences.learned(false)[0].calibration.drifts();
                if drifts > self.noticed.len() as u64 {
                    self.noticed.push(self.passed);
                }
            }
            let curve = self.evidences.curve(ARM.0, ARM.1, ARM.2);
            let stands = curve
                .judged(asked.logprob, asked.promise)
                .expect("a probability");
            let on = self.demand.goes_on(stands);
            let explores = !on && self.chance.unit() < self.labels.explored;
            if on || explores {
                let lies = self.chance.unit() < self.labels.lies;
                let differ = match self.labels.lie {
                    _ if !lies => asked.differ,
                    Lie::Opposite => !asked.differ,
                    Lie::AsGood => false,
                    Lie::Worse => true,
                };
                self.evidences.judge(
                    ARM,
                    asked.logprob,
                    asked.promise,
                    stands.added_where(differ),
                );
                self.labelled += 1;
            }
            explored += f64::from(u8::from(explores));
            seen.push((asked, on));
        }
        self.told(seen, explored)
    }

    fn told(&self, mut seen: Vec<(Asked, bool)>, explored: f64) -> Came {
        let all = seen.len() as f64;
        let of = |on: &dyn Fn(&Asked, bool) -> bool| {
            let mut sums = (0.0, 0.0);
            for (asked, went) in &seen {
                let on = on(asked, *went);
                sums.0 += if on { asked.strong } else { asked.weak };
                sums.1 += WEAK_PRICE + f64::from(u8::from(on));
            }
            (sums.0 / all, sums.1 / all)
        };
        let (quality, cost) = of(&|_, went| went);
        let cost = cost + explored / all;
        let escalated = seen.iter().filter(|(_, on)| *on).count() as f64 / all;
        seen.sort_by(|a, b| a.0.logprob.total_cmp(&b.0.logprob));
        // The threshold that reaches the same quality at the least cost, in hindsight.
        let mut sum: f64 = seen.iter().map(|(asked, _)| asked.weak).sum();
        let mut best_cost = f64::INFINITY;
        for (count, (asked, _)) in seen.iter().enumerate() {
            if sum / all >= quality {
                best_cost = WEAK_PRICE + count as f64 / all;
                break;
            }
            sum += asked.strong - asked.weak;
        }
        // What the truth would have done: by windows of like evidence, as many as a curve has steps.
        let mut told = (0.0, 0.0);
        for like in seen.chunks(seen.len() / 40) {
            let mean = |of: &dyn Fn(&Asked) -> f64| {
                like.iter().map(|(asked, _)| of(asked)).sum::<f64>() / like.len() as f64
            };
            let (weak, strong) = (mean(&|a| a.weak), mean(&|a| a.strong));
            let on = strong - weak > self.demand.gives_up * strong;
            told.0 += like.len() as f64 * if on { strong } else { weak };
            told.1 += like.len() as f64 * (WEAK_PRICE + f64::from(u8::from(on)));
        }
        Came {
            quality,
            cost,
            escalated,
            best_cost,
            told: (told.0 / all, told.1 / all),
            labels: self.labelled,
        }
    }
}

const WORLDS: [World; 5] = [
    World {
        weak: 1.0,
        strong: 2.5,
        scale: 2.0,
        bias: 0.5,
        noise: 1.0,
    },
    World {
        weak: 0.3,
        strong: 2.5,
        scale: 2.0,
        bias: 1.5,
        noise: 1.0,
    },
    World {
        weak: 1.8,
        strong: 2.6,
        scale: 2.0,
        bias: 0.5,
        noise: 1.0,
    },
    World {
        weak: 1.0,
        strong: 2.5,
        scale: 1.0,
        bias: 0.0,
        noise: 0.5,
    },
    World {
        weak: 1.0,
        strong: 2.5,
        scale: 3.0,
        bias: 3.0,
        noise: 2.0,
    },
];

const COMPARED: Labels = Labels {
    explored: 0.0,
    lies: 0.0,
    lie: Lie::Opposite,
};
const EXPLORED: Labels = Labels {
    explored: 0.01,
    ..COMPARED
};

fn show(what: &str, came: Came) {
    println!(
        "{what:36} quality {:.4}, cost {:.4}, gone on from {:.3}; above the best threshold {:+.2} %; by the truth: quality {:.4}, cost {:.4}; {} labels",
        came.quality,
        came.cost,
        came.escalated,
        came.over() * 100.0,
        came.told.0,
        came.told.1,
        came.labels
    );
}

#[test]
fn at_the_end_of_a_day_without_labels_at_first_it_costs_what_the_best_fixed_threshold_does() {
    for (at, world) in WORLDS.into_iter().enumerate() {
        let mut day = Day::new(world, COMPARED);
        day.pass(REQUESTS / 4 * 3);
        let last = day.pass(REQUESTS / 4);
        show(&format!("world {at}: last quarter"), last);
        assert!(last.over() < 0.01, "{world:?}: {last:?}");
        assert!(day.noticed.is_empty(), "nothing drifts: {:?}", day.noticed);
    }
}

#[test]
fn exploring_finds_out_a_model_that_is_surest_where_it_is_wrong_and_costs_what_it_asks() {
    let mut day = Day::new(WORLDS[4], EXPLORED);
    day.pass(REQUESTS / 4 * 3);
    let last = day.pass(REQUESTS / 4);
    show("explored: last quarter", last);
    let mut without = Day::new(WORLDS[4], COMPARED);
    without.pass(REQUESTS / 4 * 3);
    let blind = without.pass(REQUESTS / 4);
    show("unexplored: last quarter", blind);
    assert!(last.quality > blind.quality + 0.01, "{last:?} {blind:?}");
    assert!(last.over() < 0.02, "{last:?}");
}

#[test]
fn a_model_that_drifts_in_the_middle_of_the_day_is_noticed_and_relearned() {
    let mut morning = Day::new(WORLDS[0], EXPLORED);
    morning.pass(REQUESTS / 2);
    for (scale, bias) in [(2.0, 0.0), (0.5, 0.0), (1.0, 3.0), (1.0, -3.0)] {
        let mut day = morning.forked();
        day.drift = Some(Drift { scale, bias });
        let first = day.pass(500);
        day.pass(REQUESTS / 4 - 500);
        let last = day.pass(REQUESTS / 4);
        show(&format!("said times {scale}, plus {bias}: first"), first);
        show("    last quarter", last);
        println!("    noticed after {:?}", day.noticed);
        assert!(
            day.noticed.first().is_some_and(|at| *at < 1_500),
            "{scale} {bias}: {:?}",
            day.noticed
        );
        assert!(last.over() < 0.025, "{scale} {bias}: {last:?}");
    }
}

#[test]
fn lies_about_answers_move_it_no_further_than_this() {
    let mut honest = Day::new(WORLDS[0], EXPLORED);
    honest.pass(REQUESTS / 2);
    let truth = {
        let mut day = honest.forked();
        day.pass(REQUESTS / 8);
        day.pass(REQUESTS / 8)
    };
    show("no lies: last quarter", truth);
    for (lies, lie, quality, cost) in [
        (0.05, Lie::Opposite, 0.01, 0.05),
        (0.05, Lie::AsGood, 0.01, 0.05),
        // All labels of a key that makes a fifth of the traffic.
        (0.2, Lie::AsGood, 0.02, 0.1),
        (0.2, Lie::Worse, 0.04, 0.25),
        // All labels that there are: no worse than the weak model alone, no dearer than both.
        (1.0, Lie::AsGood, 0.2, 0.6),
        (1.0, Lie::Worse, 0.2, 0.4),
    ] {
        let mut day = honest.forked();
        day.labels = Labels {
            lies,
            lie,
            ..EXPLORED
        };
        day.pass(REQUESTS / 8);
        let last = day.pass(REQUESTS / 8);
        show(&format!("{lies} {lie:?}: last quarter"), last);
        assert!((last.quality - truth.quality).abs() < quality, "{last:?}");
        assert!((last.cost - truth.cost).abs() < cost, "{last:?}");
    }
}
