//! Prompts and answers as the GenAI conventions write them, cut to a length. They are made only where configuration asks for them, and
//! never of a confidential request: whoever calls sees to that.

use crate::chat::{Part, Prompt, Role};
use serde_json::{Value, json};

/// Bytes of text that are kept of a prompt, and of an answer. A collector takes a few MB at a time, in which there are many spans.
const KEPT_MAX: usize = 16 * 1024;

/// What was said to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidToModel {
    /// `gen_ai.system_instructions`, or nothing.
    pub(super) system: Option<String>,
    /// `gen_ai.input.messages`.
    pub(super) messages: String,
}

impl SaidToModel {
    /// The last of a prompt, as far as it is kept: what the user wants stands at its end.
    #[must_use]
    pub fn of(prompt: &Prompt<'_>) -> SaidToModel {
        let mut room = KEPT_MAX;
        let mut messages = Vec::new();
        for turn in prompt.turns.iter().rev() {
            if room == 0 {
                break;
            }
            let parts: Vec<Value> = turn.parts.iter().map(|p| part(p, &mut room)).collect();
            messages.push(json!({ "role": role(turn.role), "parts": parts }));
        }
        messages.reverse();
        let system: Vec<Value> = prompt.system.iter().map(|t| words(t, &mut room)).collect();
        SaidToModel {
            system: (!system.is_empty()).then(|| Value::Array(system).to_string()),
            messages: Value::Array(messages).to_string(),
        }
    }
}

/// `gen_ai.output.messages`: the begin of an answer, as far as it is kept.
pub(super) fn answer(text: &str, finish: &str) -> String {
    let mut room = KEPT_MAX;
    let parts = [words(text, &mut room)];
    json!([{ "role": "assistant", "parts": parts, "finish_reason": finish }]).to_string()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

/// One piece of a message. What is no text is named and not sent.
fn part(part: &Part<'_>, room: &mut usize) -> Value {
    match part {
        Part::Text(text) => words(text, room),
        Part::ToolResult(text) => {
            json!({ "type": "tool_call_response", "response": cut(text, room) })
        }
        Part::ToolCall => json!({ "type": "tool_call" }),
        Part::Reasoning => json!({ "type": "reasoning" }),
        Part::Image => json!({ "type": "image" }),
        Part::Audio => json!({ "type": "audio" }),
        Part::File => json!({ "type": "file" }),
    }
}

fn words(text: &str, room: &mut usize) -> Value {
    json!({ "type": "text", "content": cut(text, room) })
}

/// As much of a text as there is room for, and a mark where that is not all. Takes the room.
fn cut(text: &str, room: &mut usize) -> String {
    if text.len() <= *room {
        *room -= text.len();
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(*room);
    *room = 0;
    format!("{}…", &text[..kept])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::Turn;
    use std::borrow::Cow;

    fn turn(role: Role, parts: Vec<Part<'static>>) -> Turn<'static> {
        Turn { role, parts }
    }

    fn text(text: &str) -> Part<'static> {
        Part::Text(Cow::Owned(text.to_owned()))
    }

    #[test]
    fn a_prompt_is_told_in_its_order() {
        let prompt = Prompt {
            system: vec!["be brief".into()],
            turns: vec![
                turn(Role::User, vec![text("what is this?"), Part::Image]),
                turn(Role::Assistant, vec![Part::ToolCall]),
                turn(Role::Tool, vec![Part::ToolResult("a cat".into())]),
            ],
            ..Prompt::default()
        };
        let said = SaidToModel::of(&prompt);
        assert_eq!(
            said.system.as_deref(),
            Some(r#"[{"type":"text","content":"be brief"}]"#)
        );
        assert_eq!(
            said.messages,
            concat!(
                r#"[{"role":"user","parts":[{"type":"text","content":"what is this?"},{"type":"image"}]},"#,
                r#"{"role":"assistant","parts":[{"type":"tool_call"}]},"#,
                r#"{"role":"tool","parts":[{"type":"tool_call_response","response":"a cat"}]}]"#
            )
        );
    }

    #[test]
    fn a_long_prompt_is_cut_at_a_letter_and_its_last_words_are_kept() {
        let old = "ä".repeat(KEPT_MAX);
        let prompt = Prompt {
            system: vec!["a rule".into()],
            turns: vec![
                turn(Role::User, vec![text("the very first")]),
                turn(Role::User, vec![text(&old)]),
                turn(Role::User, vec![text("the last")]),
            ],
            ..Prompt::default()
        };
        let said = SaidToModel::of(&prompt);
        assert!(
            said.messages.ends_with("the last\"}]}]"),
            "{}",
            said.messages
        );
        assert!(!said.messages.contains("the very first"));
        assert!(said.messages.len() < KEPT_MAX + 200);
        assert!(said.messages.contains("ä…"));
        assert!(said.system.expect("a system prompt").contains("\"…\""));
        let whole = answer(&old, "stop");
        assert!(whole.len() < KEPT_MAX + 200);
    }
}
