//! How much of what providers allow is left.

use super::{ask, samples};
use crate::client::post;
use crate::flyball::{Flyball, compatible};
use crate::scripted::{Step, Upstream, chat};

/// An answer with these headers.
fn with(headers: &str, body: &str) -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    vec![Step::Send(format!("{head}{body}").into_bytes())]
}

#[tokio::test]
async fn what_a_provider_tells_of_its_limits_is_shown_as_the_share_that_is_left() {
    let first = "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\nx-ratelimit-limit-tokens: 150000\r\nx-ratelimit-remaining-tokens: 37500\r\n";
    let upstream = Upstream::start(with(first, &chat(40, 8))).await;
    let flyball = Flyball::start(&compatible(&upstream)).await;
    let headroom = async |kind: &str| {
        let name = format!("flyball_provider_headroom_ratio{{kind=\"{kind}\",provider=\"up\"}}");
        samples(&flyball.metrics().await).get(&name).copied()
    };
    assert_eq!(headroom("tokens").await, None, "nothing was told yet");
    let asked = ask("m-small", "hello");
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    assert_eq!(headroom("tokens").await, Some(0.25));
    assert!((headroom("requests").await.expect("told") - 59.0 / 60.0).abs() < 1e-12);
    // Nonsense changes nothing; more than all is all.
    let nonsense = "x-ratelimit-limit-requests: 0\r\nx-ratelimit-remaining-requests: 5\r\nx-ratelimit-limit-tokens: 100\r\nx-ratelimit-remaining-tokens: 1e9\r\n";
    upstream.next(with(nonsense, &chat(40, 8)));
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    assert_eq!(headroom("tokens").await, Some(0.25));
    let more = "x-ratelimit-limit-tokens: 100\r\nx-ratelimit-remaining-tokens: 500\r\n";
    upstream.next(with(more, &chat(40, 8)));
    assert_eq!(flyball.chat(&[], &asked).await.status, 200);
    assert_eq!(headroom("tokens").await, Some(1.0));
}

#[tokio::test]
async fn anthropic_tells_it_in_its_own_headers() {
    let headers = "anthropic-ratelimit-requests-limit: 50\r\nanthropic-ratelimit-requests-remaining: 0\r\nanthropic-ratelimit-tokens-limit: 80000\r\nanthropic-ratelimit-tokens-remaining: 20000\r\n";
    let said = r#"{"id":"m","type":"message","role":"assistant","model":"c","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":3}}"#;
    let upstream = Upstream::start(with(headers, said)).await;
    let toml = format!(
        "[[provider]]\nname = \"claude\"\nkind = \"anthropic\"\nbase_url = \"{}\"\napi_key = \"file:/dev/null\"\n[[model]]\nname = \"c\"\nprovider = \"claude\"\ntier = \"small\"\nefforts = []\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = 5\n",
        upstream.url()
    );
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, "sk-test").expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&key, private).expect("private");
    }
    let toml = toml.replace("/dev/null", &key.display().to_string());
    let flyball = Flyball::start_in(dir, &toml).await;
    let asked = r#"{"model":"c","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}"#;
    let headers = [("anthropic-version", "2023-06-01")];
    let answer = post(flyball.at(), "/v1/messages", &headers, asked).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let all = samples(&flyball.metrics().await);
    for (kind, left) in [("requests", 0.0), ("tokens", 0.25)] {
        let name =
            format!("flyball_provider_headroom_ratio{{kind=\"{kind}\",provider=\"claude\"}}");
        assert_eq!(all.get(&name), Some(&left), "{kind}");
    }
}
