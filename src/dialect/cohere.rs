//! Cohere Chat, the second version of its API: `/v2/chat`.
//!
//! A stream always tells its usage. What is billed (`usage.billed_units`) is less than what the model read (`usage.tokens`):
//! Cohere charges nothing for the frame that it puts around a conversation. Its documents, which an answer is to be
//! grounded in, have no place in another dialect and are refused there by name.

mod answer;
mod converse;
mod effort;
mod models;
mod request;
mod speak;
mod usage;
mod write;

use super::bend::Bender;
use super::directory::Directory;
use super::framed::Framed;
use super::in_order::InOrder;
use super::{
    Addressee, Answer, Dialect, Envelope, Frame, Place, Request, StreamDecoder, StreamWriter,
    UsageRule, Written,
};
use crate::chat::conversation::Conversation;
use crate::effort::Words;
use crate::error::Error;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The name, which stands in the state of its models' reasoning too.
const NAME: &str = "cohere_chat";

/// The dialect.
pub struct Cohere;

impl Dialect for Cohere {
    fn name(&self) -> &'static str {
        NAME
    }

    fn place<'p>(&self, path: &'p str, _query: Option<&str>) -> Option<Place<'p>> {
        (path == "/v2/chat").then(Place::default)
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            paths: &["/v2/*"],
            // Its SDKs for Python and JavaScript.
            signs: &[
                ("x-fern-sdk-name", "cohere"),
                ("x-fern-sdk-name", "cohere-ai"),
            ],
            ..Envelope::PLAIN
        }
    }

    fn directory(&self) -> &'static dyn Directory {
        &models::CohereModels
    }

    fn looks_like(&self, body: &Map<String, Value>) -> bool {
        let own = ["citation_options", "safety_mode", "strict_tools"];
        body.contains_key("messages") && own.iter().any(|key| body.contains_key(*key))
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(request)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[("top_p", "p"), ("top_k", "k"), ("stop", "stop_sequences")]
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::CohereWords
    }

    fn stop_at(&self) -> &'static [&'static str] {
        &["stop_sequences"]
    }

    fn bend(&self, bender: &mut Bender<'_>) -> Result<(), Error> {
        bender.stops(&["stop_sequences"]);
        Ok(())
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(said, to)
    }

    /// No provider differs from the dialect's own rule here.
    fn stream(&self, _rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::<answer::CohereStream>::default())
    }

    fn answer(&self, body: &[u8], _rule: UsageRule) -> Answer {
        answer::whole(body)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(InOrder::new(speak::CohereWriter::new(frame)))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(answer, frame)
    }

    fn error_body(&self, error: &Error, id: &str) -> Bytes {
        Bytes::from(json!({"id": id, "message": error.public}).to_string())
    }

    fn error_event(&self, error: &Error, id: &str) -> Bytes {
        Bytes::from(speak::failed(&error.public, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn errors_speak_cohere_and_never_tell_the_operators_sentence() {
        let cap = Error::new(Kind::CapReached, "Full.").detail("key 7");
        assert_eq!(
            Cohere.error_body(&cap, "r1"),
            r#"{"id":"r1","message":"Full."}"#
        );
        assert_eq!(
            Cohere.error_event(&cap, "r1"),
            "event: message-end\ndata: {\"type\":\"message-end\",\"id\":\"r1\",\"delta\":{\"error\":\"Full.\",\"finish_reason\":\"ERROR\"}}\n\n"
        );
    }
}
