//! The steps of a tool loop in a history: where the model called tools, and whether the thinking that it did so in is still there. Some
//! vendors refuse a call that has lost it, and many apps send back nothing but role, content and calls.

use crate::effort::Loops;
use serde_json::{Value, json};

/// What Google's API takes for the signature of a call that its model did not make, or that lost its own
/// (ai.google.dev/gemini-api/docs/thought-signatures, FAQ).
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Words for a call whose thinking is lost, for a model that takes none at all for missing.
const NO_WORDS: &str = ".";

/// One message of the model, or what stands for it, in which it calls tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place in the conversation.
    pub at: usize,
    /// It has its thinking.
    pub thinks: bool,
    /// It is of the turn that goes on: the user has said nothing since.
    pub current: bool,
}

/// Whether steps lack what a model demands of them, and thinking has to be off.
#[must_use]
pub fn lack(steps: &[Step], demand: Loops) -> bool {
    match demand {
        Loops::Begins => steps.last().is_some_and(|s| s.current && !s.thinks),
        Loops::EveryCall => steps.iter().any(|s| !s.thinks),
        Loops::Signature | Loops::Words => false,
    }
}

/// The steps that get a stand-in.
#[must_use]
pub fn to_mend(steps: &[Step], demand: Loops) -> Vec<usize> {
    let gets = |s: &&Step| match demand {
        Loops::Signature => s.current && !s.thinks,
        Loops::Words => !s.thinks,
        Loops::Begins | Loops::EveryCall => false,
    };
    steps.iter().filter(gets).map(|s| s.at).collect()
}

fn items<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn has_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// The steps of a list of messages, oldest first. `begins` says that a message of the user begins a new turn, `calls` that one of the
/// model calls tools, `thinks` that it has its thinking.
fn read(
    turns: &[Value],
    begins: impl Fn(&Value) -> bool,
    calls: impl Fn(&Value) -> bool,
    thinks: impl Fn(&Value) -> bool,
) -> Vec<Step> {
    let ask = turns.iter().rposition(begins);
    let steps = turns.iter().enumerate().filter(|(_, turn)| calls(turn));
    let step = |(at, turn): (usize, &Value)| Step {
        at,
        thinks: thinks(turn),
        current: ask.is_none_or(|ask| at > ask),
    };
    steps.map(step).collect()
}

/// Anthropic's `messages`. Results may stand beside the user's words: as long as they are the last there is, the loop goes on.
pub(super) fn anthropic(messages: &[Value]) -> Vec<Step> {
    let is = |block: &Value, kinds: &[&str]| {
        let kind = block["type"].as_str();
        kind.is_some_and(|kind| kinds.contains(&kind))
    };
    let has = |turn: &Value, kinds: &[&str]| items(turn, "content").iter().any(|b| is(b, kinds));
    read(
        messages,
        |turn| turn["role"] == "user" && !has(turn, &["tool_result"]),
        |turn| turn["role"] == "assistant" && has(turn, &["tool_use"]),
        |turn| {
            let first = items(turn, "content").first();
            first.is_some_and(|block| is(block, &["thinking", "redacted_thinking"]))
        },
    )
}

/// Chat Completions' `messages`. A signature (Google's) is on the first of several calls.
pub(super) fn openai_chat(messages: &[Value], demand: Loops) -> Vec<Step> {
    read(
        messages,
        |turn| turn["role"] == "user",
        |turn| turn["role"] == "assistant" && !items(turn, "tool_calls").is_empty(),
        |turn| match demand {
            Loops::Signature => {
                let signature =
                    turn.pointer("/tool_calls/0/extra_content/google/thought_signature");
                signature.is_some_and(has_text)
            }
            _ => has_text(&turn["reasoning_content"]),
        },
    )
}

/// Puts in what stands for the thinking of a message of Chat Completions.
pub(super) fn mend_openai_chat(message: &mut Value, demand: Loops) {
    match demand {
        Loops::Signature => {
            let google = json!({"google": {"thought_signature": NO_SIGNATURE}});
            message["tool_calls"][0]["extra_content"] = google;
        }
        _ => message["reasoning_content"] = NO_WORDS.into(),
    }
}

fn is_call(part: &Value) -> bool {
    part.get("functionCall")
        .or(part.get("function_call"))
        .is_some()
}

/// Gemini's `contents`. The signature is on the first of several calls.
pub(super) fn gemini(contents: &[Value]) -> Vec<Step> {
    let answers = |part: &Value| {
        let answer = part.get("functionResponse");
        answer.or(part.get("function_response")).is_some()
    };
    read(
        contents,
        |turn| turn["role"] != "model" && !items(turn, "parts").iter().any(answers),
        |turn| turn["role"] == "model" && items(turn, "parts").iter().any(is_call),
        |turn| {
            let first = items(turn, "parts").iter().find(|part| is_call(part));
            first.is_some_and(|call| {
                has_text(&call["thoughtSignature"]) || has_text(&call["thought_signature"])
            })
        },
    )
}

/// Puts in what stands for the signature of a content of Gemini's.
pub(super) fn mend_gemini(content: &mut Value) {
    let parts = content["parts"].as_array_mut();
    if let Some(call) = parts.into_iter().flatten().find(|part| is_call(part)) {
        call["thoughtSignature"] = NO_SIGNATURE.into();
    }
}

/// Responses' `input`. A step's calls follow each other; its thinking is the item before them, or before words that it said with them.
pub(super) fn openai_responses(input: &[Value]) -> Vec<Step> {
    let ask = input.iter().rposition(|item| item["role"] == "user");
    let (mut steps, mut thinks, mut calling) = (Vec::new(), false, false);
    for (at, item) in input.iter().enumerate() {
        let kind = item["type"].as_str().unwrap_or("message");
        match kind {
            "reasoning" => (thinks, calling) = (true, false),
            "message" if item["role"] == "assistant" => {}
            kind if kind.ends_with("_call") => {
                if !std::mem::replace(&mut calling, true) {
                    let current = ask.is_none_or(|ask| at > ask);
                    steps.push(Step {
                        at,
                        thinks,
                        current,
                    });
                }
            }
            _ => (thinks, calling) = (false, false),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(steps: &[Step]) -> Vec<(usize, bool, bool)> {
        steps.iter().map(|s| (s.at, s.thinks, s.current)).collect()
    }

    #[test]
    fn steps_are_found_in_every_dialect_with_their_thinking_and_their_turn() {
        let call = json!({"type": "tool_use", "id": "t"});
        let thinking = json!({"type": "redacted_thinking", "data": "x"});
        let result = json!({"role": "user", "content": [{"type": "tool_result"}, {"type": "text", "text": "hurry"}]});
        let messages = [
            json!({"role": "user", "content": "a"}),
            json!({"role": "assistant", "content": [call]}),
            result.clone(),
            json!({"role": "user", "content": "b"}),
            json!({"role": "assistant", "content": [thinking, call]}),
            result.clone(),
            json!({"role": "assistant", "content": [{"type": "text", "text": "so"}, call]}),
            result,
        ];
        let steps = anthropic(&messages);
        let expected = [(1, false, false), (4, true, true), (6, false, true)];
        assert_eq!(told(&steps), expected);
        assert!(lack(&steps, Loops::Begins) && !lack(&steps[..2], Loops::Begins));
        assert!(lack(&steps[..1], Loops::EveryCall) && !lack(&steps[..1], Loops::Begins));
        let mut messages = [
            json!({"role": "user", "content": "a"}),
            json!({"role": "assistant", "reasoning_content": "hm", "tool_calls": [{"id": "1"}]}),
            json!({"role": "tool", "content": "x"}),
            json!({"role": "assistant", "tool_calls": [{"id": "2", "extra_content": {"google": {"thought_signature": "s"}}}, {"id": "3"}]}),
        ];
        let words = openai_chat(&messages, Loops::Words);
        assert_eq!(told(&words), [(1, true, true), (3, false, true)]);
        assert_eq!(to_mend(&words, Loops::Words), [3]);
        let signatures = openai_chat(&messages, Loops::Signature);
        assert_eq!(to_mend(&signatures, Loops::Signature), [1]);
        mend_openai_chat(&mut messages[1], Loops::Signature);
        assert_eq!(
            messages[1]["tool_calls"],
            json!([{"id": "1", "extra_content": {"google": {"thought_signature": NO_SIGNATURE}}}])
        );
        let mut contents = [
            json!({"role": "user", "parts": [{"text": "a"}]}),
            json!({"role": "model", "parts": [{"text": "so"}, {"functionCall": {"name": "f"}}, {"functionCall": {"name": "g"}}]}),
            json!({"role": "user", "parts": [{"functionResponse": {"name": "f"}}]}),
        ];
        assert_eq!(told(&gemini(&contents)), [(1, false, true)]);
        mend_gemini(&mut contents[1]);
        assert_eq!(
            contents[1]["parts"],
            json!([{"text": "so"}, {"functionCall": {"name": "f"}, "thoughtSignature": NO_SIGNATURE}, {"functionCall": {"name": "g"}}])
        );
        let input = [
            json!({"role": "user", "content": "a"}),
            json!({"type": "reasoning"}),
            json!({"type": "function_call"}),
            json!({"type": "function_call"}),
            json!({"type": "function_call_output"}),
            json!({"type": "function_call"}),
        ];
        let expected = [(2, true, true), (5, false, true)];
        assert_eq!(told(&openai_responses(&input)), expected);
    }
}
