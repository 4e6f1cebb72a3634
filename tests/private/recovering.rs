//! Whatever fails, and whatever may then be asked instead: what is confidential is asked of local models alone.

use super::asking::{Asking, Way};
use super::{CARD, DETECTS, asked, config};
use crate::flyball::Flyball;
use crate::scripted::{Nobody, Step, Upstream, answer, chat, chat_stream, piece, stream_head};

/// Everything that makes a request go on to another arm is switched on, and arms have names of their own.
pub const GOES_ON: &str = "fallback_after = \"always\"\nretries = 2\nintercept = [\"claude-x\"]\n[aliases]\nquick = \"m-small\"\nmine = \"own\"\n";
/// A second local model, at an address of its own.
pub fn second(url: &str) -> String {
    format!(
        "[[provider]]\nname = \"home-2\"\nkind = \"llamacpp\"\nbase_url = \"{url}\"\n[[model]]\nname = \"own-2\"\nprovider = \"home-2\"\ntier = \"local\"\n"
    )
}

const BUSY: &str =
    "{\"error\":{\"message\":\"overloaded\",\"type\":\"server_error\",\"code\":\"overloaded\"}}";

async fn started(toml: &str, rules: &str) -> Flyball {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("key"), "up-secret").expect("a file");
    if !rules.is_empty() {
        std::fs::create_dir(dir.path().join("rules")).expect("a folder");
        std::fs::write(dir.path().join("rules/own.toml"), rules).expect("a file");
    }
    Flyball::start_in(dir, toml).await
}

#[tokio::test]
async fn no_failure_at_home_sends_a_confidential_request_away() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let first_event = format!("data: {BUSY}\n\n");
    let mut cut = chat_stream(&["hi"], 3, 2);
    cut.truncate(2);
    cut.push(Step::Reset);
    for (name, fate) in [
        ("500", answer(500, BUSY)),
        ("429", answer(429, BUSY)),
        ("503", answer(503, BUSY)),
        ("401", answer(401, BUSY)),
        ("404", answer(404, BUSY)),
        ("reset", vec![Step::Reset]),
        ("close", vec![Step::Close]),
        ("no JSON", answer(200, "what?")),
        (
            "an error first",
            vec![stream_head(), piece(&first_event), Step::Close],
        ),
        ("cut", cut),
    ] {
        let local = Upstream::start(fate).await;
        let toml = config(&cloud, &local, &(GOES_ON.to_owned() + DETECTS)) + &second(&local.url());
        let flyball = started(&toml, "").await;
        for way in [Way::Chat, Way::ChatStream, Way::Messages, Way::GeminiStream] {
            // By no name, by one that is routed, by a name of the operator's own, and by the local model's.
            for model in ["auto", "claude-x", "mine", "own"] {
                let got = asked(&flyball, &Asking::of(way, model, CARD)).await;
                let told = format!("{name} {way:?} {model}: {} {}", got.status, got.body);
                assert_eq!(got.header("x-flyball-private"), Some("cards"), "{told}");
                assert_eq!(cloud.count(), 0, "{told}");
            }
        }
        assert!(local.count() > 0, "{name}");
        let rows = flyball.rows().await;
        assert!(rows.iter().all(|row| row["provider"] != "up"), "{name}");
    }
}

#[tokio::test]
async fn where_one_local_model_is_down_another_one_answers_what_is_confidential() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5))).await;
    let nobody = Nobody::new();
    let toml = config(&cloud, &local, &(GOES_ON.to_owned() + DETECTS)) + &second(&nobody.url());
    let flyball = started(&toml, "").await;
    for _ in 0..6 {
        let got = asked(&flyball, &Asking::of(Way::Chat, "auto", CARD)).await;
        assert_eq!(
            (got.status, got.header("x-flyball-model")),
            (200, Some("own")),
            "{}",
            got.body
        );
    }
    assert_eq!(cloud.count(), 0);
}

#[tokio::test]
async fn an_alias_of_a_model_elsewhere_is_no_way_out() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(200, &chat(10, 5))).await;
    let toml = config(&cloud, &local, &(GOES_ON.to_owned() + DETECTS));
    let flyball = started(&toml, "").await;
    for way in [
        Way::Chat,
        Way::ChatStream,
        Way::Messages,
        Way::Responses,
        Way::Count,
    ] {
        let got = asked(&flyball, &Asking::of(way, "quick", CARD)).await;
        match way {
            Way::Count => assert_eq!(got.status, 200, "{}", got.body),
            _ => super::refused(&got, "cards"),
        }
        let got = asked(&flyball, &Asking::of(way, "mine", CARD)).await;
        assert_eq!(got.status, 200, "{way:?}: {}", got.body);
        assert_eq!(cloud.count(), 0, "{way:?}");
    }
    let got = asked(&flyball, &Asking::of(Way::Chat, "quick", "the weather")).await;
    assert_eq!((got.status, cloud.count()), (200, 1), "{}", got.body);
}

#[tokio::test]
async fn a_fallback_that_a_rule_names_is_no_way_out() {
    let cloud = Upstream::start(answer(200, &chat(10, 5))).await;
    let local = Upstream::start(answer(500, BUSY)).await;
    let rules = "[[rule]]\nname = \"home first\"\nwhy = \"a test\"\nroute = { arm = \"own\", fallback = [\"reasoning\", \"small\"] }\n";
    let toml = config(&cloud, &local, &(GOES_ON.to_owned() + DETECTS));
    let flyball = started(&toml, rules).await;
    let got = asked(&flyball, &Asking::of(Way::Chat, "auto", CARD)).await;
    assert_eq!((got.status, cloud.count()), (500, 0), "{}", got.body);
    let got = asked(&flyball, &Asking::of(Way::Chat, "auto", "the weather")).await;
    assert_eq!((got.status, cloud.count()), (200, 1), "{}", got.body);
}
