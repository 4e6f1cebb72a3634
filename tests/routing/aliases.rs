//! Names of the operator's own for an arm.

use super::{CAPITAL, ask};
use crate::client::get;
use crate::flyball::{Flyball, compatible, make_key};
use crate::scripted::{Upstream, answer, chat};

const ALIASES: &str = "[aliases]\nthinker = \"m-big@low\"\nplain = \"m-small\"\n";

#[tokio::test]
async fn an_alias_is_asked_for_like_a_model_and_may_carry_an_effort() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let flyball = Flyball::start(&format!("{ALIASES}{}", compatible(&upstream))).await;
    for (alias, model, effort) in [
        ("thinker", "m-big", Some("low")),
        ("plain", "m-small", None),
    ] {
        let got = flyball.chat(&[], &ask(alias, CAPITAL)).await;
        assert_eq!(got.status, 200, "{}", got.body);
        assert_eq!(got.header("x-flyball-model"), Some(model));
        assert_eq!(got.header("x-flyball-rule"), Some("asked"));
        let sent = upstream.seen().pop().expect("a request").body;
        let sent: serde_json::Value = serde_json::from_str(&sent).expect("JSON");
        assert_eq!(
            (&sent["model"], sent["reasoning_effort"].as_str()),
            (&serde_json::json!(model), effort)
        );
    }
    // The caller's own word about the effort goes before the alias's.
    let got = flyball
        .chat(&[("x-flyball-effort", "high")], &ask("thinker", CAPITAL))
        .await;
    assert_eq!(got.header("x-flyball-effort"), Some("high"), "{}", got.body);
    let listed = get(flyball.at(), "/v1/models", &[]).await;
    assert!(
        listed.body.contains("\"thinker\"") && listed.body.contains("\"plain\""),
        "{}",
        listed.body
    );
}

#[tokio::test]
async fn a_key_that_may_not_use_the_model_may_not_use_its_alias() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    let dir = tempfile::tempdir().expect("a folder");
    make_key(&dir, "app", None, |key| key.models = vec!["m-small".into()]);
    let flyball = Flyball::start_in(dir, &format!("{ALIASES}{}", compatible(&upstream))).await;
    let key = ("authorization", "Bearer fb_app");
    assert_eq!(
        flyball.chat(&[key], &ask("thinker", CAPITAL)).await.status,
        403
    );
    assert_eq!(
        flyball.chat(&[key], &ask("plain", CAPITAL)).await.status,
        200
    );
    let listed = get(flyball.at(), "/v1/models", &[key]).await;
    assert!(!listed.body.contains("\"thinker\""), "{}", listed.body);
}

#[tokio::test]
async fn an_alias_of_nothing_or_with_a_taken_name_is_a_complaint_with_its_line() {
    let upstream = Upstream::start(answer(200, &chat(10, 5))).await;
    for (line, why) in [
        (
            "a = \"m-bigg\"",
            "aliases: \"a\": unknown model \"m-bigg\"; did you mean \"m-big\"?",
        ),
        (
            "m-big = \"m-small\"",
            "is the name of something else already",
        ),
        (
            "\"auto:mine\" = \"m-small\"",
            "is the name of something else already",
        ),
    ] {
        let toml = format!("[aliases]\n{line}\n{}", compatible(&upstream));
        let dir = tempfile::tempdir().expect("a folder");
        let said = Flyball::try_start(dir, &toml).await.err().expect("refused");
        assert!(said.contains(why), "{said}");
    }
}
