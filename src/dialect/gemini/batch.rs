//! Gemini's Batch API, as the vendor takes batches up: the requests stand in the call that makes the batch, the results in the answer that
//! says that it is over (<https://ai.google.dev/gemini-api/docs/batch-api>).

use super::Gemini;
use crate::dialect::batch::{
    Found, Frame, LineEnd, Making, OutLine, PartLimits, Sought, VendorBatches, VendorCall,
    VendorEnd, VendorResult, VendorTold, raw,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// The vendor takes less than 20 MB of requests in a call. It names no number of them, and tells all results in one answer, which must not
/// be longer than what is read of one.
const LIMITS: PartLimits = PartLimits {
    lines: 1_000,
    bytes: 15 * 1024 * 1024,
    results: 48 * 1024 * 1024,
};
/// The name of a line in what the vendor hands back with its result; its own examples have either.
const NAMES: [&str; 2] = ["key", "custom_id"];

fn results(value: &Value) -> Vec<VendorResult> {
    let places = [
        &value["response"]["inlinedResponses"]["inlinedResponses"],
        &value["metadata"]["output"]["inlinedResponses"]["inlinedResponses"],
    ];
    let all = places.into_iter().find_map(Value::as_array);
    let all = all.into_iter().flatten().enumerate();
    all.map(|(at, one)| {
        let named = NAMES
            .iter()
            .find_map(|name| one["metadata"][*name].as_str());
        // Who gives its requests no names has its answers in their order.
        result(named.map_or_else(|| format!("#{at}"), str::to_owned), one)
    })
    .collect()
}

/// One result.
fn result(id: String, one: &Value) -> VendorResult {
    let answered = one.get("response").filter(|r| !r.is_null());
    let (end, status, body) = match answered {
        Some(answer) => (LineEnd::Done, 200, raw(Some(answer))),
        None => {
            let code = one["error"]["code"].as_u64();
            let body = json!({"error": one["error"]}).to_string();
            // A status of gRPC: all that is known is that it was not answered.
            let status = if code == Some(8) { 429 } else { 400 };
            (LineEnd::Failed, status, body)
        }
    };
    VendorResult {
        id,
        end,
        status,
        body,
    }
}

impl VendorBatches for Gemini {
    fn dialect(&self) -> &'static str {
        "gemini"
    }

    fn path(&self) -> &'static str {
        "/v1beta/batches"
    }

    fn carries(&self, dialect: &str) -> bool {
        dialect == "gemini"
    }

    fn makes(&self, path: &str) -> bool {
        path.ends_with(":batchGenerateContent")
    }

    fn id_in(&self, path: &str) -> Option<String> {
        let rest = path.strip_prefix("/v1beta/batches/")?;
        let id = rest.split(['/', ':', '?']).next().unwrap_or_default();
        (!id.is_empty()).then(|| format!("batches/{id}"))
    }

    fn limits(&self) -> PartLimits {
        LIMITS
    }

    fn frame(&self, tag: &str) -> Frame {
        Frame {
            before: format!(
                r#"{{"batch":{{"displayName":"{tag}","inputConfig":{{"requests":{{"requests":["#
            ),
            between: ",",
            after: "]}}}}".into(),
        }
    }

    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>) {
        let (id, request) = (line.id, line.body);
        into.extend(format!(r#"{{"request":{request},"metadata":{{"key":"{id}"}}}}"#).bytes());
    }

    fn create(&self, making: &Making<'_>, lines: Bytes) -> VendorCall {
        // The address of a single request names the model as one segment of its path.
        let path = making
            .path
            .rsplit_once(':')
            .map(|(path, _)| path.to_owned());
        let path = path.unwrap_or_else(|| format!("/v1beta/models/{}", making.model));
        VendorCall {
            body: lines,
            ..VendorCall::post(format!("{path}:batchGenerateContent"), &Value::Null)
        }
    }

    fn told(&self, answer: &[u8]) -> Option<VendorTold> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let name = value["name"].as_str()?.to_owned();
        let state = value["metadata"]["state"].as_str().unwrap_or_default();
        let state = state
            .trim_start_matches("BATCH_STATE_")
            .trim_start_matches("JOB_STATE_");
        let inline = results(&value);
        let end = match state {
            "SUCCEEDED" => Some(VendorEnd::Completed),
            "EXPIRED" => Some(VendorEnd::Expired),
            "CANCELLED" => Some(VendorEnd::Cancelled),
            "FAILED" => {
                let why = value["error"]["message"].as_str();
                Some(VendorEnd::Refused(
                    why.unwrap_or("it says no more than that").to_owned(),
                ))
            }
            _ => None,
        };
        // What was handed in as a file is answered in one.
        let files = [
            &value["response"]["responsesFile"],
            &value["metadata"]["output"]["responsesFile"],
        ];
        let file = files.into_iter().find_map(Value::as_str);
        let file = file.filter(|_| inline.is_empty());
        Some(VendorTold {
            id: name,
            end,
            results: file
                .map(|file| format!("/download/v1beta/{file}:download?alt=media"))
                .into_iter()
                .collect(),
            inline,
            lines: None,
        })
    }

    fn look(&self, id: &str) -> VendorCall {
        VendorCall::get(format!("/v1beta/{id}"))
    }

    /// Answered with nothing (`google.protobuf.Empty`); whether it is cancelled, the next look tells.
    fn cancel(&self, id: &str) -> VendorCall {
        VendorCall::post(format!("/v1beta/{id}:cancel"), &json!({}))
    }

    fn find(&self, after: Option<&str>) -> VendorCall {
        let after = after.map_or_else(String::new, |token| format!("&pageToken={token}"));
        VendorCall::get(format!("/v1beta/batches?pageSize=100{after}"))
    }

    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(answer) else {
            return Found::Unclear;
        };
        // Batches are listed as the operations that they are (`google.longrunning.ListOperationsResponse`), the batch itself in the metadata of
        // each. A list without an entry has no field at all.
        let mut all = value["operations"].as_array().into_iter().flatten();
        let own = all.find(|batch| batch["metadata"]["displayName"] == sought.tag);
        if let Some(name) = own.and_then(|own| own["name"].as_str()) {
            return Found::Yes(name.to_owned());
        }
        match value["nextPageToken"]
            .as_str()
            .filter(|token| !token.is_empty())
        {
            Some(token) => Found::Further(token.to_owned()),
            None => Found::No,
        }
    }

    /// A line of a file of answers; ours are never handed in as files.
    fn result(&self, line: &[u8]) -> Option<VendorResult> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let id = value["key"].as_str()?.to_owned();
        Some(result(id, &value))
    }
}
