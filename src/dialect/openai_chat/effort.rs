//! Effort on the OpenAI chat dialect, and the name of the token limit there.

use crate::arm::Effort;
use crate::effort::{
    Accepts, Family, Pen, Row, Target, ToldModel, Words, inner, of_budget, spoken,
};
use crate::json::{Edit, Object};

/// The words for effort of OpenAI and of those who followed it.
pub(super) struct Chat;

impl Words for Chat {
    fn asked(&self, fields: &Object<'_>) -> Option<Effort> {
        asked(fields)
    }

    fn write(
        &self,
        pen: &mut Pen<'_>,
        to: &ToldModel<'_>,
        wanted: Effort,
    ) -> (Effort, Option<u64>) {
        (write(pen, to.target, to.row, to.accepts, wanted), None)
    }

    fn fit(&self, pen: &mut Pen<'_>, to: &ToldModel<'_>, effort: Effort) {
        fit(pen, to.target, to.accepts, effort);
    }

    fn limit_field(&self, family: Family, accepts: &Accepts, asked: &Object<'_>) -> &'static str {
        limit_field(family, accepts, asked)
    }

    /// OpenAI's newer models take both at Responses only.
    fn tools_and_effort_at(&self) -> Option<&'static str> {
        Some("openai_responses")
    }

    fn limit_fields(&self) -> &'static [&'static str] {
        &LIMITS
    }
}

/// What OpenAI rejects while a model reasons.
const SAMPLING: [&str; 7] = [
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
];

/// Writes the effort; gives the one really asked for.
fn write(
    pen: &mut Pen<'_>,
    target: &Target<'_>,
    row: Option<&Row>,
    accepts: &Accepts,
    wanted: Effort,
) -> Effort {
    let can_be_off = accepts.efforts.contains(&Effort::None);
    let effort = match accepts.tools_need_none && can_be_off && has_tools(target.asked) {
        true => Effort::None,
        false => wanted,
    };
    fit(pen, target, accepts, effort);
    let said = WrittenEffort {
        effort,
        word: row.map_or(effort.name(), |r| r.word(effort)),
        // Where off is what silence means, silence is left alone.
        by_default: effort == Effort::None && !accepts.on_by_default,
    };
    let silent = row.is_some_and(|r| r.mute);
    let unknown_off = !accepts.known && effort == Effort::None;
    if silent || unknown_off || (accepts.known && accepts.efforts.is_empty()) {
        for key in ["reasoning_effort", "reasoning", "thinking"] {
            pen.reject(key);
        }
        return effort;
    }
    match target.family {
        Family::DeepSeek => toggle(pen, &said),
        Family::OpenRouter => nested(pen, &said),
        Family::LlamaCpp => field_and_template(pen, &said),
        _ if row.is_some_and(|r| r.switch) => switch(pen, &said),
        _ => match row.and_then(|r| r.template_flag.as_deref()) {
            Some(flag) => template(pen, &said, flag),
            None => field(pen, &said),
        },
    }
    if target.family == Family::Gemini {
        without_google_thinking(pen);
    }
    effort
}

/// What this model needs whatever effort is asked of it.
fn fit(pen: &mut Pen<'_>, target: &Target<'_>, accepts: &Accepts, effort: Effort) {
    let limit = limit_field(target.family, accepts, target.asked);
    rename_limit(pen, limit);
    if target.family == Family::OpenAi && effort != Effort::None {
        reject_sampling(pen);
    }
}

/// Takes away what OpenAI rejects while a model reasons.
pub(in crate::dialect) fn reject_sampling(pen: &mut Pen<'_>) {
    for key in SAMPLING {
        pen.reject(key);
    }
}

struct WrittenEffort<'a> {
    effort: Effort,
    word: &'a str,
    by_default: bool,
}

/// `reasoning_effort`, as OpenAI has it and most others after it.
fn field(pen: &mut Pen<'_>, said: &WrittenEffort<'_>) {
    pen.replace("reasoning");
    pen.replace("thinking");
    if said.by_default && pen.fields.some("reasoning_effort").is_none() {
        return;
    }
    pen.set_text(&["reasoning_effort"], said.word);
}

/// DeepSeek: a switch, and an effort while it is on.
fn toggle(pen: &mut Pen<'_>, said: &WrittenEffort<'_>) {
    pen.replace("reasoning");
    if said.effort == Effort::None {
        pen.replace("reasoning_effort");
        pen.set_text(&["thinking", "type"], "disabled");
    } else {
        pen.set_text(&["thinking", "type"], "enabled");
        pen.set_text(&["reasoning_effort"], said.word);
    }
}

/// A switch alone, and no efforts.
fn switch(pen: &mut Pen<'_>, said: &WrittenEffort<'_>) {
    pen.replace("reasoning");
    pen.replace("reasoning_effort");
    let word = match said.effort {
        Effort::None => "disabled",
        _ => "enabled",
    };
    pen.set_text(&["thinking", "type"], word);
}

/// OpenRouter: an object in which effort excludes `max_tokens` and `enabled`.
fn nested(pen: &mut Pen<'_>, said: &WrittenEffort<'_>) {
    pen.replace("reasoning_effort");
    pen.replace("thinking");
    for key in ["max_tokens", "enabled"] {
        if inner(pen.fields, "reasoning").is_some_and(|r| r.get(key).is_some()) {
            pen.edits.push(Edit::remove(&["reasoning", key]));
        }
    }
    pen.set_text(&["reasoning", "effort"], said.word);
}

/// llama.cpp: the template's switch is turned off as well, and a client's own switch must not contradict.
fn field_and_template(pen: &mut Pen<'_>, said: &WrittenEffort<'_>) {
    pen.replace("reasoning");
    pen.replace("thinking");
    pen.set_text(&["reasoning_effort"], said.word);
    let flag = ["chat_template_kwargs", "enable_thinking"];
    let has_flag = inner(pen.fields, flag[0]).is_some_and(|k| k.get(flag[1]).is_some());
    if said.effort == Effort::None {
        pen.set(&flag, "false");
    } else if has_flag {
        pen.set(&flag, "true");
    }
}

/// vLLM: only a switch in the model's chat template.
fn template(pen: &mut Pen<'_>, said: &WrittenEffort<'_>, flag: &str) {
    for key in ["reasoning_effort", "reasoning", "thinking"] {
        pen.replace(key);
    }
    let has_flag = inner(pen.fields, "chat_template_kwargs").is_some_and(|k| k.get(flag).is_some());
    if said.by_default && !has_flag {
        return;
    }
    let on = if said.effort == Effort::None {
        "false"
    } else {
        "true"
    };
    pen.set(&["chat_template_kwargs", flag], on);
}

/// Gemini takes either `reasoning_effort` or its own budget and level, and rejects both together.
fn without_google_thinking(pen: &mut Pen<'_>) {
    let Some(google) = inner(pen.fields, "extra_body").and_then(|b| inner(&b, "google")) else {
        return;
    };
    let own = ["thinking_budget", "thinking_level"];
    let edits = own.map(|key| Edit::remove(&["thinking_config", key]));
    if let Some(google) = google.edited(&edits) {
        pen.set(&["extra_body", "google"], google);
    }
}

fn has_tools(fields: &Object<'_>) -> bool {
    fields
        .some("tools")
        .is_some_and(|raw| raw.bytes().any(|b| b == b'{'))
}

const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The one field that this provider reads the limit from; where it reads both, the client's own.
fn limit_field(family: Family, accepts: &Accepts, asked: &Object<'_>) -> &'static str {
    match family {
        Family::OpenAi if !accepts.efforts.is_empty() => LIMITS[0],
        // These know the old name only, so that a limit in the new one would not hold.
        Family::DeepSeek | Family::Mistral | Family::Ollama | Family::LmStudio => LIMITS[1],
        _ => LIMITS
            .into_iter()
            .find(|key| asked.some(key).is_some())
            .unwrap_or(LIMITS[1]),
    }
}

/// Moves the client's limit to the field that holds it here; of two limits the smaller stays.
fn rename_limit(pen: &mut Pen<'_>, to: &str) {
    let count = |key: &str| pen.fields.some(key).and_then(|raw| raw.parse::<u64>().ok());
    for from in LIMITS.into_iter().filter(|key| *key != to) {
        let Some(value) = pen.fields.some(from) else {
            continue;
        };
        let smaller = match (count(from), count(to)) {
            (Some(a), Some(b)) => a < b,
            _ => pen.fields.some(to).is_none(),
        };
        pen.replace(from);
        if smaller {
            pen.set(&[to], value);
        }
    }
}

/// The effort in a client's fields.
fn asked(fields: &Object<'_>) -> Option<Effort> {
    if let Some(effort) = fields.some("reasoning_effort").and_then(spoken) {
        return Some(effort);
    }
    if let Some(reasoning) = inner(fields, "reasoning") {
        let budget = || reasoning.some("max_tokens")?.parse().ok().map(of_budget);
        let off = (reasoning.some("enabled") == Some("false")).then_some(Effort::None);
        let effort = reasoning.some("effort").and_then(spoken);
        if let Some(effort) = off.or(effort).or_else(budget) {
            return Some(effort);
        }
    }
    let switch = inner(fields, "thinking").and_then(|t| match t.some("type")? {
        "\"disabled\"" => Some(Effort::None),
        "\"enabled\"" => Some(Effort::High),
        _ => None,
    });
    let template = || {
        let kwargs = inner(fields, "chat_template_kwargs")?;
        match kwargs.some("enable_thinking").or(kwargs.some("thinking"))? {
            "false" => Some(Effort::None),
            "true" => Some(Effort::Medium),
            _ => None,
        }
    };
    switch.or_else(template)
}
