//! Gemini's generateContent, streamGenerateContent and countTokens, as Google and Vertex speak them.
//!
//! The model and the wish for a stream stand in the path. A stream is SSE with `alt=sse`, else one JSON array.

mod answer;
mod batch;
mod converse;
mod effort;
mod frame;
mod models;
mod request;
mod speak;
mod usage;
mod write;

use super::batch::VendorBatches;
use super::bend::{Bender, SEARCH};
use super::directory::Directory;
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
use serde_json::{Map, Value, json};

/// The dialect.
pub struct Gemini;

impl Dialect for Gemini {
    fn name(&self) -> &'static str {
        "gemini"
    }

    fn place<'p>(&self, path: &'p str, query: Option<&str>) -> Option<Place<'p>> {
        let rest = under_models(path)?;
        let (model, call) = rest.rsplit_once(':')?;
        let (work, stream) = match call {
            "generateContent" => (PlaceWork::Complete, false),
            "streamGenerateContent" => (PlaceWork::Complete, true),
            "countTokens" => (PlaceWork::CountTokens, false),
            _ => return None,
        };
        let sse = query.is_some_and(|q| q.split('&').any(|pair| pair == "alt=sse"));
        Some(Place {
            work,
            model: Some(super::unescaped(model)),
            stream,
            array: stream && !sse,
        })
    }

    fn vendor_batches(&self) -> Option<&'static dyn VendorBatches> {
        Some(&Gemini)
    }

    fn envelope(&self) -> &'static Envelope {
        &Envelope {
            paths: &["/v1beta/*"],
            signs: &[("x-goog-api-key", "")],
            query_key: Some("key"),
            tier: Some("x-gemini-service-tier"),
            ..Envelope::PLAIN
        }
    }

    fn directory(&self) -> &'static dyn Directory {
        &models::GeminiModels
    }

    fn looks_like(&self, body: &Map<String, Value>) -> bool {
        body.contains_key("contents")
    }

    fn decode_at<'a>(&self, body: &'a [u8], place: &Place<'a>) -> Result<Request<'a>, Error> {
        request::decode(body, place)
    }

    fn converse(&self, request: &Request<'_>) -> Result<Conversation, Error> {
        converse::converse(request)
    }

    fn names(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("messages", "contents"),
            ("temperature", "generationConfig.temperature"),
            ("top_p", "generationConfig.topP"),
            ("top_k", "generationConfig.topK"),
            ("seed", "generationConfig.seed"),
            ("presence_penalty", "generationConfig.presencePenalty"),
            ("frequency_penalty", "generationConfig.frequencyPenalty"),
            ("stop", "generationConfig.stopSequences"),
            ("n", "generationConfig.candidateCount"),
            ("logprobs", "generationConfig.responseLogprobs"),
            ("response_format", "generationConfig.responseMimeType"),
            ("tool_choice", "toolConfig.functionCallingConfig"),
        ]
    }

    fn effort(&self) -> &'static dyn Words {
        &effort::GeminiWords
    }

    fn stop_at(&self) -> &'static [&'static str] {
        &["generationConfig", "stopSequences"]
    }

    fn bend(&self, bender: &mut Bender<'_>) -> Result<(), Error> {
        bender.stops(&["generationConfig", "stopSequences"]);
        bender.hosted_tools(false, |tool, lost| {
            let Some(tools) = tool.as_object_mut() else {
                return true;
            };
            let (camel, snake) = spellings(converse::SEARCH_TOOL);
            for spelling in [camel, &snake] {
                let search = tools.shift_remove(spelling);
                lost.extend(search.map(|_| SEARCH.to_owned()));
            }
            !tools.is_empty()
        });
        Ok(())
    }

    fn write(&self, said: &Conversation, to: &Addressee<'_>) -> Result<Written, Error> {
        write::write(said, to)
    }

    /// Thoughts are shown to who asks for them alone (<https://ai.google.dev/gemini-api/docs/thinking>, thought summaries).
    fn hides_thoughts(&self, request: &Request<'_>) -> bool {
        !request::shows_thoughts(&request.fields)
    }

    fn flex_field(&self) -> Option<&'static str> {
        Some("serviceTier")
    }

    /// Its thoughts are always counted apart here.
    fn can_ask_logprobs(&self) -> bool {
        true
    }

    fn ask_logprobs(&self, request: &Object<'_>) -> Vec<Edit> {
        let config = request.some("generationConfig");
        let config = config.and_then(|raw| Object::read_str(raw).ok());
        let asked = config.and_then(|config| config.some("responseLogprobs"));
        match asked {
            Some("true") => Vec::new(),
            _ => vec![Edit::set(&["generationConfig", "responseLogprobs"], "true")],
        }
    }

    fn asks_logprobs(&self, request: &Object<'_>) -> bool {
        self.ask_logprobs(request).is_empty()
    }

    fn strip_logprobs(&self, answer: &mut Value) {
        let candidates = answer["candidates"].as_array_mut();
        for candidate in candidates.into_iter().flatten() {
            if let Some(fields) = candidate.as_object_mut() {
                fields.remove("logprobsResult");
            }
        }
    }

    fn stream(&self, _rule: UsageRule) -> Box<dyn StreamDecoder> {
        Box::new(Framed::<answer::GeminiStream>::default())
    }

    fn answer(&self, body: &[u8], _rule: UsageRule) -> Answer {
        answer::whole(body)
    }

    fn stream_writer(&self, frame: Frame) -> Box<dyn StreamWriter> {
        Box::new(speak::GeminiWriter::new(frame))
    }

    fn answer_body(&self, answer: Answer, frame: &Frame) -> Bytes {
        speak::whole(answer, frame)
    }

    fn counted(&self, tokens: u64) -> Bytes {
        Bytes::from(json!({"totalTokens": tokens}).to_string())
    }

    fn reframe(&self, place: &Place<'_>) -> Option<Box<dyn StreamFilter>> {
        place
            .array
            .then(|| Box::new(frame::ToArray::default()) as Box<dyn StreamFilter>)
    }

    fn model_in_body(&self) -> bool {
        false
    }

    fn stream_type(&self, array: bool) -> &'static str {
        match array {
            true => "application/json",
            false => "text/event-stream",
        }
    }

    fn turns_field(&self) -> &'static str {
        "contents"
    }

    fn unseal(&self, turns: &mut Vec<serde_json::Value>, reader: &unseal::Reader<'_>) {
        unseal::gemini(turns, reader);
    }

    fn steps(&self, turns: &[serde_json::Value], _demand: Loops) -> Vec<steps::Step> {
        steps::gemini(turns)
    }

    fn mend_step(&self, turn: &mut serde_json::Value, _demand: Loops) {
        steps::mend_gemini(turn);
    }

    fn error_body(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(error_json(error))
    }

    fn error_event(&self, error: &Error, _id: &str) -> Bytes {
        Bytes::from(format!("data: {}\r\n\r\n", error_json(error)))
    }
}

/// What follows the folder of models. Some clients leave the version out, some say v1.
pub(super) fn under_models(path: &str) -> Option<&str> {
    ["/v1beta/models/", "/v1/models/", "/models/"]
        .iter()
        .find_map(|start| path.strip_prefix(start))
}

fn error_json(error: &Error) -> String {
    let status = match error.kind {
        Kind::BadRequest | Kind::MethodNotAllowed | Kind::TooLarge => "INVALID_ARGUMENT",
        Kind::Unauthorized => "UNAUTHENTICATED",
        Kind::Forbidden | Kind::PrivateOnly => "PERMISSION_DENIED",
        Kind::NotFound => "NOT_FOUND",
        Kind::CapReached => "FAILED_PRECONDITION",
        Kind::RateReached => "RESOURCE_EXHAUSTED",
        Kind::Overloaded | Kind::UpstreamFailed => "UNAVAILABLE",
        Kind::ClientTimeout | Kind::UpstreamTimeout => "DEADLINE_EXCEEDED",
        Kind::Internal => "INTERNAL",
    };
    let mut body = json!({"code": error.status(), "message": error.public, "status": status});
    let mut details = Vec::new();
    if let Some(code) = error.code {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code, "domain": "flyball"}));
    }
    if let Some(field) = &error.field {
        let violation = json!({"field": field, "description": error.public});
        details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}));
    }
    if !details.is_empty() {
        body["details"] = details.into();
    }
    json!({"error": body}).to_string()
}

/// Both spellings of a field: Google takes camelCase and snake_case.
fn spellings(camel: &str) -> (&str, String) {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    (camel, snake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_model_work_and_framing() {
        let place = |path, query| Gemini.place(path, query);
        let stream = place(
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            Some("alt=sse"),
        );
        let stream = stream.expect("a stream");
        assert_eq!(
            (stream.model.as_deref(), stream.stream, stream.array),
            (Some("gemini-2.5-flash"), true, false)
        );
        for query in [None, Some("key=x"), Some("xalt=sse")] {
            let stream =
                place("/v1/models/a%2Fb:c:streamGenerateContent", query).expect("a stream");
            assert_eq!(
                (stream.model.as_deref(), stream.array),
                (Some("a/b:c"), true)
            );
        }
        let count = place("/models/m:countTokens", None).expect("counts");
        assert_eq!(count.work, PlaceWork::CountTokens);
        for path in [
            "/v1beta/models/m",
            "/v1beta/models/m:embedContent",
            "/v1/models",
        ] {
            assert_eq!(place(path, None), None, "{path}");
        }
    }

    #[test]
    fn errors_speak_google() {
        let cap = Error::new(Kind::CapReached, "Full.")
            .code("flyball_cap")
            .detail("key 7");
        let body = String::from_utf8(Gemini.error_body(&cap, "r").to_vec()).expect("text");
        assert!(
            body.starts_with(
                r#"{"error":{"code":402,"message":"Full.","status":"FAILED_PRECONDITION""#
            ),
            "{body}"
        );
        assert!(!body.contains("key 7"));
    }
}
