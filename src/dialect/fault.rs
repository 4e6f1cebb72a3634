//! What a provider's error body says, in whichever shape: `error` as an object or a text, `detail` or
//! `message` in its place, a list around it.

use super::body::error_text;
use crate::capability::{Capabilities, Capability};
use crate::chat::answer::Fault;
use crate::error::Kind;
use serde_json::Value;

/// The sentence of an error body; a body without one is told as it is, cut to a length.
#[must_use]
pub fn said(body: &[u8]) -> String {
    let found = serde_json::from_slice::<Value>(body).ok();
    let found = found.as_ref().and_then(sentence);
    match found {
        Some(text) => error_text(text),
        None => match String::from_utf8_lossy(body).trim() {
            "" => "the model's server reported an error without words".to_owned(),
            text => error_text(text),
        },
    }
}

/// As [`said`], with what is wrong.
#[must_use]
pub fn told(body: &[u8]) -> Fault {
    of(body, said(body))
}

/// An error of which a decoder has found the sentence.
#[must_use]
pub fn of(body: &[u8], text: String) -> Fault {
    Fault {
        kind: kind(body),
        text,
    }
}

/// What is wrong by an error's own words, or by the status that it names; that the server has failed where it has neither.
#[must_use]
pub fn kind(body: &[u8]) -> Kind {
    let found = serde_json::from_slice::<Value>(body).ok();
    let found = found.as_ref().map(first);
    let places = [
        "/error/type",
        "/error/status",
        "/error/code",
        "/response/error/code",
        "/code",
        "/type",
    ];
    let mut values = places.iter().filter_map(|at| found?.pointer(at));
    let read = |value: &Value| match value {
        Value::String(word) => word.parse().map_or_else(|_| of_word(word), of_status),
        value => value
            .as_u64()
            .and_then(|n| of_status(u16::try_from(n).ok()?)),
    };
    values.find_map(read).unwrap_or(Kind::UpstreamFailed)
}

/// What a provider's status says is wrong; `None` where that is its server.
#[must_use]
pub fn of_status(status: u16) -> Option<Kind> {
    Some(match status {
        400 | 422 => Kind::BadRequest,
        401 => Kind::Unauthorized,
        402 => Kind::CapReached,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        413 => Kind::TooLarge,
        429 => Kind::RateReached,
        503 | 529 => Kind::Overloaded,
        408 | 504 => Kind::UpstreamTimeout,
        _ => return None,
    })
}

/// The vendors' words in the errors of their streams.
fn of_word(word: &str) -> Option<Kind> {
    Some(match word {
        "invalid_request_error" | "INVALID_ARGUMENT" | "invalid_prompt" => Kind::BadRequest,
        "authentication_error" | "UNAUTHENTICATED" => Kind::Unauthorized,
        "billing_error" | "insufficient_quota" => Kind::CapReached,
        "permission_error" | "PERMISSION_DENIED" => Kind::Forbidden,
        "not_found_error" | "NOT_FOUND" => Kind::NotFound,
        "request_too_large" => Kind::TooLarge,
        "rate_limit_error" | "rate_limit_exceeded" | "RESOURCE_EXHAUSTED" => Kind::RateReached,
        "overloaded_error" | "UNAVAILABLE" | "overloaded" | "server_is_overloaded" => {
            Kind::Overloaded
        }
        "timeout_error" | "DEADLINE_EXCEEDED" => Kind::UpstreamTimeout,
        _ => return None,
    })
}

/// What a refusal says that the model cannot do, of what was asked of it; `None` where it finds fault with something else, which every
/// model would find fault with. OpenAI names the field and says `unsupported_…`; everybody else says it in a sentence.
#[must_use]
pub fn incapable(status: u16, body: &[u8], model: &str, asked: Capabilities) -> Option<Capability> {
    if asked.is_empty() || !matches!(status, 400 | 404 | 422 | 500) {
        return None;
    }
    let found = serde_json::from_slice::<Value>(body).ok()?;
    let found = first(&found);
    let text = sentence(found)?.to_ascii_lowercase();
    // llama.cpp says 500 of a picture that it was started without eyes for.
    if status == 500 && !NAMED_OUTRIGHT_AT_500.iter().any(|said| text.contains(said)) {
        return None;
    }
    let word = |at| {
        found
            .pointer(at)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let coded = matches!(
        word("/error/code"),
        "unsupported_parameter" | "unsupported_value"
    );
    let named = model.len() >= NAME_LETTERS_MIN && text.contains(&model.to_ascii_lowercase());
    let of_model = named || MODEL.iter().any(|said| text.contains(said));
    let refuses = coded || (of_model && REFUSES.iter().any(|said| text.contains(said)));
    let outright = OUTRIGHT.iter().find(|(said, _)| text.contains(said));
    let param = word("/error/param");
    let meant = |(what, params, words): &&(Capability, &[&str], &[&str])| {
        let field = param.split(['.', '[']).next().unwrap_or_default();
        asked.has(*what)
            && match field {
                "" | "messages" | "input" => words.iter().any(|word| text.contains(word)),
                field => params.contains(&field),
            }
    };
    match outright {
        Some((_, all)) => all.iter().copied().find(|what| asked.has(*what)),
        None if refuses => SUBJECTS.iter().find(meant).map(|(what, ..)| *what),
        None => None,
    }
}

/// A shorter name of a model may be a piece of any word.
const NAME_LETTERS_MIN: usize = 4;

/// It is the model, or the server that runs it, that cannot.
const MODEL: [&str; 3] = ["model", "server", "endpoint"];

/// Ways of saying that it cannot.
const REFUSES: [&str; 4] = ["not support", "n't support", "not enabled", "only supports"];

/// Sentences that say all without naming the model, each found in reports of users of its vendor or server.
const OUTRIGHT: [(&str, &[Capability]); 11] = [
    // Ollama (ollama/ollama#14795), of which the name before it is not always the one that was asked for.
    ("does not support tools", &[Capability::Tools]),
    // vLLM (vllm-project/vllm#9986, langchain4j#3475).
    (
        "tool choice requires --enable-auto-tool-choice",
        &[Capability::Tools],
    ),
    // OpenRouter (opencode#1675, oai-compatible-copilot#229).
    (
        "no endpoints found that support tool use",
        &[Capability::Tools],
    ),
    (
        "no endpoints found that support image input",
        &[Capability::Images],
    ),
    // vLLM (studio-dots-ai/dots.ocr#61).
    (
        "is not a multimodal model",
        &[Capability::Images, Capability::Audio, Capability::Documents],
    ),
    // llama.cpp (ggml-org/llama.cpp#13566, #15377).
    ("image input is not supported", &[Capability::Images]),
    ("audio input is not supported", &[Capability::Audio]),
    // llama.cpp.
    (
        "only one completion choice is allowed",
        &[Capability::Choices],
    ),
    // Gemini (googleapis/js-genai#1609), and Vertex (genkit#546).
    ("multiple candidates is not enabled", &[Capability::Choices]),
    ("candidatecount must be 1", &[Capability::Choices]),
    // DeepSeek (llm-exe#662); an earlier one says which (dzhng/deep-research#22).
    (
        "response_format type is unavailable",
        &[Capability::Schema, Capability::Json],
    ),
];

const NAMED_OUTRIGHT_AT_500: [&str; 2] = [
    "image input is not supported",
    "audio input is not supported",
];

/// What a refusal speaks of: the field that OpenAI names, and the words of the others.
const SUBJECTS: [(Capability, &[&str], &[&str]); 10] = [
    (
        Capability::Tools,
        &["tools", "tool_choice", "functions", "function_call"],
        &["tool", "function call"],
    ),
    (
        Capability::Schema,
        &["response_format", "text", "output_config", "output_format"],
        STRUCTURED,
    ),
    (
        Capability::Json,
        &["response_format", "text", "output_config", "output_format"],
        STRUCTURED,
    ),
    (
        Capability::Logprobs,
        &["logprobs", "top_logprobs", "include"],
        &["logprob"],
    ),
    (
        Capability::Stop,
        &["stop"],
        &[
            "stop sequence",
            "stop_sequence",
            "stopsequence",
            "'stop'",
            "\"stop\"",
            "`stop`",
            "parameter stop",
            ": stop",
        ],
    ),
    (
        Capability::Choices,
        &["n"],
        &["candidate", "completion choice", "'n'", "\"n\"", "`n`"],
    ),
    (Capability::Images, &[], &["image", "vision", "multimodal"]),
    (Capability::Audio, &[], &["audio"]),
    (Capability::Documents, &[], &["pdf", "document"]),
    (
        Capability::Instructions,
        &[],
        &[
            "developer instruction",
            "system instruction",
            "system prompt",
            "system role",
            "system message",
        ],
    ),
];

const STRUCTURED: &[&str] = &[
    "response_format",
    "response format",
    "json_schema",
    "json schema",
    "json mode",
    "json output",
    "structured output",
    "output_config.format",
    "output_format",
];

/// Gemini wraps an error of a stream in a list.
fn first(value: &Value) -> &Value {
    let list = value.as_array();
    list.and_then(|list| list.first()).unwrap_or(value)
}

fn sentence(value: &Value) -> Option<&str> {
    let value = first(value);
    let places = [
        "/error/message",
        "/error",
        "/detail",
        "/message",
        "/detail/0/msg",
        "/error/type",
    ];
    let mut texts = places.iter().filter_map(|at| value.pointer(at)?.as_str());
    texts.find(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_in_every_vendors_words() {
        for (body, expected) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#,
                Kind::Overloaded,
            ),
            (
                r#"{"error":{"message":"m","type":"x","code":"rate_limit_exceeded"}}"#,
                Kind::RateReached,
            ),
            (r#"{"error":{"code":429,"message":"m"}}"#, Kind::RateReached),
            (
                r#"{"error":{"code":"402","message":"m"}}"#,
                Kind::CapReached,
            ),
            (
                r#"[{"error":{"code":400,"message":"m","status":"INVALID_ARGUMENT"}}]"#,
                Kind::BadRequest,
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
                Kind::RateReached,
            ),
            (
                r#"{"type":"error","code":"server_error","message":"m"}"#,
                Kind::UpstreamFailed,
            ),
            (r#"{"error":"m"}"#, Kind::UpstreamFailed),
            ("<html>", Kind::UpstreamFailed),
        ] {
            assert_eq!(kind(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn what_a_model_cannot_do_is_read_from_every_vendors_refusal() {
        use Capability::{Choices, Images, Instructions, Logprobs, Schema, Stop, Tools};
        let all = Capability::ALL.into_iter();
        let all = all.fold(Capabilities::default(), |all, one| all.set(one, true));
        for (status, body, expected) in [
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'logprobs' is not supported with this model.","type":"invalid_request_error","param":"logprobs","code":"unsupported_parameter"}}"#,
                Some(Logprobs),
            ),
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'stop' is not supported with this model.","type":"invalid_request_error","param":"stop","code":"unsupported_parameter"}}"#,
                Some(Stop),
            ),
            (
                400,
                r#"{"error":{"message":"Unsupported value: 'n' does not support 2 with this model. Only the default (1) value is supported.","param":"n","code":"unsupported_value"}}"#,
                Some(Choices),
            ),
            (
                400,
                r#"{"error":{"message":"Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.","type":"invalid_request_error","param":"","code":null}}"#,
                Some(Schema),
            ),
            (
                400,
                r#"{"error":{"message":"This response_format type is unavailable now","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
                Some(Schema),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"Developer instruction is not enabled for models/gemma-3-27b-it","status":"INVALID_ARGUMENT"}}"#,
                Some(Instructions),
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"Function calling is not enabled for models/gemma-3-27b-it","status":"INVALID_ARGUMENT"}}]"#,
                Some(Tools),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"Multiple candidates is not enabled for this model","status":"INVALID_ARGUMENT"}}"#,
                Some(Choices),
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"Logprobs is not enabled for models/gemini-2.5-flash","status":"INVALID_ARGUMENT"}}"#,
                Some(Logprobs),
            ),
            (
                400,
                r#"{"error":"registry.ollama.ai/library/gemma3:4b does not support tools"}"#,
                Some(Tools),
            ),
            (
                400,
                r#"{"object":"error","message":"\"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set","type":"BadRequestError","param":null,"code":400}"#,
                Some(Tools),
            ),
            (
                400,
                r#"{"object":"error","message":"facebook/opt-125m is not a multimodal model None","type":"BadRequestError","param":null,"code":400}"#,
                Some(Images),
            ),
            (
                404,
                r#"{"error":{"message":"No endpoints found that support image input","code":404}}"#,
                Some(Images),
            ),
            (
                500,
                r#"{"error":{"code":500,"message":"image input is not supported - hint: if this is unexpected, you may need to provide the mmproj","type":"server_error"}}"#,
                Some(Images),
            ),
            (
                400,
                r#"{"error":{"message":"This model does not support image input","type":"invalid_request_error"}}"#,
                Some(Images),
            ),
            (
                400,
                r#"{"error":{"message":"This model does not support response format `json_schema`","type":"invalid_request_error"}}"#,
                Some(Schema),
            ),
            (
                400,
                r#"{"error":{"message":"You uploaded an unsupported image. The model takes png and jpeg.","param":"messages.[0].content","code":"unsupported_image"}}"#,
                None,
            ),
            // What every model would refuse, what no other model mends, and what is the server's own failure.
            (
                400,
                r#"{"error":{"message":"Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.","param":"max_tokens","code":"unsupported_parameter"}}"#,
                None,
            ),
            (
                400,
                r#"{"error":{"message":"Invalid schema for response_format 'x': 'uniqueItems' is not supported.","param":"response_format","code":"invalid_json_schema"}}"#,
                None,
            ),
            (
                400,
                r#"{"error":{"message":"Invalid value: 'object'. Supported values are: 'json_object', 'json_schema', and 'text'.","param":"response_format.type","code":"invalid_value"}}"#,
                None,
            ),
            (
                400,
                r#"{"error":{"message":"Unknown parameter: 'tool'.","param":"tool","code":"unknown_parameter"}}"#,
                None,
            ),
            (
                404,
                r#"{"error":{"message":"The model `m` does not exist or you do not have access to it.","code":"model_not_found"}}"#,
                None,
            ),
            (
                500,
                r#"{"error":{"message":"this model does not support tools right now"}}"#,
                None,
            ),
            (503, r#"{"error":"m does not support tools"}"#, None),
            (400, "<html>", None),
        ] {
            assert_eq!(
                incapable(status, body.as_bytes(), "m-1", all),
                expected,
                "{body}"
            );
        }
        let tools = r#"{"error":"m does not support tools"}"#;
        let none = all.set(Tools, false);
        assert_eq!(
            incapable(400, tools.as_bytes(), "m-1", none),
            None,
            "it was not asked"
        );
    }

    #[test]
    fn the_sentence_is_found_in_every_vendors_shape() {
        for (body, expected) in [
            (r#"{"error":{"message":"m","code":400}}"#, "m"),
            (
                r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
                "m",
            ),
            (r#"{"code":"c","error":"m"}"#, "m"),
            (r#"{"detail":"m"}"#, "m"),
            (r#"{"detail":[{"loc":[],"msg":"m"}]}"#, "m"),
            (r#"{"id":1,"message":"m"}"#, "m"),
            (
                r#"[{"error":{"code":400,"message":"m","status":"X"}}]"#,
                "m",
            ),
            (r#"{"error":{"type":"t"}}"#, "t"),
            ("<html>", "<html>"),
            ("", "the model's server reported an error without words"),
        ] {
            assert_eq!(said(body.as_bytes()), expected, "{body}");
        }
    }
}
