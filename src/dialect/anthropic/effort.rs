//! Effort on the Anthropic Messages dialect: the `thinking` object, `output_config.effort`, sampling.

use crate::arm::Effort;
use crate::effort::{
    Accepts, BUDGET_MIN, Family, Pen, Row, Target, Thinking, ToldModel, Words, inner, of_budget,
    reasoning_allowance, spoken,
};
use crate::json::{self, Object};

/// Anthropic's words for effort.
pub(super) struct Messages;

impl Words for Messages {
    fn asked(&self, fields: &Object<'_>) -> Option<Effort> {
        asked(fields)
    }

    fn write(
        &self,
        pen: &mut Pen<'_>,
        to: &ToldModel<'_>,
        wanted: Effort,
    ) -> (Effort, Option<u64>) {
        write(pen, to.target, to.row, to.accepts, wanted)
    }

    fn fit(&self, pen: &mut Pen<'_>, to: &ToldModel<'_>, effort: Effort) {
        sampling(pen, to.target, to.row, effort);
    }

    fn limit_field(&self, _: Family, _: &Accepts, _: &Object<'_>) -> &'static str {
        "max_tokens"
    }
}

const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];

/// From this API version on, sampling parameters are a 400 on every model, even at their default.
const VERSION_WITHOUT_SAMPLING: &str = "2026-10-21";

/// How a server takes thinking on this dialect.
struct ThinkingShape {
    on: Thinking,
    /// `enabled` needs a budget here.
    budget: bool,
    /// `None`: always on.
    off: Option<Thinking>,
    /// It reads `output_config.effort`.
    effort: bool,
}

fn shape(family: Family, row: Option<&Row>) -> ThinkingShape {
    let switch = ThinkingShape {
        on: Thinking::Enabled,
        budget: false,
        off: Some(Thinking::Disabled),
        effort: false,
    };
    match (family, row) {
        (Family::Anthropic | Family::Simulated, Some(row)) => {
            let adaptive = row.thinking.contains(&Thinking::Adaptive);
            let offs = [Thinking::Disabled, Thinking::BetweenTools];
            ThinkingShape {
                on: if adaptive {
                    Thinking::Adaptive
                } else {
                    Thinking::Enabled
                },
                budget: !adaptive,
                off: offs.into_iter().find(|t| row.thinking.contains(t)),
                effort: !row.mute,
            }
        }
        // A model that the table does not have yet will speak as the newest ones do.
        (Family::Anthropic | Family::Simulated, None) => ThinkingShape {
            on: Thinking::Adaptive,
            effort: true,
            ..switch
        },
        (Family::DeepSeek, _) => ThinkingShape {
            effort: true,
            ..switch
        },
        (Family::OpenRouter, _) => ThinkingShape {
            budget: true,
            ..switch
        },
        _ => switch,
    }
}

fn word(thinking: Thinking) -> &'static str {
    match thinking {
        Thinking::Adaptive => "adaptive",
        Thinking::Enabled => "enabled",
        Thinking::Disabled => "disabled",
        Thinking::BetweenTools => "between_tools",
    }
}

/// Writes the effort; gives the one really asked for and the budget that was written, if one was.
fn write(
    pen: &mut Pen<'_>,
    target: &Target<'_>,
    row: Option<&Row>,
    accepts: &Accepts,
    wanted: Effort,
) -> (Effort, Option<u64>) {
    let shape = shape(target.family, row);
    let mut effort = wanted;
    if row.is_some_and(|r| !r.forced_tools) && forces_tool(target.asked) {
        effort = accepts.efforts.first().copied().unwrap_or(Effort::None);
    }
    let mut budget = None;
    if shape.budget && effort != Effort::None {
        budget = budget_for(effort, target);
        if budget.is_none() {
            effort = Effort::None;
        }
    }
    sampling(pen, target, row, effort);
    if accepts.known && accepts.efforts.is_empty() {
        pen.reject("thinking");
        pen.replace_inner("output_config", "effort");
    } else if effort == Effort::None {
        off(pen, &shape, accepts);
    } else {
        let word = row.map_or(effort.name(), |r| r.word(effort));
        on(pen, &shape, word, budget);
    }
    (effort, budget)
}

/// The effort's allowance, but never more than three quarters of the limit, so that an answer still fits;
/// nothing where that is below the least budget.
fn budget_for(effort: Effort, target: &Target<'_>) -> Option<u64> {
    let asked = target
        .asked
        .some("max_tokens")
        .and_then(|raw| raw.parse().ok());
    let limit: Option<u64> = match (target.limit_tokens, asked) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let room = limit.map_or(u64::MAX, |limit| limit - limit.div_ceil(4));
    let budget = reasoning_allowance(effort).max(BUDGET_MIN).min(room);
    (budget >= BUDGET_MIN).then_some(budget)
}

fn on(pen: &mut Pen<'_>, shape: &ThinkingShape, effort: &str, budget: Option<u64>) {
    let client = inner(pen.fields, "thinking");
    // A model that always thinks needs no word for it; what a client said must still be a word it knows.
    if shape.off.is_some() || client.is_some() {
        pen.set_text(&["thinking", "type"], word(shape.on));
    }
    match budget {
        Some(tokens) => pen.set(&["thinking", "budget_tokens"], tokens.to_string()),
        None if shape.on == Thinking::Adaptive => remove_thinking(pen, "budget_tokens"),
        None => {}
    }
    if shape.effort {
        pen.set_text(&["output_config", "effort"], effort);
    } else if shape.budget {
        pen.replace_inner("output_config", "effort");
    }
}

fn off(pen: &mut Pen<'_>, shape: &ThinkingShape, accepts: &Accepts) {
    let Some(off) = shape.off else {
        return;
    };
    let asked = pen.fields.some("thinking").is_some();
    if asked || accepts.on_by_default {
        pen.set_text(&["thinking", "type"], word(off));
        remove_thinking(pen, "budget_tokens");
        if off == Thinking::Disabled {
            remove_thinking(pen, "display");
        }
    }
    if !shape.effort {
        if shape.budget {
            pen.replace_inner("output_config", "effort");
        }
        return;
    }
    // Effort also sets how long an answer is, so a client's word stays, but above high it needs thinking.
    let said = inner(pen.fields, "output_config").and_then(|c| c.some("effort").and_then(spoken));
    if said.is_some_and(|effort| effort > Effort::High) {
        pen.set_text(&["output_config", "effort"], Effort::High.name());
    }
}

fn remove_thinking(pen: &mut Pen<'_>, key: &str) {
    if inner(pen.fields, "thinking").is_some_and(|t| t.get(key).is_some()) {
        pen.edits.push(json::Edit::remove(&["thinking", key]));
    }
}

fn sampling(pen: &mut Pen<'_>, target: &Target<'_>, row: Option<&Row>, effort: Effort) {
    if target.family != Family::Anthropic {
        return;
    }
    let never = row.is_some_and(|r| !r.sampling);
    let version = target.version.unwrap_or_default();
    if never || effort != Effort::None || version >= VERSION_WITHOUT_SAMPLING {
        for key in SAMPLING {
            pen.reject(key);
        }
    }
}

fn forces_tool(fields: &Object<'_>) -> bool {
    let choice = inner(fields, "tool_choice").and_then(|c| json::text(c.some("type")?));
    choice.is_some_and(|kind| kind == "any" || kind == "tool")
}

/// The effort in a client's fields.
fn asked(fields: &Object<'_>) -> Option<Effort> {
    let effort = inner(fields, "output_config").and_then(|c| c.some("effort").and_then(spoken));
    let thinking = inner(fields, "thinking");
    let kind = thinking.as_ref().and_then(|t| json::text(t.some("type")?));
    match kind.as_deref() {
        Some("disabled" | "between_tools") => Some(Effort::None),
        Some("enabled") => {
            let budget = thinking.and_then(|t| t.some("budget_tokens")?.parse().ok());
            effort.or(Some(budget.map_or(Effort::High, of_budget)))
        }
        Some("adaptive") => effort.or(Some(Effort::High)),
        _ => effort,
    }
}
