//! xAI's batches (<https://docs.x.ai/developers/advanced-api-usage/batch-api>): a batch is made without lines, which costs nothing; its requests are
//! added to it, and it is over when none of them is pending. Answers come in pages, in Chat Completions whatever they were asked in.

use super::{
    Found, Frame, LineEnd, Making, OutLine, PartLimits, ResultsPage, Sought, VendorBatches,
    VendorCall, VendorEnd, VendorResult, VendorTold, raw,
};
use bytes::Bytes;
use serde_json::{Value, json};

/// Where batches are.
const PATH: &str = "/v1/batches";
/// The vendor takes 25 MB in one call that adds requests, and names no number of them.
const LIMITS: PartLimits = PartLimits {
    lines: 50_000,
    bytes: 20 * 1024 * 1024,
    results: usize::MAX,
};
/// Batches, or results, in a page.
const PAGE: usize = 100;

/// xAI's batches.
pub struct Containers;

fn result(value: &Value) -> Option<VendorResult> {
    let id = value["batch_request_id"].as_str()?.to_owned();
    let response = &value["batch_result"]["response"];
    if let Some(answer) = response.get("chat_get_completion").filter(|a| !a.is_null()) {
        return Some(VendorResult {
            id,
            end: LineEnd::Done,
            status: 200,
            body: raw(Some(answer)),
        });
    }
    let told = [
        &value["batch_result"]["error"],
        &value["error"],
        &value["error_message"],
        &value["batch_result"]["error_message"],
    ];
    let told = told.into_iter().find(|told| !told.is_null());
    let message = told.map_or("it says no more than that".to_owned(), |told| {
        let text = told.as_str().or_else(|| told["message"].as_str());
        text.map_or_else(|| told.to_string(), str::to_owned)
    });
    Some(VendorResult {
        id,
        end: LineEnd::Failed,
        status: 400,
        body: json!({"error": {"message": message}}).to_string(),
    })
}

impl VendorBatches for Containers {
    fn name(&self) -> &'static str {
        "xai_batches"
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

    fn adds_to(&self, path: &str) -> Option<String> {
        let id = path.strip_prefix(PATH)?.strip_prefix('/')?;
        let id = id.strip_suffix("/requests")?;
        (!id.is_empty() && !id.contains('/')).then(|| id.to_owned())
    }

    fn grows(&self) -> bool {
        true
    }

    fn limits(&self) -> PartLimits {
        LIMITS
    }

    fn frame(&self, _tag: &str) -> Frame {
        Frame {
            before: r#"{"batch_requests":["#.into(),
            between: ",",
            after: "]}".into(),
        }
    }

    fn write(&self, line: &OutLine<'_>, into: &mut Vec<u8>) {
        let (id, body) = (line.id, line.body);
        into.extend(
            format!(
                r#"{{"batch_request_id":"{id}","batch_request":{{"chat_get_completion":{body}}}}}"#
            )
            .bytes(),
        );
    }

    fn upload(&self, tag: &str, _lines: &Bytes) -> Option<VendorCall> {
        Some(VendorCall::post(PATH.into(), &json!({"name": tag})))
    }

    fn uploaded(&self, answer: &[u8]) -> Option<String> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        value["batch_id"].as_str().map(str::to_owned)
    }

    fn create(&self, making: &Making<'_>, lines: Bytes) -> VendorCall {
        let id = making.uploaded.unwrap_or_default();
        VendorCall {
            body: lines,
            ..VendorCall::post(format!("{PATH}/{id}/requests"), &Value::Null)
        }
    }

    /// The answer says nothing: the batch is the one to which the requests were added.
    fn created(&self, uploaded: Option<&str>, _answer: &[u8]) -> Option<VendorTold> {
        Some(VendorTold {
            id: uploaded?.to_owned(),
            end: None,
            results: Vec::new(),
            inline: Vec::new(),
            lines: None,
        })
    }

    fn told(&self, answer: &[u8]) -> Option<VendorTold> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let id = value["batch_id"].as_str()?;
        let state = &value["state"];
        let (requests, pending) = (
            state["num_requests"].as_u64()?,
            state["num_pending"].as_u64()?,
        );
        let cancelled = !value["cancel_time"].is_null();
        let end = match (requests, pending) {
            (0, _) if !cancelled => None,
            (_, 0) if cancelled => Some(VendorEnd::Cancelled),
            (_, 0) => Some(VendorEnd::Completed),
            _ => None,
        };
        Some(VendorTold {
            id: id.to_owned(),
            // What was cancelled before all of its requests were added ends with those that it has.
            lines: (!cancelled).then_some(requests),
            end,
            results: vec![format!("{PATH}/{id}/results?limit={PAGE}")],
            inline: Vec::new(),
        })
    }

    fn look(&self, id: &str) -> VendorCall {
        VendorCall::get(format!("{PATH}/{id}"))
    }

    fn cancel(&self, id: &str) -> VendorCall {
        VendorCall::post(format!("{PATH}/{id}:cancel"), &json!({}))
    }

    fn find(&self, after: Option<&str>) -> VendorCall {
        let after = after.map_or_else(String::new, |token| format!("&pagination_token={token}"));
        VendorCall::get(format!("{PATH}?limit={PAGE}{after}"))
    }

    /// One without requests was made, but nothing was added to it.
    fn found(&self, answer: &[u8], sought: &Sought<'_>) -> Found {
        let Ok(value) = serde_json::from_slice::<Value>(answer) else {
            return Found::Unclear;
        };
        let Some(all) = value["batches"].as_array() else {
            return Found::Unclear;
        };
        let own = all.iter().find(|batch| {
            let requests = batch["state"]["num_requests"].as_u64();
            batch["name"] == sought.tag && requests.is_none_or(|n| n > 0)
        });
        if let Some(id) = own.and_then(|own| own["batch_id"].as_str()) {
            return Found::Yes(id.to_owned());
        }
        match value["pagination_token"].as_str() {
            Some(token) if !token.is_empty() => Found::Further(token.to_owned()),
            _ => Found::No,
        }
    }

    fn in_pages(&self) -> bool {
        true
    }

    fn page(&self, path: &str, answer: &[u8]) -> Option<ResultsPage> {
        let value: Value = serde_json::from_slice(answer).ok()?;
        let results = value["results"].as_array()?;
        let token = value["pagination_token"].as_str();
        let base = path.split("&pagination_token=").next().unwrap_or(path);
        Some(ResultsPage {
            results: results.iter().filter_map(result).collect(),
            next: token
                .filter(|token| !token.is_empty())
                .map(|token| format!("{base}&pagination_token={token}")),
        })
    }

    fn result(&self, _line: &[u8]) -> Option<VendorResult> {
        None
    }
}
