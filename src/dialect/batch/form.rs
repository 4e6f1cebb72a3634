//! A form with a file in it, as vendors of the OpenAI files API take the lines of a batch.

use super::{Frame, VendorCall};
use bytes::Bytes;
use http::Method;
use serde_json::Value;

/// What stands before the file of a batch that is marked so, what after it, and the type of the whole.
fn file_form(tag: &str) -> (String, String, String) {
    let bound = format!("flyball-{tag}");
    let before = format!(
        "--{bound}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{bound}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{tag}.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n"
    );
    let after = format!("\r\n--{bound}--\r\n");
    (
        before,
        after,
        format!("multipart/form-data; boundary={bound}"),
    )
}

/// What stands around the lines of a batch that is marked so.
pub fn file_frame(tag: &str) -> Frame {
    let (before, after, _) = file_form(tag);
    Frame {
        before,
        between: "",
        after,
    }
}

/// Hands the lines in, with that around them.
pub fn file_upload(tag: &str, lines: &Bytes) -> VendorCall {
    let (_, _, kind) = file_form(tag);
    VendorCall {
        method: Method::POST,
        path: "/v1/files".into(),
        kind: Some(kind),
        body: lines.clone(),
    }
}

/// What the vendor calls the file.
pub fn file_id(answer: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(answer).ok()?;
    value["id"].as_str().map(str::to_owned)
}

/// Writes a JSON text on one line: line breaks stand between its values, where they mean nothing, and within texts there are none.
pub fn on_one_line(json: &str, into: &mut Vec<u8>) {
    let spaced = |b: u8| if b == b'\n' || b == b'\r' { b' ' } else { b };
    into.extend(json.bytes().map(spaced));
}
