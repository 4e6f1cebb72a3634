//! Hard gates: which models may answer at all, and what to say where none may.

use super::policy::Rule;
use super::{Asked, Considered, Policy, Wants, private_only, rank};
use crate::classify::Features;
use crate::error::{Error, Kind};
use crate::fleet::{Arm, Model};
use crate::provider::Provider;
use std::sync::Arc;

/// What is said of a model that does not take what a request carries beside words.
const SENSELESS: [&str; 3] = [
    "it sees no pictures",
    "it hears no sound",
    "it reads no documents",
];

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
            Some("the key may not use it")
        } else if model.embeds {
            Some("it makes embeddings only")
        } else if wants.local && (!model.local || model.simulated) {
            Some("not local")
        } else if model
            .context_tokens
            .is_some_and(|c| features.prompt_tokens_estimate > c)
        {
            Some("the prompt is longer than its context")
        } else {
            model.senses.lacking(asked.carried)
        };
        match verdict {
            None => pass.push(model.clone()),
            Some(verdict) => considered.push(left_out(model, verdict)),
        }
    }
    pass
}

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
            considered.push(left_out(model, "the rule does not let it answer"));
        }
        !vetoed
    });
}

/// Leaves out the models that do not take all of the request, where there are others.
pub(super) fn prefer_takers(
    asked: &Asked<'_>,
    eligible: &mut Vec<Arc<Model>>,
    considered: &mut Vec<Considered>,
) {
    if !eligible.iter().any(|model| (asked.takes)(model)) {
        return;
    }
    eligible.retain(|model| {
        let takes = (asked.takes)(model);
        if !takes {
            considered.push(left_out(model, "it takes no text that ends the answer"));
        }
        takes
    });
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
            considered.push(left_out(
                model,
                "cannot be told this request: it speaks another dialect",
            ));
        }
        stays
    });
}

pub(super) fn nothing_eligible(
    asked: &Asked<'_>,
    wants: &Wants,
    considered: &[Considered],
    untold: Option<Error>,
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
    } else if considered.iter().any(|c| SENSELESS.contains(&c.verdict)) {
        Error::bad_field(
            "messages",
            "There are pictures, sound or documents in the request, and no configured model that could answer takes them.",
        )
        .code("flyball_unseen")
    } else {
        untold.unwrap_or_else(|| {
            let dialect = asked.dialect;
            let public = format!(
                "None of the configured models speaks {dialect}; add a provider that does."
            );
            Error::bad_field("model", public)
        })
    };
    error.detail(detail)
}
