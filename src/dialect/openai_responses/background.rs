//! Answers in the background (<https://developers.openai.com/api/docs/guides/background>) that flyball makes itself.

use super::super::background::{BackgroundWords, JobEnding, JobEvent};
use crate::json::{Edit, Object};
use bytes::Bytes;
use serde_json::{Value, json};

/// The words.
pub(super) struct Background;

/// The events after which nothing comes.
const LAST: [&str; 4] = [
    "response.completed",
    "response.incomplete",
    "response.failed",
    "response.cancelled",
];

/// An event as it stands in the stream.
fn framed(kind: &str, number: u64, mut event: Value) -> String {
    event["type"] = kind.into();
    event["sequence_number"] = number.into();
    format!("event: {kind}\ndata: {event}\n\n")
}

/// The response as one in the background that is called so.
fn renamed(mut response: Value, id: &str) -> Value {
    response["id"] = id.into();
    response["background"] = true.into();
    response["store"] = true.into();
    response
}

/// What an error event says.
fn said(event: &Value) -> &str {
    let inner = event["error"]["message"].as_str();
    let said = inner.or_else(|| event["message"].as_str());
    said.unwrap_or("the model's server has failed")
}

fn failed(mut response: Value, code: &str, message: &str) -> Value {
    response["status"] = "failed".into();
    response["error"] = json!({"code": code, "message": message});
    response
}

impl BackgroundWords for Background {
    fn asks(&self, request: &Object<'_>) -> bool {
        request.some("background") == Some("true")
    }

    fn at_once(&self, request: &Object<'_>) -> Bytes {
        let edits = [
            Edit::remove(&["background"]),
            Edit::set(&["stream"], "true"),
        ];
        let text = request.edited(&edits);
        Bytes::from(text.unwrap_or_else(|| request.text().to_owned()))
    }

    fn id(&self, request: &str) -> String {
        format!("resp_{}", request.replace('-', ""))
    }

    fn is_own(&self, id: &str) -> bool {
        let request = id.strip_prefix("resp_").filter(|id| id.len() == 32);
        let request = request.and_then(|id| uuid::Uuid::parse_str(id).ok());
        request.is_some_and(|id| id.get_version_num() == 7)
    }

    fn queued(&self, id: &str, created: i64, model: &str) -> String {
        json!({
            "id": id, "object": "response", "created_at": created, "status": "queued", "background": true, "error": null,
            "incomplete_details": null, "instructions": null, "max_output_tokens": null, "model": model, "output": [],
            "parallel_tool_calls": true, "previous_response_id": null, "reasoning": {"effort": null, "summary": null}, "store": true,
            "temperature": null, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": null,
            "truncation": "disabled", "usage": null, "user": null, "metadata": {},
        })
        .to_string()
    }

    fn event(&self, data: &[u8], id: &str, number: u64) -> Option<JobEvent> {
        let mut event: Value = serde_json::from_slice(data).ok()?;
        let kind = event.get("type")?.as_str()?.to_owned();
        if kind == "error" {
            // The answer as it stands is known to whoever keeps it.
            return None;
        }
        let response = event.get_mut("response").map(Value::take);
        let response = response.map(|response| renamed(response, id));
        if let Some(response) = &response {
            event["response"] = response.clone();
        }
        Some(JobEvent {
            text: framed(&kind, number, event),
            response: response.map(|response| response.to_string()),
            over: LAST.contains(&kind.as_str()),
        })
    }

    fn whole(&self, body: &[u8], id: &str, number: u64) -> Option<JobEvent> {
        let response: Value = serde_json::from_slice(body).ok()?;
        let status = response.get("status")?.as_str()?.to_owned();
        let response = renamed(response, id);
        let text = framed(
            &format!("response.{status}"),
            number,
            json!({"response": response}),
        );
        Some(JobEvent {
            text,
            response: Some(response.to_string()),
            over: true,
        })
    }

    fn ending(&self, response: &str, how: JobEnding<'_>, number: u64) -> JobEvent {
        let response: Value = serde_json::from_str(response).unwrap_or_default();
        let (kind, response) = match how {
            JobEnding::Cancelled => {
                let mut response = response;
                response["status"] = "cancelled".into();
                ("response.cancelled", response)
            }
            JobEnding::Failed(why) => ("response.failed", failed(response, "server_error", why)),
        };
        JobEvent {
            text: framed(kind, number, json!({"response": response})),
            response: Some(response.to_string()),
            over: true,
        }
    }

    fn fault(&self, data: &[u8]) -> Option<String> {
        let event: Value = serde_json::from_slice(data).ok()?;
        (event["type"] == "error").then(|| said(&event).to_owned())
    }

    fn is_open(&self, response: &str) -> bool {
        let response: Value = serde_json::from_str(response).unwrap_or_default();
        matches!(response["status"].as_str(), Some("queued" | "in_progress"))
    }

    fn number(&self, event: &str) -> Option<u64> {
        let data = event.split_once("data: ")?.1;
        let event: Value = serde_json::from_str(data.trim_end()).ok()?;
        event["sequence_number"].as_u64()
    }

    fn deleted(&self, id: &str) -> String {
        json!({"id": id, "object": "response", "deleted": true}).to_string()
    }

    fn unknown(&self, id: &str) -> String {
        format!("Response with id '{id}' not found.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_the_number_and_the_name_of_the_answer_that_the_client_knows() {
        let data = json!({"type": "response.created", "sequence_number": 7, "response": {"id": "resp_other", "status": "in_progress"}});
        let told = Background.event(data.to_string().as_bytes(), "resp_a", 0);
        let told = told.expect("an event");
        assert_eq!(Background.number(&told.text), Some(0));
        assert!(
            told.text.starts_with("event: response.created\ndata: {"),
            "{}",
            told.text
        );
        let response: Value =
            serde_json::from_str(&told.response.expect("a response")).expect("JSON");
        assert_eq!(response["id"], "resp_a");
        assert_eq!(response["background"], true);
        assert!(!told.over);
    }

    #[test]
    fn what_flyball_makes_has_names_of_its_own() {
        let own = Background.id("0192e7a0-0000-7000-8000-000000000000");
        assert!(Background.is_own(&own), "{own}");
        for others in ["resp_v", "resp_68a0f1", "0192e7a0000070008000000000000000"] {
            assert!(!Background.is_own(others), "{others}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_has_failed_and_says_why() {
        let open = Background.queued("resp_a", 1, "m");
        assert!(Background.is_open(&open));
        let end = Background.ending(&open, JobEnding::Failed("it broke off"), 3);
        let response = end.response.expect("a response");
        assert!(!Background.is_open(&response));
        let response: Value = serde_json::from_str(&response).expect("JSON");
        assert_eq!(response["error"]["message"], "it broke off");
        assert!(end.over);
    }

    #[test]
    fn a_request_is_asked_at_once_and_as_a_stream() {
        let body = br#"{"model":"m","background":true,"input":"x"}"#;
        let fields = Object::read(body).expect("JSON");
        assert!(Background.asks(&fields));
        let asked: Value = serde_json::from_slice(&Background.at_once(&fields)).expect("JSON");
        assert_eq!(asked, json!({"model": "m", "input": "x", "stream": true}));
    }
}
