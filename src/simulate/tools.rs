//! Which tool a request makes a simulated model call, and with what arguments. Pure.

use super::schema::example;
use serde_json::{Value, json};

/// A call that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimCall {
    pub(super) name: String,
    /// A JSON text.
    pub(super) arguments: String,
}

/// The call that this request asks for: a tool that its choice forces, or one that the user's last words ask for by
/// name ("use the tool weather", "call weather"), unless the tools have just answered.
pub(super) fn called(body: &Value, last: &str) -> Option<SimCall> {
    let tools: Vec<(&str, &Value)> = body["tools"].as_array()?.iter().filter_map(tool).collect();
    let by_name = |name: &str| tools.iter().find(|(known, _)| *known == name);
    let asked = tools.iter().find(|(name, _)| asks_for(last, name));
    let choice = &body["tool_choice"];
    let kind = choice.as_str().or(choice["type"].as_str());
    let found = match kind.unwrap_or("auto") {
        "none" => None,
        "required" | "any" => asked.or(tools.first()),
        "function" => by_name(choice["function"]["name"].as_str()?),
        "tool" => by_name(choice["name"].as_str()?),
        _ => asked.filter(|_| !has_answered(body)),
    };
    found.map(|(name, schema)| SimCall {
        name: (*name).to_owned(),
        arguments: arguments(schema),
    })
}

/// An object, whatever the schema says.
fn arguments(schema: &Value) -> String {
    let made = Some(example(schema)).filter(Value::is_object);
    made.unwrap_or_else(|| json!({})).to_string()
}

/// The JSON text that this request demands in place of words: one that its schema takes, or any object.
pub(super) fn form(body: &Value) -> Option<String> {
    // OpenAI's field, Anthropic's, and what Anthropic's was called in its beta.
    let openai = &body["response_format"];
    let anthropic = [&body["output_config"]["format"], &body["output_format"]];
    let schema = match openai["type"].as_str() {
        Some("json_schema") => &openai["json_schema"]["schema"],
        Some("json_object") => return Some(json!({"answer": "[simulated]"}).to_string()),
        _ => {
            let asked = anthropic.into_iter().find(|f| f["type"] == "json_schema")?;
            &asked["schema"]
        }
    };
    Some(example(schema).to_string())
}

/// A tool's name and the schema of its arguments, in either dialect.
fn tool(tool: &Value) -> Option<(&str, &Value)> {
    match tool.get("function") {
        Some(function) => Some((function["name"].as_str()?, &function["parameters"])),
        None => Some((tool["name"].as_str()?, &tool["input_schema"])),
    }
}

fn asks_for(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let words: Vec<&str> = text
        .split(|c| !inside(c))
        .filter(|w| !w.is_empty())
        .collect();
    let named = |word: &str| word.trim_end_matches('.') == name;
    let before = ["tool", "call", "use", "Call", "Use"];
    words.windows(2).any(|pair| {
        before.contains(&pair[0]) && named(pair[1])
            || pair[0] == name && pair[1].trim_end_matches('.') == "tool"
    })
}

/// The last message is a tool's.
fn has_answered(body: &Value) -> bool {
    let last = body["messages"].as_array().and_then(|m| m.last());
    let Some(last) = last else { return false };
    let blocks = last["content"].as_array().into_iter().flatten();
    last["role"] == "tool" || blocks.into_iter().any(|b| b["type"] == "tool_result")
}

/// A JSON text in pieces, one a token.
pub(super) fn pieces(arguments: &str) -> Vec<String> {
    let letters: Vec<char> = arguments.chars().collect();
    letters
        .chunks(5)
        .map(|piece| piece.iter().collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_called_when_it_is_forced_or_asked_for_by_name() {
        let openai = json!([{"type": "function", "function": {"name": "now"}}, {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}}, "required": ["city", "unit"]}}}]);
        let anthropic = json!([{"name": "weather", "input_schema": {"type": "object"}}]);
        let user = json!([{"role": "user", "content": "x"}]);
        let result = json!([{"role": "tool", "content": "sunny"}]);
        let block = json!([{"role": "user", "content": [{"type": "tool_result"}]}]);
        for (tools, choice, messages, last, expected) in [
            (
                &openai,
                json!(null),
                &user,
                "Use the tool weather.",
                Some("weather"),
            ),
            (
                &openai,
                json!("auto"),
                &user,
                "call weather for Rome",
                Some("weather"),
            ),
            (
                &openai,
                json!(null),
                &user,
                "ask the `weather` tool",
                Some("weather"),
            ),
            (&openai, json!(null), &user, "How is the weather?", None),
            (&openai, json!(null), &result, "use the tool weather", None),
            (&openai, json!("none"), &user, "use the tool weather", None),
            (&openai, json!("required"), &result, "hi", Some("now")),
            (
                &openai,
                json!({"type": "function", "function": {"name": "weather"}}),
                &user,
                "hi",
                Some("weather"),
            ),
            (
                &anthropic,
                json!({"type": "auto"}),
                &user,
                "use weather",
                Some("weather"),
            ),
            (
                &anthropic,
                json!({"type": "auto"}),
                &block,
                "use weather",
                None,
            ),
            (
                &anthropic,
                json!({"type": "any"}),
                &user,
                "hi",
                Some("weather"),
            ),
            (
                &anthropic,
                json!({"type": "tool", "name": "weather"}),
                &user,
                "hi",
                Some("weather"),
            ),
        ] {
            let body = json!({"tools": tools, "tool_choice": choice, "messages": messages});
            let call = called(&body, last);
            assert_eq!(
                call.as_ref().map(|c| c.name.as_str()),
                expected,
                "{choice} {last}"
            );
        }
        let body = json!({"tools": openai, "messages": user});
        let call = called(&body, "use the tool weather").expect("a call");
        assert_eq!(call.arguments, r#"{"city":"[simulated]","unit":"C"}"#);
        assert_eq!(pieces(&call.arguments).concat(), call.arguments);
    }
}
