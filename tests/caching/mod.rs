//! The response cache: equal requests are given the same answer, and pay for it once.

mod books;
mod keys;
mod settings;
mod sharing;

use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible};
use crate::scripted::{
    Step, Upstream, answer, chat, chat_stream, delta, end, finish, piece, stream_head,
};
use serde_json::json;

pub const USE: (&str, &str) = ("x-flyball-cache", "use");
pub const ON: &str = "[response_cache]\n";

/// A flyball with a cache set up so.
pub async fn start(upstream: &Upstream, cache: &str) -> Flyball {
    Flyball::start(&config(upstream, cache)).await
}

pub fn config(upstream: &Upstream, cache: &str) -> String {
    format!("{}\n{cache}", compatible(upstream))
}

/// A request for the small model.
pub fn body(stream: bool) -> String {
    json!({"model": "m-small", "stream": stream, "messages": [{"role": "user", "content": "Name a river."}]})
        .to_string()
}

/// What the cache had for it.
pub fn had(answer: &Answer) -> &str {
    answer.header("x-flyball-cache").unwrap_or("nothing")
}

/// One way to ask: the path and the body.
pub fn ways(stream: bool) -> [(&'static str, String); 5] {
    let turn = json!([{"role": "user", "content": "Name a river."}]);
    let gemini = match stream {
        true => "/v1beta/models/m-small:streamGenerateContent?alt=sse",
        false => "/v1beta/models/m-small:generateContent",
    };
    [
        (
            "/v1/chat/completions",
            json!({"model": "m-small", "stream": stream, "messages": turn}),
        ),
        (
            "/v1/responses",
            json!({"model": "m-small", "stream": stream, "input": "Name a river."}),
        ),
        (
            "/v1/messages",
            json!({"model": "m-small", "stream": stream, "max_tokens": 100, "messages": turn}),
        ),
        (
            gemini,
            json!({"contents": [{"role": "user", "parts": [{"text": "Name a river."}]}]}),
        ),
        (
            "/api/chat",
            json!({"model": "m-small", "stream": stream, "messages": turn}),
        ),
    ]
    .map(|(path, body)| (path, body.to_string()))
}

pub fn good(stream: bool) -> Vec<Step> {
    match stream {
        true => chat_stream(&["The ", "Rhine"], 10, 5),
        false => answer(200, &chat(10, 5)),
    }
}

/// A stream that says its first word, and the others when the gate opens.
pub fn gated() -> Vec<Step> {
    let mut steps = vec![stream_head(), piece(&delta("The ")), Step::Gate];
    steps.push(piece(&delta("Rhine")));
    steps.extend(finish(10, 5).iter().map(|event| piece(event)));
    steps.push(end());
    steps
}

#[tokio::test]
async fn an_equal_request_gets_the_same_bytes_in_every_dialect_whole_and_streamed() {
    for stream in [false, true] {
        for (n, (path, body)) in ways(stream).into_iter().enumerate() {
            let upstream = Upstream::start(good(stream)).await;
            let flyball = start(&upstream, ON).await;
            let ask = || post(flyball.at(), path, &[USE], &body);
            let first = ask().await;
            assert_eq!(
                (first.status, had(&first)),
                (200, "miss"),
                "{path} {}",
                first.body
            );
            let id = first
                .header("x-flyball-request-id")
                .expect("an id")
                .to_owned();
            let second = ask().await;
            assert_eq!(
                (second.status, had(&second)),
                (200, "hit"),
                "{path} {}",
                second.body
            );
            assert!(!first.body.is_empty() && !first.is_cut() && !second.is_cut());
            assert_eq!(first.body, second.body, "{path}");
            assert_eq!(upstream.count(), 1, "{path}");
            assert_eq!(second.header("x-flyball-cache-from"), Some(&*id));
            let age = second.header("x-flyball-cache-age").map(str::parse::<u64>);
            assert!(matches!(age, Some(Ok(_))), "{path}: {age:?}");
            assert_ne!(second.header("x-flyball-request-id"), Some(&*id));
            assert_eq!(second.header("x-flyball-cost-usd"), Some("0"));
            for name in [
                "content-type",
                "x-flyball-model",
                "x-flyball-rule",
                "x-flyball-provider",
            ] {
                assert_eq!(first.header(name), second.header(name), "{path} {name}");
            }
            // What the provider said of the first exchange is not true of this one.
            assert_eq!(second.header("x-request-id"), None, "{path}");
            let chunked = |answer: &Answer| answer.header("content-length").is_none();
            assert_eq!(chunked(&first), stream, "{n} {path}");
            assert_eq!(chunked(&second), stream, "{n} {path}");
            flyball.books_are_right().await;
        }
    }
}

#[tokio::test]
async fn who_does_not_ask_is_answered_anew_and_leaves_nothing() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, ON).await;
    for headers in [&[][..], &[("x-flyball-cache", "off")], &[]] {
        let got = flyball.chat(headers, &body(false)).await;
        assert_eq!((got.status, had(&got)), (200, "nothing"));
    }
    let first = flyball.chat(&[USE], &body(false)).await;
    assert_eq!(had(&first), "miss", "nothing was kept of those");
    let anew = flyball.chat(&[], &body(false)).await;
    assert_eq!(had(&anew), "nothing", "and nothing is given to those");
    assert_eq!(upstream.count(), 5);
}

#[tokio::test]
async fn without_a_cache_the_header_changes_nothing_and_says_so() {
    let upstream = Upstream::start(good(false)).await;
    for cache in ["", "[response_cache]\nbytes_max = 0\n"] {
        let flyball = start(&upstream, cache).await;
        for _ in 0..2 {
            let got = flyball.chat(&[USE], &body(false)).await;
            assert_eq!((got.status, had(&got)), (200, "bypass"), "{cache}");
        }
    }
    assert_eq!(upstream.count(), 4);
}

#[tokio::test]
async fn a_header_that_says_something_else_is_refused_with_what_it_takes() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, ON).await;
    for wrong in ["yes", "use, ttl=9", "off, max-age=3"] {
        let got = flyball
            .chat(&[("x-flyball-cache", wrong)], &body(false))
            .await;
        assert_eq!(got.status, 400, "{wrong}");
        assert!(got.body.contains("use, refresh or off"), "{}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn refresh_makes_a_new_answer_and_an_age_wants_one_that_is_no_older() {
    let upstream = Upstream::start(good(false)).await;
    let flyball = start(&upstream, ON).await;
    let ask = async |wish: &str| {
        flyball
            .chat(&[("x-flyball-cache", wish)], &body(false))
            .await
    };
    assert_eq!(had(&ask("use").await), "miss");
    upstream.next(answer(200, &chat(10, 5).replace("hi there", "anew")));
    let fresh = ask("refresh").await;
    assert_eq!(had(&fresh), "refresh");
    assert!(fresh.body.contains("anew"));
    let kept = ask("use, max-age=100000").await;
    assert_eq!((had(&kept), &kept.body), ("hit", &fresh.body));
    upstream.next(answer(200, &chat(10, 5).replace("hi there", "last")));
    let young = ask("use, max-age=0").await;
    assert_eq!(had(&young), "miss");
    let kept = ask("use").await;
    assert_eq!((had(&kept), &kept.body), ("hit", &young.body));
    assert_eq!(upstream.count(), 3);
}

#[tokio::test]
async fn errors_and_answers_that_did_not_end_well_are_not_kept() {
    let filtered = chat(10, 5).replace("\"stop\"", "\"content_filter\"");
    let cut = vec![stream_head(), piece(&delta("The ")), Step::Reset];
    let mut unended = vec![stream_head(), piece(&delta("The ")), end()];
    unended.push(Step::Close);
    let mut failed = vec![stream_head(), piece(&delta("The "))];
    failed.push(piece(
        "data: {\"error\":{\"message\":\"broke\",\"type\":\"server_error\"}}\n\n",
    ));
    failed.push(end());
    let short = chat(10, 5).replace("\"stop\"", "\"length\"");
    for (what, stream, steps, kept) in [
        (
            "a refusal",
            false,
            answer(400, "{\"error\":{\"message\":\"no\"}}"),
            false,
        ),
        (
            "a failure",
            false,
            answer(500, "{\"error\":{\"message\":\"no\"}}"),
            false,
        ),
        (
            "an error as an answer",
            false,
            answer(200, "{\"error\":{\"message\":\"no\",\"code\":500}}"),
            false,
        ),
        (
            "what cannot be read",
            false,
            answer(200, "nothing of that kind"),
            false,
        ),
        ("a filter", false, answer(200, &filtered), false),
        ("its own token limit", false, answer(200, &short), true),
        ("cut", true, cut, false),
        ("no end", true, unended, false),
        ("an error in the middle", true, failed, false),
        ("good", true, good(true), true),
        ("good", false, good(false), true),
    ] {
        let upstream = Upstream::start(good(stream)).await;
        let flyball = start(&upstream, &format!("{ON}[limits]\nidle = \"2m\"\n")).await;
        upstream.next(steps);
        let first = flyball.chat(&[USE], &body(stream)).await;
        let second = flyball.chat(&[USE], &body(stream)).await;
        let (count, result) = if kept { (1, "hit") } else { (2, "miss") };
        assert_eq!(had(&second), result, "{what} {stream}: {}", first.body);
        assert_eq!(upstream.count(), count, "{what} {stream}");
        if kept {
            assert_eq!(first.body, second.body, "{what} {stream}");
        }
    }
}
