//! Anthropic Messages.
//!
//! Opens no sockets. A stream always tells its usage, so nothing is asked for and nothing is hidden.

mod answer;
mod band;
mod batch;
mod batches;
mod bend;
mod converse;
mod effort;
mod models;
mod request;
mod speak;
mod usage;
mod write;

use super::band::Band;
use super::batch::{ClientBatches, VendorBatches};
use super::bend::Bender;
use super::directory::Directory;
use super::envelope::{Allowance, AllowanceHeaders};
use super::framed::Framed;
use super::in_order::InOrder;
use super::{
    Addressee, Answer, Dialect, Envelope, Frame, Place, PlaceWork, Request, StreamDecoder,
    StreamWriter, UsageRule, Written, steps, unseal,
};
use crate::chat::conversation::Conversation;
use crate::effort::{Loops, Words};
use crate::error::{Error, Kind};
use crate::json::{self, Object};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The dialect.
pub struct Anthropic;

impl Dialect for Anthropic {
    fn end_user<'a>(&self, request: &Object<'a>) -> Option<(&'static str, Cow<'a, str>)> {
        let about = Object::read_str(request.some("metadata")?).ok()?;
        let name = json::text(about.some("user_id")?)?;
        Some(("metadata.user_id", name))
    }

    fn name(&self) -> &'static str {
        "anthropic_messages"
    }

    fn place<'p>(&self, path: &'p str, _query: Option<&str>) -> Option<Place<'p>> {
        let work = match path {
            "/v1/messages" => PlaceWork::Complete,
            "/v1/messages/count_tokens" => PlaceWork::CountTokens,
            _ => return None,
        };
        Some(Place {
            work,
            model: None,
            stream: false,
            array: false,
        })
    }

    fn client_batches(&self) -> Option<&'static dyn ClientBatches> {
        Some(&Anthropic)
    }

    fn vendor_batches(&self) -> Option<&'static dyn VendorBatches> {
        Some(&Anthropic)
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            signs: &[("anthropic-version", "")],
            // The last one that takes sampling parameters.
            version: Some(("anthropic-version", "2023-06-01")),
            features: &["anthropic-beta"],
            // https://platform.claude.com/docs/en/api/rate-limits: the tokens are those of the tightest limit in effect.
            allowances: &[
                AllowanceHeaders {
                    of: Allowance::Requests,
                    limit: "anthropic-ratelimit-requests-limit",
                    remaining: "anthropic-ratelimit-requests-remaining",
                    reset: "anthropic-ratelimit-requests-reset",
                },
                AllowanceHeaders {
                    of: Allowance::Tokens,
                    limit: "anthropic-ratelimit-tokens-limit",
                    remaining: "anthropic-ratelimit-tokens-remaining",
                    reset: "anthropic-ratelimit-tokens-reset",
                },
            ],
            files: &["/v1/files"],
            batches: &["/v1/messages/batches"],
            here: Some(batches::fetched_here),
            ..Envelope::PLAIN
        }
    }

    fn directory(&self) -> &'static dyn Directory {
        &models::AnthropicModels
    }

    fn looks_like(&self, body: &Map<String, Value>) -> bool {
        let Some(messages) = body.get("messages").and_then(Value::as_array) else {
            return false;
        };
        let contents = messages.iter().filter_map(|m| m.get("content")?.as_array());
        let mut kinds = contents.flatten().filter_map(|p| p.get("type")?.as_str());
        body.contains_key("system")
            || body.contains_key("anthropic_version")
            || kinds.any(|kind| matches!(kind, "tool_use" | "tool_result" | "thinking"))
    }

    fn needs_limit(&self) -> Option<&'static str> {
        Some("max_tokens")
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(request)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("stop", "stop_sequences"),
            ("user", "metadata.user_id"),
            (
                "parallel_tool_calls",
                "tool_choice.disable_parallel_tool_use",
            ),
            ("response_format", "output_config.format"),
        ]
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::Messages
    }

    fn band(&self) -> Option<&'static dyn Band> {
        Some(&band::Messages)
    }

    fn stop_at(&self) -> &'static [&'static str] {
        &["stop_sequences"]
    }

    fn says_marks(&self) -> bool {
        true
    }

    fn bend(&self, bender: &mut Bender<'_>) -> Result<(), Error> {
        bend::bend(bender)
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(said, to)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(InOrder::new(speak::AnthropicWriter::new(frame)))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(answer, frame)
    }

    /// No provider differs from the dialect's own rule here.
    fn stream(&self, _rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::<answer::AnthropicStream>::default())
    }

    fn answer(&self, body: &[u8], _rule: UsageRule) -> Answer {
        answer::whole(body)
    }

    fn unseal(&self, turns: &mut Vec<serde_json::Value>, reader: &unseal::Reader<'_>) {
        unseal::anthropic(turns, reader);
    }

    fn steps(&self, turns: &[serde_json::Value], _demand: Loops) -> Vec<steps::Step> {
        steps::anthropic(turns)
    }

    fn error_body(&self, error: &Error, id: &str) -> Bytes {
        Bytes::from(error_json(error, id))
    }

    fn error_event(&self, error: &Error, id: &str) -> Bytes {
        Bytes::from(format!("event: error\ndata: {}\n\n", error_json(error, id)))
    }
}

#[derive(Serialize)]
struct AnthropicErrorBody<'a> {
    r#type: &'static str,
    error: AnthropicErrorFields<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct AnthropicErrorFields<'a> {
    r#type: &'static str,
    message: &'a str,
}

fn error_json(error: &Error, id: &str) -> String {
    let body = AnthropicErrorBody {
        r#type: "error",
        error: AnthropicErrorFields {
            r#type: error_type(error.kind),
            message: &error.public,
        },
        request_id: id,
    };
    serde_json::to_string(&body).expect("strings are JSON")
}

fn error_type(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest | Kind::MethodNotAllowed => "invalid_request_error",
        Kind::Unauthorized => "authentication_error",
        Kind::CapReached => "billing_error",
        Kind::RateReached => "rate_limit_error",
        Kind::Forbidden | Kind::PrivateOnly => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::TooLarge => "request_too_large",
        Kind::ClientTimeout | Kind::UpstreamTimeout => "timeout_error",
        Kind::Overloaded => "overloaded_error",
        Kind::UpstreamFailed | Kind::Internal => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_speak_anthropic_and_name_the_request() {
        let cap = Error::new(Kind::CapReached, "Full.").detail("key 7");
        let json = r#"{"type":"error","error":{"type":"billing_error","message":"Full."},"request_id":"r1"}"#;
        assert_eq!(Anthropic.error_body(&cap, "r1"), json);
        assert_eq!(
            Anthropic.error_event(&cap, "r1"),
            format!("event: error\ndata: {json}\n\n")
        );
    }
}
