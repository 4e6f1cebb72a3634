//! Anthropic's Message Batches: as its clients use them (<https://platform.claude.com/docs/en/build-with-claude/batch-processing>), and as
//! the vendor takes batches up.

use super::Anthropic;
use crate::dialect::batch::{
    BatchState, ClientBatches, Ended, Found, Frame, Handed, HandedLine, LineDefect, LineEnd,
    Making, OutLine, PartLimits, Shown, ShownFile, Sought, VendorBatches, VendorCall, VendorEnd,
    VendorResult, VendorTold, raw,
};
use crate::error::{Error, Kind};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Where batches are.
const PATH: &str = "/v1/messages/batches";
/// What one request of a batch asks for.
const LINE_PATH: &str = "/v1/messages";
/// The vendor's own limits of one batch.
const LIMITS: PartLimits = PartLimits {
    lines: 100_000,
    bytes: 256 * 1024 * 1024,
    results: usize::MAX,
};
/// Letters of a custom id, at most.
const ID_LETTERS_MAX: usize = 64;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    requests: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct One<'a> {
    custom_id: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

fn when(seconds: i64) -> Value {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    Value::from(time.to_string())
}

fn whens(seconds: Option<i64>) -> Value {
    seconds.map_or(Value::Null, when)
}

impl ClientBatches for Anthropic {
    fn id_prefix(&self) -> &'static str {
        "msgbatch_fb"
    }

    fn handed(&self, body: &[u8]) -> Result<Handed, Error> {
        let asked: Asked<'_> = serde_json::from_slice(body).map_err(|e| {
            Error::new(
                Kind::BadRequest,
                format!("The body is no valid JSON, or \"requests\" is no list: {e}."),
            )
        })?;
        let requests = asked
            .requests
            .filter(|all| !all.is_empty())
            .ok_or_else(|| {
                Error::bad_field("requests", "requests: at least one request is required")
            })?;
        let mut lines = Vec::with_capacity(body.len());
        for request in requests {
            // A line has no line breaks; in JSON those between its values mean nothing, and within texts there are none.
            lines.extend(
                request
                    .get()
                    .bytes()
                    .map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }),
            );
            lines.push(b'\n');
        }
        Ok(Handed {
            endpoint: Some(LINE_PATH.to_owned()),
            lines: Some(lines),
            ..Handed::default()
        })
    }

    fn line(&self, line: &[u8]) -> Result<HandedLine, LineDefect> {
        let wrong = |field: &'static str, why: &str| LineDefect {
            code: "invalid_request_error",
            message: format!("{field}: {why}"),
            field: Some(field),
        };
        let one: One<'_> = serde_json::from_slice(line)
            .map_err(|e| wrong("requests", &format!("it is no request: {e}")))?;
        let custom_id = one
            .custom_id
            .ok_or_else(|| wrong("custom_id", "Field required"))?;
        let fits = (1..=ID_LETTERS_MAX).contains(&custom_id.len())
            && custom_id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !fits {
            return Err(wrong(
                "custom_id",
                "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
            ));
        }
        let params = one.params.filter(|params| params.get().starts_with('{'));
        let params = params.ok_or_else(|| wrong("params", "Field required"))?;
        Ok(HandedLine {
            custom_id,
            path: LINE_PATH.to_owned(),
            body: params.get().to_owned(),
        })
    }

    fn keeps_failed(&self) -> bool {
        false
    }

    fn batch(&self, shown: &Shown<'_>) -> Value {
        let counts = shown.counts;
        let over = shown.state.is_over();
        let status = match shown.state {
            _ if over => "ended",
            BatchState::Cancelling => "canceling",
            _ => "in_progress",
        };
        json!({
            "id": shown.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                // The counts of single requests are told when all of them have ended.
                "processing": if over { 0 } else { counts.total },
                "succeeded": if over { counts.done } else { 0 },
                "errored": if over { counts.failed } else { 0 },
                "canceled": if over { counts.cancelled } else { 0 },
                "expired": if over { counts.expired } else { 0 },
            },
            "ended_at": whens(shown.ended),
            "created_at": when(shown.created),
            "expires_at": when(shown.expires),
            "archived_at": null,
            "cancel_initiated_at": whens(shown.cancelling),
            "results_url": over.then(|| format!("{PATH}/{}/results", shown.id)),
        })
    }

    fn list(&self, all: Vec<Value>, more: bool) -> Value {
        let id = |value: Option<&Value>| value.map_or(Value::Null, |v| v["id"].clone());
        json!({"has_more": more, "first_id": id(all.first()), "last_id": id(all.last()), "data": all})
    }

    fn file(&self, shown: &ShownFile<'_>) -> Value {
        json!({"id": shown.id, "type": "file", "filename": shown.name, "size_bytes": shown.bytes, "created_at": when(shown.created), "mime_type": "application/jsonl", "downloadable": true})
    }

    fn deleted(&self, id: &str) -> Value {
        json!({"id": id, "type": "message_batch_deleted"})
    }

    fn result(&self, ended: &Ended<'_>) -> String {
        let result = match ended.end {
            LineEnd::Done => format!(r#"{{"type":"succeeded","message":{}}}"#, ended.body),
            LineEnd::Failed => format!(r#"{{"type":"errored","error":{}}}"#, ended.body),
            LineEnd::Expired => r#"{"type":"expired"}"#.to_owned(),
            LineEnd::Cancelled => r#"{"type":"canceled"}"#.to_owned(),
        };
        let custom_id = Value::from(ended.custom_id);
        format!(r#"{{"custom_id":{custom_id},"result":{result}}}"#)
    }

    fn splits_errors(&self) -> bool {
        false
    }

    fn deletes(&self) -> &'static str {
        "DELETE /v1/messages/batches/{id}"
    }

    fn unknown(&self, id: &str) -> String {
        format!("Could not find batch with ID: {id}")
    }
}

impl VendorBatches for Anthropic {
    fn dialect(&self) -> &'static str {
        "anthropic_messages"
    }

    fn path(&self) -> &'static str {
        PATH
    }

    fn carries(&self, dialect: &str) -> bool {
        dialect == "anthropic_messages"
    }

    fn limits(&self) -> PartLimits {
        LIMITS
    }

    fn frame(&self, _tag: &str) -> Frame {
        Frame {
            before: r#"{"requests":["#.into(),
            between: ",",
            after: "]}".into(),
        }
    }

    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>) {
        let (id, params) = (line.id, line.body);
        into.extend(format!(r#"{{"custom_id":"{id}","params":{params}}}"#).bytes());
    }

    fn create(&self, _making: &Making<'_>, lines: Bytes) -> VendorCall {
        VendorCall {
            body: lines,
            ..VendorCall::post(PATH.into(), &Value::Null)
        }
    }

    fn told(&self, answer: &[u8]) -> Option<VendorTold> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let id = value["id"].as_str()?;
        let over = value["processing_status"].as_str()? == "ended";
        Some(VendorTold {
            id: id.to_owned(),
            // Each of its results says itself how it ended; none is missing.
            end: over.then_some(VendorEnd::Completed),
            results: vec![format!("{PATH}/{id}/results")],
            inline: Vec::new(),
            lines: None,
        })
    }

    fn look(&self, id: &str) -> VendorCall {
        VendorCall::get(format!("{PATH}/{id}"))
    }

    fn cancel(&self, id: &str) -> VendorCall {
        VendorCall::post(format!("{PATH}/{id}/cancel"), &json!({}))
    }

    fn find(&self, after: Option<&str>) -> VendorCall {
        let after = after.map_or_else(String::new, |id| format!("&after_id={id}"));
        VendorCall::get(format!("{PATH}?limit=100{after}"))
    }

    fn keeps_marks(&self) -> bool {
        false
    }

    /// The vendor keeps no marks: it is one that was made since, with as many requests. Where there are several, nobody knows which.
    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(answer) else {
            return Found::Unclear;
        };
        let Some(all) = value["data"].as_array() else {
            return Found::Unclear;
        };
        let made = |batch: &Value| -> Option<i64> {
            let time: Timestamp = batch["created_at"].as_str()?.parse().ok()?;
            Some(time.as_second())
        };
        let many = |batch: &Value| {
            let counts = batch["request_counts"].as_object();
            counts
                .into_iter()
                .flatten()
                .filter_map(|(_, n)| n.as_u64())
                .sum::<u64>()
        };
        let fits = |batch: &&Value| {
            let since = made(batch).is_none_or(|at| at >= sought.since);
            let known = sought.known.iter().any(|known| batch["id"] == **known);
            since && !known && usize::try_from(many(batch)) == Ok(sought.lines)
        };
        let mut fitting = all.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(_), Some(_)) => Found::Unclear,
            (Some(one), None) => match one["id"].as_str() {
                Some(id) if !sought.rival => Found::Yes(id.to_owned()),
                _ => Found::Unclear,
            },
            (None, _) => {
                let last = all.last();
                let earlier = last.and_then(made);
                let id = last.and_then(|batch| batch["id"].as_str());
                match (value["has_more"].as_bool(), id) {
                    (Some(true), Some(id)) if earlier.is_none_or(|at| at >= sought.since) => {
                        Found::Further(id.to_owned())
                    }
                    _ => Found::No,
                }
            }
        }
    }

    fn result(&self, line: &[u8]) -> Option<VendorResult> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let id = value["custom_id"].as_str()?.to_owned();
        let result = &value["result"];
        let (end, status, body) = match result["type"].as_str()? {
            "succeeded" => (LineEnd::Done, 200, raw(result.get("message"))),
            "expired" => (LineEnd::Expired, 408, String::new()),
            "canceled" => (LineEnd::Cancelled, 408, String::new()),
            _ => (LineEnd::Failed, 400, raw(result.get("error"))),
        };
        Some(VendorResult {
            id,
            end,
            status,
            body,
        })
    }
}
