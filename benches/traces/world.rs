//! Whole conversations, decided by the code that `serve` decides with, on providers whose prompt caches are simulated: what a
//! conversation costs in all, whether it stays where it is warm, and whether `saved` is what a client that had stayed would have paid.
//!
//! Chats, questions about a long document and agents with tools, made from a seed; asks are those of `src/data/asks.jsonl`. Prices
//! are the catalogue's. A provider keeps what a model has read at an effort (at any effort where that is no part of its cache's key), from
//! 1,024 tokens on: 10 minutes, or Anthropic 5 and only what is marked. Visible answers are as long as expected, times 0.6 to 1.6; hidden
//! ones too, times a factor of each model, 0.4 to 3, that nobody tells flyball. A token is four bytes. `cargo bench --bench traces`
//! prints the table of docs/routing.md; `cargo test` runs a few.

use super::talk::{self, Dice, Talk};
use flyball::affinity::{Affinity, Habits, Served, Use, UserTurn, Warmth};
use flyball::arm::Effort;
use flyball::caller::Caller;
use flyball::chat::{ServiceTier, Usage};
use flyball::classify::{Difficulty, Features, KnownAsks};
use flyball::config::{self, Needs, Overrides};
use flyball::dialect::{self, Place};
use flyball::effort::Family;
use flyball::exchange::admission::{Admission, CapBooks, Inbound};
use flyball::exchange::completion::{Completion, TurnSoFar};
use flyball::fleet::{Arm, Model};
use flyball::ledger::balance::Capped;
use flyball::ledger::cap::Dims;
use flyball::limits::Limits;
use flyball::process::policy_of;
use flyball::route::Policy;
use flyball::route::cost;
use flyball::route::policy::Rule;
use flyball::route::worth::Worth;
use flyball::telemetry::otlp::Trace;
use flyball::upstream::channels::Channels;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct NoCaps;

impl CapBooks for NoCaps {
    fn capped(&self, _: &Dims<'_>) -> Capped {
        Capped::default()
    }

    fn perhaps_capped(&self, _: &Dims<'_>) -> Capped {
        Capped::default()
    }

    fn is_frozen(&self, _: &str, _: &str) -> bool {
        false
    }

    fn fullest(&self, _: &Dims<'_>) -> u64 {
        0
    }
}

/// The prompt caches of all providers, for one conversation of one client.
#[derive(Default)]
struct Caches {
    read: HashMap<(String, Option<Effort>), (u64, Duration)>,
}

impl Caches {
    /// What a model reads of a prompt, as its provider would bill it, and remembers with the answer.
    fn read(&mut self, arm: &Arm, asked: &Asked, reasoning: u64) -> Usage {
        let family = arm.model.provider.kind.family;
        let keeps = family != Family::Anthropic || asked.marked;
        let minutes = if family == Family::Anthropic { 5 } else { 10 };
        let apart = cost::effort_is_cached_apart(&arm.model);
        let key = (arm.model.name.clone(), apart.then(|| arm.effort_or(None)));
        let held = self
            .read
            .get(&key)
            .filter(|(_, at)| asked.at - *at < Duration::from_secs(minutes * 60));
        let held = held.map_or(0, |(tokens, _)| (*tokens).min(asked.prompt));
        let cached = if keeps && held >= 1_024 { held } else { 0 };
        self.read
            .insert(key, (asked.prompt + asked.visible, asked.at));
        let cold = asked.prompt - cached;
        let written = keeps && family == Family::Anthropic;
        Usage {
            input: if written { 0 } else { cold },
            cache_write: if written { cold } else { 0 },
            cached,
            output: asked.visible + reasoning,
            reasoning,
            ..Usage::default()
        }
    }
}

/// One request, whoever answers it.
struct Asked {
    prompt: u64,
    visible: u64,
    marked: bool,
    at: Duration,
    difficulty: Difficulty,
    noise: f64,
}

impl Asked {
    /// Tokens that this arm really thinks about it.
    fn thinks(&self, arm: &Arm) -> u64 {
        let expected = cost::reasoning_tokens(&arm.model, arm.effort_or(None), &self.difficulty);
        times(expected, self.noise * own_factor(&arm.model))
    }
}

/// How much more or less than expected a model thinks: its own way, which nobody tells.
fn own_factor(model: &Model) -> f64 {
    let mut dice = Dice::new(model.name.bytes().map(u64::from).sum());
    0.4 * 7.5_f64.powf(dice.share())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tokens of one answer"
)]
fn times(tokens: u64, factor: f64) -> u64 {
    (f64::from(u32::try_from(tokens).unwrap_or(u32::MAX)) * factor) as u64
}

/// What a way of choosing has cost, and how good it was.
#[derive(Clone, Default)]
pub struct Sum {
    pub cost: i128,
    pub chance: f64,
    pub requests: f64,
    /// The arm changed within a user's turn.
    pub loop_changes: usize,
    /// The arm changed between two turns of a user.
    pub changes: usize,
}

/// In dollars.
pub fn usd(pico: i128) -> f64 {
    let pico: f64 = pico.to_string().parse().expect("a number");
    pico / 1e12
}

impl Sum {
    fn add(&mut self, arm: &Arm, usage: &Usage, worth: &Worth) {
        self.cost += arm.model.price.expect("it has a price").cost(usage).0;
        self.chance += worth.chance(arm);
        self.requests += 1.0;
    }

    pub fn usd(&self) -> f64 {
        usd(self.cost)
    }

    pub fn quality(&self) -> f64 {
        self.chance / self.requests
    }
}

/// What flyball knows across conversations: all of it, or nothing (it then decides each turn by itself).
struct Mind {
    policy: Arc<Policy>,
    affinity: Affinity,
    remembers: bool,
}

pub struct Outcome {
    pub told_baseline: i128,
    pub true_baseline: i128,
    pub flyball: Sum,
    pub blind: Sum,
    pub singles: Vec<(Arm, Sum)>,
    /// How often flyball chose an arm, and what it paid there in dollars.
    pub by_arm: HashMap<String, (usize, f64)>,
}

fn policy(fleet: &Fleet, floor: Option<f64>) -> Policy {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("flyball.toml");
    std::fs::write(&file, fleet.config()).expect("a file");
    let overrides = Overrides {
        config: Some(file),
        data_dir: Some(dir.path().join("data")),
        needs: Needs::Models,
        ..Overrides::default()
    };
    let config = config::load(&overrides).unwrap_or_else(|all| panic!("{all:?}"));
    let mut policy = policy_of(&config);
    for rule in &mut policy.rules {
        let mut own = Rule::clone(rule);
        own.route.floor = floor;
        *rule = Arc::new(own);
    }
    policy
}

/// Fleets: models of a provider with their tiers. The baseline does not think, so that what it would have thought needs no guess.
pub const FLEETS: [Fleet; 4] = [
    Fleet {
        name: "OpenAI",
        baseline: "gpt-5.5@none",
        models: &[
            ("openai", "gpt-5.4-nano", "small"),
            ("openai", "gpt-5.4-mini", "standard"),
            ("openai", "gpt-5.5", "reasoning"),
        ],
    },
    Fleet {
        name: "Anthropic",
        baseline: "claude-sonnet-4-6@none",
        models: &[
            ("anthropic", "claude-haiku-4-5", "small"),
            ("anthropic", "claude-sonnet-4-6", "standard"),
            ("anthropic", "claude-opus-4-8", "reasoning"),
        ],
    },
    Fleet {
        name: "OpenAI and Anthropic",
        baseline: "claude-sonnet-4-6@none",
        models: &[
            ("openai", "gpt-5.4-nano", "small"),
            ("openai", "gpt-5.4-mini", "small"),
            ("openai", "gpt-5.5", "reasoning"),
            ("anthropic", "claude-haiku-4-5", "small"),
            ("anthropic", "claude-sonnet-4-6", "standard"),
            ("anthropic", "claude-opus-4-8", "reasoning"),
        ],
    },
    Fleet {
        name: "four vendors",
        baseline: "claude-sonnet-4-6@none",
        models: &[
            ("openai", "gpt-5.4-nano", "small"),
            ("openai", "gpt-5.4-mini", "small"),
            ("openai", "gpt-5.5", "reasoning"),
            ("anthropic", "claude-haiku-4-5", "small"),
            ("anthropic", "claude-sonnet-4-6", "standard"),
            ("anthropic", "claude-opus-4-8", "reasoning"),
            ("gemini", "gemini-3.5-flash", "standard"),
            ("deepseek", "deepseek-v4-flash", "small"),
        ],
    },
];

/// The models that may answer.
pub struct Fleet {
    pub name: &'static str,
    baseline: &'static str,
    /// Provider, model, tier.
    models: &'static [(&'static str, &'static str, &'static str)],
}

impl Fleet {
    fn config(&self) -> String {
        let mut text = format!("baseline = \"{}\"\n", self.baseline);
        let mut named = Vec::new();
        for (provider, ..) in self.models {
            if !named.contains(provider) {
                named.push(*provider);
                text += &format!(
                    "[[provider]]\nname = \"{provider}\"\nkind = \"{provider}\"\napi_key = \"env:NONE\"\n"
                );
            }
        }
        for (provider, model, tier) in self.models {
            text += &format!(
                "[[model]]\nname = \"{model}\"\nprovider = \"{provider}\"\ntier = \"{tier}\"\n"
            );
        }
        text
    }
}

/// Decides one request as `serve` would, and hands on what was decided.
fn decide<T>(
    mind: &Mind,
    body: &bytes::Bytes,
    arrived: Instant,
    with: impl FnOnce(&Completion<'_>, UserTurn, &flyball::exchange::completion::Routed<'_>) -> T,
) -> T {
    let (head, ()) = http::Request::post("/")
        .body(())
        .expect("a request")
        .into_parts();
    let channels = Channels::default();
    let (limits, never) = (Limits::default(), (Warmth::default(), Habits::default()));
    let known_asks = KnownAsks::default();
    let (warmth, habits) = match mind.remembers {
        true => (mind.affinity.warmth(), mind.affinity.habits()),
        false => (&never.0, &never.1),
    };
    let admission = Admission::new(Inbound {
        head: &head,
        dialect: dialect::named("anthropic_messages").expect("a dialect"),
        caller: Caller { key: None },
        id: "",
        arrived,
        policy: Arc::clone(&mind.policy),
        limits: &limits,
        books: &NoCaps,
        makers: mind.affinity.makers(),
        items: mind.affinity.items(),
        warmth,
        habits,
        known_asks: &known_asks,
        channels: &channels,
        trace: Trace::default(),
    })
    .expect("it is let in");
    let place = Place::default();
    let completion = Completion::read(&admission, body, &place).expect("a request");
    let turn = mind
        .affinity
        .turn("local", None, &completion.request.prompt);
    let so_far = TurnSoFar {
        turn,
        serving: mind.affinity.served(turn),
        before: mind.affinity.served_before(turn).filter(|_| mind.remembers),
    };
    let routed = completion.decide(Some(so_far)).expect("an arm");
    with(&completion, turn, &routed)
}

/// Runs so many conversations; `floor` goes before the objective's.
pub fn run(fleet: &Fleet, conversations: usize, seed: u64, floor: Option<f64>) -> Outcome {
    let policy = Arc::new(policy(fleet, floor));
    let mind = |remembers| Mind {
        policy: Arc::clone(&policy),
        affinity: Affinity::default(),
        remembers,
    };
    let (knowing, blind) = (mind(true), mind(false));
    let baseline = policy.baseline.clone().expect("it is configured");
    let singles = policy.fleet.models.iter().flat_map(|model| {
        let efforts = model.accepts.efforts.iter().copied();
        efforts.map(|effort| Arm {
            model: Arc::clone(model),
            effort: Some(effort),
        })
    });
    let mut outcome = Outcome {
        told_baseline: 0,
        true_baseline: 0,
        flyball: Sum::default(),
        blind: Sum::default(),
        by_arm: HashMap::new(),
        singles: singles.map(|arm| (arm, Sum::default())).collect(),
    };
    let mut dice = Dice::new(seed);
    let start = Instant::now();
    for number in 0..conversations {
        let mut talk = Talk::new(&mut dice, number);
        let (mut caches, mut caches_blind, mut caches_base) =
            (Caches::default(), Caches::default(), Caches::default());
        let mut caches_single: Vec<Caches> =
            outcome.singles.iter().map(|_| Caches::default()).collect();
        let (mut last, mut last_blind): (Option<Arm>, Option<Arm>) = (None, None);
        while let Some(step) = talk.next(&mut dice) {
            let body = bytes::Bytes::from(step.body.to_string());
            let arrived = start + step.at;
            let noise = 0.6 + dice.share();
            // What flyball decides, pays and learns.
            let asked = decide(&knowing, &body, arrived, |completion, turn, routed| {
                let asked = asked_of(
                    &completion.graded().features,
                    completion.graded().difficulty,
                    &step,
                    noise,
                );
                let arm = routed.decision.attempts[0].clone();
                let effort = arm.effort_or(None);
                let usage = caches.read(&arm, &asked, asked.thinks(&arm));
                let paid = outcome.flyball.cost;
                outcome
                    .flyball
                    .add(&arm, &usage, &Worth::of(&asked.difficulty, false));
                let own = outcome.by_arm.entry(arm.to_string()).or_default();
                *own = (own.0 + 1, own.1 + usd(outcome.flyball.cost - paid));
                note_change(&mut outcome.flyball, &mut last, &arm, step.begins_turn);
                let stayed = routed.stayed(&arm, effort);
                let told = cost::on_baseline(&baseline, &usage, stayed, (ServiceTier::Standard, 0));
                outcome.told_baseline += told.expect("it has a price").0;
                remember(&knowing.affinity, turn, &arm, &routed.decision.rule);
                let visible = usage.output - usage.reasoning;
                let tokens = usage.input_total() + visible;
                knowing.affinity.warmth().note(
                    turn,
                    (&arm.model.name, "default", effort),
                    tokens,
                    arrived,
                );
                let expected = Use {
                    answer: cost::answer_tokens(&completion.graded().features, &asked.difficulty),
                    reasoning: cost::reasoning_tokens(&arm.model, effort, &asked.difficulty),
                };
                let used = Use {
                    answer: visible,
                    reasoning: usage.reasoning,
                };
                let what = (&*arm.model.name, effort, asked.difficulty.task);
                knowing.affinity.habits().note(what, expected, used, None);
                asked
            });
            let worth = Worth::of(&asked.difficulty, false);
            // The same code without a memory.
            decide(&blind, &body, arrived, |_, turn, routed| {
                let arm = routed.decision.attempts[0].clone();
                let usage = caches_blind.read(&arm, &asked, asked.thinks(&arm));
                outcome.blind.add(&arm, &usage, &worth);
                note_change(&mut outcome.blind, &mut last_blind, &arm, step.begins_turn);
                remember(&blind.affinity, turn, &arm, &routed.decision.rule);
            });
            // A client that stays on one arm.
            let usage = caches_base.read(&baseline, &asked, asked.thinks(&baseline));
            outcome.true_baseline += baseline.model.price.expect("a price").cost(&usage).0;
            for ((arm, sum), caches) in outcome.singles.iter_mut().zip(&mut caches_single) {
                let usage = caches.read(arm, &asked, asked.thinks(arm));
                sum.add(arm, &usage, &worth);
            }
        }
    }
    outcome
}

fn asked_of(features: &Features, difficulty: Difficulty, step: &talk::Step, noise: f64) -> Asked {
    Asked {
        prompt: features.prompt_tokens_estimate,
        visible: step.visible,
        marked: step.marked,
        at: step.at,
        difficulty,
        noise,
    }
}

fn note_change(sum: &mut Sum, last: &mut Option<Arm>, arm: &Arm, begins_turn: bool) {
    let changed = last
        .as_ref()
        .is_some_and(|last| last.to_string() != arm.to_string());
    sum.changes += usize::from(changed && begins_turn);
    sum.loop_changes += usize::from(changed && !begins_turn);
    *last = Some(arm.clone());
}

fn remember(affinity: &Affinity, turn: UserTurn, arm: &Arm, rule: &str) {
    let served = Served {
        model: arm.model.name.clone(),
        effort: arm.effort_or(None),
        rule: rule.to_owned(),
        efforts: Vec::new(),
    };
    affinity.remember(turn, served);
}

/// The cheapest single arm that is at least as good as this.
pub fn best_single(outcome: &Outcome, quality: f64) -> &(Arm, Sum) {
    let good = outcome
        .singles
        .iter()
        .filter(|(_, sum)| sum.quality() >= quality);
    good.min_by_key(|(_, sum)| sum.cost)
        .expect("the best arm is as good")
}
