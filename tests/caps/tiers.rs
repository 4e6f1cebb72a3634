//! Service tiers: what the operator says of their prices, and of the tiers that a provider may choose.

use super::{KEY, served};
use crate::client::post;
use crate::flyball::{Flyball, make_key};
use crate::scripted::{Upstream, answer, end, piece, stream_head};
use serde_json::{Value, json};

async fn capped(config: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", Some("10"), |_| {});
    Flyball::start_in(dir, config).await
}

fn body(model: &str, tier: &str, words: usize) -> String {
    let words = "x".repeat(words);
    format!(
        r#"{{"model":"{model}",{tier}"max_completion_tokens":100,"messages":[{{"role":"user","content":"{words}"}}]}}"#
    )
}

/// Tier, bound and cost of every attempt.
async fn rows(flyball: &Flyball) -> Vec<[Value; 3]> {
    let rows = flyball.rows().await;
    let fields = ["service_tier", "bound_pico_usd", "cost_pico_usd"];
    rows.iter().map(|r| fields.map(|f| r[f].clone())).collect()
}

#[tokio::test]
async fn the_operators_own_prices_by_tier_bound_and_price_a_request() {
    let upstream = Upstream::start(served("")).await;
    let flyball = capped(&format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"{}\"\n[[model]]\nname = \"m\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\ninput_usd_per_mtok = 2\noutput_usd_per_mtok = 8\n[model.flex]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 4\n[model.priority]\ninput_usd_per_mtok = 6\noutput_usd_per_mtok = 24\n",
        upstream.url()
    ))
    .await;
    let mut expected = Vec::new();
    // Dollars a million: input and output that bound it, and that price it.
    for (asked, told, bound, cost, served_in) in [
        ("", "", (2, 8), (2, 8), "standard"),
        ("flex", "flex", (2, 8), (1, 4), "flex"),
        ("flex", "default", (2, 8), (2, 8), "standard"),
        ("priority", "", (6, 24), (6, 24), "priority"),
        ("priority", "default", (6, 24), (2, 8), "standard"),
    ] {
        let member = |tier: &str| match tier {
            "" => String::new(),
            tier => format!("\"service_tier\":\"{tier}\","),
        };
        upstream.next(served(&member(told)));
        let body = body("m", &member(asked), 1_000);
        assert_eq!(flyball.chat(&[KEY], &body).await.status, 200);
        let input = body.len() as u64 + 528;
        let pico = |(dear, dearer): (u64, u64), input| (input * dear + 100 * dearer) * 1_000_000;
        expected.push([
            json!(served_in),
            json!(pico(bound, input)),
            json!(pico(cost, 1_000)),
        ]);
    }
    assert_eq!(rows(&flyball).await, expected);
    // A tier without a price stays refused.
    let got = flyball
        .chat(&[KEY], &body("m", r#""service_tier":"scale","#, 1))
        .await;
    assert_eq!(got.json()["error"]["code"], "flyball_no_price");
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_project_that_is_served_in_one_tier_is_reserved_in_it_and_another_tier_is_charged_and_flagged()
 {
    // gpt-5.6-sol costs 4 and 20 dollars a million, kept for twelve hours 10; priority is twice that.
    for (tiers, doubled_bound) in [
        ("", 4_u64),
        (r#"service_tiers = ["standard"]"#, 2),
        (r#"service_tiers = ["standard", "priority"]"#, 4),
    ] {
        let upstream = Upstream::start(served("")).await;
        let flyball = capped(&format!(
            "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\n{tiers}\n[[model]]\nname = \"gpt-5.6-sol\"\nprovider = \"up\"\ntier = \"reasoning\"\n",
            upstream.url()
        ))
        .await;
        let body = body("gpt-5.6-sol", "", 1);
        for told in ["", r#""service_tier":"priority","#] {
            upstream.next(served(told));
            assert_eq!(flyball.chat(&[KEY], &body).await.status, 200);
        }
        let input = body.len() as u64 + 528;
        let bound = doubled_bound * (input * 5 + 100 * 10) * 1_000_000;
        let cost = |doubled: u64| doubled * (1_000 * 2 + 100 * 10) * 1_000_000;
        assert_eq!(
            rows(&flyball).await,
            [
                [json!("standard"), json!(bound), json!(cost(2))],
                [json!("priority"), json!(bound), json!(cost(4))],
            ],
            "{tiers}"
        );
        let unexpected = doubled_bound == 2;
        let metrics = flyball.metrics().await;
        let told = |name: &str| {
            metrics
                .lines()
                .any(|l| l.starts_with(name) && l.ends_with(" 1"))
        };
        assert_eq!(
            told("flyball_usage_anomalies_total{"),
            unexpected,
            "{tiers}"
        );
        assert_eq!(told("flyball_overruns_total"), unexpected, "{tiers}");
        // What cost so much more than its bound is frozen.
        let got = flyball.chat(&[KEY], &body).await;
        let frozen = got.json()["error"]["code"] == "flyball_frozen";
        assert_eq!(frozen, unexpected, "{tiers} {}", got.body);
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn beside_the_operators_own_price_long_requests_and_tiers_stay_as_much_dearer_as_they_were() {
    // The catalogue's gpt-5.6-sol: 4 and 20, long 8 and 30 above 272,000; priority twice that. The operator's: 1 and 10.
    let own = "input_usd_per_mtok = 1\noutput_usd_per_mtok = 10\n";
    let long =
        "[model.long]\nabove_tokens = 2000\ninput_usd_per_mtok = 3\noutput_usd_per_mtok = 11\n";
    let flat = "[model.priority]\ninput_usd_per_mtok = 7\noutput_usd_per_mtok = 70\n";
    for (more, words, asked, input, output) in [
        ("", 1_000, "default", 1, 10),
        ("", 280_000, "default", 2, 15),
        ("", 1_000, "priority", 2, 20),
        ("", 280_000, "priority", 4, 30),
        (long, 1_000, "default", 1, 10),
        (long, 3_000, "default", 3, 11),
        (flat, 1_000, "priority", 7, 70),
    ] {
        let upstream = Upstream::start(served("")).await;
        let flyball = capped(&format!(
            "[[provider]]\nname = \"up\"\nkind = \"openai\"\nbase_url = \"{}\"\nservice_tiers = [\"standard\"]\n[[model]]\nname = \"gpt-5.6-sol\"\nprovider = \"up\"\ntier = \"reasoning\"\n{own}{more}",
            upstream.url()
        ))
        .await;
        let tier = format!("\"service_tier\":\"{asked}\",");
        let body = body("gpt-5.6-sol", &tier, words);
        let got = flyball.chat(&[KEY], &body).await;
        assert_eq!(got.status, 200, "{}", got.body);
        let tokens = body.len() as u64 + 528;
        let bound = (tokens * input + 100 * output) * 1_000_000;
        assert_eq!(
            rows(&flyball).await[0][1],
            json!(bound),
            "{more} {words} {asked}"
        );
        flyball.books_are_right().await;
    }
}

#[tokio::test]
async fn a_tier_with_a_price_on_a_model_that_is_else_free_is_bounded_and_booked() {
    let upstream = Upstream::start(served(r#""service_tier":"priority","#)).await;
    let flyball = capped(&format!(
        "[[provider]]\nname = \"up\"\nkind = \"openai-compatible\"\nbase_url = \"{}\"\n[[model]]\nname = \"m\"\nprovider = \"up\"\ntier = \"small\"\nefforts = []\nimage_tokens_max = 1000\ninput_usd_per_mtok = 0\noutput_usd_per_mtok = 0\nimage_input_usd_per_mtok = 3\n[model.priority]\ninput_usd_per_mtok = 6\noutput_usd_per_mtok = 24\n",
        upstream.url()
    ))
    .await;
    let priority = r#""service_tier":"priority","#;
    let picture = body("m", priority, 0).replace(
        r#""content":"""#,
        r#""content":[{"type":"image_url","image_url":{"url":"https://x.example/a.png"}}]"#,
    );
    let mut expected = Vec::new();
    // Six dollars for a token of a picture too, dearer than its own three.
    for (body, media) in [(body("m", priority, 1_000), 0), (picture, 1_000)] {
        assert_eq!(flyball.chat(&[KEY], &body).await.status, 200);
        let input = body.len() as u64 + 528 + media;
        expected.push([
            json!("priority"),
            json!((input * 6 + 100 * 24) * 1_000_000),
            json!((1_000_u64 * 6 + 100 * 24) * 1_000_000),
        ]);
    }
    assert_eq!(rows(&flyball).await, expected);
    flyball.books_are_right().await;
}

/// A flyball in front of a model of Anthropic's that the catalogue knows, for a key with a cap and one without.
async fn claude(model: &str, upstream: &Upstream) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "capped", Some("50"), |_| {});
    make_key(&dir, "free", None, |_| {});
    let base = upstream.url();
    let config = format!(
        "[[provider]]\nname = \"up\"\nkind = \"anthropic\"\nbase_url = \"{base}\"\n\n[[model]]\nname = \"{model}\"\nprovider = \"up\"\ntier = \"reasoning\"\n"
    );
    Flyball::start_in(dir, &config).await
}

#[tokio::test]
async fn an_answer_from_the_united_states_or_at_a_higher_speed_costs_its_multiple_of_the_rates() {
    let upstream = Upstream::start(answer(500, "{}")).await;
    let flyball = claude("claude-opus-4-8", &upstream).await;
    let plain = 500 * 5_000_000 + 900 * 25_000_000_u64;
    let told = |more: &str| format!("{{\"input_tokens\":500,\"output_tokens\":900{more}}}");
    // what usage says, the multiple in tenths
    for (more, tenths) in [
        ("", 10),
        (r#","inference_geo":"global","speed":"standard""#, 10),
        (r#","inference_geo":"not_available""#, 10),
        (r#","inference_geo":"us""#, 11),
        (r#","speed":"fast""#, 20),
        (r#","inference_geo":"us","speed":"fast""#, 22),
    ] {
        for streamed in [false, true] {
            upstream.only(match streamed {
                false => answer(200, &format!("{{\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{{\"type\":\"text\",\"text\":\"ok\"}}],\"stop_reason\":\"end_turn\",\"usage\":{}}}", told(more))),
                true => [
                    stream_head(),
                    piece(&format!("data: {{\"type\":\"message_start\",\"message\":{{\"model\":\"m\",\"usage\":{}}}}}\n\n", told(more).replace(":900", ":1"))),
                    piece("data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"ok\"}}\n\n"),
                    piece("data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":900}}\n\ndata: {\"type\":\"message_stop\"}\n\n"),
                    end(),
                ]
                .to_vec(),
            });
            let body = format!(
                "{{\"model\":\"claude-opus-4-8\",\"max_tokens\":2000,\"stream\":{streamed},\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]}}"
            );
            let key = [("x-api-key", "fb_capped")];
            let got = post(flyball.at(), "/v1/messages", &key, &body).await;
            assert_eq!(got.status, 200, "{}", got.body);
            let row = flyball.rows().await.pop().expect("a row");
            assert_eq!(
                row["cost_pico_usd"],
                plain * tenths / 10,
                "{more} {streamed} {row}"
            );
            assert_eq!(row["basis"], "reported", "{more} {streamed}");
        }
    }
    flyball.books_are_right().await;
}

#[tokio::test]
async fn a_place_and_a_speed_are_reserved_at_their_multiple_and_refused_where_it_is_not_known() {
    let ok = r#"{"type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":1}}"#;
    let upstream = Upstream::start(answer(200, ok)).await;
    let flyball = claude("claude-opus-4-8", &upstream).await;
    let older = claude("claude-haiku-4-5", &upstream).await;
    let asked = |model: &str, more: &str| {
        format!(
            "{{\"model\":\"{model}\",\"max_tokens\":1000000,\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}]{more}}}"
        )
    };
    let key = [("x-api-key", "fb_capped")];
    let mut bounds = Vec::new();
    for more in [
        r#","inference_geo":"global""#,
        r#","inference_geo":"us""#,
        // The workspace's own default may be the United States.
        "",
        r#","inference_geo":"global","speed":"fast""#,
    ] {
        let got = post(
            flyball.at(),
            "/v1/messages",
            &key,
            &asked("claude-opus-4-8", more),
        )
        .await;
        assert_eq!(got.status, 200, "{more}: {}", got.body);
        let row = flyball.rows().await.pop().expect("a row");
        bounds.push(row["bound_pico_usd"].as_u64().expect("a bound"));
    }
    // Of a million answer tokens, whatever its few bytes cost.
    let tenths: Vec<u64> = bounds.iter().map(|b| b * 10 / bounds[0]).collect();
    assert!(
        tenths[0] == 10 && (10..=11).contains(&tenths[1]) && tenths[3] >= 19,
        "{bounds:?}"
    );
    assert!(bounds[1] > bounds[0] && bounds[2] > bounds[0], "{bounds:?}");
    for (flyball, model, more, field) in [
        (
            &older,
            "claude-haiku-4-5",
            r#","inference_geo":"us""#,
            "inference_geo",
        ),
        (&older, "claude-haiku-4-5", r#","speed":"fast""#, "speed"),
        (
            &flyball,
            "claude-opus-4-8",
            r#","inference_geo":"moon""#,
            "inference_geo",
        ),
        (&flyball, "claude-opus-4-8", r#","speed":3"#, "speed"),
    ] {
        let got = post(flyball.at(), "/v1/messages", &key, &asked(model, more)).await;
        assert_eq!(got.status, 400, "{more}: {}", got.body);
        assert!(got.body.contains(field), "{}", got.body);
        let free = [("x-api-key", "fb_free")];
        let got = post(flyball.at(), "/v1/messages", &free, &asked(model, more)).await;
        assert_eq!(got.status, 200, "{more}: {}", got.body);
    }
}

#[tokio::test]
async fn sound_that_was_read_from_the_cache_costs_the_rate_of_cached_sound() {
    let told = |cached: &str| {
        format!(
            "{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":[{{\"text\":\"ok\"}}]}},\"finishReason\":\"STOP\"}}],\"usageMetadata\":{{\"promptTokenCount\":200000,\"candidatesTokenCount\":0,\"totalTokenCount\":200000,\"cachedContentTokenCount\":100000,\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":100000}},{{\"modality\":\"AUDIO\",\"tokenCount\":100000}}],\"cacheTokensDetails\":[{{\"modality\":\"{cached}\",\"tokenCount\":100000}}]}}}}"
        )
    };
    let upstream = Upstream::start(answer(500, "{}")).await;
    let base = upstream.url();
    let config = format!(
        "[[provider]]\nname = \"up\"\nkind = \"gemini\"\nbase_url = \"{base}\"\n\n[[model]]\nname = \"gemini-2.5-flash\"\nprovider = \"up\"\ntier = \"small\"\n"
    );
    let flyball = Flyball::start(&config).await;
    let body = r#"{"contents":[{"parts":[{"text":"x"}]}]}"#;
    // One token of the answer is told as none, and without a cap that is the provider's figure.
    for (cached, micro_usd) in [("TEXT", 103_000_u64), ("AUDIO", 40_000)] {
        for call in ["generateContent", "streamGenerateContent?alt=sse"] {
            upstream.only(match call {
                "generateContent" => answer(200, &told(cached)),
                _ => vec![
                    stream_head(),
                    piece(&format!("data: {}\n\n", told(cached))),
                    end(),
                ],
            });
            let path = format!("/v1beta/models/gemini-2.5-flash:{call}");
            let got = post(flyball.at(), &path, &[], body).await;
            assert_eq!(got.status, 200, "{}", got.body);
            let row = flyball.rows().await.pop().expect("a row");
            assert_eq!(
                row["cost_pico_usd"],
                micro_usd * 1_000_000,
                "{cached} {call}: {row}"
            );
        }
    }
}
