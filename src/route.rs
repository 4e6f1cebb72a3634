//! Which arms may answer, in which order, and why. Pure: no IO, no clock.
//!
//! Hard gates first (privacy, dialect, key, context), then the rule that matches; within its bounds the arm that is cheapest for the
//! conversation among those whose chance of a good answer is near enough to the best one's.

pub mod cost;
mod doubts;
mod gate;
mod hedging;
mod learning;
pub mod policy;
pub mod probing;
mod rank;
mod recovery;
mod reference;
mod shadowing;
pub mod standing;
mod webhook;
pub mod worth;

use crate::arm::{Effort, Objective};
use crate::caller::EndUsers;
use crate::capability::Capabilities;
use crate::classify::Graded;
use crate::classify::overlay::Overlay;
use crate::classify::runaway::Guard;
use crate::error::{Error, Kind};
use crate::fleet::ability::CorrectedAbilities;
use crate::fleet::senses::Carried;
use crate::fleet::{Arm, Fleet, Model, Unresolved};
use crate::ledger::window::Zone;
use crate::pattern::like;
use crate::price::Catalogue;
use crate::private::{Classes, Privacy};
use crate::reader::suggest;
pub use doubts::doubts;
pub use hedging::{HedgeEnd, HedgeTo, Hedging};
pub use learning::{LearnedFromOutcomes, Learning};
use policy::{Facts, Rule};
pub use probing::{EXPLORING, Probe, Probing, Shows};
pub use recovery::{AfterFailure, Recovery};
pub use reference::starter_tier;
use secrecy::SecretString;
pub use shadowing::{ShadowEnd, Shadowing};
use standing::ConversationStanding;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
pub use webhook::{HookOf, Webhook};
use worth::Worth;

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
    pub baseline: Option<Arm>,
    /// Other names of arms, which apps may ask for like a model.
    pub aliases: BTreeMap<String, Arm>,
    /// Prices of models that no configuration names.
    pub catalogue: Arc<Catalogue>,
    /// Answer tokens that a request without a limit may use on a capped key, before reasoning.
    pub answer_tokens_max: u64,
    /// Fewer answer tokens than this are not worth a request.
    pub answer_tokens_min: u64,
    /// A token limit may be lowered to what a cap has left.
    pub lower_limits: bool,
    /// Requests for a model by its own name are graded too, for whoever looks at what was asked; it decides nothing of them.
    pub grade_asked: bool,
    /// Patterns of the fields that may be let go where a model's dialect has none for them.
    pub may_drop: Vec<String>,
    /// What happens where a provider fails.
    pub recovery: Recovery,
    /// When a request is sent twice, where any is.
    pub hedging: Option<Arc<Hedging>>,
    /// How long a request waits that only open reservations keep from its cap's room.
    pub cap_wait: Duration,
    /// Where the operator is told of caps that fill up.
    pub cap_webhook: Option<Arc<CapWebhook>>,
    /// The teams, each with its organisation (or nothing).
    pub teams: BTreeMap<String, String>,
    /// Where days, weeks and months begin.
    pub zone: Zone,
    /// When answers are looked at.
    pub probing: Probing,
    /// Whether it learns from outcomes.
    pub learning: Option<Arc<Learning>>,
    /// Which requests another arm is asked as well, where any.
    pub shadowing: Option<Arc<Shadowing>>,
    /// What the operator's own outcomes add to the grader.
    pub overlay: Option<Arc<Overlay>>,
    /// What was learned that it goes by.
    pub learned: Arc<LearnedFromOutcomes>,
    /// How able models are by that, where it says so.
    pub abilities: Option<Arc<CorrectedAbilities>>,
    /// What makes a request confidential by what is in it, where anything does.
    pub privacy: Option<Arc<Privacy>>,
    /// When a conversation is stopped that runs away.
    pub guard: Guard,
    /// How the end users of apps are told apart.
    pub end_users: EndUsers,
    /// From so long a deadline on a request whose client comes back for its answer may wait in a batch; `None` where none is kept here.
    pub batch_from: Option<Duration>,
    /// Who is told that a request has come to its end which was to be answered later.
    pub webhooks: Arc<Vec<Webhook>>,
}

/// Where the operator is told of caps that fill up.
#[derive(Clone, Debug)]
pub struct CapWebhook {
    /// The address. It may hold a secret.
    pub url: SecretString,
    /// What is posted there.
    pub format: HookFormat,
    /// What posts are signed with, if they are.
    pub secret: Option<SecretString>,
}

/// The form of what a webhook gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookFormat {
    /// All that is known, for a program.
    #[default]
    Json,
    /// A sentence, as Slack's incoming webhooks take it.
    Slack,
}

/// What is asked.
pub struct Asked<'a> {
    /// The dialect that the client speaks.
    pub dialect: &'static str,
    /// Whether an arm whose provider does not speak the dialect can be told the request all the same.
    pub sayable: &'a dyn Fn(&Arm) -> Result<(), Error>,
    /// What it asks for besides words.
    pub asks: Capabilities,
    /// What of that a model takes no part of, so that it would have to be let go, or has refused within the last minutes.
    pub doubted: &'a dyn Fn(&Model) -> Doubted,
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
    /// What was found in it.
    pub detected: Classes,
    /// Whether the key may use a model.
    pub may_use: &'a dyn Fn(&str) -> bool,
    /// The client's token limit.
    pub limit: Option<u64>,
    /// What the rules look at besides the difficulty.
    pub tools: bool,
    /// A structured answer is demanded.
    pub structured: bool,
    /// What there is beside words.
    pub carried: Carried,
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
    /// How its conversation stands.
    pub standing: ConversationStanding<'a>,
    /// What an arm's evidence is worth; `None` where it shows none.
    pub shows: &'a dyn Fn(&Arm) -> Option<Shows>,
}

/// What speaks against a model for a request, and yields where it speaks against all of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Doubted {
    /// What would be let go before it.
    pub loses: Capabilities,
    /// What its provider has refused lately.
    pub refused: Capabilities,
    /// It refuses a token limit as high as the client's.
    pub limited: bool,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The arms to try, in this order. Never empty.
    pub attempts: Vec<Arm>,
    /// The arms of the other models within the rule's bounds, best first: tried where a cap has no room for each of the attempts, or it
    /// turns out that they cannot do what is asked, or where a provider has failed and left no bill.
    pub further: Vec<Arm>,
    /// It was decided here; a model that was asked for by its own name was not.
    pub routed: bool,
    /// The rule that decided, or `asked`.
    pub rule: String,
    /// What it is compared with.
    pub baseline: Arm,
    /// Model and effort are the client's own: nothing about them is changed.
    pub untouched: bool,
    /// Every arm that was weighed, best first, then the models that may not answer, each with what spoke for or against it.
    pub considered: Vec<Considered>,
    /// It was asked for by a name that nobody is known to have.
    pub unknown: Option<UnknownName>,
    /// The cheaper arm that is asked before the first of the attempts.
    pub probe: Option<Probe>,
}

impl Decision {
    /// What was known of an arm when it was weighed.
    #[must_use]
    pub fn weighed(&self, arm: &Arm) -> Option<&Considered> {
        let mut considered = self.considered.iter();
        considered.find(|c| Arc::ptr_eq(&c.arm.model, &arm.model) && c.arm.effort == arm.effort)
    }
}

/// A name that no vendor and no configured provider is known to have a model of: most likely a slip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The name, as far as it can be shown.
    pub name: String,
    /// What may have been meant.
    pub meant: Option<String>,
}

/// `gtp-4o; did you mean "gpt-4o"?`
impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        self.meant
            .iter()
            .try_for_each(|meant| write!(f, "; {meant}"))
    }
}

/// As many letters of an unknown name as are looked at and shown: no vendor's names are longer.
const NAME_LETTERS_MAX: usize = 64;

/// One arm that was weighed.
#[derive(Clone, Debug)]
pub struct Considered {
    /// The arm; a model that no effort could save has none.
    pub arm: Arm,
    /// What it was expected to cost, if it was weighed and its price is known.
    pub expected: Option<cost::Expected>,
    /// The chance of a good answer, 0 to 1, if it was weighed.
    pub chance: Option<f64>,
    /// Chosen, or why not.
    pub verdict: &'static str,
}

/// The model names that are routed.
const AUTO: &str = "auto";

/// Decides. `graded` is asked for the prompt's grade only where it matters: a model that was asked for by its own name answers however
/// hard the prompt is.
///
/// # Errors
/// No model of this name, none that the key may use, none that speaks the dialect, or none that is local for a private request.
pub fn decide<'g>(
    policy: &Policy,
    asked: &Asked<'_>,
    graded: impl FnOnce() -> &'g Graded,
) -> Result<Decision, Error> {
    let variant = auto_variant(asked.model)?;
    if !is_routed(policy, asked.model) {
        return as_asked(policy, asked);
    }
    let wants = wanted(policy, asked, variant.unwrap_or_default());
    routed(policy, asked, graded(), &wants)
}

/// Whether a request for this name is routed: `auto`, a name that is intercepted, or any where all models are simulated.
#[must_use]
pub fn is_routed(policy: &Policy, name: &str) -> bool {
    if policy.aliases.contains_key(name) {
        return false;
    }
    let models = &policy.fleet.models;
    let simulated_only = !models.is_empty() && models.iter().all(|m| m.simulated);
    // What begins like `auto:` and is none of its variants is refused for that.
    let auto = !matches!(auto_variant(name), Ok(None));
    // Where all models are simulated every name is intercepted but their own, which answer themselves.
    if simulated_only {
        return auto || policy.fleet.named(name).is_none();
    }
    auto || policy.intercept.iter().any(|p| like(p, name))
}

/// The name that was asked for, where nobody is known to have a model of it.
fn unknown(policy: &Policy, name: &str) -> Option<UnknownName> {
    let auto = !matches!(auto_variant(name), Ok(None));
    if auto || policy.fleet.named(name).is_some() || policy.catalogue.knows(name) {
        return None;
    }
    // It goes into a header and the log, and is the client's own.
    let plain = name.chars().filter(|c| c.is_ascii_graphic());
    let name: String = plain.take(NAME_LETTERS_MAX).collect();
    let listed = policy.fleet.models.iter().map(|m| m.name.as_str());
    let known = policy.catalogue.iter().map(|(_, model, _)| model);
    let meant = suggest(&name, listed.chain(known).chain([AUTO]));
    Some(UnknownName {
        meant: meant.filter(|meant| meant.starts_with("did you mean")),
        name,
    })
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

/// Why a real name leads to no model, as a refusal; `ways` says what to do where nobody has it.
#[must_use]
pub fn unresolved(name: &str, why: &Unresolved, ways: &str) -> Error {
    match why {
        Unresolved::Nobody => no_model(format!(
            "No configured provider has a model named \"{name}\". {ways}"
        )),
        Unresolved::Several(_) => {
            Error::bad_field("model", format!("\"{name}\" {why}.")).code("model_ambiguous")
        }
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
    let alias = policy.aliases.get(asked.model);
    let found = match alias {
        Some(arm) => Ok(Arc::clone(&arm.model)),
        None => policy
            .fleet
            .resolve(asked.model, asked.dialect, &policy.catalogue),
    };
    let model = found.map_err(|why| {
        let ways = "GET /v1/models lists what there is; \"auto\" is routed.";
        unresolved(asked.model, &why, ways)
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
    let arm = Arm {
        effort: asked
            .effort
            .or(alias.and_then(|arm| arm.effort))
            .map(|e| crate::effort::clamp(&model.accepts, e)),
        model,
    };
    can_be_told(asked, &arm)?;
    let untouched = arm.effort.is_none() && alias.is_none();
    let considered = vec![Considered {
        arm: arm.clone(),
        expected: None,
        chance: None,
        verdict: "asked for by name",
    }];
    Ok(Decision {
        baseline: arm.clone(),
        attempts: vec![arm],
        further: Vec::new(),
        routed: false,
        rule: "asked".into(),
        untouched,
        considered,
        unknown: None,
        probe: None,
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
    graded: &Graded,
    wants: &Wants,
) -> Result<Decision, Error> {
    let Graded {
        features,
        difficulty,
    } = graded;
    let baseline = baseline(policy, asked)?;
    let rule = rule(policy, asked, graded, wants);
    let mut considered = Vec::new();
    let mut eligible = gate::eligible(policy, asked, features, wants, &mut considered);
    gate::leave_out_vetoed(&rule, &mut eligible, &mut considered);
    gate::leave_out_doubted(asked, &mut eligible, &mut considered);
    let job = cost::Forecast {
        features,
        difficulty,
        limit: asked.limit,
        standing: asked.standing,
    };
    let learned = policy.abilities.as_deref();
    let worth = Worth::of(difficulty, asked.standing.stuck).by(learned);
    let mut untold = None;
    // Whether a model that speaks another dialect can be told the request is asked of those alone that would be chosen.
    while !eligible.is_empty() {
        // A turn that does not get on is the only one that moves.
        let may_move = asked.standing.stuck && matches!(rule.route.to, policy::Target::Within(..));
        let serving = goes_on(asked, &eligible).filter(|_| !may_move);
        let ranked = match &serving {
            Some(arm) => vec![rank::serving(arm, &job, &worth)],
            None => {
                let mut ranked = rank::arms(&rule, asked, wants, &eligible, &job, &worth);
                if let Some(ceiling) = rank::ceiling(asked, wants, &baseline, &eligible, &job) {
                    let how = (&*rule, wants, &job, &worth);
                    rank::hold_to_baseline(how, &baseline, ceiling, &mut ranked);
                }
                ranked
            }
        };
        let first = ranked.first().map(|w| &w.arm);
        let attempts = rank::with_fallbacks(&rule, first, &eligible, asked, wants, &job);
        let Some(first) = attempts.first() else {
            return Err(gate::no_arm_of(&rule, &considered));
        };
        if let Err(error) = can_be_told(asked, first) {
            gate::leave_out(&first.model.provider, &mut eligible, &mut considered);
            untold.get_or_insert(error);
            continue;
        }
        let probe = match can_be_probed(&ranked, first) {
            true => probing::probe(policy, asked, wants, &rule, &ranked),
            false => None,
        };
        // What cannot be told the request cannot be asked first either.
        let probe = probe.filter(|probe| can_be_told(asked, &probe.arm).is_ok());
        let further = match &serving {
            Some(_) => &rank::arms(&rule, asked, wants, &eligible, &job, &worth),
            None => &ranked,
        };
        let further = rank::further(further, &attempts);
        let left_out = std::mem::take(&mut considered);
        considered = ranked.iter().map(rank::Weighed::considered).collect();
        considered.extend(left_out);
        return Ok(Decision {
            attempts,
            further,
            routed: true,
            rule: match asked.standing.serving {
                Some((.., own)) if serving.is_some() => own.to_owned(),
                _ => rule.name.clone(),
            },
            baseline,
            untouched: false,
            considered,
            unknown: unknown(policy, asked.model),
            probe,
        });
    }
    let tried = gate::Tried {
        rule: &rule,
        considered: &considered,
        untold,
    };
    Err(gate::nothing_eligible(asked, wants, tried))
}

/// The arm that will be tried first is the one that was weighed first.
fn can_be_probed(ranked: &[rank::Weighed], first: &Arm) -> bool {
    let weighed = ranked.first();
    weighed.is_some_and(|w| Arc::ptr_eq(&w.arm.model, &first.model))
}

/// The first rule that holds.
fn rule(policy: &Policy, asked: &Asked<'_>, graded: &Graded, wants: &Wants) -> Arc<Rule> {
    let facts = Facts {
        difficulty: &graded.difficulty,
        tokens: graded.features.prompt_tokens_estimate,
        tools: asked.tools,
        structured: asked.structured,
        images: asked.carried.images,
        turns: asked.turns,
        model: asked.model,
        tags: asked.tags,
        header: &|name| (asked.header)(name),
        key: asked.key,
        objective: wants.objective,
        private: wants.private,
        detected: asked.detected,
        cap_used: asked.cap_used,
    };
    let mut rules = policy.rules.iter();
    let found = rules.find(|r| r.matches(&facts)).cloned();
    found.unwrap_or_else(|| Arc::new(policy::default_rule()))
}

/// The rule that would decide a request that is routed.
#[must_use]
pub fn rule_for(policy: &Policy, asked: &Asked<'_>, graded: &Graded) -> Arc<Rule> {
    let variant = auto_variant(asked.model).ok().flatten();
    let wants = wanted(policy, asked, variant.unwrap_or_default());
    rule(policy, asked, graded, &wants)
}

fn wanted(policy: &Policy, asked: &Asked<'_>, variant: Variant) -> Wants {
    Wants {
        objective: asked
            .objective
            .or(variant.objective)
            .unwrap_or(policy.objective),
        private: asked.private,
        local: asked.private || variant.local,
    }
}

/// Whether an arm's provider speaks the client's dialect, or the request can be said in one of its own.
fn can_be_told(asked: &Asked<'_>, arm: &Arm) -> Result<(), Error> {
    match arm.model.provider.speaks(asked.dialect) {
        true => Ok(()),
        false => (asked.sayable)(arm),
    }
}

/// The arm that the answer's cost is compared with.
fn baseline(policy: &Policy, asked: &Asked<'_>) -> Result<Arm, Error> {
    let auto = asked.model == AUTO || asked.model.starts_with("auto:");
    let named = policy
        .fleet
        .resolve(asked.model, asked.dialect, &policy.catalogue);
    if let (false, Ok(model)) = (auto, named) {
        return Ok(Arm {
            model,
            effort: asked.body_effort,
        });
    }
    if let Some(arm) = &policy.baseline {
        return Ok(arm.clone());
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

/// A turn that goes on stays with its arm, so that reasoning and tool calls go back to the model that made them.
fn goes_on(asked: &Asked<'_>, eligible: &[Arc<Model>]) -> Option<Arm> {
    let (model, effort, _) = asked.standing.serving?;
    let model = eligible.iter().find(|m| m.name == model)?.clone();
    Some(Arm {
        model,
        effort: Some(effort),
    })
}
