//! Which arms may answer, in which order, and why. Pure: no IO, no clock.
//!
//! Hard gates first (privacy, dialect, key, context), then the rule that matches, then the least expected cost.

pub mod arm;
pub mod cost;
pub mod effort;
pub mod fleet;
pub mod policy;

use crate::classify::overlay::Overlay;
use crate::classify::{Difficulty, Features};
use crate::error::{Error, Kind};
use crate::ledger::price::Catalogue;
use crate::provider::Provider;
use arm::{Effort, Objective, Tier};
use fleet::{Fleet, Model};
use policy::{Efforts, Facts, Rule, Target};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Everything that decisions are made from; one exchange uses one of these from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The models and providers.
    pub fleet: Fleet,
    /// The rules; the first that matches decides.
    pub rules: Vec<Arc<Rule>>,
    /// What callers want who do not say.
    pub objective: Objective,
    /// Real model names that are routed like `auto`, with `*`.
    pub intercept: Vec<String>,
    /// The arm that `auto` is compared with; the dearest where none is set.
    pub baseline: Option<(Arc<Model>, Option<Effort>)>,
    /// Prices of models that no configuration names.
    pub catalogue: Arc<Catalogue>,
    /// Answer tokens that a request without a limit may use on a capped key, before reasoning.
    pub answer_tokens_max: u64,
    /// Fewer answer tokens than this are not worth a request.
    pub answer_tokens_min: u64,
    /// A token limit may be lowered to what a cap has left.
    pub lower_limits: bool,
    /// Patterns of the fields that may be let go where a model's dialect has none for them.
    pub may_drop: Vec<String>,
    /// How long a request waits that only open reservations keep from its cap's room.
    pub cap_wait: Duration,
    /// Where the operator is told of caps that fill up. It may hold a secret.
    pub cap_webhook: Option<SecretString>,
    /// The teams, each with its organisation (or nothing).
    pub teams: BTreeMap<String, String>,
    /// What the operator's own outcomes add to the grader.
    pub overlay: Option<Arc<Overlay>>,
}

/// What is asked.
pub struct Asked<'a> {
    /// The dialect that the client speaks.
    pub dialect: &'static str,
    /// Whether a model of this provider, which does not speak the dialect, can be told the request all the same.
    pub sayable: &'a dyn Fn(&Provider) -> Result<(), Error>,
    /// The model asked for.
    pub model: &'a str,
    /// An effort that the caller demands.
    pub effort: Option<Effort>,
    /// The effort that the body asks for in its own words; part of the baseline of an intercepted request.
    pub body_effort: Option<Effort>,
    /// What the caller wants.
    pub objective: Option<Objective>,
    /// The request must stay on local models.
    pub private: bool,
    /// Whether the key may use a model.
    pub may_use: &'a dyn Fn(&str) -> bool,
    /// The client's token limit.
    pub limit: Option<u64>,
    /// What the rules look at besides the difficulty.
    pub tools: bool,
    /// A structured answer is demanded.
    pub structured: bool,
    /// There are images in it.
    pub images: bool,
    /// How many turns the conversation has.
    pub turns: usize,
    /// How full the fullest cap is that counts the request whatever arm it goes to, in percent.
    pub cap_used: u64,
    /// Tags of the key and the request.
    pub tags: &'a [(String, String)],
    /// The request's headers.
    pub header: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The key's name.
    pub key: Option<&'a str>,
    /// The arm that has served this turn so far, with the rule that chose it.
    pub served: Option<(&'a str, Effort, &'a str)>,
}

/// An arm: a model, and the effort asked of it.
#[derive(Clone, Debug)]
pub struct Arm {
    /// The model.
    pub model: Arc<Model>,
    /// How hard it is to think; `None` leaves the client's own words as they are.
    pub effort: Option<Effort>,
}

impl Arm {
    /// The effort for headers, metrics and the ledger; `fallback` is what the client's own words say.
    #[must_use]
    pub fn effort_or(&self, fallback: Option<Effort>) -> Effort {
        self.effort
            .or(fallback)
            .unwrap_or_else(|| fleet::default_effort(&self.model))
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The arms to try, in this order. Never empty.
    pub attempts: Vec<Arm>,
    /// The rule that decided, or `asked`.
    pub rule: String,
    /// What it is compared with.
    pub baseline: Arm,
    /// Model and effort are the client's own: nothing about them is changed.
    pub untouched: bool,
    /// Every arm that was weighed, and what spoke for or against it.
    pub considered: Vec<Considered>,
}

/// One arm that was weighed.
#[derive(Clone, Debug)]
pub struct Considered {
    /// `model@effort`.
    pub arm: String,
    /// What it was expected to cost, if its price is known.
    pub expected: Option<crate::money::PicoUsd>,
    /// Chosen, or why not.
    pub verdict: &'static str,
}

/// The model names that are routed.
const AUTO: &str = "auto";

/// Decides.
///
/// # Errors
/// No model of this name, none that the key may use, none that speaks the dialect, or none that is local for a private request.
pub fn decide(
    policy: &Policy,
    asked: &Asked<'_>,
    difficulty: &Difficulty,
    features: &Features,
) -> Result<Decision, Error> {
    let variant = auto_variant(asked.model)?;
    if !is_routed(policy, asked.model) {
        return as_asked(policy, asked);
    }
    let variant = variant.unwrap_or_default();
    let wants = Wants {
        objective: asked
            .objective
            .or(variant.objective)
            .unwrap_or(policy.objective),
        private: asked.private,
        local: asked.private || variant.local,
    };
    routed(policy, asked, difficulty, features, &wants)
}

/// Whether a request for this name is routed: `auto`, a name that is intercepted, or any where all models are simulated.
#[must_use]
pub fn is_routed(policy: &Policy, name: &str) -> bool {
    let models = &policy.fleet.models;
    let simulated_only = !models.is_empty() && models.iter().all(|m| m.simulated);
    // What begins like `auto:` and is none of its variants is refused for that.
    let auto = !matches!(auto_variant(name), Ok(None));
    auto || simulated_only || policy.intercept.iter().any(|p| policy::like(p, name))
}

struct Wants {
    objective: Objective,
    private: bool,
    local: bool,
}

#[derive(Clone, Copy, Default)]
struct Variant {
    objective: Option<Objective>,
    local: bool,
}

/// `auto`, `auto:cheap`, ...; `None` is a real model's name.
fn auto_variant(model: &str) -> Result<Option<Variant>, Error> {
    let Some(rest) = model.strip_prefix(AUTO) else {
        return Ok(None);
    };
    match rest {
        "" => Ok(Some(Variant::default())),
        ":local" => Ok(Some(Variant {
            objective: None,
            local: true,
        })),
        _ => match rest.strip_prefix(':') {
            None => Ok(None),
            Some(name) => match Objective::parse(name) {
                Some(objective) => Ok(Some(Variant {
                    objective: Some(objective),
                    local: false,
                })),
                None => Err(no_model(format!(
                    "\"{model}\" is not one of auto, auto:cheap, auto:balanced, auto:best, auto:fast, auto:local"
                ))),
            },
        },
    }
}

fn no_model(public: String) -> Error {
    Error {
        field: Some("model".into()),
        ..Error::new(Kind::NotFound, public).code("model_not_found")
    }
}

/// A real name that nothing intercepts: model and effort stay as they are; only the gates apply.
fn as_asked(policy: &Policy, asked: &Asked<'_>) -> Result<Decision, Error> {
    let model = policy.fleet.resolve(asked.model, asked.dialect, &policy.catalogue).ok_or_else(|| {
        no_model(format!("No configured provider has a model named \"{}\". GET /v1/models lists what there is; \"auto\" is routed.", asked.model))
    })?;
    if !(asked.may_use)(&model.name) {
        return Err(Error::new(
            Kind::Forbidden,
            format!("This key may not use the model \"{}\".", model.name),
        )
        .code("model_not_allowed"));
    }
    if asked.private && (!model.local || model.simulated) {
        return Err(private_only());
    }
    if !model.provider.speaks(asked.dialect) {
        (asked.sayable)(&model.provider)?;
    }
    let arm = Arm {
        effort: asked.effort.map(|e| effort::clamp(&model.accepts, e)),
        model,
    };
    let untouched = arm.effort.is_none();
    let considered = vec![Considered {
        arm: name(&arm),
        expected: None,
        verdict: "asked for by name",
    }];
    Ok(Decision {
        baseline: arm.clone(),
        attempts: vec![arm],
        rule: "asked".into(),
        untouched,
        considered,
    })
}

fn private_only() -> Error {
    Error::new(
        Kind::PrivateOnly,
        "This request is confidential and must stay on local models, but none can take it.",
    )
    .code("flyball_private")
}

fn routed(
    policy: &Policy,
    asked: &Asked<'_>,
    difficulty: &Difficulty,
    features: &Features,
    wants: &Wants,
) -> Result<Decision, Error> {
    let baseline = baseline(policy, asked)?;
    let facts = Facts {
        difficulty,
        tokens: features.prompt_tokens_estimate,
        tools: asked.tools,
        structured: asked.structured,
        images: asked.images,
        turns: asked.turns,
        model: asked.model,
        tags: asked.tags,
        header: &|name| (asked.header)(name),
        key: asked.key,
        objective: wants.objective,
        private: wants.private,
        cap_used: asked.cap_used,
    };
    let rule = policy
        .rules
        .iter()
        .find(|r| r.matches(&facts))
        .cloned()
        .unwrap_or_else(|| Arc::new(policy::default_rule()));
    let mut considered = Vec::new();
    let eligible = eligible(policy, asked, features, wants, &mut considered);
    if eligible.is_empty() {
        return Err(nothing_eligible(policy, asked, wants, &considered));
    }
    if let Some(decision) = goes_on(asked, &eligible, &baseline, &mut considered) {
        return Ok(decision);
    }
    let job = cost::Job {
        features,
        difficulty,
        limit: asked.limit,
    };
    let mut ranked = rank(&rule, asked, difficulty, wants, &eligible, &job);
    hold_to_baseline(asked, wants, &baseline, &eligible, &job, &mut ranked);
    for (place, arm) in ranked.iter().enumerate() {
        let verdict = match (place, ranked[0].model.tier == arm.model.tier) {
            (0, _) => "chosen",
            (_, true) => "dearer than the chosen one",
            (_, false) => "of another tier than the chosen one",
        };
        considered.push(Considered {
            arm: name(arm),
            expected: cost::expected(arm, &job),
            verdict,
        });
    }
    let attempts = with_fallbacks(&rule, ranked, &eligible, difficulty, asked, wants);
    Ok(Decision {
        attempts,
        rule: rule.name.clone(),
        baseline,
        untouched: false,
        considered,
    })
}

/// The arm that the answer's cost is compared with.
fn baseline(policy: &Policy, asked: &Asked<'_>) -> Result<Arm, Error> {
    let auto = asked.model == AUTO || asked.model.starts_with("auto:");
    let named = policy
        .fleet
        .resolve(asked.model, asked.dialect, &policy.catalogue);
    if let (false, Some(model)) = (auto, named) {
        return Ok(Arm {
            model,
            effort: asked.body_effort,
        });
    }
    if let Some((model, effort)) = &policy.baseline {
        return Ok(Arm {
            model: model.clone(),
            effort: *effort,
        });
    }
    dearest(&policy.fleet, asked.may_use)
        .map(|model| Arm {
            effort: None,
            model,
        })
        .ok_or_else(|| {
            Error::new(
                Kind::Forbidden,
                "This key may not use any of the configured models.",
            )
        })
}

/// The dearest model that a caller may use: the baseline of `auto` where none is configured.
#[must_use]
pub fn dearest(fleet: &Fleet, may_use: &dyn Fn(&str) -> bool) -> Option<Arc<Model>> {
    let usable = fleet.models.iter();
    let usable = usable.filter(|m| may_use(&m.name) && !m.embeds);
    usable
        .max_by_key(|m| m.price.as_ref().map(|p| p.rates.output + p.rates.input))
        .cloned()
}

/// Hard gates: what no rule and no score can overrule.
fn eligible(
    policy: &Policy,
    asked: &Asked<'_>,
    features: &Features,
    wants: &Wants,
    considered: &mut Vec<Considered>,
) -> Vec<Arc<Model>> {
    let mut pass = Vec::new();
    for model in &policy.fleet.models {
        let verdict = if !(asked.may_use)(&model.name) {
            Some("the key may not use it")
        } else if model.embeds {
            Some("it makes embeddings only")
        } else if wants.local && (!model.local || model.simulated) {
            Some("not local")
        } else if !speaks(asked, &model.provider) {
            Some("cannot be told this request: it speaks another dialect")
        } else if model
            .context_tokens
            .is_some_and(|c| features.prompt_tokens_estimate > c)
        {
            Some("the prompt is longer than its context")
        } else {
            None
        };
        match verdict {
            None => pass.push(model.clone()),
            Some(verdict) => considered.push(Considered {
                arm: model.name.clone(),
                expected: None,
                verdict,
            }),
        }
    }
    pass
}

/// The provider speaks the client's dialect, or the request can be said in another one.
fn speaks(asked: &Asked<'_>, provider: &Provider) -> bool {
    provider.speaks(asked.dialect) || (asked.sayable)(provider).is_ok()
}

/// What stands in the way of every model that speaks another dialect.
fn untranslatable(policy: &Policy, asked: &Asked<'_>) -> Error {
    let models = policy.fleet.models.iter();
    let mut whys = models.filter_map(|m| (asked.sayable)(&m.provider).err());
    whys.next().unwrap_or_else(|| {
        Error::bad_field(
            "model",
            format!(
                "None of the configured models speaks {}; add a provider that does.",
                asked.dialect
            ),
        )
    })
}

fn nothing_eligible(
    policy: &Policy,
    asked: &Asked<'_>,
    wants: &Wants,
    considered: &[Considered],
) -> Error {
    let all = |verdict| considered.iter().all(|c| c.verdict == verdict);
    let detail = considered
        .iter()
        .map(|c| format!("{}: {}", c.arm, c.verdict))
        .collect::<Vec<_>>()
        .join("; ");
    let error = if wants.local {
        private_only()
    } else if all("the key may not use it") {
        Error::new(
            Kind::Forbidden,
            "This key may not use any of the configured models.",
        )
        .code("model_not_allowed")
    } else if considered.iter().any(|c| c.verdict.contains("context")) {
        Error::bad_field(
            "messages",
            "The prompt is longer than the context of every model that could take it.",
        )
        .code("context_length_exceeded")
    } else {
        untranslatable(policy, asked)
    };
    error.detail(detail)
}

/// A turn that goes on stays with its arm, so that reasoning and tool calls go back to the model that made them.
fn goes_on(
    asked: &Asked<'_>,
    eligible: &[Arc<Model>],
    baseline: &Arm,
    considered: &mut Vec<Considered>,
) -> Option<Decision> {
    let (model, effort, rule) = asked.served?;
    let model = eligible.iter().find(|m| m.name == model)?.clone();
    let arm = Arm {
        model,
        effort: Some(effort),
    };
    considered.push(Considered {
        arm: name(&arm),
        expected: None,
        verdict: "serves this turn already",
    });
    Some(Decision {
        attempts: vec![arm],
        rule: rule.to_owned(),
        baseline: baseline.clone(),
        untouched: false,
        considered: std::mem::take(considered),
    })
}

/// The eligible arms that the rule allows, best first.
fn rank(
    rule: &Rule,
    asked: &Asked<'_>,
    difficulty: &Difficulty,
    wants: &Wants,
    eligible: &[Arc<Model>],
    job: &cost::Job<'_>,
) -> Vec<Arm> {
    let effort = |model: &Model| {
        asked.effort.map_or_else(
            || pick_effort(rule, model, difficulty, wants.objective),
            |e| effort::clamp(&model.accepts, e),
        )
    };
    let mut tiers = tiers(rule, wants);
    let mut ranked = Vec::new();
    if let Some((named, fixed)) = named_arm(&rule.route.to, eligible) {
        ranked.push(Arm {
            effort: Some(fixed.unwrap_or_else(|| effort(&named))),
            model: named,
        });
        if rule.route.strict {
            tiers.clear();
        }
    }
    for tier in tiers {
        let mut arms: Vec<Arm> = eligible
            .iter()
            .filter(|m| m.tier == tier && !ranked.iter().any(|r: &Arm| Arc::ptr_eq(&r.model, m)))
            .map(|m| Arm {
                effort: Some(effort(m)),
                model: m.clone(),
            })
            .collect();
        // Unknown prices sort last: a model is not cheap because nobody knows what it costs.
        arms.sort_by_key(|arm| {
            cost::expected(arm, job).map_or((1, crate::money::PicoUsd::ZERO), |c| (0, c))
        });
        ranked.extend(arms);
    }
    ranked
}

/// The model that a rule names, if it may answer, with the effort that the rule names with it.
fn named_arm(target: &Target, eligible: &[Arc<Model>]) -> Option<(Arc<Model>, Option<Effort>)> {
    match target {
        Target::Tier(_) => None,
        Target::Arm(name, effort) => eligible
            .iter()
            .find(|m| m.name == *name)
            .map(|m| (m.clone(), *effort)),
    }
}

fn names(target: &Target, model: &Model) -> bool {
    match target {
        Target::Tier(tier) => model.tier == *tier,
        Target::Arm(name, _) => model.name == *name,
    }
}

/// The tiers to look in, best first: the rule's, moved one step by the objective; where it has no model, first the
/// dearer ones, or the cheaper ones for whoever wants it cheap or fast.
fn tiers(rule: &Rule, wants: &Wants) -> Vec<Tier> {
    if wants.local {
        return vec![Tier::Local, Tier::Small, Tier::Standard, Tier::Reasoning];
    }
    let all = Tier::ALL;
    let home = match rule.route.to {
        Target::Tier(tier) => tier,
        Target::Arm(..) => Tier::Standard,
    };
    let at = all.iter().position(|t| *t == home).unwrap_or(0);
    let shifted = match wants.objective {
        _ if rule.route.strict => at,
        Objective::Balanced => at,
        Objective::Cheap | Objective::Fast => at.saturating_sub(1),
        Objective::Best => (at + 1).min(all.len() - 1),
    };
    if rule.route.strict {
        return vec![all[shifted]];
    }
    let mut others: Vec<Tier> = all[shifted + 1..].to_vec();
    let cheaper = all[..shifted].iter().rev().copied();
    match wants.objective {
        Objective::Cheap | Objective::Fast => others = cheaper.chain(others).collect(),
        Objective::Balanced | Objective::Best => others.extend(cheaper),
    }
    std::iter::once(all[shifted]).chain(others).collect()
}

/// The effort within the rule's range: the least for cheap and fast, the most for best; in between by where the
/// difficulty lies in the rule's own band, so that the upper end is for what is hardest among its kind.
fn pick_effort(
    rule: &Rule,
    model: &Model,
    difficulty: &Difficulty,
    objective: Objective,
) -> Effort {
    let Some(Efforts { least, most }) = rule.route.effort else {
        return fleet::default_effort(model);
    };
    let range: Vec<Effort> = Effort::ALL
        .into_iter()
        .filter(|e| *e >= least && *e <= most)
        .collect();
    let wanted = match objective {
        Objective::Cheap | Objective::Fast => range.first(),
        Objective::Best => range.last(),
        Objective::Balanced => range.get(step_of(range.len(), place_in_band(rule, difficulty))),
    };
    effort::clamp(&model.accepts, wanted.copied().unwrap_or(least))
}

/// Where a difficulty lies in the band that the rule is for, 0 to 1.
fn place_in_band(rule: &Rule, difficulty: &Difficulty) -> f64 {
    let band = rule.when.difficulty;
    let from = band.and_then(|b| b.from).unwrap_or(0.0);
    let to = band.and_then(|b| b.to).unwrap_or(1.0);
    ((difficulty.difficulty - from) / (to - from).max(0.01)).clamp(0.0, 1.0)
}

/// Which of so many equal steps a place from 0 to 1 is in. There are seven at most, so counting beats converting floats.
fn step_of(steps: usize, place: f64) -> usize {
    (1..steps)
        .take_while(|n| place * as_f64(steps) >= as_f64(*n))
        .count()
}

fn as_f64(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::MAX, f64::from)
}

/// An intercepted request never goes to an arm that is expected to cost more than the one asked for, unless the best is wanted.
fn hold_to_baseline(
    asked: &Asked<'_>,
    wants: &Wants,
    baseline: &Arm,
    eligible: &[Arc<Model>],
    job: &cost::Job<'_>,
    ranked: &mut Vec<Arm>,
) {
    let auto = asked.model == AUTO || asked.model.starts_with("auto:");
    let asked_for = eligible.iter().any(|m| m.name == baseline.model.name)
        || speaks(asked, &baseline.model.provider);
    if auto
        || wants.local
        || wants.objective == Objective::Best
        || !asked_for
        || baseline.model.name != asked.model
    {
        return;
    }
    let Some(ceiling) = cost::expected(baseline, job) else {
        return;
    };
    let wanted = ranked.first().map(|arm| arm.model.tier);
    ranked.retain(|arm| cost::expected(arm, job).is_some_and(|c| c <= ceiling));
    // Where what the rule wants would cost more than what was asked for, the asked arm is better than a smaller model.
    let smaller = |arm: &Arm| Some(arm.model.tier) < wanted && arm.model.tier < baseline.model.tier;
    if ranked.first().is_none_or(smaller) && (asked.may_use)(&baseline.model.name) {
        ranked.retain(|arm| arm.model.name != baseline.model.name);
        ranked.insert(0, baseline.clone());
    }
}

/// The first arm, then what the rule names as its fallback. A paid fallback is never silent: without a word in the rule there is none.
fn with_fallbacks(
    rule: &Rule,
    ranked: Vec<Arm>,
    eligible: &[Arc<Model>],
    difficulty: &Difficulty,
    asked: &Asked<'_>,
    wants: &Wants,
) -> Vec<Arm> {
    let mut ranked = ranked.into_iter();
    let mut attempts: Vec<Arm> = ranked.next().into_iter().collect();
    for step in &rule.route.fallback {
        for model in eligible.iter().filter(|m| names(step, m)) {
            if !attempts.iter().any(|a| Arc::ptr_eq(&a.model, model)) {
                let effort = asked.effort.map_or_else(
                    || pick_effort(rule, model, difficulty, wants.objective),
                    |e| effort::clamp(&model.accepts, e),
                );
                attempts.push(Arm {
                    model: model.clone(),
                    effort: Some(effort),
                });
            }
        }
    }
    attempts
}

/// `model@effort`.
#[must_use]
pub fn name(arm: &Arm) -> String {
    arm.effort.map_or_else(
        || arm.model.name.clone(),
        |e| format!("{}@{e}", arm.model.name),
    )
}
