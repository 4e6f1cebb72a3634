//! Outcomes: who answered which prompt how well. The prompt itself is measured and forgotten.

use crate::chat::{Part, Prompt, Role, Turn};
use crate::classify::{Features, Task, measure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One prompt and how each model did.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The source that it comes from; empty where none is said.
    pub source: String,
    /// The task in the source's own words; empty where none is said.
    pub task: String,
    /// A number for the prompt's text: equal prompts have equal ones.
    pub prompt: u64,
    /// Characters of the prompt.
    pub chars: usize,
    /// What was measured of it.
    pub features: Features,
    /// Score by model, 0 to 1.
    pub scores: BTreeMap<String, f64>,
    /// Characters of the visible answer, by model.
    pub answer_chars: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Line {
    prompt: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    task: String,
    #[serde(default)]
    scores: BTreeMap<String, Option<f64>>,
    #[serde(default)]
    outchars: BTreeMap<String, Option<f64>>,
    /// The better model of a comparison, or "tie".
    #[serde(default)]
    preferred: Option<String>,
    /// The models of a comparison; the two that are asked for where none are named.
    #[serde(default)]
    models: Vec<String>,
    /// A thumb on one model's answer.
    #[serde(default)]
    thumb: Option<String>,
    #[serde(default)]
    model: Option<String>,
}

/// What a prompt of these words measures as.
#[must_use]
pub fn measured(prompt: &str) -> Features {
    let turn = Turn {
        role: Role::User,
        parts: vec![Part::Text(prompt.into())],
    };
    measure(&Prompt {
        turns: vec![turn],
        ..Prompt::default()
    })
}

/// Reads one line: `{"prompt", "scores": {MODEL: 0..1}}`, or `{"prompt", "preferred": MODEL|"tie", "models": [A, B]}`, or
/// `{"prompt", "model", "thumb": "up"|"down"}`.
///
/// # Errors
/// Not JSON, no prompt, a score outside 0 to 1, or neither scores nor a preference nor a thumb.
pub fn read(line: &str) -> Result<Outcome, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let mut scores: BTreeMap<String, f64> = line
        .scores
        .iter()
        .filter_map(|(model, score)| Some((model.clone(), (*score)?)))
        .collect();
    // Sums of partial credit may miss 1 by a rounding.
    if let Some(wrong) = scores
        .iter()
        .find(|(_, s)| !(-1e-9..=1.0 + 1e-9).contains(*s))
    {
        return Err(format!(
            "the score {} of \"{}\" is not between 0 and 1",
            wrong.1, wrong.0
        ));
    }
    scores.values_mut().for_each(|s| *s = s.clamp(0.0, 1.0));
    if let Some(preferred) = &line.preferred {
        scores.extend(preference(preferred, &line.models)?);
    }
    if let Some(thumb) = &line.thumb {
        scores.insert(
            line.model
                .clone()
                .ok_or("a thumb needs the \"model\" that answered")?,
            thumbed(thumb)?,
        );
    }
    if scores.is_empty() {
        return Err("it has neither \"scores\" nor \"preferred\" nor \"thumb\"".into());
    }
    let told = line
        .outchars
        .iter()
        .filter_map(|(model, chars)| Some((model.clone(), (*chars)?)));
    Ok(Outcome {
        features: measured(&line.prompt),
        prompt: number_of(&line.prompt),
        chars: line.prompt.chars().count(),
        source: line.source,
        task: line.task,
        scores,
        answer_chars: told.filter(|(_, chars)| *chars > 0.0).collect(),
    })
}

fn preference(preferred: &str, models: &[String]) -> Result<Vec<(String, f64)>, String> {
    let [a, b] = models else {
        return Err("a preference needs the two \"models\" that were compared".into());
    };
    let score = |model: &String| match preferred {
        "tie" => 0.5,
        other => f64::from(u8::from(model == other)),
    };
    if preferred != "tie" && a != preferred && b != preferred {
        return Err(format!(
            "\"{preferred}\" is neither of the \"models\" that were compared, nor \"tie\""
        ));
    }
    Ok(vec![(a.clone(), score(a)), (b.clone(), score(b))])
}

fn thumbed(thumb: &str) -> Result<f64, String> {
    match thumb {
        "up" => Ok(1.0),
        "down" => Ok(0.0),
        other => Err(format!("a thumb is \"up\" or \"down\", not \"{other}\"")),
    }
}

/// A prompt whose task somebody has named.
#[derive(Clone, Debug)]
pub struct JudgedAsk {
    /// A number for the prompt's text.
    pub prompt: u64,
    /// Characters of the prompt.
    pub chars: usize,
    /// What was measured of it.
    pub features: Features,
    /// What it asks for.
    pub task: Task,
    /// Thinking would help; nothing where the ask teaches its task alone, not how hard it is.
    pub hard: Option<bool>,
}

#[derive(Deserialize)]
struct AskLine {
    prompt: String,
    task: String,
    #[serde(default)]
    hard: Option<u8>,
}

/// Reads one line: `{"prompt", "task", "hard": 0|1}`; without "hard" it teaches the task alone.
///
/// # Errors
/// Not JSON of this form, or a task that flyball does not have.
pub fn read_ask(line: &str) -> Result<JudgedAsk, String> {
    let line: AskLine = serde_json::from_str(line).map_err(|e| e.to_string())?;
    Ok(JudgedAsk {
        prompt: number_of(&line.prompt),
        chars: line.prompt.chars().count(),
        features: measured(&line.prompt),
        task: Task::parse(&line.task)
            .ok_or_else(|| format!("there is no task \"{}\"", line.task))?,
        hard: line.hard.map(|hard| hard > 0),
    })
}

/// FNV-1a of the text.
fn number_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
