//! What whole conversations cost: `cargo bench --bench traces`, or `-- 2000 7` for so many conversations from this seed (and
//! `0.9`, a floor instead of the objective's; and `all`, for every arm).

#[allow(dead_code, reason = "the tests use the rest")]
mod talk;
#[allow(dead_code, reason = "the tests use the rest")]
mod world;

use world::{Outcome, Sum, usd};

fn main() {
    let words = std::env::args().skip(1);
    let words: Vec<String> = words.filter(|word| !word.starts_with("--")).collect();
    let number = |at: usize, usual: u64| {
        let word = words.get(at);
        word.map_or(usual, |word| word.parse().expect("a number"))
    };
    let (conversations, seed) = (number(0, 400), number(1, 7));
    let floor = words.get(2).map(|word| word.parse().expect("a share"));
    let conversations = usize::try_from(conversations).expect("small");
    for fleet in &world::FLEETS {
        let outcome = world::run(fleet, conversations, seed, floor);
        println!(
            "\n{}: {conversations} conversations, seed {seed}, {} requests",
            fleet.name, outcome.flyball.requests
        );
        show(&outcome, words.len() > 3);
    }
}

/// `all`: every arm alone, and what was chosen.
fn show(outcome: &Outcome, all: bool) {
    let flyball = &outcome.flyball;
    row("flyball", flyball);
    row("flyball, each turn by itself", &outcome.blind);
    let (arm, single) = world::best_single(outcome, flyball.quality());
    row(&format!("{arm} alone"), single);
    println!(
        "flyball costs {:.1} % of the cheapest arm alone that is as good; saved as told ${:.4}, like for like ${:.4}",
        100.0 * flyball.usd() / single.usd(),
        usd(outcome.told_baseline - flyball.cost),
        usd(outcome.true_baseline - flyball.cost)
    );
    if !all {
        return;
    }
    let mut singles: Vec<_> = outcome.singles.iter().collect();
    singles.sort_by_key(|(_, sum)| sum.cost);
    for (arm, sum) in singles {
        row(&format!("  {arm} alone"), sum);
    }
    let mut arms: Vec<_> = outcome.by_arm.iter().collect();
    arms.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
    for (arm, (requests, usd)) in arms {
        println!("  chosen {requests:5} times, ${usd:.4}: {arm}");
    }
}

fn row(name: &str, sum: &Sum) {
    println!(
        "{name:32} ${:9.4}  chance {:.3}  changes {:5} between turns {:3} inside",
        sum.usd(),
        sum.quality(),
        sum.changes,
        sum.loop_changes
    );
}
