//! Signs that nobody is at the wheel any more: an agent that calls the same tool with the same arguments again and again, or whose tool
//! fails in the same way again and again, without a word of its user in between. Pure.

use super::pieces::own_words;
use super::stuck::{print_of, tells_failure};
use crate::chat::{Part, Prompt};
use serde_json::Value;
use std::collections::HashMap;

/// Deeper than this no dialect puts a call.
const DEPTH_MAX: usize = 8;

/// When a conversation is stopped; each of these only where it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// At so many calls of one tool with the same arguments.
    pub repeats: Option<usize>,
    /// At so many failures of tools in the same way.
    pub failures: Option<usize>,
}

/// Why a conversation is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runaway {
    /// This tool was called so often with the same arguments.
    Repeats {
        /// The tool.
        tool: String,
        /// How often.
        times: usize,
    },
    /// A tool has failed so often in the same way.
    Fails {
        /// How often.
        times: usize,
    },
}

/// Whether a conversation is to be stopped. What happened before the user spoke last does not count. `turns` is the field with the turns
/// as the client has sent it: it is read only where there are enough calls to look at.
#[must_use]
pub fn runs_away(guard: Guard, prompt: &Prompt<'_>, turns: Option<&str>) -> Option<Runaway> {
    let spoken = prompt
        .turns
        .iter()
        .rposition(|turn| own_words(turn).next().is_some());
    let since = spoken.map_or(0, |at| at + 1);
    let parts = || prompt.turns[since..].iter().flat_map(|turn| &turn.parts);
    if let Some(most) = guard.failures {
        let times = failures(parts());
        if times >= most {
            return Some(Runaway::Fails { times });
        }
    }
    let most = guard.repeats?;
    let made = parts()
        .filter(|part| matches!(part, Part::ToolCall))
        .count();
    if made < most {
        return None;
    }
    let mut calls = Vec::new();
    calls_in(&serde_json::from_str(turns?).ok()?, DEPTH_MAX, &mut calls);
    let first = calls.len().saturating_sub(made);
    repeated(&calls[first..])
        .filter(|(_, times)| *times >= most)
        .map(|(tool, times)| Runaway::Repeats {
            tool: tool.to_owned(),
            times,
        })
}

/// How often the last result of a tool, where it is a failure, was told before in the same words, itself included.
fn failures<'p>(parts: impl Iterator<Item = &'p Part<'p>>) -> usize {
    let results: Vec<&str> = parts
        .filter_map(|part| match part {
            Part::ToolResult(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    let Some(last) = results.last().filter(|last| tells_failure(last)) else {
        return 0;
    };
    let print = print_of(last);
    results
        .iter()
        .filter(|text| print_of(text) == print)
        .count()
}

/// A tool's name and what it was called with.
type Call = (String, String);

/// The calls in a JSON text, in order, however its dialect writes them: whatever has a name and arguments.
fn calls_in(value: &Value, depth: usize, calls: &mut Vec<Call>) {
    match value {
        Value::Array(all) if depth > 0 => {
            all.iter().for_each(|v| calls_in(v, depth - 1, calls));
        }
        Value::Object(fields) if depth > 0 => {
            let given = ["arguments", "input", "args"];
            let given = given.iter().find_map(|name| fields.get(*name));
            if let (Some(Value::String(name)), Some(given)) = (fields.get("name"), given) {
                let given = given
                    .as_str()
                    .map_or_else(|| given.to_string(), str::to_owned);
                calls.push((name.clone(), given));
                return;
            }
            fields.values().for_each(|v| calls_in(v, depth - 1, calls));
        }
        _ => {}
    }
}

/// The tool of the last call, and how often just that call was made.
fn repeated(calls: &[Call]) -> Option<(&str, usize)> {
    let last = calls.last()?;
    let mut times: HashMap<&Call, usize> = HashMap::new();
    for call in calls {
        *times.entry(call).or_default() += 1;
    }
    Some((&last.0, times.get(last).copied().unwrap_or(0)))
}
