//! What clients are told of the prompt cache, request after request over HTTP, on a clock that stands still until a test moves it.

use super::super::Settings;
use super::super::ask::openai;
use super::super::serve::Shared;
use super::super::tests::posted;
use super::{CacheUse, PromptCache};
use crate::until::worked;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, advance};

const MARK: &str = r#"{"type":"ephemeral"}"#;
const HOUR_MARK: &str = r#"{"type":"ephemeral","ttl":"1h"}"#;

/// Models that nobody asked anything yet.
fn models() -> Arc<Shared> {
    let settings = Settings {
        seed: 1,
        speed: 1e6,
    };
    Arc::new(Shared::new(settings))
}

/// A text of so many short words, of which the first tells it from others.
fn text(first: &str, words: u32) -> String {
    let more = (1..words).map(|n| format!(" {n}"));
    std::iter::once(first.to_owned()).chain(more).collect()
}

fn turn(role: &str, content: impl Into<Value>) -> Value {
    json!({"role": role, "content": content.into()})
}

/// A long instruction and a first question: 3 for the prompt, 3 + 1,300 and 3 + 1,300 tokens.
fn begun() -> Vec<Value> {
    vec![
        turn("system", text("rule", 1_000)),
        turn("user", text("ask", 1_000)),
    ]
}

/// Tokens of the prompt and those that were read from the cache, of a request in OpenAI's format.
async fn chat(models: &Arc<Shared>, more: &Value, messages: &[Value]) -> (u64, u64) {
    let mut body = json!({"model": "sim-small", "messages": messages});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let got = posted(models, "/v1/chat/completions", &body.to_string()).await;
    let usage = &got.json()["usage"];
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).expect(path);
    (
        count("/prompt_tokens"),
        count("/prompt_tokens_details/cached_tokens"),
    )
}

/// What a marked cache reports.
#[derive(Debug, PartialEq, Eq)]
struct CacheReport {
    fresh: u64,
    read: u64,
    written: u64,
    written_hour: u64,
}

impl CacheReport {
    fn all(&self) -> u64 {
        self.fresh + self.read + self.written + self.written_hour
    }
}

/// The usage of a request in Anthropic's format.
async fn messages(models: &Arc<Shared>, more: &Value) -> CacheReport {
    let mut body = json!({"model": "sim-small", "max_tokens": 50});
    for (name, value) in more.as_object().expect("fields") {
        body[name] = value.clone();
    }
    let got = posted(models, "/v1/messages", &body.to_string()).await;
    told(&got.json()["usage"])
}

fn told(usage: &Value) -> CacheReport {
    let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).expect(path);
    let told = CacheReport {
        fresh: count("/input_tokens"),
        read: count("/cache_read_input_tokens"),
        written: count("/cache_creation/ephemeral_5m_input_tokens"),
        written_hour: count("/cache_creation/ephemeral_1h_input_tokens"),
    };
    let written = told.written + told.written_hour;
    assert_eq!(count("/cache_creation_input_tokens"), written);
    told
}

fn block(text: &str, mark: Option<&str>) -> Value {
    let mut block = json!({"type": "text", "text": text});
    if let Some(mark) = mark {
        block["cache_control"] = serde_json::from_str(mark).expect(mark);
    }
    block
}

/// A long system prompt, marked or not, and a short question.
fn with_system(mark: Option<&str>) -> Value {
    json!({"system": [block(&text("rule", 1_000), mark)], "messages": [turn("user", "hi")]})
}

#[tokio::test(start_paused = true)]
async fn a_first_request_is_cold_and_the_same_again_is_warm_to_the_last_whole_step() {
    let models = models();
    assert_eq!(chat(&models, &json!({}), &begun()).await, (2_609, 0));
    assert_eq!(chat(&models, &json!({}), &begun()).await, (2_609, 2_560));
}

#[tokio::test(start_paused = true)]
async fn a_conversation_that_grew_by_a_turn_is_warm_up_to_what_it_has_in_common() {
    let models = models();
    let mut conversation = begun();
    chat(&models, &json!({}), &conversation).await;
    conversation.push(turn("assistant", text("answer", 200)));
    conversation.push(turn("user", text("more", 200)));
    assert_eq!(
        chat(&models, &json!({}), &conversation).await,
        (3_135, 2_560)
    );
    conversation.push(turn("assistant", text("last", 10)));
    assert_eq!(
        chat(&models, &json!({}), &conversation).await,
        (3_151, 3_072)
    );
}

#[tokio::test(start_paused = true)]
async fn two_questions_on_one_document_share_the_document_within_one_message() {
    let models = models();
    let document = text("page", 1_000) + " ";
    let asked = |question: &str| vec![turn("user", format!("{document}{question}"))];
    chat(&models, &json!({}), &asked("Who wrote it?")).await;
    let (_, cached) = chat(&models, &json!({}), &asked("When was it made?")).await;
    assert_eq!(cached, 1_280);
}

#[tokio::test(start_paused = true)]
async fn another_effort_is_cold_and_going_back_to_the_first_is_warm_again() {
    let models = models();
    let mut seen = Vec::new();
    for effort in ["low", "high", "low", "high", "none"] {
        let effort = json!({"reasoning_effort": effort});
        seen.push(chat(&models, &effort, &begun()).await.1);
    }
    assert_eq!(seen, [0, 0, 2_560, 2_560, 0]);
    let (_, unsaid) = chat(&models, &json!({}), &begun()).await;
    assert_eq!(unsaid, 2_560, "the model's own effort is none");
}

#[tokio::test(start_paused = true)]
async fn another_model_is_cold() {
    let models = models();
    for model in ["sim-small", "sim-standard", "sim-reasoning"] {
        let model = json!({"model": model, "reasoning_effort": "low"});
        assert_eq!(chat(&models, &model, &begun()).await.1, 0);
        assert_eq!(chat(&models, &model, &begun()).await.1, 2_560);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_beginning_is_cold_be_it_a_word_a_tool_or_a_picture() {
    let models = models();
    let picture = |data: &str| {
        turn(
            "user",
            json!([{"type": "image_url", "image_url": {"url": data}}]),
        )
    };
    let tools = |name: &str| json!({"tools": [{"type": "function", "function": {"name": name}}]});
    let prompts = [
        (json!({}), turn("system", "Be brief.")),
        (json!({}), turn("system", "Be polite.")),
        (json!({}), turn("user", "Be brief.")),
        (tools("weather"), turn("system", "Be brief.")),
        (tools("time"), turn("system", "Be brief.")),
        (json!({}), picture("data:image/png;base64,AAAA")),
        (json!({}), picture("data:image/png;base64,BBBB")),
    ];
    for warm in [false, true] {
        for (more, first) in &prompts {
            let conversation = [vec![first.clone()], begun()].concat();
            let (_, cached) = chat(&models, more, &conversation).await;
            assert_eq!(cached > 0, warm, "{more} {first}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_middle_leaves_the_whole_steps_before_it() {
    let models = models();
    let mut conversation = begun();
    chat(&models, &json!({}), &conversation).await;
    conversation[1] = turn("user", text("other", 1_000));
    assert_eq!(
        chat(&models, &json!({}), &conversation).await,
        (2_609, 1_280)
    );
}

#[tokio::test(start_paused = true)]
async fn a_short_prompt_is_never_cached_in_either_format() {
    let models = models();
    let words = text("short", 780);
    for _ in 0..3 {
        let asked = [turn("user", words.as_str())];
        assert_eq!(chat(&models, &json!({}), &asked).await, (1_020, 0));
        let marked = block(&words, Some(MARK));
        let marked = json!({"messages": [turn("user", json!([marked]))]});
        assert_eq!(messages(&models, &marked).await.fresh, 1_020);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_answer_tells_the_same_of_the_cache_as_a_whole_one() {
    let models = models();
    let asked = json!({"model": "sim-small", "stream": true, "stream_options": {"include_usage": true}, "messages": begun()});
    let mut marked = with_system(Some(MARK));
    marked["model"] = json!("sim-small");
    marked["max_tokens"] = json!(50);
    marked["stream"] = json!(true);
    for (cached, read, written) in [(0, 0, 1_306), (2_560, 1_306, 0)] {
        let got = posted(&models, "/v1/chat/completions", &asked.to_string()).await;
        let usage = &got.events().pop().expect("usage")["usage"];
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], cached);
        let events = posted(&models, "/v1/messages", &marked.to_string())
            .await
            .events();
        let begin = told(&events[0]["message"]["usage"]);
        assert_eq!((begin.read, begin.written), (read, written));
        let end = &events[events.len() - 2]["usage"];
        assert_eq!(end["cache_read_input_tokens"], read);
        assert_eq!(end["cache_creation_input_tokens"], written);
    }
}

#[tokio::test(start_paused = true)]
async fn without_marks_nothing_is_cached_in_anthropics_format() {
    let models = models();
    for _ in 0..3 {
        let got = messages(&models, &with_system(None)).await;
        assert_eq!((got.fresh, got.all()), (1_310, 1_310));
    }
    messages(&models, &with_system(Some(MARK))).await;
    let got = messages(&models, &with_system(None)).await;
    assert_eq!(got.fresh, 1_310, "what is not marked is not read either");
}

#[tokio::test(start_paused = true)]
async fn what_is_marked_is_written_and_then_read() {
    let models = models();
    for (mark, written, written_hour) in [(MARK, 1_306, 0), (HOUR_MARK, 0, 1_306)] {
        let asked = with_system(Some(mark));
        let first = CacheReport {
            fresh: 4,
            read: 0,
            written,
            written_hour,
        };
        let effort = json!({"effort": if mark == MARK { "low" } else { "high" }});
        let mut asked = asked;
        asked["thinking"] = json!({"type": "adaptive"});
        asked["output_config"] = effort;
        assert_eq!(messages(&models, &asked).await, first, "{mark}");
        let again = CacheReport {
            fresh: 4,
            read: 1_306,
            written: 0,
            written_hour: 0,
        };
        assert_eq!(messages(&models, &asked).await, again, "{mark}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_moves_on_with_the_conversation_reads_what_the_turn_before_wrote() {
    let models = models();
    let long = text("ask", 1_000);
    let mut turns = vec![turn("user", json!([block(&long, Some(MARK))]))];
    let first = messages(&models, &json!({"messages": turns})).await;
    assert_eq!((first.fresh, first.written), (0, 1_306));
    turns[0] = turn("user", long);
    turns.push(turn("assistant", text("answer", 100)));
    turns.push(turn("user", json!([block(&text("more", 100), Some(MARK))])));
    let second = messages(&models, &json!({"messages": turns})).await;
    let expected = CacheReport {
        fresh: 0,
        read: 1_306,
        written: 266,
        written_hour: 0,
    };
    assert_eq!(second, expected);
}

#[tokio::test(start_paused = true)]
async fn a_mark_finds_what_was_written_twenty_blocks_back_and_no_farther() {
    for (blocks, read) in [(19, 1_306), (20, 0)] {
        let models = models();
        let first = block(&text("ask", 1_000), Some(MARK));
        messages(
            &models,
            &json!({"messages": [turn("user", json!([first]))]}),
        )
        .await;
        let mut parts = vec![block(&text("ask", 1_000), None)];
        parts.extend((1..blocks).map(|n| block(&format!("{n}"), None)));
        parts.push(block("the last", Some(MARK)));
        let got = messages(&models, &json!({"messages": [turn("user", parts)]})).await;
        assert_eq!(got.read, read, "{blocks} blocks later");
    }
}

#[tokio::test(start_paused = true)]
async fn an_hour_and_five_minutes_in_one_prompt_are_written_each_at_its_own() {
    let models = models();
    let asked = json!({
        "system": [block(&text("rule", 1_000), Some(HOUR_MARK))],
        "messages": [turn("user", json!([block(&text("ask", 1_000), Some(MARK)), block("And?", None)]))]
    });
    let first = CacheReport {
        fresh: 1,
        read: 0,
        written: 1_303,
        written_hour: 1_306,
    };
    assert_eq!(messages(&models, &asked).await, first);
    advance(Duration::from_secs(600)).await;
    let later = CacheReport {
        fresh: 1,
        read: 1_306,
        written: 1_303,
        written_hour: 0,
    };
    assert_eq!(messages(&models, &asked).await, later);
}

#[tokio::test(start_paused = true)]
async fn another_effort_or_budget_of_thinking_is_cold_in_anthropics_format_too() {
    let models = models();
    let mut seen = Vec::new();
    for thinking in [
        json!({"type": "disabled"}),
        json!({"type": "adaptive"}),
        json!({"type": "enabled", "budget_tokens": 1_024}),
        json!({"type": "enabled", "budget_tokens": 2_048}),
        json!({"type": "disabled"}),
        json!({"type": "adaptive"}),
    ] {
        let mut asked = with_system(Some(MARK));
        asked["max_tokens"] = json!(4_000);
        asked["thinking"] = thinking;
        seen.push(messages(&models, &asked).await.read);
    }
    assert_eq!(seen, [0, 0, 0, 0, 1_306, 1_306]);
}

#[tokio::test(start_paused = true)]
async fn the_two_formats_share_no_cache() {
    let models = models();
    chat(&models, &json!({}), &begun()).await;
    let asked =
        json!({"system": [block(&text("rule", 1_000), Some(MARK))], "messages": [begun().pop()]});
    assert_eq!(messages(&models, &asked).await.read, 0);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_only_counted_or_refused_is_not_cached() {
    let models = models();
    let mut asked = with_system(Some(MARK));
    asked["model"] = json!("sim-small");
    let counted = posted(&models, "/v1/messages/count_tokens", &asked.to_string()).await;
    assert_eq!(counted.json()["input_tokens"], 1_310);
    let refused = posted(&models, "/v1/messages", &asked.to_string()).await;
    assert!(refused.body.contains("a limit is required"));
    assert_eq!(messages(&models, &asked).await.read, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_used_for_its_lifetime_is_cold() {
    let automatic = async |models: &Arc<Shared>| chat(models, &json!({}), &begun()).await.1;
    let marked =
        async |models: &Arc<Shared>, mark| messages(models, &with_system(Some(mark))).await.read;
    for (lifetime, kind) in [(600, None), (300, Some(MARK)), (3_600, Some(HOUR_MARK))] {
        let models = models();
        let read = async || match kind {
            None => automatic(&models).await,
            Some(mark) => marked(&models, mark).await,
        };
        assert_eq!(read().await, 0);
        // Each use begins the lifetime anew.
        for _ in 0..3 {
            advance(Duration::from_secs(lifetime - 5)).await;
            assert!(read().await > 0, "{kind:?}");
        }
        advance(Duration::from_secs(lifetime)).await;
        assert_eq!(read().await, 0, "{kind:?}");
    }
}

#[tokio::test]
async fn what_was_used_longest_ago_makes_room() {
    let cache = PromptCache::with_room(40);
    let now = Instant::now();
    let read = |first: &str| {
        let body = json!({"model": "sim-small", "messages": [turn("user", text(first, 1_000))]});
        let ask = openai(body.to_string().as_bytes()).expect("valid");
        let used = cache.take(&ask, now).read;
        cache.held.run_pending_tasks();
        used
    };
    // Three beginnings each.
    for n in 0..13 {
        assert_eq!(read(&format!("prompt{n}")), 0);
    }
    assert_eq!(read("prompt0"), 1_280);
    for n in 20..30 {
        assert_eq!(read(&format!("prompt{n}")), 0);
    }
    assert_eq!((read("prompt0"), read("prompt1")), (1_280, 0));
    assert!(cache.held.entry_count() <= 40);
}

#[tokio::test]
async fn many_threads_use_one_cache() {
    let cache = Arc::new(PromptCache::default());
    let now = Instant::now();
    let threads = (0..8).map(|thread| {
        let cache = Arc::clone(&cache);
        worked("a thread", move || {
            for n in 0..50 {
                let body = json!({"model": "sim-small", "messages": [turn("user", text(&format!("own{thread}x{n}x"), 1_000))]});
                let ask = openai(body.to_string().as_bytes()).expect("valid");
                assert_eq!(cache.take(&ask, now), CacheUse::default());
                assert_eq!(cache.take(&ask, now).read, 1_280);
            }
        })
    });
    futures_util::future::join_all(threads).await;
}
