//! A neutral conversation as a request of Cohere Chat.

use super::NAME;
use crate::chat::Role;
use crate::chat::conversation::{
    Choice, Conversation, Format, Item, Media, MediaKind, Place, Tool, texts,
};
use crate::dialect::open::{cannot, cannot_hold, not_empty};
use crate::dialect::{Addressee, Written, carry, functions};
use crate::error::Error;
use serde_json::{Map, Number, Value, json};

/// As many texts end an answer here.
const STOPS_MAX: usize = 5;

pub(super) fn write(said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
    let mut lost = said.lost.clone();
    if said.choices.is_some() {
        return Err(cannot("n"));
    }
    let mut body = Map::new();
    body.insert("model".into(), to.model.into());
    body.insert("messages".into(), messages(said, to, &mut lost)?.into());
    if said.stream {
        body.insert("stream".into(), true.into());
    }
    tools(said, &mut body, &mut lost)?;
    match &said.format {
        None => {}
        Some(Format::Json) => {
            body.insert("response_format".into(), json!({"type": "json_object"}));
        }
        Some(Format::Schema { schema, .. }) => {
            let format = json!({"type": "json_object", "json_schema": schema});
            body.insert("response_format".into(), format);
        }
    }
    if let Some(limit) = said.limit {
        body.insert("max_tokens".into(), limit.into());
    }
    sampling(said, &mut body, &mut lost)?;
    match said.stop.len() {
        0 => {}
        n if n > STOPS_MAX => return Err(cannot("stop")),
        _ => drop(body.insert("stop_sequences".into(), said.stop.clone().into())),
    }
    match said.logprobs {
        None => {}
        Some(0) => drop(body.insert("logprobs".into(), true.into())),
        // What else was likely is not told here.
        Some(_) => return Err(cannot("logprobs")),
    }
    if said.user.is_some() {
        lost.push("user".into());
    }
    Ok(Written {
        body: Value::Object(body).to_string(),
        lost,
    })
}

fn tools(
    said: &Conversation,
    body: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) -> Result<(), Error> {
    if said.tools.is_empty() {
        return Ok(());
    }
    body.insert(
        "tools".into(),
        said.tools.iter().map(functions::declaration).collect(),
    );
    match said.choice.as_ref() {
        None | Some(Choice::Auto) => {}
        Some(Choice::None) => drop(body.insert("tool_choice".into(), "NONE".into())),
        Some(Choice::Any) => drop(body.insert("tool_choice".into(), "REQUIRED".into())),
        // That some tool must be called says it where there is one.
        Some(Choice::Named(name)) => match &said.tools[..] {
            [only] if only.name == *name => {
                drop(body.insert("tool_choice".into(), "REQUIRED".into()))
            }
            _ => return Err(cannot("tool_choice")),
        },
    }
    // It is strict with all of them or with none.
    let strict = |tool: &Tool| tool.strict == Some(true);
    match said.tools.iter().all(strict) {
        true => drop(body.insert("strict_tools".into(), true.into())),
        false if said.tools.iter().any(strict) => lost.push("tools.strict".into()),
        false => {}
    }
    if said.parallel_calls == Some(false) {
        lost.push("parallel_tool_calls".into());
    }
    Ok(())
}

fn sampling(
    said: &Conversation,
    body: &mut Map<String, Value>,
    lost: &mut Vec<String>,
) -> Result<(), Error> {
    let sampling = &said.sampling;
    // Scales that end sooner here: the nearest that there is.
    for (neutral, own, value, least, most) in [
        (
            "temperature",
            "temperature",
            &sampling.temperature,
            0.0,
            1.0,
        ),
        ("top_p", "p", &sampling.top_p, 0.01, 0.99),
        ("top_k", "k", &sampling.top_k, 0.0, 500.0),
    ] {
        // Below zero says off, as leaving it out does.
        let off = |v: &&Number| own != "k" || v.as_f64().is_none_or(|v| v >= 0.0);
        let Some(value) = value.as_ref().filter(off) else {
            continue;
        };
        let asked = value.as_f64().unwrap_or(most);
        let kept = asked.clamp(least, most);
        let same = (kept - asked).abs() < f64::EPSILON;
        let number = match (same, own) {
            (true, _) => Some(value.clone()),
            (false, "k") => Some(Number::from(500)),
            (false, _) => Number::from_f64(kept),
        };
        if !same {
            lost.push(neutral.into());
        }
        body.extend(number.map(|number| (own.to_owned(), Value::Number(number))));
    }
    for (key, value) in [
        ("frequency_penalty", &sampling.frequency_penalty),
        ("presence_penalty", &sampling.presence_penalty),
    ] {
        let Some(value) = value else { continue };
        if !value.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v)) {
            return Err(cannot(key));
        }
        body.insert(key.into(), Value::Number(value.clone()));
    }
    functions::numbers(body, [("seed", &sampling.seed)]);
    Ok(())
}

fn messages(
    said: &Conversation,
    to: &Addressee<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<Value>, Error> {
    let mut list = Vec::from_iter(functions::system(said));
    for message in &said.messages {
        match message.role {
            Role::User => {
                let content = functions::content(&message.items, medium)?;
                list.push(json!({"role": "user", "content": content}));
            }
            Role::Assistant => list.extend(assistant(&message.items, to)?),
            Role::Tool => functions::results(&message.items, &mut list, lost, medium)?,
        }
    }
    not_empty(list)
}

fn medium(medium: &Media) -> Result<Value, Error> {
    match (medium.kind, &medium.at) {
        (_, Place::Text(text)) => Ok(json!({"type": "text", "text": text})),
        (MediaKind::Image, _) => functions::picture(medium),
        (MediaKind::Audio | MediaKind::File, _) => Err(cannot_hold("sound or a file")),
    }
}

/// Words before calls are the plan of them here. A message of which nothing can be said is none.
fn assistant(items: &[Item], to: &Addressee<'_>) -> Result<Option<Value>, Error> {
    let (mut pieces, mut calls) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Item::Reasoning(reasoning) => {
                if carry::fits(reasoning.state.as_ref(), NAME, to.model) == Some("text") {
                    pieces.push(json!({"type": "thinking", "thinking": reasoning.text}));
                }
            }
            Item::Call(call) => calls.push(functions::call(call)),
            Item::Text(_) | Item::Refusal(_) => {}
            Item::Media(_) | Item::Result(_) => {
                return Err(cannot_hold("a file in a model's message"));
            }
        }
    }
    let words = texts(items);
    let mut made = Map::new();
    made.insert("role".into(), "assistant".into());
    if !words.is_empty() && !calls.is_empty() {
        made.insert("tool_plan".into(), words.into());
    } else if !words.is_empty() && pieces.is_empty() {
        made.insert("content".into(), words.into());
    } else if !words.is_empty() {
        pieces.push(json!({"type": "text", "text": words}));
    }
    if !pieces.is_empty() {
        made.insert("content".into(), pieces.into());
    }
    if !calls.is_empty() {
        made.insert("tool_calls".into(), calls.into());
    }
    Ok((made.len() > 1).then_some(Value::Object(made)))
}
