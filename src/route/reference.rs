//! Where a prompt would go with one ordinary model in every paid tier and nothing else known: what `flyball classify` tells.

use super::cost;
use super::policy::{Facts, Rule, Target, embedded, parse};
use super::worth::{Enough, Worth};
use crate::arm::{Effort, Objective, Tier};
use crate::classify::{Difficulty, Features};
use crate::fleet::ability::ability;
use crate::private::Classes;
use std::sync::OnceLock;

/// The tiers of the reference fleet, with what a token costs there against the others.
const REFERENCE: [(Tier, u64); 3] = [(Tier::Small, 1), (Tier::Standard, 5), (Tier::Reasoning, 25)];
/// The efforts of its models; the small one does not think.
const EFFORTS: [Effort; 4] = [Effort::None, Effort::Low, Effort::Medium, Effort::High];
/// Where the starter rules send such a prompt, with a model in every tier and nothing else known.
#[must_use]
pub fn starter_tier(difficulty: &Difficulty, features: &Features) -> Tier {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    let rules =
        RULES.get_or_init(|| parse(&embedded(), None).expect("a test reads the starter rules"));
    let facts = Facts {
        difficulty,
        tokens: features.prompt_tokens_estimate,
        tools: false,
        structured: false,
        images: false,
        turns: features.turns,
        model: "auto",
        tags: &[],
        header: &|_| None,
        key: None,
        objective: Objective::Balanced,
        private: false,
        detected: Classes::default(),
        cap_used: 0,
    };
    match rules
        .iter()
        .find(|r| r.matches(&facts))
        .map(|r| &r.route.to)
    {
        Some(Target::Tier(tier)) => *tier,
        Some(Target::Within(least, most)) => {
            in_reference_fleet(difficulty, features).clamp(*least, *most)
        }
        _ => Tier::Standard,
    }
}

/// The cheapest tier of the reference fleet that is good enough.
fn in_reference_fleet(difficulty: &Difficulty, features: &Features) -> Tier {
    let worth = Worth::of(difficulty, false);
    let answer = cost::answer_tokens(features, difficulty);
    let arms = REFERENCE.into_iter().flat_map(|(tier, rate)| {
        let able = ability("", tier);
        let efforts = if tier == Tier::Small {
            &EFFORTS[..1]
        } else {
            &EFFORTS
        };
        let arm = move |effort: &Effort| {
            let thinking = cost::usual_reasoning_of(*effort, difficulty);
            // Input costs about a fifth of output.
            let dear = rate * (answer + thinking + features.prompt_tokens_estimate / 5);
            (tier, dear, worth.chance_of(&able, *effort))
        };
        efforts.iter().map(arm)
    });
    let arms: Vec<(Tier, u64, f64)> = arms.collect();
    let enough = Enough::of(Objective::Balanced);
    let best = arms.iter().map(|(.., chance)| *chance).fold(0.0, f64::max);
    let good = arms
        .into_iter()
        .filter(|(.., chance)| *chance >= enough.floor * best);
    let mut good: Vec<_> = good.collect();
    good.sort_by_key(|(_, dear, _)| *dear);
    let priced =
        |(_, dear, chance): &(Tier, u64, f64)| (u32::try_from(*dear).ok().map(f64::from), *chance);
    let chosen = enough.step_up(good.iter().map(priced)).unwrap_or_default();
    good.get(chosen).map_or(Tier::Standard, |(tier, ..)| *tier)
}
