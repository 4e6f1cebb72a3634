//! Mistral's batch jobs (<https://docs.mistral.ai/studio-api/batch-processing>, and the operations `jobs_api_routes_batch_…` of its API): the lines
//! are handed in as a file, one model answers all of them, and answers and errors are in files again. A short job tells its answers in
//! itself, too.

use super::{
    Found, Frame, LineEnd, Making, OutLine, PartLimits, Sought, VendorBatches, VendorCall,
    VendorEnd, VendorResult, VendorTold, file_frame, file_id, file_upload, on_one_line, raw,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Where jobs are.
const PATH: &str = "/v1/batch/jobs";
/// A job takes up to a million lines; one of ours is not longer than OpenAI's. The file may have 512 MB.
const LIMITS: PartLimits = PartLimits {
    lines: 100_000,
    bytes: 512 * 1024 * 1024,
    results: usize::MAX,
};
/// What a job is marked with in its metadata.
const MARK: &str = "flyball";
/// Jobs in a page of the list.
const PAGE: usize = 100;

/// Mistral's batch jobs.
pub struct Jobs;

fn result(value: &Value) -> Option<VendorResult> {
    let id = value["custom_id"].as_str()?.to_owned();
    let response = value.get("response").filter(|r| !r.is_null());
    if let Some(response) = response {
        let status = u16::try_from(response["status_code"].as_u64()?).ok()?;
        let end = match status {
            200..=299 => LineEnd::Done,
            _ => LineEnd::Failed,
        };
        let body = raw(response.get("body"));
        return Some(VendorResult {
            id,
            end,
            status,
            body,
        });
    }
    let body = json!({"error": value["error"]}).to_string();
    Some(VendorResult {
        id,
        end: LineEnd::Failed,
        status: 400,
        body,
    })
}

impl VendorBatches for Jobs {
    fn name(&self) -> &'static str {
        "mistral_jobs"
    }

    fn dialect(&self) -> &'static str {
        "openai_chat"
    }

    fn path(&self) -> &'static str {
        PATH
    }

    fn carries(&self, dialect: &str) -> bool {
        dialect == "openai_chat"
    }

    fn embeds(&self) -> bool {
        true
    }

    fn limits(&self) -> PartLimits {
        LIMITS
    }

    fn frame(&self, tag: &str) -> Frame {
        file_frame(tag)
    }

    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>) {
        into.extend(format!("{{\"custom_id\":\"{}\",\"body\":", line.id).bytes());
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
            PATH.into(),
            &json!({
                "input_files": [making.uploaded],
                "endpoint": making.path,
                "model": making.model,
                "metadata": {MARK: making.tag},
                "timeout_hours": 24,
            }),
        )
    }

    fn told(&self, answer: &[u8]) -> Option<VendorTold> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let files = ["output_file", "error_file"];
        let files = files.iter().filter_map(|name| value[*name].as_str());
        let files: Vec<String> = files.map(|id| format!("/v1/files/{id}/content")).collect();
        let some_done = value["completed_requests"].as_u64().unwrap_or(0) > 0;
        let end = match value["status"].as_str()? {
            "SUCCESS" => Some(VendorEnd::Completed),
            "TIMEOUT_EXCEEDED" => Some(VendorEnd::Expired),
            "CANCELLED" => Some(VendorEnd::Cancelled),
            // Some of it was done; of what has no result nobody knows.
            "FAILED" if some_done || !files.is_empty() => Some(VendorEnd::Completed),
            "FAILED" => {
                let why = value["errors"][0]["message"].as_str();
                let why = why.unwrap_or("it says no more than that");
                Some(VendorEnd::Refused(why.to_owned()))
            }
            _ => None,
        };
        // A job that was handed in with its lines tells its answers in itself; they are in its file as well.
        let inline = match files.is_empty() {
            true => value["outputs"].as_array().map_or(&[][..], Vec::as_slice),
            false => &[],
        };
        Some(VendorTold {
            id: value["id"].as_str()?.to_owned(),
            end,
            results: files,
            inline: inline.iter().filter_map(result).collect(),
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
        let page = after.unwrap_or("0");
        VendorCall::get(format!(
            "{PATH}?page={page}&page_size={PAGE}&order_by=-created"
        ))
    }

    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(answer) else {
            return Found::Unclear;
        };
        let all = match &value["data"] {
            Value::Array(all) => all.as_slice(),
            // A page without a job may have no list.
            Value::Null if value["total"].is_u64() => &[],
            _ => return Found::Unclear,
        };
        let own = all.iter().find(|job| job["metadata"][MARK] == sought.tag);
        if let Some(id) = own.and_then(|own| own["id"].as_str()) {
            return Found::Yes(id.to_owned());
        }
        let earlier = all.last().and_then(|job| job["created_at"].as_i64());
        match all.len() == PAGE && earlier.is_none_or(|at| at >= sought.since) {
            true => Found::Further((sought.page + 1).to_string()),
            false => Found::No,
        }
    }

    fn result(&self, line: &[u8]) -> Option<VendorResult> {
        result(&serde_json::from_slice(line).ok()?)
    }
}
