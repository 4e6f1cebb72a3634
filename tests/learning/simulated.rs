//! Learning from made-up traffic whose truth is known: what a night makes is never worse on the day after it, and one that lies is bounded.
//!
//! `cargo test` runs a few worlds; with `FLYBALL_LEARNING=long` a hundred of them, and prints the line of docs/learning.md.

use flyball::arm::Effort;
use flyball::classify::kept::{pack, unpack};
use flyball::classify::model::embedded;
use flyball::classify::overlay::Overlay;
use flyball::classify::{Features, grade};
use flyball::learn::chance::Chance;
use flyball::learn::metrics::{Pair, apgr};
use flyball::learn::outcome::measured;
use flyball::learn::overnight::{self, Night};
use flyball::ledger::judged::{JudgedAnswer, JudgedBy, MeasuredAsk};
use std::collections::HashMap;

const DAY_MS: i64 = 86_400_000;

/// What people ask, with the words of each subject.
const SUBJECTS: [(&str, [&str; 4]); 10] = [
    (
        "Summarise this note about",
        ["gardens", "weather", "holidays", "recipes"],
    ),
    (
        "Compute the integral of",
        ["polynomials", "logarithms", "secants", "exponentials"],
    ),
    (
        "Write a parser in Rust for",
        ["invoices", "timetables", "ledgers", "receipts"],
    ),
    (
        "Translate into Spanish a letter on",
        ["rent", "insurance", "deliveries", "warranty"],
    ),
    (
        "Which country exports the most",
        ["copper", "coffee", "wheat", "timber"],
    ),
    (
        "Find the bug in my query that joins",
        ["orders", "customers", "parcels", "vouchers"],
    ),
    (
        "Plan a migration of our",
        ["warehouse", "gateway", "scheduler", "archive"],
    ),
    (
        "Prove a lemma on",
        ["lattices", "graphs", "groups", "matroids"],
    ),
    (
        "Compose a poem about",
        ["rivers", "trains", "winter", "bakers"],
    ),
    (
        "Extract every date from a page on",
        ["treaties", "patents", "voyages", "eclipses"],
    ),
];

/// A world in which each subject is hard for the weak arm by so much.
pub struct World {
    chance: Chance,
    weak: [f64; SUBJECTS.len()],
    strong: f64,
    asked: u64,
}

/// One request: its words measured, and how likely each arm answers it well.
struct Asked {
    features: Features,
    truth: Pair,
}

impl World {
    pub fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let weak = std::array::from_fn(|_| 0.05 + 0.9 * chance.unit());
        World {
            chance,
            weak,
            strong: 0.92,
            asked: 0,
        }
    }

    /// A world in which the weak arm can do every other subject, and nothing else.
    pub fn clear(seed: u64) -> World {
        let weak = std::array::from_fn(|subject| if subject % 2 == 0 { 0.97 } else { 0.03 });
        let strong = 0.97;
        World {
            weak,
            strong,
            ..World::new(seed)
        }
    }

    /// A world in which there is nothing to be learned: each request is as hard as any other.
    fn plain(seed: u64) -> World {
        World {
            weak: [0.6; SUBJECTS.len()],
            ..World::new(seed)
        }
    }

    fn ask(&mut self) -> Asked {
        let subject = self.chance.below(SUBJECTS.len());
        let (what, of) = SUBJECTS[subject];
        let one = of[self.chance.below(4)];
        // Names that nobody has heard of, so that no two requests are the same.
        let names: Vec<String> = (0..3).map(|_| name(&mut self.chance)).collect();
        let two = of[self.chance.below(4)];
        let prompt = format!("{what} {one} and {two} for {}.", names.join(" "));
        let truth = Pair {
            weak: self.weak[subject],
            strong: self.strong.max(self.weak[subject]),
        };
        Asked {
            features: measured(&prompt),
            truth,
        }
    }

    /// The outcomes of so many requests of a day, judged against the strong arm's.
    pub fn day(&mut self, requests: usize, day: i64) -> (Vec<JudgedAnswer>, Vec<MeasuredAsk>) {
        let (mut outcomes, mut asks) = (Vec::new(), Vec::new());
        for _ in 0..requests {
            let Asked { features, truth } = self.ask();
            self.asked += 1;
            let request = format!("r{}", self.asked);
            let at_ms = day * DAY_MS + i64::try_from(self.asked).expect("few");
            asks.push(MeasuredAsk {
                request: request.clone(),
                at_ms,
                features: pack(&features),
            });
            for (model, truth) in [("weak", truth.weak), ("strong", truth.strong)] {
                let good = self.chance.unit() < truth;
                outcomes.push(outcome(&request, model, good, at_ms, JudgedBy::Shadow));
            }
        }
        (outcomes, asks)
    }

    /// How well an order serves a day of its own, by the truth.
    fn worth(&mut self, requests: usize, overlays: [Option<&Overlay>; 2]) -> [f64; 2] {
        let asked: Vec<Asked> = (0..requests).map(|_| self.ask()).collect();
        let truth: Vec<Pair> = asked.iter().map(|a| a.truth).collect();
        overlays.map(|overlay| {
            let gains: Vec<f64> = asked
                .iter()
                .map(|a| grade(&a.features, overlay).gain)
                .collect();
            apgr(&gains, &truth)
        })
    }
}

fn name(chance: &mut Chance) -> String {
    const PARTS: [&str; 16] = [
        "ba", "do", "ki", "lu", "me", "no", "pa", "ri", "so", "tu", "va", "wo", "xe", "yo", "za",
        "fe",
    ];
    (0..3).map(|_| PARTS[chance.below(16)]).collect()
}

fn outcome(request: &str, model: &str, good: bool, at_ms: i64, by: JudgedBy) -> JudgedAnswer {
    JudgedAnswer {
        request: request.to_owned(),
        model: model.to_owned(),
        effort: Effort::None,
        by,
        task: "unknown".into(),
        difficulty_milli: 500,
        score_ppm: if good { 1_000_000 } else { 0 },
        cost: None,
        seen_ppm: 10_000,
        at_ms,
        key: None,
    }
}

fn read(asks: &[MeasuredAsk]) -> HashMap<String, Features> {
    let read = asks
        .iter()
        .filter_map(|a| Some((a.request.clone(), unpack(&a.features)?)));
    read.collect()
}

/// What became of a world's nights.
#[derive(Default)]
struct Tally {
    nights: usize,
    used: usize,
    /// The largest loss of a day after a night, in APGR, and what all nights together have gained.
    worst: f64,
    gained: f64,
}

/// Learns each night from all days before it, and holds what is in force afterwards against what was, on a day that nobody has seen.
fn nights(mut world: World, nights: i64, requests: usize, tally: &mut Tally) {
    let (mut outcomes, mut asks) = (Vec::new(), Vec::new());
    let mut in_force: Option<Overlay> = None;
    for day in 0..nights {
        let more = world.day(requests, day);
        outcomes.extend(more.0);
        asks.extend(more.1);
        let night = overnight::learn(embedded(), &outcomes, &read(&asks), None, in_force.as_ref());
        let Night { overlay, used, .. } = night.expect("enough to learn from");
        tally.nights += 1;
        if !used {
            continue;
        }
        tally.used += 1;
        let [before, after] = world.worth(600, [in_force.as_ref(), Some(&overlay)]);
        tally.worst = tally.worst.max(before - after);
        tally.gained += after - before;
        in_force = Some(overlay);
    }
}

fn is_long() -> bool {
    std::env::var("FLYBALL_LEARNING").as_deref() == Ok("long")
}

#[test]
fn no_night_makes_the_day_after_it_worse_by_more_than_a_hundredth() {
    let seeds = if is_long() { 100 } else { 3 };
    for (name, make) in [
        ("something to learn", World::new as fn(u64) -> World),
        ("nothing to learn", World::plain),
    ] {
        let mut tally = Tally::default();
        for seed in 1..=seeds {
            nights(make(seed), 2, 340, &mut tally);
        }
        println!(
            "{name}: {seeds} worlds, {} nights, {} overlays used, the worst day lost {:.4} of APGR, all of them gained {:.2}",
            tally.nights, tally.used, tally.worst, tally.gained
        );
        assert!(tally.worst <= 0.01, "{name}: {}", tally.worst);
        if name == "something to learn" {
            assert!(
                tally.used * 3 >= usize::try_from(seeds).expect("few"),
                "{}",
                tally.used
            );
        }
    }
}

#[test]
fn a_key_that_always_lies_is_a_part_of_what_is_learned_from_at_most() {
    let mut world = World::new(5);
    let (mut outcomes, asks) = world.day(340, 1);
    // Votes on other requests of the day before: the opposite of the truth, thousands of times; and of one that is never content.
    let mut asks = asks;
    for n in 0..1_500 {
        let Asked { features, truth } = world.ask();
        let request = format!("vote {n}");
        asks.push(MeasuredAsk {
            request: request.clone(),
            at_ms: n,
            features: pack(&features),
        });
        let lie = outcome(&request, "weak", truth.weak < 0.5, n, JudgedBy::Feedback);
        outcomes.push(JudgedAnswer {
            key: Some(1),
            ..lie
        });
    }
    let read = read(&asks);
    let honest: Vec<JudgedAnswer> = outcomes
        .iter()
        .filter(|o| o.key.is_none())
        .cloned()
        .collect();
    let learn = |outcomes: &[JudgedAnswer]| {
        overnight::learn(embedded(), outcomes, &read, None, None).expect("learned")
    };
    let (alone, lied_to) = (learn(&honest), learn(&outcomes));
    assert_eq!(alone.figures.votes, 0);
    assert!(
        lied_to.figures.votes > 20 && lied_to.figures.votes * 3 <= lied_to.figures.learned,
        "{:?}",
        lied_to.figures
    );
    // Nothing of it has any say in the guard.
    assert_eq!(
        (alone.figures.held, alone.figures.apgr.0),
        (lied_to.figures.held, lied_to.figures.apgr.0)
    );
    let [without, with] = world.worth(600, [Some(&alone.overlay), Some(&lied_to.overlay)]);
    println!("APGR {without:.3} without the liar, {with:.3} with it");
    assert!(with > without - 0.1, "{with} {without}");
    // Who is never content is not heard at all: nothing is learned of what its words say of one request and not of another.
    let content = |o: &JudgedAnswer| JudgedAnswer {
        score_ppm: 0,
        ..o.clone()
    };
    let sulking: Vec<JudgedAnswer> = outcomes
        .iter()
        .map(|o| {
            if o.key.is_some() {
                content(o)
            } else {
                o.clone()
            }
        })
        .collect();
    let sulked = learn(&sulking);
    let [_, with] = world.worth(600, [None, Some(&sulked.overlay)]);
    assert!(with > without - 0.05, "{with} {without}");
}
