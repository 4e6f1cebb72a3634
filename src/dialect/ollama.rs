//! Ollama's own `/api/chat` and `/api/generate`: one JSON object a line, streamed unless the client says no.

mod answer;
mod converse;
mod effort;
mod models;
mod request;
mod speak;
mod write;

use super::directory::Directory;
use super::framed::Framed;
use super::{
    Addressee, Answer, Dialect, Envelope, Frame, Place, PlaceWork, Request, StreamDecoder,
    StreamWriter, UsageRule, Written,
};
use crate::chat::conversation::Conversation;
use crate::effort::Words;
use crate::error::Error;
use crate::json::{Edit, Object};
use bytes::Bytes;
use serde_json::json;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ollama {
    /// `/api/chat`.
    Chat,
    /// `/api/generate`.
    Generate,
}

impl Dialect for Ollama {
    fn name(&self) -> &'static str {
        match self {
            Ollama::Chat => "ollama_chat",
            Ollama::Generate => "ollama_generate",
        }
    }

    fn place<'p>(&self, path: &'p str, _query: Option<&str>) -> Option<Place<'p>> {
        let own = match self {
            Ollama::Chat => "/api/chat",
            Ollama::Generate => "/api/generate",
        };
        (path == own).then(|| Place {
            work: PlaceWork::Complete,
            ..Place::default()
        })
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            paths: &["/", "/api/*"],
            ..Envelope::PLAIN
        }
    }

    fn directory(&self) -> &'static dyn Directory {
        &models::OllamaModels
    }

    fn model_fields(&self) -> &'static [&'static str] {
        &["model", "name"]
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(*self, body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(*self, request)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("temperature", "options.temperature"),
            ("top_p", "options.top_p"),
            ("top_k", "options.top_k"),
            ("seed", "options.seed"),
            ("presence_penalty", "options.presence_penalty"),
            ("frequency_penalty", "options.frequency_penalty"),
            ("stop", "options.stop"),
            ("response_format", "format"),
        ]
    }

    fn needs_turn(&self) -> bool {
        false
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::Think
    }

    fn stop_at(&self) -> &'static [&'static str] {
        &["options", "stop"]
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(*self, said, to)
    }

    /// No server of this dialect tells its thoughts' tokens apart.
    fn can_ask_logprobs(&self) -> bool {
        true
    }

    fn ask_logprobs(&self, request: &Object<'_>) -> Vec<Edit> {
        match request.some("logprobs") {
            Some("true") => Vec::new(),
            _ => vec![Edit::set(&["logprobs"], "true")],
        }
    }

    fn asks_logprobs(&self, request: &Object<'_>) -> bool {
        self.ask_logprobs(request).is_empty()
    }

    fn strip_logprobs(&self, answer: &mut serde_json::Value) {
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("logprobs");
        }
    }

    fn stream(&self, _rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::<answer::OllamaStream>::default())
    }

    fn answer(&self, body: &[u8], _rule: UsageRule) -> Answer {
        answer::whole(body)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(speak::OllamaWriter::new(*self, frame))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(*self, answer, frame)
    }

    fn stream_type(&self, _array: bool) -> &'static str {
        "application/x-ndjson"
    }

    fn error_body(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(json!({"error": error.public}).to_string())
    }

    fn error_event(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(format!("{}\n", json!({"error": error.public})))
    }
}
