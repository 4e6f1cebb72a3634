//! What a refusal says, in every dialect: the cap, when its window ends, what is left; never another tenant's figures or names.

use crate::client::{Answer, post};
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};
use flyball::ledger::cap::Cap;
use serde_json::{Value, json};

/// Path, body, and where the refusal's words are.
const DIALECTS: [(&str, &str, &str); 6] = [
    (
        "/v1/chat/completions",
        r#"{"model":"m-small","messages":[{"role":"user","content":"hi"}]}"#,
        "/error/message",
    ),
    (
        "/v1/responses",
        r#"{"model":"m-small","input":"hi"}"#,
        "/error/message",
    ),
    (
        "/v1/messages",
        r#"{"model":"m-small","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#,
        "/error/message",
    ),
    (
        "/v1beta/models/m-small:generateContent",
        r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#,
        "/error/message",
    ),
    (
        "/api/chat",
        r#"{"model":"m-small","stream":false,"messages":[{"role":"user","content":"hi"}]}"#,
        "/error",
    ),
    (
        "/api/generate",
        r#"{"model":"m-small","stream":false,"prompt":"hi"}"#,
        "/error",
    ),
];

/// What marks a refusal as one of money, in each dialect's own words.
fn marked(path: &str, body: &Value) -> bool {
    let error = &body["error"];
    match path {
        "/v1/messages" => error["type"] == "billing_error",
        p if p.starts_with("/v1beta") => {
            error["status"] == "FAILED_PRECONDITION" && error["code"] == 402
        }
        p if p.starts_with("/api") => error.is_string(),
        _ => error["type"] == "insufficient_quota" && error["code"] == "flyball_cap",
    }
}

async fn refused(flyball: &Flyball, key: &str, each: impl Fn(&str, &Answer)) {
    for (path, body, words) in DIALECTS {
        let got = post(flyball.at(), path, &[("authorization", key)], body).await;
        let json = got.json();
        assert_eq!(got.status, 402, "{path}: {json}");
        assert_eq!(got.header("x-should-retry"), Some("false"), "{path}");
        assert!(marked(path, &json), "{path}: {json}");
        let said = json.pointer(words).and_then(Value::as_str);
        let said = said.unwrap_or_else(|| panic!("{path}: {json}"));
        each(said, &got);
    }
}

#[tokio::test]
async fn in_every_dialect_a_refusal_tells_the_callers_own_cap_its_end_and_what_is_left() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "mine", Some("0.000123"), |_| {});
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    refused(&flyball, "Bearer fb_mine", |said, _| {
        for part in [
            "day spend cap of this key",
            "$0.000123",
            "is left",
            "resets at 20",
        ] {
            assert!(said.contains(part), "no \"{part}\" in: {said}");
        }
    })
    .await;
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn in_no_dialect_a_refusal_tells_another_tenants_figures_or_names() {
    let upstream = Upstream::start(answer(200, &chat(1_000, 100))).await;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, team) in [("theirs", "blue"), ("mine", "red")] {
        make_key(&dir, name, Some("7.77"), |key| key.team = team.into());
    }
    // 1,000 + 100 × 10 micro-dollars an answer; the bound of the next one does not fit any more.
    let toml = format!(
        "answer_tokens_min = 50\nanswer_tokens_max = 100\nlower_limits = false\n[[team]]\nname = \"red\"\norganisation = \"acme\"\n[[team]]\nname = \"blue\"\norganisation = \"bluecorp\"\n{}\n[[cap]]\nusd = 0.0031\nwindow = \"month\"\n",
        compatible(&upstream)
    );
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked =
        r#"{"model":"m-small","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}"#;
    let theirs = [("authorization", "Bearer fb_theirs")];
    assert_eq!(flyball.chat(&theirs, asked).await.status, 200);
    refused(&flyball, "Bearer fb_mine", |said, got| {
        assert!(said.contains("month spend cap of this flyball"), "{said}");
        assert!(said.contains("resets at 20"), "{said}");
        let everything = format!("{}{}", got.head, got.body);
        for secret in ["0.0031", "0.002", "$", "theirs", "blue", "bluecorp", "7.77"] {
            assert!(!everything.contains(secret), "\"{secret}\" in {everything}");
        }
    })
    .await;
    let row = &flyball.rows().await[0];
    assert_eq!(row["cost_pico_usd"], json!(2_000_000_000));
}

/// What marks a refusal as one of a rate, in each dialect's own words.
fn marked_as_rate(path: &str, body: &Value) -> bool {
    let error = &body["error"];
    match path {
        "/v1/messages" => error["type"] == "rate_limit_error",
        p if p.starts_with("/v1beta") => {
            error["status"] == "RESOURCE_EXHAUSTED" && error["code"] == 429
        }
        p if p.starts_with("/api") => error.is_string(),
        _ => error["type"] == "rate_limit_error" && error["code"] == "flyball_cap",
    }
}

#[tokio::test]
async fn in_every_dialect_a_rate_is_refused_with_429_and_when_its_window_ends() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    for (name, cap) in [
        ("requests", "0requests/hour"),
        ("tokens", "5tokens/minute"),
        ("one", "1tokens/hour"),
        ("daily", "0requests/day"),
        ("money", "0.000001usd/minute"),
    ] {
        make_key(&dir, name, None, |key| {
            key.caps = vec![Cap::parse(cap).expect("a cap")];
        });
    }
    let flyball = Flyball::start_in(dir, &compatible(&upstream)).await;
    for (name, status, longest, words) in [
        (
            "requests",
            429,
            Some(3_600),
            "The hour request cap of this key (0 requests) has no room for this request: none is left; it resets at 20",
        ),
        (
            "tokens",
            429,
            Some(60),
            "tokens: 5 tokens are left; it resets at 20",
        ),
        (
            "one",
            429,
            Some(3_600),
            "tokens: 1 token is left; it resets at 20",
        ),
        ("daily", 402, None, "The day request cap"),
        ("money", 402, None, "The minute spend cap"),
    ] {
        let key = format!("Bearer fb_{name}");
        for stream in [false, true] {
            for (path, body, place) in DIALECTS {
                let (path, body) = match (stream, path) {
                    (false, _) => (path.to_owned(), body.to_owned()),
                    (true, "/v1beta/models/m-small:generateContent") => (
                        "/v1beta/models/m-small:streamGenerateContent".to_owned(),
                        body.to_owned(),
                    ),
                    (true, _) => {
                        let mut body: Value = serde_json::from_str(body).expect("JSON");
                        body["stream"] = json!(true);
                        (path.to_owned(), body.to_string())
                    }
                };
                let got = post(flyball.at(), &path, &[("authorization", &key)], &body).await;
                let json = got.json();
                assert_eq!(got.status, status, "{name} {path}: {json}");
                let wait = got
                    .header("retry-after")
                    .map(|w| w.parse::<u64>().expect("seconds"));
                assert_eq!(wait.is_some(), longest.is_some(), "{name} {path}");
                assert!(
                    wait.is_none_or(|w| w > 0 && Some(w) <= longest),
                    "{name} {path}: {wait:?}"
                );
                assert_eq!(got.header("x-should-retry"), Some("false"), "{name} {path}");
                let right = match status {
                    429 => marked_as_rate(&path, &json),
                    _ => marked(&path, &json),
                };
                assert!(right, "{name} {path}: {json}");
                let said = json.pointer(place).and_then(Value::as_str);
                assert!(
                    said.is_some_and(|s| s.contains(words)),
                    "{name} {path}: {json}"
                );
            }
        }
    }
    assert_eq!(upstream.count(), 0);
}
