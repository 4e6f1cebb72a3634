//! OpenAI Chat Completions, as OpenAI and the many vendors that followed it speak it.
//!
//! Opens no sockets; knows vendors only by the spelling of their fields, never by their address.

mod answer;
mod batch;
mod bend;
mod calls;
mod converse;
mod effort;
mod fields;
mod hide;
mod request;
mod speak;
mod usage;
mod write;

use super::batch::{ClientBatches, VendorBatches};
use super::bend::Bender;
use super::envelope::OPENAI_ALLOWANCES;
use super::framed::Framed;
use super::{
    Addressee, Answer, Dialect, Envelope, Frame, Place, PlaceWork, Request, StreamDecoder,
    StreamFilter, StreamWriter, UsageRule, Written, steps, unseal,
};
use crate::chat::conversation::Conversation;
use crate::effort::{Loops, Words};
use crate::error::{Error, Kind};
use crate::json::{Edit, Object};
use bytes::Bytes;
use serde::Serialize;
use std::borrow::Cow;

pub(super) use effort::reject_sampling;
pub(super) use usage::reported_cost;

/// The dialect.
pub struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn name(&self) -> &'static str {
        "openai_chat"
    }

    fn place<'p>(&self, path: &'p str, _query: Option<&str>) -> Option<Place<'p>> {
        let place = |model| Place {
            work: PlaceWork::Complete,
            model,
            stream: false,
            array: false,
        };
        match path {
            "/v1/chat/completions" | "/openai/v1/chat/completions" => Some(place(None)),
            // Azure's own path: the deployment is the model.
            _ => {
                let rest = path.strip_prefix("/openai/deployments/")?;
                let model = rest.strip_suffix("/chat/completions")?;
                (!model.contains('/')).then(|| place(Some(super::unescaped(model))))
            }
        }
    }

    fn client_batches(&self) -> Option<&'static dyn ClientBatches> {
        Some(&OpenAiChat)
    }

    fn vendor_batches(&self) -> Option<&'static dyn VendorBatches> {
        Some(&OpenAiChat)
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            features: &["openai-beta"],
            allowances: OPENAI_ALLOWANCES,
            files: &["/v1/files", "/openai/v1/files"],
            batches: &["/v1/batches", "/openai/v1/batches"],
            ..Envelope::PLAIN
        }
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(request)
    }

    fn needs_turn(&self) -> bool {
        false
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::Chat
    }

    fn bend(&self, bender: &mut Bender<'_>) -> Result<(), Error> {
        bend::bend(bender)
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(said, to)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(speak::ChatWriter::new(frame))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(answer, frame)
    }

    fn stream(&self, rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::new(answer::ChatStream::new(rule)))
    }

    fn answer(&self, body: &[u8], rule: UsageRule) -> Answer {
        answer::whole(body, rule)
    }

    fn hide_usage(&self) -> Option<Box<dyn StreamFilter>> {
        Some(Box::new(hide::HideUsage::default()))
    }

    fn flex_field(&self) -> Option<&'static str> {
        Some("service_tier")
    }

    fn end_user<'a>(&self, request: &Object<'a>) -> Option<(&'static str, Cow<'a, str>)> {
        super::openai_user(request)
    }

    fn can_ask_logprobs(&self) -> bool {
        true
    }

    fn ask_logprobs(&self, request: &Object<'_>) -> Vec<Edit> {
        match request.some("logprobs") {
            Some("true") => Vec::new(),
            // Some servers add twenty alternatives to each token unless they are told how many are wanted.
            _ => vec![
                Edit::set(&["logprobs"], "true"),
                Edit::set(&["top_logprobs"], "1"),
            ],
        }
    }

    fn asks_logprobs(&self, request: &Object<'_>) -> bool {
        request.some("logprobs") == Some("true")
    }

    fn strip_logprobs(&self, answer: &mut serde_json::Value) {
        let choices = answer["choices"].as_array_mut();
        for choice in choices.into_iter().flatten() {
            if let Some(logprobs) = choice.get_mut("logprobs") {
                *logprobs = serde_json::Value::Null;
            }
        }
    }

    fn ask_usage(&self) -> Vec<Edit> {
        vec![Edit::set(&["stream_options", "include_usage"], "true")]
    }

    fn unseal(&self, turns: &mut Vec<serde_json::Value>, reader: &unseal::Reader<'_>) {
        unseal::openai_chat(turns, reader);
    }

    fn steps(&self, turns: &[serde_json::Value], demand: Loops) -> Vec<steps::Step> {
        steps::openai_chat(turns, demand)
    }

    fn mend_step(&self, turn: &mut serde_json::Value, demand: Loops) {
        steps::mend_openai_chat(turn, demand);
    }

    fn error_body(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(error_json(error))
    }

    fn error_event(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(format!("data: {}\n\n", error_json(error)))
    }
}

#[derive(Serialize)]
struct OpenAiErrorBody<'a> {
    error: OpenAiErrorFields<'a>,
}

#[derive(Serialize)]
struct OpenAiErrorFields<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: Option<&'static str>,
}

pub(super) fn error_json(error: &Error) -> String {
    let body = OpenAiErrorBody {
        error: OpenAiErrorFields {
            message: &error.public,
            r#type: error_type(error.kind),
            param: error.field.as_deref(),
            code: error.code,
        },
    };
    serde_json::to_string(&body).expect("strings are JSON")
}

fn error_type(kind: Kind) -> &'static str {
    match kind {
        Kind::BadRequest | Kind::MethodNotAllowed | Kind::TooLarge | Kind::ClientTimeout => {
            "invalid_request_error"
        }
        Kind::Unauthorized => "authentication_error",
        Kind::Forbidden | Kind::PrivateOnly => "permission_error",
        Kind::NotFound => "not_found_error",
        Kind::CapReached => "insufficient_quota",
        Kind::RateReached => "rate_limit_error",
        Kind::Overloaded | Kind::UpstreamFailed | Kind::UpstreamTimeout | Kind::Internal => {
            "server_error"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_speak_openai_and_never_tell_the_operators_sentence() {
        let cap = Error::new(Kind::CapReached, "The cap \"a\" is reached.")
            .code("flyball_cap")
            .detail("key 7");
        assert_eq!(
            OpenAiChat.error_body(&cap, "r1"),
            r#"{"error":{"message":"The cap \"a\" is reached.","type":"insufficient_quota","param":null,"code":"flyball_cap"}}"#
        );
        let missing = Error::new(Kind::NotFound, "No such model.").code("model_not_found");
        assert_eq!(
            OpenAiChat.error_body(&missing, "r1"),
            r#"{"error":{"message":"No such model.","type":"not_found_error","param":null,"code":"model_not_found"}}"#
        );
        let field = Error::bad_field("n", "Bad\nn.");
        assert_eq!(
            OpenAiChat.error_event(&field, "r1"),
            "data: {\"error\":{\"message\":\"Bad\\nn.\",\"type\":\"invalid_request_error\",\"param\":\"n\",\"code\":null}}\n\n"
        );
    }

    #[test]
    fn asking_for_usage_keeps_the_other_stream_options() {
        let body = br#"{"stream_options":{"include_obfuscation":false},"model":"m"}"#;
        let object = crate::json::Object::read(body).expect("valid");
        assert_eq!(
            object.edited(&OpenAiChat.ask_usage()).as_deref(),
            Some(
                r#"{"stream_options":{"include_usage":true,"include_obfuscation":false},"model":"m"}"#
            )
        );
    }
}
