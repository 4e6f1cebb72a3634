//! Hard gates: which models may answer at all, and what to say where none may.

use super::policy::Rule;
use super::{Asked, Considered, Doubted, Policy, Wants, private_only, rank};
use crate::capability::Capability;
use crate::classify::Features;
use crate::error::{Error, Kind};
use crate::fleet::senses::Carried;
use crate::fleet::{Arm, Model};
use crate::provider::Provider;
use std::sync::Arc;

/// So many models are named in a refusal.
const NAMED_MAX: usize = 12;

/// Hard gates: what no rule and no score can overrule.
pub(super) fn eligible(
    policy: &Policy,
    asked: &Asked<'_>,
    features: &Features,
    wants: &Wants,
    considered: &mut Vec<Considered>,
) -> Vec<Arc<Model>> {
    let mut pass = Vec::new();
    for model in &policy.fleet.models {
        let verdict = if !(asked.may_use)(&model.name) {
            Some(NOT_ALLOWED)
        } else if model.embeds {
            Some("it makes embeddings only")
        } else if wants.local && (!model.local || model.simulated) {
            Some("not local")
        } else if model
            .context_tokens
            .is_some_and(|c| features.prompt_tokens_estimate > c)
        {
            Some(PROMPT_TOO_LONG)
        } else {
            // What can be let go only speaks against it.
            let lacks = model.takes.lacks.set(Capability::Logprobs, false);
            let lacks = asked.asks.first_of(lacks).map(Capability::lacking);
            model.senses.lacking(asked.carried).or(lacks)
        };
        match verdict {
            None => pass.push(model.clone()),
            Some(verdict) => considered.push(left_out(model, verdict)),
        }
    }
    pass
}

const PROMPT_TOO_LONG: &str = "the prompt is longer than its context";
const NOT_ALLOWED: &str = "the key may not use it";
const VETOED: &str = "the rule does not let it answer";
const OTHER_DIALECT: &str = "cannot be told this request: it speaks another dialect";

fn left_out(model: &Arc<Model>, verdict: &'static str) -> Considered {
    Considered {
        arm: Arm {
            model: Arc::clone(model),
            effort: None,
        },
        expected: None,
        chance: None,
        verdict,
    }
}

/// Leaves out the models that the rule does not let answer.
pub(super) fn leave_out_vetoed(
    rule: &Rule,
    eligible: &mut Vec<Arc<Model>>,
    considered: &mut Vec<Considered>,
) {
    if rule.route.never.is_empty() {
        return;
    }
    eligible.retain(|model| {
        let vetoed = rank::is_vetoed(rule, model);
        if vetoed {
            considered.push(left_out(model, VETOED));
        }
        !vetoed
    });
}

/// Leaves out the models of which it is doubted that they can do all that is asked, where there are others: doubts bar nobody alone.
pub(super) fn leave_out_doubted(
    asked: &Asked<'_>,
    eligible: &mut Vec<Arc<Model>>,
    considered: &mut Vec<Considered>,
) {
    let doubts: [fn(&Asked<'_>, Doubted) -> Option<&'static str>; 3] = [
        |asked, doubted| {
            asked
                .asks
                .first_of(doubted.refused)
                .map(Capability::refused)
        },
        |asked, doubted| asked.asks.first_of(doubted.loses).map(Capability::lacking),
        |_, doubted| {
            doubted
                .limited
                .then_some("it refuses so high a token limit")
        },
    ];
    let mut left: Vec<(Arc<Model>, Doubted)> = std::mem::take(eligible)
        .into_iter()
        .map(|model| (Arc::clone(&model), (asked.doubted)(&model)))
        .collect();
    for doubt in doubts {
        if left
            .iter()
            .all(|(_, doubted)| doubt(asked, *doubted).is_some())
        {
            continue;
        }
        left.retain(|(model, doubted)| {
            let verdict = doubt(asked, *doubted);
            considered.extend(verdict.map(|verdict| left_out(model, verdict)));
            verdict.is_none()
        });
    }
    eligible.extend(left.into_iter().map(|(model, _)| model));
}

/// Leaves out the models of a provider that cannot be told the request in any dialect that it speaks.
pub(super) fn leave_out(
    provider: &Provider,
    eligible: &mut Vec<Arc<Model>>,
    considered: &mut Vec<Considered>,
) {
    eligible.retain(|model| {
        let stays = model.provider.name != provider.name;
        if !stays {
            considered.push(left_out(model, OTHER_DIALECT));
        }
        stays
    });
}

/// Why no model may answer.
pub(super) struct Tried<'a> {
    pub(super) rule: &'a Rule,
    pub(super) considered: &'a [Considered],
    /// What could not be said in the dialect of a model that was left.
    pub(super) untold: Option<Error>,
}

/// What is said where no model may answer: what they lack, each by its name, as far as the key may know of it.
pub(super) fn nothing_eligible(asked: &Asked<'_>, wants: &Wants, tried: Tried<'_>) -> Error {
    let Tried {
        rule,
        considered,
        untold,
    } = tried;
    let with = |verdict| considered.iter().any(|c| c.verdict == verdict);
    let lacking = considered.iter().find_map(|c| lacked(asked, c.verdict));
    let error = if wants.local {
        private_only()
    } else if considered.iter().all(|c| c.verdict == NOT_ALLOWED) {
        Error::new(
            Kind::Forbidden,
            "This key may not use any of the configured models.",
        )
        .code("model_not_allowed")
    } else if with(VETOED) {
        no_arm_of(rule, considered)
    } else if with(PROMPT_TOO_LONG) {
        Error::bad_field(
            "messages",
            "The prompt is longer than the context of every model that could take it.",
        )
        .code("context_length_exceeded")
    } else if let Some(lacking) = lacking {
        let named = named(considered.iter());
        let public = format!("No configured model can take this request: {named}.");
        let unseen = asked.carried != Carried::default() && lacking.field() == "messages";
        let code = if unseen {
            "flyball_unseen"
        } else {
            "flyball_incapable"
        };
        Error::bad_field(lacking.field(), public).code(code)
    } else {
        untold.unwrap_or_else(|| {
            let dialect = asked.dialect;
            let public = format!(
                "None of the configured models speaks {dialect}; add a provider that does."
            );
            Error::bad_field("model", public)
        })
    };
    let all = considered.iter();
    let all = all.map(|c| format!("{}: {}", c.arm, c.verdict));
    error.detail(all.collect::<Vec<_>>().join("; "))
}

/// What a verdict says that a model lacks.
fn lacked(asked: &Asked<'_>, verdict: &str) -> Option<Capability> {
    let asked = Capability::ALL.into_iter().filter(|one| {
        let carried = matches!(
            one,
            Capability::Images | Capability::Audio | Capability::Documents
        );
        carried || asked.asks.has(*one)
    });
    let mut asked = asked;
    asked.find(|one| one.lacking() == verdict)
}

/// The models that were left out, each with the reason; not those of which the key must not know.
fn named<'a>(left_out: impl Iterator<Item = &'a Considered>) -> String {
    let shown = left_out.filter(|c| c.verdict != NOT_ALLOWED);
    let shown = shown.map(|c| format!("{}: {}", c.arm.model.name, c.verdict));
    let mut shown: Vec<String> = shown.take(NAMED_MAX + 1).collect();
    if shown.len() > NAMED_MAX {
        shown[NAMED_MAX] = "and others".to_owned();
    }
    shown.join("; ")
}

/// A rule leaves nobody who can take the request.
pub(super) fn no_arm_of(rule: &Rule, considered: &[Considered]) -> Error {
    let meant = considered.iter();
    let meant = meant.filter(|c| c.verdict == VETOED || rank::names(&rule.route.to, &c.arm.model));
    let why = match named(meant) {
        none if none.is_empty() => "there is no such model that this key may use".to_owned(),
        named => named,
    };
    let public = format!(
        "The rule \"{}\" allows only models that cannot take this request: {why}.",
        rule.name
    );
    Error::bad_field("model", public).code("flyball_rule")
}
