//! One question to one arm: through a flyball, as a stream, with what it used and how long it took.

use crate::cli::client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the books may take to know what an answer used.
const BOOKED_WITHIN: Duration = Duration::from_secs(10);

/// Where questions go.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) key: Option<String>,
    /// The token limit of an answer, where one is wanted.
    pub(super) tokens_max: Option<u64>,
}

/// An answer, as a line of the results.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Row {
    /// The question.
    pub(super) id: String,
    /// The arm, as it was asked for.
    pub(super) arm: String,
    /// What it has said.
    pub(super) answer: String,
    /// From 0 to 1; nothing where it was not graded.
    pub(super) score: Option<f64>,
    /// Why there is no answer.
    pub(super) error: Option<String>,
    pub(super) input: u64,
    pub(super) output: u64,
    /// Of the output, what was thought and not shown.
    pub(super) reasoning: u64,
    /// In trillionths of a dollar.
    pub(super) cost_pico_usd: i64,
    /// To the first token.
    pub(super) first_token_ms: Option<u64>,
    /// To the end.
    pub(super) total_ms: u64,
    /// Output tokens a second after the first one.
    pub(super) tokens_per_second: Option<f64>,
}

/// What became of a question.
pub(super) enum QuestionOutcome {
    /// A row, with an answer or an error.
    Row(Box<Row>),
    /// The cap is used up: no more questions can be asked.
    CapReached(String),
}

impl Asked {
    /// Asks one arm, `model` or `model@effort`.
    pub(super) async fn ask(&self, id: &str, arm: &str, messages: &Value) -> QuestionOutcome {
        let row = Row {
            id: id.to_owned(),
            arm: arm.to_owned(),
            ..Row::default()
        };
        let failed = |why: String| {
            QuestionOutcome::Row(Box::new(Row {
                error: Some(why),
                ..row.clone()
            }))
        };
        let (model, effort) = match arm.rsplit_once('@') {
            Some((model, effort)) => (model, Some(effort)),
            None => (arm, None),
        };
        let mut body = json!({"model": model, "messages": messages, "stream": true});
        if let Some(tokens) = self.tokens_max {
            body["max_completion_tokens"] = json!(tokens);
        }
        let headers: Vec<(&str, &str)> = effort
            .map(|e| ("x-flyball-effort", e))
            .into_iter()
            .collect();
        let path = "/v1/chat/completions";
        let key = self.key.as_deref();
        let streamed = client::stream(&self.url, path, key, &headers, &body).await;
        let answer = match streamed {
            Ok(answer) => answer,
            Err(why) => return failed(why),
        };
        if answer.status != 200 {
            let why = format!("HTTP {}: {}", answer.status, words(&answer.text));
            return match answer.status {
                402 => QuestionOutcome::CapReached(words(&answer.text)),
                _ => failed(why),
            };
        }
        let said = told(&answer.text);
        let Some(request) = answer.request else {
            return failed("the answer has no x-flyball-request-id: is that a flyball?".into());
        };
        let used = match self.booked(&request).await {
            Ok(used) => used,
            Err(why) => return failed(why),
        };
        QuestionOutcome::Row(Box::new(Row {
            error: said.error,
            answer: said.text,
            first_token_ms: answer.first.map(millis),
            total_ms: millis(answer.total),
            tokens_per_second: rate(used.output, answer.first, answer.total),
            input: used.input,
            output: used.output,
            reasoning: used.reasoning,
            cost_pico_usd: used.cost_pico_usd,
            ..row
        }))
    }

    /// What the books say of a request, once its attempts have ended.
    async fn booked(&self, request: &str) -> Result<Row, String> {
        let path = format!("/flyball/requests/{request}");
        let looking = async {
            loop {
                let found = client::get(&self.url, &path, self.key.as_deref())
                    .await?
                    .json();
                let attempts = found["attempts"].as_array().cloned().unwrap_or_default();
                let ended = |a: &Value| a["outcome"] != "open";
                if !attempts.is_empty() && attempts.iter().all(ended) {
                    return Ok(sum(&attempts));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOOKED_WITHIN, looking)
            .await
            .unwrap_or_else(|_| Err("its books do not know what it used".into()))
    }
}

fn sum(attempts: &[Value]) -> Row {
    let mut row = Row::default();
    for attempt in attempts {
        let count = |name: &str| attempt["tokens"][name].as_u64().unwrap_or(0);
        row.input += count("input") + count("cached") + count("cache_write");
        row.output += count("output");
        row.reasoning += count("reasoning");
        row.cost_pico_usd += attempt["cost_pico_usd"].as_i64().unwrap_or(0);
    }
    row
}

/// What a stream of Chat Completions has said.
#[derive(Default)]
struct StreamText {
    text: String,
    error: Option<String>,
}

fn told(stream: &str) -> StreamText {
    let mut told = StreamText::default();
    let events = stream.lines().filter_map(|l| l.strip_prefix("data:"));
    for event in events.filter_map(|e| serde_json::from_str::<Value>(e.trim()).ok()) {
        if let Some(text) = event["choices"][0]["delta"]["content"].as_str() {
            told.text.push_str(text);
        }
        if let Some(error) = event.get("error") {
            told.error = Some(words(&error.to_string()));
        }
    }
    told
}

/// The sentence of an error's body, at most 300 characters of it.
fn words(body: &str) -> String {
    let read: Value = serde_json::from_str(body).unwrap_or_default();
    let sentence = read["error"]["message"]
        .as_str()
        .or(read["message"].as_str());
    sentence.unwrap_or(body).chars().take(300).collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn rate(output: u64, first: Option<Duration>, total: Duration) -> Option<f64> {
    let seconds = total.checked_sub(first?)?.as_secs_f64();
    let tokens = f64::from(u32::try_from(output.checked_sub(1)?).ok()?);
    (seconds > 0.0 && tokens > 0.0).then(|| tokens / seconds)
}
