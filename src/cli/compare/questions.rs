//! The questions of a comparison: one of the command line, or a file of them.

use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;

/// Questions of a file; each is held in memory with its answers.
const QUESTIONS_MAX: usize = 100_000;

/// One question.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// Its own name, or its line.
    pub(super) id: String,
    /// Its conversation, in the form of Chat Completions.
    pub(super) messages: Value,
    /// What people read of it.
    pub(super) shown: String,
    /// The answer that is expected, or what it has to match.
    pub(super) answer: Option<String>,
    /// The JSON schema that an answer has to follow.
    pub(super) schema: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLine {
    id: Option<Value>,
    prompt: Option<String>,
    messages: Option<Value>,
    answer: Option<Value>,
    schema: Option<Value>,
}

impl Question {
    /// The question of the command line.
    pub(super) fn alone(text: &str) -> Question {
        Question {
            id: "1".into(),
            messages: json!([{"role": "user", "content": text}]),
            shown: text.to_owned(),
            answer: None,
            schema: None,
        }
    }
}

/// Reads a file of questions, one JSON a line.
///
/// # Errors
/// It cannot be read, a line is none, or two have the same name; says which line.
pub(super) fn read(path: &Path) -> Result<Vec<Question>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))?;
    let mut questions: Vec<Question> = Vec::new();
    let mut names = std::collections::HashSet::new();
    for (line, number) in text.lines().zip(1..) {
        if line.trim().is_empty() {
            continue;
        }
        let question = one(line, number).map_err(|why| format!("{shown}:{number}: {why}"))?;
        if !names.insert(question.id.clone()) {
            return Err(format!(
                "{shown}:{number}: the id \"{}\" stands twice",
                question.id
            ));
        }
        if questions.len() >= QUESTIONS_MAX {
            return Err(format!(
                "{shown}: more than {QUESTIONS_MAX} questions; split the file"
            ));
        }
        questions.push(question);
    }
    match questions.is_empty() {
        true => Err(format!(
            "{shown} holds no question; a line is {{\"prompt\": \"…\", \"answer\": \"…\"}}"
        )),
        false => Ok(questions),
    }
}

fn one(line: &str, number: usize) -> Result<Question, String> {
    let read: QuestionLine = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let messages = match (read.prompt, read.messages) {
        (Some(prompt), None) => json!([{"role": "user", "content": prompt}]),
        (None, Some(messages)) if messages.as_array().is_some_and(|m| !m.is_empty()) => messages,
        _ => return Err("a question has a \"prompt\", or \"messages\" that are not empty".into()),
    };
    let last = messages.as_array().and_then(|m| m.last());
    let shown = last.map(|m| plain(&m["content"])).unwrap_or_default();
    Ok(Question {
        id: read.id.map_or_else(|| number.to_string(), |id| plain(&id)),
        messages,
        shown,
        answer: read.answer.map(|answer| plain(&answer)),
        schema: read.schema,
    })
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
