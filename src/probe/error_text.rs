//! An answer that is none: with a good status, and as the model's own words, it says only that some server between has failed. Gateways
//! and small servers answer so. Only what can hardly be anything else is called that, and only where the request does not speak of it.

use aho_corasick::AhoCorasick;
use serde_json::{Map, Value};
use std::sync::LazyLock;

/// Bytes of a sentence that may be an error and nothing else.
const SENTENCE_MAX: usize = 240;
/// Bytes of a JSON text that may be one.
const JSON_MAX: usize = 2 * 1024;
/// Bytes of a page that may be one.
const PAGE_MAX: usize = 8 * 1024;
/// An ask that is longer may speak of anything.
const ASK_MAX: usize = 64 * 1024;

/// What servers and gateways say when they have failed: status lines, Envoy, nginx, libuv, and the vendors' own sentences.
const SAID: [&str; 29] = [
    "internal server error",
    "bad gateway",
    "service unavailable",
    "service temporarily unavailable",
    "gateway timeout",
    "gateway time-out",
    "request timeout",
    "request timed out",
    "operation timed out",
    "connection timed out",
    "connection refused",
    "connection reset",
    "connection aborted",
    "connection error",
    "econnrefused",
    "econnreset",
    "etimedout",
    "fetch failed",
    "upstream request timeout",
    "upstream timed out",
    "upstream connect error",
    "no healthy upstream",
    "too many requests",
    "rate limit exceeded",
    "rate limit reached",
    "the server had an error",
    "the server is overloaded",
    "the model is overloaded",
    "cuda out of memory",
];

/// How a sentence begins that then says what has failed.
const OPENINGS: [&str; 8] = [
    "error",
    "[error",
    "api error",
    "http error",
    "server error",
    "request failed",
    "an error occurred",
    "an unexpected error occurred",
];

/// What is enough behind such an opening.
const BEHIND_OPENING: [&str; 3] = ["timed out", "timeout", "overloaded"];

/// Words of an ask to which such a text may be the answer. They are stems of several languages; the Latin ones in any case.
const TOPICS: [&str; 38] = [
    "erro",
    "exception",
    "traceback",
    "stderr",
    "fail",
    "crash",
    "http",
    "status code",
    "timeout",
    "time-out",
    "timed out",
    "gateway",
    "server",
    "backend",
    "proxy",
    "nginx",
    "upstream",
    "rate limit",
    "html",
    "web page",
    "webpage",
    "terminal",
    "console",
    "repeat",
    "echo",
    "fehler",
    "erreur",
    "fout",
    "błąd",
    "hata",
    "ошибк",
    "помилк",
    "错误",
    "錯誤",
    "报错",
    "エラー",
    "오류",
    "خطأ",
];

/// Words anywhere in a request to which any text may be the answer.
const PLAYED: [&str; 4] = ["terminal", "simulat", "pretend", "act as"];

/// What an ask is about may be an error.
#[must_use]
pub fn may_be_about<'t>(ask: impl Iterator<Item = &'t str>) -> bool {
    static WORDS: LazyLock<AhoCorasick> = LazyLock::new(|| {
        let builder = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(TOPICS);
        builder.expect("a few short words are no large automaton")
    });
    let mut left = ASK_MAX;
    let mut ask = ask;
    ask.any(|text| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len());
        !fits || WORDS.is_match(text)
    })
}

/// All that the text says is that a server has failed, and the request, a JSON text, has nothing of it.
#[must_use]
pub fn is_error(text: &str, request: &[u8]) -> bool {
    let text = text.trim();
    if text.len() > PAGE_MAX {
        return false;
    }
    let Some(said) = sentence(text)
        .or_else(|| object(text))
        .or_else(|| page(text))
    else {
        return false;
    };
    let request = request.to_ascii_lowercase();
    let speaks_of = |word: &str| memchr::memmem::find(&request, word.as_bytes()).is_some();
    !speaks_of(said) && !PLAYED.iter().any(|word| speaks_of(word))
}

/// One sentence that is an error; gives what it says.
fn sentence(text: &str) -> Option<&'static str> {
    if text.len() > SENTENCE_MAX || text.lines().count() > 3 || text.contains("\n\n") {
        return None;
    }
    let text = text.to_ascii_lowercase();
    let text = text.trim_start_matches(['*', '`', '"']);
    let plain = without_status(text);
    let opens = plain.len() < text.len() || OPENINGS.iter().any(|word| opens(text, word));
    let mut all = SAID.into_iter().chain(BEHIND_OPENING);
    match opens {
        true => all.find(|said| text.contains(said)),
        false => SAID.into_iter().find(|said| is_all(plain, said)),
    }
}

/// The text begins like a report of an error: with one of the sentences, or with a word, perhaps a number, and a colon or its like.
fn opens(text: &str, word: &str) -> bool {
    let Some(rest) = text.strip_prefix(word) else {
        return false;
    };
    let rest = rest.strip_prefix(" code").unwrap_or(rest);
    let rest = rest.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit());
    word.contains(' ') || rest.starts_with([':', ']', '-', '('])
}

/// The text without a status of HTTP at its beginning, "HTTP 502", "503:".
fn without_status(text: &str) -> &str {
    let rest = text
        .trim_start_matches("http")
        .trim_start_matches(['/', '1', '.', ' ']);
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_status = digits == 3 && rest.starts_with(['4', '5']);
    match is_status {
        true => rest[3..].trim_start_matches([' ', ':', '-', ',']),
        false => text,
    }
}

/// The text is this, and after it at most some more about it: nothing that makes it the beginning of another sentence.
fn is_all(text: &str, said: &str) -> bool {
    let Some(rest) = text.strip_prefix(said) else {
        return false;
    };
    let mut rest = rest.trim_end_matches(['*', '`', '"']).chars();
    match rest.next() {
        None | Some('.' | ',' | ':' | ';' | '!' | '-') => true,
        Some(' ') => {
            let rest = rest.as_str();
            ["(", "-", "after ", "while ", "or disconnect", "for ", "."]
                .iter()
                .any(|word| rest.starts_with(word))
        }
        Some(_) => false,
    }
}

/// A JSON object that is an error and nothing else.
fn object(text: &str) -> Option<&'static str> {
    if text.len() > JSON_MAX || !text.starts_with('{') {
        return None;
    }
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let around = [
        "error",
        "errors",
        "message",
        "msg",
        "detail",
        "details",
        "status",
        "status_code",
        "statusCode",
        "code",
        "type",
        "param",
        "path",
        "timestamp",
        "request_id",
        "requestId",
        "success",
        "ok",
        "object",
    ];
    if !object.keys().all(|key| around.contains(&key.as_str())) {
        return None;
    }
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(inner) => !inner.is_empty(),
    };
    if ["error", "errors"]
        .iter()
        .any(|key| object.get(*key).is_some_and(says))
    {
        return Some("error");
    }
    let told = ["message", "msg", "detail"]
        .iter()
        .filter_map(|key| object.get(*key)?.as_str());
    told.map(str::trim).find_map(sentence)
}

/// A web page whose title is an error.
fn page(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    if !(text.starts_with("<!doctype html") || text.starts_with("<html")) {
        return None;
    }
    let (_, title) = text.split_once("<title>")?;
    let (title, _) = title.split_once("</title>")?;
    let title = title.trim();
    let is_error = without_status(title).len() < title.len() || title == "error";
    (is_error || SAID.iter().any(|said| is_all(title, said))).then_some("html")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] =
        br#"{"messages":[{"role":"user","content":"Which river flows through Chisinau?"}]}"#;

    #[test]
    fn what_is_only_an_error_of_a_server_is_one() {
        for text in [
            "Error: upstream timed out",
            "ERROR: Request timed out.",
            "[Error] connect ECONNREFUSED 127.0.0.1:11434",
            "Internal server error",
            "**Internal Server Error**",
            "502 Bad Gateway",
            "HTTP 503: Service Unavailable",
            "HTTP/1.1 504 Gateway Timeout",
            "Service unavailable, please try again later.",
            "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
            "no healthy upstream",
            "API Error: 529 {\"type\":\"overloaded_error\"}",
            "An error occurred: the request timed out",
            "Request timed out after 60 s",
            "The server had an error while processing your request. Sorry about that!",
            "{\"error\": \"boom\"}",
            "{\"error\": {\"message\": \"model crashed\", \"code\": 500}}",
            "{\"status\": 500, \"message\": \"Internal Server Error\", \"path\": \"/v1\"}",
            "{\"detail\": \"Internal Server Error\"}",
            "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            "<!DOCTYPE html>\n<html><head><title>Service Unavailable</title></head></html>",
        ] {
            assert!(is_error(text, REQUEST), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        let long = format!("Error: timed out. {}", "It goes on. ".repeat(30));
        let page = format!("<html><title>502</title>{}</html>", "x".repeat(9_000));
        for text in [
            "",
            "The Byk.",
            "An error is a mistake.",
            "Error handling in Go: return the error, and mind the timeout.",
            "Errors: three timeouts are listed below.",
            "Internal server error is what the status 500 means.",
            "Service unavailable means that there are too many requests.",
            "Error: ENOENT means that there is no such file.",
            "Timeout",
            "404",
            "It timed out.",
            "500 miles is 805 km.",
            "503 people live there.",
            "{\"error\": null, \"result\": 3}",
            "{\"error\": \"none\", \"city\": \"Oslo\"}",
            "{\"error\": false}",
            "{\"message\": \"Hello.\"}",
            "{\"error\": \"cut",
            "[{\"error\": \"x\"}]",
            "<html><head><title>My cats</title></head></html>",
            "<html><body>no title, 502 Bad Gateway</body></html>",
            &long,
            &page,
        ] {
            assert!(!is_error(text, REQUEST), "{text}");
        }
    }

    #[test]
    fn what_the_request_speaks_of_may_be_the_answer() {
        for (text, request) in [
            ("Error: upstream timed out", "Say: Upstream timed out"),
            ("Error: upstream timed out", "You are a Linux terminal."),
            (
                "{\"error\": \"no city\"}",
                "Reply in JSON; give {\\\"error\\\": why} where there is none",
            ),
            (
                "<html><title>502 Bad Gateway</title></html>",
                "Write a page in HTML",
            ),
            ("502 Bad Gateway", "Act as my web host"),
        ] {
            assert!(!is_error(text, request.as_bytes()), "{text}");
        }
        for ask in [
            "What does 'Error: ENOENT' mean?",
            "Was heißt diese Fehlermeldung?",
            "Which HTTP status is 502?",
            "What does nginx say then?",
            "Что за ошибка?",
        ] {
            assert!(may_be_about(std::iter::once(ask)), "{ask}");
        }
        assert!(!may_be_about(
            ["Which river flows", "through the capital?"].into_iter()
        ));
        assert!(may_be_about(std::iter::once("x".repeat(70_000).as_str())));
    }
}
