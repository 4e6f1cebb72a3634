//! OpenAI Responses.
//!
//! Of responses flyball keeps what it lately answered with itself, in memory: `item_reference` and `previous_response_id` that name it are
//! replaced by it. Others, `conversation` and stored prompts pass through to a server of this dialect, which may have them, and are
//! refused by name for every other model.

mod answer;
mod background;
mod band;
mod bend;
mod converse;
mod effort;
mod named;
mod recall;
mod request;
mod speak;
mod write;

use super::band::Band;
use super::bend::Bender;
use super::envelope::OPENAI_ALLOWANCES;
use super::framed::Framed;
use super::in_order::InOrder;
use super::keep::Kept;
use super::{
    Addressee, Answer, Dialect, Envelope, Frame, Place, PlaceWork, Renamed, Request, StreamDecoder,
    StreamWriter, UsageRule, Written, openai_chat, steps, unseal,
};
use crate::chat::conversation::Conversation;
use crate::effort::{Loops, Words};
use crate::error::Error;
use crate::json::{Edit, Object};
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// The dialect.
pub struct OpenAiResponses;

impl Dialect for OpenAiResponses {
    fn background(&self) -> Option<&'static dyn super::background::BackgroundWords> {
        Some(&background::Background)
    }

    fn end_user<'a>(&self, request: &Object<'a>) -> Option<(&'static str, Cow<'a, str>)> {
        super::openai_user(request)
    }

    fn name(&self) -> &'static str {
        "openai_responses"
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            features: &["openai-beta"],
            allowances: OPENAI_ALLOWANCES,
            answers: &["/v1/responses", "/openai/v1/responses"],
            ..Envelope::PLAIN
        }
    }

    fn place<'p>(&self, path: &'p str, _query: Option<&str>) -> Option<Place<'p>> {
        let work = match path {
            "/v1/responses" | "/openai/v1/responses" | "/openai/responses" => PlaceWork::Complete,
            "/v1/responses/input_tokens" => PlaceWork::CountTokens,
            _ => return None,
        };
        Some(Place {
            work,
            ..Place::default()
        })
    }

    fn looks_like(&self, body: &Map<String, Value>) -> bool {
        body.contains_key("input")
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(request)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("messages", "input"),
            ("response_format", "text.format"),
            ("logprobs", "top_logprobs"),
        ]
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::ResponsesWords
    }

    fn band(&self) -> Option<&'static dyn Band> {
        Some(&band::Items)
    }

    fn stop_at(&self) -> &'static [&'static str] {
        &[]
    }

    fn bend(&self, bender: &mut Bender<'_>) -> Result<(), Error> {
        bend::bend(bender)
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(said, to)
    }

    fn flex_field(&self) -> Option<&'static str> {
        Some("service_tier")
    }

    /// Reasoning is a part of the output here, whoever the vendor is.
    fn can_ask_logprobs(&self) -> bool {
        true
    }

    fn ask_logprobs(&self, request: &Object<'_>) -> Vec<Edit> {
        let asked = request.some("include");
        let mut list: Vec<Value> = asked
            .and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default();
        if list.iter().any(|what| what == effort::LOGPROBS) {
            return Vec::new();
        }
        list.push(effort::LOGPROBS.into());
        vec![Edit::set(&["include"], Value::Array(list).to_string())]
    }

    fn asks_logprobs(&self, request: &Object<'_>) -> bool {
        self.ask_logprobs(request).is_empty()
    }

    fn strip_logprobs(&self, answer: &mut Value) {
        match answer {
            Value::Array(list) => list.iter_mut().for_each(|value| self.strip_logprobs(value)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (name.as_str(), value) {
                        ("logprobs", Value::Array(list)) => list.clear(),
                        (_, value) => self.strip_logprobs(value),
                    }
                }
            }
            _ => {}
        }
    }

    fn stream(&self, _rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::<answer::ResponsesStream>::default())
    }

    fn answer(&self, body: &[u8], _rule: UsageRule) -> Answer {
        answer::whole(body)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(InOrder::new(speak::ResponsesWriter::new(frame)))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(answer, frame)
    }

    fn counted(&self, tokens: u64) -> Bytes {
        Bytes::from(format!(
            "{{\"object\":\"response.input_tokens\",\"input_tokens\":{tokens}}}"
        ))
    }

    fn turns_field(&self) -> &'static str {
        "input"
    }

    fn unseal(&self, turns: &mut Vec<serde_json::Value>, reader: &unseal::Reader<'_>) {
        unseal::openai_responses(turns, reader);
    }

    fn recall(&self, body: &Bytes, known: &dyn Fn(&str) -> Option<Kept>) -> Option<Bytes> {
        recall::recall(body, known)
    }

    /// Unless it is told not to store it, its client counts on that.
    fn is_kept(&self, request: &Request<'_>) -> bool {
        request.fields.some("store") != Some("false")
    }

    /// It adds to a conversation that the vendor keeps, or is answered in the background.
    fn has_effects(&self, request: &Request<'_>) -> bool {
        let background = request.fields.some("background") == Some("true");
        background || request.fields.some("conversation").is_some()
    }

    fn renamed(&self, request: &Request<'_>) -> Vec<Renamed> {
        named::renamed(request)
    }

    fn steps(&self, turns: &[serde_json::Value], _demand: Loops) -> Vec<steps::Step> {
        steps::openai_responses(turns)
    }

    fn error_body(&self, error: &Error, id: &str) -> Bytes {
        openai_chat::OpenAiChat.error_body(error, id)
    }

    fn error_event(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(error_event(error, 0))
    }
}

fn error_event(error: &Error, number: u64) -> String {
    let json = openai_chat::error_json(error);
    // The same object, one level down beside the event's own fields.
    let inner: Option<&RawValue> = serde_json::from_str::<Wrapped<'_>>(&json)
        .ok()
        .map(|w| w.error);
    let inner = inner.map_or("null", RawValue::get);
    // OpenAI's reference has the fields beside the type, its servers and newer clients have them in an object: both.
    let flat =
        serde_json::json!({"code": error.code, "message": error.public, "param": error.field})
            .to_string();
    let flat = flat.strip_prefix('{').and_then(|f| f.strip_suffix('}'));
    let flat = flat.unwrap_or_default();
    format!(
        "event: error\ndata: {{\"type\":\"error\",\"sequence_number\":{number},\"error\":{inner},{flat}}}\n\n"
    )
}

#[derive(serde::Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn errors_speak_openai() {
        let cap = Error::new(Kind::CapReached, "Full.").detail("key 7");
        let body = OpenAiResponses.error_body(&cap, "r");
        assert!(
            body.starts_with(b"{\"error\":{\"message\":\"Full.\",\"type\":\"insufficient_quota\"")
        );
        let event = OpenAiResponses.error_event(&cap, "r");
        assert!(
            event.starts_with(b"event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"error\":{\"message\":\"Full.\""),
            "{event:?}"
        );
    }
}
