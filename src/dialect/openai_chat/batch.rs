//! OpenAI's Batch API: as its clients use it (<https://developers.openai.com/api/docs/guides/batch>), and as the vendor takes batches up.

use super::OpenAiChat;
use crate::dialect::batch::{
    BatchState, Frame, Making, ShownFile, file_frame, file_id, file_upload, on_one_line,
};
use crate::dialect::batch::{
    ClientBatches, Counts, Ended, Found, Handed, HandedLine, LineDefect, LineEnd, OutLine,
    PartLimits, Shown, Sought, VendorBatches, VendorCall, VendorEnd, VendorResult, VendorTold, raw,
};
use crate::error::Error;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Pairs of metadata, and how long a name and a value of them may be.
const METADATA: (usize, usize, usize) = (16, 64, 512);
/// The vendor's own limits of one batch.
const LIMITS: PartLimits = PartLimits {
    lines: 50_000,
    bytes: 200 * 1024 * 1024,
    results: usize::MAX,
};
/// What a batch is marked with.
const MARK: &str = "flyball";

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: Option<String>,
    method: Option<String>,
    url: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

fn defect(code: &'static str, field: &'static str, message: impl Into<String>) -> LineDefect {
    LineDefect {
        code,
        message: message.into(),
        field: Some(field),
    }
}

fn usage(counts: &Counts) -> Value {
    json!({
        "input_tokens": counts.input,
        "input_tokens_details": {"cached_tokens": counts.cached},
        "output_tokens": counts.output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.input + counts.output,
    })
}

fn text(value: &Value, field: &str) -> Result<Option<String>, Error> {
    match &value[field] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(Error::bad_field(
            field,
            format!("\"{field}\" must be a text."),
        )),
    }
}

fn required(value: &Value, field: &str) -> Result<String, Error> {
    text(value, field)?
        .ok_or_else(|| Error::bad_field(field, format!("You must provide \"{field}\".")))
}

fn metadata(value: &Value) -> Result<Option<Value>, Error> {
    let wrong = || {
        let (pairs, name, text) = METADATA;
        Error::bad_field(
            "metadata",
            format!(
                "\"metadata\" takes up to {pairs} pairs of texts, names of up to {name} and values of up to {text} letters."
            ),
        )
    };
    let Value::Object(pairs) = value else {
        return if value.is_null() {
            Ok(None)
        } else {
            Err(wrong())
        };
    };
    let fits = |(name, text): (&String, &Value)| {
        let text = text.as_str().map(|text| text.chars().count());
        name.chars().count() <= METADATA.1 && text.is_some_and(|length| length <= METADATA.2)
    };
    match pairs.len() <= METADATA.0 && pairs.iter().all(fits) {
        true => Ok(Some(value.clone())),
        false => Err(wrong()),
    }
}

/// For how many seconds results are to be kept.
fn results_for(value: &Value) -> Result<Option<i64>, Error> {
    let after = &value["output_expires_after"];
    if after.is_null() {
        return Ok(None);
    }
    let seconds = after["seconds"].as_i64();
    let fits = seconds.filter(|s| (3_600..=2_592_000).contains(s));
    match (after["anchor"].as_str(), fits) {
        (Some("created_at"), Some(seconds)) => Ok(Some(seconds)),
        _ => Err(Error::bad_field(
            "output_expires_after",
            "\"output_expires_after\" takes {\"anchor\": \"created_at\", \"seconds\": from 3600 to 2592000}.",
        )),
    }
}

impl ClientBatches for OpenAiChat {
    fn id_prefix(&self) -> &'static str {
        "batch_fb"
    }

    fn handed(&self, body: &[u8]) -> Result<Handed, Error> {
        let value: Value = serde_json::from_slice(body).map_err(|e| {
            Error::new(
                crate::error::Kind::BadRequest,
                format!("The body is no valid JSON: {e}."),
            )
        })?;
        let window = required(&value, "completion_window")?;
        if window != "24h" {
            return Err(Error::bad_field(
                "completion_window",
                format!("\"completion_window\" takes \"24h\", and not \"{window}\"."),
            ));
        }
        Ok(Handed {
            input_file: Some(required(&value, "input_file_id")?),
            lines: None,
            endpoint: Some(required(&value, "endpoint")?),
            metadata: metadata(&value["metadata"])?,
            results_for: results_for(&value)?,
        })
    }

    fn line(&self, line: &[u8]) -> Result<HandedLine, LineDefect> {
        let read: Line<'_> = serde_json::from_slice(line).map_err(|_| LineDefect {
            code: "invalid_json_line",
            message: "This line is not parseable as valid JSON.".into(),
            field: None,
        })?;
        let custom_id = read.custom_id.filter(|id| !id.is_empty()).ok_or_else(|| {
            defect(
                "missing_required_parameter",
                "custom_id",
                "Missing required parameter: 'custom_id'.",
            )
        })?;
        if read.method.as_deref() != Some("POST") {
            return Err(defect(
                "invalid_method",
                "method",
                "Invalid value for 'method': it must be 'POST'.",
            ));
        }
        let path = read.url.ok_or_else(|| {
            defect(
                "missing_required_parameter",
                "url",
                "Missing required parameter: 'url'.",
            )
        })?;
        let body = read.body.filter(|body| body.get().starts_with('{'));
        let body = body.ok_or_else(|| {
            defect(
                "missing_required_parameter",
                "body",
                "Missing required parameter: 'body'.",
            )
        })?;
        Ok(HandedLine {
            custom_id,
            path,
            body: body.get().to_owned(),
        })
    }

    fn keeps_failed(&self) -> bool {
        true
    }

    fn batch(&self, shown: &Shown<'_>) -> Value {
        let counts = shown.counts;
        let at = |state| (shown.state == state).then_some(shown.ended).flatten();
        let over = shown.state.is_over() && shown.state != BatchState::Failed;
        let failed = counts.failed + counts.expired + counts.cancelled;
        let rest = shown.id.trim_start_matches(self.id_prefix());
        let some = |there: bool, kind: &str| there.then(|| format!("file-fb{kind}{rest}"));
        let errors = match shown.errors {
            [] => Value::Null,
            all => json!({"object": "list", "data": all}),
        };
        json!({
            "id": shown.id,
            "object": "batch",
            "endpoint": shown.endpoint,
            "model": null,
            "errors": errors,
            "input_file_id": shown.input_file,
            "completion_window": "24h",
            "status": shown.state.name(),
            "output_file_id": some(over && counts.done > 0, OUTPUT),
            "error_file_id": some(over && failed > 0, ERRORS),
            "created_at": shown.created,
            "in_progress_at": shown.began,
            "expires_at": shown.expires,
            "finalizing_at": shown.ended.filter(|_| over),
            "completed_at": at(BatchState::Completed),
            "failed_at": at(BatchState::Failed),
            "expired_at": at(BatchState::Expired),
            "cancelling_at": shown.cancelling,
            "cancelled_at": at(BatchState::Cancelled),
            "request_counts": {"total": counts.total, "completed": counts.done, "failed": failed},
            "usage": usage(&counts),
            "metadata": shown.metadata,
        })
    }

    fn list(&self, all: Vec<Value>, more: bool) -> Value {
        let id = |value: Option<&Value>| value.map_or(Value::Null, |v| v["id"].clone());
        json!({"object": "list", "first_id": id(all.first()), "last_id": id(all.last()), "has_more": more, "data": all})
    }

    fn file(&self, shown: &ShownFile<'_>) -> Value {
        json!({
            "id": shown.id,
            "object": "file",
            "purpose": shown.purpose,
            "filename": shown.name,
            "bytes": shown.bytes,
            "created_at": shown.created,
            "expires_at": shown.expires,
            "status": "processed",
            "status_details": null,
        })
    }

    fn deleted(&self, id: &str) -> Value {
        json!({"id": id, "object": "batch", "deleted": true})
    }

    fn result(&self, ended: &Ended<'_>) -> String {
        let custom_id = Value::from(ended.custom_id);
        let id = format!("batch_req_{}", ended.request.replace('-', ""));
        let error = match ended.end {
            LineEnd::Done | LineEnd::Failed => Value::Null,
            LineEnd::Expired => {
                json!({"code": "batch_expired", "message": "This request could not be executed before the completion window expired."})
            }
            LineEnd::Cancelled => {
                json!({"code": "batch_cancelled", "message": "This request was not executed, since its batch was cancelled."})
            }
        };
        let response = match error.is_null() {
            true => format!(
                r#"{{"status_code": {}, "request_id": "{}", "body": {}}}"#,
                ended.status, ended.request, ended.body
            ),
            false => "null".to_owned(),
        };
        format!(
            r#"{{"id": "{id}", "custom_id": {custom_id}, "response": {response}, "error": {error}}}"#
        )
    }

    fn splits_errors(&self) -> bool {
        true
    }

    fn deletes(&self) -> &'static str {
        "DELETE /v1/files/{id}"
    }

    fn unknown(&self, id: &str) -> String {
        format!("No batch found with id '{id}'.")
    }
}

/// In the id of a file of answers, after which that of its batch follows.
const OUTPUT: &str = "out";
/// The same of a file of errors.
const ERRORS: &str = "err";

impl VendorBatches for OpenAiChat {
    fn dialect(&self) -> &'static str {
        "openai_chat"
    }

    fn path(&self) -> &'static str {
        "/v1/batches"
    }

    fn carries(&self, dialect: &str) -> bool {
        matches!(dialect, "openai_chat" | "openai_responses")
    }

    fn limits(&self) -> PartLimits {
        LIMITS
    }

    fn embeds(&self) -> bool {
        true
    }

    fn frame(&self, tag: &str) -> Frame {
        file_frame(tag)
    }

    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>) {
        let (id, path) = (line.id, line.path);
        let head = format!(r#"{{"custom_id":"{id}","method":"POST","url":"{path}","body":"#);
        into.extend(head.bytes());
        on_one_line(line.body, into);
        into.extend(b"}\n");
    }

    fn upload(&self, tag: &str, lines: &Bytes) -> Option<VendorCall> {
        Some(file_upload(tag, lines))
    }

    fn uploaded(&self, answer: &[u8]) -> Option<String> {
        file_id(answer)
    }

    fn create(&self, making: &Making<'_>, _lines: Bytes) -> VendorCall {
        VendorCall::post(
            "/v1/batches".into(),
            &json!({
                "input_file_id": making.uploaded,
                "endpoint": making.path,
                "completion_window": "24h",
                "metadata": {MARK: making.tag},
            }),
        )
    }

    fn told(&self, answer: &[u8]) -> Option<VendorTold> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let end = match value["status"].as_str()? {
            "completed" => Some(VendorEnd::Completed),
            "expired" => Some(VendorEnd::Expired),
            "cancelled" => Some(VendorEnd::Cancelled),
            "failed" => {
                let first = &value["errors"]["data"][0]["message"];
                let why = first.as_str().unwrap_or("it says no more than that");
                Some(VendorEnd::Refused(why.to_owned()))
            }
            _ => None,
        };
        let files = ["output_file_id", "error_file_id"];
        let files = files.iter().filter_map(|name| value[*name].as_str());
        Some(VendorTold {
            id: value["id"].as_str()?.to_owned(),
            end,
            results: files.map(|id| format!("/v1/files/{id}/content")).collect(),
            inline: Vec::new(),
            lines: None,
        })
    }

    fn look(&self, id: &str) -> VendorCall {
        VendorCall::get(format!("/v1/batches/{id}"))
    }

    fn cancel(&self, id: &str) -> VendorCall {
        VendorCall::post(format!("/v1/batches/{id}/cancel"), &json!({}))
    }

    fn find(&self, after: Option<&str>) -> VendorCall {
        let after = after.map_or_else(String::new, |id| format!("&after={id}"));
        VendorCall::get(format!("/v1/batches?limit=100{after}"))
    }

    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(answer) else {
            return Found::Unclear;
        };
        let Some(all) = value["data"].as_array() else {
            return Found::Unclear;
        };
        let own = all.iter().find(|b| b["metadata"][MARK] == sought.tag);
        if let Some(id) = own.and_then(|own| own["id"].as_str()) {
            return Found::Yes(id.to_owned());
        }
        let last = all.last();
        let earlier = last.and_then(|b| b["created_at"].as_i64());
        let last = last.and_then(|b| b["id"].as_str());
        match (value["has_more"].as_bool(), last) {
            (Some(true), Some(last)) if earlier.is_none_or(|at| at >= sought.since) => {
                Found::Further(last.to_owned())
            }
            _ => Found::No,
        }
    }

    fn result(&self, line: &[u8]) -> Option<VendorResult> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let id = value["custom_id"].as_str()?.to_owned();
        let response = value.get("response").filter(|r| !r.is_null());
        if let Some(response) = response {
            let status = response["status_code"].as_u64()?;
            let status = u16::try_from(status).ok()?;
            let end = if status < 300 {
                LineEnd::Done
            } else {
                LineEnd::Failed
            };
            let body = raw(response.get("body"));
            return Some(VendorResult {
                id,
                end,
                status,
                body,
            });
        }
        let error = &value["error"];
        let end = match error["code"].as_str() {
            Some("batch_expired") => LineEnd::Expired,
            Some("batch_cancelled") => LineEnd::Cancelled,
            _ => LineEnd::Failed,
        };
        let body = json!({"error": error}).to_string();
        Some(VendorResult {
            id,
            end,
            status: 400,
            body,
        })
    }
}
