//! Pictures, sound and documents under a cap: bounded where a bound is known, refused by name where none is.

use super::KEY;
use crate::client::{Answer, post};
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer, chat};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// A model at $1 and $10 a million tokens, at a provider of this kind.
pub fn fleet(upstream: &Upstream, kind: &str, model: &str, more: &str) -> String {
    let url = upstream.url();
    let tiers = match kind {
        "openai" => "service_tiers = [\"standard\"]\n",
        _ => "",
    };
    format!(
        "[[provider]]\nname = \"up\"\nkind = \"{kind}\"\nbase_url = \"{url}\"\n{tiers}[[model]]\nname = \"{model}\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\nanswer_tokens_max = 4000\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n{more}\n"
    )
}

pub async fn capped(cap: &str, config: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some(cap), |_| {});
    Flyball::start_in(dir, config).await
}

/// `bytes` bytes that begin like a PNG, and the JSON string that they make.
fn png(bytes: usize) -> String {
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    picture.resize(bytes, 0);
    STANDARD.encode(picture)
}

/// So many seconds of silence: samples of two bytes, 8,000 a second.
fn wav(seconds: u32) -> String {
    let mut sound = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    sound.extend(8_000_u32.to_le_bytes());
    sound.extend(16_000_u32.to_le_bytes());
    sound.extend(b"\x02\0\x10\0data");
    sound.extend((seconds * 16_000).to_le_bytes());
    sound.resize(44 + seconds as usize * 16_000, 0);
    STANDARD.encode(sound)
}

/// A Chat Completions request with these parts.
fn chat_with(model: &str, parts: Value) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": parts}]})
}

/// A Messages request with these blocks.
pub fn blocks_with(model: &str, blocks: Value) -> Value {
    json!({"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": blocks}]})
}

pub async fn ask(flyball: &Flyball, path: &str, body: &Value) -> Answer {
    let version = ("anthropic-version", "2023-06-01");
    let headers = if path == "/v1/messages" {
        &[KEY, version][..]
    } else {
        &[KEY]
    };
    post(flyball.at(), path, headers, &body.to_string()).await
}

struct Case {
    kind: &'static str,
    model: &'static str,
    more: &'static str,
    path: &'static str,
    body: Value,
    /// Base64 and addresses in the body that goes out, which are no words.
    inline: Vec<String>,
    turns: u64,
    media: u64,
    /// The dearest rate of an input token, in millionths of a dollar a million.
    rate: u64,
}

fn cases() -> Vec<Case> {
    let data = format!("data:image/png;base64,{}", png(9_000));
    let url = "https://x.example/a.png";
    let chat_path = "/v1/chat/completions";
    let picture =
        |url: &str| json!({"type": "image_url", "image_url": {"url": url, "detail": "high"}});
    let source = |data: &str| json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
    let case = |kind, model, more, path, body, inline: &[&str], media, rate| Case {
        kind,
        model,
        more,
        path,
        body,
        inline: inline.iter().map(|s| (*s).to_owned()).collect(),
        turns: 1,
        media,
        rate,
    };
    let tool = json!([
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "seen"}, source(&png(3_000))]},
        {"type": "image", "source": {"type": "url", "url": url}}
    ]);
    let kept = json!([
        {"type": "image", "source": {"type": "url", "url": url}, "cache_control": {"type": "ephemeral"}}
    ]);
    let sound = json!([{"type": "input_audio", "input_audio": {"data": wav(3), "format": "wav"}}]);
    let pdf = json!([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]);
    vec![
        case(
            "openai",
            "gpt-4o-x",
            "",
            chat_path,
            chat_with("gpt-4o-x", json!([picture(&data), picture(url)])),
            &[&data],
            2 * 1_445,
            1,
        ),
        case(
            "openai",
            "gpt-5.6-x",
            "",
            "/v1/responses",
            json!({"model": "gpt-5.6-x", "max_output_tokens": 100, "input": [{"role": "user", "content": [{"type": "input_image", "image_url": data}]}]}),
            &[&data],
            16_200,
            1,
        ),
        case(
            "anthropic",
            "claude-x",
            "",
            "/v1/messages",
            blocks_with("claude-x", tool),
            &[&png(3_000)],
            2 * 4_784,
            1,
        ),
        // Who asks Anthropic to keep the prompt pays up to twice the rate.
        case(
            "anthropic",
            "claude-x",
            "",
            "/v1/messages",
            blocks_with("claude-x", kept),
            &[],
            4_784,
            2,
        ),
        case(
            "gemini",
            "gemini-3-x",
            "",
            "/v1beta/models/gemini-3-x:generateContent",
            json!({"generationConfig": {"maxOutputTokens": 100}, "contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": png(600)}}]}]}),
            &[&png(600)],
            2_240,
            1,
        ),
        // Three seconds of 16 kB are six of the least that a WAV has, and one for what is begun; ten tokens each.
        case(
            "openai",
            "gpt-audio-x",
            "",
            chat_path,
            chat_with("gpt-audio-x", sound),
            &[&wav(3)],
            70,
            1,
        ),
        // The operator's own maximum, here for a client that speaks another dialect.
        case(
            "openai-compatible",
            "m-own",
            "image_tokens_max = 777",
            "/v1/messages",
            blocks_with("m-own", json!([source(&png(300))])),
            &[&format!("data:image/png;base64,{}", png(300))],
            777,
            1,
        ),
        case(
            "openai-compatible",
            "m-own",
            "document_tokens_max = 5000",
            chat_path,
            chat_with("m-own", pdf.clone()),
            &["data:application/pdf;base64,JVBERi0="],
            5_000,
            1,
        ),
        // What has no maximum of its own: the window at which OpenAI refuses, not a smaller one of the operator.
        case(
            "openai",
            "gpt-4o",
            "context_tokens = 30000",
            chat_path,
            chat_with("gpt-4o", pdf.clone()),
            &[],
            128_000,
            1,
        ),
        case(
            "openai",
            "gpt-4o",
            "context_tokens = 300000",
            chat_path,
            chat_with("gpt-4o", pdf),
            &[],
            300_000,
            1,
        ),
    ]
}

#[tokio::test]
async fn a_medium_is_reserved_at_its_familys_maximum_or_the_operators_and_never_by_its_bytes() {
    for case in cases() {
        // An answer that broke is charged at what was reserved.
        let upstream = Upstream::start(answer(500, "{}")).await;
        let config = fleet(&upstream, case.kind, case.model, case.more);
        let flyball = capped("10", &config).await;
        let got = ask(&flyball, case.path, &case.body).await;
        let said = format!("{} {} {}", case.kind, case.path, got.body);
        assert_eq!((got.status, upstream.count()), (500, 1), "{said}");
        let sent = &upstream.seen()[0].body;
        let mut words = sent.len() as u64 + 512 + case.turns * 16;
        for inline in &case.inline {
            assert!(sent.contains(inline.as_str()), "{said}");
            words -= inline.len() as u64 + 2;
        }
        if case.more.starts_with("context_tokens") {
            words = 0;
        }
        let bound = (words + case.media) * case.rate * 1_000_000 + 100 * 10_000_000;
        let rows = flyball.rows().await;
        assert_eq!(
            (&rows[0]["basis"], rows[0]["cost_pico_usd"].as_u64()),
            (&json!("bound"), Some(bound)),
            "{said}"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn what_has_no_bound_is_refused_by_its_field_and_the_setting_that_would_bound_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let picture = json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}});
    let page = STANDARD.encode("<svg/> is text, and this is some more of it");
    let not_one =
        json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{page}")}});
    let opus = json!({"type": "input_audio", "input_audio": {"data": STANDARD.encode([b'O'; 90]), "format": "wav"}});
    for (kind, model, more, part, setting) in [
        (
            "openai-compatible",
            "m-own",
            "",
            &picture,
            "image_tokens_max",
        ),
        (
            "openai-compatible",
            "m-own",
            "context_tokens = 30000",
            &picture,
            "image_tokens_max",
        ),
        (
            "openai-compatible",
            "m-own",
            "image_tokens_max = 9",
            &not_one,
            "document_tokens_max",
        ),
        ("openai", "gpt-audio-x", "", &opus, "audio_tokens_max"),
        ("openai", "gpt-9", "", &picture, "image_tokens_max"),
        // Nobody knows at what length OpenAI refuses for this one.
        (
            "openai",
            "gpt-9",
            "context_tokens = 30000",
            &picture,
            "image_tokens_max",
        ),
    ] {
        let flyball = capped("10", &fleet(&upstream, kind, model, more)).await;
        let body = chat_with(model, json!([{"type": "text", "text": "x"}, part]));
        let got = ask(&flyball, "/v1/chat/completions", &body).await;
        let error = &got.json()["error"];
        assert_eq!(
            (got.status, &error["param"], &error["code"]),
            (
                400,
                &json!("messages[0].content[1]"),
                &json!("flyball_unbounded")
            ),
            "{model} {more} {}",
            got.body
        );
        let message = error["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("Set {setting} for")), "{message}");
    }
    // A client of another dialect is told its own field; who opens a longer window than the model's has no bound by it.
    let flyball = capped("10", &fleet(&upstream, "openai-compatible", "m-own", "")).await;
    let block = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png(90)}});
    let got = ask(
        &flyball,
        "/v1/messages",
        &blocks_with("m-own", json!([block])),
    )
    .await;
    assert!(
        got.body.contains("messages[0].content[0]\\\" costs"),
        "{}",
        got.body
    );
    let config = fleet(&upstream, "anthropic", "claude-x", "context_tokens = 30000");
    let flyball = capped("10", &config).await;
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}});
    let body = blocks_with("claude-x", json!([pdf])).to_string();
    let longer = ("anthropic-beta", "context-1m-2025-08-07");
    let version = ("anthropic-version", "2023-06-01");
    let got = post(flyball.at(), "/v1/messages", &[KEY, version, longer], &body).await;
    assert_eq!(got.status, 400, "{}", got.body);
    assert!(got.body.contains("document_tokens_max"), "{}", got.body);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn where_a_rule_names_a_fallback_a_model_that_bounds_the_picture_takes_the_others_place() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let config = fleet(&upstream, "openai-compatible", "m-blind", "");
    let seeing = config.split_once("[[model]]").expect("a model").1;
    let seeing = seeing
        .replace("m-blind", "m-sees")
        .replace("small", "standard");
    for (fallback, status) in [("", 400), (", fallback = [\"standard\"]", 200)] {
        let dir = tempfile::tempdir().expect("a folder");
        let rule = format!(
            "[[rule]]\nname = \"own\"\nwhy = \"a test\"\nroute = {{ arm = \"m-blind\"{fallback} }}\n"
        );
        std::fs::create_dir(dir.path().join("rules")).expect("a folder");
        std::fs::write(dir.path().join("rules/own.toml"), rule).expect("a file");
        make_key(&dir, "app", Some("10"), |_| {});
        let config = format!("{config}[[model]]{seeing}image_tokens_max = 777\n");
        let flyball = Flyball::start_in(dir, &config).await;
        let picture =
            json!([{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}]);
        let got = ask(
            &flyball,
            "/v1/chat/completions",
            &chat_with("auto", picture),
        )
        .await;
        assert_eq!(got.status, status, "{}", got.body);
        let served = got.header("x-flyball-model");
        assert_eq!(served == Some("m-sees"), status == 200, "{served:?}");
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn without_usage_a_picture_is_charged_at_the_bound_under_a_cap_and_counted_at_its_maximum_elsewhere()
 {
    let silent = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"yes"},"finish_reason":"stop"}]}"#;
    for (cap, basis) in [("10", "bound"), ("", "counted")] {
        let upstream = Upstream::start(answer(200, silent)).await;
        let config = fleet(
            &upstream,
            "openai-compatible",
            "m-own",
            "image_tokens_max = 777",
        );
        let flyball = match cap {
            "" => Flyball::start(&config).await,
            cap => capped(cap, &config).await,
        };
        let picture = json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}});
        let body = chat_with("m-own", json!([picture])).to_string();
        let key = if cap.is_empty() { &[][..] } else { &[KEY] };
        let got = flyball.chat(key, &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let rows = flyball.rows().await;
        // The turn counts as four tokens, the answer is one.
        assert_eq!(
            (
                &rows[0]["basis"],
                &rows[0]["tokens"]["input"],
                &rows[0]["tokens"]["output"]
            ),
            (&json!(basis), &json!(781), &json!(1)),
            "{}",
            rows[0]
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn where_the_rough_bound_of_the_words_is_in_the_way_they_are_counted_without_the_pictures_bytes()
 {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let config = fleet(&upstream, "openai", "gpt-4o-x", "");
    let data = format!("data:image/png;base64,{}", png(60_000));
    let words = "pay ".repeat(2_000);
    let body = chat_with(
        "gpt-4o-x",
        json!([
            {"type": "text", "text": words},
            {"type": "image_url", "image_url": {"url": data}}
        ]),
    );
    // About 2,100 tokens of words, 528 around them, 1,445 of the picture and 100 of the answer; 8,000 bytes of words.
    for (cap, status) in [("0.0055", 200), ("0.004", 402)] {
        let flyball = capped(cap, &format!("lower_limits = false\n{config}")).await;
        let got = ask(&flyball, "/v1/chat/completions", &body).await;
        assert_eq!(got.status, status, "{cap} {}", got.body);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_refusal_of_what_takes_a_whole_window_names_the_setting_that_makes_it_less() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}});
    // A million tokens at a dollar a million.
    for (cap, header) in [("0.5", None), ("10", Some("0.5"))] {
        let config = fleet(&upstream, "anthropic", "claude-sonnet-5", "");
        let flyball = capped(cap, &config).await;
        let body = blocks_with("claude-sonnet-5", json!([pdf])).to_string();
        let most = header.map(|usd| ("x-flyball-max-cost-usd", usd));
        let headers: Vec<_> = [KEY].into_iter().chain(most).collect();
        let got = post(flyball.at(), "/v1/messages", &headers, &body).await;
        assert_eq!(got.status, 402, "{}", got.body);
        assert!(got.body.contains("document_tokens_max"), "{}", got.body);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn input_is_counted_in_the_encoding_of_the_model_or_in_the_one_that_makes_more_of_it() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    // cl100k_base makes about three times as much of Hindi as o200k_base.
    let words = "\u{928}\u{92e}\u{938}\u{94d}\u{924}\u{947} ".repeat(1_000);
    for (model, status) in [
        ("gpt-4-turbo", 402),
        ("gpt-3.5-turbo", 402),
        ("gpt-6-sol", 402),
        ("gpt-4o", 200),
        ("o3-mini", 200),
    ] {
        let body = chat_with(model, json!(words));
        let text = body.to_string();
        let (new, old) = (
            flyball::tokens::count(&text),
            flyball::tokens::count_embedded(&text),
        );
        assert!(new + 1_000 < old, "{new} {old}");
        let room =
            flyball::money::PicoUsd(i128::from(new + 528 + 500) * 1_000_000 + 100 * 10_000_000);
        let config = fleet(&upstream, "openai", model, "");
        let config = format!("lower_limits = false\n{config}");
        let flyball = capped(&room.usd_text(), &config).await;
        let got = ask(&flyball, "/v1/chat/completions", &body).await;
        assert_eq!(got.status, status, "{model} {}", got.body);
        flyball.books_are_right().await;
    }
}
